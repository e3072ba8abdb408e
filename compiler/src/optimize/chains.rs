//! Chains of products in the order that takes the least arithmetic: `a (b c)` as `(a b) c`.
//!
//! Where one position looks at all others, keys need not be computed: `q (x W)^T = (q W^T) x^T`
//! takes 3 instead of 134 MFLOP for a query of 4 heads, 128 positions and 256 channels; and so do
//! gradients. Between the products there may be movement that splits, merges and reorders axes, and a
//! sum with something repeated (a bias), which is multiplied on its own.
//!
//! Axes are cut into the parts that all three operands have in common, each with a label; then any two of
//! the operands can be multiplied first, as in a summation by Einstein's convention.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::graph::{Graph, Node, NodeId};
use crate::op::contraction::AxisPairs;
use crate::op::{Contract, Emit, Op, Primitive};
use crate::types::{Axes, Shape};

const ANOTHER_ORDER: &str =
    "a chain of products is computed in the order that takes the least arithmetic";

/// How much less arithmetic another order must take.
const MARGIN: f64 = 0.5;

/// Products of less arithmetic stay as they are.
const LEAST_FLOPS: f64 = 1e6;

/// Most operations between two products.
const LONGEST: usize = 8;

/// The graph with such chains in their cheapest order. Slots, outputs, updates and guards keep their
/// order.
pub fn associate(graph: &Graph) -> Graph {
    associate_where(graph, |new, old| new < MARGIN * old && old >= LEAST_FLOPS)
}

/// The same, where `pays` tells from the arithmetic of the new order and of the one before.
fn associate_where(graph: &Graph, pays: impl Fn(f64, f64) -> bool) -> Graph {
    let uses = graph.uses();
    let mut result = Graph::new();
    result.slots.clone_from(&graph.slots);
    let mut nodes: Vec<NodeId> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        result.set_origin(Arc::clone(&node.origin));
        let chain = match &node.op {
            Op::Contract(contract) => [1, 0]
                .into_iter()
                .filter_map(|side| Chain::new(graph, &uses, node, contract, side))
                .filter(|chain| pays(chain.cheapest().1, chain.flops_before))
                .min_by(|a, b| a.cheapest().1.total_cmp(&b.cheapest().1)),
            _ => None,
        };
        let emitted = match chain {
            Some(chain) => {
                result.add_rule(ANOTHER_ORDER);
                let product = chain.emit(&mut result, &nodes);
                result.reshape(product, &node.ty.shape)
            }
            None => {
                let operands: Vec<NodeId> =
                    node.operands.iter().map(|operand| nodes[operand.index()]).collect();
                result.emit(node.op.clone(), &operands)
            }
        };
        nodes.push(emitted);
    }
    result.set_origin(Arc::default());
    result.take_results(graph, |old| nodes[old.index()]);
    result.prune();
    result
}

/// A part of an axis, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    label: u32,
    /// More than 1.
    extent: usize,
}

/// The parts of an axis, outermost first.
type Parts = SmallVec<[Part; 2]>;

/// A tensor whose axes are parts.
#[derive(Clone, Debug)]
struct Factor {
    node: NodeId,
    parts: Vec<Part>,
}

/// A product one of whose operands is moved from another product, perhaps with something added.
struct Chain {
    /// The operand that is no product, and the operands of the product that is the other one.
    factors: [Factor; 3],
    /// What is added to that one.
    added: Option<Factor>,
    /// The axes of the result.
    result: Vec<Part>,
    /// Arithmetic operations as it was, with this product's share of the inner one.
    flops_before: f64,
}

/// Which two factors are multiplied first, and which one then.
const ORDERS: [[usize; 3]; 2] = [[0, 1, 2], [0, 2, 1]];

impl Chain {
    /// The chain of a product, whose operand `side` leads to another one.
    fn new(
        graph: &Graph,
        uses: &[usize],
        node: &Node,
        contract: &Contract,
        side: usize,
    ) -> Option<Chain> {
        let (outer, operand) = (node.operands[1 - side], node.operands[side]);
        let (inner, between) = way(graph, operand)?;
        let Op::Contract(first) = &graph.node(inner).op else { return None };
        let empty = |id: &NodeId| graph.type_of(*id).elements() == 0;
        if graph.node(inner).operands.iter().chain([&outer]).any(empty) {
            return None;
        }
        let mut labels = Labels::default();
        let inner_axes = labels.axes(&graph.type_of(inner).shape);
        let mut trace = Trace { axes: inner_axes.clone(), inner: inner_axes, added: Vec::new() };
        let mut added = None;
        for id in between.iter().rev() {
            let step = graph.node(*id);
            match &step.op {
                Op::Permute(permute) => {
                    trace.axes =
                        permute.order.iter().map(|&axis| trace.axes[axis].clone()).collect();
                }
                Op::Reshape(reshape) => trace.reshape(&reshape.shape, &mut labels)?,
                _ => {
                    let (_, broadcast) = sum_with_repeated(graph, step)?;
                    let Op::Broadcast(op) = &graph.node(broadcast).op else { return None };
                    trace.added = op.axes.iter().map(|&axis| trace.axes[axis].clone()).collect();
                    added = Some(graph.node(broadcast).operands[0]);
                }
            }
        }
        // A factor that is repeated everywhere is no factor.
        if added.is_some() && trace.added.iter().all(|axis| axis.is_empty()) {
            return None;
        }

        let turned = |&(left, right): &(usize, usize)| match side {
            1 => (left, right),
            _ => (right, left),
        };
        let outer_shape = &graph.type_of(outer).shape;
        let mut outer_axes: Vec<Parts> = labels.axes(outer_shape);
        for (own, other) in contract.batch.iter().chain(&contract.contracted).map(turned) {
            outer_axes[own] = trace.axes[other].clone();
        }
        let [left, right] = first_axes(graph, graph.node(inner), first, &trace.inner, &mut labels);
        let sides = match side {
            1 => [&outer_axes, &trace.axes],
            _ => [&trace.axes, &outer_axes],
        };
        let batch = contract.batch.iter().map(|&(axis, _)| &sides[0][axis]);
        let left_outer = contract.left_outer(sides[0].len()).map(|axis| &sides[0][axis]);
        let right_outer = contract.right_outer(sides[1].len()).map(|axis| &sides[1][axis]);
        let result = batch.chain(left_outer).chain(right_outer).flatten().copied().collect();
        let share: usize = between.iter().chain([&inner]).map(|id| uses[id.index()]).product();
        let flops = |node: &Node| {
            let types = [0, 1].map(|side| graph.type_of(node.operands[side]));
            node.op.primitive().flops(&types, &node.ty)
        };
        let factor = |node: NodeId, axes: &[Parts]| Factor { node, parts: axes.concat_parts() };
        let operands = &graph.node(inner).operands;
        Some(Chain {
            factors: [
                factor(outer, &outer_axes),
                factor(operands[0], &left),
                factor(operands[1], &right),
            ],
            added: added.map(|node| factor(node, &trace.added)),
            result,
            flops_before: flops(node) + flops(graph.node(inner)) / share as f64,
        })
    }

    /// The order that takes the least arithmetic, and how much.
    fn cheapest(&self) -> ([usize; 3], f64) {
        let costs = ORDERS.map(|order| {
            let [a, b, c] = order.map(|number| &self.factors[number].parts[..]);
            let first = Pairing::new(a, b, |part| c.contains(part) || self.result.contains(part));
            let second = Pairing::new(&first.result, c, |part| self.result.contains(part));
            (order, first.flops + second.flops)
        });
        if costs[1].1 < costs[0].1 { costs[1] } else { costs[0] }
    }

    /// Emits it in this order, with parts as axes; `nodes` are the new numbers of nodes.
    fn emit(&self, graph: &mut Graph, nodes: &[NodeId]) -> NodeId {
        let mut emitter = Emitter { graph, nodes };
        let [a, b, c] = self.cheapest().0.map(|number| emitter.factor(&self.factors[number]));
        let needed = |part: &Part| c.parts.contains(part) || self.result.contains(part);
        let first = emitter.product(&a, &b, needed);
        let product = emitter.product(&first, &c, |part| self.result.contains(part));
        let product = emitter.arrange(&product, &self.result);
        let Some(added) = &self.added else { return product };
        let (factor, added) = (emitter.factor(&self.factors[0]), emitter.factor(added));
        let there = |part: &Part| added.parts.contains(part) || self.result.contains(part);
        let factor = emitter.sum_all_but(&factor, there);
        let term = emitter.product(&factor, &added, |part| self.result.contains(part));
        let term = emitter.arrange(&term, &self.result);
        emitter.graph.add(product, term)
    }
}

/// The product that an operand is moved from, and what lies between, last things first.
fn way(graph: &Graph, operand: NodeId) -> Option<(NodeId, Vec<NodeId>)> {
    let (mut at, mut between, mut added) = (operand, Vec::new(), false);
    loop {
        let node = graph.node(at);
        if matches!(node.op, Op::Contract(_)) {
            return Some((at, between));
        }
        if between.len() == LONGEST {
            return None;
        }
        between.push(at);
        at = match &node.op {
            Op::Reshape(_) | Op::Permute(_) => node.operands[0],
            Op::Elementwise(_) if !added => {
                added = true;
                sum_with_repeated(graph, node)?.0
            }
            _ => return None,
        };
    }
}

/// The terms of a sum of which the second one is repeated.
fn sum_with_repeated(graph: &Graph, node: &Node) -> Option<(NodeId, NodeId)> {
    let Op::Elementwise(function) = &node.op else { return None };
    let [a, b] = node.operands[..] else { return None };
    let repeated = |id: NodeId| matches!(graph.node(id).op, Op::Broadcast(_));
    match (function.name(), repeated(a), repeated(b)) {
        ("add", false, true) => Some((a, b)),
        ("add", true, false) => Some((b, a)),
        _ => None,
    }
}

/// The axes of the operands of a product, given those of its result.
fn first_axes(
    graph: &Graph,
    node: &Node,
    contract: &Contract,
    result: &[Parts],
    labels: &mut Labels,
) -> [Vec<Parts>; 2] {
    let mut axes = [0, 1].map(|side| labels.axes(&graph.type_of(node.operands[side]).shape));
    let [left, right] = &mut axes;
    for &(of_left, of_right) in &contract.contracted {
        right[of_right] = left[of_left].clone();
    }
    let (left_rank, right_rank) = (left.len(), right.len());
    let mut result = result.iter().cloned();
    let mut next = || result.next().expect("an axis of the result");
    for &(of_left, of_right) in &contract.batch {
        left[of_left] = next();
        right[of_right] = left[of_left].clone();
    }
    contract.left_outer(left_rank).for_each(|axis| left[axis] = next());
    contract.right_outer(right_rank).for_each(|axis| right[axis] = next());
    axes
}

/// Gives labels.
#[derive(Default)]
struct Labels(u32);

impl Labels {
    fn part(&mut self, extent: usize) -> Part {
        self.0 += 1;
        Part { label: self.0, extent }
    }

    /// The axes of a shape, each with a label of its own; one of extent 1 has no part.
    fn axes(&mut self, shape: &[usize]) -> Vec<Parts> {
        let axis = |&extent: &usize| match extent {
            1 => smallvec![],
            _ => smallvec![self.part(extent)],
        };
        shape.iter().map(axis).collect()
    }
}

/// The parts that axes consist of, while movement is followed.
struct Trace {
    /// Of the tensor that is there now.
    axes: Vec<Parts>,
    /// Of the product that it comes from.
    inner: Vec<Parts>,
    /// Of what was added.
    added: Vec<Parts>,
}

impl Trace {
    /// Follows a reshaping: parts are cut where new axes begin.
    fn reshape(&mut self, shape: &[usize], labels: &mut Labels) -> Option<()> {
        let mut parts: VecDeque<Part> = self.axes.iter().flatten().copied().collect();
        let mut axes = Vec::new();
        for &extent in shape {
            let (mut axis, mut rest) = (Parts::new(), extent);
            while rest > 1 {
                let part = parts.pop_front()?;
                if rest.is_multiple_of(part.extent) {
                    axis.push(part);
                    rest /= part.extent;
                } else if part.extent.is_multiple_of(rest) {
                    let cut = [rest, part.extent / rest].map(|extent| labels.part(extent));
                    self.cut(part, cut);
                    axis.push(cut[0]);
                    parts.push_front(cut[1]);
                    rest = 1;
                } else {
                    return None;
                }
            }
            axes.push(axis);
        }
        self.axes = axes;
        Some(())
    }

    fn cut(&mut self, part: Part, [outer, inner]: [Part; 2]) {
        for axis in self.inner.iter_mut().chain(&mut self.added) {
            if let Some(place) = axis.iter().position(|other| *other == part) {
                axis[place] = outer;
                axis.insert(place + 1, inner);
            }
        }
    }
}

/// The parts of all axes.
trait ConcatParts {
    fn concat_parts(&self) -> Vec<Part>;
}

impl ConcatParts for [Parts] {
    fn concat_parts(&self) -> Vec<Part> {
        self.iter().flatten().copied().collect()
    }
}

/// A product of two factors.
struct Pairing {
    contract: Contract,
    /// The axes of the result.
    result: Vec<Part>,
    flops: f64,
}

impl Pairing {
    /// What both have runs together, and is summed over unless it is needed.
    fn new(left: &[Part], right: &[Part], needed: impl Fn(&Part) -> bool) -> Pairing {
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
        let of_right = right.iter().filter(|part| !left.contains(part)).copied();
        let flops = |parts: &[Part]| parts.iter().map(|part| part.extent as f64).product::<f64>();
        let of_right: Vec<Part> = of_right.collect();
        let flops = 2.0 * flops(left) * flops(&of_right);
        result.extend(of_left);
        result.extend(of_right);
        Pairing { contract: Contract { batch, contracted }, result, flops }
    }
}

struct Emitter<'a> {
    graph: &'a mut Graph,
    /// The new numbers of nodes.
    nodes: &'a [NodeId],
}

impl Emitter<'_> {
    /// A factor, whose node is one of the graph before, with parts as axes.
    fn factor(&mut self, factor: &Factor) -> Factor {
        let shape: Shape = factor.parts.iter().map(|part| part.extent).collect();
        let node = self.graph.reshape(self.nodes[factor.node.index()], &shape);
        Factor { node, parts: factor.parts.clone() }
    }

    fn product(&mut self, a: &Factor, b: &Factor, needed: impl Fn(&Part) -> bool) -> Factor {
        let Pairing { contract, result, .. } = Pairing::new(&a.parts, &b.parts, needed);
        let node = self.graph.emit(contract.into(), &[a.node, b.node]);
        Factor { node, parts: result }
    }

    /// The sum over all parts but these.
    fn sum_all_but(&mut self, factor: &Factor, kept: impl Fn(&Part) -> bool) -> Factor {
        let places = 0..factor.parts.len();
        let axes: Axes = places.filter(|&axis| !kept(&factor.parts[axis])).collect();
        let node = self.graph.sum(factor.node, &axes);
        Factor { node, parts: factor.parts.iter().filter(|part| kept(part)).copied().collect() }
    }

    /// A factor with these axes in this order; repeated along those that it lacks.
    fn arrange(&mut self, factor: &Factor, result: &[Part]) -> NodeId {
        let own: Axes =
            (0..result.len()).filter(|&axis| factor.parts.contains(&result[axis])).collect();
        let place = |axis: &usize| factor.parts.iter().position(|part| *part == result[*axis]);
        let order: Axes = own.iter().filter_map(place).collect();
        let node = self.graph.permute(factor.node, &order);
        let shape: Shape = result.iter().map(|part| part.extent).collect();
        self.graph.broadcast(node, &shape, &own)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::arbitrary;
    use crate::array::Array;
    use crate::differentiate::gradient;
    use crate::evaluate::Evaluator;
    use crate::graph::{Output, SlotRole};
    use crate::types::{DType, TensorType};

    /// Attention of one query a sample and head to 64 positions of `x`, with keys and values that are
    /// products of `x`; its weights, and biases.
    fn attention() -> (Graph, NodeId, Vec<NodeId>) {
        let mut g = Graph::new();
        let input = |g: &mut Graph, name: &str, shape: &[usize]| {
            let ty = TensorType::new(DType::F64, shape);
            let slot = g.declare_slot(name, SlotRole::Parameter, ty);
            g.read_slot(slot)
        };
        let x = input(&mut g, "x", &[2, 64, 32]);
        let query = input(&mut g, "query", &[2, 1, 4, 8]);
        let weights = ["key", "value"].map(|name| input(&mut g, name, &[32, 32]));
        let biases = ["key_bias", "value_bias"].map(|name| input(&mut g, name, &[32]));
        let [keys, values] = [0, 1].map(|which| {
            let y = g.contract(x, weights[which], &[], &[(2, 1)]);
            let bias = g.broadcast(biases[which], &[2, 64, 32], &[2]);
            let y = g.add(y, bias);
            g.reshape(y, &[2, 64, 4, 8])
        });
        let scores = g.contract(query, keys, &[(0, 0), (2, 2)], &[(3, 3)]);
        let shares = g.apply("sigmoid", &[scores]);
        let seen = g.contract(shares, values, &[(0, 0), (1, 2)], &[(3, 1)]);
        let square = g.mul(seen, seen);
        let loss = g.sum(square, &[0, 1, 2, 3]);
        let variables = [&[x, query][..], &weights, &biases].concat();
        (g, loss, variables)
    }

    fn results(graph: &Graph) -> Vec<Array> {
        let slots: Vec<Array> = (graph.slots.iter().enumerate())
            .map(|(slot, info)| {
                let value = |index: usize| ((slot * 31 + index * 7) as f64 * 0.61).sin();
                Array::new(info.ty.clone(), (0..info.ty.elements()).map(value).collect())
            })
            .collect();
        Evaluator::new(&slots).run(graph).outputs
    }

    fn assert_close(found: &[Array], expected: &[Array], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.ty, expected.ty);
            let largest = expected.values.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
            for (a, b) in found.values.iter().zip(&expected.values) {
                assert!((a - b).abs() <= tolerance * largest, "{a} instead of {b}");
            }
        }
    }

    #[test]
    fn one_query_multiplies_no_keys() {
        let (mut graph, loss, variables) = attention();
        let gradients = gradient(&mut graph, loss, &variables).unwrap();
        let named = gradients.into_iter().flatten().chain([loss]).enumerate();
        graph.outputs =
            named.map(|(number, node)| Output { name: number.to_string(), node }).collect();
        graph.prune();
        let always = |new: f64, old: f64| new < MARGIN * old;
        let associated = associate_where(&graph, always);
        associated.verify().unwrap();
        assert_close(&results(&associated), &results(&graph), 1e-12);
        assert!(associated.flops() < 0.25 * graph.flops(), "{associated}");
    }

    #[test]
    fn all_queries_multiply_keys_first() {
        let mut g = Graph::new();
        let input = |g: &mut Graph, name: &str, shape: &[usize]| {
            let ty = TensorType::new(DType::F32, shape);
            let slot = g.declare_slot(name, SlotRole::Input, ty);
            g.read_slot(slot)
        };
        let (x, w) = (input(&mut g, "x", &[128, 256]), input(&mut g, "w", &[256, 64]));
        let query = input(&mut g, "query", &[128, 64]);
        let keys = g.contract(x, w, &[], &[(1, 0)]);
        let scores = g.contract(query, keys, &[], &[(1, 1)]);
        g.outputs.push(Output { name: "scores".to_owned(), node: scores });
        assert!(associate(&g).computes_the_same(&g));
    }

    proptest! {
        #![proptest_config(arbitrary::config(256))]

        #[test]
        fn any_order_gives_the_same(random in arbitrary::training_step()) {
            let associated = associate_where(&random.graph, |_, _| true);
            associated.verify().unwrap();
            let evaluator = Evaluator::new(&random.slots);
            let (before, after) = (evaluator.run(&random.graph), evaluator.run(&associated));
            assert_close(&after.outputs, &before.outputs, 1e-9);
            let [before, after] = [before, after].map(|results| -> Vec<Array> {
                results.updates.into_iter().map(|(_, value)| value).collect()
            });
            assert_close(&after, &before, 1e-9);
        }
    }
}
