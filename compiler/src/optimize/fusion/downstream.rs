//! Growing a kernel toward its users: what can be computed on while a result is at hand.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{kept_indices, reduced_axes};
use super::survey::Survey;
use crate::graph::NodeId;
use crate::index::IndexMap;
use crate::op::{Emit, Op};

/// Most nodes that a kernel takes on behind its anchor.
const MOST_NODES: usize = 64;

/// Nodes computed from a kernel's anchors, and where: maps from the kernel's points to their
/// indices. Each point (or row) has exactly one element of each.
pub(super) type Places = BTreeMap<NodeId, IndexMap>;

/// The users of the anchors, their users and so on, as far as they can be computed at the same
/// points. `reducing` tells shape and axes of the kernel's reductions, which more reductions may
/// join. Whatever else these nodes depend on does not depend on the anchors.
pub(super) fn grow(
    survey: &Survey<'_>,
    anchors: &Places,
    reducing: Option<(&[usize], &[usize])>,
) -> Places {
    let starts: Vec<NodeId> = anchors.keys().copied().collect();
    let depends = survey.descendants(&starts);
    let mut places = anchors.clone();
    let mut pending: BTreeSet<NodeId> =
        starts.iter().flat_map(|&anchor| survey.users(anchor)).copied().collect();
    while let Some(id) = pending.pop_first() {
        if places.contains_key(&id) || places.len() >= MOST_NODES {
            continue;
        }
        if let Some(place) = place_of(survey, id, &places, &depends, reducing) {
            places.insert(id, place);
            pending.extend(survey.users(id));
        }
    }
    places
}

fn place_of(
    survey: &Survey<'_>,
    id: NodeId,
    places: &Places,
    depends: &[bool],
    reducing: Option<(&[usize], &[usize])>,
) -> Option<IndexMap> {
    let node = survey.graph.node(id);
    let (mut known, outside): (Vec<NodeId>, Vec<NodeId>) =
        node.operands.iter().partition(|operand| places.contains_key(operand));
    if outside.iter().any(|operand| depends[operand.index()]) {
        return None;
    }
    known.dedup();
    let place = &places[known.first()?];
    match &node.op {
        Op::Elementwise(_) | Op::Cast(_) | Op::StopGradient(_) => {
            known.iter().all(|operand| places[operand] == *place).then(|| place.clone())
        }
        Op::Reduce(_) | Op::ArgReduce(_) => {
            let (shape, axes) = reducing?;
            let fits = place.is_identity(shape) && reduced_axes(&node.op) == Some(axes);
            fits.then(|| kept_indices(shape, axes))
        }
        op => {
            let shape = &survey.graph.type_of(known[0]).shape;
            let movement = op.index_map(shape)?;
            moved_place(&movement, shape, place, reducing)
        }
    }
}

/// Where the result of a movement is computed, its operand being computed at `place`: either the
/// movement can be undone, or it repeats a row's value along the row.
fn moved_place(
    movement: &IndexMap,
    shape: &[usize],
    place: &IndexMap,
    reducing: Option<(&[usize], &[usize])>,
) -> Option<IndexMap> {
    if let Some(inverse) = movement.inverse(shape) {
        let result = place.compose(&inverse)?;
        return (result.compose(movement)? == *place).then_some(result);
    }
    let (points, _) = reducing?;
    let repeated = movement.domain() == points && *movement == *place;
    repeated.then(|| IndexMap::identity(points))
}
