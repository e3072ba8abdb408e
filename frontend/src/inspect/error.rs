//! What cannot be shown.

use cygnet_compiler::codegen::CodegenError;
use thiserror::Error;

use super::Stage;

/// Why something cannot be shown.
#[derive(Debug, Error)]
pub enum InspectError {
    /// Only graphs can be drawn.
    #[error("the stage `{}` is not a graph and cannot be drawn", .stage.name())]
    NotAGraph {
        /// The stage.
        stage: Stage,
    },
    /// A model alone has no loss.
    #[error("`{name}` is a model and has no gradient stage: only recipes say what is minimized")]
    NoGradient {
        /// The model.
        name: String,
    },
    /// There is no node of this number.
    #[error("the optimized graph has no node {node}")]
    NoNode {
        /// The number.
        node: u32,
        /// How many nodes there are.
        count: usize,
    },
    /// The history of a node is not a graph.
    #[error("`--why` tells the history of one node, which is not a graph and cannot be drawn")]
    WhyIsNotAGraph,
    /// A page shows source and kernels together.
    #[error("the page shows source, graph and kernels together, no single stage or node")]
    PageOfAll,
    /// The code generator failed, which is a defect of the compiler.
    #[error("the compiler failed: {0}")]
    Codegen(#[from] CodegenError),
}

impl InspectError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            InspectError::NotAGraph { .. } => {
                "use --format text or json; graph, gradient, optimized and kernels can be drawn"
                    .to_owned()
            }
            InspectError::NoGradient { .. } => {
                "name a recipe that trains it, or use --stage graph".to_owned()
            }
            InspectError::NoNode { count: 0, .. } => "the optimized graph is empty".to_owned(),
            InspectError::NoNode { count, .. } => {
                format!("its nodes are 0 to {}; --stage optimized lists them", count - 1)
            }
            InspectError::WhyIsNotAGraph => "use --format text or json".to_owned(),
            InspectError::PageOfAll => "leave out --stage and --why".to_owned(),
            InspectError::Codegen(_) => "this is a defect of Cygnet, please report it".to_owned(),
        }
    }

    /// Whether the question was wrong, rather than the compiler.
    pub fn is_usage(&self) -> bool {
        !matches!(self, InspectError::Codegen(_))
    }
}
