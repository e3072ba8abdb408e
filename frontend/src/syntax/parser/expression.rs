//! Expressions: pipes, operators and their precedence.

use super::{Failed, Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    AxisValue, BinaryOperator, Expr, ExprKind, Label, LabelPart, Movement, PipeStep, Shape, Stage,
    UnaryOperator,
};
use crate::syntax::token::{Keyword, TokenKind};

/// How tightly infix operators bind, from loosest to tightest. Signs and powers bind tighter
/// still; they are read by [`Parser::signed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Or,
    And,
    Not,
    Comparison,
    Range,
    Sum,
    Product,
    Operand,
}

impl Precedence {
    /// The next tighter one: what the right operand of a left-associative operator needs.
    fn tighter(self) -> Precedence {
        match self {
            Precedence::Or => Precedence::And,
            Precedence::And => Precedence::Not,
            Precedence::Not => Precedence::Comparison,
            Precedence::Comparison => Precedence::Range,
            Precedence::Range => Precedence::Sum,
            Precedence::Sum => Precedence::Product,
            Precedence::Product | Precedence::Operand => Precedence::Operand,
        }
    }
}

/// The binary operator that a token is, and how tightly it binds.
fn infix(kind: TokenKind) -> Option<(BinaryOperator, Precedence)> {
    use BinaryOperator::*;
    Some(match kind {
        TokenKind::Keyword(Keyword::Or) => (Or, Precedence::Or),
        TokenKind::Keyword(Keyword::And) => (And, Precedence::And),
        TokenKind::EqualEqual => (Equal, Precedence::Comparison),
        TokenKind::NotEqual => (NotEqual, Precedence::Comparison),
        TokenKind::Less => (Less, Precedence::Comparison),
        TokenKind::LessEqual => (LessEqual, Precedence::Comparison),
        TokenKind::Greater => (Greater, Precedence::Comparison),
        TokenKind::GreaterEqual => (GreaterEqual, Precedence::Comparison),
        TokenKind::Plus => (Add, Precedence::Sum),
        TokenKind::Minus => (Subtract, Precedence::Sum),
        TokenKind::Star => (Multiply, Precedence::Product),
        TokenKind::Slash => (Divide, Precedence::Product),
        TokenKind::SlashSlash => (FloorDivide, Precedence::Product),
        _ => return None,
    })
}

impl Parser<'_> {
    /// `expr = or {"|>" stage | "as" shape ["->" shape]}`
    pub(super) fn expression(&mut self) -> Expr {
        self.measured(|parser| {
            let start = parser.start();
            let input = parser.operation(Precedence::Or);
            let mut steps = Vec::new();
            loop {
                let step = match parser.kind() {
                    TokenKind::Pipe => parser.stage().map(PipeStep::Stage),
                    TokenKind::Keyword(Keyword::As) => parser.movement().map(PipeStep::Movement),
                    _ => break,
                };
                match step {
                    Ok(step) => steps.push(step),
                    Err(Failed) => break,
                }
            }
            if steps.is_empty() {
                return input;
            }
            parser.expression_of(ExprKind::Pipe { input: Box::new(input), steps }, start)
        })
    }

    /// `stage = post [":" post]`, behind `|>`
    fn stage(&mut self) -> Parse<Stage> {
        self.advance();
        let start = self.start();
        let mut callee = self.measured(Self::postfix);
        let mut label = None;
        if self.at(TokenKind::Colon) && self.continues() {
            label = Some(self.label(callee)?);
            self.advance();
            callee = self.measured(Self::postfix);
        }
        let (callee, arguments) = match callee.kind {
            ExprKind::Call { callee, arguments } => (*callee, arguments),
            _ => (callee, Vec::new()),
        };
        if matches!(callee.kind, ExprKind::Error) {
            return Err(Failed);
        }
        Ok(Stage { label, callee, arguments, span: self.span_from(start) })
    }

    /// The label that the expression before a stage's colon is.
    fn label(&mut self, expr: Expr) -> Parse<Label> {
        let span = expr.span;
        let mut parts = Vec::new();
        if label_parts(expr, &mut parts).is_ok() {
            return Ok(Label { parts, span });
        }
        self.report(
            Diagnostic::error("not-a-label", "this cannot label a use")
                .primary(span, "expected a label before `:`")
                .help("labels are written `conv1:`, `layers[i]:`, `[i]:` or `\"l{i}\":`"),
        );
        Err(Failed)
    }

    /// `"as" shape ["->" shape]`
    fn movement(&mut self) -> Parse<Movement> {
        let start = self.advance().span;
        let from = self.expect_shape()?;
        let to = if self.eat(TokenKind::Arrow) { Some(self.expect_shape()?) } else { None };
        Ok(Movement { from, to, span: self.span_from(start) })
    }

    /// Infix operators that bind at least as tightly as `minimum`, by precedence climbing.
    fn operation(&mut self, minimum: Precedence) -> Expr {
        self.measured(|parser| {
            let start = parser.start();
            let mut left = parser.prefixed(minimum);
            let mut compared: Option<Span> = None;
            while parser.continues() {
                let token = parser.current();
                // A range is no operand of what binds as tightly or tighter.
                let is_range = matches!(left.kind, ExprKind::Range { .. });
                if token.kind == TokenKind::DotDot && minimum <= Precedence::Range && !is_range {
                    parser.advance();
                    left = parser.range_from(Some(Box::new(left)), start);
                    continue;
                }
                let Some((operator, precedence)) = infix(token.kind) else { break };
                if precedence < minimum || (is_range && precedence >= Precedence::Range) {
                    break;
                }
                if precedence == Precedence::Comparison {
                    if let Some(first) = compared {
                        parser.report_chained_comparison(first);
                    }
                    compared = Some(token.span);
                } else {
                    compared = None;
                }
                parser.advance();
                let right = parser.operation(precedence.tighter());
                let kind = ExprKind::Binary {
                    operator,
                    operator_span: token.span,
                    left: Box::new(left),
                    right: Box::new(right),
                };
                left = parser.expression_of(kind, start);
            }
            left
        })
    }

    fn report_chained_comparison(&mut self, first: Span) {
        let second = self.current().span;
        self.report(
            Diagnostic::error("chained-comparison", "comparisons cannot be chained")
                .primary(second, "a second comparison")
                .secondary(first, "of what this one compares")
                .help("write `a < b and b < c`"),
        );
    }

    /// `not x`, `..end`, or an operand.
    fn prefixed(&mut self, minimum: Precedence) -> Expr {
        let start = self.start();
        match self.kind() {
            TokenKind::Keyword(Keyword::Not) => {
                if minimum > Precedence::Not {
                    self.report(
                        Diagnostic::error(
                            "not-needs-parentheses",
                            "`not` cannot stand behind an operator",
                        )
                        .primary(start, "binds less tightly than the operator before it")
                        .help("put it in parentheses: `(not x)`"),
                    );
                }
                self.advance();
                let operand = self.nested(|parser| parser.operation(Precedence::Not));
                let kind =
                    ExprKind::Unary { operator: UnaryOperator::Not, operand: Box::new(operand) };
                self.expression_of(kind, start)
            }
            TokenKind::DotDot if minimum <= Precedence::Range => {
                self.advance();
                self.range_from(None, start)
            }
            _ => self.signed(),
        }
    }

    /// A range behind its `..`: `[end] ["by" step]`.
    fn range_from(&mut self, from: Option<Box<Expr>>, start: Span) -> Expr {
        let end = if self.at_step() { None } else { self.range_end() };
        let step = self.at_step().then(|| {
            self.advance();
            Box::new(self.operation(Precedence::Sum))
        });
        self.expression_of(ExprKind::Range { start: from, end, step }, start)
    }

    /// Whether this is the word `by` before a step, not a name.
    fn at_step(&self) -> bool {
        let next = self.ahead(1);
        self.at_word("by")
            && !next.starts_line
            && matches!(next.kind, TokenKind::Name | TokenKind::Int)
    }

    /// What follows `..`, if something does.
    fn range_end(&mut self) -> Option<Box<Expr>> {
        let starts_operand = match self.kind() {
            TokenKind::Name
            | TokenKind::Int
            | TokenKind::Float
            | TokenKind::String
            | TokenKind::Minus
            | TokenKind::OpenParen => true,
            TokenKind::Keyword(keyword) => keyword == Keyword::If,
            _ => false,
        };
        (starts_operand && self.continues()).then(|| Box::new(self.operation(Precedence::Sum)))
    }

    /// `neg = "-" neg | post ["**" neg]`
    fn signed(&mut self) -> Expr {
        let start = self.start();
        if self.eat(TokenKind::Minus) {
            let operand = self.nested(Self::signed);
            let kind =
                ExprKind::Unary { operator: UnaryOperator::Negate, operand: Box::new(operand) };
            return self.expression_of(kind, start);
        }
        let base = self.postfix();
        if !(self.at(TokenKind::StarStar) && self.continues()) {
            return base;
        }
        let operator_span = self.advance().span;
        let exponent = self.nested(|parser| parser.measured(Self::signed));
        let kind = ExprKind::Binary {
            operator: BinaryOperator::Power,
            operator_span,
            left: Box::new(base),
            right: Box::new(exponent),
        };
        self.expression_of(kind, start)
    }
}

/// Takes the expression before a stage's colon apart: `layers[i]` is a name and an index.
fn label_parts(expr: Expr, parts: &mut Vec<LabelPart>) -> Parse<()> {
    let only_index = |shape: Shape| -> Parse<Expr> {
        let [axis] = <[_; 1]>::try_from(shape.axes).map_err(|_| Failed)?;
        match (axis.name, axis.value) {
            (None, AxisValue::Expr(index)) => Ok(index),
            _ => Err(Failed),
        }
    };
    match expr.kind {
        ExprKind::Name(name) => {
            parts.push(LabelPart::Name(crate::syntax::ast::Ident { name, span: expr.span }));
        }
        ExprKind::String(string) => parts.push(LabelPart::String(string)),
        ExprKind::List(elements) => {
            let [index] = <[_; 1]>::try_from(elements).map_err(|_| Failed)?;
            parts.push(LabelPart::Index(index));
        }
        ExprKind::Index { base, shape } => {
            label_parts(*base, parts)?;
            parts.push(LabelPart::Index(only_index(shape)?));
        }
        ExprKind::Field { base, name } => {
            label_parts(*base, parts)?;
            parts.push(LabelPart::Name(name));
        }
        _ => return Err(Failed),
    }
    Ok(())
}
