//! Weights that stay: what can be joined with them once need not be computed in each step.
//!
//! These rules fold an affine function behind a convolution or a product, such as a batch
//! normalization with its running statistics, into kernel and bias.

use egg::Id;

use crate::index::{Expression, IndexMap};
use crate::op::{Elementwise, Op};
use crate::optimize::algebra::language::{Kind, Term};
use crate::optimize::algebra::rule::Exactness::AssumesFiniteWeights;
use crate::optimize::algebra::rule::{Match, Rule};
use crate::optimize::algebra::site::Site;

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    let function = |name: &str| Kind::Function(Elementwise::named(name).expect("in the table"));
    let is = Rule::equation;
    vec![
        is(
            "a fixed factor of a sum multiplies a fixed summand",
            AssumesFiniteWeights,
            "(mul (add ?a ?b) ?c)",
            "(add (mul ?a ?c) (mul ?b ?c))",
        )
        .when(fixed_factor),
        is(
            "a fixed factor of a difference multiplies what is fixed",
            AssumesFiniteWeights,
            "(mul (sub ?a ?b) ?c)",
            "(sub (mul ?a ?c) (mul ?b ?c))",
        )
        .when(fixed_factor),
        is(
            "a fixed divisor of a difference divides what is fixed",
            AssumesFiniteWeights,
            "(div (sub ?a ?b) ?c)",
            "(sub (mul ?a (div 1 ?c)) (div ?b ?c))",
        )
        .when(fixed_factor),
        is(
            "fixed summands of a sum meet",
            AssumesFiniteWeights,
            "(add (add ?a ?b) ?c)",
            "(add ?a (add ?b ?c))",
        )
        .when(fixed_factor),
        is(
            "a fixed summand of a difference meets what is fixed",
            AssumesFiniteWeights,
            "(add (sub ?a ?b) ?c)",
            "(add ?a (sub ?c ?b))",
        )
        .when(fixed_factor),
        is(
            "fixed factors of a product meet",
            AssumesFiniteWeights,
            "(mul (mul ?a ?b) ?c)",
            "(mul ?a (mul ?b ?c))",
        )
        .when(fixed_factor),
        Rule::procedure(
            "a fixed factor of a convolution or a contraction multiplies its fixed operand",
            AssumesFiniteWeights,
            &[function("mul")],
            factor_of_operand,
        ),
    ]
}

fn fixed_factor(found: &Match<'_>) -> bool {
    found.fixed('b') && found.fixed('c') && !found.fixed('a')
}

fn factor_of_operand(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let [a, b] = term.children[..] else { return None };
    scaled(site, a, b).or_else(|| scaled(site, b, a))
}

/// `product * factor`, where `product` is a convolution or contraction, moved or not, and `factor`
/// is fixed and differs along the outer axes of its fixed operand only.
fn scaled(site: &mut Site<'_>, product: Id, factor: Id) -> Option<Id> {
    if !site.is_fixed(factor) || site.is_fixed(product) {
        return None;
    }
    let identity = IndexMap::identity(&site.ty(product).shape);
    let bases = site.views(product).map(|(map, base)| (map.clone(), base));
    let mut bases: Vec<(IndexMap, Id)> = bases.collect();
    bases.push((identity, product));
    for (place, base) in bases {
        for kind in [Kind::Conv, Kind::Contract] {
            let terms: Vec<Term> = site.terms_of(base, kind).cloned().collect();
            for term in terms {
                if let Some(scaled) = scaled_operand(site, &term, base, &place, factor) {
                    return Some(site.view(&place, scaled));
                }
            }
        }
    }
    None
}

/// The convolution or contraction `term`, seen through `place` by its user, with its fixed operand
/// multiplied by `factor`.
fn scaled_operand(
    site: &mut Site<'_>,
    term: &Term,
    result: Id,
    place: &IndexMap,
    factor: Id,
) -> Option<Id> {
    let shape = site.ty(result).shape.clone();
    // Where the factor of each element of the result stands.
    let back = place.inverse(&shape)?;
    for side in [1, 0] {
        let operand = term.children[side];
        let along = operand_axes(site, term, side)?;
        if !site.is_fixed(operand) {
            continue;
        }
        let ty = site.ty(operand).clone();
        let found = site.views(factor).find_map(|(map, base)| {
            let map = back.compose(map)?;
            let follows = |e: &Expression| {
                (0..shape.len()).all(|axis| !e.depends_on(axis) || along[axis].is_some())
            };
            (map.constraints().is_empty() && map.indices().iter().all(follows))
                .then_some((map, base))
        });
        let Some((map, base)) = found else { continue };
        // From the operand's indices to an element of the result that it contributes to.
        let indices = along.iter().map(|axis| match axis {
            Some(axis) => Expression::axis(*axis),
            None => Expression::constant(0),
        });
        let to_result = IndexMap::new(&ty.shape, indices);
        let map = to_result.compose(&map)?;
        let factors = site.view(&map, base);
        let scaled = site.named("mul", &[operand, factors]);
        let mut children = term.children.clone();
        children[side] = scaled;
        let op = site.op(term).clone();
        return Some(site.add(op, &children));
    }
    None
}

/// For each axis of the result of a convolution or contraction, the axis of an operand that it is.
fn operand_axes(site: &Site<'_>, term: &Term, side: usize) -> Option<Vec<Option<usize>>> {
    let ranks = [0, 1].map(|side| site.ty(term.children[side]).shape.len());
    match site.op(term) {
        // [g, n, co, windows...] from [g, n, ci, ...] and [g, co, ci, ...].
        Op::Conv(_) if side == 1 => {
            let spatial = ranks[0] - 3;
            let leading = [Some(0), None, Some(1)].into_iter();
            Some(leading.chain(std::iter::repeat_n(None, spatial)).collect())
        }
        Op::Contract(contract) => {
            let batch = contract.batch.iter().map(|pair| if side == 0 { pair.0 } else { pair.1 });
            let mut axes: Vec<Option<usize>> = batch.map(Some).collect();
            let left = contract.left_outer(ranks[0]).map(|axis| (side == 0).then_some(axis));
            axes.extend(left);
            let right = contract.right_outer(ranks[1]).map(|axis| (side == 1).then_some(axis));
            axes.extend(right);
            Some(axes)
        }
        _ => Some(vec![None; site.ty(term.children[0]).shape.len()]),
    }
}
