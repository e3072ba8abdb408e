//! Instances of layers: what their parameters are called, and which uses share them.
//!
//! A use of a layer inside another one adds a label to the path: `layer1` in `model` gives
//! `layer1.weight`. A capture (`let embed = embedding(_, vocab, d)`) is one instance however
//! often it is called; every other use is an instance of its own, and two of them must not
//! declare parameters of one path.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::source::Span;

/// Identity of a shared instance: the program's own, or a capture. Parameters belong to the
/// innermost one around their declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root(u32);

impl Root {
    /// The instance around everything.
    pub const PROGRAM: Root = Root(0);
}

/// Gives captures their identities: the same one when the surrounding instance is called again.
#[derive(Debug, Default)]
pub struct Roots {
    known: HashMap<(Root, String, u32), Root>,
    calls: HashMap<Root, u32>,
}

impl Roots {
    /// The capture number `ordinal` with this path in an activation of `parent`.
    pub fn capture(&mut self, parent: Root, path: &str, ordinal: u32) -> Root {
        let next = Root(self.known.len() as u32 + 1);
        *self.known.entry((parent, path.to_owned(), ordinal)).or_insert(next)
    }

    /// Counts the calls of a shared instance, from 0.
    pub fn next_call(&mut self, root: Root) -> u32 {
        let calls = self.calls.entry(root).or_insert(0);
        *calls += 1;
        *calls - 1
    }
}

/// One evaluation of a layer's body.
#[derive(Debug)]
pub struct Activation {
    /// Path of the instance, empty for the outermost one.
    pub path: String,
    /// The shared instance it belongs to.
    pub root: Root,
    /// Which call of the shared instance it belongs to, from 0.
    pub call: u32,
    /// Whether it is one of a metric: its state begins anew with every pass over the samples.
    pub accumulates: bool,
    /// Parameters declared so far in this call of the shared instance.
    declared: Rc<RefCell<HashMap<String, Span>>>,
    labels: RefCell<HashMap<String, u32>>,
    captures: RefCell<HashMap<String, u32>>,
    draws: Cell<u32>,
}

impl Activation {
    /// A call of the shared instance `root`.
    pub fn of_root(path: &str, root: Root, call: u32) -> Rc<Activation> {
        Rc::new(Activation::new(path.to_owned(), root, call))
    }

    fn new(path: String, root: Root, call: u32) -> Activation {
        Activation {
            path,
            root,
            call,
            accumulates: false,
            declared: Rc::default(),
            labels: RefCell::default(),
            captures: RefCell::default(),
            draws: Cell::new(0),
        }
    }

    /// The use of a metric that is reported as `name`. No parameter's path has a slash.
    pub fn of_metric(name: &str) -> Rc<Activation> {
        let activation = Activation::new(format!("report/{name}"), Root::PROGRAM, 0);
        Rc::new(Activation { accumulates: true, ..activation })
    }

    /// The use of a layer inside this one, under a label.
    pub fn inner(&self, label: &str) -> Rc<Activation> {
        *self.labels.borrow_mut().entry(label.to_owned()).or_insert(0) += 1;
        Rc::new(Activation {
            accumulates: self.accumulates,
            declared: Rc::clone(&self.declared),
            ..Activation::new(self.join(label), self.root, self.call)
        })
    }

    /// The label of a use without one: the callee's name, with a number from the second use on.
    pub fn unlabelled(&self, callee: &str) -> String {
        let labels = self.labels.borrow();
        let numbered = (2..).map(|number| format!("{callee}_{number}"));
        std::iter::once(callee.to_owned())
            .chain(numbered)
            .find(|label| !labels.contains_key(label))
            .unwrap_or_else(|| callee.to_owned())
    }

    /// How many captures with this path were made before in this activation.
    pub fn capture_ordinal(&self, path: &str) -> u32 {
        let mut captures = self.captures.borrow_mut();
        let count = captures.entry(path.to_owned()).or_insert(0);
        *count += 1;
        *count - 1
    }

    /// The name of the next random stream: equal in no two places and calls.
    pub fn next_stream(&self) -> String {
        let draw = self.draws.get();
        self.draws.set(draw + 1);
        format!("{}#{}.{draw}", self.path, self.call)
    }

    /// The path of a name inside this instance.
    pub fn join(&self, name: &str) -> String {
        match (self.path.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{name}", self.path),
        }
    }

    /// Records a declaration; the place of the one before if this call already has one.
    pub fn declare(&self, path: &str, span: Span) -> Option<Span> {
        self.declared.borrow_mut().insert(path.to_owned(), span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_make_paths() {
        let root = Activation::of_root("", Root::PROGRAM, 0);
        assert_eq!(root.unlabelled("linear"), "linear");
        let first = root.inner("linear");
        assert_eq!(first.join("weight"), "linear.weight");
        assert_eq!(root.unlabelled("linear"), "linear_2");
        root.inner("linear_2");
        assert_eq!(root.unlabelled("linear"), "linear_3");
        assert_eq!(first.inner("").join("bias"), "linear.bias");
    }

    #[test]
    fn captures_keep_their_identity_between_calls() {
        let mut roots = Roots::default();
        let embed = roots.capture(Root::PROGRAM, "embed", 0);
        assert_eq!(roots.capture(Root::PROGRAM, "embed", 0), embed);
        assert_ne!(roots.capture(Root::PROGRAM, "embed", 1), embed);
        assert_eq!((roots.next_call(embed), roots.next_call(embed)), (0, 1));
    }

    #[test]
    fn streams_differ_between_calls_and_places() {
        let mut names = vec![];
        for call in 0..2 {
            let activation = Activation::of_root("net", Root::PROGRAM, call);
            names.extend([activation.next_stream(), activation.next_stream()]);
            names.push(activation.inner("a").next_stream());
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 6);
    }
}
