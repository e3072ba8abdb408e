use std::collections::BTreeSet;

use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::evaluate::Evaluator;

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn random_graphs_are_valid_and_finite(sample in graph()) {
        sample.graph.verify().unwrap();
        let results = Evaluator::new(&sample.slots).run(&sample.graph);
        for array in &results.outputs {
            prop_assert!(array.values.iter().all(|x| x.is_finite()), "{:?}", array);
        }
    }

    #[test]
    fn random_training_steps_are_valid(sample in training_step()) {
        sample.graph.verify().unwrap();
    }
}

#[test]
fn random_graphs_reach_every_operation() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..1000 {
        let sample = graph().new_tree(&mut runner).unwrap().current();
        reached.extend(sample.graph.nodes.iter().map(|node| node.op.primitive().name()));
    }
    let elementwise = crate::op::Elementwise::all().map(|function| function.entry().name);
    let missing: Vec<&str> = elementwise.filter(|name| !reached.contains(name)).collect();
    assert!(missing.is_empty(), "never built: {missing:?}");
    // Beside them 9 kinds of movement and conversion, 5 reductions, products, 7 operations with
    // data as indices or in order, 5 leaves, loops and their results.
    let others = reached.len() - crate::op::elementwise::ELEMENTWISE.len();
    assert_eq!(others, 29, "{reached:?}");
}
