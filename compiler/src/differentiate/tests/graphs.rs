//! Random whole graphs.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::arbitrary::{self, Options, RandomGraph};
use crate::evaluate::kink_distance;

fn graphs() -> impl Strategy<Value = RandomGraph> {
    arbitrary::graph_with(Options { dtype: DType::F64, ..Options::default() })
}

/// A direction for each variable: numbers in (-1, 1) that differ.
fn directions(graph: &Graph, variables: &[NodeId]) -> Vec<Array> {
    let direction = |(number, variable): (usize, &NodeId)| {
        let mut place = number as f64;
        Array::from_fn(graph.type_of(*variable).clone(), |_| {
            place += 1.7;
            place.sin()
        })
    };
    variables.iter().enumerate().map(direction).collect()
}

/// The slots with `distance` times the directions added to those that the variables read.
fn shifted(
    sample: &RandomGraph,
    variables: &[NodeId],
    along: &[Array],
    distance: f64,
) -> Vec<Array> {
    let mut slots = sample.slots.clone();
    for (variable, direction) in variables.iter().zip(along) {
        let crate::op::Op::Slot(slot) = &sample.graph.node(*variable).op else { unreachable!() };
        let values = &mut slots[slot.index as usize].values;
        values.iter_mut().zip(&direction.values).for_each(|(x, v)| *x += distance * v);
    }
    slots
}

/// Whether the derivative of `node` along the directions, `found`, is that of central differences.
fn assert_derivative(
    sample: &RandomGraph,
    node: NodeId,
    (variables, along): (&[NodeId], &[Array]),
    found: f64,
) -> Result<(), TestCaseError> {
    let here = Evaluator::new(&sample.slots).values(&sample.graph);
    let at = |distance: f64| {
        let slots = shifted(sample, variables, along, distance);
        Evaluator { held: Some(&here), ..Evaluator::new(&slots) }.values(&sample.graph)
            [node.index()]
        .values[0]
    };
    // Extrapolated to a smaller step: graphs have large third derivatives.
    let difference = |step: f64| (at(step) - at(-step)) / (2.0 * step);
    let expected = (4.0 * difference(STEP) - difference(2.0 * STEP)) / 3.0;
    let scale = 1.0 + expected.abs() + at(0.0).abs();
    prop_assert!((found - expected).abs() < 1e-5 * scale, "{found} instead of {expected}");
    Ok(())
}

fn inner_product(a: &[Array], b: &[Array]) -> f64 {
    let products = a.iter().zip(b).flat_map(|(a, b)| a.values.iter().zip(&b.values));
    products.map(|(a, b)| a * b).sum()
}

/// The gradient nodes, and zeros where there is none.
fn gradients(
    differentiator: &Differentiator<'_>,
    graph: &mut Graph,
    loss: NodeId,
    variables: &[NodeId],
) -> Vec<NodeId> {
    let found = differentiator.gradient(graph, loss, variables).unwrap();
    let or_zero = |(node, variable): (Option<NodeId>, &NodeId)| {
        node.unwrap_or_else(|| graph.constant_like(*variable, 0.0))
    };
    found.into_iter().zip(variables).map(or_zero).collect()
}

/// Checks the derivative of the loss along a direction, and the derivative of that.
fn check(
    differentiator: &Differentiator<'_>,
    mut sample: RandomGraph,
) -> Result<(), TestCaseError> {
    let variables = sample.parameters();
    let along = directions(&sample.graph, &variables);
    // Of the forward graph: a gradient compares equal what is equal, as near as can be.
    let values = Evaluator::new(&sample.slots).values(&sample.graph);
    prop_assume!(kink_distance(&sample.graph, &values, &variables) > 0.01);
    let nodes = gradients(differentiator, &mut sample.graph, sample.loss, &variables);
    sample.graph.verify().unwrap();

    let mut slope = sample.graph.constant(DType::F64, &[], 0.0);
    for (&node, direction) in nodes.iter().zip(&along) {
        let name = format!("direction{}", sample.slots.len());
        let slot = sample.graph.declare_slot(&name, SlotRole::Input, direction.ty.clone());
        sample.slots.push(direction.clone());
        let direction = sample.graph.read_slot(slot);
        let product = sample.graph.mul(node, direction);
        let axes: Axes = (0..sample.graph.type_of(node).rank()).collect();
        let sum = sample.graph.sum(product, &axes);
        slope = sample.graph.add(slope, sum);
    }
    let second = gradients(differentiator, &mut sample.graph, slope, &variables);
    sample.graph.verify().unwrap();

    let values = Evaluator::new(&sample.slots).values(&sample.graph);
    let second: Vec<Array> = second.iter().map(|node| values[node.index()].clone()).collect();
    let first = values[slope.index()].values[0];
    assert_derivative(&sample, sample.loss, (&variables, &along), first)?;
    let second = inner_product(&second, &along);
    assert_derivative(&sample, slope, (&variables, &along), second)
}

proptest! {
    #![proptest_config(arbitrary::config(256))]

    #[test]
    fn have_first_and_second_derivatives_as_by_differences(sample in graphs()) {
        check(&Differentiator::default(), sample)?;
    }
}

/// A gradient rule that is wrong by a little is found, for every primitive that is not
/// elementwise.
#[test]
fn show_planted_errors() {
    let names = [
        "cast",
        "reshape",
        "permute",
        "broadcast",
        "slice",
        "pad",
        "concat",
        "reduce_sum",
        "reduce_max",
        "reduce_prod",
        "contract",
    ];
    for name in names {
        let wrong = planted(name, 1.01);
        let mut runner = TestRunner::new(arbitrary::config(256));
        let found = runner.run(&graphs(), |sample| check(&wrong, sample));
        assert!(found.is_err(), "{name}");
    }
}
