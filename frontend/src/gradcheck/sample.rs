//! Random cases: sizes, and values of the slots.

use cygnet_compiler::array::Array;
use cygnet_compiler::graph::SlotInfo;
use cygnet_compiler::types::{DType, Scalar};
use cygnet_runtime::random::{normal, uniform};
use proptest::prelude::*;
use proptest::sample::select;

use super::problem::{Problem, Sampling, Values};

/// Streams of the slots' values; the streams of a program's own are hashes of its places.
const SLOT_STREAMS: u64 = 0x6772_6164_0000_0000;
/// Streams of directions.
const DIRECTION_STREAMS: u64 = 0x6469_7265_0000_0000;

/// A size that a check may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name.
    pub name: String,
    /// What it may be, simplest first.
    pub choices: Vec<usize>,
}

/// To how many digits values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Multiples of a half.
    Halves,
    /// Multiples of an eighth.
    Eighths,
    /// As exactly as f32 allows.
    Full,
}

/// A case, smaller than the values that it stands for. It shrinks to small sizes first, then to
/// values of few digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The sizes, one for each that may be chosen.
    pub sizes: Vec<usize>,
    /// Digits of the values.
    pub detail: Detail,
    /// Where values, directions and the program's own random numbers come from.
    pub seed: u64,
}

/// Random cases.
pub fn cases(sizes: &[Size]) -> impl Strategy<Value = Case> + use<> {
    let sizes: Vec<_> = sizes.iter().map(|size| select(size.choices.clone())).collect();
    // The earlier ones are what the last one shrinks to. They are rarely drawn: round numbers
    // meet at kinks.
    let detail = prop_oneof![
        1 => Just(Detail::Halves),
        1 => Just(Detail::Eighths),
        30 => Just(Detail::Full),
    ];
    (sizes, detail, any::<u64>().no_shrink()).prop_map(|(sizes, detail, seed)| Case {
        sizes,
        detail,
        seed,
    })
}

impl Case {
    /// Values of all slots of a problem.
    pub fn slots(&self, problem: &Problem) -> Vec<Array> {
        let slots = problem.graph().slots.iter().zip(problem.samplings());
        slots
            .enumerate()
            .map(|(number, (slot, sampling))| self.slot(number as u64, slot, sampling))
            .collect()
    }

    fn slot(&self, number: u64, slot: &SlotInfo, sampling: &Sampling) -> Array {
        let stream = SLOT_STREAMS + number;
        let value = |index: u64| {
            let share = || f64::from(uniform(self.seed, stream, 0, index));
            let value = match sampling.values {
                Values::Fixed(value) => return value,
                Values::Below(end) => return (share() * end as f64).floor(),
                Values::Uniform { low, high } => low + (high - low) * share(),
                Values::Normal { mean, std } => {
                    mean + std * f64::from(normal(self.seed, stream, 0, index))
                }
            };
            match self.detail {
                Detail::Halves => nonzero_multiple(value, 0.5),
                Detail::Eighths => nonzero_multiple(value, 0.125),
                Detail::Full => value,
            }
        };
        // f64 slots are drawn like f32 ones, so that native code gets the same values exactly.
        let precision = if slot.ty.dtype == DType::F64 { DType::F32 } else { slot.ty.dtype };
        let exact = |index| match sampling.values {
            Values::Fixed(value) => Scalar::new(slot.ty.dtype, value).value(),
            _ => Scalar::new(precision, value(index)).value(),
        };
        Array::new(slot.ty.clone(), (0..slot.ty.elements() as u64).map(exact).collect())
    }

    /// `count` independent normal numbers: the part `part` of direction `number`.
    pub fn direction(&self, number: usize, part: usize, count: usize) -> Vec<f64> {
        let stream = DIRECTION_STREAMS + ((number as u64) << 16) + part as u64;
        (0..count as u64).map(|index| normal(self.seed, stream, 0, index).into()).collect()
    }
}

/// The multiple of `unit` nearest to a value, but not zero, where many functions have kinks.
fn nonzero_multiple(value: f64, unit: f64) -> f64 {
    let multiple = (value / unit).round();
    if multiple == 0.0 { unit.copysign(value) } else { multiple * unit }
}
