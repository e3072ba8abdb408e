//! The operator traits of the x86-64 vector types, made from their intrinsics.

/// Runs an intrinsic on vectors that exist already.
///
/// Only for use where a vector of the instruction set is at hand (see the module's note on
/// safety); the intrinsic must not touch memory.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: the vectors in the arguments prove that the processor has the instruction, and
        // it works on registers only.
        unsafe { $call }
    };
}
pub(super) use intrinsic;

/// Implements binary operators, each by one intrinsic on every register of the vector: with
/// another vector and with a scalar.
macro_rules! operators {
    ($Vector:ty, $Scalar:ty; $($Operator:ident $method:ident $intrinsic:ident;)*) => {$(
        impl ::std::ops::$Operator for $Vector {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, |a, b| intrinsic!($intrinsic(a, b)))
            }
        }

        impl ::std::ops::$Operator<$Scalar> for $Vector {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: $Scalar) -> Self {
                ::std::ops::$Operator::$method(self, self.splat(other))
            }
        }
    )*};
}
pub(super) use operators;
