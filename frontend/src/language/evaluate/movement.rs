//! `as`: reads the axes of a tensor under other names, splits, merges, transposes and repeats.
//!
//! Both sides are lists of entries, each a group of one or more parts (`(heads, e)`). The parts of
//! the left side are the tensor's elements in their order, so that they are what a reshape makes
//! of it; the right side says in which order they stand in the result.

use std::rc::Rc;

use cygnet_compiler::graph::Emit;

use super::{Eval, Evaluator};
use crate::diagnostic::Diagnostic;
use crate::language::scope::Scope;
use crate::language::size::{Division, Size};
use crate::language::value::{Axis, AxisId, Given, Int, Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{self, AxisValue, Expr, ExprKind, Movement};

/// A name on the right side that stands for nothing.
pub fn unknown_axis(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("unknown-axis", format!("there is no axis or dim `{name}`"))
        .primary(span, "neither read on the left nor bound before")
        .help(format!("an axis that is repeated needs a size: `{name}: 8`"))
}

/// One part of a written entry.
struct Part<'p> {
    /// What it is called, if it has a name.
    name: Option<(&'p str, Span)>,
    /// Its size, if that is written or the name has one.
    size: Option<Size>,
    /// The axis that its name stands for already.
    id: Option<AxisId>,
    span: Span,
}

/// A part of the left side.
struct Leaf<'p> {
    name: Option<&'p str>,
    axis: Axis,
    /// Whether it stands for an axis under `...`.
    covered: bool,
    used: bool,
    span: Span,
}

impl<'p> Evaluator<'p> {
    /// `value as from -> to`. Its names are bound also where it fails.
    pub fn movement(
        &mut self,
        given: &Given<'p>,
        movement: &'p Movement,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        let moved = self.moved(given, movement, scope);
        if moved.is_err() {
            for shape in std::iter::once(&movement.from).chain(&movement.to) {
                self.bind_unknown_axes(shape, scope);
            }
        }
        moved
    }

    fn moved(
        &mut self,
        given: &Given<'p>,
        movement: &'p Movement,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Value<'p>> {
        let tensor = self.expect_tensor(&given.value, given.span, "what `as` rearranges")?;
        let mut leaves = self.read_axes(&tensor, given.span, &movement.from, scope)?;
        let split: Vec<Axis> = leaves.iter().map(|leaf| leaf.axis.clone()).collect();
        let shape = Evaluator::extents(&split);
        let node = self.emit([&tensor], |graph, [node]| graph.reshape(node, &shape));
        let parts = Tensor { dtype: tensor.dtype, axes: split, node };
        let result = match &movement.to {
            Some(to) => self.arrange(&parts, &mut leaves, to, scope)?,
            None => parts,
        };
        self.check_axes(&result.axes, movement.span)?;
        Ok(Value::Tensor(result))
    }

    /// The parts that the left side makes of a tensor's axes. Names without a value get one.
    fn read_axes(
        &mut self,
        tensor: &Tensor,
        value: Span,
        from: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Vec<Leaf<'p>>> {
        let open = |entry: &ast::Axis| matches!(entry.value, AxisValue::Ellipsis);
        let ellipsis = from.axes.iter().any(open);
        let needed = from.axes.len() - usize::from(ellipsis);
        let found = tensor.axes.len();
        if if ellipsis { found < needed } else { found != needed } {
            let shown = self.show(tensor);
            return Err(self.report(
                Diagnostic::error(
                    "wrong-rank",
                    format!("`as` reads {needed} axes, but the tensor has {found}"),
                )
                .primary(from.span, format!("{needed} axes"))
                .secondary(value, format!("this is {shown}"))
                .help("name every axis before `->`; `...` stands for any others"),
            ));
        }
        let mut leaves = Vec::new();
        let mut position = 0;
        for entry in &from.axes {
            let AxisValue::Expr(expr) = &entry.value else {
                for axis in &tensor.axes[position..position + found - needed] {
                    leaves.push(Leaf {
                        name: None,
                        axis: axis.clone(),
                        covered: true,
                        used: false,
                        span: entry.span,
                    });
                }
                position += found - needed;
                continue;
            };
            let axis = &tensor.axes[position];
            position += 1;
            let parts = self.parts(entry, expr, scope)?;
            self.split(tensor, axis, parts, entry.span, scope, &mut leaves)?;
        }
        Ok(leaves)
    }

    /// The parts of an entry: one, or those in parentheses.
    fn parts(
        &mut self,
        entry: &'p ast::Axis,
        expr: &'p Expr,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Vec<Part<'p>>> {
        match (&entry.name, &expr.kind) {
            (None, ExprKind::Tuple(parts)) => parts
                .iter()
                .map(|part| self.part(part.name.as_ref(), &part.value, part.span, scope))
                .collect(),
            (name, _) => Ok(vec![self.part(name.as_ref(), expr, entry.span, scope)?]),
        }
    }

    fn part(
        &mut self,
        name: Option<&'p ast::Ident>,
        expr: &'p Expr,
        span: Span,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Part<'p>> {
        let called = match (name, &expr.kind) {
            (Some(name), _) => Some((name.name.as_str(), name.span)),
            (None, ExprKind::Name(name)) => Some((name.as_str(), expr.span)),
            _ => None,
        };
        let bound = called.and_then(|(called, _)| self.lookup_dim(called, scope));
        if name.is_none() && called.is_some() && bound.is_none() {
            return Ok(Part { name: called, size: None, id: None, span });
        }
        let value = self.expr(expr, scope)?;
        let size = self.expect_extent(&value, expr.span)?;
        let id = match bound {
            Some(Value::Int(Int { axis, .. })) => axis,
            _ => None,
        };
        Ok(Part { name: called, size: Some(size), id, span })
    }

    /// Splits an axis into parts, of which at most one has no size yet.
    fn split(
        &mut self,
        tensor: &Tensor,
        axis: &Axis,
        parts: Vec<Part<'p>>,
        span: Span,
        scope: &Rc<Scope<'p>>,
        leaves: &mut Vec<Leaf<'p>>,
    ) -> Eval<()> {
        let known = parts
            .iter()
            .filter_map(|part| part.size.as_ref())
            .fold(Size::constant(1), |product, size| product.multiply(size));
        let open: Vec<Span> =
            parts.iter().filter(|part| part.size.is_none()).map(|part| part.span).collect();
        if let [first, second, ..] = open[..] {
            return Err(self.report(
                Diagnostic::error("open-split", "two parts of a split have no size")
                    .primary(second, "unknown")
                    .secondary(first, "also unknown")
                    .help("give one a size: `(h: 28, w)`"),
            ));
        }
        let rest = if open.is_empty() {
            if !self.at(span, |this| this.sizes_agree(&known, &axis.size)) {
                let (shown, axis) = (self.show(tensor), self.show_axis(axis));
                return Err(self.report(
                    Diagnostic::error(
                        "wrong-size",
                        format!("the axis `{axis}` cannot be read as an axis of size {known}"),
                    )
                    .primary(span, format!("this is {known}"))
                    .note(format!("the tensor is {shown}"))
                    .help("`as` keeps the elements; slice or pad to change a size"),
                ));
            }
            Size::constant(1)
        } else {
            if matches!(axis.size.divide(&known), Division::Inexact) && !known.is(0) {
                let (shown, axis) = (self.show(tensor), self.show_axis(axis));
                return Err(self.report(
                    Diagnostic::error(
                        "inexact-division",
                        format!("the axis `{axis}` cannot be split into parts of {known}"),
                    )
                    .primary(span, format!("{known} does not divide its size"))
                    .note(format!("the tensor is {shown}"))
                    .help("`as` keeps the elements; slice or pad to change a size"),
                ));
            }
            self.at(span, |this| this.divide_exactly(&axis.size, &known, span))?
        };
        let single = parts.len() == 1;
        for part in parts {
            let size = part.size.unwrap_or_else(|| rest.clone());
            // A single part that is bound to a number takes what the axis is known as.
            let size = if single { axis.size.clone() } else { size };
            let id = match (part.id, part.name) {
                (Some(id), _) => id,
                (None, Some((name, span))) => self.axis_called(name, size.clone(), span, scope),
                (None, None) if single => axis.id,
                (None, None) => self.axes.unnamed(),
            };
            let name = part.name.map(|(name, _)| name);
            let axis = Axis { id, size };
            leaves.push(Leaf { name, axis, covered: false, used: false, span: part.span });
        }
        Ok(())
    }

    /// Puts the parts in the order of the right side: transposes, repeats along new axes, merges.
    fn arrange(
        &mut self,
        tensor: &Tensor,
        leaves: &mut [Leaf<'p>],
        to: &'p ast::Shape,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Tensor> {
        // The parts in order; the number of the leaf where there is one.
        let mut parts: Vec<(Axis, Option<usize>)> = Vec::new();
        let mut result: Vec<Axis> = Vec::new();
        for entry in &to.axes {
            let AxisValue::Expr(expr) = &entry.value else {
                for (number, leaf) in leaves.iter_mut().enumerate().filter(|(_, l)| l.covered) {
                    leaf.used = true;
                    parts.push((leaf.axis.clone(), Some(number)));
                    result.push(leaf.axis.clone());
                }
                continue;
            };
            let before = parts.len();
            for part in self.parts(entry, expr, scope)? {
                parts.push(self.placed(part, leaves, scope)?);
            }
            match &parts[before..] {
                [(axis, _)] => result.push(axis.clone()),
                group => {
                    let size = group
                        .iter()
                        .fold(Size::constant(1), |product, (axis, _)| product.multiply(&axis.size));
                    result.push(Axis { id: self.axes.unnamed(), size });
                }
            }
        }
        let lost = leaves.iter().find(|leaf| !leaf.used && !leaf.axis.size.is(1));
        if let Some(leaf) = lost {
            let (axis, span) = (self.show_axis(&leaf.axis), leaf.span);
            return Err(self.report(
                Diagnostic::error("lost-axis", format!("the axis `{axis}` is not in the result"))
                    .primary(to.span, format!("without `{axis}`"))
                    .secondary(span, "it is read here")
                    .help("only an axis of size 1 can be left out; reduce it or take an element"),
            ));
        }
        Ok(self.rearrange(tensor, leaves, &parts, result))
    }

    /// A part of the right side: the leaf of that name, an unnamed one of that size, or new.
    fn placed(
        &mut self,
        part: Part<'p>,
        leaves: &mut [Leaf<'p>],
        scope: &Rc<Scope<'p>>,
    ) -> Eval<(Axis, Option<usize>)> {
        let named = part.name.and_then(|(name, _)| {
            leaves.iter().position(|leaf| !leaf.used && leaf.name == Some(name))
        });
        let unnamed = || {
            let size = part.size.as_ref()?;
            let fits = |leaf: &Leaf<'_>| {
                !leaf.used && !leaf.covered && leaf.name.is_none() && leaf.axis.size == *size
            };
            leaves.iter().position(fits)
        };
        let found = match part.name {
            Some(_) => named,
            None => unnamed(),
        };
        if let Some(number) = found {
            leaves[number].used = true;
            let axis = leaves[number].axis.clone();
            if let Some(size) = &part.size
                && !self.at(part.span, |this| this.sizes_agree(size, &axis.size))
            {
                let shown = self.show_axis(&axis);
                return Err(self.report(
                    Diagnostic::error("wrong-size", format!("the axis `{shown}` is not {size}"))
                        .primary(part.span, format!("this is {size}"))
                        .help("`as` keeps the size of an axis"),
                ));
            }
            return Ok((axis, Some(number)));
        }
        let Some(size) = part.size else {
            let (name, span) = part.name.unwrap_or(("_", part.span));
            return Err(self.report(unknown_axis(name, span)));
        };
        let id = match (part.id, part.name) {
            (Some(id), _) => id,
            (None, Some((name, span))) => self.axis_called(name, size.clone(), span, scope),
            (None, None) => self.axes.unnamed(),
        };
        Ok((Axis { id, size }, None))
    }

    fn rearrange(
        &mut self,
        tensor: &Tensor,
        leaves: &[Leaf<'p>],
        parts: &[(Axis, Option<usize>)],
        result: Vec<Axis>,
    ) -> Tensor {
        let used: Vec<usize> = parts.iter().filter_map(|(_, leaf)| *leaf).collect();
        let kept: Vec<Axis> =
            leaves.iter().filter(|leaf| leaf.used).map(|leaf| leaf.axis.clone()).collect();
        // Places among the leaves that remain when the dropped ones of size 1 are gone.
        let rank = |leaf: usize| leaves[..leaf].iter().filter(|other| other.used).count();
        let order: Vec<usize> = used.iter().map(|&leaf| rank(leaf)).collect();
        let places: Vec<usize> = parts
            .iter()
            .enumerate()
            .filter(|(_, (_, leaf))| leaf.is_some())
            .map(|(place, _)| place)
            .collect();
        let kept = Evaluator::extents(&kept);
        let spread: Vec<Axis> = parts.iter().map(|(axis, _)| axis.clone()).collect();
        let (spread, shape) = (Evaluator::extents(&spread), Evaluator::extents(&result));
        let node = self.emit([tensor], |graph, [node]| {
            let node = graph.reshape(node, &kept);
            let node = graph.permute(node, &order);
            let node = graph.broadcast(node, &spread, &places);
            graph.reshape(node, &shape)
        });
        Tensor { dtype: tensor.dtype, axes: result, node }
    }
}
