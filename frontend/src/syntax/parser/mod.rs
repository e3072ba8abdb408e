//! From tokens to the syntax tree, by recursive descent.
//!
//! The parser always returns a tree. What it cannot read it reports, passes over up to a place
//! where it can go on (the next element of a list, the next statement, the next definition), and
//! leaves an `Error` node or nothing at all. It reports one mistake per token at most, so that
//! one mistake does not drag others behind it.
//!
//! Newlines end statements unless something is open: `Parser::newlines_end` is off between
//! parentheses and brackets and on again inside braces. `Parser::continues` is asked wherever
//! an expression could go on.

mod expression;
mod hints;
mod item;
mod list;
mod primary;
mod recipe;
mod statement;
mod types;

use super::MAX_DIAGNOSTICS;
use super::ast;
use super::lexer;
use super::token::{Comment, Keyword, Token, TokenKind};
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, SourceFile, SourceMap, Span};

/// How deep expressions, types and blocks may be nested, and how high a tree grows: a sum of more
/// terms than this is refused, too. It keeps every recursion over the tree small.
pub const MAX_NESTING: u32 = 128;

/// How long a source file may be, in bytes.
pub const MAX_SOURCE_BYTES: usize = 16 << 20;

/// What the parser makes of one file.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The tree; it covers the whole file only if there are no diagnostics.
    pub ast: ast::File,
    /// What is wrong with the text, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The comments, in order. The tree does not hold them.
    pub comments: Vec<Comment>,
}

/// Parses one file.
///
/// ```
/// use cygnet::{source::SourceMap, syntax};
///
/// let mut sources = SourceMap::new();
/// let file = sources.add("double.cyg", "fn double(x) = 2 * x  # twice");
/// let parsed = syntax::parse(&sources, file);
/// assert!(parsed.diagnostics.is_empty());
/// assert_eq!(parsed.ast.items.len(), 1);
/// assert_eq!(sources.slice(parsed.comments[0].span), "# twice");
/// ```
///
/// # Panics
/// If `file` is not one of `sources`.
pub fn parse(sources: &SourceMap, file: FileId) -> Parsed {
    parse_file(sources.file(file))
}

/// Parses one file that need not be part of a [`SourceMap`].
pub fn parse_file(file: &SourceFile) -> Parsed {
    let length = file.text().len();
    if length > MAX_SOURCE_BYTES {
        let diagnostic = Diagnostic::error(
            "source-too-long",
            format!(
                "`{}` has {length} bytes; a program has at most {MAX_SOURCE_BYTES}",
                file.name()
            ),
        )
        .help("check that this is a program; data belongs into files that `data` reads");
        let ast = ast::File { items: Vec::new(), span: file.span(0, 0) };
        return Parsed { ast, diagnostics: vec![diagnostic], comments: Vec::new() };
    }
    let lexed = lexer::lex(file.text(), file.id());
    let mut parser = Parser::new(file, lexed.tokens, lexed.diagnostics);
    parser.check_limit();
    let items = parser.items();
    let ast = ast::File { items, span: file.span(0, length as u32) };
    let mut diagnostics = parser.diagnostics;
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary_span().map(|span| span.start));
    Parsed { ast, diagnostics, comments: lexed.comments }
}

/// A piece of text lacks what the tree cannot do without, such as a name. It was reported.
struct Failed;

type Parse<T> = Result<T, Failed>;

struct Parser<'a> {
    file: &'a SourceFile,
    /// Ends in [`TokenKind::End`], which is never passed.
    tokens: Vec<Token>,
    position: usize,
    diagnostics: Vec<Diagnostic>,
    /// Where the last mistake was reported.
    last_reported: Option<usize>,
    /// Whether the rest of the file is given up.
    gave_up: bool,
    /// Whether a newline ends a statement here.
    newlines_end: bool,
    /// The delimiters that are open here.
    open: Vec<Token>,
    /// The first `{` whose `}` is indented otherwise than the line of the `{`, and that `}`.
    misindented: Option<(Token, Token)>,
    /// How deep the parser is in nested constructs.
    depth: u32,
    /// The height of the highest tree that was made since the expression at hand began.
    height: u32,
}

impl<'a> Parser<'a> {
    fn new(file: &'a SourceFile, tokens: Vec<Token>, diagnostics: Vec<Diagnostic>) -> Self {
        Parser {
            file,
            tokens,
            position: 0,
            diagnostics,
            last_reported: None,
            gave_up: false,
            newlines_end: true,
            open: Vec::new(),
            misindented: None,
            depth: 0,
            height: 0,
        }
    }

    // Looking at tokens.

    fn current(&self) -> Token {
        self.tokens[self.position]
    }

    fn kind(&self) -> TokenKind {
        self.current().kind
    }

    /// The token so many places behind the current one.
    fn ahead(&self, distance: usize) -> Token {
        self.tokens[(self.position + distance).min(self.tokens.len() - 1)]
    }

    fn at(&self, kind: TokenKind) -> bool {
        self.kind() == kind
    }

    fn at_keyword(&self, keyword: Keyword) -> bool {
        self.at(TokenKind::Keyword(keyword))
    }

    /// Whether the current token is this name, as for words that mean something in one place only.
    fn at_word(&self, word: &str) -> bool {
        self.at(TokenKind::Name) && self.text(self.current().span) == word
    }

    fn text(&self, span: Span) -> &'a str {
        self.file.slice(span)
    }

    /// Whether the current token can carry on the expression before it.
    fn continues(&self) -> bool {
        !(self.newlines_end && self.current().starts_line)
    }

    /// How many bytes of blanks the line of a token begins with.
    fn indentation(&self, token: Token) -> usize {
        let before = &self.file.text()[..token.span.start as usize];
        let line = &before[before.rfind('\n').map_or(0, |newline| newline + 1)..];
        line.len() - line.trim_start().len()
    }

    /// Whether a token is the very first character of its line.
    fn in_first_column(&self, token: Token) -> bool {
        token.starts_line && self.indentation(token) == 0
    }

    /// Where the current token stands.
    fn start(&self) -> Span {
        self.current().span
    }

    /// The last token that was passed.
    fn previous_span(&self) -> Span {
        match self.position {
            0 => self.file.span(0, 0),
            position => self.tokens[position - 1].span,
        }
    }

    /// From `start` to the last token that was passed.
    fn span_from(&self, start: Span) -> Span {
        if self.previous_span().end <= start.start { start } else { start.to(self.previous_span()) }
    }

    // Passing tokens.

    fn advance(&mut self) -> Token {
        let token = self.current();
        if token.kind != TokenKind::End {
            self.position += 1;
        }
        token
    }

    fn eat(&mut self, kind: TokenKind) -> bool {
        let found = self.at(kind);
        if found {
            self.advance();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.advance();
        }
        found
    }

    /// Passes a token that has to stand here.
    fn expect(&mut self, kind: TokenKind, help: &str) -> Parse<Token> {
        if self.at(kind) {
            return Ok(self.advance());
        }
        let expected = kind.text().unwrap_or("a token");
        self.report_expected("expected-token", &format!("`{expected}`"), help);
        Err(Failed)
    }

    /// Passes a name that has to stand here; `what` says of what.
    fn expect_name(&mut self, what: &str) -> Parse<ast::Ident> {
        if self.at(TokenKind::Name) {
            let span = self.advance().span;
            return Ok(ast::Ident { name: self.text(span).to_string(), span });
        }
        self.report_expected_name(what);
        Err(Failed)
    }

    // Reporting.

    /// Reports a mistake at the current token, unless one was reported there already.
    fn report(&mut self, diagnostic: Diagnostic) {
        if self.gave_up || self.last_reported == Some(self.position) {
            return;
        }
        self.last_reported = Some(self.position);
        self.diagnostics.push(diagnostic);
        self.check_limit();
    }

    /// Gives up where there are too many mistakes.
    fn check_limit(&mut self) {
        if self.diagnostics.len() < MAX_DIAGNOSTICS {
            return;
        }
        let last = self.diagnostics.last().and_then(Diagnostic::primary_span);
        self.diagnostics.push(
            Diagnostic::error("too-many-errors", "the rest of the file was not read")
                .primary(
                    last.unwrap_or(self.start()),
                    format!("given up after {MAX_DIAGNOSTICS} errors"),
                )
                .help("correct the first ones; others may follow from them"),
        );
        self.give_up();
    }

    /// Passes over the rest of the file. Nothing more is reported.
    fn give_up(&mut self) {
        self.gave_up = true;
        self.position = self.tokens.len() - 1;
    }

    // Bounding the tree.

    /// Reads something inside of something else. Too deep inside, nothing is left to be read.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            self.report_too_deep();
        }
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Reads an expression whose height does not depend on its elder siblings.
    fn measured<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let outside = std::mem::replace(&mut self.height, 0);
        let result = read(self);
        self.height = self.height.max(outside);
        result
    }

    /// Makes an expression of parts that were read since [`Self::measured`] began.
    fn expression_of(&mut self, kind: ast::ExprKind, start: Span) -> ast::Expr {
        let span = self.span_from(start);
        self.height += 1;
        if self.height > MAX_NESTING {
            self.report_too_deep();
            // The parts are dropped: the tree stays low.
            self.height = 1;
            return ast::Expr { kind: ast::ExprKind::Error, span };
        }
        ast::Expr { kind, span }
    }

    fn report_too_deep(&mut self) {
        self.report(
            Diagnostic::error("nested-too-deeply", "this is nested too deeply to be read")
                .primary(self.previous_span(), format!("more than {MAX_NESTING} levels"))
                .help("give parts of it names with `let`"),
        );
        self.give_up();
    }
}
