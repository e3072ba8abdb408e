//! How an axis is cut into tiles for the kernels.

/// Tiles of equal length along an axis, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub start: usize,
    pub length: usize,
    pub count: usize,
}

impl Tiles {
    /// (start, length) of each.
    pub fn each(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).map(move |tile| (self.start + tile * self.length, self.length))
    }
}

/// Cuts `extent` into the fewest tiles of at most `most`, as even as possible, larger ones first.
pub(super) fn even_tiles(extent: usize, most: usize) -> impl Iterator<Item = Tiles> {
    let tiles = extent.div_ceil(most);
    let (base, longer) = (extent / tiles.max(1), extent % tiles.max(1));
    let long = Tiles { start: 0, length: base + 1, count: longer };
    let short = Tiles { start: longer * (base + 1), length: base, count: tiles - longer };
    [long, short].into_iter().filter(|tiles| tiles.count > 0)
}

/// Vectors of the next panel when `rest` vectors of columns remain: a power of two, at most
/// `most`, of which at least three quarters are used.
pub(super) fn panel_width(rest: usize, most: usize) -> usize {
    let covering = rest.next_power_of_two();
    let width = if 4 * rest >= 3 * covering { covering } else { covering / 2 };
    width.min(most)
}
