//! Loops: the evaluator against unrolled graphs, native programs against the evaluator.

mod support;

use cygnet_compiler::array::Array;
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::{Emit, Graph, NodeId, Output, ScanBuilder, SlotRole};
use cygnet_compiler::op::{Iota, Random, RandomKind};
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
