//! Sums of overlapping windows, and extremes of small windows.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::Expander;
use super::builder::Builder;
use crate::graph::{Emit, NodeId};
use crate::index::{Expression, IndexMap};
use crate::op::{ArgKind, Fold, View, Window};
use crate::types::{Axes, DType, Scalar, Shape};

/// Most elements of a window whose extreme is found by comparing them one after the other.
const MOST_COMPARED: usize = 16;

/// How the elements of windows that cover an index of an axis are found.
struct Covering {
    /// The window, given the candidate's number.
    window: Expression,
    /// The element of the window.
    element: Expression,
    /// What must be 0 for the candidate to count.
    rest: Option<Expression>,
}

impl Covering {
    /// For an axis `i` of a domain whose axis `j` numbers the candidates.
    fn new(window: &Window, i: usize, j: usize, domain: &[usize]) -> Covering {
        let Window { stride, dilation, low, .. } = *window;
        let place = Expression::axis(i).plus(&Expression::constant(low));
        let number = Expression::axis(j);
        let (stride, dilation) = (stride as i64, dilation as i64);
        if dilation == 1 {
            // place = window * stride + element: the windows that start at most that far before.
            let last = place.divided(stride, domain);
            let first = place.remainder(stride, domain);
            return Covering {
                window: last.plus(&number.times(-1)),
                element: first.plus(&number.times(stride)),
                rest: None,
            };
        }
        let start = place.plus(&number.times(-dilation));
        Covering {
            window: start.divided(stride, domain),
            element: number,
            rest: Some(start.remainder(stride, domain)),
        }
    }

    /// How many windows (or elements of windows) are looked at for each index.
    fn candidates(window: &Window) -> usize {
        if window.dilation == 1 { window.size.div_ceil(window.stride) } else { window.size }
    }
}

/// What is found in windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extreme {
    /// The extreme elements.
    pub value: NodeId,
    /// Their positions along the axis (i32).
    pub position: NodeId,
}

impl Expander {
    /// Each element as the sum over the windows that contain it: a sum over a view.
    pub(super) fn fold(&mut self, fold: &Fold, operand: NodeId) -> NodeId {
        let from = self.graph.type_of(operand).shape.clone();
        let dtype = self.graph.type_of(operand).dtype;
        let axes = fold.windows.len();
        let leading = from.len() - 2 * axes;
        let candidates: SmallVec<[usize; 2]> =
            fold.windows.iter().map(Covering::candidates).collect();
        let result: Shape = from[..leading].iter().chain(&fold.extents).copied().collect();
        let domain: Shape = result.iter().chain(&candidates).copied().collect();
        let coverings: Vec<Covering> = fold
            .windows
            .iter()
            .enumerate()
            .map(|(axis, window)| {
                Covering::new(window, leading + axis, leading + axes + axis, &domain)
            })
            .collect();
        let indices = (0..leading)
            .map(Expression::axis)
            .chain(coverings.iter().map(|covering| covering.window.clone()))
            .chain(coverings.iter().map(|covering| covering.element.clone()));
        let zero = Scalar::new(dtype, 0.0);
        let mut map = IndexMap::filled(&domain, indices, &from, zero);
        for rest in coverings.iter().filter_map(|covering| covering.rest.clone()) {
            map = map.where_zero(rest, zero);
        }
        let covered = self.graph.emit(View { map }.into(), &[operand]);
        // Candidates of which there is only one are not summed.
        let several = (0..axes).filter(|&axis| candidates[axis] > 1);
        let several: Axes = several.map(|axis| leading + axes + axis).collect();
        let sum = self.graph.sum(covered, &several);
        self.graph.reshape(sum, &result)
    }

    /// The extreme of each window along `axis`, found by comparing element by element, if the
    /// operand is a view (of windows) and the windows are small.
    pub(super) fn extreme_of_windows(
        &mut self,
        kind: ArgKind,
        operand: NodeId,
        axis: usize,
    ) -> Option<Extreme> {
        let ty = self.graph.type_of(operand);
        let is_small = (2..=MOST_COMPARED).contains(&ty.shape[axis]) && ty.dtype.is_float();
        if !is_small || !self.graph.node(operand).op.is_movement() {
            return None;
        }
        let key = (kind, operand, axis);
        if let Some(&known) = self.extremes.get(&key) {
            return Some(known);
        }
        let extreme = self.compared(kind, operand, axis);
        self.extremes.insert(key, extreme);
        Some(extreme)
    }

    /// Extremes and their positions: the first among equals, and the first NaN if there is one.
    fn compared(&mut self, kind: ArgKind, operand: NodeId, axis: usize) -> Extreme {
        let shape = self.graph.type_of(operand).shape.clone();
        let mut rest = shape.clone();
        let extent = rest.remove(axis);
        let element = |g: &mut Builder, place: usize| {
            let index = |from: usize| match from.cmp(&axis) {
                Ordering::Less => Expression::axis(from),
                Ordering::Equal => Expression::constant(place as i64),
                Ordering::Greater => Expression::axis(from - 1),
            };
            let map = IndexMap::new(&rest, (0..shape.len()).map(index));
            g.emit(View { map }.into(), &[operand])
        };
        let g = &mut self.graph;
        let mut value = element(g, 0);
        let mut position = g.constant(DType::I32, &rest, 0.0);
        for place in 1..extent {
            let next = element(g, place);
            // NaN is no better than anything, and wins over numbers, but not over an earlier NaN, which is not
            // equal to itself.
            let no_better = match kind {
                ArgKind::Max => g.apply("le", &[next, value]),
                ArgKind::Min => g.apply("le", &[value, next]),
            };
            let better = g.apply("not", &[no_better]);
            let was_number = g.apply("eq", &[value, value]);
            let wins = g.apply("and", &[better, was_number]);
            let here = g.constant(DType::I32, &rest, place as f64);
            position = g.select(wins, here, position);
            value = g.select(wins, next, value);
        }
        Extreme { value, position }
    }
}
