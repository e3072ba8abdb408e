//! Which operation is to blame for a wrong derivative.

use cygnet_compiler::array::Array;
use cygnet_compiler::differentiate::{DifferentiationError, Differentiator};
use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::{Emit, Graph, NodeId, Origin, SlotRole};
use cygnet_compiler::op::{Application, Context, Op};

use super::execute::Execute;
use super::function::{Function, Slope};
use super::links::{
    CaseError, GradientGraph, Link, Methods, Mismatch, inner_product, run_both, tolerance,
};
use super::precise::array_in_f64;
use super::problem::Problem;
use super::projection::Projection;
use super::sample::Case;

/// Directions of culprits' operands and results start here, behind those of a case's variables.
const FIRST_DIRECTION: usize = 1 << 16;

/// How far operands are moved, in standard deviations, if they are at a kink of their operation.
const NUDGE: f64 = 0.01;

/// The first operation, in topological order, that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Culprit {
    /// The operation's name.
    pub operation: &'static str,
    /// The operation with its attributes and operand types: `reduce_sum{axes=[1]} of f32[2, 3]`.
    pub application: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What is wrong with it, as the numbers show on its own.
    pub mismatch: Mismatch,
}

/// Looks for the first operation that is wrong in a case that fails at `link`. `None` if each is
/// right on its own.
///
/// # Errors
/// If some operation has no gradient, or the compiler fails.
pub fn find_culprit(
    problem: &Problem,
    case: &Case,
    slots: &[Array],
    methods: &Methods<'_>,
    link: Link,
) -> Result<Option<Culprit>, CaseError> {
    match (link, methods.executor) {
        (Link::Optimizer | Link::NativeCode, Some(executor)) => {
            let context = Context { slots, seed: case.seed, step: 0 };
            let GradientGraph { graph, gradients } =
                GradientGraph::new(problem, methods.differentiator)?;
            wrong_value(&graph, &gradients, case, context, (executor, link))
        }
        _ => {
            let problem = problem.in_f64();
            let slots: Vec<Array> = slots.iter().map(array_in_f64).collect();
            let context = Context { slots: &slots, seed: case.seed, step: 0 };
            let graph = problem.graph();
            let values = Evaluator { context, ..Evaluator::new(&[]) }.values(graph);
            for (id, _) in graph.iter() {
                let rule = Rule { graph, id, values: &values, case };
                if let Some(mismatch) = rule.check(methods.differentiator, 0.0)? {
                    return Ok(Some(culprit(graph, id, mismatch)));
                }
            }
            wrong_sum(&problem, case, &values, context, methods.differentiator)
        }
    }
}

fn culprit(graph: &Graph, id: NodeId, mismatch: Mismatch) -> Culprit {
    let node = graph.node(id);
    let types: Vec<String> =
        node.operands.iter().map(|operand| graph.type_of(*operand).to_string()).collect();
    let application = match types.as_slice() {
        [] => node.op.to_string(),
        types => format!("{} of {}", node.op, types.join(", ")),
    };
    Culprit {
        operation: node.op.primitive().name(),
        application,
        origin: Origin::clone(&node.origin),
        mismatch,
    }
}

/// A node's gradient rule, on its own: a graph of nothing but the node, with slots for operands.
struct Rule<'a> {
    graph: &'a Graph,
    id: NodeId,
    values: &'a [Array],
    case: &'a Case,
}

impl Rule<'_> {
    /// Holds what the rule gives, for a random cotangent of the result, against differences of
    /// the inner product of cotangent and result.
    /// `nudge` is how far the operands are moved away from where they are.
    fn check(
        &self,
        differentiator: &Differentiator<'_>,
        nudge: f64,
    ) -> Result<Option<Mismatch>, CaseError> {
        let node = self.graph.node(self.id);
        let primitive = node.op.primitive();
        let wanted: Vec<bool> = (node.operands.iter().enumerate())
            .map(|(place, operand)| {
                self.graph.type_of(*operand).dtype.is_float() && primitive.differentiable(place)
            })
            .collect();
        if !node.ty.dtype.is_float() || !wanted.contains(&true) {
            return Ok(None);
        }
        let mut graph = Graph::new();
        let mut slots: Vec<Array> = (0..node.operands.len())
            .map(|place| self.operand(place, if wanted[place] { nudge } else { 0.0 }))
            .collect();
        let operands: Vec<NodeId> = (slots.iter().enumerate())
            .map(|(place, array)| {
                let name = format!("operand {place}");
                let slot = graph.declare_slot(&name, SlotRole::Input, array.ty.clone());
                graph.read_slot(slot)
            })
            .collect();
        let slot = graph.declare_slot("cotangent", SlotRole::Input, node.ty.clone());
        let weights = self.case.direction(FIRST_DIRECTION, 0, node.ty.elements());
        slots.push(Array::new(node.ty.clone(), weights.clone()));
        let cotangent = graph.read_slot(slot);
        let result = graph.emit(node.op.clone(), &operands);
        let context = Context { slots: &slots, seed: self.case.seed, step: 0 };

        let forward = graph.clone();
        let mut size = Projection::new(forward.clone(), &[result], context)?;
        let rounding = size.along(std::slice::from_ref(&weights), context).rounding;
        // Not the values of the projection, whose loops have more results.
        let base = Evaluator { context, ..Evaluator::new(&[]) }.values(&forward);
        let function = Function::new(&forward, (result, &weights), &base, context);
        let at = Application { operands: &operands, result, cotangent, wanted: &wanted };
        let parts = differentiator
            .operand_cotangents(&mut graph, &node.op, &at)
            .map_err(|reason| self.no_gradient(reason))?;
        let evaluator = Evaluator { context, ..Evaluator::new(&[]) };
        let values = evaluator.values(&graph);
        for (place, operand) in operands.iter().enumerate().filter(|(place, _)| wanted[*place]) {
            let count = graph.type_of(*operand).elements();
            let steps = self.case.direction(FIRST_DIRECTION + 1, place, count);
            let part = parts.get(place).copied().flatten();
            let parts: Vec<Array> =
                part.map(|part| values[part.index()].clone()).into_iter().collect();
            let along = std::slice::from_ref(&steps);
            let claimed = inner_product(&parts, along);
            let slope = function.slope(&[(*operand, &steps)], rounding, claimed);
            let Slope::Smooth { value, error } = slope else {
                match nudge {
                    0.0 => return self.check(differentiator, NUDGE),
                    _ => continue,
                }
            };
            let derivative = format!("along a random direction of its operand {}", place + 1);
            let mismatch = Mismatch::of_rules(derivative, (value, error), &parts, along);
            if mismatch.is_real() {
                return Ok(Some(mismatch));
            }
        }
        Ok(None)
    }

    /// The value of an operand, moved by so many standard deviations.
    fn operand(&self, place: usize, nudge: f64) -> Array {
        let mut array = self.values[self.graph.node(self.id).operands[place].index()].clone();
        let steps = self.case.direction(FIRST_DIRECTION + 3, place, array.values.len());
        for (value, step) in array.values.iter_mut().zip(steps) {
            *value += nudge * step;
        }
        array
    }

    fn no_gradient(&self, reason: String) -> CaseError {
        let operation = self.graph.node(self.id).op.primitive().name();
        DifferentiationError::Operation { node: self.id, operation, reason }.into()
    }
}

/// The operation nearest to the scalar whose cotangent, summed over its users, is wrong: then
/// the rules are right but are put together wrongly.
fn wrong_sum(
    problem: &Problem,
    case: &Case,
    values: &[Array],
    context: Context<'_>,
    differentiator: &Differentiator<'_>,
) -> Result<Option<Culprit>, CaseError> {
    let (graph, loss) = (problem.graph(), problem.loss());
    let floats: Vec<NodeId> =
        graph.iter().filter(|(_, node)| node.ty.dtype.is_float()).map(|(id, _)| id).collect();
    let mut extended = graph.clone();
    let cotangents = differentiator.gradient(&mut extended, loss, &floats)?;
    let evaluator = Evaluator { context, ..Evaluator::new(&[]) };
    let all = evaluator.values(&extended);
    let mut scalar = Projection::new(graph.clone(), &[loss], context)?;
    let rounding = scalar.along(&[vec![1.0]], context).rounding;
    let function = Function::new(graph, (loss, &[1.0]), values, context);
    for (&id, cotangent) in floats.iter().zip(cotangents).rev() {
        let steps = case.direction(FIRST_DIRECTION + 2, id.index(), graph.type_of(id).elements());
        let parts: Vec<Array> =
            cotangent.map(|cotangent| all[cotangent.index()].clone()).into_iter().collect();
        let along = std::slice::from_ref(&steps);
        let claimed = inner_product(&parts, along);
        let slope = function.slope(&[(id, &steps)], rounding, claimed);
        let Slope::Smooth { value, error } = slope else { continue };
        let derivative = "along a random direction of its result".to_owned();
        let mismatch = Mismatch::of_rules(derivative, (value, error), &parts, along);
        if mismatch.is_real() {
            return Ok(Some(culprit(graph, id, mismatch)));
        }
    }
    Ok(None)
}

/// The first node whose value is wrong when the graph is compiled for it alone.
fn wrong_value(
    graph: &Graph,
    gradients: &[NodeId],
    case: &Case,
    context: Context<'_>,
    (executor, link): (&dyn Execute, Link),
) -> Result<Option<Culprit>, CaseError> {
    let mut needed = vec![false; graph.nodes.len()];
    gradients.iter().for_each(|node| needed[node.index()] = true);
    for (id, node) in graph.iter().rev() {
        if needed[id.index()] {
            node.operands.iter().for_each(|operand| needed[operand.index()] = true);
        }
    }
    let computed = |op: &Op| !matches!(op, Op::Slot(_) | Op::Constant(_));
    for (id, node) in graph.iter() {
        if !needed[id.index()] || !node.ty.dtype.is_float() || !computed(&node.op) {
            continue;
        }
        let weights = vec![case.direction(FIRST_DIRECTION, 0, node.ty.elements())];
        let exact = Projection::new(graph.clone(), &[id], context)?.along(&weights, context);
        if !exact.is_finite() {
            continue;
        }
        let results = run_both(executor, graph.clone(), &[id], context)?;
        for (_, outputs) in results.iter().filter(|(other, _)| *other == link) {
            let mismatch = Mismatch {
                link,
                derivative: "weighted sum of its result".to_owned(),
                expected: exact.value,
                actual: inner_product(outputs, &weights),
                tolerance: tolerance(exact.rounding),
            };
            if mismatch.is_real() {
                return Ok(Some(culprit(graph, id, mismatch)));
            }
        }
    }
    Ok(None)
}
