//! Contractions.

use egg::Id;
use smallvec::SmallVec;

use super::movement::selected_axes;
use super::reduction::{Factor, common, scaled_by_constant};
use crate::index::{Expression, IndexMap};
use crate::op::contraction::AxisPairs;
use crate::op::{Contract, Op, ReduceKind};
use crate::optimize::algebra::language::{Kind, Term};
use crate::optimize::algebra::rule::Exactness::{AssumesFinite, Exact, Reassociates};
use crate::optimize::algebra::rule::Rule;
use crate::optimize::algebra::site::Site;
use crate::types::Axes;

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    let procedure = Rule::procedure;
    vec![
        procedure(
            "a contraction of moved or repeated values contracts the values",
            Exact,
            &[Kind::Contract],
            of_view,
        ),
        procedure(
            "the sign of an operand is that of the product",
            Exact,
            &[Kind::Contract],
            of_negated,
        ),
        procedure(
            "a constant factor of a contraction multiplies the result",
            Reassociates,
            &[Kind::Contract],
            constant_factor,
        )
        .rearranging(),
        // Where a factor is infinite, terms of different signs make NaN.
        procedure(
            "a factor common to all terms of a contraction multiplies the result",
            AssumesFinite,
            &[Kind::Contract],
            common_factor,
        )
        .rearranging(),
        procedure(
            "a sum over an outer axis of a contraction sums the operand first",
            AssumesFinite,
            &[Kind::Reduce],
            summed_before,
        )
        .rearranging(),
    ]
}

fn contract_of(site: &Site<'_>, term: &Term) -> Option<Contract> {
    match site.op(term) {
        Op::Contract(contract) => Some(contract.clone()),
        _ => None,
    }
}

/// An axis of a contraction's result: which operand's axis it is (batch axes are the left one's).
#[derive(Clone, Copy, PartialEq)]
struct ResultAxis {
    side: usize,
    axis: usize,
}

/// The axes of the result, in order.
fn result_axes(contract: &Contract, ranks: [usize; 2]) -> Vec<ResultAxis> {
    let batch = contract.batch.iter().map(|&(axis, _)| ResultAxis { side: 0, axis });
    let left = contract.left_outer(ranks[0]).map(|axis| ResultAxis { side: 0, axis });
    let right = contract.right_outer(ranks[1]).map(|axis| ResultAxis { side: 1, axis });
    batch.chain(left).chain(right).collect()
}

/// For each axis of an operand, its position in the result.
fn positions(contract: &Contract, ranks: [usize; 2], side: usize) -> SmallVec<[Option<usize>; 4]> {
    let axes = result_axes(contract, ranks);
    let of_batch =
        |axis: usize| contract.batch.iter().position(|&(left, right)| [left, right][side] == axis);
    (0..ranks[side])
        .map(|axis| {
            of_batch(axis).or_else(|| axes.iter().position(|a| *a == ResultAxis { side, axis }))
        })
        .collect()
}

/// Replaces a viewed operand by what the view looks at. Axes along which it only repeats leave
/// the contraction: an outer one is repeated afterwards, a batch axis becomes an outer axis of the
/// other operand.
fn of_view(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let contract = contract_of(site, term)?;
    let ranks = [0, 1].map(|side| site.ty(term.children[side]).rank());
    for side in [0, 1] {
        let view = site.views(term.children[side]).find_map(|(map, base)| {
            let selected = selected_axes(map, &site.ty(base).shape)?;
            let selected: Option<Axes> = selected.into_iter().collect();
            Some((selected?, base))
        });
        let Some((selected, base)) = view else { continue };
        let of_base = |axis: usize| selected.iter().position(|&known| known == axis);
        let rename = |pairs: &AxisPairs| -> Vec<Option<(usize, usize)>> {
            let renamed = pairs.iter().map(|&(l, r)| match side {
                0 => of_base(l).map(|l| (l, r)),
                _ => of_base(r).map(|r| (l, r)),
            });
            renamed.collect()
        };
        let contracted: Option<AxisPairs> = rename(&contract.contracted).into_iter().collect();
        let Some(contracted) = contracted else { continue };
        let batch: AxisPairs = rename(&contract.batch).into_iter().flatten().collect();
        let new = Contract { batch, contracted };

        let old = [positions(&contract, ranks, 0), positions(&contract, ranks, 1)];
        let mut new_ranks = ranks;
        new_ranks[side] = selected.len();
        let indices = result_axes(&new, new_ranks).into_iter().map(|result| {
            let axis = if result.side == side { selected[result.axis] } else { result.axis };
            Expression::axis(old[result.side][axis].expect("no axis is contracted any more"))
        });
        let map = IndexMap::new(&site.ty(class).shape.clone(), indices);
        let mut operands = [term.children[0], term.children[1]];
        operands[side] = base;
        let product = site.add(new.into(), &operands);
        return Some(site.view(&map, product));
    }
    None
}

fn of_negated(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let contract = contract_of(site, term)?;
    let side = [0, 1]
        .into_iter()
        .find(|&side| site.applications(term.children[side], "neg").next().is_some())?;
    let mut operands = [term.children[0], term.children[1]];
    operands[side] = site.applications(operands[side], "neg").next()?[0];
    let product = site.add(contract.into(), &operands);
    Some(site.named("neg", &[product]))
}

fn constant_factor(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let contract = contract_of(site, term)?;
    let found = [0, 1].into_iter().find_map(|side| {
        if site.has_other_users(term.children[side]) {
            return None;
        }
        let (rest, factor) = scaled_by_constant(site, term.children[side])?;
        Some((side, rest, factor))
    });
    let (side, rest, factor) = found?;
    let mut operands = [term.children[0], term.children[1]];
    operands[side] = rest;
    let product = site.add(contract.into(), &operands);
    let ty = site.ty(class).clone();
    let factor = site.splat(&ty, factor);
    Some(site.named("mul", &[product, factor]))
}

fn common_factor(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let contract = contract_of(site, term)?;
    let ranks = [0, 1].map(|side| site.ty(term.children[side]).rank());
    let ty = site.ty(class).clone();
    for side in [0, 1] {
        let positions = positions(&contract, ranks, side);
        let scaled = term.children[side];
        let products = site.applications(scaled, "mul").flat_map(|x| [(x[0], x[1]), (x[1], x[0])]);
        let quotients = site.applications(scaled, "div").map(|x| (x[0], x[1]));
        let mut candidates =
            products.map(|pair| ("mul", pair)).chain(quotients.map(|pair| ("div", pair)));
        let found = candidates.find_map(|(name, (rest, factor))| {
            Some((name, rest, common(site, factor, &ty.shape, &positions)?))
        });
        drop(candidates);
        if let Some((name, rest, factor)) = found {
            let mut operands = [term.children[0], term.children[1]];
            operands[side] = rest;
            let product = site.add(contract.into(), &operands);
            let factor = match factor {
                Factor::Constant(value) => site.splat(&ty, value),
                Factor::View(map, base) => site.view(&map, base),
            };
            return Some(site.named(name, &[product, factor]));
        }
    }
    None
}

fn summed_before(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let Op::Reduce(reduce) = site.op(term).clone() else { return None };
    if reduce.kind != ReduceKind::Sum {
        return None;
    }
    let product = site.terms_of(term.children[0], Kind::Contract).next()?.clone();
    let contract = contract_of(site, &product)?;
    let ranks = [0, 1].map(|side| site.ty(product.children[side]).rank());
    let axes = result_axes(&contract, ranks);
    let batch = contract.batch.len();
    if reduce.axes.iter().any(|&axis| axis < batch) {
        return None;
    }
    let mut operands = [product.children[0], product.children[1]];
    let mut renamed: [Vec<Option<usize>>; 2] = [Vec::new(), Vec::new()];
    for side in [0, 1] {
        let summed: Axes = (reduce.axes.iter())
            .filter(|&&axis| axes[axis].side == side)
            .map(|&axis| axes[axis].axis)
            .collect();
        let mut kept = 0;
        renamed[side] = (0..ranks[side])
            .map(|axis| {
                (!summed.contains(&axis)).then(|| {
                    kept += 1;
                    kept - 1
                })
            })
            .collect();
        operands[side] = site.reduce(ReduceKind::Sum, operands[side], &summed);
    }
    let rename = |pairs: &AxisPairs| -> Option<AxisPairs> {
        pairs.iter().map(|&(l, r)| Some((renamed[0][l]?, renamed[1][r]?))).collect()
    };
    let (batch, contracted) = (rename(&contract.batch)?, rename(&contract.contracted)?);
    Some(site.add(Contract { batch, contracted }.into(), &operands))
}
