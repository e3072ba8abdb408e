//! Groups of parameters: which an objective updates, and how gradients become updates.

use std::rc::Rc;

use cygnet_compiler::differentiate::{DifferentiationError, gradient};
use cygnet_compiler::graph::{Emit, NodeId, SlotRole};

use super::Run;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Stop};
use crate::language::selection::Selection;
use crate::language::value::{Given, Settings, Tensor, Value};
use crate::source::Span;
use crate::syntax::ast::{FunctionKind, UpdateGroup, UpdateStep};

/// `over PATHS using TRANSFORMATION |> OPTIMIZER`.
pub(super) struct Group<'p> {
    /// Which parameters; without it those of no other group.
    over: Option<Selection>,
    /// What gradients go through, each with its value.
    transformations: Vec<(Value<'p>, UpdateStep<'p>)>,
    optimizer: Rc<Settings<'p>>,
    span: Span,
}

impl<'p> Run<'_, 'p> {
    /// Evaluates what a group says.
    pub(super) fn group(&mut self, group: &'p UpdateGroup) -> Eval<Group<'p>> {
        let over = group.over.as_ref().map(|over| self.evaluator.selection(over, &self.scope));
        // A movement among the steps was reported when names were resolved.
        let mut steps = group.steps().map_err(|_| Stop)?;
        let optimizer = steps.pop().ok_or(Stop).and_then(|step| self.optimizer(step));
        let mut transformations = Vec::new();
        for step in steps {
            let callee = self.evaluator.expr(step.callee, &self.scope)?;
            transformations.push((callee, step));
        }
        let over = over.transpose()?;
        Ok(Group { over, transformations, optimizer: optimizer?, span: group.span })
    }

    /// The optimizer at the end of `using`.
    fn optimizer(&mut self, step: UpdateStep<'p>) -> Eval<Rc<Settings<'p>>> {
        let mut value = self.evaluator.expr(step.callee, &self.scope)?;
        // An optimizer without settings need not be called: `using adam`.
        let bare = matches!(&value,
            Value::Closure(closure) if closure.function.kind == FunctionKind::Optimizer);
        if step.arguments.is_some() || bare {
            let written = step.arguments.unwrap_or(&[]);
            let arguments = self.evaluator.arguments(None, written, &self.scope, step.span);
            let called = |evaluator: &mut Evaluator<'p>| {
                evaluator.call(&value, step.callee.span, arguments, None)
            };
            value = self.evaluator.at(step.span, called)?;
        }
        match value {
            Value::Optimizer(settings) => Ok(settings),
            other => {
                let what = "what stands behind `using`";
                Err(self.evaluator.unfit(&other, step.span, what, "an optimizer"))
            }
        }
    }

    /// Updates the parameters of all groups of the objective `name`.
    pub(super) fn update(
        &mut self,
        name: &str,
        loss: &Tensor,
        span: Span,
        groups: Vec<Group<'p>>,
    ) -> Eval<()> {
        let assigned = self.assign_groups(&groups)?;
        let slots: Vec<usize> = assigned.iter().flatten().copied().collect();
        let mut gradients = self.gradients(loss, &slots, &groups, span)?.into_iter();
        let mut result = Ok(());
        for (group, slots) in groups.into_iter().zip(assigned) {
            let gradients: Vec<_> = slots.into_iter().zip(gradients.by_ref()).collect();
            let updated = self.update_group(name, group, gradients);
            result = result.and(updated);
        }
        result
    }

    /// The parameters of each group, by number.
    fn assign_groups(&mut self, groups: &[Group<'p>]) -> Eval<Vec<Vec<usize>>> {
        for group in groups.iter().filter_map(|group| group.over.as_ref()) {
            self.evaluator.expect_selected(group)?;
        }
        let mut assigned = vec![Vec::new(); groups.len()];
        let rest = groups.iter().position(|group| group.over.is_none());
        if let Some(first) = rest
            && let Some(second) = groups[first + 1..].iter().find(|group| group.over.is_none())
        {
            return Err(self.evaluator.report(
                Diagnostic::error("two-rests", "two groups take all remaining parameters")
                    .primary(second.span, "the second one")
                    .secondary(groups[first].span, "the first one")
                    .help("say which parameters: `over net.head using ...`"),
            ));
        }
        for (slot, path) in self.trainable() {
            if self.evaluator.is_frozen(&path) {
                continue;
            }
            let covers = |group: &Group<'_>| group.over.as_ref().is_some_and(|o| o.covers(&path));
            let mut chosen = (0..groups.len()).filter(|&number| covers(&groups[number]));
            let Some(number) = chosen.next().or(rest) else { continue };
            if let Some(second) = chosen.next() {
                return Err(self.evaluator.report(
                    Diagnostic::error("two-groups", format!("`{path}` is in two groups"))
                        .primary(groups[second].span, "it is in this one")
                        .secondary(groups[number].span, "and in this one")
                        .help("take it out of one of them with `except`"),
                ));
            }
            assigned[number].push(slot);
        }
        Ok(assigned)
    }

    /// The parameters, by number and path.
    pub(super) fn trainable(&self) -> Vec<(usize, String)> {
        let records = self.evaluator.slots.records().iter().enumerate();
        let parameters = records.filter(|(_, record)| record.role == SlotRole::Parameter);
        parameters.map(|(slot, record)| (slot, record.path.clone())).collect()
    }

    /// Leads the gradients of a group through its transformations and its optimizer.
    fn update_group(
        &mut self,
        name: &str,
        group: Group<'p>,
        gradients: Vec<(usize, Option<Tensor>)>,
    ) -> Eval<()> {
        if group.over.is_some() {
            self.expect_gradients(name, &group, &gradients)?;
        }
        let present = gradients.into_iter().filter_map(|(slot, gradient)| Some((slot, gradient?)));
        let (slots, mut gradients): (Vec<usize>, Vec<Tensor>) = present.unzip();
        if slots.is_empty() {
            return Ok(());
        }
        if let Some(count) = self.outcome.plan.accumulate {
            gradients = self.accumulated(name, &slots, gradients, count)?;
        }
        for (callee, step) in group.transformations {
            gradients = self.transform(&callee, step, gradients)?;
        }
        let more = self.outcome.objectives.len() < self.objective_count();
        for (slot, gradient) in slots.into_iter().zip(gradients) {
            self.outcome.trained.insert(slot);
            let first = self.evaluator.slots.records().len();
            let mut updated =
                self.evaluator.updated_parameter(&group.optimizer, name, slot, gradient)?;
            if self.outcome.plan.accumulate.is_some() {
                updated = self.only_when_complete(slot, updated, first)?;
            }
            if more {
                // Later objectives read the new value, but nothing of them flows back through the
                // computation of it.
                updated.node = self
                    .evaluator
                    .emit_nodes([updated.node], |graph, [node]| graph.stop_gradient(node));
            }
            self.evaluator.slots.update(slot, updated.node);
        }
        Ok(())
    }

    /// Reports parameters that a group names but the objective does not depend on.
    fn expect_gradients(
        &mut self,
        name: &str,
        group: &Group<'p>,
        gradients: &[(usize, Option<Tensor>)],
    ) -> Eval<()> {
        let without = gradients.iter().filter(|(_, gradient)| gradient.is_none());
        let paths: Vec<String> = without
            .map(|(slot, _)| format!("`{}`", self.evaluator.slots.record(*slot).path))
            .collect();
        if paths.is_empty() {
            return Ok(());
        }
        Err(self.evaluator.report(
            Diagnostic::error(
                "without-gradient",
                format!("`{name}` does not depend on {}", paths.join(", ")),
            )
            .primary(group.span, "this optimizer would get no gradient for it")
            .help("leave it out with `except`, or check what the objective is computed from"),
        ))
    }

    /// What a function makes of the gradients of a group.
    fn transform(
        &mut self,
        callee: &Value<'p>,
        step: UpdateStep<'p>,
        gradients: Vec<Tensor>,
    ) -> Eval<Vec<Tensor>> {
        let list: Vec<Value<'p>> = gradients.iter().cloned().map(Value::Tensor).collect();
        let given = Given { value: Value::List(list.into()), span: step.span };
        let written = step.arguments.unwrap_or(&[]);
        let arguments = self.evaluator.arguments(Some(given), written, &self.scope, step.span);
        let value = self
            .evaluator
            .at(step.span, |evaluator| evaluator.call(callee, step.callee.span, arguments, None))?;
        let parts = match &value {
            Value::List(parts) | Value::Tuple(parts) if parts.len() == gradients.len() => parts,
            other => {
                let found = self.evaluator.describe(other);
                let count = gradients.len();
                return Err(self.evaluator.report(
                    Diagnostic::error(
                        "gradient-list",
                        format!("this makes {found} of {count} gradients"),
                    )
                    .primary(step.span, "not one gradient for each parameter")
                    .help("a transformation takes the list of gradients and gives such a list"),
                ));
            }
        };
        let fitted = gradients.iter().zip(parts.iter()).map(|(gradient, part)| {
            let given = Given { value: part.clone(), span: step.span };
            self.evaluator.fit_tensor(gradient, "gradient", step.span, &given)
        });
        fitted.collect()
    }

    /// The gradients of `loss` with respect to parameters; `None` for one it does not depend on.
    ///
    /// The objective may have read a parameter before and after an update: both count.
    fn gradients(
        &mut self,
        loss: &Tensor,
        slots: &[usize],
        groups: &[Group<'p>],
        span: Span,
    ) -> Eval<Vec<Option<Tensor>>> {
        let records: Vec<_> =
            slots.iter().map(|&slot| self.evaluator.slots.record(slot).clone()).collect();
        let types = records.iter().map(|record| record.tensor());
        let (Some(node), Some(graph)) = (loss.node, self.evaluator.graph.as_mut()) else {
            return Ok(types.map(Some).collect());
        };
        let versions: Vec<NodeId> =
            records.iter().flat_map(|record| record.versions.iter().copied()).collect();
        let mut parts = match gradient(graph, node, &versions) {
            Ok(gradients) => gradients.into_iter(),
            Err(error) => {
                let mut diagnostic =
                    Diagnostic::error("no-gradient", format!("no gradient: {error}"))
                        .primary(span, "this cannot be minimized");
                if let DifferentiationError::Operation { node, operation, .. } = &error
                    && let Some(place) = graph.node(*node).origin.spans.first()
                {
                    diagnostic = diagnostic.secondary(*place, format!("the {operation}"));
                }
                return Err(self.evaluator.report(
                    diagnostic.help("`stop_gradient` keeps an operation out of the gradient"),
                ));
            }
        };
        let mut gradients = Vec::with_capacity(slots.len());
        for (record, ty) in records.iter().zip(types) {
            let parts = parts.by_ref().take(record.versions.len()).flatten();
            let sum = parts.reduce(|sum, part| graph.add(sum, part));
            gradients.push(sum.map(|node| Tensor { node: Some(node), ..ty }));
        }
        let chosen = groups.iter().any(|group| group.over.is_some());
        if !chosen && gradients.iter().all(Option::is_none) {
            return Err(self.evaluator.report(
                Diagnostic::error("nothing-to-train", "the objective depends on no parameter")
                    .primary(span, "nothing here can be trained")
                    .help("compute it from the output of a model"),
            ));
        }
        Ok(gradients)
    }

    /// Warns of parameters that no objective updates.
    pub(super) fn report_untrained(&mut self) {
        if self.outcome.objectives.is_empty() || self.outcome.failed {
            return;
        }
        let untrained: Vec<String> = self
            .trainable()
            .into_iter()
            .filter(|(slot, path)| {
                !self.outcome.trained.contains(slot) && !self.outcome.may_freeze(path)
            })
            .map(|(_, path)| format!("`{path}`"))
            .collect();
        let (Some(first), Some((_, span))) =
            (untrained.first(), self.outcome.objective_spans.first())
        else {
            return;
        };
        let text = match untrained.len() {
            1 => format!("no optimizer updates {first}"),
            2..=5 => format!("no optimizer updates {}", untrained.join(", ")),
            count => format!("no optimizer updates {first} and {} more parameters", count - 1),
        };
        self.evaluator.report(
            Diagnostic::warning("never-trained", text)
                .primary(*span, "left as it is by all objectives")
                .help("add a group for them, or say so with `freeze`"),
        );
    }
}
