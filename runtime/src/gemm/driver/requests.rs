//! What tiles ask for on the way, so that it is near when its turn comes.

use std::ops::Range;

use super::{Block, Driver};
use crate::contraction::Operand;
use crate::gemm::ahead::{Ahead, PAIR, Rows};
use crate::gemm::pack::Matrix;
use crate::gemm::plan::Access;
use crate::gemm::vector::Element;

/// Fewer rows than this read so much of the right operand for what they compute that only its
/// bandwidth counts, and the processor fetches what follows.
const LEAST_ROWS_AHEAD: usize = 4;

/// One tile in so many asks for what is copied next of the left operand.
const TILES_PER_COPYING: usize = 4;

/// Products of at most so many columns read their left operand once or twice. (Measured: they take a fifth
/// to a third less time if its rows are asked for; wider ones gain nothing.)
const COLUMNS_AT_ONCE: usize = 64;

/// What the tiles of a panel ask for, in order: some these lines, the others those.
pub(super) struct Requests([Share; 2]);

/// Tiles that ask for lines together.
struct Share {
    /// How many are left.
    tiles: usize,
    /// The lines, shared evenly.
    lines: Rows,
    /// Whose turn it is.
    next: usize,
}

impl Requests {
    /// What the next tiles ask for, at most so many: how many they are.
    pub fn take(&mut self, most: usize) -> (usize, Ahead) {
        let Requests([first, second]) = self;
        let share = if first.tiles > 0 { first } else { second };
        let count = most.min(share.tiles);
        let ahead = share.lines.part(share.next, count);
        share.tiles -= count;
        share.next += count;
        (count, ahead)
    }
}

impl<T: Element> Block<'_, T> {
    /// What tiles of a range of the depth ask for: those of panel `number` of `panels`, that has these columns of
    /// the block, which are so many.
    pub(super) fn requests(
        &self,
        depth: &Range<usize>,
        left: Matrix<T>,
        columns: Range<usize>,
        (number, panels): (usize, usize),
        tiles: usize,
    ) -> Requests {
        let nobody = Share { tiles: 0, lines: Rows::NONE, next: 0 };
        if columns.start == 0 && self.reads_rows_once() {
            let lines = self.next_rows(left, self.rows.div_ceil(tiles), depth.len());
            let lines = lines.shared(tiles - 1, depth.len());
            return Requests([Share { tiles, lines, next: 0 }, nobody]);
        }
        // Copying waits for all that comes from afar.
        let next_left = self.next_left(depth);
        let for_left = next_left.map_or(0, |_| tiles.div_ceil(TILES_PER_COPYING));
        let for_right = tiles - for_left;
        let share = |tiles: usize, lines: Rows, parts: usize, part: usize| Share {
            tiles,
            lines: lines.shared(parts * tiles, depth.len()),
            next: part * tiles,
        };
        Requests([
            share(for_right, self.next_right(depth, columns.end), 1, 0),
            next_left.map_or(nobody, |lines| share(for_left, lines, panels, number)),
        ])
    }

    /// Whether kernels read the left operand where it lies, along its rows, and about once: then most of
    /// what they wait for is there, as with kernels of a convolution over a small image.
    fn reads_rows_once(&self) -> bool {
        let contraction = &self.driver.contraction;
        let along = matches!(&contraction.left, Operand::Arena(place) if place.column_stride == 1);
        along && contraction.columns <= COLUMNS_AT_ONCE && self.driver.plan.left == Access::InPlace
    }

    /// What of the block's rows after these first ones lies in a range of the depth that is so long.
    fn next_rows(&self, left: Matrix<T>, first: usize, depth: usize) -> Rows {
        let stride = left.row_stride * size_of::<T>() as isize;
        let start = left.element(first, 0).cast();
        Rows::new(start, self.rows - first, depth * size_of::<T>(), stride)
    }

    /// What is copied of the left operand after this range of the depth, if it is copied and lies in lines.
    fn next_left(&self, depth: &Range<usize>) -> Option<Rows> {
        let Driver { contraction, plan, .. } = self.driver;
        let Operand::Arena(place) = &contraction.left else { return None };
        if plan.left == Access::InPlace {
            return None;
        }
        let (region, depth_start) = match depth.end < contraction.depth {
            true => (self.region, depth.end),
            false => (self.following?, 0),
        };
        let depths = contraction.depth.min(depth_start + plan.depth_block) - depth_start;
        let offset = place.batch_offset(&contraction.batch, region.batch as usize)
            + region.row_start as isize * place.row_stride
            + depth_start as isize * place.column_stride;
        let start = place.home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        let (lines, length, stride) = match (place.row_stride, place.column_stride) {
            (1, stride) => (depths, self.rows, stride),
            (stride, 1) => (self.rows, depths, stride),
            _ => return None,
        };
        let (bytes, stride) = (length * size_of::<T>(), stride * size_of::<T>() as isize);
        Some(Rows::new(start.wrapping_offset(offset).cast(), lines, bytes, stride))
    }

    /// What is read of the right operand after the columns before `column`, with this range of the
    /// depth: the columns from there on, or the first ones of the next range or block.
    fn next_right(&self, depth: &Range<usize>, column: usize) -> Rows {
        let Driver { contraction, plan, kernels } = self.driver;
        let most = plan.depth_block;
        if self.rows < LEAST_ROWS_AHEAD || plan.resident && !self.first {
            return Rows::NONE;
        }
        let column_start = self.region.column_start as usize;
        let (batch, depth_start, column) = if column < self.columns {
            (self.region.batch, depth.start, column_start + column)
        } else if depth.end < contraction.depth {
            (self.region.batch, depth.end, column_start)
        } else {
            match self.following {
                Some(region) => (region.batch, 0, region.column_start as usize),
                None => return Rows::NONE,
            }
        };
        let depth_end = contraction.depth.min(depth_start + most);
        let columns = kernels.panel_columns().min(contraction.columns - column);
        let (home, offset, row_stride, column_stride) = match &contraction.right {
            Operand::Arena(place) => {
                let offset = place.batch_offset(&contraction.batch, batch as usize);
                let offset = offset + column as isize * place.column_stride;
                (place.home, offset, place.row_stride, place.column_stride)
            }
            // Panels of neighbours.
            Operand::Scattered(place) if plan.right == Access::InPlace => {
                let Some(row_stride) = place.rows.stride() else { return Rows::NONE };
                let offset = place.batch_offset(&contraction.batch, batch as usize);
                (place.home, offset + place.columns.offset(column), row_stride, 1)
            }
            _ => return Rows::NONE,
        };
        let start = home.address(self.frame.arena, &self.frame.counters).cast::<T>();
        let start = start.wrapping_offset(offset + depth_start as isize * row_stride);
        let (rows, length, stride) = match (row_stride, column_stride) {
            (stride, 1) => (depth_end - depth_start, columns, stride),
            (1, stride) => (columns, depth_end - depth_start, stride),
            _ => return Rows::NONE,
        };
        let (bytes, stride) = (length * size_of::<T>(), stride * size_of::<T>() as isize);
        // The second half of rows of a panel came with the first.
        if stride == PAIR as isize && !(column * size_of::<T>()).is_multiple_of(PAIR) {
            return Rows::NONE;
        }
        Rows::new(start.cast(), rows, bytes, stride)
    }
}
