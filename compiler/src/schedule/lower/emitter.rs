//! Emitting loop instructions for the instructions of a body.

use cygnet_runtime::program::{Home, Motion};
use smallvec::SmallVec;

use crate::kernel::loops::{
    Address, AxisId, Buffer, BufferId, Convention, Function, LaneId, LoopAxis, LoopInstruction,
    LoopInstructionKind, Place, Range, Statement,
};
use crate::kernel::{Body, InstructionId, InstructionKind, Store, ValueId};
use crate::schedule::memory::Memory;
use crate::types::{DType, Scalar};

use super::analysis::{Analysis, AxisSet};

/// How many buffers of scratch memory a function may use is bounded by what its body caches; each
/// starts at a cache line.
const SCRATCH_ALIGNMENT: usize = 64;

/// Lanes known at a place of the function, by instruction.
pub type Lanes = Vec<Option<LaneId>>;

/// A function under construction.
pub struct Emitter<'a> {
    /// The body that is lowered.
    pub body: &'a Body,
    /// Facts about it.
    pub analysis: &'a Analysis,
    memory: &'a Memory,
    /// The function.
    pub function: Function,
    /// Scalars in scope, by instruction.
    pub scalars: Lanes,
    /// Values kept in scratch memory, by instruction: buffer and address.
    pub kept: Vec<Option<(BufferId, Address)>>,
    /// The buffer of each value touched so far.
    buffers: Vec<(ValueId, BufferId)>,
    next_lane: u32,
    scratch_bytes: usize,
}

impl<'a> Emitter<'a> {
    /// A function without statements over the body's axes.
    pub fn new(
        name: &str,
        convention: Convention,
        body: &'a Body,
        analysis: &'a Analysis,
        memory: &'a Memory,
    ) -> Emitter<'a> {
        let axes = (body.axes.iter().enumerate())
            .map(|(position, axis)| LoopAxis { name: format!("i{position}"), extent: axis.extent })
            .collect();
        let function = Function {
            name: name.to_owned(),
            convention,
            axes,
            buffers: Vec::new(),
            variables: Vec::new(),
            body: Vec::new(),
        };
        let instructions = body.instructions.len();
        Emitter {
            body,
            analysis,
            memory,
            function,
            scalars: vec![None; instructions],
            kept: vec![None; instructions],
            buffers: Vec::new(),
            next_lane: 0,
            scratch_bytes: 0,
        }
    }

    /// A new variable.
    pub fn variable(&mut self, dtype: DType) -> usize {
        self.function.variables.push(dtype);
        self.function.variables.len() - 1
    }

    /// A new buffer in scratch memory.
    pub fn scratch(&mut self, dtype: DType, length: usize, name: String) -> BufferId {
        let place = Place::Scratch(self.scratch_bytes);
        self.scratch_bytes += (length * dtype.size()).next_multiple_of(SCRATCH_ALIGNMENT);
        self.function.buffers.push(Buffer { dtype, place, length, streamed: false, name });
        self.function.buffers.len() - 1
    }

    /// The region's tile as a buffer.
    pub fn tile(&mut self, dtype: DType) -> BufferId {
        let known = self.function.buffers.iter().position(|buffer| buffer.place == Place::Tile);
        known.unwrap_or_else(|| {
            let name = "tile".to_owned();
            let place = Place::Tile;
            self.function.buffers.push(Buffer { dtype, place, length: 0, streamed: false, name });
            self.function.buffers.len() - 1
        })
    }

    /// The buffer of a value in the arena.
    pub fn buffer(&mut self, value: ValueId) -> BufferId {
        if let Some(&(_, buffer)) = self.buffers.iter().find(|(known, _)| *known == value) {
            return buffer;
        }
        self.function.buffers.push(Buffer {
            dtype: self.memory.dtype(value),
            place: match self.memory.home(value) {
                Home { offset, motion: Motion::NONE } => Place::Arena(offset),
                Home { offset, motion } => Place::Moving(offset, motion),
            },
            length: self.memory.elements(value),
            streamed: self.memory.is_streamed(value),
            name: format!("v{}", value.0),
        });
        let buffer = self.function.buffers.len() - 1;
        self.buffers.push((value, buffer));
        buffer
    }

    /// Appends an instruction with a result.
    pub fn push(
        &mut self,
        list: &mut Vec<LoopInstruction>,
        dtype: DType,
        kind: LoopInstructionKind,
    ) -> LaneId {
        let lane = LaneId(self.next_lane);
        self.next_lane += 1;
        list.push(LoopInstruction { result: Some(lane), dtype, kind });
        lane
    }

    /// Appends a constant.
    pub fn constant(
        &mut self,
        list: &mut Vec<LoopInstruction>,
        dtype: DType,
        value: f64,
    ) -> LaneId {
        self.push(list, dtype, LoopInstructionKind::Constant(Scalar::new(dtype, value)))
    }

    /// Appends what computes `id`, using what is in scope, what is kept, and what `local` already
    /// has; returns its lane.
    ///
    /// # Panics
    /// On a reduction whose result is neither in scope nor kept.
    pub fn compute(
        &mut self,
        id: InstructionId,
        list: &mut Vec<LoopInstruction>,
        local: &mut Lanes,
    ) -> LaneId {
        let index = id.0 as usize;
        if let Some(lane) = self.scalars[index].or(local[index]) {
            return lane;
        }
        let body = self.body;
        let instruction = &body.instructions[index];
        let dtype = instruction.dtype;
        let lane = if let Some((buffer, address)) = self.kept[index].clone() {
            let kept = self.function.buffers[buffer].dtype;
            let load = LoopInstructionKind::Load {
                buffer,
                address,
                constraints: SmallVec::new(),
                fill: None,
            };
            let lane = self.push(list, kept, load);
            if kept == dtype {
                lane
            } else {
                self.push(list, dtype, LoopInstructionKind::Cast(lane))
            }
        } else {
            let operands: SmallVec<[LaneId; 3]> = instruction
                .kind
                .operands()
                .iter()
                .map(|&operand| self.compute(operand, list, local))
                .collect();
            let kind = self.translate(&instruction.kind, dtype, operands);
            self.push(list, dtype, kind)
        };
        local[index] = Some(lane);
        lane
    }

    fn translate(
        &mut self,
        kind: &InstructionKind,
        dtype: DType,
        operands: SmallVec<[LaneId; 3]>,
    ) -> LoopInstructionKind {
        match kind {
            InstructionKind::Constant(value) => LoopInstructionKind::Constant(*value),
            InstructionKind::Load { value, map } => LoopInstructionKind::Load {
                buffer: self.buffer(*value),
                address: Address::Offset(map.indices()[0].clone()),
                constraints: map.constraints().iter().cloned().collect(),
                fill: map.fill(),
            },
            InstructionKind::Gather { value, map, axis, .. } => LoopInstructionKind::Gather {
                buffer: self.buffer(*value),
                address: Address::Offset(map.indices()[0].clone()),
                index: operands[0],
                stride: self.memory.strides(*value)[*axis],
                extent: self.memory.shape(*value)[*axis],
            },
            InstructionKind::Accumulator => LoopInstructionKind::Load {
                buffer: self.tile(dtype),
                address: Address::Tile,
                constraints: SmallVec::new(),
                fill: None,
            },
            InstructionKind::Index(index) => LoopInstructionKind::Index(index.clone()),
            InstructionKind::Random { kind, stream, index } => {
                LoopInstructionKind::Random { kind: *kind, stream: *stream, index: index.clone() }
            }
            InstructionKind::Apply(function, _) => LoopInstructionKind::Apply(*function, operands),
            InstructionKind::Cast(_) => LoopInstructionKind::Cast(operands[0]),
            InstructionKind::Masked(_, map) => match map.fill() {
                Some(fill) => LoopInstructionKind::Masked {
                    operand: operands[0],
                    constraints: map.constraints().iter().cloned().collect(),
                    fill,
                },
                None => LoopInstructionKind::Cast(operands[0]),
            },
            InstructionKind::Reduce(..) | InstructionKind::ArgReduce(..) => {
                unreachable!("reductions are in scope or kept before they are used")
            }
        }
    }

    /// Appends the stores with these numbers, behind all that they need: what one of them writes
    /// may lie where another value is read from.
    pub fn stores(
        &mut self,
        numbers: impl IntoIterator<Item = usize>,
        list: &mut Vec<LoopInstruction>,
        local: &mut Lanes,
    ) {
        let body = self.body;
        let stores = numbers.into_iter().map(|number| &body.stores[number]);
        let values: Vec<(&Store, LaneId)> =
            stores.map(|store| (store, self.compute(store.instruction, list, local))).collect();
        for (store, value) in values {
            let buffer = self.buffer(store.value);
            let dtype = self.function.buffers[buffer].dtype;
            let address = Address::Offset(store.map.indices()[0].clone());
            let kind = LoopInstructionKind::Store { buffer, address, value };
            list.push(LoopInstruction { result: None, dtype, kind });
        }
    }

    /// Computes ahead, as scalars at the outermost place possible, what `roots` need and what does
    /// not vary along `inner` axes; returns them by depth: entry `d` goes inside the first `d`
    /// loops. Only instructions that `admit` accepts are computed ahead.
    pub fn hoist(
        &mut self,
        roots: &[InstructionId],
        loops: &[(AxisId, Range)],
        inner: AxisSet,
    ) -> Vec<Vec<LoopInstruction>> {
        let mut needed = vec![false; self.body.instructions.len()];
        let mut stack: Vec<InstructionId> = roots.to_vec();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut needed[id.0 as usize], true) {
                stack.extend(self.body.instruction(id).kind.operands());
            }
        }
        let mut by_depth = vec![Vec::new(); loops.len() + 1];
        for index in 0..needed.len() {
            let id = InstructionId(index as u32);
            let varies = self.analysis.varies[index];
            let constant = matches!(self.body.instruction(id).kind, InstructionKind::Constant(_));
            let ready = self.analysis.level[index] == 0 && !constant;
            if !needed[index] || varies & inner != 0 || !ready || self.scalars[index].is_some() {
                continue;
            }
            let depth = (0..loops.len())
                .rev()
                .find(|&depth| varies & (1 << loops[depth].0) != 0)
                .map_or(0, |depth| depth + 1);
            let mut list = std::mem::take(&mut by_depth[depth]);
            let mut local = vec![None; needed.len()];
            let lane = self.compute(id, &mut list, &mut local);
            by_depth[depth] = list;
            self.scalars[index] = Some(lane);
        }
        by_depth
    }

    /// The stores of results that follow on so many levels of reductions: of results per point,
    /// or of those per row.
    pub fn stores_of(&self, level: usize, per_point: bool) -> Vec<usize> {
        let (body, analysis) = (self.body, self.analysis);
        let is_ready = |&number: &usize| {
            let store = &body.stores[number];
            let axes = analysis.store_axes(store.instruction, &store.map);
            analysis.level(store.instruction) == level
                && (axes & analysis.reduced != 0) == per_point
        };
        (0..body.stores.len()).filter(is_ready).collect()
    }

    /// Empty local lanes.
    pub fn locals(&self) -> Lanes {
        vec![None; self.body.instructions.len()]
    }
}

/// Wraps statements in loops, with scalar instructions at each depth.
pub fn nest(
    loops: &[(AxisId, Range)],
    mut scalars: Vec<Vec<LoopInstruction>>,
    innermost: Vec<Statement>,
) -> Vec<Statement> {
    let mut body = innermost;
    for depth in (0..=loops.len()).rev() {
        let ahead = std::mem::take(&mut scalars[depth]);
        if !ahead.is_empty() {
            body.insert(0, Statement::Scalar(ahead));
        }
        if depth > 0 {
            let (axis, range) = loops[depth - 1];
            body = vec![Statement::Loop { axis, range, body }];
        }
    }
    body
}
