//! Where tiles lie in images whose channels come last.

/// Tiles of images: row after row of them, image after image.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    /// Tiles in a column and in a row of an image.
    tiles: [usize; 2],
    /// Results along a side of a tile.
    side: usize,
}

impl Grid {
    /// For results of so many rows and columns. Tiles at the end may have fewer.
    pub fn new(results: [usize; 2], side: usize) -> Grid {
        Grid { tiles: results.map(|extent| extent.div_ceil(side)), side }
    }

    /// Tiles of an image.
    pub fn tiles(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// The image of a tile, and its first row and column in it.
    pub fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let (image, tile) = (tile / self.tiles(), tile % self.tiles());
        let [row, column] = [tile / self.tiles[1], tile % self.tiles[1]];
        (image, [self.side * row, self.side * column])
    }
}

/// Images `[samples, rows, columns, channels]` with zeros around them.
#[derive(Clone, Copy)]
pub(super) struct Images {
    /// The first channel that is wanted, of the first place.
    pub start: *const f32,
    /// Rows and columns.
    pub extents: [usize; 2],
    /// Zeros above and left of them.
    pub low: [usize; 2],
    /// Channels of a place.
    pub channels: usize,
    /// Zeros, as many as are read of a place.
    pub zeros: *const f32,
}

impl Images {
    /// Where the channels of these rows and columns of an image are, from a place on, where zeros count.
    #[inline(always)]
    pub fn places<const ROWS: usize, const COLUMNS: usize>(
        &self,
        image: usize,
        place: [usize; 2],
    ) -> [[*const f32; COLUMNS]; ROWS] {
        // What lies before the image is beyond all extents.
        let [row, column] = [0, 1].map(|axis| place[axis].wrapping_sub(self.low[axis]));
        let [rows, columns] = self.extents;
        let image = self.start.wrapping_add(image * rows * columns * self.channels);
        let mut places = [[self.zeros; COLUMNS]; ROWS];
        for (i, places) in places.iter_mut().enumerate() {
            let row = row.wrapping_add(i);
            for (j, place) in places.iter_mut().enumerate() {
                let column = column.wrapping_add(j);
                if row < rows && column < columns {
                    *place = image.wrapping_add((row * columns + column) * self.channels);
                }
            }
        }
        places
    }
}
