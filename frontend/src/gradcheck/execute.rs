//! The other ways to compute a graph, which gradient checks hold against the reference evaluator.

use cygnet_compiler::array::Array;
use cygnet_compiler::graph::Graph;
use cygnet_compiler::op::Context;

/// What a compiled graph is and gives.
pub struct Execution {
    /// The graph as the optimizer left it, with the same slots and outputs.
    pub optimized: Graph,
    /// The values of the outputs, by native code.
    pub outputs: Vec<Array>,
}

/// A way to compile and run graphs.
pub trait Execute {
    /// Compiles a graph without updates and runs it once.
    ///
    /// # Errors
    /// A sentence on why it could not be compiled.
    fn execute(&self, graph: &Graph, context: Context<'_>) -> Result<Execution, String>;
}
