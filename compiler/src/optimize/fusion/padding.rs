//! Kernels that do nothing but put zeros around images: a routine of the runtime does that with masked
//! vectors, which generated code has not.

use cygnet_runtime::library::{Pad, Routine};
use smallvec::smallvec;

use crate::index::{Expression, IndexMap, row_major_strides};
use crate::kernel::{AxisRole, Body, InstructionKind, Library, Value, ValueId};
use crate::types::{DType, Scalar};

/// The routine for a body that copies images into larger ones, with zeros around.
pub(super) fn routine(body: &Body, values: &[Value]) -> Option<Library> {
    let ([instruction], [store]) = (&body.instructions[..], &body.stores[..]) else { return None };
    let InstructionKind::Load { value, map } = &instruction.kind else { return None };
    let zeros = map.fill() == Some(Scalar::new(DType::F32, 0.0)) && !map.constraints().is_empty();
    let plain = body.axes.iter().all(|axis| axis.role == AxisRole::Parallel);
    if !zeros || !plain || instruction.dtype != DType::F32 {
        return None;
    }
    let domain: Vec<usize> = body.axes.iter().map(|axis| axis.extent).collect();
    let outer = domain.len().checked_sub(2)?;
    // Where images lie in the padded ones.
    let mut inside = [0..domain[outer], 0..domain[outer + 1]];
    for constraint in map.constraints() {
        let axis = (outer..domain.len()).find(|&axis| constraint.expression.depends_on(axis))?;
        let shift = constraint.expression.offset();
        let shifted = Expression::axis(axis).plus(&Expression::constant(shift));
        if constraint.expression != shifted {
            return None;
        }
        let range = &mut inside[axis - outer];
        let bound = |bound: i64| usize::try_from((bound - shift).max(0)).ok();
        *range = range.start.max(bound(constraint.low)?)..range.end.min(bound(constraint.high)?);
    }
    if inside.iter().any(|range| range.start >= range.end) {
        return None;
    }
    let extents = [0, 1].map(|axis| inside[axis].len());
    let dense = |shape: &[usize]| {
        let strides = row_major_strides(shape);
        let terms = strides
            .iter()
            .enumerate()
            .map(|(axis, &stride)| Expression::axis(axis).times(stride as i64));
        terms.fold(Expression::constant(0), |sum, term| sum.plus(&term))
    };
    let mut from = domain.clone();
    from[outer..].copy_from_slice(&extents);
    let before = inside[0].start * extents[1] + inside[1].start;
    let expected = dense(&from).plus(&Expression::constant(-(before as i64)));
    let is = |found: Expression, expected: Expression| {
        IndexMap::new(&domain, [found]) == IndexMap::new(&domain, [expected])
    };
    let offset = |map: &IndexMap, value: ValueId| {
        map.offset(&row_major_strides(&values[value.0 as usize].ty.shape))
    };
    let reads_densely = is(offset(map, *value), expected);
    let writes_densely = is(offset(&store.map, store.value), dense(&domain));
    if !reads_densely || !writes_densely {
        return None;
    }
    let pad = Pad {
        outer: domain[..outer].iter().product(),
        extents,
        low: [0, 1].map(|axis| inside[axis].start),
        high: [0, 1].map(|axis| domain[outer + axis] - inside[axis].end),
    };
    Some(Library {
        routine: Routine::Pad(pad),
        dtype: DType::F32,
        operands: smallvec![*value],
        result: store.value,
    })
}
