//! Capability tests: what a user can do with Cygnet, one module per capability.

mod data;
mod syntax;
mod syntax_errors;
