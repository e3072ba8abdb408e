//! Tokens, keywords and comments.

use crate::source::Span;

/// Declares the reserved words: the enum, its text and the table of all of them.
macro_rules! keywords {
    ($($variant:ident $text:literal),* $(,)?) => {
        /// A reserved word. Other words that mean something in one place only, such as `over` or
        /// `batch`, are names to the lexer; see [`CLAUSE_WORDS`] and the language reference.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Keyword {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl Keyword {
            /// Every keyword.
            pub const ALL: &[Keyword] = &[$(Keyword::$variant),*];

            /// The keyword as it is written.
            pub fn text(self) -> &'static str {
                match self {
                    $(Keyword::$variant => $text,)*
                }
            }

            /// The keyword that `text` is, if it is one.
            pub fn from_text(text: &str) -> Option<Keyword> {
                match text {
                    $($text => Some(Keyword::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

keywords! {
    Use "use",
    Fn "fn",
    Layer "layer",
    Model "model",
    Optimizer "optimizer",
    Metric "metric",
    Train "train",
    Let "let",
    Var "var",
    Param "param",
    Yield "yield",
    If "if",
    Else "else",
    For "for",
    Scan "scan",
    In "in",
    As "as",
    And "and",
    Or "or",
    Not "not",
    True "true",
    False "false",
}

impl Keyword {
    /// Whether the word opens a definition at the top of a file.
    pub fn starts_item(self) -> bool {
        use Keyword::*;
        matches!(self, Use | Fn | Layer | Model | Optimizer | Metric | Train | Let)
    }

    /// Whether the word opens something that is never part of an expression. Such a word inside
    /// parentheses means that they were not closed.
    pub fn starts_statement(self) -> bool {
        use Keyword::*;
        self.starts_item() || matches!(self, Var | Param | Yield)
    }
}

/// The words that open a clause of a recipe. They are names everywhere else.
pub const CLAUSE_WORDS: &[&str] = &[
    "data",
    "load",
    "freeze",
    "minimize",
    "batch",
    "accumulate",
    "epochs",
    "stop",
    "report",
    "show",
];

/// What a token is. Names, numbers and strings have their text in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A name.
    Name,
    /// A reserved word.
    Keyword(Keyword),
    /// `1_000`.
    Int,
    /// `0.5`, `1e-3`.
    Float,
    /// `"text"`, quotes included.
    String,
    /// `_`.
    Underscore,
    /// `(`.
    OpenParen,
    /// `)`.
    CloseParen,
    /// `[`.
    OpenBracket,
    /// `]`.
    CloseBracket,
    /// `{`.
    OpenBrace,
    /// `}`.
    CloseBrace,
    /// `,`.
    Comma,
    /// `:`.
    Colon,
    /// `.`.
    Dot,
    /// `..`.
    DotDot,
    /// `...`.
    Ellipsis,
    /// `=`.
    Assign,
    /// `==`.
    EqualEqual,
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
    /// `+`.
    Plus,
    /// `-`.
    Minus,
    /// `*`.
    Star,
    /// `**`.
    StarStar,
    /// `/`.
    Slash,
    /// `//`.
    SlashSlash,
    /// `|>`.
    Pipe,
    /// `->`.
    Arrow,
    /// Text that is no token; a diagnostic was reported.
    Unknown,
    /// The end of the text.
    End,
}

impl TokenKind {
    /// The token as it is written, if that is always the same.
    pub fn text(self) -> Option<&'static str> {
        use TokenKind::*;
        Some(match self {
            Keyword(keyword) => keyword.text(),
            Underscore => "_",
            OpenParen => "(",
            CloseParen => ")",
            OpenBracket => "[",
            CloseBracket => "]",
            OpenBrace => "{",
            CloseBrace => "}",
            Comma => ",",
            Colon => ":",
            Dot => ".",
            DotDot => "..",
            Ellipsis => "...",
            Assign => "=",
            EqualEqual => "==",
            NotEqual => "!=",
            Less => "<",
            LessEqual => "<=",
            Greater => ">",
            GreaterEqual => ">=",
            Plus => "+",
            Minus => "-",
            Star => "*",
            StarStar => "**",
            Slash => "/",
            SlashSlash => "//",
            Pipe => "|>",
            Arrow => "->",
            Name | Int | Float | String | Unknown | End => return None,
        })
    }

    /// The delimiter that closes this one, if it opens something.
    pub fn closer(self) -> Option<TokenKind> {
        match self {
            TokenKind::OpenParen => Some(TokenKind::CloseParen),
            TokenKind::OpenBracket => Some(TokenKind::CloseBracket),
            TokenKind::OpenBrace => Some(TokenKind::CloseBrace),
            _ => None,
        }
    }

    /// Whether it is `)`, `]` or `}`.
    pub fn is_closer(self) -> bool {
        matches!(self, TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::CloseBrace)
    }
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub span: Span,
    /// Whether it is the first of its line. The parser decides from this where statements end.
    pub starts_line: bool,
}

/// A comment, from `#` to the end of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comment {
    /// Where it stands, without the end of the line and blanks before it.
    pub span: Span,
    /// Whether nothing stands before it on its line.
    pub own_line: bool,
}
