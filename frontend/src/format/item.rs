//! Definitions.

use super::Formatter;
use super::document::Doc;
use crate::source::Span;
use crate::syntax::ast::{Body, ExprKind, File, Function, Ident, Imports, Item, Parameter, Use};

impl<'a> Formatter<'a> {
    pub(super) fn file(&mut self, file: &File) -> Doc<'a> {
        let has_lines = |item: &Item| match item {
            Item::Function(function) => matches!(function.body, Body::Block(_)),
            Item::Recipe(_) => true,
            Item::Use(_) | Item::Binding(_) => false,
        };
        self.lines(
            &file.items,
            (file.span.start, file.span.end),
            Item::span,
            |before, after| has_lines(before) || has_lines(after),
            Self::item,
        )
    }

    fn item(&mut self, item: &Item) -> Doc<'a> {
        match item {
            Item::Use(import) => self.import(import),
            Item::Function(function) => self.function(function),
            Item::Recipe(recipe) => self.recipe(recipe),
            Item::Binding(binding) => self.binding(binding),
        }
    }

    fn import(&mut self, import: &Use) -> Doc<'a> {
        let path = Doc::concat([Doc::Text("use "), Doc::Text(self.text(import.path.span))]);
        match &import.imports {
            Imports::All => path,
            Imports::Module(name) => {
                Doc::concat([path, Doc::Text(" as "), Doc::Text(self.text(name.span))])
            }
            Imports::Names(names) => {
                let names = self.comma_separated(
                    names,
                    |name| name.span,
                    |formatter, name| Doc::Text(formatter.text(name.span)),
                );
                Doc::concat([path, Doc::Text(": "), names])
            }
        }
    }

    /// A list without delimiters: on one line, or with one element on each.
    pub(super) fn comma_separated<T>(
        &mut self,
        elements: &[T],
        span_of: impl Fn(&T) -> Span,
        mut document_of: impl FnMut(&mut Self, &T) -> Doc<'a>,
    ) -> Doc<'a> {
        let mut parts = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                let start = span_of(element).start;
                parts.push(Doc::Text(","));
                parts.push(self.comments.trailing(start));
                parts.push(Doc::Line);
                parts.push(self.comments.leading(start));
            }
            parts.push(document_of(self, element));
        }
        Doc::group(Doc::indent(Doc::Concat(parts)))
    }

    pub(super) fn function(&mut self, function: &Function) -> Doc<'a> {
        let body_start = match &function.body {
            Body::Block(block) => block.span.start,
            Body::Expr(expr) => expr.span.start,
        };
        let after_parameters =
            function.result.as_ref().map_or(body_start, |result| result.span.start);
        let mut parts = vec![
            Doc::Text(function.kind.keyword()),
            Doc::Text(" "),
            self.signature(&function.name, &function.parameters, after_parameters),
        ];
        if let Some(result) = &function.result {
            // Where the line is too long, the parameters break.
            parts.extend([Doc::Text(" -> "), Doc::flat(self.ty(result))]);
        }
        parts.push(match &function.body {
            Body::Block(block) => Doc::group(Doc::concat([Doc::Text(" "), self.block(block)])),
            Body::Expr(expr) => {
                let has_braces = matches!(
                    expr.kind,
                    ExprKind::If { .. } | ExprKind::Loop(_) | ExprKind::Block(_)
                );
                if has_braces {
                    Doc::concat([Doc::Text(" = "), self.expression(expr)])
                } else {
                    let trailing = self.comments.trailing(expr.span.start);
                    let leading = self.comments.leading(expr.span.start);
                    let body = self.expression(expr);
                    let content = Doc::concat([trailing, Doc::Line, leading, body]);
                    Doc::concat([Doc::Text(" ="), Doc::group(Doc::indent(content))])
                }
            }
        });
        Doc::Concat(parts)
    }

    /// `name(parameters)`; comments up to the byte `end` belong to the parameters.
    pub(super) fn signature(
        &mut self,
        name: &Ident,
        parameters: &[Parameter],
        end: u32,
    ) -> Doc<'a> {
        // The tree does not say where the parameters end, but nothing behind them can hold a
        // comment before `end`.
        let span = Span { end: end + 1, ..name.span };
        let span_of = |parameter: &Parameter| parameter.span;
        Doc::concat([
            Doc::Text(self.text(name.span)),
            self.delimited(["(", ")"], parameters, span, span_of, Self::parameter),
        ])
    }

    fn parameter(&mut self, parameter: &Parameter) -> Doc<'a> {
        let mut parts = vec![
            Doc::Text(self.text(parameter.name.span)),
            self.optional_type(parameter.ty.as_ref()),
        ];
        if let Some(default) = &parameter.default {
            parts.extend([Doc::Text(" = "), self.expression(default)]);
        }
        Doc::Concat(parts)
    }
}
