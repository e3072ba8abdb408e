//! Tensors that are put together from parts: recognized, and put together last.
//!
//! The gradient of slices is a sum of tensors padded with zeros. Where the parts cover the whole,
//! it is a concatenation. And movement of a concatenation is done to its parts, where the result
//! is one too: then the kernel that computes the parts can write each where it belongs.

use crate::graph::{Graph, NodeId};
use crate::op::{Emit, Op, Primitive};
use crate::types::Shape;

/// What recognized concatenations say about themselves.
const SUM_OF_PARTS: &str = "a sum of parts padded with zeros that cover the whole joins the parts";
/// What moved concatenations say about themselves.
const MOVED_PARTS: &str = "movement of joined parts joins the moved parts";

/// The graph with such concatenations. Slots, outputs, updates and guards keep their order.
pub fn join_parts(graph: &Graph) -> Graph {
    let uses = graph.uses();
    graph.rewritten(|result, nodes, id| {
        let node = graph.node(id);
        match &node.op {
            Op::Elementwise(function) if function.name() == "add" => {
                let (axis, parts) = padded_parts(graph, id, &uses)?;
                result.add_rule(SUM_OF_PARTS);
                let parts: Vec<NodeId> = parts.iter().map(|part| nodes[part.index()]).collect();
                Some(result.concat(&parts, axis))
            }
            Op::Permute(_) | Op::Reshape(_) => {
                moved_parts(result, &node.op, nodes[node.operands[0].index()])
            }
            _ => None,
        }
    })
}

/// The axis and the parts, in order, if a sum's terms are parts padded with zeros that cover all
/// of it.
fn padded_parts(graph: &Graph, sum: NodeId, uses: &[usize]) -> Option<(usize, Vec<NodeId>)> {
    let mut terms = Vec::new();
    terms_of(graph, sum, uses, &mut terms);
    let extents = &graph.type_of(sum).shape;
    let mut axis = None;
    let mut parts: Vec<(usize, NodeId)> = Vec::new();
    for term in terms {
        let node = graph.node(term);
        let Op::Pad(pad) = &node.op else { return None };
        let part = node.operands[0];
        let from = &graph.type_of(part).shape;
        let mut grown = (0..extents.len()).filter(|&axis| from[axis] != extents[axis]);
        let (along, more) = (grown.next()?, grown.next());
        let spread = pad.interior.iter().any(|&between| between > 0);
        if more.is_some() || spread || pad.value.value() != 0.0 {
            return None;
        }
        if *axis.get_or_insert(along) != along {
            return None;
        }
        parts.push((pad.low[along], part));
    }
    let axis = axis?;
    parts.sort_unstable();
    let mut reached = 0;
    for &(start, part) in &parts {
        if start != reached {
            return None;
        }
        reached += graph.type_of(part).shape[axis];
    }
    (reached == extents[axis]).then(|| (axis, parts.into_iter().map(|(_, part)| part).collect()))
}

/// The terms of a sum whose partial sums nothing else needs.
fn terms_of(graph: &Graph, sum: NodeId, uses: &[usize], terms: &mut Vec<NodeId>) {
    for &operand in &graph.node(sum).operands {
        let adds = matches!(&graph.node(operand).op, Op::Elementwise(function) if function.name() == "add");
        match adds && uses[operand.index()] == 1 {
            true => terms_of(graph, operand, uses, terms),
            false => terms.push(operand),
        }
    }
}

/// A moved concatenation as one of moved parts.
fn moved_parts(graph: &mut Graph, movement: &Op, joined: NodeId) -> Option<NodeId> {
    let node = graph.node(joined);
    let Op::Concat(concat) = &node.op else { return None };
    let (axis, parts) = (concat.axis, node.operands.clone());
    let from = graph.type_of(joined).shape.clone();
    match movement {
        Op::Permute(permute) => {
            let order = permute.order.clone();
            let to = order.iter().position(|&source| source == axis)?;
            graph.add_rule(MOVED_PARTS);
            let moved: Vec<NodeId> =
                parts.iter().map(|&part| graph.permute(part, &order)).collect();
            Some(graph.concat(&moved, to))
        }
        // The joined axis and all behind it become one, or what is before it changes only.
        Op::Reshape(reshape) => {
            let to = reshape.shape.clone();
            let inner: usize = from[axis + 1..].iter().product();
            let merged = to.len() == axis + 1 && to[..axis] == from[..axis];
            if !merged || inner == 0 {
                return None;
            }
            graph.add_rule(MOVED_PARTS);
            let moved: Vec<NodeId> = (parts.iter())
                .map(|&part| {
                    let mut shape = Shape::from_slice(&to);
                    shape[axis] = graph.type_of(part).shape[axis] * inner;
                    graph.reshape(part, &shape)
                })
                .collect();
            Some(graph.concat(&moved, axis))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::evaluate::Evaluator;
    use crate::graph::{Output, SlotRole};
    use crate::types::{DType, TensorType};

    fn input(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
        let slot = graph.declare_slot(name, SlotRole::Input, TensorType::new(DType::F32, shape));
        graph.read_slot(slot)
    }

    /// The sum of parts of these sizes along axis 0, padded to `whole`, from `starts`.
    fn sum_of_parts(parts: &[(usize, usize)], whole: usize) -> Graph {
        let mut graph = Graph::new();
        let padded: Vec<NodeId> = (parts.iter().enumerate())
            .map(|(number, &(start, size))| {
                let part = input(&mut graph, &format!("part{number}"), &[size, 3, 2]);
                let low = [start, 0, 0];
                let high = [whole - start - size, 0, 0];
                graph.pad(part, &low, &high, &[0; 3], 0.0)
            })
            .collect();
        let sum = padded.into_iter().reduce(|a, b| graph.add(a, b)).unwrap();
        let moved = graph.permute(sum, &[1, 0, 2]);
        let flat = graph.reshape(moved, &[3, whole * 2]);
        graph.outputs.push(Output { name: "flat".to_owned(), node: flat });
        graph
    }

    fn result(graph: &Graph) -> Array {
        let slots: Vec<Array> = (graph.slots.iter().enumerate())
            .map(|(slot, info)| {
                let value = |index: usize| (slot * 100 + index) as f64;
                let values = (0..info.ty.elements()).map(value).collect();
                Array::new(info.ty.clone(), values)
            })
            .collect();
        Evaluator::new(&slots).run(graph).outputs.remove(0)
    }

    #[test]
    fn parts_that_cover_the_whole_are_joined_last() {
        let graph = sum_of_parts(&[(3, 2), (0, 1), (1, 2)], 5);
        let joined = join_parts(&graph);
        joined.verify().unwrap();
        assert_eq!(result(&joined), result(&graph));
        assert!(matches!(joined.node(joined.outputs[0].node).op, Op::Concat(_)), "{joined}");
        assert!(!joined.nodes.iter().any(|node| matches!(node.op, Op::Pad(_))), "{joined}");
    }

    #[test]
    fn gaps_and_overlaps_stay_sums() {
        for (parts, whole) in [([(0, 2), (3, 2)], 5), ([(0, 2), (1, 3)], 4)] {
            let graph = sum_of_parts(&parts, whole);
            let joined = join_parts(&graph);
            assert_eq!(result(&joined), result(&graph));
            assert!(!joined.nodes.iter().any(|node| matches!(node.op, Op::Concat(_))), "{joined}");
        }
    }
}
