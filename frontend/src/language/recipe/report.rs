//! What a recipe reports: scalars, which are averaged over the samples, and metrics, which are
//! accumulated over them.

use cygnet_compiler::types::DType;

use super::Run;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Number};
use crate::language::metric::Reporting;
use crate::language::program::Report;
use crate::language::value::{Axis, Tensor};
use crate::source::Span;
use crate::syntax::ast::{Expr, ExprKind, PipeStep, Reported};

impl<'p> Run<'_, 'p> {
    /// An entry of `report`.
    pub(super) fn report(&mut self, entry: &'p Reported) -> Eval<()> {
        if let (None, ExprKind::Name(name)) = (&entry.name, &entry.value.kind)
            && self.outcome.objectives.iter().any(|(known, _)| known == name)
        {
            // Objectives are reported anyway.
            return Ok(());
        }
        let name = self.report_name(entry)?;
        let reporting =
            Reporting { name: name.clone(), site: call_site(&entry.value), used: false };
        self.evaluator.reporting = Some(reporting);
        let first_state = self.evaluator.slots.records().len();
        let value = self.evaluator.expr(&entry.value, &self.scope);
        let accumulates = self.evaluator.reporting.take().is_some_and(|reporting| reporting.used);
        let (value, span) = (value?, entry.value.span);
        let what = "what is reported";
        let tensor = if accumulates {
            match Number::of(&value) {
                Some(number) => self.evaluator.spread(&number, DType::F64, &[], span)?,
                None => self.evaluator.expect_tensor(&value, span, what)?,
            }
        } else {
            self.scalar(&value, &entry.value, what)?
        };
        if accumulates {
            self.independent_of_batch(&tensor, first_state, span)?;
        }
        self.outcome.reports.push((Report { name, accumulates }, tensor));
        Ok(())
    }

    /// The name in results: as given, or what is called.
    fn report_name(&mut self, entry: &Reported) -> Eval<String> {
        let Some(name) = &entry.name else { return Ok(self.free_name(called(&entry.value))) };
        if self.free_name(&name.name) == name.name {
            return Ok(name.name.clone());
        }
        let text = format!("two results are called `{}`", name.name);
        Err(self.evaluator.report(
            Diagnostic::error("repeated-result", text)
                .primary(name.span, "there is one of this name already")
                .help("give one of them another name: `report other = ...`"),
        ))
    }

    /// `base`, or with a number if an output has that name.
    pub(super) fn free_name(&self, base: &str) -> String {
        let outcome = &self.outcome;
        let reports = outcome.reports.iter().map(|(report, _)| &report.name);
        let others = outcome.objectives.iter().chain(&outcome.shows).map(|(name, _)| name);
        let names: Vec<&String> = others.chain(reports).collect();
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let mut candidates = std::iter::once(base.to_owned()).chain(numbered);
        candidates.find(|name| !names.contains(&name)).unwrap_or_default()
    }

    /// The last batch of a pass may be a smaller one, so neither what a metric accumulates nor
    /// what it gives can have its size. Known only while free dims are symbols.
    fn independent_of_batch(&mut self, value: &Tensor, first_state: usize, span: Span) -> Eval<()> {
        let Some(batch) = self.outcome.plan.batch_dim.clone() else { return Ok(()) };
        let of_batch = |axes: &[Axis]| axes.iter().any(|axis| axis.size.depends_on(&batch));
        let mut states = self.evaluator.slots.records()[first_state..].iter();
        let (text, place) = match states.find(|state| of_batch(&state.axes)) {
            Some(state) => ("the state of a metric has the axis of the samples", state.span),
            None if of_batch(&value.axes) => {
                ("the value of a metric has the axis of the samples", span)
            }
            None => return Ok(()),
        };
        let shown = format!("its size depends on `{batch}`, which differs from batch to batch");
        let mut diagnostic = Diagnostic::error("metric-of-samples", text).primary(place, shown);
        if place != span {
            diagnostic = diagnostic.secondary(span, "reported here");
        }
        Err(self.evaluator.report(diagnostic.help(format!("reduce it: `sum(x, over: {batch})`"))))
    }
}

/// The place of the call that gives an expression's value.
fn call_site(expr: &Expr) -> Span {
    match &expr.kind {
        ExprKind::Paren(inner) => call_site(inner),
        ExprKind::Pipe { steps, .. } => match steps.last() {
            Some(PipeStep::Stage(stage)) => stage.span,
            _ => expr.span,
        },
        _ => expr.span,
    }
}

/// The name of what is called, or of the value.
pub(super) fn called(expr: &Expr) -> &str {
    match &expr.kind {
        ExprKind::Name(name) => name,
        ExprKind::Call { callee, .. } => called(callee),
        ExprKind::Pipe { steps, .. } => steps
            .iter()
            .rev()
            .find_map(|step| match step {
                PipeStep::Stage(stage) => Some(called(&stage.callee)),
                PipeStep::Movement(_) => None,
            })
            .unwrap_or("metric"),
        ExprKind::Paren(inner) => called(inner),
        ExprKind::Field { name, .. } => &name.name,
        _ => "metric",
    }
}
