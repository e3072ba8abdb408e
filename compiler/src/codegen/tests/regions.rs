//! Prologues and epilogues of products.

use cygnet_runtime::program::Region;

use super::harness::{Draft, Memory, Tile, affine, compare, sample};
use crate::index::Expression;
use crate::kernel::loops::{
    Address, Convention, LoopInstruction, LoopInstructionKind, Range, Statement,
};
use crate::types::DType;

const ROWS: usize = 9;
const COLUMNS: usize = 21;

/// Regions of a batch of two by three matrices: whole ones, single elements, odd rests.
fn regions() -> Vec<Region> {
    let region = |batch, rows: [u64; 2], columns: [u64; 2]| Region {
        batch,
        row_start: rows[0],
        row_end: rows[1],
        column_start: columns[0],
        column_end: columns[1],
    };
    vec![
        region(0, [0, 9], [0, 21]),
        region(5, [2, 7], [4, 16]),
        region(3, [8, 9], [20, 21]),
        region(4, [0, 3], [1, 8]),
        region(1, [5, 5], [0, 4]),
    ]
}

fn memory(draft: &Draft, region: Region) -> Memory {
    let mut memory = Memory::for_function(&draft.function);
    let stride = 24;
    let bytes = (0..ROWS * stride).flat_map(|n| (sample(n) as f32).to_le_bytes()).collect();
    memory.tile = Some(Tile { region, bytes, stride });
    memory
}

/// Loops over batch, rows and columns of the region; columns or rows in tiles.
fn nest(body: Vec<LoopInstruction>, rows_inside: bool) -> Vec<Statement> {
    let (outer, inner) = ((2, Range::RegionRows), (3, Range::RegionColumns));
    let (outer, inner) = if rows_inside { (inner, outer) } else { (outer, inner) };
    let batch = |axis, inner, extent, body| Statement::Loop {
        axis,
        range: Range::RegionBatch { inner, extent },
        body: vec![body],
    };
    let tiles = Statement::Tiles { axis: inner.0, range: inner.1, body };
    let rows = Statement::Loop { axis: outer.0, range: outer.1, body: vec![tiles] };
    vec![batch(0, 3, 2, batch(1, 1, 3, rows))]
}

fn draft() -> Draft {
    Draft::new(&[2, 3, ROWS, COLUMNS])
}

/// The element of a row-major batch of matrices at the current indices.
fn element() -> Expression {
    let (rows, columns) = (ROWS as i64, COLUMNS as i64);
    affine(0, &[(0, 3 * rows * columns), (1, rows * columns), (2, columns), (3, 1)])
}

#[test]
fn an_epilogue_reads_the_tile_and_writes_the_result() {
    for region in regions() {
        for rows_inside in [false, true] {
            let mut draft = draft();
            let tile = draft.tile(DType::F32, 2);
            let bias = draft.buffer(DType::F32, COLUMNS);
            let out = draft.buffer(DType::F32, 6 * ROWS * COLUMNS);
            let mut body = Vec::new();
            let product = draft.value(
                &mut body,
                DType::F32,
                LoopInstructionKind::Load {
                    buffer: tile,
                    address: Address::Tile,
                    constraints: Default::default(),
                    fill: None,
                },
            );
            let bias = draft.load(&mut body, bias, affine(0, &[(3, 1)]));
            let sum = draft.apply(&mut body, "add", DType::F32, &[product, bias]);
            let gelu = draft.apply(&mut body, "gelu", DType::F32, &[sum]);
            draft.store(&mut body, out, element(), gelu);
            draft.function.body = nest(body, rows_inside);
            compare(&draft.function, memory(&draft, region), 1, 1e-5);
        }
    }
}

#[test]
fn a_prologue_writes_the_tile() {
    for region in regions() {
        for rows_inside in [false, true] {
            let mut draft = draft();
            let buffer = draft.tile(DType::F32, 2);
            let x = draft.buffer(DType::F32, 6 * ROWS * COLUMNS);
            let mut body = Vec::new();
            let x = draft.load(&mut body, x, element());
            let value = draft.apply(&mut body, "mul", DType::F32, &[x, x]);
            let store = LoopInstructionKind::Store { buffer, address: Address::Tile, value };
            draft.effect(&mut body, DType::F32, store);
            draft.function.body = nest(body, rows_inside);
            compare(&draft.function, memory(&draft, region), 1, 0.0);
        }
    }
}

#[test]
fn columns_run_in_blocks() {
    const WIDTH: usize = 8;
    for region in regions() {
        let mut draft = Draft::new(&[2, 3, ROWS, COLUMNS.div_ceil(WIDTH), WIDTH]);
        let tile = draft.tile(DType::F32, 2);
        let block = Some(WIDTH);
        draft.function.convention = Convention::Region { batch_axes: 2, block };
        let out = draft.buffer(DType::F32, 6 * ROWS * COLUMNS);
        let mut body = Vec::new();
        let load = LoopInstructionKind::Load {
            buffer: tile,
            address: Address::Tile,
            constraints: Default::default(),
            fill: None,
        };
        let product = draft.value(&mut body, DType::F32, load);
        let column = affine(0, &[(3, WIDTH as i64), (4, 1)]);
        let (rows, columns) = (ROWS as i64, COLUMNS as i64);
        let row = affine(0, &[(0, 3 * rows * columns), (1, rows * columns), (2, columns)]);
        // The last block is cut by the region, which the range of addresses does not tell.
        let place = row.plus(&column.remainder(columns, &[2, 3, ROWS, 3, WIDTH]));
        draft.store(&mut body, out, place, product);
        let within = Range::RegionWithin { width: WIDTH };
        let tiles = Statement::Tiles { axis: 4, range: within, body };
        let nested = [
            (3, Range::RegionBlocks { width: WIDTH }),
            (2, Range::RegionRows),
            (1, Range::RegionBatch { inner: 1, extent: 3 }),
            (0, Range::RegionBatch { inner: 3, extent: 2 }),
        ];
        let nest = nested.into_iter().fold(tiles, |inner, (axis, range)| Statement::Loop {
            axis,
            range,
            body: vec![inner],
        });
        draft.function.body = vec![nest];
        compare(&draft.function, memory(&draft, region), 1, 0.0);
    }
}

#[test]
fn a_region_function_folds_its_rows() {
    for region in regions() {
        let mut draft = draft();
        let tile = draft.tile(DType::F32, 2);
        let out = draft.buffer(DType::F64, 6 * ROWS);
        let sum = draft.variable(DType::F64);
        let mut start = Vec::new();
        let zero = draft.constant(&mut start, DType::F64, 0.0);
        draft.effect(&mut start, DType::F64, LoopInstructionKind::Set(sum, zero));
        let mut body = Vec::new();
        let value = draft.value(
            &mut body,
            DType::F32,
            LoopInstructionKind::Load {
                buffer: tile,
                address: Address::Tile,
                constraints: Default::default(),
                fill: None,
            },
        );
        let value = draft.apply(&mut body, "exp", DType::F32, &[value]);
        let kind = crate::op::ReduceKind::Sum;
        draft.effect(
            &mut body,
            DType::F32,
            LoopInstructionKind::Fold { variable: sum, kind, value },
        );
        let mut end = Vec::new();
        let total = draft.value(&mut end, DType::F64, LoopInstructionKind::Get(sum));
        draft.store(&mut end, out, affine(0, &[(0, 27), (1, 9), (2, 1)]), total);
        draft.function.body = nest(body, false);
        let Statement::Loop { body: inner, .. } = &mut draft.function.body[0] else { panic!() };
        let Statement::Loop { body: inner, .. } = &mut inner[0] else { panic!() };
        let Statement::Loop { body: rows, .. } = &mut inner[0] else { panic!() };
        rows.insert(0, Statement::Scalar(start));
        rows.push(Statement::Scalar(end));
        compare(&draft.function, memory(&draft, region), 1, 1e-5);
    }
}
