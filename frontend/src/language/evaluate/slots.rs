//! What outlives a step: parameters, state, run-time scalars.

use std::collections::HashMap;

use cygnet_compiler::graph::{NodeId, SlotRole};
use cygnet_compiler::types::DType;

use crate::language::initializer::Initializer;
use crate::language::instance::Root;
use crate::language::value::{Axis, Tensor};
use crate::source::Span;

/// A parameter or state of the program.
#[derive(Clone, Debug)]
pub struct SlotRecord {
    /// Its path, unique.
    pub path: String,
    /// What it is for.
    pub role: SlotRole,
    /// Element type.
    pub dtype: DType,
    /// Its axes.
    pub axes: Vec<Axis>,
    /// How it starts; `None` if that depends on free dims.
    pub initializer: Option<Initializer>,
    /// Where it is declared.
    pub span: Span,
    /// The place of the user's program that uses the layer, or the declaration itself.
    pub place: Span,
    /// The shared instance it belongs to.
    pub root: Root,
    /// Its number in the graph, in an elaboration.
    pub slot: Option<u32>,
    /// The nodes with its value in this step: before the step, then after each update.
    pub versions: Vec<NodeId>,
    /// The node with its value now.
    pub current: Option<NodeId>,
    /// Whether it has a new value.
    pub changed: bool,
    /// Whether it begins anew with every pass over the samples: state of a metric or recipe.
    pub per_pass: bool,
}

impl SlotRecord {
    /// Its value now.
    pub fn tensor(&self) -> Tensor {
        Tensor { dtype: self.dtype, axes: self.axes.clone(), node: self.current }
    }
}

/// All parameters and states, in the order of their declarations.
#[derive(Debug, Default)]
pub struct Slots {
    records: Vec<SlotRecord>,
    by_path: HashMap<String, usize>,
    /// The run-time scalars, by name.
    pub scalars: Vec<(String, u32)>,
}

impl Slots {
    /// All records.
    pub fn records(&self) -> &[SlotRecord] {
        &self.records
    }

    /// The number of the record with this path.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// The record with this number.
    pub fn record(&self, number: usize) -> &SlotRecord {
        &self.records[number]
    }

    /// Adds a record and returns its number.
    pub fn add(&mut self, record: SlotRecord) -> usize {
        let number = self.records.len();
        self.by_path.insert(record.path.clone(), number);
        self.records.push(record);
        number
    }

    /// Replaces the identities of a record's axes by those of another call of its instance.
    pub fn rename_axes(&mut self, number: usize, axes: Vec<Axis>) {
        self.records[number].axes = axes;
    }

    /// Lets a record begin anew with every pass over the samples.
    pub fn begin_with_pass(&mut self, number: usize) {
        self.records[number].per_pass = true;
    }

    /// Gives a record a new value.
    pub fn update(&mut self, number: usize, node: Option<NodeId>) {
        let record = &mut self.records[number];
        record.versions.extend(node);
        record.current = node;
        record.changed = true;
    }
}
