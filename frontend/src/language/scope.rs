//! Names and what they are bound to while a definition is evaluated.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::package::ModuleId;
use super::value::Value;
use crate::source::Span;

/// How a name may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// A parameter, a `let`, a dim: never assigned.
    Fixed,
    /// A `var`.
    Variable,
    /// A `state`, with the number of its slot.
    State(usize),
}

/// What a name stands for.
#[derive(Clone)]
pub struct Binding<'p> {
    /// Its value; of a state, the one it has now.
    pub value: Value<'p>,
    /// How it may be used.
    pub kind: BindingKind,
    /// Where it was bound.
    pub span: Span,
}

/// The names bound in one block, and the scope around it.
pub struct Scope<'p> {
    bindings: RefCell<HashMap<&'p str, Binding<'p>>>,
    parent: Option<Rc<Scope<'p>>>,
    /// The module whose definitions are visible.
    pub module: ModuleId,
    /// Whether it is the outermost scope of a function: what lies outside is not assigned.
    function: bool,
}

impl<'p> Scope<'p> {
    /// The outermost scope of a definition in `module`; `parent` is the scope around it if the
    /// definition stands inside another one.
    pub fn of_function(module: ModuleId, parent: Option<Rc<Scope<'p>>>) -> Rc<Scope<'p>> {
        Rc::new(Scope { bindings: RefCell::default(), parent, module, function: true })
    }

    /// A block inside `parent`.
    pub fn inside(parent: &Rc<Scope<'p>>) -> Rc<Scope<'p>> {
        Rc::new(Scope {
            bindings: RefCell::default(),
            parent: Some(Rc::clone(parent)),
            module: parent.module,
            function: false,
        })
    }

    /// Binds `name` here.
    pub fn bind(&self, name: &'p str, value: Value<'p>, kind: BindingKind, span: Span) {
        self.bindings.borrow_mut().insert(name, Binding { value, kind, span });
    }

    /// Binds `name` to a value that is never assigned.
    pub fn fix(&self, name: &'p str, value: Value<'p>, span: Span) {
        self.bind(name, value, BindingKind::Fixed, span);
    }

    /// What `name` is bound to here or further out.
    pub fn lookup(&self, name: &str) -> Option<Binding<'p>> {
        match self.bindings.borrow().get(name) {
            Some(binding) => Some(binding.clone()),
            None => self.parent.as_ref()?.lookup(name),
        }
    }

    /// What `name` is bound to in this very scope.
    pub fn own(&self, name: &str) -> Option<Binding<'p>> {
        self.bindings.borrow().get(name).cloned()
    }

    /// Gives the variable or state `name` of the innermost function a new value. Returns how it
    /// is bound, or `None`, with nothing changed, if there is no such variable or state.
    pub fn assign(&self, name: &str, value: Value<'p>) -> Option<BindingKind> {
        if let Some(binding) = self.bindings.borrow_mut().get_mut(name) {
            if binding.kind == BindingKind::Fixed {
                return None;
            }
            binding.value = value;
            return Some(binding.kind);
        }
        match &self.parent {
            Some(parent) if !self.function => parent.assign(name, value),
            _ => None,
        }
    }
}
