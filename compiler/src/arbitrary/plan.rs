//! Plans: what a random graph is built from.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::op::{ArgKind, Elementwise, RandomKind, ReduceKind, ScatterKind};
use crate::types::DType;

/// A plan for a graph.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The slots.
    pub slots: Vec<SlotPlan>,
    /// What is added, one after the other.
    pub steps: Vec<Step>,
    /// Where the slots' values come from.
    pub seed: u64,
}

/// A plan for a slot.
#[derive(Clone, Debug)]
pub(super) struct SlotPlan {
    /// Extents.
    pub shape: Vec<usize>,
    /// What it holds.
    pub kind: SlotKind,
}

/// Kinds of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// Floats that are varied.
    Parameter,
    /// Floats that are given.
    Input,
    /// Small integers.
    Labels,
}

/// A step. Operands are chosen, by their [`Index`], among the nodes that fit.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// An elementwise function, of nodes of one shape.
    Elementwise(Elementwise, [Index; 3]),
    /// A conversion.
    Cast(DType, Index),
    /// Another shape: first and second extent chosen among divisors.
    Reshape(Index, [Index; 2]),
    /// The axes as ranked by these numbers.
    Permute(Index, [u8; 4]),
    /// New axes at these places, of these extents.
    Broadcast(Index, Vec<(Index, usize)>),
    /// Start, length and step per axis.
    Slice(Index, [(Index, Index, usize); 4]),
    /// The marked axes reversed.
    Reverse(Index, [bool; 4]),
    /// Low, high and interior padding per axis, and its value.
    Pad(Index, [(usize, usize, usize); 4], i8),
    /// This many operands along an axis.
    Concat(Vec<Index>, Index),
    /// A reduction over the marked axes.
    Reduce(ReduceKind, Index, [bool; 4]),
    /// Position of the extreme.
    ArgReduce(ArgKind, Index, Index),
    /// A product; pairs of axes of equal extents become batch axes, are contracted or left.
    Contract([Index; 2], [Pairing; 3]),
    /// Slices of a tensor at indices, with up to this many batch axes.
    Gather([Index; 2], usize),
    /// Slices of the first node's shape put at indices of an axis of this extent, with up to so
    /// many batch axes.
    Scatter(ScatterKind, [Index; 2], usize, usize),
    /// Combinations along an axis, reversed or not, exclusive or not.
    Cumulate(ReduceKind, [Index; 2], [bool; 2]),
    /// Positions of the first elements in descending or ascending order.
    ArgSort(bool, [Index; 2]),
    /// Random numbers in the shape of a node.
    Random(RandomKind, Index),
    /// A constant in the shape of a node.
    Constant(Index, i8),
    /// Positions along an axis of a node's shape.
    Iota(Index, Index),
    /// A node hidden from differentiation.
    StopGradient(Index),
    /// A softmax over the last axis, composed as the library does it.
    Softmax(Index),
    /// A loop.
    Scan(Box<ScanPlan>),
}

/// A plan for a loop.
#[derive(Clone, Debug)]
pub(super) struct ScanPlan {
    /// Number of steps, if no sequence says it.
    pub length: usize,
    /// Whether the last elements of sequences come first.
    pub reverse: bool,
    /// What is carried, and the new value among the nodes of the body.
    pub carries: Vec<[Index; 2]>,
    /// What the steps have elements of.
    pub sequences: Vec<Index>,
    /// The body.
    pub steps: Vec<Step>,
    /// What is yielded, among the nodes of the body.
    pub yields: Vec<Index>,
    /// The node of the body whose sum being positive ends the loop.
    pub until: Option<Index>,
}

/// What becomes of a pair of axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairing {
    /// Summed over.
    Contract,
    /// Kept together.
    Batch,
    /// Not paired.
    Leave,
}

/// Plans of up to this many steps.
pub(super) fn plan(steps: usize) -> impl Strategy<Value = Plan> {
    let kind = prop_oneof![
        4 => Just(SlotKind::Parameter),
        2 => Just(SlotKind::Input),
        1 => Just(SlotKind::Labels),
    ];
    let slot = (prop::collection::vec(1..=3usize, 0..=3), kind)
        .prop_map(|(shape, kind)| SlotPlan { shape, kind });
    let slots = prop::collection::vec(slot, 1..=4);
    let inner = prop_oneof![12 => step(), 1 => scan(step())];
    let steps = prop::collection::vec(prop_oneof![16 => step(), 1 => scan(inner)], 0..=steps);
    (slots, steps, any::<u64>()).prop_map(|(slots, steps, seed)| Plan { slots, steps, seed })
}

/// Loops with steps like this one in their bodies.
fn scan(step: impl Strategy<Value = Step>) -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let carries = prop::collection::vec(any::<[Index; 2]>(), 1..=2);
    let sequences = prop::collection::vec(index(), 0..=2);
    let yields = prop::collection::vec(index(), 0..=2);
    let until = prop::option::weighted(0.25, index());
    let steps = prop::collection::vec(step, 1..=5);
    (1..=4usize, any::<bool>(), carries, sequences, steps, yields, until).prop_map(
        |(length, reverse, carries, sequences, steps, yields, until)| {
            let plan = ScanPlan { length, reverse, carries, sequences, steps, yields, until };
            Step::Scan(Box::new(plan))
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let elementwise = (select(Elementwise::all().collect::<Vec<_>>()), any::<[Index; 3]>())
        .prop_map(|(function, operands)| Step::Elementwise(function, operands));
    let cast = (select(&[DType::F32, DType::F64, DType::I32, DType::Bool][..]), index())
        .prop_map(|(dtype, operand)| Step::Cast(dtype, operand));
    let reshape = (index(), any::<[Index; 2]>()).prop_map(|(x, rows)| Step::Reshape(x, rows));
    let permute = (index(), any::<[u8; 4]>()).prop_map(|(x, ranks)| Step::Permute(x, ranks));
    let broadcast = (index(), prop::collection::vec((index(), 1..=3usize), 1..=2))
        .prop_map(|(x, axes)| Step::Broadcast(x, axes));
    let slice = (index(), prop::array::uniform4((index(), index(), 1..=2usize)))
        .prop_map(|(x, cuts)| Step::Slice(x, cuts));
    let pad = (index(), prop::array::uniform4((0..=1usize, 0..=2usize, 0..=1usize)), -2..=2i8)
        .prop_map(|(x, sizes, value)| Step::Pad(x, sizes, value));
    let concat = (prop::collection::vec(index(), 1..=3), index())
        .prop_map(|(operands, axis)| Step::Concat(operands, axis));
    let reduce = (select(&ReduceKind::ALL[..]), index(), any::<[bool; 4]>())
        .prop_map(|(kind, x, axes)| Step::Reduce(kind, x, axes));
    let arg_reduce = (select(&[ArgKind::Max, ArgKind::Min][..]), index(), index())
        .prop_map(|(kind, x, axis)| Step::ArgReduce(kind, x, axis));
    let pairing = select(&[Pairing::Contract, Pairing::Batch, Pairing::Leave][..]);
    let contract = (any::<[Index; 2]>(), prop::array::uniform3(pairing))
        .prop_map(|(operands, pairs)| Step::Contract(operands, pairs));
    let reverse = (index(), any::<[bool; 4]>()).prop_map(|(x, axes)| Step::Reverse(x, axes));
    let gather = (any::<[Index; 2]>(), 0..=2usize)
        .prop_map(|(operands, batch)| Step::Gather(operands, batch));
    let kinds = select(&[ScatterKind::Add, ScatterKind::Set][..]);
    let scatter = (kinds, any::<[Index; 2]>(), 1..=4usize, 0..=2usize)
        .prop_map(|(kind, x, extent, batch)| Step::Scatter(kind, x, extent, batch));
    let cumulate = (select(&ReduceKind::ALL[..]), any::<[Index; 2]>(), any::<[bool; 2]>())
        .prop_map(|(kind, x, flags)| Step::Cumulate(kind, x, flags));
    let arg_sort = (any::<bool>(), any::<[Index; 2]>())
        .prop_map(|(descending, x)| Step::ArgSort(descending, x));
    let random = (select(&[RandomKind::Uniform, RandomKind::Normal][..]), index())
        .prop_map(|(kind, like)| Step::Random(kind, like));
    let constant = (index(), -3..=3i8).prop_map(|(like, value)| Step::Constant(like, value));
    let iota = (index(), index()).prop_map(|(like, axis)| Step::Iota(like, axis));
    prop_oneof![
        12 => elementwise,
        1 => cast,
        2 => reshape,
        2 => permute,
        4 => broadcast,
        2 => slice,
        1 => reverse,
        2 => pad,
        1 => concat,
        4 => reduce,
        1 => arg_reduce,
        5 => contract,
        3 => gather,
        2 => scatter,
        2 => cumulate,
        1 => arg_sort,
        1 => random,
        1 => constant,
        1 => iota,
        1 => index().prop_map(Step::StopGradient),
        1 => index().prop_map(Step::Softmax),
    ]
}
