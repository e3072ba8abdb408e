//! Models as graphs.

use std::collections::BTreeSet;

use cygnet_compiler::graph::{Output, SlotRole};

use super::bindings::Bindings;
use super::evaluate::{Evaluator, Stop, has_entry_points, is_input};
use super::instance::{Activation, Root};
use super::package::Package;
use super::program::{
    GraphInput, GraphOutput, GraphParameter, GraphScalar, Mode, ModelGraph, Program,
};
use super::scope::Scope;
use super::signature::{Dims, Input, tensor_type};
use super::value::{Tensor, Value};
use crate::diagnostic::{Diagnostic, closest};
use crate::syntax::ast::{self, Function, FunctionKind, TypeKind};

/// Elaborates a model for the sizes in `bindings`.
///
/// Without a name, the program's only model is taken.
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
    let models: Vec<&Function> = package.functions(FunctionKind::Model).collect();
    let function = choose("model", name, &models, |model| &model.name.name)
        .map_err(|diagnostic| vec![diagnostic])?;
    let mut evaluator = Evaluator::new(package, true, mode == Mode::Training);
    let activation = Activation::of_root("", Root::PROGRAM, 0);
    let mut dims = Dims { bindings, symbolic: false, missing: Vec::new() };
    let types = function.parameters.iter().map(|parameter| parameter.ty.as_ref());
    let statics = function.parameters.iter().filter(|parameter| !is_input(parameter));
    let known = settable(statics.map(|parameter| parameter.name.name.as_str()), types.flatten());
    if let Some(unknown) = bindings.unknown(&known, &function.name) {
        evaluator.report(unknown);
    }
    let (inputs, results) =
        evaluator.in_frame(&function.name.name, None, Some(activation), |evaluator| {
            let scope = Scope::of_function(package.root(), None);
            let inputs = evaluator.bind_signature(function, &scope, &mut dims);
            evaluator.report_missing(&function.name, &dims, None);
            if has_entry_points(function) {
                evaluator.unsupported("a model with entry points", function.name.span);
                return (inputs, Err(Stop));
            }
            let value = match dims.missing.is_empty() {
                true => evaluator.body(function, &scope),
                false => Err(Stop),
            };
            let results = value.and_then(|value| evaluator.results(function, &value));
            (inputs, results)
        });
    let outputs = results.unwrap_or_default();
    if evaluator.has_errors() {
        return Err(evaluator.finish().0);
    }
    let program = evaluator.program(inputs, outputs, Vec::new());
    Ok(ModelGraph { name: function.name.name.clone(), program })
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

/// The definition called `name` among `all`, or the only one.
pub(super) fn choose<'p, T>(
    what: &str,
    name: Option<&str>,
    all: &[&'p T],
    name_of: impl Fn(&'p T) -> &'p str,
) -> Result<&'p T, Diagnostic> {
    let names: Vec<&str> = all.iter().map(|item| name_of(item)).collect();
    let listed = match names.as_slice() {
        [] => format!("the program has no {what}"),
        names => format!("the program has {}", names.join(", ")),
    };
    match (name, all) {
        (None, [only]) => Ok(only),
        (None, []) => Err(Diagnostic::error("no-definition", listed)
            .help(format!("define a `{what}`, or give another file"))),
        (None, _) => Err(Diagnostic::error("which-definition", format!("which {what}? {listed}"))
            .help(format!("give the name of the {what} behind the file"))),
        (Some(name), _) => match all.iter().find(|item| name_of(item) == name) {
            Some(item) => Ok(item),
            None => {
                let missing =
                    Diagnostic::error("no-definition", format!("there is no {what} `{name}`"));
                Err(match closest(name, names) {
                    Some(near) => missing.help(format!("did you mean `{near}`?")),
                    None => missing.help(listed),
                })
            }
        },
    }
}

impl<'p> Evaluator<'p> {
    /// The tensors that a model returns, with names.
    fn results(
        &mut self,
        function: &Function,
        value: &Value<'p>,
    ) -> Result<Vec<(String, Tensor)>, Stop> {
        let what = format!("the result of `{}`", function.name.name);
        let span = function.name.span;
        match value {
            Value::Tuple(parts) => {
                let parts = parts.iter().enumerate().map(|(number, part)| {
                    let tensor = self.expect_tensor(part, span, &what)?;
                    Ok((format!("output{number}"), tensor))
                });
                parts.collect()
            }
            value => Ok(vec![("output".to_owned(), self.expect_tensor(value, span, &what)?)]),
        }
    }

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
        Program { scalars: scalars.collect(), graph, inputs, parameters, outputs: results, labels }
    }

    /// The inputs that hold labels, with the number of their classes.
    fn label_inputs(
        &self,
        graph: &cygnet_compiler::graph::Graph,
        inputs: &[GraphInput],
    ) -> Vec<(String, usize)> {
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
