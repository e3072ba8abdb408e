//! Boxes of elements of a tensor.

use std::ops::Range;

use crate::types::{Axes, Shape};

/// The elements whose index along each axis lies in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// First index per axis.
    pub start: Axes,
    /// Bound per axis (exclusive).
    pub stop: Axes,
}

impl Region {
    /// All elements of a tensor of this shape.
    pub fn whole(shape: &[usize]) -> Region {
        Region { start: shape.iter().map(|_| 0).collect(), stop: Axes::from_slice(shape) }
    }

    /// Its extents.
    pub fn shape(&self) -> Shape {
        self.ranges().map(|range| range.len()).collect()
    }

    /// Its range along an axis.
    pub fn range(&self, axis: usize) -> Range<usize> {
        self.start[axis]..self.stop[axis]
    }

    /// Its ranges, axis by axis.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        (0..self.start.len()).map(|axis| self.range(axis))
    }

    /// Sets its range along an axis.
    pub fn set(&mut self, axis: usize, range: Range<usize>) {
        (self.start[axis], self.stop[axis]) = (range.start, range.end);
    }

    /// The smallest region that holds both.
    pub fn hull(mut self, other: &Region) -> Region {
        for axis in 0..self.start.len() {
            let (a, b) = (self.range(axis), other.range(axis));
            self.set(axis, a.start.min(b.start)..a.end.max(b.end));
        }
        self
    }

    /// Where it lies in a region that holds it.
    pub fn inside(&self, outer: &Region) -> Region {
        let shifted = |ends: &Axes| -> Axes {
            ends.iter().zip(&outer.start).map(|(end, from)| end - from).collect()
        };
        Region { start: shifted(&self.start), stop: shifted(&self.stop) }
    }
}

impl FromIterator<Range<usize>> for Region {
    fn from_iter<I: IntoIterator<Item = Range<usize>>>(ranges: I) -> Region {
        let (start, stop) = ranges.into_iter().map(|range| (range.start, range.end)).unzip();
        Region { start, stop }
    }
}
