//! Convolutions of 3 x 3 taps by minimal filtering, F(2 x 2, 3 x 3): a tile of 2 x 2 results takes
//! 16 multiplications per channel instead of 36 (Winograd, "Arithmetic complexity of
//! computations", 1980; Lavin and Gray, "Fast algorithms for convolutional neural networks",
//! 2016).
//!
//! Tiles of 4 x 4 inputs and kernels are transformed; then there is a matrix product over the
//! channels for each of 16 elements; then results are transformed back. A piece does all of that
//! for some tiles, so that what lies between stays in the second-level cache.
//!
//! Transforms are sums of a few elements and halves, so the error is that of summing a few more
//! terms of the size of the largest input in a tile; infinity becomes NaN, in a whole tile.

mod kernel;

pub use kernel::{KERNEL_PANEL, WinogradKernel};

use std::ptr;

use serde::{Deserialize, Serialize};

use super::ahead::Ahead;
use super::driver::even_tiles;
use super::kernel::{Kernels, Tile};
use super::kernels;
use super::places::{From, Lanes, Piece};
use super::plan::{blocks, even_block};
use super::vector::Vector;
use crate::contraction::Digits;
use crate::cpu::Cpu;
use crate::simd::multiversion;

/// Elements of a transformed tile.
const POINTS: usize = 16;

/// Most tiles of a piece, a multiple of two vectors of every instruction set.
const MOST_TILES: usize = 128;
const LEAST_TILES: usize = 32;

/// Bytes of transformed inputs that a piece keeps.
const INPUT_BYTES: usize = 1 << 20;

/// Most channels of results that wait to be transformed back: whole panels.
const MOST_ROWS: usize = 6 * KERNEL_PANEL;

/// Terms summed in one chain, as in other products.
const DEPTH_BLOCK: usize = 320;

/// Pieces that are enough for a team.
const ENOUGH_PIECES: usize = 16;

/// A convolution with stride 1 of `[samples, from, height + 2, width + 2]` with the panels of
/// a [`WinogradKernel`], to `[samples, to, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Winograd {
    /// Number of images.
    pub samples: usize,
    /// Channels of the input.
    pub from: usize,
    /// Channels of the result.
    pub to: usize,
    /// Rows of the result, an even number.
    pub height: usize,
    /// Columns of the result, an even number.
    pub width: usize,
}

impl Winograd {
    /// The transformed kernels that it takes, made of kernels that lie one way or the other.
    pub fn kernel(&self, turned: bool) -> WinogradKernel {
        WinogradKernel { rows: self.to, depth: self.from, turned }
    }

    /// Elements of the transformed kernels, the input and the result.
    pub(crate) fn elements(&self) -> [usize; 3] {
        let Winograd { samples, from, to, height, width, .. } = *self;
        [
            self.kernel(false).elements(),
            samples * from * (height + 2) * (width + 2),
            samples * to * height * width,
        ]
    }

    /// Tiles of 2 x 2 results in all samples.
    pub fn tiles(&self) -> usize {
        self.samples * (self.height / 2) * (self.width / 2)
    }

    /// Tiles of a piece, a multiple of [`LEAST_TILES`]: as few as make enough pieces, since each
    /// block of rows of the same tiles transforms them again.
    fn tile_block(&self) -> usize {
        let fitting = INPUT_BYTES / (4 * POINTS * self.from);
        let most = fitting.min(self.tiles() / ENOUGH_PIECES) / LEAST_TILES * LEAST_TILES;
        most.clamp(LEAST_TILES, MOST_TILES)
    }

    /// Channels of the result of a piece.
    fn row_block(&self) -> usize {
        let groups = ENOUGH_PIECES.div_ceil(self.tiles().div_ceil(self.tile_block()).max(1));
        self.to.div_ceil(groups).next_multiple_of(KERNEL_PANEL)
    }

    /// How often each input is transformed.
    pub fn repetitions(&self) -> usize {
        self.to.div_ceil(self.row_block())
    }

    pub(crate) fn pieces(&self) -> usize {
        self.tiles().div_ceil(self.tile_block()) * self.repetitions()
    }

    /// Channels of the result that are transformed back at once.
    fn rows_at_once(&self) -> usize {
        even_block(self.row_block(), MOST_ROWS).next_multiple_of(KERNEL_PANEL)
    }

    pub(crate) fn scratch_bytes(&self) -> usize {
        4 * POINTS * self.tile_block() * (self.from + self.rows_at_once())
    }
}

/// A [`Winograd`] made ready for an instruction set.
pub(crate) struct Prepared {
    shape: Winograd,
    kernels: &'static Kernels<f32>,
    cpu: Cpu,
    /// Elements of pairs of rows of the padded input, two for each tile.
    inputs: Lanes,
    /// The same for the result.
    results: Lanes,
}

impl Prepared {
    /// Prepares a convolution.
    pub fn new(shape: &Winograd, cpu: Cpu) -> Prepared {
        let &Winograd { samples, from, to, height, width, .. } = shape;
        let lanes = match cpu {
            Cpu::Avx512 => 16,
            Cpu::Avx2 | Cpu::Portable => 8,
        };
        let elements = |plane: usize, row: usize| {
            let digits = [(samples, plane), (height / 2, 2 * row), (width, 1)];
            let digits = Digits::new(digits.map(|(extent, stride)| (extent, stride as isize)));
            Lanes::new(&digits, lanes, blocks(2 * shape.tiles(), 2 * shape.tile_block()))
        };
        Prepared {
            shape: *shape,
            kernels: kernels(cpu),
            cpu,
            inputs: elements(from * (height + 2) * (width + 2), width + 2),
            results: elements(to * height * width, width),
        }
    }

    /// Computes a piece.
    ///
    /// # Safety
    /// The machine has the instructions. Pointers lead to as many elements as
    /// [`Winograd::elements`] says and to [`Winograd::scratch_bytes`] of scratch memory, aligned to
    /// cache lines; nobody writes the operands or uses the piece's part of the result meanwhile.
    pub unsafe fn run_piece(
        &self,
        operands: [*const f32; 2],
        result: *mut f32,
        scratch: *mut f32,
        piece: usize,
    ) {
        let Winograd { from, to, height, width, .. } = self.shape;
        let (tile_block, row_block) = (self.shape.tile_block(), self.shape.row_block());
        let repetitions = self.shape.repetitions();
        let first_tile = piece / repetitions * tile_block;
        let tiles = tile_block.min(self.shape.tiles() - first_tile);
        let first_row = piece % repetitions * row_block;
        let end_row = to.min(first_row + row_block);
        let transformed = scratch;
        let products = scratch.wrapping_add(POINTS * from * tile_block);
        let [transformed_kernels, input] = operands;
        let panels = self.shape.kernel(false).panels();
        let input = Inputs {
            source: input,
            lanes: &self.inputs,
            group: self.inputs.block(2 * first_tile),
            tiles,
            channels: from,
            plane: (height + 2) * (width + 2),
            row: width + 2,
            target: transformed,
            columns: tile_block,
            panel: self.kernels.panel_columns(),
        };
        // SAFETY: by the caller's promise; scratch memory has room for all transformed tiles.
        unsafe { transform_inputs::address(self.cpu)(&raw const input) };
        let mut row = first_row;
        while row < end_row {
            let rows = self.shape.rows_at_once().min(end_row - row);
            for point in 0..POINTS {
                let panel = point * panels + row / KERNEL_PANEL;
                // SAFETY: as above.
                unsafe {
                    self.product(
                        transformed_kernels.wrapping_add(panel * from * KERNEL_PANEL),
                        transformed.wrapping_add(point * from * tile_block),
                        products.wrapping_add(point * rows * tile_block),
                        rows,
                    );
                }
            }
            let output = Results {
                source: products,
                lanes: &self.results,
                group: self.results.block(2 * first_tile),
                tiles,
                rows,
                columns: tile_block,
                target: result.wrapping_add(row * height * width),
                plane: height * width,
                row: width,
            };
            // SAFETY: as above; the pieces of the result are this piece's.
            unsafe { transform_results::address(self.cpu)(&raw const output) };
            row += rows;
        }
    }

    /// The product of some rows of transformed kernels, which begin with a panel, with the
    /// transformed tiles.
    unsafe fn product(&self, left: *const f32, right: *const f32, output: *mut f32, rows: usize) {
        let (depth, columns) = (self.shape.from, self.shape.tile_block());
        let width = self.kernels.panel_columns();
        for (start, length) in blocks(depth, even_block(depth, DEPTH_BLOCK)) {
            for column in (0..columns).step_by(width) {
                let right = right.wrapping_add(column * depth + start * width);
                for (panel, height) in blocks(rows, KERNEL_PANEL) {
                    let left = left.wrapping_add(panel * depth + start * KERNEL_PANEL);
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
                            ahead: Ahead::NONE,
                        };
                        // SAFETY: by the caller's promise; every height has a kernel of two vectors.
                        unsafe { self.kernels.outer[height - 1][1](&tile) };
                    }
                }
            }
        }
    }
}

/// Tiles to transform.
#[repr(C)]
struct Inputs<'a> {
    source: *const f32,
    lanes: &'a Lanes,
    /// The first group of elements.
    group: usize,
    tiles: usize,
    channels: usize,
    plane: usize,
    row: usize,
    /// Transformed tiles, in panels: `[16, columns / panel, channels, panel]`. A micro-kernel then
    /// reads one stretch of memory.
    target: *mut f32,
    columns: usize,
    /// Columns that a micro-kernel takes, a multiple of the vectors here.
    panel: usize,
}

/// Products to transform back.
#[repr(C)]
struct Results<'a> {
    /// `[16, rows, columns]`.
    source: *const f32,
    lanes: &'a Lanes,
    group: usize,
    tiles: usize,
    rows: usize,
    columns: usize,
    target: *mut f32,
    plane: usize,
    row: usize,
}

multiversion! {
    transform_inputs(inputs: *const Inputs<'_>) = inputs_of;
}

multiversion! {
    transform_results(results: *const Results<'_>) = results_of;
}

/// How many of the elements of half a vector's tiles there are: two for each tile.
fn count_of(tiles: usize, tile: usize, half: usize, lanes: usize) -> usize {
    (2 * tiles.saturating_sub(tile)).saturating_sub(half * lanes).min(lanes)
}

/// Transforms tiles, a vector of them at a time: `B^T d B`.
#[inline(always)]
unsafe fn inputs_of<V: Vector<Element = f32>>(inputs: *const Inputs<'_>) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        let inputs = &*inputs;
        for tile in (0..inputs.columns).step_by(V::LANES) {
            let first = inputs.group + 2 * tile / V::LANES;
            let counts = [0, 1].map(|half| count_of(inputs.tiles, tile, half, V::LANES));
            let runs = [0, 1].map(|half| two_runs(inputs.lanes, first + half, counts[half]));
            match runs {
                [Some([low, rest]), Some([high, last])] => {
                    if [low, high].map(|run| (run.first, run.end)) == [(0, V::LANES); 2] {
                        let whole = Whole([low.offset, high.offset]);
                        input_tiles::<V>(inputs, tile, &whole);
                    } else {
                        input_tiles::<V>(inputs, tile, &TwoRuns([[low, rest], [high, last]]));
                    }
                }
                _ => {
                    let lanes = inputs.lanes;
                    input_tiles::<V>(inputs, tile, &Anywhere { lanes, first, counts });
                }
            }
        }
    }
}

/// Where the elements of a vector of tiles lie, in two halves. No closures: those are functions of
/// their own, without the instructions of what they are called from, unless they happen to be inlined.
trait Halves<V> {
    /// The elements of one half.
    unsafe fn load(&self, source: *const f32, half: usize) -> V;
}

/// Each half in one run.
struct Whole([isize; 2]);

/// Each half in two runs, of which the second may be empty.
struct TwoRuns([[Piece; 2]; 2]);

/// Groups of any form, the first half from group `first`.
struct Anywhere<'a> {
    lanes: &'a Lanes,
    first: usize,
    counts: [usize; 2],
}

impl<V: Vector<Element = f32>> Halves<V> for Whole {
    #[inline(always)]
    unsafe fn load(&self, source: *const f32, half: usize) -> V {
        // SAFETY: by the promise to `Prepared::run_piece`.
        unsafe { V::load(source.wrapping_offset(self.0[half])) }
    }
}

impl<V: Vector<Element = f32>> Halves<V> for TwoRuns {
    #[inline(always)]
    unsafe fn load(&self, source: *const f32, half: usize) -> V {
        let [a, b] = self.0[half];
        // SAFETY: as above.
        unsafe {
            V::load_first(source, 0).with(source.wrapping_offset(a.offset), a.first, a.end).with(
                source.wrapping_offset(b.offset),
                b.first,
                b.end,
            )
        }
    }
}

impl<V: Vector<Element = f32>> Halves<V> for Anywhere<'_> {
    #[inline(always)]
    unsafe fn load(&self, source: *const f32, half: usize) -> V {
        // SAFETY: as above.
        unsafe {
            let zero = V::load_first(source, 0);
            match self.counts[half] {
                0 => zero,
                count => load(self.lanes, self.first + half, count, source, zero),
            }
        }
    }
}

/// The elements of a group as two runs of neighbours, of which the second may be empty; nothing if
/// they are more.
fn two_runs(lanes: &Lanes, group: usize, count: usize) -> Option<[Piece; 2]> {
    let none = Piece { offset: 0, first: 0, end: 0 };
    if count == 0 {
        return Some([none; 2]);
    }
    let base = lanes.offsets(group)[0];
    let moved = |piece: Piece| Piece { offset: base + piece.offset, ..piece };
    match lanes.groups[group] {
        From::Run => Some([moved(Piece { end: count, ..none }), none]),
        From::Pieces(first, end) => match lanes.pieces[first..end] {
            [a, b] => Some([moved(a), moved(b)]),
            _ => None,
        },
        From::Apart(_) => None,
    }
}

/// Transforms a vector of tiles, of all channels.
#[inline(always)]
unsafe fn input_tiles<V: Vector<Element = f32>>(
    inputs: &Inputs<'_>,
    tile: usize,
    halves: &impl Halves<V>,
) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        let zero = V::load_first(inputs.source, 0);
        let inner = tile % inputs.panel;
        let panel = inputs.target.wrapping_add((tile - inner) * inputs.channels + inner);
        let point = inputs.channels * inputs.columns;
        for channel in 0..inputs.channels {
            let source = inputs.source.wrapping_add(channel * inputs.plane);
            let target = panel.wrapping_add(channel * inputs.panel);
            let mut tiles = [[zero; 4]; 4];
            for (i, tile_row) in tiles.iter_mut().enumerate() {
                for pair in 0..2 {
                    let source = source.wrapping_add(i * inputs.row + 2 * pair);
                    let (even, odd) =
                        V::deinterleave(halves.load(source, 0), halves.load(source, 1));
                    (tile_row[2 * pair], tile_row[2 * pair + 1]) = (even, odd);
                }
            }
            let mut half = [[zero; 4]; 4];
            for j in 0..4 {
                let (a, b, c, d) = (tiles[0][j], tiles[1][j], tiles[2][j], tiles[3][j]);
                (half[0][j], half[1][j], half[2][j], half[3][j]) = (a - c, b + c, c - b, b - d);
            }
            for (i, &[a, b, c, d]) in half.iter().enumerate() {
                let target = target.wrapping_add(4 * i * point);
                (a - c).store(target);
                (b + c).store(target.wrapping_add(point));
                (c - b).store(target.wrapping_add(2 * point));
                (b - d).store(target.wrapping_add(3 * point));
            }
        }
    }
}

/// The elements of a group.
#[inline(always)]
unsafe fn load<V: Vector<Element = f32>>(
    lanes: &Lanes,
    group: usize,
    count: usize,
    source: *const f32,
    zero: V,
) -> V {
    let source = source.wrapping_offset(lanes.offsets(group)[0]);
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        match lanes.groups[group] {
            From::Run => V::load_first(source, count),
            From::Pieces(first, end) => {
                let mut vector = zero;
                for &Piece { offset, first, end } in &lanes.pieces[first..end] {
                    vector = vector.with(source.wrapping_offset(offset), first, end);
                }
                vector
            }
            From::Apart(number) => zero.gather(source, lanes.gathered[number].as_ptr(), count),
        }
    }
}

/// Transforms products back: `A^T m A`.
#[inline(always)]
unsafe fn results_of<V: Vector<Element = f32>>(results: *const Results<'_>) {
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        let results = &*results;
        let point = results.rows * results.columns;
        for tile in (0..results.tiles).step_by(V::LANES) {
            let groups = results.group + 2 * tile / V::LANES;
            for row in 0..results.rows {
                let source = results.source.wrapping_add(row * results.columns + tile);
                let zero = V::load_first(source, 0);
                let mut above = [zero; 4];
                let mut below = [zero; 4];
                for j in 0..4 {
                    let m = |i: usize| V::load(source.wrapping_add((4 * i + j) * point));
                    let (a, b, c, d) = (m(0), m(1), m(2), m(3));
                    above[j] = a + b + c;
                    below[j] = b - c - d;
                }
                for (i, [a, b, c, d]) in [above, below].into_iter().enumerate() {
                    let (low, high) = V::interleave(a + b + c, b - c - d);
                    let target = results.target.wrapping_add(row * results.plane + i * results.row);
                    for (half, vector) in [low, high].into_iter().enumerate() {
                        let count = count_of(results.tiles, tile, half, V::LANES);
                        if count > 0 {
                            store(results.lanes, groups + half, count, target, vector);
                        }
                    }
                }
            }
        }
    }
}

/// Writes the elements of a group.
#[inline(always)]
unsafe fn store<V: Vector<Element = f32>>(
    lanes: &Lanes,
    group: usize,
    count: usize,
    target: *mut f32,
    vector: V,
) {
    let target = target.wrapping_offset(lanes.offsets(group)[0]);
    // SAFETY: by the promise to `Prepared::run_piece`.
    unsafe {
        match lanes.groups[group] {
            From::Run if count == V::LANES => vector.store(target),
            From::Run => vector.store_first(target, count),
            From::Pieces(first, end) => {
                for &Piece { offset, first, end } in &lanes.pieces[first..end] {
                    vector.store_lanes(target.wrapping_offset(offset), first, end);
                }
            }
            From::Apart(number) => {
                let offsets = &lanes.gathered[number];
                for (lane, &offset) in offsets[..count].iter().enumerate() {
                    let to = target.wrapping_offset(offset as isize);
                    vector.store_lanes(to, lane, lane + 1);
                }
            }
        }
    }
}
