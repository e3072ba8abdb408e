//! The loop along the depth of tiles two vectors wide, in assembly.
//!
//! These tiles do nearly all the arithmetic there is. Two multiply-adds a cycle leave room for few other
//! instructions, and all 32 registers are in use: compilers, asked to unroll this loop and to ask for
//! memory ahead within it, spill sums.

use std::arch::asm;
use std::arch::x86_64::{__m512, _mm512_setzero_ps};
use std::mem::offset_of;

use super::super::ahead::{Ahead, STEPS};
use super::super::kernel::Tile;

/// Multiplies one element of the left operand, at `row`, with the vectors of columns in zmm28 and zmm29.
macro_rules! row {
    ($factor:literal, $first:literal, $second:literal) => {
        concat!(
            "vbroadcastss zmm",
            $factor,
            ", dword ptr [{row}]\n",
            "vfmadd231ps zmm",
            $first,
            ", zmm",
            $factor,
            ", zmm28\n",
            "vfmadd231ps zmm",
            $second,
            ", zmm",
            $factor,
            ", zmm29\n",
        )
    };
}

/// All rows of a step.
#[rustfmt::skip]
macro_rules! rows {
    (1) => { concat!("/* {row_stride} */\n", row!(30, 0, 1)) };
    (2) => { concat!(rows!(1), "add {row}, {row_stride}\n", row!(31, 2, 3)) };
    (3) => { concat!(rows!(2), "add {row}, {row_stride}\n", row!(30, 4, 5)) };
    (4) => { concat!(rows!(3), "add {row}, {row_stride}\n", row!(31, 6, 7)) };
    (5) => { concat!(rows!(4), "add {row}, {row_stride}\n", row!(30, 8, 9)) };
    (6) => { concat!(rows!(5), "add {row}, {row_stride}\n", row!(31, 10, 11)) };
    (7) => { concat!(rows!(6), "add {row}, {row_stride}\n", row!(30, 12, 13)) };
    (8) => { concat!(rows!(7), "add {row}, {row_stride}\n", row!(31, 14, 15)) };
    (9) => { concat!(rows!(8), "add {row}, {row_stride}\n", row!(30, 16, 17)) };
    (10) => { concat!(rows!(9), "add {row}, {row_stride}\n", row!(31, 18, 19)) };
    (11) => { concat!(rows!(10), "add {row}, {row_stride}\n", row!(30, 20, 21)) };
    (12) => { concat!(rows!(11), "add {row}, {row_stride}\n", row!(31, 22, 23)) };
    (13) => { concat!(rows!(12), "add {row}, {row_stride}\n", row!(30, 24, 25)) };
    (14) => { concat!(rows!(13), "add {row}, {row_stride}\n", row!(31, 26, 27)) };
}

/// A step along the depth where neighbours lie at equal distances.
macro_rules! strided_step {
    ($rows:tt) => {
        concat!(
            "mov {row}, {left}\n",
            "vmovups zmm28, zmmword ptr [{right}]\n",
            "vmovups zmm29, zmmword ptr [{right} + 64]\n",
            rows!($rows),
            "add {left}, {left_steps}\n",
            "add {right}, {right_steps}\n",
        )
    };
}

/// A step along the depth at distances from tables.
macro_rules! scattered_step {
    ($rows:tt) => {
        concat!(
            "mov {row}, qword ptr [{right_steps}]\n",
            "vmovups zmm28, zmmword ptr [{right} + 4 * {row}]\n",
            "vmovups zmm29, zmmword ptr [{second} + 4 * {row}]\n",
            "mov {row}, qword ptr [{left_steps}]\n",
            "lea {row}, [{left} + 4 * {row}]\n",
            rows!($rows),
            "add {left_steps}, 8\n",
            "add {right_steps}, 8\n",
        )
    };
}

/// The whole loop: first [`STEPS`] steps at a time with requests for memory, then the others.
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
            "test {steps}, {steps}\n",
            "jz 7f\n",
            "6:\n",
            $step,
            "dec {steps}\n",
            "jnz 6b\n",
            "7:\n",
        )
    };
}

// The loop is written out for this many steps.
const _: () = assert!(STEPS == 4);

/// The assembly for a number of rows and the kind of steps.
macro_rules! assembly {
    ($tile:ident, $sums:ident, $counts:ident, $step:expr, $($operand:tt)*) => {
        asm!(
            depth_loop!($step),
            $($operand)*
            tile = in(reg) $tile,
            each = const offset_of!(Tile<f32>, ahead) + offset_of!(Ahead, each),
            skip = const offset_of!(Tile<f32>, ahead) + offset_of!(Ahead, skip),
            per_row = const offset_of!(Tile<f32>, ahead) + offset_of!(Ahead, per_row),
            row = out(reg) _,
            row_stride = in(reg) $tile.left_row_stride * 4,
            line = inout(reg) $tile.ahead.line => _,
            rest = inout(reg) $tile.ahead.rest => _,
            requests = inout(reg) $counts.0 => _,
            steps = inout(reg) $counts.1 => _,
            inout("zmm0") $sums[0][0],
            inout("zmm1") $sums[0][1],
            inout("zmm2") $sums[1][0],
            inout("zmm3") $sums[1][1],
            inout("zmm4") $sums[2][0],
            inout("zmm5") $sums[2][1],
            inout("zmm6") $sums[3][0],
            inout("zmm7") $sums[3][1],
            inout("zmm8") $sums[4][0],
            inout("zmm9") $sums[4][1],
            inout("zmm10") $sums[5][0],
            inout("zmm11") $sums[5][1],
            inout("zmm12") $sums[6][0],
            inout("zmm13") $sums[6][1],
            inout("zmm14") $sums[7][0],
            inout("zmm15") $sums[7][1],
            inout("zmm16") $sums[8][0],
            inout("zmm17") $sums[8][1],
            inout("zmm18") $sums[9][0],
            inout("zmm19") $sums[9][1],
            inout("zmm20") $sums[10][0],
            inout("zmm21") $sums[10][1],
            inout("zmm22") $sums[11][0],
            inout("zmm23") $sums[11][1],
            inout("zmm24") $sums[12][0],
            inout("zmm25") $sums[12][1],
            inout("zmm26") $sums[13][0],
            inout("zmm27") $sums[13][1],
            out("zmm28") _,
            out("zmm29") _,
            out("zmm30") _,
            out("zmm31") _,
            options(readonly, nostack),
        )
    };
}

/// The sums of a tile of `ROWS` rows, at most 14, and two full vectors of columns; with `TABLES`, steps
/// along the depth lie at distances from tables. Other rows are zeros.
///
/// # Safety
/// As for [`Kernel`](super::super::kernel::Kernel).
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn sums<const ROWS: usize, const TABLES: bool>(
    tile: &Tile<f32>,
) -> [[__m512; 2]; 14] {
    let mut sums = [[_mm512_setzero_ps(); 2]; 14];
    let requests = tile.ahead.requests().min(tile.depth / STEPS);
    let counts = (requests, tile.depth - requests * STEPS);
    macro_rules! run {
        ($($rows:tt)*) => {
            // SAFETY: by the caller's promise: what is read are elements of the tile's operands and of
            // its tables, as many as its depth says; asking for memory reads nothing.
            unsafe {
                match ROWS {
                    $($rows if TABLES => assembly!(
                        tile, sums, counts, scattered_step!($rows),
                        left = in(reg) tile.left,
                        left_steps = inout(reg) tile.left_steps => _,
                        right = in(reg) tile.right.wrapping_offset(*tile.right_vectors),
                        second = in(reg) tile.right.wrapping_offset(*tile.right_vectors.add(1)),
                        right_steps = inout(reg) tile.right_steps => _,
                    ),
                    $rows => assembly!(
                        tile, sums, counts, strided_step!($rows),
                        left = inout(reg) tile.left => _,
                        left_steps = in(reg) tile.left_depth_stride * 4,
                        right = inout(reg) tile.right => _,
                        right_steps = in(reg) tile.right_depth_stride * 4,
                    ),)*
                    _ => unreachable!("tiles have 1 to 14 rows"),
                }
            }
        };
    }
    run!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    sums
}
