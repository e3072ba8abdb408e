//! What a program is compiled for: numbers for its free dims, and settings of its parameters.

use std::collections::{BTreeMap, BTreeSet};

use super::size::Size;
use super::value::Value;
use crate::diagnostic::{Diagnostic, closest};
use crate::syntax::ast;

/// Numbers for free dims, and values for parameters as texts (`--set NAME=VALUE`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// The sizes of free dims, by name. A `dim` parameter may also be set here.
    pub dims: BTreeMap<String, usize>,
    /// Values of static parameters, of inputs that are scalars, of a recipe's `float` parameters,
    /// and of `batch` and `epochs`, by name.
    pub settings: BTreeMap<String, String>,
    /// The inputs with a default that the caller gives values for; others have their default.
    pub inputs: BTreeSet<String>,
}

impl Bindings {
    /// Bindings of free dims alone.
    pub fn of_dims<'a>(dims: impl IntoIterator<Item = (&'a str, usize)>) -> Bindings {
        let dims = dims.into_iter().map(|(name, size)| (name.to_owned(), size)).collect();
        Bindings { dims, ..Bindings::default() }
    }

    /// The same with one more setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Bindings {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same for an input with a default that the caller will set.
    #[must_use]
    pub fn giving(mut self, input: &str) -> Bindings {
        self.inputs.insert(input.to_owned());
        self
    }

    /// The text set for `name`, from either list.
    pub fn text(&self, name: &str) -> Option<String> {
        let set = self.settings.get(name).cloned();
        set.or_else(|| self.dims.get(name).map(ToString::to_string))
    }

    /// The size of the dim called `name`, if it is given.
    pub(super) fn size(&self, name: &str) -> Option<usize> {
        let set = || self.settings.get(name)?.trim().parse().ok();
        self.dims.get(name).copied().or_else(set)
    }

    /// Reports settings that nothing has the name of.
    pub(super) fn unknown(&self, known: &[&str], place: &ast::Ident) -> Option<Diagnostic> {
        let unknown: Vec<&str> =
            self.settings.keys().map(String::as_str).filter(|name| !known.contains(name)).collect();
        if unknown.is_empty() {
            return None;
        }
        let mut diagnostic = Diagnostic::error(
            "unknown-setting",
            format!("`{}` has no parameter `{}` to set", place.name, unknown.join("`, `")),
        )
        .primary(place.span, "defined here");
        for name in unknown {
            if let Some(near) = closest(name, known.iter().copied()) {
                diagnostic = diagnostic.help(format!("did you mean `{near}` by `{name}`?"));
            }
        }
        Some(match known {
            [] => diagnostic.help("it has no parameters"),
            known => diagnostic.help(format!("it has {}", known.join(", "))),
        })
    }
}

/// A text as the value of a static parameter of type `ty`; what it must be if it is not that.
pub(super) fn parse_setting<'p>(text: &str, ty: &str) -> Result<Value<'p>, &'static str> {
    let text = text.trim();
    match ty {
        "dim" | "int" => match text.replace('_', "").parse::<i64>() {
            Ok(value) => Ok(Value::int(Size::constant(value))),
            Err(_) => Err("a whole number"),
        },
        "float" | "init" => match text.parse::<f64>() {
            Ok(value) if ty == "float" || value.is_finite() => Ok(Value::Float(Some(value))),
            _ => Err("a number"),
        },
        "bool" => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err("`true` or `false`"),
        },
        "list" => {
            let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let parts = inner.unwrap_or(text).split(',').filter(|part| !part.trim().is_empty());
            let values: Result<Vec<Value<'p>>, _> = parts
                .map(|part| parse_setting(part, "int").or_else(|_| parse_setting(part, "float")))
                .collect();
            values.map(|values| Value::List(values.into())).map_err(|_| "a list of numbers")
        }
        _ => Ok(Value::Text(text.into())),
    }
}

/// A static value as a text that [`parse_setting`] reads; `None` if it is not of a kind that can
/// be set.
pub(super) fn setting_text(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Int(int) => int.size.as_constant().map(|number| number.to_string()),
        Value::Float(number) => number.map(|number| format!("{number:?}")),
        Value::Bool(value) => Some(value.to_string()),
        Value::Text(text) => Some(text.to_string()),
        Value::List(parts) => {
            let numbers = parts.iter().all(|part| matches!(part, Value::Int(_) | Value::Float(_)));
            let parts: Option<Vec<String>> = parts.iter().map(setting_text).collect();
            parts.filter(|_| numbers).map(|parts| format!("[{}]", parts.join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_type() {
        assert!(matches!(parse_setting("1_000", "int"), Ok(Value::Int(int)) if int.size.is(1000)));
        assert!(matches!(parse_setting("1e-3", "float"), Ok(Value::Float(Some(1e-3)))));
        assert!(matches!(parse_setting("true", "bool"), Ok(Value::Bool(true))));
        assert!(
            matches!(parse_setting("[1, 2]", "list"), Ok(Value::List(list)) if list.len() == 2)
        );
        let list = parse_setting("[1, 2.5]", "list").ok();
        assert_eq!(list.and_then(|list| setting_text(&list)).as_deref(), Some("[1, 2.5]"));
        assert!(matches!(parse_setting("1.5", "dim"), Err("a whole number")));
        assert!(matches!(parse_setting("yes", "bool"), Err("`true` or `false`")));
    }
}
