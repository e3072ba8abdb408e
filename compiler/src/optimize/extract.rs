//! Choosing one way to compute each class of an e-graph, at the least total price.
//!
//! What several users share is paid for once (the price is that of a directed acyclic graph, not
//! of a tree), and no choice may depend on itself. Finding the optimum is NP-hard; this is a tree
//! extraction (Knuth's generalization of Dijkstra's algorithm, 1977), which settles classes in the
//! order of their prices and so never goes around in a circle, followed by a hill climb with
//! reference counts: a class changes its choice whenever the whole gets cheaper. Changes of several
//! classes at once that make the whole dearer are tried together with changes that build on them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use smallvec::{SmallVec, smallvec};

/// Number of a class.
pub type Class = usize;

/// One way to compute a class.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Its price, not counting what it depends on; positive.
    pub price: f64,
    /// The classes it depends on.
    pub children: SmallVec<[Class; 4]>,
}

/// Classes with their choices.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// For each class, the ways to compute it.
    pub classes: Vec<Vec<Choice>>,
    /// The classes that must be computed.
    pub roots: Vec<Class>,
}

/// A change of the choices of some classes at once.
pub type Move = SmallVec<[(Class, usize); 3]>;

/// Most rounds of the hill climb.
const ROUNDS: usize = 12;

/// A change must save at least this share of the total price, so that rounding cannot make the
/// climb go on forever.
const LEAST_GAIN: f64 = 1e-9;

/// The chosen way for each class (meaningful for those that the roots need), and the total price.
///
/// Besides changes of single classes, the climb tries `moves`, alone and each followed by those
/// that use what it makes.
///
/// # Panics
/// If a root cannot be computed.
pub fn extract(choices: &Choices, moves: &[Move]) -> (Vec<usize>, f64) {
    let mut selection = Selection::from_trees(choices);
    let followers = followers(choices, moves);
    for _ in 0..ROUNDS {
        let before = selection.total;
        for (number, change) in moves.iter().enumerate() {
            selection.attempt_with(change, followers[number].iter().map(|&next| &moves[next]));
        }
        for position in (0..selection.order.len()).rev() {
            let class = selection.order[position];
            for choice in 0..choices.classes[class].len() {
                if selection.users[class] > 0 && selection.chosen[class] != choice {
                    selection.attempt(&Move::from_slice(&[(class, choice)]));
                }
            }
        }
        if selection.total >= before {
            break;
        }
    }
    (selection.chosen, selection.total)
}

/// For each move, the moves whose choices depend on a class that it changes, directly or through
/// a class that has no other choice.
fn followers(choices: &Choices, moves: &[Move]) -> Vec<Vec<usize>> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); choices.classes.len()];
    for (number, change) in moves.iter().enumerate() {
        for &(class, choice) in change {
            for &child in &choices.classes[class][choice].children {
                let direct = std::slice::from_ref(&child);
                let read = match &choices.classes[child][..] {
                    [only] => &only.children[..],
                    _ => direct,
                };
                for &class in read {
                    if readers[class].last() != Some(&number) {
                        readers[class].push(number);
                    }
                }
            }
        }
    }
    let following = |change: &Move| {
        let mut following: Vec<usize> =
            change.iter().flat_map(|(class, _)| &readers[*class]).copied().collect();
        following.sort_unstable();
        following.dedup();
        following
    };
    moves.iter().map(following).collect()
}

/// A class without a choice.
const NONE: usize = usize::MAX;

struct Selection<'a> {
    choices: &'a Choices,
    /// The choice of each class. The graph of all chosen children has no cycles, whether a class
    /// is used or not.
    chosen: Vec<usize>,
    /// How many used classes (and roots) depend on each class.
    users: Vec<usize>,
    /// Computable classes, children before parents.
    order: Vec<Class>,
    /// Position of each class in that order.
    rank: Vec<usize>,
    /// Classes whose choices do not follow that order, because of a change that may yet be taken
    /// back.
    changed: Vec<Class>,
    /// For each class, when a search saw it last.
    visited: Vec<u32>,
    visit: u32,
    /// Price of all used classes.
    total: f64,
}

impl<'a> Selection<'a> {
    /// For each class the choice whose tree is the cheapest.
    fn from_trees(choices: &'a Choices) -> Selection<'a> {
        let count = choices.classes.len();
        let mut selection = Selection {
            choices,
            chosen: vec![NONE; count],
            users: vec![0; count],
            order: Vec::with_capacity(count),
            rank: vec![NONE; count],
            changed: Vec::new(),
            visited: vec![0; count],
            visit: 0,
            total: 0.0,
        };
        selection.settle();
        for &root in &choices.roots {
            assert!(selection.chosen[root] != NONE, "class {root} cannot be computed");
            selection.retain(root);
        }
        selection
    }

    fn settle(&mut self) {
        let classes = &self.choices.classes;
        // For each class, the (class, choice) pairs that wait for it.
        let mut waiting: Vec<Vec<(Class, usize)>> = vec![Vec::new(); classes.len()];
        let mut missing: Vec<Vec<usize>> = Vec::with_capacity(classes.len());
        let mut prices: Vec<Vec<f64>> = Vec::with_capacity(classes.len());
        let mut ready = BinaryHeap::new();
        for (class, list) in classes.iter().enumerate() {
            missing.push(list.iter().map(|choice| choice.children.len()).collect());
            prices.push(list.iter().map(|choice| choice.price).collect());
            for (number, choice) in list.iter().enumerate() {
                for &child in &choice.children {
                    waiting[child].push((class, number));
                }
                if choice.children.is_empty() {
                    ready.push(Reverse((Price(choice.price), class, number)));
                }
            }
        }
        while let Some(Reverse((Price(price), class, number))) = ready.pop() {
            if self.chosen[class] != NONE {
                continue;
            }
            self.chosen[class] = number;
            self.rank[class] = self.order.len();
            self.order.push(class);
            for &(parent, number) in &waiting[class] {
                missing[parent][number] -= 1;
                prices[parent][number] += price;
                if missing[parent][number] == 0 && self.chosen[parent] == NONE {
                    ready.push(Reverse((Price(prices[parent][number]), parent, number)));
                }
            }
        }
    }

    fn choice(&self, class: Class) -> &'a Choice {
        &self.choices.classes[class][self.chosen[class]]
    }

    /// One more user of a class.
    fn retain(&mut self, class: Class) {
        let mut added: SmallVec<[Class; 16]> = smallvec![class];
        while let Some(class) = added.pop() {
            self.users[class] += 1;
            if self.users[class] == 1 {
                let choice = self.choice(class);
                self.total += choice.price;
                added.extend_from_slice(&choice.children);
            }
        }
    }

    /// One user less.
    fn release(&mut self, class: Class) {
        let mut removed: SmallVec<[Class; 16]> = smallvec![class];
        while let Some(class) = removed.pop() {
            self.users[class] -= 1;
            if self.users[class] == 0 {
                let choice = self.choice(class);
                self.total -= choice.price;
                removed.extend_from_slice(&choice.children);
            }
        }
    }

    /// Makes the change if the whole gets cheaper by it.
    fn attempt(&mut self, change: &[(Class, usize)]) {
        self.attempt_with(change, std::iter::empty());
    }

    /// Makes the change, and then those of `followers` that make the whole cheaper again; takes
    /// all of it back if the whole is not cheaper in the end.
    ///
    /// Most changes do not pay. So prices are compared first, and only changes that are about to be
    /// kept are searched for circles, which takes far longer.
    fn attempt_with<'m>(
        &mut self,
        change: &[(Class, usize)],
        followers: impl Iterator<Item = &'m Move>,
    ) {
        let start = self.total;
        let Some(first) = self.force(change) else { return };
        let mut searched = false;
        let mut undo: SmallVec<[Move; 2]> = SmallVec::new();
        for follower in followers {
            let price = self.total;
            let Some(before) = self.force(follower) else { continue };
            let pays = self.total < price - LEAST_GAIN * price;
            if pays && !searched {
                self.take_back(&before, price);
                if !self.accept(&first) {
                    self.take_back(&first, start);
                    return;
                }
                searched = true;
                self.force(follower);
            }
            if pays && self.accept(&before) {
                undo.push(before);
            } else {
                self.take_back(&before, price);
            }
        }
        let pays = self.total < start - LEAST_GAIN * start;
        if pays && (searched || self.accept(&first)) {
            if !self.changed.is_empty() {
                self.sort();
            }
        } else {
            while let Some(before) = undo.pop() {
                self.switch(&before);
            }
            self.take_back(&first, start);
        }
        self.changed.clear();
    }

    /// Makes the change as far as it concerns classes in use, and returns what was chosen there
    /// before; `None` if it changes nothing or needs what cannot be computed. The choices may go in
    /// circles then, until [`Selection::accept`] has been asked.
    fn force(&mut self, change: &[(Class, usize)]) -> Option<Move> {
        let change: Move = (change.iter().copied())
            .filter(|&(class, choice)| self.users[class] > 0 && self.chosen[class] != choice)
            .collect();
        let computable = change.iter().all(|&(class, choice)| {
            let children = &self.choices.classes[class][choice].children;
            children.iter().all(|&child| self.chosen[child] != NONE)
        });
        if change.is_empty() || !computable {
            return None;
        }
        let before = change.iter().map(|&(class, _)| (class, self.chosen[class])).collect();
        self.switch(&change);
        Some(before)
    }

    /// Whether no class depends on itself since these classes changed, as they may stay then.
    fn accept(&mut self, change: &[(Class, usize)]) -> bool {
        let in_order = change.iter().all(|&(class, _)| {
            let children = &self.choice(class).children;
            children.iter().all(|&child| self.rank[child] < self.rank[class])
        });
        let quiet = in_order && self.changed.is_empty();
        if !quiet && self.goes_in_circles(change) {
            return false;
        }
        if !in_order {
            self.changed.extend(change.iter().map(|(class, _)| *class));
        }
        true
    }

    /// Sets choices back to what they were when the whole had this price.
    fn take_back(&mut self, before: &[(Class, usize)], price: f64) {
        self.switch(before);
        // Adding and subtracting the same prices leaves rounding errors.
        self.total = price;
    }

    /// Sets choices.
    fn switch(&mut self, change: &[(Class, usize)]) {
        // Holds the classes while their choices change, used or not.
        for &(class, _) in change {
            self.retain(class);
        }
        for &(class, choice) in change {
            let old = self.choice(class);
            self.chosen[class] = choice;
            let new = self.choice(class);
            self.total += new.price - old.price;
            for &child in &new.children {
                self.retain(child);
            }
            for &child in &old.children {
                self.release(child);
            }
        }
        for &(class, _) in change {
            self.release(class);
        }
    }

    /// Whether a class depends on itself since these classes changed.
    ///
    /// Choices lead down the order, those of changed classes excepted; so what lies below all
    /// changed classes leads back to none of them, and is not looked at.
    fn goes_in_circles(&mut self, change: &[(Class, usize)]) -> bool {
        let changed = self.changed.iter().chain(change.iter().map(|(class, _)| class));
        let lowest = changed.map(|&class| self.rank[class]).min().unwrap_or(0);
        // A class is open from `visit` on, and done from `visit + 1` on.
        self.visit += 2;
        let (open, done) = (self.visit, self.visit + 1);
        let mut stack: SmallVec<[(Class, usize); 32]> = SmallVec::new();
        for &(start, _) in change {
            stack.push((start, 0));
            while let Some((class, next)) = stack.pop() {
                if next == 0 {
                    if self.visited[class] == done {
                        continue;
                    }
                    if self.visited[class] == open {
                        return true;
                    }
                    if self.rank[class] < lowest {
                        continue;
                    }
                    self.visited[class] = open;
                }
                match self.choice(class).children.get(next) {
                    Some(&child) => {
                        stack.push((class, next + 1));
                        stack.push((child, 0));
                    }
                    None => self.visited[class] = done,
                }
            }
        }
        false
    }

    /// Brings the order of classes in line with the choices.
    fn sort(&mut self) {
        let computable = std::mem::take(&mut self.order);
        let mut done = vec![false; self.chosen.len()];
        let mut stack = Vec::new();
        for start in computable {
            stack.push((start, 0));
            while let Some((class, next)) = stack.pop() {
                if done[class] {
                    continue;
                }
                match self.choice(class).children.get(next) {
                    Some(&child) => {
                        stack.push((class, next + 1));
                        stack.push((child, 0));
                    }
                    None => {
                        done[class] = true;
                        self.rank[class] = self.order.len();
                        self.order.push(class);
                    }
                }
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choice(price: f64, children: &[Class]) -> Choice {
        Choice { price, children: SmallVec::from_slice(children) }
    }

    #[test]
    fn what_is_shared_is_paid_once() {
        // Class 3 needs 1 and 2; both can use class 0 (price 10) or do without for 7 each.
        let classes = vec![
            vec![choice(10.0, &[])],
            vec![choice(7.0, &[]), choice(1.0, &[0])],
            vec![choice(7.0, &[]), choice(1.0, &[0])],
            vec![choice(1.0, &[1, 2])],
        ];
        let choices = Choices { classes, roots: vec![3] };
        let both = Move::from_slice(&[(1, 1), (2, 1)]);
        assert_eq!(extract(&choices, &[]).1, 15.0);
        assert_eq!(extract(&choices, &[both]), (vec![0, 1, 1, 0], 13.0));
    }

    #[test]
    fn circles_are_never_chosen() {
        // 0 and 1 are cheap from each other, but one of them has to be made first.
        let classes = vec![
            vec![choice(9.0, &[]), choice(1.0, &[1])],
            vec![choice(9.0, &[]), choice(1.0, &[0])],
        ];
        let choices = Choices { classes, roots: vec![0, 1] };
        let both = Move::from_slice(&[(0, 1), (1, 1)]);
        assert_eq!(extract(&choices, &[both]).1, 10.0);
    }

    /// Price of a selection, each used class once; `None` if it goes in circles.
    fn price(choices: &Choices, chosen: &[usize]) -> Option<f64> {
        fn visit(
            choices: &Choices,
            chosen: &[usize],
            class: Class,
            open: &mut Vec<bool>,
            done: &mut Vec<bool>,
        ) -> Option<f64> {
            if done[class] {
                return Some(0.0);
            }
            if std::mem::replace(&mut open[class], true) {
                return None;
            }
            let choice = choices.classes[class].get(chosen[class])?;
            let mut sum = choice.price;
            for &child in &choice.children {
                sum += visit(choices, chosen, child, open, done)?;
            }
            done[class] = true;
            Some(sum)
        }
        let count = choices.classes.len();
        let (mut open, mut done) = (vec![false; count], vec![false; count]);
        let roots = choices.roots.iter();
        roots.map(|&root| visit(choices, chosen, root, &mut open, &mut done)).sum()
    }

    proptest! {
        #[test]
        fn a_selection_is_acyclic_and_no_dearer_than_the_trees(
            classes in prop::collection::vec(
                prop::collection::vec(
                    (1..100u32, prop::collection::vec(0..12usize, 0..4)), 1..4),
                12),
            moves in prop::collection::vec(
                prop::collection::vec((0..12usize, 0..4usize), 1..4), 0..6),
        ) {
            let mut choices = Choices { classes: Vec::new(), roots: vec![11, 10] };
            for list in &classes {
                let mut list: Vec<Choice> =
                    list.iter().map(|(p, children)| choice(f64::from(*p), children)).collect();
                list.push(choice(500.0, &[]));
                choices.classes.push(list);
            }
            let mut moves: Vec<Move> = moves.into_iter().map(Move::from_vec).collect();
            for change in &mut moves {
                change.retain(|&mut (class, number)| number < choices.classes[class].len());
                change.sort_unstable();
                change.dedup_by_key(|(class, _)| *class);
            }
            let trees = Selection::from_trees(&choices);
            let start = price(&choices, &trees.chosen).expect("trees are acyclic");
            let (chosen, total) = extract(&choices, &moves);
            let end = price(&choices, &chosen).expect("the result is acyclic");
            prop_assert!((end - total).abs() < 1e-6, "{end} is reported as {total}");
            prop_assert!(end <= start);
        }
    }
}
