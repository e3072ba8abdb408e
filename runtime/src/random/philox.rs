//! The counter-based generator Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3", 2011).

use super::WORDS;
use crate::simd::{IntegerVector, WideIntegerVector};

/// Multipliers of the paper's round function.
const MULTIPLIERS: [u64; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the key grows by each round: the golden ratio and the square root of three, less one.
const KEY_INCREMENTS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
/// Rounds, the recommended number.
const ROUNDS: u32 = 10;

/// Turns the counter in each lane into four random words.
///
/// Words live in the low halves of 64-bit lanes; what products leave in the high halves is never
/// looked at.
#[inline(always)]
pub(super) fn philox4x32<I: IntegerVector>(counter: [I; WORDS], mut key: [u32; 2]) -> [I; WORDS] {
    let [a, b, c, d] = counter;
    let (mut a, mut b, mut c, mut d) = (a.widen(), b.widen(), c.widen(), d.widen());
    for _ in 0..ROUNDS {
        let first = a.multiply_low_halves(a.splat(MULTIPLIERS[0]));
        let second = c.multiply_low_halves(c.splat(MULTIPLIERS[1]));
        a = second.high_half() ^ b ^ b.splat(u64::from(key[0]));
        c = first.high_half() ^ d ^ d.splat(u64::from(key[1]));
        (b, d) = (second, first);
        key[0] = key[0].wrapping_add(KEY_INCREMENTS[0]);
        key[1] = key[1].wrapping_add(KEY_INCREMENTS[1]);
    }
    [a.narrow(), b.narrow(), c.narrow(), d.narrow()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Lanes;

    /// Known answers published with the authors' library, Random123 (file kat_vectors).
    #[test]
    fn known_answers() {
        let answers: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            (
                [0xffff_ffff; 4],
                [0xffff_ffff; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, words) in answers {
            let result = philox4x32(counter.map(|word| Lanes::from([word])), key);
            assert_eq!(result.map(Lanes::first), words);
        }
    }
}
