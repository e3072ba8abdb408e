//! Runs the pieces of a contraction: blocks for the caches around the micro-kernels.

mod operands;
mod requests;
mod rows;

use std::ops::Range;
use std::ptr;

use self::rows::List;
use super::ahead::Ahead;
use super::kernel::{Kernels, Tile};
use super::pack::{self, Matrix};
use super::plan::{Access, Method, Plan, even_block};
use super::tiles::{Tiles, even_tiles, panel_width};
use super::vector::Element;
use crate::contraction::{Contraction, Operand, Output, Strided};
use crate::program::{Frame, Region, RegionFunction};

/// A contraction of elements `T`, ready to run.
pub(super) struct Driver<T: 'static> {
    contraction: Contraction,
    kernels: &'static Kernels<T>,
    plan: Plan,
}

impl<T: Element> Driver<T> {
    /// Prepares a contraction of this element type.
    pub fn new(contraction: &Contraction, kernels: &'static Kernels<T>) -> Driver<T> {
        let plan = Plan::new(contraction, kernels);
        Driver { contraction: contraction.clone(), kernels, plan }
    }

    /// Bytes of scratch memory that a piece needs, without its region functions.
    pub fn scratch_bytes(&self) -> usize {
        self.plan.scratch_bytes
    }

    /// Computes a run of pieces. Neighbours of whole rows are computed as one, as far as a block goes: they
    /// read the same right operand. No result depends on the rows beside it.
    ///
    /// # Safety
    /// The processor has the kernels' instructions. The frame's arena holds the operands and
    /// nobody writes what these pieces read, or uses what they write, meanwhile; its scratch holds
    /// what [`Driver::scratch_bytes`] says and what the region functions use.
    pub unsafe fn run_pieces(&self, frame: &Frame, pieces: Range<usize>) {
        let Driver { contraction, plan, .. } = self;
        let rows = |region: &Region| (region.row_end - region.row_start) as usize;
        let mut piece = pieces.start;
        while piece < pieces.end {
            let mut region = contraction.region(piece);
            piece += 1;
            while plan.joins_pieces && piece < pieces.end {
                let next = contraction.region(piece);
                if next.batch != region.batch || rows(&region) + rows(&next) > plan.row_block {
                    break;
                }
                region.row_end = next.row_end;
                piece += 1;
            }
            // A thread computes pieces in order.
            let following = (piece < contraction.pieces()).then(|| contraction.region(piece));
            // SAFETY: by the caller's promise.
            unsafe { self.run_region(frame, region, following) };
        }
    }

    /// Computes a part of the result.
    ///
    /// # Safety
    /// As for [`Driver::run_pieces`].
    unsafe fn run_region(&self, frame: &Frame, region: Region, following: Option<Region>) {
        let mut row = region.row_start;
        while row < region.row_end {
            let row_end = (row + self.plan.row_block as u64).min(region.row_end);
            let block = Region { row_start: row, row_end, ..region };
            let following = if row_end < region.row_end { Some(region) } else { following };
            // SAFETY: by the caller's promise.
            unsafe { Block::new(self, frame, block, following, row == region.row_start).compute() };
            row = row_end;
        }
    }
}

/// A block of rows of a piece, and where it finds its data.
struct Block<'a, T: 'static> {
    driver: &'a Driver<T>,
    frame: &'a Frame,
    /// What region functions are called with.
    region_frame: Frame,
    region: Region,
    rows: usize,
    columns: usize,
    /// Where the block that is computed next has its columns.
    following: Option<Region>,
    /// Whether this is the first block of its piece.
    first: bool,
    /// Where kernels put the result: scratch memory, or the output.
    result: Matrix<T>,
}

impl<'a, T: Element> Block<'a, T> {
    fn new(
        driver: &'a Driver<T>,
        frame: &'a Frame,
        region: Region,
        following: Option<Region>,
        first: bool,
    ) -> Block<'a, T> {
        let scratch = frame.scratch.wrapping_add(driver.plan.scratch_bytes);
        let mut block = Block {
            driver,
            frame,
            region_frame: Frame { scratch, ..*frame },
            region,
            rows: (region.row_end - region.row_start) as usize,
            columns: (region.column_end - region.column_start) as usize,
            following,
            first,
            result: Matrix { start: frame.scratch.cast(), row_stride: 0, column_stride: 1 },
        };
        match (&driver.contraction.output, driver.plan.tile_stride) {
            (_, Some(stride)) => block.result.row_stride = stride as isize,
            (Output::Arena(place), None) => block.result = block.output(place),
            (Output::Epilogue(_), None) => unreachable!("an epilogue reads scratch memory"),
        }
        block
    }

    /// Computes and finishes the block.
    unsafe fn compute(&self) {
        let (depth, most) = (self.driver.contraction.depth, self.driver.plan.depth_block);
        let mut k = 0;
        // Once at least: a product of depth zero still writes its zeros.
        loop {
            let end = depth.min(k + most);
            // SAFETY: by the promise to `run_pieces`.
            unsafe {
                match self.driver.plan.method {
                    Method::Dot => self.dot(k..end),
                    Method::Outer => self.outer(k..end),
                }
            }
            k = end;
            if k == depth {
                break;
            }
        }
        match &self.driver.contraction.output {
            // SAFETY: by the promise to `run_pieces`.
            Output::Epilogue(function) => unsafe {
                self.call(*function, self.result, &self.region);
            },
            Output::Arena(place) if self.driver.plan.tile_stride.is_some() => unsafe {
                // SAFETY: as above.
                pack::scatter(self.result, self.output(place), self.rows, self.columns);
            },
            Output::Arena(_) => {}
        }
    }

    /// Adds the terms of a range of the depth by outer-product kernels.
    unsafe fn outer(&self, depth: Range<usize>) {
        let Driver { kernels, plan, .. } = self.driver;
        // SAFETY: by the promise to `run_pieces`.
        let left = unsafe { self.left(&depth) };
        let run = plan.left_runs.as_ref().map_or(self.rows, |runs| runs.length.min(self.rows));
        let panel_vectors = match plan.right {
            Access::InPlace => kernels.most_vectors(even_block(run, kernels.outer.len())),
            Access::Packed => kernels.panel_columns() / kernels.lanes,
        };
        let (table, stretches) = match plan.stretch() {
            None => (kernels.outer, 1),
            Some(1) => (kernels.scattered, 1),
            Some(length) => (kernels.outer, depth.len() / length),
        };
        let mut list = List::default();
        let groups = self.row_groups(kernels.outer.len(), &mut list);
        let tiles_of_panel = groups.iter().map(|group| group.count).sum();
        let panels = self.columns.div_ceil(panel_vectors * kernels.lanes);
        let mut panel_number = 0;
        let mut start = 0;
        while start < self.columns {
            let panel = plan.panel_columns.min(self.columns - start);
            // SAFETY: by the promise to `run_pieces`.
            let right = unsafe { self.right(&depth, start, panel) };
            let mut column = 0;
            while column < panel {
                let rest = (panel - column).div_ceil(kernels.lanes);
                let width = panel_width(rest, panel_vectors);
                let columns = (width * kernels.lanes).min(panel - column);
                let [left_steps, right_steps, right_vectors] = self.tables(&depth, start + column);
                let scattered_columns = plan.tables.as_ref().is_some_and(|t| t.columns.is_some());
                let right_start =
                    if scattered_columns { right.start } else { right.element(0, column) };
                let mut requests = self.requests(
                    &depth,
                    left,
                    start + column..start + column + columns,
                    (panel_number, panels),
                    tiles_of_panel,
                );
                for group in &groups {
                    let mut first = 0;
                    while first < group.count {
                        let (row, steps) = group.tile(first, &list);
                        let (count, ahead) = requests.take(group.count - first);
                        let tile = Tile {
                            count,
                            steps,
                            depth: depth.len(),
                            stretches,
                            left: self.left_row(left, row),
                            left_row_stride: left.row_stride,
                            left_depth_stride: left.column_stride,
                            left_steps,
                            right: right_start,
                            right_depth_stride: right.row_stride,
                            right_column_stride: 1,
                            right_steps,
                            right_vectors,
                            output: self.result.element(row, start + column),
                            output_stride: self.result.row_stride,
                            columns,
                            accumulate: depth.start > 0,
                            ahead,
                        };
                        // SAFETY: the tiles lie within the operands and the result.
                        unsafe { table[group.height - 1][width.ilog2() as usize](&tile) };
                        first += count;
                    }
                }
                column += columns;
                panel_number += 1;
            }
            start += panel;
        }
    }

    /// Adds the terms of a range of the depth by dot-product kernels.
    unsafe fn dot(&self, depth: Range<usize>) {
        let Driver { kernels, contraction, .. } = self.driver;
        let Operand::Arena(right) = &contraction.right else {
            unreachable!("dot kernels read the right operand in place");
        };
        let first = self.region.row_start as usize;
        let left = match &contraction.left {
            Operand::Arena(left) => self.matrix(left).at(first, depth.start),
            Operand::Scattered(left) => {
                let start = self.base(left).wrapping_offset(left.columns.offset(depth.start));
                let row_stride = left.rows.run().1;
                Matrix { start, row_stride, column_stride: 1 }
            }
            Operand::Generated(_) => unreachable!("dot kernels read the left operand in place"),
        };
        let right = self.matrix(right).at(depth.start, self.region.column_start as usize);
        let most_rows = kernels.dot.len();
        let widest = kernels.dot[even_block(self.rows, most_rows) - 1].len();
        for (column, columns) in even_tiles(self.columns, widest).flat_map(Tiles::each) {
            for (row, height) in self.row_tiles(most_rows).flat_map(Tiles::each) {
                let tile = Tile {
                    count: 1,
                    steps: ptr::null(),
                    depth: depth.len(),
                    stretches: 1,
                    left: self.left_row(left, row),
                    left_row_stride: left.row_stride,
                    left_depth_stride: 1,
                    left_steps: ptr::null(),
                    right: right.element(0, column),
                    right_depth_stride: 1,
                    right_column_stride: right.column_stride,
                    right_steps: ptr::null(),
                    right_vectors: ptr::null(),
                    output: self.result.element(row, column),
                    output_stride: self.result.row_stride,
                    columns,
                    accumulate: depth.start > 0,
                    ahead: Ahead::NONE,
                };
                // SAFETY: the tile lies within the operands and the result.
                unsafe { kernels.dot[height - 1][columns - 1](&tile) };
            }
        }
    }

    /// Calls a region function on a tile with contiguous columns.
    unsafe fn call(&self, function: RegionFunction, tile: Matrix<T>, region: &Region) {
        // SAFETY: the tile covers the region; the rest is the promise to `run_pieces`.
        unsafe {
            function(&self.region_frame, tile.start.cast(), tile.row_stride as u64, region);
        }
    }

    /// The output's part that this block covers.
    fn output(&self, place: &Strided) -> Matrix<T> {
        let Region { row_start, column_start, .. } = self.region;
        self.matrix(place).at(row_start as usize, column_start as usize)
    }
}
