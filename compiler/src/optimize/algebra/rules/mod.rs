//! All rewrite rules, by theme.
//!
//! Rules are directed: they make terms simpler, or add an alternative worth pricing. There is no
//! general commutativity, associativity or distributivity; operands of commutative functions have
//! a canonical order instead. Extraction picks the cheapest form, so no rule makes anything worse.

mod arithmetic;
mod casts;
mod contraction;
mod fixed;
mod movement;
mod reduction;
mod selection;
mod transcendental;

use std::sync::LazyLock;

use egg::Rewrite;

use super::facts::{Algebra, RuleId};
use super::language::Term;
use super::rule::Rule;

/// The rules and what the e-graph library makes of them, by number.
pub struct RuleBook {
    /// Rules.
    pub rules: Vec<Rule>,
    /// The same in the library's form.
    pub rewrites: Vec<Rewrite<Term, Algebra>>,
}

/// All rules.
pub static RULES: LazyLock<RuleBook> = LazyLock::new(|| {
    let rules: Vec<Rule> = [
        arithmetic::rules(),
        transcendental::rules(),
        selection::rules(),
        casts::rules(),
        movement::rules(),
        reduction::rules(),
        contraction::rules(),
        fixed::rules(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let rewrites = rules.iter().enumerate().map(|(id, rule)| rule.rewrite(id as RuleId)).collect();
    RuleBook { rules, rewrites }
});
