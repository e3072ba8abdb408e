//! Convolutions of 3 x 3 taps by minimal filtering, F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3): a tile of
//! 2 x 2 results takes 16 multiplications per channel instead of 36, one of 4 x 4 results 36 instead of
//! 144 (Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", 2016).
//!
//! Tiles of inputs, two wider, and kernels are transformed; then there is a matrix product over the
//! channels for each of 16 or 36 points; then results are transformed back. A piece does all of that
//! for some tiles, so that what lies between stays in the second-level cache.
//!
//! Images have their channels last: a vector is a part of the channels of one place, so tiles may begin
//! anywhere, and what lies outside of an image is read from a row of zeros.
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

pub use convolution::Winograd;
pub use gradient::WinogradGradient;
pub use kernel::{KERNEL_PANEL, WinogradKernel};

/// Elements of a vector, of whatever instruction set, in a multiple of which rows of channels lie.
const CHANNEL_STEP: usize = 16;

/// Elements that are left out between the points of transformed tensors. They would lie at multiples of a
/// page often, where caches keep only a few lines, and all points of a tile are used together.
const APART: usize = 48;

/// Elements from a point to the next where a point has this many.
fn point_stride(elements: usize) -> usize {
    elements + APART
}

/// Elements from a row of so many channels to the next: whole vectors, and one that is left out for the same
/// reason.
fn row_stride(channels: usize) -> usize {
    channels.next_multiple_of(CHANNEL_STEP) + CHANNEL_STEP
}

/// Pieces that are enough for a team.
const ENOUGH_PIECES: usize = 16;
