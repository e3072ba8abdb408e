//! Selections of parameters by their paths: `net except net.fc`, `net.layers.*.norm`.

use super::evaluate::{Eval, Evaluator};
use super::scope::Scope;
use super::value::Value;
use crate::diagnostic::{Diagnostic, closest};
use crate::source::Span;
use crate::syntax::ast::{self, FunctionKind, PathSegment};
use std::rc::Rc;

/// Some of the parameters of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What is in it.
    included: Vec<Pattern>,
    /// What is not.
    excluded: Vec<Pattern>,
    /// Where it stands.
    pub span: Span,
}

/// A path; everything below it is meant, too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// The path of the instance that it begins with; empty for the only model of a recipe.
    root: String,
    /// Names separated by dots, `None` for `*`.
    parts: Vec<Option<String>>,
    /// As it is written.
    text: String,
    span: Span,
}

impl Pattern {
    /// Whether `path` is this path or one below it.
    fn covers(&self, path: &str) -> bool {
        let mut names = path.split('.').filter(|name| !name.is_empty());
        self.parts.iter().all(|part| match (part, names.next()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(part), Some(name)) => part == name,
        })
    }
}

impl Selection {
    /// Whether the parameter or instance with this path is selected.
    pub fn covers(&self, path: &str) -> bool {
        let among = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.covers(path));
        among(&self.included) && !among(&self.excluded)
    }

    /// A path as seen from the instance that the selection begins with, as checkpoints of that
    /// instance name it; `None` for a path outside, but not for one that is not selected.
    pub fn relative<'a>(&self, path: &'a str) -> Option<&'a str> {
        self.included.iter().find_map(|pattern| match pattern.root.as_str() {
            "" => Some(path),
            root => path.strip_prefix(root)?.strip_prefix('.'),
        })
    }
}

impl<'p> Evaluator<'p> {
    /// The selection that paths mean where they stand.
    pub(super) fn selection(
        &mut self,
        paths: &'p ast::Paths,
        scope: &Rc<Scope<'p>>,
    ) -> Eval<Selection> {
        let mut patterns = |list: &'p [ast::Path]| -> Eval<Vec<Pattern>> {
            list.iter().map(|path| self.pattern_of(path, scope)).collect()
        };
        let included = patterns(&paths.included)?;
        let excluded = patterns(&paths.excluded)?;
        Ok(Selection { included, excluded, span: paths.span })
    }

    fn pattern_of(&mut self, path: &'p ast::Path, scope: &Rc<Scope<'p>>) -> Eval<Pattern> {
        let root = &path.root;
        let instance = match self.name(&root.name, root.span, scope)? {
            Value::Capture(capture) => capture.path.clone(),
            Value::Closure(closure) if closure.function.kind == FunctionKind::Model => {
                self.model_path(&root.name)
            }
            other => {
                let found = self.describe(&other);
                return Err(self.report(
                    Diagnostic::error("no-instance", format!("`{}` has no parameters", root.name))
                        .primary(root.span, format!("this is {found}"))
                        .help("a path begins with a model, or with an instance like `let net = resnet(_)`"),
                ));
            }
        };
        let mut text = root.name.clone();
        let names = instance.split('.').filter(|name| !name.is_empty());
        let mut parts: Vec<Option<String>> = names.map(|name| Some(name.to_owned())).collect();
        for segment in &path.segments {
            let part = match segment {
                PathSegment::Name(name) => Some(name.name.clone()),
                PathSegment::Index(index, _) => Some(index.to_string()),
                PathSegment::Any(_) => None,
            };
            text += &format!(".{}", part.as_deref().unwrap_or("*"));
            parts.push(part);
        }
        Ok(Pattern { root: instance, parts, text, span: path.span })
    }

    /// Reports each path of a selection that no parameter has. The parameters must be declared.
    pub(super) fn expect_selected(&mut self, selection: &Selection) -> Eval<()> {
        let mut result = Ok(());
        for pattern in selection.included.iter().chain(&selection.excluded) {
            let paths = self.slots.records().iter().map(|record| record.path.as_str());
            if paths.clone().any(|path| pattern.covers(path)) {
                continue;
            }
            let wanted: Vec<&str> =
                pattern.parts.iter().map(|part| part.as_deref().unwrap_or("*")).collect();
            let wanted = wanted.join(".");
            let missing = Diagnostic::error(
                "no-parameters",
                format!("`{}` is the path of no parameter", pattern.text),
            )
            .primary(pattern.span, "nothing here");
            let near = closest(&wanted, paths.clone().flat_map(prefixes));
            let missing = match near {
                Some(near) => {
                    let name = pattern.text.split('.').next().unwrap_or_default();
                    let rest = near.strip_prefix(&pattern.root).unwrap_or(near);
                    let rest = rest.strip_prefix('.').unwrap_or(rest);
                    missing.help(format!("did you mean `{name}.{rest}`?"))
                }
                None => missing.help("`cygnet check` lists the parameters of a model"),
            };
            result = Err(self.report(missing));
        }
        result
    }

    /// Whether the parameter or instance with this path is frozen.
    pub(super) fn is_frozen(&self, path: &str) -> bool {
        self.frozen.iter().any(|selection| selection.covers(path))
    }
}

/// A path and all paths above it.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
    ends.map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(root: &str, rest: &str) -> Pattern {
        let text = [root, rest].join(".");
        let parts = text.split('.').filter(|part| !part.is_empty());
        let parts = parts.map(|part| (part != "*").then(|| part.to_owned()));
        Pattern { root: root.to_owned(), parts: parts.collect(), text, span: Span::default() }
    }

    #[test]
    fn paths_select_what_is_below_them() {
        let all_but_head = Selection {
            included: vec![pattern("net", "")],
            excluded: vec![pattern("net", "fc"), pattern("net", "layers.*.norm")],
            span: Span::default(),
        };
        assert!(all_but_head.covers("net.conv1.weight"));
        assert!(all_but_head.covers("net.fc2.weight"));
        assert!(!all_but_head.covers("net.fc.weight"));
        assert!(!all_but_head.covers("net.layers.3.norm.bias"));
        assert!(!all_but_head.covers("network.conv1.weight"));
        assert_eq!(all_but_head.relative("net.conv1.weight"), Some("conv1.weight"));
        assert_eq!(all_but_head.relative("net.fc.weight"), Some("fc.weight"));
        assert_eq!(all_but_head.relative("network.fc.weight"), None);
    }

    #[test]
    fn the_only_model_has_no_prefix() {
        let all = Selection { included: vec![pattern("", "")], ..Selection::default() };
        assert!(all.covers("") && all.covers("fc.weight"));
        assert_eq!(all.relative("fc.weight"), Some("fc.weight"));
        let part = Selection { included: vec![pattern("", "fc")], ..Selection::default() };
        assert!(part.covers("fc.weight") && !part.covers("fcs.weight") && !part.covers(""));
        assert_eq!(part.relative("fc.weight"), Some("fc.weight"));
    }

    #[test]
    fn prefixes_are_all_paths_above() {
        assert_eq!(prefixes("a.b.c").collect::<Vec<_>>(), ["a", "a.b", "a.b.c"]);
    }
}
