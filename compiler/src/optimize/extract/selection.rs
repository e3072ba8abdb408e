//! A choice for each class, what it costs, and trying another one.

use smallvec::{SmallVec, smallvec};

use super::trees::Trees;
use super::{Choice, Choices, Class, LEAST_GAIN, Move};

/// A class without a choice.
const NONE: usize = usize::MAX;

/// Which choice each class has, and how often each class is used by the roots.
pub(super) struct Selection<'a> {
    choices: &'a Choices,
    trees: Trees,
    /// The choice of each class. The graph of all chosen children has no cycles, whether a class
    /// is used or not.
    pub chosen: Vec<usize>,
    /// How many used classes (and roots) depend on each class.
    pub users: Vec<usize>,
    /// Computable classes, children before parents.
    pub order: Vec<Class>,
    /// Position of each class in that order.
    rank: Vec<usize>,
    /// Classes whose choices do not follow that order, because of a change that may yet be taken
    /// back.
    changed: Vec<Class>,
    /// For each class, when a search saw it last.
    visited: Vec<u32>,
    visit: u32,
    /// Price of all used classes.
    pub total: f64,
    /// What open trials have changed, to take it back: classes with their numbers of users before,
    /// each once a trial.
    counted: Vec<(Class, usize)>,
    /// The same of choices.
    replaced: Vec<(Class, usize)>,
    /// The classes that the last trial left as they are, and whether they were used: they were not,
    /// or had that choice already.
    pub skipped: Vec<(Class, bool)>,
    /// For each class, the trial that counted it last.
    counted_by: Vec<u32>,
    trial: u32,
}

/// A change that is made, but may be taken back.
pub(super) struct Trial {
    counted: usize,
    replaced: usize,
    total: f64,
}

impl<'a> Selection<'a> {
    /// For each class the choice whose tree is the cheapest.
    pub fn from_trees(choices: &'a Choices) -> Selection<'a> {
        let count = choices.classes.len();
        let mut selection = Selection {
            choices,
            trees: Trees::new(choices),
            chosen: vec![NONE; count],
            users: vec![0; count],
            order: Vec::with_capacity(count),
            rank: vec![NONE; count],
            changed: Vec::new(),
            visited: vec![0; count],
            visit: 0,
            total: 0.0,
            counted: Vec::new(),
            replaced: Vec::new(),
            skipped: Vec::new(),
            counted_by: vec![0; count],
            trial: 0,
        };
        selection.settle(Vec::new());
        for &root in &choices.roots {
            assert!(selection.chosen[root] != NONE, "class {root} cannot be computed");
            selection.retain(root, 1);
        }
        selection.counted.clear();
        selection
    }

    /// Chooses again for the classes that are not used: the choice whose tree is the cheapest if
    /// used classes cost nothing. So a change that needs such a class builds on what is there.
    pub fn settle_unused(&mut self) {
        let order = std::mem::take(&mut self.order).into_iter();
        let used = order.filter(|&class| self.users[class] > 0);
        let used: Vec<(Class, usize)> = used.map(|class| (class, self.chosen[class])).collect();
        self.settle(used);
    }

    /// Chooses for all classes but these, which have their choices and cost nothing.
    fn settle(&mut self, used: Vec<(Class, usize)>) {
        let Selection { trees, chosen, rank, order, .. } = self;
        trees.settle(used, |class, choice| {
            chosen[class] = choice;
            rank[class] = order.len();
            order.push(class);
        });
    }

    fn choice(&self, class: Class) -> &'a Choice {
        &self.choices.classes[class][self.chosen[class]]
    }

    /// Remembers how many users a class has before the trial changes it.
    fn count(&mut self, class: Class) {
        if self.counted_by[class] != self.trial {
            self.counted_by[class] = self.trial;
            self.counted.push((class, self.users[class]));
        }
    }

    /// So many more users of a class.
    fn retain(&mut self, class: Class, times: usize) {
        let mut added: SmallVec<[Class; 16]> = SmallVec::new();
        let mut next = Some((class, times));
        while let Some((class, times)) = next {
            self.count(class);
            self.users[class] += times;
            if self.users[class] == times {
                let choice = self.choice(class);
                self.total += choice.price;
                added.extend_from_slice(&choice.children);
            }
            next = added.pop().map(|class| (class, 1));
        }
    }

    /// One user less.
    fn release(&mut self, class: Class) {
        let mut removed: SmallVec<[Class; 16]> = smallvec![class];
        while let Some(class) = removed.pop() {
            self.count(class);
            self.users[class] -= 1;
            if self.users[class] == 0 {
                let choice = self.choice(class);
                self.total -= choice.price;
                removed.extend_from_slice(&choice.children);
            }
        }
    }

    /// Makes the change as far as it concerns classes in use; `None` if it changes nothing or
    /// needs what cannot be computed. The choices may go in circles then, until
    /// [`Selection::accept`] has been asked. Trials within a trial end before it does.
    pub fn attempt(&mut self, change: &[(Class, usize)]) -> Option<Trial> {
        self.skipped.clear();
        let mut concerned = Move::new();
        for &(class, choice) in change {
            if self.users[class] > 0 && self.chosen[class] != choice {
                let children = &self.choices.classes[class][choice].children;
                if children.iter().any(|&child| self.chosen[child] == NONE) {
                    return None;
                }
                concerned.push((class, choice));
            } else {
                self.skipped.push((class, self.users[class] > 0));
            }
        }
        if concerned.is_empty() {
            return None;
        }
        let (counted, replaced) = (self.counted.len(), self.replaced.len());
        let trial = Trial { counted, replaced, total: self.total };
        self.trial += 1;
        for &(class, choice) in &concerned {
            let old = self.chosen[class];
            self.total -= self.choice(class).price;
            self.replaced.push((class, old));
            self.chosen[class] = choice;
            self.total += self.choice(class).price;
        }
        // What the new choices need is held before what the old ones needed is let go.
        let mut needed: SmallVec<[(Class, usize); 4]> = SmallVec::new();
        for &(class, _) in &concerned {
            for &child in &self.choice(class).children {
                match needed.last_mut() {
                    // Most classes of a change need the same.
                    Some((known, times)) if *known == child => *times += 1,
                    _ => needed.push((child, 1)),
                }
            }
        }
        for (class, times) in needed {
            self.retain(class, times);
        }
        for index in trial.replaced..self.replaced.len() {
            let (class, old) = self.replaced[index];
            for &child in &self.choices.classes[class][old].children {
                self.release(child);
            }
        }
        Some(trial)
    }

    /// Whether a change could make the whole cheaper: if some class would have a cheaper choice, or
    /// something is used by the classes that change their choices and by nothing else.
    pub fn may_pay(&self, change: &[(Class, usize)]) -> bool {
        let mut left: SmallVec<[(Class, usize); 8]> = SmallVec::new();
        for &(class, choice) in change {
            if self.users[class] == 0 || self.chosen[class] == choice {
                continue;
            }
            let (old, new) = (self.choice(class), &self.choices.classes[class][choice]);
            if new.price < old.price {
                return true;
            }
            for &child in &old.children {
                match left.iter_mut().find(|(known, _)| *known == child) {
                    Some((_, times)) => *times += 1,
                    None => left.push((child, 1)),
                }
            }
        }
        left.iter().any(|&(child, times)| self.users[child] <= times)
    }

    /// Whether the whole got cheaper by a trial, all within it included.
    pub fn pays(&self, trial: &Trial) -> bool {
        self.total < trial.total - LEAST_GAIN * trial.total
    }

    /// The classes whose numbers of users a trial changed, with the numbers before, if there were
    /// no trials within it.
    pub fn counted(&self, trial: &Trial) -> &[(Class, usize)] {
        &self.counted[trial.counted..]
    }

    /// The classes whose choices a trial changed, with the choices before.
    pub fn replaced(&self, trial: &Trial) -> &[(Class, usize)] {
        &self.replaced[trial.replaced..]
    }

    /// Takes a trial back, and all within it.
    pub fn take_back(&mut self, trial: &Trial) {
        for (class, users) in self.counted.drain(trial.counted..).rev() {
            self.users[class] = users;
        }
        for (class, choice) in self.replaced.drain(trial.replaced..).rev() {
            self.chosen[class] = choice;
        }
        self.total = trial.total;
    }

    /// Whether no class depends on itself since a trial changed its choices (the trials within it
    /// set aside), as they may stay then.
    pub fn accept(&mut self, trial: &Trial) -> bool {
        let change = Move::from_slice(self.replaced(trial));
        let in_order = change.iter().all(|&(class, _)| {
            let children = &self.choice(class).children;
            children.iter().all(|&child| self.rank[child] < self.rank[class])
        });
        let quiet = in_order && self.changed.is_empty();
        if !quiet && self.goes_in_circles(&change) {
            return false;
        }
        if !in_order {
            self.changed.extend(change.iter().map(|(class, _)| *class));
        }
        true
    }

    /// Ends the outermost trial, which was taken back or is kept with what was accepted.
    pub fn end(&mut self, kept: bool) {
        self.counted.clear();
        self.replaced.clear();
        if kept && !self.changed.is_empty() {
            self.sort();
        }
        self.changed.clear();
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

    /// Brings the order of classes in line with the choices. Only what lies between a changed class
    /// and what it needs now can be out of order (Pearce and Kelly, "A dynamic topological sort
    /// algorithm for directed acyclic graphs", 2006).
    fn sort(&mut self) {
        let ranks = self.changed.iter().map(|&class| self.rank[class]);
        let children = self.changed.iter().flat_map(|&class| &self.choice(class).children);
        let lowest = ranks.clone().min().unwrap_or(0);
        let highest = ranks.chain(children.map(|&child| self.rank[child])).max().unwrap_or(0);
        let region = self.order[lowest..=highest].to_vec();
        self.visit += 2;
        let mut next_rank = lowest;
        let mut stack = Vec::new();
        for start in region {
            stack.push((start, 0));
            while let Some((class, next)) = stack.pop() {
                if self.visited[class] == self.visit {
                    continue;
                }
                match self.choice(class).children.get(next) {
                    Some(&child) => {
                        stack.push((class, next + 1));
                        if self.rank[child] >= lowest {
                            stack.push((child, 0));
                        }
                    }
                    None => {
                        self.visited[class] = self.visit;
                        self.rank[class] = next_rank;
                        self.order[next_rank] = class;
                        next_rank += 1;
                    }
                }
            }
        }
    }
}
