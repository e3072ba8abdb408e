//! What kernels ask for on the way: lines of memory that will be read soon.
//!
//! Operands that come from memory are late: the processor fetches ahead within a page and along a
//! sequence, but the right operand's next panel lies elsewhere, in short rows, or behind the end of
//! what is read now. So each tile of a panel asks for its share of the next one.

use crate::arena::CACHE_LINE;

/// Cache lines that will be read soon, for kernels to ask for while they compute: nobody else
/// fetches them in time if they lie in short rows, or behind the end of what is read now. They are asked
/// for in pairs.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// An address in the first line. Any address will do, since nothing is read.
    pub line: *const u8,
    /// How many pairs.
    pub count: usize,
    /// Pairs to ask for every [`STEPS`] steps along the depth; at least 1.
    pub each: usize,
    /// Pairs from the first to the end of its row.
    pub rest: usize,
    /// Pairs of each row.
    pub per_row: usize,
    /// Bytes from behind the last pair of a row to the first one of the next.
    pub skip: isize,
}

/// Steps along the depth between requests.
pub(super) const STEPS: usize = 4;

/// Bytes of a pair of lines, which processors fetch together.
pub(super) const PAIR: usize = 2 * CACHE_LINE;

impl Ahead {
    /// No lines.
    pub const NONE: Ahead =
        Ahead { line: std::ptr::null(), count: 0, each: 1, rest: 1, per_row: 1, skip: 0 };

    /// How often there is something to ask for.
    pub fn requests(&self) -> usize {
        if self.each == 1 { self.count } else { self.count.div_ceil(self.each) }
    }

    /// Asks for the next lines, unless there are none left.
    #[inline(always)]
    pub fn advance(&mut self) -> bool {
        if self.count == 0 {
            return false;
        }
        for _ in 0..self.each.min(self.count) {
            prefetch(self.line);
            prefetch(self.line.wrapping_add(CACHE_LINE));
            self.step();
        }
        self.count = self.count.saturating_sub(self.each);
        true
    }

    /// Goes to the next pair.
    #[inline(always)]
    fn step(&mut self) {
        self.line = self.line.wrapping_add(PAIR);
        self.rest -= 1;
        if self.rest == 0 {
            self.line = self.line.wrapping_offset(self.skip);
            self.rest = self.per_row;
        }
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
    per_row: usize,
    count: usize,
    per_tile: usize,
    each: usize,
}

impl Rows {
    /// No rows.
    pub const NONE: Rows =
        Rows { start: std::ptr::null(), stride: 0, per_row: 1, count: 0, per_tile: 0, each: 1 };

    /// Rows of this many bytes, `stride` bytes apart.
    pub fn new(start: *const u8, rows: usize, bytes: usize, stride: isize) -> Rows {
        let per_row = bytes.div_ceil(PAIR).max(1);
        Rows { start, stride, per_row, count: rows * per_row, ..Rows::NONE }
    }

    /// The same for this many tiles that take so many steps each.
    pub fn shared(self, tiles: usize, steps: usize) -> Rows {
        let per_tile = self.count.div_ceil(tiles.max(1));
        let each = per_tile.div_ceil((steps / STEPS).max(1)).max(1);
        Rows { per_tile, each, ..self }
    }

    /// The part of tile `number`.
    pub fn part(&self, number: usize) -> Ahead {
        let first = (number * self.per_tile).min(self.count);
        let (row, pair) = match self.per_row {
            1 => (first, 0),
            per_row => (first / per_row, first % per_row),
        };
        let start = self.start.wrapping_offset(row as isize * self.stride);
        Ahead {
            line: start.wrapping_add(pair * PAIR),
            count: self.per_tile.min(self.count - first),
            each: self.each,
            rest: self.per_row - pair,
            per_row: self.per_row,
            skip: self.stride - (self.per_row * PAIR) as isize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tiles ask for every pair of lines of all rows exactly once, evenly and in order.
    #[test]
    fn tiles_share_the_lines_of_rows() {
        for (rows, bytes, tiles, steps) in [(32, 1280, 10, 320), (320, 128, 7, 320), (3, 60, 5, 3)]
        {
            let stride = 4096;
            let all = Rows::new(std::ptr::null(), rows, bytes, stride).shared(tiles, steps);
            let mut asked = Vec::new();
            for tile in 0..tiles {
                let mut ahead = all.part(tile);
                assert!(ahead.requests() <= (steps / STEPS).max(1));
                while ahead.count > 0 {
                    for _ in 0..ahead.each.min(ahead.count) {
                        asked.push(ahead.line.addr());
                        ahead.step();
                    }
                    ahead.count = ahead.count.saturating_sub(ahead.each);
                }
            }
            let pairs =
                (0..rows).flat_map(|row| (0..bytes).step_by(PAIR).map(move |b| row * 4096 + b));
            assert_eq!(asked, pairs.collect::<Vec<_>>());
        }
    }
}
