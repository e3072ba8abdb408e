//! Convolutions and sliding windows.
//!
//! Tensors have the axes `[n, c, spatial...]`, as in PyTorch; what is said for each spatial axis
//! is one number for all of them or a list.

use cygnet_compiler::graph::{Emit, Graph, NodeId};
use cygnet_compiler::op::{Conv, Sliding, Window};

use super::{Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Stop};
use crate::language::size::Size;
use crate::language::value::{Axis, Given, Tensor, Value};
use crate::source::Span;

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "per_axis",
        parameters: &[("value", Kind::Required), ("count", Kind::Required)],
        doc: "a list of `count` values: a value repeated, or a list of that length as it is",
        run: per_axis,
    },
    Entry {
        name: "conv",
        parameters: &[
            ("x", Kind::Required),
            ("weight", Kind::Required),
            ("stride", Kind::Optional),
            ("padding", Kind::Optional),
            ("dilation", Kind::Optional),
            ("groups", Kind::Optional),
        ],
        doc: "sums of products of windows over x [n, c, ...] with weight [out, c / groups, ...]",
        run: conv,
    },
    Entry {
        name: "conv_transpose",
        parameters: &[
            ("x", Kind::Required),
            ("weight", Kind::Required),
            ("stride", Kind::Optional),
            ("padding", Kind::Optional),
            ("output_padding", Kind::Optional),
            ("dilation", Kind::Optional),
            ("groups", Kind::Optional),
        ],
        doc: "what the gradient of `conv` does to x [n, c, ...] with weight [c, out / groups, ...]",
        run: conv_transpose,
    },
    Entry {
        name: "windows",
        parameters: &[
            ("x", Kind::Required),
            ("kernel", Kind::Required),
            ("stride", Kind::Optional),
            ("padding", Kind::Optional),
            ("dilation", Kind::Optional),
            ("fill", Kind::Optional),
        ],
        doc: "the windows over x [n, c, ...], the elements of each along a new last axis",
        run: windows,
    },
];

/// How windows lie along the spatial axes: one entry for each.
struct Geometry {
    /// Elements of a window.
    kernel: Vec<Size>,
    stride: Vec<Size>,
    dilation: Vec<Size>,
    /// Elements put before each axis.
    low: Vec<Size>,
    /// Elements put after each axis.
    high: Vec<Size>,
}

fn one() -> Size {
    Size::constant(1)
}

impl Geometry {
    /// How far a window reaches along an axis.
    fn span(&self, axis: usize) -> Size {
        self.kernel[axis].subtract(&one()).multiply(&self.dilation[axis]).add(&one())
    }

    /// What remains of an axis, padded, behind its first window; negative if not even that fits.
    fn room(&self, axis: usize, extent: &Size) -> Size {
        extent.add(&self.low[axis]).add(&self.high[axis]).subtract(&self.span(axis))
    }

    /// The numbers, in an elaboration.
    fn window(&self, axis: usize) -> Window {
        let number = |sizes: &[Size]| sizes[axis].as_constant().unwrap_or(0);
        let count = |sizes: &[Size]| usize::try_from(number(sizes)).unwrap_or(0);
        Window {
            size: count(&self.kernel),
            stride: count(&self.stride),
            dilation: count(&self.dilation),
            low: number(&self.low),
            high: number(&self.high),
        }
    }
}

fn per_axis<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (value, count) = (call.required(0)?, call.required(1)?);
    let number = evaluator.expect_integer(&count.value, count.span, "the number of axes")?;
    let number = usize::try_from(number).map_err(|_| Stop)?;
    let values = entries(evaluator, value, number, "the list")?;
    Ok(Value::List(values.into()))
}

/// One value for each of `count` axes.
fn entries<'p>(
    evaluator: &mut Evaluator<'p>,
    given: &Given<'p>,
    count: usize,
    what: &str,
) -> Eval<Vec<Value<'p>>> {
    match &given.value {
        Value::List(parts) | Value::Tuple(parts) if parts.len() == count => Ok(parts.to_vec()),
        Value::List(parts) | Value::Tuple(parts) => Err(evaluator.report(
            Diagnostic::error("axis-count", format!("{what} has {} entries", parts.len()))
                .primary(given.span, format!("one for each of {count} axes is needed"))
                .help("give one number for all axes, or one for each"),
        )),
        Value::Unknown => Err(Stop),
        value => Ok(vec![value.clone(); count]),
    }
}

/// Whole numbers, at least `least`, for each spatial axis; `default` if the argument is missing.
fn numbers<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    index: usize,
    (name, least, default): (&str, i64, i64),
    count: usize,
) -> Eval<Vec<Size>> {
    let Some(given) = call.get(index) else { return Ok(vec![Size::constant(default); count]) };
    let what = format!("`{name}` of `{}`", call.name);
    let mut sizes = Vec::with_capacity(count);
    for value in entries(evaluator, given, count, &what)? {
        let size = evaluator.expect_size(&value, given.span, &what)?;
        if size.as_constant().is_some_and(|size| size < least) {
            return Err(evaluator.report(
                Diagnostic::error("window-number", format!("{what} is {size}"))
                    .primary(given.span, format!("this is {size}"))
                    .help(format!("it is at least {least}")),
            ));
        }
        sizes.push(size);
    }
    Ok(sizes)
}

/// The padding before and after each axis: numbers, or "valid" (none) or "same" (as many windows
/// as elements, for a stride of 1).
fn paddings<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    index: usize,
    geometry: &mut Geometry,
) -> Eval<()> {
    let count = geometry.kernel.len();
    let name = match call.get(index) {
        Some(Given { value: Value::Text(text), span }) => Some((text.clone(), *span)),
        _ => None,
    };
    match name.as_ref().map(|(text, span)| (&**text, *span)) {
        Some(("valid", _)) => {}
        Some(("same", span)) => {
            if geometry.stride.iter().any(|stride| !stride.is(1)) {
                return Err(evaluator.report(
                    Diagnostic::error("same-padding", "padding \"same\" with a stride")
                        .primary(span, "this keeps the size only for a stride of 1")
                        .help("give the padding as a number"),
                ));
            }
            for axis in 0..count {
                // An odd one goes to the end.
                let total = geometry.span(axis).subtract(&one());
                geometry.low[axis] = total.floor_divide(&Size::constant(2)).ok_or(Stop)?;
                geometry.high[axis] = total.subtract(&geometry.low[axis]);
            }
        }
        Some((text, span)) => {
            return Err(evaluator.report(
                Diagnostic::error("unknown-padding", format!("there is no padding \"{text}\""))
                    .primary(span, "not a kind of padding")
                    .help("padding is a number, a list of numbers, \"same\" or \"valid\""),
            ));
        }
        None => {
            geometry.low = numbers(evaluator, call, index, ("padding", 0, 0), count)?;
            geometry.high.clone_from(&geometry.low);
        }
    }
    Ok(())
}

/// An operand with axes for samples (or outputs), channels and space; floats.
fn operand<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>, index: usize) -> Eval<Tensor> {
    let given = call.required(index)?;
    let what = format!("an argument of `{}`", call.name);
    let tensor = evaluator.expect_tensor(&given.value, given.span, &what)?;
    if tensor.axes.len() >= 3 && tensor.dtype.is_float() {
        return Ok(tensor);
    }
    let shown = evaluator.show(&tensor);
    Err(evaluator.report(
        Diagnostic::error("window-operand", format!("`{}` of {shown}", call.name))
            .primary(given.span, format!("this is {shown}"))
            .help("it takes floats with the axes [n, c, ...]: samples, channels, then space"),
    ))
}

/// The operands of a convolution, which have as many axes and one element type.
fn operands<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<(Tensor, Tensor)> {
    let (x, weight) = (operand(evaluator, call, 0)?, operand(evaluator, call, 1)?);
    if x.axes.len() == weight.axes.len() && x.dtype == weight.dtype {
        return Ok((x, weight));
    }
    let (spans, shown) = (places(call)?, [evaluator.show(&x), evaluator.show(&weight)]);
    Err(evaluator.report(
        Diagnostic::error(
            "window-operand",
            format!("`{}` of {} with {}", call.name, shown[0], shown[1]),
        )
        .primary(spans[1], format!("this is {}", shown[1]))
        .secondary(spans[0], format!("this is {}", shown[0]))
        .help("both have the same element type and as many axes: weights are [out, in, ...]"),
    ))
}

/// Where the two operands stand.
fn places(call: &Call<'_>) -> Eval<[Span; 2]> {
    Ok([call.required(0)?.span, call.required(1)?.span])
}

/// The number of groups, a number that divides the channels on both sides.
fn groups<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    index: usize,
    channels: [(&Axis, &str); 2],
) -> Eval<Size> {
    let groups = numbers(evaluator, call, index, ("groups", 1, 1), 1)?.remove(0);
    let span = call.get(index).map_or(call.span, |given| given.span);
    for ((axis, what), place) in channels.into_iter().zip(places(call)?) {
        let rest = axis.size.as_constant().zip(groups.as_constant());
        if rest.is_some_and(|(size, groups)| size % groups != 0) {
            return Err(evaluator.report(
                Diagnostic::error("groups", format!("{groups} groups of {} {what}", axis.size))
                    .primary(span, format!("{groups} does not divide {}", axis.size))
                    .secondary(place, format!("this has {} {what}", axis.size))
                    .help("the number of groups divides the channels on both sides"),
            ));
        }
    }
    Ok(groups)
}

/// The number of channels that an operand must have.
fn require_channels<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    found: &Size,
    expected: &Size,
    [x, weight]: [&Tensor; 2],
) -> Eval<()> {
    if evaluator.sizes_agree(expected, found) {
        return Ok(());
    }
    let (spans, shown) = (places(call)?, [evaluator.show(x), evaluator.show(weight)]);
    Err(evaluator.report(
        Diagnostic::error("channels-differ", format!("{found} channels per group, not {expected}"))
            .primary(spans[1], format!("this is {}", shown[1]))
            .secondary(spans[0], format!("this is {}", shown[0]))
            .help("channels are the second axis of the input, and divided by the groups"),
    ))
}

/// The spatial axes of a result. One of the same size as the input's is the same axis.
fn spatial_axes<'p>(
    evaluator: &mut Evaluator<'p>,
    input: &[Axis],
    sizes: impl IntoIterator<Item = Size>,
) -> Vec<Axis> {
    let axes = input.iter().zip(sizes);
    axes.map(|(axis, size)| match size == axis.size {
        true => axis.clone(),
        false => Axis { id: evaluator.axes.unnamed(), size },
    })
    .collect()
}

/// The numbers of windows along the spatial axes of `x`; at least one must fit.
fn counts<'p>(
    evaluator: &mut Evaluator<'p>,
    call: &Call<'p>,
    x: &Tensor,
    geometry: &Geometry,
) -> Eval<Vec<Size>> {
    let mut counts = Vec::new();
    for (axis, given) in x.axes[2..].iter().enumerate() {
        let room = geometry.room(axis, &given.size);
        if room.as_constant().is_some_and(|room| room < 0) {
            let (spans, shown) = (places(call)?, evaluator.show(x));
            let (span, padded) = (geometry.span(axis), room.add(&geometry.span(axis)));
            return Err(evaluator.report(
                Diagnostic::error(
                    "kernel-too-large",
                    format!("a window of {span} does not fit an axis of {padded}"),
                )
                .primary(spans[1], format!("windows reach over {span} elements"))
                .secondary(spans[0], format!("this is {shown}, {padded} elements with padding"))
                .help("take a smaller kernel, or add padding"),
            ));
        }
        let steps = room.floor_divide(&geometry.stride[axis]).ok_or(Stop)?;
        counts.push(steps.add(&one()));
    }
    Ok(counts)
}

/// `[n, g * c, ...]` as `[g, n, c, ...]`.
fn grouped(graph: &mut Graph, node: NodeId, groups: usize) -> NodeId {
    let shape = graph.type_of(node).shape.clone();
    let mut split = vec![shape[0], groups, shape[1] / groups];
    split.extend(&shape[2..]);
    let mut order: Vec<usize> = (0..split.len()).collect();
    order.swap(0, 1);
    let node = graph.reshape(node, &split);
    graph.permute(node, &order)
}

/// `[g, n, c, ...]` as `[n, g * c, ...]`.
fn ungrouped(graph: &mut Graph, node: NodeId) -> NodeId {
    let shape = graph.type_of(node).shape.clone();
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.swap(0, 1);
    let mut joined = vec![shape[1], shape[0] * shape[2]];
    joined.extend(&shape[3..]);
    let node = graph.permute(node, &order);
    graph.reshape(node, &joined)
}

fn conv<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (x, weight) = operands(evaluator, call)?;
    let spatial = x.axes.len() - 2;
    let none = vec![Size::default(); spatial];
    let mut geometry = Geometry {
        kernel: weight.axes[2..].iter().map(|axis| axis.size.clone()).collect(),
        stride: numbers(evaluator, call, 2, ("stride", 1, 1), spatial)?,
        dilation: numbers(evaluator, call, 4, ("dilation", 1, 1), spatial)?,
        low: none.clone(),
        high: none,
    };
    paddings(evaluator, call, 3, &mut geometry)?;
    let channels = [(&x.axes[1], "channels"), (&weight.axes[0], "outputs")];
    let groups = groups(evaluator, call, 5, channels)?;
    let expected = evaluator.divide_exactly(&x.axes[1].size, &groups, call.span)?;
    require_channels(evaluator, call, &weight.axes[1].size, &expected, [&x, &weight])?;
    let counts = counts(evaluator, call, &x, &geometry)?;
    let mut axes = vec![x.axes[0].clone(), weight.axes[0].clone()];
    axes.extend(spatial_axes(evaluator, &x.axes[2..], counts));
    evaluator.check_axes(&axes, call.span)?;
    let sliding = (0..spatial).map(|axis| {
        let Window { stride, dilation, low, high, .. } = geometry.window(axis);
        Sliding { stride, dilation, low, high, ..Sliding::PLAIN }
    });
    let op = Conv { axes: sliding.collect(), reversed: false };
    let groups = usize::try_from(groups.as_constant().unwrap_or(1)).map_err(|_| Stop)?;
    let node = evaluator.emit([&x, &weight], |graph, [x, weight]| {
        let x = grouped(graph, x, groups);
        let mut shape = graph.type_of(weight).shape.clone();
        shape[0] /= groups;
        shape.insert(0, groups);
        let weight = graph.reshape(weight, &shape);
        let y = graph.emit(op.into(), &[x, weight]);
        ungrouped(graph, y)
    });
    Ok(Value::Tensor(Tensor { dtype: x.dtype, axes, node }))
}

fn conv_transpose<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (x, weight) = operands(evaluator, call)?;
    let spatial = x.axes.len() - 2;
    let none = vec![Size::default(); spatial];
    let mut geometry = Geometry {
        kernel: weight.axes[2..].iter().map(|axis| axis.size.clone()).collect(),
        stride: numbers(evaluator, call, 2, ("stride", 1, 1), spatial)?,
        dilation: numbers(evaluator, call, 5, ("dilation", 1, 1), spatial)?,
        low: none.clone(),
        high: none,
    };
    geometry.low = numbers(evaluator, call, 3, ("padding", 0, 0), spatial)?;
    let extra = numbers(evaluator, call, 4, ("output_padding", 0, 0), spatial)?;
    let groups = groups(evaluator, call, 6, [(&x.axes[1], "channels"); 2])?;
    require_channels(evaluator, call, &weight.axes[0].size, &x.axes[1].size, [&x, &weight])?;
    let mut sizes = Vec::with_capacity(spatial);
    for (axis, given) in x.axes[2..].iter().enumerate() {
        let (stride, padding) = (&geometry.stride[axis], &geometry.low[axis]);
        let numbers = [stride, &geometry.dilation[axis], &extra[axis]].map(Size::as_constant);
        if let [Some(stride), Some(dilation), Some(extra)] = numbers
            && extra >= stride.max(dilation)
        {
            let span = call.get(4).map_or(call.span, |given| given.span);
            return Err(evaluator.report(
                Diagnostic::error("output-padding", format!("an output padding of {extra}"))
                    .primary(span, format!("this is {extra}"))
                    .help("it is smaller than the stride or the dilation"),
            ));
        }
        let size = given.size.subtract(&one()).multiply(stride).add(&geometry.span(axis));
        let size = size.subtract(&padding.add(padding)).add(&extra[axis]);
        if size.as_constant().is_some_and(|size| size < 1) {
            let (spans, shown) = (places(call)?, evaluator.show(&x));
            return Err(evaluator.report(
                Diagnostic::error("kernel-too-large", format!("padding {padding} leaves nothing"))
                    .primary(call.span, format!("an axis of {size} elements"))
                    .secondary(spans[0], format!("this is {shown}"))
                    .help("padding cuts the result on both sides: take less"),
            ));
        }
        sizes.push(size);
    }
    let outputs = weight.axes[1].size.multiply(&groups);
    let id = if groups.is(1) { weight.axes[1].id } else { evaluator.axes.unnamed() };
    let mut axes = vec![x.axes[0].clone(), Axis { id, size: outputs }];
    axes.extend(spatial_axes(evaluator, &x.axes[2..], sizes));
    evaluator.check_axes(&axes, call.span)?;
    let sliding = extra.iter().enumerate().map(|(axis, extra)| {
        let Window { size, stride, dilation, low, .. } = geometry.window(axis);
        let low = (size as i64 - 1) * dilation as i64 - low;
        let high = low + extra.as_constant().unwrap_or(0);
        Sliding { stride: 1, dilation, input_dilation: stride, low, high }
    });
    let op = Conv { axes: sliding.collect(), reversed: true };
    let groups = usize::try_from(groups.as_constant().unwrap_or(1)).map_err(|_| Stop)?;
    let node = evaluator.emit([&x, &weight], |graph, [x, weight]| {
        let x = grouped(graph, x, groups);
        // [g * ci, co, ...] as [g, co, ci, ...]
        let mut shape = graph.type_of(weight).shape.clone();
        shape[0] /= groups;
        shape.insert(0, groups);
        let mut order: Vec<usize> = (0..shape.len()).collect();
        order.swap(1, 2);
        let weight = graph.reshape(weight, &shape);
        let weight = graph.permute(weight, &order);
        let y = graph.emit(op.into(), &[x, weight]);
        ungrouped(graph, y)
    });
    Ok(Value::Tensor(Tensor { dtype: x.dtype, axes, node }))
}

fn windows<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let x = operand(evaluator, call, 0)?;
    let spatial = x.axes.len() - 2;
    let none = vec![Size::default(); spatial];
    let kernel = numbers(evaluator, call, 1, ("kernel", 1, 1), spatial)?;
    let stride = match call.get(2) {
        Some(_) => numbers(evaluator, call, 2, ("stride", 1, 1), spatial)?,
        None => kernel.clone(),
    };
    let dilation = numbers(evaluator, call, 4, ("dilation", 1, 1), spatial)?;
    let mut geometry = Geometry { kernel, stride, dilation, low: none.clone(), high: none };
    paddings(evaluator, call, 3, &mut geometry)?;
    for axis in 0..spatial {
        let [padding, kernel] =
            [&geometry.low[axis], &geometry.kernel[axis]].map(Size::as_constant);
        if let (Some(padding), Some(kernel)) = (padding, kernel)
            && padding > kernel / 2
        {
            let span = call.get(3).map_or(call.span, |given| given.span);
            return Err(evaluator.report(
                Diagnostic::error(
                    "window-padding",
                    format!("padding {padding} for windows of {kernel}"),
                )
                .primary(span, "some windows would hold nothing but padding")
                .help("padding is at most half the size of the windows"),
            ));
        }
    }
    let fill = match call.get(5) {
        Some(given) => evaluator.expect_float(&given.value, given.span, "the fill value")?,
        None => Some(0.0),
    };
    let counts = counts(evaluator, call, &x, &geometry)?;
    let elements = geometry.kernel.iter().fold(one(), |product, size| product.multiply(size));
    let mut axes = x.axes[..2].to_vec();
    axes.extend(spatial_axes(evaluator, &x.axes[2..], counts));
    axes.push(Axis { id: evaluator.axes.unnamed(), size: elements });
    evaluator.check_axes(&axes, call.span)?;
    let windows: Vec<Window> = (0..spatial).map(|axis| geometry.window(axis)).collect();
    let shape = Evaluator::extents(&axes);
    let node = evaluator.emit([&x], |graph, [x]| {
        let windows = graph.unfold(x, &windows, fill.unwrap_or(0.0));
        graph.reshape(windows, &shape)
    });
    Ok(Value::Tensor(Tensor { dtype: x.dtype, axes, node }))
}
