//! The gradients of random graphs hold.

use cygnet_compiler::arbitrary::{Options as GraphOptions, config, graph_with};
use proptest::prelude::*;

use super::*;
use crate::gradcheck::links::check_case;
use crate::gradcheck::sample::Detail;

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn gradients_of_random_graphs_are_right(
        sample in graph_with(GraphOptions { steps: 8, elements: 32, ..GraphOptions::default() }),
        seed in any::<u64>(),
    ) {
        let samplings = sample.graph.slots.iter().map(Sampling::of_slot).collect();
        let problem = Problem::new(sample.graph.clone(), sample.loss, samplings);
        let case = Case { sizes: Vec::new(), detail: Detail::Full, seed };
        let differentiator = Differentiator::default();
        let methods = Methods { differentiator: &differentiator, executor: None };
        // The graph's own values lie in the domains of its operations.
        let outcome = check_case(&problem, &case, &sample.slots, &methods).unwrap();
        prop_assert!(!matches!(outcome, Outcome::Differs(_)), "{:?}", outcome);
    }
}
