//! A small hand-written training step, run by teams of several sizes.

use std::sync::Arc;
use std::time::Duration;

use cygnet_runtime::contraction::{Blocking, Contraction, Operand, Output, Strided};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::executor::Executor;
use cygnet_runtime::program::{
    Frame, Home, Outcome, Part, Phase, Program, Region, Slot, Task, Work,
};
use cygnet_runtime::slots::SlotError;
use cygnet_runtime::tensor::Tensor;

const SIZE: usize = 96;
const MATRIX: usize = SIZE * SIZE * 4;
const INPUT: usize = 0;
const WEIGHT: usize = MATRIX;
const PRODUCT: usize = 2 * MATRIX;
const LOSS: usize = 3 * MATRIX;
const ARENA: usize = LOSS + 64;
/// Rows of a piece of an elementwise kernel.
const ROWS: usize = 8;

/// Row `row` of the matrix at `offset`.
#[allow(clippy::mut_from_ref, reason = "the frame points to memory outside of itself")]
unsafe fn row(frame: &Frame, offset: usize, row: usize) -> &mut [f32] {
    // SAFETY: the arena holds the matrix, and each piece touches rows of its own.
    unsafe {
        let start = frame.arena.add(offset).cast::<f32>().add(row * SIZE);
        std::slice::from_raw_parts_mut(start, SIZE)
    }
}

/// Fills the input from (seed, step, index).
unsafe extern "C" fn fill(frame: *const Frame, piece: u64) {
    // SAFETY: called with a frame of this program.
    unsafe {
        let frame = &*frame;
        for number in piece as usize * ROWS..(piece as usize + 1) * ROWS {
            for (column, value) in row(frame, INPUT, number).iter_mut().enumerate() {
                let counter = frame.seed ^ (frame.step << 32) ^ (number * SIZE + column) as u64;
                let bits = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                *value = bits as f32 / (1 << 24) as f32 - 0.5;
            }
        }
    }
}

/// Adds a scaled sum of a row's squares to the row, by way of scratch memory.
unsafe extern "C" fn update(frame: *const Frame, piece: u64) {
    // SAFETY: called with a frame of this program.
    unsafe {
        let frame = &*frame;
        for number in piece as usize * ROWS..(piece as usize + 1) * ROWS {
            let squares = frame.scratch.cast::<f32>();
            for (column, value) in row(frame, PRODUCT, number).iter().enumerate() {
                *squares.add(column) = value * value * 1e-3;
            }
            for (column, value) in row(frame, WEIGHT, number).iter_mut().enumerate() {
                *value += *squares.add(column);
            }
        }
    }
}

/// Sums the product.
unsafe extern "C" fn loss(frame: *const Frame, _piece: u64) {
    // SAFETY: called with a frame of this program.
    unsafe {
        let sum: f32 = (0..SIZE).flat_map(|number| row(&*frame, PRODUCT, number).iter()).sum();
        *(*frame).arena.add(LOSS).cast::<f32>() = sum;
    }
}

/// Stores a product's positive values.
unsafe extern "C" fn relu(frame: *const Frame, tile: *mut u8, stride: u64, region: *const Region) {
    // SAFETY: called with a frame of this program.
    unsafe {
        let region = *region;
        for number in region.row_start..region.row_end {
            let target = row(&*frame, PRODUCT, number as usize);
            for column in region.column_start..region.column_end {
                let index = (number - region.row_start) * stride + column - region.column_start;
                target[column as usize] = (*tile.cast::<f32>().add(index as usize)).max(0.0);
            }
        }
    }
}

/// The step: fill, product, loss (small: for one thread), guard, update.
fn program() -> Program {
    let matrix = |offset| Strided {
        home: Home::fixed(offset),
        batch_strides: [].into_iter().collect(),
        row_stride: SIZE as isize,
        column_stride: 1,
    };
    let contraction = Contraction {
        dtype: DType::F32,
        batch: [].into_iter().collect(),
        rows: SIZE,
        columns: SIZE,
        depth: SIZE,
        left: Operand::Arena(matrix(INPUT)),
        right: Operand::Arena(matrix(WEIGHT)),
        output: Output::Epilogue(relu),
        blocking: Blocking { rows: 20, columns: 32 },
    };
    let pieces = (SIZE / ROWS) as u32;
    let product_pieces = contraction.pieces() as u32;
    let phase = |kernel, work, pieces, piece_cost| {
        Part::Phase(Phase { tasks: vec![Task { kernel, work, pieces, piece_cost }] })
    };
    let strided = |name: &str, offset, shape: &[usize], strides: &[usize]| Slot {
        name: name.to_owned(),
        dtype: DType::F32,
        shape: shape.to_vec(),
        offset,
        strides: strides.to_vec(),
    };
    Program {
        arena_bytes: ARENA,
        scratch_bytes: SIZE * 4,
        cpu: Cpu::detect(),
        parts: vec![
            phase(0, Work::Native(fill), pieces, 2000.0),
            phase(1, Work::Contraction(Box::new(contraction)), product_pieces, 3000.0),
            phase(2, Work::Native(loss), 1, 500.0),
            phase(3, Work::Guard { offset: LOSS, dtype: DType::F32 }, 1, 5.0),
            phase(4, Work::Native(update), pieces, 1000.0),
        ],
        slots: vec![
            strided("weight", WEIGHT, &[SIZE, SIZE], &[SIZE, 1]),
            // The same weight as its transpose.
            strided("transposed", WEIGHT, &[SIZE, SIZE], &[1, SIZE]),
            strided("loss", LOSS, &[], &[]),
        ],
        code: Arc::new(()),
    }
}

fn executor(threads: usize) -> Executor {
    // SAFETY: the functions above stay within the arena and their scratch, and write disjoint
    // rows.
    let mut executor = unsafe { Executor::new(program(), threads) };
    let values: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 7) as f32 * 0.01 - 0.02).collect();
    let index = executor.slot_index("weight").unwrap();
    executor.write_slot(index, &Tensor::from_slice(&[SIZE, SIZE], &values)).unwrap();
    executor.set_seed(12);
    executor
}

fn bits(executor: &Executor, name: &str) -> Vec<u8> {
    executor.read_slot(executor.slot_index(name).unwrap()).bytes().to_vec()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let mut results = Vec::new();
    for threads in [1, 2, 4] {
        let mut executor = executor(threads);
        assert_eq!(executor.threads(), threads);
        let mut losses = Vec::new();
        for _ in 0..10 {
            assert_eq!(executor.step(), Outcome::Finished);
            losses.push(bits(&executor, "loss"));
        }
        assert_eq!(executor.step_number(), 10);
        assert_ne!(losses[0], losses[1], "the step number counts");
        results.push((bits(&executor, "weight"), losses));
    }
    assert!(results.iter().all(|result| *result == results[0]));
}

#[test]
fn a_guard_stops_every_thread_before_state_changes() {
    for threads in [1, 2, 4] {
        let mut executor = executor(threads);
        assert_eq!(executor.step(), Outcome::Finished);
        let weight = executor.slot_index("weight").unwrap();
        let good = executor.read_slot(weight);
        let mut bad = good.clone();
        bad.as_mut_slice::<f32>()[5] = f32::INFINITY;
        executor.write_slot(weight, &bad).unwrap();
        assert_eq!(executor.step(), Outcome::NotFinite { kernel: 3 });
        assert_eq!(executor.step_number(), 1);
        assert_eq!(executor.read_slot(weight), bad, "no later phase ran");
        // The same step can be repeated with good weights.
        executor.write_slot(weight, &good).unwrap();
        assert_eq!(executor.step(), Outcome::Finished);
        assert_eq!(executor.step_number(), 2);
    }
}

#[test]
fn slots_convert_between_layouts_and_reject_other_tensors() {
    let mut executor = executor(1);
    let weight = executor.slot_index("weight").unwrap();
    let transposed = executor.slot_index("transposed").unwrap();
    let values = executor.read_slot(weight);
    let swapped = executor.read_slot(transposed);
    for row in 0..SIZE {
        for column in 0..SIZE {
            let (index, other) = (row * SIZE + column, column * SIZE + row);
            assert_eq!(values.get_f64(index), swapped.get_f64(other));
        }
    }
    executor.write_slot(transposed, &values).unwrap();
    assert_eq!(executor.read_slot(weight), swapped);
    assert!(executor.slot_bytes(transposed).is_none());
    executor.slot_bytes_mut(weight).unwrap().fill(0);
    assert!(executor.slot_bytes(weight).unwrap().iter().all(|&byte| byte == 0));

    let other = Tensor::zeros(DType::F32, &[SIZE]);
    let error = executor.write_slot(weight, &other).unwrap_err();
    assert!(matches!(error, SlotError::Shape { .. }));
    let other = Tensor::zeros(DType::I32, &[SIZE, SIZE]);
    let error = executor.write_slot(weight, &other).unwrap_err();
    assert_eq!(error.to_string(), "`weight` holds f32, but the tensor given has elements of i32");
    assert_eq!(executor.slot_index("bias"), None);
}

#[test]
fn profiles_attribute_time_to_tasks_and_threads() {
    let mut executor = executor(2);
    assert_eq!(executor.profile(), None);
    executor.set_profiling(true);
    for _ in 0..3 {
        executor.step();
    }
    let profile = executor.profile().unwrap();
    assert_eq!(profile.steps, 3);
    assert_eq!(profile.tasks.iter().map(|task| task.kernel).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(profile.waiting.len(), 2);
    for task in [0, 1, 4] {
        assert!(profile.tasks[task].threads.iter().all(|&time| time > Duration::ZERO));
    }
    assert_eq!(profile.tasks[2].threads[1], Duration::ZERO, "the loss is for one thread");
    executor.set_profiling(false);
    assert_eq!(executor.profile(), None);
}

#[test]
fn executors_move_between_threads() {
    let mut executor = executor(2);
    let outcome = std::thread::spawn(move || executor.step()).join().unwrap();
    assert_eq!(outcome, Outcome::Finished);
}

#[test]
fn a_tiny_program_stays_on_the_calling_thread() {
    let mut program = program();
    for part in &mut program.parts {
        let Part::Phase(phase) = part else { continue };
        for task in &mut phase.tasks {
            task.piece_cost /= 1000.0;
        }
    }
    // SAFETY: as in `executor`.
    let mut executor = unsafe { Executor::new(program, 4) };
    assert_eq!(executor.threads(), 1);
    assert_eq!(executor.step(), Outcome::Finished);
}

#[test]
#[should_panic(expected = "left operand: elements 0 to 9215 lie outside an arena of 64 bytes")]
fn a_program_that_does_not_fit_its_arena_is_refused() {
    let mut program = program();
    program.arena_bytes = 64;
    program.slots.clear();
    // SAFETY: nothing runs.
    unsafe { Executor::new(program, 1) };
}
