//! How the body of a `Tiles` statement is cut into segments.
//!
//! Tile functions work on whole tiles in memory, everything else on one vector at a time. The
//! instructions between two calls form a *segment*: one loop over the tile that computes them all
//! in registers. What a later segment or a call needs is kept in a *slot*, a tile-sized piece of
//! scratch memory; loads and indices are rather repeated. A call writes its result right to where
//! it is stored in the end, if it can.

use std::collections::HashMap;

use crate::kernel::loops::{
    Address, AxisId, BufferId, Convention, Function, LaneId, LoopInstruction, LoopInstructionKind,
};
use crate::op::lowering::Lowering;
use crate::types::DType;

/// Elements of a tile: enough to hide the cost of a call, and a few slots fit the first-level
/// cache.
pub(in crate::codegen) const TILE: usize = 512;

/// What happens to each tile, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A loop that computes these instructions; effects come last.
    Segment(Vec<usize>),
    /// A tile function: the instruction's number.
    Call(usize),
}

impl Step {
    /// The instructions of a segment.
    pub(super) fn members(&self) -> &[usize] {
        match self {
            Step::Segment(members) => members,
            Step::Call(_) => &[],
        }
    }
}

/// Where a tile of values lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In the slot of this number.
    Slot(usize),
    /// Where this store instruction puts it: a tile function writes its result right there.
    Stored(usize),
}

/// A plan for a body; instructions go by their position.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Instructions whose value is the same for all indices, in order.
    pub(super) uniform: Vec<usize>,
    /// What happens to each tile.
    pub(super) steps: Vec<Step>,
    /// Where values lie between steps, if they do not stay in registers.
    pub(super) homes: HashMap<usize, Home>,
    /// Number of slots.
    pub(super) slot_count: usize,
    /// Slots filled once with a uniform operand of a call.
    pub(super) rows: HashMap<LaneId, usize>,
    /// Which instruction gives a value.
    definitions: HashMap<LaneId, usize>,
}

impl Plan {
    pub(super) fn new(function: &Function, axis: AxisId, body: &[LoopInstruction]) -> Plan {
        Planner::new(function, axis, body).plan()
    }

    /// Whether a segment may compute elements again: whether it overwrites nothing that it reads, and
    /// adds nothing to what is there.
    pub(super) fn is_repeatable(
        &self,
        function: &Function,
        body: &[LoopInstruction],
        members: &[usize],
    ) -> bool {
        let (mut read, mut written) = (Vec::new(), Vec::new());
        let (mut slots_read, mut slots_written) = (Vec::new(), Vec::new());
        for &n in members {
            let kind = &body[n].kind;
            match kind {
                LoopInstructionKind::Store { buffer, .. } => written.push(*buffer),
                _ if kind.is_effect() => return false,
                _ => read.extend(kind.access().map(|(buffer, _)| buffer)),
            }
            if let Some(&Home::Slot(slot)) = self.homes.get(&n) {
                slots_written.push(slot);
            }
            let operands = kind.operands().iter().filter_map(|&id| self.varying(id));
            for operand in operands.filter(|operand| !members.contains(operand)) {
                match self.homes.get(&operand) {
                    Some(&Home::Slot(slot)) => slots_read.push(slot),
                    Some(&Home::Stored(store)) => {
                        read.extend(body[store].kind.access().map(|(buffer, _)| buffer));
                    }
                    None => {}
                }
            }
        }
        let buffers = &function.buffers;
        let overwritten = |read: &BufferId| {
            written.iter().any(|written| buffers[*read].overlaps(&buffers[*written]))
        };
        !read.iter().any(overwritten) && !slots_read.iter().any(|slot| slots_written.contains(slot))
    }

    /// The instruction that gives a value, unless it is the same for all indices.
    pub(super) fn varying(&self, lane: LaneId) -> Option<usize> {
        let definition = self.definitions.get(&lane).copied();
        definition.filter(|n| self.uniform.binary_search(n).is_err())
    }

    /// What defines a value of the body that is the same for all indices.
    pub(super) fn uniform_kind<'b>(
        &self,
        body: &'b [LoopInstruction],
        lane: LaneId,
    ) -> Option<&'b LoopInstructionKind> {
        let definition = self.definitions.get(&lane)?;
        Some(&body[*definition].kind)
    }
}

/// How an instruction takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The same value for all indices.
    Uniform,
    /// A load or an index: can be repeated in any segment.
    Leaf,
    /// Computed in a segment.
    Inline,
    /// Computed by a tile function.
    Call,
    /// A store or a fold.
    Effect,
}

struct Planner<'b> {
    function: &'b Function,
    axis: AxisId,
    body: &'b [LoopInstruction],
    definitions: HashMap<LaneId, usize>,
    /// For each instruction, those of its operands that vary.
    operands: Vec<Vec<usize>>,
    roles: Vec<Role>,
    /// The level of each instruction: a segment's number, or the number of the segment before a
    /// call.
    levels: Vec<usize>,
}

impl<'b> Planner<'b> {
    fn new(function: &'b Function, axis: AxisId, body: &'b [LoopInstruction]) -> Planner<'b> {
        let mut planner = Planner {
            function,
            axis,
            body,
            definitions: HashMap::new(),
            operands: Vec::new(),
            roles: Vec::new(),
            levels: vec![0; body.len()],
        };
        for (n, instruction) in body.iter().enumerate() {
            let operands = instruction.kind.operands();
            let operands = operands.iter().filter_map(|id| planner.definitions.get(id).copied());
            let operands: Vec<usize> =
                operands.filter(|&operand| planner.roles[operand] != Role::Uniform).collect();
            planner.roles.push(planner.role(instruction, &operands));
            planner.operands.push(operands);
            if let Some(result) = instruction.result {
                planner.definitions.insert(result, n);
            }
        }
        planner
    }

    fn role(&self, instruction: &LoopInstruction, operands: &[usize]) -> Role {
        let varies = !operands.is_empty()
            || instruction.kind.expressions().any(|e| e.depends_on(self.axis))
            || matches!(instruction.kind.access(), Some((_, Address::Tile)));
        match &instruction.kind {
            effect if effect.is_effect() => Role::Effect,
            _ if !varies => Role::Uniform,
            LoopInstructionKind::Load { .. } | LoopInstructionKind::Index(_) => Role::Leaf,
            LoopInstructionKind::Gather { .. } if operands.is_empty() => Role::Leaf,
            LoopInstructionKind::Random { .. } => Role::Call,
            LoopInstructionKind::Apply(function, _) => match function.entry().lowering {
                Lowering::Inline(_) => Role::Inline,
                Lowering::Tile(_) => Role::Call,
            },
            _ => Role::Inline,
        }
    }

    fn plan(mut self) -> Plan {
        let last = self.assign_levels();
        let direct = self.direct_stores();
        let (steps, places) = self.steps(last, &direct);
        let uniform = (0..self.body.len()).filter(|&n| self.roles[n] == Role::Uniform).collect();
        let (homes, mut slot_count) = self.homes(&steps, &places, &direct);
        let mut rows = HashMap::new();
        for operand in self.uniform_operands_of_calls() {
            rows.entry(operand).or_insert_with(|| {
                slot_count += 1;
                slot_count - 1
            });
        }
        Plan { uniform, steps, homes, slot_count, rows, definitions: self.definitions }
    }

    /// The first segment in which a value is at hand.
    fn available(&self, n: usize) -> usize {
        self.levels[n] + usize::from(self.roles[n] == Role::Call)
    }

    /// Gives each instruction its level; returns the last one.
    fn assign_levels(&mut self) -> usize {
        for n in 0..self.body.len() {
            let available = self.operands[n].iter().map(|&operand| self.available(operand));
            self.levels[n] = available.max().unwrap_or(0);
        }
        let last = (0..self.body.len()).map(|n| self.available(n)).max().unwrap_or(0);
        // Memory that is both read and written is written when nobody reads it any more.
        for n in 0..self.body.len() {
            let kind = &self.body[n].kind;
            let written = kind.access().filter(|_| kind.is_effect());
            if written.is_some_and(|(written, _)| self.is_read(written)) {
                self.levels[n] = last;
            }
        }
        // What is first needed later is computed later, so that fewer values wait in memory.
        let mut first_use = vec![usize::MAX; self.body.len()];
        for n in (0..self.body.len()).rev() {
            let sinks = matches!(self.roles[n], Role::Inline | Role::Leaf);
            if sinks && first_use[n] != usize::MAX {
                self.levels[n] = first_use[n];
            }
            for &operand in &self.operands[n] {
                first_use[operand] = first_use[operand].min(self.levels[n]);
            }
        }
        last
    }

    /// Calls that vary take their uniform operands as tiles, too.
    fn uniform_operands_of_calls(&self) -> impl Iterator<Item = LaneId> {
        let calls = (0..self.body.len()).filter(|&n| self.roles[n] == Role::Call);
        calls.flat_map(|n| self.body[n].kind.operands()).copied().filter(|operand| {
            let definition = self.definitions.get(operand);
            definition.is_none_or(|&n| self.roles[n] == Role::Uniform)
        })
    }

    /// Whether a load may read the memory of a buffer.
    fn is_read(&self, written: usize) -> bool {
        let buffers = &self.function.buffers;
        self.body.iter().any(|instruction| match instruction.kind {
            LoopInstructionKind::Load { buffer, .. }
            | LoopInstructionKind::Gather { buffer, .. } => {
                buffers[buffer].overlaps(&buffers[written])
            }
            _ => false,
        })
    }

    /// Whether a tile function can read an operand where it lies.
    fn lies_in_row(&self, n: usize) -> bool {
        let instruction = &self.body[n];
        instruction.dtype.is_float()
            && matches!(
                &instruction.kind,
                LoopInstructionKind::Load { address, constraints, .. }
                    if constraints.is_empty() && self.is_row(address)
            )
    }

    /// Calls whose result a store takes as it is, so that they can write it where it goes.
    fn direct_stores(&self) -> HashMap<usize, usize> {
        let mut direct = HashMap::new();
        for store in 0..self.body.len() {
            if let LoopInstructionKind::Store { buffer, address, .. } = &self.body[store].kind
                && let [call] = self.operands[store][..]
                && self.roles[call] == Role::Call
                && self.is_row(address)
                && !direct.contains_key(&call)
                && self.may_write_early(call, store, (*buffer, address))
            {
                direct.insert(call, store);
            }
        }
        direct
    }

    /// Whether neighbours along the axis are neighbours in memory.
    fn is_row(&self, address: &Address) -> bool {
        match (address, self.function.convention) {
            (Address::Offset(expression), _) => expression.stride(self.axis) == Some(1),
            (Address::Tile, Convention::Region { batch_axes, block }) => {
                self.axis == batch_axes + 1 + usize::from(block.is_some())
            }
            (Address::Tile, Convention::Pieces) => false,
        }
    }

    /// Whether nothing after a call reads, and nothing else writes, what a store will write.
    fn may_write_early(
        &self,
        call: usize,
        store: usize,
        (buffer, address): (BufferId, &Address),
    ) -> bool {
        let buffers = &self.function.buffers;
        let before_call = |user: usize, place: (BufferId, &Address)| {
            if user == call {
                // Read and written by one call: the same elements or none.
                place.1 == address && buffers[place.0].place == buffers[buffer].place
            } else if self.roles[user] == Role::Call {
                (self.levels[user], user) < (self.levels[call], call)
            } else {
                self.levels[user] <= self.levels[call]
            }
        };
        (0..self.body.len()).filter(|&n| n != store).all(|n| {
            let Some(place) = self.body[n].kind.access() else { return true };
            if !buffers[place.0].overlaps(&buffers[buffer]) || self.roles[n] == Role::Uniform {
                return true;
            }
            self.roles[n] == Role::Leaf
                && (0..self.body.len())
                    .filter(|&user| self.operands[user].contains(&n))
                    .all(|user| before_call(user, place))
        })
    }

    /// The steps, and for each instruction the first step that stores its value to memory, if any
    /// has to.
    fn steps(
        &self,
        last: usize,
        direct: &HashMap<usize, usize>,
    ) -> (Vec<Step>, Vec<Option<usize>>) {
        let count = self.body.len();
        let mut stored = vec![false; count];
        for n in 0..count {
            if self.roles[n] == Role::Call {
                stored[n] = true;
                for &operand in &self.operands[n] {
                    stored[operand] |= !self.lies_in_row(operand);
                }
            } else {
                for &operand in &self.operands[n] {
                    let later = self.levels[n] > self.levels[operand];
                    stored[operand] |= later && self.roles[operand] != Role::Leaf;
                }
            }
        }
        let done: Vec<usize> = direct.values().copied().collect();
        let mut steps = Vec::new();
        let mut places = vec![None; count];
        for level in 0..=last {
            let is_member = |&n: &usize| {
                let here = self.levels[n] == level;
                match self.roles[n] {
                    Role::Uniform | Role::Call => false,
                    Role::Effect => here && !done.contains(&n),
                    Role::Inline => here,
                    Role::Leaf => (here && stored[n]) || (!stored[n] && self.used_in(n, level)),
                }
            };
            let mut segment: Vec<usize> = (0..count).filter(is_member).collect();
            segment.sort_by_key(|&n| (self.roles[n] == Role::Effect, n));
            for &n in segment.iter().filter(|&&n| stored[n] && self.levels[n] == level) {
                places[n] = Some(steps.len());
            }
            if !segment.is_empty() {
                steps.push(Step::Segment(segment));
            }
            for (n, place) in places.iter_mut().enumerate() {
                if self.roles[n] == Role::Call && self.levels[n] == level {
                    *place = Some(steps.len());
                    steps.push(Step::Call(n));
                }
            }
        }
        (steps, places)
    }

    /// Whether a segment's own instructions use a value.
    fn used_in(&self, n: usize, level: usize) -> bool {
        (0..self.body.len()).any(|user| {
            self.roles[user] != Role::Call
                && self.levels[user] == level
                && self.operands[user].contains(&n)
        })
    }

    /// Assigns homes to stored values. A slot is free again after the last step that reads it; a
    /// call may write where it reads.
    fn homes(
        &self,
        steps: &[Step],
        places: &[Option<usize>],
        direct: &HashMap<usize, usize>,
    ) -> (HashMap<usize, Home>, usize) {
        let mut last_use: Vec<usize> = places.iter().map(|place| place.unwrap_or(0)).collect();
        for (step, work) in steps.iter().enumerate() {
            let users = match work {
                Step::Segment(segment) => segment.as_slice(),
                Step::Call(n) => std::slice::from_ref(n),
            };
            for &operand in users.iter().flat_map(|&user| &self.operands[user]) {
                last_use[operand] = last_use[operand].max(step);
            }
        }
        let mut homes: HashMap<usize, Home> = HashMap::new();
        let mut holders: Vec<Option<usize>> = Vec::new();
        for (step, work) in steps.iter().enumerate() {
            let in_place = matches!(work, Step::Call(_));
            for holder in &mut holders {
                let free = |n: usize| last_use[n] < step || (in_place && last_use[n] == step);
                if holder.is_some_and(free) {
                    *holder = None;
                }
            }
            for n in (0..self.body.len()).filter(|&n| places[n] == Some(step)) {
                if let Some(&store) = direct.get(&n) {
                    homes.insert(n, Home::Stored(store));
                    continue;
                }
                let slot = holders.iter().position(Option::is_none).unwrap_or_else(|| {
                    holders.push(None);
                    holders.len() - 1
                });
                holders[slot] = Some(n);
                homes.insert(n, Home::Slot(slot));
            }
        }
        (homes, holders.len())
    }
}

/// Bytes that an element takes in a slot: booleans and bytes lie there as 32-bit words.
pub(super) const fn slot_size(dtype: DType) -> usize {
    match dtype {
        DType::F64 => 8,
        _ => 4,
    }
}
