//! Random numbers without state: each is a function of a seed, a stream, a step and an index.
//!
//! Any thread can make any part of a random tensor, in any order, on any processor, and gets the
//! same bits. The definition: element `i` of a stream belongs to group `i / 64`, and there to
//! word `i % 64 / 16` of block `16 * (i / 64) + i % 16`, so that vectors of up to 16 lanes hold
//! neighbouring elements. A block is the four words that Philox4x32-10 (module `philox`) makes
//! of the counter (block, step), 64 bits each, with a key mixed from seed and stream. A uniform
//! number is its word's upper 24 bits as a fraction; words 0 and 1 of a block, and 2 and 3, make
//! pairs of normal numbers.

mod normal;
mod philox;
mod shuffle;
mod tile;

use crate::simd::IntegerVector;
use crate::simd::portable::Lanes;
use philox::philox4x32;

pub use shuffle::shuffle;
pub use tile::RandomTile;

/// Blocks in a group of elements.
const GROUP_BLOCKS: usize = 16;
/// Words in a block.
const WORDS: usize = 4;
/// Elements in a group.
const GROUP: usize = WORDS * GROUP_BLOCKS;

/// The number of this index: uniform in [0, 1), a multiple of 2^-24.
pub fn uniform(seed: u64, stream: u64, step: u64, index: u64) -> f32 {
    Generator::new(seed, stream, step).number::<Uniform>(index)
}

/// The number of this index: standard normal, by the method of Box and Muller from two words;
/// at most 6.6 in size.
pub fn normal(seed: u64, stream: u64, step: u64, index: u64) -> f32 {
    Generator::new(seed, stream, step).number::<normal::Normal>(index)
}

/// How the words of a block become numbers, one for each.
///
/// Every step has one correctly rounded result, so that all processors make the same bits: sums
/// and products are never fused.
trait Distribution {
    /// Numbers from the words of one block in each lane.
    fn numbers<I: IntegerVector>(words: [I; WORDS]) -> [I::Float; WORDS];
}

/// Uniform in [0, 1).
struct Uniform;

impl Distribution for Uniform {
    #[inline(always)]
    fn numbers<I: IntegerVector>(words: [I; WORDS]) -> [I::Float; WORDS] {
        let [a, b, c, d] = words;
        [fraction(a), fraction(b), fraction(c), fraction(d)]
    }
}

/// The upper 24 bits as a fraction.
#[inline(always)]
fn fraction<I: IntegerVector>(word: I) -> I::Float {
    word.shift_right::<8>().to_float() * (1.0 / 16_777_216.0)
}

/// The numbers of one stream in one step.
#[derive(Clone, Copy)]
struct Generator {
    key: [u32; 2],
    step: u64,
}

impl Generator {
    /// Distinct streams of one seed have distinct keys.
    #[inline(always)]
    fn new(seed: u64, stream: u64, step: u64) -> Generator {
        Generator { key: halves(mix(mix(seed) ^ stream)), step }
    }

    /// The words of blocks `16 * group + first_lane` and following, as many as there are lanes.
    ///
    /// `proof` shows that the processor has the instructions; its value does not matter.
    #[inline(always)]
    fn words<I: IntegerVector>(&self, proof: I, group: u64, first_lane: u32) -> [I; WORDS] {
        let [low, high] = halves(group.wrapping_mul(GROUP_BLOCKS as u64));
        self.words_of_blocks(proof.lane_numbers() + (low + first_lane), proof.splat(high))
    }

    /// The words of blocks whose numbers have these halves.
    #[inline(always)]
    fn words_of_blocks<I: IntegerVector>(&self, low: I, high: I) -> [I; WORDS] {
        let [step_low, step_high] = halves(self.step);
        philox4x32([low, high, low.splat(step_low), low.splat(step_high)], self.key)
    }

    /// The block that an index belongs to, in vectors of one lane, and which of its words is
    /// the index's.
    fn block(&self, index: u64) -> ([Lanes<1, u32>; WORDS], usize) {
        let (group, within) = (index / GROUP as u64, index as usize % GROUP);
        let (word, lane) = (within / GROUP_BLOCKS, within % GROUP_BLOCKS);
        (self.words(Lanes::from([0]), group, lane as u32), word)
    }

    /// The number of this index.
    fn number<D: Distribution>(&self, index: u64) -> f32 {
        let (words, word) = self.block(index);
        D::numbers(words)[word].first()
    }

    /// The word of this index.
    fn word(&self, index: u64) -> u32 {
        let (words, word) = self.block(index);
        words[word].first()
    }
}

/// The low and the high half.
#[inline(always)]
fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// A bijection that spreads every bit over all: the finalizer of SplitMix64 (Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", 2014; constants by David Stafford).
#[inline(always)]
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_numbers_are_the_upper_bits_of_philox_words() {
        for (index, block, word) in
            [(0u64, 0u32, 0), (15, 15, 0), (16, 0, 1), (63, 15, 3), (70, 22, 0)]
        {
            let key = mix(mix(7) ^ 9);
            let counter = [block, 0, 5, 1].map(|word| Lanes::from([word]));
            let words = philox4x32(counter, [key as u32, (key >> 32) as u32]);
            let number = (words[word].first() >> 8) as f32 / 16_777_216.0;
            assert_eq!(uniform(7, 9, (1 << 32) + 5, index), number);
        }
    }

    /// Each of seed, stream, step and index changes everything.
    #[test]
    fn streams_are_unrelated() {
        const COUNT: u64 = 20_000;
        let draw = |which: usize, by: u64, index: u64| {
            let mut key = [3, 5, 8];
            key[which] += by;
            f64::from(uniform(key[0], key[1], key[2], index)) - 0.5
        };
        for which in 0..3 {
            for by in [1, 2, 1 << 32, 1 << 63] {
                let product = |index| draw(which, 0, index) * draw(which, by, index);
                let correlation = (0..COUNT).map(product).sum::<f64>() * 12.0 / COUNT as f64;
                // Its standard deviation is 1 / sqrt(COUNT) = 0.007.
                assert!(correlation.abs() < 0.03, "argument {which} + {by}: {correlation}");
            }
        }
        let neighbours = |index| draw(0, 0, index) * draw(0, 0, index + 1);
        let correlation = (0..COUNT).map(neighbours).sum::<f64>() * 12.0 / COUNT as f64;
        assert!(correlation.abs() < 0.03, "neighbours: {correlation}");
    }

    #[test]
    fn uniform_numbers_fill_the_interval_evenly() {
        const COUNT: u64 = 100_000;
        let mut histogram = [0u32; 100];
        for index in 0..COUNT {
            let number = uniform(1, 2, 3, index);
            assert!((0.0..1.0).contains(&number));
            histogram[(number * 100.0) as usize] += 1;
        }
        let expected = COUNT as f64 / 100.0;
        let chi_squared: f64 =
            histogram.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        // 99 degrees of freedom: mean 99, standard deviation 14.
        assert!((50.0..160.0).contains(&chi_squared), "{chi_squared}");
    }
}
