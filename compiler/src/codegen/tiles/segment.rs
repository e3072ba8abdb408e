//! Loops over the vectors of a tile.

use std::collections::HashMap;

use cranelift::codegen::ir;

use super::TilesCode;
use super::plan::Home;
use crate::codegen::function::{Bounds, Translator, greatest_divisor};
use crate::codegen::indices::add_constant;
use crate::codegen::lanes::Width;
use crate::kernel::loops::{LaneId, LoopInstruction, LoopInstructionKind};
use crate::op::lowering::{Lane, Lanes, Lowering};

/// What the loops of a segment share within a cut of the range.
pub(super) struct Cut {
    /// Guards that hold or fail throughout: 0 or 1.
    pub(super) guards: HashMap<usize, ir::Value>,
    /// Uniform operands as lanes of four.
    splats: HashMap<LaneId, Lane>,
}

/// The elements being computed.
pub(super) struct Group {
    /// The first index is this one...
    pub(super) index: ir::Value,
    /// ... plus this many.
    pub(super) offset: i64,
    /// A power of two, 4 at most, that divides the first index.
    pub(super) alignment: usize,
    /// Which copy of the body in an unrolled loop.
    copy: usize,
    /// Values computed so far, by instruction.
    lanes: HashMap<usize, Lane>,
}

impl Group {
    /// At an index of which nothing is known.
    pub(super) fn new(index: ir::Value) -> Group {
        Group { index, offset: 0, alignment: 1, copy: 0, lanes: HashMap::new() }
    }
}

/// Which loops a segment consists of: an unrolled one, one by vectors, one by elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopShape {
    /// Copies of the body in the unrolled loop; there is none if this is 1.
    pub(super) copies: usize,
    /// Whether there is a loop by vectors.
    pub(super) vectors: bool,
    /// What computes the elements behind the last whole vector.
    pub(super) rest: Rest,
}

/// How elements are computed that do not fill a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There are none.
    None,
    /// One by one.
    Elements,
    /// By one more vector, which ends with the last element and begins with some that are done.
    Vector,
}

impl LoopShape {
    /// The loops for a segment. The bounds are those of the whole range; it may be cut
    /// (`is_cut`) at places that are known when the code runs.
    pub(super) fn new(
        body: &[LoopInstruction],
        members: &[usize],
        bounds: Bounds,
        is_cut: bool,
        is_repeatable: bool,
    ) -> LoopShape {
        let length = bounds.length.unwrap_or(usize::MAX);
        let mut copies = unrolling(body, members);
        while 4 * copies > length && copies > 1 {
            copies /= 2;
        }
        let divides = |elements: usize| !is_cut && bounds.multiple.is_multiple_of(elements);
        LoopShape {
            copies,
            vectors: length >= 4 && (copies == 1 || !divides(4 * copies)),
            rest: match bounds.length {
                _ if divides(4) => Rest::None,
                Some(length) if is_repeatable && !is_cut && length >= 4 && length % 4 != 0 => {
                    Rest::Vector
                }
                _ => Rest::Elements,
            },
        }
    }
}

/// Copies of the body in the main loop: a short body waits for its accumulators otherwise, or for the loop
/// itself.
fn unrolling(body: &[LoopInstruction], members: &[usize]) -> usize {
    let folds = members.iter().any(|&n| matches!(body[n].kind, LoopInstructionKind::Fold { .. }));
    match (folds, members.len()) {
        (true, 0..=6) | (false, 0..=5) => 4,
        (true, 7..=12) | (false, 6..=10) => 2,
        _ => 1,
    }
}

impl Translator<'_> {
    /// Emits a segment, a step of the plan, over a range.
    pub(super) fn segment(
        &mut self,
        code: &TilesCode<'_>,
        step: usize,
        members: &[usize],
        bounds: Bounds,
    ) {
        let intervals = code.guards.intervals_of(members);
        self.cuts(&code.guards, &intervals, bounds, |this, bounds| match &code.wide[step] {
            Some(wide) => {
                let guards = this.guards_of_cut(code, members, bounds);
                this.call_wide(code, wide, &guards, bounds);
            }
            None => this.cut(code, members, code.shapes[step], bounds),
        });
    }

    /// Emits the loops of a segment within a cut.
    fn cut(&mut self, code: &TilesCode<'_>, members: &[usize], shape: LoopShape, bounds: Bounds) {
        let cut = self.prepare_cut(code, members, bounds);
        // Vectors begin at multiples of their width from the first index.
        let alignment = bounds.alignment.min(Width::Four.elements());
        let mut start = bounds.start;
        if shape.copies > 1 {
            let step = 4 * shape.copies as i64;
            start = self.counted_loop(start, bounds.end, step, |this, index| {
                this.lanes.width = Width::Four;
                for copy in 0..shape.copies {
                    let offset = 4 * copy as i64;
                    let group = Group { offset, copy, alignment, ..Group::new(index) };
                    this.group(code, members, &cut, group);
                }
            });
        }
        if shape.vectors {
            start = self.counted_loop(start, bounds.end, 4, |this, index| {
                this.lanes.width = Width::Four;
                this.group(code, members, &cut, Group { alignment, ..Group::new(index) });
            });
        }
        match shape.rest {
            Rest::None => {}
            Rest::Elements => {
                self.counted_loop(start, bounds.end, 1, |this, index| {
                    this.lanes.width = Width::One;
                    this.group(code, members, &cut, Group::new(index));
                });
            }
            Rest::Vector => {
                self.lanes.width = Width::Four;
                let index = add_constant(&mut self.lanes.builder, bounds.end, -4);
                let alignment = greatest_divisor(alignment, bounds.length.unwrap_or(1));
                self.group(code, members, &cut, Group { alignment, ..Group::new(index) });
            }
        }
        self.lanes.width = Width::One;
    }

    fn prepare_cut(&mut self, code: &TilesCode<'_>, members: &[usize], bounds: Bounds) -> Cut {
        let guards = self.guards_of_cut(code, members, bounds);
        let mut cut = Cut { guards, splats: HashMap::new() };
        for &n in members {
            for &id in code.body[n].kind.operands() {
                if code.plan.varying(id).is_none() && !cut.splats.contains_key(&id) {
                    let splat = self.lanes.splat(self.values[&id]);
                    cut.splats.insert(id, splat);
                }
            }
        }
        cut
    }

    /// The guards of instructions that hold or fail throughout a cut.
    fn guards_of_cut(
        &mut self,
        code: &TilesCode<'_>,
        members: &[usize],
        bounds: Bounds,
    ) -> HashMap<usize, ir::Value> {
        let guards = members.iter().filter_map(|&n| {
            let guard = self.cut_guard(&code.guards, n, bounds.start)?;
            Some((n, guard))
        });
        guards.collect()
    }

    /// Emits the segment's instructions for a group.
    fn group(&mut self, code: &TilesCode<'_>, members: &[usize], cut: &Cut, mut group: Group) {
        let group = &mut group;
        self.indices.enter(None);
        for &n in members {
            self.mark(code.first_mark + n);
            let Some(lane) = self.member(code, cut, group, n) else { continue };
            group.lanes.insert(n, lane);
            if let Some(&Home::Slot(slot)) = code.plan.homes.get(&n) {
                self.store_slot(code, slot, lane, group);
            }
        }
        self.unmark();
        self.indices.leave();
    }

    /// The value of an operand for the group.
    fn operand(&mut self, code: &TilesCode<'_>, cut: &Cut, group: &mut Group, id: LaneId) -> Lane {
        match code.plan.varying(id) {
            None => match self.lanes.width {
                Width::One => self.values[&id],
                Width::Four => cut.splats[&id],
            },
            Some(n) => match group.lanes.get(&n) {
                Some(&lane) => lane,
                None => {
                    let lane = self.load_home(code, n, group);
                    group.lanes.insert(n, lane);
                    lane
                }
            },
        }
    }

    /// Emits one instruction; the result is a lane of the current width.
    fn member(
        &mut self,
        code: &TilesCode<'_>,
        cut: &Cut,
        group: &mut Group,
        n: usize,
    ) -> Option<Lane> {
        let LoopInstruction { dtype, kind, .. } = &code.body[n];
        let dtype = *dtype;
        match kind {
            LoopInstructionKind::Index(expression) => {
                return Some(self.index_lane(code, group, expression, dtype));
            }
            LoopInstructionKind::Load { buffer, address, fill, .. } => {
                let guard = cut.guards.get(&n).copied().zip(*fill);
                let irregular = code.guards.irregular(n);
                return Some(self.guarded(dtype, guard, |this| match fill {
                    Some(fill) if !irregular.is_empty() => {
                        this.load_irregular(code, group, n, (*buffer, address), *fill)
                    }
                    _ => this.load_lane(code, group, n, (*buffer, address)),
                }));
            }
            LoopInstructionKind::Gather { buffer, address, index, .. } => {
                let place = (*buffer, address);
                return Some(match code.gathers.get(&n) {
                    Some(&row) => self.gather_along(code, group, n, place, row),
                    None => {
                        let index = self.operand(code, cut, group, *index);
                        self.gather_each(code, group, n, place, index)
                    }
                });
            }
            LoopInstructionKind::Masked { operand, fill, .. } => {
                let operand = self.operand(code, cut, group, *operand);
                let Some(inside) = self.inside(code, cut, group, n) else { return Some(operand) };
                let fill = self.lanes.constant(dtype, fill.value());
                return Some(self.lanes.select(inside, operand, fill));
            }
            LoopInstructionKind::Apply(function, operands) => {
                let Lowering::Inline(lowering) = function.entry().lowering else {
                    unreachable!("tile functions are steps of their own")
                };
                let operands: Vec<Lane> =
                    operands.iter().map(|&id| self.operand(code, cut, group, id)).collect();
                return Some(lowering(&mut self.lanes, &operands));
            }
            LoopInstructionKind::Cast(operand) => {
                let operand = self.operand(code, cut, group, *operand);
                return Some(self.lanes.cast(operand, dtype));
            }
            LoopInstructionKind::Store { buffer, address, value } => {
                let value = self.operand(code, cut, group, *value);
                self.store_lane(code, group, n, (*buffer, address), value);
            }
            LoopInstructionKind::Accumulate { buffer, address, kind, value } => {
                let value = self.operand(code, cut, group, *value);
                self.accumulate_lane(code, group, n, (*buffer, address), *kind, value);
            }
            LoopInstructionKind::Fold { value, .. } => {
                let value = self.operand(code, cut, group, *value);
                self.fold_lane(&code.folds[&n], group.copy, value);
            }
            LoopInstructionKind::FoldArg { variable, position, kind, value, index } => {
                let value = self.operand(code, cut, group, *value);
                for place in 0..self.lanes.width.elements() {
                    let element = self.lanes.element(value, place as u8);
                    let index = self.expression_at(code, group, place, index);
                    self.fold_position(*variable, *position, *kind, element, index);
                }
            }
            LoopInstructionKind::Constant(_)
            | LoopInstructionKind::Random { .. }
            | LoopInstructionKind::Set(..)
            | LoopInstructionKind::Get(_) => unreachable!("not part of a segment"),
        }
        None
    }
}
