//! Where kernels find the operands of a block: where they lie, or in copies in scratch memory.

use std::ops::Range;
use std::ptr;

use super::{Block, Driver};
use crate::contraction::{Operand, Scattered, Strided};
use crate::gemm::kernel::{Kernels, ONE_STRETCH};
use crate::gemm::pack::{self, Matrix};
use crate::gemm::places::Copy;
use crate::gemm::plan::{Access, Copying, left_is_by_column};
use crate::gemm::vector::Element;
use crate::program::Region;

impl<T: Element> Block<'_, T> {
    /// What kernels look up for a range of the depth and columns from this one of the block on: the left
    /// operand's columns, the right operand's rows, vectors of columns.
    pub(super) fn tables(&self, depth: &Range<usize>, column: usize) -> [*const isize; 3] {
        let Driver { kernels, plan, .. } = self.driver;
        let Some(tables) = &plan.tables else {
            return [ONE_STRETCH.as_ptr(), ONE_STRETCH.as_ptr(), ptr::null()];
        };
        let first = depth.start / tables.stretch;
        let from = |access: Access| if access == Access::InPlace { first } else { 0 };
        let vectors = match &tables.columns {
            Some(lanes) => {
                let block = lanes.block(self.region.column_start as usize);
                lanes.offsets(block + column / kernels.lanes).as_ptr()
            }
            None => tables.neighbours.as_ptr(),
        };
        [
            tables.left[from(plan.left)..].as_ptr(),
            tables.right[from(plan.right)..].as_ptr(),
            vectors,
        ]
    }

    /// Where a row of the block starts in the left operand.
    pub(super) fn left_row(&self, left: Matrix<T>, row: usize) -> *const T {
        match &self.driver.plan.left_runs {
            Some(runs) => {
                left.start.wrapping_offset(runs.offset(self.region.row_start as usize + row))
            }
            None => left.element(row, 0),
        }
    }

    /// The left operand's rows of this block and columns of this range, packed if need be.
    pub(super) unsafe fn left(&self, depth: &Range<usize>) -> Matrix<T> {
        let Driver { contraction, plan, kernels } = self.driver;
        let stride = plan.left_stride as isize;
        let start = self.frame.scratch.wrapping_add(plan.left_offset).cast();
        let packed = Matrix { start, row_stride: stride, column_stride: 1 };
        match &contraction.left {
            Operand::Generated(function) => {
                let region = Region {
                    column_start: depth.start as u64,
                    column_end: depth.end as u64,
                    ..self.region
                };
                // SAFETY: the plan made room for the block in scratch memory.
                unsafe { self.call(*function, packed, &region) };
                packed
            }
            Operand::Scattered(place) => {
                let (first, base) = (self.region.row_start as usize, self.base(place));
                let Some(copying) = &plan.left_copy else {
                    // Kernels look up where columns are, or where neighbours begin.
                    let column = if plan.tables.is_some() { 0 } else { depth.start as isize };
                    let (row, row_stride) = match &plan.left_runs {
                        Some(runs) => (0, runs.stride),
                        None => (place.rows.offset(first), place.rows.stride().unwrap_or(0)),
                    };
                    let start = base.wrapping_offset(row + column);
                    return Matrix { start, row_stride, column_stride: 1 };
                };
                // SAFETY: as above.
                unsafe {
                    if left_is_by_column(contraction) {
                        let rows = (first, self.rows);
                        self.copy(copying, base, depth.clone(), rows, 0, packed);
                        packed.transposed()
                    } else {
                        let lines = first..first + self.rows;
                        self.copy(copying, base, lines, (depth.start, depth.len()), 0, packed);
                        packed
                    }
                }
            }
            Operand::Arena(place) => {
                let source = self.matrix(place).at(self.region.row_start as usize, depth.start);
                if plan.left == Access::InPlace {
                    return if plan.tables.is_some() {
                        self.matrix(place).at(self.region.row_start as usize, 0)
                    } else {
                        source
                    };
                }
                // SAFETY: as above.
                unsafe {
                    if left_is_by_column(contraction) {
                        pack::copy(source.transposed(), packed, depth.len(), self.rows, kernels);
                        packed.transposed()
                    } else {
                        pack::copy(source, packed, self.rows, depth.len(), kernels);
                        packed
                    }
                }
            }
        }
    }

    /// The right operand's rows of this range and columns of a panel that starts at `column` of
    /// this block, packed if need be.
    pub(super) unsafe fn right(
        &self,
        depth: &Range<usize>,
        column: usize,
        columns: usize,
    ) -> Matrix<T> {
        let Driver { contraction, plan, kernels } = self.driver;
        let first_column = self.region.column_start as usize + column;
        // Panels lie one after the other, those of each depth block together.
        let panel = if plan.resident {
            let panels = self.columns.div_ceil(plan.panel_columns);
            depth.start / plan.depth_block * panels + column / plan.panel_columns
        } else {
            0
        };
        let start = self.frame.scratch.wrapping_add(plan.right_offset).cast::<T>();
        let start = start.wrapping_add(panel * plan.depth_block * plan.panel_stride);
        let packed = Matrix { start, row_stride: plan.panel_stride as isize, column_stride: 1 };
        if plan.resident && !self.first {
            return packed;
        }
        match &contraction.right {
            Operand::Generated(function) => {
                let region = Region {
                    batch: self.region.batch,
                    row_start: depth.start as u64,
                    row_end: depth.end as u64,
                    column_start: first_column as u64,
                    column_end: (first_column + columns) as u64,
                };
                // SAFETY: the plan made room for the panel in scratch memory.
                unsafe { self.call(*function, packed, &region) };
                packed
            }
            Operand::Scattered(place) => {
                let base = self.base(place);
                let Some(copying) = &plan.right_copy else {
                    // Kernels look up rows, or where rows at equal distances begin, and columns in
                    // the first case.
                    let (_, row_stride) = place.rows.run();
                    let column = place.columns.offset(first_column);
                    let offset = match plan.stretch() {
                        Some(1) => 0,
                        Some(_) => column,
                        None => column + depth.start as isize * row_stride,
                    };
                    let start = base.wrapping_offset(offset);
                    return Matrix { start, row_stride, column_stride: 1 };
                };
                // SAFETY: as above.
                unsafe {
                    if copying.across {
                        let lines = first_column..first_column + columns;
                        self.copy(copying, base, lines, (depth.start, depth.len()), 0, packed);
                    } else {
                        let block = (self.region.column_start as usize, columns);
                        let skipped = column / kernels.lanes;
                        self.copy(copying, base, depth.clone(), block, skipped, packed);
                    }
                }
                packed
            }
            Operand::Arena(place) => {
                let source = self.matrix(place).at(depth.start, first_column);
                if plan.right == Access::InPlace {
                    return match plan.tables {
                        Some(_) => self.matrix(place).at(0, first_column),
                        None => source,
                    };
                }
                // SAFETY: as above.
                unsafe { pack::copy(source, packed, depth.len(), columns, kernels) };
                packed
            }
        }
    }

    /// Copies lines of a scattered operand, from elements along them that start with group
    /// `skipped` of the block at `start`, as many as `length`.
    unsafe fn copy(
        &self,
        copying: &Copying,
        source: *const T,
        lines: Range<usize>,
        (start, length): (usize, usize),
        skipped: usize,
        target: Matrix<T>,
    ) {
        let copy = Copy {
            source,
            lines: &copying.lines[lines],
            lanes: &copying.lanes,
            group: copying.lanes.block(start) + skipped,
            length,
            target: target.start,
            target_stride: target.row_stride,
        };
        let Kernels { along, across, .. } = self.driver.kernels;
        // SAFETY: by the caller's promise.
        unsafe { if copying.across { across(&copy) } else { along(&copy) } }
    }

    /// Element (0, 0) of a scattered operand's matrix of this block's batch index.
    pub(super) fn base(&self, place: &Scattered) -> *mut T {
        let batch = &self.driver.contraction.batch;
        let start = place.home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        start.wrapping_offset(place.batch_offset(batch, self.region.batch as usize))
    }

    /// The matrix of this block's batch index.
    pub(super) fn matrix(&self, place: &Strided) -> Matrix<T> {
        let batch = &self.driver.contraction.batch;
        let start = place.home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        Matrix {
            start: start.wrapping_offset(place.batch_offset(batch, self.region.batch as usize)),
            row_stride: place.row_stride,
            column_stride: place.column_stride,
        }
    }
}
