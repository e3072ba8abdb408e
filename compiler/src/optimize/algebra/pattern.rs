//! Patterns of elementwise functions, written as `(add ?a (neg #b))`.
//!
//! - `?a` stands for any tensor, `#b` for one with the same known value everywhere;
//! - a number stands for a tensor that has this value everywhere, of whatever type and shape;
//! - functions are named as in the table of elementwise primitives. Operands of commutative ones
//!   match in either order.

use egg::{Id, Subst, Var};
use smallvec::SmallVec;

use super::facts::Terms;
use super::language::Kind;
use super::site::Site;
use crate::op::Elementwise;
use crate::op::elementwise::Typing;
use crate::types::{Scalar, TensorType};

/// A pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// Any tensor, or any with a known value; all occurrences are the same one.
    Variable {
        /// Its letter.
        name: char,
        /// Whether its value is known.
        constant: bool,
    },
    /// A tensor with this value everywhere.
    Number(f64),
    /// A function of such tensors.
    Apply(Elementwise, Vec<Pattern>),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Panics
    /// If it is not one; patterns are constants of the program.
    pub fn parse(text: &str) -> Pattern {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut words = spaced.split_whitespace();
        let pattern = read(&mut words, text);
        assert!(words.next().is_none(), "something follows the pattern {text}");
        pattern
    }

    /// Its variables: names, and whether their value is known.
    pub fn variables(&self) -> Vec<(char, bool)> {
        let mut variables = match self {
            Pattern::Variable { name, constant } => vec![(*name, *constant)],
            Pattern::Number(_) => Vec::new(),
            Pattern::Apply(_, operands) => operands.iter().flat_map(Pattern::variables).collect(),
        };
        variables.sort_unstable();
        variables.dedup();
        variables
    }

    /// The ways in which terms of a class match: all of them, or the first ones of very many.
    pub fn matches(&self, terms: &Terms, class: Id) -> Vec<Subst> {
        let mut goals: SmallVec<[(&Pattern, Id); 8]> = SmallVec::new();
        goals.push((self, class));
        let mut search = Search { terms, found: Vec::new(), terms_left: MOST_TERMS };
        search.solve(goals, SmallVec::new());
        search.found
    }

    /// Makes the term that the pattern describes, of the type `result`.
    pub fn build(&self, site: &mut Site<'_>, subst: &Subst, result: &TensorType) -> Id {
        match self {
            Pattern::Variable { name, .. } => subst[variable(*name)],
            Pattern::Number(value) => site.splat(result, *value),
            Pattern::Apply(function, operands) => {
                // A number has the type of the operands beside it, or that of the result.
                let is_condition =
                    |place: usize| place == 0 && function.entry().typing == Typing::Select;
                let mut built: Vec<Option<Id>> = Vec::with_capacity(operands.len());
                for operand in operands {
                    built.push(match operand {
                        Pattern::Number(_) => None,
                        other => Some(other.build(site, subst, result)),
                    });
                }
                let beside =
                    built.iter().enumerate().find(|(p, b)| !is_condition(*p) && b.is_some());
                let dtype = match beside {
                    Some((_, built)) => site.ty(built.expect("just found")).dtype,
                    None => result.dtype,
                };
                let ty = TensorType { dtype, shape: result.shape.clone() };
                let operands: Vec<Id> = operands
                    .iter()
                    .zip(built)
                    .map(|(operand, built)| match (operand, built) {
                        (Pattern::Number(value), _) => site.splat(&ty, *value),
                        (_, built) => built.expect("numbers alone are not built yet"),
                    })
                    .collect();
                site.apply(*function, &operands)
            }
        }
    }
}

/// The variable of a substitution that a letter stands for.
pub fn variable(name: char) -> Var {
    Var::from_u32(name as u32)
}

fn read<'a>(words: &mut impl Iterator<Item = &'a str>, text: &str) -> Pattern {
    let word = words.next().unwrap_or_else(|| panic!("the pattern {text} ends too early"));
    if word != "(" {
        let (sign, rest) = word.split_at(1);
        return match (sign, rest.chars().next()) {
            ("?" | "#", Some(name)) => Pattern::Variable { name, constant: sign == "#" },
            _ => Pattern::Number(word.parse().unwrap_or_else(|_| panic!("{word} in {text}"))),
        };
    }
    let name = words.next().unwrap_or_else(|| panic!("the pattern {text} ends too early"));
    let function = Elementwise::named(name).unwrap_or_else(|| panic!("no function {name}: {text}"));
    let operands = (0..function.entry().arity).map(|_| read(words, text)).collect();
    assert_eq!(words.next(), Some(")"), "{name} has too many operands in {text}");
    Pattern::Apply(function, operands)
}

/// Whether a known value is the number of a pattern: numbers that are not exact in the value's
/// type, such as square roots, may differ by rounding.
fn is_number(value: Scalar, number: f64) -> bool {
    let found = value.value();
    let rounded = Scalar::new(value.dtype, number).value();
    let inexact = number.fract() != 0.0 && (found - number).abs() <= 2e-7 * number.abs();
    found == rounded && (value.dtype.is_float() || rounded == number) || inexact
}

type Goals<'p> = SmallVec<[(&'p Pattern, Id); 8]>;

/// Matches of a pattern in a class that are looked for at most, and ...
const MOST_MATCHES: usize = 64;

/// ... terms that are looked at for them. A sum of many terms has very many ways to be put
/// together, and its class as many members: all pairs of them would take longer than anything else.
const MOST_TERMS: usize = 4096;

/// A search for the matches of a pattern in a class.
struct Search<'t> {
    terms: &'t Terms,
    found: Vec<Subst>,
    terms_left: usize,
}

impl Search<'_> {
    fn solve<'p>(&mut self, mut goals: Goals<'p>, mut bound: SmallVec<[(char, Id); 4]>) {
        let terms = self.terms;
        while let Some((pattern, class)) = goals.pop() {
            let class = terms.find(class);
            match pattern {
                Pattern::Variable { name, constant } => {
                    if *constant && terms[class].data.constant.is_none() {
                        return;
                    }
                    match bound.iter().find(|(known, _)| known == name) {
                        Some((_, same)) if *same == class => {}
                        Some(_) => return,
                        None => bound.push((*name, class)),
                    }
                }
                Pattern::Number(number) => match terms[class].data.constant {
                    Some(value) if is_number(value, *number) => {}
                    _ => return,
                },
                Pattern::Apply(function, patterns) => {
                    let kind = Kind::Function(*function);
                    for term in terms[class].nodes.iter().filter(|term| term.kind == kind) {
                        if self.terms_left == 0 || self.found.len() == MOST_MATCHES {
                            return;
                        }
                        self.terms_left -= 1;
                        let mut further = goals.clone();
                        further.extend(patterns.iter().zip(term.children.iter().copied()));
                        if function.entry().commutative && term.children[0] != term.children[1] {
                            let mut turned = goals.clone();
                            turned.extend(patterns.iter().zip(term.children.iter().rev().copied()));
                            self.solve(turned, bound.clone());
                        }
                        self.solve(further, bound.clone());
                    }
                    return;
                }
            }
        }
        let mut subst = Subst::with_capacity(bound.len());
        for (name, class) in bound {
            subst.insert(variable(name), class);
        }
        if !self.found.contains(&subst) {
            self.found.push(subst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read() {
        let pattern = Pattern::parse("(add ?a (mul #b -2.5))");
        assert_eq!(pattern.variables(), [('a', false), ('b', true)]);
        let Pattern::Apply(function, operands) = pattern else { panic!("an application") };
        assert_eq!(function.entry().name, "add");
        let Pattern::Apply(_, factors) = &operands[1] else { panic!("an application") };
        assert_eq!(factors[1], Pattern::Number(-2.5));
    }
}
