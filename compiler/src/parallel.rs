//! Work on many things, on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The results of `work` for each item, in order, on a thread for each state. Results must not
/// depend on what a state has met before.
pub fn map<I: Sync, S: Send, T: Send>(
    states: &mut [S],
    items: &[I],
    work: impl Fn(&mut S, &I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let run = |state: &mut S| {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let numbers = numbers.take_while(|&number| number < items.len());
        numbers.map(|number| (number, work(state, &items[number]))).collect::<Vec<_>>()
    };
    let Some((own, others)) = states.split_first_mut() else { return Vec::new() };
    let mut results = std::thread::scope(|scope| {
        let run = &run;
        let helpers = others.iter_mut().take(items.len().saturating_sub(1));
        let helpers: Vec<_> = helpers.map(|state| scope.spawn(move || run(state))).collect();
        let mut results = run(own);
        for helper in helpers {
            match helper.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_keep_the_order_of_items() {
        let items: Vec<usize> = (0..100).collect();
        let doubled: Vec<usize> = items.iter().map(|item| 2 * item).collect();
        for threads in [1, 2, 4] {
            let mut states = vec![(); threads];
            assert_eq!(super::map(&mut states, &items, |(), item| 2 * item), doubled);
        }
    }
}
