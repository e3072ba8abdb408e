//! Patterns of names, as for files: `*` stands for any text.

/// A pattern like `encoder.*.weight`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// The texts between the stars; at least one.
    parts: Vec<String>,
}

impl Glob {
    /// The pattern written as `text`.
    pub fn new(text: &str) -> Glob {
        Glob { parts: text.split('*').map(str::to_owned).collect() }
    }

    /// What the stars stand for in `text`, each as little as possible but the last one; `None` if
    /// the text is another one.
    pub fn matches<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let (first, rest) = self.parts.split_first()?;
        let mut text = text.strip_prefix(first.as_str())?;
        let Some((last, middle)) = rest.split_last() else {
            return text.is_empty().then(Vec::new);
        };
        let mut stars = Vec::with_capacity(rest.len());
        for part in middle {
            let place = text.find(part.as_str())?;
            stars.push(&text[..place]);
            text = &text[place + part.len()..];
        }
        stars.push(text.strip_suffix(last.as_str())?);
        Some(stars)
    }

    /// This pattern with `stars` in the place of its stars, as far as they go.
    pub fn filled(&self, stars: &[&str]) -> String {
        let mut text = String::new();
        for (number, part) in self.parts.iter().enumerate() {
            if let Some(star) = number.checked_sub(1).and_then(|star| stars.get(star)) {
                text += star;
            }
            text += part;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        assert_eq!(Glob::new("fc.*").matches("fc.weight"), Some(vec!["weight"]));
        assert_eq!(Glob::new("fc.*").matches("fc2.weight"), None);
        assert_eq!(Glob::new("fc").matches("fc"), Some(vec![]));
        assert_eq!(Glob::new("fc").matches("fc.weight"), None);
        assert_eq!(Glob::new("*").matches(""), Some(vec![""]));
        assert_eq!(Glob::new("*.norm.*").matches("a.0.norm.weight"), Some(vec!["a.0", "weight"]));
        assert_eq!(Glob::new("a*a").matches("a"), None);
    }

    #[test]
    fn what_stars_stood_for_is_put_into_another_pattern() {
        let stars = Glob::new("layer*.conv*.weight").matches("layer3.conv1.weight").unwrap();
        assert_eq!(Glob::new("stage.*.*.weight").filled(&stars), "stage.3.1.weight");
        assert_eq!(Glob::new("same").filled(&stars), "same");
    }
}
