//! Blocks and statements.

use super::{Expr, Function, Ident, StringLiteral, Type};
use crate::source::Span;

/// Statements in braces. Its value is that of its last statement if this is an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The statements, in order.
    pub statements: Vec<Statement>,
    /// The text including the braces.
    pub span: Span,
}

impl Block {
    /// The expression whose value the block has, if it ends in one.
    pub fn value(&self) -> Option<&Expr> {
        match self.statements.last() {
            Some(Statement::Expr(expr)) => Some(expr),
            _ => None,
        }
    }
}

/// One statement of a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `let` or `var`.
    Binding(Binding),
    /// `param` or `state`.
    Declaration(Declaration),
    /// `name = value`.
    Assignment(Assignment),
    /// A function inside a model or a layer.
    Function(Function),
    /// `yield value`.
    Yield(Yield),
    /// An expression.
    Expr(Expr),
    /// Text that is not a statement.
    Error(Span),
}

impl Statement {
    /// The text of the statement.
    pub fn span(&self) -> Span {
        match self {
            Statement::Binding(statement) => statement.span,
            Statement::Declaration(statement) => statement.span,
            Statement::Assignment(statement) => statement.span,
            Statement::Function(statement) => statement.span,
            Statement::Yield(statement) => statement.span,
            Statement::Expr(statement) => statement.span,
            Statement::Error(span) => *span,
        }
    }
}

/// `let pattern: type = value` or `var pattern: type = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Whether it is a `var`, which may be assigned again.
    pub mutable: bool,
    /// The names it binds.
    pub pattern: Pattern,
    /// The type behind the colon.
    pub ty: Option<Type>,
    /// The value.
    pub value: Expr,
    /// The whole binding.
    pub span: Span,
}

/// What the left side of a binding or of a loop's generator takes apart.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// A name.
    Name(Ident),
    /// `_`: the value is not needed.
    Ignore(Span),
    /// `(a, b)`: the components of a tuple.
    Tuple(Vec<Pattern>, Span),
}

impl Pattern {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Pattern::Name(ident) => ident.span,
            Pattern::Ignore(span) | Pattern::Tuple(_, span) => *span,
        }
    }

    /// The names it binds, in order.
    pub fn names(&self) -> Vec<&Ident> {
        match self {
            Pattern::Name(ident) => vec![ident],
            Pattern::Ignore(_) => Vec::new(),
            Pattern::Tuple(parts, _) => parts.iter().flat_map(Pattern::names).collect(),
        }
    }
}

/// Whether a [`Declaration`] is trained or carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeclarationKind {
    /// `param`: trained by gradients, saved with the weights.
    Param,
    /// `state`: assigned by the program itself and kept from step to step.
    State,
}

/// `param name "stored name": type = initial` or the same with `state`.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// `param` or `state`.
    pub kind: DeclarationKind,
    /// Its name in the program.
    pub name: Ident,
    /// Its name in saved weights, where it differs.
    pub stored_name: Option<StringLiteral>,
    /// Its type.
    pub ty: Option<Type>,
    /// Its value before the first step.
    pub initial: Expr,
    /// The whole declaration.
    pub span: Span,
}

/// `name = value`, for a `var` or a `state`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// What is assigned.
    pub name: Ident,
    /// Its new value.
    pub value: Expr,
    /// The whole assignment.
    pub span: Span,
}

/// `yield value`: one element of what the enclosing loop gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Yield {
    /// The element.
    pub value: Expr,
    /// The whole statement.
    pub span: Span,
}
