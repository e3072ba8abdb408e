//! Objectives: what is minimized.

use super::Run;
use super::group::Group;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Number};
use crate::language::value::{Tensor, Value};
use crate::syntax::ast::{self, ClauseKind, Expr, UpdateGroup};
use cygnet_compiler::graph::NodeId;
use cygnet_compiler::narrow::narrow;
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
        let loss = if self.evaluator.training { self.narrowed(loss) } else { loss };
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

    /// The loss, of which nothing is computed that it does not read; then nothing of that flows
    /// back, either. Values of parameters stay, since gradients are asked for by them.
    fn narrowed(&mut self, mut loss: Tensor) -> Tensor {
        let slots = self.trainable().into_iter();
        let values = slots.flat_map(|(slot, _)| self.evaluator.slots.record(slot).versions.clone());
        let values: Vec<NodeId> = values.collect();
        if let (Some(node), Some(graph)) = (loss.node, self.evaluator.graph.as_mut()) {
            loss.node = Some(narrow(graph, &[node], &values)[0]);
        }
        loss
    }

    /// How many objectives the recipe has.
    pub(super) fn objective_count(&self) -> usize {
        let clauses = self.recipe.clauses.iter();
        clauses.filter(|clause| matches!(clause.kind, ClauseKind::Minimize { .. })).count()
    }

    /// A tensor without axes.
    pub(super) fn scalar(&mut self, value: &Value<'p>, expr: &Expr, what: &str) -> Eval<Tensor> {
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
