//! Shapes as they are written: made into axes, or held against the axes of a tensor.

use std::rc::Rc;

use cygnet_compiler::types::DType;

use super::{Eval, Evaluator, Stop};
use crate::diagnostic::{Diagnostic, closest};
use crate::language::package::Definition;
use crate::language::scope::Scope;
use crate::language::size::Size;
use crate::language::value::{Axis, AxisId, Capture, Int, Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{self, AxisValue, ExprKind, Item};

/// The largest number of elements of one tensor.
const MAX_ELEMENTS: i64 = 1 << 33;

/// The axes of a definition's signature and what they are outside.
#[derive(Default, Debug)]
pub struct Renaming {
    /// Pairs of an axis inside and the axis outside.
    pub pairs: Vec<(AxisId, AxisId)>,
}

/// What is held against a declared shape.
pub struct Site<'a> {
    /// What it is called in messages: "the argument `x` of `linear`".
    pub what: &'a str,
    /// Where the value stands.
    pub value: Span,
}

impl<'p> Evaluator<'p> {
    /// What the name of a dim is bound to in `scope`, or at the top of its module.
    pub fn lookup_dim(&mut self, name: &str, scope: &Rc<Scope<'p>>) -> Option<Value<'p>> {
        if let Some(binding) = scope.lookup(name) {
            return Some(binding.value);
        }
        let definition = self.package.definition(scope.module, name)?;
        match (definition, self.package.item(definition)?) {
            (Definition::Item { module, item }, Item::Binding(_)) => {
                self.global(module, item, name).ok()
            }
            _ => None,
        }
    }

    /// The axes that a shape of known sizes describes: `[n, 4*d]`, `[x]` for those of a tensor.
    pub fn axes_of_shape(
        &mut self,
        shape: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Vec<Axis>> {
        let mut axes: Vec<Axis> = Vec::new();
        for entry in &shape.axes {
            let AxisValue::Expr(expr) = &entry.value else {
                return Err(self.report(
                    Diagnostic::error("open-shape", "`...` does not say which axes there are")
                        .primary(entry.span, "a size is needed here")
                        .help("name the axes; `zeros[x]` has those of the tensor `x`"),
                ));
            };
            let value = self.expr(expr, scope)?;
            if let Value::Tensor(tensor) = &value {
                axes.extend(tensor.axes.iter().cloned());
                continue;
            }
            let size = self.expect_extent(&value, expr.span)?;
            let id = match (&entry.name, &value) {
                (Some(name), _) => self.axis_called(&name.name, size.clone(), name.span, scope),
                (None, Value::Int(Int { axis: Some(id), .. })) => *id,
                _ => self.axes.unnamed(),
            };
            axes.push(Axis { id, size });
        }
        self.check_axes(&axes, shape.span)?;
        Ok(axes)
    }

    /// The axis with this name in `scope`; a new one, bound there, if there is none.
    pub fn axis_called(
        &mut self,
        name: &'p str,
        size: Size,
        span: Span,
        scope: &Rc<Scope<'p>>,
    ) -> AxisId {
        match scope.lookup(name).map(|binding| binding.value) {
            Some(Value::Int(Int { axis: Some(id), .. })) => id,
            Some(_) => self.axes.named(name),
            None => {
                let id = self.axes.named(name);
                scope.fix(name, Value::Int(Int { size, axis: Some(id) }), span);
                id
            }
        }
    }

    /// No axis stands twice, and there are not too many elements.
    pub fn check_axes(&mut self, axes: &[Axis], span: Span) -> Eval<()> {
        for (position, axis) in axes.iter().enumerate() {
            if axes[..position].iter().any(|other| other.id == axis.id) {
                let name = self.axes.name(axis.id).unwrap_or("_");
                return Err(self.report(
                    Diagnostic::error("repeated-axis", format!("axis `{name}` occurs twice"))
                        .primary(span, format!("these are {}", self.show_axes(axes)))
                        .help(format!("give one of them another name: `{name}2: {name}`")),
                ));
            }
        }
        let elements = axes.iter().fold(Size::constant(1), |n, axis| n.multiply(&axis.size));
        if elements.as_constant().is_some_and(|elements| elements > MAX_ELEMENTS) {
            return Err(self.report(
                Diagnostic::error("huge-tensor", format!("a tensor of {elements} elements"))
                    .primary(span, format!("these are {}", self.show_axes(axes)))
                    .help(format!("a tensor has at most {MAX_ELEMENTS} elements")),
            ));
        }
        Ok(())
    }

    /// The element type called `name`.
    pub fn element_type(&mut self, name: &ast::Ident) -> Eval<DType> {
        if let Some(dtype) = DType::from_name(&name.name) {
            return Ok(dtype);
        }
        let unknown =
            Diagnostic::error("unknown-type", format!("there is no element type `{}`", name.name))
                .primary(name.span, "not an element type");
        let names = DType::ALL.map(DType::name);
        Err(self.report(match closest(&name.name, names) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None => unknown.help(format!("element types are {}", names.join(", "))),
        }))
    }

    /// Holds a tensor against a declared type. Names without a value get one in `scope`; the
    /// result has the declared names.
    ///
    /// With `renaming` the type belongs to a signature: axes have identities of their own inside.
    pub fn match_tensor(
        &mut self,
        tensor: &Tensor,
        element: &'p ast::Ident,
        shape: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
        site: &Site<'_>,
        renaming: Option<&mut Renaming>,
    ) -> Eval<Tensor> {
        let dtype = self.element_type(element)?;
        if tensor.dtype != dtype {
            let shown = self.show(tensor);
            return Err(self.report(
                Diagnostic::error(
                    "wrong-dtype",
                    format!("{} must be {dtype}, not {}", site.what, tensor.dtype),
                )
                .primary(site.value, format!("this is {shown}"))
                .secondary(element.span, format!("{dtype} is declared here"))
                .help(format!("convert it: `{dtype}(x)`")),
            ));
        }
        let axes = self.match_axes(tensor, shape, scope, site, renaming)?;
        Ok(Tensor { dtype, axes, node: tensor.node })
    }

    fn match_axes(
        &mut self,
        tensor: &Tensor,
        shape: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
        site: &Site<'_>,
        mut renaming: Option<&mut Renaming>,
    ) -> Eval<Vec<Axis>> {
        let open = |entry: &ast::Axis| matches!(entry.value, AxisValue::Ellipsis);
        let ellipsis = shape.axes.iter().position(open);
        let needed = shape.axes.len() - usize::from(ellipsis.is_some());
        let found = tensor.axes.len();
        let fits = if ellipsis.is_some() { found >= needed } else { found == needed };
        if !fits {
            let shown = self.show(tensor);
            let least = if ellipsis.is_some() { "at least " } else { "" };
            let plural = if needed == 1 { "axis" } else { "axes" };
            return Err(self.report(
                Diagnostic::error(
                    "wrong-rank",
                    format!("{} must have {least}{needed} {plural}, not {found}", site.what),
                )
                .primary(site.value, format!("this is {shown}"))
                .secondary(shape.span, format!("{least}{needed} {plural} declared here"))
                .help("reduce an axis, pick an element of it, or reshape with `as`"),
            ));
        }
        let covered = found - needed;
        let mut axes = Vec::with_capacity(found);
        let mut position = 0;
        for entry in &shape.axes {
            match &entry.value {
                AxisValue::Ellipsis => {
                    axes.extend_from_slice(&tensor.axes[position..position + covered]);
                    position += covered;
                }
                AxisValue::Expr(expr) => {
                    let axis = &tensor.axes[position];
                    let renaming = renaming.as_deref_mut();
                    axes.push(self.match_axis(tensor, axis, entry, expr, scope, site, renaming)?);
                    position += 1;
                }
            }
        }
        self.check_axes(&axes, site.value)?;
        Ok(axes)
    }

    #[expect(clippy::too_many_arguments, reason = "one axis with everything it is held against")]
    fn match_axis(
        &mut self,
        tensor: &Tensor,
        axis: &Axis,
        entry: &'p ast::Axis,
        expr: &'p ast::Expr,
        scope: &Rc<Scope<'p>>,
        site: &Site<'_>,
        renaming: Option<&mut Renaming>,
    ) -> Eval<Axis> {
        let name = match (&entry.name, &expr.kind) {
            (Some(name), _) => Some((name.name.as_str(), name.span)),
            (None, ExprKind::Name(name)) => Some((name.as_str(), expr.span)),
            _ => None,
        };
        let bound = name.and_then(|(name, _)| self.lookup_dim(name, scope));
        let Some((name, span)) = name.filter(|_| entry.name.is_some() || bound.is_none()) else {
            // A size, or a name that is bound.
            let value = self.expr(expr, scope)?;
            let size = self.expect_extent(&value, expr.span)?;
            self.require_size(tensor, axis, &size, entry, site)?;
            let declared = match value {
                Value::Int(Int { axis, .. }) => axis,
                _ => None,
            };
            return match declared {
                Some(id) => self.match_identity(tensor, axis, id, entry, site, renaming),
                None => Ok(axis.clone()),
            };
        };
        if entry.name.is_some() {
            let value = self.expr(expr, scope)?;
            let size = self.expect_extent(&value, expr.span)?;
            self.require_size(tensor, axis, &size, entry, site)?;
        }
        if let Some(value) = bound {
            return match value {
                Value::Int(Int { axis: Some(id), .. }) => {
                    self.match_identity(tensor, axis, id, entry, site, renaming)
                }
                _ => Ok(axis.clone()),
            };
        }
        let id = match renaming {
            Some(renaming) => {
                let id = self.axes.named(name);
                renaming.pairs.push((id, axis.id));
                id
            }
            // An annotation gives an unnamed axis its name.
            None if self.axes.name(axis.id).is_none() => self.axes.named(name),
            None => axis.id,
        };
        scope.fix(name, Value::Int(Int { size: axis.size.clone(), axis: Some(id) }), span);
        Ok(Axis { id, size: axis.size.clone() })
    }

    fn require_size(
        &mut self,
        tensor: &Tensor,
        axis: &Axis,
        size: &Size,
        entry: &'p ast::Axis,
        site: &Site<'_>,
    ) -> Eval<()> {
        if self.at(site.value, |this| this.sizes_agree(size, &axis.size)) {
            return Ok(());
        }
        let shown = self.show(tensor);
        let mut diagnostic = Diagnostic::error(
            "wrong-size",
            format!("{} has an axis of size {} where the size is {size}", site.what, axis.size),
        )
        .primary(site.value, format!("this is {shown}"))
        .secondary(entry.span, format!("the size here is {size}"));
        if let Some(name) = self.axes.name(axis.id) {
            diagnostic = diagnostic.note(format!("it is the axis `{name}` of {shown}"));
        }
        Err(self.report(diagnostic.help("sizes must be equal; a size of 1 is not stretched")))
    }

    /// Holds an axis against one that a name stands for already.
    fn match_identity(
        &mut self,
        tensor: &Tensor,
        axis: &Axis,
        id: AxisId,
        entry: &'p ast::Axis,
        site: &Site<'_>,
        renaming: Option<&mut Renaming>,
    ) -> Eval<Axis> {
        let pair = renaming
            .and_then(|renaming| renaming.pairs.iter_mut().find(|(inside, _)| *inside == id));
        let outside = pair.as_ref().map_or(id, |(_, outside)| *outside);
        let (known, given) = (self.axes.name(outside), self.axes.name(axis.id));
        match (known, given) {
            _ if outside == axis.id => {}
            (Some(known), Some(given)) => {
                let shown = self.show(tensor);
                let name = self.axes.name(id).unwrap_or(known);
                return Err(self.report(
                    Diagnostic::error(
                        "axis-names-differ",
                        format!("{} has the axis `{given}` where `{name}` is `{known}`", site.what),
                    )
                    .primary(site.value, format!("this is {shown}"))
                    .secondary(entry.span, format!("`{name}` stands for the axis `{known}` here"))
                    .note("axes that run together have one name; equal sizes are not enough")
                    .help(format!("rename it with `as` if it is meant to be `{known}`")),
                ));
            }
            (None, Some(_)) => {
                if let Some((_, outside)) = pair {
                    *outside = axis.id;
                }
            }
            (_, None) => {}
        }
        Ok(Axis { id, size: axis.size.clone() })
    }

    /// Gives the axes in a result the identities that they have outside the definition.
    ///
    /// Named axes made inside (from `first` on) lose their names: nobody outside knows them.
    pub fn leave(&mut self, value: &mut Value<'p>, renaming: &mut Renaming, first: AxisId) {
        match value {
            Value::Tensor(tensor) => {
                for position in 0..tensor.axes.len() {
                    let mut id = self.outside(tensor.axes[position].id, renaming, first);
                    if tensor.axes[..position].iter().any(|axis| axis.id == id) {
                        id = self.axes.unnamed();
                    }
                    tensor.axes[position].id = id;
                }
            }
            Value::Int(Int { axis: Some(id), .. }) => *id = self.outside(*id, renaming, first),
            Value::Capture(capture) => {
                let mut statics = capture.statics.clone();
                for given in statics.iter_mut().flatten() {
                    self.leave(&mut given.value, renaming, first);
                }
                let (closure, path) = (capture.closure.clone(), capture.path.clone());
                *capture = Rc::new(Capture { closure, statics, path, ..**capture });
            }
            Value::Tuple(parts) | Value::List(parts) => {
                *parts = parts
                    .iter()
                    .cloned()
                    .map(|mut part| {
                        self.leave(&mut part, renaming, first);
                        part
                    })
                    .collect();
            }
            _ => {}
        }
    }

    fn outside(&mut self, id: AxisId, renaming: &mut Renaming, first: AxisId) -> AxisId {
        if let Some((_, outside)) = renaming.pairs.iter().find(|(inside, _)| *inside == id) {
            return *outside;
        }
        if id < first || self.axes.name(id).is_none() {
            return id;
        }
        let unnamed = self.axes.unnamed();
        renaming.pairs.push((id, unnamed));
        unnamed
    }

    /// The tensor that a value is.
    pub fn expect_tensor(&mut self, value: &Value<'p>, span: Span, what: &str) -> Eval<Tensor> {
        match value {
            Value::Tensor(tensor) => Ok(tensor.clone()),
            Value::Scalar(node) => Ok(Tensor { dtype: DType::F64, axes: Vec::new(), node: *node }),
            Value::Unknown => Err(Stop),
            other => Err(self.unfit(other, span, what, "a tensor")),
        }
    }
}
