//! How a product is cut into pieces, and how long it takes: a model of both.

use super::kernels;
use super::plan::{self, Access, MAX_DEPTH_BLOCK, Method, Plan};
use super::portable;
use crate::contraction::{Blocking, Contraction};
use crate::cpu::Cpu;
use crate::dtype::DType;

/// Team sizes that a cut should serve well.
const TEAMS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// Numbers of blocks along an axis that are considered.
const CUTS: [usize; 13] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96];

/// Nanoseconds charged for each piece when cutting. More than one costs on the thread that runs
/// it: it stands for moving operands to another core's cache.
const CUT_NS: f64 = 1_000.0;

/// Nanoseconds to start a piece on the thread that runs it.
const PIECE_NS: f64 = 50.0;

/// Columns of a piece are a multiple of this: whole panels for every instruction set.
const COLUMN_UNIT: usize = 32;

/// Speed of an instruction set's kernels on one core, measured by `benches/gemm.rs` on a Zen 5
/// server processor at 4.2 GHz. Ratios carry over to other processors better than the figures.
struct Rates {
    /// Elements of a vector.
    lanes: usize,
    /// Vector multiply-adds a nanosecond in a tall tile.
    multiply_adds: f64,
    /// Nanoseconds a call of a kernel takes beside that.
    tile_ns: f64,
    /// Nanoseconds to copy an element to scratch memory, transposing.
    pack_ns: f64,
    /// Rows of the tallest tile.
    tile_rows: usize,
}

/// Bytes a nanosecond that one core reads from the last-level cache: measured 110 on Zen 5, 28 on a
/// Sapphire Rapids Xeon, at two thirds of its arithmetic.
const CACHE_BYTES_PER_NS: f64 = 40.0;

/// Bytes of the left operand that stay in a second-level cache, of 512 KiB and more, from panel to panel of
/// the right one.
const NEAR_BYTES: usize = 384 << 10;

const AVX512: Rates =
    Rates { lanes: 16, multiply_adds: 8.3, tile_ns: 8.0, pack_ns: 0.06, tile_rows: 14 };
const AVX2: Rates =
    Rates { lanes: 8, multiply_adds: 8.3, tile_ns: 8.0, pack_ns: 0.08, tile_rows: 6 };
const PORTABLE_F32: Rates =
    Rates { lanes: 4, multiply_adds: 6.0, tile_ns: 8.0, pack_ns: 0.3, tile_rows: 4 };
const PORTABLE_F64: Rates =
    Rates { lanes: 2, multiply_adds: 6.0, tile_ns: 8.0, pack_ns: 0.4, tile_rows: 4 };

/// The part of a product that one piece computes, and what it does to its operands.
struct Work {
    rows: usize,
    columns: usize,
    depth: usize,
    /// Elements copied to scratch memory.
    packed: usize,
    /// Bytes of an element.
    size: usize,
}

impl Rates {
    fn of(cpu: Cpu, dtype: DType) -> &'static Rates {
        match (dtype, cpu) {
            (DType::F64, _) => &PORTABLE_F64,
            (_, Cpu::Avx512) => &AVX512,
            (_, Cpu::Avx2) => &AVX2,
            (_, Cpu::Portable) => &PORTABLE_F32,
        }
    }

    /// Predicted nanoseconds of a piece on one thread.
    fn piece_ns(&self, work: &Work) -> f64 {
        let &Work { rows, columns, depth, packed, size } = work;
        let vectors = columns.div_ceil(self.lanes);
        let arithmetic = (rows * vectors * depth) as f64 / self.multiply_adds;
        let tiles = rows.div_ceil(self.tile_rows) * vectors.div_ceil(2);
        let compute = arithmetic + tiles as f64 * self.tile_ns + packed as f64 * self.pack_ns;
        let left_bytes = rows * depth.min(MAX_DEPTH_BLOCK) * size;
        let left_reads = if left_bytes > NEAR_BYTES { vectors.div_ceil(2) } else { 1 };
        let elements = left_reads * rows * depth + depth * columns + 2 * rows * columns;
        let transfer = (elements * size) as f64 / CACHE_BYTES_PER_NS;
        // Prefetching hides most of the shorter one.
        PIECE_NS + compute.max(transfer) + 0.25 * compute.min(transfer)
    }
}

/// What else than the shape of a product decides on how it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Whether the left operand has to be packed, once for each block of columns.
    pub packs_left: bool,
    /// Whether the right operand has to be packed, once for each block of rows.
    pub packs_right: bool,
    /// Rows of the left operand come in runs of so many, or share a cache line: pieces hold whole ones.
    pub row_run: usize,
    /// Nanoseconds that a region function takes to start on a row of a piece, in calls and in
    /// waiting for memory that nobody could fetch ahead: rows of a piece that it reads and writes
    /// lie apart, so long ones are worth something.
    pub row_start_ns: f64,
}

impl Default for Habits {
    /// The right operand may lie either way; nothing follows on the result.
    fn default() -> Habits {
        Habits { packs_left: false, packs_right: true, row_run: 1, row_start_ns: 0.0 }
    }
}

/// How to cut a product (or each of a batch) into pieces; a function of the shape only, since
/// results may depend on it. It serves teams of 1 to 16 threads: enough pieces of even size for
/// each, but none so small that it is not worth handing over.
pub fn blocking(rows: usize, columns: usize, depth: usize, batch: usize, dtype: DType) -> Blocking {
    blocking_for(rows, columns, depth, batch, dtype, Habits::default())
}

/// As [`blocking`], knowing more about the product.
pub fn blocking_for(
    rows: usize,
    columns: usize,
    depth: usize,
    batch: usize,
    dtype: DType,
    habits: Habits,
) -> Blocking {
    let rates = Rates::of(Cpu::Avx512, dtype);
    let mut best = Blocking { rows: rows.max(1), columns: columns.max(1) };
    let mut best_cost = f64::INFINITY;
    let cuts = |extent: usize, unit: usize| {
        let most = extent.div_ceil(unit);
        CUTS.into_iter().filter(move |&cut| cut == 1 || cut <= most)
    };
    for row_cut in cuts(rows, rates.tile_rows) {
        let even = rows.div_ceil(row_cut).max(1);
        let whole_runs = even.next_multiple_of(habits.row_run.max(1));
        let piece_rows = if even > habits.row_run { whole_runs } else { even };
        for column_cut in cuts(columns, COLUMN_UNIT) {
            let piece_columns = match column_cut {
                1 => columns.max(1),
                _ => columns.div_ceil(column_cut).next_multiple_of(COLUMN_UNIT),
            };
            let pieces = batch * rows.div_ceil(piece_rows) * columns.div_ceil(piece_columns);
            let right =
                if habits.packs_right && piece_rows > 1 { depth * piece_columns } else { 0 };
            let left = if habits.packs_left { depth * piece_rows } else { 0 };
            let packed = left + right;
            let size = dtype.size();
            let work = Work { rows: piece_rows, columns: piece_columns, depth, packed, size };
            let piece = rates.piece_ns(&work) + habits.row_start_ns * piece_rows as f64;
            // Processor time until the last thread is done, waiting included.
            let cost: f64 = TEAMS
                .iter()
                .map(|&team| (pieces.div_ceil(team) * team) as f64 * piece + pieces as f64 * CUT_NS)
                .sum();
            if cost < best_cost {
                best_cost = cost;
                best = Blocking { rows: piece_rows, columns: piece_columns };
            }
        }
    }
    best
}

/// Predicted nanoseconds of a whole contraction on one thread, without its region functions.
///
/// # Panics
/// If its elements are neither F32 nor F64.
pub fn predicted_ns(contraction: &Contraction, cpu: Cpu) -> f64 {
    let c = &*plan::oriented(contraction);
    let plan = match c.dtype {
        DType::F32 => Plan::new(c, kernels(cpu)),
        DType::F64 => Plan::new(c, &portable::KERNELS_F64),
        other => panic!("a product of {other} elements"),
    };
    let rates = Rates::of(cpu, c.dtype);
    let piece_ns = |rows: usize, columns: usize| {
        let mut packed = 0;
        if plan.left == Access::Packed {
            packed += rows * c.depth;
        }
        if plan.right == Access::Packed {
            packed += c.depth * columns;
        }
        // Dot kernels' vectors run along the depth.
        let (columns, depth) = match plan.method {
            Method::Outer => (columns, c.depth),
            Method::Dot => (columns * rates.lanes, c.depth.div_ceil(rates.lanes)),
        };
        rates.piece_ns(&Work { rows, columns, depth, packed, size: c.dtype.size() })
    };
    // Whole blocks and the rest along each axis: (how many, extent).
    let blocks = |extent: usize, block: usize| {
        let rest = extent % block;
        [(extent / block, block), (usize::from(rest > 0), rest)]
    };
    let mut total = 0.0;
    for (row_blocks, rows) in blocks(c.rows, c.blocking.rows) {
        for (column_blocks, columns) in blocks(c.columns, c.blocking.columns) {
            let pieces = row_blocks * column_blocks;
            if pieces > 0 {
                total += pieces as f64 * piece_ns(rows, columns);
            }
        }
    }
    total * c.batch.iter().product::<usize>() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contraction::{Operand, Output, Strided};
    use crate::program::Home;

    fn pieces(rows: usize, columns: usize, depth: usize, batch: usize) -> usize {
        let blocking = blocking(rows, columns, depth, batch, DType::F32);
        batch * rows.div_ceil(blocking.rows) * columns.div_ceil(blocking.columns)
    }

    /// The time of the fullest thread, relative to an even share.
    fn imbalance(pieces: usize, threads: usize) -> f64 {
        (pieces.div_ceil(threads) * threads) as f64 / pieces as f64
    }

    #[test]
    fn large_products_occupy_teams_of_every_size_evenly() {
        for (rows, columns, depth) in
            [(512, 512, 512), (128, 512, 784), (512, 784, 128), (2048, 1024, 256), (4096, 64, 256)]
        {
            let pieces = pieces(rows, columns, depth, 1);
            assert!(pieces >= 12, "{rows}x{depth}x{columns}: {pieces}");
            for threads in [2, 4, 8, 16] {
                let imbalance = imbalance(pieces, threads);
                assert!(imbalance < 1.34, "{rows}x{depth}x{columns}: {pieces} / {threads}");
            }
        }
    }

    /// Where something is to be done on each row of each piece, rows are longer.
    #[test]
    fn what_follows_on_rows_makes_pieces_wide() {
        for (rows, columns, depth) in [(1024, 256, 1024), (256, 1024, 1024), (512, 512, 512)] {
            let cut = |row_start_ns| {
                let habits = Habits { packs_right: false, row_start_ns, ..Habits::default() };
                blocking_for(rows, columns, depth, 1, DType::F32, habits)
            };
            let (plain, followed) = (cut(0.0), cut(150.0));
            assert!(followed.columns >= 128, "{followed:?}");
            assert!(followed.columns > plain.columns, "{plain:?}, {followed:?}");
            let pieces = rows.div_ceil(followed.rows) * columns.div_ceil(followed.columns);
            assert!(pieces >= 8, "{followed:?}");
        }
    }

    /// A left operand that each block of columns copies makes blocks wide.
    #[test]
    fn copies_of_the_left_operand_make_pieces_wide() {
        let cut = |packs_left| {
            let habits = Habits { packs_left, packs_right: false, ..Habits::default() };
            blocking_for(1024, 256, 2048, 1, DType::F32, habits)
        };
        assert!(cut(true).columns > cut(false).columns, "{:?}, {:?}", cut(true), cut(false));
    }

    #[test]
    fn small_products_stay_whole() {
        assert_eq!(pieces(1, 10, 256, 1), 1);
        assert_eq!(pieces(16, 16, 16, 1), 1);
        // A batch is cut between its matrices.
        assert_eq!(pieces(32, 32, 64, 64), 64);
    }

    #[test]
    fn degenerate_shapes_have_pieces_of_at_least_one_element() {
        for (rows, columns, depth, batch) in [(0, 0, 0, 0), (0, 5, 3, 1), (1, 1, 0, 1)] {
            let blocking = blocking(rows, columns, depth, batch, DType::F64);
            assert!(blocking.rows > 0 && blocking.columns > 0);
        }
    }

    /// The time of a product cut by `blocking`, right operand transposed or not.
    fn predicted(rows: usize, columns: usize, depth: usize, by_column: bool, cpu: Cpu) -> f64 {
        let place = |columns: usize, row_stride: usize| Strided {
            home: Home::fixed(0),
            batch_strides: [].into_iter().collect(),
            row_stride: row_stride as isize,
            column_stride: if row_stride == 1 { columns as isize } else { 1 },
        };
        let contraction = Contraction {
            dtype: DType::F32,
            batch: [].into_iter().collect(),
            rows,
            columns,
            depth,
            left: Operand::Arena(place(depth, depth)),
            right: Operand::Arena(place(depth, if by_column { 1 } else { columns })),
            output: Output::Arena(place(columns, columns)),
            blocking: blocking(rows, columns, depth, 1, DType::F32),
        };
        predicted_ns(&contraction, cpu)
    }

    /// Relations that hold on any machine, rather than figures of one.
    #[test]
    fn predictions_grow_with_work_and_shrink_with_vectors() {
        let time = |rows, columns, depth| predicted(rows, columns, depth, false, Cpu::Avx512);
        for scale in [1, 2, 4] {
            let (once, twice) = (time(64 * scale, 256, 256), time(128 * scale, 256, 256));
            assert!((1.7..2.3).contains(&(twice / once)), "{once} {twice}");
        }
        let [wide, narrow, portable] = Cpu::ALL.map(|cpu| predicted(256, 256, 256, false, cpu));
        assert!(wide < narrow && narrow < portable);
        // Weights that must be transposed cost something, but not much.
        let transposed = predicted(256, 256, 256, true, Cpu::Avx512);
        assert!(transposed > wide && transposed < 1.2 * wide);
        // A single row cannot reuse what it reads.
        assert!(64.0 * time(1, 1024, 1024) > 2.0 * time(64, 1024, 1024));
    }
}
