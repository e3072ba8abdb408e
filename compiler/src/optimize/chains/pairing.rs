//! Products of tensors whose axes are parts: what both have runs together.

use super::parts::Part;
use crate::graph::{Graph, NodeId};
use crate::op::contraction::AxisPairs;
use crate::op::{Contract, Emit};
use crate::types::{Axes, Shape};

/// A tensor whose axes are parts.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    pub node: NodeId,
    pub parts: Vec<Part>,
}

/// A product of two factors.
pub(super) struct Pairing {
    contract: Contract,
    /// The axes of the result.
    pub result: Vec<Part>,
    pub flops: f64,
}

impl Pairing {
    /// What both have runs together, and is summed over unless it is needed.
    pub fn new(left: &[Part], right: &[Part], needed: impl Fn(&Part) -> bool) -> Pairing {
        let shared = |part: &Part| right.iter().position(|other| other == part);
        let (mut batch, mut contracted) = (AxisPairs::new(), AxisPairs::new());
        let (mut result, mut of_left) = (Vec::new(), Vec::new());
        for (axis, part) in left.iter().enumerate() {
            match shared(part) {
                Some(other) if needed(part) => {
                    batch.push((axis, other));
                    result.push(*part);
                }
                Some(other) => contracted.push((axis, other)),
                None => of_left.push(*part),
            }
        }
        let of_right: Vec<Part> =
            right.iter().filter(|part| !left.contains(part)).copied().collect();
        let elements =
            |parts: &[Part]| -> f64 { parts.iter().map(|part| part.extent as f64).product() };
        let flops = 2.0 * elements(left) * elements(&of_right);
        result.extend(of_left);
        result.extend(of_right);
        Pairing { contract: Contract { batch, contracted }, result, flops }
    }
}

/// Emits products, with parts as axes.
pub(super) struct Emitter<'a> {
    pub graph: &'a mut Graph,
    /// The new numbers of nodes.
    pub nodes: &'a [NodeId],
}

impl Emitter<'_> {
    /// A factor, whose node is one of the graph before, with parts as axes.
    pub fn factor(&mut self, factor: &Factor) -> Factor {
        let shape: Shape = factor.parts.iter().map(|part| part.extent).collect();
        let node = self.graph.reshape(self.nodes[factor.node.index()], &shape);
        Factor { node, parts: factor.parts.clone() }
    }

    /// The product of two factors, summed over what both have and is not needed.
    pub fn product(&mut self, a: &Factor, b: &Factor, needed: impl Fn(&Part) -> bool) -> Factor {
        let Pairing { contract, result, .. } = Pairing::new(&a.parts, &b.parts, needed);
        let node = self.graph.emit(contract.into(), &[a.node, b.node]);
        Factor { node, parts: result }
    }

    /// The sum over all parts but these.
    pub fn sum_all_but(&mut self, factor: &Factor, kept: impl Fn(&Part) -> bool) -> Factor {
        let places = 0..factor.parts.len();
        let axes: Axes = places.filter(|&axis| !kept(&factor.parts[axis])).collect();
        let node = self.graph.sum(factor.node, &axes);
        Factor { node, parts: factor.parts.iter().filter(|part| kept(part)).copied().collect() }
    }

    /// A factor with these axes in this order; repeated along those that it lacks.
    pub fn arrange(&mut self, factor: &Factor, result: &[Part]) -> NodeId {
        let own: Axes =
            (0..result.len()).filter(|&axis| factor.parts.contains(&result[axis])).collect();
        let place = |axis: &usize| factor.parts.iter().position(|part| *part == result[*axis]);
        let order: Axes = own.iter().filter_map(place).collect();
        let node = self.graph.permute(factor.node, &order);
        let shape: Shape = result.iter().map(|part| part.extent).collect();
        self.graph.broadcast(node, &shape, &own)
    }
}
