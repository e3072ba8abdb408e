//! Host tensors: what users hand in and get back.

use crate::dtype::DType;

/// A type whose values can be elements of a [`Tensor`].
///
/// # Safety
/// Implementors are plain data of [`DType::size`] bytes for which every bit pattern is valid.
pub unsafe trait Element: Copy + Default + 'static {
    /// The element type that this Rust type stands for.
    const DTYPE: DType;
}

// SAFETY: plain numbers of the stated size; every bit pattern is a value.
unsafe impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
// SAFETY: as above.
unsafe impl Element for f64 {
    const DTYPE: DType = DType::F64;
}
// SAFETY: as above.
unsafe impl Element for i32 {
    const DTYPE: DType = DType::I32;
}
// SAFETY: as above.
unsafe impl Element for u8 {
    const DTYPE: DType = DType::U8;
}

/// A dense row-major tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    /// Eight-byte words, so that every element type is aligned.
    words: Vec<u64>,
}

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Panics
    /// If the number of bytes overflows `usize`.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
        let bytes = shape
            .iter()
            .try_fold(dtype.size(), |bytes, &extent| bytes.checked_mul(extent))
            .expect("tensor size overflows");
        Tensor { dtype, shape: shape.to_vec(), words: vec![0; bytes.div_ceil(8)] }
    }

    /// A tensor holding a copy of `values`, row-major.
    ///
    /// # Panics
    /// If `values` does not have as many elements as `shape`.
    pub fn from_slice<T: Element>(shape: &[usize], values: &[T]) -> Tensor {
        let mut tensor = Tensor::zeros(T::DTYPE, shape);
        tensor.as_mut_slice::<T>().copy_from_slice(values);
        tensor
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extents, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same elements under another shape.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn reshaped(mut self, shape: &[usize]) -> Tensor {
        assert_eq!(
            self.len(),
            shape.iter().product::<usize>(),
            "reshape keeps the number of elements"
        );
        self.shape = shape.to_vec();
        self
    }

    /// The raw bytes, row-major, native byte order.
    pub fn bytes(&self) -> &[u8] {
        let length = self.len() * self.dtype.size();
        // SAFETY: the words cover `length` initialized bytes.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), length) }
    }

    /// The raw bytes, mutably. Booleans must stay 0 or 1.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.len() * self.dtype.size();
        // SAFETY: the words cover `length` initialized bytes.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), length) }
    }

    /// The elements. Booleans are read as `u8`.
    ///
    /// # Panics
    /// If `T` is not this tensor's element type.
    pub fn as_slice<T: Element>(&self) -> &[T] {
        self.assert_element::<T>();
        // SAFETY: the words cover `len` elements of T, aligned to 8 bytes.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len()) }
    }

    /// The elements, mutably.
    ///
    /// # Panics
    /// If `T` is not this tensor's element type.
    pub fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        self.assert_element::<T>();
        let length = self.len();
        // SAFETY: the words cover `len` elements of T, aligned to 8 bytes.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), length) }
    }

    /// Element `index` in row-major order, as f64 (exact for every element type).
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn get_f64(&self, index: usize) -> f64 {
        match self.dtype {
            DType::F32 => f64::from(self.as_slice::<f32>()[index]),
            DType::F64 => self.as_slice::<f64>()[index],
            DType::I32 => f64::from(self.as_slice::<i32>()[index]),
            DType::U8 | DType::Bool => f64::from(self.bytes()[index]),
        }
    }

    fn assert_element<T: Element>(&self) {
        let matches =
            T::DTYPE == self.dtype || (T::DTYPE == DType::U8 && self.dtype == DType::Bool);
        assert!(matches, "a tensor of {} read as {}", self.dtype, T::DTYPE);
    }
}
