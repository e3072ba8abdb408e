//! Running sums and sorting.

use cygnet_compiler::graph::{Emit, Graph, NodeId};
use cygnet_compiler::op::{ArgSort, Cumulate, Gather, ReduceKind};
use cygnet_compiler::types::DType;

use super::{Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator};
use crate::language::value::{Axis, Int, Tensor, Value};

/// What all cumulations take.
const CUMULATION: &[(&str, Kind)] = &[
    ("x", Kind::Required),
    ("along", Kind::Required),
    ("reverse", Kind::Optional),
    ("exclusive", Kind::Optional),
];

/// What sorting takes.
const ORDER: &[(&str, Kind)] =
    &[("x", Kind::Required), ("along", Kind::Optional), ("descending", Kind::Optional)];

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "cumsum",
        parameters: CUMULATION,
        doc: "sum of all elements up to each one along an axis",
        run: |evaluator, call| cumulate(evaluator, call, ReduceKind::Sum),
    },
    Entry {
        name: "cumprod",
        parameters: CUMULATION,
        doc: "product of all elements up to each one along an axis",
        run: |evaluator, call| cumulate(evaluator, call, ReduceKind::Prod),
    },
    Entry {
        name: "cummax",
        parameters: CUMULATION,
        doc: "largest of all elements up to each one along an axis",
        run: |evaluator, call| cumulate(evaluator, call, ReduceKind::Max),
    },
    Entry {
        name: "sort",
        parameters: ORDER,
        doc: "elements in order along an axis; NaN is larger than all numbers",
        run: |evaluator, call| {
            let (tensor, place) = operand(evaluator, call)?;
            let descending = evaluator.flag(call, 2)?;
            let axis = tensor.axes[place].clone();
            let [values, _] = order(evaluator, &tensor, place, descending, axis);
            Ok(Value::Tensor(values))
        },
    },
    Entry {
        name: "argsort",
        parameters: ORDER,
        doc: "positions (i32) of the elements in order; equal ones keep theirs",
        run: |evaluator, call| {
            let (tensor, place) = operand(evaluator, call)?;
            let descending = evaluator.flag(call, 2)?;
            let axis = tensor.axes[place].clone();
            let [_, positions] = order(evaluator, &tensor, place, descending, axis);
            Ok(Value::Tensor(positions))
        },
    },
    Entry {
        name: "topk",
        parameters: &[("x", Kind::Required), ("k", Kind::Required), ("along", Kind::Optional)],
        doc: "the k largest elements along an axis, the largest first, and their positions (i32)",
        run: top,
    },
];

/// The tensor of a call, which holds numbers, and the place of the axis.
fn operand<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<(Tensor, usize)> {
    let tensor = evaluator.tensor_of(call, 0)?;
    if matches!(tensor.dtype, DType::Bool | DType::U8) {
        let shown = evaluator.show(&tensor);
        return Err(evaluator.report(
            Diagnostic::error(
                "wrong-dtype",
                format!("`{}` takes floats or i32, not {}", call.name, tensor.dtype),
            )
            .primary(call.required(0)?.span, format!("this is {shown}"))
            .help("convert it first: `i32(x)`"),
        ));
    }
    let along = if call.name == "topk" { 2 } else { 1 };
    let place = evaluator.single_axis(call, &tensor, along)?;
    Ok((tensor, place))
}

fn cumulate<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    kind: ReduceKind,
) -> Eval<Value<'p>> {
    let (tensor, axis) = operand(evaluator, call)?;
    let (reverse, exclusive) = (evaluator.flag(call, 2)?, evaluator.flag(call, 3)?);
    let node = evaluator.emit([&tensor], |graph, [node]| {
        graph.emit(Cumulate { kind, axis, reverse, exclusive }.into(), &[node])
    });
    Ok(Value::Tensor(Tensor { node, ..tensor }))
}

fn top<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (tensor, place) = operand(evaluator, call)?;
    let k = call.required(1)?;
    let size = evaluator.expect_extent(&k.value, k.span)?;
    let axis = &tensor.axes[place];
    if Evaluator::compare_sizes(&size, &axis.size, |order| order.is_gt()) == Some(true) {
        let shown = evaluator.show_axis(axis);
        return Err(evaluator.report(
            Diagnostic::error(
                "too-many-elements",
                format!("the axis `{shown}` has no {size} elements"),
            )
            .primary(k.span, format!("this is {size}"))
            .note(format!("the axis has the size {}", axis.size))
            .help("take at most as many as there are"),
        ));
    }
    let id = match &k.value {
        Value::Int(Int { axis: Some(id), .. }) => *id,
        _ => evaluator.axes.unnamed(),
    };
    let [values, positions] = order(evaluator, &tensor, place, true, Axis { id, size });
    evaluator.check_axes(&values.axes, call.span)?;
    Ok(Value::Tuple([Value::Tensor(values), Value::Tensor(positions)].into()))
}

/// The first elements in order along the axis at `place`, as many as `axis`, which takes its
/// place, is long, and their positions.
fn order(
    evaluator: &mut Evaluator<'_>,
    tensor: &Tensor,
    place: usize,
    descending: bool,
    axis: Axis,
) -> [Tensor; 2] {
    let rank = tensor.axes.len();
    let last: Vec<usize> = (0..rank).filter(|&axis| axis != place).chain([place]).collect();
    let back: Vec<usize> = (0..place).chain([rank - 1]).chain(place..rank - 1).collect();
    let count = Evaluator::extents(std::slice::from_ref(&axis))[0];
    let sorted = |graph: &mut Graph, node: NodeId| {
        let rows = graph.permute(node, &last);
        let positions = graph.emit(ArgSort { descending, count }.into(), &[rows]);
        (rows, positions)
    };
    let positions = evaluator.emit([tensor], |graph, [node]| {
        let (_, positions) = sorted(graph, node);
        graph.permute(positions, &back)
    });
    let values = evaluator.emit([tensor], |graph, [node]| {
        let (rows, positions) = sorted(graph, node);
        let values = graph.emit(Gather { batch: rank - 1 }.into(), &[rows, positions]);
        graph.permute(values, &back)
    });
    let mut axes = tensor.axes.clone();
    axes[place] = axis;
    let tensor_of = |dtype, node| Tensor { dtype, axes: axes.clone(), node };
    [tensor_of(tensor.dtype, values), tensor_of(DType::I32, positions)]
}
