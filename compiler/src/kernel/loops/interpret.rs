//! Kernel IR, executed element by element: what native code is tested against.

use std::collections::HashMap;

use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::program::{COUNTERS, Region};
use cygnet_runtime::random;
use cygnet_runtime::tile::TileFunction;

use super::{
    Address, BufferId, Convention, Function, LaneId, LoopInstruction, LoopInstructionKind, Place,
    Range, Statement,
};
use crate::index::{Constraint, Expression};
use crate::op::indexing::missing;
use crate::op::lowering::Lowering;
use crate::op::{ArgKind, RandomKind, ReduceKind};
use crate::types::{DType, Scalar};

/// A region and its tile.
pub(crate) struct TileMemory<'m> {
    pub(crate) region: Region,
    pub(crate) bytes: &'m mut [u8],
    /// Elements between rows.
    pub(crate) stride: usize,
}

/// Memory and counters that a function works with.
pub(crate) struct Machine<'m> {
    pub(crate) arena: &'m mut [u8],
    pub(crate) scratch: &'m mut [u8],
    pub(crate) tile: Option<TileMemory<'m>>,
    pub(crate) seed: u64,
    pub(crate) step: u64,
    pub(crate) counters: [u64; COUNTERS],
    /// Whose tile functions compute what native code leaves to them, so that results agree bit
    /// for bit; the reference evaluation of the primitive if there is none.
    pub(crate) tile_functions: Option<Cpu>,
}

impl Machine<'_> {
    /// Executes one piece (or, for a region function, the region) of a verified function.
    pub(crate) fn run(&mut self, function: &Function, piece: usize) {
        let mut state = State {
            machine: self,
            function,
            piece,
            index: vec![0; function.axes.len()],
            values: HashMap::new(),
            variables: function.variables.iter().map(|_| 0.0).collect(),
        };
        state.statements(&function.body);
    }
}

struct State<'s, 'm> {
    machine: &'s mut Machine<'m>,
    function: &'s Function,
    piece: usize,
    index: Vec<usize>,
    values: HashMap<LaneId, f64>,
    variables: Vec<f64>,
}

impl State<'_, '_> {
    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Loop { axis, range, body } => {
                    for index in self.range(*range) {
                        self.index[*axis] = index;
                        self.statements(body);
                    }
                }
                Statement::Tiles { axis, range, body } => {
                    for index in self.range(*range) {
                        self.index[*axis] = index;
                        self.instructions(body);
                    }
                }
                Statement::Scalar(body) => self.instructions(body),
            }
        }
    }

    fn range(&self, range: Range) -> std::ops::Range<usize> {
        let region = || self.machine.tile.as_ref().expect("a region function").region;
        match range {
            Range::Fixed { start, end } => start..end,
            Range::Piece { count, inner, chunk, extent } => {
                let start = self.piece / inner % count * chunk;
                start..(start + chunk).min(extent)
            }
            Range::RegionBatch { inner, extent } => {
                let index = region().batch as usize / inner % extent;
                index..index + 1
            }
            Range::RegionRows => region().row_start as usize..region().row_end as usize,
            Range::RegionColumns => region().column_start as usize..region().column_end as usize,
            Range::RegionBlocks { width } => {
                let (start, end) = (region().column_start as usize, region().column_end as usize);
                start / width..end.div_ceil(width)
            }
            Range::RegionWithin { width } => {
                let before = self.index[self.first_column_axis()] * width;
                let (start, end) = (region().column_start as usize, region().column_end as usize);
                start.saturating_sub(before)..end.saturating_sub(before).min(width)
            }
        }
    }

    /// The axis after the row.
    fn first_column_axis(&self) -> usize {
        let Convention::Region { batch_axes, .. } = self.function.convention else {
            unreachable!("verified: only region functions have a tile")
        };
        batch_axes + 1
    }

    fn instructions(&mut self, body: &[LoopInstruction]) {
        for instruction in body {
            if let Some(value) = self.instruction(&instruction.kind, instruction.dtype) {
                let result = instruction.result.expect("verified: values have a place");
                self.values.insert(result, Scalar::new(instruction.dtype, value).value());
            }
        }
    }

    fn holds(&self, constraints: &[Constraint]) -> bool {
        constraints.iter().all(|constraint| {
            let value = self.evaluate(&constraint.expression);
            constraint.low <= value && value < constraint.high
        })
    }

    fn evaluate(&self, expression: &Expression) -> i64 {
        expression.evaluate(&self.index)
    }

    fn instruction(&mut self, kind: &LoopInstructionKind, dtype: DType) -> Option<f64> {
        match kind {
            LoopInstructionKind::Constant(value) => Some(value.value()),
            LoopInstructionKind::Index(expression) => Some(self.evaluate(expression) as f64),
            LoopInstructionKind::Load { buffer, address, constraints, fill } => {
                Some(match (self.holds(constraints), fill) {
                    (false, Some(fill)) => fill.value(),
                    _ => self.load(*buffer, address),
                })
            }
            LoopInstructionKind::Gather { buffer, address, index, stride, extent } => {
                let index = self.values[index];
                Some(match index >= 0.0 && index < *extent as f64 {
                    true => self.load(*buffer, &address.moved(index as i64 * *stride as i64)),
                    false => missing(dtype),
                })
            }
            LoopInstructionKind::Masked { operand, constraints, fill } => {
                let inside = self.holds(constraints);
                Some(if inside { self.values[operand] } else { fill.value() })
            }
            LoopInstructionKind::Random { kind, stream, index } => {
                let index = self.evaluate(index) as u64;
                let number = match kind {
                    RandomKind::Uniform => random::uniform,
                    RandomKind::Normal => random::normal,
                };
                Some(number(self.machine.seed, *stream, self.machine.step, index).into())
            }
            LoopInstructionKind::Apply(function, operands) => {
                let operands: Vec<f64> = operands.iter().map(|id| self.values[id]).collect();
                Some(match (function.entry().lowering, self.machine.tile_functions) {
                    (Lowering::Tile(tile), Some(cpu)) => by_tile(tile, cpu, dtype, &operands),
                    _ => function.evaluate_element(dtype, &operands),
                })
            }
            LoopInstructionKind::Cast(operand) => Some(self.values[operand]),
            LoopInstructionKind::Get(variable) => Some(self.variables[*variable]),
            LoopInstructionKind::Store { buffer, address, value } => {
                self.store(*buffer, address, self.values[value]);
                None
            }
            LoopInstructionKind::Accumulate { buffer, address, kind, value } => {
                let known = self.load(*buffer, address);
                self.store(*buffer, address, combine(*kind, dtype, known, self.values[value]));
                None
            }
            LoopInstructionKind::Set(variable, value) => {
                self.variables[*variable] = self.values[value];
                None
            }
            LoopInstructionKind::Fold { variable, kind, value } => {
                let dtype = self.function.variables[*variable];
                let known = self.variables[*variable];
                self.variables[*variable] = combine(*kind, dtype, known, self.values[value]);
                None
            }
            LoopInstructionKind::FoldArg { variable, position, kind, value, index } => {
                let (known, value) = (self.variables[*variable], self.values[value]);
                let better = match kind {
                    ArgKind::Max => value > known,
                    ArgKind::Min => value < known,
                };
                if !known.is_nan() && (better || value.is_nan()) {
                    self.variables[*variable] = value;
                    self.variables[*position] = self.evaluate(index) as f64;
                }
                None
            }
        }
    }

    /// Memory of a buffer and the byte offset of an element in it.
    fn place(&mut self, buffer: BufferId, address: &Address) -> (&mut [u8], usize) {
        let declared = &self.function.buffers[buffer];
        let size = declared.dtype.size();
        let element = match address {
            Address::Offset(expression) => {
                let element = self.evaluate(expression) as usize;
                assert!(element < declared.length, "element {element} of buffer b{buffer}");
                element
            }
            Address::Tile => {
                let tile = self.machine.tile.as_ref().expect("a region function has a tile");
                let axis = self.first_column_axis();
                let row = self.index[axis - 1] - tile.region.row_start as usize;
                let column = match self.function.convention {
                    Convention::Region { block: Some(width), .. } => {
                        self.index[axis] * width + self.index[axis + 1]
                    }
                    _ => self.index[axis],
                };
                row * tile.stride + column - tile.region.column_start as usize
            }
        };
        match declared.place {
            Place::Arena(offset) => (self.machine.arena, offset + element * size),
            Place::Moving(offset, motion) => {
                let moved = offset.strict_add_signed(motion.bytes(&self.machine.counters));
                (self.machine.arena, moved + element * size)
            }
            Place::Scratch(offset) => (self.machine.scratch, offset + element * size),
            Place::Tile => {
                (self.machine.tile.as_mut().expect("a region function").bytes, element * size)
            }
        }
    }

    fn load(&mut self, buffer: BufferId, address: &Address) -> f64 {
        let dtype = self.function.buffers[buffer].dtype;
        let (memory, offset) = self.place(buffer, address);
        read(dtype, &memory[offset..])
    }

    fn store(&mut self, buffer: BufferId, address: &Address, value: f64) {
        let dtype = self.function.buffers[buffer].dtype;
        let (memory, offset) = self.place(buffer, address);
        write(dtype, &mut memory[offset..], value);
    }
}

/// One element of a tile function.
fn by_tile(function: TileFunction, cpu: Cpu, dtype: DType, operands: &[f64]) -> f64 {
    let address = function.address(dtype, cpu);
    let mut memory = [0; 16];
    for (place, &operand) in operands.iter().enumerate() {
        write(dtype, &mut memory[8 * place..], operand);
    }
    let [x, y] = [0, 8].map(|place| memory[place..].as_ptr());
    let mut out = [0; 8];
    // SAFETY: the signatures that `TileFunction` documents, whose pointers all look alike; there
    // is one element at each.
    unsafe {
        type Unary = unsafe extern "C" fn(*mut u8, *const u8, usize);
        type Binary = unsafe extern "C" fn(*mut u8, *const u8, *const u8, usize);
        match operands.len() {
            1 => std::mem::transmute::<*const u8, Unary>(address)(out.as_mut_ptr(), x, 1),
            _ => std::mem::transmute::<*const u8, Binary>(address)(out.as_mut_ptr(), x, y, 1),
        }
    }
    read(dtype, &out)
}

fn combine(kind: ReduceKind, dtype: DType, known: f64, value: f64) -> f64 {
    if dtype == DType::I32 {
        let (known, value) = (known as i32, value as i32);
        return f64::from(match kind {
            ReduceKind::Sum => known.wrapping_add(value),
            ReduceKind::Prod => known.wrapping_mul(value),
            ReduceKind::Max => known.max(value),
        });
    }
    let combined = match kind {
        ReduceKind::Sum => known + value,
        ReduceKind::Prod => known * value,
        ReduceKind::Max if known.is_nan() || value.is_nan() => f64::NAN,
        ReduceKind::Max => known.max(value),
    };
    Scalar::new(dtype, combined).value()
}

/// The element at the start of some bytes.
pub(crate) fn read(dtype: DType, bytes: &[u8]) -> f64 {
    let word = || bytes[..4].try_into().expect("four bytes");
    match dtype {
        DType::F32 => f32::from_le_bytes(word()).into(),
        DType::F64 => f64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")),
        DType::I32 => i32::from_le_bytes(word()).into(),
        DType::U8 | DType::Bool => bytes[0].into(),
    }
}

/// Writes an element at the start of some bytes.
pub(crate) fn write(dtype: DType, bytes: &mut [u8], value: f64) {
    match dtype {
        DType::F32 => bytes[..4].copy_from_slice(&(value as f32).to_le_bytes()),
        DType::F64 => bytes[..8].copy_from_slice(&value.to_le_bytes()),
        DType::I32 => bytes[..4].copy_from_slice(&(value as i32).to_le_bytes()),
        DType::U8 | DType::Bool => bytes[0] = value as u8,
    }
}
