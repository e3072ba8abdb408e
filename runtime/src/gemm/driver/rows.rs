//! The rows of a block in tiles, and these in groups for one call of a kernel.

use std::cmp::Reverse;
use std::ptr;

use smallvec::SmallVec;

use super::Block;
use crate::gemm::tiles::{Tiles, even_tiles};
use crate::gemm::vector::Element;

/// Tiles that are listed without taking memory.
const MOST_LISTED: usize = 64;

/// Tiles of as many rows, for one call of a kernel.
pub(super) struct Group {
    /// Rows of each tile.
    pub height: usize,
    /// How many tiles.
    pub count: usize,
    place: Place,
}

/// Where the tiles of a group are.
enum Place {
    /// One below the other, from this row on.
    Below(usize),
    /// In a list, from this entry on.
    Listed(usize),
}

/// Tiles that are not one below the other. (Apart from their groups, which are moved.)
#[derive(Default)]
pub(super) struct List {
    /// The first row of each.
    rows: SmallVec<[usize; MOST_LISTED]>,
    /// Elements to each tile from the one before in its group, of the left operand and of the result.
    steps: SmallVec<[[isize; 2]; MOST_LISTED]>,
}

impl Group {
    fn below(tiles: Tiles) -> Group {
        let Tiles { start, length: height, count } = tiles;
        Group { height, count, place: Place::Below(start) }
    }

    /// The first row of a tile, and [`Tile::steps`](crate::gemm::kernel::Tile::steps) from it on.
    pub fn tile(&self, tile: usize, list: &List) -> (usize, *const [isize; 2]) {
        match self.place {
            Place::Below(row) => (row + tile * self.height, ptr::null()),
            Place::Listed(first) => {
                (list.rows[first + tile], list.steps[first + tile + 1..].as_ptr())
            }
        }
    }
}

impl<T: Element> Block<'_, T> {
    /// Rows of the block in tiles of at most `most`. The left operand's rows of a tile lie at equal distances.
    pub(super) fn row_tiles(&self, most: usize) -> impl Iterator<Item = Tiles> {
        let first = self.region.row_start as usize;
        let end = first + self.rows;
        let (runs, length) = match &self.driver.plan.left_runs {
            Some(runs) => (first / runs.length..end.div_ceil(runs.length), runs.length),
            None => (0..1, usize::MAX),
        };
        runs.flat_map(move |run| {
            let start = (run * length).max(first);
            let stop = (run * length + length).min(end);
            let tiles = even_tiles(stop - start, most);
            tiles.map(move |tiles| Tiles { start: start - first + tiles.start, ..tiles })
        })
    }

    /// The same in groups, one for each height of tiles.
    pub(super) fn row_groups(&self, most: usize, list: &mut List) -> SmallVec<[Group; 4]> {
        let Some(runs) = &self.driver.plan.left_runs else {
            return self.row_tiles(most).map(Group::below).collect();
        };
        let place = |row: usize| {
            let left = runs.offset(self.region.row_start as usize + row);
            [left, row as isize * self.result.row_stride]
        };
        let mut tiles: SmallVec<[(Reverse<usize>, usize); MOST_LISTED]> = self
            .row_tiles(most)
            .flat_map(Tiles::each)
            .map(|(row, height)| (Reverse(height), row))
            .collect();
        tiles.sort_unstable();
        list.rows.extend(tiles.iter().map(|&(_, row)| row));
        let mut first = 0;
        let groups = tiles.chunk_by(|a, b| a.0 == b.0).map(|tiles| {
            let (Reverse(height), row) = tiles[0];
            let mut from = place(row);
            list.steps.extend(tiles.iter().map(|&(_, row)| {
                let to = place(row);
                let step = [to[0] - from[0], to[1] - from[1]];
                from = to;
                step
            }));
            let group = Group { height, count: tiles.len(), place: Place::Listed(first) };
            first += tiles.len();
            group
        });
        groups.collect()
    }
}
