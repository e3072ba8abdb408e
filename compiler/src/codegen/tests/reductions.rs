//! Folds into variables and accumulation into buffers.

use super::harness::{Draft, Memory, affine, compare, compare_exactly, sample};
use crate::index::Expression;
use crate::kernel::loops::{Address, LoopInstructionKind, Range, Statement};
use crate::op::{ArgKind, ReduceKind};
use crate::types::DType;

const LENGTHS: [usize; 11] = [1, 2, 3, 4, 10, 16, 64, 100, 512, 513, 1100];

/// A kernel that folds rows of a matrix; `scale` is applied before.
fn fold_rows(kind: ReduceKind, dtype: DType, rows: usize, columns: usize, scale: f64) -> Draft {
    let mut draft = Draft::new(&[rows, columns]);
    let variable_type = if kind == ReduceKind::Sum { DType::F64 } else { dtype };
    let neutral = match kind {
        ReduceKind::Sum => 0.0,
        ReduceKind::Prod => 1.0,
        ReduceKind::Max if dtype == DType::I32 => i32::MIN.into(),
        ReduceKind::Max => f64::NEG_INFINITY,
    };
    let x = draft.buffer(dtype, rows * columns);
    let out = draft.buffer(variable_type, rows);
    let variable = draft.variable(variable_type);
    let mut start = Vec::new();
    let initial = draft.constant(&mut start, variable_type, neutral);
    draft.effect(&mut start, variable_type, LoopInstructionKind::Set(variable, initial));
    let mut body = Vec::new();
    let mut value = draft.load(&mut body, x, affine(0, &[(0, columns as i64), (1, 1)]));
    if scale != 1.0 {
        let factor = draft.constant(&mut body, dtype, scale);
        value = draft.apply(&mut body, "mul", dtype, &[value, factor]);
        let one = draft.constant(&mut body, dtype, 1.0);
        value = draft.apply(&mut body, "add", dtype, &[value, one]);
    }
    draft.effect(&mut body, dtype, LoopInstructionKind::Fold { variable, kind, value });
    let mut end = Vec::new();
    let total = draft.value(&mut end, variable_type, LoopInstructionKind::Get(variable));
    draft.store(&mut end, out, affine(0, &[(0, 1)]), total);
    let range = Range::Fixed { start: 0, end: columns };
    draft.function.body = vec![Statement::Loop {
        axis: 0,
        range: Range::Fixed { start: 0, end: rows },
        body: vec![
            Statement::Scalar(start),
            Statement::Tiles { axis: 1, range, body },
            Statement::Scalar(end),
        ],
    }];
    draft
}

#[test]
fn sums_and_maxima_and_products_of_rows() {
    for columns in LENGTHS {
        for dtype in [DType::F32, DType::F64, DType::I32] {
            for kind in [ReduceKind::Sum, ReduceKind::Max] {
                let draft = fold_rows(kind, dtype, 3, columns, 1.0);
                compare(&draft.function, Memory::for_function(&draft.function), 1, 1e-6);
            }
            if dtype.is_float() {
                let draft = fold_rows(ReduceKind::Prod, dtype, 3, columns, 1.0 / 1024.0);
                compare(&draft.function, Memory::for_function(&draft.function), 1, 1e-4);
            }
        }
    }
}

#[test]
fn a_maximum_with_a_nan_is_nan_wherever_it_stands() {
    for columns in [1usize, 3, 4, 7, 37, 600] {
        for place in (0..columns).step_by(columns.div_ceil(9)) {
            let draft = fold_rows(ReduceKind::Max, DType::F32, 2, columns, 1.0);
            let mut memory = Memory::for_function(&draft.function);
            memory.fill(&draft.function, 0, |n| {
                if n == columns + place { f64::NAN } else { sample(n) }
            });
            let mut found = compare_exactly(&draft.function, memory, 1, |_| 0.0);
            let maxima = found.elements(&draft.function, 1);
            assert!(!maxima[0].is_nan() && maxima[1].is_nan());
        }
    }
}

#[test]
fn long_sums_keep_double_precision() {
    // A million ones on top of 2^24: in single precision each one would vanish.
    let columns = 1 << 20;
    let draft = fold_rows(ReduceKind::Sum, DType::F32, 1, columns, 1.0);
    let mut memory = Memory::for_function(&draft.function);
    memory.fill(&draft.function, 0, |n| if n == 0 { f64::from(1 << 24) } else { 1.0 });
    let mut found = compare(&draft.function, memory, 1, 1e-4);
    let sum = found.elements(&draft.function, 1)[0];
    let exact = f64::from(1 << 24) + columns as f64 - 1.0;
    assert!((sum - exact).abs() < 1000.0, "{sum} instead of {exact}");
}

#[test]
fn positions_of_extremes_are_the_first_and_nan_comes_before_all() {
    for columns in LENGTHS {
        for kind in [ArgKind::Max, ArgKind::Min] {
            for nan in [None, Some(columns - 1), Some(columns / 2)] {
                let mut draft = Draft::new(&[columns]);
                let x = draft.buffer(DType::F32, columns);
                let out = draft.buffer(DType::I32, 1);
                let variable = draft.variable(DType::F32);
                let position = draft.variable(DType::I32);
                let mut start = Vec::new();
                let neutral = match kind {
                    ArgKind::Max => f64::NEG_INFINITY,
                    ArgKind::Min => f64::INFINITY,
                };
                let extreme = draft.constant(&mut start, DType::F32, neutral);
                draft.effect(&mut start, DType::F32, LoopInstructionKind::Set(variable, extreme));
                let zero = draft.constant(&mut start, DType::I32, 0.0);
                draft.effect(&mut start, DType::I32, LoopInstructionKind::Set(position, zero));
                let mut body = Vec::new();
                let value = draft.load(&mut body, x, affine(0, &[(0, 1)]));
                let index = affine(0, &[(0, 1)]);
                let fold = LoopInstructionKind::FoldArg { variable, position, kind, value, index };
                draft.effect(&mut body, DType::F32, fold);
                let mut end = Vec::new();
                let found = draft.value(&mut end, DType::I32, LoopInstructionKind::Get(position));
                draft.store(&mut end, out, affine(0, &[]), found);
                let range = Range::Fixed { start: 0, end: columns };
                draft.function.body = vec![
                    Statement::Scalar(start),
                    Statement::Tiles { axis: 0, range, body },
                    Statement::Scalar(end),
                ];
                let mut memory = Memory::for_function(&draft.function);
                memory.fill(&draft.function, x, |n| {
                    if Some(n) == nan { f64::NAN } else { (n * 7 % 5) as f64 }
                });
                let mut found = compare_exactly(&draft.function, memory, 1, |_| 0.0);
                if let Some(nan) = nan {
                    assert_eq!(found.elements(&draft.function, out), [nan as f64]);
                }
            }
        }
    }
}

/// Sums in a buffer as long as a piece, at places that count from the piece's first column.
#[test]
fn columns_accumulate_in_pieces() {
    for (rows, columns, chunk) in [(3, 10, 4), (5, 100, 32), (2, 1300, 640)] {
        let mut draft = Draft::new(&[rows, columns]);
        let x = draft.buffer(DType::F32, rows * columns);
        let result = draft.buffer(DType::F32, columns);
        let sums = draft.scratch(DType::F32, chunk);
        let place = Expression::axis(1).remainder(chunk as i64, &[rows, columns]);
        let count = columns.div_ceil(chunk);
        let range = Range::Piece { count, inner: 1, chunk, extent: columns };
        let tiles = |body| Statement::Tiles { axis: 1, range, body };
        let mut start = Vec::new();
        let zero = draft.constant(&mut start, DType::F32, 0.0);
        draft.store(&mut start, sums, place.clone(), zero);
        let mut body = Vec::new();
        let value = draft.load(&mut body, x, affine(0, &[(0, columns as i64), (1, 1)]));
        let (buffer, address, kind) = (sums, Address::Offset(place.clone()), ReduceKind::Sum);
        let accumulate = LoopInstructionKind::Accumulate { buffer, address, kind, value };
        draft.effect(&mut body, DType::F32, accumulate);
        let mut end = Vec::new();
        let sum = draft.load(&mut end, sums, place);
        draft.store(&mut end, result, affine(0, &[(1, 1)]), sum);
        let down = Range::Fixed { start: 0, end: rows };
        let down = Statement::Loop { axis: 0, range: down, body: vec![tiles(body)] };
        draft.function.body = vec![tiles(start), down, tiles(end)];
        let memory = Memory::for_function(&draft.function);
        compare_exactly(&draft.function, memory, count, |_| 0.0);
    }
}

#[test]
fn columns_accumulate_over_rows() {
    for (rows, columns) in [(1, 1), (5, 3), (7, 10), (4, 64), (3, 129)] {
        for kind in ReduceKind::ALL {
            for dtype in [DType::F32, DType::F64, DType::I32] {
                // Once along contiguous columns, once along columns of a transposed result.
                for stride in [1, 2] {
                    let mut draft = Draft::new(&[rows, columns]);
                    let x = draft.buffer(dtype, rows * columns);
                    let buffer = draft.buffer(dtype, columns * stride as usize);
                    let mut body = Vec::new();
                    let value = draft.load(&mut body, x, affine(0, &[(0, columns as i64), (1, 1)]));
                    let address = Address::Offset(affine(0, &[(1, stride)]));
                    let accumulate =
                        LoopInstructionKind::Accumulate { buffer, address, kind, value };
                    draft.effect(&mut body, dtype, accumulate);
                    draft.function.body = vec![Statement::Loop {
                        axis: 0,
                        range: Range::Fixed { start: 0, end: rows },
                        body: vec![Statement::Tiles {
                            axis: 1,
                            range: Range::Fixed { start: 0, end: columns },
                            body,
                        }],
                    }];
                    let memory = Memory::for_function(&draft.function);
                    compare_exactly(&draft.function, memory, 1, |_| 0.0);
                }
            }
        }
    }
}
