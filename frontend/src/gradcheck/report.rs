//! Failed checks as diagnostics.

use std::collections::BTreeMap;

use cygnet_compiler::differentiate::DifferentiationError;
use cygnet_compiler::graph::Origin;

use crate::diagnostic::Diagnostic;

use super::culprit::Culprit;
use super::links::{CaseError, Link, Mismatch};
use super::sample::Detail;
use super::{CheckError, Failure};

impl Failure {
    /// The failure of the check of `what` ("the model `m`"), with the places of the operation that is
    /// wrong.
    pub fn diagnostic(&self, what: &str) -> Diagnostic {
        let link = self.mismatch.link;
        let part = match link {
            Link::GradientRules => "gradient",
            Link::Optimizer => "optimized gradient",
            Link::NativeCode => "compiled gradient",
        };
        let diagnostic = match &self.culprit {
            Some(culprit) => {
                let Culprit { operation, origin, .. } = culprit;
                let message = match (link, origin.gradient) {
                    (Link::GradientRules, _) => format!("the {part} of `{operation}` is wrong"),
                    (_, false) => format!("the value of `{operation}` is wrong in the {part}"),
                    (_, true) => format!("`{operation}` is wrong in the {part}"),
                };
                let diagnostic = Diagnostic::error("wrong-gradient", message);
                at_origin(diagnostic, origin, &culprit.application)
                    .note(numbers(&culprit.mismatch, &format!("of `{operation}` alone")))
            }
            None => {
                let message = format!("the {part} of {what} is wrong");
                Diagnostic::error("wrong-gradient", message)
                    .note("each operation is right on its own; their combination is not")
            }
        };
        diagnostic
            .note(numbers(&self.mismatch, &format!("of {what}")))
            .note(self.smallest_case())
            .help(format!(
                "this is a defect of Cygnet ({}), not of the program; please report it",
                link
            ))
    }

    fn smallest_case(&self) -> String {
        let values = match self.case.detail {
            Detail::Halves => "values are multiples of 0.5",
            Detail::Eighths => "values are multiples of 0.125",
            Detail::Full => "values have all digits",
        };
        format!("the smallest case found: {}; {values}", sizes_text(&self.sizes))
    }
}

/// Sizes as `n = 2, d = 3`.
pub fn sizes_text(sizes: &BTreeMap<String, usize>) -> String {
    match sizes.len() {
        0 => "no free sizes".to_owned(),
        _ => {
            let sizes: Vec<String> =
                sizes.iter().map(|(name, size)| format!("{name} = {size}")).collect();
            sizes.join(", ")
        }
    }
}

fn numbers(mismatch: &Mismatch, of: &str) -> String {
    let Mismatch { link, derivative, expected, actual, tolerance } = mismatch;
    let reference = match link {
        Link::GradientRules => "central differences",
        Link::Optimizer | Link::NativeCode => "the reference evaluator",
    };
    format!(
        "{of}, {derivative}: {reference} {} {expected:e}, the {link} {actual:e} (they may differ \
         by {tolerance:.1e})",
        if *link == Link::GradientRules { "give" } else { "gives" },
    )
}

/// Adds the places that a node comes from.
fn at_origin(diagnostic: Diagnostic, origin: &Origin, application: &str) -> Diagnostic {
    let mut spans = origin.spans.iter();
    let gradient = if origin.gradient { "in the gradient of this, " } else { "" };
    let Some(&first) = spans.next() else {
        return diagnostic.note(format!("the operation is {gradient}{application}"));
    };
    let diagnostic = diagnostic.primary(first, format!("{gradient}{application}"));
    spans.fold(diagnostic, |diagnostic, &span| diagnostic.secondary(span, "called from here"))
}

impl CheckError {
    /// The error of the check of `what` ("the model `m`"), as diagnostics.
    pub fn diagnostics(&self, what: &str) -> Vec<Diagnostic> {
        match self {
            CheckError::Program(diagnostics) => diagnostics.clone(),
            CheckError::Case { error, problem } => {
                let diagnostic =
                    Diagnostic::error("gradcheck", format!("{what} cannot be checked: {error}"));
                let node = match error {
                    CaseError::Differentiation(
                        DifferentiationError::Operation { node, .. }
                        | DifferentiationError::Loss { node, .. }
                        | DifferentiationError::Variable { node, .. },
                    ) => problem.graph().nodes.get(node.index()),
                    CaseError::Compiler(_) => None,
                };
                vec![match node {
                    Some(node) => at_origin(diagnostic, &node.origin, &node.op.to_string()),
                    None => diagnostic,
                }]
            }
            CheckError::NothingChecked(_) => {
                let message = format!("{what}: {self}");
                vec![
                    Diagnostic::error("gradcheck", message)
                        .help("try another --seed, or check a part of the model on its own"),
                ]
            }
        }
    }
}
