//! Lists between delimiters, and how to go on behind a mistake.

use super::{Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::token::{Token, TokenKind};

/// Between which delimiters a list stands, and what else can follow it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    /// `( ... )` in an expression, a type or a pattern.
    Parentheses,
    /// `[ ... ]`.
    Brackets,
    /// The parameters of a definition: a `{` or `->` means that they are over.
    Parameters,
}

impl ListKind {
    fn opener(self) -> TokenKind {
        match self {
            ListKind::Brackets => TokenKind::OpenBracket,
            ListKind::Parentheses | ListKind::Parameters => TokenKind::OpenParen,
        }
    }

    fn closer(self) -> TokenKind {
        match self {
            ListKind::Brackets => TokenKind::CloseBracket,
            ListKind::Parentheses | ListKind::Parameters => TokenKind::CloseParen,
        }
    }
}

/// The elements of a list, and whether a comma follows the last one.
pub(super) struct List<T> {
    pub elements: Vec<T>,
    pub trailing_comma: bool,
}

impl Parser<'_> {
    /// Reads `opener element, element closer`. The opener must be the current token. Elements
    /// that could not be read are left out.
    pub(super) fn list<T>(
        &mut self,
        kind: ListKind,
        mut element: impl FnMut(&mut Self) -> Parse<T>,
    ) -> List<T> {
        debug_assert_eq!(self.kind(), kind.opener());
        let opener = self.advance();
        self.open.push(opener);
        let newlines_end = std::mem::replace(&mut self.newlines_end, false);
        let mut list = List { elements: Vec::new(), trailing_comma: false };
        self.nested(|parser| {
            while !parser.list_ends(kind, opener) {
                list.trailing_comma = false;
                let before = parser.position;
                let read = element(parser);
                list.elements.extend(read.ok());
                if parser.eat(TokenKind::Comma) {
                    list.trailing_comma = true;
                } else if !parser.at(kind.closer()) && !parser.list_is_cut_off(kind) {
                    parser.report_list_separator(kind, opener);
                    parser.skip_to_list_separator(kind, before);
                    parser.eat(TokenKind::Comma);
                }
            }
        });
        self.open.pop();
        self.newlines_end = newlines_end;
        list
    }

    /// Whether the list is over; passes its closer, or reports that there is none.
    fn list_ends(&mut self, kind: ListKind, opener: Token) -> bool {
        if self.eat(kind.closer()) {
            return true;
        }
        if self.list_is_cut_off(kind) {
            self.report_unclosed(opener);
            return true;
        }
        if self.kind().is_closer() {
            // Either an outer list ends here and ours was not closed, or the closer is wrong.
            let found = self.kind();
            let outer = &self.open[..self.open.len() - 1];
            if outer.iter().any(|token| token.kind.closer() == Some(found)) {
                self.report_unclosed(opener);
            } else {
                self.report_mismatched(opener);
                self.advance();
            }
            return true;
        }
        false
    }

    /// Whether the current token cannot be part of any list of this kind.
    fn list_is_cut_off(&self, kind: ListKind) -> bool {
        let token = self.current();
        match token.kind {
            TokenKind::End | TokenKind::CloseBrace => true,
            TokenKind::Keyword(keyword) => token.starts_line && keyword.starts_statement(),
            TokenKind::OpenBrace | TokenKind::Arrow => kind == ListKind::Parameters,
            _ => false,
        }
    }

    fn report_list_separator(&mut self, kind: ListKind, opener: Token) {
        if self.kind().is_closer() || self.at(TokenKind::Unknown) {
            // `list_ends` says more about a wrong closer; unknown text was reported.
            return;
        }
        let closer = kind.closer().text().unwrap_or_default();
        let opener_text = opener.kind.text().unwrap_or_default();
        let mut diagnostic = Diagnostic::error(
            "expected-token",
            format!("expected `,` or `{closer}`, found {}", self.found()),
        )
        .primary(self.found_span(), "not expected here")
        .secondary(opener.span, format!("in the list that `{opener_text}` opens here"));
        if self.at(TokenKind::Assign) {
            diagnostic = diagnostic.help("a named argument is written `name: value`");
        }
        self.report(diagnostic);
    }

    /// Passes over tokens up to the next comma or closer of the list at hand. Always passes one
    /// if none was passed since `before`.
    fn skip_to_list_separator(&mut self, kind: ListKind, before: usize) {
        let mut depth = 0usize;
        while !self.list_is_cut_off(kind) {
            if depth == 0 && (self.at(TokenKind::Comma) || self.kind().is_closer()) {
                break;
            }
            if self.kind().closer().is_some() {
                depth += 1;
            } else if self.kind().is_closer() {
                depth -= 1;
            }
            self.advance();
        }
        if self.position == before && !self.list_is_cut_off(kind) && !self.kind().is_closer() {
            self.advance();
        }
    }

    /// Reports that an opened delimiter should have been closed before the current token.
    pub(super) fn report_unclosed(&mut self, opener: Token) {
        // A string without end has swallowed the closer.
        let swallowed = self.diagnostics.iter().any(|diagnostic| {
            let inside =
                |span: Span| span.start > opener.span.start && span.end <= self.start().start;
            diagnostic.code == "unterminated-string"
                && diagnostic.primary_span().is_some_and(inside)
        });
        if swallowed {
            return;
        }
        let text = opener.kind.text().unwrap_or_default();
        let closer = opener.kind.closer().and_then(TokenKind::text).unwrap_or_default();
        let mut diagnostic =
            Diagnostic::error("unclosed-delimiter", format!("this `{text}` is never closed"))
                .primary(opener.span, "opened here")
                .secondary(
                    self.current().span,
                    format!("`{closer}` is missing before {}", self.found_token()),
                );
        if let Some((suspect, closed_by)) =
            self.misindented.filter(|_| opener.kind == TokenKind::OpenBrace)
        {
            diagnostic = diagnostic
                .secondary(suspect.span, "or this one is not closed,")
                .secondary(closed_by.span, "for this `}` is indented otherwise");
        }
        self.report(diagnostic);
    }

    fn report_mismatched(&mut self, opener: Token) {
        let text = opener.kind.text().unwrap_or_default();
        let closer = opener.kind.closer().and_then(TokenKind::text).unwrap_or_default();
        self.report(
            Diagnostic::error(
                "mismatched-delimiter",
                format!("{} does not close `{text}`", self.found_token()),
            )
            .primary(self.current().span, format!("expected `{closer}`"))
            .secondary(opener.span, format!("`{text}` is opened here")),
        );
    }

    /// Passes over the rest of a statement that could not be read: up to the next line or `}`
    /// outside of whatever is opened on the way.
    pub(super) fn skip_statement(&mut self) {
        let mut depth = 0usize;
        let start = self.position;
        loop {
            let token = self.current();
            match token.kind {
                TokenKind::End => return,
                TokenKind::CloseBrace if depth == 0 => return,
                TokenKind::Keyword(keyword)
                    if token.starts_line && keyword.starts_statement() && self.position > start =>
                {
                    return;
                }
                _ if token.starts_line && depth == 0 && self.position > start => return,
                kind if kind.closer().is_some() => depth += 1,
                kind if kind.is_closer() => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.advance();
        }
    }
}
