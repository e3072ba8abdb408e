//! The course of metrics from epoch to epoch.

use serde::{Deserialize, Serialize};

use crate::language::program::Plateau;

use super::{MetricValue, Metrics};

/// How often a metric has stopped to improve, as PyTorch's ReduceLROnPlateau counts it with a
/// relative threshold and no cooldown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Course {
    /// The best value so far, as text that gives the same bits again.
    best: Option<String>,
    /// Epochs since then, or since the last plateau.
    stale: usize,
    /// Plateaus so far.
    pub count: usize,
}

impl Course {
    /// Takes the metrics of an epoch into account.
    pub fn observe(&mut self, plateau: &Plateau, metrics: &Metrics) {
        let value = metrics.get(&plateau.metric).and_then(MetricValue::number);
        let Some(value) = value else { return };
        let best: Option<f64> = self.best.as_ref().and_then(|text| text.parse().ok());
        // Of an infinite value no share can be told.
        let margin =
            |best: f64| if best.is_finite() { best.abs() * plateau.threshold } else { 0.0 };
        let better = best.is_none_or(|best| match plateau.larger {
            Some(true) => value > best + margin(best),
            _ => value < best - margin(best),
        });
        if better {
            self.best = Some(format!("{value:?}"));
            self.stale = 0;
            return;
        }
        self.stale += 1;
        if self.stale > plateau.patience {
            self.count += 1;
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Span;

    fn counts(larger: bool, patience: usize, values: &[f64]) -> Vec<usize> {
        let plateau = Plateau {
            scalar: String::new(),
            metric: "m".to_owned(),
            patience,
            threshold: 0.1,
            larger: Some(larger),
            span: Span::default(),
        };
        let mut course = Course::default();
        let observe = |value: &f64| {
            course.observe(&plateau, &Metrics::from([("m".to_owned(), MetricValue::from(*value))]));
            course.count
        };
        values.iter().map(observe).collect()
    }

    #[test]
    fn a_plateau_is_more_epochs_without_improvement_than_are_borne() {
        assert_eq!(counts(false, 1, &[1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4]), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(counts(true, 0, &[0.5, 0.6, 0.6, 0.65, 0.7]), [0, 0, 1, 2, 2]);
        // Less than a tenth better is no improvement, also of negative values.
        assert_eq!(counts(false, 0, &[-1.0, -1.05, -1.2]), [0, 1, 1]);
        assert_eq!(counts(false, 0, &[f64::INFINITY, 1.0]), [0, 0]);
    }
}
