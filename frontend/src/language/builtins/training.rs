//! Functions for recipes: parameters as values, and the course of metrics.

use cygnet_compiler::graph::SlotRole;

use super::{Call, Entry, Kind};
use crate::diagnostic::Diagnostic;
use crate::language::evaluate::{Eval, Evaluator, Stop};
use crate::language::glob::Glob;
use crate::language::program::Plateau;
use crate::language::value::Value;
use crate::syntax::ast::FunctionKind;

/// The theme's entries.
pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "parameters",
        parameters: &[("net", Kind::Required), ("names", Kind::Optional)],
        doc: "the parameters of an instance as a list, by default all, or those of a pattern",
        run: parameters,
    },
    Entry {
        name: "plateaus",
        parameters: &[
            ("metric", Kind::Required),
            ("patience", Kind::Optional),
            ("threshold", Kind::Optional),
            ("larger", Kind::Optional),
        ],
        doc: "how often the metric called so has not improved for more than `patience` epochs",
        run: plateaus,
    },
];

fn parameters<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let net = call.required(0)?;
    let path = match &net.value {
        Value::Capture(capture) => capture.path.clone(),
        Value::Closure(closure) if closure.function.kind == FunctionKind::Model => {
            evaluator.model_path(&closure.function.name.name)
        }
        other => {
            let what = "the first argument of `parameters`";
            return Err(evaluator.unfit(other, net.span, what, "an instance of a model or layer"));
        }
    };
    let names = match call.get(1) {
        Some(given) => match &given.value {
            Value::Text(text) => text.to_string(),
            other => return Err(evaluator.unfit(other, given.span, "`names`", "a text")),
        },
        None => "*".to_owned(),
    };
    let glob = Glob::new(&names);
    let selected = evaluator.slots.records().iter().filter(|record| {
        let rest = record.path.strip_prefix(path.as_str());
        let rest = rest.and_then(|rest| match path.is_empty() {
            true => Some(rest),
            false => rest.strip_prefix('.'),
        });
        record.role == SlotRole::Parameter && rest.is_some_and(|rest| glob.matches(rest).is_some())
    });
    let selected: Vec<Value<'p>> = selected.map(|record| Value::Tensor(record.tensor())).collect();
    if selected.is_empty() {
        return Err(evaluator.report(
            Diagnostic::error("no-parameters-yet", "this has no parameters so far")
                .primary(call.span, "an empty list")
                .note("an instance has its parameters from the first call on")
                .help("call the model first, and check the pattern of the names"),
        ));
    }
    Ok(Value::List(selected.into()))
}

fn plateaus<'p>(evaluator: &mut Evaluator<'p>, call: &Call<'p>) -> Eval<Value<'p>> {
    let metric = call.required(0)?;
    let Value::Text(name) = &metric.value else {
        let what = "the first argument of `plateaus`";
        return Err(evaluator.unfit(&metric.value, metric.span, what, "the name of a metric"));
    };
    let patience = match call.get(1) {
        Some(given) => evaluator.expect_integer(&given.value, given.span, "`patience`")?,
        None => 10,
    };
    let threshold = match call.get(2) {
        Some(given) => {
            evaluator.expect_float(&given.value, given.span, "`threshold`")?.ok_or(Stop)?
        }
        None => 1e-4,
    };
    let larger = match call.get(3) {
        Some(given) => match given.value {
            Value::Bool(larger) => Some(larger),
            ref other => return Err(evaluator.unfit(other, given.span, "`larger`", "a bool")),
        },
        None => None,
    };
    let Ok(patience) = usize::try_from(patience) else {
        return Err(evaluator.report(
            Diagnostic::error("bad-count", format!("`patience` cannot be {patience}"))
                .primary(call.span, "a number of epochs")
                .help("use a whole number from 0"),
        ));
    };
    let scalar = format!("plateaus of {name}, {patience}, {threshold}, {larger:?}");
    if !evaluator.plateaus.iter().any(|known| known.scalar == scalar) {
        evaluator.plateaus.push(Plateau {
            scalar: scalar.clone(),
            metric: name.to_string(),
            patience,
            threshold,
            larger,
            span: call.span,
        });
    }
    Ok(evaluator.run_scalar(&scalar))
}
