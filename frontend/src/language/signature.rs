//! Definitions on their own: inputs and settings that no call gives.
//!
//! A check makes them up (free dims are symbols); an elaboration takes them from [`Bindings`].

use std::rc::Rc;

use cygnet_compiler::graph::{Emit, SlotRole};
use cygnet_compiler::types::{DType, TensorType};

use super::bindings::{Bindings, parse_setting};
use super::evaluate::{Eval, Evaluator, Number, Renaming, Site, Stop};
use super::scope::Scope;
use super::size::Size;
use super::value::{Axis, Given, Int, Tensor, Value};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{self, AxisValue, ExprKind, Function, TypeKind};

/// An input of a definition on its own.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its slot, in an elaboration.
    pub slot: Option<u32>,
    /// Its type.
    pub tensor: Tensor,
}

/// Where the sizes of free dims come from.
pub struct Dims<'a> {
    /// The numbers given.
    pub bindings: &'a Bindings,
    /// What a dim is that has no number: a symbol in a check, missing in an elaboration.
    pub symbolic: bool,
    /// The dims that had no number, and where they stand.
    pub missing: Vec<(String, Span)>,
}

impl Dims<'_> {
    fn size(&mut self, name: &str, span: Span) -> Option<Size> {
        match self.bindings.size(name) {
            Some(size) => Some(Size::from(size)),
            None if self.symbolic => Some(Size::free(name)),
            None => {
                if !self.missing.iter().any(|(known, _)| known == name) {
                    self.missing.push((name.to_owned(), span));
                }
                None
            }
        }
    }
}

impl<'p> Evaluator<'p> {
    /// Binds all parameters of a definition, without a call. Returns the inputs.
    pub fn bind_signature(
        &mut self,
        function: &'p Function,
        scope: &Rc<Scope<'p>>,
        dims: &mut Dims<'_>,
    ) -> Vec<Input> {
        let mut inputs = Vec::new();
        for parameter in &function.parameters {
            let Some(ty) = &parameter.ty else {
                if parameter.default.is_none() {
                    if !dims.symbolic {
                        self.report_untyped_input(function, parameter);
                    }
                    scope.fix(&parameter.name.name, Value::Unknown, parameter.name.span);
                } else if scope.own(&parameter.name.name).is_none() {
                    self.bind_static(function, parameter, scope, dims);
                }
                continue;
            };
            match &ty.kind {
                TypeKind::Tensor { element, shape } => {
                    for name in shape.axes.iter().flat_map(shape_names) {
                        let named = |p: &&ast::Parameter| p.name.name == name;
                        let setting = function.parameters.iter().find(named);
                        if let Some(setting) = setting.filter(|_| scope.own(name).is_none()) {
                            self.bind_static(function, setting, scope, dims);
                        }
                    }
                    let name = &parameter.name;
                    if let Some(value) = self.given_otherwise(parameter, scope, dims) {
                        scope.fix(&name.name, value, name.span);
                        continue;
                    }
                    let tensor = self.input(&name.name, element, shape, scope, dims);
                    let value = match tensor {
                        Ok((tensor, slot)) => {
                            let name = name.name.clone();
                            inputs.push(Input { name, slot, tensor: tensor.clone() });
                            Value::Tensor(tensor)
                        }
                        Err(Stop) => Value::Unknown,
                    };
                    if let (true, Some(default)) = (dims.symbolic, &parameter.default) {
                        // What is wrong with the default is reported; the value is the input's.
                        let _ = self.default_input(parameter, default, scope);
                    }
                    scope.fix(&name.name, value, name.span);
                }
                TypeKind::Name(_) if scope.own(&parameter.name.name).is_none() => {
                    self.bind_static(function, parameter, scope, dims);
                }
                TypeKind::Name(_) => {}
                TypeKind::Tuple(_) | TypeKind::Error => {
                    scope.fix(&parameter.name.name, Value::Unknown, parameter.name.span);
                }
            }
        }
        inputs
    }

    /// The value of an input that the caller does not give: a scalar that is set, or its default.
    fn given_otherwise(
        &mut self,
        parameter: &'p ast::Parameter,
        scope: &Rc<Scope<'p>>,
        dims: &mut Dims<'_>,
    ) -> Option<Value<'p>> {
        let name = &parameter.name;
        let Some(ast::Type { kind: TypeKind::Tensor { element, shape }, .. }) = &parameter.ty
        else {
            return None;
        };
        let text = dims.bindings.settings.get(&name.name).filter(|_| is_scalar(parameter));
        if let Some(text) = text {
            let number = setting_type(&element.name);
            let value = parse_setting(text, number)
                .map_err(|wanted| self.report_bad_setting(parameter, text, wanted))
                .and_then(|value| self.scalar_of(&value, element, parameter.span));
            return Some(value.map_or(Value::Unknown, Value::Tensor));
        }
        let default = parameter.default.as_ref()?;
        if dims.symbolic || dims.bindings.inputs.contains(&name.name) {
            return None;
        }
        // Sizes that no input before has are set.
        for axis in &shape.axes {
            // What is wrong was reported.
            let _ = self.input_axis(axis, scope, dims);
        }
        Some(self.default_input(parameter, default, scope).unwrap_or(Value::Unknown))
    }

    /// The default of an input, as a value of its type.
    fn default_input(
        &mut self,
        parameter: &'p ast::Parameter,
        default: &'p ast::Expr,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        let value = self.expr(default, scope)?;
        let what = format!("the default of `{}`", parameter.name.name);
        let site = Site { what: &what, value: default.span };
        match &parameter.ty {
            Some(ty) => {
                self.at(default.span, |this| this.match_type(&value, ty, scope, &site, None))
            }
            None => Ok(value),
        }
    }

    /// A number or truth value as a tensor without axes.
    fn scalar_of(&mut self, value: &Value<'p>, element: &ast::Ident, span: Span) -> Eval<Tensor> {
        let dtype = self.element_type(element)?;
        match (value, Number::of(value)) {
            (Value::Bool(value), _) => {
                let value = f64::from(u8::from(*value));
                let node = self.emit_nodes([], |graph, []| graph.constant(dtype, &[], value));
                Ok(Tensor { dtype, axes: Vec::new(), node })
            }
            (_, Some(number)) => self.spread(&number, dtype, &[], span),
            (_, None) => Err(Stop),
        }
    }

    fn report_bad_setting(&mut self, parameter: &ast::Parameter, text: &str, wanted: &str) -> Stop {
        let name = &parameter.name.name;
        self.report(
            Diagnostic::error(
                "bad-setting",
                format!("`{name}` was set to `{text}`, which is not {wanted}"),
            )
            .primary(parameter.span, format!("`{name}` is {wanted}"))
            .help(format!("set it to {wanted}")),
        )
    }

    fn report_untyped_input(&mut self, function: &Function, parameter: &ast::Parameter) {
        let name = &parameter.name.name;
        self.report(
            Diagnostic::error(
                "untyped-input",
                format!("the input `{name}` of `{}` has no type", function.name.name),
            )
            .primary(parameter.span, "of unknown shape")
            .help(format!("declare it: `{name}: f32[n, d]`")),
        );
    }

    /// An input tensor of a declared type: its free dims get numbers or become symbols.
    pub fn input(
        &mut self,
        name: &str,
        element: &'p ast::Ident,
        shape: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
        dims: &mut Dims<'_>,
    ) -> Eval<(Tensor, Option<u32>)> {
        let dtype = self.element_type(element)?;
        let mut axes = Vec::with_capacity(shape.axes.len());
        let mut complete = true;
        for entry in &shape.axes {
            match self.input_axis(entry, scope, dims) {
                Ok(axis) => axes.push(axis),
                Err(Stop) => complete = false,
            }
        }
        if !complete {
            return Err(Stop);
        }
        self.check_axes(&axes, shape.span)?;
        let ty = TensorType::new(dtype, &Evaluator::extents(&axes));
        let mut slot = None;
        let node = self.at(shape.span, |this| {
            this.emit_nodes([], |graph, []| {
                let index = graph.declare_slot(name, SlotRole::Input, ty);
                slot = Some(index);
                graph.read_slot(index)
            })
        });
        Ok((Tensor { dtype, axes, node }, slot))
    }

    fn input_axis(
        &mut self,
        entry: &'p ast::Axis,
        scope: &Rc<Scope<'p>>,
        dims: &mut Dims<'_>,
    ) -> Eval<Axis> {
        let AxisValue::Expr(expr) = &entry.value else {
            if dims.symbolic {
                // Any number of axes: one stands for all, the same one in every input.
                let size = Size::free("...");
                let id = self.axis_called("...", size.clone(), entry.span, scope);
                return Ok(Axis { id, size });
            }
            return Err(self.report(
                Diagnostic::error("open-input", "the inputs of a model have all their axes")
                    .primary(entry.span, "any number of axes")
                    .help("name each axis: `f32[n, t, d]`"),
            ));
        };
        let free = match (&entry.name, &expr.kind) {
            (None, ExprKind::Name(name)) if self.lookup_dim(name, scope).is_none() => Some(name),
            _ => None,
        };
        let Some(name) = free else {
            let value = self.expr(expr, scope)?;
            let size = self.expect_extent(&value, expr.span)?;
            let id = match (&entry.name, value) {
                (Some(name), _) => self.axis_called(&name.name, size.clone(), name.span, scope),
                (None, Value::Int(Int { axis: Some(id), .. })) => id,
                (None, _) => self.axes.unnamed(),
            };
            return Ok(Axis { id, size });
        };
        let Some(size) = dims.size(name, expr.span) else {
            scope.fix(name, Value::Unknown, expr.span);
            return Err(Stop);
        };
        if size.is(0) {
            return Err(self.report(
                Diagnostic::error("empty-axis", format!("the dim `{name}` was given the size 0"))
                    .primary(expr.span, "an axis has at least one element")
                    .help("give it a size from 1"),
            ));
        }
        let id = self.axis_called(name, size.clone(), expr.span, scope);
        Ok(Axis { id, size })
    }

    /// Binds a static parameter to its setting or default.
    pub fn bind_static(
        &mut self,
        function: &'p Function,
        parameter: &'p ast::Parameter,
        scope: &Rc<Scope<'p>>,
        dims: &mut Dims<'_>,
    ) {
        let name = &parameter.name;
        let ty = match &parameter.ty {
            Some(ast::Type { kind: TypeKind::Name(ty), .. }) => ty.name.as_str(),
            _ => "",
        };
        let text = dims.bindings.text(&name.name).filter(|_| !ty.is_empty());
        let given = match text.map(|text| (parse_setting(&text, ty), text)) {
            Some((Ok(value), _)) => Some(Given { value, span: name.span }),
            Some((Err(wanted), text)) => {
                self.report_bad_setting(parameter, &text, wanted);
                Some(Given { value: Value::Unknown, span: name.span })
            }
            None if parameter.default.is_some() => None,
            None if dims.symbolic => {
                let value = match ty {
                    "dim" | "int" => Value::int(Size::free(&name.name)),
                    "float" => Value::Float(None),
                    _ => Value::Unknown,
                };
                Some(Given { value, span: name.span })
            }
            None => {
                dims.missing.push((name.name.clone(), name.span));
                Some(Given { value: Value::Unknown, span: name.span })
            }
        };
        let mut renaming = Renaming::default();
        self.bind_parameter(function, parameter, given, scope, &mut renaming);
    }

    /// Reports dims and parameters that have no value.
    ///
    /// `batch` is the dim of a recipe's samples.
    pub fn report_missing(&mut self, name: &ast::Ident, dims: &Dims<'_>, batch: Option<&str>) {
        if dims.missing.is_empty() {
            return;
        }
        let names: Vec<String> = dims.missing.iter().map(|(name, _)| format!("`{name}`")).collect();
        let settings: Vec<String> =
            dims.missing.iter().map(|(name, _)| format!("--set {name}=...")).collect();
        let mut diagnostic = Diagnostic::error(
            "missing-size",
            format!("`{}` needs {} to be compiled", name.name, names.join(", ")),
        );
        for (name, span) in &dims.missing {
            diagnostic = diagnostic.primary(*span, format!("`{name}` has no value"));
        }
        if let Some(batch) = batch.filter(|batch| dims.missing.iter().any(|(n, _)| n == batch)) {
            let help = format!("say how many samples `{batch}` a step takes: `batch 64`");
            self.report(diagnostic.help(help));
            return;
        }
        self.report(diagnostic.help(format!("set a value: {}", settings.join(" "))));
    }
}

/// Whether a parameter is an input of a single number, which can also be set by a text.
pub fn is_scalar(parameter: &ast::Parameter) -> bool {
    match parameter.ty.as_ref().map(|ty| &ty.kind) {
        Some(TypeKind::Tensor { shape, .. }) => shape.axes.is_empty(),
        _ => false,
    }
}

/// The static type whose texts say what an element of type `element` is.
fn setting_type(element: &str) -> &'static str {
    match DType::from_name(element) {
        Some(DType::Bool) => "bool",
        Some(DType::I32 | DType::U8) => "int",
        Some(DType::F32 | DType::F64) | None => "float",
    }
}

/// The names that an entry of a shape is computed from.
fn shape_names(entry: &ast::Axis) -> Vec<&str> {
    match &entry.value {
        AxisValue::Expr(expr) => expr.names(),
        AxisValue::Ellipsis => Vec::new(),
    }
}

/// The element type and extents of a tensor of an elaboration.
pub fn tensor_type(dtype: DType, axes: &[Axis]) -> TensorType {
    TensorType::new(dtype, &Evaluator::extents(axes))
}
