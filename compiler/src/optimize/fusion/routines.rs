//! Kernels in whose place routines of the runtime are called: they do nothing but move elements in ways for which
//! generated code lacks the instructions.

use super::{padding, permutation};
use crate::kernel::{KernelBody, KernelGraph};

/// Makes calls of routines of all such kernels.
pub(super) fn call_routines(graph: &mut KernelGraph) {
    for kernel in graph.kernels.node_weights_mut() {
        if let KernelBody::Fused(body) = &kernel.body
            && let Some(library) = padding::routine(body, &graph.values)
                .or_else(|| permutation::routine(body, &graph.values))
        {
            kernel.body = KernelBody::Library(library);
            kernel.reasons.push("a routine of the runtime".to_owned());
        }
    }
}
