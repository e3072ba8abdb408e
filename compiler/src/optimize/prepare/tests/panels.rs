//! Weights in panels.

use crate::array::Array;
use crate::evaluate::Evaluator;
use crate::graph::{Emit, Graph, NodeId, Output, SlotRole};
use crate::kernel::{KernelBody, ProductOperand};
use crate::op::Op;
use crate::optimize::OptimizeOptions;
use crate::optimize::fusion::fuse;
use crate::optimize::prepare::split;
use crate::types::{DType, TensorType};

fn slot(graph: &mut Graph, role: SlotRole, shape: &[usize]) -> NodeId {
    let name = graph.slots.len().to_string();
    let slot = graph.declare_slot(&name, role, TensorType::new(DType::F64, shape));
    graph.read_slot(slot)
}

/// A product of `rows` rows with a weight that has its columns along `column_axis`.
fn product(rows: usize, columns: usize, column_axis: usize) -> Graph {
    let mut g = Graph::new();
    let x = slot(&mut g, SlotRole::Input, &[rows, 5]);
    let shape = if column_axis == 0 { [columns, 5] } else { [5, columns] };
    let weight = slot(&mut g, SlotRole::Parameter, &shape);
    let y = g.contract(x, weight, &[], &[(1, 1 - column_axis)]);
    g.outputs.push(Output { name: "y".to_owned(), node: y });
    g
}

fn output(graph: &Graph, slots: &[Array]) -> Array {
    let values = Evaluator::new(slots).values(graph);
    values[graph.outputs[0].node.index()].clone()
}

fn drawn(ty: &TensorType) -> Array {
    let mut count = 0;
    Array::from_fn(ty.clone(), |_| {
        count += 1;
        f64::from((count * 37) % 101) - 50.0
    })
}

#[test]
fn products_read_weights_in_panels() {
    for column_axis in [0, 1] {
        let graph = product(8, 96, column_axis);
        let (step, preparations) = split(&graph);
        let [preparation] = &preparations[..] else { panic!("{step}") };
        assert_eq!(*preparation.result_type().shape, [3, 5, 32]);
        let slots = [&graph.slots[0], &graph.slots[1]].map(|slot| drawn(&slot.ty));
        let panels = output(&preparation.graph, &slots[1..]);
        assert_eq!(panels.values[33], slots[1].values[if column_axis == 0 { 6 } else { 97 }]);
        // The weight itself is no slot of the step any more.
        assert_eq!(step.slots.len(), 2);
        assert_eq!(output(&step, &[slots[0].clone(), panels]), output(&graph, &slots));
    }
}

/// Products read panels where they lie, and there is no other copy of the weight.
#[test]
fn panels_take_the_place_of_the_weight() {
    let (step, _) = split(&product(8, 96, 0));
    let kernels = fuse(&step, &OptimizeOptions::default(), 1);
    assert_eq!(kernels.kernels.node_count(), 1, "{kernels}");
    let slots = kernels.values.iter().filter(|value| value.slot.is_some());
    let elements: usize = slots.map(|value| value.ty.elements()).sum();
    assert_eq!(elements, 8 * 5 + 5 * 96, "{kernels}");
    let body = &kernels.kernels.node_weights().next().unwrap().body;
    let KernelBody::Product(product) = body else { panic!("{kernels}") };
    assert!(matches!(product.right, ProductOperand::Value(..)), "{kernels}");
}

#[test]
fn weights_that_do_not_fit_or_are_read_otherwise_stay_as_they_are() {
    for (rows, columns) in [(1, 96), (8, 40)] {
        assert!(split(&product(rows, columns, 0)).1.is_empty());
    }
    let mut shared = product(8, 96, 0);
    let weight =
        shared.nodes.iter().position(|node| matches!(&node.op, Op::Slot(s) if s.index == 1));
    let weight = graph_id(&shared, weight.unwrap());
    shared.outputs.push(Output { name: "weight".to_owned(), node: weight });
    assert!(split(&shared).1.is_empty());
}

fn graph_id(graph: &Graph, index: usize) -> NodeId {
    graph.iter().nth(index).unwrap().0
}
