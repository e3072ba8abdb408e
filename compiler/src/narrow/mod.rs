//! Only what is read is computed.
//!
//! A classifier that looks at the first position of a sequence needs all positions of the layer
//! before the last one, but only the first one of the last. So demand is followed from results to
//! operands, as boxes of elements ([`Region`]), and operations of whose result only a part is wanted
//! are emitted again for that part ([`parts`]). Elements that remain are computed as before, from
//! the same numbers in the same order.
//!
//! Run before differentiation, gradients are small as well: what nobody reads has no cotangent
//! instead of one that is zero.

mod parts;
mod region;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::graph::{Emit, Graph, NodeId};
use crate::op::Op;
use crate::types::TensorType;
use parts::{Part, part};
use region::Region;

/// What narrowed operations say about themselves.
const ONLY_WHAT_IS_READ: &str = "only the part of a result that is read is computed";

/// The graph in which operations compute only what is read. Slots, outputs, updates and guards
/// keep their order.
pub fn narrow_all(graph: &Graph) -> Graph {
    let mut result = graph.clone();
    let roots: Vec<NodeId> = graph.roots().collect();
    let narrowed = narrow(&mut result, &roots, &[]);
    let mut next = narrowed.into_iter();
    let mut next = || next.next().expect("one node for each root");
    result.outputs.iter_mut().for_each(|output| output.node = next());
    result.updates.iter_mut().for_each(|update| update.node = next());
    result.guards.iter_mut().for_each(|guard| *guard = next());
    result.prune();
    result
}

/// Nodes with the values of `roots`, for which only what they need is computed, in the order of the
/// roots. Nodes of which a part is enough are appended for that part; all others stay. `kept` stay
/// in any case, with all that they are computed from.
pub fn narrow(graph: &mut Graph, roots: &[NodeId], kept: &[NodeId]) -> Vec<NodeId> {
    let demands = demands(graph, roots, kept);
    let before = graph.set_origin(Arc::default());
    let mut narrower = Narrower { values: vec![None; graph.nodes.len()], graph };
    for (index, demand) in demands.into_iter().enumerate() {
        if let Some(demand) = demand {
            narrower.value(NodeId(index as u32), demand);
        }
    }
    let values = narrower.values;
    graph.set_origin(before);
    let value = |root: &NodeId| values[root.index()].as_ref().expect("a root is needed").node;
    roots.iter().map(value).collect()
}

/// What is asked of a node that is needed.
enum Demand {
    /// That it stays, whatever becomes of its operands.
    Kept,
    /// All of it, from all of its operands.
    Whole,
    /// Something: how that is computed.
    Part(Box<Part>),
}

/// For each node that the roots need, how what they need of it is computed.
fn demands(graph: &Graph, roots: &[NodeId], kept: &[NodeId]) -> Vec<Option<Demand>> {
    let shape = |id: NodeId| &graph.type_of(id).shape[..];
    let mut wanted: Vec<Option<Region>> = vec![None; graph.nodes.len()];
    let mut stays = vec![false; graph.nodes.len()];
    kept.iter().for_each(|id| stays[id.index()] = true);
    let want = |wanted: &mut Vec<Option<Region>>, id: NodeId, region: Region| {
        let all = &mut wanted[id.index()];
        *all = Some(match all.take() {
            Some(all) => all.hull(&region),
            None => region,
        });
    };
    roots.iter().for_each(|&root| want(&mut wanted, root, Region::whole(shape(root))));
    let mut demands: Vec<Option<Demand>> = (0..graph.nodes.len()).map(|_| None).collect();
    for (id, node) in graph.iter().rev() {
        let Some(region) = wanted[id.index()].take() else { continue };
        let types: SmallVec<[&TensorType; 3]> =
            node.operands.iter().map(|&operand| graph.type_of(operand)).collect();
        let empty = types.iter().chain([&&node.ty]).any(|ty| ty.elements() == 0);
        if stays[id.index()] {
            demands[id.index()] = Some(Demand::Kept);
            continue;
        }
        let part = match empty {
            true => None,
            false => part(&node.op, &types, rounded(region, &node.ty.shape)),
        };
        for (number, &operand) in node.operands.iter().enumerate() {
            match &part {
                None => want(&mut wanted, operand, Region::whole(shape(operand))),
                Some(part) => {
                    if let Some(region) = &part.operands[number] {
                        want(&mut wanted, operand, region.clone());
                    }
                }
            }
        }
        demands[id.index()] = Some(part.map_or(Demand::Whole, |part| Demand::Part(Box::new(part))));
    }
    demands
}

/// More than half of an axis counts as all of it: a few rows less are not worth operands whose rows
/// do not follow each other.
fn rounded(mut region: Region, shape: &[usize]) -> Region {
    for (axis, &extent) in shape.iter().enumerate() {
        if region.range(axis).len() * 2 > extent {
            region.set(axis, 0..extent);
        }
    }
    region
}

/// What stands for a node.
#[derive(Clone)]
struct Value {
    node: NodeId,
    /// Which part of the node before it is.
    region: Region,
}

struct Narrower<'g> {
    graph: &'g mut Graph,
    values: Vec<Option<Value>>,
}

impl Narrower<'_> {
    /// Finds or emits what stands for a node. Its operands come first.
    fn value(&mut self, id: NodeId, demand: Demand) {
        let node = self.graph.node(id);
        let whole = Region::whole(&node.ty.shape);
        let operands = node.operands.clone();
        let same = operands.iter().all(|operand| self.is_same(*operand));
        let stays = match &demand {
            Demand::Kept => true,
            Demand::Whole => same,
            Demand::Part(part) => same && part.computes == whole,
        };
        let value = if stays {
            Value { node: id, region: whole }
        } else {
            let mut origin = (*node.origin).clone();
            origin.rules.push(ONLY_WHAT_IS_READ);
            let op = node.op.clone();
            self.graph.set_origin(Arc::new(origin));
            match demand {
                Demand::Kept | Demand::Whole => {
                    let all: SmallVec<[NodeId; 3]> =
                        operands.iter().map(|&operand| self.all_of(operand)).collect();
                    Value { node: self.graph.emit(op, &all), region: whole }
                }
                Demand::Part(part) => self.narrowed(*part, &operands),
            }
        };
        self.values[id.index()] = Some(value);
    }

    /// Whether an operand is not read, or stands for itself.
    fn is_same(&self, operand: NodeId) -> bool {
        self.values[operand.index()].as_ref().is_none_or(|value| value.node == operand)
    }

    fn narrowed(&mut self, part: Part, operands: &[NodeId]) -> Value {
        let read: SmallVec<[NodeId; 3]> = (operands.iter().zip(&part.operands))
            .filter_map(|(&operand, region)| Some(self.part_of(operand, region.as_ref()?)))
            .collect();
        let node = match (&part.op, &read[..]) {
            (Op::Slice(slice), &[from]) => {
                self.graph.slice(from, &slice.start, &slice.stop, &slice.step)
            }
            (Op::Reshape(reshape), &[from]) => self.graph.reshape(from, &reshape.shape),
            (Op::Concat(_), &[only]) => only,
            (op, read) => self.graph.emit(op.clone(), read),
        };
        Value { node, region: part.computes }
    }

    fn all_of(&mut self, operand: NodeId) -> NodeId {
        let whole = Region::whole(&self.graph.type_of(operand).shape);
        self.part_of(operand, &whole)
    }

    /// A part of an operand of which at least that is there.
    fn part_of(&mut self, operand: NodeId, region: &Region) -> NodeId {
        let value = self.values[operand.index()].clone().expect("operands come before users");
        let part = region.inside(&value.region);
        let step = vec![1; part.start.len()];
        self.graph.slice(value.node, &part.start, &part.stop, &step)
    }
}
