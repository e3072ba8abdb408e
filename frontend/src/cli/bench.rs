//! `cygnet bench`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use cygnet_compiler::compile::Stage;
use cygnet_runtime::limits;
use cygnet_runtime::tensor::Tensor;
use serde::Serialize;

use crate::bench::{Measurement, least_ms, measure, peak_rss_bytes, profile, random_inputs};
use crate::cache::Cache;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::elaborate::elaborate_model;
use crate::language::package::Package;
use crate::language::program::{self, Program};
use crate::language::recipe::{elaborate_recipe, plan_recipe};
use crate::session::{Session, SessionOptions};
use crate::train::load_weights;

use super::common::{Execution, Settings, load_package, pair, read_inputs};
use super::console::{Console, Failure};
use super::feed;

/// Arguments of `cygnet bench`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// The recipe (training) or model (inference); may be left out if the file has one
    name: Option<String>,
    /// What to measure; training if the file has a recipe
    #[arg(long)]
    mode: Option<Mode>,
    /// Start from these weights, and report first_losses or checksum
    #[arg(long, value_name = "FILE.safetensors")]
    weights: Option<PathBuf>,
    /// Use this array as an input instead of random numbers
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = pair)]
    input: Vec<(String, String)>,
    /// Seconds of repetitions at least
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Report the time of each kernel
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    execution: Execution,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// A whole training step.
    Train,
    /// The forward pass.
    Infer,
}

#[derive(Serialize)]
struct Report {
    name: String,
    mode: Mode,
    threads: usize,
    /// From the file to a session, compiling.
    compile_ms: f64,
    /// The same, the compiled program being on disk; without weights, which are prepared later.
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_ms: Option<f64>,
    stages_ms: BTreeMap<Stage, f64>,
    step_ms: Measurement,
    flops: f64,
    bytes_moved: f64,
    gflops_per_second: f64,
    roofline_share: f64,
    peak_bytes_planned: usize,
    peak_rss_bytes: Option<u64>,
    /// What the machine can do at most, measured: what the share of the roofline is relative to.
    machine_gflops_per_second: f64,
    machine_gigabytes_per_second: f64,
    kernels: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_losses: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<f64>,
}

/// What is measured.
struct Subject {
    name: String,
    program: Program,
    objectives: Vec<String>,
}

/// Steps whose losses are reported.
const FIRST_STEPS: usize = 3;

/// Measures steps.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let options = arguments.execution.options()?;
    let with_cache = options.cache.is_some();
    // What is measured is compilation.
    let mut options = SessionOptions { cache: None, ..options };
    let inputs = read_inputs(&arguments.input)?;
    let start = Instant::now();
    let package = load_package(&arguments.file, console)?;
    let fail = |error: Error| Failure::new(&error, package.sources());
    let mode = arguments.mode.unwrap_or(match package.recipes().next() {
        None => Mode::Infer,
        Some(_) => Mode::Train,
    });
    let subject = subject(&package, mode, arguments, &inputs).map_err(fail)?;
    if mode == Mode::Infer {
        options = SessionOptions { release_weights: true, ..options }.with_fixed_weights();
    }
    let mut session =
        Session::new(&subject.program.graph, &options).map_err(|error| fail(error.into()))?;
    let compile_time = start.elapsed();

    let mut all_inputs = random_inputs(&subject.program);
    all_inputs.extend(inputs.clone());
    prepare(&mut session, &subject, arguments, &all_inputs).map_err(fail)?;
    let given = arguments.weights.is_some();
    let first_losses = match (given, mode) {
        (true, Mode::Train) => Some(first_losses(&mut session, &subject).map_err(fail)?),
        _ => None,
    };
    let limits = Limits::of(mode, arguments.seconds);
    let mut step_number = FIRST_STEPS as u64;
    let step_ms = measure(limits.least, limits.most_repetitions, || {
        step_number += 1;
        session.set_scalar("step", step_number as f64);
        session.step();
    });
    let checksum = match (given, mode) {
        (true, Mode::Infer) => Some(checksum(&session, &subject).map_err(fail)?),
        _ => None,
    };
    let profile = arguments.profile.then(|| profile(&mut session));

    let executable = session.executable();
    let kernels = &executable.kernels[..executable.outer_kernels];
    let (flops, bytes_moved) = (kernels.iter())
        .fold((0.0, 0.0), |(f, b), kernel| (f + kernel.cost.flops, b + kernel.cost.bytes));
    let threads = session.thread_count();
    // After the memory was looked at, which measuring takes some of.
    let peak_rss_bytes = peak_rss_bytes();
    let limits = limits::measure(options.compile.cpu, threads);
    let mut report = Report {
        name: subject.name.clone(),
        mode,
        threads,
        compile_ms: milliseconds(compile_time),
        cached_ms: None,
        stages_ms: session.timings().iter().map(|&(s, time)| (s, milliseconds(time))).collect(),
        step_ms,
        flops,
        bytes_moved,
        gflops_per_second: flops / step_ms.median / 1e6,
        roofline_share: least_ms(limits, flops, bytes_moved) / step_ms.median,
        peak_bytes_planned: session.planned_bytes(),
        peak_rss_bytes,
        machine_gflops_per_second: limits.gflops_per_second,
        machine_gigabytes_per_second: limits.gigabytes_per_second,
        kernels: kernels.len(),
        first_losses,
        checksum,
    };
    if with_cache {
        let folder = tempfile::tempdir().ok();
        let cache = folder.as_ref().map(|folder| Cache::new(folder.path().to_owned(), u64::MAX));
        let key = Cache::key(&subject.program.graph, &options.compile);
        if let (Some(cache), Some(key)) = (&cache, key) {
            cache.store(key, session.bundle());
        }
        // Its memory is free for the next one.
        drop(session);
        options.cache = cache;
        report.cached_ms = cached_ms(mode, arguments, &inputs, &options, console)?;
    }
    if arguments.json {
        console.print_json(&report);
    } else {
        print_text(&report, console);
    }
    if let Some(rows) = profile {
        if arguments.json {
            rows.iter().for_each(|row| console.print_json(row));
        } else {
            rows.iter().for_each(|row| console.print(&row.to_string()));
        }
    }
    Ok(())
}

/// Milliseconds from the file to a session whose program is in the cache; nothing if it is not.
fn cached_ms(
    mode: Mode,
    arguments: &Arguments,
    inputs: &BTreeMap<String, Tensor>,
    options: &SessionOptions,
    console: &Console,
) -> Result<Option<f64>, Failure> {
    let start = Instant::now();
    let package = load_package(&arguments.file, console)?;
    let fail = |error: Error| Failure::new(&error, package.sources());
    let subject = subject(&package, mode, arguments, inputs).map_err(fail)?;
    let session = Session::new(&subject.program.graph, options);
    let session = session.map_err(|error| fail(error.into()))?;
    let time = milliseconds(start.elapsed());
    Ok(session.compiled().is_none().then_some(time))
}

struct Limits {
    least: Duration,
    most_repetitions: usize,
}

impl Limits {
    /// As the peers are measured: a median over seconds, and no more repetitions than theirs.
    fn of(mode: Mode, seconds: f64) -> Limits {
        let most_repetitions = if mode == Mode::Train { 1000 } else { 20_000 };
        Limits { least: Duration::from_secs_f64(seconds.clamp(0.0, 3600.0)), most_repetitions }
    }
}

fn prepare(
    session: &mut Session,
    subject: &Subject,
    arguments: &Arguments,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<(), Error> {
    session.initialize(&subject.program, 0)?;
    if let Some(path) = &arguments.weights {
        load_weights(session, &subject.program, path)?;
    }
    session.set_scalar("step", 1.0);
    feed::set_inputs(session, &subject.program, inputs)
}

/// What is measured.
fn subject(
    package: &Package,
    mode: Mode,
    arguments: &Arguments,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<Subject, Error> {
    let settings = arguments.settings.to_map();
    let name = arguments.name.as_deref();
    match mode {
        Mode::Train => recipe(package, name, settings, inputs),
        Mode::Infer => model(package, name, settings, inputs),
    }
}

/// A recipe's training step, for its batch and for dims that the arrays given say.
fn recipe(
    package: &Package,
    name: Option<&str>,
    settings: BTreeMap<String, String>,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<Subject, Error> {
    let mut bindings = Bindings { settings, ..Bindings::default() };
    let plan = plan_recipe(package, name, &bindings)?;
    let fields = plan.data.iter().flat_map(|data| &data.fields);
    let shapes: Vec<&[usize]> =
        fields.map(|field| inputs.get(&field.name).map_or(&[][..], Tensor::shape)).collect();
    bindings.dims = plan.dims(&shapes);
    let recipe = elaborate_recipe(package, name, &bindings)?;
    let (program, objectives) = (recipe.training, recipe.objectives);
    Ok(Subject { name: recipe.plan.name, program, objectives })
}

/// A model's forward pass.
fn model(
    package: &Package,
    name: Option<&str>,
    settings: BTreeMap<String, String>,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<Subject, Error> {
    let bindings = feed::bindings(package, name, settings, inputs)?;
    let model = elaborate_model(package, name, &bindings, program::Mode::Inference)?;
    Ok(Subject { name: model.name, program: model.program, objectives: Vec::new() })
}

/// Losses of the first steps, each before its update.
fn first_losses(session: &mut Session, subject: &Subject) -> Result<Vec<f64>, Error> {
    let mut losses = Vec::new();
    for step in 0..FIRST_STEPS {
        session.set_scalar("step", (step + 1) as f64);
        session.step();
        let mut loss = 0.0;
        for name in &subject.objectives {
            loss += session.scalar_output(name)?;
        }
        losses.push(loss);
    }
    Ok(losses)
}

/// Mean absolute value over all outputs.
fn checksum(session: &Session, subject: &Subject) -> Result<f64, Error> {
    let (mut sum, mut count) = (0.0, 0);
    for output in &subject.program.outputs {
        let tensor = session.output(&output.name)?;
        sum += (0..tensor.len()).map(|index| tensor.get_f64(index).abs()).sum::<f64>();
        count += tensor.len();
    }
    Ok(sum / count as f64)
}

fn print_text(report: &Report, console: &Console) {
    let Measurement { median, min, p90 } = report.step_ms;
    let what = if report.mode == Mode::Train { "training step" } else { "inference" };
    console.print(&format!(
        "{}: {what} {median:.4} ms (min {min:.4}, p90 {p90:.4}) on {} threads",
        report.name, report.threads
    ));
    console.print(&format!(
        "{:.1} GFLOP/s, {:.0} % of the roofline ({:.0} GFLOP/s, {:.0} GB/s); {} kernels, {:.1} MFLOP, {} moved",
        report.gflops_per_second,
        100.0 * report.roofline_share,
        report.machine_gflops_per_second,
        report.machine_gigabytes_per_second,
        report.kernels,
        report.flops / 1e6,
        super::progress::bytes(report.bytes_moved as usize)
    ));
    let stages: Vec<String> =
        report.stages_ms.iter().map(|(stage, ms)| format!("{stage:?} {ms:.1}")).collect();
    console.print(&format!(
        "compiled in {:.1} ms ({}){}; planned memory {}",
        report.compile_ms,
        stages.join(", ").to_lowercase(),
        report.cached_ms.map_or(String::new(), |ms| format!(", loaded in {ms:.1} ms")),
        super::progress::bytes(report.peak_bytes_planned)
    ));
    if let Some(losses) = &report.first_losses {
        console.print(&format!("first losses {losses:?}"));
    }
    if let Some(checksum) = report.checksum {
        console.print(&format!("checksum {checksum:.6}"));
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
