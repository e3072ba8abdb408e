//! Small kernel functions, and running them both ways.

use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::program::{COUNTERS, Frame, Region};
use smallvec::SmallVec;

use crate::codegen::{CompiledCode, generate};
use crate::index::{Constraint, Expression};
use crate::kernel::loops::interpret::{Machine, TileMemory, read, write};
use crate::kernel::loops::{
    Address, AxisId, Buffer, BufferId, Convention, Function, LaneId, LoopAxis, LoopInstruction,
    LoopInstructionKind, Place, verify,
};
use crate::op::Elementwise;
use crate::types::{DType, Scalar};

/// Writes functions down.
pub(super) struct Draft {
    pub(super) function: Function,
    arena_bytes: usize,
    scratch_bytes: usize,
    values: u32,
}

impl Draft {
    pub(super) fn new(extents: &[usize]) -> Draft {
        let axes = extents.iter().enumerate();
        Draft {
            function: Function {
                name: "test".into(),
                convention: Convention::Pieces,
                axes: axes
                    .map(|(n, &extent)| LoopAxis { name: format!("axis{n}"), extent })
                    .collect(),
                buffers: Vec::new(),
                variables: Vec::new(),
                body: Vec::new(),
            },
            arena_bytes: 0,
            scratch_bytes: 0,
            values: 0,
        }
    }

    fn place_buffer(&mut self, dtype: DType, length: usize, place: Place) -> BufferId {
        let name = format!("buffer{}", self.function.buffers.len());
        self.function.buffers.push(Buffer { dtype, place, length, streamed: false, name });
        self.function.buffers.len() - 1
    }

    pub(super) fn buffer(&mut self, dtype: DType, length: usize) -> BufferId {
        let place = Place::Arena(self.arena_bytes);
        self.arena_bytes += (length * dtype.size()).next_multiple_of(64);
        self.place_buffer(dtype, length, place)
    }

    pub(super) fn scratch(&mut self, dtype: DType, length: usize) -> BufferId {
        let place = Place::Scratch(self.scratch_bytes);
        self.scratch_bytes += (length * dtype.size()).next_multiple_of(64);
        self.place_buffer(dtype, length, place)
    }

    pub(super) fn tile(&mut self, dtype: DType, batch_axes: usize) -> BufferId {
        self.function.convention = Convention::Region { batch_axes, block: None };
        self.place_buffer(dtype, 0, Place::Tile)
    }

    pub(super) fn variable(&mut self, dtype: DType) -> usize {
        self.function.variables.push(dtype);
        self.function.variables.len() - 1
    }

    /// Appends an instruction with a value.
    pub(super) fn value(
        &mut self,
        body: &mut Vec<LoopInstruction>,
        dtype: DType,
        kind: LoopInstructionKind,
    ) -> LaneId {
        let id = LaneId(self.values);
        self.values += 1;
        body.push(LoopInstruction { result: Some(id), dtype, kind });
        id
    }

    pub(super) fn load(
        &mut self,
        body: &mut Vec<LoopInstruction>,
        buffer: BufferId,
        offset: Expression,
    ) -> LaneId {
        self.load_where(body, buffer, offset, &[], 0.0)
    }

    pub(super) fn load_where(
        &mut self,
        body: &mut Vec<LoopInstruction>,
        buffer: BufferId,
        offset: Expression,
        constraints: &[Constraint],
        fill: f64,
    ) -> LaneId {
        let dtype = self.function.buffers[buffer].dtype;
        let kind = LoopInstructionKind::Load {
            buffer,
            address: Address::Offset(offset),
            constraints: SmallVec::from(constraints),
            fill: (!constraints.is_empty()).then(|| Scalar::new(dtype, fill)),
        };
        self.value(body, dtype, kind)
    }

    pub(super) fn constant(
        &mut self,
        body: &mut Vec<LoopInstruction>,
        dtype: DType,
        value: f64,
    ) -> LaneId {
        self.value(body, dtype, LoopInstructionKind::Constant(Scalar::new(dtype, value)))
    }

    pub(super) fn apply(
        &mut self,
        body: &mut Vec<LoopInstruction>,
        name: &str,
        dtype: DType,
        operands: &[LaneId],
    ) -> LaneId {
        let function = Elementwise::named(name).expect("a primitive");
        self.value(body, dtype, LoopInstructionKind::Apply(function, operands.into()))
    }

    /// Appends an instruction without a value.
    pub(super) fn effect(
        &mut self,
        body: &mut Vec<LoopInstruction>,
        dtype: DType,
        kind: LoopInstructionKind,
    ) {
        body.push(LoopInstruction { result: None, dtype, kind });
    }

    pub(super) fn store(
        &mut self,
        body: &mut Vec<LoopInstruction>,
        buffer: BufferId,
        offset: Expression,
        value: LaneId,
    ) {
        let dtype = self.function.buffers[buffer].dtype;
        let address = Address::Offset(offset);
        self.effect(body, dtype, LoopInstructionKind::Store { buffer, address, value });
    }
}

/// An index expression: `constant + sum of coefficient * axis`.
pub(super) fn affine(constant: i64, terms: &[(AxisId, i64)]) -> Expression {
    terms.iter().fold(Expression::constant(constant), |sum, &(axis, coefficient)| {
        sum.plus(&Expression::axis(axis).times(coefficient))
    })
}

/// A region with the tile's contents and row stride.
#[derive(Clone)]
pub(super) struct Tile {
    pub(super) region: Region,
    pub(super) bytes: Vec<u8>,
    pub(super) stride: usize,
}

/// A cache line: arenas are aligned to them.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as bytes")] [u8; 64]);

/// Memory before and after a function.
#[derive(Clone)]
pub(super) struct Memory {
    arena: Vec<Line>,
    pub(super) tile: Option<Tile>,
}

impl Memory {
    /// Memory for a function, filled with small numbers from a generator, the same for the same
    /// function.
    pub(super) fn for_function(function: &Function) -> Memory {
        let ends = function.buffers.iter().map(|buffer| match buffer.place {
            Place::Arena(offset) => offset + buffer.length * buffer.dtype.size(),
            _ => 0,
        });
        let lines = ends.max().unwrap_or(0).div_ceil(size_of::<Line>());
        let mut memory = Memory { arena: vec![Line([0; 64]); lines], tile: None };
        for buffer in 0..function.buffers.len() {
            if let Place::Arena(offset) = function.buffers[buffer].place {
                memory.fill(function, buffer, |element| sample(offset + element));
            }
        }
        memory
    }

    pub(super) fn fill(
        &mut self,
        function: &Function,
        buffer: BufferId,
        element: impl Fn(usize) -> f64,
    ) {
        let Buffer { dtype, place, length, .. } = function.buffers[buffer];
        let Place::Arena(offset) = place else { panic!("a buffer of the arena") };
        for n in 0..length {
            let value = Scalar::new(dtype, element(n)).value();
            write(dtype, &mut self.arena_bytes()[offset + n * dtype.size()..], value);
        }
    }

    fn arena_bytes(&mut self) -> &mut [u8] {
        let bytes = size_of_val(self.arena.as_slice());
        // SAFETY: the bytes of the vector's lines, which are nothing but bytes.
        unsafe { std::slice::from_raw_parts_mut(self.arena.as_mut_ptr().cast(), bytes) }
    }

    /// The elements of a buffer.
    pub(super) fn elements(&mut self, function: &Function, buffer: BufferId) -> Vec<f64> {
        let Buffer { dtype, place, length, .. } = function.buffers[buffer];
        let Place::Arena(offset) = place else { panic!("a buffer of the arena") };
        let bytes = self.arena_bytes();
        (0..length).map(|n| read(dtype, &bytes[offset + n * dtype.size()..])).collect()
    }
}

/// A number in -4..4, of eighths, that looks random.
pub(super) fn sample(n: usize) -> f64 {
    let hash = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (hash % 64) as f64 / 8.0 - 4.0
}

pub(super) const SEED: u64 = 7;
pub(super) const STEP: u64 = 3;

/// Executes pieces in the interpreter.
fn interpreted(
    function: &Function,
    mut memory: Memory,
    pieces: usize,
    tile_functions: Option<Cpu>,
) -> Memory {
    let mut scratch = vec![0; 1 << 20];
    let mut tile = memory.tile.take();
    let mut machine = Machine {
        arena: memory.arena_bytes(),
        scratch: &mut scratch,
        tile: tile.as_mut().map(|tile| TileMemory {
            region: tile.region,
            bytes: &mut tile.bytes,
            stride: tile.stride,
        }),
        seed: SEED,
        step: STEP,
        counters: [0; COUNTERS],
        tile_functions,
    };
    for piece in 0..pieces {
        machine.run(function, piece);
    }
    memory.tile = tile;
    memory
}

/// Compiles a function for a processor and executes pieces.
fn native(function: &Function, memory: Memory, pieces: usize, cpu: Cpu) -> Memory {
    let code = generate(std::slice::from_ref(function), 1, cpu)
        .and_then(|image| image.place(cpu))
        .unwrap_or_else(|error| panic!("{error}\n{function}"));
    run(&code, 0, memory, pieces)
}

/// Executes pieces of a compiled function.
pub(super) fn run(code: &CompiledCode, number: usize, mut memory: Memory, pieces: usize) -> Memory {
    // Aligned to 64 bytes, and followed by a mark that nobody may touch.
    let words = code.scratch_bytes(number).div_ceil(64) * 8;
    let mut scratch = vec![0x5a5a_5a5a_5a5a_5a5a_u64; words + 16];
    let start = scratch.as_mut_ptr();
    let lead = start.align_offset(64);
    let frame = Frame {
        arena: memory.arena.as_mut_ptr().cast(),
        scratch: start.wrapping_add(lead).cast(),
        seed: SEED,
        step: STEP,
        counters: [0; COUNTERS],
    };
    match &mut memory.tile {
        None => {
            let call = code.piece_function(number);
            for piece in 0..pieces as u64 {
                // SAFETY: arena and scratch memory hold the function's buffers.
                unsafe { call(&frame, piece) };
            }
        }
        Some(tile) => {
            let call = code.region_function(number);
            let stride = tile.stride as u64;
            // SAFETY: the same, and the tile holds the region.
            unsafe { call(&frame, tile.bytes.as_mut_ptr(), stride, &tile.region) };
        }
    }
    let rest = &scratch[lead + words..];
    assert!(rest.iter().all(|&word| word == 0x5a5a_5a5a_5a5a_5a5a), "scratch memory overrun");
    memory
}

/// Runs a function natively and by the interpreter with the primitives' reference evaluation;
/// all arena buffers must agree to a relative tolerance (relative to 1 for small numbers).
pub(super) fn compare(
    function: &Function,
    memory: Memory,
    pieces: usize,
    tolerance: f64,
) -> Memory {
    compare_to(function, memory, pieces, false, |_| tolerance)
}

/// The same with the interpreter calling the same tile functions: only sums and products may
/// differ, in the buffers that `tolerance` gives one above 0.
pub(super) fn compare_exactly(
    function: &Function,
    memory: Memory,
    pieces: usize,
    tolerance: impl Fn(BufferId) -> f64,
) -> Memory {
    compare_to(function, memory, pieces, true, tolerance)
}

/// Compares the code for all processors that this one can stand for.
fn compare_to(
    function: &Function,
    memory: Memory,
    pieces: usize,
    same_tile_functions: bool,
    tolerance: impl Fn(BufferId) -> f64,
) -> Memory {
    verify(function).unwrap_or_else(|error| panic!("{error}\n{function}"));
    let supported = Cpu::ALL.into_iter().filter(|cpu| cpu.supported());
    let found = supported.map(|cpu| {
        let tile_functions = same_tile_functions.then_some(cpu);
        compare_for(cpu, function, memory.clone(), pieces, tile_functions, &tolerance)
    });
    found.last().expect("some code runs on every machine")
}

fn compare_for(
    cpu: Cpu,
    function: &Function,
    memory: Memory,
    pieces: usize,
    tile_functions: Option<Cpu>,
    tolerance: impl Fn(BufferId) -> f64,
) -> Memory {
    let mut expected = interpreted(function, memory.clone(), pieces, tile_functions);
    let mut found = native(function, memory, pieces, cpu);
    for (number, buffer) in function.buffers.iter().enumerate() {
        if !matches!(buffer.place, Place::Arena(_)) {
            continue;
        }
        let pairs = expected.elements(function, number).into_iter();
        for (n, (expected, found)) in pairs.zip(found.elements(function, number)).enumerate() {
            assert_close(expected, found, tolerance(number), || {
                format!("element {n} of b{number} in\n{function}")
            });
        }
    }
    if let (Some(expected), Some(found)) = (&expected.tile, &found.tile) {
        for (n, (expected, found)) in
            expected.bytes.chunks(4).zip(found.bytes.chunks(4)).enumerate()
        {
            let [expected, found] = [expected, found].map(|bytes| read(DType::F32, bytes));
            assert_close(expected, found, 1e-6, || format!("tile element {n} in\n{function}"));
        }
    }
    found
}

fn assert_close(expected: f64, found: f64, tolerance: f64, place: impl Fn() -> String) {
    let close = if expected.is_finite() {
        (expected - found).abs() <= tolerance * expected.abs().max(1.0)
    } else {
        expected == found || (expected.is_nan() && found.is_nan())
    };
    assert!(close, "expected {expected:?}, found {found:?}: {}", place());
}
