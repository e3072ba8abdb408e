//! Equal pieces of a graph, priced once.
//!
//! The blocks of a network repeat, and with them the kernels that could compute them. What a
//! candidate reads, can write and costs follows from the operations in it, how they depend on each
//! other, and the points at which it computes - not from which nodes these are. So this is found out
//! for the first of equal plans, and told for the others in the names of their nodes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::candidate::{Frame, Plan};
use super::downstream::Places;
use super::survey::Survey;
use crate::graph::NodeId;
use crate::index::IndexMap;
use crate::kernel::AxisRole;
use crate::op::{Op, Random};
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

/// Describes plans without the names of their nodes.
pub(super) struct Describer {
    /// For each node, a number for its operation and the types of its operands.
    kinds: Vec<u32>,
}

/// What is known of plans so far.
#[derive(Default)]
pub(super) struct Replay {
    numbers: FxHashMap<Shape, usize>,
    /// For each shape, what is known; `None` while it is being found out.
    known: Vec<Option<Nameless>>,
}

/// What is known of all plans of a shape: nodes are numbers in their pieces.
struct Nameless {
    exports: Vec<(u32, IndexMap)>,
    inputs: Vec<u32>,
    price: f64,
}

/// A plan without the names of its nodes, as numbers, and the places of its targets: equal ones are
/// plans that differ in nothing else.
type Shape = (Box<[u32]>, Box<[IndexMap]>);

/// A plan described without the names of its nodes, and these.
pub(super) struct Piece {
    shape: Shape,
    nodes: Vec<NodeId>,
}

/// A piece in a [`Replay`].
pub(super) struct Entry {
    /// Whether no equal piece was entered before.
    pub is_new: bool,
    number: usize,
    nodes: Vec<NodeId>,
}

impl Describer {
    /// Describes plans for a graph.
    pub fn new(survey: &Survey<'_>) -> Describer {
        let graph = survey.graph;
        let mut known: FxHashMap<(Cow<'_, Op>, SmallVec<[&TensorType; 3]>), u32> =
            FxHashMap::default();
        let kinds = graph.iter().map(|(_, node)| {
            let types = node.operands.iter().map(|operand| &graph.node(*operand).ty).collect();
            let op = match &node.op {
                // All streams cost the same.
                Op::Random(random) => {
                    Cow::Owned(Op::Random(Random { stream: 0, ..random.clone() }))
                }
                op => Cow::Borrowed(op),
            };
            let count = known.len() as u32;
            *known.entry((op, types)).or_insert(count)
        });
        Describer { kinds: kinds.collect() }
    }

    /// Describes a plan that computes `targets` at least.
    pub fn piece(&self, survey: &Survey<'_>, plan: &Plan, targets: &Places) -> Piece {
        let Plan { frame, inside, packed: [left, right], joined } = plan;
        let mut shape: Vec<u32> = [inside, left, right].map(|set| set.len() as u32).to_vec();
        let mut nodes = Numbered::new(self.in_order(survey, plan, targets));
        for number in 0..nodes.nodes.len() {
            let node = nodes.nodes[number];
            shape.push(self.kinds[node.index()]);
            let parts = [inside, left, right].map(|set| u32::from(set.contains(&node)));
            shape
                .push(parts.iter().fold(u32::from(survey.is_free(node)), |all, one| 2 * all + one));
            for &operand in &survey.graph.node(node).operands {
                shape.push(nodes.number(operand));
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
                let number = nodes.number(node);
                shape.extend([number, self.kinds[layout.node.index()]]);
            }
            shape.push(u32::from(layout.swapped));
        }
        shape.push(joined.len() as u32);
        for &node in joined {
            shape.push(nodes.number(node));
        }
        let mut wanted: Vec<(u32, &IndexMap)> =
            targets.iter().map(|(&node, place)| (nodes.number(node), place)).collect();
        wanted.sort_unstable_by_key(|(number, _)| *number);
        shape.extend(wanted.iter().map(|(number, _)| *number));
        let places = wanted.into_iter().map(|(_, place)| place.clone()).collect();
        Piece { shape: (shape.into(), places), nodes: nodes.nodes }
    }

    /// What a plan computes, in an order that does not depend on how nodes are numbered in the graph
    /// (but where targets are alike): from the targets on, users first.
    fn in_order(&self, survey: &Survey<'_>, plan: &Plan, targets: &Places) -> Vec<NodeId> {
        let Plan { frame, inside, packed: [left, right], joined } = plan;
        let is_computed =
            |node: &NodeId| [inside, left, right].iter().any(|set| set.contains(node));
        let starts = targets.iter().map(|(&node, place)| (self.kinds[node.index()], place, node));
        let mut starts: Vec<(u32, &IndexMap, NodeId)> = starts.collect();
        starts.sort_unstable();
        let mut pending: Vec<NodeId> = starts.into_iter().map(|(.., node)| node).collect();
        pending.extend(joined);
        if let Frame::Product(layout) = frame {
            pending.extend([layout.node, layout.left.0, layout.right.0]);
        }
        // Whatever the targets do not lead to.
        pending.extend(inside.iter().chain(&**left).chain(&**right));
        pending.reverse();
        let mut nodes: Vec<NodeId> = Vec::new();
        let mut seen: FxHashSet<NodeId> = FxHashSet::default();
        while let Some(node) = pending.pop() {
            if is_computed(&node) && seen.insert(node) {
                nodes.push(node);
                pending.extend(survey.graph.node(node).operands.iter().rev());
            }
        }
        nodes
    }
}

/// Nodes with their numbers in a piece.
struct Numbered {
    nodes: Vec<NodeId>,
    numbers: FxHashMap<NodeId, u32>,
}

impl Numbered {
    fn new(nodes: Vec<NodeId>) -> Numbered {
        let numbers = nodes.iter().enumerate().map(|(number, &node)| (node, number as u32));
        Numbered { numbers: numbers.collect(), nodes }
    }

    /// The number of a node in the piece, a new one for a node that it does not compute.
    fn number(&mut self, node: NodeId) -> u32 {
        *self.numbers.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        })
    }
}

impl Replay {
    /// Enters a piece.
    pub fn enter(&mut self, piece: Piece) -> Entry {
        let count = self.known.len();
        let number = *self.numbers.entry(piece.shape).or_insert(count);
        if number == count {
            self.known.push(None);
        }
        Entry { is_new: number == count, number, nodes: piece.nodes }
    }

    /// Keeps what was found out about a piece.
    pub fn learn(&mut self, entry: &Entry, known: &Known) {
        let named = entry.nodes.iter().enumerate();
        let numbers: FxHashMap<NodeId, u32> =
            named.map(|(number, &node)| (node, number as u32)).collect();
        let exports = known.exports.iter().map(|(node, place)| (numbers[node], place.clone()));
        self.known[entry.number] = Some(Nameless {
            exports: exports.collect(),
            inputs: known.inputs.iter().map(|node| numbers[node]).collect(),
            price: known.price,
        });
    }

    /// What is known of a piece, in the names of its nodes.
    ///
    /// # Panics
    /// If nothing was learned of an equal one.
    pub fn tell(&self, entry: &Entry) -> Known {
        let known = self.known[entry.number].as_ref().expect("what is asked has been found out");
        let name = |number: &u32| entry.nodes[*number as usize];
        let exports = known.exports.iter().map(|(node, place)| (name(node), place.clone()));
        Known {
            exports: exports.collect(),
            inputs: known.inputs.iter().map(name).collect(),
            price: known.price,
        }
    }

    /// How many plans had to be priced: equal ones once.
    pub fn priced(&self) -> usize {
        self.known.len()
    }
}
