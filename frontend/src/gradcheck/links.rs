//! One case: three links between a program and its gradient, tested separately.
//!
//! 1. The gradient rules: the gradient as the reference evaluator computes it in f64, against
//!    central differences of the scalar.
//! 2. The optimizer: the gradient's optimized graph in the reference evaluator, against the graph
//!    before.
//! 3. Native code, against the reference evaluator.
//!
//! The tolerances come from the reference evaluator: for differences, what halving the distance
//! changes, and rounding to f64; for the other links, rounding of every intermediate result to f32
//! (see [`Projection`]).

use std::fmt;

use cygnet_compiler::array::Array;
use cygnet_compiler::differentiate::{DifferentiationError, Differentiator};
use cygnet_compiler::evaluate::{Evaluator, Precision};
use cygnet_compiler::graph::{Emit, Graph, Node, NodeId, Output};
use cygnet_compiler::op::Context;
use cygnet_compiler::types::TensorType;
use serde::Serialize;
use thiserror::Error;

use super::execute::Execute;
use super::function::{Function, Slope};
use super::precise::array_in_f64;
use super::problem::{Problem, Variable};
use super::projection::Projection;
use super::sample::Case;

/// Random directions through all variables together.
const JOINT_DIRECTIONS: usize = 2;
/// Variables of up to so many elements are checked element by element.
const SMALL: usize = 16;
/// Most elements that are checked one by one in a case.
const MOST_ELEMENTS: usize = 48;
/// Arithmetic operations of the graph that may be spent on the elements of a case, each of which
/// takes the graph once (in fact about ten times, for differences and the effects of rounding).
const MOST_FLOPS: f64 = 5e7;

/// Relative difference that is never held against a gradient rule: values that vanish where the
/// slope is taken are rounded when they move, which the effects of rounding do not tell.
const SMALLEST_DIFFERENCE: f64 = 1e-10;

/// Roundoff errors of f32 counted for each number computed: native functions are within a few
/// units in the last place, sums of many terms and reassociated products a little worse.
const ROUNDOFFS: f64 = 16.0;

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// The gradient of some operation.
    GradientRules,
    /// A rewrite of the optimizer.
    Optimizer,
    /// Kernels, their schedule or native code.
    NativeCode,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Link::GradientRules => "gradient rules",
            Link::Optimizer => "optimizer",
            Link::NativeCode => "native code",
        })
    }
}

/// Two numbers that should be the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    /// Between what they differ.
    pub link: Link,
    /// The derivative: `by weight[0, 2]`.
    pub derivative: String,
    /// What it should be.
    pub expected: f64,
    /// What it is.
    pub actual: f64,
    /// How much they may differ.
    pub tolerance: f64,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All derivatives agree.
    Agrees(Agreement),
    /// The values do not allow a check; the reason, as a sentence.
    Skipped(&'static str),
    /// A derivative is wrong.
    Differs(Mismatch),
}

/// What was compared in a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Derivatives compared.
    pub derivatives: usize,
    /// Derivatives left out because of a kink.
    pub kinks: usize,
    /// Derivatives left out because what they are held against is no number, or nothing bounds its
    /// error.
    pub unknown: usize,
    /// The largest difference in units of its tolerance.
    pub worst: f64,
}

/// Why a case cannot be checked at all.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CaseError {
    /// Some operation has no gradient. The node is one of the problem's graph.
    #[error(transparent)]
    Differentiation(#[from] DifferentiationError),
    /// The compiler failed.
    #[error("the compiler failed: {0}; this is a defect of Cygnet, please report it")]
    Compiler(String),
}

/// How gradients are computed.
pub struct Methods<'a> {
    /// The gradient rules.
    pub differentiator: &'a Differentiator<'a>,
    /// The compiler; without one only the gradient rules are checked.
    pub executor: Option<&'a dyn Execute>,
}

/// A problem's graph with its gradient.
pub struct GradientGraph {
    /// The graph, without outputs.
    pub graph: Graph,
    /// The derivative by each variable.
    pub gradients: Vec<NodeId>,
}

impl GradientGraph {
    /// Differentiates the scalar by all variables.
    ///
    /// # Errors
    /// If some operation has no gradient.
    pub fn new(
        problem: &Problem,
        differentiator: &Differentiator<'_>,
    ) -> Result<GradientGraph, DifferentiationError> {
        let mut graph = problem.graph().clone();
        graph.outputs.clear();
        let nodes: Vec<NodeId> =
            problem.variables().iter().flat_map(|variable| variable.nodes.clone()).collect();
        let mut parts = differentiator.gradient(&mut graph, problem.loss(), &nodes)?.into_iter();
        let gradient = |Variable { nodes, .. }: &Variable| {
            let parts: Vec<NodeId> = parts.by_ref().take(nodes.len()).flatten().collect();
            let sum = parts.into_iter().reduce(|sum, part| graph.add(sum, part));
            sum.unwrap_or_else(|| graph.constant_like(nodes[0], 0.0))
        };
        let gradients = problem.variables().iter().map(gradient).collect();
        Ok(GradientGraph { graph, gradients })
    }
}

/// A way to move all variables.
struct Direction {
    name: String,
    /// Per variable, the movement of each element.
    steps: Vec<Vec<f64>>,
}

/// Checks one case.
///
/// # Errors
/// If some operation has no gradient, or the compiler fails.
pub fn check_case(
    problem: &Problem,
    case: &Case,
    slots: &[Array],
    methods: &Methods<'_>,
) -> Result<Outcome, CaseError> {
    let directions = directions(problem, case);
    let outcome = check_rules(problem, case, slots, methods.differentiator, &directions)?;
    match (outcome, methods.executor) {
        (Outcome::Agrees(agreement), Some(executor)) => {
            let context = Context { slots, seed: case.seed, step: 0 };
            let gradient = GradientGraph::new(problem, methods.differentiator)?;
            check_compiled(gradient, context, executor, &directions, agreement)
        }
        (outcome, _) => Ok(outcome),
    }
}

/// The first link: gradient rules against differences.
fn check_rules(
    problem: &Problem,
    case: &Case,
    slots: &[Array],
    differentiator: &Differentiator<'_>,
    directions: &[Direction],
) -> Result<Outcome, CaseError> {
    let problem = problem.in_f64();
    let slots: Vec<Array> = slots.iter().map(array_in_f64).collect();
    let context = Context { slots: &slots, seed: case.seed, step: 0 };
    let loss = problem.loss();
    let mut scalar = Projection::new(problem.graph().clone(), &[loss], context)?;
    if !scalar.values()[loss.index()].values[0].is_finite() {
        return Ok(Outcome::Skipped("the result is not finite"));
    }
    let rounding = scalar.along(&[vec![1.0]], context).rounding;
    let GradientGraph { graph, gradients } = GradientGraph::new(&problem, differentiator)?;
    let evaluator = Evaluator { context, ..Evaluator::new(&[]) };
    let values = evaluator.values(&graph);
    let gradients: Vec<Array> = gradients.iter().map(|node| values[node.index()].clone()).collect();
    // Not those of the projection, whose loops have more results.
    let base = evaluator.values(problem.graph());
    let function = Function::new(problem.graph(), (loss, &[1.0]), &base, context);

    let mut agreement = Agreement::default();
    for Direction { name, steps } in directions {
        let analytic = inner_product(&gradients, steps);
        match function.slope(&movements(&problem, steps), rounding, analytic) {
            Slope::Smooth { value, error } => {
                let mismatch = Mismatch::of_rules(name.clone(), (value, error), &gradients, steps);
                agreement.derivatives += 1;
                if agreement.differs(&mismatch) {
                    return Ok(Outcome::Differs(mismatch));
                }
            }
            // At a kink any slope between those on both sides is right. Others may be, too: a
            // side may hold more kinks.
            Slope::Kink { low, high } if low <= analytic && analytic <= high => {
                agreement.derivatives += 1;
            }
            Slope::Kink { .. } => agreement.kinks += 1,
            Slope::Unknown => agreement.unknown += 1,
        }
    }
    match agreement.derivatives {
        0 if agreement.kinks > 0 => Ok(Outcome::Skipped("some operation is at a kink")),
        0 if agreement.unknown > 0 => Ok(Outcome::Skipped("differences are no finite numbers")),
        _ => Ok(Outcome::Agrees(agreement)),
    }
}

/// The other links: the gradient's graph, optimized and compiled, against the graph itself.
fn check_compiled(
    GradientGraph { graph, gradients }: GradientGraph,
    context: Context<'_>,
    executor: &dyn Execute,
    directions: &[Direction],
    mut agreement: Agreement,
) -> Result<Outcome, CaseError> {
    if !is_finite_in_f32(&graph, &gradients, context) {
        return Ok(Outcome::Skipped("the gradient is not finite in f32"));
    }
    let mut gradient = Projection::new(graph.clone(), &gradients, context)?;
    let results = run_both(executor, graph, &gradients, context)?;
    for Direction { name, steps } in directions {
        let exact = gradient.along(steps, context);
        if !exact.is_finite() {
            agreement.unknown += 1;
            continue;
        }
        for (link, outputs) in &results {
            let mismatch = Mismatch {
                link: *link,
                derivative: name.clone(),
                expected: exact.value,
                actual: inner_product(outputs, steps),
                tolerance: tolerance(exact.rounding),
            };
            if agreement.differs(&mismatch) {
                return Ok(Outcome::Differs(mismatch));
            }
        }
    }
    Ok(Outcome::Agrees(agreement))
}

/// Runs a graph, in which these nodes are the outputs, after optimization: in the reference
/// evaluator and natively.
///
/// # Errors
/// If the compiler fails.
pub fn run_both(
    executor: &dyn Execute,
    mut graph: Graph,
    outputs: &[NodeId],
    context: Context<'_>,
) -> Result<[(Link, Vec<Array>); 2], CaseError> {
    let output = |(number, &node)| Output { name: format!("result {number}"), node };
    graph.outputs = outputs.iter().enumerate().map(output).collect();
    graph.prune();
    let execution = executor.execute(&graph, context).map_err(CaseError::Compiler)?;
    let evaluator = Evaluator { context, ..Evaluator::new(&[]) };
    let optimized = evaluator.run(&execution.optimized).outputs;
    Ok([(Link::Optimizer, optimized), (Link::NativeCode, execution.outputs)])
}

/// How much an inner product computed in f32 may differ from the exact one.
pub fn tolerance(rounding: f64) -> f64 {
    // Half the distance between 1 and the next number is what rounding to nearest changes; the
    // smallest normal number is where results may be flushed to zero.
    let roundoff = f64::from(f32::EPSILON) / 2.0;
    ROUNDOFFS * roundoff * rounding + f64::from(f32::MIN_POSITIVE)
}

/// The sum of the inner products of arrays and directions.
pub fn inner_product(arrays: &[Array], steps: &[Vec<f64>]) -> f64 {
    terms(arrays, steps).sum()
}

/// The sum of the sizes of the terms of the inner products.
fn sum_of_sizes(arrays: &[Array], steps: &[Vec<f64>]) -> f64 {
    terms(arrays, steps).map(f64::abs).sum()
}

fn terms(arrays: &[Array], steps: &[Vec<f64>]) -> impl Iterator<Item = f64> {
    let pairs = arrays.iter().zip(steps).flat_map(|(array, steps)| array.values.iter().zip(steps));
    // What is not moved does not count, even if it is not finite.
    pairs.filter(|(_, step)| **step != 0.0).map(|(value, step)| value * step)
}

impl Mismatch {
    /// A central difference with its error, and the inner product of what gradient rules give.
    pub fn of_rules(
        derivative: String,
        (expected, error): (f64, f64),
        gradients: &[Array],
        steps: &[Vec<f64>],
    ) -> Mismatch {
        let sizes = sum_of_sizes(gradients, steps);
        Mismatch {
            link: Link::GradientRules,
            derivative,
            expected,
            actual: inner_product(gradients, steps),
            tolerance: error + if sizes.is_finite() { SMALLEST_DIFFERENCE * sizes } else { 0.0 },
        }
    }

    /// The difference in units of the tolerance.
    pub fn ratio(&self) -> f64 {
        match (self.expected - self.actual).abs() {
            0.0 => 0.0,
            difference => difference / self.tolerance,
        }
    }

    /// Whether the two numbers differ more than they may. A number that is none always does.
    pub fn is_real(&self) -> bool {
        let is_tolerable = self.ratio() <= 1.0;
        !is_tolerable
    }
}

impl Agreement {
    /// Takes note of two numbers that should be the same; whether they differ.
    fn differs(&mut self, compared: &Mismatch) -> bool {
        self.worst = self.worst.max(compared.ratio());
        compared.is_real()
    }
}

/// The nodes that move when the variables do.
fn movements<'a>(problem: &'a Problem, steps: &'a [Vec<f64>]) -> Vec<(NodeId, &'a [f64])> {
    let variables = problem.variables().iter().zip(steps);
    let moves = |(variable, steps): (&'a Variable, &'a Vec<f64>)| {
        variable.nodes.iter().map(move |node| (*node, steps.as_slice()))
    };
    variables.flat_map(moves).collect()
}

/// Random directions of everything, then the elements of small variables.
fn directions(problem: &Problem, case: &Case) -> Vec<Direction> {
    let counts: Vec<usize> = (problem.variables().iter())
        .map(|variable| problem.graph().slots[variable.slot as usize].ty.elements())
        .collect();
    let joint = |number| Direction {
        name: "along a random direction of all variables".to_owned(),
        steps: (counts.iter().enumerate())
            .map(|(part, &count)| case.direction(number, part, count))
            .collect(),
    };
    let mut directions: Vec<Direction> = (0..JOINT_DIRECTIONS).map(joint).collect();
    let zeros: Vec<Vec<f64>> = counts.iter().map(|&count| vec![0.0; count]).collect();
    let elements = counts.iter().enumerate().filter(|(_, count)| **count <= SMALL);
    let elements = elements.flat_map(|(part, &count)| (0..count).map(move |at| (part, at)));
    let affordable = (MOST_FLOPS / flops(problem.graph()).max(1.0)) as usize;
    for (part, element) in elements.take(affordable.min(MOST_ELEMENTS)) {
        let variable = &problem.variables()[part];
        let shape = &problem.graph().slots[variable.slot as usize].ty.shape;
        let mut steps = zeros.clone();
        steps[part][element] = 1.0;
        let name = format!("by `{}`{}", variable.name, index_of(element, shape));
        directions.push(Direction { name, steps });
    }
    directions
}

/// Arithmetic operations of a graph.
fn flops(graph: &Graph) -> f64 {
    let of_node = |node: &Node| {
        let types: Vec<&TensorType> =
            node.operands.iter().map(|operand| graph.type_of(*operand)).collect();
        node.op.primitive().flops(&types, &node.ty)
    };
    graph.nodes.iter().map(of_node).sum()
}

/// The index of the element at a row-major position, in brackets; nothing for a scalar.
fn index_of(mut element: usize, shape: &[usize]) -> String {
    let mut index: Vec<String> = Vec::new();
    for &extent in shape.iter().rev() {
        index.push((element % extent).to_string());
        element /= extent;
    }
    index.reverse();
    if index.is_empty() { String::new() } else { format!("[{}]", index.join(", ")) }
}

fn is_finite_in_f32(graph: &Graph, nodes: &[NodeId], context: Context<'_>) -> bool {
    let evaluator = Evaluator { context, precision: Precision::Single, ..Evaluator::new(&[]) };
    let values = evaluator.values(graph);
    nodes.iter().all(|node| values[node.index()].values.iter().all(|value| value.is_finite()))
}
