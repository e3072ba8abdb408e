//! Powers, exponentials and what is made of them.

use crate::optimize::algebra::rule::Exactness::{AssumesFinite, Exact, Reassociates};
use crate::optimize::algebra::rule::Rule;

/// The rules.
pub(super) fn rules() -> Vec<Rule> {
    let is = Rule::equation;
    vec![
        // Powers.
        is("the first power is the value", Exact, "(pow ?a 1)", "?a"),
        is("the power zero is one", Exact, "(pow ?a 0)", "1"),
        is("a square is a product", Reassociates, "(pow ?a 2)", "(mul ?a ?a)"),
        is("a third power is two products", Reassociates, "(pow ?a 3)", "(mul (mul ?a ?a) ?a)"),
        is(
            "a fourth power is the square of the square",
            Reassociates,
            "(pow ?a 4)",
            "(mul (mul ?a ?a) (mul ?a ?a))",
        ),
        is("the power minus one is the reciprocal", Reassociates, "(pow ?a -1)", "(div 1 ?a)"),
        is(
            "the power minus two is the reciprocal of the square",
            Reassociates,
            "(pow ?a -2)",
            "(div 1 (mul ?a ?a))",
        ),
        is("the power one half is the square root", Reassociates, "(pow ?a 0.5)", "(sqrt ?a)")
            .when(|found| found.nonnegative('a')),
        is(
            "the power minus one half is the reciprocal of the square root",
            Reassociates,
            "(pow ?a -0.5)",
            "(div 1 (sqrt ?a))",
        )
        .when(|found| found.nonnegative('a')),
        is(
            "the power three halves is the value times its square root",
            Reassociates,
            "(pow ?a 1.5)",
            "(mul ?a (sqrt ?a))",
        )
        .when(|found| found.nonnegative('a')),
        is(
            "the square of a square root is the value",
            Reassociates,
            "(mul (sqrt ?a) (sqrt ?a))",
            "?a",
        )
        .when(|found| found.nonnegative('a')),
        // Even and odd functions.
        is("the sine is odd", Exact, "(sin (neg ?a))", "(neg (sin ?a))"),
        is("the cosine is even", Exact, "(cos (neg ?a))", "(cos ?a)"),
        is("the hyperbolic tangent is odd", Exact, "(tanh (neg ?a))", "(neg (tanh ?a))"),
        is("the error function is odd", Exact, "(erf (neg ?a))", "(neg (erf ?a))"),
        // More accurate forms.
        is(
            "the logarithm of one more has a function of its own",
            Reassociates,
            "(log (add ?a 1))",
            "(log1p ?a)",
        ),
        is(
            "one less than an exponential has a function of its own",
            Reassociates,
            "(add (exp ?a) -1)",
            "(expm1 ?a)",
        ),
        is(
            "the exponential of its function less one is the exponential",
            Reassociates,
            "(add (expm1 ?a) 1)",
            "(exp ?a)",
        ),
        is(
            "half the square root's logarithm",
            Reassociates,
            "(log (sqrt ?a))",
            "(mul (log ?a) 0.5)",
        ),
        // Sigmoid, hyperbolic tangent, gelu.
        is(
            "the logistic function is called sigmoid",
            Reassociates,
            "(div 1 (add (exp (neg ?a)) 1))",
            "(sigmoid ?a)",
        ),
        is(
            "the rest of a sigmoid is the sigmoid of the negative",
            Reassociates,
            "(sub 1 (sigmoid ?a))",
            "(sigmoid (neg ?a))",
        ),
        is(
            "a sigmoid of the double, stretched, is the hyperbolic tangent",
            Reassociates,
            "(add (mul (sigmoid (mul ?a 2)) 2) -1)",
            "(tanh ?a)",
        ),
        is(
            "half of one more than the hyperbolic tangent is a sigmoid",
            Reassociates,
            "(mul (add (tanh (mul ?a 0.5)) 1) 0.5)",
            "(sigmoid ?a)",
        ),
        is(
            "a value by its normal distribution is called gelu",
            Reassociates,
            "(mul (mul ?a 0.5) (add (erf (mul ?a 0.7071067811865476)) 1))",
            "(gelu ?a)",
        ),
        is(
            "half a value by one more than an error function is called gelu",
            Reassociates,
            "(mul ?a (mul (add (erf (mul ?a 0.7071067811865476)) 1) 0.5))",
            "(gelu ?a)",
        ),
        // Exponential and logarithm, where nothing overflows or underflows.
        is("the logarithm undoes the exponential", AssumesFinite, "(log (exp ?a))", "?a"),
        is("the exponential undoes the logarithm", AssumesFinite, "(exp (log ?a))", "?a"),
        is(
            "a product of exponentials is the exponential of the sum",
            AssumesFinite,
            "(mul (exp ?a) (exp ?b))",
            "(exp (add ?a ?b))",
        ),
        is(
            "the logarithm of a quotient is a difference of logarithms",
            AssumesFinite,
            "(log (div ?a ?b))",
            "(sub (log ?a) (log ?b))",
        ),
        is(
            "the square root of a square is the absolute value",
            AssumesFinite,
            "(sqrt (mul ?a ?a))",
            "(abs ?a)",
        ),
        is(
            "the logarithm of one more than an exponential is a soft maximum with zero",
            AssumesFinite,
            "(log1p (exp ?a))",
            "(logaddexp ?a 0)",
        ),
    ]
}
