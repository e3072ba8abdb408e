//! `cygnet tune`.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::diagnostic::closest;
use crate::error::Error;
use crate::language::package::Package;
use crate::language::recipe::recipe_called;
use crate::tune::{Axis, Event, Findings, Goal, Judge, Outcome, Search, Settings, Trial};
use crate::tune::{grid, random, searchable};

use super::common::{Execution, Settings as Fixed, base_of, load_package, pair, share};
use super::console::{Console, Failure};
use super::results;

/// Trials of a random search unless `--trials` says otherwise.
const TRIALS: usize = 20;

/// Arguments of `cygnet tune`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// The recipe; may be left out if the file has one
    recipe: Option<String>,
    /// Try every value, and every combination with those of other parameters
    #[arg(
        long,
        value_name = "NAME=A,B,C",
        value_parser = pair,
        conflicts_with_all = ["random", "trials"]
    )]
    grid: Vec<(String, String)>,
    /// Draw values from a range, both ends included, or from a list
    #[arg(long, value_name = "NAME=LO..HI[:log]", value_parser = pair)]
    random: Vec<(String, String)>,
    /// Trials of a random search [default: 20]
    #[arg(long)]
    trials: Option<usize>,
    /// The part of the training samples that is held out to compare trials
    #[arg(long, value_name = "SHARE", default_value = "0.2", value_parser = share)]
    validate: f64,
    /// Compare trials by the mean over so many folds: each trains once for every part, on the others
    #[arg(
        long,
        value_name = "K",
        value_parser = clap::value_parser!(u64).range(2..),
        conflicts_with = "validate"
    )]
    folds: Option<u64>,
    /// The result to compare trials by; the first number that the recipe reports if not given
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Larger results are better; known for losses, errors and the like
    #[arg(long, conflicts_with = "minimize")]
    maximize: bool,
    /// Smaller results are better
    #[arg(long)]
    minimize: bool,
    #[command(flatten)]
    settings: Fixed,
    /// Seed of the search, and in every trial of weights, order of samples and random streams
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    execution: Execution,
    /// Where the results are kept; runs/RECIPE-tune if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Ended<'a> {
    event: &'static str,
    #[serde(flatten)]
    trial: &'a Trial,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Finished<'a> {
    event: &'static str,
    metric: &'a str,
    goal: Goal,
    trials: usize,
    failed: usize,
    compiled: usize,
    best: Option<&'a Trial>,
    command: Option<String>,
}

/// Searches settings of a recipe.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let session = arguments.execution.options()?;
    let package = load_package(&arguments.file, console)?;
    let fail = |error: Error| Failure::new(&error, package.sources());
    let recipe = recipe_called(&package, arguments.recipe.as_deref())
        .map_err(|diagnostics| fail(diagnostics.into()))?;
    let name = recipe.name.name.as_str();
    let goal = match (arguments.maximize, arguments.minimize) {
        (true, _) => Some(Goal::Maximize),
        (_, true) => Some(Goal::Minimize),
        _ => None,
    };
    let search = Search {
        package: &package,
        recipe: name,
        base: base_of(&arguments.file),
        trials: trials(arguments, &package, name)?,
        settings: arguments.settings.to_map(),
        seed: arguments.seed,
        judge: match arguments.folds {
            Some(folds) => Judge::Folds(usize::try_from(folds).unwrap_or(usize::MAX)),
            None => Judge::Share(arguments.validate),
        },
        metric: arguments.metric.clone(),
        goal,
        session,
    };
    let out = arguments.out.clone();
    let out = out.unwrap_or_else(|| PathBuf::from("runs").join(format!("{name}-tune")));
    let mut progress = Progress::default();
    let found = search.run(&out, |event| match event {
        Event::Ended(trial) if arguments.json => {
            console.print_json(&Ended { event: "trial", trial });
        }
        _ if arguments.json => {}
        _ => progress.show(event),
    });
    progress.finish();
    let found = found.map_err(fail)?;
    let command = found.best().map(|best| command(arguments, &search, best));
    let failed = found.trials.iter().filter(|trial| trial.outcome.score().is_none()).count();
    if arguments.json {
        console.print_json(&Finished {
            event: "finished",
            metric: &found.criterion.metric,
            goal: found.criterion.goal,
            trials: found.trials.len(),
            failed,
            compiled: found.compiled,
            best: found.best(),
            command,
        });
    } else {
        console.print(&table(&found));
        console.print(&format!("results saved in {}", out.display()));
        if let Some(command) = command {
            let what = match search.judge {
                Judge::Share(_) => "the best trial again",
                Judge::Folds(_) => "the best trial's settings, with all training samples",
            };
            console.print(&format!("{what}:\n  {command}"));
        }
    }
    if failed == found.trials.len() {
        let error =
            Error::request("every trial has failed", "look at the reasons; try other values");
        return Err(fail(error));
    }
    Ok(())
}

/// The settings of the trials that are asked for.
fn trials(
    arguments: &Arguments,
    package: &Package,
    recipe: &str,
) -> Result<Vec<Settings>, Failure> {
    let Arguments { grid: lists, random: draws, .. } = arguments;
    if lists.is_empty() && draws.is_empty() {
        return Err(Failure::usage(
            "nothing is searched",
            "name parameters: --grid lr=0.1,0.01, or --random lr=1e-4..1e-1:log --trials 20",
        ));
    }
    let known = package.recipes().find(|known| known.name.name == recipe).map(searchable);
    let known = known.unwrap_or_default();
    let mut axes: Vec<Axis> = Vec::new();
    for (name, text) in lists.iter().chain(draws) {
        let Some(&numbers) = known.get(name) else {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            let remedy = match closest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has {}", names.join(", ")),
            };
            let text = format!("the recipe `{recipe}` has no parameter `{name}`");
            return Err(Failure::usage(text, remedy));
        };
        let twice = axes.iter().any(|axis| axis.name == *name);
        if twice || arguments.settings.to_map().contains_key(name) {
            let text = format!("`{name}` is given twice");
            return Err(Failure::usage(text, "search it, or set it"));
        }
        let axis = Axis::parse(name, text, numbers, lists.is_empty());
        axes.push(axis.map_err(|error| Failure::usage(error.message, error.remedy))?);
    }
    if draws.is_empty() {
        return Ok(grid(&axes));
    }
    match arguments.trials {
        Some(0) => Err(Failure::usage("a search needs trials", "set --trials 1 or more")),
        count => Ok(random(&axes, count.unwrap_or(TRIALS), arguments.seed)),
    }
}

/// The command that trains with the settings of a trial: with the same samples, unless that was
/// done for several folds.
fn command(arguments: &Arguments, search: &Search<'_>, trial: &Trial) -> String {
    let mut words: Vec<String> = ["cygnet", "train"].map(str::to_owned).to_vec();
    words.extend([arguments.file.display().to_string(), search.recipe.to_owned()]);
    let mut settings = search.settings.clone();
    settings.extend(trial.settings.clone());
    for (name, value) in settings {
        words.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    words.extend(["--seed".to_owned(), search.seed.to_string()]);
    if let Judge::Share(share) = search.judge {
        words.extend(["--validate".to_owned(), share.to_string()]);
    }
    if let Some(cpu) = arguments.execution.cpu() {
        words.extend(["--cpu".to_owned(), cpu.to_string()]);
    }
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ")
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The trials, best first.
fn table(found: &Findings) -> String {
    let metric = &found.criterion.metric;
    let parameters: BTreeSet<&String> =
        found.trials.iter().flat_map(|trial| trial.settings.keys()).collect();
    let results: BTreeSet<&String> = found
        .trials
        .iter()
        .filter_map(|trial| match &trial.outcome {
            Outcome::Done { validation, .. } => Some(validation.keys()),
            Outcome::Failed { .. } => None,
        })
        .flatten()
        .filter(|name| *name != metric)
        .collect();
    let names = parameters.iter().chain([&metric]).chain(&results).map(|name| (*name).clone());
    let mut rows = vec![std::iter::once("trial".to_owned()).chain(names).collect::<Vec<_>>()];
    let mut failures = Vec::new();
    for trial in &found.trials {
        let mut row = vec![trial.trial.to_string()];
        row.extend(
            parameters.iter().map(|name| trial.settings.get(*name).cloned().unwrap_or_default()),
        );
        match &trial.outcome {
            Outcome::Done { spread, validation, .. } => {
                let shown = |name: &String| {
                    let value = format!("{:.4}", validation.get(name)?);
                    let spread = spread.filter(|_| name == metric);
                    Some(value + &spread.map_or(String::new(), |s| format!(" ± {s:.4}")))
                };
                let values = std::iter::once(metric).chain(results.iter().copied());
                row.extend(values.map(|name| shown(name).unwrap_or_default()));
            }
            Outcome::Failed { reason } => {
                row.push("failed".to_owned());
                row.extend(results.iter().map(|_| String::new()));
                failures.push(format!("trial {} failed: {reason}", trial.trial));
            }
        }
        rows.push(row);
    }
    let table = results::aligned(&rows);
    std::iter::once(table).chain(failures).collect::<Vec<_>>().join("\n")
}

/// A bar on a terminal, plain lines otherwise.
#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
    trials: usize,
}

impl Progress {
    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Started { trials, known, side_by_side } => {
                self.trials = *trials;
                let before = match known {
                    0 => String::new(),
                    known => format!(", {known} of them known from before"),
                };
                eprintln!("{trials} trials{before}, {side_by_side} side by side");
                if std::io::stderr().is_terminal() {
                    let target = ProgressDrawTarget::stderr_with_hz(10);
                    let bar = ProgressBar::with_draw_target(Some(*trials as u64), target);
                    let style = "{bar:30} {pos}/{len} trials, {eta} left  {msg}";
                    let style = ProgressStyle::with_template(style);
                    bar.set_style(style.expect("the template is valid"));
                    bar.set_position(*known as u64);
                    self.bar = Some(bar);
                }
            }
            Event::Ended(trial) => {
                let settings = trial.settings.iter().map(|(name, value)| format!("{name}={value}"));
                let outcome = match &trial.outcome {
                    Outcome::Done { score, spread: Some(spread), .. } => {
                        format!("{score:.4} ± {spread:.4}")
                    }
                    Outcome::Done { score, .. } => format!("{score:.4}"),
                    Outcome::Failed { reason } => format!("failed: {reason}"),
                };
                let line = format!(
                    "trial {}/{}  {}  {outcome}  ({:.2} s)",
                    trial.trial,
                    self.trials,
                    settings.collect::<Vec<_>>().join(" "),
                    trial.seconds
                );
                match &self.bar {
                    Some(bar) => {
                        bar.println(line);
                        bar.inc(1);
                    }
                    None => eprintln!("{line}"),
                }
            }
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
