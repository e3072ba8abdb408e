//! Choosing one way to compute each class of an e-graph, at the least total price.
//!
//! What several users share is paid for once (the price is that of a directed acyclic graph, not
//! of a tree), and no choice may depend on itself. Finding the optimum is NP-hard; this is a tree
//! extraction (Knuth's generalization of Dijkstra's algorithm, 1977), which settles classes in the
//! order of their prices and so never goes around in a circle, followed by a hill climb with
//! reference counts: a class changes its choice whenever the whole gets cheaper. Changes of several
//! classes at once that make the whole dearer are tried together with changes that build on them.

mod climb;
mod selection;
mod trees;

use smallvec::SmallVec;

use climb::Climb;

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

/// A change must save at least this share of the total price, so that rounding cannot make the
/// climb go on forever.
const LEAST_GAIN: f64 = 1e-9;

/// What [`extract`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Extraction {
    /// The chosen way for each class, meaningful for those that the roots need.
    pub chosen: Vec<usize>,
    /// The price of all that is used.
    pub price: f64,
    /// How many changes were tried to find it.
    pub trials: usize,
}

/// Chooses a way for each class.
///
/// Besides changes of single classes, the climb tries `moves`, alone and each followed by those
/// that use what it makes.
///
/// # Panics
/// If a root cannot be computed.
pub fn extract(choices: &Choices, moves: &[Move]) -> Extraction {
    Climb::new(choices, moves).run()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::selection::Selection;
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
        assert_eq!(extract(&choices, &[]).price, 15.0);
        let Extraction { chosen, price, .. } = extract(&choices, &[both]);
        assert_eq!((chosen, price), (vec![0, 1, 1, 0], 13.0));
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
        assert_eq!(extract(&choices, &[both]).price, 10.0);
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
            let Extraction { chosen, price: total, .. } = extract(&choices, &moves);
            let end = price(&choices, &chosen).expect("the result is acyclic");
            prop_assert!((end - total).abs() < 1e-6, "{end} is reported as {total}");
            prop_assert!(end <= start);
        }
    }
}
