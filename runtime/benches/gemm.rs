//! Speed of matrix products in GFLOP/s: `cargo bench -p cygnet-runtime --bench gemm [-- FILTER...]`.
//!
//! Layouts: `nn` both operands row-major, `nt` the right one transposed (weights `[out, in]` in
//! a forward pass), `tn` the left one transposed (weight gradients), `np` the right one in panels
//! of 32 columns. `+` marks an epilogue that adds a row and clips at zero, `*` right operands that
//! no cache keeps from step to step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cygnet_runtime::contraction::{
    Blocking, Contraction, Digits, Operand, Output, Scattered, Strided,
};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::executor::Executor;
use cygnet_runtime::gemm;
use cygnet_runtime::program::{Frame, Home, Part, Phase, Program, Region, Slot, Task, Work};

/// Batch, rows, depth, columns, layout.
const SHAPES: &[(usize, usize, usize, usize, &str)] = &[
    (1, 64, 64, 64, "nn"),
    (1, 128, 128, 128, "nn"),
    (1, 512, 512, 512, "nn"),
    (1, 1024, 1024, 1024, "nn"),
    (1, 2048, 2048, 2048, "nn"),
    (1, 512, 4608, 512, "nn"),
    (1, 64, 576, 1024, "nn"),
    (1, 512, 512, 512, "nt"),
    (1, 1024, 1024, 1024, "nt"),
    // In a second-level cache.
    (1, 168, 256, 256, "nn"),
    (1, 168, 272, 288, "nn"),
    (1, 168, 272, 288, "np"),
    // The mlp workload's training step.
    (1, 128, 784, 512, "nt"),
    (1, 128, 784, 512, "nt+"),
    (1, 128, 512, 256, "nt"),
    (1, 128, 256, 10, "nt"),
    (1, 128, 10, 256, "nn"),
    (1, 128, 256, 512, "nn"),
    (1, 128, 256, 512, "nn+"),
    (1, 10, 128, 256, "tn"),
    (1, 256, 128, 512, "tn"),
    (1, 512, 128, 784, "tn"),
    // Recurrent cells and attention.
    (1, 32, 256, 1024, "nt"),
    (1, 32, 256, 1024, "nn"),
    (1, 2048, 256, 1024, "nt"),
    (1, 1024, 2048, 256, "tn"),
    (1, 256, 2048, 1024, "tn"),
    (1, 2048, 1024, 64, "nn"),
    // A transformer's layers: forward, the gradients of inputs and of weights.
    (1, 1024, 256, 1024, "nt"),
    (1, 1024, 1024, 256, "nt"),
    (1, 1024, 256, 1024, "nn"),
    (1, 1024, 1024, 256, "nn"),
    (1, 1024, 1024, 256, "tn"),
    (1, 256, 1024, 1024, "tn"),
    (1, 256, 1024, 256, "tn"),
    (1, 128, 768, 3072, "nt"),
    (1, 128, 3072, 768, "nt"),
    (1, 128, 768, 768, "nt*"),
    (1, 128, 768, 768, "np*"),
    (1, 128, 768, 2304, "np*"),
    (1, 128, 768, 3072, "nt*"),
    (1, 128, 768, 3072, "np*"),
    (1, 128, 768, 3072, "np"),
    (1, 128, 3072, 768, "nt*"),
    (1, 128, 3072, 768, "np*"),
    (1, 128, 3072, 768, "np"),
    (32, 128, 64, 128, "nt"),
    (32, 128, 128, 64, "nn"),
    // One row: the mlp_b1 workload's layers.
    (1, 1, 784, 512, "nt"),
    (1, 1, 512, 256, "nt"),
    (1, 1, 256, 10, "nt"),
    (1, 1, 784, 512, "nt+"),
    (1, 1, 784, 512, "nn"),
    (1, 4, 784, 512, "nt"),
    (1, 8, 784, 512, "nt"),
    (1, 16, 784, 512, "nt"),
    (1, 16, 256, 1024, "nt"),
    (1, 64, 512, 512, "nt"),
    (1, 512, 1, 512, "nn"),
    (1, 512, 8, 512, "nn"),
    (1, 512, 8, 512, "nn+"),
];

/// Where the epilogue stores results, in elements; beyond all operands it is used with.
const EPILOGUE_OUTPUT: usize = 1 << 20;

/// Bytes of right operands that take turns if none is to be in a cache.
const COLD_BYTES: usize = 320 << 20;

fn main() {
    // Cargo also starts benchmarks as tests, without this flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let filters: Vec<String> = filters.collect();
    println!(
        "{:24} {:>9} {:>12} {:>9} {:>9} {:>10} {:>10}",
        "shape", "cpu", "pieces", "1 thread", "2 threads", "best us", "predicted"
    );
    for cpu in [Cpu::Avx512, Cpu::Avx2, Cpu::Portable] {
        for &(batch, rows, depth, columns, layout) in SHAPES {
            let name = format!("{batch}x {rows}x{depth}x{columns} {layout}");
            let label = format!("{name:24} {cpu:>9}");
            if !cpu.supported() || filters.iter().any(|filter| !label.contains(filter)) {
                continue;
            }
            let contraction = contraction(batch, rows, depth, columns, layout);
            let bytes = 4 * batch * depth * columns;
            let copies = if layout.contains('*') { COLD_BYTES.div_ceil(bytes) } else { 1 };
            let [one, two] = [1, 2].map(|threads| best_step(&contraction, copies, cpu, threads));
            let flops = contraction.flops();
            let Blocking { rows, columns } = contraction.blocking;
            let pieces = format!("{} {rows}x{columns}", contraction.pieces());
            let predicted = gemm::predicted_ns(&contraction, cpu) / 1e3;
            println!(
                "{label} {pieces:>12} {:9.1} {:9.1} {:10.1} {predicted:10.1}",
                flops / one,
                flops / two,
                one / 1e3,
            );
        }
    }
}

/// A product whose operands follow each other in the arena.
fn contraction(
    batch: usize,
    rows: usize,
    depth: usize,
    columns: usize,
    layout: &str,
) -> Contraction {
    let mut offset = 0;
    let mut place = |rows: usize, columns: usize, transposed: bool| {
        let start = offset;
        offset += (4 * batch * rows * columns).next_multiple_of(64);
        let (row_stride, column_stride) =
            if transposed { (1, rows as isize) } else { (columns as isize, 1) };
        let batch_strides = [(rows * columns) as isize].into_iter().collect();
        Strided { home: Home::fixed(start), batch_strides, row_stride, column_stride }
    };
    let left = Operand::Arena(place(rows, depth, layout.starts_with("tn")));
    let right = place(depth, columns, layout.starts_with("nt"));
    Contraction {
        dtype: DType::F32,
        batch: [batch].into_iter().collect(),
        rows,
        columns,
        depth,
        left,
        right: if layout.starts_with("np") {
            Operand::Scattered(Scattered {
                home: right.home,
                batch_strides: right.batch_strides,
                rows: Digits::uniform(depth, 32),
                columns: Digits::new([(columns / 32, 32 * depth as isize), (32, 1)]),
            })
        } else {
            Operand::Arena(right)
        },
        output: if layout.contains('+') {
            Output::Epilogue(add_row_and_clip)
        } else {
            Output::Arena(place(rows, columns, false))
        },
        blocking: gemm::blocking_for(
            rows,
            columns,
            depth,
            batch,
            DType::F32,
            gemm::Habits {
                packs_left: layout.starts_with("tn"),
                packs_right: layout.starts_with("nt"),
                row_run: if layout.starts_with("tn") { 16 } else { 1 },
                ..gemm::Habits::default()
            },
        ),
    }
}

/// Adds the arena's first elements to each row and stores what is positive at the arena's end.
unsafe extern "C" fn add_row_and_clip(
    frame: *const Frame,
    tile: *mut u8,
    stride: u64,
    region: *const Region,
) {
    // SAFETY: called by a product of this program, whose arena ends with the result.
    unsafe {
        let region = *region;
        let columns = region.column_end - region.column_start;
        let slice = |start: *const f32, offset| {
            std::slice::from_raw_parts(start.add(offset as usize), columns as usize)
        };
        let arena = (*frame).arena.cast::<f32>();
        let added = slice(arena, region.column_start);
        for row in region.row_start..region.row_end {
            let sums = slice(tile.cast(), (row - region.row_start) * stride);
            let output = arena.add(EPILOGUE_OUTPUT + (row * columns) as usize);
            let output = std::slice::from_raw_parts_mut(output, columns as usize);
            for ((output, sum), added) in output.iter_mut().zip(sums).zip(added) {
                *output = (sum + added).max(0.0);
            }
        }
    }
}

/// The shortest time in nanoseconds of a product, over steps of a third of a second or so; each
/// computes it as often as there are copies of the right operand.
fn best_step(contraction: &Contraction, copies: usize, cpu: Cpu, threads: usize) -> f64 {
    let c = contraction;
    let elements = c.rows * c.depth + c.depth * c.columns + c.rows * c.columns;
    let own = 4 * (c.batch[0] * elements).max(2 * EPILOGUE_OUTPUT) + 256;
    let right = 4 * c.batch[0] * c.depth * c.columns;
    let parts = (0..copies).map(|copy| {
        let mut c = c.clone();
        let offset = if copy == 0 { 0 } else { own + (copy - 1) * right };
        match &mut c.right {
            _ if copy == 0 => {}
            Operand::Arena(place) => place.home = Home::fixed(offset),
            Operand::Scattered(place) => place.home = Home::fixed(offset),
            Operand::Generated(_) => {}
        }
        let pieces = c.pieces() as u32;
        let work = Work::Contraction(Box::new(c));
        // Costs enough for every thread to get its share, however small the product.
        Part::Phase(Phase { tasks: vec![Task { kernel: 0, work, pieces, piece_cost: 1e5 }] })
    });
    let bytes = own + (copies - 1) * right;
    let program = Program {
        arena_bytes: bytes,
        scratch_bytes: 0,
        cpu,
        parts: parts.collect(),
        slots: vec![Slot {
            name: "all".to_owned(),
            dtype: DType::F32,
            shape: vec![bytes / 4],
            offset: 0,
            strides: vec![1],
        }],
        code: Arc::new(()),
    };
    // SAFETY: the program has no generated code.
    let mut executor = unsafe { Executor::new(program, threads) };
    // Memory that nothing was written to is one page of zeros.
    executor.slot_bytes_mut(0).expect("the slot is row-major").fill(0x3c);
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut steps = 0;
    while steps < 5 || start.elapsed() < Duration::from_millis(300) {
        let since = Instant::now();
        executor.step();
        best = best.min(since.elapsed());
        steps += 1;
    }
    best.as_nanos() as f64 / copies as f64
}
