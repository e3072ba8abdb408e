//! Sums, differences, products and quotients.

use crate::optimize::algebra::rule::Exactness::{AssumesFinite, Exact, Reassociates};
use crate::optimize::algebra::rule::{Match, Rule};

/// Whether a constant is far from the ends of the range of f32, and not zero.
fn is_ordinary(value: f64) -> bool {
    (1e-30..1e30).contains(&value.abs())
}

fn reciprocal_is_ordinary(found: &Match<'_>) -> bool {
    is_ordinary(found.constant('c'))
}

fn product_is_ordinary(found: &Match<'_>) -> bool {
    let (b, c) = (found.constant('b'), found.constant('c'));
    is_ordinary(b) && is_ordinary(c) && is_ordinary(b * c)
}

fn sum_is_ordinary(found: &Match<'_>) -> bool {
    let (b, c) = (found.constant('b'), found.constant('c'));
    b.is_finite() && c.is_finite() && (b + c).abs() < 1e30
}

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    let is = Rule::equation;
    vec![
        // Neutral elements and signs.
        is("adding zero changes nothing", Exact, "(add ?a 0)", "?a"),
        is("subtracting zero changes nothing", Exact, "(sub ?a 0)", "?a"),
        is("subtracting from zero negates", Exact, "(sub 0 ?a)", "(neg ?a)"),
        is("multiplying by one changes nothing", Exact, "(mul ?a 1)", "?a"),
        is("dividing by one changes nothing", Exact, "(div ?a 1)", "?a"),
        is("multiplying by minus one negates", Exact, "(mul ?a -1)", "(neg ?a)"),
        is("dividing by minus one negates", Exact, "(div ?a -1)", "(neg ?a)"),
        is("negating twice changes nothing", Exact, "(neg (neg ?a))", "?a"),
        is("adding a negated value subtracts it", Exact, "(add ?a (neg ?b))", "(sub ?a ?b)"),
        is("subtracting a negated value adds it", Exact, "(sub ?a (neg ?b))", "(add ?a ?b)"),
        is("a negated difference is turned around", Exact, "(neg (sub ?a ?b))", "(sub ?b ?a)"),
        is(
            "subtracting from a negated value negates the sum",
            Exact,
            "(sub (neg ?a) ?b)",
            "(neg (add ?a ?b))",
        ),
        is("signs of two factors cancel", Exact, "(mul (neg ?a) (neg ?b))", "(mul ?a ?b)"),
        is(
            "the sign of a factor is that of the product",
            Exact,
            "(mul (neg ?a) ?b)",
            "(neg (mul ?a ?b))",
        ),
        is(
            "the sign of a dividend is that of the quotient",
            Exact,
            "(div (neg ?a) ?b)",
            "(neg (div ?a ?b))",
        ),
        is(
            "the sign of a divisor is that of the quotient",
            Exact,
            "(div ?a (neg ?b))",
            "(neg (div ?a ?b))",
        ),
        is(
            "a negated multiple takes the sign into the factor",
            Exact,
            "(neg (mul ?a #c))",
            "(mul ?a (neg #c))",
        ),
        is("the absolute value ignores the sign", Exact, "(abs (neg ?a))", "(abs ?a)"),
        is("the absolute value of what is not negative is itself", Exact, "(abs ?a)", "?a")
            .when(|found| found.nonnegative('a')),
        is(
            "the absolute value of an absolute value is itself",
            Exact,
            "(abs (abs ?a))",
            "(abs ?a)",
        ),
        is("rounding down twice changes nothing", Exact, "(floor (floor ?a))", "(floor ?a)"),
        // Constants.
        is("adding a value to itself doubles it", Exact, "(add ?a ?a)", "(mul ?a 2)"),
        is("subtracting a constant adds its negative", Exact, "(sub ?a #c)", "(add ?a (neg #c))"),
        is(
            "constants of nested sums meet",
            Reassociates,
            "(add (add ?a #b) #c)",
            "(add ?a (add #b #c))",
        )
        .when(sum_is_ordinary),
        is(
            "constants of nested differences meet",
            Reassociates,
            "(sub #c (add ?a #b))",
            "(sub (sub #c #b) ?a)",
        )
        .when(sum_is_ordinary),
        is(
            "constants around a difference meet",
            Reassociates,
            "(add (sub #c ?a) #b)",
            "(sub (add #c #b) ?a)",
        )
        .when(sum_is_ordinary),
        is(
            "constants of nested products meet",
            Reassociates,
            "(mul (mul ?a #b) #c)",
            "(mul ?a (mul #b #c))",
        )
        .when(product_is_ordinary),
        is(
            "a constant divided by a multiple divides the constants",
            Reassociates,
            "(div #c (mul ?a #b))",
            "(div (div #c #b) ?a)",
        )
        .when(product_is_ordinary),
        is(
            "dividing by a constant multiplies by its reciprocal",
            Reassociates,
            "(div ?a #c)",
            "(mul ?a (div 1 #c))",
        )
        .when(reciprocal_is_ordinary),
        is(
            "multiplying by a reciprocal divides",
            Reassociates,
            "(mul ?a (div 1 ?b))",
            "(div ?a ?b)",
        ),
        is(
            "a multiple of a quotient is a quotient of the multiple",
            Reassociates,
            "(mul (div #b ?a) #c)",
            "(div (mul #b #c) ?a)",
        )
        .when(product_is_ordinary),
        is(
            "equal constant factors of a sum come to the front",
            Reassociates,
            "(add (mul ?a #c) (mul ?b #c))",
            "(mul (add ?a ?b) #c)",
        ),
        is(
            "equal constant factors of a difference come to the front",
            Reassociates,
            "(sub (mul ?a #c) (mul ?b #c))",
            "(mul (sub ?a ?b) #c)",
        ),
        is(
            "multiples of one value add up",
            Reassociates,
            "(add (mul ?a #b) (mul ?a #c))",
            "(mul ?a (add #b #c))",
        )
        .when(factors_add_up),
        is(
            "a value and its multiple add up",
            Reassociates,
            "(add (mul ?a #b) ?a)",
            "(mul ?a (add #b 1))",
        )
        .when(|found| is_ordinary(found.constant('b')) && found.constant('b') > 0.0),
        // Extremes.
        is("the larger of a value and itself is the value", Exact, "(max ?a ?a)", "?a"),
        is("the smaller of a value and itself is the value", Exact, "(min ?a ?a)", "?a"),
        is("a maximum taken twice is taken once", Exact, "(max (max ?a ?b) ?b)", "(max ?a ?b)"),
        is("a minimum taken twice is taken once", Exact, "(min (min ?a ?b) ?b)", "(min ?a ?b)"),
        is(
            "constants of nested maxima meet",
            Exact,
            "(max (max ?a #b) #c)",
            "(max ?a (max #b #c))",
        ),
        is(
            "constants of nested minima meet",
            Exact,
            "(min (min ?a #b) #c)",
            "(min ?a (min #b #c))",
        ),
        is("what is not negative is at least zero", Exact, "(max ?a 0)", "?a")
            .when(|found| found.nonnegative('a')),
        // Only where nothing is infinite or NaN.
        is("a value less itself is zero", AssumesFinite, "(sub ?a ?a)", "0"),
        is("a value divided by itself is one", AssumesFinite, "(div ?a ?a)", "1"),
        is("zero times anything is zero", AssumesFinite, "(mul ?a 0)", "0"),
        is(
            "equal factors of a sum come to the front",
            AssumesFinite,
            "(add (mul ?a ?c) (mul ?b ?c))",
            "(mul (add ?a ?b) ?c)",
        ),
        is(
            "equal factors of a difference come to the front",
            AssumesFinite,
            "(sub (mul ?a ?c) (mul ?b ?c))",
            "(mul (sub ?a ?b) ?c)",
        ),
    ]
}

/// Of the same sign: infinities of different signs would add up to NaN.
fn factors_add_up(found: &Match<'_>) -> bool {
    let (b, c) = (found.constant('b'), found.constant('c'));
    is_ordinary(b) && is_ordinary(c) && (b > 0.0) == (c > 0.0)
}
