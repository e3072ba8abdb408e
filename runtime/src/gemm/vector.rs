//! What kernels need of a vector register.

use crate::simd::{self, AcrossLanes, Arithmetic, FromPlaces};

/// A vector of any element type that products have. Kernels are written once over this trait
/// and compiled for each instruction set.
pub(super) trait Vector:
    Arithmetic<Self::Element> + AcrossLanes<Lane = Self::Element> + FromPlaces<Lane = Self::Element>
{
    /// The type of a lane.
    type Element: Element;
    /// Number of lanes.
    const LANES: usize;

    /// Reads all lanes.
    ///
    /// # Safety
    /// They are readable, and the processor has this type's instructions.
    unsafe fn load(from: *const Self::Element) -> Self;

    /// Reads the first `count` lanes; the others are zero.
    ///
    /// # Safety
    /// As for `load`; `count` is at most [`Vector::LANES`].
    unsafe fn load_first(from: *const Self::Element, count: usize) -> Self;

    /// Writes all lanes.
    ///
    /// # Safety
    /// They are writable.
    unsafe fn store(self, to: *mut Self::Element);

    /// Writes the first `count` lanes.
    ///
    /// # Safety
    /// They are writable; `count` is at most [`Vector::LANES`].
    unsafe fn store_first(self, to: *mut Self::Element, count: usize);
}

/// An element type of products.
pub(super) trait Element: Copy + std::ops::Add<Output = Self> + 'static {}

impl Element for f32 {}
impl Element for f64 {}

impl<V: simd::Vector + AcrossLanes<Lane = f32> + FromPlaces<Lane = f32>> Vector for V {
    type Element = f32;
    const LANES: usize = <V as simd::Vector>::LANES;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { simd::Vector::load(from) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { simd::Vector::load_first(from, count) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { simd::Vector::store(self, to) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { simd::Vector::store_first(self, to, count) }
    }
}
