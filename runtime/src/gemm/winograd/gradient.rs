//! Sums for the gradient of kernels in the transformed space. With `U = A dy A^T` of a tile of a channel's
//! cotangent and `V = B^T d B` of a channel's input, the gradient of the kernel between them is `G^T M G`,
//! where `M` is the sum of `U * V`, point by point, over all tiles: for each point a matrix product whose
//! depth are the tiles.
//!
//! A piece computes some rows of points, for a block of channels on either side and a part of the tiles:
//! as many that the sums stay in the second-level cache while tiles pass by. Rows of points have little in
//! common that would be transformed again.

use std::ops::Range;
use std::ptr;

use serde::{Deserialize, Serialize};

use super::filter;
use super::kernel::KERNEL_PANEL;
use super::tiles::{Grid, Images};
use super::{CHANNEL_STEP, ENOUGH_PIECES, point_stride, row_stride};
use crate::cpu::Cpu;
use crate::gemm::ahead::Ahead;
use crate::gemm::kernel::{Kernels, ONE_STRETCH, Tile};
use crate::gemm::kernels;
use crate::gemm::plan::{blocks, even_block};
use crate::gemm::tiles::{Tiles, even_tiles};
use crate::gemm::vector::Vector;
use crate::simd::multiversion;

/// Rows of a tile of the cotangent, and of the transformed ones.
const TILE: usize = 2;
const SIDE: usize = 4;

/// Tiles that are multiplied at once: at most, and at least.
const MOST_TILES: usize = 64;
const LEAST_TILES: usize = 32;

/// Most channels of a block: of the cotangent, and of the input.
const MOST_ROWS: usize = 256;
const MOST_COLUMNS: usize = 128;

/// Columns of a panel of transformed inputs, as of kernels.
const PANEL: usize = KERNEL_PANEL;

/// Bytes that a piece uses at once.
const BYTES: usize = 1 << 19;

/// Bytes of sums of a piece, if it has several rows of points.
const SUM_BYTES: usize = 5 << 16;

/// Blocks of tiles that are worth sums of their own.
const LEAST_BLOCKS: usize = 4;

/// Most bytes of partial sums.
const PART_BYTES: usize = 4 << 20;

/// The gradient of the kernels of a convolution with stride 1 of `[samples, rows, columns, from]`, with zeros
/// around it, given a cotangent `[samples, rows, columns, to]`. The result are sums in the transformed space,
/// `[parts, blocks of to, blocks of from, 16, point]`, where a point has `rows x columns` elements for the
/// channels of a block; taps ([`super::sums`]) are made of them. Elements behind the last channel mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WinogradGradient {
    /// Number of images.
    pub samples: usize,
    /// Channels of the input.
    pub from: usize,
    /// Channels of the cotangent.
    pub to: usize,
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Zeros above and left of it.
    pub low: [usize; 2],
    /// Rows and columns of the cotangent.
    pub cotangent: [usize; 2],
}

impl WinogradGradient {
    /// Points of a tile.
    pub const POINTS: usize = SIDE * SIDE;

    fn grid(&self) -> Grid {
        Grid::new(self.cotangent, TILE)
    }

    /// Tiles of all samples.
    pub fn tiles(&self) -> usize {
        self.samples * self.grid().tiles()
    }

    /// Channels of the cotangent and of the input in a block; in the last one there may be fewer.
    pub fn block(&self) -> [usize; 2] {
        let columns = even_block(self.from, MOST_COLUMNS).next_multiple_of(CHANNEL_STEP);
        [even_block(self.to, MOST_ROWS), columns]
    }

    /// Blocks of channels of the cotangent and of the input.
    pub fn blocks(&self) -> [usize; 2] {
        let [rows, columns] = self.block();
        [self.to.div_ceil(rows), self.from.div_ceil(columns)]
    }

    /// Elements from a point of a block to the next.
    pub fn point_stride(&self) -> usize {
        point_stride(self.block().iter().product())
    }

    /// Elements of a part of the sums.
    pub fn part(&self) -> usize {
        self.blocks().iter().product::<usize>() * Self::POINTS * self.point_stride()
    }

    /// Rows of points of a piece: as many as have sums that stay in cache, since each reads all tiles.
    fn point_rows(&self) -> usize {
        let fits = |rows: &usize| 4 * rows * SIDE * self.point_stride() <= SUM_BYTES;
        [SIDE, SIDE / 2].into_iter().find(fits).unwrap_or(1)
    }

    /// Tiles that are multiplied at once.
    fn tile_block(&self) -> usize {
        let [rows, columns] = self.block();
        let sums = 4 * self.point_rows() * SIDE * rows * columns;
        let fitting = BYTES.saturating_sub(sums) / (4 * SIDE * (rows + columns));
        (fitting / LEAST_TILES * LEAST_TILES).clamp(LEAST_TILES, MOST_TILES)
    }

    fn tile_blocks(&self) -> usize {
        self.tiles().div_ceil(self.tile_block())
    }

    /// Parts of the tiles with sums of their own: as many as make enough pieces, if their sums are few.
    pub fn parts(&self) -> usize {
        let others = SIDE / self.point_rows() * self.blocks().iter().product::<usize>();
        let most = (PART_BYTES / (4 * self.part())).min(self.tile_blocks() / LEAST_BLOCKS);
        (2 * ENOUGH_PIECES).div_ceil(others).min(most).max(1)
    }

    /// Elements of the input, the cotangent and the sums.
    pub fn elements(&self) -> [usize; 3] {
        let size = |extents: [usize; 2]| self.samples * extents[0] * extents[1];
        [size(self.input) * self.from, size(self.cotangent) * self.to, self.parts() * self.part()]
    }

    pub(crate) fn pieces(&self) -> usize {
        SIDE / self.point_rows() * self.parts() * self.blocks().iter().product::<usize>()
    }

    /// Elements from a tile of transformed cotangents to the next, and from a point.
    fn cotangent_strides(&self) -> [usize; 2] {
        let row = row_stride(self.block()[0]);
        [row, point_stride(self.tile_block() * row)]
    }

    /// Elements of a panel of transformed inputs, and from a point to the next.
    fn input_strides(&self) -> [usize; 2] {
        let panel = self.tile_block() * PANEL;
        [panel, point_stride(self.block()[1].div_ceil(PANEL) * panel)]
    }

    /// Elements of zeros, for what lies around images.
    fn zeros(&self) -> usize {
        self.block().map(row_stride).into_iter().max().unwrap_or(0)
    }

    pub(crate) fn scratch_bytes(&self) -> usize {
        let ([_, cotangents], [_, inputs]) = (self.cotangent_strides(), self.input_strides());
        4 * (self.zeros() + SIDE * (cotangents + inputs))
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions. Pointers lead to as many elements as
    /// [`WinogradGradient::elements`] says and to [`WinogradGradient::scratch_bytes`] of scratch memory,
    /// aligned to cache lines; nobody writes the operands or uses the piece's part of the result
    /// meanwhile.
    pub(crate) unsafe fn run_piece(
        &self,
        cpu: Cpu,
        [input, cotangent]: [*const f32; 2],
        result: *mut f32,
        scratch: *mut f32,
        piece: usize,
    ) {
        let [rows, columns] = self.block();
        let ([row_blocks, column_blocks], tile_block) = (self.blocks(), self.tile_block());
        let point_rows = self.point_rows();
        let groups = SIDE / point_rows;
        let (piece, first_point_row) = (piece / groups, piece % groups * point_rows);
        let (rest, column_block) = (piece / column_blocks, piece % column_blocks);
        let (part, row_block) = (rest / row_blocks, rest % row_blocks);
        let (first_row, first_column) = (row_block * rows, column_block * columns);
        let used_rows = rows.min(self.to - first_row);
        let sums = result.wrapping_add(piece * SIDE * SIDE * self.point_stride());
        let (zeros, left) = (scratch, scratch.wrapping_add(self.zeros()));
        let ([left_row, left_point], [_, right_point]) =
            (self.cotangent_strides(), self.input_strides());
        let right = left.wrapping_add(SIDE * left_point);
        // SAFETY: scratch memory has room for them.
        unsafe { ptr::write_bytes(zeros, 0, self.zeros()) };
        let end = |part: usize| self.tile_blocks() * part / self.parts();
        for block in end(part)..end(part + 1) {
            let first_tile = block * tile_block;
            let tiles = first_tile..self.tiles().min(first_tile + tile_block);
            for point_row in first_point_row..first_point_row + point_rows {
                let cotangents = Points {
                    images: Images {
                        start: cotangent.wrapping_add(first_row),
                        extents: self.cotangent,
                        low: [0; 2],
                        channels: self.to,
                        zeros,
                    },
                    grid: self.grid(),
                    tiles: tiles.clone(),
                    channels: used_rows,
                    point_row,
                    target: left,
                    strides: self.cotangent_strides(),
                };
                let inputs = Points {
                    images: Images {
                        start: input.wrapping_add(first_column),
                        extents: self.input,
                        low: self.low,
                        channels: self.from,
                        zeros,
                    },
                    channels: columns.min(self.from - first_column),
                    target: right,
                    strides: self.input_strides(),
                    ..cotangents.clone()
                };
                // SAFETY: by the caller's promise; scratch memory has room for a row of points, and the
                // sums are this piece's.
                unsafe {
                    transform_cotangents::address(cpu)(&raw const cotangents);
                    transform_inputs::address(cpu)(&raw const inputs);
                    for point in 0..SIDE {
                        let product = Product {
                            tiles: tiles.len(),
                            left: left.wrapping_add(point * left_point),
                            left_row,
                            rows: used_rows,
                            right: right.wrapping_add(point * right_point),
                            panel: tile_block * PANEL,
                            columns,
                            sums: sums
                                .wrapping_add((point_row * SIDE + point) * self.point_stride()),
                            accumulate: block > end(part),
                        };
                        product.add(kernels(cpu));
                    }
                }
            }
        }
    }
}

/// The product of some transformed tiles, for one point: of the channels of cotangents with those of inputs.
struct Product {
    tiles: usize,
    left: *const f32,
    left_row: usize,
    rows: usize,
    right: *const f32,
    panel: usize,
    columns: usize,
    sums: *mut f32,
    accumulate: bool,
}

impl Product {
    /// Adds it to the sums of the point, or begins with it.
    ///
    /// # Safety
    /// As for [`WinogradGradient::run_piece`].
    unsafe fn add(&self, kernels: &Kernels<f32>) {
        for (column, width) in blocks(self.columns, kernels.panel_columns()) {
            let right = column / PANEL * self.panel + column % PANEL;
            for Tiles { start: row, length: height, count } in
                even_tiles(self.rows, kernels.outer.len())
            {
                let tile = Tile {
                    count,
                    steps: ptr::null(),
                    depth: self.tiles,
                    stretches: 1,
                    left: self.left.wrapping_add(row),
                    left_row_stride: 1,
                    left_depth_stride: self.left_row as isize,
                    left_steps: ONE_STRETCH.as_ptr(),
                    right: self.right.wrapping_add(right),
                    right_depth_stride: PANEL as isize,
                    right_column_stride: 1,
                    right_steps: ONE_STRETCH.as_ptr(),
                    right_vectors: ptr::null(),
                    output: self.sums.wrapping_add(row * self.columns + column),
                    output_stride: self.columns as isize,
                    columns: width,
                    accumulate: self.accumulate,
                    ahead: Ahead::NONE,
                };
                let vectors = width / kernels.lanes;
                // SAFETY: by the caller's promise; every height has kernels of one vector and two.
                unsafe { kernels.outer[height - 1][vectors - 1](&tile) };
            }
        }
    }
}

/// A row of points of tiles to transform.
#[repr(C)]
#[derive(Clone)]
struct Points {
    images: Images,
    grid: Grid,
    tiles: Range<usize>,
    channels: usize,
    point_row: usize,
    /// Points of cotangents as `[4, tiles, channels]`; those of inputs in panels of channels:
    /// `[4, channels / panel, tiles, panel]`. A micro-kernel then reads one stretch of memory.
    target: *mut f32,
    /// Elements from a tile to the next, or from a panel; and from a point.
    strides: [usize; 2],
}

multiversion! {
    transform_cotangents(points: *const Points) = cotangents_of;
}

multiversion! {
    transform_inputs(points: *const Points) = inputs_of;
}

/// Tiles of the cotangent: a row of `A dy A^T`.
#[inline(always)]
unsafe fn cotangents_of<V: Vector<Element = f32>>(points: *const Points) {
    // SAFETY: by the promise to `WinogradGradient::run_piece`; there is room for whole vectors.
    unsafe {
        let points = &*points;
        let [tile_stride, point_stride] = points.strides;
        for (number, tile) in points.tiles.clone().enumerate() {
            let (image, place) = points.grid.place(tile);
            let places = points.images.places::<TILE, TILE>(image, place);
            let target = points.target.wrapping_add(number * tile_stride);
            for channel in (0..points.channels).step_by(V::LANES) {
                let count = V::LANES.min(points.channels - channel);
                let mut row = [V::load_first(places[0][0], 0); TILE];
                for (j, value) in row.iter_mut().enumerate() {
                    let upper = V::load_first(places[0][j].wrapping_add(channel), count);
                    let lower = V::load_first(places[1][j].wrapping_add(channel), count);
                    *value = match points.point_row {
                        0 => upper,
                        1 => upper + lower,
                        2 => upper - lower,
                        _ => -lower,
                    };
                }
                for (j, value) in filter::of_cotangents(row).into_iter().enumerate() {
                    value.store(target.wrapping_add(j * point_stride + channel));
                }
            }
        }
    }
}

/// Tiles of the input: a row of `B^T d B`.
#[inline(always)]
unsafe fn inputs_of<V: Vector<Element = f32>>(points: *const Points) {
    // SAFETY: by the promise to `WinogradGradient::run_piece`; there is room for whole vectors.
    unsafe {
        let points = &*points;
        let [panel_stride, point_stride] = points.strides;
        // Each row of points is the sum or the difference of two rows of the tile.
        let (first, second) = [(0, 2), (1, 2), (2, 1), (1, 3)][points.point_row];
        for (number, tile) in points.tiles.clone().enumerate() {
            let (image, place) = points.grid.place(tile);
            let places = points.images.places::<SIDE, SIDE>(image, place);
            for channel in (0..points.channels).step_by(V::LANES) {
                let count = V::LANES.min(points.channels - channel);
                let mut row = [V::load_first(places[0][0], 0); SIDE];
                for (j, value) in row.iter_mut().enumerate() {
                    let a = V::load_first(places[first][j].wrapping_add(channel), count);
                    let b = V::load_first(places[second][j].wrapping_add(channel), count);
                    *value = match points.point_row {
                        1 => a + b,
                        _ => a - b,
                    };
                }
                let target = channel / PANEL * panel_stride + channel % PANEL;
                let target = points.target.wrapping_add(number * PANEL + target);
                for (j, value) in filter::of_inputs::<V, SIDE>(row).into_iter().enumerate() {
                    value.store(target.wrapping_add(j * point_stride));
                }
            }
        }
    }
}
