//! Loops, tiles, ranges and reductions, one at a time.

use super::harness::{Draft, Memory, affine, compare};
use crate::kernel::loops::{LoopInstructionKind, Range, Statement};
use crate::op::ReduceKind;
use crate::types::DType;

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

#[test]
fn rows_are_summed() {
    for columns in [1, 2, 3, 4, 10, 64, 100, 512, 513, 1100] {
        let mut draft = Draft::new(&[5, columns]);
        let x = draft.buffer(DType::F32, 5 * columns);
        let out = draft.buffer(DType::F64, 5);
        let sum = draft.variable(DType::F64);
        let mut start = Vec::new();
        let zero = draft.constant(&mut start, DType::F64, 0.0);
        draft.effect(&mut start, DType::F64, LoopInstructionKind::Set(sum, zero));
        let mut body = Vec::new();
        let value = draft.load(&mut body, x, affine(0, &[(0, columns as i64), (1, 1)]));
        let fold = LoopInstructionKind::Fold { variable: sum, kind: ReduceKind::Sum, value };
        draft.effect(&mut body, DType::F32, fold);
        let mut end = Vec::new();
        let total = draft.value(&mut end, DType::F64, LoopInstructionKind::Get(sum));
        draft.store(&mut end, out, affine(0, &[(0, 1)]), total);
        draft.function.body = vec![Statement::Loop {
            axis: 0,
            range: Range::Fixed { start: 0, end: 5 },
            body: vec![
                Statement::Scalar(start),
                Statement::Tiles { axis: 1, range: Range::Fixed { start: 0, end: columns }, body },
                Statement::Scalar(end),
            ],
        }];
        let memory = Memory::for_function(&draft.function);
        compare(&draft.function, memory, 1, 1e-6);
    }
}
