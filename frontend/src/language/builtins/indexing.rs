//! Slices at indices that are tensors.

use cygnet_compiler::graph::Emit;
use cygnet_compiler::op::{Gather, Scatter, ScatterKind};
use cygnet_compiler::types::DType;

use super::{Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator};
use crate::language::value::{Axis, Int, Tensor, Value};
use crate::source::Span;

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "gather",
        parameters: &[("x", Kind::Required), ("index", Kind::Required), ("over", Kind::Required)],
        doc: "elements along an axis at the places that a tensor (i32) holds: `x[v: index]`",
        run: |evaluator, call| {
            let (x, index) = (evaluator.tensor_of(call, 0)?, evaluator.tensor_of(call, 1)?);
            let place = evaluator.single_axis(call, &x, 2)?;
            let span = call.required(1)?.span;
            evaluator.gather(&x, place, &index, (call.span, span)).map(Value::Tensor)
        },
    },
    Entry {
        name: "scatter",
        parameters: &[
            ("updates", Kind::Required),
            ("index", Kind::Required),
            ("size", Kind::Required),
            ("over", Kind::Optional),
            ("last", Kind::Optional),
        ],
        doc: "sums of the updates with equal indices (or the last of them) along a new axis",
        run: scatter,
    },
];

impl<'p> Evaluator<'p> {
    /// Slices of a tensor along the axis at `place`, at indices: the axes of the indices take its
    /// place. Axes that both tensors have run together. `call` and `given` are where the indexing
    /// and the indices stand.
    pub fn gather(
        &mut self,
        tensor: &Tensor,
        place: usize,
        indices: &Tensor,
        (call, given): (Span, Span),
    ) -> Eval<Tensor> {
        self.expect_indices(indices, given)?;
        let others = (0..tensor.axes.len()).filter(|&axis| axis != place);
        let partner =
            |axis: usize| indices.axes.iter().position(|other| other.id == tensor.axes[axis].id);
        let shared: Vec<(usize, usize)> =
            others.clone().filter_map(|axis| Some((axis, partner(axis)?))).collect();
        self.expect_shared(tensor, indices, &shared, (call, given))?;
        let own: Vec<usize> = (0..indices.axes.len())
            .filter(|axis| shared.iter().all(|(_, other)| other != axis))
            .collect();
        let rest: Vec<usize> =
            others.filter(|axis| shared.iter().all(|(other, _)| other != axis)).collect();
        // The primitive gives the shared axes, those of the indices, then the rest.
        let listed = shared.len()..shared.len() + own.len();
        let (mut order, mut axes) = (Vec::new(), Vec::new());
        for (position, axis) in tensor.axes.iter().enumerate() {
            if position == place {
                order.extend(listed.clone());
                axes.extend(own.iter().map(|&axis| indices.axes[axis].clone()));
                continue;
            }
            let among_shared = shared.iter().position(|(other, _)| *other == position);
            let among_rest = rest.iter().position(|other| *other == position);
            order.push(among_shared.or(among_rest.map(|n| listed.end + n)).unwrap_or(0));
            axes.push(axis.clone());
        }
        self.check_axes(&axes, call)?;
        if let (Some(node), Some(extent)) = (indices.node, tensor.axes[place].size.as_constant()) {
            let count = usize::try_from(extent).unwrap_or(0);
            self.labels.push((node, count.into()));
        }
        let from: Vec<usize> =
            shared.iter().map(|(axis, _)| *axis).chain([place]).chain(rest).collect();
        let by: Vec<usize> = shared.iter().map(|(_, axis)| *axis).chain(own).collect();
        let batch = shared.len();
        let node = self.emit([tensor, indices], |graph, [tensor, indices]| {
            let (tensor, indices) = (graph.permute(tensor, &from), graph.permute(indices, &by));
            let slices = graph.emit(Gather { batch }.into(), &[tensor, indices]);
            graph.permute(slices, &order)
        });
        Ok(Tensor { dtype: tensor.dtype, axes, node })
    }

    fn expect_indices(&mut self, indices: &Tensor, span: Span) -> Eval<()> {
        if indices.dtype == DType::I32 {
            return Ok(());
        }
        let shown = self.show(indices);
        let help = match indices.dtype {
            DType::Bool => "choose elements with `where(condition, x, 0)`",
            _ => "convert it: `i32(x)`",
        };
        Err(self.report(
            Diagnostic::error("index-type", format!("an index is i32, not {}", indices.dtype))
                .primary(span, format!("this is {shown}"))
                .help(help),
        ))
    }

    fn expect_shared(
        &mut self,
        tensor: &Tensor,
        indices: &Tensor,
        shared: &[(usize, usize)],
        (call, given): (Span, Span),
    ) -> Eval<()> {
        for &(a, b) in shared {
            let (a, b) = (&tensor.axes[a], &indices.axes[b]);
            if !self.sizes_agree(&a.size, &b.size) {
                let (x, y) = (self.show(tensor), self.show(indices));
                let (a, b) = (self.show_axis(a), self.show_axis(b));
                return Err(self.report(
                    Diagnostic::error(
                        "sizes-differ",
                        format!("{x} cannot be indexed by {y}: `{a}` against `{b}`"),
                    )
                    .primary(call, "these axes run together")
                    .secondary(given, format!("this is {y}"))
                    .help("rename one of them with `as` if they are different axes"),
                ));
            }
        }
        Ok(())
    }
}

/// Updates go where indices say, along a new axis that takes the place of those that `over` names.
fn scatter<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let (updates, index) = (evaluator.tensor_of(call, 0)?, evaluator.tensor_of(call, 1)?);
    let (given, size) = (call.required(1)?.span, call.required(2)?);
    evaluator.expect_indices(&index, given)?;
    if matches!(updates.dtype, DType::Bool | DType::U8) {
        let shown = evaluator.show(&updates);
        return Err(evaluator.report(
            Diagnostic::error(
                "wrong-dtype",
                format!("`scatter` takes floats or i32, not {}", updates.dtype),
            )
            .primary(call.required(0)?.span, format!("this is {shown}"))
            .help("convert it first: `f32(x)`"),
        ));
    }
    let extent = evaluator.expect_extent(&size.value, size.span)?;
    let consumed = match call.get(3) {
        Some(over) => evaluator.axis_places(&index, over)?,
        None => (0..index.axes.len()).collect(),
    };
    let kind = if evaluator.flag(call, 4)? { ScatterKind::Set } else { ScatterKind::Add };
    let mut pairs = Vec::with_capacity(index.axes.len());
    for (place, axis) in index.axes.iter().enumerate() {
        let Some(other) = updates.axes.iter().position(|other| other.id == axis.id) else {
            let (shown, axis) = (evaluator.show(&updates), evaluator.show_axis(axis));
            return Err(evaluator.report(
                Diagnostic::error("no-such-axis", format!("{shown} has no axis `{axis}`"))
                    .primary(call.required(0)?.span, "no update for each index")
                    .secondary(given, format!("`{axis}` is an axis of the indices"))
                    .help("updates have all axes of the indices; repeat them with `as`"),
            ));
        };
        pairs.push((other, place));
    }
    evaluator.expect_shared(&updates, &index, &pairs, (call.span, given))?;
    let (listed, shared): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(_, place)| consumed.contains(place));
    let rest: Vec<usize> = (0..updates.axes.len())
        .filter(|axis| shared.iter().chain(&listed).all(|(other, _)| other != axis))
        .collect();
    let id = match &size.value {
        Value::Int(Int { axis: Some(id), .. }) => *id,
        _ => evaluator.axes.unnamed(),
    };
    // The primitive gives the shared axes, the new one, then the rest.
    let first = listed.iter().map(|(axis, _)| *axis).min().unwrap_or(0);
    let (mut order, mut axes) = (Vec::new(), Vec::new());
    for position in 0..=updates.axes.len() {
        if position == first {
            order.push(shared.len());
            axes.push(Axis { id, size: extent.clone() });
        }
        let among_shared = shared.iter().position(|(other, _)| *other == position);
        let among_rest = rest.iter().position(|other| *other == position);
        if let Some(place) = among_shared.or(among_rest.map(|n| shared.len() + 1 + n)) {
            order.push(place);
            axes.push(updates.axes[position].clone());
        }
    }
    evaluator.check_axes(&axes, call.span)?;
    let extent = Evaluator::extents(&[Axis { id, size: extent }])[0];
    if let Some(node) = index.node {
        evaluator.labels.push((node, extent.into()));
    }
    let both = || shared.iter().chain(&listed);
    let from: Vec<usize> = both().map(|(axis, _)| *axis).chain(rest).collect();
    let by: Vec<usize> = both().map(|(_, place)| *place).collect();
    let batch = shared.len();
    let node = evaluator.emit([&updates, &index], |graph, [updates, index]| {
        let (updates, index) = (graph.permute(updates, &from), graph.permute(index, &by));
        let scatter = Scatter { kind, batch, extent };
        let slices = graph.emit(scatter.into(), &[index, updates]);
        graph.permute(slices, &order)
    });
    Ok(Value::Tensor(Tensor { dtype: updates.dtype, axes, node }))
}
