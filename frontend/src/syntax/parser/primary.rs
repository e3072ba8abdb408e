//! Operands: names, literals, calls, indices, lists, and the control constructs that have values.

use super::list::ListKind;
use super::{Failed, Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    Argument, Expr, ExprKind, Generator, Ident, Loop, LoopKind, StringLiteral, StringPart,
};
use crate::syntax::lexer::lex_range;
use crate::syntax::token::{Keyword, TokenKind};

impl Parser<'_> {
    /// `post = atom {"(" [arg {"," arg}] ")" | shape | "." NAME}`
    pub(super) fn postfix(&mut self) -> Expr {
        let start = self.start();
        let mut base = self.atom();
        while self.continues() {
            let kind = match self.kind() {
                TokenKind::OpenParen => {
                    let arguments = self.list(ListKind::Parentheses, Self::argument).elements;
                    ExprKind::Call { callee: Box::new(base), arguments }
                }
                TokenKind::OpenBracket => {
                    ExprKind::Index { shape: self.shape(), base: Box::new(base) }
                }
                TokenKind::Dot => {
                    self.advance();
                    if self.at(TokenKind::Int) {
                        self.report_expected(
                            "expected-name",
                            "a name",
                            "a tuple is taken apart with `let (a, b) = ...`",
                        );
                        self.advance();
                        continue;
                    }
                    match self.expect_name("a name") {
                        Ok(name) => ExprKind::Field { base: Box::new(base), name },
                        Err(Failed) => return base,
                    }
                }
                _ => break,
            };
            base = self.expression_of(kind, start);
        }
        base
    }

    /// `arg = [NAME ":"] expr`
    pub(super) fn argument(&mut self) -> Parse<Argument> {
        let start = self.start();
        let name = self.optional_argument_name();
        let value = self.expression();
        Ok(Argument { name, value, span: self.span_from(start) })
    }

    /// `[NAME ":"]`
    pub(super) fn optional_argument_name(&mut self) -> Option<Ident> {
        if self.ahead(1).kind != TokenKind::Colon || !self.at(TokenKind::Name) {
            return None;
        }
        let span = self.advance().span;
        self.advance();
        Some(Ident { name: self.text(span).to_string(), span })
    }

    fn atom(&mut self) -> Expr {
        let token = self.current();
        let start = token.span;
        let kind = match token.kind {
            TokenKind::Name => {
                self.advance();
                ExprKind::Name(self.text(start).to_string())
            }
            TokenKind::Underscore => {
                self.advance();
                ExprKind::Placeholder
            }
            TokenKind::Int => self.integer(),
            TokenKind::Float => self.float(),
            TokenKind::String => ExprKind::String(self.string()),
            TokenKind::OpenParen => self.parenthesized(),
            TokenKind::OpenBracket => ExprKind::List(
                self.list(ListKind::Brackets, |parser| Ok(parser.expression())).elements,
            ),
            TokenKind::OpenBrace => match self.block() {
                Ok(block) => ExprKind::Block(block),
                Err(Failed) => ExprKind::Error,
            },
            TokenKind::Keyword(Keyword::True) => {
                self.advance();
                ExprKind::Bool(true)
            }
            TokenKind::Keyword(Keyword::False) => {
                self.advance();
                ExprKind::Bool(false)
            }
            TokenKind::Keyword(Keyword::If) => return self.conditional(),
            TokenKind::Keyword(Keyword::For) => self.repetition(LoopKind::For),
            TokenKind::Keyword(Keyword::Scan) => self.repetition(LoopKind::Scan),
            _ => {
                self.report_expected_expression();
                // Pass a word that was meant as a name, so that what follows is read in its place.
                let is_passed = match token.kind {
                    TokenKind::Keyword(word) => !token.starts_line && !word.starts_statement(),
                    TokenKind::Unknown => true,
                    _ => false,
                };
                if token.kind == TokenKind::Dot && self.ahead(1).kind == TokenKind::Int {
                    self.advance();
                    self.advance();
                } else if is_passed {
                    self.advance();
                }
                ExprKind::Error
            }
        };
        self.expression_of(kind, start)
    }

    fn integer(&mut self) -> ExprKind {
        let span = self.current().span;
        let digits = self.text(span).replace('_', "");
        let value = digits.parse().unwrap_or_else(|_| {
            // Anything else than digits was reported by the lexer.
            if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                self.report_too_large(&format!("integers go up to {}", i64::MAX));
            }
            0
        });
        self.advance();
        ExprKind::Int(value)
    }

    fn float(&mut self) -> ExprKind {
        let span = self.current().span;
        let value: f64 = self.text(span).replace('_', "").parse().unwrap_or(0.0);
        if value.is_infinite() {
            self.report_too_large("numbers go up to 1.8e308; infinity is written `inf`");
        }
        self.advance();
        ExprKind::Float(value)
    }

    fn report_too_large(&mut self, help: &str) {
        let span = self.current().span;
        self.report(
            Diagnostic::error("number-too-large", "this number is too large")
                .primary(span, "cannot be represented")
                .help(help),
        );
    }

    /// `"(" arg {"," arg} ")"`: an expression in parentheses, or a tuple.
    fn parenthesized(&mut self) -> ExprKind {
        let start = self.start();
        let mut list = self.list(ListKind::Parentheses, Self::argument);
        match list.elements.pop() {
            None => {
                self.report(
                    Diagnostic::error("empty-parentheses", "there is nothing in these parentheses")
                        .primary(self.span_from(start), "expected an expression between them"),
                );
                ExprKind::Error
            }
            Some(Argument { name: None, value, .. })
                if list.elements.is_empty() && !list.trailing_comma =>
            {
                ExprKind::Paren(Box::new(value))
            }
            Some(last) => {
                list.elements.push(last);
                ExprKind::Tuple(list.elements)
            }
        }
    }

    /// `if = "if" expr block ["else" (block | if)]`
    fn conditional(&mut self) -> Expr {
        let start = self.advance().span;
        let condition = self.condition();
        let Ok(then) = self.block() else {
            return self.expression_of(ExprKind::Error, start);
        };
        let mut otherwise = None;
        if self.at_keyword(Keyword::Else) {
            self.advance();
            otherwise = Some(Box::new(self.nested(|parser| {
                if parser.at_keyword(Keyword::If) {
                    return parser.conditional();
                }
                let start = parser.start();
                let kind = match parser.block() {
                    Ok(block) => ExprKind::Block(block),
                    Err(Failed) => ExprKind::Error,
                };
                parser.expression_of(kind, start)
            })));
        }
        let kind = ExprKind::If { condition: Box::new(condition), then, otherwise };
        self.expression_of(kind, start)
    }

    /// An expression before a block, where `=` is taken for a comparison.
    fn condition(&mut self) -> Expr {
        let condition = self.expression();
        if self.at(TokenKind::Assign) {
            let span = self.current().span;
            self.report(
                Diagnostic::error("assignment-in-condition", "a condition cannot assign")
                    .primary(span, "`=` gives a name a value")
                    .help("values are compared with `==`"),
            );
            self.advance();
            self.expression();
        }
        condition
    }

    /// `loop = ("for" | "scan") gen {"," gen} ["along" NAME] ["until" expr] block`
    fn repetition(&mut self, kind: LoopKind) -> ExprKind {
        let start = self.advance().span;
        let read = self.nested(|parser| -> Parse<Loop> {
            let mut generators = vec![parser.generator()?];
            while parser.eat(TokenKind::Comma) {
                generators.push(parser.generator()?);
            }
            let along = if parser.eat_word("along") {
                Some(parser.expect_name("the name of an axis")?)
            } else {
                None
            };
            let until = parser.eat_word("until").then(|| parser.condition());
            let body = parser.block()?;
            Ok(Loop { kind, generators, along, until, body, span: parser.span_from(start) })
        });
        match read {
            Ok(read) => ExprKind::Loop(Box::new(read)),
            Err(Failed) => ExprKind::Error,
        }
    }

    /// `gen = pattern {"," pattern} "in" expr`
    fn generator(&mut self) -> Parse<Generator> {
        let start = self.start();
        let mut patterns = vec![self.pattern()?];
        while self.eat(TokenKind::Comma) {
            patterns.push(self.pattern()?);
        }
        self.expect(
            TokenKind::Keyword(Keyword::In),
            "loops are written `for x in xs { ... }` or `for i, x in xs { ... }`",
        )?;
        let source = self.expression();
        Ok(Generator { patterns, source, span: self.span_from(start) })
    }

    /// A string literal; it must be the current token.
    pub(super) fn string(&mut self) -> StringLiteral {
        let span = self.current().span;
        let parts = self.string_parts(span);
        self.advance();
        StringLiteral { parts, span }
    }

    /// Resolves escapes and reads the expressions between braces.
    fn string_parts(&mut self, span: Span) -> Vec<StringPart> {
        let raw = self.text(span);
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut characters = raw.char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        while let Some((offset, character)) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, escaped @ ('\\' | '"' | '{' | '}'))) => text.push(escaped),
                    Some((_, escaped)) => self.report_unknown_escape(span, offset, escaped),
                    None => {}
                },
                '{' => {
                    let Some(length) = raw[offset..].find('}') else {
                        self.report_unclosed_value(span, offset);
                        break;
                    };
                    if !text.is_empty() {
                        parts.push(StringPart::Text(std::mem::take(&mut text)));
                    }
                    let from = span.start as usize + offset + 1;
                    let value = self.string_value(from, from + length - 1);
                    parts.push(StringPart::Value(value));
                    // Go on behind the brace.
                    while characters.next().is_some_and(|(_, passed)| passed != '}') {}
                }
                _ if Some(character) == quote => break,
                _ => text.push(character),
            }
        }
        if !text.is_empty() {
            parts.push(StringPart::Text(text));
        }
        parts
    }

    /// Reads the expression between the braces of a string, at the given bytes of the file.
    fn string_value(&mut self, from: usize, to: usize) -> Expr {
        let lexed = lex_range(self.file.text(), self.file.id(), from..to);
        let mut inner = Parser::new(self.file, lexed.tokens, lexed.diagnostics);
        inner.newlines_end = false;
        inner.depth = self.depth;
        let value = inner.expression();
        if !inner.at(TokenKind::End) {
            inner.report_expected(
                "expected-token",
                "`}`",
                "only one expression stands between braces",
            );
        }
        self.height = self.height.max(inner.height);
        for diagnostic in inner.diagnostics {
            self.last_reported = None;
            self.report(diagnostic);
        }
        value
    }

    fn report_unknown_escape(&mut self, string: Span, offset: usize, escaped: char) {
        let start = string.start + offset as u32;
        let span = self.file.span(start, start + 1 + escaped.len_utf8() as u32);
        self.report(
            Diagnostic::error("unknown-escape", "this escape does not exist")
                .primary(span, "unknown escape")
                .help("the escapes are `\\n`, `\\t`, `\\\"`, `\\\\`, `\\{` and `\\}`"),
        );
    }

    fn report_unclosed_value(&mut self, string: Span, offset: usize) {
        let start = string.start + offset as u32;
        self.report(
            Diagnostic::error("unclosed-value", "this `{` in a string is never closed")
                .primary(self.file.span(start, start + 1), "a value begins here")
                .help("write `{value}`, or `\\{` for the brace itself; a value holds no strings"),
        );
    }
}
