//! Views: movement as index maps.

use egg::Id;
use smallvec::SmallVec;

use crate::index::{Atom, Expression, IndexMap};
use crate::op::{Elementwise, Op};
use crate::optimize::algebra::language::{Kind, Term};
use crate::optimize::algebra::rule::Exactness::{Exact, Reassociates};
use crate::optimize::algebra::rule::{Rule, all_functions};
use crate::optimize::algebra::site::Site;
use crate::types::TensorType;

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    let function = |name: &str| Kind::Function(Elementwise::named(name).expect("in the table"));
    let mut computing = all_functions();
    computing.push(Kind::Cast);
    vec![
        Rule::procedure("a view of a view is one view", Exact, &[Kind::View], joined_views),
        Rule::procedure(
            "a part of a concatenation is a part of its operand",
            Exact,
            &[Kind::View],
            part_of_concatenation,
        ),
        Rule::procedure(
            "a function of values repeated alike is computed before they are repeated",
            Exact,
            &computing,
            computed_before_repeating,
        ),
        Rule::procedure(
            "a movement is undone before a function rather than after it",
            Exact,
            &[Kind::View],
            undone_before,
        ),
        Rule::procedure(
            "factors or summands repeated alike meet before they are repeated",
            Reassociates,
            &[function("mul"), function("add")],
            met_before_repeating,
        ),
        Rule::procedure(
            "dividing by a repeated value multiplies by its repeated reciprocal",
            Reassociates,
            &[function("div")],
            repeated_reciprocal,
        )
        .rearranging(),
    ]
}

/// The map of a view.
fn map_of(site: &Site<'_>, term: &Term) -> Option<IndexMap> {
    match site.op(term) {
        Op::View(view) => Some(view.map.clone()),
        _ => None,
    }
}

/// For each axis of an operand, the axis of the result that its index is, if a map selects axes:
/// axes of extent 1 have none, the others one each, and all elements along it are meant.
pub(super) fn selected_axes(
    map: &IndexMap,
    shape: &[usize],
) -> Option<SmallVec<[Option<usize>; 4]>> {
    let mut axes: SmallVec<[Option<usize>; 4]> = SmallVec::new();
    if !map.constraints().is_empty() {
        return None;
    }
    for (index, &extent) in map.indices().iter().zip(shape) {
        let axis = match (index.terms(), index.offset()) {
            ([], 0) if extent == 1 => None,
            ([(Atom::Axis(axis), 1)], 0) if map.domain()[*axis] == extent => Some(*axis),
            _ => return None,
        };
        if axis.is_some() && axes.contains(&axis) {
            return None;
        }
        axes.push(axis);
    }
    Some(axes)
}

/// Whether a map looks at each element of an operand more than once.
fn repeats(map: &IndexMap, elements: usize) -> bool {
    map.constraints().is_empty() && map.domain().iter().product::<usize>() > elements
}

fn joined_views(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let map = map_of(site, term)?;
    let views = site.views(term.children[0]);
    let (joined, base) =
        views.into_iter().find_map(|(inner, base)| Some((map.compose(inner)?, base)))?;
    Some(site.view(&joined, base))
}

fn part_of_concatenation(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let map = map_of(site, term)?;
    let concatenation = site.terms_of(term.children[0], Kind::Concat).next()?.clone();
    let Op::Concat(concat) = site.op(&concatenation) else { return None };
    let axis = concat.axis;
    let whole = site.ty(term.children[0]).shape.clone();
    let (low, high) = map.indices()[axis].range(map.domain());
    let mut start = 0;
    for &operand in &concatenation.children {
        let ty = site.ty(operand).clone();
        let end = start + ty.shape[axis];
        if start as i64 <= low && high < end as i64 {
            let (mut before, none) = (vec![0; whole.len()], vec![0; whole.len()]);
            before[axis] = start;
            let fill = map.fill().unwrap_or(crate::types::Scalar::new(ty.dtype, 0.0));
            let part = IndexMap::pad(&ty.shape, &whole, &before, &none, fill);
            let map = map.compose(&part)?;
            return Some(site.view(&map, operand));
        }
        start = end;
    }
    None
}

fn computed_before_repeating(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let constant = |site: &Site<'_>, id: Id| site.constant(id);
    let first = *term.children.iter().find(|&&child| constant(site, child).is_none())?;
    let maps: Vec<(IndexMap, Id)> =
        site.views(first).map(|(map, base)| (map.clone(), base)).collect();
    let (map, shape, bases) = maps.into_iter().find_map(|(map, base)| {
        let ty = site.ty(base);
        if !repeats(&map, ty.elements()) {
            return None;
        }
        let bases: Option<Vec<Option<Id>>> = (term.children.iter())
            .map(|&child| match constant(site, child) {
                Some(_) => Some(None),
                None => {
                    let mut views = site.views(child);
                    let same =
                        views.find(|(other, id)| **other == map && site.ty(*id).shape == ty.shape);
                    same.map(|(_, base)| Some(base))
                }
            })
            .collect();
        Some((map, ty.shape.clone(), bases?))
    })?;
    let operands: Vec<Id> = (term.children.iter().zip(bases))
        .map(|(&child, base)| {
            base.unwrap_or_else(|| {
                let ty = TensorType { dtype: site.ty(child).dtype, shape: shape.clone() };
                let value = site.constant(child).expect("neither a view nor a constant");
                site.splat(&ty, value)
            })
        })
        .collect();
    let op = site.op(term).clone();
    let result = site.import(&op, &operands);
    Some(site.view(&map, result))
}

fn undone_before(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let map = map_of(site, term)?;
    if !map.constraints().is_empty() {
        return None;
    }
    let computed = term.children[0];
    let nodes = site.terms[computed].nodes.clone();
    let functions = nodes.iter().filter(|t| matches!(t.kind, Kind::Function(_) | Kind::Cast));
    for function in functions {
        let mut undone = false;
        let all_views = function.children.iter().all(|&child| {
            let base = site.views(child).next();
            undone |= base.is_some_and(|(inner, base)| {
                map.compose(inner).is_some_and(|both| both.is_identity(&site.ty(base).shape))
            });
            base.is_some() || site.constant(child).is_some()
        });
        if all_views && undone {
            let operands: Vec<Id> =
                function.children.iter().map(|&child| site.view(&map, child)).collect();
            let op = site.op(function).clone();
            return Some(site.import(&op, &operands));
        }
    }
    None
}

/// `(x * repeat(a)) * repeat(b)` equals `x * repeat(a * b)`, also for sums.
fn met_before_repeating(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let Op::Elementwise(function) = *site.op(term) else { return None };
    let name = function.entry().name;
    for (&outer, &inner) in
        [(&term.children[0], &term.children[1]), (&term.children[1], &term.children[0])]
    {
        let Some((map, b)) = site.views(outer).next().map(|(map, base)| (map.clone(), base)) else {
            continue;
        };
        if !repeats(&map, site.ty(b).elements()) {
            continue;
        }
        let found = site.applications(inner, name).find_map(|operands| {
            let (x, y) = (operands[0], operands[1]);
            [(x, y), (y, x)].into_iter().find_map(|(rest, repeated)| {
                let base = repeated_alike(site, repeated, &map, b)?;
                Some((rest, base))
            })
        });
        if let Some((rest, base)) = found {
            let a = match base {
                Repeated::View(a) => a,
                Repeated::Constant(value) => {
                    let ty = site.ty(b).clone();
                    site.splat(&ty, value)
                }
            };
            let met = site.apply(function, &[a, b]);
            let repeated = site.view(&map, met);
            return Some(site.apply(function, &[rest, repeated]));
        }
    }
    None
}

enum Repeated {
    View(Id),
    Constant(f64),
}

/// What a class repeats through this map, if it does; `like` tells the type.
fn repeated_alike(site: &Site<'_>, class: Id, map: &IndexMap, like: Id) -> Option<Repeated> {
    if let Some(value) = site.constant(class) {
        return Some(Repeated::Constant(value));
    }
    let mut views = site.views(class);
    let same = views.find(|(other, base)| *other == map && site.ty(*base) == site.ty(like));
    same.map(|(_, base)| Repeated::View(base))
}

/// How many times as many quotients as divisors there must be for reciprocals to pay.
const REPETITIONS: usize = 4;

fn repeated_reciprocal(site: &mut Site<'_>, _: Id, term: &Term) -> Option<Id> {
    let [dividend, divisor] = term.children[..] else { return None };
    let elements = site.ty(dividend).elements();
    let (map, base) = site
        .views(divisor)
        .find(|(map, base)| {
            map.constraints().is_empty() && site.ty(*base).elements() * REPETITIONS <= elements
        })
        .map(|(map, base)| (map.clone(), base))?;
    let ty = site.ty(base).clone();
    let one = site.splat(&ty, 1.0);
    let reciprocal = site.named("div", &[one, base]);
    let repeated = site.view(&map, reciprocal);
    Some(site.named("mul", &[dividend, repeated]))
}

/// A map that does not depend on some axes of its domain, over the other axes: axis `i` becomes
/// `positions[i]`.
pub(super) fn without_axes(
    map: &IndexMap,
    domain: &[usize],
    positions: &[Option<usize>],
) -> Option<IndexMap> {
    let dropped = |axis: &usize| positions[*axis].is_none();
    let depends = |e: &Expression| (0..positions.len()).filter(dropped).any(|a| e.depends_on(a));
    let expressions = map.indices().iter().chain(map.constraints().iter().map(|c| &c.expression));
    if expressions.into_iter().any(depends) {
        return None;
    }
    let replacements: Vec<Expression> = positions
        .iter()
        .map(|position| position.map_or_else(Expression::default, Expression::axis))
        .collect();
    Some(map.over(domain, &replacements))
}
