use super::*;
use crate::array::Array;
use crate::evaluate::Evaluator;
use crate::graph::ScanBuilder;
use crate::types::{DType, TensorType};

const STEPS: usize = 4;

fn input(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    let slot = graph.declare_slot(name, SlotRole::Input, TensorType::new(DType::F32, shape));
    graph.read_slot(slot)
}

/// A recurrence with a product of the input, one of the state, and one of each step's result; a
/// carry that nothing needs; the mean of all elements of a sequence.
fn sample(wanted: &[usize]) -> Graph {
    let mut graph = Graph::new();
    let x = input(&mut graph, "x", &[STEPS, 2, 3]);
    let start = input(&mut graph, "start", &[2, 5]);
    let w = input(&mut graph, "w", &[3, 5]);
    let u = input(&mut graph, "u", &[5, 5]);
    let v = input(&mut graph, "v", &[5, 7]);
    let bias = input(&mut graph, "bias", &[7]);
    let mask = graph.constant(DType::F32, &[STEPS, 2], 1.0);
    let mut scan = ScanBuilder::begin(&graph, STEPS, false);
    let h = scan.carry(&mut graph, "h", start);
    let count = scan.carry(&mut graph, "count", start);
    let x_t = scan.element(&mut graph, "x", x);
    let mask_t = scan.element(&mut graph, "mask", mask);
    let from_input = graph.contract(x_t, w, &[], &[(1, 0)]);
    let from_state = graph.contract(h, u, &[], &[(1, 0)]);
    let sum = graph.add(from_input, from_state);
    let mask_t = graph.broadcast(mask_t, &[2, 5], &[0]);
    let sum = graph.mul(sum, mask_t);
    let next = graph.apply("tanh", &[sum]);
    let more = graph.add(count, next);
    let logits = graph.contract(next, v, &[], &[(1, 0)]);
    let bias = graph.broadcast(bias, &[2, 7], &[1]);
    let logits = graph.add(logits, bias);
    let square = graph.mul(x_t, x_t);
    let size = graph.sum(square, &[0, 1]);
    let nodes = scan.finish(&mut graph, &[next, more], &[logits, size, x_t, w]);
    let all: Vec<NodeId> = nodes.carries.into_iter().chain(nodes.yields).collect();
    for &number in wanted {
        graph.outputs.push(Output { name: format!("result{number}"), node: all[number] });
    }
    graph.prune();
    graph.verify().unwrap();
    graph
}

fn results(graph: &Graph) -> Vec<Array> {
    let slots: Vec<Array> = (graph.slots.iter().enumerate())
        .map(|(slot, info)| {
            let value = |index: usize| ((slot * 31 + index * 7) as f64 * 0.61).sin();
            let values = (0..info.ty.elements()).map(value).collect();
            Array::new(info.ty.clone(), values)
        })
        .collect();
    Evaluator::new(&slots).run(graph).outputs
}

fn loop_of(graph: &Graph) -> &Scan {
    let scans = graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Scan(scan) => Some(scan),
        _ => None,
    });
    let scans: Vec<&Scan> = scans.collect();
    assert_eq!(scans.len(), 1, "{graph}");
    scans[0]
}

fn products(graph: &Graph) -> usize {
    graph.nodes.iter().filter(|node| matches!(node.op, Op::Contract(_))).count()
}

#[test]
fn results_stay_what_they_are() {
    for wanted in [&[0, 1, 2, 3, 4, 5][..], &[0], &[1, 3], &[2], &[2, 5], &[3], &[4]] {
        let before = sample(wanted);
        let mut after = rearrange(&before, MathMode::Default);
        after.prune();
        after.verify().unwrap();
        for (a, b) in results(&before).iter().zip(results(&after)) {
            assert_eq!(a.ty, b.ty);
            let close = |(x, y): (&f64, &f64)| (x - y).abs() < 1e-12;
            assert!(a.values.iter().zip(&b.values).all(close), "{after}");
        }
    }
}

#[test]
fn products_leave_the_loop_on_both_sides() {
    let graph = rearrange(&sample(&[2]), MathMode::Default);
    let scan = loop_of(&graph);
    assert_eq!((products(&scan.body), products(&graph)), (1, 2), "{graph}");
    // The carry that nothing needs is gone, and what is the same everywhere is a constant.
    assert_eq!((scan.carries, scan.sequences), (1, 1), "{graph}");
    let told = |rule: &str| graph.nodes.iter().any(|node| node.origin.rules.contains(&rule));
    assert!(told(IN_FRONT) && told(BEHIND));
}

#[test]
fn a_loop_without_carries_is_no_loop() {
    let graph = rearrange(&sample(&[3, 4, 5]), MathMode::Default);
    assert!(!graph.nodes.iter().any(|node| matches!(node.op, Op::Scan(_))), "{graph}");
}

/// What a masked LSTM's step looks like: biases on both sides of the sum, a mask that is true
/// everywhere, a state yielded in two shapes.
fn recurrence(length: usize) -> Graph {
    let mut graph = Graph::new();
    let x = input(&mut graph, "x", &[2, length, 3]);
    let x = graph.permute(x, &[1, 0, 2]);
    let start = input(&mut graph, "start", &[2, 4]);
    let (w, u) = (input(&mut graph, "w", &[3, 4]), input(&mut graph, "u", &[4, 4]));
    let (a, b) = (input(&mut graph, "a", &[4]), input(&mut graph, "b", &[4]));
    let mask = graph.constant(DType::Bool, &[2], 1.0);
    let mask = graph.broadcast(mask, &[2, length], &[0]);
    let mask = graph.permute(mask, &[1, 0]);
    let mut scan = ScanBuilder::begin(&graph, length, false);
    let h = scan.carry(&mut graph, "h", start);
    let x_t = scan.element(&mut graph, "x", x);
    let mask_t = scan.element(&mut graph, "mask", mask);
    let [a, b] = [a, b].map(|bias| graph.broadcast(bias, &[2, 4], &[1]));
    let from_input = graph.contract(x_t, w, &[], &[(1, 0)]);
    let left = graph.add(from_input, a);
    let from_state = graph.contract(h, u, &[], &[(1, 0)]);
    let right = graph.add(from_state, b);
    let sum = graph.add(left, right);
    let next = graph.apply("tanh", &[sum]);
    let mask_t = graph.broadcast(mask_t, &[2, 4], &[0]);
    let next = graph.apply("select", &[mask_t, next, h]);
    let turned = graph.permute(next, &[1, 0]);
    let flat = graph.reshape(next, &[8]);
    let nodes = scan.finish(&mut graph, &[next], &[turned, flat]);
    for (name, node) in [("last", nodes.carries[0]), ("turned", nodes.yields[0])] {
        graph.outputs.push(Output { name: name.to_owned(), node });
    }
    graph.outputs.push(Output { name: "flat".to_owned(), node: nodes.yields[1] });
    graph.prune();
    graph.verify().unwrap();
    graph
}

fn assert_same(before: &Graph, after: &Graph) {
    after.verify().unwrap();
    for (a, b) in results(before).iter().zip(results(after)) {
        assert_eq!(a.ty, b.ty);
        let close = |(x, y): (&f64, &f64)| (x - y).abs() < 1e-12;
        assert!(a.values.iter().zip(&b.values).all(close), "{after}");
    }
}

#[test]
fn terms_that_are_the_same_in_all_steps_leave_sums_of_the_loop() {
    let before = recurrence(3);
    let mut after = rearrange(&before, MathMode::Default);
    after.prune();
    assert_same(&before, &after);
    // The sum of input and both biases is the one sequence, the state's weight the one capture,
    // and the mask a constant. One tensor is stacked for both results.
    let scan = loop_of(&after);
    assert_eq!((scan.sequences, scan.body.slots.len()), (1, 3), "{after}");
    assert_eq!(scan.result_count(), 2, "{after}");
    // Not where rounding may not change.
    let strict = rearrange(&before, MathMode::Strict);
    assert!(loop_of(&strict).body.slots.len() > 3, "{strict}");
}

#[test]
fn a_loop_of_one_step_is_no_loop() {
    let before = recurrence(1);
    let mut after = rearrange(&before, MathMode::Default);
    after.prune();
    assert!(!after.nodes.iter().any(|node| matches!(node.op, Op::Scan(_))), "{after}");
    assert_same(&before, &after);
}
