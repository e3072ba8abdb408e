//! Objectives, and what is reported.

use super::Run;
use super::group::Group;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Number};
use crate::language::value::{Tensor, Value};
use crate::syntax::ast::{self, ClauseKind, Expr, ExprKind, PipeStep, UpdateGroup};
use cygnet_compiler::types::DType;

impl<'p> Run<'_, 'p> {
    /// `minimize name = objective over ... using optimizer`.
    pub(super) fn minimize(
        &mut self,
        name: Option<&'p ast::Ident>,
        objective: &'p Expr,
        groups: &'p [UpdateGroup],
    ) -> Eval<()> {
        let value = self.evaluator.expr(objective, &self.scope);
        // All groups are looked at, so that all mistakes are reported.
        let groups: Vec<Eval<Group<'p>>> = groups.iter().map(|group| self.group(group)).collect();
        let loss = self.scalar(&value?, objective, "what is minimized")?;
        if !loss.dtype.is_float() {
            return Err(self.evaluator.report(
                Diagnostic::error("objective", "what is minimized must be a float")
                    .primary(objective.span, format!("this is {}", self.evaluator.show(&loss)))
                    .help("whole numbers and bools have no gradient; use a smooth loss"),
            ));
        }
        let called = name.map_or("loss", |name| &name.name).to_owned();
        let span = name.map_or(objective.span, |name| name.span);
        if let Some((_, before)) = self.outcome.objective_spans.iter().find(|(n, _)| *n == called) {
            return Err(self.evaluator.report(
                Diagnostic::error(
                    "repeated-objective",
                    format!("two objectives are called `{called}`"),
                )
                .primary(span, "the second one")
                .secondary(*before, "the first one")
                .help("give each a name of its own: `minimize d_loss = ...`"),
            ));
        }
        self.outcome.objective_spans.push((called.clone(), span));
        self.outcome.objectives.push((called.clone(), loss.clone()));
        if let Some(name) = name {
            self.scope.fix(&name.name, Value::Tensor(loss.clone()), name.span);
        }
        let groups: Vec<Group<'p>> = groups.into_iter().collect::<Eval<_>>()?;
        if !self.evaluator.training {
            return Ok(());
        }
        self.update(&called, &loss, objective.span, groups)
    }

    /// How many objectives the recipe has.
    pub(super) fn objective_count(&self) -> usize {
        let clauses = self.recipe.clauses.iter();
        clauses.filter(|clause| matches!(clause.kind, ClauseKind::Minimize { .. })).count()
    }

    /// `report metric`.
    pub(super) fn report(&mut self, expr: &'p Expr) -> Eval<()> {
        let value = self.evaluator.expr(expr, &self.scope)?;
        let tensor = self.scalar(&value, expr, "what is reported")?;
        let base = report_name(expr);
        if self.outcome.objectives.iter().any(|(known, _)| known == base)
            && matches!(expr.kind, ExprKind::Name(_))
        {
            // Objectives are reported anyway.
            return Ok(());
        }
        let name = self.free_name(base);
        self.outcome.reports.push((name, tensor));
        Ok(())
    }

    /// `base`, or with a number if an output has that name.
    pub(super) fn free_name(&self, base: &str) -> String {
        let Self { outcome, .. } = self;
        let taken = |name: &str| {
            let all = outcome.objectives.iter().chain(&outcome.reports).chain(&outcome.shows);
            all.into_iter().any(|(known, _)| known == name)
        };
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let name = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken(name));
        name.unwrap_or_default()
    }

    /// A tensor without axes.
    fn scalar(&mut self, value: &Value<'p>, expr: &Expr, what: &str) -> Eval<Tensor> {
        let tensor = match Number::of(value) {
            Some(number) => self.evaluator.spread(&number, DType::F32, &[], expr.span)?,
            None => self.evaluator.expect_tensor(value, expr.span, what)?,
        };
        if tensor.axes.is_empty() {
            return Ok(tensor);
        }
        let shown = self.evaluator.show(&tensor);
        Err(self.evaluator.report(
            Diagnostic::error("not-a-scalar", format!("{what} must be a single number"))
                .primary(expr.span, format!("this is {shown}"))
                .help("reduce it: `mean(x)` or `sum(x)`"),
        ))
    }
}

/// The name of a metric: what is called, or the name of the value.
pub(super) fn report_name(expr: &Expr) -> &str {
    match &expr.kind {
        ExprKind::Name(name) => name,
        ExprKind::Call { callee, .. } => report_name(callee),
        ExprKind::Pipe { steps, .. } => steps
            .iter()
            .rev()
            .find_map(|step| match step {
                PipeStep::Stage(stage) => Some(report_name(&stage.callee)),
                PipeStep::Movement(_) => None,
            })
            .unwrap_or("metric"),
        ExprKind::Paren(inner) => report_name(inner),
        ExprKind::Field { name, .. } => &name.name,
        _ => "metric",
    }
}
