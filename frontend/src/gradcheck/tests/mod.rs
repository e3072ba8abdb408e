mod kinks;
mod planted;
mod rules;

use cygnet_compiler::differentiate::Differentiator;
use cygnet_compiler::graph::{Graph, NodeId, Origin, SlotRole};
use cygnet_compiler::types::{DType, TensorType};

use super::*;
use crate::gradcheck::execute::Execute;
use crate::gradcheck::problem::Sampling;
use crate::source::Span;

/// A subject built by a function of the sizes.
struct Built {
    sizes: Vec<Size>,
    build: fn(&mut Builder, &[usize]) -> NodeId,
}

impl Built {
    /// A subject with sizes of these names from 1 to 4.
    fn new(names: &[&str], build: fn(&mut Builder, &[usize]) -> NodeId) -> Built {
        let size = |name: &&str| Size { name: (*name).to_owned(), choices: (1..=4).collect() };
        Built { sizes: names.iter().map(size).collect(), build }
    }
}

impl Subject for Built {
    fn sizes(&self) -> &[Size] {
        &self.sizes
    }

    fn problem(&self, sizes: &[usize]) -> Result<Problem, Vec<Diagnostic>> {
        let mut builder = Builder::default();
        let loss = (self.build)(&mut builder, sizes);
        builder.graph.verify().unwrap();
        let samplings = builder.graph.slots.iter().map(Sampling::of_slot).collect();
        Ok(Problem::new(builder.graph, loss, samplings))
    }
}

/// A graph under construction, in which the span of each part tells which line it stands on.
#[derive(Default)]
struct Builder {
    graph: Graph,
}

impl Builder {
    fn parameter(&mut self, name: &str, shape: &[usize]) -> NodeId {
        self.slot(name, SlotRole::Parameter, DType::F32, shape)
    }

    fn slot(&mut self, name: &str, role: SlotRole, dtype: DType, shape: &[usize]) -> NodeId {
        let index = self.graph.declare_slot(name, role, TensorType::new(dtype, shape));
        self.graph.read_slot(index)
    }

    /// What is emitted from now on stands on this line.
    fn line(&mut self, line: u32) {
        let spans = [Span { file: 0, start: line, end: line + 1 }].into_iter().collect();
        self.graph.set_origin(Origin { spans, ..Origin::default() }.into());
    }
}

fn checked(
    subject: &Built,
    differentiator: &Differentiator<'_>,
    executor: Option<&dyn Execute>,
) -> (Verdict, Vec<CaseReport>) {
    let methods = Methods { differentiator, executor };
    let mut reports = Vec::new();
    let options = Options { cases: 6, seed: 7 };
    let verdict = check(subject, &methods, options, |report| reports.push(report.clone()));
    (verdict.unwrap_or_else(|error| panic!("{error}")), reports)
}

fn failure(subject: &Built, differentiator: &Differentiator<'_>) -> Failure {
    match checked(subject, differentiator, None).0 {
        Verdict::Failed(failure) => *failure,
        Verdict::Passed(summary) => panic!("nothing was found: {summary:?}"),
    }
}

fn summary(subject: &Built) -> Summary {
    match checked(subject, &Differentiator::default(), None).0 {
        Verdict::Passed(summary) => summary,
        Verdict::Failed(failure) => panic!("{failure:?}"),
    }
}
