//! What elaboration gives: graphs with names for everything that goes in and comes out.

use std::collections::BTreeMap;

use cygnet_compiler::array::Array;
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::{Graph, SlotRole};
use cygnet_compiler::types::{DType, TensorType};
use serde::{Deserialize, Serialize};

use super::initializer::Initializer;
use super::selection::Selection;
use crate::data::source::{Classes, FieldSpec, SourceSpec};
use crate::source::Span;

/// Whether `training` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It does not: dropout does nothing, statistics are those saved.
    Inference,
    /// It does.
    Training,
}

/// A tensor that the caller gives before a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphInput {
    /// Its name: a parameter of the model, or a field of the recipe's data.
    pub name: String,
    /// Its slot.
    pub slot: u32,
    /// Its type.
    pub ty: TensorType,
}

/// A parameter or state, which keeps its value from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphParameter {
    /// Its path, as in saved weights: `layer1.0.conv1.weight`.
    pub path: String,
    /// Its slot.
    pub slot: u32,
    /// Its type.
    pub ty: TensorType,
    /// Its value before the first step.
    pub initializer: Initializer,
    /// What it is: [`SlotRole::Parameter`], [`SlotRole::Buffer`] (saved with the weights, not
    /// trained) or [`SlotRole::State`] (of an optimizer or a recipe).
    pub role: SlotRole,
    /// Whether it begins anew with every pass over the samples: the state of metrics and recipes.
    pub per_pass: bool,
    /// Where it is declared.
    pub span: Span,
}

impl GraphParameter {
    /// Whether optimizers update it.
    pub fn trainable(&self) -> bool {
        self.role == SlotRole::Parameter
    }

    /// Whether it belongs to the model and is saved with its weights.
    pub fn saved(&self) -> bool {
        matches!(self.role, SlotRole::Parameter | SlotRole::Buffer)
    }
}

/// A float that the caller gives before a step: a parameter of the recipe, `step` (counted from
/// 1) or `epoch` (from 0). An `f64[]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphScalar {
    /// Its name.
    pub name: String,
    /// Its slot.
    pub slot: u32,
    /// The value of a recipe's parameter, by default or setting; `None` for `step` and `epoch`.
    pub value: Option<f64>,
}

/// A result of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphOutput {
    /// Its name, as in [`Graph::outputs`].
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// A graph and what its slots are.
#[derive(Clone, Debug)]
pub struct Program {
    /// The graph.
    pub graph: Graph,
    /// The tensors that the caller gives.
    pub inputs: Vec<GraphInput>,
    /// The floats that the caller gives.
    pub scalars: Vec<GraphScalar>,
    /// Parameters and state, in the order of their declarations.
    pub parameters: Vec<GraphParameter>,
    /// The results, in the order of [`Graph::outputs`].
    pub outputs: Vec<GraphOutput>,
    /// Labels that select a class: the input's name, and what they may be.
    pub labels: Vec<(String, Classes)>,
    /// The models that it uses, by the paths of their instances.
    pub models: BTreeMap<String, ModelInstance>,
    /// Whether the model has other entry points, which may use parameters that this one does not.
    pub partial: bool,
}

/// A model that a program uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInstance {
    /// Its name.
    pub model: String,
    /// The values of its static parameters, as `--set` would give them.
    pub statics: BTreeMap<String, String>,
}

/// A model compiled for given sizes.
#[derive(Clone, Debug)]
pub struct ModelGraph {
    /// The name of the model, with that of the entry point if it has some: `vae.sample`.
    pub name: String,
    /// The graph; its results are the model's. A single one is called `output`; in a tuple, one
    /// that the model calls by a name has that name, and the others are `output0`, `output1`, ...
    /// by their places.
    pub program: Program,
}

/// A recipe compiled for given sizes. Both programs have the same names for inputs, scalars and
/// parameters; the numbers of their slots differ.
#[derive(Clone, Debug)]
pub struct RecipeGraph {
    /// What the recipe says besides its graphs.
    pub plan: RecipePlan,
    /// Objectives and reports, without updates, with `training` false.
    pub evaluation: Program,
    /// The whole training step: forward, gradients, updates. Objectives are guarded.
    pub training: Program,
    /// What `show` names, in evaluation; without updates.
    pub showing: Option<Program>,
    /// The conditions of the `freeze ... while` clauses that depend on run-time scalars.
    pub freezes: Vec<Condition>,
    /// The conditions of `stop when`.
    pub stops: Vec<Condition>,
    /// What is asked about the course of metrics.
    pub plateaus: Vec<Plateau>,
    /// Weights that parameters start with.
    pub loads: Vec<LoadClause>,
    /// The names of the outputs that are minimized.
    pub objectives: Vec<String>,
    /// What is reported.
    pub reports: Vec<Report>,
}

/// An output that a recipe reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name of the output.
    pub name: String,
    /// Whether it is a metric: what it gives behind the last batch of a pass is its value over
    /// all samples. Anything else is a scalar, whose value over all samples is the mean.
    pub accumulates: bool,
}

/// A condition that is decided between epochs.
#[derive(Clone, Debug)]
pub enum Condition {
    /// Known when the recipe is compiled.
    Known(bool),
    /// A graph of run-time scalars with one output, a truth value.
    Computed(Graph),
}

impl Condition {
    /// Whether it holds for these values of run-time scalars.
    pub fn holds(&self, scalar: impl Fn(&str) -> f64) -> bool {
        let graph = match self {
            Condition::Known(holds) => return *holds,
            Condition::Computed(graph) => graph,
        };
        let values = graph.slots.iter().map(|slot| {
            // Only scalars are read.
            let value = if slot.role == SlotRole::Scalar { scalar(&slot.name) } else { 0.0 };
            Array::filled(slot.ty.clone(), value)
        });
        let values: Vec<Array> = values.collect();
        Evaluator::new(&values).run(graph).outputs.iter().all(|output| output.values[0] != 0.0)
    }
}

/// Parts of the names of results that are errors.
const ERRORS: [&str; 10] = [
    "loss",
    "error",
    "mae",
    "mse",
    "rmse",
    "l1",
    "perplexity",
    "entropy",
    "divergence",
    "distance",
];

/// Whether smaller values of a recipe's result are better, as far as its name tells: objectives and
/// what is called like an error (`loss`, `mae`, `perplexity`, ...) are; everything else rises.
pub fn smaller_is_better(result: &str, objective: bool) -> bool {
    objective || ERRORS.iter().any(|part| result.contains(part))
}

/// `plateaus("loss", patience: 10)`: how often a metric has stopped to improve.
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    /// The run-time scalar that holds the number.
    pub scalar: String,
    /// The objective or report.
    pub metric: String,
    /// How many epochs without improvement are borne.
    pub patience: usize,
    /// What counts as improvement, relative to the best value.
    pub threshold: f64,
    /// Whether larger values are better; known when the whole recipe has been evaluated.
    pub larger: Option<bool>,
    /// Where it stands.
    pub span: Span,
}

/// `load net from safetensors("file", skip: ["fc.*"])`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadClause {
    /// The parameters that are loaded.
    pub targets: Selection,
    /// The file.
    pub path: String,
    /// Patterns of names of the file's tensors and the model's parameters that are left out.
    pub skip: Vec<String>,
    /// Patterns of the file's names, and what they become.
    pub rename: Vec<(String, String)>,
    /// Whether missing and unexpected tensors are errors.
    pub strict: bool,
    /// Where the source stands.
    pub span: Span,
}

/// One field of a `data` clause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataField {
    /// Its name; `_` for a field that is not used.
    pub name: String,
    /// Element type; `None` for a field that is not used.
    pub dtype: Option<DType>,
    /// Its axes, samples first.
    pub axes: Vec<DataAxis>,
    /// Where it stands.
    #[serde(skip)]
    pub span: Span,
}

/// One axis of a [`DataField`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DataAxis {
    /// The dim, if the axis has a name.
    pub name: Option<String>,
    /// Its size, if it does not depend on the data.
    pub size: Option<usize>,
}

impl DataField {
    /// What the loader is asked for.
    pub fn spec(&self) -> FieldSpec {
        FieldSpec {
            name: self.name.clone(),
            dtype: self.dtype.unwrap_or(DType::F32),
            shape: self.axes.iter().map(|axis| axis.size).collect(),
            classes: None,
        }
    }
}

/// A `data` clause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataClause {
    /// Where the data come from.
    pub source: SourceSpec,
    /// What each sample brings.
    pub fields: Vec<DataField>,
    /// Where the source stands.
    #[serde(skip)]
    pub span: Span,
}

/// A parameter of a recipe that is a run-time value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScalarSetting {
    /// Its name.
    pub name: String,
    /// Its value, by default or setting.
    pub value: Option<f64>,
}

/// What a recipe says besides its graphs; known before the data are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RecipePlan {
    /// Its name.
    pub name: String,
    /// Where its data come from.
    pub data: Option<DataClause>,
    /// Samples per step.
    pub batch: Option<usize>,
    /// Batches per update, if more than one.
    pub accumulate: Option<usize>,
    /// How often the data are gone through.
    pub epochs: Option<usize>,
    /// Its `float` parameters.
    pub scalars: Vec<ScalarSetting>,
    /// The values of its other parameters, as `--set` would give them.
    #[serde(skip)]
    pub statics: BTreeMap<String, String>,
    /// The dim of the samples, by the first axis of the data's fields.
    pub batch_dim: Option<String>,
}

impl RecipePlan {
    /// The sizes of the dims that the shapes of the data give: `shapes` has one entry per field,
    /// as the data have it, samples first. The dim of the samples is the batch's.
    pub fn dims(&self, shapes: &[&[usize]]) -> BTreeMap<String, usize> {
        let mut dims = BTreeMap::new();
        let fields = self.data.iter().flat_map(|data| &data.fields);
        for (field, shape) in fields.zip(shapes) {
            for (axis, &size) in field.axes.iter().zip(*shape).skip(1) {
                if let Some(name) = &axis.name {
                    dims.entry(name.clone()).or_insert(size);
                }
            }
        }
        if let (Some(name), Some(batch)) = (&self.batch_dim, self.batch) {
            dims.insert(name.clone(), batch);
        }
        dims
    }
}
