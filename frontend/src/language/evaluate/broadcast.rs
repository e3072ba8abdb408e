//! Broadcasting by name.
//!
//! Of the operands of an elementwise operation, one has all axes of the others; these are
//! repeated along the axes that they lack. Axes with one identity run together, in whatever
//! order they stand. Unnamed axes that have no partner by identity align from the right. Sizes
//! must be equal; a size of 1 does not stretch.

use cygnet_compiler::graph::Emit;

use super::{Eval, Evaluator};
use crate::diagnostic::Diagnostic;
use crate::language::value::{Axis, Tensor};
use crate::source::Span;

/// An operand and where it stands.
pub struct Operand {
    /// The tensor.
    pub tensor: Tensor,
    /// Its expression.
    pub span: Span,
}

impl<'p> Evaluator<'p> {
    /// Repeats operands to common axes, which are those of one of them. At least one operand.
    pub fn broadcast_together(&mut self, operands: Vec<Operand>) -> Eval<Vec<Tensor>> {
        let mut widest = &operands[0];
        for operand in &operands[1..] {
            let (wide, axes) = (&widest.tensor.axes, &operand.tensor.axes);
            if self.places(wide, axes).is_none() {
                if self.places(axes, wide).is_none() {
                    let (widest, operand) = (widest.clone_parts(), operand.clone_parts());
                    return Err(self.report_misfit(&widest, &operand));
                }
                widest = operand;
            }
        }
        let (target, wide_span) = widest.clone_parts();
        let mut results = Vec::with_capacity(operands.len());
        for operand in &operands {
            let Some(places) = self.places(&target.axes, &operand.tensor.axes) else {
                let operand = operand.clone_parts();
                return Err(self.report_misfit(&(target, wide_span), &operand));
            };
            for (axis, &place) in operand.tensor.axes.iter().zip(&places) {
                if !self.sizes_agree(&target.axes[place].size, &axis.size) {
                    let operand = operand.clone_parts();
                    return Err(self.report_sizes(&(target, wide_span), place, &operand, axis));
                }
            }
            results.push(self.repeat(&operand.tensor, &target.axes, &places));
        }
        Ok(results)
    }

    /// `tensor` with its axis `i` at place `places[i]` of `axes`, repeated along the others.
    pub fn repeat(&mut self, tensor: &Tensor, axes: &[Axis], places: &[usize]) -> Tensor {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|&axis| places[axis]);
        let sorted: Vec<usize> = order.iter().map(|&axis| places[axis]).collect();
        let shape = Evaluator::extents(axes);
        let node = self.emit([tensor], |graph, [node]| {
            let node = graph.permute(node, &order);
            graph.broadcast(node, &shape, &sorted)
        });
        Tensor { dtype: tensor.dtype, axes: axes.to_vec(), node }
    }

    /// For each of `axes` its place among `wide`, if all have one.
    pub fn places(&self, wide: &[Axis], axes: &[Axis]) -> Option<Vec<usize>> {
        let mut places: Vec<Option<usize>> =
            axes.iter().map(|axis| wide.iter().position(|other| other.id == axis.id)).collect();
        let mut free: Vec<usize> = (0..wide.len())
            .filter(|&place| {
                !places.contains(&Some(place)) && self.axes.name(wide[place].id).is_none()
            })
            .collect();
        for (axis, place) in axes.iter().zip(&mut places).rev() {
            if place.is_none() && self.axes.name(axis.id).is_none() {
                *place = free.pop();
            }
        }
        places.into_iter().collect()
    }

    fn report_misfit(&mut self, a: &(Tensor, Span), b: &(Tensor, Span)) -> super::Stop {
        let (left, right) = (self.show(&a.0), self.show(&b.0));
        let lacks = |evaluator: &Self, wide: &Tensor, other: &Tensor| -> Option<Axis> {
            let lacking = other
                .axes
                .iter()
                .find(|axis| evaluator.places(&wide.axes, std::slice::from_ref(axis)).is_none());
            lacking.cloned()
        };
        let mut diagnostic = Diagnostic::error(
            "axes-differ",
            format!("{left} and {right} have no common axes: neither has all axes of the other"),
        )
        .primary(self.combination(), "combined here")
        .secondary(a.1, format!("this is {left}"))
        .secondary(b.1, format!("this is {right}"));
        let missing = (lacks(self, &a.0, &b.0), lacks(self, &b.0, &a.0));
        diagnostic = match missing {
            (Some(x), Some(y)) if x.size == y.size => {
                let (x, y) = (self.show_axis(&x), self.show_axis(&y));
                diagnostic
                    .note(format!("the axes `{x}` and `{y}` have equal sizes but are not the same"))
                    .help("if they are meant to run together, rename one with `as`")
            }
            (Some(x), Some(y)) => {
                let (x, y) = (self.show_axis(&x), self.show_axis(&y));
                diagnostic
                    .note(format!("the left side has no axis `{x}`, the right side no `{y}`"))
                    .help("axes match by name; rename with `as`, or repeat: `x as [n] -> [n, t]`")
            }
            _ => diagnostic.help("unnamed axes align from the right; name them with `as`"),
        };
        self.report(diagnostic)
    }

    fn report_sizes(
        &mut self,
        wide: &(Tensor, Span),
        place: usize,
        narrow: &(Tensor, Span),
        axis: &Axis,
    ) -> super::Stop {
        let (left, right) = (self.show(&wide.0), self.show(&narrow.0));
        let (a, b) = (self.show_axis(&wide.0.axes[place]), self.show_axis(axis));
        let mut diagnostic = Diagnostic::error(
            "sizes-differ",
            format!("{left} and {right} cannot be combined: `{a}` against `{b}`"),
        )
        .primary(self.combination(), "combined here")
        .secondary(wide.1, format!("this is {left}"))
        .secondary(narrow.1, format!("this is {right}"));
        if self.axes.name(axis.id).is_none() {
            diagnostic = diagnostic.note("unnamed axes align from the right");
        }
        if axis.size.is(1) || wide.0.axes[place].size.is(1) {
            return self
                .report(diagnostic.help("a size of 1 is not stretched: drop the axis, `x[t: 0]`"));
        }
        self.report(diagnostic.help("slice or reshape one of them, or name the axes with `as`"))
    }
}

impl Operand {
    fn clone_parts(&self) -> (Tensor, Span) {
        (self.tensor.clone(), self.span)
    }
}
