//! The wording of mistakes: what was expected, what was found, what may have been meant.

use super::Parser;
use crate::diagnostic::{Diagnostic, closest};
use crate::source::Span;
use crate::syntax::token::{CLAUSE_WORDS, Keyword, TokenKind};

/// What people who know other languages write, and what to write instead.
const FOREIGN_WORDS: &[(&str, &str)] = &[
    ("return", "a block's value is its last expression; leave `return` out"),
    ("def", "functions are defined with `fn`, layers with `layer`"),
    ("function", "functions are defined with `fn`, layers with `layer`"),
    ("func", "functions are defined with `fn`, layers with `layer`"),
    ("class", "networks are defined with `layer` and `model`"),
    ("module", "networks are defined with `layer` and `model`"),
    ("import", "write `use \"file.cyg\"`"),
    ("include", "write `use \"file.cyg\"`"),
    ("const", "write `let`"),
    ("mut", "write `var`"),
    ("while", "loops are `for x in xs`, and `scan x in xs until condition` to end early"),
    ("loop", "loops are `for x in xs` and `scan x in xs`"),
    ("elif", "write `else if`"),
    ("elseif", "write `else if`"),
    ("optimise", "write `minimize`"),
    ("minimise", "write `minimize`"),
    ("epoch", "write `epochs`"),
];

impl Parser<'_> {
    /// What stands here, for messages: the end of the line if the token is in the next one.
    pub(super) fn found(&self) -> String {
        let token = self.current();
        if token.starts_line
            && self.newlines_end
            && self.position > 0
            && token.kind != TokenKind::End
        {
            return "the end of the line".to_string();
        }
        self.found_token()
    }

    /// The current token, for messages.
    pub(super) fn found_token(&self) -> String {
        let token = self.current();
        if let Some(text) = token.kind.text() {
            return format!("`{text}`");
        }
        let text = self.text(token.span);
        let start: String = text.chars().take(24).collect();
        let rest = if start.len() < text.len() { "..." } else { "" };
        match token.kind {
            TokenKind::End => "the end of the file".to_string(),
            TokenKind::String => format!("the string {start}{rest}"),
            _ => format!("`{start}{rest}`"),
        }
    }

    /// Where to point for [`Self::found`].
    pub(super) fn found_span(&self) -> Span {
        let token = self.current();
        let at_line_end = token.starts_line && self.newlines_end;
        if self.position > 0 && (at_line_end || token.kind == TokenKind::End) {
            let end = self.previous_span().end;
            return self.file.span(end, end);
        }
        token.span
    }

    /// Reports that something else should stand here. `help` may be empty.
    pub(super) fn report_expected(&mut self, code: &'static str, expected: &str, help: &str) {
        if self.at(TokenKind::Unknown) {
            // The lexer reported it.
            return;
        }
        let mut diagnostic =
            Diagnostic::error(code, format!("expected {expected}, found {}", self.found()))
                .primary(self.found_span(), format!("expected {expected}"));
        if !help.is_empty() {
            diagnostic = diagnostic.help(help);
        }
        self.report(diagnostic);
    }

    /// Reports that a name should stand here.
    pub(super) fn report_expected_name(&mut self, what: &str) {
        let help = match self.kind() {
            TokenKind::Keyword(keyword) if !self.current().starts_line => {
                format!("`{}` is a word of the language; choose another name", keyword.text())
            }
            TokenKind::Int | TokenKind::Float => "names start with a letter".to_string(),
            _ => String::new(),
        };
        self.report_expected("expected-name", what, &help);
    }

    /// Reports that an expression should start here.
    pub(super) fn report_expected_expression(&mut self) {
        let previous = self.position.checked_sub(1).map(|position| self.tokens[position]);
        let help = match self.kind() {
            TokenKind::Assign
                if previous.is_some_and(|token| {
                    use TokenKind::*;
                    matches!(token.kind, Plus | Minus | Star | Slash | SlashSlash | StarStar)
                }) =>
            {
                "there are no operators such as `+=`; write `x = x + y`"
            }
            TokenKind::Assign => "values are compared with `==`",
            TokenKind::Dot if self.ahead(1).kind == TokenKind::Int => {
                "write a digit before the point: `0.5`"
            }
            TokenKind::Slash | TokenKind::SlashSlash => "comments start with `#`",
            TokenKind::Star | TokenKind::Plus | TokenKind::StarStar | TokenKind::EqualEqual
                if self.current().starts_line =>
            {
                "an expression goes on in the next line if the operator ends the line before"
            }
            TokenKind::Ellipsis => "`...` stands for axes, between brackets",
            TokenKind::Arrow => "`->` stands behind parameters, and behind the axes of an `as`",
            TokenKind::Keyword(Keyword::Else) => {
                "an `else` belongs directly behind the `}` of an `if`"
            }
            TokenKind::Keyword(keyword)
                if !self.current().starts_line && !keyword.starts_statement() =>
            {
                "this word of the language cannot be used as a name"
            }
            _ => "",
        };
        self.report_expected("expected-expression", "an expression", help);
    }

    /// What may have been meant by a word that stands where it makes no sense.
    pub(super) fn meant_by(&self, word: &str, clauses: bool) -> Option<String> {
        if let Some((_, advice)) = FOREIGN_WORDS.iter().find(|(foreign, _)| *foreign == word) {
            return Some((*advice).to_string());
        }
        let keywords = Keyword::ALL.iter().map(|keyword| keyword.text());
        let clause_words = CLAUSE_WORDS.iter().copied().filter(|_| clauses);
        let candidates = clause_words.chain(keywords).chain(["state"]);
        closest(word, candidates).map(|word| format!("did you mean `{word}`?"))
    }

    /// Whether an operator follows a pipe or an `as`, which bind less tightly, in the statement from
    /// the token `first` on.
    fn stands_behind_a_pipe(&self, first: usize) -> bool {
        use TokenKind::{EqualEqual, Minus, Pipe, Plus, Slash, SlashSlash, Star, StarStar};
        let before = &self.tokens[first..self.position];
        matches!(self.kind(), Plus | Minus | Star | Slash | SlashSlash | StarStar | EqualEqual)
            && before
                .iter()
                .any(|token| matches!(token.kind, Pipe | TokenKind::Keyword(Keyword::As)))
    }

    /// Reports that a statement should have ended before the current token. `first` is the
    /// position of its first token.
    pub(super) fn report_expected_line_end(&mut self, first: usize, clauses: bool) {
        if self.at(TokenKind::Unknown) {
            return;
        }
        if self.kind().is_closer() {
            let message = format!("{} closes nothing", self.found_token());
            let diagnostic = Diagnostic::error("unmatched-delimiter", message)
                .primary(self.current().span, "nothing is open that it could close");
            return self.report(diagnostic);
        }
        let mut diagnostic = Diagnostic::error(
            "expected-line-end",
            format!("expected the end of the line, found {}", self.found()),
        )
        .primary(self.current().span, "not expected here");
        let word_at = |position: usize| {
            let token = self.tokens[position];
            (token.kind == TokenKind::Name).then(|| self.text(token.span))
        };
        let misspelt_first = (self.position == first + 1).then(|| word_at(first)).flatten();
        let meant = [misspelt_first, word_at(self.position)]
            .into_iter()
            .flatten()
            .find_map(|word| self.meant_by(word, clauses));
        match meant {
            Some(meant) => diagnostic = diagnostic.help(meant),
            None if self.at(TokenKind::Colon) && misspelt_first.is_some() => {
                diagnostic = diagnostic.help("new names are bound with `let name: type = value`");
            }
            None if self.stands_behind_a_pipe(first) => {
                diagnostic = diagnostic.help("put the pipe in parentheses: `(x |> f) + y`");
            }
            None => {}
        }
        self.report(diagnostic);
    }
}
