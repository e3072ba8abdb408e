//! Convolutions in the transformed space: tiles of the input are transformed, multiplied by
//! transformed kernels, point by point, and transformed back.

use std::ops::Range;
use std::ptr;

use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::kernel::{KERNEL_PANEL, WinogradKernel};
use super::results::Results;
use super::tiles::Strip;
use super::{ENOUGH_PIECES, LEAST_TILES, MOST_TILES, along_tiles, point_stride};
use crate::cpu::Cpu;
use crate::gemm::ahead::{Ahead, Rows};
use crate::gemm::driver::even_tiles;
use crate::gemm::kernel::{Kernels, Tile};
use crate::gemm::kernels;
use crate::gemm::places::Lanes;
use crate::gemm::plan::{blocks, even_block};

/// Tiles of the only piece of a small image: a multiple of one vector of every instruction set.
const FEW_TILES: usize = 16;

/// Bytes of transformed inputs that a piece keeps.
const INPUT_BYTES: usize = 1 << 20;

/// Most channels of results that wait to be transformed back: whole panels.
const MOST_ROWS: usize = 6 * KERNEL_PANEL;

/// Terms summed in one chain, as in other products.
const DEPTH_BLOCK: usize = 320;

/// A convolution with stride 1 of `[samples, from, rows + 2, columns + 2]` with the panels of
/// a [`WinogradKernel`], to `[samples, to, rows, columns]`: these are [`Winograd::extents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Winograd {
    /// Number of images.
    pub samples: usize,
    /// Channels of the input.
    pub from: usize,
    /// Channels of the result.
    pub to: usize,
    /// Rows that are wanted.
    pub height: usize,
    /// Columns that are wanted.
    pub width: usize,
    /// Rows and columns of a tile of the result: 2 or 4.
    pub tile: usize,
    /// Whether a routine of its own transforms the input, instead of each piece its part.
    pub transformed: bool,
}

impl Winograd {
    /// The same with its input transformed by a routine of its own if several pieces would transform it.
    pub fn planned(self) -> Winograd {
        Winograd { transformed: self.row_groups() > 1, ..self }
    }

    /// The transformed kernels that it takes, made of kernels that lie one way or the other.
    pub fn kernel(&self, turned: bool) -> WinogradKernel {
        WinogradKernel { rows: self.to, depth: self.from, turned, tile: self.tile }
    }

    /// Rows and columns of the result: those that are wanted, in whole tiles.
    pub fn extents(&self) -> [usize; 2] {
        [self.height, self.width].map(|extent| extent.next_multiple_of(self.tile))
    }

    /// Elements of the transformed kernels, the input and the result.
    pub fn elements(&self) -> [usize; 3] {
        let (Winograd { samples, from, to, .. }, [height, width]) = (*self, self.extents());
        [
            self.kernel(false).elements(),
            match self.transformed {
                true => self.transformed_elements(),
                false => samples * from * (height + 2) * (width + 2),
            },
            samples * to * height * width,
        ]
    }

    /// Elements of the transformed input: blocks of tiles, each with all its points.
    pub fn transformed_elements(&self) -> usize {
        self.tile_blocks() * self.block_elements()
    }

    /// Elements from a point of a block of transformed tiles to the next.
    pub fn input_stride(&self) -> usize {
        point_stride(self.from * self.tile_block())
    }

    /// Elements of a block of transformed tiles.
    fn block_elements(&self) -> usize {
        self.points() * self.input_stride()
    }

    /// Tiles of results in all samples.
    pub fn tiles(&self) -> usize {
        self.samples * self.extents().map(|extent| extent / self.tile).iter().product::<usize>()
    }

    /// Elements of a transformed tile.
    pub fn points(&self) -> usize {
        self.kernel(false).points()
    }

    /// Tiles of a piece, a multiple of [`LEAST_TILES`] if there are more than [`FEW_TILES`]: as few as make enough pieces, since each
    /// block of rows of the same tiles transforms them again.
    pub fn tile_block(&self) -> usize {
        if self.tiles() <= FEW_TILES {
            return FEW_TILES;
        }
        let fitting = INPUT_BYTES / (4 * self.points() * self.from);
        let most = fitting.min(self.tiles() / ENOUGH_PIECES) / LEAST_TILES * LEAST_TILES;
        most.clamp(LEAST_TILES, MOST_TILES)
    }

    fn tile_blocks(&self) -> usize {
        self.tiles().div_ceil(self.tile_block())
    }

    /// Channels of the result of a piece.
    fn row_block(&self) -> usize {
        let groups = ENOUGH_PIECES.div_ceil(self.tile_blocks().max(1));
        self.to.div_ceil(groups).next_multiple_of(KERNEL_PANEL)
    }

    /// Groups of channels of the result, each of which transforms all inputs, or reads them transformed.
    pub fn row_groups(&self) -> usize {
        self.to.div_ceil(self.row_block())
    }

    /// Groups of channels of the input, where a routine of its own transforms it.
    fn channel_groups(&self) -> usize {
        ENOUGH_PIECES.div_ceil(self.tile_blocks().max(1)).min(self.from)
    }

    pub(crate) fn input_pieces(&self) -> usize {
        self.tile_blocks() * self.channel_groups()
    }

    pub(crate) fn pieces(&self) -> usize {
        self.tile_blocks() * self.row_groups()
    }

    /// Channels of the result that are transformed back at once.
    fn rows_at_once(&self) -> usize {
        even_block(self.row_block(), MOST_ROWS).next_multiple_of(KERNEL_PANEL)
    }

    pub(crate) fn scratch_bytes(&self) -> usize {
        let inputs = if self.transformed { 0 } else { self.block_elements() };
        let products = self.points() * point_stride(self.rows_at_once() * self.tile_block());
        4 * (inputs + products)
    }
}

/// A [`Winograd`] made ready for an instruction set.
pub(crate) struct Prepared {
    shape: Winograd,
    kernels: &'static Kernels<f32>,
    cpu: Cpu,
    /// Elements of some rows of the padded input, as many for each tile as results along its side.
    inputs: Lanes,
    /// The same for the result.
    results: Lanes,
}

impl Prepared {
    /// Prepares a convolution.
    pub fn new(shape: &Winograd, cpu: Cpu) -> Prepared {
        let (&Winograd { samples, from, to, tile, .. }, [height, width]) = (shape, shape.extents());
        let elements = |plane: usize, row: usize| {
            let blocks = blocks(tile * shape.tiles(), tile * shape.tile_block());
            let rows = (height / tile, tile * row);
            along_tiles([(samples, plane), rows, (width, 1)], cpu, blocks)
        };
        Prepared {
            shape: *shape,
            kernels: kernels(cpu),
            cpu,
            inputs: elements(from * (height + 2) * (width + 2), width + 2),
            results: elements(to * height * width, width),
        }
    }

    /// Transforms the inputs of a piece, [`Winograd::input_pieces`], for a convolution that takes them
    /// transformed.
    ///
    /// # Safety
    /// As for [`Prepared::run_piece`], with `target` for transformed inputs.
    pub unsafe fn transform_piece(&self, input: *const f32, target: *mut f32, piece: usize) {
        let groups = self.shape.channel_groups();
        let (block, group) = (piece / groups, piece % groups);
        let end = |group: usize| self.shape.from * group / groups;
        let target = target.wrapping_add(block * self.shape.block_elements());
        // SAFETY: by the caller's promise; these channels of the block are the piece's.
        unsafe { self.transform(input, target, block, end(group)..end(group + 1)) };
    }

    /// Transforms some channels of a block of tiles.
    unsafe fn transform(
        &self,
        input: *const f32,
        target: *mut f32,
        block: usize,
        channels: Range<usize>,
    ) {
        let [height, width] = self.shape.extents();
        let (side, tile_block) = (self.shape.tile, self.shape.tile_block());
        let first_tile = block * tile_block;
        let input = Inputs {
            source: input,
            strip: Strip {
                lanes: &self.inputs,
                group: self.inputs.block(side * first_tile),
                tiles: tile_block.min(self.shape.tiles() - first_tile),
                columns: tile_block,
            },
            side,
            channels,
            depth: self.shape.from,
            plane: (height + 2) * (width + 2),
            row: width + 2,
            target,
            panel: self.panel_columns(),
        };
        // SAFETY: by the caller's promise.
        unsafe { input.transform(self.cpu) };
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions. Pointers lead to as many elements as
    /// [`Winograd::elements`] says and to [`Winograd::scratch_bytes`] of scratch memory, aligned to
    /// cache lines; nobody writes the operands or uses the piece's part of the result meanwhile.
    pub unsafe fn run_piece(
        &self,
        [transformed_kernels, input]: [*const f32; 2],
        result: *mut f32,
        scratch: *mut f32,
        piece: usize,
    ) {
        let Winograd { from, to, tile: side, .. } = self.shape;
        let [height, width] = self.shape.extents();
        let points = self.shape.points();
        let (tile_block, row_block) = (self.shape.tile_block(), self.shape.row_block());
        let groups = self.shape.row_groups();
        let (block, group) = (piece / groups, piece % groups);
        let first_tile = block * tile_block;
        let tiles = tile_block.min(self.shape.tiles() - first_tile);
        let first_row = group * row_block;
        let end_row = to.min(first_row + row_block);
        let kernel_stride = self.shape.kernel(false).point_stride();
        let block_elements = self.shape.block_elements();
        let (transformed, products) = if self.shape.transformed {
            (input.wrapping_add(block * block_elements), scratch)
        } else {
            // SAFETY: by the caller's promise; scratch memory has room for all transformed tiles.
            unsafe { self.transform(input, scratch, block, 0..from) };
            (scratch.cast_const(), scratch.wrapping_add(block_elements))
        };
        let mut row = first_row;
        while row < end_row {
            let rows = self.shape.rows_at_once().min(end_row - row);
            let product_stride = point_stride(rows * tile_block);
            for point in 0..points {
                let panel = row / KERNEL_PANEL * from * KERNEL_PANEL;
                let kernels = transformed_kernels.wrapping_add(point * kernel_stride + panel);
                // SAFETY: as above.
                unsafe {
                    self.product(
                        [kernels, kernels.wrapping_add(kernel_stride)],
                        transformed.wrapping_add(point * self.shape.input_stride()),
                        products.wrapping_add(point * product_stride),
                        rows,
                    );
                }
            }
            let output = Results {
                source: products,
                lanes: &self.results,
                group: self.results.block(side * first_tile),
                side,
                tiles,
                rows,
                columns: tile_block,
                target: result.wrapping_add(row * height * width),
                plane: height * width,
                row: width,
            };
            // SAFETY: as above; the pieces of the result are this piece's.
            unsafe { output.transform(self.cpu) };
            row += rows;
        }
    }

    /// Columns of a panel of transformed tiles: two vectors, or one if there is only one.
    fn panel_columns(&self) -> usize {
        self.kernels.panel_columns().min(self.shape.tile_block())
    }

    /// The product of some rows of transformed kernels, which begin with a panel, with the
    /// transformed tiles. After these kernels come those at `next_left`.
    unsafe fn product(
        &self,
        [all_left, next_left]: [*const f32; 2],
        right: *const f32,
        output: *mut f32,
        rows: usize,
    ) {
        let (depth, columns) = (self.shape.from, self.shape.tile_block());
        let width = self.panel_columns();
        let vectors = width / self.kernels.lanes;
        for (start, length) in blocks(depth, even_block(depth, DEPTH_BLOCK)) {
            for column in (0..columns).step_by(width) {
                let right = right.wrapping_add(column * depth + start * width);
                for (panel, height) in blocks(rows, KERNEL_PANEL) {
                    let left = all_left.wrapping_add(panel * depth + start * KERNEL_PANEL);
                    // Kernels come from memory, the first time that they are read.
                    let next = if panel + height < rows {
                        left.wrapping_add(depth * KERNEL_PANEL)
                    } else if start + length < depth {
                        all_left.wrapping_add((start + length) * KERNEL_PANEL)
                    } else {
                        next_left
                    };
                    let next = match column {
                        0 => Rows::new(next.cast(), 1, 4 * length * KERNEL_PANEL, 0)
                            .shared(1, length),
                        _ => Rows::NONE,
                    };
                    for (row, height) in even_tiles(height, self.kernels.outer.len()) {
                        let tile = Tile {
                            depth: length,
                            left: left.wrapping_add(row),
                            left_row_stride: 1,
                            left_depth_stride: KERNEL_PANEL as isize,
                            left_steps: ptr::null(),
                            right,
                            right_depth_stride: width as isize,
                            right_column_stride: 1,
                            right_steps: ptr::null(),
                            right_vectors: ptr::null(),
                            output: output.wrapping_add((panel + row) * columns + column),
                            output_stride: columns as isize,
                            columns: width,
                            accumulate: start > 0,
                            ahead: if row == 0 { next.part(0) } else { Ahead::NONE },
                        };
                        // SAFETY: by the caller's promise; every height has kernels of one vector and two.
                        unsafe { self.kernels.outer[height - 1][vectors - 1](&tile) };
                    }
                }
            }
        }
    }
}
