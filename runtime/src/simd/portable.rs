//! Vectors in plain Rust, for any processor; what they become is up to the Rust compiler.

use std::array;
use std::ops::{BitAnd, BitOr, BitXor, Not};

use super::{Arithmetic, IntegerVector, Mask, Vector, WideIntegerVector, WideVector};

/// `N` numbers: `f32`, `f64` or, as integers, `u32`.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<const N: usize, T = f32>([T; N]);

/// `N` truth values, each all ones or zero, so that selecting is a matter of bits.
#[derive(Clone, Copy)]
pub(crate) struct LaneMask<const N: usize>([u32; N]);

impl<const N: usize, T: Copy> Lanes<N, T> {
    #[inline(always)]
    fn map<R>(self, f: impl Fn(T) -> R) -> Lanes<N, R> {
        Lanes(self.0.map(f))
    }

    #[inline(always)]
    fn zip<R>(self, other: Self, f: impl Fn(T, T) -> R) -> Lanes<N, R> {
        Lanes(array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }

    #[inline(always)]
    fn mask(self, other: Self, f: impl Fn(T, T) -> bool) -> LaneMask<N> {
        LaneMask(self.zip(other, |a, b| u32::from(f(a, b)).wrapping_neg()).0)
    }
}

impl<T> Lanes<1, T> {
    /// The only lane: the way from vectors of one lane back to numbers.
    #[inline(always)]
    pub(crate) fn first(self) -> T {
        let [lane] = self.0;
        lane
    }
}

impl<const N: usize, T> From<[T; N]> for Lanes<N, T> {
    #[inline(always)]
    fn from(lanes: [T; N]) -> Self {
        Lanes(lanes)
    }
}

impl<const N: usize, T> From<Lanes<N, T>> for [T; N] {
    #[inline(always)]
    fn from(lanes: Lanes<N, T>) -> Self {
        lanes.0
    }
}

macro_rules! operators {
    ($Scalar:ty; $($Operator:ident $method:ident $function:expr;)*) => {$(
        impl<const N: usize> std::ops::$Operator for Lanes<N, $Scalar> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, $function)
            }
        }

        impl<const N: usize> std::ops::$Operator<$Scalar> for Lanes<N, $Scalar> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: $Scalar) -> Self {
                self.map(|lane| $function(lane, other))
            }
        }
    )*};
}

operators! { u32;
    Add add u32::wrapping_add;
    Sub sub u32::wrapping_sub;
    BitAnd bitand BitAnd::bitand;
    BitOr bitor BitOr::bitor;
    BitXor bitxor BitXor::bitxor;
}

macro_rules! arithmetic {
    ($Scalar:ident, $integral_from:expr) => {
        operators! { $Scalar;
            Add add std::ops::Add::add;
            Sub sub std::ops::Sub::sub;
            Mul mul std::ops::Mul::mul;
            Div div std::ops::Div::div;
        }

        impl<const N: usize> std::ops::Neg for Lanes<N, $Scalar> {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                self.map(|lane| -lane)
            }
        }

        impl<const N: usize> Arithmetic<$Scalar> for Lanes<N, $Scalar> {
            #[inline(always)]
            fn splat(self, value: $Scalar) -> Self {
                Lanes([value; N])
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                // Without the instruction, one rounding would cost a call for each lane.
                if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                    Lanes(array::from_fn(|lane| {
                        self.0[lane].mul_add(factor.0[lane], addend.0[lane])
                    }))
                } else {
                    self * factor + addend
                }
            }

            /// Adding the power of two from which on all numbers are integers rounds the fraction
            /// off, and needs no instruction that the processor may lack.
            #[inline(always)]
            fn round(self) -> Self {
                self.map(|lane| {
                    let magnitude = lane.abs();
                    if magnitude < $integral_from {
                        (magnitude + $integral_from - $integral_from).copysign(lane)
                    } else {
                        lane
                    }
                })
            }

            #[inline(always)]
            fn min(self, other: Self) -> Self {
                self.zip(other, |a, b| if a < b { a } else { b })
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                self.zip(other, |a, b| if a > b { a } else { b })
            }
        }
    };
}

arithmetic!(f32, 8_388_608.0); // 2^23
arithmetic!(f64, 4_503_599_627_370_496.0); // 2^52

impl<const N: usize> BitAnd for LaneMask<N> {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        LaneMask(array::from_fn(|lane| self.0[lane] & other.0[lane]))
    }
}

impl<const N: usize> BitOr for LaneMask<N> {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        LaneMask(array::from_fn(|lane| self.0[lane] | other.0[lane]))
    }
}

impl<const N: usize> Not for LaneMask<N> {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        LaneMask(self.0.map(|lane| !lane))
    }
}

impl<const N: usize> Mask for LaneMask<N> {
    #[inline(always)]
    fn any(self) -> bool {
        self.0.iter().fold(0, |any, lane| any | lane) != 0
    }
}

impl<const N: usize> IntegerVector for Lanes<N, u32> {
    type Float = Lanes<N>;
    type Wide = Lanes<N, u64>;

    #[inline(always)]
    fn splat(self, value: u32) -> Self {
        Lanes([value; N])
    }

    #[inline(always)]
    fn lane_numbers(self) -> Self {
        Lanes(array::from_fn(|lane| lane as u32))
    }

    #[inline(always)]
    fn shift_left<const BITS: u32>(self) -> Self {
        self.map(|lane| lane << BITS)
    }

    #[inline(always)]
    fn shift_right<const BITS: u32>(self) -> Self {
        self.map(|lane| lane >> BITS)
    }

    #[inline(always)]
    fn shift_right_signed<const BITS: u32>(self) -> Self {
        self.map(|lane| (lane.cast_signed() >> BITS).cast_unsigned())
    }

    #[inline(always)]
    fn to_float(self) -> Lanes<N> {
        self.map(|lane| lane.cast_signed() as f32)
    }

    #[inline(always)]
    fn as_float(self) -> Lanes<N> {
        self.map(f32::from_bits)
    }

    #[inline(always)]
    fn is_zero(self) -> LaneMask<N> {
        self.mask(Lanes([0; N]), |a, b| a == b)
    }

    #[inline(always)]
    fn widen(self) -> Lanes<N, u64> {
        self.map(u64::from)
    }
}

impl<const N: usize> BitXor for Lanes<N, u64> {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        self.zip(other, BitXor::bitxor)
    }
}

impl<const N: usize> WideIntegerVector for Lanes<N, u64> {
    type Narrow = Lanes<N, u32>;

    #[inline(always)]
    fn splat(self, value: u64) -> Self {
        Lanes([value; N])
    }

    #[inline(always)]
    fn multiply_low_halves(self, other: Self) -> Self {
        self.zip(other, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff))
    }

    #[inline(always)]
    fn high_half(self) -> Self {
        self.map(|lane| lane >> 32)
    }

    #[inline(always)]
    fn narrow(self) -> Lanes<N, u32> {
        self.map(|lane| lane as u32)
    }
}

impl<const N: usize> Vector for Lanes<N> {
    const LANES: usize = N;
    type Mask = LaneMask<N>;
    type Integer = Lanes<N, u32>;
    type Wide = Lanes<N, f64>;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise; an array may be read unaligned like this.
        Lanes(unsafe { from.cast::<[f32; N]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; N];
        // SAFETY: the caller's promise; `count <= N`.
        unsafe { from.copy_to_nonoverlapping(lanes.as_mut_ptr(), count) };
        Lanes(lanes)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise; an array may be written unaligned like this.
        unsafe { to.cast::<[f32; N]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise; `count <= N`.
        unsafe { to.copy_from_nonoverlapping(self.0.as_ptr(), count) }
    }

    /// Products of single-precision numbers are exact in double precision. (The sum is then
    /// rounded twice, which matters only for sums a hair from the middle of two floats.)
    #[inline(always)]
    fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        (self.widen() * factor.widen() + addend.widen()).narrow()
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }

    #[inline(always)]
    fn less(self, other: Self) -> LaneMask<N> {
        self.mask(other, |a, b| a < b)
    }

    #[inline(always)]
    fn equal(self, other: Self) -> LaneMask<N> {
        self.mask(other, |a, b| a == b)
    }

    #[inline(always)]
    fn is_nan(self) -> LaneMask<N> {
        self.mask(self, |a, _| a.is_nan())
    }

    #[inline(always)]
    fn select(mask: LaneMask<N>, yes: Self, no: Self) -> Self {
        Lanes(array::from_fn(|lane| {
            let (mask, yes, no) = (mask.0[lane], yes.0[lane].to_bits(), no.0[lane].to_bits());
            f32::from_bits(mask & yes | !mask & no)
        }))
    }

    #[inline(always)]
    fn bits(self) -> Lanes<N, u32> {
        self.map(f32::to_bits)
    }

    /// In the sum with 1.5 * 2^23, the last place is one: the integer can be read off its bits.
    #[inline(always)]
    fn round_to_integer(self) -> Lanes<N, u32> {
        const SHIFT: f32 = 12_582_912.0;
        self.map(|lane| (lane + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()))
    }

    #[inline(always)]
    fn widen(self) -> Lanes<N, f64> {
        self.map(f64::from)
    }
}

impl<const N: usize> WideVector for Lanes<N, f64> {
    type Narrow = Lanes<N>;

    #[inline(always)]
    fn narrow(self) -> Lanes<N> {
        self.map(|lane| lane as f32)
    }
}
