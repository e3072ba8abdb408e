//! Loops, tiles, ranges and reductions, one at a time.

use super::harness::{Draft, Memory, affine, compare, compare_exactly, sample};
use crate::codegen::list_functions;
use crate::kernel::loops::{LoopInstructionKind, Range, Statement};
use crate::op::{RandomKind, ReduceKind};
use crate::types::DType;
use cygnet_runtime::cpu::Cpu;

#[test]
fn an_elementwise_kernel_covers_its_range_by_pieces() {
    for extent in [1, 3, 4, 7, 64, 100, 513] {
        for chunk in [1, 5, 32, 600] {
            let mut draft = Draft::new(&[extent]);
            let x = draft.buffer(DType::F32, extent);
            let y = draft.buffer(DType::F32, extent);
            let out = draft.buffer(DType::F32, extent);
            let mut body = Vec::new();
            let x = draft.load(&mut body, x, affine(0, &[(0, 1)]));
            let y = draft.load(&mut body, y, affine(0, &[(0, 1)]));
            let scale = draft.constant(&mut body, DType::F32, 1.5);
            let product = draft.apply(&mut body, "mul", DType::F32, &[x, scale]);
            let sum = draft.apply(&mut body, "add", DType::F32, &[product, y]);
            draft.store(&mut body, out, affine(0, &[(0, 1)]), sum);
            let count = extent.div_ceil(chunk);
            let range = Range::Piece { count, inner: 1, chunk, extent };
            draft.function.body = vec![Statement::Tiles { axis: 0, range, body }];
            let memory = Memory::for_function(&draft.function);
            compare(&draft.function, memory, count, 1e-6);
        }
    }
}

/// Softmax of each row: maximum, exponentials in scratch memory and their sum, quotients.
fn softmax(rows: usize, columns: usize) -> Draft {
    let mut draft = Draft::new(&[rows, columns]);
    let x = draft.buffer(DType::F32, rows * columns);
    let out = draft.buffer(DType::F32, rows * columns);
    let row = draft.scratch(DType::F32, columns);
    let maximum = draft.variable(DType::F32);
    let sum = draft.variable(DType::F64);
    let element = affine(0, &[(0, columns as i64), (1, 1)]);
    let tiles =
        |body| Statement::Tiles { axis: 1, range: Range::Fixed { start: 0, end: columns }, body };

    let mut start = Vec::new();
    let infinity = draft.constant(&mut start, DType::F32, f64::NEG_INFINITY);
    draft.effect(&mut start, DType::F32, LoopInstructionKind::Set(maximum, infinity));
    let zero = draft.constant(&mut start, DType::F64, 0.0);
    draft.effect(&mut start, DType::F64, LoopInstructionKind::Set(sum, zero));

    let mut first = Vec::new();
    let value = draft.load(&mut first, x, element.clone());
    let fold = LoopInstructionKind::Fold { variable: maximum, kind: ReduceKind::Max, value };
    draft.effect(&mut first, DType::F32, fold);

    let mut second = Vec::new();
    let value = draft.load(&mut second, x, element.clone());
    let highest = draft.value(&mut second, DType::F32, LoopInstructionKind::Get(maximum));
    let below = draft.apply(&mut second, "sub", DType::F32, &[value, highest]);
    let value = draft.apply(&mut second, "exp", DType::F32, &[below]);
    draft.store(&mut second, row, affine(0, &[(1, 1)]), value);
    let fold = LoopInstructionKind::Fold { variable: sum, kind: ReduceKind::Sum, value };
    draft.effect(&mut second, DType::F32, fold);

    let mut third = Vec::new();
    let value = draft.load(&mut third, row, affine(0, &[(1, 1)]));
    let total = draft.value(&mut third, DType::F64, LoopInstructionKind::Get(sum));
    let total = draft.value(&mut third, DType::F32, LoopInstructionKind::Cast(total));
    let value = draft.apply(&mut third, "div", DType::F32, &[value, total]);
    draft.store(&mut third, out, element, value);

    draft.function.body = vec![Statement::Loop {
        axis: 0,
        range: Range::Piece { count: rows.div_ceil(2), inner: 1, chunk: 2, extent: rows },
        body: vec![Statement::Scalar(start), tiles(first), tiles(second), tiles(third)],
    }];
    draft
}

#[test]
fn rows_in_several_phases_keep_scratch_memory_and_variables() {
    for columns in [1, 2, 10, 100, 512, 700] {
        let draft = softmax(5, columns);
        let mut memory = Memory::for_function(&draft.function);
        memory.fill(&draft.function, 0, |n| if n == columns { f64::NAN } else { sample(n) });
        let mut found = compare(&draft.function, memory, 3, 1e-6);
        let out = found.elements(&draft.function, 1);
        let rows: Vec<f64> = out.chunks(columns).map(|row| row.iter().sum()).collect();
        assert!(rows[1].is_nan(), "the row with a NaN: {rows:?}");
        assert!([0, 2, 3, 4].iter().all(|&row| (rows[row] - 1.0).abs() < 1e-5), "{rows:?}");
    }
}

#[test]
fn functions_of_single_elements_are_called_with_scalars() {
    let mut draft = Draft::new(&[]);
    let x = draft.buffer(DType::F64, 2);
    let out = draft.buffer(DType::F64, 3);
    let mut body = Vec::new();
    let a = draft.load(&mut body, x, affine(0, &[]));
    let b = draft.load(&mut body, x, affine(1, &[]));
    let exp = draft.apply(&mut body, "exp", DType::F64, &[a]);
    let log = draft.apply(&mut body, "logaddexp", DType::F64, &[exp, b]);
    let kind = RandomKind::Normal;
    let random = LoopInstructionKind::Random { kind, stream: 9, index: affine(12, &[]) };
    let random = draft.value(&mut body, DType::F64, random);
    for (place, value) in [exp, log, random].into_iter().enumerate() {
        draft.store(&mut body, out, affine(place as i64, &[]), value);
    }
    draft.function.body = vec![Statement::Scalar(body)];
    compare(&draft.function, Memory::for_function(&draft.function), 1, 1e-14);
}

#[test]
fn pieces_along_two_axes_cover_every_element_once() {
    let (rows, columns) = (7, 45);
    let mut draft = Draft::new(&[rows, columns]);
    let count = draft.buffer(DType::I32, rows * columns);
    let mut body = Vec::new();
    let element = affine(0, &[(0, columns as i64), (1, 1)]);
    let known = draft.load(&mut body, count, element.clone());
    let one = draft.constant(&mut body, DType::I32, 1.0);
    let next = draft.apply(&mut body, "add", DType::I32, &[known, one]);
    draft.store(&mut body, count, element, next);
    let outer = Range::Piece { count: 4, inner: 3, chunk: 2, extent: rows };
    let inner = Range::Piece { count: 3, inner: 1, chunk: 16, extent: columns };
    draft.function.body = vec![Statement::Loop {
        axis: 0,
        range: outer,
        body: vec![Statement::Tiles { axis: 1, range: inner, body }],
    }];
    let mut memory = Memory::for_function(&draft.function);
    memory.fill(&draft.function, count, |_| 0.0);
    let mut found = compare(&draft.function, memory, 12, 0.0);
    assert!(found.elements(&draft.function, count).iter().all(|&n| n == 1.0));
}

#[test]
fn listings_trace_machine_code_back_to_instructions() {
    let Draft { function, .. } = softmax(4, 1000);
    for cpu in [Cpu::Portable, Cpu::detect()] {
        let listing = &list_functions(std::slice::from_ref(&function), cpu).unwrap()[0];
        let assembly = &listing.assembly;
        assert_eq!(assembly.matches("; %exp_f32\n").count(), 1, "{assembly}");
        for comment in ["; %2: f32 = load b0[1000*i0 + i1]\n", "; %6: f32 = exp %5\n", "; -\n"] {
            assert!(assembly.contains(comment), "{comment}{assembly}");
        }
        // Subtractions are in wide vectors where there are such.
        let clif = &listing.clif;
        assert!(clif.contains("%exp_f32"), "{clif}");
        assert_eq!(clif.contains("fsub"), cpu == Cpu::Portable, "{clif}");
        for (with, registers) in [(Cpu::Avx512, "zmm"), (Cpu::Avx2, "ymm")] {
            let subtraction = format!("vsubps {registers}");
            assert_eq!(assembly.contains(&subtraction), cpu == with, "{assembly}");
        }
    }
}

#[test]
fn a_result_may_take_the_place_of_an_operand() {
    for length in [3, 16, 100, 1000] {
        // Whether the operand is needed again after its place has been taken.
        for again in [false, true] {
            let mut draft = Draft::new(&[length]);
            let index = affine(0, &[(0, 1)]);
            let x = draft.buffer(DType::F32, length);
            let other = draft.buffer(DType::F32, length);
            let mut place = draft.function.buffers[x].clone();
            place.name = "result".into();
            draft.function.buffers.push(place);
            let result = draft.function.buffers.len() - 1;
            let mut body = Vec::new();
            let value = draft.load(&mut body, x, index.clone());
            let exp = draft.apply(&mut body, "exp", DType::F32, &[value]);
            draft.store(&mut body, result, index.clone(), exp);
            let second = if again { value } else { exp };
            let sum = draft.apply(&mut body, "add", DType::F32, &[exp, second]);
            draft.store(&mut body, other, index, sum);
            let range = Range::Fixed { start: 0, end: length };
            draft.function.body = vec![Statement::Tiles { axis: 0, range, body }];
            compare_exactly(&draft.function, Memory::for_function(&draft.function), 1, |_| 0.0);
        }
    }
}
