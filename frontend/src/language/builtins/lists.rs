//! Lists, sizes and axes: functions on static values.

use super::{Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Number, Stop};
use crate::language::size::Size;
use crate::language::value::{Axis, Given, Int, Value};

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "axes",
        parameters: &[("x", Kind::Required), ("except", Kind::Optional)],
        doc: "the axes of a tensor as a list, without those of `except`",
        run: axes,
    },
    Entry {
        name: "axis",
        parameters: &[("x", Kind::Required), ("over", Kind::Required)],
        doc: "one axis of a tensor, as a dim: its size, and its name in shapes",
        run: |evaluator, call| {
            let (given, over) = (call.required(0)?, call.required(1)?);
            let what = "the argument of `axis`";
            let tensor = evaluator.expect_tensor(&given.value, given.span, what)?;
            let [place] = evaluator.axis_places(&tensor, over)?[..] else { return Err(Stop) };
            let Axis { id, size } = tensor.axes[place].clone();
            Ok(Value::Int(Int { size, axis: Some(id) }))
        },
    },
    Entry {
        name: "known_zero",
        parameters: &[("x", Kind::Required)],
        doc: "whether a number is certain to be 0 when the program is compiled",
        run: |_, call| {
            let number = Number::of(&call.required(0)?.value);
            Ok(Value::Bool(number.and_then(|number| number.known()) == Some(0.0)))
        },
    },
    Entry {
        name: "size",
        parameters: &[("x", Kind::Required), ("over", Kind::Optional)],
        doc: "the number of elements of a tensor, of the axes `over` of it, or of a list of axes",
        run: size,
    },
    Entry {
        name: "length",
        parameters: &[("list", Kind::Required)],
        doc: "the number of elements of a list",
        run: |evaluator, call| {
            let list = list(evaluator, call, call.required(0)?)?;
            Ok(Value::int(Size::from(list.len())))
        },
    },
    Entry {
        name: "reverse",
        parameters: &[("x", Kind::Required), ("along", Kind::Optional)],
        doc: "a list, or axes of a tensor, from the end to the start",
        run: |evaluator, call| {
            if let Value::Tensor(_) = call.required(0)?.value {
                return super::arrangement::reverse(evaluator, call);
            }
            let list = list(evaluator, call, call.required(0)?)?;
            Ok(Value::List(list.into_iter().rev().collect()))
        },
    },
    Entry {
        name: "zip",
        parameters: &[("lists", Kind::Rest)],
        doc: "a list of tuples of the elements that stand at one place in all lists",
        run: zip,
    },
];

fn list<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    given: &Given<'p>,
) -> Eval<Vec<Value<'p>>> {
    match &given.value {
        Value::List(parts) => Ok(parts.to_vec()),
        Value::Unknown => Err(Stop),
        other => {
            let what = format!("the argument of `{}`", call.name);
            Err(evaluator.unfit(other, given.span, &what, "a list"))
        }
    }
}

fn zip<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let lists: Vec<Vec<Value<'p>>> =
        call.rest.iter().map(|given| list(evaluator, call, given)).collect::<Eval<_>>()?;
    let length = lists.first().map_or(0, Vec::len);
    if let Some(place) = lists.iter().position(|list| list.len() != length) {
        return Err(evaluator.report(
            Diagnostic::error("loop-lengths", "`zip` of lists of different lengths")
                .primary(call.rest[place].span, format!("{} elements", lists[place].len()))
                .secondary(call.rest[0].span, format!("{length} elements"))
                .help("give both as many elements"),
        ));
    }
    let tuples = (0..length).map(|index| {
        let parts: Vec<Value<'p>> = lists.iter().map(|list| list[index].clone()).collect();
        Value::Tuple(parts.into())
    });
    Ok(Value::List(tuples.collect()))
}

fn axes<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let given = call.required(0)?;
    let tensor = evaluator.expect_tensor(&given.value, given.span, "the argument of `axes`")?;
    let excluded = match call.get(1) {
        Some(except) => evaluator.axis_places(&tensor, except)?,
        None => Vec::new(),
    };
    let kept = tensor.axes.into_iter().enumerate().filter(|(place, _)| !excluded.contains(place));
    let list = kept.map(|(_, axis)| Value::Int(Int { size: axis.size, axis: Some(axis.id) }));
    Ok(Value::List(list.collect()))
}

fn size<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let given = call.required(0)?;
    let product = |sizes: &mut dyn Iterator<Item = Size>| {
        Value::int(sizes.fold(Size::constant(1), |product, size| product.multiply(&size)))
    };
    if let (Value::List(parts), None) = (&given.value, call.get(1)) {
        let mut sizes = Vec::with_capacity(parts.len());
        for part in parts.iter() {
            sizes.push(evaluator.expect_size(part, given.span, "an element of the list")?);
        }
        return Ok(product(&mut sizes.into_iter()));
    }
    let tensor = evaluator.expect_tensor(&given.value, given.span, "the argument of `size`")?;
    let places = match call.get(1) {
        Some(over) => evaluator.axis_places(&tensor, over)?,
        None => (0..tensor.axes.len()).collect(),
    };
    Ok(product(&mut places.into_iter().map(|place| tensor.axes[place].size.clone())))
}
