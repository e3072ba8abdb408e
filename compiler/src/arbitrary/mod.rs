//! Random well-typed graphs, for tests of everything that takes a graph.
//!
//! A graph is built step by step from a random plan; steps that do not fit are left out. Every
//! step of a plan can be removed or simplified on its own, so failing graphs shrink to a few nodes.
//! Operands of functions with a limited [domain](crate::op::elementwise::Domain) are squeezed into
//! it where they are not in it anyway, so all values are finite and derivatives moderate.

mod build;
mod plan;
#[cfg(test)]
mod tests;

use std::fmt;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::array::Array;
use crate::differentiate;
use crate::graph::{Emit, Graph, NodeId, SlotRole, Update};
use crate::op::Op;
use crate::types::DType;

/// What random graphs may contain.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Element type of the float slots: F32 or F64.
    pub dtype: DType,
    /// Largest number of steps. Most steps add one node, some a few.
    pub steps: usize,
    /// Largest number of elements of a node.
    pub elements: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { dtype: DType::F32, steps: 12, elements: 64 }
    }
}

/// A random graph and values of its slots.
///
/// Every node that no other node reads is an output. So is `loss`, a float scalar that depends on
/// all of them and is also a guard.
#[derive(Clone)]
pub struct RandomGraph {
    /// A valid graph.
    pub graph: Graph,
    /// Values of its slots.
    pub slots: Vec<Array>,
    /// The output `loss`.
    pub loss: NodeId,
}

/// The graph as text and the slots' values: what a failing test shows.
impl fmt::Debug for RandomGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.graph)?;
        for (info, value) in self.graph.slots.iter().zip(&self.slots) {
            writeln!(f, "{} = {:?}", info.name, value.values)?;
        }
        Ok(())
    }
}

impl RandomGraph {
    /// The nodes that read the parameters, in slot order.
    pub fn parameters(&self) -> Vec<NodeId> {
        let is_parameter = |id: &NodeId| match &self.graph.node(*id).op {
            Op::Slot(slot) => self.graph.slots[slot.index as usize].role == SlotRole::Parameter,
            _ => false,
        };
        self.graph.iter().map(|(id, _)| id).filter(is_parameter).collect()
    }

    /// The same as a training step: each parameter on which the loss depends is updated by a
    /// small step against the gradient.
    #[must_use]
    pub fn training_step(mut self) -> RandomGraph {
        let parameters = self.parameters();
        let gradients = differentiate::gradient(&mut self.graph, self.loss, &parameters)
            .expect("random graphs are differentiable");
        for (parameter, gradient) in parameters.into_iter().zip(gradients) {
            let (Some(gradient), Op::Slot(slot)) =
                (gradient, self.graph.node(parameter).op.clone())
            else {
                continue;
            };
            let rate = self.graph.constant_like(gradient, 0.0625);
            let step = self.graph.mul(rate, gradient);
            let node = self.graph.sub(parameter, step);
            self.graph.updates.push(Update { slot: slot.index, node });
        }
        self
    }
}

/// The configuration of property tests: this many cases, always the same ones, and no files
/// written. `CYGNET_SEED=N` tries others; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` have no effect.
pub fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("CYGNET_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 10_000,
        rng_seed: RngSeed::Fixed(0x0c79_6e65_7400u64.wrapping_add(asked.unwrap_or(0))),
        ..ProptestConfig::default()
    }
}

/// Random graphs with the default options.
pub fn graph() -> impl Strategy<Value = RandomGraph> {
    graph_with(Options::default())
}

/// Random graphs.
pub fn graph_with(options: Options) -> impl Strategy<Value = RandomGraph> {
    plan::plan(options.steps).prop_map(move |plan| build::build(&plan, &options))
}

/// Random training steps with the default options.
pub fn training_step() -> impl Strategy<Value = RandomGraph> {
    graph().prop_map(RandomGraph::training_step)
}
