//! What is searched: the values that each parameter may take, and how trials choose among them.

use std::collections::{BTreeMap, BTreeSet};

use cygnet_runtime::random::uniform;
use thiserror::Error;

use crate::syntax::ast::{Recipe, TypeKind};

/// The settings of a trial, as `--set` takes them.
pub type Settings = BTreeMap<String, String>;

/// The random stream that trials draw from.
const STREAM: u64 = 0x7475_6e65;

/// How many draws in a row may repeat earlier trials before a random search counts as exhausted.
const MOST_REPETITIONS: u64 = 1000;

/// The digits of a number that a random search draws: more would only be harder to read.
const DIGITS: usize = 4;

/// Why a space cannot be searched.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SpaceError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl SpaceError {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> SpaceError {
        SpaceError { message: message.into(), remedy: remedy.into() }
    }
}

/// Whether a parameter takes whole numbers, any numbers or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// `dim`, `int`, `batch` and `epochs`.
    Whole,
    /// `float`.
    Any,
    /// Other types: a range makes no sense.
    None,
}

/// The values that a parameter may take.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// One of these.
    Choices(Vec<String>),
    /// A whole number from the first to the second, both included.
    Whole {
        /// The smallest.
        low: i64,
        /// The largest.
        high: i64,
        /// Whether each factor rather than each difference is equally likely.
        log: bool,
    },
    /// A number from the first to the second.
    Number {
        /// The smallest.
        low: f64,
        /// The largest.
        high: f64,
        /// Whether each factor rather than each difference is equally likely.
        log: bool,
    },
}

/// A parameter and the values that it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The parameter of the recipe, `batch` or `epochs`.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// What can be searched in a recipe, by name.
pub fn searchable(recipe: &Recipe) -> BTreeMap<String, Numbers> {
    let counts = ["batch", "epochs"].map(|name| (name.to_owned(), Numbers::Whole));
    let parameters = recipe.parameters.iter().map(|parameter| {
        let numbers = match parameter.ty.as_ref().map(|ty| &ty.kind) {
            Some(TypeKind::Name(ty)) => match ty.name.as_str() {
                "dim" | "int" => Numbers::Whole,
                "float" => Numbers::Any,
                _ => Numbers::None,
            },
            _ => Numbers::None,
        };
        (parameter.name.name.clone(), numbers)
    });
    counts.into_iter().chain(parameters).collect()
}

impl Axis {
    /// `A,B,C`, or for a random search also `LO..HI`, `LO..HI:log`.
    ///
    /// # Errors
    /// If the text says something else, or nothing that the parameter can be.
    pub fn parse(
        name: &str,
        text: &str,
        numbers: Numbers,
        ranges: bool,
    ) -> Result<Axis, SpaceError> {
        let values = match text.split_once("..") {
            Some(_) if !ranges => {
                return Err(SpaceError::new(
                    format!("`{name}={text}` is a range"),
                    "a grid has values: list them (A,B,C), or search with --random",
                ));
            }
            Some((low, rest)) => range(name, low, rest, numbers)?,
            None => choices(name, text)?,
        };
        Ok(Axis { name: name.to_owned(), values })
    }

    /// The value at `place` in [0, 1).
    fn at(&self, place: f64) -> String {
        match &self.values {
            Values::Choices(choices) => {
                let index = (place * choices.len() as f64) as usize;
                choices[index.min(choices.len() - 1)].clone()
            }
            Values::Whole { low, high, log } => {
                // Each number owns the interval around it, so that the ends are as likely.
                let (from, to) = (*low as f64 - 0.5, *high as f64 + 0.5);
                let value = match log {
                    true => from * (to / from).powf(place),
                    false => from + (to - from) * place,
                };
                (value.round() as i64).clamp(*low, *high).to_string()
            }
            Values::Number { low, high, log } => {
                let value = match log {
                    true => low * (high / low).powf(place),
                    false => low + (high - low) * place,
                };
                short(value.clamp(*low, *high))
            }
        }
    }
}

/// A number with few digits.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.*e}", DIGITS - 1).parse().unwrap_or(value);
    let (plain, scientific) = (rounded.to_string(), format!("{rounded:e}"));
    if plain.len() <= scientific.len() + 3 { plain } else { scientific }
}

fn choices(name: &str, text: &str) -> Result<Values, SpaceError> {
    let parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) {
        return Err(SpaceError::new(
            format!("`{name}={text}` has an empty value"),
            "write values with commas between them: NAME=A,B,C",
        ));
    }
    let different: BTreeSet<&String> = parts.iter().collect();
    if different.len() < parts.len() {
        return Err(SpaceError::new(
            format!("`{name}={text}` has a value twice"),
            "give each value once",
        ));
    }
    Ok(Values::Choices(parts))
}

fn range(name: &str, low: &str, rest: &str, numbers: Numbers) -> Result<Values, SpaceError> {
    let (high, log) = match rest.split_once(':') {
        Some((high, "log")) => (high, true),
        None => (rest, false),
        Some((_, other)) => {
            return Err(SpaceError::new(
                format!("the range of `{name}` ends in `:{other}`"),
                "write LO..HI, or LO..HI:log for a logarithmic range",
            ));
        }
    };
    let shown = format!("the range {low}..{high} of `{name}`");
    let ordered = |ascending: bool, positive: bool| {
        if !ascending {
            let remedy = "write the smaller number first; both ends can be drawn";
            return Err(SpaceError::new(format!("{shown} is empty"), remedy));
        }
        if log && !positive {
            let text = format!("{shown} is logarithmic and does not begin above 0");
            return Err(SpaceError::new(text, "begin above 0, or leave out `:log`"));
        }
        Ok(())
    };
    match numbers {
        Numbers::Whole => {
            let end = |text: &str| text.trim().replace('_', "").parse::<i64>();
            let (Ok(low), Ok(high)) = (end(low), end(high)) else {
                let text = format!("{shown} is not one of whole numbers");
                return Err(SpaceError::new(
                    text,
                    format!("`{name}` takes whole numbers: 16..256"),
                ));
            };
            ordered(low < high, low > 0)?;
            Ok(Values::Whole { low, high, log })
        }
        Numbers::Any => {
            let end = |text: &str| text.trim().parse::<f64>().ok().filter(|end| end.is_finite());
            let (Some(low), Some(high)) = (end(low), end(high)) else {
                let text = format!("{shown} is not one of numbers");
                return Err(SpaceError::new(text, "write it as 1e-4..1e-1"));
            };
            ordered(low < high, low > 0.0)?;
            Ok(Values::Number { low, high, log })
        }
        Numbers::None => Err(SpaceError::new(
            format!("`{name}` is no number and has no range"),
            "list its values: NAME=A,B,C",
        )),
    }
}

/// All combinations of the choices of `axes`; the last one changes fastest.
pub fn grid(axes: &[Axis]) -> Vec<Settings> {
    let mut all = vec![Settings::new()];
    for axis in axes {
        let Values::Choices(choices) = &axis.values else { continue };
        let extended = all.iter().flat_map(|settings| {
            choices.iter().map(|choice| {
                let mut settings = settings.clone();
                settings.insert(axis.name.clone(), choice.clone());
                settings
            })
        });
        all = extended.collect();
    }
    all
}

/// `count` different settings, or fewer if there are no more. They depend on the seed only: a
/// longer search begins like a shorter one.
pub fn random(axes: &[Axis], count: usize, seed: u64) -> Vec<Settings> {
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    let (mut draw, mut repetitions) = (0, 0);
    while all.len() < count && repetitions < MOST_REPETITIONS {
        let place = |index| f64::from(uniform(seed, STREAM, draw, index));
        let settings: Settings = (axes.iter().zip(0..))
            .map(|(axis, index)| (axis.name.clone(), axis.at(place(index))))
            .collect();
        draw += 1;
        if seen.insert(settings.clone()) {
            all.push(settings);
            repetitions = 0;
        } else {
            repetitions += 1;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(text: &str, numbers: Numbers) -> Result<Axis, SpaceError> {
        Axis::parse("p", text, numbers, true)
    }

    #[test]
    fn grids_combine_all_values() {
        let axes = [
            Axis::parse("a", "1, 2", Numbers::Whole, false).expect("a list"),
            Axis::parse("b", "x,y,z", Numbers::None, false).expect("a list"),
        ];
        let all = grid(&axes);
        let shown: Vec<String> =
            all.iter().map(|settings| format!("{}{}", settings["a"], settings["b"])).collect();
        assert_eq!(shown, ["1x", "1y", "1z", "2x", "2y", "2z"]);
    }

    #[test]
    fn random_numbers_lie_in_their_ranges_and_reach_both_ends() {
        let whole = axis("3..6", Numbers::Whole).expect("a range");
        let drawn = random(std::slice::from_ref(&whole), 100, 1);
        let values: BTreeSet<&str> = drawn.iter().map(|settings| settings["p"].as_str()).collect();
        assert_eq!(values.into_iter().collect::<Vec<_>>(), ["3", "4", "5", "6"]);
        let rate = axis("1e-4..1e-1:log", Numbers::Any).expect("a range");
        let drawn = random(&[rate], 300, 1);
        let rates: Vec<f64> = drawn.iter().map(|s| s["p"].parse().expect("a number")).collect();
        assert!(rates.iter().all(|rate| (1e-4..=1e-1).contains(rate)));
        // A third of them in each decade.
        let middle = rates.iter().filter(|rate| (1e-3..1e-2).contains(*rate)).count();
        assert!((80..120).contains(&middle), "{middle}");
        // Half of them below the geometric mean, 64.
        let sizes = axis("8..512:log", Numbers::Whole).expect("a range");
        let drawn = (0..200).map(|place| sizes.at(f64::from(place) / 200.0));
        let below = drawn.filter(|size| size.parse::<i64>().expect("whole") < 64).count();
        assert!((96..=106).contains(&below), "{below}");
    }

    #[test]
    fn longer_searches_begin_like_shorter_ones_and_repeat_nothing() {
        let axes = [axis("0..1", Numbers::Any).expect("a range")];
        let (short, long) = (random(&axes, 5, 7), random(&axes, 9, 7));
        assert_eq!(short[..], long[..5]);
        assert_ne!(random(&axes, 5, 8), short);
        let coin = axis("heads,tails", Numbers::None).expect("choices");
        assert_eq!(random(&[coin], 10, 0).len(), 2);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(0.001_234_567), "0.001235");
        assert_eq!(short(1.234_56e-7), "1.235e-7");
        assert_eq!(short(123_456.0), "123500");
    }

    #[test]
    fn mistakes_are_explained() {
        let mistakes = [
            ("1..2:lin", Numbers::Any),
            ("0..1:log", Numbers::Any),
            ("5..1", Numbers::Whole),
            ("0.5..1", Numbers::Whole),
            ("a..b", Numbers::Any),
            ("a..b", Numbers::None),
            ("1,,2", Numbers::Any),
            ("1,1", Numbers::Any),
        ];
        let messages: Vec<String> = mistakes
            .iter()
            .map(|(text, numbers)| {
                let error = axis(text, *numbers).expect_err(text);
                format!("{error}; {}", error.remedy)
            })
            .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        the range of `p` ends in `:lin`; write LO..HI, or LO..HI:log for a logarithmic range
        the range 0..1 of `p` is logarithmic and does not begin above 0; begin above 0, or leave out `:log`
        the range 5..1 of `p` is empty; write the smaller number first; both ends can be drawn
        the range 0.5..1 of `p` is not one of whole numbers; `p` takes whole numbers: 16..256
        the range a..b of `p` is not one of numbers; write it as 1e-4..1e-1
        `p` is no number and has no range; list its values: NAME=A,B,C
        `p=1,,2` has an empty value; write values with commas between them: NAME=A,B,C
        `p=1,1` has a value twice; give each value once
        ");
        let error = Axis::parse("p", "1..2", Numbers::Any, false).expect_err("a range in a grid");
        assert!(error.message.contains("is a range"));
    }
}
