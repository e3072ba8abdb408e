//! Types, shapes and patterns.

use super::list::ListKind;
use super::{Failed, Parse, Parser};
use crate::syntax::ast::{Axis, AxisValue, Pattern, Shape, Type, TypeKind};
use crate::syntax::token::TokenKind;

impl Parser<'_> {
    /// `type = NAME [shape] | "(" type {"," type} ")"`
    pub(super) fn ty(&mut self) -> Type {
        let start = self.start();
        let kind = match self.kind() {
            TokenKind::Name => match self.expect_name("a type") {
                Ok(element) if self.at(TokenKind::OpenBracket) && self.continues() => {
                    TypeKind::Tensor { element, shape: self.shape() }
                }
                Ok(name) => TypeKind::Name(name),
                Err(Failed) => TypeKind::Error,
            },
            TokenKind::OpenParen => {
                TypeKind::Tuple(self.list(ListKind::Parentheses, |parser| Ok(parser.ty())).elements)
            }
            _ => {
                self.report_expected(
                    "expected-type",
                    "a type",
                    "types are written `f32[n, d]`, `i32[]`, `dim`, `float` or `(f32[n], f32[n])`",
                );
                TypeKind::Error
            }
        };
        Type { kind, span: self.span_from(start) }
    }

    /// `[":" type]`
    pub(super) fn optional_type(&mut self) -> Option<Type> {
        self.eat(TokenKind::Colon).then(|| self.ty())
    }

    /// `shape = "[" [axis {"," axis}] "]"`; the bracket must be the current token.
    pub(super) fn shape(&mut self) -> Shape {
        let start = self.start();
        let axes = self.list(ListKind::Brackets, Self::axis).elements;
        Shape { axes, span: self.span_from(start) }
    }

    /// A shape behind `as` or `->`.
    pub(super) fn expect_shape(&mut self) -> Parse<Shape> {
        if self.at(TokenKind::OpenBracket) {
            return Ok(self.shape());
        }
        self.report_expected(
            "expected-token",
            "`[`",
            "axes are moved with `x as [n, (heads, e)] -> [heads, n, e]`",
        );
        Err(Failed)
    }

    /// `axis = "..." | [NAME ":"] expr`
    fn axis(&mut self) -> Parse<Axis> {
        let start = self.start();
        let name = self.optional_argument_name();
        let value = if name.is_none() && self.eat(TokenKind::Ellipsis) {
            AxisValue::Ellipsis
        } else {
            AxisValue::Expr(self.expression())
        };
        Ok(Axis { name, value, span: self.span_from(start) })
    }

    /// `pattern = NAME | "_" | "(" pattern {"," pattern} ")"`
    pub(super) fn pattern(&mut self) -> Parse<Pattern> {
        match self.kind() {
            TokenKind::Underscore => Ok(Pattern::Ignore(self.advance().span)),
            TokenKind::OpenParen => {
                let start = self.start();
                let components = self.list(ListKind::Parentheses, Self::pattern).elements;
                Ok(Pattern::Tuple(components, self.span_from(start)))
            }
            _ => self.expect_name("a name").map(Pattern::Name),
        }
    }
}
