//! Maps from the indices of a result to the indices of an operand.

use std::fmt;
use std::sync::Arc;

use cygnet_runtime::contraction::Digits;

use super::expression::Expression;
use crate::types::{Scalar, Shape};

/// `low <= expression < high`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Constraint {
    /// What is bounded.
    pub expression: Expression,
    /// Smallest admitted value.
    pub low: i64,
    /// One past the largest admitted value.
    pub high: i64,
}

/// A quasi-affine map from each index of a rectangular domain to an index of an operand.
///
/// Where a constraint fails, no operand element is meant and the fill value stands instead; the
/// mapped index may then lie outside the operand.
///
/// Clones share what the map is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexMap {
    parts: Arc<Parts>,
}

/// What a map is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Parts {
    domain: Shape,
    indices: Vec<Expression>,
    constraints: Vec<Constraint>,
    fill: Option<Scalar>,
}

impl Parts {
    fn new(domain: &[usize], indices: impl IntoIterator<Item = Expression>) -> Parts {
        Parts {
            domain: Shape::from_slice(domain),
            indices: indices.into_iter().map(|e| e.without_unit_axes(domain)).collect(),
            constraints: Vec::new(),
            fill: None,
        }
    }

    /// Adds `low <= expression < high` unless it always holds.
    fn constrain(&mut self, expression: Expression, low: i64, high: i64) {
        let (smallest, largest) = expression.range(&self.domain);
        let constraint = Constraint { expression, low, high };
        if (smallest < low || largest >= high) && !self.constraints.contains(&constraint) {
            self.constraints.push(constraint);
        }
    }

    /// The map, with `fill` where a constraint fails.
    fn filled(mut self, fill: Option<Scalar>) -> IndexMap {
        self.fill = if self.constraints.is_empty() { None } else { fill };
        IndexMap { parts: Arc::new(self) }
    }
}

impl IndexMap {
    /// A map without constraints: operand index `i` is `indices[i]`.
    ///
    /// Axes of extent 1 do not occur in the map: their index is 0.
    pub fn new(domain: &[usize], indices: impl IntoIterator<Item = Expression>) -> IndexMap {
        Parts::new(domain, indices).filled(None)
    }

    /// Each index to itself.
    pub fn identity(shape: &[usize]) -> IndexMap {
        IndexMap::new(shape, (0..shape.len()).map(Expression::axis))
    }

    /// Reshape of an operand of shape `from` to `to`.
    ///
    /// # Panics
    /// If the numbers of elements differ.
    pub fn reshape(from: &[usize], to: &[usize]) -> IndexMap {
        assert_eq!(from.iter().product::<usize>(), to.iter().product::<usize>());
        let mut linear = Expression::constant(0);
        for (axis, &extent) in to.iter().enumerate() {
            linear = linear.times(extent as i64).plus(&Expression::axis(axis));
        }
        let mut indices: Vec<Expression> = Vec::with_capacity(from.len());
        let mut inner = 1i64;
        for &extent in from.iter().rev() {
            let digit = linear.divided(inner.max(1), to).remainder((extent as i64).max(1), to);
            indices.push(digit);
            inner *= extent as i64;
        }
        indices.reverse();
        IndexMap::new(to, indices)
    }

    /// Permutation: axis `i` of the result is axis `order[i]` of the operand.
    pub fn permute(from: &[usize], order: &[usize]) -> IndexMap {
        let domain: Shape = order.iter().map(|&axis| from[axis]).collect();
        let mut indices = vec![Expression::default(); from.len()];
        for (axis, &source) in order.iter().enumerate() {
            indices[source] = Expression::axis(axis);
        }
        IndexMap::new(&domain, indices)
    }

    /// Broadcast to `to`: operand axis `i` is result axis `axes[i]`.
    pub fn broadcast(to: &[usize], axes: &[usize]) -> IndexMap {
        IndexMap::new(to, axes.iter().map(|&axis| Expression::axis(axis)))
    }

    /// Slice with the given starts and steps; `to` is the result's shape.
    pub fn slice(to: &[usize], start: &[usize], step: &[usize]) -> IndexMap {
        IndexMap::new(
            to,
            (0..to.len()).map(|axis| {
                Expression::axis(axis)
                    .times(step[axis] as i64)
                    .plus(&Expression::constant(start[axis] as i64))
            }),
        )
    }

    /// Reversal of some axes.
    pub fn reverse(shape: &[usize], axes: &[usize]) -> IndexMap {
        let index = |axis: usize| match axes.contains(&axis) {
            true => {
                Expression::constant(shape[axis] as i64 - 1).plus(&Expression::axis(axis).times(-1))
            }
            false => Expression::axis(axis),
        };
        IndexMap::new(shape, (0..shape.len()).map(index))
    }

    /// Padding of an operand of shape `from`; `to` is the result's shape.
    pub fn pad(
        from: &[usize],
        to: &[usize],
        low: &[usize],
        interior: &[usize],
        fill: Scalar,
    ) -> IndexMap {
        let mut map = Parts::new(to, []);
        for axis in 0..from.len() {
            let shifted = Expression::axis(axis).plus(&Expression::constant(-(low[axis] as i64)));
            let shifted = shifted.without_unit_axes(to);
            let pitch = interior[axis] as i64 + 1;
            map.constrain(shifted.remainder(pitch, to), 0, 1);
            let index = shifted.divided(pitch, to);
            map.constrain(index.clone(), 0, from[axis] as i64);
            map.indices.push(index);
        }
        map.filled(Some(fill))
    }

    /// A map onto an operand of shape `from` whose indices may lie outside of it; there, `fill`
    /// stands.
    pub fn filled(
        domain: &[usize],
        indices: impl IntoIterator<Item = Expression>,
        from: &[usize],
        fill: Scalar,
    ) -> IndexMap {
        let mut map = Parts::new(domain, indices);
        for (axis, &extent) in from.iter().enumerate() {
            map.constrain(map.indices[axis].clone(), 0, extent as i64);
        }
        map.filled(Some(fill))
    }

    /// The same map with `fill` also where `expression` is not 0. What the map filled in before
    /// must be the same value.
    pub fn where_zero(self, expression: Expression, fill: Scalar) -> IndexMap {
        debug_assert!(self.fill().is_none_or(|known| known == fill), "two fill values");
        let mut map = Arc::unwrap_or_clone(self.parts);
        map.constrain(expression.without_unit_axes(&map.domain), 0, 1);
        map.filled(Some(fill))
    }

    /// The map that goes through `self` first and `then` from there: for movements,
    /// `then` is the one applied to the operand first. `None` if both fill with different values.
    ///
    /// # Panics
    /// If `self` does not map into the domain of `then`.
    pub fn compose(&self, then: &IndexMap) -> Option<IndexMap> {
        assert_eq!(self.rank(), then.domain().len(), "maps do not chain");
        let through = |e: &Expression| e.substitute(self.indices(), self.domain());
        let mut result = Parts {
            domain: self.parts.domain.clone(),
            indices: then.indices().iter().map(through).collect(),
            constraints: self.constraints().to_vec(),
            fill: None,
        };
        for constraint in then.constraints() {
            result.constrain(through(&constraint.expression), constraint.low, constraint.high);
        }
        match (self.fill(), then.fill()) {
            (Some(outer), Some(inner)) if outer != inner => None,
            (outer, inner) => Some(result.filled(outer.or(inner))),
        }
    }

    /// The map from operand to result indices, if the movement of a `shape`-shaped operand that this
    /// is only renames indices: if the operand's offset, as a function of the result's indices, has
    /// the strides of a mixed radix.
    pub fn inverse(&self, shape: &[usize]) -> Option<IndexMap> {
        let domain = self.domain();
        let elements: usize = shape.iter().product();
        if !self.constraints().is_empty() || domain.iter().product::<usize>() != elements {
            return None;
        }
        let offset = self.offset(&row_major_strides(shape));
        let mut digits: Vec<(i64, usize)> = Vec::new();
        for (axis, &extent) in domain.iter().enumerate() {
            if extent > 1 {
                digits.push((offset.stride(axis)?, axis));
            }
        }
        digits.sort_unstable();
        let mut radix = 1;
        for &(stride, axis) in &digits {
            if stride != radix {
                return None;
            }
            radix *= domain[axis] as i64;
        }
        let from: Shape = shape.into();
        let strides = row_major_strides(shape);
        let linear = (0..shape.len()).fold(Expression::constant(0), |sum, axis| {
            sum.plus(&Expression::axis(axis).times(strides[axis] as i64))
        });
        let index = |axis: usize| match digits.iter().find(|(_, digit)| *digit == axis) {
            Some(&(stride, _)) => {
                linear.divided(stride, &from).remainder(domain[axis] as i64, &from)
            }
            None => Expression::constant(0),
        };
        (offset.offset() == 0).then(|| IndexMap::new(&from, (0..domain.len()).map(index)))
    }

    /// Extents of the domain.
    pub fn domain(&self) -> &[usize] {
        &self.parts.domain
    }

    /// Number of operand axes.
    pub fn rank(&self) -> usize {
        self.parts.indices.len()
    }

    /// The operand index, axis by axis.
    pub fn indices(&self) -> &[Expression] {
        &self.parts.indices
    }

    /// What must hold for an operand element to be meant.
    pub fn constraints(&self) -> &[Constraint] {
        &self.parts.constraints
    }

    /// The value where a constraint fails; present exactly if there are constraints.
    pub fn fill(&self) -> Option<Scalar> {
        self.parts.fill
    }

    /// The same map with another fill value; the same if it has no constraints.
    pub fn with_fill(mut self, fill: Scalar) -> IndexMap {
        if !self.constraints().is_empty() && self.fill() != Some(fill) {
            Arc::make_mut(&mut self.parts).fill = Some(fill);
        }
        self
    }

    /// Whether each index of a `shape`-shaped operand is mapped to itself.
    pub fn is_identity(&self, shape: &[usize]) -> bool {
        self.domain() == shape
            && self.constraints().is_empty()
            && self.rank() == shape.len()
            && (self.indices().iter().zip(shape).enumerate())
                .all(|(axis, (e, &extent))| extent == 1 || *e == Expression::axis(axis))
    }

    /// Element offset into an operand with these strides, as one expression.
    pub fn offset(&self, strides: &[usize]) -> Expression {
        self.indices()
            .iter()
            .zip(strides)
            .fold(Expression::constant(0), |sum, (e, &stride)| sum.plus(&e.times(stride as i64)))
    }

    /// Whether elements of an operand with these strides lie like those of a batch of matrices: at
    /// equal distances along all axes of the domain but the last two, and digit by digit along
    /// those. There must not be constraints.
    pub fn is_matrix(&self, strides: &[usize]) -> bool {
        let offset = self.offset(strides);
        let Some(batch) = self.domain().len().checked_sub(2) else { return false };
        self.constraints().is_empty()
            && (0..batch).all(|axis| offset.stride(axis).is_some())
            && (batch..batch + 2).all(|axis| offset.distances(axis, self.domain()[axis]).is_some())
    }

    /// Along each of the last two axes of the domain, how many elements of an operand with these strides
    /// follow each other at the same distance, and at which; nothing if they do not lie like
    /// [matrices](Self::is_matrix).
    pub fn runs(&self, strides: &[usize]) -> Option<[(usize, isize); 2]> {
        let offset = self.offset(strides);
        let rank = self.domain().len();
        let run = |axis: usize| {
            let digits = offset.distances(axis, self.domain()[axis])?.into_iter();
            Some(Digits::new(digits.map(|(extent, stride)| (extent, stride as isize))).run())
        };
        self.is_matrix(strides).then(|| Some([run(rank - 2)?, run(rank - 1)?]))?
    }

    /// The same map onto the element offset into an operand with these strides: a map onto one
    /// axis.
    pub fn linearized(&self, strides: &[usize]) -> IndexMap {
        let parts = Parts { indices: vec![self.offset(strides)], ..Parts::clone(&self.parts) };
        IndexMap { parts: Arc::new(parts) }
    }

    /// The operand index for `index`, or `None` where the fill value stands.
    pub fn evaluate(&self, index: &[usize]) -> Option<Vec<usize>> {
        let holds = self.constraints().iter().all(|c| {
            let value = c.expression.evaluate(index);
            c.low <= value && value < c.high
        });
        holds.then(|| self.indices().iter().map(|e| e.evaluate(index) as usize).collect())
    }

    /// The same map on a domain with other axes: domain axis `i` becomes `replacements[i]`, an
    /// expression over `domain`.
    pub fn over(&self, domain: &[usize], replacements: &[Expression]) -> IndexMap {
        let through = |e: &Expression| e.substitute(replacements, domain);
        let mut map = Parts::new(domain, self.indices().iter().map(through));
        for c in self.constraints() {
            map.constrain(through(&c.expression), c.low, c.high);
        }
        map.filled(self.fill())
    }
}

/// Distance between neighbours along each axis of a dense tensor of this shape.
pub fn row_major_strides(shape: &[usize]) -> Shape {
    let mut strides: Shape = shape.into();
    let mut stride = 1;
    for place in strides.iter_mut().rev() {
        let extent = *place;
        *place = stride;
        stride *= extent;
    }
    strides
}

impl fmt::Display for IndexMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} -> [", self.domain())?;
        for (axis, index) in self.indices().iter().enumerate() {
            write!(f, "{}{index}", if axis == 0 { "" } else { ", " })?;
        }
        f.write_str("]")?;
        for (place, c) in self.constraints().iter().enumerate() {
            let joint = if place == 0 { " where" } else { " and" };
            write!(f, "{joint} {} <= {} < {}", c.low, c.expression, c.high)?;
        }
        match self.fill() {
            Some(fill) => write!(f, " else {fill}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::DType;

    fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
        shape.iter().fold(vec![vec![]], |all, &extent| {
            let extended = all.iter().flat_map(|index| {
                (0..extent).map(move |i| index.iter().copied().chain([i]).collect())
            });
            extended.collect()
        })
    }

    /// A random movement of a tensor of shape `from`, with the resulting shape.
    fn movement(from: Vec<usize>) -> BoxedStrategy<(IndexMap, Vec<usize>)> {
        let rank = from.len();
        let permuted = {
            let from = from.clone();
            Just((0..rank).collect::<Vec<_>>()).prop_shuffle().prop_map(move |order| {
                let map = IndexMap::permute(&from, &order);
                let to = map.domain().to_vec();
                (map, to)
            })
        };
        let padded = {
            let from = from.clone();
            prop::collection::vec((0..3usize, 0..2usize, 0..2usize), rank).prop_map(move |pads| {
                let low: Vec<_> = pads.iter().map(|p| p.0).collect();
                let interior: Vec<_> = pads.iter().map(|p| p.2).collect();
                let to: Vec<_> = (0..rank)
                    .map(|a| low[a] + from[a] + (from[a] - 1) * interior[a] + pads[a].1)
                    .collect();
                let fill = Scalar::new(DType::F32, 0.0);
                (IndexMap::pad(&from, &to, &low, &interior, fill), to)
            })
        };
        let sliced = {
            let from = from.clone();
            prop::collection::vec((any::<prop::sample::Index>(), 1..3usize), rank).prop_map(
                move |cuts| {
                    let start: Vec<_> =
                        cuts.iter().zip(&from).map(|((i, _), &extent)| i.index(extent)).collect();
                    let step: Vec<_> = cuts.iter().map(|c| c.1).collect();
                    let to: Vec<_> =
                        (0..rank).map(|a| (from[a] - start[a]).div_ceil(step[a])).collect();
                    (IndexMap::slice(&to, &start, &step), to)
                },
            )
        };
        let reshaped = {
            let elements = from.iter().product::<usize>();
            let divisors: Vec<usize> = (1..=elements).filter(|d| elements % d == 0).collect();
            prop::sample::select(divisors).prop_map(move |rows| {
                let to = vec![rows, elements / rows];
                (IndexMap::reshape(&from, &to), to)
            })
        };
        prop_oneof![permuted, padded, sliced, reshaped].boxed()
    }

    proptest! {
        #[test]
        fn composition_is_one_movement_after_the_other(
            (first, second, third) in prop::collection::vec(1..5usize, 1..4)
                .prop_flat_map(movement)
                .prop_flat_map(|(a, to)| (Just(a), movement(to)))
                .prop_flat_map(|(a, (b, to))| (Just(a), Just(b), movement(to).prop_map(|m| m.0)))
        ) {
            let composed = third.compose(&second).unwrap().compose(&first).unwrap();
            for index in indices(third.domain()) {
                let expected = third
                    .evaluate(&index)
                    .and_then(|i| second.evaluate(&i))
                    .and_then(|i| first.evaluate(&i));
                prop_assert_eq!(composed.evaluate(&index), expected, "{} at {:?}", composed, index);
            }
        }
    }

    #[test]
    fn a_reshape_and_its_inverse_cancel() {
        let there = IndexMap::reshape(&[4, 6, 5], &[8, 15]);
        let back = IndexMap::reshape(&[8, 15], &[4, 6, 5]);
        assert!(back.compose(&there).unwrap().is_identity(&[4, 6, 5]));
    }

    #[test]
    fn renaming_indices_can_be_undone() {
        let there = IndexMap::permute(&[4, 1, 6], &[2, 0, 1]);
        let back = there.inverse(&[4, 1, 6]).unwrap();
        assert!(back.compose(&there).unwrap().is_identity(&[4, 1, 6]));
        let split = IndexMap::reshape(&[24, 5], &[4, 6, 5]);
        let joined = split.inverse(&[24, 5]).unwrap();
        assert!(joined.compose(&split).unwrap().is_identity(&[24, 5]));
        assert!(IndexMap::broadcast(&[4, 3], &[0]).inverse(&[4]).is_none());
        assert!(IndexMap::slice(&[4], &[1], &[1]).inverse(&[5]).is_none());
    }

    #[test]
    fn the_digits_of_an_index_join_to_the_index() {
        let map = IndexMap::reshape(&[4, 3, 5, 2], &[120]);
        let offset = map.offset(&row_major_strides(&[4, 3, 5, 2]));
        assert_eq!(offset, Expression::axis(0));
    }

    #[test]
    fn splitting_an_axis_needs_no_division() {
        let map = IndexMap::reshape(&[2, 12], &[2, 3, 4]);
        assert_eq!(map.to_string(), "[2, 3, 4] -> [i0, 4*i1 + i2]");
    }
}
