//! `cygnet gradcheck`.

use std::path::PathBuf;

use clap::Args;
use cygnet_compiler::differentiate::Differentiator;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::gradcheck::links::Methods;
use crate::gradcheck::native::NativeCode;
use crate::gradcheck::program::{Kind, Target, targets};
use crate::gradcheck::report::sizes_text;
use crate::gradcheck::{CaseReport, CaseResult, Options, Summary, Verdict, check};
use crate::language::package::Package;
use crate::session::SessionOptions;

use super::common::{Execution, Settings, load_package};
use super::console::{Console, Failure};

/// Arguments of `cygnet gradcheck`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// The model or recipe; all recipes, or all models of a file without, if not given
    name: Option<String>,
    /// Number of random cases
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Seed of sizes and values
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    execution: Execution,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Case {
        kind: &'static str,
        name: &'a str,
        #[serde(flatten)]
        report: &'a CaseReport,
    },
    Finished {
        kind: &'static str,
        name: &'a str,
        #[serde(flatten)]
        summary: Summary,
    },
    Failed {
        kind: &'static str,
        name: &'a str,
        diagnostic: Diagnostic,
    },
}

/// Checks gradients, and prints what was checked.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    // Random cases, which nobody runs again, are not kept.
    let options = SessionOptions { cache: None, ..arguments.execution.options()? };
    let native = NativeCode { options };
    let package = load_package(&arguments.file, console)?;
    let targets = targets(&package, arguments.name.as_deref(), &arguments.settings.to_map())
        .map_err(|diagnostics| Failure::new(&Error::Program(diagnostics), package.sources()))?;
    let mut failed = false;
    for target in &targets {
        failed |= !check_target(arguments, console, &package, target, &native)?;
    }
    if failed { Err(Failure::reported()) } else { Ok(()) }
}

/// Whether a target's gradients are right; what is wrong has been reported.
fn check_target(
    arguments: &Arguments,
    console: &Console,
    package: &Package,
    target: &Target<'_>,
    native: &NativeCode,
) -> Result<bool, Failure> {
    let differentiator = Differentiator::default();
    let methods = Methods { differentiator: &differentiator, executor: Some(native) };
    let options = Options { cases: arguments.cases, seed: arguments.seed };
    let (name, title) = (target.name(), target.title());
    let kind = match target.kind() {
        Kind::Recipe => "recipe",
        Kind::Model => "model",
    };
    let verdict = check(target, &methods, options, |report| {
        if arguments.json {
            console.print_json(&Event::Case { kind, name, report });
        } else if let CaseResult::Failed(mismatch) = &report.result {
            let sizes = sizes_text(&report.sizes);
            eprintln!("case {} fails ({}; {sizes}); shrinking it", report.case, mismatch.link);
        }
    });
    match verdict {
        Ok(Verdict::Passed(summary)) if arguments.json => {
            console.print_json(&Event::Finished { kind, name, summary });
            Ok(true)
        }
        Ok(Verdict::Passed(summary)) => {
            console.print(&format!("{title}: {}", describe(&summary)));
            Ok(true)
        }
        Ok(Verdict::Failed(failure)) => {
            let diagnostic = failure.diagnostic(&title);
            if arguments.json {
                console.print_json(&Event::Failed { kind, name, diagnostic });
            } else {
                console.diagnose(&[diagnostic], package.sources());
            }
            Ok(false)
        }
        Err(error) => {
            let error = Error::Program(error.diagnostics(&title));
            Err(Failure::new(&error, package.sources()))
        }
    }
}

fn describe(summary: &Summary) -> String {
    let Summary { passed, skipped, agreement } = summary;
    let skipped = match skipped {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    let kinks = match agreement.kinks {
        0 => String::new(),
        kinks => format!(", {kinks} more are at kinks"),
    };
    let unknown = match agreement.unknown {
        0 => String::new(),
        unknown => format!(", {unknown} more have no finite difference to be held against"),
    };
    format!(
        "gradients agree in {passed} cases{skipped} ({} derivatives compared{kinks}{unknown}; the largest \
         difference is {:.2} of its tolerance)",
        agreement.derivatives, agreement.worst
    )
}
