//! Cygnet: a small language for neural networks, compiled to native CPU code as one optimized graph.
