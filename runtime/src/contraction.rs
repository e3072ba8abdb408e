//! Descriptors of batched matrix products, fixed at compile time.
//!
//! A contraction computes, for every batch index and all `row < rows`, `column < columns`,
//! the sum over `k < depth` of `left[row, k] * right[k, column]`, and hands finished tiles to an
//! epilogue or stores them.

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::program::{COUNTERS, Home, Region, RegionFunction};

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

/// Rows and columns of a piece of the result, a function of the shape only; both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Rows per piece (the last block may be shorter).
    pub rows: usize,
    /// Columns per piece (the last block may be shorter).
    pub columns: usize,
}

/// A batch of strided matrices in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strided {
    /// The place of element (0, 0) of the first matrix, aligned to the element's size.
    pub home: Home,
    /// Elements between neighbouring matrices along each batch axis (0: shared, operands only).
    pub batch_strides: SmallVec<[isize; 2]>,
    /// Elements between neighbouring rows.
    pub row_stride: isize,
    /// Elements between neighbouring columns.
    pub column_stride: isize,
}

/// One operand of a contraction.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Matrices in the arena.
    Arena(Strided),
    /// Values computed on the fly, region by region, when the operand is packed.
    Generated(RegionFunction),
}

/// Destination of a contraction.
#[derive(Clone, Debug)]
pub enum Output {
    /// Matrices in the arena, which no operand overlaps.
    Arena(Strided),
    /// Handed tile by tile, while in cache, to generated code that stores what is needed.
    Epilogue(RegionFunction),
}

impl Contraction {
    /// Number of pieces: batch size times row blocks times column blocks.
    pub fn pieces(&self) -> usize {
        self.batch.iter().product::<usize>() * self.row_blocks() * self.column_blocks()
    }

    /// The part of the result that a piece computes.
    pub fn region(&self, piece: usize) -> Region {
        let (matrix_block, column_block) =
            (piece / self.column_blocks(), piece % self.column_blocks());
        let (batch, row_block) =
            (matrix_block / self.row_blocks(), matrix_block % self.row_blocks());
        let row = row_block * self.blocking.rows;
        let column = column_block * self.blocking.columns;
        Region {
            batch: batch as u64,
            row_start: row as u64,
            row_end: (row + self.blocking.rows).min(self.rows) as u64,
            column_start: column as u64,
            column_end: (column + self.blocking.columns).min(self.columns) as u64,
        }
    }

    /// Rows and columns of the largest piece.
    pub fn piece_extents(&self) -> Blocking {
        Blocking {
            rows: self.blocking.rows.min(self.rows),
            columns: self.blocking.columns.min(self.columns),
        }
    }

    /// Floating-point operations: two for each product term.
    pub fn flops(&self) -> f64 {
        2.0 * self.batch.iter().product::<usize>() as f64
            * self.rows as f64
            * self.columns as f64
            * self.depth as f64
    }

    /// Checks that operands and output are described completely and lie within an arena of this
    /// many bytes while each counter of the loops around is below its limit.
    ///
    /// # Errors
    /// What is wrong, in words, if they do not.
    pub fn verify(&self, arena_bytes: usize, limits: &[u64; COUNTERS]) -> Result<(), String> {
        if !self.dtype.is_float() {
            return Err(format!("a product of {} elements", self.dtype));
        }
        if self.blocking.rows == 0 || self.blocking.columns == 0 {
            return Err("empty pieces".to_owned());
        }
        let places = [
            ("left operand", self.left.strided(), self.rows, self.depth),
            ("right operand", self.right.strided(), self.depth, self.columns),
            ("output", self.output.strided(), self.rows, self.columns),
        ];
        for (name, place, rows, columns) in places {
            if let Some(place) = place {
                place
                    .verify(&self.batch, [rows, columns], self.dtype.size(), arena_bytes, limits)
                    .map_err(|problem| format!("{name}: {problem}"))?;
            }
        }
        Ok(())
    }

    fn row_blocks(&self) -> usize {
        self.rows.div_ceil(self.blocking.rows)
    }

    fn column_blocks(&self) -> usize {
        self.columns.div_ceil(self.blocking.columns)
    }
}

impl Operand {
    /// The place in the arena, unless values are generated.
    pub fn strided(&self) -> Option<&Strided> {
        match self {
            Operand::Arena(strided) => Some(strided),
            Operand::Generated(_) => None,
        }
    }
}

impl Output {
    /// The place in the arena, unless an epilogue stores the results.
    pub fn strided(&self) -> Option<&Strided> {
        match self {
            Output::Arena(strided) => Some(strided),
            Output::Epilogue(_) => None,
        }
    }
}

impl Strided {
    /// The same elements with rows and columns swapped.
    pub fn transposed(&self) -> Strided {
        Strided { row_stride: self.column_stride, column_stride: self.row_stride, ..self.clone() }
    }

    /// Elements from the first matrix to matrix number `batch`, row-major over `extents`.
    pub fn batch_offset(&self, extents: &[usize], batch: usize) -> isize {
        let mut rest = batch;
        let mut offset = 0;
        for (&extent, &stride) in extents.iter().zip(&self.batch_strides).rev() {
            offset += (rest % extent) as isize * stride;
            rest /= extent;
        }
        offset
    }

    fn verify(
        &self,
        batch: &[usize],
        [rows, columns]: [usize; 2],
        size: usize,
        arena_bytes: usize,
        limits: &[u64; COUNTERS],
    ) -> Result<(), String> {
        if self.batch_strides.len() != batch.len() {
            return Err(format!(
                "{} batch strides for {} batch axes",
                self.batch_strides.len(),
                batch.len()
            ));
        }
        if !self.home.is_aligned(size) {
            return Err(format!("offset {} is not aligned to {size} bytes", self.home.offset));
        }
        let extents = batch.iter().copied().chain([rows, columns]);
        if extents.clone().any(|extent| extent == 0) {
            return Ok(());
        }
        let strides =
            self.batch_strides.iter().copied().chain([self.row_stride, self.column_stride]);
        let (first, last) = self.home.reach(limits);
        let (mut lowest, mut highest) = (first / size as i128, last / size as i128);
        for (extent, stride) in extents.zip(strides) {
            let reach = (extent - 1) as i128 * stride as i128;
            lowest += reach.min(0);
            highest += reach.max(0);
        }
        if lowest < 0 || (highest + 1) * size as i128 > arena_bytes as i128 {
            return Err(format!(
                "elements {lowest} to {highest} lie outside an arena of {arena_bytes} bytes"
            ));
        }
        Ok(())
    }
}
