//! Wrong gradients and wrong code, planted on purpose, are found and named.

use cygnet_compiler::evaluate::Evaluator;
use cygnet_compiler::graph::Emit;
use cygnet_compiler::op::{Application, Context, Cotangents, Op, ReduceKind};

use super::*;
use crate::gradcheck::execute::Execution;
use crate::gradcheck::links::Link;

/// A small classifier with operations of every kind; each line of comments is one of its spans.
fn network(b: &mut Builder, sizes: &[usize]) -> NodeId {
    let [n, d, k] = sizes[..] else { unreachable!("three sizes") };
    let x = b.slot("x", SlotRole::Input, DType::F32, &[n, d]);
    let weight = b.parameter("weight", &[k, d]);
    let bias = b.parameter("bias", &[k]);
    b.line(10);
    let product = b.graph.contract(x, weight, &[], &[(1, 1)]);
    b.line(20);
    let bias = b.graph.broadcast(bias, &[n, k], &[1]);
    b.line(30);
    let sum = b.graph.add(product, bias);
    b.line(40);
    let active = b.graph.apply("tanh", &[sum]);
    b.line(50);
    let zero = b.graph.constant_like(sum, 0.25);
    let condition = b.graph.apply("lt", &[sum, zero]);
    let chosen = b.graph.select(condition, active, sum);
    b.line(60);
    let turned = b.graph.permute(chosen, &[1, 0]);
    b.line(70);
    let padded = b.graph.pad(turned, &[1, 0], &[0, 1], &[0, 1], -4.0);
    b.line(80);
    let largest = b.graph.reduce(ReduceKind::Max, padded, &[0]);
    b.line(90);
    let squared = b.graph.mul(largest, largest);
    let rows = b.graph.sum(turned, &[0]);
    b.line(100);
    let scaled = b.graph.apply("exp", &[rows]);
    let (a, b_) = (b.graph.sum(squared, &[0]), b.graph.sum(scaled, &[0]));
    b.line(110);
    b.graph.sub(a, b_)
}

fn subject() -> Built {
    Built::new(&["n", "d", "k"], network)
}

/// Plants `rule` and expects the blame on `operation` at `line`, in the smallest case.
fn expect_blame(
    operation: &'static str,
    line: u32,
    smallest: [usize; 3],
    rule: impl Fn(&Op, &mut dyn Emit, &Application<'_>) -> Cotangents,
) {
    let differentiator = Differentiator::default().with_rule(operation, rule);
    let found = failure(&subject(), &differentiator);
    assert_eq!(found.mismatch.link, Link::GradientRules);
    let culprit = found.culprit.expect("an operation is to blame");
    assert_eq!(culprit.operation, operation);
    assert_eq!(culprit.origin.spans[0].start, line, "{}", culprit.application);
    assert_eq!(found.case.sizes, smallest, "{operation}");
}

#[test]
fn the_network_itself_is_right() {
    let summary = summary(&subject());
    assert_eq!(summary.passed, 6);
    assert!(summary.agreement.derivatives >= 50, "{summary:?}");
    assert!(summary.agreement.worst < 1.0, "{summary:?}");
}

#[test]
fn a_wrong_elementwise_gradient_is_found() {
    // The derivative 1 - y instead of 1 - y^2.
    expect_blame("tanh", 40, [1, 1, 1], |_, g, at| {
        let one = g.constant_like(at.result, 1.0);
        let slope = g.sub(one, at.result);
        [Some(g.mul(at.cotangent, slope))].into_iter().collect()
    });
    // The second operand is forgotten, as where something is used twice.
    expect_blame("mul", 90, [1, 1, 1], |_, g, at| {
        [Some(g.mul(at.cotangent, at.operands[1])), None].into_iter().collect()
    });
}

#[test]
fn a_wrong_reduction_gradient_is_found() {
    // All elements get the cotangent, not only the largest. The padding is never the largest, so
    // with one class nothing is wrong.
    expect_blame("reduce_max", 80, [1, 1, 2], |_, g, at| {
        let shape = g.type_of(at.operands[0]).shape.clone();
        [Some(g.broadcast(at.cotangent, &shape, &[1]))].into_iter().collect()
    });
}

#[test]
fn a_wrong_gradient_is_found_where_other_elements_are_tied() {
    // Two of the three rows are equal constants, often the largest.
    let tied = Built::new(&[], |b, _| {
        let x = b.parameter("x", &[1, 3]);
        b.line(10);
        let padded = b.graph.pad(x, &[1, 0], &[1, 0], &[0, 0], 0.25);
        b.line(20);
        let largest = b.graph.reduce(ReduceKind::Max, padded, &[0]);
        b.graph.sum(largest, &[0])
    });
    let differentiator = Differentiator::default().with_rule("reduce_max", |_, g, at| {
        let shape = g.type_of(at.operands[0]).shape.clone();
        [Some(g.broadcast(at.cotangent, &shape, &[1]))].into_iter().collect()
    });
    let culprit = failure(&tied, &differentiator).culprit.unwrap();
    assert_eq!((culprit.operation, culprit.origin.spans[0].start), ("reduce_max", 20));
}

#[test]
fn a_wrong_movement_gradient_is_found() {
    // The transposition is forgotten: harmless in a square matrix of one element, and impossible
    // in one that is not square.
    let flipped = |_: &Op, g: &mut dyn Emit, at: &Application<'_>| -> Cotangents {
        let shape = g.type_of(at.operands[0]).shape.clone();
        [Some(g.reshape(at.cotangent, &shape))].into_iter().collect()
    };
    expect_blame("permute", 60, [2, 1, 2], flipped);
    // Only the first row is summed.
    expect_blame("broadcast", 20, [2, 1, 1], |_, g, at| {
        let shape = g.type_of(at.cotangent).shape.clone();
        let first = g.slice(at.cotangent, &[0, 0], &[1, shape[1]], &[1, 1]);
        [Some(g.reshape(first, &[shape[1]]))].into_iter().collect()
    });
    // Off by one.
    expect_blame("pad", 70, [1, 1, 1], |_, g, at| {
        let shape = g.type_of(at.operands[0]).shape.clone();
        let stop: Vec<usize> = vec![shape[0], 2 * shape[1] - 1];
        [Some(g.slice(at.cotangent, &[0, 0], &stop, &[1, 2]))].into_iter().collect()
    });
}

#[test]
fn a_wrong_contraction_gradient_is_found() {
    // Twice what it should be.
    expect_blame("contract", 10, [1, 1, 1], |op, g, at| {
        let parts = op.primitive().gradient(g, at).unwrap();
        parts.into_iter().map(|part| part.map(|part| g.add(part, part))).collect()
    });
}

#[test]
fn a_wrong_selection_gradient_is_found() {
    // The branches are confused.
    expect_blame("select", 50, [1, 1, 1], |_, g, at| {
        let zero = g.constant_like(at.cotangent, 0.0);
        let yes = g.select(at.operands[0], zero, at.cotangent);
        let no = g.select(at.operands[0], at.cotangent, zero);
        [None, Some(yes), Some(no)].into_iter().collect()
    });
}

#[test]
fn a_gradient_that_is_no_number_is_found() {
    expect_blame("exp", 100, [1, 1, 1], |_, g, at| {
        let zero = g.constant_like(at.result, 0.0);
        [Some(g.div(zero, zero))].into_iter().collect()
    });
}

#[test]
fn failures_are_diagnostics_with_the_place() {
    let differentiator = Differentiator::default()
        .with_rule("tanh", |_, _, at| [Some(at.cotangent)].into_iter().collect());
    let diagnostic = failure(&subject(), &differentiator).diagnostic("the network");
    assert_eq!(diagnostic.message, "the gradient of `tanh` is wrong");
    assert_eq!(diagnostic.primary_span().map(|span| span.start), Some(40));
    let notes = diagnostic.notes.join("\n");
    assert!(notes.contains("d = 1, k = 1, n = 1"), "{notes}");
    assert!(notes.contains("central differences give"), "{notes}");
    assert!(diagnostic.help.unwrap().contains("gradient rules"));
}

/// Compiles nothing but evaluates, and makes a mistake in one operation.
struct Mistaken {
    operation: &'static str,
    link: Link,
}

impl Execute for Mistaken {
    fn execute(&self, graph: &Graph, context: Context<'_>) -> Result<Execution, String> {
        let mut spoilt = graph.clone();
        for index in 0..graph.nodes.len() {
            if graph.nodes[index].op.primitive().name() == self.operation {
                // The last operand in place of the first one.
                let node = &mut spoilt.nodes[index];
                node.operands[0] = *node.operands.last().unwrap();
            }
        }
        let evaluator = Evaluator { context, ..Evaluator::new(&[]) };
        let (optimized, native) = match self.link {
            Link::Optimizer => (spoilt, graph.clone()),
            _ => (graph.clone(), spoilt),
        };
        Ok(Execution { optimized, outputs: evaluator.run(&native).outputs })
    }
}

#[test]
fn the_link_that_fails_is_told() {
    for link in [Link::Optimizer, Link::NativeCode] {
        let mistaken = Mistaken { operation: "mul", link };
        let verdict = checked(&subject(), &Differentiator::default(), Some(&mistaken)).0;
        let Verdict::Failed(failure) = verdict else { panic!("not found") };
        assert_eq!(failure.mismatch.link, link);
        assert_eq!(failure.culprit.as_ref().map(|culprit| culprit.operation), Some("mul"));
        assert!(failure.diagnostic("the network").message.contains("`mul`"));
    }
}

#[test]
fn the_same_seed_gives_the_same_cases() {
    let run = || checked(&subject(), &Differentiator::default(), None).1;
    assert_eq!(run(), run());
}
