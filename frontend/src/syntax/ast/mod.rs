//! The syntax tree: what the parser makes of one source file.
//!
//! The tree follows the text closely (parentheses are kept, nothing is desugared except that a
//! pipe's stage is split into callee and arguments), so that the formatter and the checker read
//! the same tree. Every node carries the [`Span`] of its text. Where the text could not be
//! parsed there is an `Error` node, for which a diagnostic was already reported: later stages
//! pass over it in silence.
//!
//! The height of every tree is bounded by the parser, so
//! walking one by recursion is safe.

mod expression;
mod recipe;
mod statement;
mod visit;

pub use expression::*;
pub use recipe::*;
pub use statement::*;

use crate::source::Span;

/// One parsed source file.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// The definitions, in the order of the text.
    pub items: Vec<Item>,
    /// The whole text.
    pub span: Span,
}

/// A definition at the top of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `use "resnet.cyg": resnet18`.
    Use(Use),
    /// `fn`, `layer`, `model`, `optimizer` or `metric`.
    Function(Function),
    /// `train name(...) { ... }`.
    Recipe(Recipe),
    /// `let tiny = normal(std: 0.02)`.
    Binding(Binding),
}

impl Item {
    /// The text of the whole definition.
    pub fn span(&self) -> Span {
        match self {
            Item::Use(item) => item.span,
            Item::Function(item) => item.span,
            Item::Recipe(item) => item.span,
            Item::Binding(item) => item.span,
        }
    }
}

/// A name as it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ident {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
}

/// An import: `use "file.cyg"`, `use "file.cyg": a, b` or `use "file.cyg" as name`.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    /// The file, relative to the importing one.
    pub path: StringLiteral,
    /// What the import makes visible.
    pub imports: Imports,
    /// The whole `use`.
    pub span: Span,
}

/// What a [`Use`] makes visible.
#[derive(Debug, Clone, PartialEq)]
pub enum Imports {
    /// Every definition of the file.
    All,
    /// The listed definitions; at least one.
    Names(Vec<Ident>),
    /// The file under one name: `name.definition`.
    Module(Ident),
}

/// Which kind of definition a [`Function`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// `fn`: a pure function.
    Fn,
    /// `layer`: may own parameters and state.
    Layer,
    /// `model`: a layer that can be compiled on its own.
    Model,
    /// `optimizer`: an update rule for one parameter.
    Optimizer,
    /// `metric`: a value over all samples, accumulated from batch to batch.
    Metric,
}

impl FunctionKind {
    /// The keyword that introduces the definition.
    pub fn keyword(self) -> &'static str {
        match self {
            FunctionKind::Fn => "fn",
            FunctionKind::Layer => "layer",
            FunctionKind::Model => "model",
            FunctionKind::Optimizer => "optimizer",
            FunctionKind::Metric => "metric",
        }
    }
}

/// `fn`, `layer`, `model`, `optimizer` or `metric`.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Which of the five it is.
    pub kind: FunctionKind,
    /// Its name.
    pub name: Ident,
    /// Tensor inputs and static parameters, as written.
    pub parameters: Vec<Parameter>,
    /// The type behind `->`.
    pub result: Option<Type>,
    /// What it computes.
    pub body: Body,
    /// The whole definition.
    pub span: Span,
}

/// The body of a [`Function`].
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// `{ ... }`.
    Block(Block),
    /// `= expression`.
    Expr(Expr),
}

/// One parameter of a definition: `name: type = default`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: Ident,
    /// Its type; without one, any tensor.
    pub ty: Option<Type>,
    /// The value it has when the caller gives none.
    pub default: Option<Expr>,
    /// The whole parameter.
    pub span: Span,
}

/// A type: `f32[n, d]`, `dim`, `(f32[n], i32[n])`.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    /// What it is.
    pub kind: TypeKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of a [`Type`].
#[derive(Debug, Clone, PartialEq)]
pub enum TypeKind {
    /// A name alone, such as `dim` or `float`: the type of a static value.
    Name(Ident),
    /// An element type with a shape: `f32[n, d]`; a scalar is `f32[]`.
    Tensor {
        /// The element type.
        element: Ident,
        /// The axes.
        shape: Shape,
    },
    /// `(type, type)`.
    Tuple(Vec<Type>),
    /// Text that is not a type.
    Error,
}

/// A list of axes in brackets: the shape of a type or of a fill (`zeros[n, d]`), the places of an
/// index (`x[t: -1]`), or one side of a movement (`x as [n, t] -> [t, n]`).
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The axes, in order.
    pub axes: Vec<Axis>,
    /// The text including the brackets.
    pub span: Span,
}

impl Shape {
    /// The names that stand for axes in it, in order: `n` in `[n, 4]`, `h` in `[(h, 2)]`, `t` in
    /// `[t: 8]`.
    pub fn names(&self) -> Vec<(&str, Span)> {
        let mut names = Vec::new();
        for axis in &self.axes {
            match (&axis.name, &axis.value) {
                (Some(name), _) => names.push((name.name.as_str(), name.span)),
                (None, AxisValue::Expr(expr)) => expr.axis_names(&mut names),
                (None, AxisValue::Ellipsis) => {}
            }
        }
        names
    }
}

impl Expr {
    /// The names in it, inner expressions included.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.each(&mut |expr| {
            if let ExprKind::Name(name) = &expr.kind {
                names.push(name.as_str());
            }
        });
        names
    }

    /// The names that an entry of a shape consists of.
    fn axis_names<'a>(&'a self, names: &mut Vec<(&'a str, Span)>) {
        match &self.kind {
            ExprKind::Name(name) => names.push((name, self.span)),
            ExprKind::Tuple(parts) => {
                for part in parts {
                    match &part.name {
                        Some(name) => names.push((&name.name, name.span)),
                        None => part.value.axis_names(names),
                    }
                }
            }
            _ => {}
        }
    }
}

/// One entry of a [`Shape`].
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// The name before the colon: `t` in `x[t: -1]`.
    pub name: Option<Ident>,
    /// What stands for the axis.
    pub value: AxisValue,
    /// The whole entry.
    pub span: Span,
}

/// What stands for one axis.
#[derive(Debug, Clone, PartialEq)]
pub enum AxisValue {
    /// `...`: any number of axes.
    Ellipsis,
    /// A size, an index, a range, or in a movement a tuple of axes that are split or merged.
    Expr(Expr),
}
