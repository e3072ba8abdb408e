//! Axes in parts: what the operands of several products have in common.

use std::collections::VecDeque;

use smallvec::{SmallVec, smallvec};

/// A part of an axis, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    label: u32,
    /// More than 1.
    pub extent: usize,
}

/// The parts of an axis, outermost first.
pub(super) type Parts = SmallVec<[Part; 2]>;

/// The parts of all axes.
pub(super) fn flat<'a>(axes: impl IntoIterator<Item = &'a Parts>) -> Vec<Part> {
    axes.into_iter().flatten().copied().collect()
}

/// Gives labels.
#[derive(Default)]
pub(super) struct Labels(u32);

impl Labels {
    fn part(&mut self, extent: usize) -> Part {
        self.0 += 1;
        Part { label: self.0, extent }
    }

    /// The axes of a shape, each with a label of its own; one of extent 1 has no part.
    pub fn axes(&mut self, shape: &[usize]) -> Vec<Parts> {
        let axis = |&extent: &usize| match extent {
            1 => smallvec![],
            _ => smallvec![self.part(extent)],
        };
        shape.iter().map(axis).collect()
    }
}

/// The parts that axes consist of, while movement is followed.
pub(super) struct Trace {
    /// Of the tensor that is there now.
    pub axes: Vec<Parts>,
    /// Of the product that it comes from.
    pub inner: Vec<Parts>,
    /// Of what was added.
    pub added: Vec<Parts>,
}

impl Trace {
    /// Follows a reshaping: parts are cut where new axes begin.
    pub fn reshape(&mut self, shape: &[usize], labels: &mut Labels) -> Option<()> {
        let mut parts = VecDeque::from(flat(&self.axes));
        let mut axes = Vec::new();
        for &extent in shape {
            let (mut axis, mut rest) = (Parts::new(), extent);
            while rest > 1 {
                let part = parts.pop_front()?;
                if rest.is_multiple_of(part.extent) {
                    axis.push(part);
                    rest /= part.extent;
                } else if part.extent.is_multiple_of(rest) {
                    let cut = [rest, part.extent / rest].map(|extent| labels.part(extent));
                    self.cut(part, cut);
                    axis.push(cut[0]);
                    parts.push_front(cut[1]);
                    rest = 1;
                } else {
                    return None;
                }
            }
            axes.push(axis);
        }
        self.axes = axes;
        Some(())
    }

    /// Replaces a part by two.
    fn cut(&mut self, part: Part, [outer, inner]: [Part; 2]) {
        for axis in self.inner.iter_mut().chain(&mut self.added) {
            if let Some(place) = axis.iter().position(|other| *other == part) {
                axis[place] = outer;
                axis.insert(place + 1, inner);
            }
        }
    }
}
