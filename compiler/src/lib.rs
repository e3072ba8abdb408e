//! The Cygnet compiler: computation graph, differentiation, e-graph optimizer, scheduler and code generation.
