//! `cygnet run`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use cygnet_runtime::tensor::Tensor;
use serde::Serialize;

use crate::data::npy::write_npy;
use crate::error::Error;
use crate::language::definition::ModelEntry;
use crate::language::elaborate::elaborate_model;
use crate::language::package::Package;
use crate::language::program::{Mode, Program};
use crate::session::{Session, SessionOptions};
use crate::train::StoredWeights;

use super::common::{Execution, Settings, load_package, pair, read_inputs};
use super::console::{Console, Failure};
use super::feed;

/// Arguments of `cygnet run`.
#[derive(Args)]
pub struct Arguments {
    /// The .cyg file
    file: PathBuf,
    /// The model, or one of its entry points; may be left out if the file has one
    #[arg(value_name = "MODEL[.ENTRY]")]
    model: Option<String>,
    /// Trained weights; random ones by --seed if not given
    #[arg(long, value_name = "FILE.safetensors")]
    weights: Option<PathBuf>,
    /// Values of an input
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = pair)]
    input: Vec<(String, String)>,
    /// Where to save the outputs, as NAME.npy
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// Seed of random weights and random streams
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    execution: Execution,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<f64>>,
}

/// Largest output whose values are printed.
const MOST_PRINTED: usize = 1000;

/// Compiles the model and runs it once.
fn step(
    arguments: &Arguments,
    package: &Package,
    inputs: &BTreeMap<String, Tensor>,
    options: &SessionOptions,
) -> Result<(Program, Session), Error> {
    let name = arguments.model.as_deref();
    feed::expect_inputs(package, name, &arguments.settings.to_map(), inputs)?;
    let mut bindings = feed::bindings(package, name, arguments.settings.to_map(), inputs)?;
    let weights = arguments.weights.as_deref().map(StoredWeights::read).transpose()?;
    let mut stored = None;
    if let Some(weights) = &weights {
        let chosen = ModelEntry::find(package, name).map_err(|diagnostic| vec![diagnostic])?;
        let path = weights.instance_path(&chosen.model.name.name)?;
        weights.restore(&mut bindings, chosen, path)?;
        stored = Some((weights, path));
    }
    let scales = weights.as_ref().map_or(&[][..], |weights| weights.scales.as_slice());
    let inputs = &feed::scaled(inputs, scales);
    let program = elaborate_model(package, name, &bindings, Mode::Inference)?.program;
    let options = SessionOptions { release_weights: true, ..options.clone() };
    let mut session = Session::new(&program.graph, &options.with_fixed_weights())?;
    session.initialize(&program, arguments.seed)?;
    if let Some((weights, path)) = stored {
        weights.load(&mut session, &program, path)?;
    }
    feed::set_inputs(&mut session, &program, inputs)?;
    session.step();
    Ok((program, session))
}

/// Runs a model once and prints or saves its outputs.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let options = arguments.execution.options()?;
    let package = load_package(&arguments.file, console)?;
    let fail = |error: Error| Failure::new(&error, package.sources());
    let inputs = read_inputs(&arguments.input)?;
    let (program, session) = step(arguments, &package, &inputs, &options).map_err(fail)?;
    for output in &program.outputs {
        let tensor = session.output(&output.name).map_err(|error| fail(error.into()))?;
        let file = match &arguments.output {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| {
                    Error::request(
                        format!("{}: {error}", folder.display()),
                        "choose another --output",
                    )
                })?;
                let path = folder.join(format!("{}.npy", output.name));
                write_npy(&path, &tensor).map_err(Error::data)?;
                Some(path.display().to_string())
            }
            None => None,
        };
        let printed = file.is_none() && tensor.len() <= MOST_PRINTED;
        let values = printed.then(|| (0..tensor.len()).map(|i| tensor.get_f64(i)).collect());
        let result = Output {
            name: output.name.clone(),
            dtype: tensor.dtype().name(),
            shape: tensor.shape().to_vec(),
            file,
            values,
        };
        if arguments.json {
            console.print_json(&result);
        } else {
            console.print(&feed::describe(&result.name, &tensor, result.file.as_deref()));
        }
    }
    Ok(())
}
