//! Training recipes.

use super::item::Signature;
use super::{Failed, Parse, Parser};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::syntax::ast::{
    Clause, ClauseKind, Expr, Field, Ident, Path, PathSegment, Paths, Recipe, Reported, UpdateGroup,
};
use crate::syntax::token::{CLAUSE_WORDS, Keyword, TokenKind};

impl Parser<'_> {
    /// `train = "train" sig "{" {clause} "}"`
    pub(super) fn recipe(&mut self) -> Parse<Recipe> {
        let start = self.advance().span;
        let Signature { name, parameters, result } = self.signature()?;
        if let Some(result) = result {
            self.report(
                Diagnostic::error("recipe-result", "a recipe has no result")
                    .primary(result.span, "not expected here")
                    .help("leave it out; `report` says what a recipe shows"),
            );
        }
        let mut clauses = Vec::new();
        self.braces("a recipe is written `train name(...) { ... }`", |parser| {
            let first = parser.position;
            let clause_start = parser.start();
            let kind = parser.clause().unwrap_or_else(|Failed| {
                parser.skip_statement();
                ClauseKind::Error
            });
            clauses.push(Clause { kind, span: parser.span_from(clause_start) });
            parser.end_of_line(first, true);
        })?;
        Ok(Recipe { name, parameters, clauses, span: self.span_from(start) })
    }

    fn clause(&mut self) -> Parse<ClauseKind> {
        if let Some(kind) = self.declaration_ahead() {
            return self.declaration(kind).map(ClauseKind::Declaration);
        }
        match self.kind() {
            TokenKind::Keyword(Keyword::Let | Keyword::Var) => {
                self.binding().map(ClauseKind::Binding)
            }
            TokenKind::Name => {
                let word = self.text(self.current().span);
                match CLAUSE_WORDS.iter().find(|clause| **clause == word) {
                    Some(word) => self.clause_of(word),
                    None if self.ahead(1).kind == TokenKind::Assign => {
                        self.assignment().map(ClauseKind::Assignment)
                    }
                    None => self.not_a_clause(),
                }
            }
            TokenKind::Keyword(keyword) if keyword.starts_item() => {
                self.report_misplaced(keyword, self.start());
                self.nested(|parser| {
                    parser.item();
                });
                Ok(ClauseKind::Error)
            }
            _ => self.not_a_clause(),
        }
    }

    /// Reports a line that no clause starts with.
    fn not_a_clause(&mut self) -> Parse<ClauseKind> {
        let token = self.current();
        if token.kind == TokenKind::Unknown {
            return Err(Failed);
        }
        if token.kind.is_closer() {
            self.report_expected_line_end(self.position, true);
            return Err(Failed);
        }
        let meant = match token.kind {
            TokenKind::Name => self.meant_by(self.text(token.span), true),
            _ => None,
        };
        let help = meant.unwrap_or_else(|| {
            let words: Vec<String> = CLAUSE_WORDS.iter().map(|word| format!("`{word}`")).collect();
            format!("a line of a recipe starts with `let`, `var`, `state` or {}", words.join(", "))
        });
        let shown: String = match token.kind.text() {
            Some(text) => text.to_string(),
            None => self.text(token.span).chars().take(24).collect(),
        };
        self.report(
            Diagnostic::error("expected-clause", format!("expected a clause, found `{shown}`"))
                .primary(token.span, "not the beginning of a clause")
                .help(help),
        );
        Err(Failed)
    }

    /// A clause whose first word is the current token.
    fn clause_of(&mut self, word: &str) -> Parse<ClauseKind> {
        self.advance();
        if self.at(TokenKind::Assign) {
            let span = self.current().span;
            self.report(
                Diagnostic::error(
                    "assignment-to-clause",
                    format!("`{word}` is a clause, not a name"),
                )
                .primary(span, "not expected here")
                .help(format!("write `{word} ...` without `=`")),
            );
            self.advance();
        }
        match word {
            "data" => self.data(),
            "load" => self.load(),
            "freeze" => self.freeze(),
            "minimize" => self.minimize(),
            "batch" => Ok(ClauseKind::Batch(self.expression())),
            "accumulate" => Ok(ClauseKind::Accumulate(self.expression())),
            "epochs" => Ok(ClauseKind::Epochs(self.expression())),
            "stop" => {
                self.expect_word("when", "write `stop when plateaus(\"loss\") > 0`")?;
                Ok(ClauseKind::Stop(self.expression()))
            }
            "report" => self.reported().map(ClauseKind::Report),
            _ => Ok(ClauseKind::Show(self.expressions())),
        }
    }

    /// `[NAME "="] expr {"," [NAME "="] expr}`
    fn reported(&mut self) -> Parse<Vec<Reported>> {
        let mut entries = Vec::new();
        loop {
            let start = self.start();
            let name = self.optional_name()?;
            let value = self.expression();
            entries.push(Reported { name, value, span: self.span_from(start) });
            if !self.eat(TokenKind::Comma) {
                return Ok(entries);
            }
        }
    }

    /// `[NAME "="]`
    fn optional_name(&mut self) -> Parse<Option<Ident>> {
        if !(self.at(TokenKind::Name) && self.ahead(1).kind == TokenKind::Assign) {
            return Ok(None);
        }
        let name = self.expect_name("a name")?;
        self.advance();
        Ok(Some(name))
    }

    /// `expr {"," expr}`
    fn expressions(&mut self) -> Vec<Expr> {
        let mut expressions = vec![self.expression()];
        while self.eat(TokenKind::Comma) {
            expressions.push(self.expression());
        }
        expressions
    }

    /// `"data" field {"," field} "from" expr`
    fn data(&mut self) -> Parse<ClauseKind> {
        let mut fields = vec![self.field()?];
        while self.eat(TokenKind::Comma) {
            fields.push(self.field()?);
        }
        self.expect_word("from", "write `data x: f32[n, 8] from csv(\"file.csv\")`")?;
        Ok(ClauseKind::Data { fields, source: self.expression() })
    }

    /// `field = pattern [":" type]`
    fn field(&mut self) -> Parse<Field> {
        let start = self.start();
        let pattern = self.pattern()?;
        let ty = self.optional_type();
        Ok(Field { pattern, ty, span: self.span_from(start) })
    }

    /// `"load" paths "from" expr`
    fn load(&mut self) -> Parse<ClauseKind> {
        let targets = self.paths()?;
        self.expect_word("from", "write `load net from safetensors(\"file.safetensors\")`")?;
        Ok(ClauseKind::Load { targets, source: self.expression() })
    }

    /// `"freeze" paths ["while" expr]`
    fn freeze(&mut self) -> Parse<ClauseKind> {
        let targets = self.paths()?;
        let condition = self.eat_word("while").then(|| self.expression());
        Ok(ClauseKind::Freeze { targets, condition })
    }

    /// `"minimize" [NAME "="] expr group {group}`
    fn minimize(&mut self) -> Parse<ClauseKind> {
        let name = self.optional_name()?;
        let objective = self.expression();
        let mut groups = vec![self.update_group()?];
        while self.at_word("over") || self.at_word("using") {
            groups.push(self.update_group()?);
        }
        Ok(ClauseKind::Minimize { name, objective, groups })
    }

    /// `group = ["over" paths] "using" expr`
    fn update_group(&mut self) -> Parse<UpdateGroup> {
        let start = self.start();
        let over = if self.eat_word("over") { Some(self.paths()?) } else { None };
        self.expect_word("using", "name an optimizer: `minimize loss using adam(lr: 1e-3)`")?;
        let using = self.expression();
        Ok(UpdateGroup { over, using, span: self.span_from(start) })
    }

    /// `paths = path {"," path} ["except" path {"," path}]`
    fn paths(&mut self) -> Parse<Paths> {
        let start = self.start();
        let included = self.path_list()?;
        let excluded = if self.eat_word("except") { self.path_list()? } else { Vec::new() };
        Ok(Paths { included, excluded, span: self.span_from(start) })
    }

    fn path_list(&mut self) -> Parse<Vec<Path>> {
        let mut paths = vec![self.path()?];
        while self.eat(TokenKind::Comma) {
            paths.push(self.path()?);
        }
        Ok(paths)
    }

    /// `path = NAME {"." (NAME | INT | "*")}`
    fn path(&mut self) -> Parse<Path> {
        let root = self.expect_name("the name of a model or a parameter")?;
        let mut segments = Vec::new();
        while self.continues() && self.eat(TokenKind::Dot) {
            segments.push(self.path_segment()?);
        }
        let span = self.span_from(root.span);
        Ok(Path { root, segments, span })
    }

    fn path_segment(&mut self) -> Parse<PathSegment> {
        let span: Span = self.current().span;
        match self.kind() {
            TokenKind::Star => {
                self.advance();
                Ok(PathSegment::Any(span))
            }
            TokenKind::Int => {
                let Ok(index) = self.text(span).replace('_', "").parse() else {
                    self.report_expected("expected-name", "the number of a part", "");
                    return Err(Failed);
                };
                self.advance();
                Ok(PathSegment::Index(index, span))
            }
            _ => self.expect_name("a name, a number or `*`").map(PathSegment::Name),
        }
    }

    /// Passes a word that means something in one place only.
    fn expect_word(&mut self, word: &str, help: &str) -> Parse<()> {
        if self.eat_word(word) {
            return Ok(());
        }
        self.report_expected("expected-token", &format!("`{word}`"), help);
        Err(Failed)
    }
}
