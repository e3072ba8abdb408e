//! The optimizer: from a graph to fused kernels, in two levels.
//!
//! Level one ([`algebra`]) rewrites the graph; level two ([`fusion`]) covers it with kernels.
//! Between them, [`expand`] replaces what kernels are not made of, and [`prepare`] takes out what
//! depends on fixed weights alone. Both levels build an e-graph, extract from it with [`extract`],
//! and price by the predicted time of [`cost`].

pub mod algebra;
mod chains;
pub mod cost;
pub mod expand;
pub mod extract;
pub mod fusion;
mod joins;
mod lookups;
pub mod loops;
mod orientation;
mod panels;
pub mod prepare;
mod rectified;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::graph::Graph;
use crate::narrow;
use crate::op::Op;
use algebra::AlgebraReport;

/// What the optimizer may change about results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MathMode {
    /// Nothing: not even rounding.
    Strict,
    /// Rounding, not what is infinite or NaN.
    #[default]
    Default,
    /// Also what is infinite or NaN: no value is assumed to be.
    Finite,
}

impl FromStr for MathMode {
    type Err = UnknownMathMode;

    fn from_str(name: &str) -> Result<MathMode, UnknownMathMode> {
        match name {
            "strict" => Ok(MathMode::Strict),
            "default" => Ok(MathMode::Default),
            "finite" => Ok(MathMode::Finite),
            _ => Err(UnknownMathMode),
        }
    }
}

/// There is no [`MathMode`] of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected `strict`, `default` or `finite`")]
pub struct UnknownMathMode;

/// What the optimizer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OptimizeOptions {
    /// Whether level one rewrites the graph.
    pub algebra: bool,
    /// Whether level two joins nodes in kernels; otherwise each node is a kernel of its own.
    pub fusion: bool,
    /// What may change about results.
    pub math: MathMode,
    /// Whether parameters and buffers that the graph does not update keep their values over many
    /// steps, so that what depends on them alone is computed once ([`prepare`]).
    pub fixed_weights: bool,
}

impl Default for OptimizeOptions {
    fn default() -> OptimizeOptions {
        OptimizeOptions {
            algebra: true,
            fusion: true,
            math: MathMode::Default,
            fixed_weights: false,
        }
    }
}

/// What level one did to a graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptimizeReport {
    /// Nodes before.
    pub nodes_before: usize,
    /// Nodes after.
    pub nodes_after: usize,
    /// Arithmetic operations before.
    pub flops_before: f64,
    /// Arithmetic operations after.
    pub flops_after: f64,
    /// Rules and the e-graph; empty if algebra is off.
    pub algebra: AlgebraReport,
}

/// Optimizes the bodies of loops, each on its own. The graph around sees a loop as one operation.
fn optimize_bodies(graph: &mut Graph, options: &OptimizeOptions) {
    for node in &mut graph.nodes {
        if let Op::Scan(scan) = &mut node.op {
            // What is fixed outside is a capture inside, like any other.
            let options = OptimizeOptions { fixed_weights: false, ..*options };
            scan.body = Arc::new(optimize(&scan.body, &options).0);
        }
    }
}

/// Level one: a graph that computes the same in less time, and what was done to it. Slots,
/// outputs, updates and guards keep their order.
pub fn optimize(graph: &Graph, options: &OptimizeOptions) -> (Graph, OptimizeReport) {
    let mut needed = graph.clone();
    needed.prune();
    if options.algebra {
        needed = narrow::narrow_all(&needed);
        if options.math != MathMode::Strict {
            needed = chains::associate(&needed);
        }
        needed = joins::join_parts(&loops::rearrange(&needed, options.math));
    }
    optimize_bodies(&mut needed, options);
    let (mut result, algebra) = if options.algebra {
        algebra::simplify(&needed, options)
    } else {
        (needed, AlgebraReport::default())
    };
    if options.algebra {
        if options.math != MathMode::Strict {
            result = lookups::multiply_tables(&result);
        }
        result = rectified::compare_results(&result);
        result = loops::pack_captures(&orientation::orient_products(&result));
    }
    let result = expand::expand(result, options);
    let report = OptimizeReport {
        nodes_before: graph.nodes.len(),
        nodes_after: result.nodes.len(),
        flops_before: graph.flops(),
        flops_after: result.flops(),
        algebra,
    };
    (result, report)
}
