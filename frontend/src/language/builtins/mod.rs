//! The functions that the language itself defines.
//!
//! Every elementwise primitive of the compiler is a function of the language, and every element
//! type converts (`f32(x)`). What else there is stands in one table, [`ALL`]; the rest is written
//! in the language (`frontend/std`).

mod arrangement;
mod creation;
mod indexing;
mod lists;
mod ordering;
mod reduction;
mod tensors;
mod training;
mod windows;

use cygnet_compiler::op::Elementwise;
use cygnet_compiler::types::DType;

use super::evaluate::{Arguments, Eval, Evaluator, Parameter, Signature, assign_arguments};
use super::value::{Given, Tensor, Value};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// A function that the language defines.
#[derive(Clone, Copy, Debug)]
pub enum Builtin {
    /// An elementwise primitive: `exp(x)`.
    Elementwise(Elementwise),
    /// A conversion: `f32(x)`.
    Cast(DType),
    /// An entry of the table.
    Entry(&'static Entry),
}

/// What a parameter of a built-in function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One argument, which must be given.
    Required,
    /// One argument or none.
    Optional,
    /// Any number of arguments without a name; only the first parameter.
    Rest,
}

/// Declaration of a built-in function.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: &'static [(&'static str, Kind)],
    /// What it computes, in one line.
    pub doc: &'static str,
    /// Evaluates a call.
    run: Run,
}

/// The evaluation of a call.
type Run = for<'a, 'p> fn(&'a mut Evaluator<'p>, &'a Call<'p>) -> Eval<Value<'p>>;

/// The arguments of a call, in the order of the parameters.
pub struct Call<'p> {
    /// The arguments of [`Kind::Rest`].
    rest: Vec<Given<'p>>,
    /// The other arguments, by number of the parameter.
    given: Vec<Option<Given<'p>>>,
    /// The whole call.
    span: Span,
    /// The function's name.
    name: &'static str,
}

impl<'p> Call<'p> {
    /// The argument number `index`, if it was given.
    fn get(&self, index: usize) -> Option<&Given<'p>> {
        self.given.get(index)?.as_ref()
    }

    /// The arguments of [`Kind::Rest`], or the elements of the one list that they are.
    fn listed(&self) -> Vec<Given<'p>> {
        match self.rest.as_slice() {
            [Given { value: Value::List(list), span }] => {
                list.iter().map(|value| Given { value: value.clone(), span: *span }).collect()
            }
            arguments => arguments.to_vec(),
        }
    }

    /// The argument number `index`, which is a required one.
    fn required(&self, index: usize) -> Eval<&Given<'p>> {
        match self.get(index) {
            Some(Given { value: Value::Unknown, .. }) | None => Err(super::evaluate::Stop),
            Some(given) => Ok(given),
        }
    }
}

/// All built-in functions that are neither elementwise nor conversions, by theme.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    let themes = [
        arrangement::ENTRIES,
        creation::ENTRIES,
        indexing::ENTRIES,
        lists::ENTRIES,
        ordering::ENTRIES,
        reduction::ENTRIES,
        tensors::ENTRIES,
        training::ENTRIES,
        windows::ENTRIES,
    ];
    themes.into_iter().flatten()
}

impl Builtin {
    /// The function with this name.
    pub fn named(name: &str) -> Option<Builtin> {
        if let Some(entry) = all().find(|entry| entry.name == name) {
            return Some(Builtin::Entry(entry));
        }
        let dtype = DType::from_name(name).map(Builtin::Cast);
        dtype.or_else(|| Elementwise::named(name).map(Builtin::Elementwise))
    }

    /// The names of all functions, in table order.
    pub fn names() -> Vec<&'static str> {
        let entries = all().map(|entry| entry.name);
        let casts = DType::ALL.into_iter().map(DType::name);
        let functions = Elementwise::all().map(|function| function.entry().name);
        entries.chain(casts).chain(functions).collect()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Builtin::Elementwise(function) => function.entry().name,
            Builtin::Cast(dtype) => dtype.name(),
            Builtin::Entry(entry) => entry.name,
        }
    }

    /// The parameters as a call sees them; `None` if it takes any number of arguments.
    pub fn parameters(self) -> Option<Vec<Parameter<'static>>> {
        let required = |name| Parameter { name, required: true };
        match self {
            Builtin::Elementwise(function) => Some(
                ["a", "b", "c"][..function.entry().arity].iter().copied().map(required).collect(),
            ),
            Builtin::Cast(_) => Some(vec![required("x")]),
            Builtin::Entry(entry) => entry
                .parameters
                .iter()
                .map(|&(name, kind)| match kind {
                    Kind::Rest => None,
                    kind => Some(Parameter { name, required: kind == Kind::Required }),
                })
                .collect(),
        }
    }

    /// The function as a call sees it that can give `parameters`.
    pub fn signature<'a>(self, parameters: &'a [Parameter<'a>]) -> Signature<'a> {
        Signature { name: self.name(), declared: None, parameters, capturable: false }
    }

    /// Whether brackets after it count along an axis: `arange[t]`.
    pub fn is_count(self) -> bool {
        self.name() == "arange"
    }
}

impl<'p> Evaluator<'p> {
    /// The tensor that argument number `index` of a call is.
    fn tensor_of(&mut self, call: &Call<'p>, index: usize) -> Eval<Tensor> {
        let given = call.required(index)?;
        let what = format!("an argument of `{}`", call.name);
        self.expect_tensor(&given.value, given.span, &what)
    }

    /// The place of the axis that argument number `index` of a call names; of the last one if
    /// there is no such argument.
    fn single_axis(&mut self, call: &Call<'p>, tensor: &Tensor, index: usize) -> Eval<usize> {
        let places = match call.get(index) {
            Some(given) => self.axis_places(tensor, given)?,
            None => tensor.axes.len().checked_sub(1).into_iter().collect(),
        };
        if let [place] = places[..] {
            return Ok(place);
        }
        let (shown, count) = (self.show(tensor), places.len());
        let span = call.get(index).map_or(call.span, |given| given.span);
        Err(self.report(
            Diagnostic::error("one-axis", format!("`{}` goes along one axis", call.name))
                .primary(span, format!("{count} axes of {shown}"))
                .help(format!("say which: `{}(x, along: -1)`", call.name)),
        ))
    }

    /// Whether argument number `index` of a call is given and true.
    fn flag(&mut self, call: &Call<'p>, index: usize) -> Eval<bool> {
        match call.get(index) {
            None => Ok(false),
            Some(Given { value: Value::Bool(flag), .. }) => Ok(*flag),
            Some(given) => {
                let what = format!("an argument of `{}`", call.name);
                Err(self.unfit(&given.value, given.span, &what, "`true` or `false`"))
            }
        }
    }

    /// Calls a built-in function.
    pub fn call_builtin(&mut self, builtin: Builtin, arguments: Arguments<'p>) -> Eval<Value<'p>> {
        if let Some(span) = arguments.placeholder {
            return Err(self.unsupported("a capture of a built-in function", span));
        }
        let (mut rest, mut others) = (Vec::new(), arguments.clone());
        let parameters = match builtin.parameters() {
            Some(parameters) => parameters,
            None => {
                let Builtin::Entry(entry) = builtin else { return Err(super::evaluate::Stop) };
                let (unnamed, named) =
                    arguments.given.iter().cloned().partition(|(name, _)| name.is_none());
                let unnamed: Vec<(Option<_>, Given<'p>)> = unnamed;
                rest = unnamed.into_iter().map(|(_, given)| given).collect();
                others.given = named;
                let named = entry.parameters[1..].iter();
                named
                    .map(|&(name, kind)| Parameter { name, required: kind == Kind::Required })
                    .collect()
            }
        };
        let order =
            assign_arguments(builtin.signature(&parameters), &others.places(), arguments.span);
        let order = self.assigned(order)?;
        let given = others.in_order(&order);
        match builtin {
            Builtin::Elementwise(function) => {
                self.apply(function, given.into_iter().flatten().collect())
            }
            Builtin::Cast(dtype) => {
                let call = Call { rest, given, span: arguments.span, name: dtype.name() };
                tensors::cast(self, &call, dtype)
            }
            Builtin::Entry(entry) => {
                let call = Call { rest, given, span: arguments.span, name: entry.name };
                (entry.run)(self, &call)
            }
        }
    }
}
