//! Entry points: the functions that a model holds over its instances.
//!
//! `net(x)` calls `forward`, `net.encode(x)` the function `encode`. Every call evaluates the
//! model's body anew and then the function. The captures in the body have the same identities each
//! time, so all entry points share their parameters.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use super::arguments::{Arguments, assign_arguments};
use super::call::{parameters_of, signature_of};
use super::{Eval, Evaluator, Renaming, Stop, is_input};
use crate::diagnostic::{Diagnostic, closest};
use crate::language::bindings::setting_text;
use crate::language::instance::Activation;
use crate::language::program::ModelInstance;
use crate::language::scope::Scope;
use crate::language::value::{Capture, Closure, EntryPoint, Given, Value};
use crate::source::Span;
use crate::syntax::ast::{Body, Function, FunctionKind, Statement};

/// The entry point that a call of the model itself means.
pub const DEFAULT_ENTRY: &str = "forward";

/// Whether a model is used through functions that it holds: it has no inputs, and its body ends in
/// no expression.
pub fn has_entry_points(function: &Function) -> bool {
    let inputs = function.parameters.iter().any(is_input);
    let value = match &function.body {
        Body::Block(block) => block.value().is_some(),
        Body::Expr(_) => true,
    };
    function.kind == FunctionKind::Model && !inputs && !value && entry_points(function).count() > 0
}

/// The functions that the body of a definition holds.
pub fn entry_points(function: &Function) -> impl Iterator<Item = &Function> {
    let statements = match &function.body {
        Body::Block(block) => block.statements.as_slice(),
        Body::Expr(_) => &[],
    };
    statements.iter().filter_map(|statement| match statement {
        Statement::Function(function) => Some(function),
        _ => None,
    })
}

/// The entry point of `model` called `name`.
///
/// # Errors
/// What is wrong, with no place yet, if there is none.
pub fn entry_point<'a>(model: &'a Function, name: &str) -> Result<&'a Function, Diagnostic> {
    if let Some(entry) = entry_points(model).find(|entry| entry.name.name == name) {
        return Ok(entry);
    }
    let names: Vec<&str> = entry_points(model).map(|entry| entry.name.name.as_str()).collect();
    let model = &model.name.name;
    let missing =
        Diagnostic::error("no-entry-point", format!("`{model}` has no entry point `{name}`"));
    Err(match (closest(name, names.iter().copied()), names.as_slice()) {
        (Some(near), _) => missing.help(format!("did you mean `{near}`?")),
        (None, []) => missing.help("a model holds its entry points as functions: `fn encode(x)`"),
        (None, names) => missing.help(format!("it has {}", names.join(", "))),
    })
}

impl<'p> Evaluator<'p> {
    /// The entry point called `name`; what is wrong is reported at `span`.
    pub fn expect_entry_point(
        &mut self,
        model: &'p Function,
        name: &str,
        span: Span,
    ) -> Eval<&'p Function> {
        entry_point(model, name).map_err(|missing| {
            let text = format!("`{}` is defined here", model.name.name);
            self.report(missing.primary(span, "called here").secondary(model.name.span, text))
        })
    }

    /// Calls an entry point of the model `closure` in the instance `activation`.
    pub fn call_entry_point(
        &mut self,
        closure: &Closure<'p>,
        statics: Vec<Option<Given<'p>>>,
        activation: Rc<Activation>,
        entry: &'p Function,
        arguments: Arguments<'p>,
    ) -> Eval<Value<'p>> {
        let parameters = parameters_of(entry);
        let signature = signature_of(entry, &parameters);
        let order = assign_arguments(signature, &arguments.places(), arguments.span);
        let order = self.assigned(order)?;
        let given = arguments.in_order(&order);
        let first = self.axes.next();
        let name = &closure.function.name.name;
        self.in_frame(name, Some(arguments.span), Some(activation), |this| {
            let (scope, renaming) = this.open_model(closure, statics);
            let held = scope.own(&entry.name.name).map(|binding| binding.value);
            let Some(Value::Closure(held)) = held else { return Err(Stop) };
            let activation = held.activation.clone();
            this.in_frame(&entry.name.name, None, activation, |this| {
                this.run_body(&held, given, renaming, first)
            })
        })
    }

    /// Evaluates the body of a model with entry points: a scope with its captures and functions.
    fn open_model(
        &mut self,
        closure: &Closure<'p>,
        statics: Vec<Option<Given<'p>>>,
    ) -> (Rc<Scope<'p>>, Renaming) {
        let function = closure.function;
        let scope = Scope::of_function(closure.module, closure.scope.clone());
        let mut renaming = Renaming::default();
        self.bind_parameters(function, statics, &scope, &mut renaming);
        self.record_model(function, &scope);
        self.run_model_body(function, &scope);
        (scope, renaming)
    }

    /// Evaluates the statements of a model with entry points, whose parameters `scope` has.
    pub fn run_model_body(&mut self, function: &'p Function, scope: &Rc<Scope<'p>>) {
        if let Body::Block(block) = &function.body {
            // Mistakes were reported; the body has no value.
            let _ = self.block_in(block, scope);
        }
    }

    /// Notes the static values of the model whose body is evaluated, to be saved with its weights.
    /// One that differs between uses of one instance is left out.
    pub fn record_model(&mut self, function: &'p Function, scope: &Rc<Scope<'p>>) {
        let Some(activation) = self.activation() else { return };
        let parameters = function.parameters.iter().filter(|parameter| !is_input(parameter));
        let statics: BTreeMap<String, String> = parameters
            .filter_map(|parameter| {
                let value = scope.own(&parameter.name.name)?.value;
                Some((parameter.name.name.clone(), setting_text(&value)?))
            })
            .collect();
        match self.models.entry(activation.path.clone()) {
            Entry::Vacant(free) => {
                free.insert(ModelInstance { model: function.name.name.clone(), statics });
            }
            Entry::Occupied(mut known) => {
                known.get_mut().statics.retain(|name, value| statics.get(name) == Some(value));
            }
        }
    }

    /// `instance.name`: an entry point, a static value, or an instance inside.
    pub fn instance_field(
        &mut self,
        capture: &Rc<Capture<'p>>,
        name: &'p str,
        span: Span,
    ) -> Eval<Value<'p>> {
        let closure = &capture.closure;
        let function = closure.function;
        let entries = has_entry_points(function);
        if entries && let Some(entry) = entry_points(function).find(|e| e.name.name == name) {
            return Ok(Value::EntryPoint(Rc::new(EntryPoint {
                capture: Rc::clone(capture),
                entry,
            })));
        }
        let first = self.axes.next();
        let activation = Activation::of_root(&capture.path, capture.root, 0);
        let found = self.in_frame(&function.name.name, Some(span), Some(activation), |this| {
            let inputs = function.parameters.len() - capture.statics.len();
            let is_static = function.parameters[inputs..].iter().any(|p| p.name.name == name);
            let (scope, mut renaming) = match (is_static, entries) {
                (true, _) => this.static_scope(closure, &capture.statics),
                (false, true) => this.open_model(closure, capture.statics.clone()),
                (false, false) => return None,
            };
            let mut value = scope.own(name)?.value;
            this.leave(&mut value, &mut renaming, first);
            Some(value)
        });
        match found {
            Some(Value::Unknown) => Err(Stop),
            Some(Value::Tensor(_) | Value::Scalar(_)) | None => {
                Err(self.report_no_field(function, name, span))
            }
            Some(value) => Ok(value),
        }
    }

    /// A scope with the static parameters of a definition; what inputs would say is not known.
    fn static_scope(
        &mut self,
        closure: &Closure<'p>,
        statics: &[Option<Given<'p>>],
    ) -> (Rc<Scope<'p>>, Renaming) {
        let function = closure.function;
        let scope = Scope::of_function(closure.module, closure.scope.clone());
        let mut renaming = Renaming::default();
        let inputs = function.parameters.len() - statics.len();
        for parameter in &function.parameters[..inputs] {
            if let Some(ty) = &parameter.ty {
                self.bind_unknown_dims(ty, &scope);
            }
        }
        for (parameter, given) in function.parameters[inputs..].iter().zip(statics) {
            self.bind_parameter(function, parameter, given.clone(), &scope, &mut renaming);
        }
        (scope, renaming)
    }

    fn report_no_field(&mut self, function: &'p Function, name: &str, span: Span) -> Stop {
        let statics = function.parameters.iter().filter(|parameter| !is_input(parameter));
        let mut names: Vec<&str> = statics.map(|parameter| parameter.name.name.as_str()).collect();
        if has_entry_points(function) {
            names.extend(entry_points(function).map(|entry| entry.name.name.as_str()));
        }
        let called = &function.name.name;
        let missing = Diagnostic::error("no-field", format!("`{called}` has no `{name}`"))
            .primary(span, "no entry point and no static value")
            .secondary(function.name.span, format!("`{called}` is defined here"));
        self.report(match (closest(name, names.iter().copied()), names.as_slice()) {
            (Some(near), _) => missing.help(format!("did you mean `{near}`?")),
            (None, []) => missing.help("it has neither entry points nor static parameters"),
            (None, names) => missing.help(format!("it has {}", names.join(", "))),
        })
    }
}
