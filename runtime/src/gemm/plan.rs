//! How a contraction is computed on an instruction set: decided once, when a program is loaded.

use std::borrow::Cow;

use num_integer::gcd;

use super::kernel::Kernels;
use super::places::Lanes;
use crate::arena::CACHE_LINE;
use crate::contraction::{Blocking, Contraction, Digits, Operand, Output, Scattered, Strided};
use crate::simd::MAX_LANES;

/// Terms summed in one chain of registers before the sum is added to the result. A panel of
/// this depth stays in a first-level cache of 32 KiB and more, and chains stay short, for
/// accuracy.
pub(super) const MAX_DEPTH_BLOCK: usize = 320;

/// The same for dot kernels, where each lane of a vector sums a chain of its own.
const MAX_DOT_DEPTH_BLOCK: usize = 8192;

/// Bytes of results in scratch memory that are finished before the epilogue reads them: they
/// share the second-level cache with the operands.
const TILE_BYTES: usize = 128 << 10;

/// Pieces of whole rows are computed as one up to this many rows.
const MOST_JOINED_ROWS: usize = 32;

/// Bytes of the right operand that a piece keeps packed for all of its row blocks.
const RESIDENT_BYTES: usize = 512 << 10;

/// Bytes of a panel of the right operand that a region function writes. It writes rows as long as
/// this allows, since it may have work to do at the start of each.
const GENERATED_PANEL_BYTES: usize = 256 << 10;

/// Dot kernels compute products of windows whose columns are at most one in so many of a vector's lanes.
const MOST_DOT_COLUMNS: usize = 3;

/// What transposing an element of the right operand costs, in terms of the depth that could be added instead.
/// Measured.
const PACK_TERMS: f64 = 8.0;

/// What transposing a vector costs, in loads of vectors.
const TRANSPOSITION: f64 = 4.0;

/// Vectors along an axis that tell how the others are read.
const SAMPLED_VECTORS: usize = 32;

/// Rows this far apart (or a multiple of it) map to the same sets of a first-level cache.
const HOSTILE_STRIDE_BYTES: usize = 4096;

/// So many rows stay in the cache sets that they compete for.
const LEAST_COMPETING: usize = 16;

/// Tiles of at least this many rows compute for so long on each row of an operand that most of
/// the latency of the second-level cache is hidden: a copy to avoid conflicts costs more than it
/// saves, unless many rows share it. (Measured: AVX2 gains 30 %; AVX-512 loses up to 10 % with few
/// rows, and gains up to 12 % with many.)
const HIDING_TILE_ROWS: usize = 12;

/// Rows of a piece that share a copy of a right operand whose rows compete for cache sets, at least:
/// for short and for tall tiles.
const ROWS_FOR_COPY: [usize; 2] = [16, 64];

/// Rows of a scattered left operand that lie at equal distances: as many make a tile that is not packed.
/// (Measured with AVX-512 for 4 x 4 places, by `benches/convolution.rs`: 130 GFLOP/s instead of 125 packed.)
const LEAST_RUN: usize = 4;

/// Terms of the depth at equal distances, at least, for which kernels look up where the first one is. (With AVX2, a
/// step takes 26 instructions if each is looked up, and 21 if not, but a stretch takes some to begin with.)
const LEAST_STRETCH: usize = 8;

/// Most vectors of columns of a register tile.
const MOST_VECTORS: usize = 16;

/// Columns of a left operand this far apart are copied next to each other.
const FAR_COLUMN_BYTES: usize = 512;

/// Which kernels compute the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Both operands are read in place along the depth.
    Dot,
    /// Rows of the right operand's panels times elements of the left operand.
    Outer,
}

/// How kernels come to an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// They read it where it lies.
    InPlace,
    /// They read a copy in scratch memory.
    Packed,
}

/// The decisions, and the layout of scratch memory.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Which kernels.
    pub method: Method,
    /// How they read the left operand.
    pub left: Access,
    /// How they read the right operand.
    pub right: Access,
    /// Rows computed before the epilogue sees them.
    pub row_block: usize,
    /// Whether neighbouring pieces that fit a block of rows may be computed as one: they are whole rows.
    pub joins_pieces: bool,
    /// Terms summed before results are written.
    pub depth_block: usize,
    /// Columns of the right operand that kernels are given together: a panel, if it is packed.
    pub panel_columns: usize,
    /// Elements between the rows of a packed panel.
    pub panel_stride: usize,
    /// Whether a piece packs its part of the right operand once for all row blocks.
    pub resident: bool,
    /// Elements between the rows of results in scratch memory, or nothing if kernels write to
    /// the output.
    pub tile_stride: Option<usize>,
    /// Elements between the rows of the packed left operand, or its columns if it is packed
    /// column by column, as it lies in memory.
    pub left_stride: usize,
    /// Byte offset of the packed left operand in scratch memory; the tile is at 0.
    pub left_offset: usize,
    /// Byte offset of packed panels of the right operand in scratch memory.
    pub right_offset: usize,
    /// Bytes of scratch memory, a multiple of [`CACHE_LINE`].
    pub scratch_bytes: usize,
    /// How the left operand is packed, if it is scattered.
    pub left_copy: Option<Copying>,
    /// How the right operand is packed, if it is scattered.
    pub right_copy: Option<Copying>,
    /// What kernels follow, if one of the operands is read where its elements lie scattered.
    pub tables: Option<Tables>,
    /// Where rows of the left operand lie that is read so, if not at equal distances.
    pub left_runs: Option<Runs>,
}

/// Rows in runs of equal distances.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    /// Rows of a run.
    pub length: usize,
    /// Distance of neighbours in a run.
    pub stride: isize,
    /// Distance of the first row of each run.
    starts: Vec<isize>,
}

impl Runs {
    fn new(rows: &Digits) -> Runs {
        let (length, stride) = rows.run();
        let mut outer: Vec<(usize, isize)> = rows.iter().collect();
        outer.pop();
        Runs { length, stride, starts: distances(&Digits::new(outer)) }
    }

    /// The distance of a row.
    pub fn offset(&self, row: usize) -> isize {
        self.starts[row / self.length] + (row % self.length) as isize * self.stride
    }
}

/// How a scattered operand is packed.
#[derive(Clone, Debug)]
pub(super) struct Copying {
    /// Distances along the axis across lines.
    pub lines: Vec<isize>,
    /// The axis along lines.
    pub lanes: Lanes,
    /// Whether lines become columns of the copy.
    pub across: bool,
}

/// Distances that kernels look up.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// How many terms of the depth follow each other at equal distances for each that is looked up.
    pub stretch: usize,
    /// Those of the left operand's columns.
    pub left: Vec<isize>,
    /// Those of the right operand's rows.
    pub right: Vec<isize>,
    /// Vectors of columns of the right operand, if they are scattered; else they are neighbours.
    pub columns: Option<Lanes>,
    /// Distances of neighbouring vectors.
    pub neighbours: Vec<isize>,
}

/// The contraction, or the transposed one, (A B)^T = B^T A^T, where that has contiguous columns
/// in the output and this one does not.
pub(super) fn oriented(contraction: &Contraction) -> Cow<'_, Contraction> {
    let c = contraction;
    match (&c.left, &c.right, &c.output) {
        (Operand::Arena(left), Operand::Arena(right), Output::Arena(output))
            if is_by_column(output) =>
        {
            Cow::Owned(Contraction {
                rows: c.columns,
                columns: c.rows,
                left: Operand::Arena(right.transposed()),
                right: Operand::Arena(left.transposed()),
                output: Output::Arena(output.transposed()),
                blocking: Blocking { rows: c.blocking.columns, columns: c.blocking.rows },
                ..c.clone()
            })
        }
        _ => Cow::Borrowed(c),
    }
}

/// Whether columns are contiguous rather than rows: a product of two such matrices in the arena that
/// goes to one is computed transposed.
pub fn is_by_column(place: &Strided) -> bool {
    place.row_stride == 1 && place.column_stride != 1
}

/// Whether kernels read a copy of this left operand, if pieces have enough columns. (Where rows compete for
/// cache sets, those with short tiles do.)
pub fn copies_left(left: &Strided, size: usize) -> bool {
    match (left.row_stride, left.column_stride) {
        (1, stride) => stride.unsigned_abs() * size >= FAR_COLUMN_BYTES,
        (stride, 1) => is_hostile(stride, size),
        _ => true,
    }
}

/// Whether kernels read a copy of this right operand with contiguous columns, if pieces have enough rows:
/// else its rows, as many as the depth, would compete for cache sets.
pub fn copies_right(right: &Strided, depth: usize, size: usize) -> bool {
    compete(depth, right.row_stride, size)
}

/// Whether kernels read a left operand of digits where it lies, its rows and columns having these last digits,
/// (extent, stride).
pub fn reads_left_run([(run, stride), _]: [(usize, isize); 2]) -> bool {
    run >= LEAST_RUN && !is_hostile(stride, size_of::<f32>())
}

/// The same of a right operand, of any instruction set: whole vectors of columns are neighbours, and rows do not
/// compete for cache sets.
pub fn reads_right_run([(rows, row_stride), (run, stride)]: [(usize, isize); 2]) -> bool {
    stride == 1 && run.is_multiple_of(MAX_LANES) && !compete(rows, row_stride, size_of::<f32>())
}

impl Plan {
    /// Decides for a contraction.
    pub fn new<T>(contraction: &Contraction, kernels: &Kernels<T>) -> Plan {
        let c = contraction;
        let size = size_of::<T>();
        let Blocking { rows, columns } = c.piece_extents();
        let method = method(c, kernels);
        let (left, right, most_depth) = match method {
            Method::Dot => (Access::InPlace, Access::InPlace, MAX_DOT_DEPTH_BLOCK),
            Method::Outer => {
                let tile_rows = kernels.outer.len();
                (
                    left_access(c, tile_rows),
                    right_access(c, tile_rows, kernels.lanes),
                    MAX_DEPTH_BLOCK,
                )
            }
        };
        let access = [left, right];
        let tile_rows = even_block(rows, kernels.outer.len());
        let stretch = match method {
            Method::Dot => None,
            Method::Outer => stretch(c, access, kernels.most_vectors(tile_rows) * kernels.lanes),
        };
        let depth_block = match (&c.left, method) {
            // Elements of a run are neighbours.
            (Operand::Scattered(left), Method::Dot) => left.columns.run().0,
            _ => match stretch {
                Some(length @ 2..) => length * even_block(c.depth / length, most_depth / length),
                // Whole vectors of the depth, where that is what is packed.
                _ => even_block(c.depth, most_depth).next_multiple_of(2 * kernels.lanes),
            },
        };
        let narrow = kernels.panel_columns();
        let (panel_columns, panel_stride) = match (right, &c.right) {
            (Access::InPlace, Operand::Scattered(place)) if stretch != Some(1) => {
                (neighbours(&place.columns), 0)
            }
            (Access::InPlace, _) => (columns.max(1), 0),
            (Access::Packed, Operand::Arena(_) | Operand::Scattered(_)) => (narrow, narrow),
            (Access::Packed, Operand::Generated(_)) => {
                let most = GENERATED_PANEL_BYTES / (depth_block * size) / narrow * narrow;
                let wide = columns.next_multiple_of(narrow).min(most).max(narrow);
                (wide, friendly_stride(wide, size))
            }
        };
        let panel_bytes = depth_block * panel_stride * size;
        let all_panels_bytes =
            c.depth.div_ceil(depth_block) * columns.div_ceil(panel_columns) * panel_bytes;
        let direct = matches!(c.output, Output::Arena(Strided { column_stride: 1, .. }));
        let tile_stride = friendly_stride(columns, size);
        let by_column = left_is_by_column(c);
        // Rows of a scattered operand are copied in vectors that start anew in each piece.
        let copies_rows =
            left == Access::Packed && by_column && !matches!(c.left, Operand::Arena(_));
        let joins_pieces = columns == c.columns && rows < MOST_JOINED_ROWS && !copies_rows;
        let most_rows = if joins_pieces { c.rows.min(MOST_JOINED_ROWS) } else { rows };
        let row_block =
            even_block(most_rows, (TILE_BYTES / (tile_stride * size)).max(kernels.outer.len()));
        let resident =
            right == Access::Packed && row_block < rows && all_panels_bytes <= RESIDENT_BYTES;
        // Else a panel is packed again for each row block.
        let row_block = if right == Access::Packed && !resident { most_rows } else { row_block };
        let left_stride = friendly_stride(if by_column { row_block } else { depth_block }, size);
        let left_length = if by_column { depth_block } else { row_block };

        let mut scratch_bytes = 0;
        let mut place = |needed: bool, bytes: usize| {
            let offset = scratch_bytes;
            scratch_bytes += if needed { bytes.next_multiple_of(CACHE_LINE) } else { 0 };
            offset
        };
        place(!direct, row_block * tile_stride * size);
        let left_offset = place(left == Access::Packed, left_length * left_stride * size);
        let right_bytes = if resident { all_panels_bytes } else { panel_bytes };
        let right_offset = place(right == Access::Packed, right_bytes);
        Plan {
            method,
            left,
            right,
            row_block,
            joins_pieces,
            depth_block,
            panel_columns,
            panel_stride,
            resident,
            tile_stride: (!direct).then_some(tile_stride),
            left_stride,
            left_offset,
            right_offset,
            scratch_bytes,
            left_copy: (left == Access::Packed)
                .then(|| left_copy(c, kernels.lanes, depth_block, row_block))
                .flatten(),
            right_copy: (right == Access::Packed)
                .then(|| right_copy(c, kernels.lanes, depth_block))
                .flatten(),
            tables: stretch.map(|stretch| {
                tables(c, access, kernels.lanes, [left_stride, panel_stride], stretch)
            }),
            left_runs: match (&c.left, left) {
                (Operand::Scattered(place), Access::InPlace) if place.rows.stride().is_none() => {
                    Some(Runs::new(&place.rows))
                }
                _ => None,
            },
        }
    }

    /// How many terms of the depth kernels look up at once, if they do.
    pub fn stretch(&self) -> Option<usize> {
        self.tables.as_ref().map(|tables| tables.stretch)
    }
}

/// How the left operand is packed: along the axis that has the longer runs of neighbours.
fn left_copy(
    c: &Contraction,
    lanes: usize,
    depth_block: usize,
    row_block: usize,
) -> Option<Copying> {
    let Operand::Scattered(place) = &c.left else { return None };
    let copying = if left_is_by_column(c) {
        let pieces = blocks(c.rows, c.blocking.rows);
        let rows = pieces.flat_map(|(start, length)| {
            blocks(length, row_block).map(move |(first, length)| (start + first, length))
        });
        Copying {
            lines: distances(&place.columns),
            lanes: Lanes::new(&place.rows, lanes, rows),
            across: false,
        }
    } else {
        Copying {
            lines: distances(&place.rows),
            lanes: Lanes::new(&place.columns, lanes, blocks(c.depth, depth_block)),
            across: false,
        }
    };
    Some(copying)
}

/// How the right operand is packed: along columns, or across and transposed if vectors along the depth are
/// read so much faster.
fn right_copy(c: &Contraction, lanes: usize, depth_block: usize) -> Option<Copying> {
    let Operand::Scattered(place) = &c.right else { return None };
    let loads = |digits: &Digits, block: usize| {
        let seen = digits.extent().min(SAMPLED_VECTORS * lanes);
        Lanes::new(digits, lanes, blocks(seen, block)).loads()
    };
    let along = loads(&place.columns, c.blocking.columns);
    let across = loads(&place.rows, depth_block) + TRANSPOSITION;
    Some(if across < along {
        Copying {
            lines: distances(&place.columns),
            lanes: Lanes::new(&place.rows, lanes, blocks(c.depth, depth_block)),
            across: true,
        }
    } else {
        Copying {
            lines: distances(&place.rows),
            lanes: Lanes::new(&place.columns, lanes, blocks(c.columns, c.blocking.columns)),
            across: false,
        }
    })
}

/// How many terms of the depth lie at equal distances in both operands, unless all do: kernels look up where
/// each part of so many starts.
///
/// Of one, if columns of the right operand are not in panels that hold whole tiles of so many columns: it is
/// kernels that look up each term which look up columns, too.
fn stretch(c: &Contraction, access: [Access; 2], tile_columns: usize) -> Option<usize> {
    let [left_access, right_access] = access;
    let left = match (&c.left, left_access) {
        (Operand::Scattered(place), Access::InPlace) => neighbours(&place.columns),
        _ => c.depth,
    };
    let right = match (&c.right, right_access) {
        (Operand::Scattered(place), Access::InPlace) => {
            let panel = neighbours(&place.columns);
            let Blocking { columns, .. } = c.blocking;
            let starts_panels = columns >= c.columns || columns.is_multiple_of(panel);
            if !(panel.is_multiple_of(tile_columns) && starts_panels) {
                return Some(1);
            }
            place.rows.run().0
        }
        _ => c.depth,
    };
    let common = gcd(left, right);
    if common == c.depth {
        return None;
    }
    let parts = (1..=common / LEAST_STRETCH).filter(|&parts| common.is_multiple_of(parts));
    parts.map(|parts| common / parts).find(|&length| length <= MAX_DEPTH_BLOCK).or(Some(1))
}

/// The tables that kernels follow, given the length of stretches.
fn tables(
    c: &Contraction,
    access: [Access; 2],
    lanes: usize,
    packed_strides: [usize; 2],
    stretch: usize,
) -> Tables {
    let [left_access, right_access] = access;
    let [left_stride, panel_stride] = packed_strides;
    let uniform = |stride: isize| distances(&Digits::uniform(c.depth, stride));
    let left = match (&c.left, left_access) {
        (Operand::Arena(place), Access::InPlace) => uniform(place.column_stride),
        (Operand::Scattered(place), Access::InPlace) => distances(&place.columns),
        _ if left_is_by_column(c) => uniform(left_stride as isize),
        _ => uniform(1),
    };
    let (right, columns) = match (&c.right, right_access) {
        (Operand::Arena(place), Access::InPlace) => (uniform(place.row_stride), None),
        (Operand::Scattered(place), Access::InPlace) => {
            let columns = (stretch == 1)
                .then(|| Lanes::new(&place.columns, lanes, blocks(c.columns, c.blocking.columns)));
            (distances(&place.rows), columns)
        }
        _ => (uniform(panel_stride as isize), None),
    };
    let [left, right] = [left, right].map(|all| all.into_iter().step_by(stretch).collect());
    let neighbours = (0..MOST_VECTORS).map(|vector| (vector * lanes) as isize).collect();
    Tables { stretch, left, right, columns, neighbours }
}

/// The distance of each element along an axis.
fn distances(digits: &Digits) -> Vec<isize> {
    let mut distances = vec![0];
    for (extent, stride) in digits.iter() {
        distances = distances
            .into_iter()
            .flat_map(|start| (0..extent as isize).map(move |index| start + index * stride))
            .collect();
    }
    distances
}

/// How many elements along an axis follow each other in memory.
fn neighbours(digits: &Digits) -> usize {
    match digits.run() {
        (extent, 1) => extent,
        _ => 1,
    }
}

/// Blocks of at most this many indices along an axis: (start, length) of each.
pub(super) fn blocks(extent: usize, block: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..extent).step_by(block).map(move |start| (start, block.min(extent - start)))
}

/// Whether the left operand's rows are contiguous rather than its columns; it is then packed
/// column by column.
pub(super) fn left_is_by_column(c: &Contraction) -> bool {
    match &c.left {
        Operand::Arena(place) => is_by_column(place),
        Operand::Scattered(place) => neighbours(&place.rows) > neighbours(&place.columns),
        Operand::Generated(_) => false,
    }
}

/// Dot kernels where both operands are contiguous along the depth, unless it is too short for
/// the sums at its end, or enough rows share the cost of transposing the right operand.
fn method<T>(c: &Contraction, kernels: &Kernels<T>) -> Method {
    let lanes = kernels.lanes;
    let (left, right) = match (&c.left, &c.right) {
        (Operand::Arena(left), Operand::Arena(right)) => (left, right),
        (Operand::Scattered(left), Operand::Arena(right))
            if is_dot(left, right, c.columns, lanes) =>
        {
            return Method::Dot;
        }
        _ => return Method::Outer,
    };
    if left.column_stride != 1 || right.row_stride != 1 {
        return Method::Outer;
    }
    let Blocking { rows, columns } = c.piece_extents();
    let depth = c.depth as f64;
    let packing = PACK_TERMS * depth / rows as f64;
    let unused_lanes = columns.next_multiple_of(lanes) - columns;
    let waste = depth * unused_lanes as f64 / columns as f64;
    if packing + waste > kernels.dot_terms { Method::Dot } else { Method::Outer }
}

/// Whether dot kernels take the sums of windows run by run: a tile of outer kernels would leave most lanes of
/// so few columns unused.
fn is_dot(left: &Scattered, right: &Strided, columns: usize, lanes: usize) -> bool {
    let (run, stride) = left.columns.run();
    right.row_stride == 1 && stride == 1 && run >= lanes && MOST_DOT_COLUMNS * columns <= lanes
}

/// Elements of the left operand are read one by one: in place, unless rows compete for the same
/// cache sets and several panels would read a copy. Of an operand by column each step along the
/// depth reads lines far from the last ones, which no prefetcher follows; then several panels pay
/// for a copy.
fn left_access(c: &Contraction, tile_rows: usize) -> Access {
    let left = match &c.left {
        Operand::Arena(left) => left,
        Operand::Scattered(left) => return scattered_left_access(left, c.dtype.size()),
        Operand::Generated(_) => return Access::Packed,
    };
    let Blocking { rows, columns } = c.piece_extents();
    let size = c.dtype.size();
    let pays = match (left.row_stride, left.column_stride) {
        (row_stride, 1) => rows > 1 && is_hostile(row_stride, size) && tile_rows < HIDING_TILE_ROWS,
        (1, _) => c.depth > 1 && copies_left(left, size),
        _ => return Access::Packed,
    };
    if pays && columns >= 64 { Access::Packed } else { Access::InPlace }
}

/// A scattered left operand is read in place if its rows lie at equal distances that do not compete
/// for cache sets, or so many of them that they make tiles: kernels have a table of its columns.
fn scattered_left_access(left: &Scattered, size: usize) -> Access {
    let (run, stride) = left.rows.run();
    let makes_tiles = left.rows.stride().is_some() || run >= LEAST_RUN;
    if makes_tiles && !is_hostile(stride, size) { Access::InPlace } else { Access::Packed }
}

/// Outer kernels need contiguous columns, or at least whole vectors of them; beyond that, as for
/// the left operand.
fn right_access(c: &Contraction, tile_rows: usize, lanes: usize) -> Access {
    let least_rows = ROWS_FOR_COPY[usize::from(tile_rows >= HIDING_TILE_ROWS)];
    let pays = c.piece_extents().rows >= least_rows;
    let (are_vectors, conflicts) = match &c.right {
        Operand::Arena(right) => (
            right.column_stride == 1 || c.columns == 1,
            copies_right(right, c.depth, c.dtype.size()),
        ),
        Operand::Scattered(right) => {
            let columns = Lanes::new(&right.columns, lanes, blocks(c.columns, c.blocking.columns));
            let (rows, stride) = right.rows.run();
            (columns.are_runs(), compete(rows, stride, c.dtype.size()))
        }
        Operand::Generated(_) => return Access::Packed,
    };
    if are_vectors && !(conflicts && pays) { Access::InPlace } else { Access::Packed }
}

/// Whether so many rows compete for cache sets.
fn compete(rows: usize, stride: isize, size: usize) -> bool {
    rows > LEAST_COMPETING && is_hostile(stride, size)
}

/// Whether rows this many elements apart fall into few cache sets.
fn is_hostile(stride: isize, size: usize) -> bool {
    stride != 0 && (stride.unsigned_abs() * size).is_multiple_of(HOSTILE_STRIDE_BYTES)
}

/// The block size of at most `most` that cuts `extent` most evenly; at least 1.
pub(super) fn even_block(extent: usize, most: usize) -> usize {
    extent.div_ceil(extent.div_ceil(most).max(1)).max(1)
}

/// `stride` rounded up to whole cache lines, and once more if rows would compete for cache sets.
fn friendly_stride(stride: usize, size: usize) -> usize {
    let line = CACHE_LINE / size;
    let stride = stride.max(1).next_multiple_of(line);
    if is_hostile(stride as isize, 2 * size) { stride + line } else { stride }
}
