//! The meaning of programs: from syntax trees to graphs.

pub mod bindings;
pub mod builtins;
pub mod check;
pub mod definition;
pub mod elaborate;
pub mod evaluate;
pub mod glob;
pub mod initializer;
pub mod instance;
pub mod metric;
mod optimizer;
pub mod package;
pub mod program;
pub mod recipe;
mod resolve;
pub mod scope;
pub mod selection;
pub mod signature;
pub mod size;
pub mod standard;
pub mod value;
