//! Blocks and statements.

use super::{Failed, Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    Assignment, Binding, Block, Declaration, DeclarationKind, Expr, ExprKind, Statement, Yield,
};
use crate::syntax::token::{Keyword, Token, TokenKind};

impl Parser<'_> {
    /// `block = "{" {stmt} "}"`
    pub(super) fn block(&mut self) -> Parse<Block> {
        let start = self.start();
        let mut statements = Vec::new();
        self.braces("a block stands between `{` and `}`", |parser| {
            let first = parser.position;
            let statement_start = parser.start();
            let statement = parser.statement().unwrap_or_else(|Failed| {
                parser.skip_statement();
                Statement::Error(parser.span_from(statement_start))
            });
            statements.push(statement);
            parser.end_of_line(first, false);
        })?;
        Ok(Block { statements, span: self.span_from(start) })
    }

    /// Reads `"{" {line} "}"`, where a line is whatever `line` reads.
    pub(super) fn braces(&mut self, help: &str, mut line: impl FnMut(&mut Self)) -> Parse<()> {
        let opener = self.expect(TokenKind::OpenBrace, help)?;
        self.open.push(opener);
        let newlines_end = std::mem::replace(&mut self.newlines_end, true);
        self.nested(|parser| {
            while !parser.close_brace(opener) {
                if parser.braces_are_cut_off() {
                    parser.report_unclosed(opener);
                    break;
                }
                let before = parser.position;
                line(parser);
                if parser.position == before {
                    // A closer that closes nothing; it was reported.
                    parser.advance();
                }
            }
        });
        self.open.pop();
        self.newlines_end = newlines_end;
        Ok(())
    }

    /// Passes a `}`, and takes note if it is indented as if it closed something else.
    fn close_brace(&mut self, opener: Token) -> bool {
        let closer = self.current();
        let found = self.eat(TokenKind::CloseBrace);
        if found
            && closer.starts_line
            && self.misindented.is_none()
            && self.indentation(closer) != self.indentation(opener)
        {
            self.misindented = Some((opener, closer));
        }
        found
    }

    /// Whether a `}` is missing before the current token: at the end, and where a definition that
    /// is never nested starts at the very beginning of a line.
    fn braces_are_cut_off(&self) -> bool {
        let token = self.current();
        let never_nested = matches!(
            token.kind,
            TokenKind::Keyword(
                Keyword::Layer
                    | Keyword::Model
                    | Keyword::Optimizer
                    | Keyword::Metric
                    | Keyword::Train
                    | Keyword::Use
            )
        );
        token.kind == TokenKind::End || (never_nested && self.in_first_column(token))
    }

    /// Makes sure that the line is over behind a statement whose first token is at `first`.
    pub(super) fn end_of_line(&mut self, first: usize, clauses: bool) {
        let token = self.current();
        if token.starts_line && self.position > first
            || matches!(token.kind, TokenKind::CloseBrace | TokenKind::End)
        {
            return;
        }
        self.report_expected_line_end(first, clauses);
        self.skip_statement();
    }

    /// `stmt = bind | own | assign | fn | "yield" expr | expr`
    fn statement(&mut self) -> Parse<Statement> {
        let start = self.start();
        if let Some(kind) = self.declaration_ahead() {
            return self.declaration(kind).map(Statement::Declaration);
        }
        match self.kind() {
            TokenKind::Keyword(Keyword::Let | Keyword::Var) => {
                self.binding().map(Statement::Binding)
            }
            TokenKind::Keyword(Keyword::Fn) => self.nested(Self::function).map(Statement::Function),
            TokenKind::Keyword(Keyword::Yield) => {
                self.advance();
                let value = self.expression();
                Ok(Statement::Yield(Yield { value, span: self.span_from(start) }))
            }
            TokenKind::Keyword(keyword) if keyword.starts_item() => self.misplaced(keyword),
            TokenKind::Name if self.ahead(1).kind == TokenKind::Assign => {
                self.assignment().map(Statement::Assignment)
            }
            _ => {
                let expr = self.expression();
                self.reject_assignment(&expr)?;
                Ok(Statement::Expr(expr))
            }
        }
    }

    /// `bind = ("let" | "var") pattern [":" type] "=" expr`
    pub(super) fn binding(&mut self) -> Parse<Binding> {
        let keyword = self.advance();
        let mutable = keyword.kind == TokenKind::Keyword(Keyword::Var);
        let pattern = self.pattern()?;
        let ty = self.optional_type();
        let word = if mutable { "var" } else { "let" };
        self.expect(TokenKind::Assign, &format!("write `{word} name = value`"))?;
        let value = self.expression();
        Ok(Binding { mutable, pattern, ty, value, span: self.span_from(keyword.span) })
    }

    /// Whether a declaration starts here. `state` is a name unless a name follows it.
    pub(super) fn declaration_ahead(&self) -> Option<DeclarationKind> {
        let next = self.ahead(1);
        if self.at_keyword(Keyword::Param) {
            Some(DeclarationKind::Param)
        } else if self.at_word("state") && next.kind == TokenKind::Name && !next.starts_line {
            Some(DeclarationKind::State)
        } else {
            None
        }
    }

    /// `own = ("param" | "state") NAME [STR] [":" type] "=" expr`
    pub(super) fn declaration(&mut self, kind: DeclarationKind) -> Parse<Declaration> {
        let start = self.advance().span;
        let word = match kind {
            DeclarationKind::Param => "param",
            DeclarationKind::State => "state",
        };
        let name = self.expect_name("a name")?;
        let stored_name = self.at(TokenKind::String).then(|| self.string());
        let ty = self.optional_type();
        let help =
            format!("write `{word} name: type = initial`; every {word} has an initial value");
        self.expect(TokenKind::Assign, &help)?;
        let initial = self.expression();
        Ok(Declaration { kind, name, stored_name, ty, initial, span: self.span_from(start) })
    }

    /// `assign = NAME "=" expr`
    pub(super) fn assignment(&mut self) -> Parse<Assignment> {
        let name = self.expect_name("a name")?;
        self.expect(TokenKind::Assign, "write `name = value`")?;
        let value = self.expression();
        let span = self.span_from(name.span);
        Ok(Assignment { name, value, span })
    }

    /// Reports a `=` behind an expression that is not a name.
    pub(super) fn reject_assignment(&mut self, target: &Expr) -> Parse<()> {
        if !self.at(TokenKind::Assign) || !self.continues() {
            return Ok(());
        }
        let help = match target.kind {
            ExprKind::Tuple(_) => {
                "bind the parts with `let (a, b) = ...`, then assign them one by one"
            }
            ExprKind::Index { .. } => "tensors do not change; make a new one and assign its name",
            _ => "only a `var` or a `state` is assigned, by its name; compare with `==`",
        };
        self.report(
            Diagnostic::error("not-assignable", "only names can be assigned")
                .primary(target.span, "not a name")
                .secondary(self.current().span, "assigned here")
                .help(help),
        );
        Err(Failed)
    }

    /// A definition inside a block that belongs to the top of the file.
    fn misplaced(&mut self, keyword: Keyword) -> Parse<Statement> {
        let start = self.start();
        self.report_misplaced(keyword, start);
        let before = self.position;
        self.nested(|parser| {
            parser.item();
        });
        if self.position == before {
            self.advance();
        }
        Ok(Statement::Error(self.span_from(start)))
    }

    pub(super) fn report_misplaced(&mut self, keyword: Keyword, span: Span) {
        let opener = self.open.last().copied();
        let mut diagnostic = Diagnostic::error(
            "misplaced-definition",
            format!("`{}` stands at the top of a file only", keyword.text()),
        )
        .primary(span, "inside a block");
        if let Some(opener) = opener {
            diagnostic = diagnostic.secondary(opener.span, "the block opens here");
        }
        let help = match keyword {
            Keyword::Layer | Keyword::Model | Keyword::Optimizer | Keyword::Metric => {
                "move it out, or define a `fn` over instances: `let dense = linear(_, 10)`"
            }
            _ => "move it out of the block",
        };
        self.report(diagnostic.help(help));
    }
}
