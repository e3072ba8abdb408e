//! Lowering: a kernel's body becomes loops.
//!
//! A body without reductions, or one whose rows lie across memory, runs *columnwise*: tiles of a
//! parallel axis, accumulators in a buffer of tile length. A body that reduces along memory runs
//! *rowwise*: tiles of a reduced axis, accumulators in variables. Either way a softmax-like body
//! takes one sweep per level of reduction, over a row that stays in cache.

mod analysis;
mod columnwise;
mod emitter;
mod normalize;
mod region;
mod rowwise;

use crate::kernel::loops::Function;
use crate::kernel::{AxisRole, Body};
use crate::schedule::memory::Memory;

use analysis::Analysis;
pub use region::{epilogue, prologue};

/// Lowers the body of a fused kernel. `nanoseconds` is its predicted cost on one thread. Returns
/// the function and its number of pieces.
pub fn fused(name: &str, body: &Body, memory: &Memory, nanoseconds: f64) -> (Function, usize) {
    let body = normalize::normalize(body, memory);
    let analysis = Analysis::of(&body);
    match analysis.tile_axis {
        Some(axis) if body.axes[axis].role == AxisRole::Reduced => {
            rowwise::lower(name, &body, &analysis, axis, memory, nanoseconds)
        }
        tile_axis => columnwise::lower(name, &body, &analysis, tile_axis, memory, nanoseconds),
    }
}
