//! Which argument goes to which parameter.

use std::rc::Rc;

use super::{Eval, Evaluator};
use crate::diagnostic::{Diagnostic, closest};
use crate::language::scope::Scope;
use crate::language::value::{Given, Value};
use crate::source::Span;
use crate::syntax::ast::{self, ExprKind};

/// What a call knows of a parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether there is no default.
    pub required: bool,
}

/// What a call knows of what it calls.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is defined, if it is defined in the language.
    pub declared: Option<Span>,
    /// What can be given.
    pub parameters: &'a [Parameter<'a>],
    /// Whether it is a layer or model, of which `_` makes an instance.
    pub capturable: bool,
}

/// Where an argument stands, and the name before its colon.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The name and where it stands.
    pub name: Option<(&'a str, Span)>,
    /// The argument.
    pub span: Span,
}

/// The evaluated arguments of a call.
#[derive(Clone)]
pub struct Arguments<'p> {
    /// The arguments in order, named ones and the value of the pipe among them.
    pub given: Vec<(Option<&'p ast::Ident>, Given<'p>)>,
    /// The `_`, if there is one; it is not among the arguments.
    pub placeholder: Option<Span>,
    /// The whole call.
    pub span: Span,
}

impl<'p> Arguments<'p> {
    /// The arguments' places.
    pub fn places(&self) -> Vec<Place<'p>> {
        let places = self.given.iter().map(|(name, given)| Place {
            name: name.map(|name| (name.name.as_str(), name.span)),
            span: given.span,
        });
        places.collect()
    }

    /// The arguments in the order of an assignment.
    pub fn in_order(&self, order: &[Option<usize>]) -> Vec<Option<Given<'p>>> {
        order.iter().map(|index| index.map(|index| self.given[index].1.clone())).collect()
    }
}

/// For each parameter the number of its argument.
///
/// # Errors
/// Arguments that no parameter takes, that are given twice, and parameters that lack one.
pub fn assign_arguments(
    signature: Signature<'_>,
    places: &[Place<'_>],
    call: Span,
) -> Result<Vec<Option<usize>>, Vec<Diagnostic>> {
    let Signature { name: callee, declared, parameters, capturable } = signature;
    let mut assigned: Vec<Option<usize>> = vec![None; parameters.len()];
    let mut mistakes = Vec::new();
    let with_declaration = |diagnostic: Diagnostic| match declared {
        Some(span) => diagnostic.secondary(span, format!("`{callee}` is defined here")),
        None => diagnostic,
    };
    let mut next = 0;
    for (number, place) in places.iter().enumerate() {
        let index = match place.name {
            None => {
                next += 1;
                next - 1
            }
            Some((name, span)) => {
                match parameters.iter().position(|parameter| parameter.name == name) {
                    Some(index) => index,
                    None => {
                        let names = parameters.iter().map(|parameter| parameter.name);
                        let listed: Vec<String> =
                            names.clone().map(|name| format!("`{name}`")).collect();
                        let unknown = with_declaration(
                            Diagnostic::error(
                                "unknown-argument",
                                format!("`{callee}` has no parameter `{name}`"),
                            )
                            .primary(span, "no such parameter"),
                        );
                        mistakes.push(match closest(name, names) {
                            Some(near) => unknown.help(format!("did you mean `{near}`?")),
                            None if listed.is_empty() => {
                                unknown.help(format!("`{callee}` takes no arguments"))
                            }
                            None => unknown.help(format!("it has {}", listed.join(", "))),
                        });
                        continue;
                    }
                }
            }
        };
        match assigned.get_mut(index) {
            None => mistakes.push(with_declaration(
                Diagnostic::error(
                    "too-many-arguments",
                    format!(
                        "`{callee}` takes {} argument{}, and this is one more",
                        parameters.len(),
                        if parameters.len() == 1 { "" } else { "s" }
                    ),
                )
                .primary(place.span, "one too many")
                .help("take it away, or check which definition is called"),
            )),
            Some(Some(before)) => mistakes.push(with_declaration(
                Diagnostic::error(
                    "repeated-argument",
                    format!("`{}` of `{callee}` is given twice", parameters[index].name),
                )
                .primary(place.span, "given again here")
                .secondary(places[*before].span, "first given here")
                .help("arguments without a name fill the parameters in order"),
            )),
            Some(free) => *free = Some(number),
        }
    }
    let missing: Vec<String> = parameters
        .iter()
        .zip(&assigned)
        .filter(|(parameter, argument)| parameter.required && argument.is_none())
        .map(|(parameter, _)| format!("`{}`", parameter.name))
        .collect();
    if !missing.is_empty() && mistakes.is_empty() {
        let example = missing[0].trim_matches('`');
        let mut diagnostic = Diagnostic::error(
            "missing-argument",
            format!("`{callee}` needs {}", missing.join(" and ")),
        )
        .primary(call, format!("{} not given", missing.join(", ")))
        .help(format!("write `{example}: ...` among the arguments"));
        if capturable {
            let help = format!(
                "to make an instance for later, `_` stands for its inputs: `{callee}(_, ...)`"
            );
            diagnostic = diagnostic.help(help);
        }
        mistakes.push(with_declaration(diagnostic));
    }
    if mistakes.is_empty() { Ok(assigned) } else { Err(mistakes) }
}

impl<'p> Evaluator<'p> {
    /// Evaluates the arguments of a call, after the value that a pipe brings.
    pub fn arguments(
        &mut self,
        piped: Option<Given<'p>>,
        written: &'p [ast::Argument],
        scope: &Rc<Scope<'p>>,
        span: Span,
    ) -> Arguments<'p> {
        let mut arguments = Arguments { given: Vec::new(), placeholder: None, span };
        arguments.given.extend(piped.map(|given| (None, given)));
        for argument in written {
            if matches!(argument.value.kind, ExprKind::Placeholder) {
                arguments.placeholder = Some(argument.span);
                continue;
            }
            let value = self.expr(&argument.value, scope).unwrap_or(Value::Unknown);
            let given = Given { value, span: argument.value.span };
            arguments.given.push((argument.name.as_ref(), given));
        }
        arguments
    }

    /// Reports what is wrong with the arguments of a call.
    pub fn assigned(
        &mut self,
        assigned: Result<Vec<Option<usize>>, Vec<Diagnostic>>,
    ) -> Eval<Vec<Option<usize>>> {
        assigned.map_err(|mistakes| {
            for mistake in mistakes {
                self.report(mistake);
            }
            super::Stop
        })
    }
}
