//! Growing a kernel toward its operands: what it computes itself and what it reads.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{reads_tensor, reduced_axes};
use super::survey::Survey;
use crate::graph::NodeId;
use crate::op::{Emit, Op};

/// Which operands a kernel computes itself. Movement and constants it always does, but for
/// [transpositions](Survey::transposes) that shall be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// None.
    Movement,
    /// Those that nothing else needs.
    Owned,
    /// Also those that others need too, but are cheap to compute again.
    Cheap,
    /// Whatever can be computed inside.
    All,
}

/// Limits of a kernel's growth toward its operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth<'a> {
    /// Which operands are computed.
    pub reach: Reach,
    /// Whether also those are that a broadcast makes the kernel compute many times over.
    pub repeating: bool,
    /// How often per-row values are computed: broadcasting values of that many elements is not
    /// repeating.
    pub rows: usize,
    /// Shape and axes of the kernel's reductions, if it has any.
    pub reducing: Option<(&'a [usize], &'a [usize])>,
    /// Whether results of transpositions are read instead of what they transpose.
    pub reads_transposed: bool,
}

/// Most nodes in a kernel; keeps compile time in bounds.
const MOST_NODES: usize = 96;

/// The nodes that a kernel computes, given those that it computes at least.
pub(super) fn grow(
    survey: &Survey<'_>,
    targets: &BTreeSet<NodeId>,
    growth: Growth<'_>,
) -> BTreeSet<NodeId> {
    let mut inside = targets.clone();
    let mut pending = Pending::new();
    for &target in targets {
        want_operands(survey, target, false, growth.rows, &mut pending);
    }
    decide(survey, &mut inside, pending, growth);
    inside
}

/// The nodes that a product computes for an operand while it is packed; none if it is read.
pub(super) fn grow_operand(
    survey: &Survey<'_>,
    operand: NodeId,
    growth: Growth<'_>,
) -> BTreeSet<NodeId> {
    let mut inside = BTreeSet::new();
    decide(survey, &mut inside, Pending::from([(operand, false)]), growth);
    inside
}

/// Nodes to decide on, and whether they are wanted more often than they have elements.
type Pending = BTreeMap<NodeId, bool>;

fn want_operands(
    survey: &Survey<'_>,
    node: NodeId,
    repeated: bool,
    rows: usize,
    pending: &mut Pending,
) {
    let op = &survey.graph.node(node).op;
    let moves = op.is_movement();
    for (place, &operand) in survey.graph.node(node).operands.iter().enumerate() {
        if reads_tensor(op, place) {
            continue;
        }
        let elements = survey.elements(operand);
        let fewer = elements < survey.elements(node) && elements != rows;
        *pending.entry(operand).or_default() |= repeated || (moves && fewer);
    }
}

fn decide(
    survey: &Survey<'_>,
    inside: &mut BTreeSet<NodeId>,
    mut pending: Pending,
    growth: Growth<'_>,
) {
    // Users come after their operands, so all users inside are known when a node's turn comes.
    while let Some((node, repeated)) = pending.pop_last() {
        if inside.contains(&node) {
            continue;
        }
        let shared = || survey.leaves(node, inside);
        let op = &survey.graph.node(node).op;
        let joins = match op {
            Op::Slot(_) | Op::Contract(_) | Op::Scan(_) | Op::Port(_) => false,
            op if op.is_routine() => false,
            _ if growth.reads_transposed && survey.transposes(node) => false,
            _ if survey.is_free(node) || op.is_movement() => true,
            _ if inside.len() >= MOST_NODES => false,
            // What a scalar takes is done once, whoever needs it.
            _ if repeated && (!growth.repeating || survey.elements(node) == 1) => false,
            Op::Reduce(_) | Op::ArgReduce(_) if !fits(survey, node, growth.reducing) => false,
            _ => match growth.reach {
                Reach::Movement => false,
                Reach::Owned => !shared(),
                Reach::Cheap => !shared() || survey.is_cheap(node),
                Reach::All => true,
            },
        };
        if joins {
            inside.insert(node);
            want_operands(survey, node, repeated, growth.rows, &mut pending);
        }
    }
}

/// Whether a reduction is over the kernel's own axes.
fn fits(survey: &Survey<'_>, node: NodeId, reducing: Option<(&[usize], &[usize])>) -> bool {
    let node = survey.graph.node(node);
    reducing.is_some_and(|(shape, axes)| {
        survey.graph.type_of(node.operands[0]).shape.as_slice() == shape
            && reduced_axes(&node.op) == Some(axes)
    })
}
