//! Recipes.

use super::Formatter;
use super::document::Doc;
use crate::syntax::ast::{
    Clause, ClauseKind, Expr, Field, Ident, Path, PathSegment, Paths, Recipe, UpdateGroup,
};

impl<'a> Formatter<'a> {
    pub(super) fn recipe(&mut self, recipe: &Recipe) -> Doc<'a> {
        let last_parameter =
            recipe.parameters.last().map_or(recipe.name.span.end, |last| last.span.end);
        // The first brace behind the parameters opens the recipe.
        let rest = self.between(last_parameter, recipe.span.end);
        let open = last_parameter + rest.find('{').unwrap_or(0) as u32;
        let signature = self.signature(&recipe.name, &recipe.parameters, open);
        let end = recipe.span.end - 1;
        let header = Doc::concat([Doc::Text("train "), signature]);
        if recipe.clauses.is_empty() && !self.comments.any(end) {
            return Doc::concat([header, Doc::Text(" {}")]);
        }
        let clauses = self.lines(
            &recipe.clauses,
            (open + 1, end),
            |clause| clause.span,
            |_, _| false,
            Self::clause,
        );
        Doc::concat([
            header,
            Doc::Text(" {"),
            Doc::indent(Doc::concat([Doc::HardLine, clauses])),
            Doc::HardLine,
            Doc::Text("}"),
        ])
    }

    fn clause(&mut self, clause: &Clause) -> Doc<'a> {
        match &clause.kind {
            ClauseKind::Binding(binding) => self.binding(binding),
            ClauseKind::Declaration(declaration) => self.declaration(declaration),
            ClauseKind::Assignment(assignment) => self.assignment(assignment),
            ClauseKind::Data { fields, source } => {
                let fields = self.comma_separated(fields, |field| field.span, Self::field);
                self.with_tail("data ", fields, "from ", Some(source))
            }
            ClauseKind::Load { targets, source } => {
                let targets = self.paths(targets);
                self.with_tail("load ", targets, "from ", Some(source))
            }
            ClauseKind::Freeze { targets, condition } => {
                let targets = self.paths(targets);
                self.with_tail("freeze ", targets, "while ", condition.as_ref())
            }
            ClauseKind::Minimize { name, objective, groups } => {
                let name = self.optional_name(name.as_ref());
                // Further in than the groups, where it breaks.
                let objective = Doc::indent(self.expression(objective));
                let lines = groups.iter().map(|group| self.update_group(group)).collect();
                let content = Doc::concat([
                    Doc::Text("minimize "),
                    name,
                    objective,
                    Doc::indent(Doc::Concat(lines)),
                ]);
                if groups.len() > 1 { Doc::broken_group(content) } else { Doc::group(content) }
            }
            ClauseKind::Batch(size) => Doc::concat([Doc::Text("batch "), self.expression(size)]),
            ClauseKind::Accumulate(count) => {
                Doc::concat([Doc::Text("accumulate "), self.expression(count)])
            }
            ClauseKind::Epochs(count) => {
                Doc::concat([Doc::Text("epochs "), self.expression(count)])
            }
            ClauseKind::Stop(condition) => {
                Doc::concat([Doc::Text("stop when "), self.expression(condition)])
            }
            ClauseKind::Report(entries) => {
                let entries = self.comma_separated(
                    entries,
                    |entry| entry.span,
                    |this, entry| {
                        let name = this.optional_name(entry.name.as_ref());
                        Doc::concat([name, this.expression(&entry.value)])
                    },
                );
                Doc::concat([Doc::Text("report "), entries])
            }
            ClauseKind::Show(images) => {
                let images = self.comma_separated(images, |value| value.span, Self::expression);
                Doc::concat([Doc::Text("show "), images])
            }
            ClauseKind::Error => Doc::Text(self.text(clause.span)),
        }
    }

    /// `word content` and, on the same line or the next, `tail_word tail`.
    fn with_tail(
        &mut self,
        word: &'static str,
        content: Doc<'a>,
        tail_word: &'static str,
        tail: Option<&Expr>,
    ) -> Doc<'a> {
        let mut parts = vec![Doc::Text(word), content];
        if let Some(tail) = tail {
            let trailing = self.comments.trailing(tail.span.start);
            let leading = self.comments.leading(tail.span.start);
            let tail = self.expression(tail);
            parts.push(Doc::indent(Doc::concat([
                trailing,
                Doc::Line,
                leading,
                Doc::Text(tail_word),
                tail,
            ])));
        }
        Doc::group(Doc::Concat(parts))
    }

    /// `name = `, if there is one.
    fn optional_name(&self, name: Option<&Ident>) -> Doc<'a> {
        match name {
            Some(name) => Doc::concat([Doc::Text(self.text(name.span)), Doc::Text(" = ")]),
            None => Doc::empty(),
        }
    }

    fn field(&mut self, field: &Field) -> Doc<'a> {
        Doc::concat([self.pattern(&field.pattern), self.optional_type(field.ty.as_ref())])
    }

    /// ` over paths using optimizer`, on a line of its own or behind the objective.
    fn update_group(&mut self, group: &UpdateGroup) -> Doc<'a> {
        let mut parts = vec![
            self.comments.trailing(group.span.start),
            Doc::Line,
            self.comments.leading(group.span.start),
        ];
        if let Some(over) = &group.over {
            parts.extend([Doc::Text("over "), self.paths(over), Doc::Text(" ")]);
        }
        parts.extend([Doc::Text("using "), self.expression(&group.using)]);
        Doc::Concat(parts)
    }

    fn paths(&mut self, paths: &Paths) -> Doc<'a> {
        let mut parts = Vec::new();
        for (index, path) in paths.included.iter().enumerate() {
            parts.push(Doc::Text(if index == 0 { "" } else { ", " }));
            parts.push(self.path(path));
        }
        for (index, path) in paths.excluded.iter().enumerate() {
            parts.push(Doc::Text(if index == 0 { " except " } else { ", " }));
            parts.push(self.path(path));
        }
        Doc::Concat(parts)
    }

    fn path(&mut self, path: &Path) -> Doc<'a> {
        let mut parts = vec![Doc::Text(self.text(path.root.span))];
        for segment in &path.segments {
            let span = match segment {
                PathSegment::Name(name) => name.span,
                PathSegment::Index(_, span) | PathSegment::Any(span) => *span,
            };
            parts.extend([Doc::Text("."), Doc::Text(self.text(span))]);
        }
        Doc::Concat(parts)
    }
}
