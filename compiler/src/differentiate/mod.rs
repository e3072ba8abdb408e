//! Reverse-mode differentiation: a graph grows the gradient of one of its scalars.
//!
//! Cotangents are absent, not zero, where nothing flows back, and exist only for nodes on a path
//! from a variable to the loss. What is emitted are ordinary nodes, so gradients can be
//! differentiated again, and forward and backward pass are optimized as one graph. (Griewank and
//! Walther, "Evaluating Derivatives", 2008, chapter 3.)

mod scan;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;
use thiserror::Error;

use crate::graph::{Graph, NodeId, Origin};
use crate::op::{Application, Cotangents, Emit, Op};
use crate::types::TensorType;

/// Why a graph cannot be differentiated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DifferentiationError {
    /// The loss is not a float scalar.
    #[error("the loss has type {ty}; only a single number of a float type can be minimized")]
    Loss {
        /// The node.
        node: NodeId,
        /// What it is.
        ty: TensorType,
    },
    /// A variable is not a float.
    #[error("a value of type {ty} has no gradient; only floats can be varied")]
    Variable {
        /// The node.
        node: NodeId,
        /// What it is.
        ty: TensorType,
    },
    /// An operation between a variable and the loss has no gradient.
    #[error("{operation}: {reason}")]
    Operation {
        /// The node.
        node: NodeId,
        /// The operation's name.
        operation: &'static str,
        /// Why it has none.
        reason: String,
    },
}

/// Computes the cotangents of an application's operands, as [`crate::op::Primitive::gradient`]
/// does.
pub type Rule<'a> = Box<dyn Fn(&Op, &mut dyn Emit, &Application<'_>) -> Cotangents + 'a>;

/// Reverse-mode differentiation, with the primitives' own gradients or with others in their
/// place.
#[derive(Default)]
pub struct Differentiator<'a> {
    rules: BTreeMap<&'static str, Rule<'a>>,
}

/// Appends the gradient of `loss` with respect to each of `variables`, which may be any float
/// nodes; `None` for one on which the loss does not depend differentiably.
///
/// The new nodes have the origins of the nodes whose cotangents they compute, marked as
/// [gradient](Origin::gradient).
///
/// # Errors
/// If the loss is not a float scalar, a variable not a float, or an operation between them has no
/// gradient. Nodes may have been appended then, but none is used.
pub fn gradient(
    graph: &mut Graph,
    loss: NodeId,
    variables: &[NodeId],
) -> Result<Vec<Option<NodeId>>, DifferentiationError> {
    Differentiator::default().gradient(graph, loss, variables)
}

impl<'a> Differentiator<'a> {
    /// The same with `rule` for all operations called `name`: tests plant wrong gradients so, to
    /// see that they are found.
    #[must_use]
    pub fn with_rule(
        mut self,
        name: &'static str,
        rule: impl Fn(&Op, &mut dyn Emit, &Application<'_>) -> Cotangents + 'a,
    ) -> Differentiator<'a> {
        self.rules.insert(name, Box::new(rule));
        self
    }

    /// As the function [`gradient`].
    ///
    /// # Errors
    /// As the function [`gradient`].
    pub fn gradient(
        &self,
        graph: &mut Graph,
        loss: NodeId,
        variables: &[NodeId],
    ) -> Result<Vec<Option<NodeId>>, DifferentiationError> {
        let ty = graph.type_of(loss).clone();
        if !ty.dtype.is_float() || ty.rank() != 0 {
            return Err(DifferentiationError::Loss { node: loss, ty });
        }
        for &node in variables {
            let ty = graph.type_of(node);
            if !ty.dtype.is_float() {
                return Err(DifferentiationError::Variable { node, ty: ty.clone() });
            }
        }
        let before = graph.set_origin(Arc::default());
        let result = self.reverse(graph, loss, variables);
        graph.set_origin(before);
        result
    }

    /// Emits the cotangents of the wanted operands of one application of `op`, one by one.
    ///
    /// # Errors
    /// A sentence on why the operation has no gradient.
    pub fn operand_cotangents(
        &self,
        graph: &mut Graph,
        op: &Op,
        at: &Application<'_>,
    ) -> Result<Cotangents, String> {
        match self.rules.get(op.primitive().name()) {
            Some(rule) => Ok(rule(op, graph, at)),
            None => op.primitive().gradient(graph, at),
        }
    }

    fn reverse(
        &self,
        graph: &mut Graph,
        loss: NodeId,
        variables: &[NodeId],
    ) -> Result<Vec<Option<NodeId>>, DifferentiationError> {
        let varies = Varying::new(graph, loss, variables);
        if !varies.of(loss) {
            return Ok(vec![None; variables.len()]);
        }
        graph.set_origin(gradient_origin(graph, loss));
        let one = graph.constant_like(loss, 1.0);
        self.pull_back(graph, &[(loss, one)], variables, &varies)
    }

    /// The cotangents of variables, given those of some nodes (`seeds`: node and cotangent).
    fn pull_back(
        &self,
        graph: &mut Graph,
        seeds: &[(NodeId, NodeId)],
        variables: &[NodeId],
        varies: &Varying,
    ) -> Result<Vec<Option<NodeId>>, DifferentiationError> {
        let mut reverse = Reverse { cotangents: vec![None; varies.len()], loops: BTreeMap::new() };
        for &(node, cotangent) in seeds {
            reverse.add(graph, node, cotangent);
        }
        for number in (0..varies.len() as u32).rev() {
            let id = NodeId(number);
            let node = graph.node(id).clone();
            let cotangent = reverse.cotangents[id.index()];
            if let (Op::Port(port), Some(cotangent)) = (&node.op, cotangent) {
                reverse.loops.entry(node.operands[0]).or_default().insert(port.index, cotangent);
                continue;
            }
            let results = reverse.loops.remove(&id);
            let primitive = node.op.primitive();
            let wanted: SmallVec<[bool; 3]> = (node.operands.iter().enumerate())
                .map(|(place, operand)| varies.of(*operand) && primitive.differentiable(place))
                .collect();
            if !wanted.contains(&true) {
                continue;
            }
            graph.set_origin(gradient_origin(graph, id));
            let parts = match (cotangent, results) {
                (_, Some(results)) => self.reverse_scan(graph, id, &results, &wanted)?.into(),
                (None, None) => continue,
                (Some(cotangent), None) => {
                    let operands = &node.operands;
                    let at = Application { operands, result: id, cotangent, wanted: &wanted };
                    self.operand_cotangents(graph, &node.op, &at).map_err(|reason| {
                        let operation = primitive.name();
                        DifferentiationError::Operation { node: id, operation, reason }
                    })?
                }
            };
            for ((&operand, part), wanted) in node.operands.iter().zip(parts).zip(&wanted) {
                if let Some(part) = part.filter(|_| *wanted) {
                    reverse.add(graph, operand, part);
                }
            }
        }
        let of = |variable: &NodeId| reverse.cotangents.get(variable.index()).copied().flatten();
        Ok(variables.iter().map(of).collect())
    }
}

/// What is known of the cotangents on the way back.
struct Reverse {
    /// The sum of what has come to each node.
    cotangents: Vec<Option<NodeId>>,
    /// The cotangents of the results of loops, by number.
    loops: BTreeMap<NodeId, BTreeMap<usize, NodeId>>,
}

impl Reverse {
    /// Adds a part of a node's cotangent.
    fn add(&mut self, graph: &mut Graph, node: NodeId, part: NodeId) {
        let sum = match self.cotangents[node.index()] {
            None => part,
            Some(others) => {
                graph.set_origin(gradient_origin(graph, node));
                graph.add(others, part)
            }
        };
        self.cotangents[node.index()] = Some(sum);
    }
}

/// For each node up to some last one, whether it depends differentiably on a variable.
struct Varying(Vec<bool>);

impl Varying {
    fn new(graph: &Graph, last: NodeId, variables: &[NodeId]) -> Varying {
        let mut varies = vec![false; last.index() + 1];
        for &variable in variables {
            if let Some(varies) = varies.get_mut(variable.index()) {
                *varies = true;
            }
        }
        for (id, node) in graph.iter().take(last.index() + 1) {
            let passes = |(place, operand): (usize, &NodeId)| {
                varies[operand.index()] && node.op.primitive().differentiable(place)
            };
            if node.ty.dtype.is_float() && node.operands.iter().enumerate().any(passes) {
                varies[id.index()] = true;
            }
        }
        Varying(varies)
    }

    fn of(&self, node: NodeId) -> bool {
        self.0.get(node.index()).copied().unwrap_or(false)
    }

    /// Number of nodes looked at.
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The origin of nodes that compute the cotangent of `node`.
fn gradient_origin(graph: &Graph, node: NodeId) -> Arc<Origin> {
    let origin = &graph.node(node).origin;
    if origin.gradient {
        return Arc::clone(origin);
    }
    Arc::new(Origin { gradient: true, ..Origin::clone(origin) })
}
