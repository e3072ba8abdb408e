//! What elaboration yields: graphs with all that is needed to run them.
//!
//! Slots of graphs are referred to by name; the training and the evaluation graph of a recipe
//! name the same things alike.

use cygnet_compiler::graph::Graph;
use cygnet_compiler::types::TensorType;

use crate::data::source::{FieldSpec, SourceSpec};
use crate::source::Span;

/// A model for fixed sizes: its forward pass as a graph.
#[derive(Debug, Clone)]
pub struct ElaboratedModel {
    /// Name of the model, and of the entry point if it is not `forward`.
    pub name: String,
    /// The forward pass. Inputs are slots of role `Input`.
    pub graph: Graph,
    /// Parameters and buffers, in the order in which they are first met.
    pub parameters: Vec<Parameter>,
    /// Run-time scalars with their values.
    pub scalars: Vec<RunTimeScalar>,
}

/// A recipe for fixed sizes.
#[derive(Debug, Clone)]
pub struct ElaboratedRecipe {
    /// Name of the recipe.
    pub name: String,
    /// The whole training step: forward pass, gradients, updates; its outputs are the objectives
    /// and reports. Guards are the objectives.
    pub training: Graph,
    /// The same body in evaluation mode, without updates; same outputs.
    pub evaluation: Graph,
    /// Parameters and buffers of all models, in the order in which they are first met.
    pub parameters: Vec<Parameter>,
    /// Optimizer and recipe state, zero or as the recipe says at first.
    pub states: Vec<Parameter>,
    /// Run-time scalars (the recipe's `float` parameters) with their values. The slot `step`, if
    /// the training graph has one, is the number of the step, from 1; `epoch` from 0.
    pub scalars: Vec<RunTimeScalar>,
    /// Names of the outputs that are minimized.
    pub objectives: Vec<String>,
    /// Names of the outputs that are reported, objectives excluded.
    pub reports: Vec<String>,
    /// Where the samples come from.
    pub data: DataClause,
    /// Samples per step.
    pub batch: usize,
    /// Passes over the training data.
    pub epochs: usize,
}

/// A `data` clause: what is asked of the data loader.
#[derive(Debug, Clone)]
pub struct DataClause {
    /// The source with its arguments.
    pub source: SourceSpec,
    /// The declared fields; extents that the recipe leaves open are `None`.
    pub fields: Vec<FieldSpec>,
    /// Per field, the name of each axis that has one; the first names the sample axis.
    pub axes: Vec<Vec<Option<String>>>,
    /// Where the clause stands.
    pub span: Span,
}

/// A tensor that is saved with the weights, or kept from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Path, which is the name of its slot and in weight files: `layer1.0.conv1.weight`.
    pub path: String,
    /// Element type and shape.
    pub ty: TensorType,
    /// Its value at first.
    pub initializer: Initializer,
    /// Whether some objective may update it (false for buffers and states).
    pub trainable: bool,
    /// Where it is declared.
    pub span: Span,
}

/// A run-time scalar.
#[derive(Debug, Clone, PartialEq)]
pub struct RunTimeScalar {
    /// Name, also of its slot (f64).
    pub name: String,
    /// Its value: the default, or what was set.
    pub value: f64,
}

/// How a tensor is filled at first. Random ones draw from the stream named by the tensor's path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initializer {
    /// One value everywhere.
    Constant(f64),
    /// Uniform between `low` and `high`.
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
}
