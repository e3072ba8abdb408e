//! What kernels ask for on the way: lines of memory that will be read soon.
//!
//! Operands that come from memory are late: the processor fetches ahead within a page and along a
//! sequence, but the right operand's next panel lies elsewhere, in short rows, or behind the end of
//! what is read now. So each tile of a panel asks for its share of the next one.

use crate::arena::CACHE_LINE;

/// Cache lines that will be read soon, for kernels to ask for while they compute: nobody else
/// fetches them in time if they lie in short rows, or behind the end of what is read now.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// An address in the first line. Any address will do, since nothing is read.
    pub line: *const u8,
    /// How many lines.
    pub count: usize,
    /// Lines to ask for every [`STEPS`] steps along the depth.
    pub each: usize,
    /// Lines from the first to the end of its row.
    pub rest: usize,
    /// Lines of each row.
    pub per_row: usize,
    /// Bytes from the last line of a row to the first of the next one.
    pub skip: isize,
}

/// Steps along the depth between requests for lines.
pub(super) const STEPS: usize = 8;

impl Ahead {
    /// No lines.
    pub const NONE: Ahead =
        Ahead { line: std::ptr::null(), count: 0, each: 0, rest: 0, per_row: 0, skip: 0 };

    /// Asks for the next lines.
    #[inline(always)]
    pub fn advance(&mut self) {
        for _ in 0..self.each.min(self.count) {
            prefetch(self.line);
            self.step();
        }
        self.count = self.count.saturating_sub(self.each);
    }

    /// Goes to the next line.
    #[inline(always)]
    fn step(&mut self) {
        self.rest -= 1;
        let at_end = self.rest == 0;
        self.rest = if at_end { self.per_row } else { self.rest };
        let step = if at_end { self.skip } else { CACHE_LINE as isize };
        self.line = self.line.wrapping_offset(step);
    }
}

/// Asks for a line in the second-level cache, where the processor can be asked.
#[inline(always)]
fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: nothing is read, and any address is allowed.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Rows of memory to be asked for by some tiles.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    start: *const u8,
    stride: isize,
    lines_per_row: usize,
    lines: usize,
    lines_per_tile: usize,
    each: usize,
}

impl Rows {
    /// No rows.
    pub const NONE: Rows = Rows {
        start: std::ptr::null(),
        stride: 0,
        lines_per_row: 1,
        lines: 0,
        lines_per_tile: 0,
        each: 0,
    };

    /// Rows of this many bytes, `stride` bytes apart.
    pub fn new(start: *const u8, rows: usize, bytes: usize, stride: isize) -> Rows {
        let lines_per_row = bytes.div_ceil(CACHE_LINE).max(1);
        Rows { start, stride, lines_per_row, lines: rows * lines_per_row, ..Rows::NONE }
    }

    /// The same for this many tiles that take so many steps each.
    pub fn shared(self, tiles: usize, steps: usize) -> Rows {
        let lines_per_tile = self.lines.div_ceil(tiles.max(1));
        let each = lines_per_tile.div_ceil(steps.div_ceil(STEPS).max(1));
        Rows { lines_per_tile, each, ..self }
    }

    /// The part of tile `number`.
    pub fn part(&self, number: usize) -> Ahead {
        let first = (number * self.lines_per_tile).min(self.lines);
        let (row, line) = (first / self.lines_per_row, first % self.lines_per_row);
        let start = self.start.wrapping_offset(row as isize * self.stride);
        Ahead {
            line: start.wrapping_add(line * CACHE_LINE),
            count: self.lines_per_tile.min(self.lines - first),
            each: self.each,
            rest: self.lines_per_row - line,
            per_row: self.lines_per_row,
            skip: self.stride - ((self.lines_per_row - 1) * CACHE_LINE) as isize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles ask for every line of all rows exactly once, evenly and in order.
    #[test]
    fn tiles_share_the_lines_of_rows() {
        for (rows, bytes, tiles, steps) in [(32, 1280, 10, 320), (320, 128, 7, 320), (3, 60, 5, 3)]
        {
            let stride = 4096;
            let all = Rows::new(std::ptr::null(), rows, bytes, stride).shared(tiles, steps);
            let mut asked = Vec::new();
            for tile in 0..tiles {
                let mut ahead = all.part(tile);
                for _ in 0..steps.div_ceil(STEPS) {
                    for _ in 0..ahead.each.min(ahead.count) {
                        asked.push(ahead.line.addr());
                        ahead.step();
                    }
                    ahead.count = ahead.count.saturating_sub(ahead.each);
                }
                assert_eq!(ahead.count, 0);
            }
            let lines =
                (0..rows).flat_map(|row| (0..bytes).step_by(64).map(move |b| row * 4096 + b));
            assert_eq!(asked, lines.collect::<Vec<_>>());
        }
    }
}
