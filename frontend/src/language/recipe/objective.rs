//! Objectives with their optimizers, and what is reported.

use cygnet_compiler::differentiate::gradient;
use cygnet_compiler::graph::SlotRole;
use cygnet_compiler::types::DType;

use super::Run;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Arguments, Eval, Evaluator, Number, Stop};
use crate::language::value::{Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{self, ClauseKind, Expr, ExprKind, FunctionKind, PipeStep, UpdateGroup};

impl<'p> Run<'_, 'p> {
    /// `minimize name = objective using optimizer`.
    pub(super) fn minimize(
        &mut self,
        name: Option<&ast::Ident>,
        objective: &'p Expr,
        groups: &'p [UpdateGroup],
    ) -> Eval<()> {
        let value = self.evaluator.expr(objective, &self.scope);
        let settings: Vec<Eval<Value<'p>>> = groups
            .iter()
            .map(|group| {
                if matches!(group.using.kind, ExprKind::Pipe { .. }) {
                    let what = "a gradient transformation before an optimizer";
                    return Err(self.evaluator.unsupported(what, group.using.span));
                }
                let value = self.evaluator.expr(&group.using, &self.scope)?;
                match &value {
                    // An optimizer without settings need not be called: `using adam`.
                    Value::Closure(closure) if closure.function.kind == FunctionKind::Optimizer => {
                        let span = group.using.span;
                        let arguments = Arguments { given: Vec::new(), placeholder: None, span };
                        self.evaluator.call(&value, span, arguments, None)
                    }
                    _ => Ok(value),
                }
            })
            .collect();
        let loss = self.scalar(&value?, objective, "what is minimized")?;
        if !loss.dtype.is_float() {
            return Err(self.evaluator.report(
                Diagnostic::error("objective", "what is minimized must be a float")
                    .primary(objective.span, format!("this is {}", self.evaluator.show(&loss)))
                    .help("whole numbers and bools have no gradient; use a smooth loss"),
            ));
        }
        if !self.outcome.objectives.is_empty() {
            let span = self.evaluator.here();
            return Err(self.evaluator.unsupported("a second objective", span));
        }
        let name = name.map_or("loss", |name| &name.name).to_owned();
        self.outcome.objectives.push((name.clone(), loss.clone()));
        if let Some(bound) = self.recipe.clauses.iter().find_map(|clause| match &clause.kind {
            ClauseKind::Minimize { name: Some(bound), .. } if bound.name == name => Some(bound),
            _ => None,
        }) {
            self.scope.fix(&bound.name, Value::Tensor(loss.clone()), bound.span);
        }
        let [group] = groups else {
            return Err(self.evaluator.unsupported("several groups of parameters", objective.span));
        };
        if let Some(over) = &group.over {
            return Err(self.evaluator.unsupported("`over`", over.span));
        }
        let settings = match settings.into_iter().next() {
            Some(Ok(Value::Optimizer(settings))) => settings,
            Some(Ok(other)) => {
                let what = "what stands behind `using`";
                return Err(self.evaluator.unfit(&other, group.using.span, what, "an optimizer"));
            }
            _ => return Err(Stop),
        };
        if !self.evaluator.training {
            return Ok(());
        }
        let trained: Vec<usize> = self.evaluator.trained_slots();
        let gradients = self.gradients(&loss, &trained, objective.span)?;
        for (slot, gradient) in trained.into_iter().zip(gradients) {
            if let Some(gradient) = gradient {
                self.evaluator.update_parameter(&settings, slot, gradient)?;
            }
        }
        Ok(())
    }

    /// The gradients of `loss` with respect to parameters; `None` for one it does not depend on.
    fn gradients(
        &mut self,
        loss: &Tensor,
        slots: &[usize],
        span: Span,
    ) -> Eval<Vec<Option<Tensor>>> {
        let types: Vec<Tensor> =
            slots.iter().map(|&slot| self.evaluator.slots.record(slot).tensor()).collect();
        let nodes: Option<Vec<_>> = types.iter().map(|tensor| tensor.node).collect();
        let (Some(nodes), Some(node), Some(graph)) =
            (nodes, loss.node, self.evaluator.graph.as_mut())
        else {
            return Ok(types.into_iter().map(Some).collect());
        };
        let gradients = match gradient(graph, node, &nodes) {
            Ok(gradients) => gradients,
            Err(error) => {
                return Err(self.evaluator.report(
                    Diagnostic::error("no-gradient", format!("no gradient: {error}"))
                        .primary(span, "this cannot be minimized")
                        .help("`stop_gradient` keeps an operation out of the gradient"),
                ));
            }
        };
        if gradients.iter().all(Option::is_none) {
            return Err(self.evaluator.report(
                Diagnostic::error("nothing-to-train", "the objective depends on no parameter")
                    .primary(span, "nothing here can be trained")
                    .help("compute it from the output of a model"),
            ));
        }
        let tensors = gradients.into_iter().zip(types);
        Ok(tensors.map(|(node, ty)| node.map(|node| Tensor { node: Some(node), ..ty })).collect())
    }

    /// `report metric`.
    pub(super) fn report(&mut self, expr: &'p Expr) -> Eval<()> {
        let value = self.evaluator.expr(expr, &self.scope)?;
        let tensor = self.scalar(&value, expr, "what is reported")?;
        let taken = |name: &str| {
            let all = self.outcome.objectives.iter().chain(&self.outcome.reports);
            all.into_iter().any(|(known, _)| known == name)
        };
        let base = report_name(expr);
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let name = std::iter::once(base.to_owned()).chain(numbered).find(|name| !taken(name));
        self.outcome.reports.push((name.unwrap_or_default(), tensor));
        Ok(())
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
fn report_name(expr: &Expr) -> &str {
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

impl Evaluator<'_> {
    /// The slots of trained parameters.
    fn trained_slots(&self) -> Vec<usize> {
        let records = self.slots.records().iter().enumerate();
        let parameter = SlotRole::Parameter;
        records.filter(|(_, record)| record.role == parameter).map(|(slot, _)| slot).collect()
    }
}
