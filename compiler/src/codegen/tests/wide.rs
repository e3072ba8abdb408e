//! What becomes a routine with wide vectors, and what such routines consist of.

use cygnet_runtime::cpu::Cpu;

use super::harness::{Draft, Memory, affine, compare, compare_exactly, sample};
use crate::codegen::list_functions;
use crate::index::{Constraint, Expression};
use crate::kernel::loops::{
    Address, Function, LaneId, LoopInstruction, LoopInstructionKind, Range, Statement,
};
use crate::op::ReduceKind;
use crate::types::DType;

/// The routines of a function for a processor, in its listing; nothing where this machine is none.
fn routines(function: &Function, cpu: Cpu) -> Option<Vec<String>> {
    let listing = list_functions(std::slice::from_ref(function), cpu).unwrap().remove(0);
    let parts = listing.assembly.split("\nvectors").skip(1);
    cpu.supported().then(|| parts.map(str::to_owned).collect())
}

fn has_routine(function: &Function, cpu: Cpu) -> bool {
    routines(function, cpu).is_none_or(|routines| !routines.is_empty())
}

/// One statement over `0..length`, in pieces of `chunk`.
fn over(mut draft: Draft, length: usize, chunk: usize, body: Vec<LoopInstruction>) -> Function {
    let count = length.div_ceil(chunk);
    let range = Range::Piece { count, inner: 1, chunk, extent: length };
    draft.function.body = vec![Statement::Tiles { axis: 0, range, body }];
    draft.function
}

fn element() -> Expression {
    affine(0, &[(0, 1)])
}

#[test]
fn elements_behind_the_last_vector_are_computed_alone() {
    for length in [16, 17, 31, 32, 33, 47, 64, 65, 80, 95, 127, 130, 300, 1000] {
        for chunk in [length, 16, 50, 64] {
            let mut draft = Draft::new(&[length]);
            let [x, y] = [DType::F32; 2].map(|dtype| draft.buffer(dtype, length));
            let mut body = Vec::new();
            let value = draft.load(&mut body, x, element());
            let doubled = draft.apply(&mut body, "add", DType::F32, &[value, value]);
            draft.store(&mut body, y, element(), doubled);
            let function = over(draft, length, chunk, body);
            let memory = Memory::for_function(&function);
            compare(&function, memory, length.div_ceil(chunk), 0.0);
            for cpu in [Cpu::Avx512, Cpu::Avx2] {
                assert!(has_routine(&function, cpu), "{cpu} {function}");
            }
        }
    }
}

/// Bytes, booleans and integers, with conversions between all of them.
#[test]
fn all_types_but_doubles_are_computed_in_wide_vectors() {
    let types = [DType::F32, DType::I32, DType::U8, DType::Bool];
    for length in [16, 40, 100] {
        for from in types {
            for to in types {
                let mut draft = Draft::new(&[length]);
                let (x, y) = (draft.buffer(from, length), draft.buffer(to, length));
                let mut body = Vec::new();
                let value = draft.load(&mut body, x, element());
                let cast = draft.value(&mut body, to, LoopInstructionKind::Cast(value));
                draft.store(&mut body, y, element(), cast);
                let function = over(draft, length, length, body);
                let mut memory = Memory::for_function(&function);
                memory.fill(&function, x, |n| match n % 11 {
                    3 if from == DType::F32 => f64::NAN,
                    5 if from == DType::F32 => 3e9,
                    6 if from == DType::F32 => -1e10,
                    7 => 300.0,
                    _ => sample(n) * 40.0,
                });
                compare(&function, memory, 1, 0.0);
                assert!(has_routine(&function, Cpu::Avx512), "{function}");
                // Nothing of AVX2 narrows words to bytes, or reads some bytes only.
                let bytes = [from, to].map(|dtype| dtype.size() == 1);
                let is_possible = !bytes[1] && (!bytes[0] || length % 8 == 0);
                let found = routines(&function, Cpu::Avx2);
                assert!(found.is_none_or(|found| found.is_empty() != is_possible), "{function}");
            }
        }
    }
    let mut draft = Draft::new(&[32]);
    let [x, y] = [DType::F64; 2].map(|dtype| draft.buffer(dtype, 32));
    let mut body = Vec::new();
    let value = draft.load(&mut body, x, element());
    draft.store(&mut body, y, element(), value);
    let function = over(draft, 32, 32, body);
    for cpu in [Cpu::Avx512, Cpu::Avx2] {
        assert_eq!(routines(&function, cpu).unwrap_or_default(), Vec::<String>::new());
    }
}

#[test]
fn elements_apart_are_gathered_and_scattered() {
    for (stride, first) in [(3, 0), (-2, 2 * 99), (196, 5)] {
        for scatters in [false, true] {
            let length = 100;
            let extent = 196 * length + 8;
            let mut draft = Draft::new(&[length]);
            let [x, y] = [DType::F32; 2].map(|dtype| draft.buffer(dtype, extent));
            let mut body = Vec::new();
            let apart = affine(first, &[(0, stride)]);
            let value = draft.load(&mut body, x, apart.clone());
            let number = LoopInstructionKind::Index(affine(7, &[(0, -5)]));
            let number = draft.value(&mut body, DType::F32, number);
            let sum = draft.apply(&mut body, "add", DType::F32, &[value, number]);
            draft.store(&mut body, y, if scatters { apart } else { element() }, sum);
            let function = over(draft, length, 30, body);
            let memory = Memory::for_function(&function);
            compare(&function, memory, 4, 0.0);
            for cpu in [Cpu::Avx512, Cpu::Avx2] {
                let Some(routines) = routines(&function, cpu) else { continue };
                let text = routines.concat();
                // AVX2 gathers only.
                let is_possible = cpu == Cpu::Avx512 || !scatters;
                assert_eq!(text.contains("vgatherdps"), is_possible, "{text}");
                assert_eq!(text.contains("vscatterdps"), is_possible && scatters, "{text}");
            }
        }
    }
}

/// Parts of a range where a constraint holds, and reductions over them.
#[test]
fn constraints_become_masks() {
    for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Prod] {
        let length = 150;
        let mut draft = Draft::new(&[length]);
        let x = draft.buffer(DType::F32, length);
        let y = draft.buffer(DType::F32, length);
        let held = if kind == ReduceKind::Sum { DType::F64 } else { DType::F32 };
        let total = draft.buffer(held, 1);
        let variable = draft.variable(held);
        let (mut start, mut body, mut end) = (Vec::new(), Vec::new(), Vec::new());
        let neutral =
            draft.constant(&mut start, held, if kind == ReduceKind::Prod { 1.0 } else { 0.0 });
        draft.effect(&mut start, held, LoopInstructionKind::Set(variable, neutral));
        let inside = Constraint { expression: element(), low: 21, high: 77 };
        let value = draft.load_where(&mut body, x, affine(-21, &[(0, 1)]), &[inside], 1.0);
        draft.store(&mut body, y, element(), value);
        draft.effect(&mut body, DType::F32, LoopInstructionKind::Fold { variable, kind, value });
        let result = draft.value(&mut end, held, LoopInstructionKind::Get(variable));
        draft.store(&mut end, total, Expression::constant(0), result);
        let range = Range::Fixed { start: 0, end: length };
        draft.function.body = vec![
            Statement::Scalar(start),
            Statement::Tiles { axis: 0, range, body },
            Statement::Scalar(end),
        ];
        let mut memory = Memory::for_function(&draft.function);
        memory.fill(&draft.function, x, |n| 1.0 + sample(n) / 64.0);
        compare_exactly(
            &draft.function,
            memory,
            1,
            |buffer| if buffer == total { 1e-5 } else { 0.0 },
        );
        for cpu in [Cpu::Avx512, Cpu::Avx2] {
            assert!(has_routine(&draft.function, cpu), "{cpu}");
        }
    }
}

/// A maximum with a NaN is NaN, wherever it lies.
#[test]
fn a_nan_is_the_maximum() {
    for (length, at) in [(64, 0), (64, 63), (50, 49), (50, 20), (200, 130)] {
        let mut draft = Draft::new(&[length]);
        let x = draft.buffer(DType::F32, length);
        let total = draft.buffer(DType::F32, 1);
        let variable = draft.variable(DType::F32);
        let (mut start, mut body, mut end) = (Vec::new(), Vec::new(), Vec::new());
        let neutral = draft.constant(&mut start, DType::F32, f64::NEG_INFINITY);
        draft.effect(&mut start, DType::F32, LoopInstructionKind::Set(variable, neutral));
        let value = draft.load(&mut body, x, element());
        let fold = LoopInstructionKind::Fold { variable, kind: ReduceKind::Max, value };
        draft.effect(&mut body, DType::F32, fold);
        let result = draft.value(&mut end, DType::F32, LoopInstructionKind::Get(variable));
        draft.store(&mut end, total, Expression::constant(0), result);
        let range = Range::Fixed { start: 0, end: length };
        draft.function.body = vec![
            Statement::Scalar(start),
            Statement::Tiles { axis: 0, range, body },
            Statement::Scalar(end),
        ];
        let mut memory = Memory::for_function(&draft.function);
        memory.fill(&draft.function, x, |n| if n == at { f64::NAN } else { sample(n) });
        let mut found = compare(&draft.function, memory, 1, 0.0);
        assert!(found.elements(&draft.function, total)[0].is_nan(), "{length} {at}");
    }
}

/// More rows than registers for arguments, and more constants and values than vector registers.
#[test]
fn what_does_not_fit_registers_lies_on_the_stack_or_is_made_again() {
    let length = 70;
    for (rows, constants, is_wide) in [(8, 3, true), (11, 40, true), (13, 3, false), (2, 90, true)]
    {
        let mut draft = Draft::new(&[length, 1]);
        // Rows of different pieces of memory: what moves with another axis has a pointer of its own.
        let inputs: Vec<usize> = (0..rows).map(|_| draft.buffer(DType::F32, 40 * length)).collect();
        let y = draft.buffer(DType::F32, length);
        let mut body = Vec::new();
        let mut sum: Option<LaneId> = None;
        for (n, &input) in inputs.iter().enumerate() {
            let place = affine(0, &[(0, 1), (1, n as i64 + 1)]);
            let value = draft.load(&mut body, input, place);
            sum = Some(match sum {
                None => value,
                Some(sum) => draft.apply(&mut body, "add", DType::F32, &[sum, value]),
            });
        }
        let mut sum = sum.expect("there are rows");
        for n in 0..constants {
            let constant = draft.constant(&mut body, DType::F32, 0.5 + n as f64 / 8.0);
            sum = draft.apply(&mut body, "max", DType::F32, &[sum, constant]);
        }
        draft.store(&mut body, y, element(), sum);
        let range = Range::Fixed { start: 0, end: length };
        // Two turns, so that the axis does not go away.
        draft.function.axes[1].extent = 2;
        draft.function.body = vec![Statement::Loop {
            axis: 1,
            range: Range::Fixed { start: 0, end: 2 },
            body: vec![Statement::Tiles { axis: 0, range, body }],
        }];
        let memory = Memory::for_function(&draft.function);
        compare(&draft.function, memory, 1, 0.0);
        let found = routines(&draft.function, Cpu::Avx512);
        assert!(found.is_none_or(|found| found.is_empty() != is_wide), "{rows} rows");
    }
}

/// Rows of a table by an index that is the same for a statement, also one that leads nowhere.
#[test]
fn rows_of_tables_are_read_in_wide_vectors() {
    let (rows, columns) = (6, 48);
    let mut draft = Draft::new(&[rows, columns]);
    let table = draft.buffer(DType::F32, 4 * columns);
    let indices = draft.buffer(DType::I32, rows);
    let y = draft.buffer(DType::F32, rows * columns);
    let mut scalars = Vec::new();
    let index = draft.load(&mut scalars, indices, element());
    let mut body = Vec::new();
    let (stride, extent) = (columns, 4);
    let address = Address::Offset(affine(0, &[(1, 1)]));
    let gather = LoopInstructionKind::Gather { buffer: table, address, index, stride, extent };
    let value = draft.value(&mut body, DType::F32, gather);
    draft.store(&mut body, y, affine(0, &[(0, columns as i64), (1, 1)]), value);
    draft.function.body = vec![Statement::Loop {
        axis: 0,
        range: Range::Fixed { start: 0, end: rows },
        body: vec![
            Statement::Scalar(scalars),
            Statement::Tiles { axis: 1, range: Range::Fixed { start: 0, end: columns }, body },
        ],
    }];
    let mut memory = Memory::for_function(&draft.function);
    memory.fill(&draft.function, indices, |n| [0.0, 3.0, 4.0, -1.0, 2.0, 1.0][n]);
    compare(&draft.function, memory, 1, 0.0);
    for cpu in [Cpu::Avx512, Cpu::Avx2] {
        assert!(has_routine(&draft.function, cpu), "{cpu}");
    }
}

/// What nobody reads again goes past the caches if vectors are aligned, and is the same.
#[test]
fn streamed_rows_are_written_whole() {
    for (length, first, streams) in [(200, 0, true), (200, 16, true), (64, 4, false)] {
        let mut draft = Draft::new(&[length]);
        let x = draft.buffer(DType::F32, length);
        let y = draft.buffer(DType::F32, length + 16);
        draft.function.buffers[y].streamed = true;
        let mut body = Vec::new();
        let value = draft.load(&mut body, x, element());
        draft.store(&mut body, y, affine(first, &[(0, 1)]), value);
        let function = over(draft, length, 64, body);
        let memory = Memory::for_function(&function);
        compare(&function, memory, length.div_ceil(64), 0.0);
        for routines in
            [Cpu::Avx512, Cpu::Avx2].into_iter().filter_map(|cpu| routines(&function, cpu))
        {
            assert_eq!(routines.concat().contains("vmovntps"), streams, "{function}");
        }
    }
}

/// Parts of rows that lie on other pages each are asked for ahead; whole rows are not, nor are rows
/// close to each other.
#[test]
fn parts_of_rows_are_asked_for_ahead() {
    for (width, chunk, asks) in [(1024, 64, true), (1024, 1024, false), (512, 64, false)] {
        let rows = 6;
        let mut draft = Draft::new(&[rows, width]);
        let [x, y] = [DType::F32; 2].map(|dtype| draft.buffer(dtype, rows * width));
        let element = || affine(0, &[(0, width as i64), (1, 1)]);
        let mut body = Vec::new();
        let value = draft.load(&mut body, x, element());
        let doubled = draft.apply(&mut body, "add", DType::F32, &[value, value]);
        draft.store(&mut body, y, element(), doubled);
        let count = width / chunk;
        let part = match count {
            1 => Range::Fixed { start: 0, end: width },
            _ => Range::Piece { count, inner: 1, chunk, extent: width },
        };
        let tiles = Statement::Tiles { axis: 1, range: part, body };
        let down = Range::Fixed { start: 0, end: rows };
        draft.function.body = vec![Statement::Loop { axis: 0, range: down, body: vec![tiles] }];
        let function = draft.function;
        compare(&function, Memory::for_function(&function), count, 0.0);
        for routines in
            [Cpu::Avx512, Cpu::Avx2].into_iter().filter_map(|cpu| routines(&function, cpu))
        {
            assert_eq!(routines.concat().contains("prefetcht0"), asks, "{function}");
        }
    }
}
