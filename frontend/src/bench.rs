//! Measuring compiled steps.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use cygnet_runtime::dtype::DType;
use cygnet_runtime::limits::Limits;
use cygnet_runtime::random;
use cygnet_runtime::tensor::Tensor;
use serde::Serialize;

use crate::language::program::Program;
use crate::session::Session;

/// Milliseconds of a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Half of them took at most this.
    pub median: f64,
    /// The fastest one.
    pub min: f64,
    /// Nine of ten took at most this.
    pub p90: f64,
}

/// Fewest repetitions.
const LEAST_REPETITIONS: usize = 30;

/// Repetitions before the measured ones, with a limit on their time.
const WARM_UP: (usize, Duration) = (5, Duration::from_millis(500));

/// Times `repetition` over and over, for at least `least` and 30 times, but at most
/// `most_repetitions` times.
pub fn measure(
    least: Duration,
    most_repetitions: usize,
    mut repetition: impl FnMut(),
) -> Measurement {
    let start = Instant::now();
    for _ in 0..WARM_UP.0 {
        repetition();
        if start.elapsed() > WARM_UP.1 {
            break;
        }
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < most_repetitions
        && (times.len() < LEAST_REPETITIONS || start.elapsed() < least)
    {
        let before = Instant::now();
        repetition();
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    Measurement { median: at(0.5), min: times[0], p90: at(0.9) }
}

/// Plausible values for every input of a program: standard normal floats, all classes in turn.
pub fn random_inputs(program: &Program) -> BTreeMap<String, Tensor> {
    program
        .inputs
        .iter()
        .enumerate()
        .map(|(stream, input)| {
            let mut tensor = Tensor::zeros(input.ty.dtype, &input.ty.shape);
            let labels = program.labels.iter().find(|(name, _)| *name == input.name);
            let classes = labels.map_or(2, |(_, classes)| classes.count.max(1));
            match input.ty.dtype {
                DType::F32 => {
                    for (index, value) in tensor.as_mut_slice::<f32>().iter_mut().enumerate() {
                        *value = random::normal(0, stream as u64, 0, index as u64);
                    }
                }
                DType::F64 => {
                    for (index, value) in tensor.as_mut_slice::<f64>().iter_mut().enumerate() {
                        *value = random::normal(0, stream as u64, 0, index as u64).into();
                    }
                }
                DType::I32 => {
                    for (index, value) in tensor.as_mut_slice::<i32>().iter_mut().enumerate() {
                        *value = (index % classes) as i32;
                    }
                }
                DType::U8 | DType::Bool => {
                    for (index, value) in tensor.bytes_mut().iter_mut().enumerate() {
                        *value = (index % 2) as u8;
                    }
                }
            }
            (input.name.clone(), tensor)
        })
        .collect()
}

/// Milliseconds that work takes at least within these limits: arithmetic and memory overlap.
pub fn least_ms(limits: Limits, flops: f64, bytes: f64) -> f64 {
    (flops / limits.gflops_per_second).max(bytes / limits.gigabytes_per_second) / 1e6
}

/// Where a step's time goes.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileRow {
    /// The kernel, or `barriers`.
    pub kernel: String,
    /// Microseconds per step, summed over threads.
    pub microseconds: f64,
    /// Arithmetic rate.
    pub gflops_per_second: f64,
    /// Rate of reading and writing.
    pub gigabytes_per_second: f64,
}

impl fmt::Display for ProfileRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10.2} us {:>8.1} GFLOP/s {:>8.1} GB/s  {}",
            self.microseconds, self.gflops_per_second, self.gigabytes_per_second, self.kernel
        )
    }
}

/// Steps that a profile sums up.
const PROFILED_STEPS: u64 = 50;

/// Profiles some steps, kernel by kernel.
pub fn profile(session: &mut Session) -> Vec<ProfileRow> {
    session.executor().set_profiling(true);
    for _ in 0..PROFILED_STEPS {
        session.step();
    }
    let profile = session.executor().profile().expect("profiling is on");
    session.executor().set_profiling(false);
    let kernels = &session.executable().kernels;
    let per_step = |total: Duration| total.as_secs_f64() * 1e6 / profile.steps as f64;
    let mut rows: Vec<ProfileRow> = (profile.tasks.iter())
        .map(|task| {
            let kernel = &kernels[task.kernel as usize];
            let microseconds = per_step(task.threads.iter().sum());
            ProfileRow {
                kernel: format!("k{} {}", kernel.label, kernel.name),
                microseconds,
                gflops_per_second: kernel.cost.flops / microseconds / 1e3,
                gigabytes_per_second: kernel.cost.bytes / microseconds / 1e3,
            }
        })
        .collect();
    rows.push(ProfileRow {
        kernel: "waiting at barriers".to_owned(),
        microseconds: per_step(profile.waiting.iter().sum()),
        gflops_per_second: 0.0,
        gigabytes_per_second: 0.0,
    });
    rows
}

/// Most memory this process has had resident, where the system tells.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
