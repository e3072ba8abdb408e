//! Reductions.

use egg::Id;
use smallvec::SmallVec;

use super::movement::{selected_axes, without_axes};
use crate::index::{Expression, IndexMap};
use crate::op::contraction::AxisPairs;
use crate::op::{Contract, Op, Reduce, ReduceKind};
use crate::optimize::algebra::language::{Kind, Term};
use crate::optimize::algebra::rule::Exactness::{AssumesFinite, Exact, Reassociates};
use crate::optimize::algebra::rule::Rule;
use crate::optimize::algebra::site::Site;
use crate::types::{Axes, Shape};

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    let reductions = [Kind::Reduce];
    let procedure = Rule::procedure;
    vec![
        procedure(
            "a reduction over axes of length one is a reshape",
            Exact,
            &reductions,
            over_nothing,
        ),
        procedure("a reduction of a reduction is one reduction", Reassociates, &reductions, nested),
        procedure(
            "a reduction of one value is a multiple of it",
            Reassociates,
            &reductions,
            constant,
        ),
        procedure(
            "a reduction of values that were moved or repeated reduces the values first",
            Reassociates,
            &reductions,
            of_view,
        ),
        procedure("a sum of negated values is the negated sum", Exact, &reductions, of_negated),
        procedure(
            "a constant factor of a sum multiplies the sum",
            Reassociates,
            &reductions,
            constant_factor,
        )
        .rearranging(),
        // An infinite factor makes NaN of terms with different signs.
        procedure(
            "a factor common to all terms of a sum multiplies the sum",
            AssumesFinite,
            &reductions,
            common_factor,
        )
        .rearranging(),
        procedure(
            "a sum of products of repeated values is a contraction",
            Reassociates,
            &reductions,
            contraction,
        )
        .rearranging(),
    ]
}

fn reduce_of(site: &Site<'_>, term: &Term) -> Option<Reduce> {
    match site.op(term) {
        Op::Reduce(reduce) => Some(reduce.clone()),
        _ => None,
    }
}

/// For each axis of the operand, its position in the result of a reduction over `axes`.
fn kept_positions(rank: usize, axes: &[usize]) -> SmallVec<[Option<usize>; 4]> {
    let mut kept = 0;
    let position = |axis: usize| {
        (!axes.contains(&axis)).then(|| {
            kept += 1;
            kept - 1
        })
    };
    (0..rank).map(position).collect()
}

fn over_nothing(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let reduce = reduce_of(site, term)?;
    let shape = site.ty(term.children[0]).shape.clone();
    if reduce.axes.iter().any(|&axis| shape[axis] != 1) {
        return None;
    }
    let map = IndexMap::reshape(&shape, &site.ty(class).shape.clone());
    Some(site.view(&map, term.children[0]))
}

fn nested(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let outer = reduce_of(site, term)?;
    let inner = site.terms_of(term.children[0], Kind::Reduce).find_map(|inner| {
        let reduce = reduce_of(site, inner)?;
        (reduce.kind == outer.kind).then(|| (reduce.axes, inner.children[0]))
    });
    let (inner_axes, operand) = inner?;
    let positions = kept_positions(site.ty(operand).rank(), &inner_axes);
    let axes: Axes = (0..positions.len())
        .filter(|&axis| positions[axis].is_none_or(|kept| outer.axes.contains(&kept)))
        .collect();
    Some(site.reduce(outer.kind, operand, &axes))
}

fn constant(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let reduce = reduce_of(site, term)?;
    let value = site.constant(term.children[0])?;
    let operand = site.ty(term.children[0]);
    let count: usize = reduce.axes.iter().map(|&axis| operand.shape[axis]).product();
    let value = match reduce.kind {
        _ if !operand.dtype.is_float() => return None,
        ReduceKind::Sum => value * count as f64,
        ReduceKind::Prod => value.powf(count as f64),
        ReduceKind::Max if count == 0 => f64::NEG_INFINITY,
        ReduceKind::Max => value,
    };
    let ty = site.ty(class).clone();
    Some(site.splat(&ty, value))
}

fn of_view(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let reduce = reduce_of(site, term)?;
    let operand = term.children[0];
    let (selected, base) = site.views(operand).find_map(|(map, base)| {
        let selected = selected_axes(map, &site.ty(base).shape)?;
        Some((selected, base))
    })?;
    let shape = site.ty(operand).shape.clone();
    let repeated = reduce.axes.iter().filter(|&&axis| !selected.contains(&Some(axis)));
    let repetitions: usize = repeated.map(|&axis| shape[axis]).product();
    let scales = repetitions != 1 && reduce.kind != ReduceKind::Max;
    if repetitions == 0 || (scales && reduce.kind == ReduceKind::Prod) {
        return None;
    }
    let summed = |axis: &Option<usize>| axis.is_some_and(|axis| reduce.axes.contains(&axis));
    let axes: Axes = (0..selected.len()).filter(|&axis| summed(&selected[axis])).collect();
    let reduced = site.reduce(reduce.kind, base, &axes);
    let positions = kept_positions(shape.len(), &reduce.axes);
    let indices = selected.iter().filter(|axis| !summed(axis)).map(|axis| match axis {
        Some(axis) => Expression::axis(positions[*axis].expect("the axis is kept")),
        None => Expression::constant(0),
    });
    let map = IndexMap::new(&site.ty(class).shape.clone(), indices);
    let moved = site.view(&map, reduced);
    Some(if scales { site.times(moved, repetitions as f64) } else { moved })
}

fn of_negated(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let reduce = reduce_of(site, term)?;
    if reduce.kind != ReduceKind::Sum {
        return None;
    }
    let operand = site.applications(term.children[0], "neg").next()?[0];
    let sum = site.reduce(ReduceKind::Sum, operand, &reduce.axes);
    Some(site.named("neg", &[sum]))
}

fn constant_factor(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let reduce = reduce_of(site, term)?;
    if reduce.kind != ReduceKind::Sum {
        return None;
    }
    if site.has_other_users(term.children[0]) {
        return None;
    }
    let (rest, factor) = scaled_by_constant(site, term.children[0])?;
    let ty = site.ty(class).clone();
    let sum = site.reduce(ReduceKind::Sum, rest, &reduce.axes);
    let factor = site.splat(&ty, factor);
    Some(site.named("mul", &[sum, factor]))
}

/// The value that a class is a known multiple of, and the factor.
pub(super) fn scaled_by_constant(site: &Site<'_>, class: Id) -> Option<(Id, f64)> {
    site.applications(class, "mul").find_map(|operands| {
        // Constants are the second operand.
        let factor = site.constant(operands[1]).filter(|factor| factor.is_finite())?;
        Some((operands[0], factor))
    })
}

fn common_factor(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let reduce = reduce_of(site, term)?;
    if reduce.kind != ReduceKind::Sum {
        return None;
    }
    let operand = term.children[0];
    let ty = site.ty(class).clone();
    let positions = kept_positions(site.ty(operand).rank(), &reduce.axes);
    let products = site.applications(operand, "mul").flat_map(|x| [(x[0], x[1]), (x[1], x[0])]);
    let quotients = site.applications(operand, "div").map(|x| (x[0], x[1]));
    let candidates = products.map(|pair| ("mul", pair)).chain(quotients.map(|pair| ("div", pair)));
    let (name, rest, factor) = candidates.into_iter().find_map(|(name, (rest, factor))| {
        let factor = common(site, factor, &ty.shape, &positions)?;
        Some((name, rest, factor))
    })?;
    let sum = site.reduce(ReduceKind::Sum, rest, &reduce.axes);
    let factor = match factor {
        Factor::Constant(value) => site.splat(&ty, value),
        Factor::View(map, base) => site.view(&map, base),
    };
    Some(site.named(name, &[sum, factor]))
}

/// A factor that is the same along some axes.
pub(super) enum Factor {
    /// One value.
    Constant(f64),
    /// A view without these axes.
    View(IndexMap, Id),
}

/// The factor as seen over a domain that some of its axes, at `positions`, are axes of; `None` if
/// it depends on the others.
pub(super) fn common(
    site: &Site<'_>,
    factor: Id,
    domain: &[usize],
    positions: &[Option<usize>],
) -> Option<Factor> {
    if let Some(value) = site.constant(factor) {
        return Some(Factor::Constant(value));
    }
    let mut views = site.views(factor);
    views.find_map(|(map, base)| Some(Factor::View(without_axes(map, domain, positions)?, base)))
}

fn contraction(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let reduce = reduce_of(site, term)?;
    let operand = term.children[0];
    let shape = site.ty(operand).shape.clone();
    if reduce.kind != ReduceKind::Sum || !site.ty(operand).dtype.is_float() {
        return None;
    }
    let side = |site: &Site<'_>, factor: Id| {
        site.views(factor).find_map(|(map, base)| {
            let selected = selected_axes(map, &site.ty(base).shape)?;
            let selected: Option<Vec<usize>> = selected.into_iter().collect();
            Some((selected?, base))
        })
    };
    let whole = |factor: Id| ((0..shape.len()).collect::<Vec<usize>>(), factor);
    let factors = site.applications(operand, "mul").find_map(|factors| {
        let sides = [side(site, factors[0]), side(site, factors[1])];
        match sides {
            [None, None] => None,
            [left, right] => Some([
                left.unwrap_or_else(|| whole(factors[0])),
                right.unwrap_or_else(|| whole(factors[1])),
            ]),
        }
    })?;
    let [(left_axes, left), (right_axes, right)] = factors;
    let (mut batch, mut contracted) = (AxisPairs::new(), AxisPairs::new());
    let (mut left_only, mut right_only) = (1, 1);
    for axis in 0..shape.len() {
        let place = |axes: &[usize]| axes.iter().position(|&selected| selected == axis);
        let summed = reduce.axes.contains(&axis);
        match (place(&left_axes), place(&right_axes)) {
            (Some(l), Some(r)) if summed => contracted.push((l, r)),
            (Some(l), Some(r)) => batch.push((l, r)),
            (Some(_), None) if !summed => left_only *= shape[axis],
            (None, Some(_)) if !summed => right_only *= shape[axis],
            _ => return None,
        }
    }
    if left_only == 1 || right_only == 1 || contracted.is_empty() {
        return None;
    }
    // Axes of the product: batch, then those of the left factor, then those of the right one.
    let result_axes: Shape = (batch.iter().map(|&(l, _)| left_axes[l]))
        .chain(left_axes.iter().copied().filter(|axis| !right_axes.contains(axis)))
        .chain(right_axes.iter().copied().filter(|axis| !left_axes.contains(axis)))
        .collect();
    let positions = kept_positions(shape.len(), &reduce.axes);
    let product = site.add(Contract { batch, contracted }.into(), &[left, right]);
    let indices = result_axes
        .iter()
        .map(|&axis| Expression::axis(positions[axis].expect("axes of the product are kept")));
    let map = IndexMap::new(&site.ty(class).shape.clone(), indices);
    Some(site.view(&map, product))
}
