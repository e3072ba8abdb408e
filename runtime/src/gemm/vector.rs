//! What kernels need of a vector register.

use std::ops::{Add, Mul};

/// A register of [`Vector::LANES`] elements. Each implementation is one instruction set; kernels
/// are written once over this trait and compiled for each.
///
/// # Safety
/// All methods may be called only on a processor with the implementation's instructions. Loads
/// and stores need valid memory for the lanes they touch, at any alignment. To become single
/// instructions, calls must end up in a function with the matching `target_feature`s.
pub(super) trait Vector: Copy {
    /// The type of a lane.
    type Element: Element;
    /// [`Vector::LANES`] vectors.
    type Square: AsRef<[Self]>;
    /// A choice of lanes.
    type Mask: Copy;
    /// Number of lanes.
    const LANES: usize;

    /// Chooses the first `lanes` lanes; at most [`Vector::LANES`].
    unsafe fn mask(lanes: usize) -> Self::Mask;
    /// All lanes zero.
    unsafe fn zero() -> Self;
    /// All lanes equal to the element at `from`.
    unsafe fn splat(from: *const Self::Element) -> Self;
    /// All lanes from consecutive elements.
    unsafe fn load(from: *const Self::Element) -> Self;
    /// The chosen lanes from consecutive elements, zero in the others.
    unsafe fn load_masked(from: *const Self::Element, mask: Self::Mask) -> Self;
    /// Writes all lanes to consecutive elements.
    unsafe fn store(self, to: *mut Self::Element);
    /// Writes the chosen lanes to consecutive elements.
    unsafe fn store_masked(self, to: *mut Self::Element, mask: Self::Mask);
    /// Lane by lane `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// Lane by lane `self + a * b`, rounded once where the processor can.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// The sum of all lanes, in a fixed order.
    unsafe fn sum(self) -> Self::Element;
    /// The square whose vector i is `row(i)`.
    unsafe fn square(row: impl FnMut(usize) -> Self) -> Self::Square;
    /// Swaps rows and columns: lane j of vector i becomes lane i of vector j.
    unsafe fn transpose(square: Self::Square) -> Self::Square;
}

/// An element type of products.
pub(super) trait Element: Copy + Add<Output = Self> + Mul<Output = Self> + 'static {
    /// Zero.
    const ZERO: Self;
}

impl Element for f32 {
    const ZERO: f32 = 0.0;
}

impl Element for f64 {
    const ZERO: f64 = 0.0;
}
