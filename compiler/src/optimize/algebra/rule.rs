//! Rewrite rules: named sentences with a left and a right side, or a procedure.

use std::sync::Arc;

use egg::{Applier, Id, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};

use super::facts::{Algebra, RuleId, Terms};
use super::language::{Kind, Term};
use super::pattern::{Pattern, variable};
use super::site::Site;
use crate::op::Elementwise;

/// What a rule may change about a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exactness {
    /// Nothing but the sign of a zero.
    Exact,
    /// Rounding, and with it where a result leaves the range of its type.
    Reassociates,
    /// Also results where a weight that stays over many steps is infinite or NaN.
    AssumesFiniteWeights,
    /// Also results where an operand or an intermediate result is infinite or NaN.
    AssumesFinite,
}

/// When a rule joins in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From the start: the rule makes terms simpler.
    Simplify,
    /// Once simple rules have done their work: the rule adds alternatives.
    Rearrange,
}

/// A rule.
pub struct Rule {
    /// What it says; its name.
    pub sentence: &'static str,
    /// What it may change.
    pub exactness: Exactness,
    /// When it joins in.
    pub phase: Phase,
    form: Form,
}

/// Makes the other side of an equation from a term of a class; `None` if the rule does not apply.
pub type Procedure = fn(&mut Site<'_>, Id, &Term) -> Option<Id>;

/// Whether a rule may be applied to what its left side matched.
pub type Condition = fn(&Match<'_>) -> bool;

#[derive(Clone)]
enum Form {
    Patterns { left: Pattern, right: Pattern, condition: Option<Condition> },
    Procedure { kinds: Vec<Kind>, procedure: Procedure },
}

/// What the left side of a rule matched.
pub struct Match<'a> {
    terms: &'a Terms,
    subst: &'a Subst,
}

impl Match<'_> {
    /// The value of a variable that has a known one.
    pub fn constant(&self, name: char) -> f64 {
        let facts = &self.terms[self.subst[variable(name)]].data;
        facts.constant.map_or(f64::NAN, crate::types::Scalar::value)
    }

    /// Whether a variable can be computed from fixed weights alone.
    pub fn fixed(&self, name: char) -> bool {
        self.terms[self.subst[variable(name)]].data.fixed
    }

    /// Whether no element of a variable is below zero.
    pub fn nonnegative(&self, name: char) -> bool {
        self.terms[self.subst[variable(name)]].data.nonnegative
    }
}

impl Rule {
    /// A rule from patterns: what matches `left` equals `right`.
    pub fn equation(sentence: &'static str, exactness: Exactness, left: &str, right: &str) -> Rule {
        let (left, right) = (Pattern::parse(left), Pattern::parse(right));
        let known = left.variables();
        assert!(right.variables().iter().all(|v| known.contains(v)), "{sentence}: a new variable");
        let form = Form::Patterns { left, right, condition: None };
        Rule { sentence, exactness, phase: Phase::Simplify, form }
    }

    /// A rule that a procedure applies to terms of these kinds.
    pub fn procedure(
        sentence: &'static str,
        exactness: Exactness,
        kinds: &[Kind],
        procedure: Procedure,
    ) -> Rule {
        let form = Form::Procedure { kinds: kinds.to_vec(), procedure };
        Rule { sentence, exactness, phase: Phase::Simplify, form }
    }

    /// The same rule, joining in later.
    pub fn rearranging(mut self) -> Rule {
        self.phase = Phase::Rearrange;
        self
    }

    /// The same rule under a condition.
    ///
    /// # Panics
    /// If it is a procedure, which has conditions of its own.
    pub fn when(mut self, new: Condition) -> Rule {
        match &mut self.form {
            Form::Patterns { condition, .. } => *condition = Some(new),
            Form::Procedure { .. } => panic!("{}: a condition on a procedure", self.sentence),
        }
        self
    }

    /// Both sides, if the rule is an equation of patterns.
    pub fn patterns(&self) -> Option<(&Pattern, &Pattern)> {
        match &self.form {
            Form::Patterns { left, right, .. } => Some((left, right)),
            Form::Procedure { .. } => None,
        }
    }

    /// The rule as the e-graph library takes it.
    pub fn rewrite(&self, id: RuleId) -> Rewrite<Term, Algebra> {
        let form = Arc::new((id, self.form.clone()));
        let (searcher, applier) = (Side(Arc::clone(&form)), Side(form));
        Rewrite::new(self.sentence, searcher, applier).expect("rules bind their variables")
    }
}

/// Any elementwise function.
pub fn all_functions() -> Vec<Kind> {
    Elementwise::all().map(Kind::Function).collect()
}

/// Either side of a rule: it finds matches, and applies itself to them.
struct Side(Arc<(RuleId, Form)>);

impl Searcher<Term, Algebra> for Side {
    fn search_eclass_with_limit(
        &self,
        terms: &Terms,
        class: Id,
        limit: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        let mut substs = match &self.0.1 {
            Form::Patterns { left, condition, .. } => {
                let mut found = left.matches(terms, class);
                if let Some(condition) = condition {
                    found.retain(|subst| condition(&Match { terms, subst }));
                }
                found
            }
            Form::Procedure { .. } => vec![Subst::default()],
        };
        substs.truncate(limit);
        (!substs.is_empty()).then_some(SearchMatches { eclass: class, substs, ast: None })
    }

    fn search_with_limit(&self, terms: &Terms, limit: usize) -> Vec<SearchMatches<'_, Term>> {
        let kinds = match &self.0.1 {
            Form::Patterns { left: Pattern::Apply(function, _), .. } => {
                &[Kind::Function(*function)][..]
            }
            Form::Patterns { .. } => unreachable!("left sides are functions"),
            Form::Procedure { kinds, .. } => kinds,
        };
        let classes = kinds.iter().filter_map(|kind| terms.classes_for_op(kind)).flatten();
        let mut classes: Vec<Id> = classes.collect();
        classes.sort_unstable();
        classes.dedup();
        // Nothing is simpler than a known value; its other terms, products of products of constants,
        // would make more and more of their kind.
        classes.retain(|&class| terms[class].data.constant.is_none());
        let found = classes.into_iter();
        found.filter_map(|class| self.search_eclass_with_limit(terms, class, limit)).collect()
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

impl Applier<Term, Algebra> for Side {
    fn apply_one(
        &self,
        terms: &mut Terms,
        class: Id,
        subst: &Subst,
        _: Option<&PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        let (rule, form) = &*self.0;
        let mut made: Vec<Id> = Vec::new();
        match form {
            Form::Patterns { right, .. } => {
                let ty = terms[class].data.ty.clone();
                let mut site = Site::of_rule(terms, *rule, class);
                made.push(right.build(&mut site, subst, &ty));
            }
            Form::Procedure { kinds, procedure } => {
                let found = terms[class].nodes.iter().filter(|term| kinds.contains(&term.kind));
                for term in found.cloned().collect::<Vec<Term>>() {
                    let mut site = Site::of_rule(terms, *rule, class);
                    made.extend(procedure(&mut site, class, &term));
                }
            }
        }
        let mut changed = Vec::new();
        for id in made {
            if terms.union(class, id) {
                terms.analysis.applied[usize::from(*rule)] += 1;
                changed.push(class);
            }
        }
        changed
    }
}
