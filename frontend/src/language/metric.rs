//! Metrics: definitions whose state accumulates over the samples of a pass.
//!
//! A metric's body runs once for each batch; its `state` begins anew with every epoch and every
//! evaluation. What it gives behind the last batch is its value over all samples - of quotients,
//! roots and the like, which are not means over batches.

use std::rc::Rc;

use super::evaluate::{Eval, Evaluator};
use super::instance::Activation;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::Function;

/// What a recipe's `report` is about to name.
#[derive(Clone, Debug)]
pub struct Reporting {
    /// Its name in results.
    pub name: String,
    /// The call whose value it is.
    pub site: Span,
    /// Whether that call is the use of a metric.
    pub used: bool,
}

impl Evaluator<'_> {
    /// The instance that holds the state of the metric called at `span`: a part of the metric
    /// around it, or the one that a recipe reports.
    pub(super) fn metric_activation(
        &mut self,
        function: &Function,
        span: Span,
    ) -> Eval<Rc<Activation>> {
        let name = &function.name.name;
        let parent = self.activation();
        if let Some(parent) = parent.filter(|activation| activation.accumulates) {
            return Ok(parent.inner(&parent.unlabelled(name)));
        }
        let in_recipe = self.in_recipe_body();
        match &mut self.reporting {
            Some(reporting) if in_recipe && reporting.site == span => {
                reporting.used = true;
                Ok(Activation::of_metric(&reporting.name))
            }
            _ => Err(self.report(
                Diagnostic::error("stray-metric", format!("the metric `{name}` is not reported"))
                    .primary(span, "has no value here: it is known when all samples are")
                    .secondary(function.name.span, format!("`{name}` is a metric"))
                    .help("write `report name = metric(...)` in a recipe, or use it in a metric"),
            )),
        }
    }
}
