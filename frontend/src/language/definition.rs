//! Definitions evaluated on their own, by a check or an elaboration.

use super::evaluate::{Eval, Evaluator, Stop};
use super::instance::{Activation, Root};
use super::package::{ModuleId, Package};
use super::scope::Scope;
use super::signature::{Dims, Input};
use super::value::{Closure, Tensor, Value};
use crate::diagnostic::{Diagnostic, closest};
use crate::syntax::ast::{Body, Expr, ExprKind, Function, FunctionKind};

use super::evaluate::{DEFAULT_ENTRY, entry_point, has_entry_points};

/// A model of a program's own file, and the entry point of it if it has some.
#[derive(Clone, Copy, Debug)]
pub struct ModelEntry<'p> {
    /// The model.
    pub model: &'p Function,
    /// Its entry point, for a model that is used through them.
    pub entry: Option<&'p Function>,
}

impl<'p> ModelEntry<'p> {
    /// The model called `name`, or `model.entry`; without a name, the only model.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn find(package: &'p Package, name: Option<&str>) -> Result<ModelEntry<'p>, Diagnostic> {
        let (model_name, entry_name) = match name.and_then(|name| name.split_once('.')) {
            Some((model, entry)) => (Some(model), Some(entry)),
            None => (name, None),
        };
        let models: Vec<&Function> = package.functions(FunctionKind::Model).collect();
        let model = choose("model", model_name, &models, |model| &model.name.name)?;
        let entry = match (has_entry_points(model), entry_name) {
            (true, name) => Some(name.unwrap_or(DEFAULT_ENTRY)),
            (false, None | Some(DEFAULT_ENTRY)) => None,
            (false, name) => name,
        };
        let entry = entry.map(|name| match has_entry_points(model) {
            true => entry_point(model, name),
            false => Err(Diagnostic::error(
                "no-entry-point",
                format!("`{}` has no entry point `{name}`", model.name.name),
            )
            .help("it is a model of one function: leave the entry point away")),
        });
        let entry = entry.transpose().map_err(|missing| {
            let text = format!("`{}` is defined here", model.name.name);
            missing.secondary(model.name.span, text)
        })?;
        Ok(ModelEntry { model, entry })
    }

    /// The function that has the inputs and the result.
    pub fn function(&self) -> &'p Function {
        self.entry.unwrap_or(self.model)
    }

    /// What it is called: `vae.sample`, or the model's name alone.
    pub fn name(&self) -> String {
        match self.entry {
            Some(entry) => format!("{}.{}", self.model.name.name, entry.name.name),
            None => self.model.name.name.clone(),
        }
    }
}

/// The definition called `name` among `all`, or the only one.
pub(super) fn choose<'p, T>(
    what: &str,
    name: Option<&str>,
    all: &[&'p T],
    name_of: impl Fn(&'p T) -> &'p str,
) -> Result<&'p T, Diagnostic> {
    let names: Vec<&str> = all.iter().map(|item| name_of(item)).collect();
    let listed = match names.as_slice() {
        [] => format!("the program has no {what}"),
        names => format!("the program has {}", names.join(", ")),
    };
    match (name, all) {
        (None, [only]) => Ok(only),
        (None, []) => Err(Diagnostic::error("no-definition", listed)
            .help(format!("define a `{what}`, or give another file"))),
        (None, _) => Err(Diagnostic::error("which-definition", format!("which {what}? {listed}"))
            .help(format!("give the name of the {what} behind the file"))),
        (Some(name), _) => match all.iter().find(|item| name_of(item) == name) {
            Some(item) => Ok(item),
            None => {
                let missing =
                    Diagnostic::error("no-definition", format!("there is no {what} `{name}`"));
                Err(match closest(name, names) {
                    Some(near) => missing.help(format!("did you mean `{near}`?")),
                    None => missing.help(listed),
                })
            }
        },
    }
}

impl<'p> Evaluator<'p> {
    /// Evaluates a definition, or the function `entry` that a model holds, without a call: its
    /// inputs, and its value. An optimizer has none.
    pub(super) fn definition_alone(
        &mut self,
        module: ModuleId,
        function: &'p Function,
        entry: Option<&'p Function>,
        dims: &mut Dims<'_>,
    ) -> (Vec<Input>, Eval<Value<'p>>) {
        let activation = match function.kind {
            FunctionKind::Fn | FunctionKind::Optimizer => None,
            FunctionKind::Metric => Some(Activation::of_metric(&function.name.name)),
            FunctionKind::Layer | FunctionKind::Model => {
                Some(Activation::of_root("", Root::PROGRAM, 0))
            }
        };
        self.in_frame(&function.name.name, None, activation, |this| {
            let scope = Scope::of_function(module, None);
            let inputs = this.bind_signature(function, &scope, dims);
            if function.kind == FunctionKind::Model {
                this.record_model(function, &scope);
            }
            let Some(entry) = entry else {
                return (inputs, this.value_alone(function, function, &scope, dims));
            };
            this.run_model_body(function, &scope);
            let held = scope.own(&entry.name.name).map(|binding| binding.value);
            let Some(Value::Closure(Closure { activation, .. })) = held else {
                return (inputs, Err(Stop));
            };
            this.in_frame(&entry.name.name, None, activation, |this| {
                let inner = Scope::of_function(module, Some(scope));
                let inputs = this.bind_signature(entry, &inner, dims);
                (inputs, this.value_alone(function, entry, &inner, dims))
            })
        })
    }

    /// The value of a definition whose parameters `scope` has, if they all have values.
    fn value_alone(
        &mut self,
        definition: &'p Function,
        function: &'p Function,
        scope: &std::rc::Rc<Scope<'p>>,
        dims: &Dims<'_>,
    ) -> Eval<Value<'p>> {
        self.report_missing(&definition.name, dims, None);
        match dims.missing.is_empty() && function.kind != FunctionKind::Optimizer {
            true => self.body(function, scope),
            false => Err(Stop),
        }
    }

    /// The tensors that a definition returns, with names.
    pub(super) fn results(
        &mut self,
        function: &Function,
        value: &Value<'p>,
    ) -> Eval<Vec<(String, Tensor)>> {
        let mut results = Vec::new();
        match value {
            Value::Tuple(parts) | Value::List(parts) => {
                let written = written_parts(function);
                for (place, part) in parts.iter().enumerate() {
                    let called = written.get(place).and_then(|part| match &part.kind {
                        ExprKind::Name(name) => Some(name.clone()),
                        _ => None,
                    });
                    let called =
                        called.filter(|name| results.iter().all(|(other, _)| other != name));
                    let name = called.unwrap_or_else(|| format!("output{place}"));
                    self.add_results(function, name, part, &mut results)?;
                }
            }
            value => self.add_results(function, "output".to_owned(), value, &mut results)?,
        }
        Ok(results)
    }

    /// Adds a tensor, or those of a tuple or list in the result.
    fn add_results(
        &mut self,
        function: &Function,
        name: String,
        value: &Value<'p>,
        results: &mut Vec<(String, Tensor)>,
    ) -> Eval<()> {
        if let Value::Tuple(parts) | Value::List(parts) = value {
            for (place, part) in parts.iter().enumerate() {
                self.add_results(function, format!("{name}_{place}"), part, results)?;
            }
            return Ok(());
        }
        let what = format!("the result of `{}`", function.name.name);
        let tensor = self.expect_tensor(value, function.name.span, &what)?;
        results.push((name, tensor));
        Ok(())
    }
}

/// The parts of the tuple that a definition ends in, as they are written.
fn written_parts(function: &Function) -> Vec<&Expr> {
    let value = match &function.body {
        Body::Expr(expr) => Some(expr),
        Body::Block(block) => block.value(),
    };
    match value.map(|value| &value.kind) {
        Some(ExprKind::Tuple(parts)) => parts.iter().map(|part| &part.value).collect(),
        _ => Vec::new(),
    }
}
