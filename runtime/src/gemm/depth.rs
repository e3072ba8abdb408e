//! The loop along the depth of tiles two vectors wide, in assembly.
//!
//! These tiles do nearly all the arithmetic there is. Two multiply-adds a cycle leave room for few other
//! instructions, and nearly all registers are in use: compilers, asked to unroll this loop and to ask for
//! memory ahead within it, spill sums.
//!
//! [`sums!`] makes it for a register file, `(name, bytes of a vector, registers of the two vectors of
//! columns, register of an element of the left operand)`; sums are in the registers from 0 on.

use super::ahead::STEPS;

/// Multiplies an element of the left operand with the vectors of columns. `$at` is a macro for its address in
/// `$step`, and for what comes before.
#[rustfmt::skip]
macro_rules! row {
    (
        ($v:literal $bytes:literal $column:literal $next:literal $factor:literal)
        $at:ident $step:literal $row:tt, $sum:literal $second:literal
    ) => {
        concat!(
            $at!(before $row),
            "vbroadcastss ", $v, $factor, ", dword ptr [", $at!($step $row), "]\n",
            "vfmadd231ps ", $v, $sum, ", ", $v, $factor, ", ", $v, $column, "\n",
            "vfmadd231ps ", $v, $second, ", ", $v, $factor, ", ", $v, $next, "\n",
        )
    };
}

/// All rows of a step.
#[rustfmt::skip]
macro_rules! rows {
    ($file:tt $at:ident $step:literal 1) => { row!($file $at $step 0, 0 1) };
    ($file:tt $at:ident $step:literal 2) => { concat!(rows!($file $at $step 1), row!($file $at $step 1, 2 3)) };
    ($file:tt $at:ident $step:literal 3) => { concat!(rows!($file $at $step 2), row!($file $at $step 2, 4 5)) };
    ($file:tt $at:ident $step:literal 4) => { concat!(rows!($file $at $step 3), row!($file $at $step 3, 6 7)) };
    ($file:tt $at:ident $step:literal 5) => { concat!(rows!($file $at $step 4), row!($file $at $step 4, 8 9)) };
    ($file:tt $at:ident $step:literal 6) => { concat!(rows!($file $at $step 5), row!($file $at $step 5, 10 11)) };
    ($file:tt $at:ident $step:literal 7) => { concat!(rows!($file $at $step 6), row!($file $at $step 6, 12 13)) };
    ($file:tt $at:ident $step:literal 8) => { concat!(rows!($file $at $step 7), row!($file $at $step 7, 14 15)) };
    ($file:tt $at:ident $step:literal 9) => { concat!(rows!($file $at $step 8), row!($file $at $step 8, 16 17)) };
    ($file:tt $at:ident $step:literal 10) => { concat!(rows!($file $at $step 9), row!($file $at $step 9, 18 19)) };
    ($file:tt $at:ident $step:literal 11) => { concat!(rows!($file $at $step 10), row!($file $at $step 10, 20 21)) };
    ($file:tt $at:ident $step:literal 12) => { concat!(rows!($file $at $step 11), row!($file $at $step 11, 22 23)) };
    ($file:tt $at:ident $step:literal 13) => { concat!(rows!($file $at $step 12), row!($file $at $step 12, 24 25)) };
    ($file:tt $at:ident $step:literal 14) => { concat!(rows!($file $at $step 13), row!($file $at $step 13, 26 27)) };
}

/// Where rows lie whose elements follow each other, `$step` bytes into each: what addresses can add to two
/// starts, seven rows apart.
#[rustfmt::skip]
macro_rules! along_depth {
    (before $row:tt) => { "" };
    (lead 8 $bytes:literal) => { concat!("add {row}, ", $bytes, "\n") };
    (lead 9 $bytes:literal) => { along_depth!(lead 8 $bytes) };
    (lead 10 $bytes:literal) => { along_depth!(lead 8 $bytes) };
    (lead 11 $bytes:literal) => { along_depth!(lead 8 $bytes) };
    (lead 12 $bytes:literal) => { along_depth!(lead 8 $bytes) };
    (lead 13 $bytes:literal) => { along_depth!(lead 8 $bytes) };
    (lead 14 $bytes:literal) => { along_depth!(lead 8 $bytes) };
    (lead $rows:tt $bytes:literal) => { "" };
    ($step:literal 0) => { concat!("{left} + ", $step) };
    ($step:literal 1) => { concat!("{left} + {row_stride} + ", $step) };
    ($step:literal 2) => { concat!("{left} + 2 * {row_stride} + ", $step) };
    ($step:literal 3) => { concat!("{left} + {three_rows} + ", $step) };
    ($step:literal 4) => { concat!("{left} + 4 * {row_stride} + ", $step) };
    ($step:literal 5) => { concat!("{left} + {five_rows} + ", $step) };
    ($step:literal 6) => { concat!("{left} + 2 * {three_rows} + ", $step) };
    ($step:literal 7) => { concat!("{row} + ", $step) };
    ($step:literal 8) => { concat!("{row} + {row_stride} + ", $step) };
    ($step:literal 9) => { concat!("{row} + 2 * {row_stride} + ", $step) };
    ($step:literal 10) => { concat!("{row} + {three_rows} + ", $step) };
    ($step:literal 11) => { concat!("{row} + 4 * {row_stride} + ", $step) };
    ($step:literal 12) => { concat!("{row} + {five_rows} + ", $step) };
    ($step:literal 13) => { concat!("{row} + 2 * {three_rows} + ", $step) };
}

/// Where rows lie that follow each other; the first one is at `$step`.
macro_rules! along_rows {
    (before $row:tt) => {
        ""
    };
    ($step:literal $row:literal) => {
        concat!($step, " + 4 * ", $row)
    };
}

/// Where rows lie in a step at a distance of its own: four of them at what addresses can add to `row`.
#[rustfmt::skip]
macro_rules! scattered {
    (before 4) => { "lea {row}, [{row} + 4 * {row_stride}]\n" };
    (before 8) => { scattered!(before 4) };
    (before 12) => { scattered!(before 4) };
    (before $row:tt) => { "" };
    ($step:literal 0) => { $step };
    ($step:literal 1) => { concat!($step, " + {row_stride}") };
    ($step:literal 2) => { concat!($step, " + 2 * {row_stride}") };
    ($step:literal 3) => { concat!($step, " + {three_rows}") };
    ($step:literal 4) => { scattered!($step 0) };
    ($step:literal 5) => { scattered!($step 1) };
    ($step:literal 6) => { scattered!($step 2) };
    ($step:literal 7) => { scattered!($step 3) };
    ($step:literal 8) => { scattered!($step 0) };
    ($step:literal 9) => { scattered!($step 1) };
    ($step:literal 10) => { scattered!($step 2) };
    ($step:literal 11) => { scattered!($step 3) };
    ($step:literal 12) => { scattered!($step 0) };
    ($step:literal 13) => { scattered!($step 1) };
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

/// Four steps along the depth at equal distances. Of the right operand and of `$at`, each is at what addresses
/// can add to the first.
macro_rules! four_steps {
    ($file:tt $at:ident [$first:literal $second:literal $third:literal $fourth:literal] $rows:tt) => {
        concat!(
            columns!($file "{right}"),
            rows!($file $at $first $rows),
            columns!($file "{right} + {right_step}"),
            rows!($file $at $second $rows),
            columns!($file "{right} + 2 * {right_step}"),
            rows!($file $at $third $rows),
            columns!($file "{right} + {three_steps}"),
            rows!($file $at $fourth $rows),
            "lea {right}, [{right} + 4 * {right_step}]\n",
        )
    };
}

/// One such step.
macro_rules! one_step {
    ($file:tt $at:ident $first:literal $rows:tt) => {
        concat!(
            columns!($file "{right}"),
            rows!($file $at $first $rows),
            "add {right}, {right_step}\n",
        )
    };
}

/// The loop where elements of the left operand's rows follow each other.
macro_rules! along_depth_loop {
    ($file:tt $rows:tt) => {
        depth_loop!(
            "{three_steps}",
            "lea {three_steps}, [{right_step} + 2 * {right_step}]\n",
            concat!(
                four_steps!($file along_depth ["0" "4" "8" "12"] $rows),
                "add {left}, 16\n",
                along_depth!(lead $rows "16"),
            ),
            concat!(
                one_step!($file along_depth "0" $rows),
                "add {left}, 4\n",
                along_depth!(lead $rows "4"),
                "/* {row} {row_stride} {three_rows} {five_rows} */\n",
            )
        )
    };
}

/// The loop where its rows follow each other.
macro_rules! along_rows_loop {
    ($file:tt $rows:tt) => {
        depth_loop!(
            "{three_steps}",
            "lea {three_steps}, [{right_step} + 2 * {right_step}]\n",
            concat!(
                four_steps!(
                    $file along_rows
                    ["{left}" "{left} + {left_step}" "{left} + 2 * {left_step}" "{left} + {three_left}"]
                    $rows
                ),
                "lea {left}, [{left} + 4 * {left_step}]\n",
            ),
            concat!(one_step!($file along_rows "{left}" $rows), "add {left}, {left_step}\n")
        )
    };
}

/// The loop where distances along the depth come from tables.
macro_rules! scattered_loop {
    (@step $file:tt $rows:tt) => {
        concat!(
            "mov {row}, qword ptr [{right_steps}]\n",
            columns!($file "{right} + 4 * {row}" "{second} + 4 * {row}"),
            "mov {row}, qword ptr [{left_steps}]\n",
            "lea {row}, [{left} + 4 * {row}]\n",
            rows!($file scattered "{row}" $rows),
            "add {left_steps}, 8\n",
            "add {right_steps}, 8\n",
            "/* {row_stride} {three_rows} */\n",
        )
    };
    ($file:tt $rows:tt) => {
        depth_loop!(
            "{row}",
            "",
            concat!(
                scattered_loop!(@step $file $rows),
                scattered_loop!(@step $file $rows),
                scattered_loop!(@step $file $rows),
                scattered_loop!(@step $file $rows),
            ),
            scattered_loop!(@step $file $rows)
        )
    };
}

/// The whole loop: first [`STEPS`](super::ahead::STEPS) steps at a time with requests for memory, counted in a
/// register that is restored afterwards, then as many without, then the others one by one.
macro_rules! depth_loop {
    ($counter:literal, $restore:literal, $four_steps:expr, $step:expr) => {
        concat!(
            "test {requests}, {requests}\n",
            "jz 5f\n",
            "2:\n",
            "mov ",
            $counter,
            ", qword ptr [{tile} + {each}]\n",
            "3:\n",
            "prefetcht1 byte ptr [{line}]\n",
            "prefetcht1 byte ptr [{line} + 64]\n",
            "add {line}, 128\n",
            "dec {rest}\n",
            "jnz 4f\n",
            "add {line}, qword ptr [{tile} + {skip}]\n",
            "mov {rest}, qword ptr [{tile} + {per_row}]\n",
            "4:\n",
            "dec ",
            $counter,
            "\n",
            "jnz 3b\n",
            $restore,
            $four_steps,
            "dec {requests}\n",
            "jnz 2b\n",
            "5:\n",
            "sub {steps}, 4\n",
            "jb 7f\n",
            "6:\n",
            $four_steps,
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
const _: () = assert!(STEPS == 4);

/// How often a stretch of this length asks for memory, of so many times that are left, and how many steps it
/// takes besides.
pub(super) fn counts(requests: &mut usize, length: usize) -> (usize, usize) {
    let here = (*requests).min(length / STEPS);
    *requests -= here;
    (here, length - here * STEPS)
}

/// The assembly of a loop. `$sums` are the registers of sums with their (row, vector), `$others`
/// registers that are overwritten.
macro_rules! assembly {
    (
        $tile:ident, $sums:ident, $counts:ident, $loop:expr,
        [$($register:tt $row:tt $vector:tt)*] [$($other:tt)*],
        $($operand:tt)*
    ) => {
        std::arch::asm!(
            $loop,
            $($operand)*
            tile = in(reg) &raw const *$tile,
            each = const std::mem::offset_of!(Tile<f32>, ahead.each),
            skip = const std::mem::offset_of!(Tile<f32>, ahead.skip),
            per_row = const std::mem::offset_of!(Tile<f32>, ahead.per_row),
            line = inout(reg) $tile.ahead.line,
            rest = inout(reg) $tile.ahead.rest,
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
            tile: &mut Tile<f32>,
        ) -> [[$vector; 2]; $most] {
            // SAFETY: zeros are vectors.
            let mut sums: [[$vector; 2]; $most] = unsafe { std::mem::zeroed() };
            let mut requests = tile.ahead.take_requests();
            let length = tile.depth / tile.stretches;
            let (row_stride, right_step) = (tile.left_row_stride * 4, tile.right_depth_stride * 4);
            for stretch in 0..tile.stretches {
                let counts = super::depth::counts(&mut requests, length);
                // SAFETY: by the caller's promise: what is read are elements of the tile's operands and of
                // its tables, as many as its depth says; asking for memory reads nothing.
                unsafe {
                    if TABLES {
                        let (left, right) = (tile.left, tile.right);
                        match ROWS {
                            $($rows => assembly!(
                                tile, sums, counts, scattered_loop!($file $rows), $sums $others,
                                left = in(reg) left,
                                row = out(reg) _,
                                row_stride = in(reg) row_stride,
                                three_rows = in(reg) row_stride * 3,
                                left_steps = inout(reg) tile.left_steps => _,
                                right = in(reg) right.wrapping_offset(*tile.right_vectors),
                                second = in(reg) right.wrapping_offset(*tile.right_vectors.add(1)),
                                right_steps = inout(reg) tile.right_steps => _,
                            ),)*
                            _ => unreachable!("no tile has so many rows"),
                        }
                        continue;
                    }
                    let left = tile.left.wrapping_offset(*tile.left_steps.add(stretch));
                    let right = tile.right.wrapping_offset(*tile.right_steps.add(stretch));
                    match ROWS {
                        $($rows if tile.left_depth_stride == 1 => assembly!(
                            tile, sums, counts, along_depth_loop!($file $rows), $sums $others,
                            left = inout(reg) left => _,
                            row = inout(reg) left.wrapping_byte_offset(row_stride * 7) => _,
                            row_stride = in(reg) row_stride,
                            three_rows = in(reg) row_stride * 3,
                            five_rows = in(reg) row_stride * 5,
                            right = inout(reg) right => _,
                            right_step = in(reg) right_step,
                            three_steps = inout(reg) right_step * 3 => _,
                        ),
                        $rows => assembly!(
                            tile, sums, counts, along_rows_loop!($file $rows), $sums $others,
                            left = inout(reg) left => _,
                            left_step = in(reg) tile.left_depth_stride * 4,
                            three_left = in(reg) tile.left_depth_stride * 12,
                            right = inout(reg) right => _,
                            right_step = in(reg) right_step,
                            three_steps = inout(reg) right_step * 3 => _,
                        ),)*
                        _ => unreachable!("no tile has so many rows"),
                    }
                }
            }
            sums
        }
    };
}
