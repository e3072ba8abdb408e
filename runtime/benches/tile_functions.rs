//! Nanoseconds per element of the tile functions, for tiles of 512 elements in L1.
//!
//! `cargo bench -p cygnet-runtime --bench tile_functions [-- NAME...]` prints a table with a
//! column for each instruction set that the machine supports.

use std::hint::black_box;
use std::time::Instant;

use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::random::RandomTile;
use cygnet_runtime::tile::{TileFunction, TileReduction};

/// Elements in a tile.
const TILE: usize = 512;

fn main() {
    // Cargo also starts benchmarks as tests, without this flag.
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(flag) = arguments.iter().position(|argument| argument == "--bench") else {
        return;
    };
    arguments.remove(flag);
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|other| other == name);

    let cpus: Vec<Cpu> = Cpu::ALL.into_iter().filter(|cpu| cpu.supported()).collect();
    print!("{:16}", "ns per element");
    for cpu in &cpus {
        print!("{cpu:>10}");
    }
    println!();

    let x: Vec<f32> = (0..TILE).map(|index| 0.1 + index as f32 / 128.0).collect();
    let y: Vec<f32> = (0..TILE).map(|index| 2.0 - index as f32 / 200.0).collect();
    let mut out = vec![0.0f32; TILE];
    let row = |name: &str, time: &mut dyn FnMut(Cpu) -> f64| {
        if wanted(name) {
            print!("{name:16}");
            for &cpu in &cpus {
                print!("{:10.3}", time(cpu));
            }
            println!();
        }
    };

    for &function in TileFunction::ALL {
        row(function.name(), &mut |cpu| {
            let address = function.address(DType::F32, cpu);
            if function.arity() == 1 {
                // SAFETY: a function of one argument has this type.
                let tile: unsafe extern "C" fn(*mut f32, *const f32, usize) =
                    unsafe { std::mem::transmute(address) };
                // SAFETY: both slices have `TILE` elements.
                nanoseconds(|| unsafe { tile(out.as_mut_ptr(), black_box(x.as_ptr()), TILE) })
            } else {
                // SAFETY: a function of two arguments has this type.
                let tile: unsafe extern "C" fn(*mut f32, *const f32, *const f32, usize) =
                    unsafe { std::mem::transmute(address) };
                // SAFETY: all slices have `TILE` elements.
                nanoseconds(|| unsafe {
                    tile(out.as_mut_ptr(), black_box(x.as_ptr()), y.as_ptr(), TILE)
                })
            }
        });
    }

    for &reduction in TileReduction::ALL {
        row(reduction.name(), &mut |cpu| {
            // SAFETY: a reduction in single precision has this type.
            let tile: unsafe extern "C" fn(*const f32, usize) -> f32 =
                unsafe { std::mem::transmute(reduction.address(DType::F32, cpu)) };
            // SAFETY: the slice has `TILE` elements.
            nanoseconds(|| unsafe {
                black_box(tile(black_box(x.as_ptr()), TILE));
            })
        });
    }

    for &random in RandomTile::ALL {
        row(random.name(), &mut |cpu| {
            // SAFETY: random tiles in single precision have this type.
            let tile: unsafe extern "C" fn(*mut f32, u64, u64, u64, u64, usize) =
                unsafe { std::mem::transmute(random.address(DType::F32, cpu)) };
            // SAFETY: the slice has `TILE` elements.
            nanoseconds(|| unsafe { tile(out.as_mut_ptr(), 1, 2, black_box(3), 0, TILE) })
        });
    }
}

/// The time per element of a call for one tile, best of several rounds.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 2000;
    let round = |_| {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        start.elapsed().as_nanos() as f64 / f64::from(CALLS) / TILE as f64
    };
    (0..20).map(round).fold(f64::INFINITY, f64::min)
}
