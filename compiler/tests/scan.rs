//! Loops: the evaluator against unrolled graphs, native programs against the evaluator.

mod support;

use cygnet_compiler::array::Array;
use cygnet_compiler::differentiate::gradient;
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::{Emit, Graph, NodeId, Output, ScanBuilder, SlotRole};
use cygnet_compiler::op::{Iota, Op, Random, RandomKind};
use cygnet_compiler::types::{DType, Shape, TensorType};
use support::{check, declare, element};

/// Sizes of the recurrences here: samples, features, hidden units, steps.
const SIZES: [usize; 4] = [2, 3, 4, 5];

/// The operands of `h' = tanh(x_t w + h u + b)`.
struct Recurrence {
    x: NodeId,
    h: NodeId,
    w: NodeId,
    u: NodeId,
    b: NodeId,
}

impl Recurrence {
    fn declare(graph: &mut Graph) -> Recurrence {
        let [n, i, h, t] = SIZES;
        let mut slot = |name, shape: &[usize]| declare(graph, name, shape);
        Recurrence {
            x: slot("x", &[t, n, i]),
            h: slot("h", &[n, h]),
            w: slot("w", &[i, h]),
            u: slot("u", &[h, h]),
            b: slot("b", &[h]),
        }
    }

    fn step(&self, graph: &mut Graph, x: NodeId, h: NodeId) -> NodeId {
        let [n, _, hidden, _] = SIZES;
        let input = graph.contract(x, self.w, &[], &[(1, 0)]);
        let state = graph.contract(h, self.u, &[], &[(1, 0)]);
        let sum = graph.add(input, state);
        let bias = graph.broadcast(self.b, &[n, hidden], &[1]);
        let sum = graph.add(sum, bias);
        graph.apply("tanh", &[sum])
    }

    /// The states of all steps and the last one, by a loop.
    fn scanned(&self, graph: &mut Graph, reverse: bool) -> [NodeId; 2] {
        let mut scan = ScanBuilder::begin(graph, SIZES[3], reverse);
        let h = scan.carry(graph, "h", self.h);
        let x = scan.element(graph, "x", self.x);
        let next = self.step(graph, x, h);
        let nodes = scan.finish(graph, &[next], &[next]);
        [nodes.yields[0], nodes.carries[0]]
    }

    /// The same, step by step.
    fn unrolled(&self, graph: &mut Graph, reverse: bool) -> [NodeId; 2] {
        let [n, _, hidden, length] = SIZES;
        let mut h = self.h;
        let mut states = Vec::new();
        for step in 0..length {
            let x = element(graph, self.x, if reverse { length - 1 - step } else { step });
            h = self.step(graph, x, h);
            states.push(graph.reshape(h, &[1, n, hidden]));
        }
        if reverse {
            states.reverse();
        }
        [graph.concat(&states, 0), h]
    }
}

fn output(graph: &mut Graph, name: &str, node: NodeId) {
    graph.outputs.push(Output { name: name.to_owned(), node });
}

#[test]
fn a_loop_computes_what_its_steps_do() {
    for reverse in [false, true] {
        let mut graph = Graph::new();
        let recurrence = Recurrence::declare(&mut graph);
        let scanned = recurrence.scanned(&mut graph, reverse);
        let unrolled = recurrence.unrolled(&mut graph, reverse);
        graph.verify().unwrap();
        let slots = support::values(&graph, 1);
        let values = Evaluator::new(&slots).values(&graph);
        for (a, b) in scanned.into_iter().zip(unrolled) {
            assert_eq!(values[a.index()], values[b.index()]);
        }
    }
}

/// A loss that depends on all states and on the last one in particular.
fn loss(graph: &mut Graph, [states, last]: [NodeId; 2]) -> NodeId {
    let squares = graph.mul(states, states);
    let all = graph.sum(squares, &[0, 1, 2]);
    let end = graph.sum(last, &[0, 1]);
    graph.add(all, end)
}

/// Gradients of every operand, by the loop and step by step.
fn gradients(graph: &mut Graph, recurrence: &Recurrence, reverse: bool) -> [Vec<NodeId>; 2] {
    let Recurrence { x, h, w, u, b } = *recurrence;
    let scanned = recurrence.scanned(graph, reverse);
    let unrolled = recurrence.unrolled(graph, reverse);
    [scanned, unrolled].map(|results| {
        let loss = loss(graph, results);
        let found = gradient(graph, loss, &[x, h, w, u, b]).unwrap();
        found.into_iter().map(|node| node.expect("the loss depends on it")).collect()
    })
}

fn assert_close(a: &Array, b: &Array, tolerance: f64) {
    assert_eq!(a.ty, b.ty);
    let scale = b.values.iter().fold(1.0f64, |most, value| most.max(value.abs()));
    for (x, y) in a.values.iter().zip(&b.values) {
        assert!((x - y).abs() <= tolerance * scale, "{x} is not {y}");
    }
}

#[test]
fn the_gradient_of_a_loop_is_that_of_its_steps() {
    for reverse in [false, true] {
        let mut graph = Graph::new();
        let recurrence = Recurrence::declare(&mut graph);
        let [scanned, unrolled] = gradients(&mut graph, &recurrence, reverse);
        graph.verify().unwrap();
        let slots = support::values(&graph, 1);
        let values = Evaluator::new(&slots).values(&graph);
        for (a, b) in scanned.into_iter().zip(unrolled) {
            assert_close(&values[a.index()], &values[b.index()], 1e-12);
        }
    }
}

#[test]
fn gradients_of_weights_are_products_behind_the_loop() {
    let mut graph = Graph::new();
    let recurrence = Recurrence::declare(&mut graph);
    let results = recurrence.scanned(&mut graph, false);
    let loss = loss(&mut graph, results);
    for node in gradient(&mut graph, loss, &[recurrence.w, recurrence.u]).unwrap() {
        let Op::Contract(contract) = &graph.node(node.unwrap()).op else { panic!("{graph}") };
        assert_eq!(contract.contracted.len(), 2, "over steps and samples");
    }
}

/// The gradient of a sum of the gradient: the backward loop is differentiated.
#[test]
fn second_derivatives() {
    let mut graph = Graph::new();
    let recurrence = Recurrence::declare(&mut graph);
    let gradients = gradients(&mut graph, &recurrence, false);
    let second = gradients.map(|gradients| {
        let square = graph.mul(gradients[3], gradients[3]);
        let sum = graph.sum(square, &[0, 1]);
        gradient(&mut graph, sum, &[recurrence.u, recurrence.x]).unwrap()
    });
    graph.verify().unwrap();
    let slots = support::values(&graph, 1);
    let values = Evaluator::new(&slots).values(&graph);
    let [scanned, unrolled] = second;
    for (a, b) in scanned.into_iter().zip(unrolled) {
        assert_close(&values[a.unwrap().index()], &values[b.unwrap().index()], 1e-11);
    }
}

#[test]
fn native_gradients() {
    for reverse in [false, true] {
        let mut graph = Graph::new();
        let recurrence = Recurrence::declare(&mut graph);
        let [scanned, _] = gradients(&mut graph, &recurrence, reverse);
        for (number, node) in scanned.into_iter().enumerate() {
            output(&mut graph, &format!("gradient{number}"), node);
        }
        graph.prune();
        check(&graph, 8);
    }
}

/// Products with a capture of every step, and one that is scaled element by element.
#[test]
fn gradients_of_captures_of_all_kinds() {
    let mut graph = Graph::new();
    let memory = declare(&mut graph, "memory", &[2, 6, 4]);
    let scale = declare(&mut graph, "scale", &[2, 4]);
    let start = declare(&mut graph, "start", &[2, 4]);
    let attend = |graph: &mut Graph, state: NodeId| {
        let scores = graph.contract(memory, state, &[(0, 0)], &[(2, 1)]);
        let weights = graph.apply("sigmoid", &[scores]);
        let context = graph.contract(weights, memory, &[(0, 0)], &[(1, 1)]);
        let scaled = graph.mul(state, scale);
        let sum = graph.sub(context, scaled);
        graph.apply("tanh", &[sum])
    };
    let mut scan = ScanBuilder::begin(&graph, 3, false);
    let state = scan.carry(&mut graph, "state", start);
    let next = attend(&mut graph, state);
    let scanned = scan.finish(&mut graph, &[next], &[]).carries[0];
    let unrolled = (0..3).fold(start, |state, _| attend(&mut graph, state));
    let found = [scanned, unrolled].map(|last| {
        let loss = graph.sum(last, &[0, 1]);
        gradient(&mut graph, loss, &[memory, scale, start]).unwrap()
    });
    graph.verify().unwrap();
    let slots = support::values(&graph, 2);
    let values = Evaluator::new(&slots).values(&graph);
    let [scanned, unrolled] = found;
    for (a, b) in scanned.iter().zip(unrolled) {
        assert_close(&values[a.unwrap().index()], &values[b.unwrap().index()], 1e-12);
    }
    for (number, node) in scanned.into_iter().enumerate() {
        output(&mut graph, &format!("gradient{number}"), node.unwrap());
    }
    graph.prune();
    check(&graph, 9);
}

#[test]
fn gradients_of_loops_in_loops() {
    let mut graph = Graph::new();
    let rows = declare(&mut graph, "rows", &[3, 4, 2]);
    let start = declare(&mut graph, "start", &[2]);
    let mix = declare(&mut graph, "mix", &[2, 2]);
    let cell = |graph: &mut Graph, state: NodeId, input: NodeId| {
        let mixed = graph.contract(state, mix, &[], &[(0, 0)]);
        let sum = graph.add(mixed, input);
        graph.apply("tanh", &[sum])
    };
    let mut outer = ScanBuilder::begin(&graph, 3, false);
    let carried = outer.carry(&mut graph, "outer", start);
    let row = outer.element(&mut graph, "row", rows);
    let mut inner = ScanBuilder::begin(&graph, 4, false);
    let state = inner.carry(&mut graph, "inner", carried);
    let input = inner.element(&mut graph, "cell", row);
    let next = cell(&mut graph, state, input);
    let inside = inner.finish(&mut graph, &[next], &[]);
    let scanned = outer.finish(&mut graph, &inside.carries, &[]).carries[0];
    let mut unrolled = start;
    for row in 0..3 {
        let row = element(&mut graph, rows, row);
        for place in 0..4 {
            let input = element(&mut graph, row, place);
            unrolled = cell(&mut graph, unrolled, input);
        }
    }
    let found = [scanned, unrolled].map(|last| {
        let loss = graph.sum(last, &[0]);
        gradient(&mut graph, loss, &[rows, start, mix]).unwrap()
    });
    graph.verify().unwrap();
    let slots = support::values(&graph, 3);
    let values = Evaluator::new(&slots).values(&graph);
    let [scanned, unrolled] = found;
    for (a, b) in scanned.iter().zip(unrolled) {
        assert_close(&values[a.unwrap().index()], &values[b.unwrap().index()], 1e-12);
    }
    for (number, node) in scanned.into_iter().enumerate() {
        output(&mut graph, &format!("gradient{number}"), node.unwrap());
    }
    graph.prune();
    check(&graph, 10);
}

#[test]
fn native_loops_compute_what_the_evaluator_does() {
    for reverse in [false, true] {
        let mut graph = Graph::new();
        let recurrence = Recurrence::declare(&mut graph);
        let [states, last] = recurrence.scanned(&mut graph, reverse);
        output(&mut graph, "states", states);
        output(&mut graph, "last", last);
        graph.prune();
        check(&graph, 2);
    }
}

/// Carries that change places, one that stays, one that counts, and yields of each kind.
#[test]
fn carries_of_all_kinds() {
    for length in [1, 2, 5] {
        let mut graph = Graph::new();
        let [a, b] = ["a", "b"].map(|name| declare(&mut graph, name, &[3]));
        let scale = declare(&mut graph, "scale", &[3]);
        let positions = Iota { axis: 0, dtype: DType::F32, shape: Shape::from_slice(&[length]) };
        let positions = graph.emit(positions.into(), &[]);
        let zero = graph.constant(DType::F32, &[3], 0.0);
        let mut scan = ScanBuilder::begin(&graph, length, false);
        let [a, b, fixed] = [a, b, scale].map(|node| scan.carry(&mut graph, "carry", node));
        let sum = scan.carry(&mut graph, "sum", zero);
        let position = scan.element(&mut graph, "position", positions);
        let position = graph.broadcast(position, &[3], &[]);
        let scaled = graph.mul(a, scale);
        let next_sum = graph.add(sum, scaled);
        let next_b = graph.add(scaled, position);
        let nodes = scan.finish(&mut graph, &[b, next_b, fixed, next_sum], &[a, position, scale]);
        for (number, node) in nodes.carries.iter().chain(&nodes.yields).enumerate() {
            output(&mut graph, &format!("result{number}"), *node);
        }
        graph.prune();
        check(&graph, 3);
    }
}

#[test]
fn random_numbers_differ_from_step_to_step() {
    let mut graph = Graph::new();
    let start = declare(&mut graph, "start", &[64]);
    let mut scan = ScanBuilder::begin(&graph, 3, false);
    let sum = scan.carry(&mut graph, "sum", start);
    let shape = Shape::from_slice(&[64]);
    let random = Random { kind: RandomKind::Uniform, stream: 9, dtype: DType::F32, shape };
    let drawn = graph.emit(random.into(), &[]);
    let next = graph.add(sum, drawn);
    let nodes = scan.finish(&mut graph, &[next], &[drawn]);
    output(&mut graph, "sum", nodes.carries[0]);
    output(&mut graph, "drawn", nodes.yields[0]);
    graph.prune();
    let slots = support::values(&graph, 4);
    let results = Evaluator::new(&slots).run(&graph);
    let drawn = &results.outputs[1].values;
    assert!(drawn[..64].iter().zip(&drawn[64..]).all(|(a, b)| a != b));
    check(&graph, 4);
}

/// A state of a recipe that a loop carries on, and results wanted more than once.
#[test]
fn results_become_slots() {
    let mut graph = Graph::new();
    let ty = TensorType::new(DType::F32, &[4]);
    let slots = ["a", "b"].map(|name| graph.declare_slot(name, SlotRole::State, ty.clone()));
    let [a, _] = slots.map(|slot| graph.read_slot(slot));
    let mut scan = ScanBuilder::begin(&graph, 3, false);
    let inside = scan.carry(&mut graph, "a", a);
    let next = graph.apply("tanh", &[inside]);
    let nodes = scan.finish(&mut graph, &[next], &[]);
    for slot in slots {
        let node = nodes.carries[0];
        graph.updates.push(cygnet_compiler::graph::Update { slot, node });
    }
    output(&mut graph, "last", nodes.carries[0]);
    graph.prune();
    check(&graph, 5);
}

#[test]
fn loops_in_loops() {
    let mut graph = Graph::new();
    let rows = declare(&mut graph, "rows", &[3, 4, 2]);
    let start = declare(&mut graph, "start", &[2]);
    let mix = declare(&mut graph, "mix", &[2, 2]);
    let mut outer = ScanBuilder::begin(&graph, 3, false);
    let carried = outer.carry(&mut graph, "outer", start);
    let row = outer.element(&mut graph, "row", rows);
    let mut inner = ScanBuilder::begin(&graph, 4, true);
    let state = inner.carry(&mut graph, "inner", carried);
    let cell = inner.element(&mut graph, "cell", row);
    let mixed = graph.contract(state, mix, &[], &[(0, 0)]);
    let sum = graph.add(mixed, cell);
    let next = graph.apply("tanh", &[sum]);
    let inside = inner.finish(&mut graph, &[next], &[next]);
    let doubled = graph.add(inside.yields[0], row);
    let nodes = outer.finish(&mut graph, &inside.carries, &[inside.yields[0], doubled]);
    for (number, node) in nodes.carries.iter().chain(&nodes.yields).enumerate() {
        output(&mut graph, &format!("result{number}"), *node);
    }
    graph.prune();
    graph.verify().unwrap();
    check(&graph, 6);
}

#[test]
fn a_loop_without_steps_gives_what_it_begins_with() {
    let mut graph = Graph::new();
    let start = declare(&mut graph, "start", &[2]);
    let mut scan = ScanBuilder::begin(&graph, 0, false);
    let inside = scan.carry(&mut graph, "carry", start);
    let next = graph.neg(inside);
    let nodes = scan.finish(&mut graph, &[next], &[]);
    output(&mut graph, "last", nodes.carries[0]);
    graph.prune();
    let slots = [Array::new(TensorType::new(DType::F32, &[2]), vec![1.0, 2.0])];
    assert_eq!(Evaluator::new(&slots).run(&graph).outputs[0], slots[0]);
    check(&graph, 7);
}

/// A recurrence that ends when a counter has reached `last`, or one of as many steps as that.
/// Gives the states of all steps, the last one, and what is the same in all steps and yielded.
fn ending(
    graph: &mut Graph,
    recurrence: &Recurrence,
    last: usize,
    [reverse, early]: [bool; 2],
) -> [NodeId; 5] {
    let [n, i, hidden, length] = SIZES;
    let steps = if early { length } else { last.min(length) };
    let x = match (early, reverse) {
        (true, _) => recurrence.x,
        (false, false) => graph.slice(recurrence.x, &[0, 0, 0], &[steps, n, i], &[1; 3]),
        (false, true) => {
            graph.slice(recurrence.x, &[length - steps, 0, 0], &[length, n, i], &[1; 3])
        }
    };
    let zero = graph.constant(DType::F32, &[], 0.0);
    let one = graph.constant(DType::F32, &[], 1.0);
    let limit = graph.constant(DType::F32, &[], last as f64);
    let mut scan = ScanBuilder::begin(graph, steps, reverse);
    let count = scan.carry(graph, "count", zero);
    let h = scan.carry(graph, "h", recurrence.h);
    let x = scan.element(graph, "x", x);
    let next = recurrence.step(graph, x, h);
    let next_count = graph.add(count, one);
    if early {
        let end = graph.apply("le", &[limit, next_count]);
        scan.until(end);
    }
    let projected = graph.contract(next, recurrence.u, &[], &[(1, 1)]);
    let same = graph.add(recurrence.b, recurrence.b);
    let doubled = graph.mul(x, x);
    let yields = [next, projected, same, doubled, one];
    let nodes = scan.finish(graph, &[next_count, next], &yields);
    let stacked = nodes.yields[..4].iter().map(|&node| {
        let rank = graph.type_of(node).rank();
        let (mut low, mut high) = (vec![0; rank], vec![0; rank]);
        (if reverse { &mut low } else { &mut high })[0] = length - steps;
        graph.pad(node, &low, &high, &vec![0; rank], 0.0)
    });
    let stacked: Vec<NodeId> = stacked.collect();
    assert_eq!(graph.type_of(stacked[0]).shape[..], [length, n, hidden]);
    [nodes.carries[1], stacked[0], stacked[1], stacked[2], stacked[3]]
}

#[test]
fn a_loop_that_ends_early_leaves_zeros() {
    for reverse in [false, true] {
        for last in [1, 2, 3, 5, 9] {
            let mut graph = Graph::new();
            let recurrence = Recurrence::declare(&mut graph);
            let early = ending(&mut graph, &recurrence, last, [reverse, true]);
            let short = ending(&mut graph, &recurrence, last, [reverse, false]);
            graph.verify().unwrap();
            let slots = support::values(&graph, 1);
            let values = Evaluator::new(&slots).values(&graph);
            for (a, b) in early.into_iter().zip(short) {
                assert_eq!(values[a.index()], values[b.index()], "after {last} steps");
            }
            for (number, node) in early.into_iter().enumerate() {
                output(&mut graph, &format!("result{number}"), node);
            }
            graph.prune();
            check(&graph, 11);
        }
    }
}

/// Samples that never meet, so that threads take bands of them through all steps, the last one of
/// fewer rows; two states that change places; gradients, whose loop runs the other way.
#[test]
fn bands_of_samples_go_through_a_loop_on_their_own() {
    let [n, hidden, length] = [37, 24, 7];
    let mut graph = Graph::new();
    let x = declare(&mut graph, "x", &[length, n, hidden]);
    let [h, c] = ["h", "c"].map(|name| declare(&mut graph, name, &[n, hidden]));
    let [u, v] = ["u", "v"].map(|name| declare(&mut graph, name, &[hidden, hidden]));
    let mut scan = ScanBuilder::begin(&graph, length, false);
    let [h_t, c_t] = [h, c].map(|node| scan.carry(&mut graph, "carry", node));
    let x_t = scan.element(&mut graph, "x", x);
    let mixed = graph.contract(h_t, u, &[], &[(1, 0)]);
    let sum = graph.add(mixed, x_t);
    let gate = graph.apply("sigmoid", &[sum]);
    let other = graph.contract(c_t, v, &[], &[(1, 0)]);
    let next = graph.mul(gate, other);
    let next = graph.apply("tanh", &[next]);
    let nodes = scan.finish(&mut graph, &[c_t, next], &[gate]);
    let squares = graph.mul(nodes.yields[0], nodes.yields[0]);
    let mut loss = graph.sum(squares, &[0, 1, 2]);
    for carry in nodes.carries {
        let total = graph.sum(carry, &[0, 1]);
        loss = graph.add(loss, total);
    }
    output(&mut graph, "loss", loss);
    for (number, node) in gradient(&mut graph, loss, &[x, h, c, u, v]).unwrap().iter().enumerate() {
        output(&mut graph, &format!("gradient{number}"), node.expect("the loss depends on it"));
    }
    graph.prune();
    check(&graph, 13);
}

/// The same within a loop, whose own state makes the matrix.
#[test]
fn bands_in_loops_in_loops() {
    let [n, hidden, length] = [21, 16, 3];
    let mut graph = Graph::new();
    let x = declare(&mut graph, "x", &[length, n, hidden]);
    let u = declare(&mut graph, "u", &[hidden, hidden]);
    let start = declare(&mut graph, "start", &[n, hidden]);
    let mut outer = ScanBuilder::begin(&graph, 4, true);
    let matrix = outer.carry(&mut graph, "matrix", u);
    let mut inner = ScanBuilder::begin(&graph, length, false);
    let h = inner.carry(&mut graph, "h", start);
    let x_t = inner.element(&mut graph, "x", x);
    let mixed = graph.contract(h, matrix, &[], &[(1, 0)]);
    let sum = graph.add(mixed, x_t);
    let next = graph.apply("tanh", &[sum]);
    let inside = inner.finish(&mut graph, &[next], &[next]);
    let squares = graph.contract(inside.carries[0], inside.carries[0], &[], &[(0, 0)]);
    let next_matrix = graph.apply("sigmoid", &[squares]);
    let nodes = outer.finish(&mut graph, &[next_matrix], &[inside.yields[0]]);
    output(&mut graph, "matrix", nodes.carries[0]);
    output(&mut graph, "states", nodes.yields[0]);
    graph.prune();
    check(&graph, 14);
}

/// Products large enough for several threads, and an end that depends on the data: it comes at
/// the same step for all of them.
#[test]
fn all_threads_end_at_the_same_step() {
    let mut graph = Graph::new();
    let start = declare(&mut graph, "start", &[96, 96]);
    let weight = declare(&mut graph, "weight", &[96, 96]);
    let scale = graph.constant(DType::F32, &[96, 96], 0.5);
    let limit = graph.constant(DType::F32, &[], 1e8);
    let mut scan = ScanBuilder::begin(&graph, 40, false);
    let state = scan.carry(&mut graph, "state", start);
    let mixed = graph.contract(state, weight, &[], &[(1, 0)]);
    let next = graph.mul(mixed, scale);
    let squares = graph.mul(next, next);
    let size = graph.sum(squares, &[0, 1]);
    let end = graph.apply("lt", &[limit, size]);
    scan.until(end);
    let nodes = scan.finish(&mut graph, &[next], &[size]);
    output(&mut graph, "state", nodes.carries[0]);
    output(&mut graph, "sizes", nodes.yields[0]);
    graph.prune();
    let slots = support::values(&graph, 12);
    let sizes = &Evaluator::new(&slots).run(&graph).outputs[1].values;
    let steps = sizes.iter().filter(|size| **size != 0.0).count();
    assert!((3..30).contains(&steps), "{sizes:?}");
    check(&graph, 12);
}

#[test]
fn loops_that_end_early_in_loops() {
    let mut graph = Graph::new();
    let rows = declare(&mut graph, "rows", &[4, 3]);
    let start = declare(&mut graph, "start", &[3]);
    let positions = Iota { axis: 0, dtype: DType::F32, shape: Shape::from_slice(&[4]) };
    let positions = graph.emit(positions.into(), &[]);
    let zero = graph.constant(DType::F32, &[], 0.0);
    let one = graph.constant(DType::F32, &[], 1.0);
    let mut outer = ScanBuilder::begin(&graph, 4, false);
    let carried = outer.carry(&mut graph, "outer", start);
    let row = outer.element(&mut graph, "row", rows);
    let limit = outer.element(&mut graph, "limit", positions);
    let mut inner = ScanBuilder::begin(&graph, 5, false);
    let state = inner.carry(&mut graph, "inner", carried);
    let count = inner.carry(&mut graph, "count", zero);
    let sum = graph.add(state, row);
    let next = graph.apply("tanh", &[sum]);
    let next_count = graph.add(count, one);
    let end = graph.apply("lt", &[limit, next_count]);
    inner.until(end);
    let inside = inner.finish(&mut graph, &[next, next_count], &[next]);
    let yields = [inside.yields[0], inside.carries[1]];
    let nodes = outer.finish(&mut graph, &inside.carries[..1], &yields);
    for (number, node) in nodes.carries.iter().chain(&nodes.yields).enumerate() {
        output(&mut graph, &format!("result{number}"), *node);
    }
    graph.prune();
    graph.verify().unwrap();
    let slots = support::values(&graph, 13);
    let counts = &Evaluator::new(&slots).run(&graph).outputs[2].values;
    assert_eq!(counts[..], [1.0, 2.0, 3.0, 4.0]);
    check(&graph, 13);
}

#[test]
fn a_loop_that_may_end_early_has_no_gradient() {
    let mut graph = Graph::new();
    let recurrence = Recurrence::declare(&mut graph);
    let [last, ..] = ending(&mut graph, &recurrence, 3, [false, true]);
    let sum = graph.sum(last, &[0, 1]);
    let error = gradient(&mut graph, sum, &[recurrence.w]).unwrap_err();
    assert_eq!(error.to_string(), "scan: a loop that may end early (`until`) has none");
    let held = graph.stop_gradient(last);
    let product = graph.mul(held, recurrence.h);
    let sum = graph.sum(product, &[0, 1]);
    assert!(gradient(&mut graph, sum, &[recurrence.h]).unwrap()[0].is_some());
}
