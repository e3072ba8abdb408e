//! Equal pieces of a graph, priced once.
//!
//! The blocks of a network repeat, and with them the kernels that could compute them. What a
//! candidate reads, can write and costs follows from the operations in it, how they depend on each
//! other, and the points at which it computes - not from which nodes these are. So this is found out
//! for the first of equal plans, and told for the others in the names of their nodes.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::candidate::{Frame, Plan};
use super::downstream::Places;
use super::survey::Survey;
use crate::graph::NodeId;
use crate::index::IndexMap;
use crate::kernel::AxisRole;
use crate::op::Op;
use crate::types::TensorType;

/// What is known of a plan.
pub(super) struct Known {
    /// Nodes that can be written, and where.
    pub exports: Places,
    /// Nodes read from memory if all exports that were planned are computed.
    pub inputs: BTreeSet<NodeId>,
    /// Predicted nanoseconds, without storing anything.
    pub price: f64,
}

/// What is known of plans so far.
pub(super) struct Replay {
    /// For each node, a number for its operation and the types of its operands.
    kinds: Vec<u32>,
    maps: FxHashMap<IndexMap, u32>,
    known: FxHashMap<Shape, Nameless>,
    /// Numbers of nodes in the piece that is being described.
    numbers: FxHashMap<NodeId, u32>,
    /// How many plans were priced, and not told.
    pub priced: usize,
}

/// What is known of all plans of a shape: nodes are numbers in their pieces.
struct Nameless {
    exports: Vec<(u32, IndexMap)>,
    inputs: Vec<u32>,
    price: f64,
}

/// A plan without the names of its nodes, as numbers: equal ones are plans that differ in nothing
/// else.
type Shape = Box<[u32]>;

/// A plan described without the names of its nodes, and these.
pub(super) struct Piece {
    shape: Shape,
    nodes: Vec<NodeId>,
}

impl Replay {
    /// Nothing is known yet of plans for this graph.
    pub fn new(survey: &Survey<'_>) -> Replay {
        let graph = survey.graph;
        let mut known: FxHashMap<(&Op, SmallVec<[&TensorType; 3]>), u32> = FxHashMap::default();
        let kinds = graph.iter().map(|(_, node)| {
            let types = node.operands.iter().map(|operand| &graph.node(*operand).ty).collect();
            let count = known.len() as u32;
            *known.entry((&node.op, types)).or_insert(count)
        });
        Replay {
            kinds: kinds.collect(),
            maps: FxHashMap::default(),
            known: FxHashMap::default(),
            numbers: FxHashMap::default(),
            priced: 0,
        }
    }

    /// Describes a plan that computes `targets` at least.
    pub fn piece(&mut self, survey: &Survey<'_>, plan: &Plan, targets: &Places) -> Piece {
        let Plan { frame, inside, packed: [left, right], joined } = plan;
        self.numbers.clear();
        let mut nodes: Vec<NodeId> = Vec::new();
        let mut shape: Vec<u32> = Vec::new();
        for set in [inside, left, right] {
            nodes.extend(set);
            shape.push(set.len() as u32);
        }
        nodes.sort_unstable();
        nodes.dedup();
        self.numbers.extend(nodes.iter().enumerate().map(|(number, &node)| (node, number as u32)));
        for number in 0..nodes.len() {
            let node = nodes[number];
            shape.push(self.kinds[node.index()]);
            let parts = [inside, left, right].map(|set| u32::from(set.contains(&node)));
            shape
                .push(parts.iter().fold(u32::from(survey.is_free(node)), |all, one| 2 * all + one));
            for &operand in &survey.graph.node(node).operands {
                shape.push(self.number(operand, &mut nodes));
            }
        }
        let axes = frame.axes();
        shape.push(axes.len() as u32);
        for axis in axes {
            shape.extend([axis.extent as u32, (axis.extent >> 32) as u32]);
            shape.push(u32::from(axis.role == AxisRole::Reduced));
        }
        shape.push(u32::from(matches!(frame, Frame::Product(_))));
        if let Frame::Product(layout) = frame {
            for node in [layout.node, layout.left.0, layout.right.0] {
                let number = self.number(node, &mut nodes);
                shape.extend([number, self.kinds[layout.node.index()]]);
            }
            shape.push(u32::from(layout.swapped));
        }
        shape.push(joined.len() as u32);
        for &node in joined {
            shape.push(self.number(node, &mut nodes));
        }
        for (&node, place) in targets {
            let number = self.number(node, &mut nodes);
            shape.extend([number, self.map(place)]);
        }
        Piece { shape: shape.into(), nodes }
    }

    /// The number of a node in the piece, a new one for a node that it does not compute.
    fn number(&mut self, node: NodeId, nodes: &mut Vec<NodeId>) -> u32 {
        *self.numbers.entry(node).or_insert_with(|| {
            nodes.push(node);
            nodes.len() as u32 - 1
        })
    }

    fn map(&mut self, map: &IndexMap) -> u32 {
        if let Some(&known) = self.maps.get(map) {
            return known;
        }
        let number = self.maps.len() as u32;
        self.maps.insert(map.clone(), number);
        number
    }

    /// What is known of a piece, in the names of its nodes; `find_out` is asked if an equal one is
    /// seen for the first time.
    pub fn tell(&mut self, piece: Piece, find_out: impl FnOnce() -> Known) -> Known {
        let Piece { shape, nodes } = piece;
        if let Some(known) = self.known.get(&shape) {
            let name = |number: &u32| nodes[*number as usize];
            let exports = known.exports.iter().map(|(node, place)| (name(node), place.clone()));
            let inputs = known.inputs.iter().map(name);
            return Known {
                exports: exports.collect(),
                inputs: inputs.collect(),
                price: known.price,
            };
        }
        self.priced += 1;
        let known = find_out();
        // The numbers are still those of this piece.
        let number = |node: &NodeId| self.numbers[node];
        let exports = known.exports.iter().map(|(node, place)| (number(node), place.clone()));
        let nameless = Nameless {
            exports: exports.collect(),
            inputs: known.inputs.iter().map(number).collect(),
            price: known.price,
        };
        self.known.insert(shape, nameless);
        known
    }
}
