//! Functions that differ only in the places of their buffers.

use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::program::Region;

use super::harness::{Draft, Memory, Tile, affine, compare, run, sample};
use crate::codegen::sharing::representatives;
use crate::codegen::{generate, list_functions};
use crate::kernel::loops::{Address, Function, LoopInstructionKind, Range, Statement};
use crate::types::DType;

const LENGTH: usize = 100;

/// `out = exp(x) + y`, with buffers behind `skipped` others; `y` may be `x` itself.
fn kernel(skipped: usize, length: usize, same: bool) -> Function {
    let mut draft = Draft::new(&[length]);
    for _ in 0..skipped {
        draft.buffer(DType::F32, length);
    }
    draft.function.buffers.clear();
    draft.function.name = format!("skips{skipped}");
    let x = draft.buffer(DType::F32, length);
    let y = draft.buffer(DType::F32, length);
    let out = draft.buffer(DType::F32, length);
    if same {
        draft.function.buffers[y].place = draft.function.buffers[x].place;
    }
    let index = affine(0, &[(0, 1)]);
    let mut body = Vec::new();
    let x = draft.load(&mut body, x, index.clone());
    let y = draft.load(&mut body, y, index.clone());
    let exp = draft.apply(&mut body, "exp", DType::F32, &[x]);
    let sum = draft.apply(&mut body, "add", DType::F32, &[exp, y]);
    draft.store(&mut body, out, index, sum);
    let range = Range::Fixed { start: 0, end: length };
    draft.function.body = vec![Statement::Tiles { axis: 0, range, body }];
    draft.function
}

/// An epilogue that stores the tile, behind `skipped` other buffers.
fn epilogue(skipped: usize) -> Function {
    let mut draft = Draft::new(&[4, 8]);
    let tile = draft.tile(DType::F32, 0);
    for _ in 0..=skipped {
        draft.buffer(DType::F32, 32);
    }
    let out = draft.function.buffers.len() - 1;
    draft.function.buffers.drain(1..out);
    let mut body = Vec::new();
    let load = LoopInstructionKind::Load {
        buffer: tile,
        address: Address::Tile,
        constraints: Default::default(),
        fill: None,
    };
    let value = draft.value(&mut body, DType::F32, load);
    draft.store(&mut body, 1, affine(0, &[(0, 8), (1, 1)]), value);
    let tiles = Statement::Tiles { axis: 1, range: Range::RegionColumns, body };
    draft.function.body =
        vec![Statement::Loop { axis: 0, range: Range::RegionRows, body: vec![tiles] }];
    draft.function
}

#[test]
fn functions_that_differ_in_places_only_share_their_code() {
    let functions = [
        kernel(0, LENGTH, false),
        kernel(2, LENGTH, false),
        kernel(1, LENGTH, true),
        kernel(1, LENGTH + 1, false),
        kernel(5, LENGTH, false),
        epilogue(0),
        epilogue(3),
    ];
    // Where operands coincide, and where lengths differ, so does the code.
    assert_eq!(representatives(&functions), [0, 0, 2, 3, 0, 5, 5]);
    let code = generate(&functions, 2, Cpu::detect())
        .and_then(|image| image.place(Cpu::detect()))
        .unwrap();
    for (number, function) in functions.iter().enumerate() {
        let mut memory = Memory::for_function(function);
        if number > 4 {
            let region =
                Region { batch: 0, row_start: 1, row_end: 4, column_start: 2, column_end: 8 };
            let bytes = (0..32).flat_map(|n| (sample(n) as f32).to_le_bytes()).collect();
            memory.tile = Some(Tile { region, bytes, stride: 8 });
        }
        let mut expected = compare(function, memory.clone(), 1, 1e-6);
        let mut found = run(&code, number, memory, 1);
        let out = function.buffers.len() - 1;
        assert_eq!(found.elements(function, out), expected.elements(function, out));
    }
    let listings = list_functions(&functions, Cpu::detect()).unwrap();
    assert_eq!(listings[0], listings[4]);
    assert_ne!(listings[0], listings[3]);
}
