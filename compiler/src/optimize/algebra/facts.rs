//! What is known about each class of equal tensors.

use std::collections::HashMap;

use egg::{Analysis, DidMerge, EGraph, Id};
use smallvec::SmallVec;

use super::language::{Operations, SourceId, Term};
use crate::op::{Op, RandomKind, ReduceKind};
use crate::types::{DType, Scalar, TensorType};

/// An e-graph of terms.
pub type Terms = EGraph<Term, Algebra>;

/// Number of a rule in the table of all rules.
pub type RuleId = u16;

/// Where a term comes from: a node of the graph, or a rule applied to such a thing.
#[derive(Clone, Copy, Debug)]
enum Source {
    Node(u32),
    Rule { rule: RuleId, from: SourceId },
}

/// Where all terms come from.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    sources: Vec<Source>,
    made: HashMap<(RuleId, SourceId), SourceId>,
}

/// Longest chain of rules that is told for a term.
const LONGEST_HISTORY: usize = 8;

impl Provenance {
    /// The source of what a node of the graph becomes.
    pub fn node(&mut self, node: u32) -> SourceId {
        self.sources.push(Source::Node(node));
        SourceId((self.sources.len() - 1) as u32)
    }

    /// The source of what a rule makes of something.
    pub fn rule(&mut self, rule: RuleId, from: SourceId) -> SourceId {
        let sources = &mut self.sources;
        *self.made.entry((rule, from)).or_insert_with(|| {
            sources.push(Source::Rule { rule, from });
            SourceId((sources.len() - 1) as u32)
        })
    }

    /// The node that it all began with, and the rules since, the oldest first (only the last few).
    pub fn history(&self, source: SourceId) -> (u32, Vec<RuleId>) {
        let (mut source, mut rules) = (source, Vec::new());
        loop {
            match self.sources[source.0 as usize] {
                Source::Node(node) => {
                    rules.truncate(LONGEST_HISTORY);
                    rules.reverse();
                    return (node, rules);
                }
                Source::Rule { rule, from } => {
                    rules.push(rule);
                    source = from;
                }
            }
        }
    }
}

/// The analysis of an e-graph, with what its terms refer to.
#[derive(Clone, Debug)]
pub struct Algebra {
    /// Operations, by number.
    pub operations: Operations,
    /// Where terms come from.
    pub provenance: Provenance,
    /// How often each rule made two classes one.
    pub applied: Vec<usize>,
    /// For each slot of the graph, whether it keeps its value over many steps; may be empty.
    pub fixed_slots: Vec<bool>,
}

/// Facts about a class.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Type of its tensors.
    pub ty: TensorType,
    /// The value, if it is the same everywhere and known.
    pub constant: Option<Scalar>,
    /// Whether no element is below zero; NaN may occur.
    pub nonnegative: bool,
    /// Whether it can be computed from fixed weights alone.
    pub fixed: bool,
    /// Where the class comes from.
    pub source: SourceId,
    /// Nodes of the graph that it stands for, in ascending order.
    pub nodes: SmallVec<[u32; 2]>,
}

impl Analysis<Term> for Algebra {
    type Data = Facts;

    fn make(terms: &mut Terms, term: &Term, _: Id) -> Facts {
        let op = terms.analysis.operations.get(term.operation);
        let operands: SmallVec<[&Facts; 3]> =
            term.children.iter().map(|&child| &terms[child].data).collect();
        let types: SmallVec<[&TensorType; 3]> = operands.iter().map(|facts| &facts.ty).collect();
        let ty = op
            .primitive()
            .infer(&types)
            .unwrap_or_else(|error| panic!("a rule made an ill-typed term: {op}: {error}"));
        let constant = constant(op, &operands, &ty);
        let nonnegative = constant.is_some_and(|value| value.value() >= 0.0)
            || nonnegative(op, &operands, &term.children);
        let fixed = match op {
            Op::Slot(slot) => {
                terms.analysis.fixed_slots.get(slot.index as usize).is_some_and(|&fixed| fixed)
            }
            op => fixed_by_operands(op, operands.iter().copied()),
        };
        let nodes = SmallVec::new();
        Facts { ty, constant, nonnegative, fixed, source: term.source, nodes }
    }

    fn merge(&mut self, facts: &mut Facts, other: Facts) -> DidMerge {
        debug_assert_eq!(facts.ty, other.ty, "classes of different types were merged");
        let (constant, nonnegative) =
            (facts.constant.or(other.constant), facts.nonnegative || other.nonnegative);
        let fixed = facts.fixed || other.fixed;
        let news = |of: &Facts| {
            constant.is_some() != of.constant.is_some()
                || nonnegative != of.nonnegative
                || fixed != of.fixed
        };
        let learned = DidMerge(news(facts), news(&other));
        (facts.constant, facts.nonnegative, facts.fixed) = (constant, nonnegative, fixed);
        facts.source = facts.source.min(other.source);
        facts.nodes.extend(other.nodes);
        facts.nodes.sort_unstable();
        learned
    }

    fn modify(terms: &mut Terms, id: Id) {
        let facts = &terms[id].data;
        let Some(value) = facts.constant else { return };
        let (shape, source) = (facts.ty.shape.clone(), facts.source);
        let is_constant = |term: &Term| term.kind == super::language::Kind::Constant;
        if !terms[id].nodes.iter().any(is_constant) {
            let op = crate::op::Constant { value, shape }.into();
            let operation = terms.analysis.operations.number(op);
            let children = SmallVec::new();
            let kind = super::language::Kind::Constant;
            let constant = terms.add(Term { kind, operation, children, source });
            terms.union(id, constant);
        }
    }
}

/// Whether an operation is computed from fixed weights alone, by what is known of its operands.
pub fn fixed_by_operands<'a>(
    op: &Op,
    mut operands: impl Iterator<Item = &'a Facts> + Clone,
) -> bool {
    !matches!(op, Op::Scan(_) | Op::Port(_))
        && operands.clone().all(|facts| facts.fixed || facts.constant.is_some())
        && operands.any(|facts| facts.fixed)
}

/// The value of an operation that is the same everywhere: constants, and functions of constants.
fn constant(op: &Op, operands: &[&Facts], ty: &TensorType) -> Option<Scalar> {
    let values: Option<SmallVec<[f64; 3]>> =
        operands.iter().map(|facts| facts.constant.map(Scalar::value)).collect();
    let values = values?;
    match op {
        Op::Constant(constant) => Some(constant.value),
        Op::Elementwise(function) => {
            Some(Scalar::new(ty.dtype, function.evaluate_element(ty.dtype, &values)))
        }
        Op::Cast(_) => Some(Scalar::new(ty.dtype, values[0])),
        _ => None,
    }
}

fn nonnegative(op: &Op, operands: &[&Facts], children: &[Id]) -> bool {
    let all = || operands.iter().all(|facts| facts.nonnegative);
    match op {
        Op::Elementwise(function) => match function.entry().name {
            "exp" | "sqrt" | "abs" | "sigmoid" => true,
            "lt" | "le" | "eq" | "not" | "and" | "or" => true,
            "max" => operands.iter().any(|facts| facts.nonnegative && facts.constant.is_some()),
            // Integers wrap.
            "mul" if operands[0].ty.dtype.is_float() => all() || children[0] == children[1],
            "add" if operands[0].ty.dtype.is_float() => all(),
            "div" | "min" => all(),
            "select" => operands[1].nonnegative && operands[2].nonnegative,
            _ => false,
        },
        Op::Iota(_) => true,
        Op::Slot(slot) => matches!(slot.ty.dtype, DType::Bool | DType::U8),
        Op::Random(random) => random.kind == RandomKind::Uniform,
        Op::Cast(_) | Op::Concat(_) | Op::Contract(_) | Op::Conv(_) | Op::Fold(_) => all(),
        Op::View(view) => all() && view.map.fill().is_none_or(|fill| fill.value() >= 0.0),
        Op::Reduce(reduce) => {
            all() && reduce.kind != ReduceKind::Max && operands[0].ty.dtype.is_float()
        }
        _ => false,
    }
}
