//! Models as graphs.

use std::collections::BTreeSet;

use cygnet_compiler::graph::{Output, SlotRole};

use super::bindings::Bindings;
use super::definition::ModelEntry;
use super::evaluate::{Evaluator, entry_points, is_input};
use super::package::Package;
use super::program::{
    GraphInput, GraphOutput, GraphParameter, GraphScalar, Mode, ModelGraph, Program,
};
use super::signature::{Dims, Input, is_scalar, tensor_type};
use super::value::Tensor;
use crate::data::source::Classes;
use crate::diagnostic::Diagnostic;
use crate::syntax::ast::{self, TypeKind};

/// Elaborates a model for the sizes in `bindings`.
///
/// `name` is that of a model, or of one of its entry points: `vae.sample`. Without a name, the
/// program's only model is taken; without an entry point, `forward`.
///
/// # Errors
/// Everything that is wrong with the program, or with the bindings.
pub fn elaborate_model(
    package: &Package,
    name: Option<&str>,
    bindings: &Bindings,
    mode: Mode,
) -> Result<ModelGraph, Vec<Diagnostic>> {
    package.errors_so_far()?;
    let chosen = ModelEntry::find(package, name).map_err(|diagnostic| vec![diagnostic])?;
    let ModelEntry { model, entry } = chosen;
    let mut evaluator = Evaluator::new(package, true, mode == Mode::Training);
    let mut dims = Dims { bindings, symbolic: false, missing: Vec::new() };
    let parameters = || {
        let further = entry.map(|entry| entry.parameters.as_slice());
        model.parameters.iter().chain(further.unwrap_or_default())
    };
    let settings = parameters().filter(|parameter| !is_input(parameter) || is_scalar(parameter));
    let types = parameters().filter_map(|parameter| parameter.ty.as_ref());
    let known = settable(settings.map(|parameter| parameter.name.name.as_str()), types);
    if let Some(unknown) = bindings.unknown(&known, &model.name) {
        evaluator.report(unknown);
    }
    let (inputs, value) = evaluator.definition_alone(package.root(), model, entry, &mut dims);
    let results = value.and_then(|value| evaluator.results(chosen.function(), &value));
    if evaluator.has_errors() {
        return Err(evaluator.finish().0);
    }
    let outputs = results.unwrap_or_default();
    let mut program = evaluator.program(inputs, outputs, Vec::new());
    program.partial = entry.is_some() && entry_points(model).count() > 1;
    Ok(ModelGraph { name: chosen.name(), program })
}

/// What can be set: the names given, and the dims in types. Sorted.
pub(super) fn settable<'p>(
    names: impl Iterator<Item = &'p str>,
    types: impl Iterator<Item = &'p ast::Type>,
) -> Vec<&'p str> {
    let dims = types.flat_map(|ty| match &ty.kind {
        TypeKind::Tensor { shape, .. } => shape.names(),
        _ => Vec::new(),
    });
    let all: BTreeSet<&str> = names.chain(dims.map(|(name, _)| name)).collect();
    all.into_iter().collect()
}

impl<'p> Evaluator<'p> {
    /// The elaborated graph: `outputs` are its results; slots with new values are updated.
    ///
    /// `scalars` are the values of the recipe's parameters.
    pub(super) fn program(
        &mut self,
        inputs: Vec<Input>,
        outputs: Vec<(String, Tensor)>,
        scalars: Vec<(String, Option<f64>)>,
    ) -> Program {
        let mut graph = self.graph.take().unwrap_or_default();
        let mut results = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            let Some(node) = tensor.node else { continue };
            graph.outputs.push(Output { name: name.clone(), node });
            results.push(GraphOutput { name, ty: tensor_type(tensor.dtype, &tensor.axes) });
        }
        let mut parameters = Vec::new();
        for record in self.slots.records() {
            let Some(slot) = record.slot else { continue };
            // What layers keep is learnt in training; evaluation leaves it as it is.
            let kept = self.training || record.role != SlotRole::Buffer;
            if let (true, Some(node)) = (record.changed && kept, record.current) {
                graph.updates.push(cygnet_compiler::graph::Update { slot, node });
            }
            parameters.push(GraphParameter {
                path: record.path.clone(),
                slot,
                ty: tensor_type(record.dtype, &record.axes),
                initializer: record.initializer.unwrap_or(super::initializer::Initializer::ZEROS),
                role: record.role,
                per_pass: record.per_pass,
                span: record.span,
            });
        }
        let inputs = inputs.into_iter().filter_map(|input| {
            let ty = tensor_type(input.tensor.dtype, &input.tensor.axes);
            Some(GraphInput { name: input.name, slot: input.slot?, ty })
        });
        let inputs: Vec<GraphInput> = inputs.collect();
        let labels = self.label_inputs(&graph, &inputs);
        let value_of = |name: &str| {
            scalars.iter().find(|(known, _)| known == name).and_then(|(_, value)| *value)
        };
        let scalars = self.slots.scalars.iter().map(|(name, slot)| GraphScalar {
            name: name.clone(),
            slot: *slot,
            value: value_of(name),
        });
        Program {
            scalars: scalars.collect(),
            graph,
            inputs,
            parameters,
            outputs: results,
            labels,
            models: std::mem::take(&mut self.models),
            partial: false,
        }
    }

    /// The inputs that hold labels, and what these may be.
    fn label_inputs(
        &self,
        graph: &cygnet_compiler::graph::Graph,
        inputs: &[GraphInput],
    ) -> Vec<(String, Classes)> {
        use cygnet_compiler::op::Op;
        let mut labels = Vec::new();
        for &(mut node, classes) in &self.labels {
            // Conversions and movements do not change which values there are.
            while matches!(
                graph.node(node).op,
                Op::Cast(_) | Op::Reshape(_) | Op::Permute(_) | Op::Broadcast(_) | Op::Slice(_)
            ) {
                node = graph.node(node).operands[0];
            }
            let Op::Slot(slot) = &graph.node(node).op else { continue };
            let Some(input) = inputs.iter().find(|input| input.slot == slot.index) else {
                continue;
            };
            let label = (input.name.clone(), classes);
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }
}
