//! Descriptors of batched matrix products, fixed at compile time.
//!
//! A contraction computes, for every batch index and all `row < rows`, `column < columns`,
//! the sum over `k < depth` of `left[row, k] * right[k, column]`, and hands finished tiles to an
//! epilogue or stores them.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::dtype::DType;
use crate::program::{COUNTERS, Home, Region, RegionFunction};
use crate::simd::MAX_LANES;
use crate::verify::elements;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocking {
    /// Rows per piece (the last block may be shorter).
    pub rows: usize,
    /// Columns per piece (the last block may be shorter).
    pub columns: usize,
}

/// A batch of strided matrices in the arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strided {
    /// The place of element (0, 0) of the first matrix, aligned to the element's size.
    pub home: Home,
    /// Elements between neighbouring matrices along each batch axis (0: shared, operands only).
    #[serde(with = "crate::list")]
    pub batch_strides: SmallVec<[isize; 2]>,
    /// Elements between neighbouring rows.
    pub row_stride: isize,
    /// Elements between neighbouring columns.
    pub column_stride: isize,
}

/// A batch of matrices in the arena whose rows and columns each lie at distances of their own:
/// element (row, column) is `rows.offset(row) + columns.offset(column)` elements from the first.
///
/// Windows over a tensor are such matrices, with taps along one axis and places along the other.
/// (The "block-scatter matrix" of Matthews, "High-performance tensor contraction without
/// transposition", 2018, is the same with the distances in tables.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scattered {
    /// The place of element (0, 0) of the first matrix, aligned to the element's size.
    pub home: Home,
    /// Elements between neighbouring matrices along each batch axis.
    #[serde(with = "crate::list")]
    pub batch_strides: SmallVec<[isize; 2]>,
    /// Distances of rows.
    pub rows: Digits,
    /// Distances of columns.
    pub columns: Digits,
}

/// Distances along an axis: an index is read as a row-major index over some extents, and each of
/// its digits adds a multiple of a stride.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digits(#[serde(with = "crate::list")] SmallVec<[(usize, isize); 4]>);

/// One operand of a contraction.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Matrices in the arena.
    Arena(Strided),
    /// Matrices in the arena, with distances digit by digit.
    Scattered(Scattered),
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
        let &Contraction { rows, columns, depth, .. } = self;
        for [a, b] in [[rows, columns], [rows, depth], [depth, columns]] {
            elements(self.batch.iter().copied().chain([a, b]).filter(|extent| *extent != 0))?;
        }
        let places = [
            ("left operand", self.left.scattered([self.rows, self.depth]), self.rows, self.depth),
            (
                "right operand",
                self.right.scattered([self.depth, self.columns]),
                self.depth,
                self.columns,
            ),
            (
                "output",
                self.output.strided().map(|place| place.scattered([self.rows, self.columns])),
                self.rows,
                self.columns,
            ),
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
    /// Where matrices of these extents lie in the arena, unless values are generated.
    fn scattered(&self, extents: [usize; 2]) -> Option<Scattered> {
        match self {
            Operand::Arena(strided) => Some(strided.scattered(extents)),
            Operand::Scattered(scattered) => Some(scattered.clone()),
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

    /// The same matrices, of these extents, with distances of one digit.
    pub fn scattered(&self, [rows, columns]: [usize; 2]) -> Scattered {
        Scattered {
            home: self.home,
            batch_strides: self.batch_strides.clone(),
            rows: Digits::uniform(rows, self.row_stride),
            columns: Digits::uniform(columns, self.column_stride),
        }
    }

    /// Elements from the first matrix to matrix number `batch`, row-major over `extents`.
    pub fn batch_offset(&self, extents: &[usize], batch: usize) -> isize {
        batch_offset(&self.batch_strides, extents, batch)
    }
}

/// Elements from the first of matrices with these strides to number `batch`.
fn batch_offset(strides: &[isize], extents: &[usize], batch: usize) -> isize {
    let mut rest = batch;
    let mut offset = 0;
    for (&extent, &stride) in extents.iter().zip(strides).rev() {
        offset += (rest % extent) as isize * stride;
        rest /= extent;
    }
    offset
}

impl Scattered {
    /// Whether whole vectors of columns are neighbours, and rows lie at one distance: as in panels
    /// of columns, which kernels read where they lie.
    pub fn is_in_panels(&self) -> bool {
        let (neighbours, stride) = self.columns.run();
        stride == 1 && neighbours.is_multiple_of(MAX_LANES) && self.rows.stride().is_some()
    }

    /// Elements from the first matrix to matrix number `batch`, row-major over `extents`.
    pub fn batch_offset(&self, extents: &[usize], batch: usize) -> isize {
        batch_offset(&self.batch_strides, extents, batch)
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
        for (axis, digits, extent) in
            [("rows", &self.rows, rows), ("columns", &self.columns, columns)]
        {
            let found = elements(digits.iter().map(|(extent, _)| extent))?;
            if found != extent || digits.0.is_empty() {
                return Err(format!("distances of {found} {axis} for {extent}"));
            }
        }
        if batch.iter().copied().chain([rows, columns]).any(|extent| extent == 0) {
            return Ok(());
        }
        let axes = batch.iter().copied().zip(self.batch_strides.iter().copied());
        let axes = axes.chain(self.rows.iter()).chain(self.columns.iter());
        let (first, last) = self.home.reach(limits);
        let (mut lowest, mut highest) = (first / size as i128, last / size as i128);
        for (extent, stride) in axes {
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

impl Digits {
    /// Distances of an axis from its digits, (extent, stride) of each, the outermost first. Digits
    /// that continue each other are joined.
    pub fn new(digits: impl IntoIterator<Item = (usize, isize)>) -> Digits {
        let mut joined: SmallVec<[(usize, isize); 4]> = SmallVec::new();
        for (extent, stride) in digits {
            match joined.last_mut() {
                _ if extent == 1 => {}
                Some(last) if last.1 == extent as isize * stride => {
                    *last = (last.0 * extent, stride);
                }
                _ => joined.push((extent, stride)),
            }
        }
        if joined.is_empty() {
            joined.push((1, 1));
        }
        Digits(joined)
    }

    /// Elements at equal distances.
    pub fn uniform(extent: usize, stride: isize) -> Digits {
        Digits(SmallVec::from_slice(&[(extent, stride)]))
    }

    /// The digits, (extent, stride) of each, the outermost first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, isize)> {
        self.0.iter().copied()
    }

    /// Number of elements along the axis.
    pub fn extent(&self) -> usize {
        self.iter().map(|(extent, _)| extent).product()
    }

    /// Elements from the first to number `index`.
    pub fn offset(&self, index: usize) -> isize {
        let mut rest = index;
        let mut offset = 0;
        for (extent, stride) in self.iter().rev() {
            offset += (rest % extent) as isize * stride;
            rest /= extent;
        }
        offset
    }

    /// Elements between neighbours, if all lie at the same distance.
    pub fn stride(&self) -> Option<isize> {
        match self.0[..] {
            [(_, stride)] => Some(stride),
            _ => None,
        }
    }

    /// The last digit: how many neighbours follow each other at the same distance, and which.
    pub fn run(&self) -> (usize, isize) {
        self.0[self.0.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_continue_each_other_are_one() {
        assert_eq!(Digits::new([(4, 32), (1, 7), (8, 4), (4, 1)]), Digits::uniform(128, 1));
        let windows = Digits::new([(3, 34), (3, 1)]);
        assert_eq!(windows.extent(), 9);
        assert_eq!(windows.stride(), None);
        assert_eq!(windows.run(), (3, 1));
        let offsets: Vec<isize> = (0..9).map(|index| windows.offset(index)).collect();
        assert_eq!(offsets, [0, 1, 2, 34, 35, 36, 68, 69, 70]);
        assert_eq!(Digits::new([(1, 5)]).extent(), 1);
    }
}
