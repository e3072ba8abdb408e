//! From text to tokens.
//!
//! Newlines are not tokens: each token says whether it is the first of its line, and the parser,
//! which knows where it stands, decides whether that ends a statement. Comments are kept on the
//! side for the formatter. Every byte of the text belongs to a token, to a comment or to blanks,
//! whatever the text is; what is no token is reported and becomes [`TokenKind::Unknown`].

use std::ops::Range;

use super::MAX_DIAGNOSTICS;
use super::token::{Comment, Keyword, Token, TokenKind};
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};

/// What the lexer makes of a text.
#[derive(Debug, Clone)]
pub struct Lexed {
    /// The tokens; the last one, and only that, is [`TokenKind::End`].
    pub tokens: Vec<Token>,
    /// The comments, in order.
    pub comments: Vec<Comment>,
    /// What is wrong with the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Splits a whole text into tokens. `file` is what their spans name.
pub fn lex(text: &str, file: FileId) -> Lexed {
    lex_range(text, file, 0..text.len())
}

/// Splits a part of a text into tokens; it must begin and end between characters. Spans count
/// from the beginning of the text.
///
/// # Panics
/// If the range is not one of `text`.
pub fn lex_range(text: &str, file: FileId, range: Range<usize>) -> Lexed {
    let mut lexer = Lexer {
        file,
        text: &text[..range.end],
        position: range.start,
        starts_line: true,
        lexed: Lexed { tokens: Vec::new(), comments: Vec::new(), diagnostics: Vec::new() },
    };
    while lexer.token() {}
    lexer.lexed
}

struct Lexer<'a> {
    file: FileId,
    /// The text up to where the lexer has to stop.
    text: &'a str,
    position: usize,
    /// Whether no token of the current line was found yet.
    starts_line: bool,
    lexed: Lexed,
}

impl Lexer<'_> {
    /// Reads one token, or one piece of what stands between tokens. `false` at the end.
    fn token(&mut self) -> bool {
        let Some(first) = self.peek() else {
            self.push(TokenKind::End, self.position);
            return false;
        };
        let start = self.position;
        match first {
            '\n' => {
                self.position += 1;
                self.starts_line = true;
            }
            // A byte order mark is a blank at the beginning of a text only.
            '\u{feff}' if start == 0 => self.position += first.len_utf8(),
            ' ' | '\t' | '\r' => self.position += 1,
            '#' => self.comment(),
            '"' => self.string(),
            '0'..='9' => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => self.name(),
            _ if first.is_alphabetic() => self.name(),
            _ => match self.symbol() {
                Some((kind, length)) => {
                    self.position += length;
                    self.push(kind, start);
                }
                None => self.unknown(),
            },
        }
        true
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn span_from(&self, start: usize) -> Span {
        Span { file: self.file.0, start: start as u32, end: self.position as u32 }
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        let token = Token { kind, span: self.span_from(start), starts_line: self.starts_line };
        self.lexed.tokens.push(token);
        self.starts_line = false;
    }

    /// Reports a mistake; when there are very many, the text is no program.
    fn report(&mut self, diagnostic: Diagnostic) {
        if self.lexed.diagnostics.len() < MAX_DIAGNOSTICS {
            self.lexed.diagnostics.push(diagnostic);
        }
    }

    /// Passes over characters while they satisfy the condition.
    fn skip_while(&mut self, condition: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.position += rest.find(|character| !condition(character)).unwrap_or(rest.len());
    }

    fn comment(&mut self) {
        let start = self.position;
        self.skip_while(|character| character != '\n');
        let length = self.text[start..self.position].trim_end().len();
        let span = Span { end: (start + length) as u32, ..self.span_from(start) };
        self.lexed.comments.push(Comment { span, own_line: self.starts_line });
    }

    fn name(&mut self) {
        let start = self.position;
        self.skip_while(is_name_character);
        let text = &self.text[start..self.position];
        let kind = match Keyword::from_text(text) {
            Some(keyword) => TokenKind::Keyword(keyword),
            None if text == "_" => TokenKind::Underscore,
            None => TokenKind::Name,
        };
        self.push(kind, start);
    }

    /// `12`, `1_000`, `0.5`, `1e-3`. Behind a dot only digits count, so that `net.layers.0.1`
    /// is a path.
    fn number(&mut self) {
        let start = self.position;
        let after_dot =
            self.lexed.tokens.last().is_some_and(|token| {
                token.kind == TokenKind::Dot && token.span.end as usize == start
            });
        let is_digit = |character: char| character.is_ascii_digit() || character == '_';
        let mut kind = TokenKind::Int;
        self.skip_while(is_digit);
        if !after_dot {
            let fraction = self.rest().strip_prefix('.').is_some_and(starts_with_digit);
            if fraction {
                kind = TokenKind::Float;
                self.position += 1;
                self.skip_while(is_digit);
            }
            if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if starts_with_digit(digits) {
                    kind = TokenKind::Float;
                    self.position = self.text.len() - digits.len();
                    self.skip_while(is_digit);
                }
            }
        }
        // What is still glued to the number makes it neither a number nor a name.
        let end = self.position;
        self.skip_while(is_name_character);
        let text = &self.text[start..self.position];
        let glued = self.position > end;
        if glued
            || text.contains("__")
            || text.split(['.', 'e', 'E']).any(|digits| digits.ends_with('_'))
        {
            let help = if glued {
                "names start with a letter; numbers look like `12`, `1_000`, `0.5` or `1e-3`"
            } else {
                "`_` stands between two digits: `1_000`"
            };
            let span = self.span_from(start);
            self.report(
                Diagnostic::error("malformed-number", format!("`{text}` is not a number"))
                    .primary(span, "not a number")
                    .help(help),
            );
        }
        self.push(kind, start);
    }

    /// A string ends with its quote, or without one at the end of the line.
    fn string(&mut self) {
        let start = self.position;
        self.position += 1;
        loop {
            match self.peek() {
                Some('"') => {
                    self.position += 1;
                    break;
                }
                Some('\\') => {
                    self.position += 1;
                    if let Some(escaped) = self.peek().filter(|escaped| *escaped != '\n') {
                        self.position += escaped.len_utf8();
                    }
                }
                Some(character) if character != '\n' => self.position += character.len_utf8(),
                _ => {
                    let span = self.span_from(start);
                    self.report(
                        Diagnostic::error("unterminated-string", "this string has no end")
                            .primary(span, "no `\"` up to the end of the line")
                            .help("close it with `\"`; a line break in a string is written `\\n`"),
                    );
                    break;
                }
            }
        }
        self.push(TokenKind::String, start);
    }

    /// The operator or delimiter that stands here and its length. Longer ones come first.
    fn symbol(&self) -> Option<(TokenKind, usize)> {
        use TokenKind::*;
        const SYMBOLS: &[TokenKind] = &[
            Ellipsis,
            DotDot,
            Dot,
            EqualEqual,
            Assign,
            NotEqual,
            LessEqual,
            Less,
            GreaterEqual,
            Greater,
            StarStar,
            Star,
            SlashSlash,
            Slash,
            Pipe,
            Arrow,
            Plus,
            Minus,
            OpenParen,
            CloseParen,
            OpenBracket,
            CloseBracket,
            OpenBrace,
            CloseBrace,
            Comma,
            Colon,
        ];
        let matches = |kind: &TokenKind| kind.text().filter(|text| self.rest().starts_with(text));
        SYMBOLS.iter().find_map(|kind| matches(kind).map(|text| (*kind, text.len())))
    }

    /// Reports text that no token begins with. Neighbouring characters make one report.
    fn unknown(&mut self) {
        let start = self.position;
        let Some(first) = self.peek() else { return };
        if first == '\'' {
            return self.single_quoted();
        }
        self.skip_while(|character| {
            !is_name_character(character)
                && !character.is_whitespace()
                && !character.is_ascii_digit()
                && !"#\"'()[]{},:.=<>*/+-".contains(character)
        });
        // White space that is not a blank of the language, such as a no-break space.
        if self.position == start {
            self.position += first.len_utf8();
        }
        let text = &self.text[start..self.position];
        let help = match text {
            ";" => Some("a statement ends with its line; leave the `;` out"),
            "&&" | "&" => Some("the operator is `and`"),
            "||" | "|" => Some("the operators are `or` and, for pipes, `|>`"),
            "!" => Some("the operators are `not` and `!=`"),
            "^" => Some("powers are written `x ** 2`"),
            "%" => Some("the remainder of a by b is `a - a // b * b`"),
            "@" => Some("products over an axis are written `dot(a, b, over: k)`"),
            "\u{2212}" | "\u{2013}" => Some("the minus sign is `-`"),
            "\u{d7}" => Some("the operator is `*`"),
            "\u{201c}" | "\u{201d}" => Some("strings stand between straight quotes: `\"text\"`"),
            _ => None,
        };
        let shown: String = text.chars().take(10).flat_map(char::escape_debug).collect();
        let mut diagnostic = Diagnostic::error(
            "unexpected-character",
            format!("`{shown}` is not part of the language"),
        )
        .primary(self.span_from(start), "not expected anywhere");
        if let Some(help) = help {
            diagnostic = diagnostic.help(help);
        }
        self.report(diagnostic);
        self.push(TokenKind::Unknown, start);
    }

    /// `'text'` is reported and read as a string.
    fn single_quoted(&mut self) {
        let start = self.position;
        self.position += 1;
        self.skip_while(|character| character != '\'' && character != '\n');
        if self.peek() == Some('\'') {
            self.position += 1;
        }
        let span = self.span_from(start);
        self.report(
            Diagnostic::error("single-quotes", "strings stand between double quotes")
                .primary(span, "single quotes")
                .help("write `\"text\"`"),
        );
        self.push(TokenKind::String, start);
    }
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|character: char| character.is_ascii_digit())
}
