//! Speed of convolutions as products over windows, in GFLOP/s:
//! `cargo bench -p cygnet-runtime --bench convolution [-- FILTER]`.
//!
//! The shapes are those of the resnet18_cifar workload, 3 x 3 taps at distance 1 over padded
//! images: `forward`, `input` (the gradient by the image: a convolution with the kernel from its
//! other end) and `kernel` (the gradient by the kernel, partial sums for each group of samples). Then
//! those of strided convolutions in conv_autoencoder and dcgan, channels last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cygnet_runtime::contraction::{
    Blocking, Contraction, Digits, Operand, Output, Scattered, Strided,
};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::executor::Executor;
use cygnet_runtime::gemm;
use cygnet_runtime::program::{Home, Part, Phase, Program, Task, Work};

/// Channels and the side of the image.
const STAGES: [(usize, usize); 4] = [(64, 32), (128, 16), (256, 8), (512, 4)];

const SAMPLES: usize = 32;

/// Convolutions with a stride of 2, channels last.
const STRIDED: [ChannelsLast; 5] = [
    ChannelsLast { samples: 64, from: 1, to: 16, side: 14, taps: 3 },
    ChannelsLast { samples: 64, from: 16, to: 32, side: 7, taps: 3 },
    ChannelsLast { samples: 64, from: 16, to: 32, side: 14, taps: 3 },
    ChannelsLast { samples: 32, from: 32, to: 64, side: 8, taps: 4 },
    ChannelsLast { samples: 32, from: 64, to: 128, side: 4, taps: 4 },
];

struct ChannelsLast {
    samples: usize,
    from: usize,
    to: usize,
    /// Of the result.
    side: usize,
    taps: usize,
}

fn main() {
    // Cargo also starts benchmarks as tests, without this flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("{:24} {:>9} {:>12} {:>9} {:>9}", "shape", "cpu", "pieces", "1 thread", "2 threads");
    let in_planes = STAGES.iter().flat_map(|&(channels, side)| {
        let named = move |(name, product)| (format!("{channels} {side}x{side} {name}"), product);
        products(channels, side).into_iter().map(named)
    });
    let all: Vec<_> = in_planes.chain(STRIDED.iter().flat_map(ChannelsLast::products)).collect();
    for cpu in [Cpu::Avx512, Cpu::Avx2] {
        for (label, contraction) in &all {
            let label = format!("{label:24} {cpu:>9}");
            if !cpu.supported() || filter.as_ref().is_some_and(|filter| !label.contains(filter)) {
                continue;
            }
            let [one, two] = [1, 2].map(|threads| best_step(contraction, cpu, threads));
            let flops = contraction.flops();
            let Blocking { rows, columns } = contraction.blocking;
            let pieces = format!("{} {rows}x{columns}", contraction.pieces());
            println!("{label} {pieces:>12} {:9.1} {:9.1}", flops / one, flops / two);
        }
    }
}

/// The products of a stage. Its padded image, result and weights follow each other in the arena.
fn products(channels: usize, side: usize) -> Vec<(String, Contraction)> {
    let (c, row) = (channels as isize, side as isize + 2);
    let (plane, dense) = (row * row, (side * side) as isize);
    let pixels = side * side;
    let image = 0;
    let result = image + 4 * SAMPLES * channels * plane as usize;
    let weights = result + 4 * SAMPLES * channels * pixels;
    let taps = [(channels, plane), (3, row), (3, 1)];
    let within = [(side, row), (side, 1)];
    let joint = [(SAMPLES, c * plane), within[0], within[1]];
    let scattered = |start: usize, batch: &[isize], rows: Digits, columns: Digits| Scattered {
        home: Home::fixed(start),
        batch_strides: batch.iter().copied().collect(),
        rows,
        columns,
    };
    let strided = |start: usize, batch: &[isize], row: isize, column: isize| Strided {
        home: Home::fixed(start),
        batch_strides: batch.iter().copied().collect(),
        row_stride: row,
        column_stride: column,
    };
    let product = |batch: &[usize], rows, columns, depth, left, right, output| Contraction {
        dtype: DType::F32,
        batch: batch.iter().copied().collect(),
        rows,
        columns,
        depth,
        left,
        right,
        output: Output::Arena(output),
        blocking: gemm::blocking(rows, columns, depth, batch.iter().product(), DType::F32),
    };
    let depth = 9 * channels;
    let mut products = Vec::new();
    for (name, flipped) in [("forward", false), ("input", true)] {
        let by_sample = [SAMPLES];
        let left = |batch: &[isize]| match flipped {
            false => Operand::Arena(strided(weights, batch, 9 * c, 1)),
            true => {
                let columns = Digits::new([(channels, 9 * c), (3, -3), (3, -1)]);
                let rows = Digits::uniform(channels, 9);
                Operand::Scattered(scattered(weights + 8 * 4, batch, rows, columns))
            }
        };
        let right = scattered(image, &[c * plane], Digits::new(taps), Digits::new(within));
        let output = strided(result, &[c * dense], dense, 1);
        let right = Operand::Scattered(right);
        products.push((
            format!("{name} by sample"),
            product(&by_sample, channels, pixels, depth, left(&[0]), right, output),
        ));
        let right = scattered(image, &[], Digits::new(taps), Digits::new(joint));
        let output = strided(result, &[], (SAMPLES * pixels) as isize, 1);
        let right = Operand::Scattered(right);
        products.push((
            format!("{name} jointly"),
            product(&[], channels, SAMPLES * pixels, depth, left(&[]), right, output),
        ));
    }
    for parts in [1, 4, 16] {
        let samples = SAMPLES / parts;
        let left = scattered(
            result,
            &[samples as isize * c * dense],
            Digits::uniform(channels, dense),
            Digits::new([(samples, c * dense), (pixels, 1)]),
        );
        let right = scattered(
            image,
            &[samples as isize * c * plane],
            Digits::new([(samples, c * plane), within[0], within[1]]),
            Digits::new(taps),
        );
        let output = strided(weights, &[9 * c * c], 9 * c, 1);
        let [left, right] = [left, right].map(Operand::Scattered);
        products.push((
            format!("kernel {parts}"),
            product(&[parts], channels, depth, samples * pixels, left, right, output),
        ));
    }
    products
}

impl ChannelsLast {
    /// The convolution, and the gradient of its kernel.
    fn products(&self) -> Vec<(String, Contraction)> {
        let &ChannelsLast { samples, from, to, side, taps } = self;
        let (c, row) = (from as isize, (2 * side + taps - 2) as isize);
        let places = samples * side * side;
        let image = 0;
        let result = image + 4 * samples * from * (row * row) as usize;
        let weights = result + 4 * places * to;
        let windows = Digits::new([(samples, row * row * c), (side, 2 * row * c), (side, 2 * c)]);
        let within = Digits::new([(taps, row * c), (taps, c), (from, 1)]);
        let scattered = |rows: &Digits, columns: &Digits| {
            Operand::Scattered(Scattered {
                home: Home::fixed(image),
                batch_strides: [].into_iter().collect(),
                rows: rows.clone(),
                columns: columns.clone(),
            })
        };
        let dense = |start: usize| Strided {
            home: Home::fixed(start),
            batch_strides: [].into_iter().collect(),
            row_stride: to as isize,
            column_stride: 1,
        };
        let product = |rows, depth, left, right, output| Contraction {
            dtype: DType::F32,
            batch: [].into_iter().collect(),
            rows,
            columns: to,
            depth,
            left,
            right: Operand::Arena(right),
            output: Output::Arena(output),
            blocking: gemm::blocking(rows, to, depth, 1, DType::F32),
        };
        let depth = taps * taps * from;
        let name = format!("last {from}-{to} {side}x{side}");
        let forward =
            product(places, depth, scattered(&windows, &within), dense(weights), dense(result));
        let kernel =
            product(depth, places, scattered(&within, &windows), dense(result), dense(weights));
        vec![(format!("{name} forward"), forward), (format!("{name} kernel"), kernel)]
    }
}

/// The shortest time in nanoseconds of a step that computes this product.
fn best_step(contraction: &Contraction, cpu: Cpu, threads: usize) -> f64 {
    let program = Program {
        arena_bytes: 256 << 20,
        scratch_bytes: 0,
        cpu,
        parts: vec![Part::Phase(Phase {
            tasks: vec![Task {
                kernel: 0,
                work: Work::Contraction(Box::new(contraction.clone())),
                pieces: contraction.pieces() as u32,
                // Enough for every thread to get its share.
                piece_cost: 1e5,
            }],
        })],
        slots: Vec::new(),
        code: Arc::new(()),
    };
    // SAFETY: the program has no generated code.
    let mut executor = unsafe { Executor::new(program, threads) };
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut steps = 0;
    while steps < 3 || start.elapsed() < Duration::from_millis(60) {
        let since = Instant::now();
        executor.step();
        best = best.min(since.elapsed());
        steps += 1;
    }
    best.as_nanos() as f64
}
