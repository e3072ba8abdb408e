//! Comparisons, conditions and selections.

use egg::Id;

use crate::op::Elementwise;
use crate::optimize::algebra::language::{Kind, Term};
use crate::optimize::algebra::rule::Exactness::Exact;
use crate::optimize::algebra::rule::Rule;
use crate::optimize::algebra::site::Site;

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    let is = Rule::equation;
    let function = |name: &str| Kind::Function(Elementwise::named(name).expect("in the table"));
    vec![
        // Selections.
        is("a condition that holds selects the first", Exact, "(select 1 ?a ?b)", "?a"),
        is("a condition that fails selects the second", Exact, "(select 0 ?a ?b)", "?b"),
        is("selecting between equals needs no condition", Exact, "(select ?c ?a ?a)", "?a"),
        is(
            "a negated condition turns the selection around",
            Exact,
            "(select (not ?c) ?a ?b)",
            "(select ?c ?b ?a)",
        ),
        is(
            "the same condition inside the first is known to hold",
            Exact,
            "(select ?c (select ?c ?a ?b) ?d)",
            "(select ?c ?a ?d)",
        ),
        is(
            "the same condition inside the second is known to fail",
            Exact,
            "(select ?c ?a (select ?c ?b ?d))",
            "(select ?c ?a ?d)",
        ),
        is(
            "a factor of both choices is multiplied after the selection",
            Exact,
            "(select ?c (mul ?a ?d) (mul ?b ?d))",
            "(mul (select ?c ?a ?b) ?d)",
        ),
        is(
            "a summand of both choices is added after the selection",
            Exact,
            "(select ?c (add ?a ?d) (add ?b ?d))",
            "(add (select ?c ?a ?b) ?d)",
        ),
        is(
            "nested selections of one result join their conditions",
            Exact,
            "(select ?c (select ?d ?a ?b) ?b)",
            "(select (and ?c ?d) ?a ?b)",
        ),
        // Conditions.
        is("a condition negated twice is itself", Exact, "(not (not ?c))", "?c"),
        is("a condition and itself is itself", Exact, "(and ?c ?c)", "?c"),
        is("a condition or itself is itself", Exact, "(or ?c ?c)", "?c"),
        is("a condition and what holds is the condition", Exact, "(and ?c 1)", "?c"),
        is("a condition and what fails fails", Exact, "(and ?c 0)", "0"),
        is("a condition or what holds holds", Exact, "(or ?c 1)", "1"),
        is("a condition or what fails is the condition", Exact, "(or ?c 0)", "?c"),
        // Comparisons.
        is("nothing is below itself", Exact, "(lt ?a ?a)", "0"),
        is("what is not negative is not below zero", Exact, "(lt ?a 0)", "0")
            .when(|found| found.nonnegative('a')),
        is(
            "negating both sides turns a comparison around",
            Exact,
            "(lt (neg ?a) (neg ?b))",
            "(lt ?b ?a)",
        ),
        is(
            "a negated value is above zero where the value is below",
            Exact,
            "(lt 0 (neg ?a))",
            "(lt ?a 0)",
        ),
        is(
            "a negated value is below zero where the value is above",
            Exact,
            "(lt (neg ?a) 0)",
            "(lt 0 ?a)",
        ),
        Rule::procedure(
            "a rectified value is above zero where its argument is",
            Exact,
            &[function("max"), function("select")],
            rectified_sign,
        ),
    ]
}

/// A rectified `z` and what about it is the same as about `z`: whether it is above zero, and
/// whether it is at most zero.
struct Rectified {
    argument: Id,
    zero: Id,
    /// Whether NaN stays NaN, so that `z <= 0` can be told from the rectified value too.
    keeps_nan: bool,
}

/// `0 < z` equals `0 < a` for `a = max(z, 0)`, and `z <= 0` equals `a <= 0`; the same for
/// selections that rectify. So a gradient may look at the activation, which is kept anyway,
/// instead of its argument.
///
/// The equation concerns the comparison, not the class that was found, so it is made here.
fn rectified_sign(site: &mut Site<'_>, class: Id, term: &Term) -> Option<Id> {
    let Rectified { argument, zero, keeps_nan } = rectified(site, term)?;
    let is = |site: &Site<'_>, sides: &[Id], expected: [Id; 2]| {
        let same = |(a, b): (&Id, &Id)| {
            site.terms.find(*a) == site.terms.find(*b)
                || (site.constant(*b) == Some(0.0) && site.constant(*a) == Some(0.0))
        };
        sides.iter().zip(&expected).all(same)
    };
    for (name, valid, expected, same) in [
        ("lt", true, [zero, argument], [zero, class]),
        ("le", keeps_nan, [argument, zero], [class, zero]),
    ] {
        for comparison in site.users(argument, name) {
            let mut sides = site.applications(comparison, name);
            let found = valid && sides.any(|sides| is(site, &sides, expected));
            drop(sides);
            if found {
                let same = site.named(name, &same);
                site.equate(comparison, same);
            }
        }
    }
    None
}

fn rectified(site: &Site<'_>, term: &Term) -> Option<Rectified> {
    let is_zero = |id: Id| site.constant(id) == Some(0.0);
    let compares = |condition: Id, name: &str, value: Id, value_first: bool| {
        let mut comparisons = site.applications(condition, name);
        comparisons.any(|sides| {
            let (x, zero) = if value_first { (sides[0], sides[1]) } else { (sides[1], sides[0]) };
            is_zero(zero) && site.terms.find(x) == site.terms.find(value)
        })
    };
    match term.children[..] {
        [z, zero] | [zero, z] if is_zero(zero) => {
            Some(Rectified { argument: z, zero, keeps_nan: true })
        }
        [condition, zero, z] if is_zero(zero) && compares(condition, "le", z, true) => {
            Some(Rectified { argument: z, zero, keeps_nan: true })
        }
        [condition, z, zero] if is_zero(zero) && compares(condition, "lt", z, false) => {
            Some(Rectified { argument: z, zero, keeps_nan: false })
        }
        _ => None,
    }
}
