//! Elements in another order, repeated, joined and taken apart along an axis.

use cygnet_compiler::graph::Emit;
use cygnet_compiler::types::DType;

use super::{Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Number, Stop};
use crate::language::size::Size;
use crate::language::value::{Axis, Tensor, Value};

/// The theme's entries; [`reverse`] shares its name with the function of lists.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "roll",
        parameters: &[("x", Kind::Required), ("by", Kind::Required), ("along", Kind::Required)],
        doc: "elements moved toward the end of an axis, the last ones to its start",
        run: roll,
    },
    Entry {
        name: "repeat",
        parameters: &[("x", Kind::Required), ("times", Kind::Required), ("along", Kind::Required)],
        doc: "all of an axis, several times one after another",
        run: repeat,
    },
    Entry {
        name: "pad",
        parameters: &[
            ("x", Kind::Required),
            ("low", Kind::Required),
            ("high", Kind::Required),
            ("along", Kind::Required),
            ("value", Kind::Optional),
        ],
        doc: "`low` and `high` elements of a value, by default 0, before and behind an axis",
        run: pad,
    },
    Entry {
        name: "stack",
        parameters: &[("tensors", Kind::Rest), ("at", Kind::Optional)],
        doc: "tensors side by side along a new axis, by default the first one",
        run: stack,
    },
    Entry {
        name: "unstack",
        parameters: &[("x", Kind::Required), ("along", Kind::Required)],
        doc: "a list of the slices along an axis, without it",
        run: unstack,
    },
    Entry {
        name: "split",
        parameters: &[("x", Kind::Required), ("parts", Kind::Required), ("along", Kind::Required)],
        doc: "a list of parts of an axis: as many as a number says, or of the sizes in a list",
        run: split,
    },
];

/// `reverse(x, along)` of a tensor.
pub(super) fn reverse<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let tensor = evaluator.tensor_of(call, 0)?;
    let Some(along) = call.get(1) else {
        return Err(evaluator.report(
            Diagnostic::error("missing-argument", "`reverse` of a tensor needs an axis")
                .primary(call.span, "along which axis?")
                .help("say which: `reverse(x, along: -1)`"),
        ));
    };
    let places = evaluator.axis_places(&tensor, along)?;
    let node = evaluator.emit([&tensor], |graph, [node]| graph.reverse(node, &places));
    Ok(Value::Tensor(Tensor { node, ..tensor }))
}

fn roll<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let tensor = evaluator.tensor_of(call, 0)?;
    let place = evaluator.single_axis(call, &tensor, 2)?;
    let by = call.required(1)?;
    let by = evaluator.expect_integer(&by.value, by.span, "the distance of `roll`")?;
    let shape = Evaluator::extents(&tensor.axes);
    let node = evaluator.emit([&tensor], |graph, [node]| {
        let extent = shape[place];
        let shift = by.rem_euclid(extent.max(1) as i64) as usize;
        if shift == 0 {
            return node;
        }
        let mut part = |start: usize, stop: usize| {
            let (mut starts, mut stops) = (vec![0; shape.len()], shape.clone());
            (starts[place], stops[place]) = (start, stop);
            graph.slice(node, &starts, &stops, &vec![1; shape.len()])
        };
        let (front, back) = (part(extent - shift, extent), part(0, extent - shift));
        graph.concat(&[front, back], place)
    });
    Ok(Value::Tensor(Tensor { node, ..tensor }))
}

fn repeat<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let tensor = evaluator.tensor_of(call, 0)?;
    let place = evaluator.single_axis(call, &tensor, 2)?;
    let times = call.required(1)?;
    let times = evaluator.expect_extent(&times.value, times.span)?;
    let mut axes = tensor.axes.clone();
    axes[place].size = axes[place].size.multiply(&times);
    let (shape, mut spread) = (Evaluator::extents(&axes), Evaluator::extents(&tensor.axes));
    spread.insert(place, times.as_constant().unwrap_or(0).unsigned_abs() as usize);
    let places: Vec<usize> = (0..spread.len()).filter(|&axis| axis != place).collect();
    let node = evaluator.emit([&tensor], |graph, [node]| {
        let node = graph.broadcast(node, &spread, &places);
        graph.reshape(node, &shape)
    });
    Ok(Value::Tensor(Tensor { axes, node, ..tensor }))
}

fn pad<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let tensor = evaluator.tensor_of(call, 0)?;
    let place = evaluator.single_axis(call, &tensor, 3)?;
    let mut counts = Vec::with_capacity(2);
    for given in [call.required(1)?, call.required(2)?] {
        let count = evaluator.expect_size(&given.value, given.span, "a number of elements")?;
        if count.as_constant().is_some_and(|count| count < 0) {
            return Err(evaluator.report(
                Diagnostic::error("negative-padding", format!("padding by {count} elements"))
                    .primary(given.span, format!("this is {count}"))
                    .help("take a slice to shorten an axis: `x[t: 1..-1]`"),
            ));
        }
        counts.push(count);
    }
    let value = match call.get(4) {
        Some(given) => {
            let number = Number::of(&given.value);
            if let (Some(number), false) = (&number, tensor.dtype == DType::Bool) {
                // Whether the number becomes the element type.
                evaluator.spread(number, tensor.dtype, &[], given.span)?;
            }
            evaluator.expect_float(&given.value, given.span, "the value of `pad`")?
        }
        None => Some(0.0),
    };
    let mut axes = tensor.axes.clone();
    axes[place].size = counts.iter().fold(axes[place].size.clone(), |sum, n| sum.add(n));
    let margins = |count: &Size| {
        let mut margins = vec![0; axes.len()];
        margins[place] = count.as_constant().unwrap_or(0).unsigned_abs() as usize;
        margins
    };
    let (low, high) = (margins(&counts[0]), margins(&counts[1]));
    let node = evaluator.emit([&tensor], |graph, [node]| {
        graph.pad(node, &low, &high, &vec![0; low.len()], value.unwrap_or(0.0))
    });
    Ok(Value::Tensor(Tensor { axes, node, ..tensor }))
}

fn stack<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let parts = call.listed();
    let mut tensors = Vec::with_capacity(parts.len());
    for part in &parts {
        tensors.push(evaluator.expect_tensor(&part.value, part.span, "an argument of `stack`")?);
    }
    let Some(first) = tensors.first().cloned() else {
        return Err(evaluator.report(
            Diagnostic::error("missing-argument", "`stack` of nothing")
                .primary(call.span, "no tensors")
                .help("give at least one tensor"),
        ));
    };
    let rank = first.axes.len();
    let place = match call.get(0) {
        Some(at) => {
            let number = evaluator.expect_integer(&at.value, at.span, "the place of an axis")?;
            let place = if number < 0 { number + rank as i64 + 1 } else { number };
            let place = usize::try_from(place).ok().filter(|&place| place <= rank);
            place.ok_or_else(|| {
                let shown = evaluator.show(&first);
                evaluator.report(
                    Diagnostic::error("no-such-axis", format!("no place {number} in {shown}"))
                        .primary(at.span, format!("this is {number}"))
                        .help("0 puts the new axis first, -1 last"),
                )
            })?
        }
        None => 0,
    };
    for (tensor, part) in tensors.iter().zip(&parts) {
        let same = tensor.dtype == first.dtype
            && tensor.axes.len() == rank
            && first.axes.iter().zip(&tensor.axes).all(|(a, b)| {
                let unnamed = [a, b].iter().any(|axis| evaluator.axes.name(axis.id).is_none());
                (a.id == b.id || unnamed) && evaluator.sizes_agree(&a.size, &b.size)
            });
        if !same {
            let (a, b) = (evaluator.show(&first), evaluator.show(tensor));
            return Err(evaluator.report(
                Diagnostic::error("stack-shapes", format!("{b} does not stack with {a}"))
                    .primary(part.span, format!("this is {b}"))
                    .secondary(parts[0].span, format!("this is {a}"))
                    .help("rename or transpose with `as`"),
            ));
        }
    }
    let mut shape = Evaluator::extents(&first.axes);
    shape.insert(place, 1);
    let nodes: Option<Vec<_>> = tensors.iter().map(|tensor| tensor.node).collect();
    let node = nodes.and_then(|nodes| {
        evaluator.emit_nodes([], |graph, []| {
            let rows: Vec<_> = nodes.iter().map(|&node| graph.reshape(node, &shape)).collect();
            graph.concat(&rows, place)
        })
    });
    let mut axes = first.axes;
    let size = Size::from(tensors.len());
    axes.insert(place, Axis { id: evaluator.axes.unnamed(), size });
    Ok(Value::Tensor(Tensor { dtype: first.dtype, axes, node }))
}

fn unstack<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let tensor = evaluator.tensor_of(call, 0)?;
    let place = evaluator.single_axis(call, &tensor, 1)?;
    let count = tensor.axes[place].size.as_constant().ok_or(Stop)?;
    let slices = (0..count).map(|index| {
        let mut slice = part(evaluator, &tensor, place, &Size::constant(index), &Size::constant(1));
        slice.axes.remove(place);
        let shape = Evaluator::extents(&slice.axes);
        slice.node = evaluator.emit([&slice], |graph, [node]| graph.reshape(node, &shape));
        Value::Tensor(slice)
    });
    Ok(Value::List(slices.collect()))
}

fn split<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let tensor = evaluator.tensor_of(call, 0)?;
    let place = evaluator.single_axis(call, &tensor, 2)?;
    let given = call.required(1)?;
    let axis = tensor.axes[place].clone();
    let sizes: Vec<Size> = match &given.value {
        Value::List(sizes) => {
            let sizes = sizes.iter().map(|size| evaluator.expect_extent(size, given.span));
            sizes.collect::<Eval<_>>()?
        }
        value => {
            let count = evaluator.expect_integer(value, given.span, "the number of parts")?;
            if count < 1 {
                return Err(evaluator.unfit(value, given.span, "a number of parts", "at least 1"));
            }
            let size = evaluator.divide_exactly(&axis.size, &Size::constant(count), given.span)?;
            vec![size; count as usize]
        }
    };
    let total = sizes.iter().fold(Size::constant(0), |sum, size| sum.add(size));
    if !evaluator.sizes_agree(&total, &axis.size) {
        let shown = evaluator.show_axis(&axis);
        return Err(evaluator.report(
            Diagnostic::error("split-sizes", format!("parts of {total} elements of `{shown}`"))
                .primary(given.span, format!("these are {total} in all"))
                .note(format!("the axis has the size {}", axis.size))
                .help("the sizes of the parts add up to that of the axis"),
        ));
    }
    let mut start = Size::constant(0);
    let parts = sizes.iter().map(|size| {
        let taken = part(evaluator, &tensor, place, &start, size);
        start = start.add(size);
        Value::Tensor(taken)
    });
    Ok(Value::List(parts.collect()))
}

/// So many elements from `start` on along the axis at `place`.
fn part(
    evaluator: &mut Evaluator<'_>,
    tensor: &Tensor,
    place: usize,
    start: &Size,
    size: &Size,
) -> Tensor {
    let mut axes = tensor.axes.clone();
    axes[place].size = size.clone();
    let number = |size: &Size| size.as_constant().unwrap_or(0).unsigned_abs() as usize;
    let (mut starts, mut stops) = (vec![0; axes.len()], Evaluator::extents(&axes));
    starts[place] = number(start);
    stops[place] += number(start);
    let node = evaluator
        .emit([tensor], |graph, [node]| graph.slice(node, &starts, &stops, &vec![1; starts.len()]));
    Tensor { dtype: tensor.dtype, axes, node }
}
