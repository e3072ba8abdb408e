//! What type rules say to operands that do not fit.

use insta::assert_snapshot;

use super::*;
use crate::index::IndexMap;
use crate::types::{DType, Scalar, Shape};

/// The error for operands of these types, after the operation.
fn error(op: impl Into<Op>, operands: &[&TensorType]) -> String {
    let op = op.into();
    let error = op.primitive().infer(operands).expect_err("the operands do not fit");
    format!("{op}: {error}")
}

fn ty(dtype: DType, shape: &[usize]) -> TensorType {
    TensorType::new(dtype, shape)
}

fn axes<T: FromIterator<usize>>(axes: &[usize]) -> T {
    axes.iter().copied().collect()
}

#[test]
fn of_elementwise_functions() {
    let function = |name| Elementwise::named(name).unwrap();
    let (matrix, row) = (&ty(DType::F32, &[2, 3]), &ty(DType::F32, &[3]));
    let (label, mask) = (&ty(DType::I32, &[3]), &ty(DType::Bool, &[3]));
    let errors = [
        error(function("add"), &[row]),
        error(function("add"), &[matrix, row]),
        error(function("add"), &[row, label]),
        error(function("mul"), &[mask, mask]),
        error(function("exp"), &[label]),
        error(function("lt"), &[row, label]),
        error(function("not"), &[row]),
        error(function("select"), &[row, row, row]),
        error(function("select"), &[mask, row, label]),
    ];
    assert_snapshot!(errors.join("\n"), @r"
    add: takes 2 operands, got 1
    add: operands of different shapes: f32[2, 3], f32[3]
    add: does not take f32[3], i32[3]
    mul: does not take bool[3], bool[3]
    exp: does not take i32[3]
    lt: does not take f32[3], i32[3]
    not: does not take f32[3]
    select: does not take f32[3], f32[3], f32[3]
    select: does not take bool[3], f32[3], i32[3]
    ");
}

#[test]
fn of_movements() {
    let x = &ty(DType::F32, &[2, 3]);
    let zero = Scalar::new(DType::F32, 0.0);
    let slice = |start: &[usize], stop: &[usize], step: &[usize]| Slice {
        start: axes(start),
        stop: axes(stop),
        step: axes(step),
    };
    let errors = [
        error(Reshape { shape: axes(&[4]) }, &[x]),
        error(Reshape { shape: axes(&[6]) }, &[x, x]),
        error(Permute { order: axes(&[0, 0]) }, &[x]),
        error(Permute { order: axes(&[0]) }, &[x]),
        error(Broadcast { shape: axes(&[4, 2, 3]), axes: axes(&[2, 1]) }, &[x]),
        error(Broadcast { shape: axes(&[4, 2, 3]), axes: axes(&[0, 2]) }, &[x]),
        error(slice(&[0], &[1], &[1]), &[x]),
        error(slice(&[0, 2], &[2, 1], &[1, 1]), &[x]),
        error(slice(&[0, 0], &[2, 4], &[1, 1]), &[x]),
        error(slice(&[0, 0], &[2, 3], &[1, 0]), &[x]),
        error(Pad { low: axes(&[1]), high: axes(&[1]), interior: axes(&[0]), value: zero }, &[x]),
        error(
            Pad {
                low: axes(&[1, 1]),
                high: axes(&[1, 1]),
                interior: axes(&[0, 0]),
                value: Scalar::new(DType::I32, 0.0),
            },
            &[x],
        ),
        error(
            Pad {
                low: axes(&[0, usize::MAX]),
                high: axes(&[0, 0]),
                interior: axes(&[0, 0]),
                value: zero,
            },
            &[x],
        ),
        error(Concat { axis: 0 }, &[]),
        error(Concat { axis: 2 }, &[x]),
        error(Concat { axis: 0 }, &[x, &ty(DType::F32, &[2, 4])]),
        error(Concat { axis: 0 }, &[x, &ty(DType::F64, &[2, 3])]),
        error(View { map: IndexMap::identity(&[2]) }, &[x]),
    ];
    assert_snapshot!(errors.join("\n"), @r"
    reshape{shape=[4]}: f32[2, 3] does not fit the shape [4]
    reshape{shape=[6]}: takes 1 operand, got 2
    permute{order=[0, 0]}: [0, 0] is not an order of 2 axes
    permute{order=[0]}: [0] is not an order of 2 axes
    broadcast{shape=[4, 2, 3] axes=[2, 1]}: f32[2, 3] does not broadcast to [4, 2, 3] along axes [2, 1]
    broadcast{shape=[4, 2, 3] axes=[0, 2]}: f32[2, 3] does not broadcast to [4, 2, 3] along axes [0, 2]
    slice{0..1}: a slice of 1 axes for f32[2, 3]
    slice{0..2, 2..1}: slice 2..1..1 of axis 1 with extent 3
    slice{0..2, 0..4}: slice 0..4..1 of axis 1 with extent 3
    slice{0..2, 0..3..0}: slice 0..3..0 of axis 1 with extent 3
    pad{low=[1] high=[1] interior=[0] value=0.0}: padding of 1 axes for f32[2, 3]
    pad{low=[1, 1] high=[1, 1] interior=[0, 0] value=0}: padding of f32 with a i32
    pad{low=[0, 18446744073709551615] high=[0, 0] interior=[0, 0] value=0.0}: f32[2, 3] with too much padding
    concat{axis=0}: takes at least one operand
    concat{axis=2}: axis 2 of f32[2, 3]
    concat{axis=0}: f32[2, 4] does not join f32[2, 3] along axis 0
    concat{axis=0}: f64[2, 3] does not join f32[2, 3] along axis 0
    view{[2] -> [i0]}: a view onto 1 axes of f32[2, 3]
    ");
}

#[test]
fn of_reductions_and_products() {
    let x = &ty(DType::F32, &[2, 3]);
    let reduce = |over: &[usize]| Reduce { kind: ReduceKind::Sum, axes: axes(over) };
    let contract = |batch: &[(usize, usize)], contracted: &[(usize, usize)]| Contract {
        batch: batch.iter().copied().collect(),
        contracted: contracted.iter().copied().collect(),
    };
    let errors = [
        error(reduce(&[1, 0]), &[x]),
        error(reduce(&[2]), &[x]),
        error(reduce(&[]), &[x]),
        error(reduce(&[0]), &[&ty(DType::U8, &[2])]),
        error(ArgReduce { kind: ArgKind::Max, axis: 2 }, &[x]),
        error(ArgReduce { kind: ArgKind::Min, axis: 0 }, &[&ty(DType::F32, &[0])]),
        error(contract(&[], &[(1, 0)]), &[x]),
        error(contract(&[], &[(1, 0)]), &[x, x]),
        error(contract(&[], &[(2, 0)]), &[x, x]),
        error(contract(&[(0, 0)], &[(0, 0)]), &[x, x]),
        error(contract(&[], &[(1, 1)]), &[x, &ty(DType::F64, &[2, 3])]),
        error(contract(&[], &[(1, 1)]), &[&ty(DType::I32, &[2, 3]), &ty(DType::I32, &[2, 3])]),
    ];
    assert_snapshot!(errors.join("\n"), @r"
    reduce_sum{axes=[1, 0]}: [1, 0] are not axes of f32[2, 3] in order
    reduce_sum{axes=[2]}: [2] are not axes of f32[2, 3] in order
    reduce_sum{axes=[]}: a reduction over no axes
    reduce_sum{axes=[0]}: a reduction of u8; cast it first
    argmax{axis=2}: [2] are not axes of f32[2, 3] in order
    argmin{axis=0}: no elements along axis 0 of f32[0]
    contract{over=1:0}: takes 2 operands, got 1
    contract{over=1:0}: axis 1 of f32[2, 3] does not match axis 0 of f32[2, 3]
    contract{over=2:0}: axis 2 of f32[2, 3] does not match axis 0 of f32[2, 3]
    contract{batch=0:0 over=0:0}: axis 0:0 is paired twice
    contract{over=1:1}: a product of f32[2, 3] and f64[2, 3]
    contract{over=1:1}: a product of i32[2, 3] and i32[2, 3]
    ");
}

#[test]
fn of_convolutions_and_windows() {
    let (x, kernel) = (&ty(DType::F32, &[2, 1, 3, 4]), &ty(DType::F32, &[2, 5, 3, 3]));
    let conv = |sliding: Sliding| Conv { axes: [sliding].into_iter().collect(), reversed: false };
    let plain = || conv(Sliding::PLAIN);
    let window =
        |size: usize, stride: usize, low: i64| Window { size, stride, dilation: 1, low, high: 0 };
    let unfold = |window: Window| Unfold {
        windows: [window].into_iter().collect(),
        value: Scalar::new(DType::F32, 0.0),
    };
    let fold = |window: Window, extent: usize| Fold {
        windows: [window].into_iter().collect(),
        extents: axes(&[extent]),
    };
    let errors = [
        error(plain(), &[x]),
        error(plain(), &[x, &ty(DType::F64, &[2, 5, 3, 3])]),
        error(plain(), &[&ty(DType::F32, &[2, 1, 3, 4, 4]), kernel]),
        error(plain(), &[x, &ty(DType::F32, &[1, 5, 3, 3])]),
        error(plain(), &[x, &ty(DType::F32, &[2, 5, 3, 5])]),
        error(conv(Sliding { low: -2, ..Sliding::PLAIN }), &[x, kernel]),
        error(conv(Sliding { stride: 0, ..Sliding::PLAIN }), &[x, kernel]),
        error(unfold(window(3, 1, 0)), &[&ty(DType::I32, &[4])]),
        error(unfold(window(3, 1, 0)), &[&ty(DType::F32, &[])]),
        error(unfold(window(5, 1, 0)), &[x]),
        error(unfold(window(2, 0, 1)), &[x]),
        error(fold(window(2, 2, 0), 4), &[&ty(DType::I32, &[2, 2])]),
        error(fold(window(2, 2, 0), 4), &[&ty(DType::F32, &[3, 2])]),
        error(fold(window(5, 2, 0), 4), &[&ty(DType::F32, &[1, 5])]),
    ];
    assert_snapshot!(errors.join("\n"), @r"
    conv{padding=0:0}: takes 2 operands, got 1
    conv{padding=0:0}: a convolution of f32[2, 1, 3, 4] with f64[2, 5, 3, 3]
    conv{padding=0:0}: f32[2, 1, 3, 4, 4] and f32[2, 5, 3, 3] must have 4 axes
    conv{padding=0:0}: groups or channels of f32[2, 1, 3, 4] and f32[1, 5, 3, 3] differ
    conv{padding=0:0}: a kernel of 5 does not fit axis 3 of 4
    conv{padding=-2:0}: a kernel of 3 does not fit axis 3 of 4
    conv{stride=0}: a kernel of 3 does not fit axis 3 of 4
    unfold{size=3 value=0.0}: padding of i32 with a f32
    unfold{size=3 value=0.0}: windows along 1 axes of 0
    unfold{size=5 value=0.0}: no window (size=5) fits axis 3 of extent 4
    unfold{size=2 stride=0 padding=1:0 value=0.0}: no window (size=2 stride=0 padding=1:0) fits axis 3 of extent 4
    fold{size=2 stride=2 extents=[4]}: a sum of windows of i32
    fold{size=2 stride=2 extents=[4]}: f32[3, 2] does not end in windows [2, 2]
    fold{size=5 stride=2 extents=[4]}: no window (size=5 stride=2) fits axis 0 of extent 4
    ");
}

#[test]
fn of_indexing_and_ordering() {
    let x = &ty(DType::F32, &[2, 3]);
    let index = &ty(DType::I32, &[2]);
    let scatter = |batch| Scatter { kind: ScatterKind::Add, batch, extent: 4 };
    let cumulate = |axis| Cumulate { kind: ReduceKind::Sum, axis, reverse: true, exclusive: true };
    let errors = [
        error(Gather { batch: 0 }, &[x]),
        error(Gather { batch: 0 }, &[x, x]),
        error(Gather { batch: 2 }, &[x, index]),
        error(Gather { batch: 1 }, &[x, &ty(DType::I32, &[3])]),
        error(Gather { batch: 1 }, &[&ty(DType::F32, &[2]), index]),
        error(Gather { batch: 0 }, &[&ty(DType::F32, &[0, 3]), index]),
        error(scatter(0), &[&ty(DType::I32, &[3]), x]),
        error(scatter(0), &[index, &ty(DType::Bool, &[2, 3])]),
        error(scatter(2), &[index, x]),
        error(cumulate(2), &[x]),
        error(cumulate(0), &[&ty(DType::U8, &[2])]),
        error(ArgSort { descending: true, count: 4 }, &[x]),
        error(ArgSort { descending: false, count: 0 }, &[&ty(DType::F32, &[])]),
        error(ArgSort { descending: false, count: 1 }, &[&ty(DType::Bool, &[2])]),
        error(Reverse { axes: axes(&[]) }, &[x]),
        error(Reverse { axes: axes(&[2]) }, &[x]),
    ];
    assert_snapshot!(errors.join("\n"), @r"
    gather{batch=0}: takes 2 operands, got 1
    gather{batch=0}: indices are i32, not f32[2, 3]
    gather{batch=2}: f32[2, 3] and i32[2] do not share 2 axes
    gather{batch=1}: f32[2, 3] and i32[3] do not share 1 axes
    gather{batch=1}: f32[2] has no axis 1 to be indexed
    gather{batch=0}: no elements along axis 0 of f32[0, 3]
    scatter_add{batch=0 extent=4}: f32[2, 3] has no slice for each index of i32[3]
    scatter_add{batch=0 extent=4}: a scattering of bool; cast it first
    scatter_add{batch=2 extent=4}: f32[2, 3] and i32[2] do not share 2 axes
    cumulate_sum{axis=2 reverse exclusive}: axis 2 of f32[2, 3]
    cumulate_sum{axis=0 reverse exclusive}: a cumulation of u8; cast it first
    argsort{descending count=4}: the first 4 elements in order of f32[2, 3]
    argsort{ascending count=0}: the first 0 elements in order of f32[]
    argsort{ascending count=1}: an order of bool; cast it first
    reverse{axes=[]}: [] are not axes of f32[2, 3] in order
    reverse{axes=[2]}: [2] are not axes of f32[2, 3] in order
    ");
}

#[test]
fn of_leaves() {
    let x = &ty(DType::F32, &[]);
    let shape = Shape::from_slice(&[2]);
    let errors = [
        error(Constant { value: Scalar::new(DType::F32, 1.0), shape: shape.clone() }, &[x]),
        error(Iota { axis: 1, dtype: DType::I32, shape: shape.clone() }, &[]),
        error(Iota { axis: 0, dtype: DType::Bool, shape: shape.clone() }, &[]),
        error(Random { kind: RandomKind::Normal, stream: 7, dtype: DType::I32, shape }, &[]),
    ];
    assert_snapshot!(errors.join("\n"), @r"
    constant{1.0}: takes 0 operands, got 1
    iota{axis=1}: axis 1 of a shape with 1 axes
    iota{axis=0}: positions are numbers, not bool
    normal{stream=0000000000000007}: random numbers are f32 or f64, not i32
    ");
}

#[test]
fn of_tensors_that_no_memory_holds() {
    let mut graph = crate::graph::Graph::new();
    let x = graph.constant(DType::F64, &[1 << 20], 1.0);
    let shape = Shape::from_slice(&[1 << 20, 1 << 20, 1 << 20]);
    let error = graph.try_emit(Broadcast { shape, axes: axes(&[0]) }.into(), &[x]).unwrap_err();
    assert_snapshot!(error, @"a tensor of type f64[1048576, 1048576, 1048576] does not fit into memory");
}
