//! Calls of definitions: instances, parameters, results.

use std::rc::Rc;

use cygnet_compiler::types::DType;

use super::arguments::{Arguments, Parameter, Signature, assign_arguments};
use super::entry::{DEFAULT_ENTRY, has_entry_points};
use super::{Eval, Evaluator, Number, Renaming, Site, Stop};
use crate::diagnostic::Diagnostic;
use crate::language::instance::{Activation, Root};
use crate::language::scope::Scope;
use crate::language::value::{AxisId, Capture, Closure, Given, Int, Settings, Value};
use crate::source::Span;
use crate::syntax::ast::{self, AxisValue, Body, ExprKind, Function, FunctionKind, TypeKind};

/// Whether a parameter is an input rather than static: inputs have a tensor type, or no type and
/// no default.
pub fn is_input(parameter: &ast::Parameter) -> bool {
    match &parameter.ty {
        Some(ty) => !matches!(ty.kind, TypeKind::Name(_)),
        None => parameter.default.is_none(),
    }
}

/// The parameters of a definition as a call sees them.
pub fn parameters_of(function: &Function) -> Vec<Parameter<'_>> {
    let parameters = function.parameters.iter();
    parameters
        .map(|parameter| Parameter {
            name: &parameter.name.name,
            required: parameter.default.is_none(),
        })
        .collect()
}

/// A definition as a call sees it that can give `parameters`.
pub fn signature_of<'a>(function: &'a Function, parameters: &'a [Parameter<'a>]) -> Signature<'a> {
    Signature {
        name: &function.name.name,
        declared: Some(function.name.span),
        parameters,
        capturable: matches!(function.kind, FunctionKind::Layer | FunctionKind::Model),
    }
}

/// A use of a layer where nothing can own its parameters.
pub fn layer_in_function(function: &Function, span: Span) -> Diagnostic {
    let name = &function.name.name;
    let keyword = function.kind.keyword();
    Diagnostic::error(
        "layer-in-function",
        format!("the {keyword} `{name}` cannot be used in a `fn`"),
    )
    .primary(span, "its parameters would belong to nothing")
    .secondary(function.name.span, format!("`{name}` is a {keyword}"))
    .help("make the surrounding definition a `layer`, or pass an instance to it")
}

/// The types of static parameters.
const STATIC_TYPES: [&str; 7] = ["dim", "int", "float", "bool", "str", "list", "init"];

/// The parameters of a definition in the order in which they are bound: as written, but a static
/// one that an input's sizes are computed from (`x: f32[n, 2*d]`), or those of an input that need
/// not be given (`h: f32[n, d] = zeros`), before that input.
fn binding_order(function: &Function) -> Vec<usize> {
    let mut order = Vec::with_capacity(function.parameters.len());
    let number_of =
        |name: &str| function.parameters.iter().position(|parameter| parameter.name.name == name);
    for (number, parameter) in function.parameters.iter().enumerate() {
        if let Some(ast::Type { kind: TypeKind::Tensor { shape, .. }, .. }) = &parameter.ty {
            for axis in &shape.axes {
                let AxisValue::Expr(expr) = &axis.value else { continue };
                let binds = axis.name.is_none() && matches!(expr.kind, ExprKind::Name(_));
                if binds && parameter.default.is_none() {
                    continue;
                }
                order.extend(expr.names().into_iter().filter_map(number_of));
            }
        }
        order.push(number);
    }
    let mut seen = vec![false; function.parameters.len()];
    order.retain(|&number| !std::mem::replace(&mut seen[number], true));
    order
}

impl<'p> Evaluator<'p> {
    /// Calls a value.
    pub fn call(
        &mut self,
        callee: &Value<'p>,
        callee_span: Span,
        arguments: Arguments<'p>,
        label: Option<String>,
    ) -> Eval<Value<'p>> {
        match callee {
            Value::Closure(closure) if arguments.placeholder.is_some() => {
                self.capture(closure, arguments, label)
            }
            Value::Closure(closure) => self.call_closure(closure, arguments, label),
            Value::Capture(capture) => self.call_capture(&Rc::clone(capture), None, arguments),
            Value::EntryPoint(point) => {
                self.call_capture(&point.capture, Some(point.entry), arguments)
            }
            Value::Builtin(builtin) => self.call_builtin(*builtin, arguments),
            Value::Unknown => Err(Stop),
            other => {
                let found = self.describe(other);
                Err(self.report(
                    Diagnostic::error("not-callable", format!("{found} cannot be called"))
                        .primary(callee_span, format!("this is {found}"))
                        .help("only functions, layers, models and their captures are called"),
                ))
            }
        }
    }

    fn call_closure(
        &mut self,
        closure: &Closure<'p>,
        arguments: Arguments<'p>,
        label: Option<String>,
    ) -> Eval<Value<'p>> {
        let function = closure.function;
        if has_entry_points(function) {
            let entry = self.expect_entry_point(function, DEFAULT_ENTRY, arguments.span)?;
            let Some(activation) = self.activation_of(closure, label, arguments.span)? else {
                return Err(Stop);
            };
            let statics = vec![None; function.parameters.len()];
            return self.call_entry_point(closure, statics, activation, entry, arguments);
        }
        let parameters = parameters_of(function);
        let signature = signature_of(function, &parameters);
        let order = assign_arguments(signature, &arguments.places(), arguments.span);
        let order = self.assigned(order)?;
        let given = arguments.in_order(&order);
        if function.kind == FunctionKind::Optimizer {
            return self.optimizer(closure, given, arguments.span);
        }
        let activation = self.activation_of(closure, label, arguments.span)?;
        self.enter(closure, given, activation, arguments.span)
    }

    /// The instance in which the body of a called definition is evaluated.
    fn activation_of(
        &mut self,
        closure: &Closure<'p>,
        label: Option<String>,
        span: Span,
    ) -> Eval<Option<Rc<Activation>>> {
        let function = closure.function;
        if function.kind == FunctionKind::Fn {
            return Ok(closure.activation.clone());
        }
        if function.kind == FunctionKind::Metric {
            return self.metric_activation(function, span).map(Some);
        }
        let name = &function.name.name;
        let Some(parent) = self.activation() else {
            return Err(self.report(layer_in_function(function, span)));
        };
        if label.is_none()
            && let Some(instance) = self.bare_instance(closure, span)
        {
            return Ok(Some(self.next_activation(&instance)));
        }
        let label = label.unwrap_or_else(|| parent.unlabelled(name));
        Ok(Some(parent.inner(&label)))
    }

    /// The path of a model that a recipe uses: a single one needs no prefix.
    pub fn model_path(&self, name: &str) -> String {
        if self.single_model { String::new() } else { name.to_owned() }
    }

    /// Evaluates the body of a definition. `given` has an entry for each parameter.
    pub fn enter(
        &mut self,
        closure: &Closure<'p>,
        given: Vec<Option<Given<'p>>>,
        activation: Option<Rc<Activation>>,
        span: Span,
    ) -> Eval<Value<'p>> {
        let first = self.axes.next();
        self.in_frame(&closure.function.name.name, Some(span), activation, |this| {
            this.run_body(closure, given, Renaming::default(), first)
        })
    }

    /// Evaluates the body of a definition in the frame that was made for it. Axes from `first` on
    /// are its own; `renaming` says what those of the model around it are outside.
    pub fn run_body(
        &mut self,
        closure: &Closure<'p>,
        given: Vec<Option<Given<'p>>>,
        mut renaming: Renaming,
        first: AxisId,
    ) -> Eval<Value<'p>> {
        let function = closure.function;
        let scope = Scope::of_function(closure.module, closure.scope.clone());
        self.bind_parameters(function, given, &scope, &mut renaming);
        if function.kind == FunctionKind::Model {
            self.record_model(function, &scope);
        }
        let mut value = self.body(function, &scope)?;
        self.leave(&mut value, &mut renaming, first);
        Ok(value)
    }

    /// Binds all parameters of a definition to their arguments or defaults.
    pub fn bind_parameters(
        &mut self,
        function: &'p Function,
        mut given: Vec<Option<Given<'p>>>,
        scope: &Rc<Scope<'p>>,
        renaming: &mut Renaming,
    ) {
        for number in binding_order(function) {
            let parameter = &function.parameters[number];
            let given = given.get_mut(number).and_then(Option::take);
            self.bind_parameter(function, parameter, given, scope, renaming);
        }
    }

    /// The value of a definition's body, of the declared type.
    pub fn body(&mut self, function: &'p Function, scope: &Rc<Scope<'p>>) -> Eval<Value<'p>> {
        let value = match &function.body {
            Body::Expr(expr) => self.expr(expr, scope)?,
            Body::Block(block) => self.block_in(block, scope)?,
        };
        let span = match &function.body {
            Body::Expr(expr) => expr.span,
            Body::Block(block) => block.value().map_or(block.span, |value| value.span),
        };
        match &function.result {
            Some(ty) => {
                let what = format!("the result of `{}`", function.name.name);
                self.match_type(&value, ty, scope, &Site { what: &what, value: span }, None)
            }
            None => Ok(value),
        }
    }

    /// Binds a parameter to its argument or default.
    pub fn bind_parameter(
        &mut self,
        function: &'p Function,
        parameter: &'p ast::Parameter,
        given: Option<Given<'p>>,
        scope: &Rc<Scope<'p>>,
        renaming: &mut Renaming,
    ) {
        let what = format!("the argument `{}` of `{}`", parameter.name.name, function.name.name);
        let given = given.or_else(|| {
            let default = parameter.default.as_ref()?;
            let value = self.expr(default, scope).unwrap_or(Value::Unknown);
            Some(Given { value, span: default.span })
        });
        let given = given.unwrap_or(Given { value: Value::Unknown, span: parameter.span });
        let site = Site { what: &what, value: given.span };
        let value = match &parameter.ty {
            Some(ty) => self.match_type(&given.value, ty, scope, &site, Some(&mut *renaming)),
            None => Ok(given.value),
        };
        let value = value.unwrap_or_else(|Stop| {
            if let Some(ty) = &parameter.ty {
                self.bind_unknown_dims(ty, scope);
            }
            Value::Unknown
        });
        let value = self.localize_dim(parameter, value, &site, scope, renaming);
        scope.fix(&parameter.name.name, value, parameter.name.span);
    }

    /// A `dim` argument stands for an axis of the definition's own.
    fn localize_dim(
        &mut self,
        parameter: &'p ast::Parameter,
        value: Value<'p>,
        site: &Site<'_>,
        scope: &Rc<Scope<'p>>,
        renaming: &mut Renaming,
    ) -> Value<'p> {
        let dim = matches!(&parameter.ty,
            Some(ast::Type { kind: TypeKind::Name(name), .. }) if name.name == "dim");
        let Value::Int(Int { size, axis }) = value else { return value };
        if !dim {
            // Without a type, an axis is passed on: `over: t`.
            let axis = axis.filter(|_| parameter.ty.is_none());
            return Value::Int(Int { size, axis });
        }
        let name = &parameter.name;
        // An input's axis may have the parameter's name: `(x: f32[n, d], d: dim)`.
        if let Some(binding) = scope.own(&name.name)
            && let Value::Int(bound) = binding.value
        {
            if !self.sizes_agree(&bound.size, &size) {
                let text = format!("{} is {size}, but the axis has {}", site.what, bound.size);
                self.report(
                    Diagnostic::error("wrong-size", text)
                        .primary(site.value, format!("this is {size}"))
                        .secondary(binding.span, format!("`{}` is {} here", name.name, bound.size))
                        .help("leave the argument away, or give the size of the axis"),
                );
            }
            return Value::Int(bound);
        }
        let inside = self.axes.named(&name.name);
        let outside = axis.unwrap_or_else(|| self.axes.unnamed());
        renaming.pairs.push((inside, outside));
        Value::Int(Int { size, axis: Some(inside) })
    }

    /// Binds the names of a type whose value is not known, so that nothing is said about them.
    pub fn bind_unknown_dims(&mut self, ty: &'p ast::Type, scope: &Rc<Scope<'p>>) {
        match &ty.kind {
            TypeKind::Tensor { shape, .. } => self.bind_unknown_axes(shape, scope),
            TypeKind::Tuple(types) => {
                types.iter().for_each(|ty| self.bind_unknown_dims(ty, scope));
            }
            TypeKind::Name(_) | TypeKind::Error => {}
        }
    }

    /// Binds the names of a shape that nothing is known about.
    pub fn bind_unknown_axes(&mut self, shape: &'p ast::Shape, scope: &Rc<Scope<'p>>) {
        for (name, span) in shape.names() {
            if scope.lookup(name).is_none() {
                scope.fix(name, Value::Unknown, span);
            }
        }
    }

    /// Holds a value against a declared type and converts it to that type where this is allowed.
    pub fn match_type(
        &mut self,
        value: &Value<'p>,
        ty: &'p ast::Type,
        scope: &Rc<Scope<'p>>,
        site: &Site<'_>,
        mut renaming: Option<&mut Renaming>,
    ) -> Eval<Value<'p>> {
        match (&ty.kind, value) {
            (TypeKind::Name(name), _) if !STATIC_TYPES.contains(&name.name.as_str()) => {
                Err(self.report_unknown_type(name))
            }
            (_, Value::Unknown) | (TypeKind::Error, _) => Err(Stop),
            (TypeKind::Tensor { element, shape }, Value::Tensor(tensor)) => {
                self.match_tensor(tensor, element, shape, scope, site, renaming).map(Value::Tensor)
            }
            (TypeKind::Tensor { element, shape }, Value::Initializer(initializer)) => {
                let dtype = self.element_type(element)?;
                let axes = self.axes_of_shape(shape, scope)?;
                self.draw(*initializer, dtype, axes).map(Value::Tensor)
            }
            (TypeKind::Tensor { element, shape }, Value::Builtin(_)) => {
                let initializer = self.expect_initializer(value, site.value, site.what)?;
                let dtype = self.element_type(element)?;
                let axes = self.axes_of_shape(shape, scope)?;
                self.draw(initializer, dtype, axes).map(Value::Tensor)
            }
            (TypeKind::Tensor { element, shape }, value) => {
                let Some(number) = Number::of(value) else {
                    let wanted = format!("a tensor of {}", element.name);
                    return Err(self.unfit(value, site.value, site.what, &wanted));
                };
                let dtype = self.element_type(element)?;
                let axes = self.axes_of_shape(shape, scope)?;
                self.spread(&number, dtype, &axes, site.value).map(Value::Tensor)
            }
            (TypeKind::Tuple(types), Value::Tuple(parts)) if types.len() == parts.len() => {
                let mut matched = Vec::with_capacity(parts.len());
                for (ty, part) in types.iter().zip(parts.iter()) {
                    matched.push(self.match_type(
                        part,
                        ty,
                        scope,
                        site,
                        renaming.as_deref_mut(),
                    )?);
                }
                Ok(Value::Tuple(matched.into()))
            }
            (TypeKind::Tuple(types), value) => {
                let wanted = format!("a tuple of {}", types.len());
                Err(self.unfit(value, site.value, site.what, &wanted))
            }
            (TypeKind::Name(name), value) => self.match_static(value, name, site),
        }
    }

    /// Holds a value against the type of a static parameter.
    pub fn match_static(
        &mut self,
        value: &Value<'p>,
        ty: &'p ast::Ident,
        site: &Site<'_>,
    ) -> Eval<Value<'p>> {
        let (span, what) = (site.value, site.what);
        match (ty.name.as_str(), value) {
            ("dim", Value::Int(int)) => {
                self.expect_extent(value, span)?;
                Ok(Value::Int(int.clone()))
            }
            ("int", Value::Int(int)) => Ok(Value::Int(int.clone())),
            ("float", Value::Int(int)) => {
                Ok(Value::Float(int.size.as_constant().map(|size| size as f64)))
            }
            ("float", Value::Float(_) | Value::Scalar(_))
            | ("bool", Value::Bool(_))
            | ("str", Value::Text(_))
            | ("list", Value::List(_)) => Ok(value.clone()),
            ("list", Value::Tuple(parts)) => Ok(Value::List(Rc::clone(parts))),
            ("init", _) => self.expect_initializer(value, span, what).map(Value::Initializer),
            ("dim" | "int", _) => Err(self.unfit(value, span, what, "a whole number or dim")),
            ("float", _) => Err(self.unfit(value, span, what, "a number")),
            ("bool", _) => Err(self.unfit(value, span, what, "`true` or `false`")),
            ("str", _) => Err(self.unfit(value, span, what, "a text")),
            ("list", _) => Err(self.unfit(value, span, what, "a list")),
            _ => Err(Stop),
        }
    }

    fn report_unknown_type(&mut self, ty: &ast::Ident) -> Stop {
        let unknown = Diagnostic::error("unknown-type", format!("there is no type `{}`", ty.name))
            .primary(ty.span, "not a type");
        self.report(match DType::from_name(&ty.name) {
            Some(_) => unknown.help(format!(
                "a tensor type has brackets: `{}[n, d]`, and `{}[]` for a scalar",
                ty.name, ty.name
            )),
            None => unknown.help(format!("static types are {}", STATIC_TYPES.join(", "))),
        })
    }

    /// An optimizer with its settings; it runs once for each parameter of a model.
    fn optimizer(
        &mut self,
        closure: &Closure<'p>,
        given: Vec<Option<Given<'p>>>,
        span: Span,
    ) -> Eval<Value<'p>> {
        let function = closure.function;
        let values = self.in_frame(&function.name.name, Some(span), None, |this| {
            let scope = Scope::of_function(closure.module, None);
            let mut renaming = Renaming::default();
            let mut values = Vec::new();
            for (parameter, given) in function.parameters.iter().zip(given) {
                this.bind_parameter(function, parameter, given, &scope, &mut renaming);
                let bound = scope.lookup(&parameter.name.name);
                values.push(bound.map_or(Value::Unknown, |binding| binding.value));
            }
            values
        });
        Ok(Value::Optimizer(Rc::new(Settings { closure: closure.clone(), values, span })))
    }

    /// `callee(_, arguments)`: an instance, or a function with arguments given.
    fn capture(
        &mut self,
        closure: &Closure<'p>,
        arguments: Arguments<'p>,
        label: Option<String>,
    ) -> Eval<Value<'p>> {
        let function = closure.function;
        let inputs = function.parameters.iter().take_while(|p| is_input(p)).count();
        let statics = &parameters_of(function)[inputs..];
        let signature = signature_of(function, statics);
        let order = assign_arguments(signature, &arguments.places(), arguments.span);
        let order = self.assigned(order)?;
        let name = self.capture_name.take();
        let mut capture = Capture {
            closure: closure.clone(),
            statics: arguments.in_order(&order),
            root: Root::PROGRAM,
            path: String::new(),
            span: arguments.span,
        };
        if function.kind != FunctionKind::Fn {
            let Some(parent) = self.activation() else {
                return Err(self.report(layer_in_function(function, arguments.span)));
            };
            let name = label.or(name).unwrap_or_else(|| parent.unlabelled(&function.name.name));
            let model = self.in_recipe_body() && function.kind == FunctionKind::Model;
            capture.path = if model { self.model_path(&name) } else { parent.join(&name) };
            let ordinal = parent.capture_ordinal(&name);
            capture.root = self.roots.capture(parent.root, &parent.join(&name), ordinal);
        }
        Ok(Value::Capture(Rc::new(capture)))
    }

    /// Calls an instance, or the function `entry` of it.
    fn call_capture(
        &mut self,
        capture: &Rc<Capture<'p>>,
        entry: Option<&'p Function>,
        arguments: Arguments<'p>,
    ) -> Eval<Value<'p>> {
        let function = capture.closure.function;
        if let Some(span) = arguments.placeholder {
            return Err(self.report(
                Diagnostic::error("capture-twice", "this is captured already")
                    .primary(span, "an instance has its arguments")
                    .secondary(capture.span, "captured here")
                    .help("call it with inputs, or use it by its name"),
            ));
        }
        if has_entry_points(function) {
            let entry = match entry {
                Some(entry) => entry,
                None => self.expect_entry_point(function, DEFAULT_ENTRY, arguments.span)?,
            };
            let activation = self.next_activation(capture);
            let statics = capture.statics.clone();
            return self.call_entry_point(&capture.closure, statics, activation, entry, arguments);
        }
        let parameters = parameters_of(function);
        let inputs = parameters.len() - capture.statics.len();
        let signature = Signature {
            declared: Some(capture.span),
            capturable: false,
            ..signature_of(function, &parameters[..inputs])
        };
        let order = assign_arguments(signature, &arguments.places(), arguments.span);
        let order = self.assigned(order)?;
        let mut given = arguments.in_order(&order);
        given.extend(capture.statics.iter().cloned());
        let activation = match function.kind {
            FunctionKind::Fn => capture.closure.activation.clone(),
            _ => Some(self.next_activation(capture)),
        };
        self.enter(&capture.closure, given, activation, arguments.span)
    }

    /// The next call of a shared instance.
    fn next_activation(&mut self, capture: &Capture<'p>) -> Rc<Activation> {
        let call = self.roots.next_call(capture.root);
        Activation::of_root(&capture.path, capture.root, call)
    }

    /// The instance that the bare name of a model means in a recipe.
    pub fn bare_instance(&mut self, closure: &Closure<'p>, span: Span) -> Option<Rc<Capture<'p>>> {
        let function = closure.function;
        if !self.in_recipe_body() || function.kind != FunctionKind::Model {
            return None;
        }
        let name = &function.name.name;
        let parent = self.activation()?;
        let inputs = function.parameters.iter().take_while(|p| is_input(p)).count();
        Some(Rc::new(Capture {
            closure: closure.clone(),
            statics: vec![None; function.parameters.len() - inputs],
            root: self.roots.capture(parent.root, name, 0),
            path: self.model_path(name),
            span,
        }))
    }
}
