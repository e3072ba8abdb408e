//! Convolutions in the transformed space: tiles of the input are transformed, multiplied by
//! transformed kernels, point by point, and transformed back.

use std::ops::Range;
use std::ptr;

use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::kernel::{KERNEL_PANEL, WinogradKernel};
use super::results::Results;
use super::tiles::{Grid, Images};
use super::{CHANNEL_STEP, ENOUGH_PIECES, point_stride, row_stride};
use crate::cpu::Cpu;
use crate::gemm::ahead::{Ahead, Rows};
use crate::gemm::kernel::{Kernels, ONE_STRETCH, Tile};
use crate::gemm::kernels;
use crate::gemm::plan::{blocks, even_block};
use crate::gemm::tiles::{Tiles, even_tiles};

/// Tiles of a piece are a multiple of this, the rows of the highest micro-kernels.
const TILE_STEP: usize = 14;

/// Most tiles that are multiplied at once.
const MOST_TILES: usize = 4 * TILE_STEP;
const LEAST_TILES: usize = 2 * TILE_STEP;

/// Bytes of transformed inputs that a piece keeps.
const INPUT_BYTES: usize = 1 << 20;

/// Most channels of results that wait to be transformed back: whole panels.
const MOST_COLUMNS: usize = 2 * KERNEL_PANEL;

/// Terms summed in one chain, as in other products.
const DEPTH_BLOCK: usize = 320;

/// A convolution with stride 1 of `[samples, rows, columns, from]` with the panels of
/// a [`WinogradKernel`], to `[samples, rows, columns, to]`. Where windows reach out of the input, there are
/// zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Winograd {
    /// Number of images.
    pub samples: usize,
    /// Channels of the input.
    pub from: usize,
    /// Channels of the result.
    pub to: usize,
    /// Rows and columns of the input.
    pub input: [usize; 2],
    /// Zeros above and left of it.
    pub low: [usize; 2],
    /// Rows and columns of the result.
    pub result: [usize; 2],
    /// Rows and columns of a tile of the result: 2 or 4.
    pub tile: usize,
    /// Whether a routine of its own transforms the input, instead of each piece its part.
    pub transformed: bool,
}

impl Winograd {
    /// The same with its input transformed by a routine of its own if several pieces would transform it.
    pub fn planned(self) -> Winograd {
        Winograd { transformed: self.column_groups() > 1, ..self }
    }

    /// The transformed kernels that it takes, made of kernels that lie one way or the other.
    pub fn kernel(&self, turned: bool) -> WinogradKernel {
        WinogradKernel { to: self.to, from: self.from, turned, tile: self.tile }
    }

    /// Elements of the transformed kernels, the input and the result.
    pub fn elements(&self) -> [usize; 3] {
        let size = |extents: [usize; 2]| self.samples * extents[0] * extents[1];
        [
            self.kernel(false).elements(),
            match self.transformed {
                true => self.transformed_elements(),
                false => size(self.input) * self.from,
            },
            size(self.result) * self.to,
        ]
    }

    /// Elements of the transformed input: blocks of tiles, each with all its points, `[points, tiles, channels]`.
    pub fn transformed_elements(&self) -> usize {
        self.tile_blocks() * self.block_elements()
    }

    /// Elements from a point of a block of transformed tiles to the next.
    pub fn input_stride(&self) -> usize {
        point_stride(self.tile_block() * self.input_row())
    }

    /// Elements from a transformed tile to the next.
    pub fn input_row(&self) -> usize {
        row_stride(self.from)
    }

    /// Elements of a block of transformed tiles.
    fn block_elements(&self) -> usize {
        self.points() * self.input_stride()
    }

    fn grid(&self) -> Grid {
        Grid::new(self.result, self.tile)
    }

    /// Tiles of results in all samples.
    pub fn tiles(&self) -> usize {
        self.samples * self.grid().tiles()
    }

    /// Elements of a transformed tile.
    pub fn points(&self) -> usize {
        self.kernel(false).points()
    }

    /// Tiles of a piece: as few as make enough pieces, since each block of channels of the same tiles reads
    /// them again.
    pub fn tile_block(&self) -> usize {
        let fitting = INPUT_BYTES / (4 * self.points() * self.input_row());
        let most = fitting.min(self.tiles() / ENOUGH_PIECES) / TILE_STEP * TILE_STEP;
        most.clamp(LEAST_TILES, MOST_TILES)
    }

    fn tile_blocks(&self) -> usize {
        self.tiles().div_ceil(self.tile_block())
    }

    fn tiles_of(&self, block: usize) -> Range<usize> {
        let first = block * self.tile_block();
        first..self.tiles().min(first + self.tile_block())
    }

    /// Channels of the result of a piece.
    fn column_block(&self) -> usize {
        let groups = ENOUGH_PIECES.div_ceil(self.tile_blocks().max(1));
        self.to.div_ceil(groups).next_multiple_of(KERNEL_PANEL)
    }

    /// Groups of channels of the result, each of which transforms all inputs, or reads them transformed.
    pub fn column_groups(&self) -> usize {
        self.to.div_ceil(self.column_block())
    }

    /// Vectors of channels of the input.
    fn input_vectors(&self) -> usize {
        self.from.div_ceil(CHANNEL_STEP)
    }

    /// Groups of channels of the input, where a routine of its own transforms it.
    fn input_groups(&self) -> usize {
        ENOUGH_PIECES.div_ceil(self.tile_blocks().max(1)).min(self.input_vectors())
    }

    pub(crate) fn input_pieces(&self) -> usize {
        self.tile_blocks() * self.input_groups()
    }

    pub(crate) fn pieces(&self) -> usize {
        self.tile_blocks() * self.column_groups()
    }

    /// Channels of the result that are transformed back at once.
    fn columns_at_once(&self) -> usize {
        even_block(self.column_block(), MOST_COLUMNS).next_multiple_of(KERNEL_PANEL)
    }

    /// Elements from a tile of products to the next, and from a point.
    fn product_strides(&self) -> [usize; 2] {
        let row = row_stride(self.columns_at_once());
        [row, point_stride(self.tile_block() * row)]
    }

    pub(crate) fn input_scratch_bytes(&self) -> usize {
        4 * row_stride(self.from)
    }

    pub(crate) fn scratch_bytes(&self) -> usize {
        let [_, product] = self.product_strides();
        let inputs = if self.transformed { 0 } else { self.block_elements() };
        self.input_scratch_bytes() + 4 * (inputs + self.points() * product)
    }

    /// Transforms the inputs of a piece, [`Winograd::input_pieces`], for a convolution that takes them
    /// transformed.
    ///
    /// # Safety
    /// As for [`Winograd::run_piece`], with `target` for transformed inputs and
    /// [`Winograd::input_scratch_bytes`] of scratch memory.
    pub(crate) unsafe fn transform_piece(
        &self,
        cpu: Cpu,
        input: *const f32,
        target: *mut f32,
        scratch: *mut f32,
        piece: usize,
    ) {
        let groups = self.input_groups();
        let (block, group) = (piece / groups, piece % groups);
        let end =
            |group: usize| self.from.min(CHANNEL_STEP * (self.input_vectors() * group / groups));
        let target = target.wrapping_add(block * self.block_elements());
        let channels = end(group)..end(group + 1);
        // SAFETY: by the caller's promise; these channels of the block are the piece's.
        unsafe { self.transform(cpu, input, target, scratch, block, channels) };
    }

    /// Transforms some channels of a block of tiles. `zeros` has room for all channels.
    unsafe fn transform(
        &self,
        cpu: Cpu,
        input: *const f32,
        target: *mut f32,
        zeros: *mut f32,
        block: usize,
        channels: Range<usize>,
    ) {
        let inputs = Inputs {
            images: Images {
                start: input,
                extents: self.input,
                low: self.low,
                channels: self.from,
                zeros,
            },
            grid: self.grid(),
            side: self.tile,
            tiles: self.tiles_of(block),
            channels,
            target,
            strides: [self.input_row(), self.input_stride()],
        };
        // SAFETY: by the caller's promise.
        unsafe {
            ptr::write_bytes(zeros, 0, self.from);
            inputs.transform(cpu);
        }
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions. Pointers lead to as many elements as
    /// [`Winograd::elements`] says and to [`Winograd::scratch_bytes`] of scratch memory, aligned to
    /// cache lines; nobody writes the operands or uses the piece's part of the result meanwhile.
    pub(crate) unsafe fn run_piece(
        &self,
        cpu: Cpu,
        [transformed_kernels, input]: [*const f32; 2],
        result: *mut f32,
        scratch: *mut f32,
        piece: usize,
    ) {
        let groups = self.column_groups();
        let (block, group) = (piece / groups, piece % groups);
        let tiles = self.tiles_of(block);
        let (zeros, scratch) = (scratch, scratch.wrapping_add(self.input_scratch_bytes() / 4));
        let (transformed, products) = if self.transformed {
            (input.wrapping_add(block * self.block_elements()), scratch)
        } else {
            // SAFETY: by the caller's promise; scratch memory has room for all transformed tiles.
            unsafe { self.transform(cpu, input, scratch, zeros, block, 0..self.from) };
            (scratch.cast_const(), scratch.wrapping_add(self.block_elements()))
        };
        let [product_row, product_stride] = self.product_strides();
        let end = self.to.min((group + 1) * self.column_block());
        let mut channel = group * self.column_block();
        while channel < end {
            let columns = self.columns_at_once().min(end - channel);
            let kernel_stride = self.kernel(false).point_stride();
            for point in 0..self.points() {
                let panels = point * kernel_stride + channel * self.from;
                let panels = transformed_kernels.wrapping_add(panels);
                let product = Product {
                    depth: self.from,
                    left: transformed.wrapping_add(point * self.input_stride()),
                    left_row: self.input_row(),
                    rows: tiles.len(),
                    right: panels,
                    next_right: panels.wrapping_add(kernel_stride),
                    columns,
                    output: products.wrapping_add(point * product_stride),
                    output_row: product_row,
                };
                // SAFETY: as above.
                unsafe { product.compute(kernels(cpu)) };
            }
            let results = Results {
                source: products,
                strides: [product_row, product_stride],
                grid: self.grid(),
                side: self.tile,
                tiles: tiles.clone(),
                channels: columns,
                target: result.wrapping_add(channel),
                extents: self.result,
                place: self.to,
            };
            // SAFETY: as above; these channels of the tiles' results are this piece's.
            unsafe { results.transform(cpu) };
            channel += columns;
        }
    }
}

/// The product of the transformed tiles with the transformed kernels of some channels, for one point.
struct Product {
    depth: usize,
    left: *const f32,
    left_row: usize,
    rows: usize,
    /// Panels of kernels.
    right: *const f32,
    /// Those that come after them.
    next_right: *const f32,
    columns: usize,
    output: *mut f32,
    output_row: usize,
}

impl Product {
    /// Computes it.
    ///
    /// # Safety
    /// As for [`Winograd::run_piece`].
    unsafe fn compute(&self, kernels: &Kernels<f32>) {
        let &Product { depth, left, left_row, rows, columns, output_row, .. } = self;
        let tiles = rows.div_ceil(kernels.outer.len());
        for (start, length) in blocks(depth, even_block(depth, DEPTH_BLOCK)) {
            for (panel, width) in blocks(columns, KERNEL_PANEL) {
                let right = self.right.wrapping_add(panel * depth + start * KERNEL_PANEL);
                // Kernels come from memory, the first time that they are read.
                let next = if panel + width < columns {
                    right.wrapping_add(depth * KERNEL_PANEL)
                } else if start + length < depth {
                    self.right.wrapping_add((start + length) * KERNEL_PANEL)
                } else {
                    self.next_right
                };
                let ahead =
                    Rows::new(next.cast(), 1, 4 * length * KERNEL_PANEL, 0).shared(tiles, length);
                for (column, width) in blocks(width, kernels.panel_columns()) {
                    // Whole vectors, for which there is room.
                    let vectors = width.div_ceil(kernels.lanes);
                    let mut number = 0;
                    for Tiles { start: row, length: height, count } in
                        even_tiles(rows, kernels.outer.len())
                    {
                        let ahead = match column {
                            0 => ahead.part(number, count),
                            _ => Ahead::NONE,
                        };
                        let tile = Tile {
                            count,
                            steps: ptr::null(),
                            depth: length,
                            stretches: 1,
                            left: left.wrapping_add(row * left_row + start),
                            left_row_stride: left_row as isize,
                            left_depth_stride: 1,
                            left_steps: ONE_STRETCH.as_ptr(),
                            right: right.wrapping_add(column),
                            right_depth_stride: KERNEL_PANEL as isize,
                            right_column_stride: 1,
                            right_steps: ONE_STRETCH.as_ptr(),
                            right_vectors: ptr::null(),
                            output: self.output.wrapping_add(row * output_row + panel + column),
                            output_stride: output_row as isize,
                            columns: vectors * kernels.lanes,
                            accumulate: start > 0,
                            ahead,
                        };
                        // SAFETY: by the caller's promise; every height has kernels of one vector and two.
                        unsafe { kernels.outer[height - 1][vectors - 1](&tile) };
                        number += count;
                    }
                }
            }
        }
    }
}
