//! Results of a pass over samples: means of scalars, and metrics, each over every sample once.

use std::collections::BTreeMap;
use std::fmt;

use cygnet_runtime::tensor::Tensor;
use serde::{Deserialize, Serialize, Serializer};

use crate::language::program::RecipeGraph;
use crate::session::{Session, SessionError};

/// Results over samples, by name of objective or report.
pub type Metrics = BTreeMap<String, MetricValue>;

/// A result: a number, or a tensor such as one number per class. As JSON a number, or nested
/// arrays of them.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl MetricValue {
    /// The extents; none for a number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The number, unless it is a tensor with axes.
    pub fn number(&self) -> Option<f64> {
        self.shape.is_empty().then(|| self.values[0])
    }
}

impl From<f64> for MetricValue {
    fn from(value: f64) -> MetricValue {
        MetricValue { shape: Vec::new(), values: vec![value] }
    }
}

impl From<&Tensor> for MetricValue {
    fn from(tensor: &Tensor) -> MetricValue {
        let values = (0..tensor.len()).map(|index| tensor.get_f64(index)).collect();
        MetricValue { shape: tensor.shape().to_vec(), values }
    }
}

impl fmt::Display for MetricValue {
    /// Numbers with the precision that is asked for; tensors in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Nested { shape: &self.shape, values: &self.values }.fmt(f)
    }
}

impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Nested { shape: &self.shape, values: &self.values }.serialize(serializer)
    }
}

/// A tensor as arrays of arrays.
struct Nested<'a> {
    shape: &'a [usize],
    values: &'a [f64],
}

impl<'a> Nested<'a> {
    /// What is left at each place along the first axis; `None` for a number.
    fn parts(&self) -> Option<impl Iterator<Item = Nested<'a>>> {
        let (rows, shape) = self.shape.split_first()?;
        let (row, values) = (shape.iter().product::<usize>(), self.values);
        Some((0..*rows).map(move |number| Nested { shape, values: &values[number * row..][..row] }))
    }
}

impl fmt::Display for Nested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parts) = self.parts() else { return self.values[0].fmt(f) };
        f.write_str("[")?;
        for (number, part) in parts.enumerate() {
            f.write_str(if number > 0 { ", " } else { "" })?;
            part.fmt(f)?;
        }
        f.write_str("]")
    }
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.parts() {
            Some(parts) => serializer.collect_seq(parts),
            None => serializer.serialize_f64(self.values[0]),
        }
    }
}

/// A result in a checkpoint: floats are texts that give the same bits again, which numbers in JSON
/// need not do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StoredValue {
    shape: Vec<usize>,
    values: Vec<String>,
}

impl From<&MetricValue> for StoredValue {
    fn from(value: &MetricValue) -> StoredValue {
        let values = value.values.iter().map(|value| format!("{value:?}")).collect();
        StoredValue { shape: value.shape.clone(), values }
    }
}

impl From<&StoredValue> for MetricValue {
    fn from(stored: &StoredValue) -> MetricValue {
        let parsed = stored.values.iter().map(|text| text.parse().unwrap_or(f64::NAN));
        let mut values: Vec<f64> = parsed.collect();
        values.resize(stored.shape.iter().product(), f64::NAN);
        MetricValue { shape: stored.shape.clone(), values }
    }
}

/// What a [`Tally`] has collected, in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    samples: usize,
    means: BTreeMap<String, String>,
}

/// Collects what the steps of a pass give.
pub struct Tally {
    /// The outputs whose value is the mean over samples, with their sums: objectives, then scalars.
    means: Vec<(String, f64)>,
    objectives: usize,
    /// The outputs whose value is that of the last step.
    metrics: Vec<String>,
    samples: usize,
}

impl Tally {
    /// Before the first step.
    pub fn new(recipe: &RecipeGraph) -> Tally {
        let names = |accumulates: bool| {
            let reports = recipe.reports.iter();
            let reports = reports.filter(move |report| report.accumulates == accumulates);
            reports.map(|report| report.name.clone())
        };
        let means = recipe.objectives.iter().cloned().chain(names(false));
        Tally {
            means: means.map(|name| (name, 0.0)).collect(),
            objectives: recipe.objectives.len(),
            metrics: names(true).collect(),
            samples: 0,
        }
    }

    /// Adds what the last step of `session` gave for a batch of `samples`; returns the sum of
    /// the objectives.
    ///
    /// # Errors
    /// If the session is of another recipe.
    pub fn add(&mut self, session: &Session, samples: usize) -> Result<f64, SessionError> {
        let mut loss = 0.0;
        for (place, (name, sum)) in self.means.iter_mut().enumerate() {
            let value = session.scalar_output(name)?;
            *sum += value * samples as f64;
            if place < self.objectives {
                loss += value;
            }
        }
        self.samples += samples;
        Ok(loss)
    }

    /// What was collected so far.
    pub(super) fn sums(&self) -> Sums {
        let means = self.means.iter().map(|(name, sum)| (name.clone(), format!("{sum:?}")));
        Sums { samples: self.samples, means: means.collect() }
    }

    /// Goes on with what was collected before.
    pub(super) fn restore(&mut self, sums: &Sums) {
        self.samples = sums.samples;
        for (name, sum) in &mut self.means {
            *sum = sums.means.get(name).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        }
    }

    /// The results; `session` has done the last step of the pass.
    ///
    /// # Errors
    /// If the session is of another recipe.
    pub fn finish(self, session: &Session) -> Result<Metrics, SessionError> {
        let samples = self.samples as f64;
        let means = self.means.into_iter().map(|(name, sum)| (name, (sum / samples).into()));
        let mut results: Metrics = means.collect();
        for name in self.metrics {
            let value = MetricValue::from(&session.output(&name)?);
            results.insert(name, value);
        }
        Ok(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_become_nested_arrays() {
        let json = |value: &MetricValue| serde_json::to_string(value).expect("numbers");
        assert_eq!(json(&MetricValue::from(0.5)), "0.5");
        let matrix = Tensor::from_slice(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(json(&MetricValue::from(&matrix)), "[[1.0,2.0,3.0],[4.0,5.0,6.0]]");
        assert_eq!(format!("{:.1}", MetricValue::from(0.25)), "0.2");
        assert_eq!(format!("{:.0}", MetricValue::from(&matrix)), "[[1, 2, 3], [4, 5, 6]]");
    }
}
