//! Constraints along the tile axis.
//!
//! A constraint that is affine in the tile axis holds on an interval of indices. The range is cut
//! where intervals begin and end; within a cut every such constraint holds everywhere or nowhere,
//! so one branch, always taken the same way, replaces a test per element.

use std::collections::HashMap;

use cranelift::codegen::ir::{self, InstBuilder, types};
use cranelift::prelude::IntCC;

use super::plan::Plan;
use crate::codegen::function::{Bounds, Translator};
use crate::codegen::indices::{add_constant, divide};
use crate::codegen::memory::without_axis;
use crate::index::Constraint;
use crate::kernel::loops::{AxisId, LoopInstruction};

/// Where constraints hold: for indices from the first value up to the second.
#[derive(Clone, Copy, Debug)]
struct Interval {
    start: ir::Value,
    end: ir::Value,
}

/// How the constraints of an instruction are tested.
#[derive(Clone, Debug, Default)]
struct Guard {
    /// Those that do not depend on the tile axis: 0 or 1.
    fixed: Option<ir::Value>,
    /// Number of the interval on which the affine ones hold.
    interval: Option<usize>,
    /// Those that are tested for each element.
    irregular: Vec<Constraint>,
}

/// The constraints of a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Guards {
    guards: HashMap<usize, Guard>,
    intervals: Vec<(Vec<Constraint>, Interval)>,
}

impl Guards {
    /// The constraints of an instruction that are tested for each element.
    pub(super) fn irregular(&self, instruction: usize) -> &[Constraint] {
        self.guards.get(&instruction).map_or(&[], |guard| &guard.irregular)
    }

    /// Whether an instruction has constraints that hold or fail throughout a cut.
    pub(super) fn is_guarded(&self, instruction: usize) -> bool {
        let guard = self.guards.get(&instruction);
        guard.is_some_and(|guard| guard.fixed.is_some() || guard.interval.is_some())
    }

    /// Numbers of the intervals that matter to some instructions.
    pub(super) fn intervals_of(&self, instructions: &[usize]) -> Vec<usize> {
        let guards = instructions.iter().filter_map(|n| self.guards.get(n));
        let mut intervals: Vec<usize> = guards.filter_map(|guard| guard.interval).collect();
        intervals.sort_unstable();
        intervals.dedup();
        intervals
    }
}

impl Translator<'_> {
    /// Computes the guards of all instructions that vary.
    pub(super) fn guards(&mut self, axis: AxisId, plan: &Plan, body: &[LoopInstruction]) -> Guards {
        let mut guards = Guards::default();
        for (n, instruction) in body.iter().enumerate() {
            let constraints = instruction.kind.constraints();
            if constraints.is_empty() || plan.uniform.contains(&n) {
                continue;
            }
            let mut guard = Guard::default();
            let (mut fixed, mut affine) = (Vec::new(), Vec::new());
            for constraint in constraints {
                match constraint.expression.stride(axis) {
                    Some(0) => fixed.push(constraint.clone()),
                    Some(_) => affine.push(constraint.clone()),
                    None => guard.irregular.push(constraint.clone()),
                }
            }
            guard.fixed = self.guard(&fixed);
            if !affine.is_empty() {
                let known = guards.intervals.iter().position(|(known, _)| *known == affine);
                guard.interval = Some(known.unwrap_or_else(|| {
                    let interval = self.interval(axis, &affine);
                    guards.intervals.push((affine, interval));
                    guards.intervals.len() - 1
                }));
            }
            guards.guards.insert(n, guard);
        }
        guards
    }

    /// The indices for which all of some affine constraints hold.
    fn interval(&mut self, axis: AxisId, constraints: &[Constraint]) -> Interval {
        let mut joint: Option<Interval> = None;
        for Constraint { expression, low, high } in constraints {
            let stride = expression.stride(axis).expect("affine along the axis");
            let fixed = without_axis(expression, axis);
            let (smallest, largest) = fixed.range(self.indices.extents());
            let builder = &mut self.lanes.builder;
            let fixed = self.indices.evaluate(builder, &fixed);
            // low <= fixed + stride * i < high; with a negative stride, -high < -fixed - stride *
            // i <= -low.
            let (bounds, range, stride) = if stride > 0 {
                let negated = builder.ins().ineg(fixed);
                ((*low, *high, negated), (-largest, -smallest), stride)
            } else {
                ((1 - high, 1 - low, fixed), (smallest, largest), -stride)
            };
            // i >= (low - fixed) / stride, rounded up; the same for one past the last.
            let (low, high, offset) = bounds;
            let [start, end] = [low, high].map(|bound| {
                let raised = bound + stride - 1;
                let distance = add_constant(builder, offset, raised);
                if stride == 1 {
                    distance
                } else {
                    divide(builder, distance, (range.0 + raised, range.1 + raised), stride)
                }
            });
            joint = Some(match joint {
                None => Interval { start, end },
                Some(other) => Interval {
                    start: builder.ins().smax(start, other.start),
                    end: builder.ins().smin(end, other.end),
                },
            });
        }
        joint.expect("there is a constraint")
    }

    /// Calls `run` for each cut of the range in order; within a cut, each of these intervals
    /// holds everywhere or nowhere.
    pub(super) fn cuts(
        &mut self,
        guards: &Guards,
        intervals: &[usize],
        bounds: Bounds,
        run: impl FnOnce(&mut Self, Bounds),
    ) {
        if intervals.is_empty() {
            run(self, bounds);
            return;
        }
        let builder = &mut self.lanes.builder;
        let head = builder.create_block();
        let work = builder.create_block();
        let exit = builder.create_block();
        let start = builder.append_block_param(head, types::I64);
        builder.ins().jump(head, &[bounds.start.into()]);
        builder.switch_to_block(head);
        let runs = builder.ins().icmp(IntCC::SignedLessThan, start, bounds.end);
        builder.ins().brif(runs, work, &[], exit, &[]);
        builder.seal_block(work);
        builder.switch_to_block(work);
        let mut end = bounds.end;
        for &interval in intervals {
            let Interval { start: first, end: last } = guards.intervals[interval].1;
            for edge in [first, last] {
                let ahead = builder.ins().icmp(IntCC::SignedGreaterThan, edge, start);
                let candidate = builder.ins().select(ahead, edge, end);
                end = builder.ins().smin(end, candidate);
            }
        }
        self.indices.enter(None);
        run(self, Bounds { start, end, length: None, multiple: 1, alignment: 1 });
        self.indices.leave();
        let builder = &mut self.lanes.builder;
        builder.ins().jump(head, &[end.into()]);
        builder.seal_block(head);
        builder.seal_block(exit);
        builder.switch_to_block(exit);
    }

    /// Whether the fixed and affine constraints of an instruction hold in the cut that starts at
    /// an index: 0 or 1. `None` if there are none.
    pub(super) fn cut_guard(
        &mut self,
        guards: &Guards,
        instruction: usize,
        cut_start: ir::Value,
    ) -> Option<ir::Value> {
        let guard = guards.guards.get(&instruction)?;
        let inside = guard.interval.map(|interval| {
            let Interval { start, end } = guards.intervals[interval].1;
            let builder = &mut self.lanes.builder;
            let after = builder.ins().icmp(IntCC::SignedGreaterThanOrEqual, cut_start, start);
            let before = builder.ins().icmp(IntCC::SignedLessThan, cut_start, end);
            builder.ins().band(after, before)
        });
        match (guard.fixed, inside) {
            (Some(fixed), Some(inside)) => Some(self.lanes.ins().band(fixed, inside)),
            (fixed, inside) => fixed.or(inside),
        }
    }
}
