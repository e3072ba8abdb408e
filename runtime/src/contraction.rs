//! Descriptors of batched matrix products, fixed at compile time.
//!
//! A contraction computes, for every batch index and all `row < rows`, `column < columns`,
//! the sum over `k < depth` of `left[row, k] * right[k, column]`, and hands finished tiles to an
//! epilogue or stores them.

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::program::RegionFunction;

/// A batched matrix product with optional generated prologues and epilogue.
///
/// Piece `p` of the task covers batch index `p / (row blocks * column blocks)`, then row block,
/// then column block (fastest). Each output element is computed by exactly one piece, its terms
/// in one fixed order.
#[derive(Clone, Debug)]
pub struct Contraction {
    /// F32 or F64, of operands, sums and output.
    pub dtype: DType,
    /// Extents of the batch axes, outermost first; empty for one product.
    pub batch: SmallVec<[usize; 2]>,
    /// Rows of the left operand and of the result.
    pub rows: usize,
    /// Columns of the right operand and of the result.
    pub columns: usize,
    /// Length of the summed axis.
    pub depth: usize,
    /// Left operand, `rows x depth`.
    pub left: Operand,
    /// Right operand, `depth x columns`.
    pub right: Operand,
    /// Where results go.
    pub output: Output,
    /// How the result is cut into pieces.
    pub blocking: Blocking,
}

/// Rows and columns of a piece of the result, a function of the shape only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Rows per piece (the last block may be shorter).
    pub rows: usize,
    /// Columns per piece (the last block may be shorter).
    pub columns: usize,
}

/// One operand of a contraction.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A strided matrix in the arena.
    Arena {
        /// Byte offset of element (0, 0) of the first matrix.
        offset: usize,
        /// Elements between neighbouring matrices along each batch axis (0: shared).
        batch_strides: SmallVec<[isize; 2]>,
        /// Elements between neighbouring rows.
        row_stride: isize,
        /// Elements between neighbouring columns.
        column_stride: isize,
    },
    /// Values computed on the fly, region by region, when the operand is packed.
    Generated(RegionFunction),
}

/// Destination of a contraction.
#[derive(Clone, Debug)]
pub enum Output {
    /// A strided matrix in the arena.
    Arena {
        /// Byte offset of element (0, 0) of the first matrix.
        offset: usize,
        /// Elements between neighbouring matrices along each batch axis.
        batch_strides: SmallVec<[isize; 2]>,
        /// Elements between neighbouring rows.
        row_stride: isize,
        /// Elements between neighbouring columns.
        column_stride: isize,
    },
    /// Handed tile by tile, while in cache, to generated code that stores what is needed.
    Epilogue(RegionFunction),
}

impl Contraction {
    /// Number of pieces: batch size times row blocks times column blocks.
    pub fn pieces(&self) -> usize {
        self.batch.iter().product::<usize>()
            * self.rows.div_ceil(self.blocking.rows)
            * self.columns.div_ceil(self.blocking.columns)
    }

    /// Floating-point operations: two for each product term.
    pub fn flops(&self) -> f64 {
        2.0 * self.batch.iter().product::<usize>() as f64
            * self.rows as f64
            * self.columns as f64
            * self.depth as f64
    }
}
