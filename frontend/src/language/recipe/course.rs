//! What changes from epoch to epoch: freezing, and the end of training.

use cygnet_compiler::graph::{Graph, NodeId, Output, SlotRole};
use cygnet_compiler::op::Op;
use cygnet_compiler::types::DType;

use super::Run;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Stop};
use crate::language::program::{Condition, smaller_is_better};
use crate::language::value::{Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{Expr, Paths};

/// A condition as it was evaluated.
pub(super) enum Holds {
    /// Known when the program is compiled.
    Known(bool),
    /// Computed from run-time scalars; the node in an elaboration.
    Computed(Option<NodeId>, Span),
}

impl<'p> Run<'_, 'p> {
    /// `freeze paths while condition`.
    pub(super) fn freeze(&mut self, targets: &'p Paths, condition: Option<&'p Expr>) -> Eval<()> {
        let selection = self.evaluator.selection(targets, &self.scope)?;
        let used = self.evaluator.slots.records().iter().find(|slot| selection.covers(&slot.path));
        if let Some(used) = used {
            let place = used.place;
            return Err(self.evaluator.report(
                Diagnostic::error("late-freeze", "this part is frozen after it was used")
                    .primary(targets.span, "frozen here")
                    .secondary(place, "used here")
                    .note("frozen layers compute as in evaluation: dropout does nothing")
                    .help("write `freeze` before the model is called"),
            ));
        }
        let holds = match condition {
            None => Holds::Known(true),
            Some(condition) => self.condition(condition)?,
        };
        let frozen = match holds {
            Holds::Known(frozen) => frozen,
            Holds::Computed(..) => {
                let number = self.outcome.freezes.len();
                self.outcome.freezes.push(holds);
                self.variant.get(number).copied().unwrap_or(true)
            }
        };
        self.outcome.freezable.push(selection.clone());
        if frozen {
            self.evaluator.frozen.push(selection);
        }
        Ok(())
    }

    /// `stop when condition`.
    pub(super) fn stop(&mut self, condition: &'p Expr) -> Eval<()> {
        let holds = self.condition(condition)?;
        self.outcome.stops.push(holds);
        Ok(())
    }

    fn condition(&mut self, expr: &'p Expr) -> Eval<Holds> {
        match self.evaluator.expr(expr, &self.scope)? {
            Value::Bool(holds) => Ok(Holds::Known(holds)),
            Value::Tensor(Tensor { dtype: DType::Bool, axes, node }) if axes.is_empty() => {
                Ok(Holds::Computed(node, expr.span))
            }
            Value::Unknown => Err(Stop),
            other => {
                let what = "the condition";
                Err(self.evaluator.unfit(&other, expr.span, what, "a single truth value"))
            }
        }
    }

    /// Reports paths that nothing has and metrics that nothing reports. All clauses must have been
    /// evaluated.
    pub(super) fn check_course(&mut self) {
        if self.outcome.failed {
            return;
        }
        let loads = self.outcome.loads.iter().map(|load| &load.targets);
        for selection in self.outcome.freezable.iter().chain(loads).cloned().collect::<Vec<_>>() {
            // What is wrong is reported.
            let _ = self.evaluator.expect_selected(&selection);
        }
        let objectives = self.outcome.objectives.iter().map(|(name, _)| name);
        let reports = self.outcome.reports.iter().map(|(report, _)| &report.name);
        let names: Vec<String> = objectives.chain(reports).cloned().collect();
        for plateau in &mut self.evaluator.plateaus {
            let objective = self.outcome.objectives.iter().any(|(name, _)| *name == plateau.metric);
            plateau.larger.get_or_insert(!smaller_is_better(&plateau.metric, objective));
        }
        for plateau in self.evaluator.plateaus.clone() {
            if !names.contains(&plateau.metric) {
                self.evaluator.report(
                    Diagnostic::error(
                        "unknown-metric",
                        format!("nothing is reported as `{}`", plateau.metric),
                    )
                    .primary(plateau.span, "not an objective or metric of this recipe")
                    .help(format!("there are {}", names.join(", "))),
                );
            }
        }
    }
}

/// Conditions of an elaborated recipe as graphs of their own.
///
/// # Errors
/// If one depends on more than run-time scalars.
pub(super) fn conditions(
    evaluator: &mut Evaluator<'_>,
    graph: &Graph,
    all: &[Holds],
) -> Eval<Vec<Condition>> {
    let condition = |holds: &Holds| {
        let (node, span) = match *holds {
            Holds::Known(holds) => return Ok(Condition::Known(holds)),
            Holds::Computed(node, span) => (node.ok_or(Stop)?, span),
        };
        let mut graph = graph.clone();
        graph.outputs = vec![Output { name: "condition".to_owned(), node }];
        graph.updates.clear();
        graph.guards.clear();
        graph.prune();
        let from_run = |op: &Op| match op {
            Op::Slot(slot) => graph.slots[slot.index as usize].role == SlotRole::Scalar,
            Op::Random(_) => false,
            _ => true,
        };
        if graph.nodes.iter().all(|node| from_run(&node.op)) {
            return Ok(Condition::Computed(graph));
        }
        Err(evaluator.report(
            Diagnostic::error("condition-on-data", "this is decided between epochs, without data")
                .primary(span, "depends on data or parameters")
                .help("use `epoch`, `step`, `plateaus(...)` and parameters of the recipe"),
        ))
    };
    all.iter().map(condition).collect()
}
