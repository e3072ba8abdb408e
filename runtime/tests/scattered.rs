//! Products of matrices whose rows and columns lie at distances digit by digit, as windows over
//! tensors do, against a plain f64 sum.

use std::slice;

use cygnet_runtime::arena::Arena;
use cygnet_runtime::contraction::{
    Blocking, Contraction, Digits, Operand, Output, Scattered, Strided,
};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::gemm::Product;
use cygnet_runtime::program::{COUNTERS, Frame, Home, NO_LOOP};
use proptest::prelude::*;

/// Digits of an axis: (extent, stride) of each.
type Axis = Vec<(usize, isize)>;

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    /// Rows and depth of the left operand.
    left: (Axis, Axis),
    /// Depth and columns of the right operand: its depth is cut like that of the left one.
    right: (Axis, Axis),
    /// Whether an operand is an ordinary matrix instead.
    ordinary: [bool; 2],
    /// Whether the right operand then lies column by column.
    by_column: bool,
    blocking: (usize, usize),
}

fn extent(axis: &Axis) -> usize {
    axis.iter().map(|digit| digit.0).product()
}

/// Smallest and largest distance along some axes.
fn reach<'a>(axes: impl IntoIterator<Item = &'a Axis>) -> (isize, isize) {
    let digits = axes.into_iter().flatten();
    digits.fold((0, 0), |(low, high), &(extent, stride)| {
        let reach = (extent as isize - 1) * stride;
        (low + reach.min(0), high + reach.max(0))
    })
}

/// A small integer for each place: sums are exact in any order.
fn value(place: usize) -> f64 {
    (place.wrapping_mul(0x9e37_79b9) >> 7) as f64 % 9.0 - 4.0
}

fn check<T: Copy + Into<f64> + From<i8> + 'static>(case: &Case, dtype: DType, cpu: Cpu) {
    let size = size_of::<T>();
    let (rows, depth) = (extent(&case.left.0), extent(&case.left.1));
    let columns = extent(&case.right.1);
    let mut next = 0;
    let mut place = |axes: &(Axis, Axis), ordinary: bool, by_column: bool, count: usize| {
        let mut scattered = |rows: Digits, columns: Digits, low: isize, high: isize| {
            let start = next + low.unsigned_abs();
            let stride = high - low + 3;
            next += stride as usize * count;
            Scattered {
                home: Home::fixed(start * size),
                batch_strides: [stride].into_iter().collect(),
                rows,
                columns,
            }
        };
        if ordinary {
            let (rows, columns) = (extent(&axes.0), extent(&axes.1));
            let [row_stride, column_stride] =
                if by_column { [1, rows as isize] } else { [columns as isize, 1] };
            let [row_digits, column_digits] =
                [Digits::uniform(rows, row_stride), Digits::uniform(columns, column_stride)];
            scattered(row_digits, column_digits, 0, (rows * columns) as isize)
        } else {
            let (low, high) = reach([&axes.0, &axes.1]);
            scattered(Digits::new(axes.0.clone()), Digits::new(axes.1.clone()), low, high + 1)
        }
    };
    let left = place(&case.left, case.ordinary[0], false, case.batch);
    let right = place(&case.right, case.ordinary[1], case.by_column, case.batch);
    let output = place(&(vec![(rows, 1)], vec![(columns, 1)]), true, false, case.batch);
    let strided = |place: &Scattered| Strided {
        home: place.home,
        batch_strides: place.batch_strides.clone(),
        row_stride: place.rows.stride().unwrap(),
        column_stride: place.columns.stride().unwrap(),
    };
    let operand = |place: &Scattered, ordinary: bool| match ordinary {
        true => Operand::Arena(strided(place)),
        false => Operand::Scattered(place.clone()),
    };
    let contraction = Contraction {
        dtype,
        batch: [case.batch].into_iter().collect(),
        rows,
        columns,
        depth,
        left: operand(&left, case.ordinary[0]),
        right: operand(&right, case.ordinary[1]),
        output: Output::Arena(strided(&output)),
        blocking: Blocking { rows: case.blocking.0, columns: case.blocking.1 },
    };
    contraction.verify(next * size, &NO_LOOP).unwrap();
    let memory = Arena::new(next * size);
    // SAFETY: the arena holds that many elements, and only pieces use it meanwhile.
    let arena = unsafe { slice::from_raw_parts_mut(memory.start().cast::<T>(), next) };
    for (index, element) in arena.iter_mut().enumerate() {
        *element = T::from(value(index) as i8);
    }
    let before: Vec<f64> = arena.iter().map(|&element| element.into()).collect();

    let product = Product::new(&contraction, cpu);
    let scratch = Arena::new(product.scratch_bytes());
    // SAFETY: writes the bytes of the allocation. NaN everywhere: nothing may be read before it
    // is written.
    unsafe { scratch.start().write_bytes(0xff, scratch.bytes()) };
    let frame = Frame {
        arena: memory.start(),
        scratch: scratch.start(),
        seed: 0,
        step: 0,
        counters: [0; COUNTERS],
    };
    let pieces = contraction.pieces();
    for piece in (0..pieces).rev() {
        // SAFETY: the instructions are supported, and the operands were verified to fit.
        unsafe { product.run_pieces(&frame, piece..piece + 1) };
    }
    let one_by_one: Vec<f64> = arena.iter().map(|&element| element.into()).collect();
    // SAFETY: as above.
    unsafe { product.run_pieces(&frame, 0..pieces) };

    let mut expected = before.clone();
    let at = |place: &Scattered, batch: usize, row: usize, column: usize| {
        let start = (place.home.offset / size) as isize + place.batch_strides[0] * batch as isize;
        (start + place.rows.offset(row) + place.columns.offset(column)) as usize
    };
    for batch in 0..case.batch {
        for row in 0..rows {
            for column in 0..columns {
                let term =
                    |k| before[at(&left, batch, row, k)] * before[at(&right, batch, k, column)];
                expected[at(&output, batch, row, column)] = (0..depth).map(term).sum();
            }
        }
    }
    let found: Vec<f64> = arena.iter().map(|&element| element.into()).collect();
    assert!(one_by_one == expected, "{cpu} {dtype}: {case:?}");
    assert!(found == expected, "{cpu} {dtype}, pieces together: {case:?}");
}

fn check_everywhere(case: &Case) {
    for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
        check::<f32>(case, DType::F32, cpu);
    }
    check::<f64>(case, DType::F64, Cpu::Portable);
}

fn axis() -> impl Strategy<Value = Axis> {
    let stride = prop_oneof![3 => Just(1isize), 1 => -3..40isize, 1 => Just(512isize)];
    let extent = prop_oneof![2 => 1..6usize, 1 => 6..20usize, 1 => Just(32usize)];
    let digit = (extent, stride);
    prop::collection::vec(digit, 1..4).prop_filter("small", |axis| extent_of(axis) < 300)
}

fn extent_of(axis: &Axis) -> usize {
    extent(axis)
}

prop_compose! {
    fn cases()(
        rows in axis(),
        columns in axis(),
        left_depth in axis(),
        strides in prop::collection::vec(-3..40isize, 3),
        inner in 1..3isize,
        batch in 1..3usize,
        ordinary in prop_oneof![2 => Just([false, false]), 1 => Just([true, false]), 1 => Just([false, true])],
        blocking in (1..80usize, 1..80usize),
    ) -> Case {
        let mut right_depth: Axis =
            left_depth.iter().zip(strides).map(|(digit, stride)| (digit.0, stride)).collect();
        right_depth.last_mut().unwrap().1 = inner;
        Case {
            batch,
            left: (rows, left_depth),
            right: (right_depth, columns),
            ordinary,
            by_column: false,
            blocking,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: proptest::test_runner::RngSeed::Fixed(11),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn products_of_scattered_matrices_match_a_plain_sum(case in cases()) {
        prop_assume!(extent(&case.left.0) * extent(&case.left.1) * extent(&case.right.1) < 1_000_000);
        check_everywhere(&case);
    }
}

/// A convolution of 3 x 3 taps over an image padded to `(height + 2) x (width + 2)`, its gradient
/// by the image, and by the kernel.
#[test]
fn convolutions_and_their_gradients_are_products_of_windows() {
    for (height, width) in [(4, 4), (8, 8), (7, 7), (3, 14), (2, 32), (2, 28)] {
        let (samples, from, to) = (3, 5, 16);
        let row = width as isize + 2;
        let plane = (height as isize + 2) * row;
        let taps = |stride: isize| vec![(3, stride * row), (3, stride)];
        let places = |samples: usize| {
            let all = [(samples, from as isize * plane), (height, row), (width, 1)];
            all[usize::from(samples == 1)..].to_vec()
        };
        let windows: Axis = [vec![(from, plane)], taps(1)].concat();
        let dense = (height * width) as isize;
        let forward = Case {
            batch: 1,
            left: (vec![(to, 9 * from as isize)], vec![(9 * from, 1)]),
            right: (windows.clone(), places(samples)),
            ordinary: [true, false],
            by_column: false,
            blocking: (to, 64),
        };
        let mut flipped = forward.clone();
        flipped.ordinary = [false, false];
        flipped.left = (vec![(to, 9)], vec![(from, 9 * to as isize), (3, -3), (3, -1)]);
        let weights = Case {
            batch: 1,
            left: (vec![(to, dense)], vec![(samples, to as isize * dense), (height * width, 1)]),
            right: (places(samples), windows),
            ordinary: [false, false],
            by_column: false,
            blocking: (10, 32),
        };
        for case in [forward, flipped, weights] {
            check_everywhere(&case);
        }
    }
}

/// Strided convolutions with their channels last, and gradients of their kernels: rows of an image are tiles
/// that are not packed, unless they are short, many of them in one call of a kernel; few channels are sums along the
/// taps.
#[test]
fn windows_of_channels_are_read_row_by_row() {
    for (samples, side, taps, from, to) in [
        (3, 14, 3, 1, 16),
        (3, 7, 3, 16, 32),
        (3, 3, 3, 8, 40),
        (3, 9, 2, 16, 4),
        (3, 16, 3, 32, 2),
        (3, 5, 4, 32, 1),
        (40, 7, 3, 2, 16),
    ] {
        let channels = from as isize;
        let row = (2 * side + taps - 2) as isize * channels;
        let plane = (2 * side + taps - 2) as isize * row;
        let places: Axis = vec![(samples, plane), (side, 2 * row), (side, 2 * channels)];
        let within: Axis = vec![(taps, row), (taps, channels), (from, 1)];
        let depth = taps * taps * from;
        let forward = Case {
            batch: 1,
            left: (places.clone(), within.clone()),
            right: (vec![(depth, 1)], vec![(to, 1)]),
            ordinary: [false, true],
            by_column: false,
            // Pieces that end within a row of the image.
            blocking: (samples * side * side / 2 + 1, to),
        };
        let few = Case { by_column: true, ..forward.clone() };
        let kernel = Case {
            left: (within, places.clone()),
            right: (vec![(samples * side * side, 1)], vec![(to, 1)]),
            blocking: (depth / 2 + 1, to),
            ..forward.clone()
        };
        for case in [forward, few, kernel] {
            check_everywhere(&case);
        }
    }
}

/// Weights in panels of 32 columns, deeper than one block, with whole and partial tiles of rows.
#[test]
fn products_read_panels_of_columns() {
    let (depth, panels) = (700, 3);
    for (rows, blocking) in [(1, (1, 96)), (45, (45, 96)), (45, (16, 64)), (128, (128, 32))] {
        check_everywhere(&Case {
            batch: 1,
            left: (vec![(rows, depth as isize)], vec![(depth, 1)]),
            right: (vec![(depth, 32)], vec![(panels, 32 * depth as isize), (32, 1)]),
            ordinary: [true, false],
            by_column: false,
            blocking,
        });
    }
}
