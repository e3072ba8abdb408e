//! Who runs what of a stage: each thread its own part, and, when that is done, what others have left.
//!
//! Cores are not equally fast, and not even the same core is for long: others share its caches, its
//! clock and, on a virtual machine, itself. A thread that has finished takes runs from the far end
//! of another one's part (as in work stealing: Blumofe and Leiserson, 1999), so that none waits
//! longer than for one run. What a run computes does not depend on who runs it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The runs that each thread of a team has left of the present stage.
///
/// All threads meet at a barrier between two stages, and no thread gets there before its own part is
/// empty: whoever looks at another one's part sees that of the present stage, or none.
pub(crate) struct Claims {
    left: Box<[Left]>,
}

/// The first run that is left and the end of them, in the halves of one word. Two cache lines, since
/// processors prefetch lines in pairs.
#[repr(align(128))]
struct Left(AtomicU64);

impl Claims {
    /// For a team of so many threads; nothing is left.
    pub fn new(threads: usize) -> Claims {
        Claims { left: (0..threads).map(|_| Left(AtomicU64::new(0))).collect() }
    }

    /// Calls `run` with the number of each run of the stage that this thread takes: those of `own`,
    /// from the first one on, then those of others, from their last ones. Together, the threads
    /// take each run once.
    pub fn for_each(&self, thread: usize, own: Range<u32>, mut run: impl FnMut(u32)) {
        let left = &self.left[thread].0;
        // No order is asked of memory: the barrier before this stage made visible what runs read.
        left.store(packed(own), Ordering::Relaxed);
        let first = |range: &mut Range<u32>| range.next();
        while let Some(number) = claim(left, first) {
            run(number);
        }
        let last = |range: &mut Range<u32>| range.next_back();
        let threads = self.left.len();
        for distance in 1..threads {
            let other = &self.left[(thread + distance) % threads].0;
            while let Some(number) = claim(other, last) {
                run(number);
            }
        }
    }
}

fn packed(range: Range<u32>) -> u64 {
    u64::from(range.start) << 32 | u64::from(range.end)
}

/// Takes one of the runs that are left, unless there is none.
fn claim(left: &AtomicU64, take: impl Fn(&mut Range<u32>) -> Option<u32>) -> Option<u32> {
    let mut seen = left.load(Ordering::Relaxed);
    loop {
        let mut range = (seen >> 32) as u32..seen as u32;
        let number = take(&mut range)?;
        match left.compare_exchange_weak(seen, packed(range), Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => return Some(number),
            Err(changed) => seen = changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::team::Team;

    /// Each run is taken once in every stage, whoever is slow.
    #[test]
    fn runs_are_taken_once() {
        let (mut team, claims) = (Team::new(4), Claims::new(4));
        let bounds = [0, 7, 7, 40, 64];
        let taken: Vec<AtomicU32> = (0..64).map(|_| AtomicU32::new(0)).collect();
        team.run(|thread, barrier| {
            for stage in 0..50 {
                claims.for_each(thread, bounds[thread]..bounds[thread + 1], |run| {
                    taken[run as usize].fetch_add(1, Ordering::Relaxed);
                    if (run + stage) % 16 == 0 {
                        std::thread::yield_now();
                    }
                });
                barrier.wait();
                let all = taken.iter().map(|taken| taken.load(Ordering::Relaxed));
                assert!(all.into_iter().all(|taken| taken == stage + 1));
                barrier.wait();
            }
        });
    }

    /// A thread alone finds what is its own in order, and then all that the others offer, from its
    /// end.
    #[test]
    fn others_are_helped_from_their_end() {
        let claims = Claims::new(2);
        claims.left[1].0.store(packed(3..6), Ordering::Relaxed);
        let mut order = Vec::new();
        claims.for_each(0, 0..3, |run| order.push(run));
        assert_eq!(order, [0, 1, 2, 5, 4, 3]);
    }
}
