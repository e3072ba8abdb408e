//! Nanoseconds of the thread team: `cargo bench -p cygnet-runtime --bench team [-- THREADS]`.
//!
//! Best of many runs, so that other work on the machine disturbs little.

use std::time::{Duration, Instant};

use cygnet_runtime::team::Team;

/// Barriers in one measured run.
const BARRIERS: u32 = 100;

fn main() {
    // Cargo also starts benchmarks as tests, without this flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let threads = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(2);
    let mut team = Team::new(threads);
    println!("{threads} threads, nanoseconds");
    let fork = best(Duration::ZERO, || team.run(|_, _| {}));
    println!("fork and join                     {fork:8.0}");
    let barriers = best(Duration::ZERO, || {
        team.run(|_, barrier| {
            for _ in 0..BARRIERS {
                barrier.wait();
            }
        });
    });
    println!("one barrier                       {:8.0}", (barriers - fork) / f64::from(BARRIERS));
    let work = best(Duration::ZERO, || team.run(|_, _| busy(5_000)));
    println!("fork and join, 5 us each          {work:8.0}");
    let idle = best(Duration::from_millis(1), || team.run(|_, _| {}));
    println!("fork and join after 1 ms of idling{idle:8.0}");
}

/// The shortest time of `run`, in nanoseconds, each after a pause.
fn best(pause: Duration, mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(500) {
        let paused = Instant::now();
        while paused.elapsed() < pause {
            std::hint::spin_loop();
        }
        let since = Instant::now();
        run();
        best = best.min(since.elapsed());
    }
    best.as_nanos() as f64
}

/// Computes for about this many nanoseconds.
fn busy(nanoseconds: u64) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_nanos(nanoseconds) {
        std::hint::spin_loop();
    }
}
