//! Weights of products in panels of columns.
//!
//! A product reads its right operand row by row in panels of some columns. A fully connected layer's
//! weight lies across that order, so that each step would copy it into panels, and read it in short
//! pieces that come from memory late. A weight that stays is laid out in panels once: [columns / 32,
//! depth, 32], which is one sequence for each panel.

use std::collections::BTreeMap;

use crate::graph::{Emit, Graph, NodeId};
use crate::op::{Contract, Op};

/// Columns of a panel: a whole number of what kernels of any instruction set take at once.
const COLUMNS: usize = 32;

/// Products of fewer rows than this read whole rows of the weight, at the speed of memory.
const LEAST_ROWS: usize = 8;

/// How a matrix is laid out.
pub(super) struct Panels {
    /// The axis that becomes columns; the other one is the depth.
    column_axis: usize,
    /// Extents of columns and of the depth.
    extents: [usize; 2],
}

impl Panels {
    /// The matrix in panels.
    pub fn pack(&self, graph: &mut Graph, matrix: NodeId) -> NodeId {
        let [columns, depth] = self.extents;
        let matrix = graph.permute(matrix, &[self.column_axis, 1 - self.column_axis]);
        let matrix = graph.reshape(matrix, &[columns / COLUMNS, COLUMNS, depth]);
        graph.permute(matrix, &[0, 2, 1])
    }

    /// The matrix of which these are the panels.
    pub fn unpack(&self, graph: &mut Graph, panels: NodeId) -> NodeId {
        let [columns, depth] = self.extents;
        let matrix = graph.permute(panels, &[0, 2, 1]);
        let matrix = graph.reshape(matrix, &[columns, depth]);
        graph.permute(matrix, &[self.column_axis, 1 - self.column_axis])
    }
}

/// The fixed matrices that are worth panels: those that products of enough rows read, and nothing
/// else, since a tensor is not kept twice.
pub(super) fn panels(graph: &Graph, fixed: &[bool]) -> BTreeMap<NodeId, Panels> {
    let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); graph.nodes.len()];
    for (id, node) in graph.iter() {
        node.operands.iter().for_each(|operand| readers[operand.index()].push(id));
    }
    graph.roots().for_each(|root| readers[root.index()].push(root));
    let mut found = BTreeMap::new();
    for (id, _) in graph.iter().filter(|(id, _)| fixed[id.index()]) {
        let mut layouts = readers[id.index()].iter().map(|reader| read_as(graph, *reader, id));
        let Some(Some(first)) = layouts.next() else { continue };
        let alike =
            |other: Option<Panels>| other.is_some_and(|o| o.column_axis == first.column_axis);
        if layouts.all(alike) && read_here_only(graph, id, &readers) {
            found.insert(id, first);
        }
    }
    found
}

/// Whether no tensor that `id` is a rearrangement of is read otherwise, or is smaller.
fn read_here_only(graph: &Graph, id: NodeId, readers: &[Vec<NodeId>]) -> bool {
    let mut base = id;
    while graph.node(base).op.is_movement() {
        base = graph.node(base).operands[0];
        if readers[base.index()].len() > 1 {
            return false;
        }
    }
    graph.node(base).ty.elements() == graph.node(id).ty.elements()
}

/// The panels in which `reader` would read the matrix `id`: as the right operand of a plain product.
fn read_as(graph: &Graph, reader: NodeId, id: NodeId) -> Option<Panels> {
    let node = graph.node(reader);
    let (Op::Contract(Contract { batch, contracted }), &[left, right]) =
        (&node.op, &node.operands[..])
    else {
        return None;
    };
    let [(_, depth_axis)] = contracted[..] else { return None };
    let ty = graph.type_of(id);
    if right != id || left == id || !batch.is_empty() || ty.rank() != 2 {
        return None;
    }
    let column_axis = 1 - depth_axis;
    let extents = [ty.shape[column_axis], ty.shape[depth_axis]];
    let rows = node.ty.elements().checked_div(extents[0])?;
    let fits = extents[0] > 0 && extents[0].is_multiple_of(COLUMNS) && rows >= LEAST_ROWS;
    fits.then_some(Panels { column_axis, extents })
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;
    use crate::array::Array;
    use crate::evaluate::Evaluator;
    use crate::graph::{Output, SlotRole};
    use crate::kernel::{KernelBody, ProductOperand};
    use crate::optimize::OptimizeOptions;
    use crate::optimize::fusion::fuse;
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
}
