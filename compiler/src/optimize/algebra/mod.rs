//! Level one: algebra on the graph.
//!
//! The graph becomes an e-graph ([`import`]), rewrite rules ([`rules`]) add equal terms until
//! nothing new comes or the budget is used up, and the cheapest terms become a graph again
//! ([`export`]). The budget counts terms and iterations, never time, so the same graph always
//! gives the same result; when it is used up, what was found so far is a valid result.

pub mod export;
pub mod facts;
pub mod import;
pub mod language;
pub mod pattern;
pub mod rule;
pub mod rules;
pub mod site;
#[cfg(test)]
mod tests;

use std::time::Duration;

use egg::{Id, Runner, SimpleScheduler, StopReason};

use super::{MathMode, OptimizeOptions};
use crate::graph::Graph;
use facts::Terms;
use rule::{Exactness, Phase};
use rules::RULES;

/// What level one did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlgebraReport {
    /// How often each rule made two classes one: sentence and count, for rules that did.
    pub rules: Vec<(&'static str, usize)>,
    /// Classes of equal tensors in the e-graph at the end.
    pub classes: usize,
    /// Terms in it.
    pub terms: usize,
    /// Rounds of rule application.
    pub iterations: usize,
    /// Whether the budget ended the search for more.
    pub budget_used_up: bool,
}

/// Rounds in which only rules of the first phase are applied.
const SIMPLIFY_ITERATIONS: usize = 8;

/// Rounds with all rules.
const REARRANGE_ITERATIONS: usize = 8;

/// The e-graph may grow to this many terms, ...
const LEAST_TERMS: usize = 2_000;

/// ... or to this multiple of the graph's own.
const GROWTH: usize = 6;

/// A graph that computes the same in less time.
pub fn simplify(graph: &Graph, options: &OptimizeOptions) -> (Graph, AlgebraReport) {
    let (mut terms, classes) = import::import(graph, options.fixed_weights);
    let most_terms = LEAST_TERMS.max(GROWTH * terms.total_size());
    let mut report = AlgebraReport::default();
    for (phase, iterations) in
        [(Phase::Simplify, SIMPLIFY_ITERATIONS), (Phase::Rearrange, REARRANGE_ITERATIONS)]
    {
        let allowed = options.math.allows();
        let numbers = (0..RULES.rules.len()).filter(|&number| {
            let rule = &RULES.rules[number];
            rule.phase <= phase && rule.exactness <= allowed
        });
        let numbers: Vec<usize> = numbers.collect();
        let stop = saturate(&mut terms, &numbers, iterations, most_terms, &mut report.iterations);
        report.budget_used_up |= !matches!(stop, StopReason::Saturated);
    }
    let applied = RULES.rules.iter().zip(&terms.analysis.applied);
    report.rules =
        applied.filter(|(_, count)| **count > 0).map(|(rule, &n)| (rule.sentence, n)).collect();
    report.classes = terms.number_of_classes();
    report.terms = terms.total_number_of_nodes();
    let classes: Vec<Id> = classes.iter().map(|&class| terms.find(class)).collect();
    (export::export(&terms, graph, &classes), report)
}

/// Applies rules until they add nothing, or the limits are reached.
fn saturate(
    terms: &mut Terms,
    rules: &[usize],
    iterations: usize,
    most_terms: usize,
    counter: &mut usize,
) -> StopReason {
    let empty = import::empty();
    let runner = Runner::<_, _, ()>::new(empty.analysis.clone())
        .with_egraph(std::mem::replace(terms, empty))
        .with_scheduler(SimpleScheduler)
        .with_iter_limit(iterations)
        .with_node_limit(most_terms)
        .with_time_limit(Duration::MAX)
        .run(rules.iter().map(|&number| &RULES.rewrites[number]));
    *terms = runner.egraph;
    *counter += runner.iterations.len();
    runner.stop_reason.expect("the runner has stopped")
}

impl MathMode {
    /// What rules may change.
    fn allows(self) -> Exactness {
        match self {
            MathMode::Strict => Exactness::Exact,
            MathMode::Default => Exactness::AssumesFiniteWeights,
            MathMode::Finite => Exactness::AssumesFinite,
        }
    }
}
