//! Reporting mistakes, and what a program requires of its free dims.

use std::cmp::Ordering;
use std::fmt;

use super::{Evaluator, Stop};
use crate::diagnostic::{Diagnostic, Label};
use crate::language::size::{Comparison, Size};
use crate::language::value::{Axis, Tensor, Value};
use crate::source::Span;

/// How many calls that led to a mistake are shown.
const SHOWN_CALLS: usize = 2;

/// What must hold of free dims. Whether it does is decided when the dims get numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The two are equal.
    Equal(Size, Size),
    /// The first divides the second.
    Divides(Size, Size),
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requirement::Equal(a, b) => write!(f, "{a} == {b}"),
            Requirement::Divides(a, b) => write!(f, "{a} divides {b}"),
        }
    }
}

/// A [`Requirement`] and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// What must hold.
    pub requirement: Requirement,
    /// The expression that needs it.
    pub span: Span,
}

impl<'p> Evaluator<'p> {
    /// Reports a mistake, once per place and kind.
    pub fn report(&mut self, diagnostic: Diagnostic) -> Stop {
        let inside = diagnostic.primary_span().is_some_and(|span| self.package.is_standard(span));
        let diagnostic = self.with_calls(diagnostic);
        let known = self.diagnostics.iter().any(|known| {
            // A use of the standard library is reported once, however much fails inside.
            let code = inside || known.code == diagnostic.code;
            code && known.primary_span() == diagnostic.primary_span()
        });
        if !known {
            self.diagnostics.push(diagnostic);
        }
        Stop
    }

    /// What was reported so far, and what the free dims must fulfil.
    pub fn finish(self) -> (Vec<Diagnostic>, Vec<Constraint>) {
        (self.diagnostics, self.constraints)
    }

    /// Whether a mistake was reported.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Adds the calls that led to a mistake. One inside the standard library is shown at the call
    /// in the user's program.
    fn with_calls(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        let calls: Vec<(Span, &str)> = self
            .frames
            .iter()
            .rev()
            .filter_map(|frame| Some((frame.call?, frame.name)))
            .filter(|(span, _)| !self.package.is_standard(*span))
            .collect();
        let inside = diagnostic.primary_span().is_some_and(|span| self.package.is_standard(span));
        if let (true, Some((call, name))) = (inside, calls.first()) {
            for label in &mut diagnostic.labels {
                label.primary = false;
            }
            let text = format!("in this use of `{name}`");
            diagnostic.labels.insert(0, Label { span: *call, text, primary: true });
        }
        for (call, name) in calls.into_iter().take(SHOWN_CALLS) {
            if diagnostic.labels.iter().all(|label| !overlap(label.span, call)) {
                diagnostic = diagnostic.secondary(call, format!("in this use of `{name}`"));
            }
        }
        diagnostic
    }

    /// Requires something of the free dims.
    pub fn require(&mut self, requirement: Requirement) {
        let constraint = Constraint { requirement, span: self.span };
        if !self.constraints.iter().any(|known| known.requirement == constraint.requirement) {
            self.constraints.push(constraint);
        }
    }

    /// Whether two sizes can be equal; if this depends on free dims it becomes a constraint.
    pub fn sizes_agree(&mut self, a: &Size, b: &Size) -> bool {
        match a.compare(b) {
            Comparison::Known(ordering) => ordering == Ordering::Equal,
            Comparison::Undecided => {
                self.require(Requirement::Equal(a.clone(), b.clone()));
                true
            }
        }
    }

    /// Where operands are combined: the operator, or the whole call.
    pub fn combination(&self) -> Span {
        self.operator.unwrap_or(self.span)
    }

    /// The innermost place of the user's program: this one or a call that led here.
    pub fn user_place(&self) -> Span {
        let calls = self.frames.iter().rev().filter_map(|frame| frame.call);
        let mut places = std::iter::once(self.span).chain(calls);
        places.find(|span| !self.package.is_standard(*span)).unwrap_or(self.span)
    }

    /// An axis as a type shows it: `n`, `n: 64` or `64`.
    pub fn show_axis(&self, axis: &Axis) -> String {
        match self.axes.name(axis.id) {
            Some(name) if axis.size.as_free() == Some(name) => name.to_owned(),
            Some(name) => format!("{name}: {}", axis.size),
            None => axis.size.to_string(),
        }
    }

    /// A list of axes in brackets.
    pub fn show_axes(&self, axes: &[Axis]) -> String {
        let axes: Vec<String> = axes.iter().map(|axis| self.show_axis(axis)).collect();
        format!("[{}]", axes.join(", "))
    }

    /// A tensor's type: `f32[n, 10]`.
    pub fn show(&self, tensor: &Tensor) -> String {
        format!("{}{}", tensor.dtype, self.show_axes(&tensor.axes))
    }

    /// A value's type or kind, for messages.
    pub fn describe(&self, value: &Value<'p>) -> String {
        match value {
            Value::Tensor(tensor) => self.show(tensor),
            Value::Int(int) => match int.size.as_constant() {
                Some(number) => format!("the whole number {number}"),
                None => format!("the dim {}", int.size),
            },
            Value::Float(Some(number)) => format!("the float {number:?}"),
            Value::Tuple(parts) => format!("a tuple of {}", parts.len()),
            Value::List(parts) => format!("a list of {}", parts.len()),
            other => other.kind().to_owned(),
        }
    }

    /// The value is not of the kind needed here: `what` needs `wanted`.
    pub fn unfit(&mut self, value: &Value<'p>, span: Span, what: &str, wanted: &str) -> Stop {
        if matches!(value, Value::Unknown) {
            return Stop;
        }
        let found = self.describe(value);
        self.report(
            Diagnostic::error("wrong-kind", format!("{what} must be {wanted}, not {found}"))
                .primary(span, format!("this is {found}"))
                .help(format!("write {wanted} here")),
        )
    }
}

fn overlap(a: Span, b: Span) -> bool {
    a.file == b.file && a.start < b.end && b.start < a.end
}
