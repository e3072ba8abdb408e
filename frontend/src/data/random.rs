//! Random bits by counting: the value at (seed, stream, index) does not depend on what was drawn
//! before it.

/// 64 random bits: the counter, run through the output function of SplitMix64 (G. Steele, D. Lea,
/// C. Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
fn bits(seed: u64, stream: u64, index: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    [stream, index].iter().fold(mix(seed.wrapping_add(GOLDEN)), |state, &part| {
        mix(state ^ part.wrapping_mul(GOLDEN).wrapping_add(GOLDEN))
    })
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A number from [0, 1), a multiple of 2^-53.
pub(super) fn unit(seed: u64, stream: u64, index: u64) -> f64 {
    (bits(seed, stream, index) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Brings `values` into random order (Fisher and Yates).
pub(super) fn shuffle(values: &mut [u32], seed: u64, stream: u64) {
    for last in (1..values.len()).rev() {
        let bits = bits(seed, stream, last as u64);
        // The upper half of the product is from 0 to `last`, as good as evenly.
        let chosen = (u128::from(bits) * (last as u128 + 1)) >> 64;
        values.swap(last, chosen as usize);
    }
}
