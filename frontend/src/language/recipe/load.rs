//! The `load` clause: parameters that start with trained values.

use super::Run;
use crate::data::source::OptionValue;
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::Eval;
use crate::language::program::LoadClause;
use crate::source::Span;
use crate::syntax::ast::{Expr, Paths};

impl<'p> Run<'_, 'p> {
    /// `load paths from safetensors("file", skip: [...], rename: [...], strict: ...)`.
    pub(super) fn load(&mut self, targets: &'p Paths, source: &'p Expr) -> Eval<()> {
        let targets = self.evaluator.selection(targets, &self.scope)?;
        let spec = self.source(source)?;
        let [path] = &spec.paths[..] else {
            return Err(self.bad_load(source.span, "`safetensors` takes one path"));
        };
        if spec.kind != "safetensors" {
            let text = format!("there is no source of weights `{}`", spec.kind);
            return Err(self.bad_load(source.span, &text));
        }
        let mut clause = LoadClause {
            targets,
            path: path.clone(),
            skip: Vec::new(),
            rename: Vec::new(),
            strict: true,
            span: source.span,
        };
        for (name, value) in &spec.options {
            let taken = match (name.as_str(), value) {
                ("skip", OptionValue::List(parts)) => texts(parts).map(|list| clause.skip = list),
                ("rename", OptionValue::List(pairs)) => {
                    let pairs = pairs.iter().map(|pair| match pair {
                        OptionValue::List(pair) => match texts(pair)?.as_slice() {
                            [from, to] => Some((from.clone(), to.clone())),
                            _ => None,
                        },
                        _ => None,
                    });
                    pairs.collect::<Option<_>>().map(|pairs| clause.rename = pairs)
                }
                ("strict", OptionValue::Bool(strict)) => {
                    clause.strict = *strict;
                    Some(())
                }
                _ => None,
            };
            if taken.is_none() {
                let text = format!("`{name}` is no such option of `safetensors`");
                return Err(self.bad_load(source.span, &text));
            }
        }
        self.outcome.loads.push(clause);
        Ok(())
    }

    fn bad_load(&mut self, span: Span, text: &str) -> crate::language::evaluate::Stop {
        self.evaluator.report(
            Diagnostic::error("load-source", text)
                .primary(span, "weights cannot be loaded from this")
                .help(
                    "write `safetensors(\"file\", skip: [\"fc.*\"], rename: [(\"old.*\", \
                     \"new.*\")], strict: true)`",
                ),
        )
    }
}

fn texts(values: &[OptionValue]) -> Option<Vec<String>> {
    let text = |value: &OptionValue| match value {
        OptionValue::Str(text) => Some(text.clone()),
        _ => None,
    };
    values.iter().map(text).collect()
}
