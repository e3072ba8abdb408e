//! Matrices that every step of a loop multiplies with are packed once in front of it.
//!
//! The weight of a recurrent layer is the right operand of a product in each step. It comes into the loop
//! in [`panels`](crate::optimize::panels), so that no step packs it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::graph::{Graph, NodeId};
use crate::op::{Emit, Op, OperandRole, Scan};
use crate::optimize::panels::{Panels, panels};

const PACKED: &str = "a matrix that all steps of a loop multiply with is packed in front of it";

/// Loops of fewer steps pack their matrices themselves: a copy costs about as much as packing.
const LEAST_STEPS: usize = 4;

/// The graph, whose loops get such matrices in panels. Slots, outputs, updates and guards keep their
/// order. Runs after algebra, in which panels are one of many ways to write the same matrix.
pub fn pack_captures(graph: &Graph) -> Graph {
    let mut result = Graph::new();
    result.slots.clone_from(&graph.slots);
    let mut nodes: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        result.set_origin(Arc::clone(&node.origin));
        let mut operands: Vec<NodeId> = node.operands.iter().map(|o| nodes[o.index()]).collect();
        let packed = match &node.op {
            Op::Scan(scan) => packed_slots(scan),
            _ => BTreeMap::new(),
        };
        let op = match &node.op {
            Op::Scan(scan) if !packed.is_empty() => {
                result.add_rule(PACKED);
                for (&slot, panels) in &packed {
                    operands[slot] = panels.pack(&mut result, operands[slot]);
                }
                Op::from(Scan {
                    body: Arc::new(reading_panels(&scan.body, &packed)),
                    ..scan.clone()
                })
            }
            op => op.clone(),
        };
        nodes.push(result.emit(op, &operands));
    }
    result.set_origin(Arc::default());
    result.take_results(graph, |old| nodes[old.index()]);
    result
}

/// The slots of captured matrices that are worth panels.
fn packed_slots(scan: &Scan) -> BTreeMap<usize, Panels> {
    if scan.length < LEAST_STEPS {
        return BTreeMap::new();
    }
    let slot = |op: &Op| match op {
        Op::Slot(slot) => Some(slot.index as usize),
        _ => None,
    };
    let is_capture = |op| slot(op).is_some_and(|slot| scan.role(slot) == OperandRole::Capture);
    let stays: Vec<bool> = scan.body.nodes.iter().map(|node| is_capture(&node.op)).collect();
    let reads = |wanted: usize| {
        scan.body.nodes.iter().filter(move |node| slot(&node.op) == Some(wanted)).count()
    };
    (panels(&scan.body, &stays).into_iter())
        .filter_map(|(id, panels)| Some((slot(&scan.body.node(id).op)?, panels)))
        .filter(|&(slot, _)| reads(slot) == 1)
        .collect()
}

/// The body of a loop with these slots in panels.
fn reading_panels(body: &Graph, packed: &BTreeMap<usize, Panels>) -> Graph {
    let mut result = Graph::new();
    result.slots.clone_from(&body.slots);
    for (&slot, panels) in packed {
        result.slots[slot].ty = panels.ty(body.slots[slot].ty.dtype);
    }
    let mut nodes: Vec<NodeId> = Vec::with_capacity(body.nodes.len());
    for node in &body.nodes {
        result.set_origin(Arc::clone(&node.origin));
        let panels = match &node.op {
            Op::Slot(slot) => packed.get(&(slot.index as usize)).map(|panels| (slot.index, panels)),
            _ => None,
        };
        nodes.push(match panels {
            Some((slot, panels)) => {
                let read = result.read_slot(slot);
                panels.unpack(&mut result, read)
            }
            None => {
                let operands: Vec<NodeId> =
                    node.operands.iter().map(|o| nodes[o.index()]).collect();
                result.emit(node.op.clone(), &operands)
            }
        });
    }
    result.set_origin(Arc::default());
    result.take_results(body, |old| nodes[old.index()]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::evaluate::Evaluator;
    use crate::graph::{Output, ScanBuilder, SlotRole};
    use crate::types::{DType, TensorType};

    /// `h <- tanh(h W)` with W as `[out, in]` or `[in, out]`.
    fn recurrence(rows: usize, steps: usize, column_axis: usize) -> Graph {
        let mut g = Graph::new();
        let [h, w] = [("h", [rows, 64]), ("w", [64, 64])].map(|(name, shape)| {
            let ty = TensorType::new(DType::F64, &shape);
            let slot = g.declare_slot(name, SlotRole::Input, ty);
            g.read_slot(slot)
        });
        let mut scan = ScanBuilder::begin(&g, steps, false);
        let state = scan.carry(&mut g, "state", h);
        let product = g.contract(state, w, &[], &[(1, 1 - column_axis)]);
        let next = g.apply("tanh", &[product]);
        let results = scan.finish(&mut g, &[next], &[]);
        g.outputs.push(Output { name: "last".to_owned(), node: results.carries[0] });
        g.prune();
        g
    }

    fn captured(graph: &Graph) -> Vec<usize> {
        let scan = graph.nodes.iter().find_map(|node| match &node.op {
            Op::Scan(scan) => Some(scan),
            _ => None,
        });
        let slots = &scan.unwrap().body.slots;
        slots.last().unwrap().ty.shape.to_vec()
    }

    #[test]
    fn matrices_of_recurrences_come_in_panels() {
        for column_axis in [0, 1] {
            let graph = recurrence(8, 4, column_axis);
            let packed = pack_captures(&graph);
            packed.verify().unwrap();
            assert_eq!(captured(&packed), [2, 64, 32]);
            let slots: Vec<Array> = (graph.slots.iter())
                .map(|info| {
                    let values = (0..info.ty.elements()).map(|i| (i as f64 * 0.37).sin() / 8.0);
                    Array::new(info.ty.clone(), values.collect())
                })
                .collect();
            let result = |graph: &Graph| Evaluator::new(&slots).run(graph).outputs;
            assert_eq!(result(&packed), result(&graph));
        }
    }

    #[test]
    fn few_rows_and_few_steps_read_matrices_as_they_are() {
        for (rows, steps) in [(4, 4), (8, 3)] {
            let graph = recurrence(rows, steps, 0);
            assert_eq!(captured(&pack_captures(&graph)), [64, 64]);
        }
    }
}
