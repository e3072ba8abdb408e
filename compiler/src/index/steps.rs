//! How an expression goes on from element to element of a vector.

use super::expression::{Atom, Expression};

/// Neighbours that are looked at together: the elements of a vector.
const ELEMENTS: usize = 4;

impl Expression {
    /// The values at four neighbouring indices along `axis` less that at the first of them, if
    /// these are the same for every first index that is a multiple of `alignment`.
    ///
    /// With a quotient by 2 and an alignment of 2 these are 0, 0, 1, 1.
    pub fn steps(&self, axis: usize, alignment: usize) -> Option<[i64; ELEMENTS]> {
        let mut steps = [0; ELEMENTS];
        for (atom, coefficient) in self.terms().iter().filter(|(atom, _)| atom.depends_on(axis)) {
            let of_atom = steps_of(atom, axis, alignment as i64)?;
            for (sum, step) in steps.iter_mut().zip(of_atom) {
                *sum += coefficient * step;
            }
        }
        Some(steps)
    }
}

/// The same of an atom that depends on the axis.
fn steps_of(atom: &Atom, axis: usize, alignment: i64) -> Option<[i64; ELEMENTS]> {
    let (inner, divisor) = match atom {
        Atom::Axis(_) => return Some(std::array::from_fn(|place| place as i64)),
        Atom::Quotient(inner, divisor) | Atom::Remainder(inner, divisor) => (inner, *divisor),
    };
    let mut stride = 0;
    for (atom, coefficient) in inner.terms() {
        match atom {
            Atom::Axis(known) if *known == axis => stride = *coefficient,
            // What is a multiple of the divisor does not change how quotients go on.
            _ if !atom.depends_on(axis) && coefficient % divisor == 0 => {}
            _ => return None,
        }
    }
    // The remainder of the first value, if it is the same wherever a vector begins; else it is a
    // multiple of `alignment * stride` more than this, and no vector may cross into the next quotient.
    let first = inner.offset().rem_euclid(divisor);
    let between = alignment * stride;
    let last = first.rem_euclid(between.max(1)) + (ELEMENTS as i64 - 1) * stride;
    let same_everywhere = between % divisor == 0;
    let never_crosses = stride > 0 && divisor % between == 0 && last < between;
    if !same_everywhere && !never_crosses {
        return None;
    }
    Some(std::array::from_fn(|place| {
        let value = first + place as i64 * stride;
        match atom {
            Atom::Quotient(..) if same_everywhere => value.div_euclid(divisor),
            Atom::Remainder(..) if same_everywhere => value.rem_euclid(divisor) - first,
            Atom::Quotient(..) => 0,
            _ => place as i64 * stride,
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_come_in_pairs() {
        let domain = [28];
        let half = Expression::axis(0).divided(2, &domain);
        let parity = Expression::axis(0).remainder(2, &domain);
        assert_eq!(half.steps(0, 2), Some([0, 0, 1, 1]));
        assert_eq!(parity.steps(0, 4), Some([0, 1, 0, 1]));
        assert_eq!(half.steps(0, 1), None);
        assert_eq!(Expression::axis(0).divided(8, &domain).steps(0, 4), Some([0; 4]));
        assert_eq!(Expression::axis(0).divided(8, &domain).steps(0, 2), None);
    }

    proptest! {
        #[test]
        fn steps_are_those_of_every_aligned_vector(
            stride in -3..9i64,
            offset in -5..20i64,
            divisor in 1..17i64,
            coefficient in -3..4i64,
            alignment in prop::sample::select(vec![1, 2, 4]),
            is_remainder in any::<bool>(),
        ) {
            let domain = [64, 5];
            let inner = Expression::axis(0)
                .times(stride)
                .plus(&Expression::axis(1).times(3 * divisor))
                .plus(&Expression::constant(offset));
            let divided = match is_remainder {
                true => inner.remainder(divisor, &domain),
                false => inner.divided(divisor, &domain),
            };
            let expression = divided.times(coefficient).plus(&Expression::axis(0));
            if let Some(steps) = expression.steps(0, alignment) {
                for first in (0..60usize).step_by(alignment) {
                    let at = |index: usize| expression.evaluate(&[index, 2]);
                    let found = std::array::from_fn(|place| at(first + place) - at(first));
                    prop_assert_eq!(found, steps);
                }
            }
        }
    }
}
