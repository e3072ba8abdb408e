//! Weaving comments into a document.

use super::Formatter;
use super::document::Doc;
use crate::source::{SourceFile, Span};
use crate::syntax::token::Comment;

/// The comments of a file, and which of them are in the document already. They are taken in the
/// order of the text.
pub(super) struct Comments<'a> {
    file: &'a SourceFile,
    comments: &'a [Comment],
}

impl<'a> Comments<'a> {
    pub(super) fn new(file: &'a SourceFile, comments: &'a [Comment]) -> Self {
        Comments { file, comments }
    }

    /// The next comment, if it stands before the given byte.
    fn peek(&self, before: u32) -> Option<Comment> {
        self.comments.first().copied().filter(|comment| comment.span.start < before)
    }

    /// Takes the next comment, if it stands before the given byte.
    pub(super) fn take(&mut self, before: u32) -> Option<(Comment, &'a str)> {
        let comment = self.peek(before)?;
        self.comments = &self.comments[1..];
        Some((comment, self.file.slice(comment.span)))
    }

    /// Whether a comment stands before the given byte.
    pub(super) fn any(&self, before: u32) -> bool {
        self.peek(before).is_some()
    }

    /// Whether the next comment stands inside the given text.
    pub(super) fn any_inside(&self, span: Span) -> bool {
        self.peek(span.end).is_some_and(|comment| comment.span.start > span.start)
    }

    /// The comment behind something on the same line, if it stands before the given byte. The
    /// document must have a line break between it and what comes next.
    pub(super) fn trailing(&mut self, before: u32) -> Doc<'a> {
        match self.peek(before) {
            Some(comment) if !comment.own_line => {
                self.take(before).map_or(Doc::empty(), |(_, text)| Doc::LineComment(text))
            }
            _ => Doc::empty(),
        }
    }

    /// The comments before the given byte, each on a line of its own.
    pub(super) fn leading(&mut self, before: u32) -> Doc<'a> {
        let mut lines = Vec::new();
        while let Some((_, text)) = self.take(before) {
            lines.push(Doc::Text(text));
            lines.push(Doc::HardLine);
        }
        Doc::Concat(lines)
    }
}

/// One line of a block, of a recipe or of a file.
pub(super) struct Entry<'a> {
    pub doc: Doc<'a>,
    pub blank_before: bool,
}

impl<'a> Formatter<'a> {
    /// Lays out statements, clauses or definitions one below the other, with the comments between
    /// them and up to the byte `end`, and with single blank lines where there are any. `start` is
    /// where the text before the first one ends; `separated` says between which of them a blank
    /// line has to be.
    pub(super) fn lines<T>(
        &mut self,
        entries: &[T],
        (start, end): (u32, u32),
        span_of: impl Fn(&T) -> Span,
        separated: impl Fn(&T, &T) -> bool,
        mut document_of: impl FnMut(&mut Self, &T) -> Doc<'a>,
    ) -> Doc<'a> {
        let mut lines: Vec<Entry> = Vec::new();
        let mut last_end = start;
        let mut previous: Option<&T> = None;
        for entry in entries {
            let span = span_of(entry);
            let mut must_separate = previous.is_some_and(|previous| separated(previous, entry));
            self.comment_lines(&mut lines, &mut last_end, span.start, &mut must_separate);
            let mut blank_before = must_separate || self.blank_line(last_end, span.start);
            let doc = document_of(self, entry);
            last_end = span.end;
            // Comments inside for which there was no place move before.
            while let Some((_, text)) = self.comments.take(span.end) {
                let blank_before = std::mem::take(&mut blank_before);
                lines.push(Entry { doc: Doc::Text(text), blank_before });
            }
            let mut parts = vec![doc];
            if let Some((comment, text)) = self.comments.take(self.line_end(span.end).min(end)) {
                last_end = comment.span.end;
                parts.push(Doc::LineComment(text));
            }
            lines.push(Entry { doc: Doc::Concat(parts), blank_before });
            previous = Some(entry);
        }
        self.comment_lines(&mut lines, &mut last_end, end, &mut false);
        let mut document = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            if index > 0 {
                document.push(Doc::HardLine);
                if line.blank_before {
                    document.push(Doc::HardLine);
                }
            }
            document.push(line.doc);
        }
        Doc::Concat(document)
    }

    /// Adds the comments before the given byte as lines.
    fn comment_lines(
        &mut self,
        lines: &mut Vec<Entry<'a>>,
        last_end: &mut u32,
        before: u32,
        must_separate: &mut bool,
    ) {
        while let Some((comment, text)) = self.comments.take(before) {
            let blank_before =
                std::mem::take(must_separate) || self.blank_line(*last_end, comment.span.start);
            *last_end = comment.span.end;
            lines.push(Entry { doc: Doc::Text(text), blank_before });
        }
    }

    /// Whether a blank line stands between two places.
    fn blank_line(&self, from: u32, to: u32) -> bool {
        self.between(from, to).matches('\n').count() > 1
    }

    /// The text between two places.
    pub(super) fn between(&self, from: u32, to: u32) -> &'a str {
        let file: &'a SourceFile = self.file;
        file.slice(file.span(from, to.max(from)))
    }

    /// The end of the line in which a place lies.
    fn line_end(&self, place: u32) -> u32 {
        let rest = &self.file.text()[place as usize..];
        place + rest.find('\n').unwrap_or(rest.len()) as u32
    }
}
