//! The loop along the depth of tiles two vectors wide, in assembly.
//!
//! These tiles do nearly all the arithmetic there is. Two multiply-adds a cycle leave room for few other
//! instructions, and nearly all registers are in use: compilers, asked to unroll this loop and to ask for
//! memory ahead within it, spill sums.
//!
//! [`sums!`] makes it for a register file, `(name, bytes of a vector, registers of the two vectors of
//! columns, register of an element of the left operand)`; sums are in the registers from 0 on.

/// Multiplies one element of the left operand, at an address, with the vectors of columns.
#[rustfmt::skip]
macro_rules! row {
    (
        ($v:literal $bytes:literal $column:literal $next:literal $factor:literal)
        $address:expr, $sum:literal $second:literal
    ) => {
        concat!(
            "vbroadcastss ", $v, $factor, ", dword ptr [", $address, "]\n",
            "vfmadd231ps ", $v, $sum, ", ", $v, $factor, ", ", $v, $column, "\n",
            "vfmadd231ps ", $v, $second, ", ", $v, $factor, ", ", $v, $next, "\n",
        )
    };
}

/// All rows of a step; row 0 is at `$first`. They are found four at a time by what addresses can add, since
/// it is instructions that this loop has too many of.
#[rustfmt::skip]
macro_rules! rows {
    ($file:tt $first:literal 1) => { concat!("/* {row_stride} {three_rows} */\n", row!($file $first, 0 1)) };
    ($file:tt $first:literal 2) => { concat!(rows!($file $first 1), row!($file concat!($first, " + {row_stride}"), 2 3)) };
    ($file:tt $first:literal 3) => { concat!(rows!($file $first 2), row!($file concat!($first, " + 2 * {row_stride}"), 4 5)) };
    ($file:tt $first:literal 4) => { concat!(rows!($file $first 3), row!($file concat!($first, " + {three_rows}"), 6 7)) };
    ($file:tt $first:literal 5) => { concat!(rows!($file $first 4), "lea {row}, [", $first, " + 4 * {row_stride}]\n", row!($file "{row}", 8 9)) };
    ($file:tt $first:literal 6) => { concat!(rows!($file $first 5), row!($file "{row} + {row_stride}", 10 11)) };
    ($file:tt $first:literal 7) => { concat!(rows!($file $first 6), row!($file "{row} + 2 * {row_stride}", 12 13)) };
    ($file:tt $first:literal 8) => { concat!(rows!($file $first 7), row!($file "{row} + {three_rows}", 14 15)) };
    ($file:tt $first:literal 9) => { concat!(rows!($file $first 8), "lea {row}, [", "{row}", " + 4 * {row_stride}]\n", row!($file "{row}", 16 17)) };
    ($file:tt $first:literal 10) => { concat!(rows!($file $first 9), row!($file "{row} + {row_stride}", 18 19)) };
    ($file:tt $first:literal 11) => { concat!(rows!($file $first 10), row!($file "{row} + 2 * {row_stride}", 20 21)) };
    ($file:tt $first:literal 12) => { concat!(rows!($file $first 11), row!($file "{row} + {three_rows}", 22 23)) };
    ($file:tt $first:literal 13) => { concat!(rows!($file $first 12), "lea {row}, [", "{row}", " + 4 * {row_stride}]\n", row!($file "{row}", 24 25)) };
    ($file:tt $first:literal 14) => { concat!(rows!($file $first 13), row!($file "{row} + {row_stride}", 26 27)) };
}

/// Reads the vectors of columns, the second one at an address of its own or behind the first.
#[rustfmt::skip]
macro_rules! columns {
    (@second $first:literal $bytes:literal) => { concat!($first, " + ", $bytes) };
    (@second $first:literal $bytes:literal $second:literal) => { $second };
    (
        ($v:literal $bytes:literal $column:literal $next:literal $factor:literal)
        $first:literal $($second:literal)?
    ) => {
        concat!(
            "vmovups ", $v, $column, ", [", $first, "]\n",
            "vmovups ", $v, $next, ", [", columns!(@second $first $bytes $($second)?), "]\n",
        )
    };
}

/// A step along the depth where neighbours lie at equal distances.
macro_rules! strided_step {
    ($file:tt $rows:tt) => {
        concat!(
            columns!($file "{right}"),
            rows!($file "{left}" $rows),
            "add {left}, {left_steps}\n",
            "add {right}, {right_steps}\n",
        )
    };
}

/// A step along the depth at distances from tables.
macro_rules! scattered_step {
    ($file:tt $rows:tt) => {
        concat!(
            "mov {row}, qword ptr [{right_steps}]\n",
            columns!($file "{right} + 4 * {row}" "{second} + 4 * {row}"),
            "mov {row}, qword ptr [{left_steps}]\n",
            "lea {row}, [{left} + 4 * {row}]\n",
            rows!($file "{row}" $rows),
            "add {left_steps}, 8\n",
            "add {right_steps}, 8\n",
        )
    };
}

/// The whole loop: first [`STEPS`](super::ahead::STEPS) steps at a time with requests for memory, then as
/// many without, then the others one by one.
macro_rules! depth_loop {
    ($step:expr) => {
        concat!(
            "test {requests}, {requests}\n",
            "jz 5f\n",
            "2:\n",
            "mov {row}, qword ptr [{tile} + {each}]\n",
            "3:\n",
            "prefetcht1 byte ptr [{line}]\n",
            "prefetcht1 byte ptr [{line} + 64]\n",
            "add {line}, 128\n",
            "dec {rest}\n",
            "jnz 4f\n",
            "add {line}, qword ptr [{tile} + {skip}]\n",
            "mov {rest}, qword ptr [{tile} + {per_row}]\n",
            "4:\n",
            "dec {row}\n",
            "jnz 3b\n",
            $step,
            $step,
            $step,
            $step,
            "dec {requests}\n",
            "jnz 2b\n",
            "5:\n",
            "sub {steps}, 4\n",
            "jb 7f\n",
            "6:\n",
            $step,
            $step,
            $step,
            $step,
            "sub {steps}, 4\n",
            "jae 6b\n",
            "7:\n",
            "add {steps}, 4\n",
            "jz 9f\n",
            "8:\n",
            $step,
            "dec {steps}\n",
            "jnz 8b\n",
            "9:\n",
        )
    };
}

// The loop is written out for this many steps.
const _: () = assert!(super::ahead::STEPS == 4);

/// The assembly for a kind of step. `$sums` are the registers of sums with their (row, vector), `$others`
/// registers that are overwritten.
macro_rules! assembly {
    (
        $tile:ident, $sums:ident, $counts:ident, $step:expr,
        [$($register:tt $row:tt $vector:tt)*] [$($other:tt)*],
        $($operand:tt)*
    ) => {
        std::arch::asm!(
            depth_loop!($step),
            $($operand)*
            tile = in(reg) $tile,
            each = const std::mem::offset_of!(Tile<f32>, ahead.each),
            skip = const std::mem::offset_of!(Tile<f32>, ahead.skip),
            per_row = const std::mem::offset_of!(Tile<f32>, ahead.per_row),
            row = out(reg) _,
            row_stride = in(reg) $tile.left_row_stride * 4,
            three_rows = in(reg) $tile.left_row_stride * 12,
            line = inout(reg) $tile.ahead.line => _,
            rest = inout(reg) $tile.ahead.rest => _,
            requests = inout(reg) $counts.0 => _,
            steps = inout(reg) $counts.1 => _,
            $(inout($register) $sums[$row][$vector],)*
            $(out($other) _,)*
            options(readonly, nostack),
        )
    };
}

/// A function `sums` for a register file, with the operands of [`assembly!`].
macro_rules! sums {
    (
        $vector:ty, $features:literal, $file:tt,
        rows $most:literal: [$($rows:tt)*];
        sums $sums:tt;
        others $others:tt
    ) => {
        /// The sums of a tile of `ROWS` rows and two full vectors of columns; with `TABLES`, steps along the
        /// depth lie at distances from tables. Rows beyond `ROWS` are zeros.
        ///
        /// # Safety
        /// As for [`Kernel`](super::kernel::Kernel).
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn sums<const ROWS: usize, const TABLES: bool>(
            tile: &Tile<f32>,
        ) -> [[$vector; 2]; $most] {
            use super::ahead::STEPS;
            // SAFETY: zeros are vectors.
            let mut sums: [[$vector; 2]; $most] = unsafe { std::mem::zeroed() };
            let requests = tile.ahead.requests().min(tile.depth / STEPS);
            let counts = (requests, tile.depth - requests * STEPS);
            // SAFETY: by the caller's promise: what is read are elements of the tile's operands and of
            // its tables, as many as its depth says; asking for memory reads nothing.
            unsafe {
                match ROWS {
                    $($rows if TABLES => assembly!(
                        tile, sums, counts, scattered_step!($file $rows), $sums $others,
                        left = in(reg) tile.left,
                        left_steps = inout(reg) tile.left_steps => _,
                        right = in(reg) tile.right.wrapping_offset(*tile.right_vectors),
                        second = in(reg) tile.right.wrapping_offset(*tile.right_vectors.add(1)),
                        right_steps = inout(reg) tile.right_steps => _,
                    ),
                    $rows => assembly!(
                        tile, sums, counts, strided_step!($file $rows), $sums $others,
                        left = inout(reg) tile.left => _,
                        left_steps = in(reg) tile.left_depth_stride * 4,
                        right = inout(reg) tile.right => _,
                        right_steps = in(reg) tile.right_depth_stride * 4,
                    ),)*
                    _ => unreachable!("no tile has so many rows"),
                }
            }
            sums
        }
    };
}
