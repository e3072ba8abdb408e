//! Gradient checks: the gradients of whole programs against finite differences.
//!
//! A check draws random sizes and values ([`sample`]), elaborates the program for them and tests
//! three links separately ([`links`]): gradient rules, optimizer, native code. If one fails, the
//! case is shrunk - to small sizes, then to simple values - and the first operation that is wrong
//! is named ([`culprit`], [`report`]).

pub mod culprit;
pub mod execute;
pub mod function;
pub mod links;
pub mod native;
pub mod precise;
pub mod problem;
pub mod program;
pub mod projection;
pub mod report;
pub mod sample;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Serialize;
use thiserror::Error;

use crate::diagnostic::Diagnostic;

use culprit::{Culprit, find_culprit};
use links::{Agreement, CaseError, Methods, Mismatch, Outcome, check_case};
use problem::Problem;
use sample::{Case, Size, cases};

/// How often a case that cannot be checked is drawn anew.
const DRAWS: u32 = 32;
/// Most cases that are tried to find a smaller failing one.
const MOST_SHRINKS: u32 = 200;

/// What can be checked: a scalar that depends on sizes.
pub trait Subject {
    /// The sizes that may be chosen.
    fn sizes(&self) -> &[Size];

    /// The problem for these sizes.
    ///
    /// # Errors
    /// What is wrong with the program for them.
    fn problem(&self, sizes: &[usize]) -> Result<Problem, Vec<Diagnostic>>;
}

/// How much is checked.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of random cases.
    pub cases: u32,
    /// Where they come from.
    pub seed: u64,
}

/// How a case ended, as it is told to the caller.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    /// Its number, from 1.
    pub case: u32,
    /// The sizes by name.
    pub sizes: BTreeMap<String, usize>,
    /// What became of it.
    #[serde(flatten)]
    pub result: CaseResult,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum CaseResult {
    /// All derivatives agree.
    Passed(Agreement),
    /// No draw could be checked.
    Skipped {
        /// Why the last one could not.
        reason: &'static str,
    },
    /// A derivative is wrong.
    Failed(Mismatch),
}

/// How a check ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// No derivative is wrong.
    Passed(Summary),
    /// The first failing case, shrunk.
    Failed(Box<Failure>),
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Cases in which all derivatives agree.
    pub passed: u32,
    /// Cases that could not be checked.
    pub skipped: u32,
    /// Derivatives compared, and the largest difference.
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// A failing case.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The case as small as it became.
    pub case: Case,
    /// Its sizes by name.
    pub sizes: BTreeMap<String, usize>,
    /// The wrong derivative.
    pub mismatch: Mismatch,
    /// The operation to blame.
    pub culprit: Option<Culprit>,
}

/// Why a check did not get to a verdict.
#[derive(Clone, Debug, Error)]
pub enum CheckError {
    /// The program is wrong, for all sizes that were tried.
    #[error("the program cannot be elaborated")]
    Program(Vec<Diagnostic>),
    /// A case cannot be checked at all.
    #[error("{error}")]
    Case {
        /// Why.
        error: CaseError,
        /// The problem.
        problem: Box<Problem>,
    },
    /// Every case was skipped.
    #[error("nothing could be checked; the last case was skipped because {0}")]
    NothingChecked(&'static str),
}

/// Checks random cases until one fails. `finished` is told of each.
///
/// # Errors
/// If the program is wrong or has no gradient, the compiler fails, or no case can be checked.
pub fn check(
    subject: &dyn Subject,
    methods: &Methods<'_>,
    options: Options,
    mut finished: impl FnMut(&CaseReport),
) -> Result<Verdict, CheckError> {
    let mut check = Check { subject, methods, strategy: cases(subject.sizes()).boxed() };
    let mut runner = runner(options.seed);
    let mut summary = Summary::default();
    let mut last_reason = "none was asked for";
    for number in 1..=options.cases {
        let (mut tree, outcome) = check.draw(&mut runner)?;
        let sizes = check.named_sizes(&tree.current());
        let result = match &outcome {
            Outcome::Agrees(agreement) => CaseResult::Passed(*agreement),
            Outcome::Skipped(reason) => CaseResult::Skipped { reason },
            Outcome::Differs(mismatch) => CaseResult::Failed(mismatch.clone()),
        };
        finished(&CaseReport { case: number, sizes, result });
        match outcome {
            Outcome::Agrees(agreement) => summary.add(agreement),
            Outcome::Skipped(reason) => {
                summary.skipped += 1;
                last_reason = reason;
            }
            Outcome::Differs(mismatch) => {
                return Ok(Verdict::Failed(Box::new(check.shrink(tree.as_mut(), mismatch)?)));
            }
        }
    }
    match summary.passed {
        0 => Err(CheckError::NothingChecked(last_reason)),
        _ => Ok(Verdict::Passed(summary)),
    }
}

/// Where random cases come from: the same ones for the same seed.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// A case that can be made simpler.
type Tree = Box<dyn ValueTree<Value = Case>>;

/// A check under way.
struct Check<'a> {
    subject: &'a dyn Subject,
    methods: &'a Methods<'a>,
    strategy: BoxedStrategy<Case>,
}

impl Check<'_> {
    /// Draws a case that can be checked, or the last one of many that cannot.
    fn draw(&mut self, runner: &mut TestRunner) -> Result<(Tree, Outcome), CheckError> {
        let mut skipped = None;
        let mut wrong = Vec::new();
        for _ in 0..DRAWS {
            let tree = self.strategy.new_tree(runner).expect("the strategy rejects nothing");
            match self.outcome(&tree.current()) {
                Ok(outcome @ Outcome::Skipped(_)) => skipped = Some((tree, outcome)),
                Err(CheckError::Program(diagnostics)) => wrong = diagnostics,
                outcome => return outcome.map(|outcome| (tree, outcome)),
            }
        }
        skipped.ok_or(CheckError::Program(wrong))
    }

    fn outcome(&self, case: &Case) -> Result<Outcome, CheckError> {
        let problem = self.subject.problem(&case.sizes).map_err(CheckError::Program)?;
        let slots = case.slots(&problem);
        check_case(&problem, case, &slots, self.methods)
            .map_err(|error| CheckError::Case { error, problem: Box::new(problem) })
    }

    /// Makes a failing case simpler as long as it fails in the same way, and finds what is wrong.
    fn shrink(
        &self,
        tree: &mut dyn ValueTree<Value = Case>,
        mut mismatch: Mismatch,
    ) -> Result<Failure, CheckError> {
        let mut case = tree.current();
        let mut simpler = tree.simplify();
        for _ in 0..MOST_SHRINKS {
            if !simpler {
                break;
            }
            simpler = match self.outcome(&tree.current()) {
                Ok(Outcome::Differs(found)) if found.link == mismatch.link => {
                    (case, mismatch) = (tree.current(), found);
                    tree.simplify()
                }
                // It does not fail, or in another way, or does not elaborate.
                _ => tree.complicate(),
            };
        }
        let problem = self.subject.problem(&case.sizes).map_err(CheckError::Program)?;
        let slots = case.slots(&problem);
        let culprit = find_culprit(&problem, &case, &slots, self.methods, mismatch.link)
            .map_err(|error| CheckError::Case { error, problem: Box::new(problem) })?;
        Ok(Failure { sizes: self.named_sizes(&case), case, mismatch, culprit })
    }

    fn named_sizes(&self, case: &Case) -> BTreeMap<String, usize> {
        let names = self.subject.sizes().iter().map(|size| size.name.clone());
        names.zip(case.sizes.iter().copied()).collect()
    }
}

impl Summary {
    fn add(&mut self, agreement: Agreement) {
        self.passed += 1;
        self.agreement.derivatives += agreement.derivatives;
        self.agreement.kinks += agreement.kinks;
        self.agreement.unknown += agreement.unknown;
        self.agreement.worst = self.agreement.worst.max(agreement.worst);
    }
}
