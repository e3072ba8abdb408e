//! Documents: text with places where lines may break, and how they are laid out.
//!
//! A [`Doc::group`] is printed on one line if it fits there, and otherwise breaks at all of its own
//! lines, not necessarily at those of groups inside it. The algebra is Wadler's ("A prettier
//! printer", 2003); the layout is the linear one of Oppen's kind that the formatter Prettier made
//! common: groups are decided from the outside in, looking ahead by at most a line's width.

/// A document over text that lives for `'a`.
#[derive(Debug)]
pub(super) enum Doc<'a> {
    /// Text without line breaks.
    Text(&'a str),
    /// A space, or a line break where the group breaks.
    Line,
    /// Nothing, or a line break where the group breaks.
    SoftLine,
    /// A line break; the groups around it break.
    HardLine,
    /// Text that stands only where the group breaks.
    IfBroken(&'a str),
    /// A comment up to the end of the line: it is printed before the next line break, and the
    /// groups around it break.
    LineComment(&'a str),
    /// One after the other.
    Concat(Vec<Doc<'a>>),
    /// Four columns further in, behind each line break inside.
    Indent(Box<Doc<'a>>),
    /// Never broken, unless a comment inside has to.
    Flat(Box<Doc<'a>>),
    /// On one line or broken at each of its own lines.
    Group {
        /// What is in it.
        content: Box<Doc<'a>>,
        /// Whether something in it has to break.
        must_break: bool,
    },
}

const INDENT: usize = 4;

impl<'a> Doc<'a> {
    pub(super) fn empty() -> Self {
        Doc::Concat(Vec::new())
    }

    pub(super) fn concat(parts: impl IntoIterator<Item = Doc<'a>>) -> Self {
        Doc::Concat(parts.into_iter().collect())
    }

    pub(super) fn indent(content: Doc<'a>) -> Self {
        Doc::Indent(Box::new(content))
    }

    pub(super) fn flat(content: Doc<'a>) -> Self {
        if content.must_break() { content } else { Doc::Flat(Box::new(content)) }
    }

    pub(super) fn group(content: Doc<'a>) -> Self {
        let must_break = content.must_break();
        Doc::Group { content: Box::new(content), must_break }
    }

    /// A group that breaks even if it fits on a line.
    pub(super) fn broken_group(content: Doc<'a>) -> Self {
        Doc::Group { content: Box::new(content), must_break: true }
    }

    /// Whether the group around this breaks in any case.
    pub(super) fn must_break(&self) -> bool {
        match self {
            Doc::HardLine | Doc::LineComment(_) => true,
            Doc::Text(_) | Doc::Line | Doc::SoftLine | Doc::IfBroken(_) | Doc::Flat(_) => false,
            Doc::Concat(parts) => parts.iter().any(Doc::must_break),
            Doc::Indent(content) => content.must_break(),
            Doc::Group { must_break, .. } => *must_break,
        }
    }

    /// Lays the document out in lines of at most `width` characters, as far as they can be broken.
    pub(super) fn print(&self, width: usize) -> String {
        let mut printer = Printer {
            output: String::new(),
            column: 0,
            pending_indent: 0,
            pending_comments: Vec::new(),
        };
        let mut stack: Vec<Command> = vec![Command { doc: self, indent: 0, flat: false }];
        while let Some(Command { doc, indent, flat }) = stack.pop() {
            match doc {
                Doc::Text(text) => printer.text(text),
                Doc::Line if flat => printer.text(" "),
                Doc::SoftLine if flat => {}
                Doc::Line | Doc::SoftLine | Doc::HardLine => printer.line_break(indent),
                Doc::IfBroken(text) => {
                    if !flat {
                        printer.text(text);
                    }
                }
                Doc::LineComment(text) => printer.pending_comments.push(text),
                Doc::Concat(parts) => {
                    stack.extend(parts.iter().rev().map(|doc| Command { doc, indent, flat }));
                }
                Doc::Indent(doc) => stack.push(Command { doc, indent: indent + INDENT, flat }),
                Doc::Flat(doc) => stack.push(Command { doc, indent, flat: true }),
                Doc::Group { content, must_break } => {
                    let flat = flat || (!must_break && fits(content, &stack, width, &printer));
                    stack.push(Command { doc: content, indent, flat });
                }
            }
        }
        printer.finish()
    }
}

/// A document that is still to be printed, and how.
#[derive(Clone, Copy)]
struct Command<'d, 'a> {
    doc: &'d Doc<'a>,
    indent: usize,
    flat: bool,
}

/// Whether `content` on one line, with what follows up to the next possible line break, ends
/// within the width.
fn fits(content: &Doc, following: &[Command], width: usize, printer: &Printer) -> bool {
    let column = printer.column.max(printer.pending_indent);
    let Some(mut room) = width.checked_sub(column) else { return false };
    let mut following = following.iter().rev();
    let mut stack = vec![(content, true)];
    loop {
        let Some((doc, flat)) =
            stack.pop().or_else(|| following.next().map(|command| (command.doc, command.flat)))
        else {
            return true;
        };
        let text = match doc {
            Doc::Text(text) => text,
            Doc::Line if flat => " ",
            Doc::SoftLine if flat => "",
            Doc::Line | Doc::SoftLine | Doc::HardLine => return true,
            Doc::IfBroken(text) => {
                if flat {
                    ""
                } else {
                    text
                }
            }
            // Comments may stick out.
            Doc::LineComment(_) => "",
            Doc::Concat(parts) => {
                stack.extend(parts.iter().rev().map(|doc| (doc, flat)));
                continue;
            }
            Doc::Flat(content) => {
                stack.push((content, true));
                continue;
            }
            Doc::Indent(content) | Doc::Group { content, .. } => {
                stack.push((content, flat));
                continue;
            }
        };
        match room.checked_sub(text.chars().count()) {
            Some(rest) => room = rest,
            None => return false,
        }
    }
}

struct Printer<'a> {
    output: String,
    /// How many characters the current line has.
    column: usize,
    /// Blanks to print before the first text of the line: blank lines get none.
    pending_indent: usize,
    pending_comments: Vec<&'a str>,
}

impl Printer<'_> {
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.column == 0 && self.pending_indent > 0 {
            self.output.extend(std::iter::repeat_n(' ', self.pending_indent));
            self.column = self.pending_indent;
        }
        self.output.push_str(text);
        self.column += text.chars().count();
    }

    fn line_break(&mut self, indent: usize) {
        self.end_line();
        self.output.push('\n');
        self.column = 0;
        self.pending_indent = indent;
    }

    /// Prints the comments that waited for the end of the line.
    fn end_line(&mut self) {
        let kept = self.output.trim_end_matches(' ').len();
        self.output.truncate(kept);
        for comment in std::mem::take(&mut self.pending_comments) {
            let separator = if self.column == 0 { "" } else { " " };
            self.text(separator);
            self.text(comment);
        }
    }

    fn finish(mut self) -> String {
        self.end_line();
        self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Doc<'static> {
        Doc::group(Doc::concat([
            Doc::Text("f("),
            Doc::indent(Doc::concat([
                Doc::SoftLine,
                Doc::Text("first,"),
                Doc::Line,
                Doc::Text("second"),
                Doc::IfBroken(","),
            ])),
            Doc::SoftLine,
            Doc::Text(")"),
        ]))
    }

    #[test]
    fn a_group_breaks_at_every_line_or_at_none() {
        assert_eq!(call().print(16), "f(first, second)");
        assert_eq!(call().print(15), "f(\n    first,\n    second,\n)");
    }

    #[test]
    fn what_follows_a_group_counts() {
        let document = Doc::concat([call(), Doc::Text(" {"), Doc::HardLine, Doc::Text("}")]);
        assert_eq!(document.print(18), "f(first, second) {\n}");
        assert_eq!(document.print(17), "f(\n    first,\n    second,\n) {\n}");
    }

    #[test]
    fn comments_move_to_the_end_of_their_line_and_break_the_group() {
        let document = Doc::group(Doc::concat([
            Doc::Text("a"),
            Doc::LineComment("# why"),
            Doc::Text(","),
            Doc::Line,
            Doc::Text("b"),
        ]));
        assert_eq!(document.print(80), "a, # why\nb");
    }

    #[test]
    fn blank_lines_have_no_blanks() {
        let document = Doc::indent(Doc::concat([
            Doc::Text("{"),
            Doc::HardLine,
            Doc::HardLine,
            Doc::Text("x"),
        ]));
        assert_eq!(document.print(80), "{\n\n    x");
    }
}
