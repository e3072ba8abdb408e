//! Random permutations.

use super::Generator;

/// The stream that permutations take their numbers from.
const SHUFFLE: u64 = 0x7368_7566_666c_6521;

/// A random order of `0..count` for one pass over a data set, all orders equally likely: the
/// method of Fisher and Yates, with numbers that depend on `seed` and `epoch` only.
pub fn shuffle(seed: u64, epoch: u64, count: u32) -> Vec<u32> {
    let mut words = Words { generator: Generator::new(seed, SHUFFLE, epoch), next: 0 };
    let mut order: Vec<u32> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last as usize, words.below(last + 1) as usize);
    }
    order
}

/// The words of a stream, one after another.
struct Words {
    generator: Generator,
    next: u64,
}

impl Words {
    fn next(&mut self) -> u32 {
        let word = self.generator.word(self.next);
        self.next += 1;
        word
    }

    /// A number below `bound`, all equally likely (Lemire, "Fast random integer generation in an
    /// interval", 2019).
    fn below(&mut self, bound: u32) -> u32 {
        loop {
            let product = u64::from(self.next()) * u64::from(bound);
            // The first 2^32 mod bound values of the lower half are one too many for some
            // results.
            let low = product as u32;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once() {
        for count in [0, 1, 2, 3, 100, 4097] {
            let mut order = shuffle(3, 4, count);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..count));
        }
    }

    #[test]
    fn seed_and_epoch_determine_the_order() {
        let order = shuffle(3, 4, 50);
        assert_eq!(order, shuffle(3, 4, 50));
        assert_ne!(order, shuffle(3, 5, 50));
        assert_ne!(order, shuffle(4, 4, 50));
    }

    #[test]
    fn all_orders_are_equally_likely() {
        const COUNT: u64 = 24_000;
        let mut counts = std::collections::HashMap::new();
        for epoch in 0..COUNT {
            *counts.entry(shuffle(1, epoch, 4)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = COUNT as f64 / 24.0;
        let chi_squared: f64 =
            counts.values().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        // 23 degrees of freedom: mean 23, standard deviation 6.8.
        assert!(chi_squared < 50.0, "{chi_squared}");
    }

    #[test]
    fn bounded_words_reach_every_value() {
        let mut words = Words { generator: Generator::new(1, 2, 3), next: 0 };
        // Close to 2^31, half of the words are drawn again.
        let bound = (1 << 31) + 1;
        let largest = (0..2000).map(|_| words.below(bound)).max();
        assert!(largest < Some(bound) && largest > Some(bound / 100 * 99));
        assert!(words.next > 3500, "{}", words.next);
        assert!((0..50).all(|_| words.below(1) == 0));
    }
}
