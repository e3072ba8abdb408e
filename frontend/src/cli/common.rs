//! Arguments that several commands share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use cygnet_compiler::compile::CompileOptions;
use cygnet_compiler::optimize::{MathMode, OptimizeOptions};
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::tensor::Tensor;

use crate::cache::Cache;
use crate::data::npy::read_npy;
use crate::error::Error;
use crate::language::package::Package;
use crate::session::SessionOptions;

use super::console::{Console, Failure};

/// `--set NAME=VALUE`.
#[derive(Args, Debug, Clone, Default)]
pub struct Settings {
    /// Set a parameter of the recipe or model
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl Settings {
    /// The settings by name; the last one of a name counts.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.set.iter().cloned().collect()
    }
}

/// How to compile and run.
#[derive(Args, Debug, Clone)]
pub struct Execution {
    /// Threads that run a step; all cores if not given
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// Compile even if this program was compiled before, and keep nothing for the next time
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    instructions: Instructions,
}

/// What to compile for.
#[derive(Args, Debug, Clone)]
pub struct Instructions {
    /// Instructions to use (avx512, avx2, portable); the best of this machine if not given
    #[arg(long, value_name = "CPU")]
    cpu: Option<Cpu>,
    /// What the optimizer may change about results: nothing (strict), rounding (default), or also
    /// what is infinite or NaN (finite)
    #[arg(long, value_name = "MODE", default_value = "default", hide_default_value = true)]
    math: MathMode,
}

impl Instructions {
    /// The options, if this machine has the instructions asked for.
    pub fn options(&self) -> Result<CompileOptions, Failure> {
        let cpu = self.cpu.unwrap_or_else(Cpu::detect);
        if !cpu.supported() {
            let best = Cpu::detect();
            return Err(Failure::usage(
                format!("this machine has no {cpu} instructions"),
                format!("leave out --cpu, or use --cpu {best}"),
            ));
        }
        let optimize = OptimizeOptions { math: self.math, ..OptimizeOptions::default() };
        Ok(CompileOptions { cpu, optimize, ..CompileOptions::default() })
    }
}

impl Execution {
    /// The instructions asked for.
    pub fn cpu(&self) -> Option<Cpu> {
        self.instructions.cpu
    }

    /// The options, if this machine has the instructions asked for.
    pub fn options(&self) -> Result<SessionOptions, Failure> {
        let compile = self.instructions.options()?;
        let cache = if self.no_cache { None } else { Cache::of_user() };
        Ok(SessionOptions { compile, threads: self.threads, cache, ..SessionOptions::default() })
    }
}

/// Parses `NAME=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// Parses a part of the samples.
pub fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    let between = share.filter(|share| *share > 0.0 && *share < 1.0);
    between.ok_or_else(|| "a number between 0 and 1".to_owned())
}

/// Loads a file with the standard library; its warnings go to stderr.
pub fn load_package(file: &Path, console: &Console) -> Result<Package, Failure> {
    let (package, diagnostics) = Package::load(file);
    if diagnostics.iter().any(crate::diagnostic::Diagnostic::is_error) {
        return Err(Failure::new(&Error::Program(diagnostics), package.sources()));
    }
    console.diagnose(&diagnostics, package.sources());
    Ok(package)
}

/// The folder that paths in a file are relative to.
pub fn base_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Reads `--input NAME=FILE.npy` arrays.
pub fn read_inputs(inputs: &[(String, String)]) -> Result<BTreeMap<String, Tensor>, Failure> {
    let mut tensors = BTreeMap::new();
    for (name, file) in inputs {
        let tensor = read_npy(Path::new(file)).map_err(Error::data)?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(Failure::usage(format!("--input {name} is given twice"), "give it once"));
        }
    }
    Ok(tensors)
}
