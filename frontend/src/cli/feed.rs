//! Arrays from files as inputs of models.

use std::collections::BTreeMap;

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

use crate::data::scale::Scale;
use crate::diagnostic::closest;
use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::definition::ModelEntry;
use crate::language::evaluate::is_input;
use crate::language::package::Package;
use crate::language::program::Program;
use crate::language::signature::is_scalar;
use crate::session::Session;
use crate::syntax::ast::{AxisValue, ExprKind, Function, Parameter, TypeKind};

/// What a model, or an entry point of one, is compiled for: `settings`, and the free dims of its
/// inputs by the extents of the arrays given for them.
///
/// # Errors
/// If there is no such model, an array has another number of axes than its input, or two arrays
/// disagree about a dim.
pub fn bindings(
    package: &Package,
    name: Option<&str>,
    settings: BTreeMap<String, String>,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<Bindings, Error> {
    let chosen = ModelEntry::find(package, name).map_err(|diagnostic| vec![diagnostic])?;
    let mut dims = BTreeMap::new();
    for (input, axes) in input_axes(chosen.function()) {
        let Some(tensor) = inputs.get(&input) else { continue };
        let shape = tensor.shape();
        if axes.len() != shape.len() {
            return Err(Error::request(
                format!("`{input}` has {} axes, but its array has shape {shape:?}", axes.len()),
                "reshape the array",
            ));
        }
        for (axis, &extent) in axes.iter().zip(shape) {
            let Some(name) = axis else { continue };
            let bound = *dims.entry(name.clone()).or_insert(extent);
            if bound != extent {
                return Err(Error::request(
                    format!("`{input}` has {extent} for `{name}`, which is {bound} elsewhere"),
                    "give arrays whose extents agree",
                ));
            }
        }
    }
    Ok(Bindings { dims, settings, inputs: inputs.keys().cloned().collect() })
}

/// The inputs, with the columns of those that have the name of a field of the data standardized as
/// in the training of the weights. This is told: nothing is scaled silently.
pub fn scaled(inputs: &BTreeMap<String, Tensor>, scales: &[Scale]) -> BTreeMap<String, Tensor> {
    let mut inputs = inputs.clone();
    for (name, tensor) in &mut inputs {
        let columns: Vec<&Scale> = scales.iter().filter(|scale| scale.field == *name).collect();
        let fits = tensor.dtype().is_float() && tensor.shape().last() == Some(&columns.len());
        if columns.is_empty() || !fits {
            continue;
        }
        eprintln!("the columns of `{name}` are standardized as in the training of the weights");
        let values = (0..tensor.len()).map(|index| {
            let scale = columns[index % columns.len()];
            (tensor.get_f64(index) - scale.mean) / scale.deviation
        });
        *tensor = match tensor.dtype() {
            DType::F64 => Tensor::from_slice(tensor.shape(), &values.collect::<Vec<f64>>()),
            _ => {
                let values: Vec<f32> = values.map(|value| value as f32).collect();
                Tensor::from_slice(tensor.shape(), &values)
            }
        };
    }
    inputs
}

/// Makes sure that every input of a model is given, set, or has a default, and no other.
///
/// # Errors
/// If an array is missing or belongs to no input; all that are missing at once.
pub fn expect_inputs(
    package: &Package,
    name: Option<&str>,
    settings: &BTreeMap<String, String>,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<(), Error> {
    let chosen = ModelEntry::find(package, name).map_err(|diagnostic| vec![diagnostic])?;
    let parameters = chosen.function().parameters.iter().filter(|parameter| is_input(parameter));
    let parameters: Vec<&Parameter> = parameters.collect();
    let known: Vec<&str> = parameters.iter().map(|input| input.name.name.as_str()).collect();
    if let Some(name) = inputs.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(unknown_input(name, &known));
    }
    let missing = parameters.iter().filter(|parameter| {
        let name = &parameter.name.name;
        let set = settings.contains_key(name) && is_scalar(parameter);
        !set && parameter.default.is_none() && !inputs.contains_key(name)
    });
    let described = missing.map(|parameter| {
        let ty = parameter.ty.as_ref().map_or("", |ty| package.sources().slice(ty.span));
        (parameter.name.name.as_str(), ty)
    });
    let described: Vec<(&str, &str)> = described.collect();
    if described.is_empty() {
        return Ok(());
    }
    let listed: Vec<String> = described.iter().map(|(name, ty)| format!("`{name}` {ty}")).collect();
    let options: Vec<String> =
        described.iter().map(|(name, _)| format!("--input {name}=FILE.npy")).collect();
    let (inputs, are) = if listed.len() == 1 { ("input", "is") } else { ("inputs", "are") };
    Err(Error::request(
        format!("the {inputs} {} {are} missing", listed.join(", ")),
        format!("add {}", options.join(" ")),
    ))
}

fn unknown_input(name: &str, known: &[&str]) -> Error {
    let remedy = match (closest(name, known.iter().copied()), known) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "it has no inputs".to_owned(),
        (None, known) => format!("inputs: {}", known.join(", ")),
    };
    Error::request(format!("there is no input called `{name}`"), remedy)
}

/// Per tensor input of a function: the dim that names each axis, if one does.
pub fn input_axes(function: &Function) -> Vec<(String, Vec<Option<String>>)> {
    let mut inputs = Vec::new();
    for parameter in &function.parameters {
        let Some(TypeKind::Tensor { shape, .. }) = parameter.ty.as_ref().map(|ty| &ty.kind) else {
            continue;
        };
        let axes = shape.axes.iter().map(|axis| match &axis.value {
            AxisValue::Expr(size) => match &size.kind {
                ExprKind::Name(name) => Some(name.clone()),
                _ => None,
            },
            AxisValue::Ellipsis => None,
        });
        inputs.push((parameter.name.name.clone(), axes.collect()));
    }
    inputs
}

/// Sets every input of a program.
///
/// # Errors
/// If an array is missing, does not fit, or belongs to no input.
pub fn set_inputs(
    session: &mut Session,
    program: &Program,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<(), Error> {
    let known: Vec<&str> = program.inputs.iter().map(|input| input.name.as_str()).collect();
    if let Some(name) = inputs.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(unknown_input(name, &known));
    }
    for input in &program.inputs {
        let Some(tensor) = inputs.get(&input.name) else {
            return Err(Error::request(
                format!("the input `{}` {} is missing", input.name, input.ty),
                format!("add --input {}=FILE.npy", input.name),
            ));
        };
        session.set(&input.name, &converted(tensor, input.ty.dtype))?;
    }
    Ok(())
}

/// f64 arrays as f32 where f32 is asked for, and the other way round: what NumPy writes by
/// default. Nothing else is converted.
fn converted(tensor: &Tensor, dtype: DType) -> Tensor {
    match (tensor.dtype(), dtype) {
        (DType::F64, DType::F32) => {
            let values: Vec<f32> = tensor.as_slice::<f64>().iter().map(|&v| v as f32).collect();
            Tensor::from_slice(tensor.shape(), &values)
        }
        (DType::F32, DType::F64) => {
            let values: Vec<f64> = tensor.as_slice::<f32>().iter().map(|&v| v.into()).collect();
            Tensor::from_slice(tensor.shape(), &values)
        }
        _ => tensor.clone(),
    }
}

/// An output on a line: its name, type and values, or where it was saved.
pub fn describe(name: &str, tensor: &Tensor, file: Option<&str>) -> String {
    const SHOWN: usize = 16;
    let extents: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
    let head = format!("{name}: {}[{}]", tensor.dtype(), extents.join(", "));
    if let Some(file) = file {
        return format!("{head} saved to {file}");
    }
    let shown: Vec<String> =
        (0..tensor.len().min(SHOWN)).map(|i| format!("{}", tensor.get_f64(i))).collect();
    let rest = if tensor.len() > SHOWN { ", …" } else { "" };
    format!("{head} = {}{rest}", shown.join(", "))
}
