//! Distances along an axis, digit by digit.

use smallvec::SmallVec;

use super::expression::{Atom, Expression};

/// Digits of an index, (extent, stride) of each, the outermost first: the index is read as a
/// row-major index over the extents.
pub type Digits = SmallVec<[(usize, i64); 4]>;

/// `(index / low) % (high / low)`; the quotient alone if there is no `high`.
#[derive(Clone, Copy)]
struct Interval {
    low: i64,
    high: Option<i64>,
}

impl Interval {
    /// What an atom takes of the index along `axis`, if it depends on nothing else.
    fn of(atom: &Atom, axis: usize) -> Option<Interval> {
        let inner = |inner: &Expression| match inner.terms() {
            [(atom, 1)] if inner.offset() == 0 => Interval::of(atom, axis),
            _ => None,
        };
        match atom {
            Atom::Axis(known) => (*known == axis).then_some(Interval { low: 1, high: None }),
            Atom::Quotient(dividend, k) => {
                let Interval { low, high } = inner(dividend)?;
                let fits = high.is_none_or(|high| (high / low) % k == 0);
                fits.then_some(Interval { low: low * k, high })
            }
            Atom::Remainder(dividend, k) => {
                let Interval { low, high } = inner(dividend)?;
                let fits = high.is_none_or(|high| (high / low) % k == 0);
                fits.then_some(Interval { low, high: Some(low * k) })
            }
        }
    }
}

impl Expression {
    /// The part of the value that depends on `axis`, of this extent, as distances of the digits of
    /// its index; `None` if it depends on it in another way, or together with other axes.
    pub fn distances(&self, axis: usize, extent: usize) -> Option<Digits> {
        let extent = extent as i64;
        let mut parts: SmallVec<[(Interval, i64); 4]> = SmallVec::new();
        for (atom, coefficient) in self.terms() {
            if !atom.depends_on(axis) {
                continue;
            }
            let mut interval = Interval::of(atom, axis)?;
            // Quotients by more than there is are 0, and remainders take all.
            if interval.low >= extent {
                continue;
            }
            interval.high = interval.high.filter(|&high| high < extent);
            parts.push((interval, *coefficient));
        }
        let mut cuts: SmallVec<[i64; 8]> = SmallVec::from_slice(&[1, extent.max(1)]);
        for (interval, _) in &parts {
            cuts.push(interval.low);
            cuts.extend(interval.high);
        }
        cuts.sort_unstable();
        cuts.dedup();
        let mut digits: Digits = SmallVec::new();
        for pair in cuts.windows(2).rev() {
            let [low, high] = pair else { unreachable!("pairs") };
            if high % low != 0 {
                return None;
            }
            let covers = |interval: &Interval| {
                interval.low <= *low && interval.high.is_none_or(|end| *low < end)
            };
            let parts = parts.iter().filter(|(interval, _)| covers(interval));
            let stride = parts.map(|(interval, coefficient)| coefficient * low / interval.low);
            digits.push(((high / low) as usize, stride.sum()));
        }
        if digits.is_empty() {
            digits.push((extent as usize, 0));
        }
        Some(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distances must add up to the expression everywhere.
    fn check(e: &Expression, axis: usize, domain: &[usize]) {
        let digits = e.distances(axis, domain[axis]).expect("the axis has digits");
        assert_eq!(digits.iter().map(|digit| digit.0).product::<usize>(), domain[axis]);
        let mut point = vec![0; domain.len()];
        let start = e.evaluate(&point);
        for index in 0..domain[axis] {
            point[axis] = index;
            let mut rest = index;
            let mut offset = 0;
            for &(extent, stride) in digits.iter().rev() {
                offset += (rest % extent) as i64 * stride;
                rest /= extent;
            }
            assert_eq!(e.evaluate(&point) - start, offset, "{e} at {index}: {digits:?}");
        }
    }

    #[test]
    fn windows_have_distances_along_taps_and_places() {
        // Channels and 3 x 3 taps; samples and 8 x 8 places; over 16 channels of 10 x 10.
        let domain = [16 * 9, 4 * 64];
        let digit = |axis: usize, by: i64, extent: i64| {
            Expression::axis(axis).divided(by, &domain).remainder(extent, &domain)
        };
        let row = digit(0, 3, 3).plus(&digit(1, 8, 8));
        let column = digit(0, 1, 3).plus(&digit(1, 1, 8).times(2));
        let offset = digit(1, 64, 4)
            .times(1600)
            .plus(&digit(0, 9, 16).times(100))
            .plus(&row.times(10))
            .plus(&column);
        check(&offset, 0, &domain);
        check(&offset, 1, &domain);
        assert_eq!(
            offset.distances(0, 144).unwrap().as_slice(),
            [(16, 100), (3, 10), (3, 1)].as_slice()
        );
        assert_eq!(
            Expression::constant(7).distances(0, 5).unwrap().as_slice(),
            [(5, 0)].as_slice()
        );
    }

    #[test]
    fn what_mixes_axes_or_divides_sums_has_none() {
        let domain = [12, 12];
        let sum = Expression::axis(0).plus(&Expression::axis(1));
        assert_eq!(sum.divided(5, &domain).distances(0, 12), None);
        let shifted = Expression::axis(0).plus(&Expression::constant(1));
        assert_eq!(shifted.divided(5, &domain).distances(0, 12), None);
        // Blocks that do not divide the axis.
        let block = Expression::axis(0).divided(5, &domain);
        assert_eq!(block.distances(0, 12), None);
        // Blocks that are not blocks of each other.
        let blocks = Expression::axis(0)
            .divided(4, &domain)
            .plus(&Expression::axis(0).divided(3, &domain).remainder(2, &domain).times(100));
        assert_eq!(blocks.distances(0, 12), None);
    }
}
