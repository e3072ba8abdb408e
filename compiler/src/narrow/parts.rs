//! What a part of an operation's result takes.

use std::ops::Range;

use smallvec::{SmallVec, smallvec};

use super::region::Region;
use crate::op::{Broadcast, Concat, Constant, Contract, Iota, Op, Pad, Reshape, Slice};
use crate::types::{Axes, TensorType};

/// How a part of a result is computed.
pub(super) struct Part {
    /// The operation, for the parts of operands that it reads.
    pub op: Op,
    /// Which part of each operand it reads; absent for operands that it does not take.
    pub operands: SmallVec<[Option<Region>; 3]>,
    /// Which part of the result that gives: at least the part asked for.
    pub computes: Region,
}

/// How the part `wanted` of the result of `op` is computed; `None` where that takes all operands,
/// whole. No tensor is empty, nor is the part.
pub(super) fn part(op: &Op, operands: &[&TensorType], wanted: Region) -> Option<Part> {
    let shape = |operand: usize| &operands[operand].shape[..];
    // The same operation on the same part of each operand.
    let alike = |computes: Region| Part {
        op: op.clone(),
        operands: operands.iter().map(|_| Some(computes.clone())).collect(),
        computes,
    };
    let of_one = |op: Op, operand: Region, computes: Region| Part {
        op,
        operands: smallvec![Some(operand)],
        computes,
    };
    Some(match op {
        Op::Elementwise(_) | Op::Cast(_) | Op::StopGradient(_) => alike(wanted),
        Op::Constant(constant) => {
            let op = Constant { value: constant.value, shape: wanted.shape() }.into();
            Part { op, operands: smallvec![], computes: wanted }
        }
        Op::Iota(iota) => {
            let mut computes = wanted;
            computes.start[iota.axis] = 0;
            let op = Iota { shape: computes.shape(), ..iota.clone() }.into();
            Part { op, operands: smallvec![], computes }
        }
        Op::Broadcast(broadcast) => {
            let read = broadcast.axes.iter().map(|&axis| wanted.range(axis)).collect();
            let op = Broadcast { shape: wanted.shape(), axes: broadcast.axes.clone() };
            of_one(op.into(), read, wanted)
        }
        Op::Permute(permute) => {
            let mut read = Region::whole(shape(0));
            for (axis, &from) in permute.order.iter().enumerate() {
                read.set(from, wanted.range(axis));
            }
            of_one(op.clone(), read, wanted)
        }
        Op::Reshape(reshape) => {
            let (read, computes) = reshaped(shape(0), &reshape.shape, &wanted);
            of_one(Reshape { shape: computes.shape() }.into(), read, computes)
        }
        Op::Slice(slice) => {
            let from = |axis: usize, index: usize| slice.start[axis] + index * slice.step[axis];
            let ranges = wanted.ranges().enumerate();
            let read: Region = ranges
                .map(|(axis, part)| from(axis, part.start)..from(axis, part.end - 1) + 1)
                .collect();
            let all = Region::whole(&read.shape());
            let op = Slice { start: all.start, stop: all.stop, step: slice.step.clone() };
            of_one(op.into(), read, wanted)
        }
        Op::Reverse(reverse) => {
            let mut read = wanted.clone();
            for &axis in &reverse.axes {
                let (part, extent) = (wanted.range(axis), shape(0)[axis]);
                read.set(axis, extent - part.end..extent - part.start);
            }
            of_one(op.clone(), read, wanted)
        }
        Op::Pad(pad) => padded(pad, shape(0), wanted),
        Op::Concat(concat) => joined(concat, operands, wanted),
        Op::Reduce(reduce) => of_one(op.clone(), kept(shape(0), &reduce.axes, &wanted), wanted),
        Op::ArgReduce(search) => {
            of_one(op.clone(), kept(shape(0), &[search.axis], &wanted), wanted)
        }
        Op::Contract(contract) => product(contract, shape(0), shape(1), wanted),
        Op::Gather(gather) => {
            let indices = shape(1).len();
            let (mut table, mut computes) = (Region::whole(shape(0)), wanted);
            for axis in 0..gather.batch {
                table.set(axis, computes.range(axis));
            }
            for (axis, &extent) in (indices..).zip(&shape(0)[gather.batch + 1..]) {
                computes.set(axis, 0..extent);
            }
            let places = computes.ranges().take(indices).collect();
            Part { op: op.clone(), operands: smallvec![Some(table), Some(places)], computes }
        }
        _ => return None,
    })
}

/// The part of the operand of a reduction over `axes` that goes into a part of the result.
fn kept(operand: &[usize], axes: &[usize], wanted: &Region) -> Region {
    let mut rest = wanted.ranges();
    let range = |(axis, &extent)| match axes.contains(&axis) {
        true => 0..extent,
        false => rest.next().expect("the result has the other axes"),
    };
    operand.iter().enumerate().map(range).collect()
}

fn product(contract: &Contract, left: &[usize], right: &[usize], wanted: Region) -> Part {
    let (mut of_left, mut of_right) = (Region::whole(left), Region::whole(right));
    {
        let mut ranges = wanted.ranges();
        let mut next = || ranges.next().expect("an axis of the result");
        for &(left, right) in &contract.batch {
            let range = next();
            of_left.set(left, range.clone());
            of_right.set(right, range);
        }
        contract.left_outer(left.len()).for_each(|axis| of_left.set(axis, next()));
        contract.right_outer(right.len()).for_each(|axis| of_right.set(axis, next()));
    }
    let operands = smallvec![Some(of_left), Some(of_right)];
    Part { op: contract.clone().into(), operands, computes: wanted }
}

/// Along axes with gaps between elements all is computed.
fn padded(pad: &Pad, operand: &[usize], wanted: Region) -> Part {
    let mut computes = wanted;
    let mut read = Region::whole(operand);
    let (mut low, mut high) = (pad.low.clone(), pad.high.clone());
    for (axis, &extent) in operand.iter().enumerate() {
        let (before, end) = (pad.low[axis], pad.low[axis] + extent);
        if pad.interior[axis] > 0 {
            let gaps = (extent - 1) * pad.interior[axis];
            computes.set(axis, 0..end + gaps + pad.high[axis]);
            continue;
        }
        let part = computes.range(axis);
        let inside = part.start.clamp(before, end)..part.end.clamp(before, end);
        if inside.is_empty() {
            let op = Constant { value: pad.value, shape: computes.shape() }.into();
            return Part { op, operands: smallvec![None], computes };
        }
        (low[axis], high[axis]) = (inside.start - part.start, part.end - inside.end);
        read.set(axis, inside.start - before..inside.end - before);
    }
    let op = Pad { low, high, interior: pad.interior.clone(), value: pad.value }.into();
    Part { op, operands: smallvec![Some(read)], computes }
}

fn joined(concat: &Concat, operands: &[&TensorType], wanted: Region) -> Part {
    let part = wanted.range(concat.axis);
    let mut first = 0;
    let read = |operand: &&TensorType| {
        let (before, end) = (first, first + operand.shape[concat.axis]);
        first = end;
        let inside = part.start.clamp(before, end)..part.end.clamp(before, end);
        let mut read = wanted.clone();
        read.set(concat.axis, inside.start - before..inside.end - before);
        (!inside.is_empty()).then_some(read)
    };
    let operands = operands.iter().map(read).collect();
    Part { op: concat.clone().into(), operands, computes: wanted }
}

/// Which part of an operand becomes which part of the result under another shape.
///
/// Axes of operand and result that hold the same elements belong together. Of such axes only the
/// outermost one is cut, where both cuts are at whole rows of what is inside.
fn reshaped(from: &[usize], to: &[usize], wanted: &Region) -> (Region, Region) {
    let (mut read, mut computes) = (Region::whole(from), Region::whole(to));
    // Axes of extent 1 hold nothing apart.
    let long = |shape: &[usize]| (0..shape.len()).filter(|&axis| shape[axis] > 1).collect::<Axes>();
    let (from_axes, to_axes) = (long(from), long(to));
    let (mut from_rest, mut to_rest) = (&from_axes[..], &to_axes[..]);
    while let ([outer, ..], [to_outer, ..]) = (from_rest, to_rest) {
        let (source, target) = together(from, from_rest, to, to_rest);
        let rows = |shape: &[usize], group: &[usize]| -> usize {
            group[1..].iter().map(|&axis| shape[axis]).product()
        };
        let (from_row, to_row) = (rows(from, &from_rest[..source]), rows(to, &to_rest[..target]));
        // Rows of the longer kind are whole numbers of the other, or nothing is cut.
        let (long, short) = (from_row.max(to_row), from_row.min(to_row));
        if long.is_multiple_of(short) {
            let part = wanted.range(*to_outer);
            let cut = part.start * to_row / long * long..(part.end * to_row).next_multiple_of(long);
            read.set(*outer, scaled(&cut, from_row));
            computes.set(*to_outer, scaled(&cut, to_row));
        }
        (from_rest, to_rest) = (&from_rest[source..], &to_rest[target..]);
    }
    (read, computes)
}

/// How many of the next axes of either shape hold the same elements: the fewest that do.
fn together(from: &[usize], axes: &[usize], to: &[usize], others: &[usize]) -> (usize, usize) {
    let (mut source, mut target) = (1, 1);
    let (mut left, mut right) = (from[axes[0]], to[others[0]]);
    while left != right {
        if left < right {
            left *= from[axes[source]];
            source += 1;
        } else {
            right *= to[others[target]];
            target += 1;
        }
    }
    (source, target)
}

fn scaled(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start / by..range.end / by
}
