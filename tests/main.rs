//! Capability tests: what a user can do with Cygnet, one module per capability.

mod arrangement;
mod attention;
mod check;
mod convolution;
mod data;
mod elaborate;
mod entry_points;
mod format;
mod golden;
mod gradcheck;
mod inspect;
mod language;
mod metrics;
mod networks;
mod normalization;
mod pretrained;
mod recipes;
mod recurrent;
mod reference;
mod scan;
mod semantics;
mod syntax;
mod syntax_errors;
mod syntax_fuzz;
mod training;
mod tune;
