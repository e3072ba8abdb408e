//! Arithmetic of the element types that routines work on.

use std::cmp::Ordering;

use super::CumulateKind;

/// An element of a tensor that a routine moves, adds or compares.
pub(super) trait Element: Copy + 'static {
    /// What running combinations are kept in: f64 for floats.
    type Wide: Copy;

    /// Zero.
    const ZERO: Self;

    /// Stands where an index led nowhere: NaN, if the type has one.
    const MISSING: Option<Self>;

    /// The sum; integers wrap.
    fn plus(self, other: Self) -> Self;

    /// Numbers by size, NaN behind all of them; both zeros are equal.
    fn order(self, other: Self) -> Ordering;

    /// The element as a running combination.
    fn widen(self) -> Self::Wide;

    /// A running combination as an element.
    fn narrow(wide: Self::Wide) -> Self;

    /// The combination of no elements.
    fn identity(kind: CumulateKind) -> Self::Wide;

    /// Two combinations as one. NaN stays NaN; integers wrap.
    fn combine(kind: CumulateKind, a: Self::Wide, b: Self::Wide) -> Self::Wide;
}

macro_rules! float {
    ($type:ty) => {
        impl Element for $type {
            type Wide = f64;

            const ZERO: $type = 0.0;

            const MISSING: Option<$type> = Some(<$type>::NAN);

            fn plus(self, other: $type) -> $type {
                self + other
            }

            fn order(self, other: $type) -> Ordering {
                self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
            }

            fn widen(self) -> f64 {
                f64::from(self)
            }

            fn narrow(wide: f64) -> $type {
                wide as $type
            }

            fn identity(kind: CumulateKind) -> f64 {
                match kind {
                    CumulateKind::Sum => 0.0,
                    CumulateKind::Product => 1.0,
                    CumulateKind::Max => f64::NEG_INFINITY,
                }
            }

            fn combine(kind: CumulateKind, a: f64, b: f64) -> f64 {
                match kind {
                    CumulateKind::Sum => a + b,
                    CumulateKind::Product => a * b,
                    CumulateKind::Max if a.is_nan() || b <= a => a,
                    CumulateKind::Max => b,
                }
            }
        }
    };
}

float!(f32);
float!(f64);

impl Element for i32 {
    type Wide = i32;

    const ZERO: i32 = 0;

    const MISSING: Option<i32> = None;

    fn plus(self, other: i32) -> i32 {
        self.wrapping_add(other)
    }

    fn order(self, other: i32) -> Ordering {
        self.cmp(&other)
    }

    fn widen(self) -> i32 {
        self
    }

    fn narrow(wide: i32) -> i32 {
        wide
    }

    fn identity(kind: CumulateKind) -> i32 {
        match kind {
            CumulateKind::Sum => 0,
            CumulateKind::Product => 1,
            CumulateKind::Max => i32::MIN,
        }
    }

    fn combine(kind: CumulateKind, a: i32, b: i32) -> i32 {
        match kind {
            CumulateKind::Sum => a.wrapping_add(b),
            CumulateKind::Product => a.wrapping_mul(b),
            CumulateKind::Max => a.max(b),
        }
    }
}
