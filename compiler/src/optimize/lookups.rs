//! Products with rows that were looked up in a table, as with embeddings: where there are more indices than
//! rows, the table is multiplied and its rows are looked up, and the other way round, updates are added row
//! by row before they are multiplied.
//!
//! For a table `E`, indices `i`, a matrix `W` and a cotangent `dy`:
//! * `E[i] W` is `(E W)[i]`,
//! * the sum of the rows of `dy W` with the same index is the sum of those rows of `dy`, times `W`,
//! * and `E[i]^T dy` is `E^T` times that sum.
//!
//! Beside rounding this changes what infinities and NaN show: a row of the table that is not finite meets
//! sums of zero, which makes the gradient by `W` NaN even where nothing looks it up, and infinities of both
//! signs may meet in a sum of updates before they are multiplied.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cost;
use super::orientation::permutation;
use crate::graph::{Graph, Node, NodeId};
use crate::op::contraction::AxisPairs;
use crate::op::{Contract, Emit, Gather, Op, Scatter, ScatterKind};
use crate::types::{Axes, TensorType};

/// What such products say about themselves.
const TABLE_FIRST: &str = "rows of a product are looked up instead of multiplying rows that were";
const SUMS_FIRST: &str = "updates of the same row are added before they are multiplied";

/// How much less the new form must take.
const MARGIN: f64 = 0.8;

/// The graph with such products, where they take less time. Slots, outputs, updates and guards keep their
/// order.
pub fn multiply_tables(graph: &Graph) -> Graph {
    if !graph.nodes.iter().any(|node| matches!(node.op, Op::Gather(_) | Op::Scatter(_))) {
        return graph.clone();
    }
    let mut rewriter = Rewriter {
        old: graph,
        uses: graph.uses(),
        new: Graph::new(),
        nodes: Vec::with_capacity(graph.nodes.len()),
        sums: BTreeMap::new(),
    };
    rewriter.new.slots.clone_from(&graph.slots);
    for node in &graph.nodes {
        rewriter.new.set_origin(Arc::clone(&node.origin));
        let rewritten = match &node.op {
            Op::Contract(contract) => rewriter
                .product_of_rows(contract, node)
                .or_else(|| rewriter.product_over_rows(contract, node)),
            Op::Scatter(scatter) => rewriter.sums_of_products(scatter, node),
            _ => None,
        };
        let emitted = rewritten.unwrap_or_else(|| {
            let operands = node.operands.iter().map(|operand| rewriter.nodes[operand.index()]);
            let operands: Vec<NodeId> = operands.collect();
            rewriter.new.emit(node.op.clone(), &operands)
        });
        rewriter.nodes.push(emitted);
    }
    let Rewriter { mut new, nodes, .. } = rewriter;
    new.set_origin(Arc::default());
    new.take_results(graph, |old| nodes[old.index()]);
    new.prune();
    new
}

struct Rewriter<'a> {
    old: &'a Graph,
    uses: Vec<usize>,
    new: Graph,
    /// For each node of the old graph the one of the new graph.
    nodes: Vec<NodeId>,
    /// Sums of updates, by indices, the order of their axes and updates, all of the old graph.
    sums: BTreeMap<(NodeId, Axes, NodeId), NodeId>,
}

/// A lookup of rows, with one list of indices for all.
struct Lookup {
    table: NodeId,
    indices: NodeId,
    /// Axes of the indices.
    rank: usize,
}

impl Rewriter<'_> {
    fn ty(&self, node: NodeId) -> &TensorType {
        self.old.type_of(node)
    }

    /// The lookup that a node is.
    fn lookup(&self, node: NodeId) -> Option<Lookup> {
        let found = self.old.node(node);
        match (&found.op, &found.operands[..]) {
            (Op::Gather(Gather { batch: 0 }), &[table, indices]) => {
                Some(Lookup { table, indices, rank: self.ty(indices).rank() })
            }
            _ => None,
        }
    }

    /// `E[i] W`, summed over axes of a row, as `(E W)[i]`.
    fn product_of_rows(&mut self, contract: &Contract, node: &Node) -> Option<NodeId> {
        let [left, right] = node.operands[..] else { return None };
        let Lookup { table, indices, rank } = self.lookup(left)?;
        if !contract.batch.is_empty() || contract.contracted.iter().any(|pair| pair.0 < rank) {
            return None;
        }
        let of_row = |&(axis, other): &(usize, usize)| (axis + 1 - rank, other);
        let of_table = contract_over(contract.contracted.iter().map(of_row));
        let product = infer(&of_table, &[self.ty(table), self.ty(right)])?;
        let gather = Op::from(Gather { batch: 0 });
        let before = self.time(&node.op, &[left, right], &node.ty);
        let after = cost::of_operation(&of_table, &[self.ty(table), self.ty(right)], &product)
            + cost::of_operation(&gather, &[&product, self.ty(indices)], &node.ty);
        if after > MARGIN * before {
            return None;
        }
        self.new.add_rule(TABLE_FIRST);
        let [table, right, indices] = [table, right, indices].map(|id| self.nodes[id.index()]);
        let product = self.new.emit(of_table, &[table, right]);
        Some(self.new.emit(gather, &[product, indices]))
    }

    /// `E[i]^T dy`, summed over all indices, as `E^T` times the sums of the rows of `dy`.
    fn product_over_rows(&mut self, contract: &Contract, node: &Node) -> Option<NodeId> {
        let [left, right] = node.operands[..] else { return None };
        let Lookup { table, indices, rank } = self.lookup(left)?;
        let mut pairs = contract.contracted.clone();
        pairs.sort_by_key(|pair| pair.1);
        // Axis k of the other operand is one of the indices, for the first `rank` ones.
        let over_indices = pairs.len() == rank
            && pairs.iter().enumerate().all(|(k, &(axis, other))| axis < rank && other == k);
        if !contract.batch.is_empty() || !over_indices {
            return None;
        }
        let order: Axes = pairs.iter().map(|pair| pair.0).collect();
        let of_table = contract_over([(0, 0)]);
        let sums = self.sums_type(self.ty(table).shape[0], right, rank);
        let before = self.time(&node.op, &[left, right], &node.ty);
        let after = self.time_of_sums(indices, right, &sums, &order)
            + cost::of_operation(&of_table, &[self.ty(table), &sums], &node.ty);
        if after > MARGIN * before {
            return None;
        }
        self.new.add_rule(SUMS_FIRST);
        let sums = self.sums(indices, order, right, sums.shape[0]);
        Some(self.new.emit(of_table, &[self.nodes[table.index()], sums]))
    }

    /// The sums of the rows of `dy W` with the same index as those of `dy`, times `W`.
    fn sums_of_products(&mut self, scatter: &Scatter, node: &Node) -> Option<NodeId> {
        let &Scatter { kind: ScatterKind::Add, batch: 0, extent } = scatter else { return None };
        let [indices, updates] = node.operands[..] else { return None };
        let rank = self.ty(indices).rank();
        let (product, order) = self.permuted(updates)?;
        // Somebody else would still need the product.
        if [updates, product].iter().any(|node| self.uses[node.index()] > 1) {
            return None;
        }
        let Op::Contract(contract) = &self.old.node(product).op else { return None };
        let [left, right] = self.old.node(product).operands[..] else { return None };
        let mut outer = contract.left_outer(self.ty(left).rank());
        // The first axes of both are those of the indices, in some order; the others stay in order.
        let leads = (0..rank).all(|axis| outer.next() == Some(axis) && order[axis] < rank)
            && (rank..order.len()).all(|axis| order[axis] == axis);
        if !contract.batch.is_empty() || !leads {
            return None;
        }
        let of_row = |&(axis, other): &(usize, usize)| (axis + 1 - rank, other);
        let of_sums = contract_over(contract.contracted.iter().map(of_row));
        let sums = self.sums_type(extent, left, rank);
        let order: Axes = order[..rank].iter().copied().collect();
        let before = self.time(&self.old.node(product).op, &[left, right], self.ty(product))
            + self.time(&node.op, &[indices, updates], &node.ty);
        let after = self.time_of_sums(indices, left, &sums, &order)
            + cost::of_operation(&of_sums, &[&sums, self.ty(right)], &node.ty);
        if after > MARGIN * before {
            return None;
        }
        self.new.add_rule(SUMS_FIRST);
        let sums = self.sums(indices, order, left, extent);
        Some(self.new.emit(of_sums, &[sums, self.nodes[right.index()]]))
    }

    /// The node of which this one is the same with its axes in another order, and for each of its axes that
    /// of this node.
    fn permuted(&self, node: NodeId) -> Option<(NodeId, Axes)> {
        let found = self.old.node(node);
        let [operand] = found.operands[..] else {
            return Some((node, (0..found.ty.rank()).collect()));
        };
        Some((operand, permutation(self.old, found)?))
    }

    /// The type of the sums of updates for so many rows.
    fn sums_type(&self, extent: usize, updates: NodeId, rank: usize) -> TensorType {
        let mut sums = self.ty(updates).clone();
        sums.shape.drain(..rank);
        sums.shape.insert(0, extent);
        sums
    }

    /// The sums of updates with the same index, the axes of indices in this order.
    fn sums(&mut self, indices: NodeId, order: Axes, updates: NodeId, extent: usize) -> NodeId {
        let key = (indices, order, updates);
        if let Some(&known) = self.sums.get(&key) {
            return known;
        }
        let moved = self.new.permute(self.nodes[indices.index()], &key.1);
        let scatter = Scatter { kind: ScatterKind::Add, batch: 0, extent };
        let sums = self.new.emit(scatter.into(), &[moved, self.nodes[updates.index()]]);
        self.sums.insert(key, sums);
        sums
    }

    /// The time of these sums, nothing if they are there already.
    fn time_of_sums(
        &self,
        indices: NodeId,
        updates: NodeId,
        sums: &TensorType,
        order: &Axes,
    ) -> f64 {
        if self.sums.contains_key(&(indices, order.clone(), updates)) {
            return 0.0;
        }
        let scatter = Scatter { kind: ScatterKind::Add, batch: 0, extent: sums.shape[0] };
        self.time(&scatter.into(), &[indices, updates], sums)
    }

    fn time(&self, op: &Op, operands: &[NodeId], result: &TensorType) -> f64 {
        let operands: Vec<&TensorType> = operands.iter().map(|&node| self.ty(node)).collect();
        cost::of_operation(op, &operands, result)
    }
}

/// The product of two tensors, summed over these axes.
fn contract_over(pairs: impl IntoIterator<Item = (usize, usize)>) -> Op {
    let contracted: AxisPairs = pairs.into_iter().collect();
    Contract { batch: AxisPairs::new(), contracted }.into()
}

fn infer(op: &Op, operands: &[&TensorType]) -> Option<TensorType> {
    op.primitive().infer(operands).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::evaluate::Evaluator;
    use crate::graph::{Output, SlotRole};
    use crate::types::DType;

    /// A table of `rows` rows, 6 x 40 of them looked up, multiplied and weighted, with its gradients.
    fn lookups(rows: usize, reordered: bool) -> Graph {
        let mut g = Graph::new();
        let mut slot = |name: &str, dtype: DType, shape: &[usize]| {
            let role = SlotRole::Input;
            let index = g.declare_slot(name, role, TensorType::new(dtype, shape));
            g.read_slot(index)
        };
        let table = slot("table", DType::F32, &[rows, 64]);
        let indices = slot("indices", DType::I32, &[6, 40]);
        let matrix = slot("matrix", DType::F32, &[64, 48]);
        let shape = if reordered { [40, 6, 48] } else { [6, 40, 48] };
        let weights = slot("weights", DType::F32, &shape);
        let found = g.emit(Gather { batch: 0 }.into(), &[table, indices]);
        let mut product = g.contract(found, matrix, &[], &[(2, 0)]);
        if reordered {
            product = g.permute(product, &[1, 0, 2]);
        }
        let weighted = g.mul(product, weights);
        let loss = g.sum(weighted, &[0, 1, 2]);
        let gradients = crate::differentiate::gradient(&mut g, loss, &[table, matrix]).unwrap();
        let gradients = gradients.into_iter().flatten();
        for (number, node) in std::iter::once(loss).chain(gradients).enumerate() {
            g.outputs.push(Output { name: number.to_string(), node });
        }
        algebra(&g)
    }

    fn algebra(graph: &Graph) -> Graph {
        super::super::algebra::simplify(graph, &Default::default()).0
    }

    fn results(graph: &Graph) -> Vec<Array> {
        let slots: Vec<Array> = (graph.slots.iter())
            .map(|info| {
                let value = |i: usize| match info.ty.dtype {
                    DType::I32 => ((i * i) % 10) as f64,
                    _ => (i as f64 * 0.713).sin(),
                };
                Array::new(info.ty.clone(), (0..info.ty.elements()).map(value).collect())
            })
            .collect();
        Evaluator::new(&slots).run(graph).outputs
    }

    fn flops_of_products(graph: &Graph) -> f64 {
        let flops = |node: &Node| {
            let operands: Vec<&TensorType> =
                node.operands.iter().map(|operand| graph.type_of(*operand)).collect();
            node.op.primitive().flops(&operands, &node.ty)
        };
        graph.nodes.iter().filter(|node| matches!(node.op, Op::Contract(_))).map(flops).sum()
    }

    #[test]
    fn small_tables_are_multiplied_instead_of_the_rows_looked_up() {
        for reordered in [false, true] {
            let graph = lookups(10, reordered);
            let rewritten = multiply_tables(&graph);
            rewritten.verify().unwrap();
            assert!(flops_of_products(&rewritten) < 0.1 * flops_of_products(&graph), "{rewritten}");
            // Both gradients share the sums of updates.
            let scatters = rewritten.nodes.iter().filter(|n| matches!(n.op, Op::Scatter(_)));
            assert_eq!(scatters.count(), 1, "{rewritten}");
            for (before, after) in results(&graph).iter().zip(results(&rewritten)) {
                assert_eq!(before.ty, after.ty);
                for (a, b) in before.values.iter().zip(after.values) {
                    assert!((a - b).abs() < 1e-9, "{a} and {b}");
                }
            }
        }
    }

    #[test]
    fn large_tables_stay() {
        let graph = lookups(500, false);
        assert_eq!(multiply_tables(&graph).to_string(), graph.to_string());
    }
}
