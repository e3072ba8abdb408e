//! New values of slots: where they lie, and what reads the old ones.

mod support;

use cygnet_compiler::compile::{CompileOptions, compile};
use cygnet_compiler::graph::{Emit, Graph, NodeId, Update};
use cygnet_compiler::op::Op;
use support::{check, declare};

/// Gives the slot that `old` reads a new value.
fn update(graph: &mut Graph, old: NodeId, new: NodeId) {
    let Op::Slot(slot) = &graph.node(old).op else { panic!("{old} is not a slot") };
    let slot = slot.index;
    graph.updates.push(Update { slot, node: new });
}

/// How many kernels only copy a new value to the place of the old one.
fn copies(graph: &Graph) -> usize {
    let compiled = compile(graph, &CompileOptions::default(), |_| {}).expect("it compiles");
    let kernels = &compiled.schedule.kernels.kernels;
    kernels.node_weights().filter(|kernel| kernel.name == "copy").count()
}

/// Numbers that each need the other's old value, in one kernel.
#[test]
fn scalars_trade_places() {
    let mut graph = Graph::new();
    let (a, b) = (declare(&mut graph, "a", &[]), declare(&mut graph, "b", &[]));
    let new_a = graph.apply("sin", &[b]);
    let new_b = graph.apply("exp", &[a]);
    update(&mut graph, a, new_a);
    update(&mut graph, b, new_b);
    check(&graph, 1);
}

/// A gradient summed over samples and the update that follows on it are one kernel, which writes
/// parameter and state in their places.
#[test]
fn what_follows_on_a_sum_is_updated_in_place() {
    let mut graph = Graph::new();
    let gradients = declare(&mut graph, "gradients", &[32, 48]);
    let bias = declare(&mut graph, "bias", &[48]);
    let velocity = declare(&mut graph, "velocity", &[48]);
    let gradient = graph.sum(gradients, &[0]);
    let momentum = graph.constant_like(velocity, 0.9);
    let old = graph.mul(velocity, momentum);
    let new_velocity = graph.add(old, gradient);
    let new_bias = graph.sub(bias, new_velocity);
    update(&mut graph, bias, new_bias);
    update(&mut graph, velocity, new_velocity);
    assert_eq!(copies(&graph), 0);
    check(&graph, 2);
}

/// Rows that are normalized in their place are read again after their sum is known.
#[test]
fn rows_are_normalized_in_place() {
    let mut graph = Graph::new();
    let rows = declare(&mut graph, "rows", &[24, 40]);
    let squares = graph.mul(rows, rows);
    let sum = graph.sum(squares, &[1]);
    let length = graph.apply("sqrt", &[sum]);
    let length = graph.broadcast(length, &[24, 40], &[0]);
    let new = graph.div(rows, length);
    update(&mut graph, rows, new);
    assert_eq!(copies(&graph), 0);
    check(&graph, 3);
}

/// An old value per row that is needed at each point after the new one is known stays where it is.
#[test]
fn an_old_value_needed_later_is_kept() {
    let mut graph = Graph::new();
    let x = declare(&mut graph, "x", &[24, 40]);
    let scale = declare(&mut graph, "scale", &[24]);
    let squares = graph.mul(x, x);
    let sum = graph.sum(squares, &[1]);
    let new_scale = graph.add(scale, sum);
    let wide_new = graph.broadcast(new_scale, &[24, 40], &[0]);
    let wide_old = graph.broadcast(scale, &[24, 40], &[0]);
    let scaled = graph.mul(x, wide_old);
    let new_x = graph.div(scaled, wide_new);
    update(&mut graph, scale, new_scale);
    update(&mut graph, x, new_x);
    check(&graph, 4);
}

/// A sum over all rows is no update of one of them.
#[test]
fn sums_across_rows_do_not_overwrite_rows() {
    let mut graph = Graph::new();
    let rows = declare(&mut graph, "rows", &[24, 24]);
    let sum = graph.sum(rows, &[0]);
    let wide = graph.broadcast(sum, &[24, 24], &[0]);
    let new = graph.mul(rows, wide);
    update(&mut graph, rows, new);
    check(&graph, 5);
}
