//! Gradients against central differences of the reference evaluator.

mod convolution;
mod elementwise;
mod graphs;
mod indexing;
mod rules;
mod structure;

use crate::array::Array;
use crate::differentiate::{Differentiator, gradient};
use crate::evaluate::Evaluator;
use crate::graph::{Emit, Graph, NodeId, SlotRole};
use crate::op::Iota;
use crate::types::{Axes, DType, TensorType};

/// Step of central differences: the error is of the order of its square times the third
/// derivative, plus rounding divided by it.
const STEP: f64 = 1e-5;

/// Largest difference, relative to one plus the derivative.
const TOLERANCE: f64 = 1e-6;

/// A dense F64 array.
fn array(shape: &[usize], values: &[f64]) -> Array {
    Array::new(TensorType::new(DType::F64, shape), values.to_vec())
}

/// A function of slots as a graph, with the gradient of a weighted sum of its result.
struct Problem {
    graph: Graph,
    inputs: Vec<Array>,
    result: NodeId,
    /// By input; the float inputs have one if the result depends on them.
    gradients: Vec<Option<NodeId>>,
}

impl Problem {
    fn new(
        differentiator: &Differentiator<'_>,
        inputs: &[Array],
        build: impl FnOnce(&mut Graph, &[NodeId]) -> NodeId,
    ) -> Problem {
        let mut graph = Graph::new();
        let slot = |graph: &mut Graph, ty: &TensorType| {
            let name = format!("x{}", graph.slots.len());
            let index = graph.declare_slot(&name, SlotRole::Input, ty.clone());
            graph.read_slot(index)
        };
        let nodes: Vec<NodeId> = inputs.iter().map(|input| slot(&mut graph, &input.ty)).collect();
        let result = build(&mut graph, &nodes);
        let ty = graph.type_of(result).clone();
        let weights = slot(&mut graph, &ty);
        let weighted = graph.mul(result, weights);
        let axes: Axes = (0..ty.rank()).collect();
        let loss = graph.sum(weighted, &axes);
        let floats: Vec<NodeId> =
            nodes.iter().copied().filter(|&node| graph.type_of(node).dtype.is_float()).collect();
        let mut found =
            differentiator.gradient(&mut graph, loss, &floats).expect("a gradient").into_iter();
        let gradients = (inputs.iter())
            .map(|input| if input.ty.dtype.is_float() { found.next().flatten() } else { None })
            .collect();
        graph.verify().unwrap();
        Problem { graph, inputs: inputs.to_vec(), result, gradients }
    }

    fn result(&self, inputs: &[Array]) -> Array {
        let weights = Array::filled(self.graph.type_of(self.result).clone(), 1.0);
        let slots = [inputs, &[weights]].concat();
        Evaluator::new(&slots).values(&self.graph)[self.result.index()].clone()
    }

    /// The gradient by every input for these weights.
    fn gradient(&self, weights: Array) -> Vec<Array> {
        let slots = [&self.inputs[..], &[weights]].concat();
        let values = Evaluator::new(&slots).values(&self.graph);
        let gradient = |(input, node): (&Array, &Option<NodeId>)| match node {
            Some(node) => values[node.index()].clone(),
            None => Array::filled(input.ty.clone(), 0.0),
        };
        self.inputs.iter().zip(&self.gradients).map(gradient).collect()
    }

    /// The largest difference between the Jacobian by reverse mode, row by row, and by central
    /// differences, column by column; relative to one plus the derivative.
    fn error(&self) -> f64 {
        let elements = self.result(&self.inputs).values.len();
        let rows: Vec<Vec<Array>> = (0..elements)
            .map(|element| {
                let mut weights = Array::filled(self.graph.type_of(self.result).clone(), 0.0);
                weights.values[element] = 1.0;
                self.gradient(weights)
            })
            .collect();
        let mut error = 0.0f64;
        for (input, array) in self.inputs.iter().enumerate() {
            if !array.ty.dtype.is_float() {
                continue;
            }
            for position in 0..array.values.len() {
                let shifted = |distance: f64| {
                    let mut inputs = self.inputs.clone();
                    inputs[input].values[position] += distance;
                    self.result(&inputs).values
                };
                for (row, (above, below)) in shifted(STEP).iter().zip(shifted(-STEP)).enumerate() {
                    let expected = (above - below) / (2.0 * STEP);
                    let found = rows[row][input].values[position];
                    let difference = (found - expected).abs() / (1.0 + expected.abs());
                    // NaN counts as the largest error.
                    error = if difference <= error { error } else { difference };
                }
            }
        }
        error
    }
}

/// Asserts that the gradient of what `build` makes of the inputs is right.
fn assert_gradient(inputs: &[Array], build: impl FnOnce(&mut Graph, &[NodeId]) -> NodeId) {
    let problem = Problem::new(&Differentiator::default(), inputs, build);
    let error = problem.error();
    assert!(error < TOLERANCE, "error {error} for {inputs:?} in\n{}", problem.graph);
}

/// Asserts that the first and the second derivatives are right: those of the sum of the result's
/// elements with different weights.
fn assert_gradients(inputs: &[Array], build: impl Fn(&mut Graph, &[NodeId]) -> NodeId) {
    assert_gradient(inputs, &build);
    for variable in 0..inputs.len() {
        if !inputs[variable].ty.dtype.is_float() {
            continue;
        }
        assert_gradient(inputs, |graph, nodes| {
            let result = build(graph, nodes);
            let elements = graph.type_of(result).elements();
            let flat = graph.reshape(result, &[elements]);
            let position = Iota { axis: 0, dtype: DType::F64, shape: [elements].as_slice().into() };
            let position = graph.emit(position.into(), &[]);
            let weights = graph.apply("cos", &[position]);
            let weighted = graph.mul(flat, weights);
            let loss = graph.sum(weighted, &[0]);
            let gradients = gradient(graph, loss, &[nodes[variable]]);
            gradients.unwrap()[0].unwrap_or_else(|| graph.constant_like(nodes[variable], 0.0))
        });
    }
}

/// Differentiation in which the cotangents that operations called `name` give are too large by
/// the given factor.
fn planted(name: &'static str, factor: f64) -> Differentiator<'static> {
    Differentiator::default().with_rule(name, move |op, graph, at| {
        let right = op.primitive().gradient(graph, at).unwrap();
        let scaled = |part: Option<NodeId>| {
            let part = part?;
            let factor = graph.constant_like(part, factor);
            Some(graph.mul(part, factor))
        };
        right.into_iter().map(scaled).collect()
    })
}
