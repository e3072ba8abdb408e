//! Sums for the gradient of kernels in the transformed space. With `U = A dy A^T` of a tile of a channel's
//! cotangent and `V = B^T d B` of a channel's input, the gradient of the kernel between them is `G^T M G`,
//! where `M` is the sum of `U * V`, point by point, over all tiles: for each point a matrix product whose
//! depth are the tiles.
//!
//! A piece computes some rows of points, for a block of channels on either side and a part of the tiles:
//! as many that the sums stay in the second-level cache while tiles pass by. Rows of points have little in
//! common that would be transformed again.

use std::ptr;

use serde::{Deserialize, Serialize};

use super::filter;
use super::tiles::{Parts, Strip, Visit, places};
use super::{ENOUGH_PIECES, LEAST_TILES, MOST_TILES, along_tiles, point_stride};
use crate::cpu::Cpu;
use crate::gemm::ahead::Ahead;
use crate::gemm::driver::even_tiles;
use crate::gemm::kernel::{Kernels, Tile};
use crate::gemm::kernels;
use crate::gemm::places::Lanes;
use crate::gemm::plan::{blocks, even_block};
use crate::gemm::vector::Vector;
use crate::simd::{MAX_LANES, multiversion};

/// Rows of a tile of the cotangent, and of the transformed ones.
const TILE: usize = 2;
const SIDE: usize = 4;

/// Most channels of a block: of the cotangent, and of the input, which takes longer to transform.
const MOST_ROWS: usize = 256;
const MOST_COLUMNS: usize = 128;

/// Blocks of input channels are multiples of the vectors of every instruction set.
const CHANNEL_STEP: usize = 16;

/// Bytes that a piece uses at once.
const BYTES: usize = 1 << 19;

/// Bytes of sums of a piece, if it has several rows of points.
const SUM_BYTES: usize = 5 << 16;

/// Blocks of tiles that are worth sums of their own.
const LEAST_BLOCKS: usize = 4;

/// Most bytes of partial sums.
const PART_BYTES: usize = 4 << 20;

/// The gradient of the kernels of a convolution with stride 1 from `[samples, from, rows + 2, columns + 2]`,
/// given a cotangent `[samples, to, rows, columns]`, where rows and columns are
/// [`WinogradGradient::extents`]. The result are sums in the transformed space,
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
    /// Rows of the cotangent.
    pub height: usize,
    /// Columns of the cotangent.
    pub width: usize,
}

impl WinogradGradient {
    /// Points of a tile.
    pub const POINTS: usize = SIDE * SIDE;

    /// Rows and columns of the cotangent in whole tiles.
    pub fn extents(&self) -> [usize; 2] {
        [self.height, self.width].map(|extent| extent.next_multiple_of(TILE))
    }

    /// Tiles of all samples.
    pub fn tiles(&self) -> usize {
        self.samples * self.extents().map(|extent| extent / TILE).iter().product::<usize>()
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
        let (WinogradGradient { samples, from, to, .. }, [height, width]) = (*self, self.extents());
        [
            samples * from * (height + 2) * (width + 2),
            samples * to * height * width,
            self.parts() * self.part(),
        ]
    }

    pub(crate) fn pieces(&self) -> usize {
        SIDE / self.point_rows() * self.parts() * self.blocks().iter().product::<usize>()
    }

    pub(crate) fn scratch_bytes(&self) -> usize {
        4 * SIDE * self.tile_block() * self.block().iter().sum::<usize>()
    }
}

/// A [`WinogradGradient`] made ready for an instruction set.
pub(crate) struct Prepared {
    shape: WinogradGradient,
    kernels: &'static Kernels<f32>,
    cpu: Cpu,
    /// Elements of some rows of the padded input, two for each tile.
    inputs: Lanes,
    /// The same for the cotangent.
    cotangents: Lanes,
}

impl Prepared {
    /// Prepares it.
    pub fn new(shape: &WinogradGradient, cpu: Cpu) -> Prepared {
        let (&WinogradGradient { samples, from, to, .. }, [height, width]) =
            (shape, shape.extents());
        let elements = |plane: usize, row: usize| {
            let blocks = blocks(TILE * shape.tiles(), TILE * shape.tile_block());
            let rows = (height / TILE, TILE * row);
            along_tiles([(samples, plane), rows, (width, 1)], cpu, blocks)
        };
        Prepared {
            shape: *shape,
            kernels: kernels(cpu),
            cpu,
            inputs: elements(from * (height + 2) * (width + 2), width + 2),
            cotangents: elements(to * height * width, width),
        }
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions. Pointers lead to as many elements as
    /// [`WinogradGradient::elements`] says and to [`WinogradGradient::scratch_bytes`] of scratch memory,
    /// aligned to cache lines; nobody writes the operands or uses the piece's part of the result
    /// meanwhile.
    pub unsafe fn run_piece(
        &self,
        [input, cotangent]: [*const f32; 2],
        result: *mut f32,
        scratch: *mut f32,
        piece: usize,
    ) {
        let shape = &self.shape;
        let [height, width] = shape.extents();
        let [rows, columns] = shape.block();
        let ([row_blocks, column_blocks], tile_block) = (shape.blocks(), shape.tile_block());
        let point_rows = shape.point_rows();
        let groups = SIDE / point_rows;
        let (piece, first_point_row) = (piece / groups, piece % groups * point_rows);
        let (rest, column_block) = (piece / column_blocks, piece % column_blocks);
        let (part, row_block) = (rest / row_blocks, rest % row_blocks);
        let (first_row, first_column) = (row_block * rows, column_block * columns);
        let used_rows = rows.min(shape.to - first_row);
        let point_stride = shape.point_stride();
        let sums = result.wrapping_add(piece * SIDE * SIDE * point_stride);
        let right = scratch.wrapping_add(SIDE * tile_block * rows);
        let panel = self.kernels.panel_columns();
        let end = |part: usize| shape.tile_blocks() * part / shape.parts();
        for block in end(part)..end(part + 1) {
            let first_tile = block * tile_block;
            let tiles = tile_block.min(shape.tiles() - first_tile);
            let strip = |lanes| Strip {
                lanes,
                group: Lanes::block(lanes, TILE * first_tile),
                tiles,
                columns: tile_block,
            };
            for point_row in first_point_row..first_point_row + point_rows {
                let plane = height * width;
                let cotangents = Points {
                    source: cotangent.wrapping_add(first_row * plane),
                    strip: strip(&self.cotangents),
                    channels: used_rows,
                    plane,
                    row: width,
                    point_row,
                    target: scratch,
                    columns: rows,
                    panel,
                };
                let plane = (height + 2) * (width + 2);
                let inputs = Points {
                    source: input.wrapping_add(first_column * plane),
                    strip: strip(&self.inputs),
                    channels: columns.min(shape.from - first_column),
                    plane,
                    row: width + 2,
                    point_row,
                    target: right,
                    columns,
                    panel,
                };
                // SAFETY: by the caller's promise; scratch memory has room for a row of points, and the
                // sums are this piece's.
                unsafe {
                    transform_cotangents::address(self.cpu)(&raw const cotangents);
                    transform_inputs::address(self.cpu)(&raw const inputs);
                    for point in 0..SIDE {
                        self.product(
                            scratch.wrapping_add(point * rows * tile_block),
                            right.wrapping_add(point * columns * tile_block),
                            sums.wrapping_add((point_row * SIDE + point) * point_stride),
                            [used_rows, tiles],
                            block > end(part),
                        );
                    }
                }
            }
        }
    }

    /// Adds the products of some tiles to the sums of a point, or begins with them.
    unsafe fn product(
        &self,
        left: *const f32,
        right: *const f32,
        sums: *mut f32,
        [rows, tiles]: [usize; 2],
        accumulate: bool,
    ) {
        let (tile_block, [_, columns]) = (self.shape.tile_block(), self.shape.block());
        for (column, width) in blocks(columns, self.kernels.panel_columns()) {
            for (row, height) in even_tiles(rows, self.kernels.outer.len()) {
                let tile = Tile {
                    depth: tiles,
                    left: left.wrapping_add(row * tile_block),
                    left_row_stride: tile_block as isize,
                    left_depth_stride: 1,
                    left_steps: ptr::null(),
                    right: right.wrapping_add(column * tile_block),
                    right_depth_stride: width as isize,
                    right_column_stride: 1,
                    right_steps: ptr::null(),
                    right_vectors: ptr::null(),
                    output: sums.wrapping_add(row * columns + column),
                    output_stride: columns as isize,
                    columns: width,
                    accumulate,
                    ahead: Ahead::NONE,
                };
                let vectors = width / self.kernels.lanes;
                // SAFETY: by the caller's promise; every height has kernels of one vector and two.
                unsafe { self.kernels.outer[height - 1][vectors - 1](&tile) };
            }
        }
    }
}

/// A row of points of tiles to transform.
#[repr(C)]
struct Points<'a> {
    source: *const f32,
    strip: Strip<'a>,
    channels: usize,
    plane: usize,
    row: usize,
    point_row: usize,
    /// Points of cotangents as `[4, columns, tiles]`; those of inputs, transposed, in panels:
    /// `[4, columns / panel, tiles, panel]`, of which the last may be narrower. A micro-kernel then reads one
    /// stretch of memory.
    target: *mut f32,
    columns: usize,
    /// Columns that a micro-kernel takes.
    panel: usize,
}

multiversion! {
    transform_cotangents(points: *const Points<'_>) = cotangents_of;
}

multiversion! {
    transform_inputs(points: *const Points<'_>) = inputs_of;
}

#[inline(always)]
unsafe fn cotangents_of<V: Vector<Element = f32>>(points: *const Points<'_>) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe { (*points).strip.each::<V, TILE>(&Cotangents(&*points)) }
}

#[inline(always)]
unsafe fn inputs_of<V: Vector<Element = f32>>(points: *const Points<'_>) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe { (*points).strip.each::<V, TILE>(&Inputs(&*points)) }
}

/// Tiles of the cotangent: a row of `A dy A^T`.
struct Cotangents<'a>(&'a Points<'a>);

impl<V: Vector<Element = f32>> Visit<V> for Cotangents<'_> {
    #[inline(always)]
    unsafe fn visit(&self, tile: usize, parts: &impl Parts<V>) {
        let points = self.0;
        let tiles = points.strip.columns;
        for channel in 0..points.channels {
            let source = points.source.wrapping_add(channel * points.plane);
            let target = points.target.wrapping_add(channel * tiles + tile);
            // SAFETY: by the promise to `Prepared::run_piece`.
            unsafe {
                let upper = places::<V, TILE>(source, parts);
                let lower = places::<V, TILE>(source.wrapping_add(points.row), parts);
                let mut row = upper;
                for ((value, upper), lower) in row.iter_mut().zip(upper).zip(lower) {
                    *value = match points.point_row {
                        0 => upper,
                        1 => upper + lower,
                        2 => upper - lower,
                        _ => -lower,
                    };
                }
                for (j, value) in filter::of_cotangents(row).into_iter().enumerate() {
                    value.store(target.wrapping_add(j * points.columns * tiles));
                }
            }
        }
    }
}

/// Tiles of the input: a row of `B^T d B`, transposed.
struct Inputs<'a>(&'a Points<'a>);

impl<V: Vector<Element = f32>> Visit<V> for Inputs<'_> {
    #[inline(always)]
    unsafe fn visit(&self, tile: usize, parts: &impl Parts<V>) {
        let points = self.0;
        let tiles = points.strip.columns;
        // Each row of points is the sum or the difference of two rows of the tile.
        let [first, second] = [[0, 2], [1, 2], [2, 1], [1, 3]][points.point_row];
        for group in (0..points.channels).step_by(V::LANES) {
            // SAFETY: by the promise to `Prepared::run_piece`.
            unsafe {
                let zero = V::load_first(points.source, 0);
                let mut transformed = [[zero; MAX_LANES]; SIDE];
                for lane in 0..V::LANES.min(points.channels - group) {
                    let source = points.source.wrapping_add((group + lane) * points.plane);
                    let mut row = [zero; SIDE];
                    for half in 0..2 {
                        let read = |i: usize| source.wrapping_add(i * points.row + half * TILE);
                        let first = places::<V, TILE>(read(first), parts);
                        let second = places::<V, TILE>(read(second), parts);
                        for (place, (first, second)) in first.into_iter().zip(second).enumerate() {
                            row[half * TILE + place] = match points.point_row {
                                1 => first + second,
                                _ => first - second,
                            };
                        }
                    }
                    let row = filter::of_inputs::<V, SIDE>(row);
                    for (transformed, value) in transformed.iter_mut().zip(row) {
                        transformed[lane] = value;
                    }
                }
                let panel = group / points.panel * points.panel;
                let width = points.panel.min(points.columns - panel);
                let target =
                    points.target.wrapping_add(panel * tiles + tile * width + group - panel);
                for (j, transformed) in transformed.into_iter().enumerate() {
                    let mut target = target.wrapping_add(j * points.columns * tiles);
                    let square = V::transpose(V::square(|lane| transformed[lane]));
                    for vector in square.as_ref() {
                        vector.store(target);
                        target = target.wrapping_add(width);
                    }
                }
            }
        }
    }
}
