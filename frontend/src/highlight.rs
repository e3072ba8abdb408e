//! Colours for source text: programs by our own lexer, the compiler's listings word by word, JSON
//! and assembly by `inkjet`.
//!
//! Both give classes to ranges of text; one palette of terminal colours (the sixteen that every
//! theme defines) paints them.

use std::ops::Range;

use inkjet::constants::HIGHLIGHT_NAMES;
use inkjet::tree_sitter_highlight::HighlightEvent;
use miette::SpanContents;
use miette::highlighters::{Highlighter, HighlighterState};
use owo_colors::{Style, Styled};

use crate::source::FileId;
use crate::syntax::lexer::lex;
use crate::syntax::token::{CLAUSE_WORDS, Keyword, Token, TokenKind};

/// A language that can be coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Our own.
    Cygnet,
    /// JSON.
    Json,
    /// x86 assembly.
    Assembly,
    /// What the compiler prints of its stages.
    Listing,
    /// Text without colours.
    Plain,
}

impl Language {
    /// The language of a file, by the ending of its name; programs have any other ending.
    pub fn of_file(name: &str) -> Language {
        if name.ends_with(".json") {
            Language::Json
        } else if name.ends_with(".s") || name.ends_with(".asm") {
            Language::Assembly
        } else {
            Language::Cygnet
        }
    }
}

/// What a piece of text is, as far as its colour goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Keyword,
    Type,
    Number,
    Constant,
    String,
    Comment,
    /// What is called or defined.
    Call,
    /// The name of an argument, a parameter, an axis, a key.
    Key,
}

impl Class {
    fn style(self) -> Style {
        let style = Style::new();
        match self {
            Class::Keyword => style.magenta(),
            Class::Type => style.yellow(),
            Class::Number | Class::Constant => style.cyan(),
            Class::String => style.green(),
            Class::Comment => style.bright_black(),
            Class::Call => style.blue(),
            Class::Key => style.bright_cyan(),
        }
    }
}

/// The text with escape sequences that colour it on a terminal; unchanged without `color`.
pub fn highlight(text: &str, language: Language, color: bool) -> String {
    if !color {
        return text.to_string();
    }
    pieces(text, language).iter().map(ToString::to_string).collect()
}

/// Colours the lines of source that diagnostics show.
#[derive(Debug, Clone, Copy)]
pub struct SnippetHighlighter;

impl Highlighter for SnippetHighlighter {
    fn start_highlighter_state<'h>(
        &'h self,
        source: &dyn SpanContents<'_>,
    ) -> Box<dyn HighlighterState + 'h> {
        Box::new(SnippetState(source.name().map_or(Language::Cygnet, Language::of_file)))
    }
}

/// Lines are coloured one by one: no token of our language goes over the end of a line.
struct SnippetState(Language);

impl HighlighterState for SnippetState {
    fn highlight_line<'s>(&mut self, line: &'s str) -> Vec<Styled<&'s str>> {
        pieces(line, self.0)
    }
}

/// The whole text in pieces, each with its colour.
fn pieces(text: &str, language: Language) -> Vec<Styled<&str>> {
    let classes = match language {
        Language::Cygnet => cygnet_classes(text),
        Language::Json => inkjet_classes(text, inkjet::Language::Json),
        Language::Assembly => inkjet_classes(text, inkjet::Language::X86asm),
        Language::Listing => listing_classes(text),
        Language::Plain => Classes::new(),
    };
    let mut pieces = Vec::with_capacity(2 * classes.len() + 1);
    let mut end = 0;
    for (range, class) in classes {
        if range.start > end {
            pieces.push(Style::new().style(&text[end..range.start]));
        }
        end = range.end;
        pieces.push(class.style().style(&text[range]));
    }
    if end < text.len() {
        pieces.push(Style::new().style(&text[end..]));
    }
    pieces
}

type Classes = Vec<(Range<usize>, Class)>;

/// The classes of a program, or of some lines of one, in the order of the text.
fn cygnet_classes(text: &str) -> Classes {
    let lexed = lex(text, FileId(0));
    let tokens = &lexed.tokens;
    let range = |token: &Token| token.span.start as usize..token.span.end as usize;
    let mut classes: Classes = lexed
        .comments
        .iter()
        .map(|comment| (comment.span.start as usize..comment.span.end as usize, Class::Comment))
        .collect();
    for (position, token) in tokens.iter().enumerate() {
        let class = match token.kind {
            TokenKind::Keyword(Keyword::True | Keyword::False) => Some(Class::Constant),
            TokenKind::Keyword(_) => Some(Class::Keyword),
            TokenKind::Int | TokenKind::Float => Some(Class::Number),
            TokenKind::String => Some(Class::String),
            TokenKind::Name => {
                let before = position.checked_sub(1).map(|position| tokens[position].kind);
                name_class(&text[range(token)], token, before, tokens[position + 1].kind)
            }
            _ => None,
        };
        classes.extend(class.map(|class| (range(token), class)));
    }
    classes.sort_by_key(|(range, _)| range.start);
    classes
}

/// The class of a name between two tokens.
fn name_class(
    name: &str,
    token: &Token,
    before: Option<TokenKind>,
    after: TokenKind,
) -> Option<Class> {
    let ends_operand = |kind: TokenKind| {
        kind.is_closer() || matches!(kind, TokenKind::Name | TokenKind::Int | TokenKind::Star)
    };
    match name {
        "f32" | "f64" | "i32" | "i64" | "u8" | "bool" | "dim" | "int" | "float" | "str"
        | "list" | "init" => return Some(Class::Type),
        "inf" | "nan" | "training" => return Some(Class::Constant),
        "state" if after == TokenKind::Name => return Some(Class::Keyword),
        "from" | "over" | "using" | "except" | "while" | "along" | "until"
            if after != TokenKind::Colon && before.is_none_or(ends_operand) =>
        {
            return Some(Class::Keyword);
        }
        _ if token.starts_line
            && CLAUSE_WORDS.contains(&name)
            && !matches!(after, TokenKind::Assign | TokenKind::Pipe | TokenKind::Colon) =>
        {
            return Some(Class::Keyword);
        }
        _ => {}
    }
    let defined = matches!(
        before,
        Some(TokenKind::Keyword(
            Keyword::Fn
                | Keyword::Layer
                | Keyword::Model
                | Keyword::Optimizer
                | Keyword::Metric
                | Keyword::Train
        ))
    );
    if after == TokenKind::Colon {
        Some(Class::Key)
    } else if after == TokenKind::OpenParen || before == Some(TokenKind::Pipe) || defined {
        Some(Class::Call)
    } else {
        None
    }
}

/// Words at the beginning of a line of a listing that say what the line is.
const LISTING_WORDS: &[&str] = &[
    "input",
    "scalar",
    "parameter",
    "buffer",
    "state",
    "output",
    "update",
    "guard",
    "kernel",
    "over",
    "product",
    "left",
    "right",
    "epilogue",
    "phase",
    "function",
    "axis",
    "variable",
    "loop",
    "tiles",
    "digraph",
];

/// The classes of a listing: comments (behind `;` or `//`), numbered values, types, numbers and
/// the word that says what a line is.
fn listing_classes(text: &str) -> Classes {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '%' | '.');
    let mut classes = Classes::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let comment = [line.find(';'), line.find("//")].into_iter().flatten().min();
        let code = &line[..comment.unwrap_or(line.len())];
        let mut first = true;
        let mut position = 0;
        while let Some(skipped) = code[position..].find(is_word) {
            let start = position + skipped;
            let length = code[start..].find(|c| !is_word(c)).unwrap_or(code.len() - start);
            let word = &code[start..start + length];
            classes.extend(
                listing_class(word, first)
                    .map(|class| (line_start + start..line_start + start + length, class)),
            );
            first = false;
            position = start + length;
        }
        if let Some(comment) = comment {
            let end = line_start + line.trim_end().len();
            classes.push((line_start + comment..end, Class::Comment));
        }
        line_start += line.len();
    }
    classes
}

/// The class of a word of a listing; `first` if it is the first one of its line.
fn listing_class(word: &str, first: bool) -> Option<Class> {
    match word {
        "f32" | "f64" | "i32" | "i64" | "u8" | "bool" => Some(Class::Type),
        _ if first && LISTING_WORDS.contains(&word) => Some(Class::Keyword),
        _ if word.starts_with('%') => Some(Class::Key),
        _ if word.starts_with(|c: char| c.is_ascii_digit()) => Some(Class::Number),
        _ => None,
    }
}

/// The classes that one of `inkjet`'s grammars gives; none where it fails.
fn inkjet_classes(text: &str, language: inkjet::Language) -> Classes {
    let mut highlighter = inkjet::Highlighter::new();
    let Ok(events) = highlighter.highlight_raw(language, &text) else {
        return Vec::new();
    };
    let mut classes = Vec::new();
    let mut open: Vec<Option<Class>> = Vec::new();
    for event in events {
        match event {
            Ok(HighlightEvent::HighlightStart(highlight)) => {
                open.push(HIGHLIGHT_NAMES.get(highlight.0).and_then(|name| inkjet_class(name)));
            }
            Ok(HighlightEvent::HighlightEnd) => {
                open.pop();
            }
            Ok(HighlightEvent::Source { start, end }) => {
                classes.extend(open.last().copied().flatten().map(|class| (start..end, class)));
            }
            Err(_) => break,
        }
    }
    classes
}

/// The class that stands for one of `inkjet`'s highlight names.
fn inkjet_class(name: &str) -> Option<Class> {
    const CLASSES: &[(&str, Class)] = &[
        ("constant.numeric", Class::Number),
        ("constant.character", Class::String),
        ("constant", Class::Constant),
        ("keyword", Class::Keyword),
        ("type", Class::Type),
        ("string.special", Class::Key),
        ("string", Class::String),
        ("escape", Class::String),
        ("comment", Class::Comment),
        ("label", Class::Key),
        ("variable.other", Class::Key),
        ("function", Class::Call),
    ];
    CLASSES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The classified pieces of a text.
    fn classified(text: &str, language: Language) -> Vec<(&str, Class)> {
        let classes = match language {
            Language::Cygnet => cygnet_classes(text),
            Language::Json => inkjet_classes(text, inkjet::Language::Json),
            Language::Assembly => inkjet_classes(text, inkjet::Language::X86asm),
            Language::Listing => listing_classes(text),
            Language::Plain => Classes::new(),
        };
        classes.into_iter().map(|(range, class)| (&text[range], class)).collect()
    }

    #[test]
    fn programs_are_classified_by_their_tokens() {
        let text = "    minimize loss(y, over: t) over net using adam # all";
        assert_eq!(
            classified(text, Language::Cygnet),
            [
                ("minimize", Class::Keyword),
                ("loss", Class::Call),
                ("over", Class::Key),
                ("over", Class::Keyword),
                ("using", Class::Keyword),
                ("# all", Class::Comment),
            ]
        );
        let text = "layer up(x: f32[n, 4]) = x |> conv: conv2d(3, \"a\") |> relu";
        assert_eq!(
            classified(text, Language::Cygnet),
            [
                ("layer", Class::Keyword),
                ("up", Class::Call),
                ("x", Class::Key),
                ("f32", Class::Type),
                ("4", Class::Number),
                ("conv", Class::Key),
                ("conv2d", Class::Call),
                ("3", Class::Number),
                ("\"a\"", Class::String),
                ("relu", Class::Call),
            ]
        );
    }

    #[test]
    fn json_and_assembly_are_classified_by_inkjet() {
        let json = classified("{\"loss\": 0.5, \"done\": true}", Language::Json);
        assert!(json.contains(&("0.5", Class::Number)), "{json:?}");
        assert!(json.contains(&("true", Class::Constant)), "{json:?}");
        let assembly = classified("mov rax, qword ptr [rdi + 8]\n", Language::Assembly);
        assert!(assembly.contains(&("mov", Class::Keyword)), "{assembly:?}");
        assert!(assembly.contains(&("rax", Class::Constant)), "{assembly:?}");
    }

    #[test]
    fn listings_are_classified_word_by_word() {
        let listing = "output loss = %3\n%3 = add{2} %1: f32[4] ; a, b\n  ; c\n";
        assert_eq!(
            classified(listing, Language::Listing),
            [
                ("output", Class::Keyword),
                ("%3", Class::Key),
                ("%3", Class::Key),
                ("2", Class::Number),
                ("%1", Class::Key),
                ("f32", Class::Type),
                ("4", Class::Number),
                ("; a, b", Class::Comment),
                ("; c", Class::Comment),
            ]
        );
    }

    #[test]
    fn colour_leaves_the_text_alone() {
        for (text, language) in [
            ("fn f(x) = x ** 2 # é\n", Language::Cygnet),
            ("let s = \"unclosed", Language::Cygnet),
            ("[1, {\"a\": null}]", Language::Json),
            ("not json at all {", Language::Json),
            ("vaddps ymm0, ymm1, ymm2\nret\n", Language::Assembly),
            ("%0 = slot ä // é\n; ", Language::Listing),
        ] {
            let whole: String = pieces(text, language).iter().map(|piece| *piece.inner()).collect();
            assert_eq!(whole, text);
            assert_eq!(highlight(text, language, false), text);
        }
        assert!(highlight("let", Language::Cygnet, true).contains("\x1b["));
    }
}
