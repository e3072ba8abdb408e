//! The optimizer: from a graph to fused kernels, in two levels.
//!
//! Level one rewrites the graph by algebra; level two ([`fusion`]) covers it with kernels. Both
//! decide by the predicted time of [`cost`].

pub mod cost;
pub mod extract;
pub mod fusion;
#[cfg(test)]
mod samples;

/// What the optimizer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptimizeOptions {
    /// Whether level two joins nodes in kernels; otherwise each node is a kernel of its own.
    pub fusion: bool,
}

impl Default for OptimizeOptions {
    fn default() -> OptimizeOptions {
        OptimizeOptions { fusion: true }
    }
}
