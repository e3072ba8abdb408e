//! Convolutions of 3 x 3 taps by minimal filtering, F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3): a tile of
//! 2 x 2 results takes 16 multiplications per channel instead of 36, one of 4 x 4 results 36 instead of
//! 144 (Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", 2016).
//!
//! Tiles of inputs, two wider, and kernels are transformed; then there is a matrix product over the
//! channels for each of 16 or 36 points; then results are transformed back. A piece does all of that
//! for some tiles, so that what lies between stays in the second-level cache.
//!
//! With tiles of 2 x 2, transforms are sums of a few elements and halves, so the error is that of
//! summing a few more terms of the size of the largest input in a tile. With tiles of 4 x 4, they are
//! multiplied by up to 8 as well, and the error is 4 to 40 times as large (measured). Infinity becomes NaN, in a
//! whole tile.

mod convolution;
mod filter;
mod gradient;
mod inputs;
mod kernel;
mod results;
mod sums;
mod taps;
mod tiles;

pub(crate) use convolution::Prepared as PreparedConvolution;
pub use convolution::Winograd;
pub(crate) use gradient::Prepared as PreparedGradient;
pub use gradient::WinogradGradient;
pub use kernel::{KERNEL_PANEL, WinogradKernel};

use super::places::Lanes;
use crate::contraction::Digits;
use crate::cpu::Cpu;
use crate::simd;

/// Most tiles that are multiplied at once, a multiple of two vectors of every instruction set.
const MOST_TILES: usize = 64;
const LEAST_TILES: usize = 32;

/// Elements that are left out between the points of transformed tensors. They would lie at multiples of a
/// page often, where caches keep only a few lines, and all points of a tile are used together.
const APART: usize = 48;

/// Elements from a point to the next where a point has this many.
fn point_stride(elements: usize) -> usize {
    elements + APART
}

/// Pieces that are enough for a team.
const ENOUGH_PIECES: usize = 16;

/// Where the elements of one row of all tiles lie, as many for each tile as results along its side:
/// (extent, distance) of samples, rows of tiles and columns, in blocks of (start, length).
fn along_tiles(
    digits: [(usize, usize); 3],
    cpu: Cpu,
    blocks: impl IntoIterator<Item = (usize, usize)>,
) -> Lanes {
    let digits = Digits::new(digits.map(|(extent, stride)| (extent, stride as isize)));
    Lanes::new(&digits, simd::lanes(cpu), blocks)
}

/// How many of the elements of part `part` of a vector's tiles there are: `side` for each tile.
#[inline(always)]
fn count_of(side: usize, tiles: usize, tile: usize, part: usize, lanes: usize) -> usize {
    (side * tiles.saturating_sub(tile)).saturating_sub(part * lanes).min(lanes)
}
