//! Expressions.

use super::{Block, Ident, Pattern, Shape};
use crate::source::Span;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of an [`Expr`].
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A name: a value, a definition, an axis, or one of the names that the language defines,
    /// such as `inf`, `nan` and `training`.
    Name(String),
    /// `3`, `1_000`.
    Int(i64),
    /// `0.5`, `1e-3`.
    Float(f64),
    /// `true`, `false`.
    Bool(bool),
    /// `"text with {values}"`.
    String(StringLiteral),
    /// `_` among the arguments of a call, which makes the call a capture.
    Placeholder,
    /// `(expression)`.
    Paren(Box<Expr>),
    /// `(a, b)`; the components have names in movements: `(h: 28, w: 28)`.
    Tuple(Vec<Argument>),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `start..end by step`; inside an index all three may be missing.
    Range {
        /// The first element.
        start: Option<Box<Expr>>,
        /// The element behind the last.
        end: Option<Box<Expr>>,
        /// The distance between elements, if not 1.
        step: Option<Box<Expr>>,
    },
    /// `-x`, `not x`.
    Unary {
        /// The operator.
        operator: UnaryOperator,
        /// What it is applied to.
        operand: Box<Expr>,
    },
    /// `a + b`.
    Binary {
        /// The operator.
        operator: BinaryOperator,
        /// Where the operator itself stands.
        operator_span: Span,
        /// The left operand.
        left: Box<Expr>,
        /// The right operand.
        right: Box<Expr>,
    },
    /// `f(x, name: y)`.
    Call {
        /// What is called.
        callee: Box<Expr>,
        /// The arguments, as written.
        arguments: Vec<Argument>,
    },
    /// `x[t: -1]`, `zeros[n, d]`.
    Index {
        /// What stands before the brackets.
        base: Box<Expr>,
        /// The brackets.
        shape: Shape,
    },
    /// `net.head`.
    Field {
        /// What stands before the dot.
        base: Box<Expr>,
        /// The name behind the dot.
        name: Ident,
    },
    /// `x |> f(a) as [n, d] -> [d, n] |> g`: the input passes through every step in turn.
    Pipe {
        /// What enters the first step.
        input: Box<Expr>,
        /// The steps; at least one.
        steps: Vec<PipeStep>,
    },
    /// `{ ... }`.
    Block(Block),
    /// `if condition { ... } else { ... }`.
    If {
        /// The condition.
        condition: Box<Expr>,
        /// What it is if the condition holds.
        then: Block,
        /// What it is otherwise: a `Block` or another `If`.
        otherwise: Option<Box<Expr>>,
    },
    /// `for` or `scan`.
    Loop(Box<Loop>),
    /// Text that is not an expression.
    Error,
}

/// One argument of a call, or one component of a tuple: `name: value` or `value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// The name before the colon.
    pub name: Option<Ident>,
    /// The value.
    pub value: Expr,
    /// The whole argument.
    pub span: Span,
}

/// One step of a [`ExprKind::Pipe`].
#[derive(Debug, Clone, PartialEq)]
pub enum PipeStep {
    /// `|> label: f(a)`.
    Stage(Stage),
    /// `as [n, d] -> [d, n]`.
    Movement(Movement),
}

/// `|> label: callee(arguments)`: calls `callee` with the pipe's value before `arguments`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// What names the parameters of this use.
    pub label: Option<Label>,
    /// What is called.
    pub callee: Expr,
    /// The arguments behind the pipe's value; empty also where no parentheses are written.
    pub arguments: Vec<Argument>,
    /// The stage without `|>`.
    pub span: Span,
}

/// The label of a stage: `conv1`, `layers[i]`, `[i]`, `"lstm"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Its parts, joined by dots in the names of parameters; at least one.
    pub parts: Vec<LabelPart>,
    /// The label without the colon.
    pub span: Span,
}

/// One part of a [`Label`].
#[derive(Debug, Clone, PartialEq)]
pub enum LabelPart {
    /// A name.
    Name(Ident),
    /// A string, which may hold values: `"l{i}"`.
    String(StringLiteral),
    /// `[i]`.
    Index(Expr),
}

/// `as [n, t, (heads, e)] -> [n, heads, t, e]`: renames, splits, merges and transposes axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Movement {
    /// How the axes that are there are read.
    pub from: Shape,
    /// The axes of the result; `from` where it is missing.
    pub to: Option<Shape>,
    /// The movement, `as` included.
    pub span: Span,
}

/// Which loop a [`Loop`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoopKind {
    /// `for`: unrolled when the program is compiled.
    For,
    /// `scan`: a loop of the compiled program.
    Scan,
}

/// `for i, x in xs { ... }` or `scan x in xs along t until done { ... }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Loop {
    /// `for` or `scan`.
    pub kind: LoopKind,
    /// What it runs over, side by side; at least one.
    pub generators: Vec<Generator>,
    /// The axis that a `scan` runs along.
    pub along: Option<Ident>,
    /// What ends a `scan` early.
    pub until: Option<Expr>,
    /// The body.
    pub body: Block,
    /// The whole loop.
    pub span: Span,
}

/// `pattern in source` or `index, pattern in source`.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator {
    /// What each element is bound to; before the last one, counters. At least one.
    pub patterns: Vec<Pattern>,
    /// What it runs over.
    pub source: Expr,
    /// The whole generator.
    pub span: Span,
}

/// Operators before their operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOperator {
    /// `-`.
    Negate,
    /// `not`.
    Not,
}

/// Operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOperator {
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`: exact on dims.
    Divide,
    /// `//`: rounds down.
    FloorDivide,
    /// `**`.
    Power,
    /// `==`.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterEqual,
    /// `and`.
    And,
    /// `or`.
    Or,
}

impl BinaryOperator {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOperator::Add => "+",
            BinaryOperator::Subtract => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::FloorDivide => "//",
            BinaryOperator::Power => "**",
            BinaryOperator::Equal => "==",
            BinaryOperator::NotEqual => "!=",
            BinaryOperator::Less => "<",
            BinaryOperator::LessEqual => "<=",
            BinaryOperator::Greater => ">",
            BinaryOperator::GreaterEqual => ">=",
            BinaryOperator::And => "and",
            BinaryOperator::Or => "or",
        }
    }
}

/// A string, taken apart into text and the values between braces.
#[derive(Debug, Clone, PartialEq)]
pub struct StringLiteral {
    /// The parts, in order; none for `""`.
    pub parts: Vec<StringPart>,
    /// The text including the quotes.
    pub span: Span,
}

impl StringLiteral {
    /// The text, if no values stand in it.
    pub fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [StringPart::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// One part of a [`StringLiteral`]. Two texts never follow each other.
#[derive(Debug, Clone, PartialEq)]
pub enum StringPart {
    /// Text, with its escapes resolved.
    Text(String),
    /// `{expression}`.
    Value(Expr),
}
