//! Rules from patterns: instances come from the left side.

use std::collections::BTreeMap;

use super::{Draw, check_rule};
use crate::graph::{Emit, Graph, NodeId, SlotRole};
use crate::op::elementwise::Typing;
use crate::optimize::algebra::pattern::Pattern;
use crate::optimize::algebra::rules::RULES;
use crate::types::{DType, Shape, TensorType};

/// Builds an instance of a pattern in a graph.
struct Instance<'a> {
    graph: Graph,
    shape: Shape,
    variables: BTreeMap<char, NodeId>,
    draw: &'a mut Draw,
}

impl Instance<'_> {
    fn build(&mut self, pattern: &Pattern, dtype: DType) -> NodeId {
        match pattern {
            Pattern::Number(value) => {
                let shape = self.shape.clone();
                self.graph.constant(dtype, &shape, *value)
            }
            Pattern::Variable { name, constant } => {
                if let Some(&known) = self.variables.get(name) {
                    return known;
                }
                let shape = self.shape.clone();
                let node = if *constant {
                    let value = self.draw.choose(&[-2.5, -1.0, 0.25, 0.5, 1.0, 3.0, 7.0]);
                    self.graph.constant(dtype, &shape, value)
                } else {
                    let ty = TensorType::new(dtype, &shape);
                    // Some rules want fixed weights.
                    let role = self.draw.choose(&[SlotRole::Input, SlotRole::Parameter]);
                    let slot = self.graph.declare_slot(&name.to_string(), role, ty);
                    let node = self.graph.read_slot(slot);
                    // Some rules want values that are not negative.
                    match dtype.is_float() && self.draw.below(2) == 0 {
                        true => self.graph.apply("abs", &[node]),
                        false => node,
                    }
                };
                self.variables.insert(*name, node);
                node
            }
            Pattern::Apply(function, operands) => {
                let types = match function.entry().typing {
                    Typing::Numeric | Typing::Float => [dtype; 3],
                    Typing::Comparison => [DType::F64; 3],
                    Typing::Logical => [DType::Bool; 3],
                    Typing::Select => [DType::Bool, dtype, dtype],
                };
                let operands: Vec<NodeId> =
                    operands.iter().zip(types).map(|(o, dtype)| self.build(o, dtype)).collect();
                self.graph.emit((*function).into(), &operands)
            }
        }
    }
}

fn result_type(pattern: &Pattern) -> DType {
    match pattern {
        Pattern::Apply(function, _) => match function.entry().typing {
            Typing::Comparison | Typing::Logical => DType::Bool,
            Typing::Numeric | Typing::Float | Typing::Select => DType::F64,
        },
        Pattern::Variable { .. } | Pattern::Number(_) => DType::F64,
    }
}

#[test]
fn both_sides_of_every_equation_agree() {
    for (number, rule) in RULES.rules.iter().enumerate() {
        let Some((left, _)) = rule.patterns() else { continue };
        let mut applied = 0;
        for seed in 1..=24 {
            let mut draw = Draw::new(seed);
            let shape = Shape::from_slice(draw.choose(&[&[][..], &[3], &[2, 4]]));
            let graph = Graph::new();
            let mut instance =
                Instance { graph, shape, variables: BTreeMap::new(), draw: &mut draw };
            instance.build(left, result_type(left));
            let graph = instance.graph;
            applied += check_rule(number, &graph, &mut draw);
        }
        assert!(applied > 0, "never applied: {}", rule.sentence);
    }
}

#[test]
fn sentences_are_unique() {
    let mut sentences: Vec<&str> = RULES.rules.iter().map(|rule| rule.sentence).collect();
    let count = sentences.len();
    sentences.sort_unstable();
    sentences.dedup();
    assert_eq!(sentences.len(), count);
}
