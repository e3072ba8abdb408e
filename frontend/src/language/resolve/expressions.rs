//! Names in expressions.

use super::names::Kind;
use super::{LANGUAGE_NAMES, RUN_NAMES, Resolver};
use crate::language::builtins::Builtin;
use crate::language::evaluate::unknown_axis;
use crate::source::Span;
use crate::syntax::ast::{
    AxisValue, Block, Expr, ExprKind, Ident, LabelPart, Loop, PipeStep, Shape, Stage,
    StringLiteral, StringPart,
};

impl<'p> Resolver<'p> {
    /// All names in an expression.
    pub(super) fn expr(&mut self, expr: &'p Expr) {
        match &expr.kind {
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Placeholder
            | ExprKind::Error => {}
            ExprKind::String(literal) => self.string(literal),
            ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => self.expr(inner),
            ExprKind::Tuple(parts) => parts.iter().for_each(|part| self.expr(&part.value)),
            ExprKind::List(parts) => parts.iter().for_each(|part| self.expr(part)),
            ExprKind::Range { start, end, step } => {
                start.iter().chain(end).chain(step).for_each(|bound| self.expr(bound));
            }
            ExprKind::Binary { left, right, .. } => {
                self.expr(left);
                self.expr(right);
            }
            ExprKind::Call { callee, arguments } => {
                self.expr(callee);
                arguments.iter().for_each(|argument| self.expr(&argument.value));
                self.call(callee, None, arguments, expr.span);
            }
            ExprKind::Index { base, shape } => {
                self.expr(base);
                self.index(shape);
            }
            ExprKind::Field { base, .. } => self.expr(base),
            ExprKind::Pipe { input, steps } => {
                self.expr(input);
                let mut piped = input.span;
                for step in steps {
                    match step {
                        PipeStep::Stage(stage) => {
                            self.stage(stage, piped);
                            piped = stage.span;
                        }
                        PipeStep::Movement(movement) => {
                            self.binding_shape(&movement.from);
                            if let Some(to) = &movement.to {
                                self.named_axes(to);
                                self.moved(to);
                            }
                            piped = movement.span;
                        }
                    }
                }
            }
            ExprKind::Block(block) => self.block(block),
            ExprKind::If { condition, then, otherwise } => {
                self.expr(condition);
                self.block(then);
                otherwise.iter().for_each(|otherwise| self.expr(otherwise));
            }
            ExprKind::Loop(inner) => self.the_loop(inner),
        }
    }

    /// A name that is used as a value.
    pub(super) fn name(&mut self, name: &'p str, span: Span) {
        let known = self.names.mark(name)
            || self.package.definition(self.module, name).is_some()
            || Builtin::named(name).is_some()
            || LANGUAGE_NAMES.contains(&name)
            || (self.run && RUN_NAMES.contains(&name));
        if !known {
            self.unknown_name(name, span);
        }
    }

    fn block(&mut self, block: &'p Block) {
        self.names.open(false);
        self.statements(block, false);
        self.close();
    }

    fn the_loop(&mut self, the_loop: &'p Loop) {
        for generator in &the_loop.generators {
            self.expr(&generator.source);
        }
        self.names.open(false);
        for generator in &the_loop.generators {
            for pattern in &generator.patterns {
                self.pattern(pattern, Kind::Element);
            }
        }
        if let Some(along) = &the_loop.along {
            self.names.mark(&along.name);
        }
        self.loops += 1;
        self.statements(&the_loop.body, false);
        self.loops -= 1;
        if let Some(until) = &the_loop.until {
            self.expr(until);
        }
        self.close();
    }

    fn stage(&mut self, stage: &'p Stage, piped: Span) {
        for part in stage.label.iter().flat_map(|label| &label.parts) {
            match part {
                LabelPart::Name(_) => {}
                LabelPart::String(literal) => self.string(literal),
                LabelPart::Index(index) => self.expr(index),
            }
        }
        self.expr(&stage.callee);
        stage.arguments.iter().for_each(|argument| self.expr(&argument.value));
        self.call(&stage.callee, Some(piped), &stage.arguments, stage.span);
    }

    /// The names in a shape.
    pub(super) fn shape(&mut self, shape: &'p Shape) {
        for axis in &shape.axes {
            if let AxisValue::Expr(expr) = &axis.value {
                self.expr(expr);
            }
        }
    }

    /// An index or fill: the names before colons are axes, which need not be bound.
    fn index(&mut self, shape: &'p Shape) {
        for axis in &shape.axes {
            if let Some(name) = &axis.name {
                self.names.mark(&name.name);
            }
        }
        self.shape(shape);
    }

    /// Binds the names before colons, which new axes get, also those of the parts of an axis.
    fn named_axes(&mut self, shape: &'p Shape) {
        for axis in &shape.axes {
            self.named_axis(axis.name.as_ref());
            if let AxisValue::Expr(Expr { kind: ExprKind::Tuple(parts), .. }) = &axis.value {
                parts.iter().for_each(|part| self.named_axis(part.name.as_ref()));
            }
        }
    }

    fn named_axis(&mut self, name: Option<&'p Ident>) {
        if let Some(name) = name
            && !self.names.mark(&name.name)
        {
            self.names.define(&name.name, name.span, Kind::Dim);
        }
    }

    pub(super) fn string(&mut self, literal: &'p StringLiteral) {
        for part in &literal.parts {
            if let StringPart::Value(expr) = part {
                self.expr(expr);
            }
        }
    }

    /// The right side of `as`: a name that nothing is bound to is an axis without a size.
    fn moved(&mut self, to: &'p Shape) {
        for (name, span) in to.names() {
            if !self.names.mark(name) && !self.is_global_value(name) {
                self.report(unknown_axis(name, span));
                self.names.define(name, span, Kind::Dim);
            }
        }
        self.shape(to);
    }
}
