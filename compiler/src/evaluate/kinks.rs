//! How far a graph's values are from places without derivative.

use crate::array::Array;
use crate::graph::{Graph, NodeId};

/// The smallest [distance from a kink](crate::op::Primitive::kink_distance) of any operation that
/// depends on one of `sources`; `values` are those of all nodes.
///
/// Central differences in directions of `sources` are meaningful only for steps well below it.
/// To be asked of forward graphs: the gradient of a maximum compares equal numbers.
pub fn kink_distance(graph: &Graph, values: &[Array], sources: &[NodeId]) -> f64 {
    let mut depends = vec![false; graph.nodes.len()];
    let mut distance = f64::INFINITY;
    for (id, node) in graph.iter() {
        let varies = node.operands.iter().any(|operand| depends[operand.index()]);
        depends[id.index()] = varies || sources.contains(&id);
        if varies {
            let operands: Vec<&Array> =
                node.operands.iter().map(|operand| &values[operand.index()]).collect();
            distance = distance.min(node.op.primitive().kink_distance(&operands));
        }
    }
    distance
}
