//! Source files and places in them.

use std::sync::Arc;

pub use cygnet_compiler::Span;

/// The number of a file in a [`SourceMap`]; the `file` of a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// One source file: its name as it is shown to the user, and its text.
#[derive(Debug, Clone)]
pub struct SourceFile {
    name: String,
    text: Arc<str>,
    id: FileId,
}

impl SourceFile {
    /// The name under which the file was added, usually its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, shared.
    pub fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The file's number.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// The span of the bytes from `start` to `end`.
    pub fn span(&self, start: u32, end: u32) -> Span {
        Span { file: self.id.0, start, end }
    }

    /// The text of a span of this file; empty if the span does not lie in it.
    pub fn slice(&self, span: Span) -> &str {
        if span.file != self.id.0 {
            return "";
        }
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// The line and the column of a byte, both counted from 1; columns count characters.
    /// A place behind the end of the text counts as its end.
    pub fn line_and_column(&self, offset: u32) -> (usize, usize) {
        let mut offset = (offset as usize).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// Every source file of one run. Files are only added, so a [`Span`] stays valid.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// A map without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. `name` is what diagnostics show; the text is not read from anywhere.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        let id = FileId(self.files.len() as u32);
        self.files.push(SourceFile { name: name.into(), text: text.into(), id });
        id
    }

    /// The file with the given number.
    ///
    /// # Panics
    /// If `id` comes from another map.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// The file that a span lies in, if it is one of this map.
    pub fn file_of(&self, span: Span) -> Option<&SourceFile> {
        self.files.get(span.file as usize)
    }

    /// All files, in the order in which they were added.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text of a span; empty if it does not lie in a file of this map.
    pub fn slice(&self, span: Span) -> &str {
        self.file_of(span).map_or("", |file| file.slice(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let mut map = SourceMap::new();
        let id = map.add("a.cyg", "é = 1\nb\n");
        let file = map.file(id);
        assert_eq!(file.line_and_column(0), (1, 1));
        assert_eq!(file.line_and_column(2), (1, 2));
        assert_eq!(file.line_and_column(7), (2, 1));
        assert_eq!(file.line_and_column(100), (3, 1));
    }

    #[test]
    fn slices_of_foreign_spans_are_empty() {
        let mut map = SourceMap::new();
        let id = map.add("a.cyg", "model");
        assert_eq!(map.slice(map.file(id).span(1, 3)), "od");
        assert_eq!(map.slice(Span { file: 7, start: 0, end: 1 }), "");
        assert_eq!(map.file(id).slice(Span { file: 0, start: 3, end: 90 }), "");
    }
}
