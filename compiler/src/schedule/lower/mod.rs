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
use crate::schedule::pieces::Cutting;

use analysis::Analysis;
pub use region::{epilogue, prologue};

/// Lowers the body of a fused kernel. Returns the function and its number of pieces.
pub fn fused(name: &str, body: &Body, memory: &Memory, cutting: Cutting) -> (Function, usize) {
    let (body, cutting) = match cutting {
        Cutting::Cost(_) => (normalize::normalize(body, memory, None).0, cutting),
        Cutting::Bands { axis, height } => {
            let (body, axis) = normalize::normalize(body, memory, Some(axis));
            let axis = axis.expect("the axis of bands is kept");
            (body, Cutting::Bands { axis, height })
        }
    };
    let analysis = Analysis::of(&body);
    match analysis.tile_axis {
        Some(axis) if body.axes[axis].role == AxisRole::Reduced => {
            rowwise::lower(name, &body, &analysis, axis, memory, cutting)
        }
        _ => {
            // Axes of bands keep their numbers, and tiles shall not run along parts.
            let in_parts = columnwise::in_parts(&body)
                .filter(|_| matches!(cutting, Cutting::Cost(_)))
                .map(|body| (Analysis::of(&body), body))
                .filter(|(analysis, body)| analysis.is_columnwise(body));
            let (analysis, body) = in_parts.unwrap_or((analysis, body));
            columnwise::lower(name, &body, &analysis, memory, cutting)
        }
    }
}
