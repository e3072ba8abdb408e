//! How elementwise primitives become code.

use cygnet_runtime::tile::TileFunction;

use crate::types::DType;

/// A value at the current element or elements, held by a [`Lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u32);

/// Machine operations that an inline lowering may use.
///
/// The code generator implements it over vectors (f32x4, f64x2, i32x4) and over scalars; tests
/// implement it over plain numbers. Every lane has an element type, and operations choose the
/// instruction by it; lanes of [`DType::Bool`] are masks. Operands of one operation have the same
/// type unless it says otherwise. Integers wrap.
pub trait Lanes {
    /// Element type of a lane.
    fn dtype(&self, lane: Lane) -> DType;

    /// The same value everywhere, rounded to `dtype` as [`crate::types::Scalar::new`] does.
    fn constant(&mut self, dtype: DType, value: f64) -> Lane;

    /// `a + b`; numbers.
    fn add(&mut self, a: Lane, b: Lane) -> Lane;

    /// `a - b`; numbers.
    fn sub(&mut self, a: Lane, b: Lane) -> Lane;

    /// `a * b`; numbers.
    fn mul(&mut self, a: Lane, b: Lane) -> Lane;

    /// `a / b`; floats.
    fn div(&mut self, a: Lane, b: Lane) -> Lane;

    /// `-a`; numbers. For floats the sign bit is flipped.
    fn neg(&mut self, a: Lane) -> Lane;

    /// `|a|`; numbers. For floats the sign bit is cleared.
    fn abs(&mut self, a: Lane) -> Lane;

    /// Correctly rounded square root; floats.
    fn sqrt(&mut self, a: Lane) -> Lane;

    /// Largest integer not above `a`; floats.
    fn floor(&mut self, a: Lane) -> Lane;

    /// The mask `a < b`, false for NaN; any type (false is below true).
    fn less(&mut self, a: Lane, b: Lane) -> Lane;

    /// The mask `a <= b`, false for NaN; any type.
    fn less_equal(&mut self, a: Lane, b: Lane) -> Lane {
        let less = self.less(a, b);
        let equal = self.equal(a, b);
        self.or(less, equal)
    }

    /// The mask `a == b`, false for NaN; any type.
    fn equal(&mut self, a: Lane, b: Lane) -> Lane;

    /// `not a`; masks.
    fn not(&mut self, a: Lane) -> Lane;

    /// `a and b`; masks.
    fn and(&mut self, a: Lane, b: Lane) -> Lane;

    /// `a or b`; masks.
    fn or(&mut self, a: Lane, b: Lane) -> Lane;

    /// `yes` where `condition` (a mask) holds, else `no`; `yes` and `no` of any one type.
    fn select(&mut self, condition: Lane, yes: Lane, no: Lane) -> Lane;
}

/// Computes one element (or one vector of elements) of an elementwise primitive from its
/// operands.
pub type InlineLowering = fn(&mut dyn Lanes, &[Lane]) -> Lane;

/// How an elementwise primitive becomes code.
#[derive(Clone, Copy)]
pub enum Lowering {
    /// By instructions in place.
    Inline(InlineLowering),
    /// By calling the runtime for a tile of elements, whose operands lie in memory.
    Tile(TileFunction),
}
