//! Inner products of nodes with directions, and how much rounding may change them.

use cygnet_compiler::array::Array;
use cygnet_compiler::differentiate::{DifferentiationError, gradient};
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::{Emit, Graph, NodeId, SlotRole};
use cygnet_compiler::op::{Context, Op, ReduceKind, ScatterKind};
use cygnet_compiler::types::{Axes, DType, TensorType};

/// The sum, over some nodes of a graph, of their inner products with directions that are given
/// later.
///
/// The graph is extended by the derivatives of that sum by all nodes. They give a bound on how
/// rounding changes it: if every number `v` that is computed has a relative error of at most `e`,
/// the sum changes, to first order, by at most `e` times the sum of `|v|` times the size of the
/// derivative by `v` (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.8,
/// applied in reverse).
pub struct Projection {
    graph: Graph,
    /// Number of slots that are no directions.
    given: usize,
    /// Number of nodes that do not depend on the directions.
    fixed: usize,
    sum: NodeId,
    /// Nodes, and the derivatives of the sum by them.
    effects: Vec<(NodeId, NodeId)>,
    /// Values of the fixed nodes, once they are known.
    values: Vec<Array>,
}

/// An inner product.
#[derive(Clone, Copy, Debug)]
pub struct Projected {
    /// Its value.
    pub value: f64,
    /// The sum, over all numbers computed on the way, of their sizes times their effects: a bound
    /// on the change per relative error of each.
    pub rounding: f64,
}

impl Projected {
    /// Whether the value is a number, and how far it may be rounded is known.
    pub fn is_finite(&self) -> bool {
        self.value.is_finite() && self.rounding.is_finite()
    }
}

impl Projection {
    /// The inner products of these float nodes with directions; evaluated for the given context.
    ///
    /// # Errors
    /// If some operation has no gradient.
    pub fn new(
        mut graph: Graph,
        nodes: &[NodeId],
        context: Context<'_>,
    ) -> Result<Projection, DifferentiationError> {
        let (given, fixed) = (graph.slots.len(), graph.nodes.len());
        let mut sum = graph.constant(DType::F64, &[], 0.0);
        for (number, &node) in nodes.iter().enumerate() {
            let ty = graph.type_of(node).with_dtype(DType::F64);
            let axes: Axes = (0..ty.rank()).collect();
            let name = format!("direction {number} of a projection");
            let slot = graph.declare_slot(&name, SlotRole::Input, ty);
            let direction = graph.read_slot(slot);
            let exact = graph.cast(node, DType::F64);
            let product = graph.mul(exact, direction);
            let product = graph.sum(product, &axes);
            sum = graph.add(sum, product);
        }
        // Slots count, too: differences move them.
        let is_rounded = |op: &Op| !matches!(op, Op::Constant(_) | Op::Iota(_));
        let rounded: Vec<NodeId> = (graph.iter().take(fixed))
            .filter(|(_, node)| node.ty.dtype.is_float() && is_rounded(&node.op))
            .map(|(id, _)| id)
            .collect();
        let effects = gradient(&mut graph, sum, &rounded)?;
        // Only now: a loop that has been differentiated has more results than before.
        let evaluator = Evaluator { context, ..Evaluator::new(&[]) };
        let mut values = Vec::with_capacity(graph.nodes.len());
        for (id, _) in graph.iter().take(fixed) {
            values.push(evaluator.node(&graph, id, &values));
        }
        let effects = rounded.into_iter().zip(effects);
        let effects = effects.filter_map(|(node, effect)| Some((node, effect?))).collect();
        Ok(Projection { graph, given, fixed, sum, effects, values })
    }

    /// Values of the nodes that were given.
    pub fn values(&self) -> &[Array] {
        &self.values[..self.fixed]
    }

    /// The inner products with these directions, one for each node, summed. The context is the one
    /// that the projection was made for.
    pub fn along(&mut self, directions: &[Vec<f64>], context: Context<'_>) -> Projected {
        let mut slots = context.slots.to_vec();
        for (slot, direction) in self.graph.slots[self.given..].iter().zip(directions) {
            slots.push(Array::new(slot.ty.clone(), direction.clone()));
        }
        let context = Context { slots: &slots, ..context };
        let evaluator = Evaluator { context, ..Evaluator::new(&[]) };
        self.values.truncate(self.fixed);
        for (id, _) in self.graph.iter().skip(self.fixed) {
            self.values.push(evaluator.node(&self.graph, id, &self.values));
        }
        let effect = |&(node, effect): &(NodeId, NodeId)| -> f64 {
            let sizes = self.sizes(node, &context);
            let effects = &self.values[effect.index()].values;
            // An infinity, as of a score that a mask hides, is exact.
            let rounded = sizes.iter().zip(effects).filter(|(size, _)| size.is_finite());
            rounded.map(|(size, effect)| size * effect.abs()).sum()
        };
        let rounding = self.effects.iter().map(effect).sum();
        Projected { value: self.values[self.sum.index()].values[0], rounding }
    }

    /// The sizes of the numbers that are added up in each element of a node.
    fn sizes(&self, id: NodeId, context: &Context<'_>) -> Vec<f64> {
        let node = self.graph.node(id);
        let sizes =
            |array: &Array| -> Vec<f64> { array.values.iter().map(|value| value.abs()).collect() };
        let is_sum = match &node.op {
            Op::Contract(_) | Op::Conv(_) | Op::Fold(_) => true,
            Op::Reduce(reduce) => reduce.kind == ReduceKind::Sum,
            Op::Cumulate(cumulate) => cumulate.kind == ReduceKind::Sum,
            Op::Scatter(scatter) => scatter.kind == ScatterKind::Add,
            _ => false,
        };
        if !is_sum {
            return sizes(&self.values[id.index()]);
        }
        let operands: Vec<Array> = (node.operands.iter())
            .map(|operand| &self.values[operand.index()])
            .map(|array| Array::new(array.ty.clone(), sizes(array)))
            .collect();
        let operands: Vec<&Array> = operands.iter().collect();
        let ty: &TensorType = &node.ty;
        node.op.primitive().evaluate(&operands, ty, context).values
    }
}
