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
    /// How many of them a tile asks for, a multiple of `each`.
    pub per_tile: usize,
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
    pub const NONE: Ahead = Ahead {
        line: std::ptr::null(),
        count: 0,
        per_tile: 0,
        each: 1,
        rest: 1,
        per_row: 1,
        skip: 0,
    };

    /// How often the next tile has something to ask for. They are its own from now on.
    #[inline(always)]
    pub fn take_requests(&mut self) -> usize {
        let count = self.count.min(self.per_tile);
        self.count -= count;
        if self.each == 1 { count } else { count.div_ceil(self.each) }
    }

    /// Asks for lines once.
    #[inline(always)]
    pub fn ask(&mut self) {
        for _ in 0..self.each {
            prefetch(self.line);
            prefetch(self.line.wrapping_add(CACHE_LINE));
            self.step();
        }
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
        let share = self.count.div_ceil(tiles.max(1));
        let each = share.div_ceil((steps / STEPS).max(1)).max(1);
        Rows { per_tile: share.next_multiple_of(each), each, ..self }
    }

    /// The part of so many tiles from this one on.
    pub fn part(&self, first_tile: usize, tiles: usize) -> Ahead {
        let first = (first_tile * self.per_tile).min(self.count);
        let (row, pair) = match self.per_row {
            1 => (first, 0),
            per_row => (first / per_row, first % per_row),
        };
        let start = self.start.wrapping_offset(row as isize * self.stride);
        Ahead {
            line: start.wrapping_add(pair * PAIR),
            count: (tiles * self.per_tile).min(self.count - first),
            per_tile: self.per_tile,
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

    /// Tiles ask for every pair of lines of all rows once, evenly and in order, whether they are
    /// computed in one go or not.
    #[test]
    fn tiles_share_the_lines_of_rows() {
        for (rows, bytes, tiles, steps) in [(32, 1280, 10, 320), (320, 128, 7, 320), (3, 60, 5, 3)]
        {
            let stride = 4096;
            let all = Rows::new(std::ptr::null(), rows, bytes, stride).shared(tiles, steps);
            let pairs =
                (0..rows).flat_map(|row| (0..bytes).step_by(PAIR).map(move |b| row * 4096 + b));
            let pairs: Vec<usize> = pairs.collect();
            for group in [1, 2, tiles] {
                let mut asked = Vec::new();
                for first in (0..tiles).step_by(group) {
                    let group = group.min(tiles - first);
                    let mut ahead = all.part(first, group);
                    for _ in 0..group {
                        let requests = ahead.take_requests();
                        assert!(requests <= (steps / STEPS).max(1));
                        for _ in 0..requests * ahead.each {
                            asked.push(ahead.line.addr());
                            ahead.step();
                        }
                    }
                    assert_eq!(ahead.count, 0);
                }
                // The last request may go beyond the end.
                assert!(asked.len() < pairs.len() + all.each);
                assert_eq!(asked[..pairs.len()], pairs);
            }
        }
    }
}
