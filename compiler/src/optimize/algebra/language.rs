//! Terms of the e-graph: operations applied to classes of equal tensors.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use egg::{Id, Language};
use smallvec::SmallVec;

use crate::op::{Elementwise, Op};

/// Number of an operation with its attributes in an [`Operations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(u32);

/// The operations that occur in an e-graph, each once. Elementwise functions come first, in the
/// order of their table.
#[derive(Clone, Debug)]
pub struct Operations {
    operations: Vec<Op>,
    numbers: HashMap<Op, OperationId>,
}

impl Default for Operations {
    /// The elementwise functions.
    fn default() -> Operations {
        let mut operations = Operations { operations: Vec::new(), numbers: HashMap::new() };
        for function in Elementwise::all() {
            operations.number(function.into());
        }
        operations
    }
}

impl Operations {
    /// The number of an operation.
    pub fn number(&mut self, op: Op) -> OperationId {
        if let Some(&known) = self.numbers.get(&op) {
            return known;
        }
        let number = OperationId(self.operations.len() as u32);
        self.operations.push(op.clone());
        self.numbers.insert(op, number);
        number
    }

    /// The operation with this number.
    pub fn get(&self, id: OperationId) -> &Op {
        &self.operations[id.0 as usize]
    }
}

/// What e-nodes are searched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An elementwise function, each of them a kind.
    Function(Elementwise),
    /// [`Op::Slot`].
    Slot,
    /// [`Op::Constant`].
    Constant,
    /// [`Op::Iota`].
    Iota,
    /// [`Op::Random`].
    Random,
    /// [`Op::Cast`].
    Cast,
    /// [`Op::View`], and whatever else moves the elements of one operand.
    View,
    /// [`Op::Concat`].
    Concat,
    /// [`Op::Reduce`].
    Reduce,
    /// [`Op::ArgReduce`].
    ArgReduce,
    /// [`Op::Contract`].
    Contract,
    /// [`Op::Gather`].
    Gather,
    /// What a routine of the runtime computes ([`Op::routine`]).
    Routine,
    /// [`Op::Conv`].
    Conv,
    /// [`Op::Fold`].
    Fold,
    /// [`Op::StopGradient`].
    StopGradient,
    /// [`Op::Scan`].
    Scan,
    /// [`Op::Port`].
    Port,
}

impl Kind {
    /// The kind of an operation.
    pub fn of(op: &Op) -> Kind {
        match op {
            Op::Elementwise(function) => Kind::Function(*function),
            Op::Slot(_) => Kind::Slot,
            Op::Constant(_) => Kind::Constant,
            Op::Iota(_) => Kind::Iota,
            Op::Random(_) => Kind::Random,
            Op::Cast(_) => Kind::Cast,
            Op::Reshape(_)
            | Op::Permute(_)
            | Op::Broadcast(_)
            | Op::Slice(_)
            | Op::Reverse(_)
            | Op::Pad(_)
            | Op::Unfold(_)
            | Op::View(_) => Kind::View,
            Op::Concat(_) => Kind::Concat,
            Op::Reduce(_) => Kind::Reduce,
            Op::ArgReduce(_) => Kind::ArgReduce,
            Op::Contract(_) => Kind::Contract,
            Op::Gather(_) => Kind::Gather,
            Op::Scatter(_)
            | Op::Cumulate(_)
            | Op::ArgSort(_)
            | Op::Interleave(_)
            | Op::Winograd(_)
            | Op::WinogradInput(_)
            | Op::WinogradKernel(_)
            | Op::WinogradGradient(_)
            | Op::WinogradTaps(_) => Kind::Routine,
            Op::Conv(_) => Kind::Conv,
            Op::Fold(_) => Kind::Fold,
            Op::StopGradient(_) => Kind::StopGradient,
            Op::Scan(_) => Kind::Scan,
            Op::Port(_) => Kind::Port,
        }
    }
}

/// Number of an entry in a [`super::facts::Provenance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// An operation applied to classes. Where it comes from is carried along, but makes no
/// difference.
#[derive(Clone, Debug)]
pub struct Term {
    /// What it is searched by.
    pub kind: Kind,
    /// The operation.
    pub operation: OperationId,
    /// Operands.
    pub children: SmallVec<[Id; 3]>,
    /// Where it comes from.
    pub source: SourceId,
}

impl Term {
    fn key(&self) -> (Kind, OperationId, &[Id]) {
        (self.kind, self.operation, &self.children)
    }
}

impl PartialEq for Term {
    fn eq(&self, other: &Term) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Term {}

impl PartialOrd for Term {
    fn partial_cmp(&self, other: &Term) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Term {
    fn cmp(&self, other: &Term) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Hash for Term {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.operation.hash(state);
        self.children.hash(state);
    }
}

impl Language for Term {
    type Discriminant = Kind;

    fn discriminant(&self) -> Kind {
        self.kind
    }

    fn matches(&self, other: &Term) -> bool {
        self.operation == other.operation && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}
