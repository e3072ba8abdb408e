use super::*;
use crate::graph::{ScanBuilder, SlotRole};
use crate::op::{ArgKind, ArgReduce, Conv, Emit, Fold, Gather, Iota, ReduceKind, Sliding, Window};
use crate::types::{DType, TensorType};

fn array(dtype: DType, shape: &[usize], values: &[f64]) -> Array {
    Array::new(TensorType::new(dtype, shape), values.to_vec())
}

/// The value of the node that `build` makes of a slot holding `input`.
fn of(input: Array, build: impl FnOnce(&mut Graph, NodeId) -> NodeId) -> Array {
    let mut graph = Graph::new();
    let slot = graph.declare_slot("x", SlotRole::Input, input.ty.clone());
    let x = graph.read_slot(slot);
    let y = build(&mut graph, x);
    Evaluator::new(&[input]).values(&graph)[y.index()].clone()
}

#[test]
fn movements() {
    let x = || array(DType::F32, &[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let transposed = of(x(), |g, x| g.permute(x, &[1, 0]));
    assert_eq!(transposed, array(DType::F32, &[3, 2], &[1., 4., 2., 5., 3., 6.]));
    let sliced = of(x(), |g, x| g.slice(x, &[1, 0], &[2, 3], &[1, 2]));
    assert_eq!(sliced, array(DType::F32, &[1, 2], &[4., 6.]));
    let padded = of(sliced, |g, x| g.pad(x, &[0, 1], &[1, 0], &[0, 2], 9.));
    assert_eq!(padded.values, [9., 4., 9., 9., 6., 9., 9., 9., 9., 9.]);
    let joined = of(x(), |g, x| g.concat(&[x, x], 1));
    assert_eq!(joined.values, [1., 2., 3., 1., 2., 3., 4., 5., 6., 4., 5., 6.]);
    let repeated = of(array(DType::F32, &[2], &[7., 8.]), |g, x| g.broadcast(x, &[2, 2], &[0]));
    assert_eq!(repeated.values, [7., 7., 8., 8.]);
}

#[test]
fn reductions() {
    let x = || array(DType::F32, &[2, 3], &[1., 5., 3., f64::NAN, 2., f64::NAN]);
    let largest = of(x(), |g, x| g.reduce(ReduceKind::Max, x, &[1]));
    assert!(largest.values[0] == 5. && largest.values[1].is_nan());
    let arg = |kind| of(x(), |g, x| g.emit(ArgReduce { kind, axis: 1 }.into(), &[x]));
    assert_eq!(arg(ArgKind::Max), array(DType::I32, &[2], &[1., 0.]));
    assert_eq!(arg(ArgKind::Min), array(DType::I32, &[2], &[0., 0.]));
    let empty = || array(DType::F32, &[2, 0], &[]);
    for (kind, value) in
        [(ReduceKind::Sum, 0.), (ReduceKind::Max, f64::NEG_INFINITY), (ReduceKind::Prod, 1.)]
    {
        assert_eq!(of(empty(), |g, x| g.reduce(kind, x, &[1])).values, [value; 2]);
    }
}

#[test]
fn integers_wrap() {
    let x = || array(DType::I32, &[3], &[f64::from(i32::MAX), 2., 3.]);
    let sum = of(x(), |g, x| g.sum(x, &[0]));
    assert_eq!(sum.values, [f64::from(i32::MAX.wrapping_add(5))]);
    let product = of(x(), |g, x| g.reduce(ReduceKind::Prod, x, &[0]));
    assert_eq!(product.values, [f64::from(i32::MAX.wrapping_mul(6))]);
    let square = of(x(), |g, x| g.mul(x, x));
    assert_eq!(square.values, [1., 4., 9.]);
}

#[test]
fn casts_saturate() {
    let x = || array(DType::F32, &[4], &[-1.7, 300.9, 1e12, f64::NAN]);
    let cast = |dtype| of(x(), |g, x| g.cast(x, dtype)).values;
    assert_eq!(cast(DType::I32), [-1., 300., f64::from(i32::MAX), 0.]);
    assert_eq!(cast(DType::U8), [0., 255., 255., 0.]);
    assert_eq!(cast(DType::Bool), [1., 1., 1., 1.]);
}

#[test]
fn contraction_orders_axes_as_documented() {
    // batch [2], left [2, 3, 4], right [4, 2, 5]: over the axis of 4.
    let mut graph = Graph::new();
    let types = [TensorType::new(DType::F64, &[2, 3, 4]), TensorType::new(DType::F64, &[4, 2, 5])];
    let slots: Vec<Array> = types
        .iter()
        .map(|ty| Array::new(ty.clone(), (0..ty.elements()).map(|i| i as f64).collect()))
        .collect();
    let [left, right] = types.map(|ty| {
        let slot = graph.declare_slot("", SlotRole::Input, ty);
        graph.read_slot(slot)
    });
    let product = graph.contract(left, right, &[(0, 1)], &[(2, 0)]);
    let values = Evaluator::new(&slots).values(&graph);
    let expected = Array::from_fn(TensorType::new(DType::F64, &[2, 3, 5]), |index| {
        let [batch, row, column] = index[..] else { unreachable!() };
        (0..4).map(|k| slots[0].at(&[batch, row, k]) * slots[1].at(&[k, batch, column])).sum()
    });
    assert_eq!(values[product.index()], expected);
}

#[test]
fn single_precision_overflows_where_f32_does() {
    let mut graph = Graph::new();
    let x = graph.constant(DType::F32, &[], 100.0);
    let y = graph.apply("exp", &[x]);
    let evaluator = Evaluator::new(&[]);
    assert!(evaluator.values(&graph)[y.index()].values[0].is_finite());
    let single = Evaluator { precision: Precision::Single, ..evaluator };
    assert!(single.values(&graph)[y.index()].values[0].is_infinite());
}

#[test]
fn an_index_that_leads_nowhere_is_to_blame() {
    let mut graph = Graph::new();
    let types = [TensorType::new(DType::F32, &[5, 2]), TensorType::new(DType::I32, &[3])];
    let [table, index] = types.map(|ty| {
        let slot =
            graph.declare_slot(if ty.rank() == 2 { "table" } else { "index" }, SlotRole::Input, ty);
        graph.read_slot(slot)
    });
    let rows = graph.emit(Gather { batch: 0 }.into(), &[table, index]);
    let square = graph.mul(rows, rows);
    let loss = graph.sum(square, &[0, 1]);
    graph.guards.push(loss);
    let blame = |indices: &[f64]| {
        let slots = [array(DType::F32, &[5, 2], &[1.0; 10]), array(DType::I32, &[3], indices)];
        let values = Evaluator::new(&slots).values(&graph);
        let culprit = first_non_finite(&graph, &values, Precision::Double)?;
        assert!(std::ptr::eq(culprit.node, graph.node(rows)));
        culprit.outside
    };
    assert_eq!(blame(&[0.0, 4.0, 2.0]), None);
    assert_eq!(blame(&[0.0, 5.0, 9.0]), Some((5, 5)));
    assert_eq!(blame(&[0.0, 1.0, -1.0]), Some((-1, 5)));
}

#[test]
fn the_first_operation_to_blame_for_a_nan() {
    // A mask of -inf and an unused NaN are innocent; the overflow is not.
    let mut graph = Graph::new();
    let ty = TensorType::new(DType::F32, &[3]);
    let slot = graph.declare_slot("x", SlotRole::Input, ty);
    let x = graph.read_slot(slot);
    let position =
        graph.emit(Iota { axis: 0, dtype: DType::F32, shape: [3].as_slice().into() }.into(), &[]);
    let one = graph.constant_like(x, 1.0);
    let hidden = graph.apply("lt", &[position, one]);
    let masked = graph.constant_like(x, f64::NEG_INFINITY);
    let score = graph.select(hidden, masked, x);
    let overflow = graph.apply("exp", &[score]);
    let difference = graph.sub(overflow, overflow);
    let unused = graph.apply("log", &[x]);
    let loss = graph.sum(difference, &[0]);
    graph.guards.push(loss);
    let blame = |values: &[f64]| {
        let slots = [array(DType::F32, &[3], values)];
        let single = Evaluator { precision: Precision::Single, ..Evaluator::new(&slots) };
        let values = single.values(&graph);
        assert!(unused != loss && values[unused.index()].values.iter().any(|v| v.is_nan()));
        let culprit = first_non_finite(&graph, &values, Precision::Single)?;
        graph.iter().find(|(_, node)| std::ptr::eq(*node, culprit.node)).map(|(id, _)| id)
    };
    assert_eq!(blame(&[-1.0, 2.0, 3.0]), None);
    assert_eq!(blame(&[-1.0, 200.0, 3.0]), Some(overflow));
    assert_eq!(blame(&[-1.0, f64::NAN, 3.0]), Some(x));
}

/// In a loop in a loop: an infinity that the program wants and a NaN that nothing comes of are
/// innocent; the step and the operation that first give what is not finite are named.
#[test]
fn the_step_of_a_loop_to_blame() {
    let mut graph = Graph::new();
    let ty = |shape: &[usize]| TensorType::new(DType::F32, shape);
    let rows = graph.declare_slot("rows", SlotRole::Input, ty(&[3, 4]));
    let rows = graph.read_slot(rows);
    let least = graph.constant(DType::F32, &[], f64::NEG_INFINITY);
    let zero = graph.constant(DType::F32, &[], 0.0);
    let mut outer = ScanBuilder::begin(&graph, 3, false);
    let sum = outer.carry(&mut graph, "sum", zero);
    let most = outer.carry(&mut graph, "most", least);
    let row = outer.element(&mut graph, "row", rows);
    let mut inner = ScanBuilder::begin(&graph, 4, true);
    let inside = inner.carry(&mut graph, "inside", sum);
    let x = inner.element(&mut graph, "x", row);
    let root = graph.apply("sqrt", &[x]);
    let next = graph.add(inside, root);
    let unused = graph.apply("log", &[inside]);
    let ended = inner.finish(&mut graph, &[next], &[unused]);
    let most = graph.apply("max", &[most, ended.carries[0]]);
    let nodes = outer.finish(&mut graph, &[ended.carries[0], most], &[ended.yields[0]]);
    let loss = graph.add(nodes.carries[0], nodes.carries[1]);
    graph.guards.push(loss);
    graph.prune();
    let blame = |values: &[f64]| {
        let slots = [array(DType::F32, &[3, 4], values)];
        let values = Evaluator::new(&slots).values(&graph);
        let culprit = first_non_finite(&graph, &values, Precision::Double)?;
        let steps: Vec<(usize, usize)> =
            culprit.steps.iter().map(|step| (step.number, step.length)).collect();
        Some((culprit.node.op.to_string(), steps))
    };
    let mut values = [0.0; 12];
    assert_eq!(blame(&values), None);
    // The second row from its end: the third step.
    values[5] = -1.0;
    values[0] = 4.0;
    assert_eq!(blame(&values), Some(("sqrt".to_owned(), vec![(1, 3), (2, 4)])));
}

#[test]
fn windows_and_their_sums() {
    let window = Window { size: 3, stride: 2, dilation: 1, low: 1, high: 0 };
    let x = array(DType::F32, &[5], &[1., 2., 3., 4., 5.]);
    let windows = of(x, |g, x| g.unfold(x, &[window], -1.0));
    assert_eq!(windows, array(DType::F32, &[2, 3], &[-1., 1., 2., 2., 3., 4.]));
    let fold = Fold { windows: [window].into_iter().collect(), extents: [5].as_slice().into() };
    let sums = of(windows, |g, x| g.emit(fold.into(), &[x]));
    assert_eq!(sums, array(DType::F32, &[5], &[1., 4., 3., 4., 0.]));
}

/// A convolution and a transposed one, worked out by hand.
#[test]
fn convolutions() {
    let x = || array(DType::F32, &[1, 1, 2, 3], &[1., 2., 3., 10., 20., 30.]);
    let convolved = |axis: Sliding, reversed: bool| {
        of(x(), |g, x| {
            let ones = g.constant(DType::F32, &[1, 1, 1, 2], 1.0);
            let high = g.pad(ones, &[0, 0, 1, 0], &[0; 4], &[0; 4], 2.0);
            // The kernel is (2, 1) for the first channel and (1, 0.5) for the second.
            let halves = g.constant(DType::F32, &[1, 1, 2, 1], 0.5);
            let halves = g.pad(halves, &[0, 0, 0, 1], &[0; 4], &[0; 4], 1.0);
            let kernel = g.mul(high, halves);
            g.emit(Conv { axes: [axis].into_iter().collect(), reversed }.into(), &[x, kernel])
        })
    };
    let plain = convolved(Sliding::PLAIN, false);
    assert_eq!(plain, array(DType::F32, &[1, 1, 1, 2], &[24., 42.]));
    assert_eq!(convolved(Sliding::PLAIN, true).values, [30.0, 48.0]);
    // Each input makes two outputs of its own.
    let transposed = Sliding { input_dilation: 2, low: 1, high: 1, ..Sliding::PLAIN };
    assert_eq!(convolved(transposed, true).values, [12.0, 6.0, 24.0, 12.0, 36.0, 18.0]);
}
