//! The cheapest tree of each class: Knuth's generalization of Dijkstra's algorithm (1977), which
//! settles classes in the order of their prices.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::{Choices, Class};

/// All choices in a row, and which of them wait for each class.
pub(super) struct Trees {
    /// For each class, the number of its first choice in that row; and one more.
    first: Vec<u32>,
    /// For each choice, its class.
    class_of: Vec<u32>,
    /// For each choice, its price, and how many children it waits for.
    prices: Vec<f64>,
    missing: Vec<u32>,
    /// For each class, where the choices that wait for it begin in `waiting`; and one more.
    waits: Vec<u32>,
    /// Choices, once for each time that they depend on the class.
    waiting: Vec<u32>,
}

impl Trees {
    /// Gathers what waits for what.
    pub fn new(choices: &Choices) -> Trees {
        let mut trees = Trees {
            first: vec![0],
            class_of: Vec::new(),
            prices: Vec::new(),
            missing: Vec::new(),
            waits: vec![0; choices.classes.len() + 1],
            waiting: Vec::new(),
        };
        for (class, list) in choices.classes.iter().enumerate() {
            for choice in list {
                trees.class_of.push(class as u32);
                trees.prices.push(choice.price);
                trees.missing.push(choice.children.len() as u32);
                for &child in &choice.children {
                    trees.waits[child + 1] += 1;
                }
            }
            trees.first.push(trees.prices.len() as u32);
        }
        for class in 0..choices.classes.len() {
            trees.waits[class + 1] += trees.waits[class];
        }
        let mut next = trees.waits.clone();
        trees.waiting = vec![0; next[choices.classes.len()] as usize];
        let all = choices.classes.iter().flatten().enumerate();
        for (number, choice) in all {
            for &child in &choice.children {
                trees.waiting[next[child] as usize] = number as u32;
                next[child] += 1;
            }
        }
        trees
    }

    /// Chooses for all classes but `used`, which have their choices and cost nothing; calls
    /// `settle` with each class that can be computed and its choice, children before parents.
    pub fn settle(
        &self,
        used: impl IntoIterator<Item = (Class, usize)>,
        mut settle: impl FnMut(Class, usize),
    ) {
        let (mut missing, mut prices) = (self.missing.clone(), self.prices.clone());
        let mut settled = vec![false; self.first.len() - 1];
        let leaves = (0..missing.len()).filter(|&number| missing[number] == 0);
        let mut ready: BinaryHeap<Reverse<(Price, u32)>> =
            leaves.map(|number| Reverse((Price(prices[number]), number as u32))).collect();
        let mut used = used.into_iter();
        loop {
            let (price, class, choice) = match used.next() {
                Some((class, choice)) => (0.0, class, choice),
                None => match ready.pop() {
                    Some(Reverse((Price(price), number))) => {
                        let class = self.class_of[number as usize] as usize;
                        (price, class, (number - self.first[class]) as usize)
                    }
                    None => break,
                },
            };
            if std::mem::replace(&mut settled[class], true) {
                continue;
            }
            settle(class, choice);
            for &number in &self.waiting[range(&self.waits, class)] {
                let number = number as usize;
                missing[number] -= 1;
                prices[number] += price;
                if missing[number] == 0 && !settled[self.class_of[number] as usize] {
                    ready.push(Reverse((Price(prices[number]), number as u32)));
                }
            }
        }
    }
}

/// What belongs to a class in a row that is divided at `starts`.
fn range(starts: &[u32], class: Class) -> Range<usize> {
    starts[class] as usize..starts[class + 1] as usize
}

/// A price with a total order, for the heap.
#[derive(PartialEq)]
struct Price(f64);

impl Eq for Price {}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Price) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Price {
    fn cmp(&self, other: &Price) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
