//! `param` and `state`.

use std::rc::Rc;

use cygnet_compiler::graph::SlotRole;
use cygnet_compiler::types::{DType, TensorType};

use super::{Eval, Evaluator, Number, SlotRecord, Stop, Updated};
use crate::diagnostic::Diagnostic;
use crate::language::initializer::Initializer;
use crate::language::instance::{Activation, Root};
use crate::language::scope::{BindingKind, Scope};
use crate::language::value::{Axis, Given, Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{Declaration, DeclarationKind, TypeKind};

impl<'p> Evaluator<'p> {
    /// `param` or `state`: binds its name to the value that it has now.
    pub fn declare(&mut self, declaration: &'p Declaration, scope: &Rc<Scope<'p>>) {
        let declared = self.at(declaration.span, |this| this.declare_slot(declaration, scope));
        let (value, kind) = match declared {
            Ok(number) => {
                let value = Value::Tensor(self.slots.record(number).tensor());
                match declaration.kind {
                    DeclarationKind::Param => (value, BindingKind::Fixed),
                    DeclarationKind::State => (value, BindingKind::State(number)),
                }
            }
            // A state that could not be declared can still be assigned without further ado.
            Err(Stop) => (Value::Unknown, BindingKind::Variable),
        };
        scope.bind(&declaration.name.name, value, kind, declaration.name.span);
    }

    fn declare_slot(&mut self, declaration: &'p Declaration, scope: &Rc<Scope<'p>>) -> Eval<usize> {
        let keyword = match declaration.kind {
            DeclarationKind::Param => "param",
            DeclarationKind::State => "state",
        };
        if let Some(updated) = self.updated.clone() {
            return self.declare_optimizer_state(declaration, updated, scope);
        }
        let Some(activation) = self.activation() else {
            return Err(self.report(
                Diagnostic::error("param-in-function", format!("a `fn` has no `{keyword}`"))
                    .primary(declaration.span, "it would belong to nothing")
                    .help("make the definition a `layer`"),
            ));
        };
        if activation.accumulates && declaration.kind == DeclarationKind::Param {
            return Err(self.report(
                Diagnostic::error("param-in-metric", "a metric has no `param`")
                    .primary(declaration.span, "nothing would train it")
                    .help("what it accumulates over the samples is `state`"),
            ));
        }
        let name = match &declaration.stored_name {
            Some(literal) => self.text(literal, scope)?,
            None => declaration.name.name.clone(),
        };
        let path = activation.join(&name);
        let initial = self.expr(&declaration.initial, scope);
        let (dtype, axes) = self.declared_type(declaration, scope)?;
        let what = format!("the initial value of `{}`", declaration.name.name);
        let initializer = initial
            .and_then(|value| self.expect_initializer(&value, declaration.initial.span, &what));
        let initializer = initializer.unwrap_or(None);
        let role = match declaration.kind {
            DeclarationKind::Param => SlotRole::Parameter,
            DeclarationKind::State if activation.accumulates || self.in_recipe_body() => {
                SlotRole::State
            }
            DeclarationKind::State => SlotRole::Buffer,
        };
        let span = declaration.name.span;
        let number = self.slot(&activation, path, role, (dtype, axes), initializer, span)?;
        if role == SlotRole::State {
            self.slots.begin_with_pass(number);
        }
        Ok(number)
    }

    /// The slot with this path: a new one, or the one of an earlier call of a shared instance.
    fn slot(
        &mut self,
        activation: &Rc<Activation>,
        path: String,
        role: SlotRole,
        (dtype, axes): (DType, Vec<Axis>),
        initializer: Option<Initializer>,
        span: Span,
    ) -> Eval<usize> {
        let before = activation.declare(&path, span);
        let Some(number) = self.slots.find(&path) else {
            return Ok(self.new_slot(
                path,
                role,
                (dtype, axes),
                initializer,
                span,
                activation.root,
            ));
        };
        let known = self.slots.record(number).clone();
        if before.is_some() || known.root != activation.root {
            let place = self.user_place();
            let mut diagnostic =
                Diagnostic::error("repeated-path", format!("two parameters are called `{path}`"))
                    .primary(place, "one of this use")
                    .secondary(span, "declared here");
            if known.place != place {
                diagnostic = diagnostic.secondary(known.place, "and one of this use");
            }
            return Err(self.report(
                diagnostic
                    .note("each use of a layer has parameters of its own, named by its label")
                    .help(
                        "label the uses (`x |> conv1: conv2d(8)`), or share one instance: \
                         `let f = layer(_)`",
                    ),
            ));
        }
        let same = known.dtype == dtype
            && known.axes.len() == axes.len()
            && known.axes.iter().zip(&axes).all(|(a, b)| self.sizes_agree(&a.size, &b.size));
        if !same {
            let before = format!("{}{}", known.dtype, self.show_axes(&known.axes));
            let now = format!("{dtype}{}", self.show_axes(&axes));
            return Err(self.report(
                Diagnostic::error(
                    "shared-shape",
                    format!("the shared parameter `{path}` is {before} in one use and {now} here"),
                )
                .primary(span, format!("here it is {now}"))
                .help("inputs of a shared instance must agree in the sizes it has parameters for"),
            ));
        }
        // The names of axes are those of this call.
        self.slots.rename_axes(number, axes);
        Ok(number)
    }

    /// Adds a parameter or state of which the path is not taken, and returns its number.
    pub fn new_slot(
        &mut self,
        path: String,
        role: SlotRole,
        (dtype, axes): (DType, Vec<Axis>),
        initializer: Option<Initializer>,
        span: Span,
        root: Root,
    ) -> usize {
        let ty = TensorType::new(dtype, &Evaluator::extents(&axes));
        let place = self.user_place();
        let mut slot = None;
        let node = self.emit_nodes([], |graph, []| {
            let index = graph.declare_slot(&path, role, ty);
            slot = Some(index);
            graph.read_slot(index)
        });
        let record = SlotRecord {
            path,
            role,
            dtype,
            axes,
            initializer,
            span,
            place,
            root,
            slot,
            versions: node.into_iter().collect(),
            current: node,
            changed: false,
            per_pass: false,
        };
        self.slots.add(record)
    }

    /// `state m = zeros` in an optimizer: of the type of the parameter.
    fn declare_optimizer_state(
        &mut self,
        declaration: &'p Declaration,
        updated: Updated,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<usize> {
        let name = &declaration.name;
        if declaration.kind == DeclarationKind::Param {
            return Err(self.report(
                Diagnostic::error("param-in-optimizer", "an optimizer has no `param`")
                    .primary(declaration.span, "nothing would train it")
                    .help("what it keeps from step to step is `state`"),
            ));
        }
        let initial = self.expr(&declaration.initial, scope)?;
        let what = format!("the initial value of `{}`", name.name);
        let initializer = self.expect_initializer(&initial, declaration.initial.span, &what)?;
        let path = format!("{}/{}.{}", updated.path, updated.optimizer, name.name);
        let ty = match &declaration.ty {
            Some(_) => self.declared_type(declaration, scope)?,
            None => (updated.tensor.dtype, updated.tensor.axes),
        };
        Ok(self.new_slot(path, SlotRole::State, ty, initializer, name.span, Root::PROGRAM))
    }

    fn declared_type(
        &mut self,
        declaration: &'p Declaration,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<(DType, Vec<Axis>)> {
        match declaration.ty.as_ref().map(|ty| &ty.kind) {
            Some(TypeKind::Tensor { element, shape }) => {
                let dtype = self.element_type(element)?;
                let axes = self.axes_of_shape(shape, scope)?;
                if declaration.kind == DeclarationKind::Param && !dtype.is_float() {
                    return Err(self.report(
                        Diagnostic::error("param-dtype", format!("a `param` of {dtype}"))
                            .primary(element.span, "not a float")
                            .help("parameters are trained and need f32 or f64; use `state`"),
                    ));
                }
                Ok((dtype, axes))
            }
            Some(TypeKind::Error) => Err(Stop),
            _ => Err(self.report(
                Diagnostic::error(
                    "untyped-slot",
                    format!("`{}` needs a tensor type", declaration.name.name),
                )
                .primary(declaration.name.span, "of unknown shape")
                .help(format!("write `{}: f32[n]`", declaration.name.name)),
            )),
        }
    }

    /// `state = value` inside a layer: the value that it has when the step ends.
    pub fn assign_state(&mut self, number: usize, given: &Given<'p>) -> Eval<Value<'p>> {
        let record = self.slots.record(number).clone();
        if self.loops > 0 {
            return Err(self.report(
                Diagnostic::error(
                    "state-in-scan",
                    format!("the state `{}` cannot change in a `scan`", record.path),
                )
                .primary(given.span, "a new value in each step")
                .secondary(record.span, "declared here")
                .note("a state has one new value when the whole program has run")
                .help("carry a `var` through the loop, and assign the state after it"),
            ));
        }
        let tensor = self.fit_tensor(&record.tensor(), &record.path, record.span, given)?;
        self.slots.update(number, tensor.node);
        Ok(Value::Tensor(tensor))
    }

    /// The new value of `old`, which keeps its element type and shape.
    pub fn fit_tensor(
        &mut self,
        old: &Tensor,
        name: &str,
        declared: Span,
        given: &Given<'p>,
    ) -> Eval<Tensor> {
        let what = format!("the new value of `{name}`");
        let tensor = match (&given.value, Number::of(&given.value)) {
            (Value::Tensor(tensor), _) => tensor.clone(),
            (_, Some(number)) => self.spread(&number, old.dtype, &old.axes, given.span)?,
            (other, None) => return Err(self.unfit(other, given.span, &what, "a tensor")),
        };
        let places = (tensor.dtype == old.dtype && tensor.axes.len() == old.axes.len())
            .then(|| self.places(&old.axes, &tensor.axes))
            .flatten();
        let agree = places.as_ref().is_some_and(|places| {
            tensor
                .axes
                .iter()
                .zip(places)
                .all(|(axis, &place)| self.sizes_agree(&old.axes[place].size, &axis.size))
        });
        let Some(places) = places.filter(|_| agree) else {
            let (old, new) = (self.show(old), self.show(&tensor));
            return Err(self.report(
                Diagnostic::error(
                    "state-type",
                    format!("`{name}` is {old} and cannot become {new}"),
                )
                .primary(given.span, format!("this is {new}"))
                .secondary(declared, format!("declared as {old}"))
                .help("a state keeps its element type and shape"),
            ));
        };
        Ok(self.repeat(&tensor, &old.axes, &places))
    }

    /// A float that the caller of the compiled program gives before a step: `step`, `epoch` or a
    /// parameter of a recipe.
    pub fn run_scalar(&mut self, name: &str) -> Value<'p> {
        let known = self.slots.scalars.iter().find(|(known, _)| known == name);
        let known = known.map(|(_, slot)| *slot);
        let mut declared = None;
        let node = self.emit_nodes([], |graph, []| {
            let slot = known.unwrap_or_else(|| {
                graph.declare_slot(name, SlotRole::Scalar, TensorType::scalar(DType::F64))
            });
            declared = Some(slot);
            graph.read_slot(slot)
        });
        if let (None, Some(slot)) = (known, declared) {
            self.slots.scalars.push((name.to_owned(), slot));
        }
        Value::Scalar(node)
    }
}
