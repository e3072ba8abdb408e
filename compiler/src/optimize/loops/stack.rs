//! Operations of a loop's body applied to all steps at once.

use smallvec::SmallVec;

use crate::graph::{Graph, NodeId};
use crate::op::{
    ArgReduce, Broadcast, Concat, Contract, Emit, Op, Pad, Permute, Reduce, Reshape, Slice,
};
use crate::types::{Axes, Shape};

/// What a node of a body is outside the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// The same in all steps.
    Same(NodeId),
    /// Stacked along a first axis, one element for each step.
    Stacked(NodeId),
}

/// Whether an operation can be applied to all steps at once.
pub fn is_stackable(op: &Op) -> bool {
    matches!(
        op,
        Op::Constant(_)
            | Op::Iota(_)
            | Op::Elementwise(_)
            | Op::Cast(_)
            | Op::StopGradient(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Broadcast(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Concat(_)
            | Op::Reduce(_)
            | Op::ArgReduce(_)
            | Op::Contract(_)
    )
}

/// Emits an operation of a body of `length` steps for all steps at once.
///
/// # Panics
/// If the operation is not [stackable](is_stackable).
pub fn apply(graph: &mut Graph, length: usize, op: &Op, operands: &[Outside]) -> Outside {
    let same: Option<SmallVec<[NodeId; 3]>> = (operands.iter())
        .map(|operand| match operand {
            Outside::Same(node) => Some(*node),
            Outside::Stacked(_) => None,
        })
        .collect();
    if let Some(same) = same {
        return Outside::Same(graph.emit(op.clone(), &same));
    }
    if let Op::Contract(contract) = op {
        return Outside::Stacked(product(graph, contract, [operands[0], operands[1]]));
    }
    let stacked: SmallVec<[NodeId; 3]> =
        operands.iter().map(|operand| stacked(graph, length, *operand)).collect();
    Outside::Stacked(graph.emit(over_steps(op, length), &stacked))
}

/// The operand with an element for each step.
pub fn stacked(graph: &mut Graph, length: usize, operand: Outside) -> NodeId {
    match operand {
        Outside::Stacked(node) => node,
        Outside::Same(node) => {
            let shape = graph.type_of(node).shape.clone();
            let axes: Vec<usize> = (1..=shape.len()).collect();
            let shape: Vec<usize> = std::iter::once(length).chain(shape).collect();
            graph.broadcast(node, &shape, &axes)
        }
    }
}

/// The operation with a first axis of steps, along which nothing happens.
fn over_steps(op: &Op, length: usize) -> Op {
    let shape =
        |shape: &Shape| -> Shape { std::iter::once(length).chain(shape.iter().copied()).collect() };
    let behind = |axes: &Axes| -> Axes { axes.iter().map(|axis| axis + 1).collect() };
    let with = |first: usize, rest: &Axes| -> Axes {
        std::iter::once(first).chain(rest.iter().copied()).collect()
    };
    match op {
        Op::Elementwise(_) | Op::Cast(_) | Op::StopGradient(_) => op.clone(),
        Op::Reshape(reshape) => Reshape { shape: shape(&reshape.shape) }.into(),
        Op::Permute(permute) => Permute { order: with(0, &behind(&permute.order)) }.into(),
        Op::Broadcast(broadcast) => {
            let axes = with(0, &behind(&broadcast.axes));
            Broadcast { shape: shape(&broadcast.shape), axes }.into()
        }
        Op::Slice(slice) => Slice {
            start: with(0, &slice.start),
            stop: with(length, &slice.stop),
            step: with(1, &slice.step),
        }
        .into(),
        Op::Pad(pad) => Pad {
            low: with(0, &pad.low),
            high: with(0, &pad.high),
            interior: with(0, &pad.interior),
            value: pad.value,
        }
        .into(),
        Op::Concat(concat) => Concat { axis: concat.axis + 1 }.into(),
        Op::Reduce(reduce) => Reduce { kind: reduce.kind, axes: behind(&reduce.axes) }.into(),
        Op::ArgReduce(reduce) => ArgReduce { kind: reduce.kind, axis: reduce.axis + 1 }.into(),
        op => unreachable!("{op} is not stackable"),
    }
}

/// A product of all steps: a batch of products, or one with more rows or columns if a factor is
/// the same in all steps.
fn product(graph: &mut Graph, contract: &Contract, operands: [Outside; 2]) -> NodeId {
    let shift = operands.map(|operand| usize::from(matches!(operand, Outside::Stacked(_))));
    let nodes = operands.map(|operand| match operand {
        Outside::Same(node) | Outside::Stacked(node) => node,
    });
    let pair = |&(left, right): &(usize, usize)| (left + shift[0], right + shift[1]);
    let mut batch: SmallVec<[(usize, usize); 2]> = contract.batch.iter().map(pair).collect();
    let contracted: SmallVec<[(usize, usize); 2]> = contract.contracted.iter().map(pair).collect();
    if shift == [1, 1] {
        batch.insert(0, (0, 0));
        return graph.contract(nodes[0], nodes[1], &batch, &contracted);
    }
    let result = graph.contract(nodes[0], nodes[1], &batch, &contracted);
    // The axis of steps stands behind the batch axes and, if it is the right factor's, behind
    // those of the left one.
    let left_rank = graph.type_of(nodes[0]).rank();
    let place = match shift {
        [1, _] => batch.len(),
        _ => left_rank - contracted.len(),
    };
    let rank = graph.type_of(result).rank();
    let order: Vec<usize> =
        std::iter::once(place).chain((0..rank).filter(|&axis| axis != place)).collect();
    graph.permute(result, &order)
}
