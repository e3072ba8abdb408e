//! Expressions, types and shapes.

use super::Formatter;
use super::document::Doc;
use crate::source::{SourceFile, Span};
use crate::syntax::ast::{
    Argument, Axis, AxisValue, BinaryOperator, Block, Expr, ExprKind, Label, LabelPart, Loop,
    LoopKind, Movement, PipeStep, Shape, Stage, Type, TypeKind, UnaryOperator,
};

/// Around which operators there are blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spacing {
    /// Around all: `4 * d + 1`.
    Wide,
    /// Not around those of products, as sizes are written: `[4*d + 1]`.
    TightProducts,
    /// Around none, as in ranges: `0..n-1`.
    Tight,
}

impl<'a> Formatter<'a> {
    pub(super) fn text(&self, span: Span) -> &'a str {
        let file: &'a SourceFile = self.file;
        file.slice(span)
    }

    fn with_spacing<T>(&mut self, spacing: Spacing, format: impl FnOnce(&mut Self) -> T) -> T {
        let outside = std::mem::replace(&mut self.spacing, spacing);
        let result = format(self);
        self.spacing = outside;
        result
    }

    pub(super) fn expression(&mut self, expr: &Expr) -> Doc<'a> {
        match &expr.kind {
            ExprKind::Name(_)
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::String(_)
            | ExprKind::Placeholder
            | ExprKind::Error => Doc::Text(self.text(expr.span)),
            ExprKind::Paren(inner) => self.parentheses(inner, expr.span),
            ExprKind::Tuple(components) => self.tuple(components, expr.span),
            ExprKind::List(elements) => self.with_spacing(Spacing::Wide, |formatter| {
                let span_of = |element: &Expr| element.span;
                formatter.delimited(["[", "]"], elements, expr.span, span_of, Self::expression)
            }),
            ExprKind::Range { start, end, step } => {
                self.with_spacing(Spacing::Tight, |formatter| {
                    let start = start.as_deref().map(|start| formatter.expression(start));
                    let end = end.as_deref().map(|end| formatter.expression(end));
                    let step = step.as_deref().map(|step| formatter.expression(step));
                    let step = step.map(|step| Doc::concat([Doc::Text(" by "), step]));
                    Doc::concat([
                        start.unwrap_or(Doc::empty()),
                        Doc::Text(".."),
                        end.unwrap_or(Doc::empty()),
                        step.unwrap_or(Doc::empty()),
                    ])
                })
            }
            ExprKind::Unary { operator, operand } => {
                let symbol = match operator {
                    UnaryOperator::Negate => "-",
                    UnaryOperator::Not => "not ",
                };
                Doc::concat([Doc::Text(symbol), self.expression(operand)])
            }
            ExprKind::Binary { operator, .. } => {
                let mut parts = Vec::new();
                let first = self.operands(expr, Precedence::of(*operator), &mut parts);
                Doc::group(Doc::concat([first, Doc::indent(Doc::Concat(parts))]))
            }
            ExprKind::Call { callee, arguments } => {
                let callee = self.expression(callee);
                Doc::concat([callee, self.arguments(arguments, expr.span)])
            }
            ExprKind::Index { base, shape } => {
                Doc::concat([self.expression(base), self.shape(shape)])
            }
            ExprKind::Field { base, name } => Doc::concat([
                self.expression(base),
                Doc::Text("."),
                Doc::Text(self.text(name.span)),
            ]),
            ExprKind::Pipe { input, steps } => self.pipe(input, steps),
            ExprKind::Block(block) => self.plain_block(block),
            ExprKind::If { .. } => {
                let content =
                    self.with_spacing(Spacing::Wide, |formatter| formatter.conditional(expr));
                Doc::group(content)
            }
            ExprKind::Loop(repetition) => {
                self.with_spacing(Spacing::Wide, |formatter| formatter.repetition(repetition))
            }
        }
    }

    fn plain_block(&mut self, block: &Block) -> Doc<'a> {
        Doc::group(self.with_spacing(Spacing::Wide, |formatter| formatter.block(block)))
    }

    fn parentheses(&mut self, inner: &Expr, span: Span) -> Doc<'a> {
        let before = self.comments.trailing(inner.span.start);
        let leading = self.comments.leading(inner.span.start);
        let content = self.expression(inner);
        let behind = self.closing_comments(span.end - 1);
        Doc::group(Doc::concat([
            Doc::Text("("),
            before,
            Doc::indent(Doc::concat([Doc::SoftLine, leading, content, behind])),
            Doc::SoftLine,
            Doc::Text(")"),
        ]))
    }

    fn tuple(&mut self, components: &[Argument], span: Span) -> Doc<'a> {
        // `(a,)` needs its comma to be a tuple.
        if let [only] = components
            && only.name.is_none()
        {
            let content = self.argument(only);
            return Doc::concat([Doc::Text("("), content, Doc::Text(",)")]);
        }
        self.delimited(["(", ")"], components, span, |component| component.span, Self::argument)
    }

    /// `(a, name: b)`; `span` ends with the closing parenthesis.
    fn arguments(&mut self, arguments: &[Argument], span: Span) -> Doc<'a> {
        self.with_spacing(Spacing::Wide, |formatter| {
            let span_of = |argument: &Argument| argument.span;
            formatter.delimited(["(", ")"], arguments, span, span_of, Self::argument)
        })
    }

    fn argument(&mut self, argument: &Argument) -> Doc<'a> {
        let value = self.expression(&argument.value);
        match &argument.name {
            Some(name) => Doc::concat([Doc::Text(self.text(name.span)), Doc::Text(": "), value]),
            None => value,
        }
    }

    /// A list on one line, or with one element on each; `span` ends with the closing delimiter.
    pub(super) fn delimited<T>(
        &mut self,
        [open, close]: [&'static str; 2],
        elements: &[T],
        span: Span,
        span_of: impl Fn(&T) -> Span,
        mut document_of: impl FnMut(&mut Self, &T) -> Doc<'a>,
    ) -> Doc<'a> {
        let end = span.end - 1;
        if elements.is_empty() && !self.comments.any_inside(span) {
            return Doc::concat([Doc::Text(open), Doc::Text(close)]);
        }
        let mut content = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let start = span_of(element).start;
            if index > 0 {
                content.push(Doc::Text(","));
            }
            content.push(self.comments.trailing(start));
            content.push(if index == 0 { Doc::SoftLine } else { Doc::Line });
            content.push(self.comments.leading(start));
            content.push(document_of(self, element));
        }
        if !elements.is_empty() {
            content.push(Doc::IfBroken(","));
        }
        content.push(self.closing_comments(end));
        Doc::group(Doc::concat([
            Doc::Text(open),
            Doc::indent(Doc::Concat(content)),
            Doc::SoftLine,
            Doc::Text(close),
        ]))
    }

    /// The comments before a closing delimiter.
    fn closing_comments(&mut self, end: u32) -> Doc<'a> {
        let mut comments = vec![self.comments.trailing(end)];
        while let Some((_, text)) = self.comments.take(end) {
            comments.extend([Doc::HardLine, Doc::Text(text)]);
        }
        Doc::Concat(comments)
    }

    /// Takes apart operators of one precedence: returns the first operand and adds the others,
    /// each behind its operator.
    fn operands(
        &mut self,
        expr: &Expr,
        precedence: Precedence,
        parts: &mut Vec<Doc<'a>>,
    ) -> Doc<'a> {
        let ExprKind::Binary { operator, left, right, .. } = &expr.kind else {
            return self.expression(expr);
        };
        if Precedence::of(*operator) != precedence {
            return self.expression(expr);
        }
        let first = if precedence == Precedence::Power {
            // Powers associate to the right.
            self.expression(left)
        } else {
            self.operands(left, precedence, parts)
        };
        let tight = match self.spacing {
            Spacing::Wide => false,
            Spacing::TightProducts => {
                matches!(precedence, Precedence::Product | Precedence::Power)
            }
            // Words need their blanks.
            Spacing::Tight => !matches!(precedence, Precedence::Or | Precedence::And),
        };
        parts.push(Doc::Text(if tight { "" } else { " " }));
        parts.push(Doc::Text(operator.symbol()));
        parts.push(self.comments.trailing(right.span.start));
        parts.push(if tight { Doc::SoftLine } else { Doc::Line });
        parts.push(self.comments.leading(right.span.start));
        parts.push(self.expression(right));
        first
    }

    /// A pipe stays on one line if it stood on one and fits; otherwise every stage begins a line.
    fn pipe(&mut self, input: &Expr, steps: &[PipeStep]) -> Doc<'a> {
        let first_stage = steps.iter().find_map(|step| match step {
            PipeStep::Stage(stage) => Some(stage.span.start),
            PipeStep::Movement(_) => None,
        });
        let mut previous_end = input.span.end;
        let mut was_broken = false;
        let input = self.expression(input);
        let mut lines = Vec::new();
        for step in steps {
            let (span, symbol) = match step {
                PipeStep::Stage(stage) => (stage.span, "|> "),
                PipeStep::Movement(movement) => (movement.span, "as "),
            };
            let trailing = self.comments.trailing(span.start);
            let leading = self.comments.leading(span.start);
            if first_stage == Some(span.start) {
                was_broken = self.between(previous_end, span.start).contains('\n');
            }
            previous_end = span.end;
            let content = match step {
                PipeStep::Stage(stage) => self.stage(stage),
                PipeStep::Movement(movement) => self.movement(movement),
            };
            let line = Doc::concat([trailing, Doc::Line, leading, Doc::Text(symbol), content]);
            let stays_behind = first_stage.is_some() && matches!(step, PipeStep::Movement(_));
            lines.push(if stays_behind { Doc::group(Doc::indent(line)) } else { line });
        }
        let content = Doc::concat([input, Doc::indent(Doc::Concat(lines))]);
        if was_broken { Doc::broken_group(content) } else { Doc::group(content) }
    }

    fn stage(&mut self, stage: &Stage) -> Doc<'a> {
        let label = match &stage.label {
            Some(label) => Doc::concat([self.label(label), Doc::Text(": ")]),
            None => Doc::empty(),
        };
        let callee = self.expression(&stage.callee);
        // `f(a)()` keeps its second parentheses: `f(a)` would give `f` the pipe's value.
        let is_bare = stage.arguments.is_empty()
            && !matches!(stage.callee.kind, ExprKind::Call { .. })
            && !self.comments.any_inside(stage.span);
        let arguments =
            if is_bare { Doc::empty() } else { self.arguments(&stage.arguments, stage.span) };
        Doc::concat([label, callee, arguments])
    }

    fn label(&mut self, label: &Label) -> Doc<'a> {
        let mut parts = Vec::new();
        for (index, part) in label.parts.iter().enumerate() {
            match part {
                LabelPart::Name(name) => {
                    parts.push(Doc::Text(if index == 0 { "" } else { "." }));
                    parts.push(Doc::Text(self.text(name.span)));
                }
                LabelPart::String(string) => parts.push(Doc::Text(self.text(string.span))),
                LabelPart::Index(place) => {
                    parts.push(Doc::Text("["));
                    parts.push(self.with_spacing(Spacing::TightProducts, |formatter| {
                        formatter.expression(place)
                    }));
                    parts.push(Doc::Text("]"));
                }
            }
        }
        Doc::Concat(parts)
    }

    fn movement(&mut self, movement: &Movement) -> Doc<'a> {
        let from = self.shape(&movement.from);
        match &movement.to {
            Some(to) => Doc::concat([from, Doc::Text(" -> "), self.shape(to)]),
            None => from,
        }
    }

    /// `if ... { ... } else ...`; the group to break is the caller's.
    fn conditional(&mut self, expr: &Expr) -> Doc<'a> {
        let ExprKind::If { condition, then, otherwise } = &expr.kind else {
            return self.expression(expr);
        };
        let mut parts =
            vec![Doc::Text("if "), self.expression(condition), Doc::Text(" "), self.block(then)];
        if let Some(otherwise) = otherwise {
            parts.push(Doc::Text(" else "));
            parts.push(match &otherwise.kind {
                ExprKind::Block(block) => self.block(block),
                _ => self.conditional(otherwise),
            });
        }
        Doc::Concat(parts)
    }

    fn repetition(&mut self, repetition: &Loop) -> Doc<'a> {
        let keyword = match repetition.kind {
            LoopKind::For => "for ",
            LoopKind::Scan => "scan ",
        };
        let mut parts = vec![Doc::Text(keyword)];
        for (index, generator) in repetition.generators.iter().enumerate() {
            if index > 0 {
                parts.push(Doc::Text(", "));
            }
            for (index, pattern) in generator.patterns.iter().enumerate() {
                if index > 0 {
                    parts.push(Doc::Text(", "));
                }
                parts.push(self.pattern(pattern));
            }
            parts.push(Doc::Text(" in "));
            parts.push(self.expression(&generator.source));
        }
        if let Some(along) = &repetition.along {
            parts.extend([Doc::Text(" along "), Doc::Text(self.text(along.span))]);
        }
        if let Some(until) = &repetition.until {
            parts.extend([Doc::Text(" until "), self.expression(until)]);
        }
        parts.extend([Doc::Text(" "), self.block(&repetition.body)]);
        Doc::group(Doc::Concat(parts))
    }

    pub(super) fn ty(&mut self, ty: &Type) -> Doc<'a> {
        match &ty.kind {
            TypeKind::Name(_) | TypeKind::Error => Doc::Text(self.text(ty.span)),
            TypeKind::Tensor { element, shape } => {
                Doc::concat([Doc::Text(self.text(element.span)), self.shape(shape)])
            }
            TypeKind::Tuple(types) => {
                self.delimited(["(", ")"], types, ty.span, |ty| ty.span, Self::ty)
            }
        }
    }

    pub(super) fn shape(&mut self, shape: &Shape) -> Doc<'a> {
        self.with_spacing(Spacing::TightProducts, |formatter| {
            let span_of = |axis: &Axis| axis.span;
            formatter.delimited(["[", "]"], &shape.axes, shape.span, span_of, Self::axis)
        })
    }

    fn axis(&mut self, axis: &Axis) -> Doc<'a> {
        let value = match &axis.value {
            AxisValue::Ellipsis => Doc::Text("..."),
            AxisValue::Expr(expr) => self.expression(expr),
        };
        match &axis.name {
            Some(name) => Doc::concat([Doc::Text(self.text(name.span)), Doc::Text(": "), value]),
            None => value,
        }
    }
}

/// Which operators stand beside each other without one being inside the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precedence {
    Or,
    And,
    Comparison,
    Sum,
    Product,
    Power,
}

impl Precedence {
    fn of(operator: BinaryOperator) -> Precedence {
        use BinaryOperator::*;
        match operator {
            Or => Precedence::Or,
            And => Precedence::And,
            Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual => Precedence::Comparison,
            Add | Subtract => Precedence::Sum,
            Multiply | Divide | FloorDivide => Precedence::Product,
            Power => Precedence::Power,
        }
    }
}
