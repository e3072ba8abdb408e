use super::*;
use crate::program::NO_LOOP;

/// What a routine makes of operands of 32-bit words, its pieces computed from the last to the
/// first.
fn run(routine: Routine, dtype: DType, operands: &[Vec<u32>]) -> Vec<u32> {
    run_on(Cpu::Portable, routine, dtype, operands)
}

fn run_on(cpu: Cpu, routine: Routine, dtype: DType, operands: &[Vec<u32>]) -> Vec<u32> {
    let mut arena: Vec<u32> = operands.concat();
    let mut offset = 0;
    let operands = operands.iter().map(|operand| {
        offset += 4 * operand.len();
        offset - 4 * operand.len()
    });
    let operands = operands.map(Home::fixed).collect();
    let call = LibraryCall { routine, dtype, operands, result: Home::fixed(offset) };
    // What was there before does not matter.
    arena.resize(arena.len() + call.routine.result(dtype).0, 77);
    call.verify(4 * arena.len(), &NO_LOOP).unwrap();
    let mut scratch = vec![99u32; call.routine.scratch_bytes().div_ceil(4)];
    let frame = Frame {
        arena: arena.as_mut_ptr().cast(),
        scratch: scratch.as_mut_ptr().cast(),
        seed: 0,
        step: 0,
        counters: [0; COUNTERS],
    };
    for piece in (0..call.routine.pieces()).rev() {
        // SAFETY: the call was verified; arena and scratch memory belong to this test.
        unsafe { call.prepare(cpu).run_piece(&frame, piece) };
    }
    arena.split_off(offset / 4)
}

fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn floats(words: Vec<u32>) -> Vec<f32> {
    words.into_iter().map(f32::from_bits).collect()
}

fn indices(values: &[i32]) -> Vec<u32> {
    values.iter().map(|&value| value as u32).collect()
}

#[test]
fn updates_of_one_row_are_added_or_the_last_one_stays() {
    let scatter =
        |kind| Routine::Scatter(Scatter { kind, batch: 2, extent: 3, count: 2, width: 2 });
    let operands = [indices(&[2, 2, 0, 1]), words(&[1.0, 2.0, 10.0, 20.0, 100.0, 200.0, 1e3, 2e3])];
    let sums = floats(run(scatter(ScatterKind::Add), DType::F32, &operands));
    assert_eq!(sums, [0.0, 0.0, 0.0, 0.0, 11.0, 22.0, 100.0, 200.0, 1e3, 2e3, 0.0, 0.0]);
    let last = floats(run(scatter(ScatterKind::Set), DType::F32, &operands));
    assert_eq!(last[4..6], [10.0, 20.0]);
}

#[test]
fn an_index_outside_spoils_its_matrix_and_no_other() {
    let scatter = Scatter { kind: ScatterKind::Add, batch: 2, extent: 2, count: 1, width: 1 };
    for outside in [-1, 2] {
        let operands = [indices(&[outside, 1]), words(&[3.0, 4.0])];
        let found = floats(run(Routine::Scatter(scatter), DType::F32, &operands));
        assert!(found[0].is_nan() && found[1].is_nan());
        assert_eq!(found[2..], [0.0, 4.0]);
        let operands = [indices(&[outside, 1]), indices(&[3, 4])];
        let found = run(Routine::Scatter(scatter), DType::I32, &operands);
        assert_eq!(found, [0, 0, 0, 4]);
    }
}

/// Whichever way the result is cut, each element has one owner.
#[test]
fn pieces_cover_the_result() {
    for (batch, extent, width) in [(1, 3000, 70), (5, 7, 3000), (1, 2, 50_000), (40_000, 3, 1)] {
        let scatter = Scatter { kind: ScatterKind::Set, batch, extent, count: 1, width };
        assert!(Routine::Scatter(scatter).pieces() > 1);
        let row = extent - 1;
        let operands = [vec![row as u32; batch], vec![5; batch * width]];
        let found = run(Routine::Scatter(scatter), DType::I32, &operands);
        for (place, value) in found.into_iter().enumerate() {
            assert_eq!(value, if place / width % extent == row { 5 } else { 0 }, "{scatter:?}");
        }
    }
}

#[test]
fn elements_are_cumulated_along_any_axis() {
    let base = Cumulate {
        kind: CumulateKind::Sum,
        reverse: false,
        exclusive: false,
        outer: 2,
        length: 3,
        inner: 1,
    };
    let values = words(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let result = |cumulate| {
        floats(run(Routine::Cumulate(cumulate), DType::F32, std::slice::from_ref(&values)))
    };
    assert_eq!(result(base), [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    assert_eq!(result(Cumulate { reverse: true, ..base }), [6.0, 5.0, 3.0, 15.0, 11.0, 6.0]);
    assert_eq!(result(Cumulate { exclusive: true, ..base }), [0.0, 1.0, 3.0, 0.0, 4.0, 9.0]);
    let columns = Cumulate { kind: CumulateKind::Product, outer: 1, length: 2, inner: 3, ..base };
    assert_eq!(result(columns), [1.0, 2.0, 3.0, 4.0, 10.0, 18.0]);
    let many = Cumulate { outer: 3, length: 11, inner: 1000, ..base };
    let found = run(Routine::Cumulate(many), DType::I32, &[vec![2; 33_000]]);
    assert!(Routine::Cumulate(many).pieces() > 1);
    for (place, value) in found.into_iter().enumerate() {
        assert_eq!(value as usize, 2 * (place / 1000 % 11 + 1));
    }
}

#[test]
fn a_maximum_keeps_nan() {
    let cumulate = Cumulate {
        kind: CumulateKind::Max,
        reverse: false,
        exclusive: true,
        outer: 1,
        length: 4,
        inner: 1,
    };
    let found = run(Routine::Cumulate(cumulate), DType::F32, &[words(&[1.0, f32::NAN, 2.0, 3.0])]);
    let found = floats(found);
    assert_eq!(found[..2], [f32::NEG_INFINITY, 1.0]);
    assert!(found[2].is_nan() && found[3].is_nan());
}

#[test]
fn orders_are_stable_and_nan_is_the_largest() {
    let values = words(&[2.0, f32::NAN, -1.0, 2.0, f32::INFINITY, -0.0, 0.0, f32::NAN]);
    let order = |descending, kept| {
        let sort = Sort { descending, rows: 1, length: 8, kept };
        run(Routine::Sort(sort), DType::F32, std::slice::from_ref(&values))
    };
    assert_eq!(order(false, 8), [2, 5, 6, 0, 3, 4, 1, 7]);
    assert_eq!(order(true, 8), [1, 7, 4, 0, 3, 5, 6, 2]);
    assert_eq!(order(true, 4), [1, 7, 4, 0]);
    assert_eq!(order(false, 1), [2]);
    assert!(order(false, 0).is_empty());
}

fn noise(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed) as f32 * 0.713).sin()).collect()
}

/// Images `[samples, rows, columns, channels]`, with `low` zeros above and left of them.
struct Images<'a> {
    values: &'a [f32],
    extents: [usize; 2],
    low: [usize; 2],
    channels: usize,
}

impl Images<'_> {
    /// The channels below a tap of a window, unless there are zeros.
    fn below(&self, sample: usize, window: [usize; 2], tap: usize) -> Option<&[f32]> {
        let [rows, columns] = self.extents;
        let y = (window[0] + tap / 3).checked_sub(self.low[0]).filter(|&y| y < rows)?;
        let x = (window[1] + tap % 3).checked_sub(self.low[1]).filter(|&x| x < columns)?;
        let start = ((sample * rows + y) * columns + x) * self.channels;
        Some(&self.values[start..start + self.channels])
    }
}

/// A plain convolution, in f64.
fn convolution(shape: &Winograd, turned: bool, kernels: &[f32], input: &[f32]) -> Vec<f64> {
    let &Winograd { samples, from, to, low, result: [height, width], .. } = shape;
    let images = Images { values: input, extents: shape.input, low, channels: from };
    let mut result = vec![0.0; samples * height * width * to];
    for (place, result) in result.chunks_mut(to).enumerate() {
        let (rest, x) = (place / width, place % width);
        let (sample, y) = (rest / height, rest % height);
        for tap in 0..9 {
            let Some(pixel) = images.below(sample, [y, x], tap) else { continue };
            for (channel, sum) in result.iter_mut().enumerate() {
                for (source, &value) in pixel.iter().enumerate() {
                    let kernel = match turned {
                        true => kernels[(source * to + channel) * 9 + 8 - tap],
                        false => kernels[(channel * from + source) * 9 + tap],
                    };
                    *sum += f64::from(kernel) * f64::from(value);
                }
            }
        }
    }
    result
}

/// Whole tiles and others, several blocks of tiles and channels, fewer channels than a vector has, windows that
/// reach out of the input, or do not reach its end.
#[test]
fn transformed_convolutions_match_plain_ones() {
    let shapes = [
        (2, 3, 5, [4, 4], [1, 1], [4, 4]),
        (3, 4, 16, [6, 10], [1, 1], [6, 10]),
        (1, 8, 70, [7, 31], [1, 1], [7, 31]),
        (5, 2, 3, [4, 15], [0, 0], [2, 13]),
        (1, 20, 50, [5, 5], [2, 0], [7, 3]),
        (9, 330, 33, [8, 8], [1, 1], [8, 8]),
        (1, 40, 130, [14, 14], [1, 1], [13, 14]),
        (1, 17, 64, [1, 1], [1, 1], [1, 1]),
    ];
    for (samples, from, to, input, low, result) in shapes {
        for (turned, tile) in [(false, 2), (true, 2), (false, 4), (true, 4)] {
            let transformed = false;
            let shape = Winograd { samples, from, to, input, low, result, tile, transformed };
            let kernels = noise(9 * from * to, 1);
            let input = noise(shape.elements()[1], 2);
            let expected = convolution(&shape, turned, &kernels, &input);
            for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
                let transform = Routine::WinogradKernel(shape.kernel(turned));
                let points = run_on(cpu, transform, DType::F32, &[words(&kernels)]);
                let operands = [points.clone(), words(&input)];
                let found = floats(run_on(cpu, Routine::Winograd(shape), DType::F32, &operands));
                // Inputs that a routine of its own transforms.
                let apart = Winograd { transformed: true, ..shape };
                let transform = Routine::WinogradInput(apart);
                let transformed = run_on(cpu, transform, DType::F32, &[words(&input)]);
                let operands = [points, transformed];
                let same = floats(run_on(cpu, Routine::Winograd(apart), DType::F32, &operands));
                assert!(found == same, "{cpu} {shape:?}");
                // Terms of size 1 at most, a few times as many roundings as terms; larger tiles take
                // larger multiples of them.
                let most = if tile == 2 { 1e-6 } else { 1e-5 } * (9 * from) as f64;
                for (found, expected) in found.into_iter().zip(&expected) {
                    assert!((f64::from(found) - expected).abs() < most, "{cpu} {shape:?}");
                }
            }
        }
    }
}

/// The gradient of kernels, in double precision.
fn kernel_gradient(shape: &WinogradGradient, input: &[f32], cotangent: &[f32]) -> Vec<f64> {
    let &WinogradGradient { from, to, low, cotangent: [height, width], .. } = shape;
    let images = Images { values: input, extents: shape.input, low, channels: from };
    let mut result = vec![0.0; 9 * from * to];
    for (place, cotangent) in cotangent.chunks(to).enumerate() {
        let (rest, x) = (place / width, place % width);
        let (sample, y) = (rest / height, rest % height);
        for tap in 0..9 {
            let Some(pixel) = images.below(sample, [y, x], tap) else { continue };
            for (row, &dy) in cotangent.iter().enumerate() {
                for (column, &value) in pixel.iter().enumerate() {
                    result[9 * (row * from + column) + tap] += f64::from(dy) * f64::from(value);
                }
            }
        }
    }
    result
}

/// Several blocks of tiles, parts of them, blocks of channels on either side, last blocks with less.
#[test]
fn sums_of_transformed_tiles_make_gradients_of_kernels() {
    let shapes = [
        (2, 3, 5, [4, 4], [1, 1], [4, 4]),
        (1, 16, 1, [2, 6], [1, 1], [2, 6]),
        (3, 20, 16, [5, 9], [1, 1], [5, 9]),
        (80, 24, 70, [8, 14], [1, 1], [8, 14]),
        (5, 64, 33, [10, 34], [0, 0], [8, 32]),
        (2, 150, 140, [4, 3], [2, 1], [6, 2]),
        (40, 17, 12, [6, 8], [1, 1], [6, 8]),
    ];
    let mut parts = 0;
    for (samples, from, to, input, low, cotangent) in shapes {
        let shape = WinogradGradient { samples, from, to, input, low, cotangent };
        parts = parts.max(shape.parts());
        let [input, cotangent, _] = shape.elements();
        let (input, cotangent) = (noise(input, 1), noise(cotangent, 2));
        let expected = kernel_gradient(&shape, &input, &cotangent);
        for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
            let operands = [words(&input), words(&cotangent)];
            let sums = run_on(cpu, Routine::WinogradGradient(shape), DType::F32, &operands);
            let taps = Routine::WinogradTaps(shape);
            let found = floats(run_on(cpu, taps, DType::F32, &[sums]));
            // Terms of size 1 at most, whose roundings go either way: at most 2e-6 was seen.
            let terms = samples * shape.cotangent.iter().product::<usize>();
            let most = 6e-6 * (terms as f64).sqrt();
            for (found, expected) in found.into_iter().zip(&expected) {
                assert!((f64::from(found) - expected).abs() < most, "{cpu} {shape:?}");
            }
        }
    }
    assert!(parts > 1);
}

#[test]
fn parts_take_turns() {
    let pairs = Interleave { parts: 2, outer: 3, inner: 1 };
    let operands = [vec![1, 2, 3], vec![10, 20, 30]];
    let found = run(Routine::Interleave(pairs), DType::I32, &operands);
    assert_eq!(found, [1, 10, 2, 20, 3, 30]);
    let rows = Interleave { parts: 3, outer: 2, inner: 2 };
    let operands = [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10, 11, 12]];
    let found = run(Routine::Interleave(rows), DType::I32, &operands);
    assert_eq!(found, [1, 2, 5, 6, 9, 10, 3, 4, 7, 8, 11, 12]);
    // Several pieces.
    let many = Interleave { parts: 2, outer: 9_001, inner: 1 };
    assert!(Routine::Interleave(many).pieces() > 1);
    let operands = [(0..9_001).map(|i| 2 * i).collect(), (0..9_001).map(|i| 2 * i + 1).collect()];
    let found = run(Routine::Interleave(many), DType::I32, &operands);
    assert!(found.into_iter().eq(0..18_002));
}

#[test]
fn images_get_zeros_around_them() {
    for (extents, low, high) in [
        ([3, 2], [1, 1], [0, 2]),
        ([14, 14], [1, 1], [0, 0]),
        ([5, 30], [2, 3], [1, 4]),
        ([1, 16], [0, 0], [0, 1]),
        ([2, 40], [0, 17], [3, 0]),
    ] {
        let pad = Pad { outer: 97, extents, low, high };
        let images: Vec<f32> = (1..=97 * extents[0] * extents[1]).map(|i| i as f32).collect();
        let [height, width] = pad.padded();
        let mut expected = vec![0.0; 97 * height * width];
        for (row, values) in images.chunks(extents[1]).enumerate() {
            let (image, y) = (row / extents[0], row % extents[0] + low[0]);
            let start = (image * height + y) * width + low[1];
            expected[start..start + extents[1]].copy_from_slice(values);
        }
        for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
            let found = run_on(cpu, Routine::Pad(pad), DType::F32, &[words(&images)]);
            assert!(floats(found) == expected, "{cpu} {pad:?}");
        }
    }
}

#[test]
fn axes_come_in_another_order() {
    // Extents of the source, and which of its axes is which of the result.
    for (extents, order) in [
        (vec![7, 5], vec![1, 0]),
        (vec![64, 48], vec![1, 0]),
        (vec![20, 33, 9], vec![2, 1, 0]),
        (vec![18, 3, 16], vec![1, 2, 0]),
        (vec![2, 40, 17], vec![0, 2, 1]),
        (vec![3, 4, 19, 2], vec![3, 0, 2, 1]),
    ] {
        let distances: Vec<usize> =
            (0..extents.len()).map(|axis| extents[axis + 1..].iter().product()).collect();
        let axes = order.iter().map(|&axis| (extents[axis], distances[axis]));
        let permute = Permute::new(axes.clone()).expect("a permutation");
        let source: Vec<f32> = (0..extents.iter().product()).map(|i: usize| i as f32).collect();
        let mut expected = vec![0];
        for (extent, distance) in axes {
            let next =
                expected.iter().flat_map(|start| (0..extent).map(move |i| start + i * distance));
            expected = next.collect();
        }
        for cpu in Cpu::ALL.into_iter().filter(|cpu| cpu.supported()) {
            let routine = Routine::Permute(permute.clone());
            let found = floats(run_on(cpu, routine, DType::F32, &[words(&source)]));
            assert!(found.iter().zip(&expected).all(|(a, b)| *a == *b as f32), "{cpu} {permute:?}");
        }
    }
    assert_eq!(Permute::new([(4, 5), (5, 1)]), None, "as they are");
    assert_eq!(Permute::new([(4, 5), (3, 20), (5, 1)]), None, "rows stay rows");
    assert_eq!(Permute::new([(4, 1), (5, 1)]), None);
    assert_eq!(Permute::new([(4, 2), (2, 1), (3, 16)]), None);
}
