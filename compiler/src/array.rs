//! Tensors of the reference evaluator.

use crate::types::{DType, TensorType};

/// A dense row-major tensor whose elements are held in f64, whatever its element type.
///
/// Every value of every element type is exact in f64; booleans are 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The type of the tensor that it stands for.
    pub ty: TensorType,
    /// Elements, row-major.
    pub values: Vec<f64>,
}

impl Array {
    /// A tensor of these elements, row-major.
    ///
    /// # Panics
    /// If there are not as many values as the type has elements.
    pub fn new(ty: TensorType, values: Vec<f64>) -> Array {
        assert_eq!(ty.elements(), values.len(), "values of a {ty}");
        Array { ty, values }
    }

    /// One value everywhere.
    pub fn filled(ty: TensorType, value: f64) -> Array {
        let values = vec![value; ty.elements()];
        Array { ty, values }
    }

    /// The tensor whose element at each index is `value(index)`, computed in row-major order.
    pub fn from_fn(ty: TensorType, mut value: impl FnMut(&[usize]) -> f64) -> Array {
        let mut values = Vec::with_capacity(ty.elements());
        for_each_index(&ty.shape, |index| values.push(value(index)));
        Array { ty, values }
    }

    /// The element at an index.
    ///
    /// # Panics
    /// If the index lies outside.
    pub fn at(&self, index: &[usize]) -> f64 {
        self.values[self.offset(index)]
    }

    /// The row-major position of an index.
    pub fn offset(&self, index: &[usize]) -> usize {
        debug_assert_eq!(index.len(), self.ty.rank(), "an index into {}", self.ty);
        index.iter().zip(&self.ty.shape).fold(0, |offset, (&i, &extent)| {
            debug_assert!(i < extent, "index {index:?} into {}", self.ty);
            offset * extent + i
        })
    }

    /// The tensor whose axis `i` is axis `order[i]` of this one.
    ///
    /// # Panics
    /// If `order` is not a permutation of the axes.
    pub fn permuted(&self, order: &[usize]) -> Array {
        assert_eq!(order.len(), self.ty.rank(), "an order of the axes of {}", self.ty);
        let shape = order.iter().map(|&axis| self.ty.shape[axis]).collect();
        let mut source = vec![0; order.len()];
        Array::from_fn(TensorType { dtype: self.ty.dtype, shape }, |index| {
            for (axis, &from) in order.iter().enumerate() {
                source[from] = index[axis];
            }
            self.at(&source)
        })
    }

    /// The elements as the element type holds them: f32 values rounded to f32, the others as
    /// they are.
    pub fn rounded(mut self) -> Array {
        if self.ty.dtype == DType::F32 {
            for value in &mut self.values {
                *value = f64::from(*value as f32);
            }
        }
        self
    }
}

/// Calls `visit` with every index of a tensor of this shape, in row-major order.
pub fn for_each_index(shape: &[usize], mut visit: impl FnMut(&[usize])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        visit(&index);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}
