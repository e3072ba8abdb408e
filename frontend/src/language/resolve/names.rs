//! The names that are bound while a definition is read.

use crate::source::Span;

/// What a name is bound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A parameter of a definition.
    Parameter,
    /// `let`.
    Value,
    /// `var`.
    Variable,
    /// `param`.
    Weight,
    /// `state`.
    State,
    /// A function inside a definition.
    Function,
    /// A function inside a model.
    EntryPoint,
    /// An axis of a shape.
    Dim,
    /// The element of a loop.
    Element,
    /// The name of an objective.
    Objective,
    /// `value` and `grad` of an optimizer.
    Given,
}

impl Kind {
    pub(super) fn is_assignable(self) -> bool {
        matches!(self, Kind::Variable | Kind::State | Kind::Given)
    }

    /// What it is, with an article.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Kind::Parameter => "a parameter",
            Kind::Value => "a `let`",
            Kind::Variable => "a `var`",
            Kind::Weight => "a `param`, which only optimizers change",
            Kind::State => "a `state`",
            Kind::Function | Kind::EntryPoint => "a function",
            Kind::Dim => "the name of an axis",
            Kind::Element => "the element of a loop",
            Kind::Objective => "an objective",
            Kind::Given => "given to the optimizer",
        }
    }

    /// What an unused one is called, if it is worth a warning.
    pub(super) fn unused(self) -> Option<&'static str> {
        match self {
            Kind::Parameter => Some("parameter"),
            Kind::Value => Some("value"),
            Kind::Variable => Some("variable"),
            Kind::Weight => Some("param"),
            Kind::Function => Some("function"),
            Kind::State
            | Kind::EntryPoint
            | Kind::Dim
            | Kind::Element
            | Kind::Objective
            | Kind::Given => None,
        }
    }
}

/// A bound name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local<'p> {
    pub(super) name: &'p str,
    pub(super) span: Span,
    pub(super) kind: Kind,
    pub(super) used: bool,
    /// Whether it was bound outside the innermost function.
    pub(super) outside: bool,
}

/// Open scopes, innermost last.
#[derive(Debug, Default)]
pub(super) struct Names<'p> {
    scopes: Vec<(bool, Vec<Local<'p>>)>,
}

impl<'p> Names<'p> {
    /// Opens a scope; `function` if nothing outside of it can be assigned.
    pub(super) fn open(&mut self, function: bool) {
        self.scopes.push((function, Vec::new()));
    }

    /// Closes the innermost scope and returns its names.
    pub(super) fn close(&mut self) -> Vec<Local<'p>> {
        self.scopes.pop().map(|(_, locals)| locals).unwrap_or_default()
    }

    /// Binds a name in the innermost scope. If it is bound there already, nothing changes and the
    /// place of that is returned; a dim gives way to anything.
    pub(super) fn define(&mut self, name: &'p str, span: Span, kind: Kind) -> Option<Span> {
        let (_, scope) = self.scopes.last_mut()?;
        if let Some(before) = scope.iter_mut().find(|local| local.name == name) {
            if before.kind != Kind::Dim {
                return Some(before.span);
            }
            *before = Local { name, span, kind, used: true, outside: false };
            return None;
        }
        scope.push(Local { name, span, kind, used: false, outside: false });
        None
    }

    /// What a name is bound to.
    pub(super) fn find(&self, name: &str) -> Option<Local<'p>> {
        let mut outside = false;
        for (function, scope) in self.scopes.iter().rev() {
            if let Some(local) = scope.iter().find(|local| local.name == name) {
                return Some(Local { outside, ..*local });
            }
            outside |= function;
        }
        None
    }

    /// Marks a name as used; whether it is bound at all.
    pub(super) fn mark(&mut self, name: &str) -> bool {
        for (_, scope) in self.scopes.iter_mut().rev() {
            if let Some(local) = scope.iter_mut().find(|local| local.name == name) {
                local.used = true;
                return true;
            }
        }
        false
    }

    /// All names that are bound, innermost first.
    pub(super) fn visible(&self) -> Vec<&'p str> {
        let scopes = self.scopes.iter().rev();
        scopes.flat_map(|(_, scope)| scope.iter().map(|local| local.name)).collect()
    }
}
