//! Runs the pieces of a contraction: blocks for the caches around the micro-kernels.

use std::ops::Range;
use std::ptr;

use smallvec::SmallVec;

use super::ahead::{Ahead, PAIR, Rows};
use super::kernel::{Kernels, ONE_STRETCH, Tile};
use super::pack::{self, Matrix};
use super::places::Copy;
use super::plan::{Access, Copying, Method, Plan, even_block, left_is_by_column};
use super::vector::Element;
use crate::contraction::{Contraction, Operand, Output, Scattered, Strided};
use crate::program::{Frame, Region, RegionFunction};

/// Fewer rows than this read so much of the right operand for what they compute that only its
/// bandwidth counts, and the processor fetches what follows.
const LEAST_ROWS_AHEAD: usize = 4;

/// One tile in so many asks for what is copied next of the left operand.
const TILES_PER_COPYING: usize = 4;

/// Groups of tiles of rows of a block that are listed without taking memory.
const MOST_ROW_GROUPS: usize = 16;

/// Products of at most so many columns read their left operand once or twice. (Measured: they take a fifth
/// to a third less time if its rows are asked for; wider ones lose up to 15 %, since panels of the right
/// operand then come late.)
const COLUMNS_AT_ONCE: usize = 64;

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
        let (tiles, stretches) = match plan.stretch() {
            None => (kernels.outer, 1),
            Some(1) => (kernels.scattered, 1),
            Some(length) => (kernels.outer, depth.len() / length),
        };
        let panels = self.columns.div_ceil(panel_vectors * kernels.lanes);
        let total: usize = self.row_tiles(kernels.outer.len()).map(|tiles| tiles.count).sum();
        // Copying waits for all that comes from afar: the last tiles of each panel ask for the next block.
        let next_left = self.next_left(&depth);
        let for_left = next_left.map_or(0, |_| total.div_ceil(TILES_PER_COPYING));
        let for_right = total - for_left;
        let next_left =
            next_left.map_or(Rows::NONE, |rows| rows.shared(panels * for_left, depth.len()));
        let row_tiles: SmallVec<[Tiles; MOST_ROW_GROUPS]> = {
            let mut number = 0;
            let parts = self.row_tiles(kernels.outer.len()).flat_map(|tiles| {
                let first = for_right.saturating_sub(number).min(tiles.count);
                number += tiles.count;
                tiles.split(first)
            });
            parts.collect()
        };
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
                let ahead = self.ahead(&depth, start + column + columns, for_right);
                let asks_for_rows = start + column == 0 && self.reads_rows_once();
                let mut number = 0;
                for &Tiles { start: row, length: height, count } in &row_tiles {
                    let tile = Tile {
                        count,
                        ahead: match asks_for_rows {
                            true => self.rows_ahead(left, row + height, height, depth.len()),
                            false if number < for_right => ahead.part(number, count),
                            false => next_left
                                .part(panel_number * for_left + number - for_right, count),
                        },
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
                    };
                    let kernel = tiles[height - 1][width.ilog2() as usize];
                    // SAFETY: the tiles lie within the operands and the result.
                    unsafe { kernel(&tile) };
                    number += count;
                }
                column += columns;
                panel_number += 1;
            }
            start += panel;
        }
    }

    /// Rows of the block in tiles of at most `most`. The left operand's rows of a group of tiles lie at equal
    /// distances.
    fn row_tiles(&self, most: usize) -> impl Iterator<Item = Tiles> {
        let first = self.region.row_start as usize;
        let end = first + self.rows;
        let (runs, length) = match &self.driver.plan.left_runs {
            Some(runs) => (first / runs.length..end.div_ceil(runs.length), runs.length),
            None => (0..1, usize::MAX),
        };
        runs.flat_map(move |run| {
            let start = (run * length).max(first);
            let stop = (run * length + length).min(end);
            let tiles = even_tiles(stop - start, most);
            tiles.map(move |tiles| Tiles { start: start - first + tiles.start, ..tiles })
        })
    }

    /// Whether kernels read the left operand where it lies, along its rows, and about once: then most of
    /// what they wait for is there, as with kernels of a convolution over a small image.
    fn reads_rows_once(&self) -> bool {
        let Driver { contraction, plan, .. } = self.driver;
        let along = matches!(&contraction.left, Operand::Arena(place) if place.column_stride == 1);
        let few_columns = contraction.columns <= COLUMNS_AT_ONCE;
        along && few_columns && plan.left == Access::InPlace
    }

    /// What of the rows from `next` on lies in this range of the depth, for tiles of so many rows to ask for:
    /// each for those of the one below it.
    fn rows_ahead(&self, left: Matrix<T>, next: usize, height: usize, depth: usize) -> Ahead {
        let rows = self.rows - next;
        let tiles = rows.div_ceil(height);
        let stride = left.row_stride * size_of::<T>() as isize;
        let start = left.element(next, 0).cast();
        Rows::new(start, rows, depth * size_of::<T>(), stride).shared(tiles, depth).part(0, tiles)
    }

    /// What is copied of the left operand after this range of the depth, if it is copied and lies in lines.
    fn next_left(&self, depth: &Range<usize>) -> Option<Rows> {
        let Driver { contraction, plan, .. } = self.driver;
        let Operand::Arena(place) = &contraction.left else { return None };
        if plan.left == Access::InPlace {
            return None;
        }
        let (region, depth_start) = match depth.end < contraction.depth {
            true => (self.region, depth.end),
            false => (self.following?, 0),
        };
        let depths = contraction.depth.min(depth_start + plan.depth_block) - depth_start;
        let offset = place.batch_offset(&contraction.batch, region.batch as usize)
            + region.row_start as isize * place.row_stride
            + depth_start as isize * place.column_stride;
        let start = place.home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        let (lines, length, stride) = match (place.row_stride, place.column_stride) {
            (1, stride) => (depths, self.rows, stride),
            (stride, 1) => (self.rows, depths, stride),
            _ => return None,
        };
        let (bytes, stride) = (length * size_of::<T>(), stride * size_of::<T>() as isize);
        Some(Rows::new(start.wrapping_offset(offset).cast(), lines, bytes, stride))
    }

    /// What is read of the right operand after the columns before `column`, with this range of the
    /// depth: the columns from there on, or the first ones of the next range or block.
    fn ahead(&self, depth: &Range<usize>, column: usize, tiles: usize) -> Rows {
        let Driver { contraction, plan, kernels } = self.driver;
        let most = plan.depth_block;
        if self.rows < LEAST_ROWS_AHEAD || plan.resident && !self.first {
            return Rows::NONE;
        }
        let column_start = self.region.column_start as usize;
        let (batch, depth_start, column) = if column < self.columns {
            (self.region.batch, depth.start, column_start + column)
        } else if depth.end < contraction.depth {
            (self.region.batch, depth.end, column_start)
        } else {
            match self.following {
                Some(region) => (region.batch, 0, region.column_start as usize),
                None => return Rows::NONE,
            }
        };
        let depth_end = contraction.depth.min(depth_start + most);
        let columns = kernels.panel_columns().min(contraction.columns - column);
        let (home, offset, row_stride, column_stride) = match &contraction.right {
            Operand::Arena(place) => {
                let offset = place.batch_offset(&contraction.batch, batch as usize);
                let offset = offset + column as isize * place.column_stride;
                (place.home, offset, place.row_stride, place.column_stride)
            }
            // Panels of neighbours.
            Operand::Scattered(place) if plan.right == Access::InPlace => {
                let Some(row_stride) = place.rows.stride() else { return Rows::NONE };
                let offset = place.batch_offset(&contraction.batch, batch as usize);
                (place.home, offset + place.columns.offset(column), row_stride, 1)
            }
            _ => return Rows::NONE,
        };
        let start = home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        let start = start.wrapping_offset(offset + depth_start as isize * row_stride);
        let (rows, length, stride) = match (row_stride, column_stride) {
            (stride, 1) => (depth_end - depth_start, columns, stride),
            (1, stride) => (columns, depth_end - depth_start, stride),
            _ => return Rows::NONE,
        };
        let (bytes, stride) = (length * size_of::<T>(), stride * size_of::<T>() as isize);
        // The second half of rows of a panel came with the first.
        if stride == PAIR as isize && !(column * size_of::<T>()).is_multiple_of(PAIR) {
            return Rows::NONE;
        }
        Rows::new(start.cast(), rows, bytes, stride).shared(tiles, depth.len())
    }

    /// What kernels look up for a range of the depth and columns from this one of the block on: the left
    /// operand's columns, the right operand's rows, vectors of columns.
    fn tables(&self, depth: &Range<usize>, column: usize) -> [*const isize; 3] {
        let Driver { kernels, plan, .. } = self.driver;
        let Some(tables) = &plan.tables else {
            return [ONE_STRETCH.as_ptr(), ONE_STRETCH.as_ptr(), ptr::null()];
        };
        let first = depth.start / tables.stretch;
        let from = |access: Access| if access == Access::InPlace { first } else { 0 };
        let vectors = match &tables.columns {
            Some(lanes) => {
                let block = lanes.block(self.region.column_start as usize);
                lanes.offsets(block + column / kernels.lanes).as_ptr()
            }
            None => tables.neighbours.as_ptr(),
        };
        [
            tables.left[from(plan.left)..].as_ptr(),
            tables.right[from(plan.right)..].as_ptr(),
            vectors,
        ]
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

    /// Where a row of the block starts in the left operand.
    fn left_row(&self, left: Matrix<T>, row: usize) -> *const T {
        match &self.driver.plan.left_runs {
            Some(runs) => {
                left.start.wrapping_offset(runs.offset(self.region.row_start as usize + row))
            }
            None => left.element(row, 0),
        }
    }

    /// The left operand's rows of this block and columns of this range, packed if need be.
    unsafe fn left(&self, depth: &Range<usize>) -> Matrix<T> {
        let Driver { contraction, plan, kernels } = self.driver;
        let stride = plan.left_stride as isize;
        let start = self.frame.scratch.wrapping_add(plan.left_offset).cast();
        let packed = Matrix { start, row_stride: stride, column_stride: 1 };
        match &contraction.left {
            Operand::Generated(function) => {
                let region = Region {
                    column_start: depth.start as u64,
                    column_end: depth.end as u64,
                    ..self.region
                };
                // SAFETY: the plan made room for the block in scratch memory.
                unsafe { self.call(*function, packed, &region) };
                packed
            }
            Operand::Scattered(place) => {
                let (first, base) = (self.region.row_start as usize, self.base(place));
                let Some(copying) = &plan.left_copy else {
                    // Kernels look up where columns are, or where neighbours begin.
                    let column = if plan.tables.is_some() { 0 } else { depth.start as isize };
                    let (row, row_stride) = match &plan.left_runs {
                        Some(runs) => (0, runs.stride),
                        None => (place.rows.offset(first), place.rows.stride().unwrap_or(0)),
                    };
                    let start = base.wrapping_offset(row + column);
                    return Matrix { start, row_stride, column_stride: 1 };
                };
                // SAFETY: as above.
                unsafe {
                    if left_is_by_column(contraction) {
                        let rows = (first, self.rows);
                        self.copy(copying, base, depth.clone(), rows, 0, packed);
                        packed.transposed()
                    } else {
                        let lines = first..first + self.rows;
                        self.copy(copying, base, lines, (depth.start, depth.len()), 0, packed);
                        packed
                    }
                }
            }
            Operand::Arena(place) => {
                let source = self.matrix(place).at(self.region.row_start as usize, depth.start);
                if plan.left == Access::InPlace {
                    return if plan.tables.is_some() {
                        self.matrix(place).at(self.region.row_start as usize, 0)
                    } else {
                        source
                    };
                }
                // SAFETY: as above.
                unsafe {
                    if left_is_by_column(contraction) {
                        pack::copy(source.transposed(), packed, depth.len(), self.rows, kernels);
                        packed.transposed()
                    } else {
                        pack::copy(source, packed, self.rows, depth.len(), kernels);
                        packed
                    }
                }
            }
        }
    }

    /// The right operand's rows of this range and columns of a panel that starts at `column` of
    /// this block, packed if need be.
    unsafe fn right(&self, depth: &Range<usize>, column: usize, columns: usize) -> Matrix<T> {
        let Driver { contraction, plan, kernels } = self.driver;
        let first_column = self.region.column_start as usize + column;
        // Panels lie one after the other, those of each depth block together.
        let panel = if plan.resident {
            let panels = self.columns.div_ceil(plan.panel_columns);
            depth.start / plan.depth_block * panels + column / plan.panel_columns
        } else {
            0
        };
        let start = self.frame.scratch.wrapping_add(plan.right_offset).cast::<T>();
        let start = start.wrapping_add(panel * plan.depth_block * plan.panel_stride);
        let packed = Matrix { start, row_stride: plan.panel_stride as isize, column_stride: 1 };
        if plan.resident && !self.first {
            return packed;
        }
        match &contraction.right {
            Operand::Generated(function) => {
                let region = Region {
                    batch: self.region.batch,
                    row_start: depth.start as u64,
                    row_end: depth.end as u64,
                    column_start: first_column as u64,
                    column_end: (first_column + columns) as u64,
                };
                // SAFETY: the plan made room for the panel in scratch memory.
                unsafe { self.call(*function, packed, &region) };
                packed
            }
            Operand::Scattered(place) => {
                let base = self.base(place);
                let Some(copying) = &plan.right_copy else {
                    // Kernels look up rows, or where rows at equal distances begin, and columns in
                    // the first case.
                    let (_, row_stride) = place.rows.run();
                    let column = place.columns.offset(first_column);
                    let offset = match plan.stretch() {
                        Some(1) => 0,
                        Some(_) => column,
                        None => column + depth.start as isize * row_stride,
                    };
                    let start = base.wrapping_offset(offset);
                    return Matrix { start, row_stride, column_stride: 1 };
                };
                // SAFETY: as above.
                unsafe {
                    if copying.across {
                        let lines = first_column..first_column + columns;
                        self.copy(copying, base, lines, (depth.start, depth.len()), 0, packed);
                    } else {
                        let block = (self.region.column_start as usize, columns);
                        let skipped = column / kernels.lanes;
                        self.copy(copying, base, depth.clone(), block, skipped, packed);
                    }
                }
                packed
            }
            Operand::Arena(place) => {
                let source = self.matrix(place).at(depth.start, first_column);
                if plan.right == Access::InPlace {
                    return match plan.tables {
                        Some(_) => self.matrix(place).at(0, first_column),
                        None => source,
                    };
                }
                // SAFETY: as above.
                unsafe { pack::copy(source, packed, depth.len(), columns, kernels) };
                packed
            }
        }
    }

    /// Copies lines of a scattered operand, from elements along them that start with group
    /// `skipped` of the block at `start`, as many as `length`.
    unsafe fn copy(
        &self,
        copying: &Copying,
        source: *const T,
        lines: Range<usize>,
        (start, length): (usize, usize),
        skipped: usize,
        target: Matrix<T>,
    ) {
        let copy = Copy {
            source,
            lines: &copying.lines[lines],
            lanes: &copying.lanes,
            group: copying.lanes.block(start) + skipped,
            length,
            target: target.start,
            target_stride: target.row_stride,
        };
        let Kernels { along, across, .. } = self.driver.kernels;
        // SAFETY: by the caller's promise.
        unsafe { if copying.across { across(&copy) } else { along(&copy) } }
    }

    /// Element (0, 0) of a scattered operand's matrix of this block's batch index.
    fn base(&self, place: &Scattered) -> *mut T {
        let batch = &self.driver.contraction.batch;
        let start = place.home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        start.wrapping_offset(place.batch_offset(batch, self.region.batch as usize))
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

    /// The matrix of this block's batch index.
    fn matrix(&self, place: &Strided) -> Matrix<T> {
        let batch = &self.driver.contraction.batch;
        let start = place.home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        Matrix {
            start: start.wrapping_offset(place.batch_offset(batch, self.region.batch as usize)),
            row_stride: place.row_stride,
            column_stride: place.column_stride,
        }
    }
}

/// Tiles of equal length along an axis, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub start: usize,
    pub length: usize,
    pub count: usize,
}

impl Tiles {
    /// The first ones, and the others.
    fn split(self, first: usize) -> impl Iterator<Item = Tiles> {
        let rest = Tiles {
            start: self.start + first * self.length,
            count: self.count - first,
            ..self
        };
        [Tiles { count: first, ..self }, rest].into_iter().filter(|tiles| tiles.count > 0)
    }

    /// (start, length) of each.
    fn each(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).map(move |tile| (self.start + tile * self.length, self.length))
    }
}

/// Cuts `extent` into the fewest tiles of at most `most`, as even as possible, larger ones first.
pub(super) fn even_tiles(extent: usize, most: usize) -> impl Iterator<Item = Tiles> {
    let tiles = extent.div_ceil(most);
    let (base, longer) = (extent / tiles.max(1), extent % tiles.max(1));
    let long = Tiles { start: 0, length: base + 1, count: longer };
    let short = Tiles { start: longer * (base + 1), length: base, count: tiles - longer };
    [long, short].into_iter().filter(|tiles| tiles.count > 0)
}

/// Vectors of the next panel when `rest` vectors of columns remain: a power of two, at most
/// `most`, of which at least three quarters are used.
fn panel_width(rest: usize, most: usize) -> usize {
    let covering = rest.next_power_of_two();
    let width = if 4 * rest >= 3 * covering { covering } else { covering / 2 };
    width.min(most)
}
