//! Definitions at the top of a file.

use super::list::ListKind;
use super::{Failed, Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::syntax::ast::{
    Body, Function, FunctionKind, Ident, Imports, Item, Parameter, Type, Use,
};
use crate::syntax::token::{Keyword, TokenKind};

/// `NAME "(" [par {"," par}] ")" ["->" type]`
pub(super) struct Signature {
    pub name: Ident,
    pub parameters: Vec<Parameter>,
    pub result: Option<Type>,
}

impl Parser<'_> {
    /// `file = {use | fn | train | bind}`
    pub(super) fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while !self.at(TokenKind::End) {
            let first = self.position;
            match self.item() {
                Some(item) => {
                    items.push(item);
                    self.end_of_line(first, false);
                    // A `}` too many.
                    if self.at(TokenKind::CloseBrace) {
                        self.report_expected_line_end(first, false);
                        self.advance();
                    }
                }
                None => self.skip_to_item(first),
            }
        }
        items
    }

    /// One definition; `None` if it could not be read, which was reported.
    pub(super) fn item(&mut self) -> Option<Item> {
        let read = match self.kind() {
            TokenKind::Keyword(Keyword::Use) => self.import().map(Item::Use),
            TokenKind::Keyword(Keyword::Train) => self.recipe().map(Item::Recipe),
            TokenKind::Keyword(Keyword::Let) => self.binding().map(Item::Binding),
            TokenKind::Keyword(
                Keyword::Fn
                | Keyword::Layer
                | Keyword::Model
                | Keyword::Optimizer
                | Keyword::Metric,
            ) => self.function().map(Item::Function),
            _ => {
                self.report_expected_item();
                Err(Failed)
            }
        };
        read.ok()
    }

    fn report_expected_item(&mut self) {
        let token = self.current();
        if token.kind == TokenKind::Unknown {
            return;
        }
        if token.kind.is_closer() {
            return self.report_expected_line_end(self.position, false);
        }
        let word = (token.kind == TokenKind::Name).then(|| self.text(token.span));
        let help = word.and_then(|word| self.meant_by(word, false)).unwrap_or_else(|| {
            let reason = match token.kind {
                TokenKind::Keyword(Keyword::Var) => "a `var` lives in a block; ",
                TokenKind::Keyword(Keyword::Param) => "a `param` belongs to a layer or a model; ",
                TokenKind::SlashSlash | TokenKind::Slash => "comments start with `#`; ",
                _ => "",
            };
            format!(
                "{reason}at the top of a file stand `use`, `fn`, `layer`, `model`, `optimizer`, \
                 `train` and `let`"
            )
        });
        let shown = match token.kind.text() {
            Some(text) => text.to_string(),
            None => self.text(token.span).chars().take(24).collect(),
        };
        self.report(
            Diagnostic::error(
                "expected-definition",
                format!("expected a definition, found `{shown}`"),
            )
            .primary(token.span, "expected a definition")
            .help(help),
        );
    }

    /// Passes over a definition that could not be read, up to a line that starts the next one: in
    /// the first column, or with the word of a definition outside of what is opened on the way.
    fn skip_to_item(&mut self, first: usize) {
        let mut depth = 0usize;
        while !self.at(TokenKind::End) {
            let token = self.current();
            let starts_item = match token.kind {
                TokenKind::Keyword(keyword) if keyword.starts_item() => {
                    token.starts_line && (depth == 0 || self.in_first_column(token))
                }
                TokenKind::Keyword(_) | TokenKind::Name => {
                    depth == 0 && self.in_first_column(token)
                }
                _ => false,
            };
            if starts_item && self.position > first {
                return;
            }
            if token.kind.closer().is_some() {
                depth += 1;
            } else if token.kind.is_closer() {
                depth = depth.saturating_sub(1);
            }
            self.advance();
        }
    }

    /// `use = "use" STR [":" NAME {"," NAME} | "as" NAME]`
    fn import(&mut self) -> Parse<Use> {
        let start = self.advance().span;
        if !self.at(TokenKind::String) {
            self.report_expected(
                "expected-token",
                "the path of a file",
                "write `use \"file.cyg\"`, with a path relative to this file",
            );
            return Err(Failed);
        }
        let path = self.string();
        let imports = if self.eat(TokenKind::Colon) {
            let mut names = vec![self.expect_name("the name of a definition")?];
            while self.eat(TokenKind::Comma) {
                names.push(self.expect_name("the name of a definition")?);
            }
            Imports::Names(names)
        } else if self.at_keyword(Keyword::As) {
            self.advance();
            Imports::Module(self.expect_name("a name for the file")?)
        } else {
            Imports::All
        };
        Ok(Use { path, imports, span: self.span_from(start) })
    }

    /// `fn = ("fn" | "layer" | "model" | "optimizer" | "metric") sig (block | "=" expr)`
    pub(super) fn function(&mut self) -> Parse<Function> {
        let keyword = self.advance();
        let kind = match keyword.kind {
            TokenKind::Keyword(Keyword::Layer) => FunctionKind::Layer,
            TokenKind::Keyword(Keyword::Model) => FunctionKind::Model,
            TokenKind::Keyword(Keyword::Optimizer) => FunctionKind::Optimizer,
            TokenKind::Keyword(Keyword::Metric) => FunctionKind::Metric,
            _ => FunctionKind::Fn,
        };
        let Signature { name, parameters, result } = self.signature()?;
        let body = match self.kind() {
            TokenKind::OpenBrace => Body::Block(self.block()?),
            TokenKind::Assign => {
                self.advance();
                Body::Expr(self.expression())
            }
            _ => {
                self.report_expected(
                    "expected-token",
                    "`{` or `=`",
                    "a body is `{ ... }` or `= expression`",
                );
                return Err(Failed);
            }
        };
        Ok(Function { kind, name, parameters, result, body, span: self.span_from(keyword.span) })
    }

    pub(super) fn signature(&mut self) -> Parse<Signature> {
        let name = self.expect_name("the name of the definition")?;
        let parameters = if self.at(TokenKind::OpenParen) {
            self.list(ListKind::Parameters, Self::parameter).elements
        } else {
            // What follows can still be read.
            self.report_expected(
                "expected-token",
                "`(`",
                "parameters stand in parentheses; without any, write `()`",
            );
            Vec::new()
        };
        let result = self.eat(TokenKind::Arrow).then(|| self.ty());
        Ok(Signature { name, parameters, result })
    }

    /// `par = NAME [":" type] ["=" expr]`
    fn parameter(&mut self) -> Parse<Parameter> {
        let start = self.start();
        let name = self.expect_name("the name of a parameter")?;
        let ty = self.optional_type();
        let default = self.eat(TokenKind::Assign).then(|| self.expression());
        Ok(Parameter { name, ty, default, span: self.span_from(start) })
    }
}
