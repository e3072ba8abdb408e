//! Which values may take the place of what their kernel reads.

use crate::index::{Expression, IndexMap};
use crate::kernel::{
    AxisRole, Body, InstructionKind, Kernel, KernelBody, ProductOperand, Store, ValueId,
};

/// Whether the kernel reads each element of `old` only to write the same element of `new`, and
/// never after it is written, so that both can share a place.
pub fn is_pointwise(kernel: &Kernel, old: ValueId, new: ValueId) -> bool {
    let (body, operands): (&Body, &[&ProductOperand]) = match &kernel.body {
        KernelBody::Fused(body) => (body, &[]),
        KernelBody::Product(product) => (&product.epilogue, &[&product.left, &product.right]),
        KernelBody::Library(_) | KernelBody::Loop(_) => return false,
    };
    let in_operands = operands.iter().any(|operand| match operand {
        ProductOperand::Value(value, _) => *value == old,
        ProductOperand::Computed(body) => body.loaded().any(|value| value == old),
    });
    let gathers = body.instructions.iter().any(|instruction| {
        matches!(instruction.kind, InstructionKind::Gather { value, .. } if value == old)
    });
    let mut stores = body.stores.iter().filter(|store| store.value == new);
    let (Some(store), None) = (stores.next(), stores.next()) else { return false };
    let written = map_over_all_axes(body, store);
    let same_element = body.instructions.iter().all(|instruction| match &instruction.kind {
        InstructionKind::Load { value, map } => *value != old || *map == written,
        _ => true,
    });
    !in_operands && !gathers && same_element && last_read(body, old) <= when(body, store)
}

/// The map of a store as one from all axes of the body, also for a value per row.
fn map_over_all_axes(body: &Body, store: &Store) -> IndexMap {
    if body.per_point()[store.instruction.0 as usize] {
        return store.map.clone();
    }
    let parallel = |axis: &usize| body.axes[*axis].role == AxisRole::Parallel;
    let rows: Vec<Expression> =
        (0..body.axes.len()).filter(parallel).map(Expression::axis).collect();
    store.map.over(&body.extents(), &rows)
}

/// Time is counted in visits of a row: what follows on `l` levels of reductions is computed at
/// `2 l` once per row, at `2 l + 1` at each of its points. Within a visit, reads come first.
fn visit(level: usize, per_point: bool) -> usize {
    2 * level + usize::from(per_point)
}

/// When a store happens.
fn when(body: &Body, store: &Store) -> usize {
    let index = store.instruction.0 as usize;
    visit(levels(body)[index], body.per_point()[index])
}

/// The last visit in which `value` may be read: a result that is not reduced is computed anew,
/// from what it reads, wherever it is needed.
fn last_read(body: &Body, value: ValueId) -> usize {
    let (levels, per_point) = (levels(body), body.per_point());
    let mut reads = vec![false; body.instructions.len()];
    let mut last = 0;
    for (index, instruction) in body.instructions.iter().enumerate() {
        let of_operand = instruction.kind.operands().iter().any(|id| reads[id.0 as usize]);
        match instruction.kind {
            InstructionKind::Load { value: read, .. } => reads[index] = read == value,
            InstructionKind::Reduce(..) | InstructionKind::ArgReduce(..) if of_operand => {
                last = last.max(visit(levels[index] - 1, true));
            }
            InstructionKind::Reduce(..) | InstructionKind::ArgReduce(..) => {}
            _ => reads[index] = of_operand,
        }
    }
    let stores = body.stores.iter().map(|store| store.instruction.0 as usize);
    let stores = stores.filter(|&index| reads[index]);
    stores.map(|index| visit(levels[index], per_point[index])).fold(last, usize::max)
}

/// Per instruction: how many reductions lie, one after another, before its result.
fn levels(body: &Body) -> Vec<usize> {
    let mut levels: Vec<usize> = Vec::with_capacity(body.instructions.len());
    for instruction in &body.instructions {
        let before = instruction.kind.operands().iter().map(|id| levels[id.0 as usize]).max();
        let reduces = matches!(
            instruction.kind,
            InstructionKind::Reduce(..) | InstructionKind::ArgReduce(..)
        );
        levels.push(before.unwrap_or(0) + usize::from(reduces));
    }
    levels
}
