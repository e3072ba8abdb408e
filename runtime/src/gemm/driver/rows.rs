//! The rows of a block in tiles, and these in groups for one call of a kernel.

use smallvec::SmallVec;

use super::Block;
use crate::gemm::plan::Runs;
use crate::gemm::tiles::{Tiles, even_tiles};
use crate::gemm::vector::Element;

/// Tiles of as many rows.
pub(super) struct Group {
    /// Rows of each tile.
    pub height: usize,
    /// How many tiles.
    pub count: usize,
    starts: Starts,
}

/// Where the tiles of a group start.
enum Starts {
    /// One below the other, from this row on.
    Below(usize),
    /// In these rows, and elements from each tile to the next one: of the left operand and of the result.
    Listed(Vec<usize>, Vec<[isize; 2]>),
}

impl Group {
    /// The first row of a tile.
    pub fn row(&self, tile: usize) -> usize {
        match &self.starts {
            Starts::Below(row) => row + tile * self.height,
            Starts::Listed(rows, _) => rows[tile],
        }
    }

    /// The steps from this tile on, [`Tile::steps`](crate::gemm::kernel::Tile::steps).
    pub fn steps(&self, tile: usize) -> Option<&[[isize; 2]]> {
        match &self.starts {
            Starts::Below(_) => None,
            Starts::Listed(_, steps) => Some(&steps[tile..]),
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
    pub(super) fn row_groups(&self, most: usize) -> SmallVec<[Group; 4]> {
        match &self.driver.plan.left_runs {
            Some(runs) => self.groups_of_runs(runs, most),
            None => {
                let group = |tiles: Tiles| Group {
                    height: tiles.length,
                    count: tiles.count,
                    starts: Starts::Below(tiles.start),
                };
                self.row_tiles(most).map(group).collect()
            }
        }
    }

    fn groups_of_runs(&self, runs: &Runs, most: usize) -> SmallVec<[Group; 4]> {
        let mut rows_of = vec![Vec::new(); most];
        for (row, height) in self.row_tiles(most).flat_map(Tiles::each) {
            rows_of[height - 1].push(row);
        }
        let place = |row: usize| {
            let left = runs.offset(self.region.row_start as usize + row);
            [left, row as isize * self.result.row_stride]
        };
        let groups = rows_of.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        let groups = groups.map(|(index, rows)| {
            let steps = rows.windows(2).map(|pair| {
                let ([left, result], [next_left, next_result]) = (place(pair[0]), place(pair[1]));
                [next_left - left, next_result - result]
            });
            let (count, steps) = (rows.len(), steps.collect());
            Group { height: index + 1, count, starts: Starts::Listed(rows, steps) }
        });
        groups.collect()
    }
}
