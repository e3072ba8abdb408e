//! Brings a body into the form with the fewest axes.

use smallvec::SmallVec;

use crate::index::{Atom, Expression, IndexMap};
use crate::kernel::{Axis, AxisRole, Body, InstructionKind};
use crate::schedule::memory::Memory;

use super::analysis::Analysis;

/// The same computation with element offsets in place of indices (every map has one index) and
/// over fewer axes: extents of 1 are dropped, and neighbours of one role are merged where no
/// offset needs a new division for it.
///
/// Before that, an axis whose index is divided is split in two where that takes the divisions
/// away.
///
/// The axis `kept`, if there is one, stays as it is (but for one of extent 1); its number may change,
/// and is returned.
pub fn normalize(body: &Body, memory: &Memory, kept: Option<usize>) -> (Body, Option<usize>) {
    let (mut body, mut kept) = drop_unit_axes(&linearized(body, memory), kept);
    let mut axis = 0;
    while axis < body.axes.len() {
        match split(&body, axis).filter(|_| kept != Some(axis)) {
            // The outer part may be divided further.
            Some(more) => {
                body = more;
                kept = kept.map(|kept| kept + usize::from(kept > axis));
            }
            None => axis += 1,
        }
    }
    let mut axis = 0;
    while axis + 1 < body.axes.len() {
        let keeps = kept.is_some_and(|kept| [axis, axis + 1].contains(&kept));
        match merged(&body, axis).filter(|_| !keeps) {
            Some(fewer) => {
                body = fewer;
                kept = kept.map(|kept| kept - usize::from(kept > axis));
            }
            None => axis += 1,
        }
    }
    (body, kept)
}

/// The body with each map leading from all of its axes to the element offset in its value's
/// buffer.
pub fn linearized(body: &Body, memory: &Memory) -> Body {
    let (extents, per_point) = (body.extents(), body.per_point());
    let rows: Vec<Expression> = (body.axes.iter().enumerate())
        .filter(|(_, axis)| axis.role == AxisRole::Parallel)
        .map(|(position, _)| Expression::axis(position))
        .collect();
    let mut body = body.clone();
    for instruction in &mut body.instructions {
        if let InstructionKind::Load { value, map } | InstructionKind::Gather { value, map, .. } =
            &mut instruction.kind
        {
            *map = map.linearized(&memory.strides(*value));
        }
    }
    for store in &mut body.stores {
        store.map = store.map.linearized(&memory.strides(store.value));
        if !per_point[store.instruction.0 as usize] {
            store.map = store.map.over(&extents, &rows);
        }
    }
    body
}

fn drop_unit_axes(body: &Body, kept: Option<usize>) -> (Body, Option<usize>) {
    // An arg-reduction and its kin need an axis to run over, so the last reduced axis stays.
    let last_reduced = body.axes.iter().rposition(|axis| axis.role == AxisRole::Reduced);
    let has_wide_reduced =
        body.axes.iter().any(|axis| axis.role == AxisRole::Reduced && axis.extent != 1);
    let mut axes = Vec::new();
    let mut replacements = Vec::new();
    let mut kept_now = None;
    for (position, axis) in body.axes.iter().enumerate() {
        if axis.extent == 1 && (has_wide_reduced || Some(position) != last_reduced) {
            replacements.push(Expression::constant(0));
        } else {
            if kept == Some(position) {
                kept_now = Some(axes.len());
            }
            replacements.push(Expression::axis(axes.len()));
            axes.push(*axis);
        }
    }
    (rebased(body, axes, &replacements), kept_now)
}

/// `body` with `axis` as two, if its index is divided by a number that divides its extent and
/// accesses run better along memory then. Positions along a reduced axis are not told from two indices, so searched axes stay.
fn split(body: &Body, axis: usize) -> Option<Body> {
    let Axis { extent, role } = body.axes[axis];
    let width = Expression::block_width(expressions(body), axis)?;
    let searches = (body.instructions.iter())
        .any(|instruction| matches!(instruction.kind, InstructionKind::ArgReduce(..)));
    if (searches && role == AxisRole::Reduced) || width >= extent || extent % width != 0 {
        return None;
    }
    let candidate = parted(body, axis, width);
    let better = Analysis::of(&candidate).tile_score > Analysis::of(body).tile_score;
    (better && divisions(&candidate) < divisions(body)).then_some(candidate)
}

/// `body` with `axis` as two, the inner one of this extent, which divides that of the axis.
pub(super) fn parted(body: &Body, axis: usize, width: usize) -> Body {
    let Axis { extent, role } = body.axes[axis];
    let mut axes = body.axes.clone();
    axes[axis].extent = extent / width;
    axes.insert(axis + 1, Axis { extent: width, role });
    let replacements: Vec<Expression> = (0..body.axes.len())
        .map(|position| match position {
            p if p == axis => {
                Expression::axis(p).times(width as i64).plus(&Expression::axis(p + 1))
            }
            p if p > axis => Expression::axis(p + 1),
            p => Expression::axis(p),
        })
        .collect();
    rebased(body, axes, &replacements)
}

/// `body` with axes `axis` and `axis + 1` as one, if that needs no new division.
fn merged(body: &Body, axis: usize) -> Option<Body> {
    let [outer, inner] = [body.axes[axis], body.axes[axis + 1]];
    if outer.role != inner.role {
        return None;
    }
    let mut axes = body.axes.clone();
    axes[axis].extent *= inner.extent;
    axes.remove(axis + 1);
    let extents: SmallVec<[usize; 4]> = axes.iter().map(|axis| axis.extent).collect();
    let joint = Expression::axis(axis);
    let replacements: Vec<Expression> = (0..body.axes.len())
        .map(|position| match position {
            p if p == axis => joint.divided(inner.extent as i64, &extents),
            p if p == axis + 1 => joint.remainder(inner.extent as i64, &extents),
            p if p > axis => Expression::axis(p - 1),
            p => Expression::axis(p),
        })
        .collect();
    let candidate = rebased(body, axes, &replacements);
    (divisions(&candidate) <= divisions(body)).then_some(candidate)
}

/// The body over other axes: old axis `i` is `replacements[i]`.
pub(super) fn rebased(body: &Body, axes: Vec<Axis>, replacements: &[Expression]) -> Body {
    let extents: SmallVec<[usize; 4]> = axes.iter().map(|axis| axis.extent).collect();
    let map_over = |map: &IndexMap| map.over(&extents, replacements);
    let mut result = body.clone();
    result.axes = axes;
    for instruction in &mut result.instructions {
        match &mut instruction.kind {
            InstructionKind::Load { map, .. }
            | InstructionKind::Gather { map, .. }
            | InstructionKind::Masked(_, map) => {
                *map = map_over(map);
            }
            InstructionKind::Index(index) | InstructionKind::Random { index, .. } => {
                *index = index.substitute(replacements, &extents);
            }
            InstructionKind::Constant(_)
            | InstructionKind::Accumulator
            | InstructionKind::Apply(..)
            | InstructionKind::Cast(_)
            | InstructionKind::Reduce(..)
            | InstructionKind::ArgReduce(..) => {}
        }
    }
    for store in &mut result.stores {
        store.map = map_over(&store.map);
    }
    result
}

/// All index expressions of the body.
pub(super) fn expressions(body: &Body) -> impl Iterator<Item = &Expression> {
    fn of_map(map: &IndexMap) -> SmallVec<[&Expression; 4]> {
        let constraints = map.constraints().iter().map(|constraint| &constraint.expression);
        map.indices().iter().chain(constraints).collect()
    }
    let in_instructions = body.instructions.iter().flat_map(|i| match &i.kind {
        InstructionKind::Load { map, .. }
        | InstructionKind::Gather { map, .. }
        | InstructionKind::Masked(_, map) => of_map(map),
        InstructionKind::Index(index) | InstructionKind::Random { index, .. } => {
            [index].into_iter().collect()
        }
        _ => SmallVec::new(),
    });
    in_instructions.chain(body.stores.iter().flat_map(|store| of_map(&store.map)))
}

/// Number of quotients and remainders in all maps of the body, nested ones included.
fn divisions(body: &Body) -> usize {
    fn in_expression(expression: &Expression) -> usize {
        let in_atom = |atom: &Atom| match atom {
            Atom::Axis(_) => 0,
            Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => 1 + in_expression(inner),
        };
        expression.terms().iter().map(|(atom, _)| in_atom(atom)).sum()
    }
    expressions(body).map(in_expression).sum()
}
