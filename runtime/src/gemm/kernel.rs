//! Micro-kernels: one tile of a product, held in registers.
//!
//! The bodies here are generic over [`Vector`]; each instruction set's module compiles them for
//! the tile sizes that suit its registers and lists the results in a [`Kernels`].

use std::array;

use super::ahead::{Ahead, STEPS};
use super::places::Copy;
use super::vector::Vector;

/// One call of a kernel: `output[r, c] (+)= sum over k of left[r, k] * right[k, c]`, for the rows of a tile
/// and those of others below it.
#[derive(Clone, Copy)]
pub(super) struct Tile<T> {
    /// How many tiles of the kernel's rows there are; 1 for dot kernels. (One call for all: what lies between
    /// two tiles is so short that the processor starts on the next one meanwhile.)
    pub count: usize,
    /// Elements from each tile to the next one, of the left operand and of the result; null if they lie one
    /// below the other.
    pub steps: *const [isize; 2],
    /// Length of the sum.
    pub depth: usize,
    /// Parts of equal length that the depth consists of, and within which elements lie at equal distances; 1 for
    /// dot kernels and those that follow tables.
    pub stretches: usize,
    /// Element (0, 0) of the left operand.
    pub left: *const T,
    /// Elements between its rows.
    pub left_row_stride: isize,
    /// Elements between its columns; 1 for dot kernels, not used by kernels that follow tables.
    pub left_depth_stride: isize,
    /// Elements from its first column to the first one of each stretch; for kernels that follow tables, to
    /// each column.
    pub left_steps: *const isize,
    /// Element (0, 0) of the right operand.
    pub right: *const T,
    /// Elements between its rows, along the depth; as for the left operand.
    pub right_depth_stride: isize,
    /// Elements from its first row to others, as for the left operand.
    pub right_steps: *const isize,
    /// Elements from its first column to that of each vector; for kernels that follow tables.
    pub right_vectors: *const isize,
    /// Elements between its columns; 1 for outer kernels.
    pub right_column_stride: isize,
    /// Element (0, 0) of the result; its columns are contiguous.
    pub output: *mut T,
    /// Elements between the result's rows.
    pub output_stride: isize,
    /// Columns to compute; fixed by the kernel for dot kernels.
    pub columns: usize,
    /// Whether to add to the result rather than overwrite it.
    pub accumulate: bool,
    /// What outer kernels ask for on the way.
    pub ahead: Ahead,
}

/// The steps of a tile of one stretch.
pub(super) static ONE_STRETCH: [isize; 1] = [0];

impl<T> Tile<T> {
    /// Whether elements of the left operand follow each other, along the depth or from row to row.
    pub fn is_left_contiguous(&self) -> bool {
        self.left_depth_stride == 1 || self.left_row_stride == 1
    }

    /// Goes from this tile of `rows` rows to the next one, if there is one.
    ///
    /// # Safety
    /// There are as many steps as tiles follow, or none.
    #[inline(always)]
    pub unsafe fn advance(&mut self, rows: usize) -> bool {
        self.count -= 1;
        if self.count == 0 {
            return false;
        }
        let [left, output] = if self.steps.is_null() {
            [self.left_row_stride, self.output_stride].map(|stride| rows as isize * stride)
        } else {
            // SAFETY: by the caller's promise.
            let step = unsafe { *self.steps };
            self.steps = self.steps.wrapping_add(1);
            step
        };
        self.left = self.left.wrapping_offset(left);
        self.output = self.output.wrapping_offset(output);
        true
    }
}

/// A kernel compiled for a number of rows and columns.
///
/// # Safety
/// The processor has the kernel's instructions; all elements that the tile and those after it describe are
/// valid to read, or to write for the output, which overlaps no operand; there are as many steps as tiles
/// after it, or none.
pub(super) type Kernel<T> = unsafe fn(&Tile<T>);

/// Copies a `rows x columns` block from `source` to `target`, both with contiguous inner elements and the
/// strides given: `(source, source_stride, target, target_stride, rows, columns)`.
///
/// # Safety
/// As for [`Kernel`].
pub(super) type CopyBlock<T> = unsafe fn(*const T, isize, *mut T, isize, usize, usize);

/// The kernels of one instruction set for one element type.
pub(super) struct Kernels<T: 'static> {
    /// Elements of a vector.
    pub lanes: usize,
    /// Outer-product kernels, which need contiguous columns of the right operand:
    /// `outer[rows - 1][i]` computes `rows` rows and up to `2^i` vectors of columns.
    pub outer: &'static [&'static [Kernel<T>]],
    /// The same with tables of distances along the depth, and of vectors of columns.
    pub scattered: &'static [&'static [Kernel<T>]],
    /// Dot-product kernels, which need both operands contiguous along the depth:
    /// `dot[rows - 1][columns - 1]`.
    pub dot: &'static [&'static [Kernel<T>]],
    /// What it costs that dot kernels sum the lanes of vectors in the end, and are not made for blocks that
    /// stay in a cache: for each result, in terms of the depth that outer kernels could add instead. Measured.
    pub dot_terms: f64,
    /// Copies a block as it is.
    pub copy: CopyBlock<T>,
    /// Copies a block to its transpose. Rows of the target are filled with zeros up to a multiple of the
    /// vector's lanes, for which there must be room.
    pub transpose: CopyBlock<T>,
    /// Copies lines of a scattered matrix to rows, [`super::places::along`].
    pub along: CopyLines<T>,
    /// Copies lines of a scattered matrix to columns, [`super::places::across`].
    pub across: CopyLines<T>,
}

/// Copies a part of a scattered matrix.
///
/// # Safety
/// As for [`super::places::along`].
pub(super) type CopyLines<T> = unsafe fn(&Copy<'_, T>);

impl<T> Kernels<T> {
    /// Vectors of columns of the widest tile with so many rows.
    pub fn most_vectors(&self, rows: usize) -> usize {
        1 << (self.outer[rows - 1].len() - 1)
    }

    /// Columns of a packed panel of the right operand: two vectors. A register tile as high as
    /// the register file allows then does the most arithmetic for each element it loads.
    pub fn panel_columns(&self) -> usize {
        2 * self.lanes
    }
}

/// The outer-product kernel: for each k, a column of the left operand times a row of the right
/// one, element by element against whole vectors.
///
/// With `TABLES` it finds columns and rows at distances of their own, and each vector of columns as
/// well ("block-scatter matrix": Matthews, "High-performance tensor contraction without
/// transposition", 2018): so it reads windows over a tensor where they lie.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
pub(super) unsafe fn outer<
    V: Vector,
    const ROWS: usize,
    const VECTORS: usize,
    const TABLES: bool,
>(
    tile: &Tile<V::Element>,
) {
    let mut tile = *tile;
    loop {
        // SAFETY: by the caller's promise.
        unsafe {
            if tile.columns == VECTORS * V::LANES {
                outer_columns::<V, ROWS, VECTORS, TABLES, true>(&mut tile);
            } else {
                outer_columns::<V, ROWS, VECTORS, TABLES, false>(&mut tile);
            }
            if !tile.advance(ROWS) {
                break;
            }
        }
    }
}

/// One tile of [`outer`], for full vectors (`FULL`) or a number of columns known at run time.
#[inline(always)]
unsafe fn outer_columns<
    V: Vector,
    const ROWS: usize,
    const VECTORS: usize,
    const TABLES: bool,
    const FULL: bool,
>(
    tile: &mut Tile<V::Element>,
) {
    // SAFETY: only elements of the tile are touched: its columns, of its rows, in its depth.
    unsafe {
        let zero = V::load_first(tile.right, 0);
        // How many lanes of each vector are columns of the tile, and where the first is.
        let used: [usize; VECTORS] = array::from_fn(|v| {
            if FULL { V::LANES } else { tile.columns.saturating_sub(v * V::LANES).min(V::LANES) }
        });
        let vectors: [*const V::Element; VECTORS] = array::from_fn(|v| match TABLES {
            true if used[v] > 0 => tile.right.wrapping_offset(*tile.right_vectors.add(v)),
            true => tile.right,
            false => tile.right.wrapping_add(v * V::LANES),
        });
        let mut sums = [[zero; VECTORS]; ROWS];
        let mut requests = tile.ahead.take_requests();
        let length = tile.depth / tile.stretches;
        for stretch in 0..tile.stretches {
            let (mut left, mut right) = (0, 0);
            if !TABLES {
                (left, right) = (*tile.left_steps.add(stretch), *tile.right_steps.add(stretch));
            }
            let mut k = 0;
            while k < length {
                let mut end = length;
                if requests > 0 {
                    requests -= 1;
                    tile.ahead.ask();
                    end = length.min(k + STEPS);
                }
                while k < end {
                    if TABLES {
                        (left, right) = (*tile.left_steps.add(k), *tile.right_steps.add(k));
                    }
                    let mut columns = [zero; VECTORS];
                    for ((column, &from), &used) in columns.iter_mut().zip(&vectors).zip(&used) {
                        let from = from.wrapping_offset(right);
                        *column = if FULL { V::load(from) } else { V::load_first(from, used) };
                    }
                    let mut row = tile.left.wrapping_offset(left);
                    for sums in &mut sums {
                        let factor = zero.splat(*row);
                        for (sum, &column) in sums.iter_mut().zip(&columns) {
                            *sum = factor.mul_add(column, *sum);
                        }
                        row = next(row, tile.left_row_stride);
                    }
                    if !TABLES {
                        left += tile.left_depth_stride;
                        right += tile.right_depth_stride;
                    }
                    k += 1;
                }
            }
        }
        write(tile, sums, used);
    }
}

/// Writes the sums of a tile, or adds them to what is there: of each vector the lanes in use.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
pub(super) unsafe fn write<V: Vector, const ROWS: usize, const VECTORS: usize>(
    tile: &Tile<V::Element>,
    sums: [[V; VECTORS]; ROWS],
    used: [usize; VECTORS],
) {
    for (r, sums) in sums.into_iter().enumerate() {
        let output = tile.output.wrapping_offset(r as isize * tile.output_stride);
        for (v, (mut sum, &used)) in sums.into_iter().zip(&used).enumerate() {
            let to = output.wrapping_add(v * V::LANES);
            // SAFETY: by the caller's promise.
            unsafe {
                if used == V::LANES {
                    if tile.accumulate {
                        sum = sum + V::load(to);
                    }
                    sum.store(to);
                } else {
                    if tile.accumulate {
                        sum = sum + V::load_first(to, used);
                    }
                    sum.store_first(to, used);
                }
            }
        }
    }
}

/// `pointer + stride`, as an addition of its own: if the compiler knew that rows are multiples of a
/// stride apart it would find all their addresses first, read all factors at once, and have no
/// registers left for the sums.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read there")]
fn next<T>(pointer: *const T, stride: isize) -> *const T {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
    let mut pointer = pointer.wrapping_offset(stride);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: there are no instructions.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}

/// The dot-product kernel: vectors run along the depth, and their lanes are summed at the end.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
pub(super) unsafe fn dot<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    tile: &Tile<V::Element>,
) {
    // SAFETY: only elements of the tile are touched: the last step stops at its depth.
    unsafe {
        let zero = V::load_first(tile.left, 0);
        let mut sums = [[zero; ROWS]; COLUMNS];
        let whole = tile.depth - tile.depth % V::LANES;
        for k in (0..whole).step_by(V::LANES) {
            dot_step(tile, k, |from| V::load(from), zero, &mut sums);
        }
        if whole < tile.depth {
            let rest = tile.depth - whole;
            dot_step(tile, whole, |from| V::load_first(from, rest), zero, &mut sums);
        }
        let sums = sums.as_flattened();
        for first in (0..sums.len()).step_by(4) {
            let group: [V; 4] = array::from_fn(|i| *sums.get(first + i).unwrap_or(&zero));
            for (i, sum) in V::sums(group).into_iter().enumerate().take(sums.len() - first) {
                let (c, r) = ((first + i) / ROWS, (first + i) % ROWS);
                let to = tile.output.offset(r as isize * tile.output_stride).add(c);
                *to = if tile.accumulate { *to + sum } else { sum };
            }
        }
    }
}

/// Adds the products of one vector, as `load` reads it from terms `k` on, of each row and
/// column.
///
/// # Safety
/// As for [`Kernel`]; `load` stays within the depth.
#[inline(always)]
unsafe fn dot_step<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    tile: &Tile<V::Element>,
    k: usize,
    load: impl Fn(*const V::Element) -> V,
    zero: V,
    sums: &mut [[V; ROWS]; COLUMNS],
) {
    let mut rows = [zero; ROWS];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = load(tile.left.wrapping_offset(r as isize * tile.left_row_stride).wrapping_add(k));
    }
    for (c, sums) in sums.iter_mut().enumerate() {
        let from = tile.right.wrapping_offset(c as isize * tile.right_column_stride);
        let column = load(from.wrapping_add(k));
        for (sum, &row) in sums.iter_mut().zip(&rows) {
            *sum = row.mul_add(column, *sum);
        }
    }
}

/// The body of [`Kernels::copy`]. Rows of panels are short: there is no call for each.
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
pub(super) unsafe fn copy<V: Vector>(
    source: *const V::Element,
    source_stride: isize,
    target: *mut V::Element,
    target_stride: isize,
    rows: usize,
    columns: usize,
) {
    let row = |row: usize| {
        let from = source.wrapping_offset(row as isize * source_stride);
        (from, target.wrapping_offset(row as isize * target_stride))
    };
    // SAFETY: only elements of the block are touched.
    unsafe {
        if columns == 2 * V::LANES {
            for (from, to) in (0..rows).map(row) {
                let (first, second) = (V::load(from), V::load(from.wrapping_add(V::LANES)));
                first.store(to);
                second.store(to.wrapping_add(V::LANES));
            }
            return;
        }
        for (from, to) in (0..rows).map(row) {
            let whole = columns - columns % V::LANES;
            for column in (0..whole).step_by(V::LANES) {
                V::load(from.wrapping_add(column)).store(to.wrapping_add(column));
            }
            // Stores of some lanes are slow with AVX2, of none as well.
            if whole < columns {
                let rest = V::load_first(from.wrapping_add(whole), columns - whole);
                rest.store_first(to.wrapping_add(whole), columns - whole);
            }
        }
    }
}

/// The body of [`Kernels::transpose`].
///
/// # Safety
/// As for [`Kernel`].
#[inline(always)]
pub(super) unsafe fn transpose<V: Vector>(
    source: *const V::Element,
    source_stride: isize,
    target: *mut V::Element,
    target_stride: isize,
    rows: usize,
    columns: usize,
) {
    // SAFETY: squares lie within the block but for the target's padding, which the caller has.
    unsafe {
        for row in (0..rows).step_by(V::LANES) {
            let height = (rows - row).min(V::LANES);
            for column in (0..columns).step_by(V::LANES) {
                let width = (columns - column).min(V::LANES);
                let source = source.offset(row as isize * source_stride).add(column);
                let target = target.offset(column as isize * target_stride).add(row);
                let load = |i: usize| source.wrapping_offset(i as isize * source_stride);
                let square = if height == V::LANES && width == V::LANES {
                    V::square(|i| V::load(load(i)))
                } else {
                    V::square(|i| V::load_first(load(i), if i < height { width } else { 0 }))
                };
                let square = V::transpose(square);
                for (j, vector) in square.as_ref()[..width].iter().enumerate() {
                    vector.store(target.offset(j as isize * target_stride));
                }
            }
        }
    }
}
