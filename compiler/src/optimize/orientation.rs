//! Products of which only the transposed result is used are computed so: `(A B)^T = B^T A^T`, as with gradients
//! of weights that lie as `[out, in]`. What is then done to the result, while it is in cache, meets its rows.

use crate::graph::{Graph, Node, NodeId};
use crate::index::Expression;
use crate::op::contraction::AxisPairs;
use crate::op::{Contract, Emit, Op};
use crate::types::Axes;

const TRANSPOSED: &str = "a transposed product is the product of the transposed factors";

/// The graph with such products. Slots, outputs, updates and guards keep their order.
pub fn orient_products(graph: &Graph) -> Graph {
    let uses = graph.uses();
    graph.rewritten(|result, nodes, id| {
        let (contract, factors) = transposed(graph, graph.node(id), &uses)?;
        result.add_rule(TRANSPOSED);
        Some(result.emit(contract.into(), &factors.map(|factor| nodes[factor.index()])))
    })
}

/// The product with swapped factors, if a node is one with the axes of its two factors swapped.
fn transposed(graph: &Graph, node: &Node, uses: &[usize]) -> Option<(Contract, [NodeId; 2])> {
    let [product] = node.operands[..] else { return None };
    let Op::Contract(contract) = &graph.node(product).op else { return None };
    let [left, right] = graph.node(product).operands[..] else { return None };
    if uses[product.index()] > 1 {
        return None;
    }
    let order = permutation(graph, node)?;
    let rank = |factor: NodeId| graph.type_of(factor).rank();
    let batch = contract.batch.len();
    let rows = contract.left_outer(rank(left)).count();
    let columns = contract.right_outer(rank(right)).count();
    let swapped =
        (0..batch).chain(batch + columns..batch + columns + rows).chain(batch..batch + columns);
    if rows == 0 || columns == 0 || !order.into_iter().eq(swapped) {
        return None;
    }
    let turned = |pairs: &AxisPairs| pairs.iter().map(|&(left, right)| (right, left)).collect();
    let contract =
        Contract { batch: turned(&contract.batch), contracted: turned(&contract.contracted) };
    Some((contract, [right, left]))
}

/// For each axis of the operand of a movement the axis of its result, if it does nothing but reorder them.
pub(super) fn permutation(graph: &Graph, node: &Node) -> Option<Axes> {
    let [operand] = node.operands[..] else { return None };
    let map = node.op.index_map(&graph.type_of(operand).shape)?;
    let rank = node.ty.rank();
    let axis_of = |index: &Expression| (0..rank).find(|&axis| *index == Expression::axis(axis));
    let order: Axes = map.indices().iter().map(axis_of).collect::<Option<_>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    (map.constraints().is_empty() && sorted.into_iter().eq(0..rank)).then_some(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::Array;
    use crate::evaluate::Evaluator;
    use crate::graph::{Output, SlotRole};
    use crate::types::{DType, TensorType};

    #[test]
    fn transposed_products_swap_their_factors() {
        // Axes of the result: batch, two of the left factor, one of the right one.
        for (order, swaps) in [([0, 3, 1, 2], true), ([0, 3, 2, 1], false), ([3, 0, 1, 2], false)] {
            let mut g = Graph::new();
            let factors = [("a", [2, 3, 4, 5]), ("b", [2, 5, 6, 1])].map(|(name, shape)| {
                let ty = TensorType::new(DType::F32, &shape);
                let slot = g.declare_slot(name, SlotRole::Input, ty);
                g.read_slot(slot)
            });
            let [left, right] = factors;
            let right = g.reshape(right, &[2, 5, 6]);
            let product = g.contract(left, right, &[(0, 0)], &[(3, 1)]);
            let moved = g.permute(product, &order);
            g.outputs.push(Output { name: "moved".to_owned(), node: moved });
            let oriented = orient_products(&g);
            oriented.verify().unwrap();
            let is_contract = matches!(oriented.node(oriented.outputs[0].node).op, Op::Contract(_));
            assert_eq!(is_contract, swaps, "{oriented}");
            let slots: Vec<Array> = (g.slots.iter())
                .map(|info| {
                    let values = (0..info.ty.elements()).map(|i| (i as f64 * 0.7).sin()).collect();
                    Array::new(info.ty.clone(), values)
                })
                .collect();
            let of = |graph: &Graph| Evaluator::new(&slots).run(graph).outputs.remove(0);
            let (before, after) = (of(&g), of(&oriented));
            assert_eq!(before.ty, after.ty);
            for (a, b) in before.values.iter().zip(after.values) {
                assert!((a - b).abs() < 1e-9, "{a} and {b}");
            }
        }
    }
}
