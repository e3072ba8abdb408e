//! Which samples are held out for testing.

use cygnet_runtime::random::shuffle;

use super::error::{DataError, Fault};
use super::source::{OptionValue, Options};

/// The epoch that the choice draws its random numbers for: none that a training reaches.
const NO_EPOCH: u64 = u64::MAX;

/// The part of the samples that is held out, as the option `test` states it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum HoldOut {
    /// This part of them, rounded to the nearest number.
    Fraction(f64),
    /// So many.
    Count(usize),
}

impl HoldOut {
    /// Reads the option `test`.
    pub(super) fn from_options(options: &Options<'_>) -> Result<Option<HoldOut>, DataError> {
        let expected = "a fraction between 0 and 1 or a number of samples";
        options.get("test", expected, |value| match value {
            OptionValue::Float(part) if *part > 0.0 && *part < 1.0 => {
                Some(HoldOut::Fraction(*part))
            }
            OptionValue::Int(count) if *count > 0 => {
                usize::try_from(*count).ok().map(HoldOut::Count)
            }
            _ => None,
        })
    }

    /// The positions of the samples for training and for testing, each ascending: `count` samples
    /// are shuffled once, by `seed`, and the first ones held out.
    ///
    /// # Errors
    /// If one side would be empty.
    pub(super) fn split(self, count: usize, seed: u64) -> Result<(Vec<u32>, Vec<u32>), DataError> {
        let test = self.count(count)?;
        let mut held_out = shuffle(seed, NO_EPOCH, count as u32);
        let mut training = held_out.split_off(test);
        training.sort_unstable();
        held_out.sort_unstable();
        Ok((training, held_out))
    }

    /// The positions of the samples for training and for testing, which are the last ones: for
    /// samples that follow each other.
    ///
    /// # Errors
    /// If one side would be empty.
    pub(super) fn split_tail(self, count: usize) -> Result<(Vec<u32>, Vec<u32>), DataError> {
        let first = (count - self.count(count)?) as u32;
        Ok(((0..first).collect(), (first..count as u32).collect()))
    }

    /// How many of `count` samples are held out; some, but not all.
    fn count(self, count: usize) -> Result<usize, DataError> {
        let test = match self {
            HoldOut::Fraction(part) => (count as f64 * part).round() as usize,
            HoldOut::Count(test) => test,
        };
        if test == 0 || test >= count {
            return Err(DataError::in_option("test", Fault::EmptySplit { count, test }));
        }
        Ok(test)
    }
}

/// The positions of the samples of all folds but one, and of that one, each ascending: `count`
/// samples are shuffled once, by `seed`, and cut into `folds` parts of equal size. What is left over
/// is in no part, so that all of them take the same steps.
///
/// # Errors
/// If there are fewer samples than folds, or fewer than two folds.
pub(super) fn fold(
    count: usize,
    seed: u64,
    (fold, folds): (usize, usize),
) -> Result<(Vec<u32>, Vec<u32>), DataError> {
    if folds < 2 || folds > count {
        return Err(DataError::in_option("folds", Fault::BadFolds { count, folds }));
    }
    let size = count / folds;
    let mut rest = shuffle(seed, NO_EPOCH, count as u32);
    let mut held_out: Vec<u32> = rest.drain(fold * size..(fold + 1) * size).collect();
    rest.sort_unstable();
    held_out.sort_unstable();
    Ok((rest, held_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_disjoint_and_of_equal_size() {
        let folds: Vec<_> = (0..3).map(|number| fold(11, 1, (number, 3)).unwrap()).collect();
        let mut seen: Vec<u32> = Vec::new();
        for (rest, held_out) in &folds {
            assert_eq!((rest.len(), held_out.len()), (8, 3));
            assert!(held_out.iter().all(|sample| !rest.contains(sample)));
            seen.extend(held_out);
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 9);
        for folds in [0, 1, 12] {
            let error = fold(11, 1, (0, folds)).unwrap_err();
            assert!(matches!(*error.fault, Fault::BadFolds { .. }), "{error}");
        }
    }

    #[test]
    fn the_parts_are_disjoint_and_complete() {
        for (test, expected) in [(HoldOut::Fraction(0.2), 359), (HoldOut::Count(3), 3)] {
            let (training, held_out) = test.split(1797, 0).unwrap();
            assert_eq!(held_out.len(), expected);
            let mut all = [training.clone(), held_out].concat();
            assert!(training.is_sorted());
            all.sort_unstable();
            assert!(all.into_iter().eq(0..1797));
        }
    }

    #[test]
    fn the_choice_depends_on_the_seed_only() {
        let choose = |seed| HoldOut::Count(20).split(100, seed).unwrap().1;
        assert_eq!(choose(1), choose(1));
        assert_ne!(choose(1), choose(2));
    }

    #[test]
    fn no_side_may_be_empty() {
        for (test, count) in
            [(HoldOut::Fraction(0.01), 10), (HoldOut::Fraction(0.99), 10), (HoldOut::Count(5), 5)]
        {
            let error = test.split(count, 0).unwrap_err();
            assert!(matches!(*error.fault, Fault::EmptySplit { .. }), "{error}");
        }
    }
}
