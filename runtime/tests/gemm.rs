//! Products of every shape, layout, instruction set and element type against a plain f64 sum.

use std::slice;

use cygnet_runtime::arena::Arena;
use cygnet_runtime::contraction::{Blocking, Contraction, Operand, Output, Strided};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::gemm::{self, Product};
use cygnet_runtime::program::{COUNTERS, Frame, Home, NO_LOOP, Region};
use proptest::prelude::*;

/// An element type, to write the tests once.
trait Number: Copy + Into<f64> + PartialEq + std::fmt::Debug + 'static {
    const DTYPE: DType;
    const EPSILON: f64;
    fn from_f64(value: f64) -> Self;
}

impl Number for f32 {
    const DTYPE: DType = DType::F32;
    const EPSILON: f64 = f32::EPSILON as f64;
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
}

impl Number for f64 {
    const DTYPE: DType = DType::F64;
    const EPSILON: f64 = f64::EPSILON;
    fn from_f64(value: f64) -> f64 {
        value
    }
}

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug)]
enum Layout {
    RowMajor {
        gap: usize,
    },
    ColumnMajor {
        gap: usize,
    },
    /// Neither rows nor columns are contiguous.
    Spread,
    /// Row-major with the last row first.
    Reversed,
    /// The same matrix for the whole batch (operands only).
    Shared,
    /// Made by a prologue (operands), taken by an epilogue (output).
    Function,
}

#[derive(Clone, Debug)]
struct Case {
    batch: Vec<usize>,
    rows: usize,
    columns: usize,
    depth: usize,
    left: Layout,
    right: Layout,
    output: Layout,
    blocking: Option<Blocking>,
    seed: u64,
}

/// A uniform number in [-1, 1) from a counter (SplitMix64's finalizer).
fn noise(counter: u64) -> f64 {
    let mut z = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// What a prologue generates.
fn generated(batch: usize, row: usize, column: usize) -> f64 {
    noise((batch * 1_000_003 + row * 1009 + column) as u64)
}

/// Bytes of scratch memory that the region functions below use.
const FUNCTION_SCRATCH: usize = 256;

/// Overwrites the scratch memory that a region function may use: the driver must not have
/// anything there.
unsafe fn spoil_scratch(frame: *const Frame) {
    // SAFETY: the test allocates that much beyond the driver's part.
    unsafe { (*frame).scratch.write_bytes(0xff, FUNCTION_SCRATCH) };
}

unsafe extern "C" fn prologue<T: Number>(
    frame: *const Frame,
    tile: *mut u8,
    stride: u64,
    region: *const Region,
) {
    // SAFETY: called with a frame of `check` and a tile that covers the region.
    unsafe {
        spoil_scratch(frame);
        let region = *region;
        for row in region.row_start..region.row_end {
            for column in region.column_start..region.column_end {
                let index = (row - region.row_start) * stride + column - region.column_start;
                let value = generated(region.batch as usize, row as usize, column as usize);
                *tile.cast::<T>().add(index as usize) = T::from_f64(value);
            }
        }
    }
}

/// Stores `2 x + 1` row-major at the offset that the arena's first word holds; the next two are
/// the result's rows and columns, the fourth the columns of a piece.
unsafe extern "C" fn epilogue<T: Number>(
    frame: *const Frame,
    tile: *mut u8,
    stride: u64,
    region: *const Region,
) {
    // SAFETY: called with a frame of `check` and a tile that covers the region.
    unsafe {
        spoil_scratch(frame);
        let region = *region;
        let arena = (*frame).arena;
        let [offset, rows, columns, piece_columns] = *arena.cast::<[usize; 4]>();
        // Whole rows of a piece, as promised.
        assert_eq!(region.column_start as usize % piece_columns, 0);
        assert_eq!(
            region.column_end as usize,
            columns.min(region.column_start as usize + piece_columns)
        );
        let output = arena.add(offset).cast::<T>();
        for row in region.row_start..region.row_end {
            for column in region.column_start..region.column_end {
                let index = (row - region.row_start) * stride + column - region.column_start;
                let value: f64 = (*tile.cast::<T>().add(index as usize)).into();
                let to = (region.batch as usize * rows + row as usize) * columns;
                *output.add(to + column as usize) = T::from_f64(2.0 * value + 1.0);
            }
        }
    }
}

/// Hands out places one after the other, starting behind the epilogue's words.
struct Places {
    next: usize,
    size: usize,
}

impl Places {
    fn place(&mut self, layout: Layout, batch: &[usize], rows: usize, columns: usize) -> Strided {
        let (row_stride, column_stride, span) = match layout {
            Layout::RowMajor { gap } => (columns + gap, 1, rows * (columns + gap)),
            Layout::ColumnMajor { gap } => (1, rows + gap, columns * (rows + gap)),
            Layout::Spread => (3 * columns + 1, 3, rows * (3 * columns + 1)),
            _ => (columns, 1, rows * columns),
        };
        let matrices: usize = batch.iter().product();
        // Batch axes in reverse order in memory, with a gap.
        let mut stride = span + 5;
        let mut batch_strides = vec![0; batch.len()];
        if !matches!(layout, Layout::Shared) {
            for (axis, extent) in batch.iter().enumerate() {
                batch_strides[axis] = stride as isize;
                stride *= extent;
            }
        }
        let mut offset = self.next;
        self.next += (matrices * (span + 5) + 3) * self.size;
        let mut row_stride = row_stride as isize;
        if matches!(layout, Layout::Reversed) {
            offset += (rows.max(1) - 1) * columns * self.size;
            row_stride = -row_stride;
        }
        let column_stride = column_stride as isize;
        let batch_strides = batch_strides.into();
        Strided { home: Home::fixed(offset), batch_strides, row_stride, column_stride }
    }
}

fn element<T: Number>(arena: &[T], place: &Strided, batch: isize, row: usize, column: usize) -> T {
    let start = (place.home.offset / size_of::<T>()) as isize;
    let offset = batch + row as isize * place.row_stride + column as isize * place.column_stride;
    arena[(start + offset) as usize]
}

/// Computes the case and compares every element, and that nothing else was written.
fn check<T: Number>(case: &Case, cpu: Cpu) {
    let &Case { rows, columns, depth, .. } = case;
    let matrices: usize = case.batch.iter().product();
    let mut places = Places { next: 64, size: size_of::<T>() };
    let left = places.place(case.left, &case.batch, rows, depth);
    let right = places.place(case.right, &case.batch, depth, columns);
    let output = match case.output {
        // Where the epilogue writes.
        Layout::Function => {
            let mut flat = places.place(Layout::RowMajor { gap: 0 }, &[], matrices * rows, columns);
            flat.batch_strides = vec![0; case.batch.len()].into();
            for axis in (0..case.batch.len()).rev() {
                let inner: usize = case.batch[axis + 1..].iter().product();
                flat.batch_strides[axis] = (inner * rows * columns) as isize;
            }
            flat
        }
        layout => places.place(layout, &case.batch, rows, columns),
    };
    let operand = |layout, place: &Strided| match layout {
        Layout::Function => Operand::Generated(prologue::<T>),
        _ => Operand::Arena(place.clone()),
    };
    let blocking =
        case.blocking.unwrap_or_else(|| gemm::blocking(rows, columns, depth, matrices, T::DTYPE));
    let contraction = Contraction {
        dtype: T::DTYPE,
        batch: case.batch.iter().copied().collect(),
        rows,
        columns,
        depth,
        left: operand(case.left, &left),
        right: operand(case.right, &right),
        output: match case.output {
            Layout::Function => Output::Epilogue(epilogue::<T>),
            _ => Output::Arena(output.clone()),
        },
        blocking,
    };
    let memory = Arena::new(places.next);
    contraction.verify(places.next, &NO_LOOP).unwrap();
    // SAFETY: the arena holds that many elements, and only pieces use it meanwhile.
    let arena = unsafe {
        slice::from_raw_parts_mut(memory.start().cast::<T>(), places.next / size_of::<T>())
    };
    for (index, value) in arena.iter_mut().enumerate() {
        *value = T::from_f64(noise(case.seed + index as u64));
    }
    // SAFETY: places start behind these words.
    unsafe {
        *memory.start().cast::<[usize; 4]>() =
            [output.home.offset, rows, columns, blocking.columns];
    }
    let before = arena.to_vec();

    let product = Product::new(&contraction, cpu);
    let scratch = Arena::new(product.scratch_bytes() + FUNCTION_SCRATCH);
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
    // Results do not depend on which pieces run together.
    let one_by_one = arena.to_vec();
    arena.copy_from_slice(&before);
    // SAFETY: as above.
    unsafe { product.run_pieces(&frame, 0..pieces) };
    assert!(arena == one_by_one, "{cpu}: {pieces} pieces together");

    let mut expected_elsewhere = before.clone();
    for batch in 0..matrices {
        let offset = |place: &Strided| place.batch_offset(&case.batch, batch);
        for row in 0..rows {
            for column in 0..columns {
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for k in 0..depth {
                    let a: f64 = match case.left {
                        Layout::Function => T::from_f64(generated(batch, row, k)).into(),
                        _ => element(&before, &left, offset(&left), row, k).into(),
                    };
                    let b: f64 = match case.right {
                        Layout::Function => T::from_f64(generated(batch, k, column)).into(),
                        _ => element(&before, &right, offset(&right), k, column).into(),
                    };
                    sum += a * b;
                    magnitude += (a * b).abs();
                }
                let found = element(arena, &output, offset(&output), row, column);
                let (expected, scale) = match case.output {
                    Layout::Function => (2.0 * sum + 1.0, 2.0 * magnitude + 1.0),
                    _ => (sum, magnitude),
                };
                // The worst case for sums in any order in chains of at most `terms`.
                let terms = depth.min(400) as f64 + depth as f64 / 300.0 + 4.0;
                let difference: f64 = found.into() - expected;
                assert!(
                    difference.abs() <= terms * T::EPSILON * scale,
                    "{cpu} {} [{batch}] ({row}, {column}): {found:?}, expected {expected}",
                    T::DTYPE,
                );
                let place = (output.home.offset / size_of::<T>()) as isize
                    + offset(&output)
                    + row as isize * output.row_stride
                    + column as isize * output.column_stride;
                expected_elsewhere[place as usize] = found;
            }
        }
    }
    assert!(arena == expected_elsewhere, "{cpu}: wrote outside the output");
}

fn check_everywhere(case: &Case) {
    for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
        check::<f32>(case, cpu);
    }
    check::<f64>(case, Cpu::Portable);
}

fn operand_layout() -> impl Strategy<Value = Layout> {
    prop_oneof![
        4 => (0..3usize).prop_map(|gap| Layout::RowMajor { gap }),
        4 => (0..3usize).prop_map(|gap| Layout::ColumnMajor { gap }),
        1 => Just(Layout::Spread),
        1 => Just(Layout::Reversed),
        1 => Just(Layout::Shared),
        2 => Just(Layout::Function),
    ]
}

fn output_layout() -> impl Strategy<Value = Layout> {
    prop_oneof![
        3 => (0..3usize).prop_map(|gap| Layout::RowMajor { gap }),
        2 => (0..3usize).prop_map(|gap| Layout::ColumnMajor { gap }),
        1 => Just(Layout::Spread),
        1 => Just(Layout::Reversed),
        3 => Just(Layout::Function),
    ]
}

/// Extents around the tile sizes, with a bound on the total work.
fn extents() -> impl Strategy<Value = (usize, usize, usize)> {
    let extent = || prop_oneof![3 => 0..20usize, 2 => 20..70usize, 1 => 70..300usize];
    let depth = prop_oneof![3 => 0..40usize, 1 => 40..700usize];
    (extent(), extent(), depth)
        .prop_filter("small enough", |(rows, columns, depth)| rows * columns * depth < 1_000_000)
}

prop_compose! {
    fn cases()(
        (rows, columns, depth) in extents(),
        batch in prop::collection::vec(1..4usize, 0..3),
        left in operand_layout(),
        right in operand_layout(),
        output in output_layout(),
        blocking in prop::option::of((1..100usize, 1..100usize)),
        seed in 0..1000u64,
    ) -> Case {
        let blocking = blocking.map(|(rows, columns)| Blocking { rows, columns });
        Case { batch, rows, columns, depth, left, right, output, blocking, seed }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn products_match_a_plain_sum(case in cases()) {
        check_everywhere(&case);
    }
}

/// Layouts and sizes that make the plan pack operands because of their strides.
#[test]
fn operands_with_hostile_strides_are_packed_correctly() {
    let hostile = |extent: usize| Layout::RowMajor { gap: 1024 - extent };
    for (left, right) in [
        (hostile(70), hostile(130)),
        (Layout::ColumnMajor { gap: 1024 - 65 }, Layout::RowMajor { gap: 0 }),
        (Layout::RowMajor { gap: 0 }, Layout::ColumnMajor { gap: 1024 - 70 }),
    ] {
        for output in [Layout::RowMajor { gap: 0 }, Layout::Function] {
            let (rows, columns, depth) = (65, 130, 70);
            let blocking = Some(Blocking { rows: 65, columns: 130 });
            let case = Case {
                batch: vec![],
                rows,
                columns,
                depth,
                left,
                right,
                output,
                blocking,
                seed: 1,
            };
            check_everywhere(&case);
        }
    }
}

/// Depths, rows and packed operands beyond one block of every kind.
#[test]
fn large_products_cross_every_block_boundary() {
    let case = |rows, columns, depth, left, right, output| Case {
        batch: vec![],
        rows,
        columns,
        depth,
        left,
        right,
        output,
        blocking: Some(Blocking { rows, columns }),
        seed: 5,
    };
    let by_row = Layout::RowMajor { gap: 0 };
    let by_column = Layout::ColumnMajor { gap: 0 };
    for case in [
        // Packed panels that stay for several row blocks, and ones that do not fit.
        case(700, 64, 330, by_row, by_column, Layout::Function),
        case(300, 200, 700, by_row, by_column, Layout::Function),
        case(1, 40, 9000, by_row, by_column, by_row),
        case(1, 700, 400, by_row, by_row, by_row),
    ] {
        check::<f32>(&case, Cpu::detect());
        check::<f32>(&case, Cpu::Portable);
    }
}
