//! Blocks and statements.

use super::Formatter;
use super::document::Doc;
use crate::syntax::ast::{
    Assignment, Binding, Block, Body, Declaration, DeclarationKind, Expr, Pattern, Statement, Type,
};

impl<'a> Formatter<'a> {
    /// A block stays on one line if it stood on one, has at most one statement, no comment, and
    /// fits. The group to break is the caller's.
    pub(super) fn block(&mut self, block: &Block) -> Doc<'a> {
        let (start, end) = (block.span.start + 1, block.span.end - 1);
        let has_comments = self.comments.any(end);
        if block.statements.is_empty() && !has_comments {
            return Doc::Text("{}");
        }
        let first = block.statements.first().map_or(end, |statement| statement.span().start);
        let stays = block.statements.len() == 1
            && !has_comments
            && !self.between(start, first).contains('\n');
        let has_lines = |statement: &Statement| matches!(statement, Statement::Function(function) if matches!(function.body, Body::Block(_)));
        let content = self.lines(
            &block.statements,
            (start, end),
            Statement::span,
            |before, after| has_lines(before) || has_lines(after),
            Self::statement,
        );
        let line = || if stays { Doc::Line } else { Doc::HardLine };
        Doc::concat([
            Doc::Text("{"),
            Doc::indent(Doc::concat([line(), content])),
            line(),
            Doc::Text("}"),
        ])
    }

    fn statement(&mut self, statement: &Statement) -> Doc<'a> {
        match statement {
            Statement::Binding(binding) => self.binding(binding),
            Statement::Declaration(declaration) => self.declaration(declaration),
            Statement::Assignment(assignment) => self.assignment(assignment),
            Statement::Function(function) => self.function(function),
            Statement::Yield(yielded) => {
                Doc::concat([Doc::Text("yield "), self.expression(&yielded.value)])
            }
            Statement::Expr(expr) => self.expression(expr),
            Statement::Error(span) => Doc::Text(self.text(*span)),
        }
    }

    pub(super) fn binding(&mut self, binding: &Binding) -> Doc<'a> {
        Doc::concat([
            Doc::Text(if binding.mutable { "var " } else { "let " }),
            self.pattern(&binding.pattern),
            self.optional_type(binding.ty.as_ref()),
            self.value(&binding.value),
        ])
    }

    pub(super) fn declaration(&mut self, declaration: &Declaration) -> Doc<'a> {
        let keyword = match declaration.kind {
            DeclarationKind::Param => "param ",
            DeclarationKind::State => "state ",
        };
        let stored_name = match &declaration.stored_name {
            Some(name) => Doc::concat([Doc::Text(" "), Doc::Text(self.text(name.span))]),
            None => Doc::empty(),
        };
        Doc::concat([
            Doc::Text(keyword),
            Doc::Text(self.text(declaration.name.span)),
            stored_name,
            self.optional_type(declaration.ty.as_ref()),
            self.value(&declaration.initial),
        ])
    }

    pub(super) fn assignment(&mut self, assignment: &Assignment) -> Doc<'a> {
        Doc::concat([Doc::Text(self.text(assignment.name.span)), self.value(&assignment.value)])
    }

    /// ` = value`
    fn value(&mut self, value: &Expr) -> Doc<'a> {
        Doc::concat([Doc::Text(" = "), self.expression(value)])
    }

    /// `: type`
    pub(super) fn optional_type(&mut self, ty: Option<&Type>) -> Doc<'a> {
        match ty {
            Some(ty) => Doc::concat([Doc::Text(": "), self.ty(ty)]),
            None => Doc::empty(),
        }
    }

    pub(super) fn pattern(&mut self, pattern: &Pattern) -> Doc<'a> {
        match pattern {
            Pattern::Name(name) => Doc::Text(self.text(name.span)),
            Pattern::Ignore(_) => Doc::Text("_"),
            Pattern::Tuple(components, span) => {
                self.delimited(["(", ")"], components, *span, Pattern::span, Self::pattern)
            }
        }
    }
}
