//! Reductions over axes.

use cygnet_compiler::graph::Emit;
use cygnet_compiler::op::{ArgKind, ArgReduce, Elementwise, ReduceKind};
use cygnet_compiler::types::DType;

use super::{Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Stop};
use crate::language::size::Size;
use crate::language::value::{Axis, Given, Int, Tensor, Value};

/// A tensor, and the axes to reduce; all of them by default.
const OVER: &[(&str, Kind)] = &[("x", Kind::Required), ("over", Kind::Optional)];

/// As [`OVER`], or two operands of the elementwise function of the same name.
const EXTREME: &[(&str, Kind)] =
    &[("x", Kind::Required), ("y", Kind::Optional), ("over", Kind::Optional)];

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "sum",
        parameters: OVER,
        doc: "sum over axes, all of them by default",
        run: |evaluator, call| {
            let (tensor, places) = operand(evaluator, call, 1, Wanted::Numbers)?;
            Ok(Value::Tensor(evaluator.reduce(ReduceKind::Sum, &tensor, &places)))
        },
    },
    Entry {
        name: "prod",
        parameters: OVER,
        doc: "product over axes",
        run: |evaluator, call| {
            let (tensor, places) = operand(evaluator, call, 1, Wanted::Numbers)?;
            Ok(Value::Tensor(evaluator.reduce(ReduceKind::Prod, &tensor, &places)))
        },
    },
    Entry { name: "mean", parameters: OVER, doc: "arithmetic mean over axes", run: mean },
    Entry {
        name: "max",
        parameters: EXTREME,
        doc: "largest element over axes, or elementwise the larger of two operands",
        run: |evaluator, call| extreme(evaluator, call, "max"),
    },
    Entry {
        name: "min",
        parameters: EXTREME,
        doc: "smallest element over axes, or elementwise the smaller of two operands",
        run: |evaluator, call| extreme(evaluator, call, "min"),
    },
    Entry {
        name: "any",
        parameters: OVER,
        doc: "whether at least one element holds",
        run: |evaluator, call| truth(evaluator, call, ReduceKind::Max),
    },
    Entry {
        name: "all",
        parameters: OVER,
        doc: "whether all elements hold",
        run: |evaluator, call| truth(evaluator, call, ReduceKind::Prod),
    },
    Entry {
        name: "argmax",
        parameters: OVER,
        doc: "position (i32) of the largest element along one axis, the first of equal ones",
        run: |evaluator, call| position(evaluator, call, ArgKind::Max),
    },
    Entry {
        name: "argmin",
        parameters: OVER,
        doc: "position (i32) of the smallest element along one axis, the first of equal ones",
        run: |evaluator, call| position(evaluator, call, ArgKind::Min),
    },
];

/// Which element types a reduction takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Numbers,
    Floats,
    Truths,
}

/// The tensor of a call and the places of the axes to reduce.
fn operand<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    over: usize,
    wanted: Wanted,
) -> Eval<(Tensor, Vec<usize>)> {
    let given = call.required(0)?;
    let what = format!("the argument of `{}`", call.name);
    let tensor = evaluator.expect_tensor(&given.value, given.span, &what)?;
    let (fits, types) = match wanted {
        Wanted::Numbers => (tensor.dtype.is_float() || tensor.dtype == DType::I32, "floats or i32"),
        Wanted::Floats => (tensor.dtype.is_float(), "floats"),
        Wanted::Truths => (tensor.dtype == DType::Bool, "bools"),
    };
    if !fits {
        let shown = evaluator.show(&tensor);
        let help = match wanted {
            Wanted::Truths => "compare the tensor first: `x > 0`",
            _ => "convert it first: `f32(x)`",
        };
        return Err(evaluator.report(
            Diagnostic::error(
                "wrong-dtype",
                format!("`{}` takes {types}, not {}", call.name, tensor.dtype),
            )
            .primary(given.span, format!("this is {shown}"))
            .help(help),
        ));
    }
    let places = match call.get(over) {
        Some(over) => evaluator.axis_places(&tensor, over)?,
        None => (0..tensor.axes.len()).collect(),
    };
    Ok((tensor, places))
}

fn mean<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (tensor, places) = operand(evaluator, call, 1, Wanted::Floats)?;
    let count =
        places.iter().fold(Size::constant(1), |n, &place| n.multiply(&tensor.axes[place].size));
    let sum = evaluator.reduce(ReduceKind::Sum, &tensor, &places);
    let span = call.span;
    let operands = [Value::Tensor(sum), Value::int(count)];
    evaluator.elementwise("div", operands.map(|value| Given { value, span }).to_vec())
}

fn extreme<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    name: &'static str,
) -> Eval<Value<'p>> {
    if let Some(other) = call.get(1) {
        if let Some(over) = call.get(2) {
            return Err(evaluator.report(
                Diagnostic::error("mixed-extreme", format!("`{name}` of two operands over axes"))
                    .primary(over.span, "axes")
                    .secondary(other.span, "a second operand")
                    .help(format!("reduce first: `{name}({name}(a, b), over: axes)`")),
            ));
        }
        return evaluator.elementwise(name, vec![call.required(0)?.clone(), other.clone()]);
    }
    let (tensor, places) = operand(evaluator, call, 2, Wanted::Numbers)?;
    if name == "max" {
        return Ok(Value::Tensor(evaluator.reduce(ReduceKind::Max, &tensor, &places)));
    }
    // The smallest element is the largest one of the negated tensor.
    let negated = evaluator.map(&tensor, "neg");
    let largest = evaluator.reduce(ReduceKind::Max, &negated, &places);
    Ok(Value::Tensor(evaluator.map(&largest, "neg")))
}

fn truth<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>, kind: ReduceKind) -> Eval<Value<'p>> {
    let (tensor, places) = operand(evaluator, call, 1, Wanted::Truths)?;
    let number = evaluator.convert(&tensor, DType::I32);
    let reduced = evaluator.reduce(kind, &number, &places);
    Ok(Value::Tensor(evaluator.convert(&reduced, DType::Bool)))
}

fn position<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>, kind: ArgKind) -> Eval<Value<'p>> {
    let (tensor, places) = operand(evaluator, call, 1, Wanted::Numbers)?;
    let &[axis] = places.as_slice() else {
        let shown = evaluator.show(&tensor);
        return Err(evaluator.report(
            Diagnostic::error("one-axis", format!("`{}` searches one axis", call.name))
                .primary(call.span, format!("{} axes of {shown}", places.len()))
                .help(format!("say which: `{}(x, over: -1)`", call.name)),
        ));
    };
    let node = evaluator
        .emit([&tensor], |graph, [node]| graph.emit(ArgReduce { kind, axis }.into(), &[node]));
    let mut axes = tensor.axes;
    axes.remove(axis);
    Ok(Value::Tensor(Tensor { dtype: DType::I32, axes, node }))
}

impl<'p> Evaluator<'p> {
    /// `tensor` without the axes at `places` (sorted), which are combined.
    pub fn reduce(&mut self, kind: ReduceKind, tensor: &Tensor, places: &[usize]) -> Tensor {
        let node = self.emit([tensor], |graph, [node]| graph.reduce(kind, node, places));
        let kept = tensor.axes.iter().enumerate().filter(|(place, _)| !places.contains(place));
        let axes = kept.map(|(_, axis)| axis.clone()).collect();
        Tensor { dtype: tensor.dtype, axes, node }
    }

    /// A tensor converted to another element type.
    pub fn convert(&mut self, tensor: &Tensor, dtype: DType) -> Tensor {
        let node = self.emit([tensor], |graph, [node]| graph.cast(node, dtype));
        Tensor { dtype, axes: tensor.axes.clone(), node }
    }

    /// An elementwise primitive that keeps the element type, applied to one tensor.
    fn map(&mut self, tensor: &Tensor, name: &str) -> Tensor {
        let function = Elementwise::named(name);
        let node = self.emit([tensor], |graph, [node]| match function {
            Some(function) => graph.emit(function.into(), &[node]),
            None => node,
        });
        Tensor { dtype: tensor.dtype, axes: tensor.axes.clone(), node }
    }

    /// The places of the axes that an argument names: `t`, `-1`, `[h, w]`. Sorted.
    pub fn axis_places(&mut self, tensor: &Tensor, given: &Given<'p>) -> Eval<Vec<usize>> {
        let mut places = match &given.value {
            Value::List(parts) => parts
                .iter()
                .map(|part| self.axis_place_of(tensor, part, given))
                .collect::<Eval<Vec<usize>>>()?,
            value => vec![self.axis_place_of(tensor, value, given)?],
        };
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    /// The place of an axis given by name or number.
    fn axis_place_of(
        &mut self,
        tensor: &Tensor,
        value: &Value<'p>,
        given: &Given<'p>,
    ) -> Eval<usize> {
        let Value::Int(Int { size, axis }) = value else {
            return Err(self.unfit(value, given.span, "an axis", "a name or number of an axis"));
        };
        let place = match axis {
            Some(id) => tensor.axes.iter().position(|axis: &Axis| axis.id == *id),
            None => {
                let number = size.as_constant().ok_or(Stop)?;
                let rank = tensor.axes.len() as i64;
                let place = if number < 0 { number + rank } else { number };
                usize::try_from(place).ok().filter(|place| *place < tensor.axes.len())
            }
        };
        place.ok_or_else(|| {
            let shown = self.show(tensor);
            let wanted = match axis.and_then(|id| self.axes.name(id)) {
                Some(name) => format!("axis `{name}`"),
                None => format!("axis {size}"),
            };
            self.report(
                Diagnostic::error("no-such-axis", format!("{shown} has no {wanted}"))
                    .primary(given.span, format!("the tensor is {shown}"))
                    .help("axes are given by name, or by number from 0, from the end from -1"),
            )
        })
    }
}
