//! Sums over the steps of a loop, taken behind it where that is possible.
//!
//! The cotangent of a capture is the sum of what each step contributes. A contribution that is
//! linear in tensors of the step - a product of two of them, a sum over axes, a movement - is not
//! summed up step by step: these tensors are stacked, and the operation is applied to all steps
//! at once.

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use crate::graph::{Graph, NodeId};
use crate::op::{Contract, Emit, Op, Primitive, Reduce, ReduceKind};
use crate::types::Axes;

/// How the sum of a node over all steps is computed behind the loop.
#[derive(Clone, Debug)]
pub(super) enum Sum {
    /// It is carried by the loop: the carry with this number among the sums.
    Carried(usize),
    /// The sum of two sums.
    Add(Box<Sum>, Box<Sum>),
    /// A linear operation on one sum: negation or movement.
    Apply(Op, Box<Sum>),
    /// A product with a factor on the left that is the same in all steps.
    InvariantLeft(Contract, NodeId, Box<Sum>),
    /// A product with a factor on the right that is the same in all steps.
    InvariantRight(Contract, Box<Sum>, NodeId),
    /// A product of two tensors of the step, over all steps at once.
    Product(Contract, NodeId, NodeId),
    /// A sum over axes of a tensor of the step, and over all steps.
    Reduce(Axes, NodeId),
}

/// Plans the sums of a loop.
pub(super) struct Sums<'a> {
    body: &'a Graph,
    /// Nodes of the body that are stacked anyway.
    stacked: &'a BTreeMap<NodeId, NodeId>,
    /// Per node of the body: whether it is the same in all steps.
    invariant: &'a [bool],
    /// Nodes whose tensors have to be stacked.
    pub stacks: Vec<NodeId>,
    /// Nodes whose sums the loop has to carry.
    pub totals: Vec<NodeId>,
    /// Nodes that are the same in all steps and needed behind the loop.
    pub invariants: BTreeSet<NodeId>,
}

impl<'a> Sums<'a> {
    /// No sums yet.
    pub fn new(
        body: &'a Graph,
        stacked: &'a BTreeMap<NodeId, NodeId>,
        invariant: &'a [bool],
    ) -> Sums<'a> {
        Sums {
            body,
            stacked,
            invariant,
            stacks: Vec::new(),
            totals: Vec::new(),
            invariants: BTreeSet::new(),
        }
    }

    /// How to sum a node over all steps.
    pub fn plan(&mut self, id: NodeId) -> Sum {
        let node = self.body.node(id);
        let operand = |place: usize| node.operands[place];
        match &node.op {
            Op::Elementwise(function) => match function.name() {
                "add" => {
                    let parts = [0, 1].map(|place| Box::new(self.plan(operand(place))));
                    let [left, right] = parts;
                    Sum::Add(left, right)
                }
                "neg" => Sum::Apply(node.op.clone(), Box::new(self.plan(operand(0)))),
                _ => self.carried(id),
            },
            Op::Pad(pad) if pad.value.value() != 0.0 => self.carried(id),
            op if op.is_movement() => Sum::Apply(op.clone(), Box::new(self.plan(operand(0)))),
            Op::Reduce(Reduce { kind: ReduceKind::Sum, axes }) => {
                self.stack(operand(0));
                Sum::Reduce(axes.clone(), operand(0))
            }
            Op::Contract(contract) => {
                let [left, right] = [operand(0), operand(1)];
                let contract = contract.clone();
                match (self.invariant[left.index()], self.invariant[right.index()]) {
                    (true, _) => {
                        self.invariants.insert(left);
                        Sum::InvariantLeft(contract, left, Box::new(self.plan(right)))
                    }
                    (_, true) => {
                        self.invariants.insert(right);
                        Sum::InvariantRight(contract, Box::new(self.plan(left)), right)
                    }
                    _ => {
                        self.stack(left);
                        self.stack(right);
                        Sum::Product(contract, left, right)
                    }
                }
            }
            _ => self.carried(id),
        }
    }

    fn carried(&mut self, id: NodeId) -> Sum {
        let known = self.totals.iter().position(|other| *other == id);
        Sum::Carried(known.unwrap_or_else(|| {
            self.totals.push(id);
            self.totals.len() - 1
        }))
    }

    /// Has a tensor of the step stacked; one that is moved, before it is moved.
    fn stack(&mut self, id: NodeId) {
        let base = moved_base(self.body, id);
        if !self.stacked.contains_key(&base) && !self.stacks.contains(&base) {
            self.stacks.push(base);
        }
    }
}

/// What a node is a rearrangement of: the same elements in another order or shape.
fn moved_base(body: &Graph, id: NodeId) -> NodeId {
    let node = body.node(id);
    match node.op {
        Op::Permute(_) | Op::Reshape(_) => moved_base(body, node.operands[0]),
        _ => id,
    }
}

impl Sum {
    /// Emits the sum. `stacked` has the tensors of all steps, `same` those that do not change,
    /// `carried` the sums that the loop carried.
    pub fn emit(
        &self,
        graph: &mut Graph,
        body: &Graph,
        stacked: &BTreeMap<NodeId, NodeId>,
        same: &BTreeMap<NodeId, NodeId>,
        carried: &[NodeId],
    ) -> NodeId {
        let part = |graph: &mut Graph, sum: &Sum| sum.emit(graph, body, stacked, same, carried);
        match self {
            Sum::Carried(number) => carried[*number],
            Sum::Add(left, right) => {
                let (left, right) = (part(graph, left), part(graph, right));
                graph.add(left, right)
            }
            Sum::Apply(op, sum) => {
                let sum = part(graph, sum);
                graph.emit(op.clone(), &[sum])
            }
            Sum::InvariantLeft(contract, left, right) => {
                let right = part(graph, right);
                graph.emit(contract.clone().into(), &[same[left], right])
            }
            Sum::InvariantRight(contract, left, right) => {
                let left = part(graph, left);
                graph.emit(contract.clone().into(), &[left, same[right]])
            }
            Sum::Product(contract, left, right) => {
                let left = all_steps(graph, body, stacked, *left);
                let right = all_steps(graph, body, stacked, *right);
                let inside = |&(a, b): &(usize, usize)| (a + 1, b + 1);
                let batch: SmallVec<[_; 2]> = contract.batch.iter().map(inside).collect();
                let contracted =
                    std::iter::once((0, 0)).chain(contract.contracted.iter().map(inside));
                let contracted: SmallVec<[_; 2]> = contracted.collect();
                graph.contract(left, right, &batch, &contracted)
            }
            Sum::Reduce(axes, operand) => {
                let all = all_steps(graph, body, stacked, *operand);
                let axes: Axes =
                    std::iter::once(0).chain(axes.iter().map(|axis| axis + 1)).collect();
                graph.sum(all, &axes)
            }
        }
    }
}

/// The tensors of all steps, stacked along a first axis.
fn all_steps(
    graph: &mut Graph,
    body: &Graph,
    stacked: &BTreeMap<NodeId, NodeId>,
    id: NodeId,
) -> NodeId {
    if let Some(&all) = stacked.get(&id) {
        return all;
    }
    let node = body.node(id);
    let base = all_steps(graph, body, stacked, node.operands[0]);
    let length = graph.type_of(base).shape[0];
    match &node.op {
        Op::Permute(permute) => {
            let order: Vec<usize> =
                std::iter::once(0).chain(permute.order.iter().map(|axis| axis + 1)).collect();
            graph.permute(base, &order)
        }
        Op::Reshape(reshape) => {
            let shape: Vec<usize> =
                std::iter::once(length).chain(reshape.shape.iter().copied()).collect();
            graph.reshape(base, &shape)
        }
        op => unreachable!("{op} is not a rearrangement of what is stacked"),
    }
}
