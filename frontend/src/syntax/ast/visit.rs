//! Visiting every expression of a tree.

use super::{
    AxisValue, Block, Clause, ClauseKind, Expr, ExprKind, LabelPart, PipeStep, Shape, Statement,
    StringLiteral, StringPart,
};

impl Expr {
    /// Calls `visit` for this expression and every one inside it, outer ones first.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        visit(self);
        match &self.kind {
            ExprKind::Name(_)
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Placeholder
            | ExprKind::Error => {}
            ExprKind::String(literal) => literal.each(visit),
            ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => inner.each(visit),
            ExprKind::Tuple(parts) => parts.iter().for_each(|part| part.value.each(visit)),
            ExprKind::List(parts) => parts.iter().for_each(|part| part.each(visit)),
            ExprKind::Range { start, end, step } => {
                start.iter().chain(end).chain(step).for_each(|bound| bound.each(visit));
            }
            ExprKind::Binary { left, right, .. } => {
                left.each(visit);
                right.each(visit);
            }
            ExprKind::Call { callee, arguments } => {
                callee.each(visit);
                arguments.iter().for_each(|argument| argument.value.each(visit));
            }
            ExprKind::Index { base, shape } => {
                base.each(visit);
                shape.each(visit);
            }
            ExprKind::Field { base, .. } => base.each(visit),
            ExprKind::Pipe { input, steps } => {
                input.each(visit);
                steps.iter().for_each(|step| step.each(visit));
            }
            ExprKind::Block(block) => block.each(visit),
            ExprKind::If { condition, then, otherwise } => {
                condition.each(visit);
                then.each(visit);
                otherwise.iter().for_each(|otherwise| otherwise.each(visit));
            }
            ExprKind::Loop(inner) => {
                inner.generators.iter().for_each(|generator| generator.source.each(visit));
                inner.until.iter().for_each(|until| until.each(visit));
                inner.body.each(visit);
            }
        }
    }
}

impl PipeStep {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            PipeStep::Stage(stage) => {
                for part in stage.label.iter().flat_map(|label| &label.parts) {
                    match part {
                        LabelPart::Name(_) => {}
                        LabelPart::String(literal) => literal.each(visit),
                        LabelPart::Index(index) => index.each(visit),
                    }
                }
                stage.callee.each(visit);
                stage.arguments.iter().for_each(|argument| argument.value.each(visit));
            }
            PipeStep::Movement(movement) => {
                movement.from.each(visit);
                movement.to.iter().for_each(|to| to.each(visit));
            }
        }
    }
}

impl Shape {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        for axis in &self.axes {
            if let AxisValue::Expr(expr) = &axis.value {
                expr.each(visit);
            }
        }
    }
}

impl StringLiteral {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        for part in &self.parts {
            if let StringPart::Value(expr) = part {
                expr.each(visit);
            }
        }
    }
}

impl Block {
    /// Calls `visit` for every expression in the block, those of inner functions' bodies
    /// excepted.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        for statement in &self.statements {
            match statement {
                Statement::Binding(binding) => binding.value.each(visit),
                Statement::Declaration(declaration) => declaration.initial.each(visit),
                Statement::Assignment(assignment) => assignment.value.each(visit),
                Statement::Yield(statement) => statement.value.each(visit),
                Statement::Expr(expr) => expr.each(visit),
                Statement::Function(_) | Statement::Error(_) => {}
            }
        }
    }
}

impl Clause {
    /// Calls `visit` for every expression in the clause.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            ClauseKind::Binding(binding) => binding.value.each(visit),
            ClauseKind::Declaration(declaration) => declaration.initial.each(visit),
            ClauseKind::Assignment(assignment) => assignment.value.each(visit),
            ClauseKind::Data { source, .. } | ClauseKind::Load { source, .. } => {
                source.each(visit);
            }
            ClauseKind::Freeze { condition, .. } => {
                condition.iter().for_each(|condition| condition.each(visit));
            }
            ClauseKind::Minimize { objective, groups, .. } => {
                objective.each(visit);
                groups.iter().for_each(|group| group.using.each(visit));
            }
            ClauseKind::Batch(expr)
            | ClauseKind::Accumulate(expr)
            | ClauseKind::Epochs(expr)
            | ClauseKind::Stop(expr) => expr.each(visit),
            ClauseKind::Report(entries) => {
                entries.iter().for_each(|entry| entry.value.each(visit));
            }
            ClauseKind::Show(exprs) => {
                exprs.iter().for_each(|expr| expr.each(visit));
            }
            ClauseKind::Error => {}
        }
    }
}
