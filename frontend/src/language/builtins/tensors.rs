//! Products, choices, joins and conversions of tensors.

use std::collections::BTreeSet;

use cygnet_compiler::graph::Emit;
use cygnet_compiler::op::Concat;
use cygnet_compiler::types::DType;

use super::{Call, Entry, Kind};
use crate::data::source::Classes;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Number, Stop};
use crate::language::size::Size;
use crate::language::value::{Axis, Given, Int, Tensor, Value};

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "dot",
        parameters: &[("a", Kind::Required), ("b", Kind::Required), ("over", Kind::Required)],
        doc: "sum of products over axes; other shared axes run together, the rest are outer",
        run: dot,
    },
    Entry {
        name: "where",
        parameters: &[
            ("condition", Kind::Required),
            ("yes", Kind::Required),
            ("no", Kind::Required),
        ],
        doc: "`yes` where the condition holds, else `no`, element by element",
        run: choose,
    },
    Entry {
        name: "concat",
        parameters: &[("tensors", Kind::Rest), ("along", Kind::Required)],
        doc: "tensors one after another along an axis",
        run: concat,
    },
    Entry {
        name: "flatten",
        parameters: &[("x", Kind::Required)],
        doc: "all axes but the first merged into one",
        run: flatten,
    },
    Entry {
        name: "stop_gradient",
        parameters: &[("x", Kind::Required)],
        doc: "the tensor itself, through which no gradient passes",
        run: |evaluator, call| {
            let given = call.required(0)?;
            let what = "the argument of `stop_gradient`";
            let tensor = evaluator.expect_tensor(&given.value, given.span, what)?;
            let node = evaluator.emit([&tensor], |graph, [node]| graph.stop_gradient(node));
            Ok(Value::Tensor(Tensor { node, ..tensor }))
        },
    },
    Entry {
        name: "is_class",
        parameters: &[
            ("label", Kind::Required),
            ("classes", Kind::Required),
            ("ignore", Kind::Optional),
        ],
        doc: "whether a label (i32) is the class, along a new last axis `classes`; bool. Labels of data \
              must be below `classes`, or `ignore` if that is not -1",
        run: is_class,
    },
];

/// `f32(x)` and the like.
pub(super) fn cast<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    dtype: DType,
) -> Eval<Value<'p>> {
    let given = call.required(0)?;
    if let Some(number) = Number::of(&given.value) {
        return evaluator.spread(&number, dtype, &[], given.span).map(Value::Tensor);
    }
    let what = format!("the argument of `{dtype}`");
    let tensor = evaluator.expect_tensor(&given.value, given.span, &what)?;
    Ok(Value::Tensor(evaluator.convert(&tensor, dtype)))
}

fn choose<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let condition = call.required(0)?;
    let (yes, no) = (call.required(1)?, call.required(2)?);
    match condition.value {
        Value::Bool(true) => Ok(yes.value.clone()),
        Value::Bool(false) => Ok(no.value.clone()),
        _ => evaluator.elementwise("select", vec![condition.clone(), yes.clone(), no.clone()]),
    }
}

fn dot<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (a, b, over) = (call.required(0)?, call.required(1)?, call.required(2)?);
    let left = evaluator.expect_tensor(&a.value, a.span, "the first factor of `dot`")?;
    let right = evaluator.expect_tensor(&b.value, b.span, "the second factor of `dot`")?;
    if left.dtype != right.dtype || !left.dtype.is_float() {
        let (l, r) = (evaluator.show(&left), evaluator.show(&right));
        return Err(evaluator.report(
            Diagnostic::error("dtypes-differ", format!("`dot` of {l} and {r}"))
                .primary(call.span, "both must be floats of one type")
                .secondary(a.span, format!("this is {l}"))
                .secondary(b.span, format!("this is {r}"))
                .help("convert one: `f32(x)`"),
        ));
    }
    let contracted = contracted_pairs(evaluator, &left, &right, over)?;
    let batch: Vec<(usize, usize)> = left
        .axes
        .iter()
        .enumerate()
        .filter_map(|(l, axis)| {
            let r = right.axes.iter().position(|other| other.id == axis.id)?;
            let free = contracted.iter().all(|&(cl, cr)| cl != l && cr != r);
            free.then_some((l, r))
        })
        .collect();
    for &(l, r) in contracted.iter().chain(&batch) {
        if !evaluator.sizes_agree(&left.axes[l].size, &right.axes[r].size) {
            let (shown, other) = (evaluator.show(&left), evaluator.show(&right));
            let (x, y) = (evaluator.show_axis(&left.axes[l]), evaluator.show_axis(&right.axes[r]));
            return Err(evaluator.report(
                Diagnostic::error(
                    "sizes-differ",
                    format!("`dot` of {shown} and {other}: `{x}` against `{y}`"),
                )
                .primary(call.span, "these axes run together")
                .secondary(a.span, format!("this is {shown}"))
                .secondary(b.span, format!("this is {other}"))
                .help("axes that run together must have equal sizes"),
            ));
        }
    }
    product(evaluator, &left, &right, &batch, &contracted, call)
}

/// The contraction, with the axes of the left factor in their order, then the right one's.
fn product<'p>(
    evaluator: &mut Evaluator<'p>,
    left: &Tensor,
    right: &Tensor,
    batch: &[(usize, usize)],
    contracted: &[(usize, usize)],
    call: &Call<'p>,
) -> Eval<Value<'p>> {
    let batch_left: Vec<usize> = batch.iter().map(|&(l, _)| l).collect();
    let summed: BTreeSet<usize> = contracted.iter().map(|&(l, _)| l).collect();
    let paired: BTreeSet<usize> = batch.iter().chain(contracted).map(|&(_, r)| r).collect();
    let kept: Vec<usize> = (0..left.axes.len()).filter(|l| !summed.contains(l)).collect();
    let outer: Vec<usize> = (0..right.axes.len()).filter(|r| !paired.contains(r)).collect();
    // The primitive puts batch axes first.
    let primitive: Vec<usize> = batch_left
        .iter()
        .copied()
        .chain(kept.iter().copied().filter(|l| !batch_left.contains(l)))
        .collect();
    let order: Vec<usize> = kept
        .iter()
        .filter_map(|l| primitive.iter().position(|other| other == l))
        .chain(kept.len()..kept.len() + outer.len())
        .collect();
    let node = evaluator.emit([left, right], |graph, [l, r]| {
        let node = graph.contract(l, r, batch, contracted);
        graph.permute(node, &order)
    });
    let axes: Vec<Axis> = kept
        .iter()
        .map(|&l| left.axes[l].clone())
        .chain(outer.iter().map(|&r| right.axes[r].clone()))
        .collect();
    evaluator.check_axes(&axes, call.span)?;
    Ok(Value::Tensor(Tensor { dtype: left.dtype, axes, node }))
}

/// The axes summed over, as pairs of places. A number means that place in both factors.
fn contracted_pairs<'p>(
    evaluator: &mut Evaluator<'p>,
    left: &Tensor,
    right: &Tensor,
    over: &Given<'p>,
) -> Eval<Vec<(usize, usize)>> {
    let parts = match &over.value {
        Value::List(parts) => parts.to_vec(),
        value => vec![value.clone()],
    };
    let mut pairs = Vec::with_capacity(parts.len());
    for part in parts {
        let axis = Given { value: part, span: over.span };
        let l = evaluator.axis_places(left, &axis)?;
        let r = evaluator.axis_places(right, &axis)?;
        let (Some(&l), Some(&r)) = (l.first(), r.first()) else { return Err(Stop) };
        if !pairs.contains(&(l, r)) {
            pairs.push((l, r));
        }
    }
    Ok(pairs)
}

fn concat<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let parts = call.listed();
    let along = call.required(0)?;
    let mut tensors = Vec::with_capacity(parts.len());
    for part in &parts {
        let what = "an argument of `concat`";
        tensors.push(evaluator.expect_tensor(&part.value, part.span, what)?);
    }
    let Some(first) = tensors.first().cloned() else {
        return Err(evaluator.report(
            Diagnostic::error("missing-argument", "`concat` of nothing")
                .primary(call.span, "no tensors")
                .help("give at least one tensor"),
        ));
    };
    // The axis may have its name in any of the tensors.
    let named = match &along.value {
        Value::Int(Int { axis: Some(id), .. }) => {
            tensors.iter().find_map(|tensor| tensor.axes.iter().position(|axis| axis.id == *id))
        }
        _ => None,
    };
    let axis = match named {
        Some(place) if place < first.axes.len() => place,
        _ => *evaluator.axis_places(&first, along)?.first().ok_or(Stop)?,
    };
    let mut size = Size::default();
    for (tensor, part) in tensors.iter().zip(&parts) {
        let fits = tensor.dtype == first.dtype
            && tensor.axes.len() == first.axes.len()
            && first.axes.iter().zip(&tensor.axes).enumerate().all(|(place, (a, b))| {
                let both = (evaluator.axes.name(a.id), evaluator.axes.name(b.id));
                let names = place == axis || a.id == b.id || both.0.is_none() || both.1.is_none();
                names && (place == axis || evaluator.sizes_agree(&a.size, &b.size))
            });
        if !fits {
            let (a, b) = (evaluator.show(&first), evaluator.show(tensor));
            return Err(evaluator.report(
                Diagnostic::error("concat-shapes", format!("{b} does not join {a}"))
                    .primary(part.span, format!("this is {b}"))
                    .secondary(parts[0].span, format!("this is {a}"))
                    .note("all axes but the one along which tensors are joined must be the same")
                    .help("rename or transpose with `as`"),
            ));
        }
        size = size.add(&tensor.axes[axis].size);
    }
    if tensors.len() == 1 {
        return Ok(Value::Tensor(first));
    }
    let nodes: Option<Vec<_>> = tensors.iter().map(|tensor| tensor.node).collect();
    let node = nodes.and_then(|nodes| {
        evaluator.emit_nodes([], |graph, []| graph.emit(Concat { axis }.into(), &nodes))
    });
    let mut axes = first.axes;
    for (place, axis) in axes.iter_mut().enumerate() {
        let ids = tensors.iter().map(|tensor| tensor.axes[place].id);
        let named = ids.into_iter().find(|id| evaluator.axes.name(*id).is_some());
        axis.id = named.unwrap_or(axis.id);
    }
    axes[axis].size = size;
    evaluator.check_axes(&axes, call.span)?;
    Ok(Value::Tensor(Tensor { dtype: first.dtype, axes, node }))
}

fn flatten<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let given = call.required(0)?;
    let tensor = evaluator.expect_tensor(&given.value, given.span, "the argument of `flatten`")?;
    let [first, rest @ ..] = tensor.axes.as_slice() else {
        return Err(evaluator.report(
            Diagnostic::error("wrong-rank", "`flatten` of a scalar")
                .primary(given.span, "it has no axes")
                .help("`flatten` keeps the first axis and merges the others"),
        ));
    };
    if rest.len() == 1 {
        return Ok(Value::Tensor(tensor));
    }
    let size = rest.iter().fold(Size::constant(1), |size, axis| size.multiply(&axis.size));
    let axes = vec![first.clone(), Axis { id: evaluator.axes.unnamed(), size }];
    let shape = Evaluator::extents(&axes);
    let node = evaluator.emit([&tensor], |graph, [node]| graph.reshape(node, &shape));
    Ok(Value::Tensor(Tensor { dtype: tensor.dtype, axes, node }))
}

fn is_class<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (label, classes) = (call.required(0)?, call.required(1)?);
    let tensor = evaluator.expect_tensor(&label.value, label.span, "the labels")?;
    if tensor.dtype != DType::I32 {
        let shown = evaluator.show(&tensor);
        return Err(evaluator.report(
            Diagnostic::error("wrong-dtype", format!("labels are i32, not {}", tensor.dtype))
                .primary(label.span, format!("this is {shown}"))
                .help("convert the labels: `i32(x)`"),
        ));
    }
    let size = evaluator.expect_extent(&classes.value, classes.span)?;
    let id = match &classes.value {
        Value::Int(Int { axis: Some(id), .. }) => *id,
        _ => evaluator.axes.unnamed(),
    };
    let ignored = match call.get(2) {
        Some(Given { value, span }) => Some(evaluator.expect_integer(value, *span, "`ignore`")?),
        None => None,
    };
    let ignored = ignored.filter(|&label| label != -1);
    if let (Some(node), Some(count)) = (tensor.node, size.as_constant()) {
        let count = usize::try_from(count).unwrap_or(0);
        evaluator.labels.push((node, Classes { count, ignored }));
    }
    let class = Axis { id, size };
    let counts = evaluator.iota(DType::I32, vec![class.clone()]);
    let mut axes = tensor.axes.clone();
    axes.push(class);
    evaluator.check_axes(&axes, call.span)?;
    let places: Vec<usize> = (0..tensor.axes.len()).collect();
    let labels = evaluator.repeat(&tensor, &axes, &places);
    let counts = evaluator.repeat(&counts, &axes, &[tensor.axes.len()]);
    let node = evaluator
        .emit([&labels, &counts], |graph, [labels, counts]| graph.apply("eq", &[labels, counts]));
    Ok(Value::Tensor(Tensor { dtype: DType::Bool, axes, node }))
}
