//! Every entry of the elementwise table, and conversions.

use super::harness::{Draft, Memory, affine, compare, compare_exactly};
use crate::kernel::loops::{LoopInstructionKind, Range, Statement};
use crate::op::Elementwise;
use crate::op::elementwise::Typing;
use crate::types::DType;

/// Element types of the operands and of the result.
fn signatures(function: Elementwise) -> Vec<(Vec<DType>, DType)> {
    let arity = function.entry().arity;
    let same = |dtype: DType| (vec![dtype; arity], dtype);
    let floats = [DType::F32, DType::F64];
    match function.entry().typing {
        Typing::Float => floats.map(same).to_vec(),
        Typing::Numeric => [DType::F32, DType::F64, DType::I32].map(same).to_vec(),
        Typing::Logical => vec![same(DType::Bool)],
        Typing::Comparison => DType::ALL.map(|dtype| (vec![dtype; arity], DType::Bool)).to_vec(),
        Typing::Select => DType::ALL.map(|dtype| (vec![DType::Bool, dtype, dtype], dtype)).to_vec(),
    }
}

/// A kernel that applies a function to operands from memory.
fn kernel(function: Elementwise, operands: &[DType], result: DType, length: usize) -> Draft {
    let mut draft = Draft::new(&[length]);
    let index = affine(0, &[(0, 1)]);
    let buffers: Vec<_> = operands.iter().map(|&dtype| draft.buffer(dtype, length)).collect();
    let out = draft.buffer(result, length);
    let mut body = Vec::new();
    let values: Vec<_> =
        buffers.iter().map(|&buffer| draft.load(&mut body, buffer, index.clone())).collect();
    let value = draft.apply(&mut body, function.entry().name, result, &values);
    draft.store(&mut body, out, index, value);
    let range = Range::Fixed { start: 0, end: length };
    draft.function.body = vec![Statement::Tiles { axis: 0, range, body }];
    draft
}

#[test]
fn every_primitive_agrees_with_its_reference_on_its_domain() {
    for function in Elementwise::all() {
        for (operands, result) in signatures(function) {
            // Scalars only, one vector with and without a rest, more than a tile.
            for length in [1, 3, 4, 9, 515] {
                let draft = kernel(function, &operands, result, length);
                let mut memory = Memory::for_function(&draft.function);
                for (place, &(low, high)) in function.entry().domain.ranges.iter().enumerate() {
                    memory.fill(&draft.function, place, |n| {
                        let unit = (n * (place + 3) % 101) as f64 / 100.0;
                        low + (high - low) * unit
                    });
                }
                let tolerance = if result == DType::F32 { 3e-6 } else { 1e-13 };
                compare(&draft.function, memory, 1, tolerance);
            }
        }
    }
}

#[test]
fn every_primitive_treats_special_numbers_as_its_reference_does() {
    let special = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -1.0,
        1.0,
        2.0,
        -2.5,
        i32::MAX.into(),
        i32::MIN.into(),
        100.0,
    ];
    let count = special.len();
    for function in Elementwise::all() {
        for (operands, result) in signatures(function) {
            let draft = kernel(function, &operands, result, count * count);
            let mut memory = Memory::for_function(&draft.function);
            let floats = operands.iter().rev().take(2).enumerate();
            for (place, _) in floats {
                memory.fill(&draft.function, operands.len() - 1 - place, |n| {
                    special[if place == 0 { n % count } else { n / count }]
                });
            }
            compare_exactly(&draft.function, memory.clone(), 1, |_| 0.0);
            compare(&draft.function, memory, 1, 1e-5);
        }
    }
}

#[test]
fn conversions_truncate_and_saturate() {
    let numbers = [
        0.0,
        0.5,
        -0.5,
        1.0,
        -1.0,
        1.5,
        200.75,
        255.0,
        256.0,
        300.0,
        -300.0,
        16777217.0,
        1e10,
        -1e10,
        3e38,
        2147483647.0,
        -2147483648.0,
        2147483648.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e-30,
    ];
    for from in DType::ALL {
        for to in DType::ALL {
            let mut draft = Draft::new(&[numbers.len()]);
            let index = affine(0, &[(0, 1)]);
            let x = draft.buffer(from, numbers.len());
            let out = draft.buffer(to, numbers.len());
            let mut body = Vec::new();
            let value = draft.load(&mut body, x, index.clone());
            let cast = draft.value(&mut body, to, LoopInstructionKind::Cast(value));
            draft.store(&mut body, out, index, cast);
            let range = Range::Fixed { start: 0, end: numbers.len() };
            draft.function.body = vec![Statement::Tiles { axis: 0, range, body }];
            let mut memory = Memory::for_function(&draft.function);
            memory.fill(&draft.function, x, |n| numbers[n]);
            compare_exactly(&draft.function, memory, 1, |_| 0.0);
        }
    }
}

#[test]
fn integers_wrap() {
    let numbers = [i32::MAX, i32::MIN, -1, 0, 1, 65_537, 123_456_789, -987_654_321];
    let count = numbers.len();
    for name in ["add", "sub", "mul"] {
        let function = Elementwise::named(name).unwrap();
        let operands = [DType::I32; 2];
        let draft = kernel(function, &operands, DType::I32, count * count);
        let mut memory = Memory::for_function(&draft.function);
        memory.fill(&draft.function, 0, |n| numbers[n % count].into());
        memory.fill(&draft.function, 1, |n| numbers[n / count].into());
        compare_exactly(&draft.function, memory, 1, |_| 0.0);
    }
}
