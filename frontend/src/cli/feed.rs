//! Arrays from files as inputs of models.

use std::collections::BTreeMap;

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

use crate::error::Error;
use crate::language::package::Package;
use crate::language::program::Program;
use crate::session::Session;
use crate::syntax::ast::{AxisValue, ExprKind, FunctionKind, TypeKind};

/// The free dims of a model's inputs, by the extents of the arrays given for them.
///
/// # Errors
/// If an array has another number of axes than its input, or two arrays disagree about a dim.
pub fn dims(
    package: &Package,
    model: Option<&str>,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, usize>, Error> {
    let mut dims = BTreeMap::new();
    for (input, axes) in input_axes(package, model) {
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
    Ok(dims)
}

/// Per tensor input of a model (of all models, without a name): the dim that names each axis, if
/// one does.
pub fn input_axes(package: &Package, model: Option<&str>) -> Vec<(String, Vec<Option<String>>)> {
    let models = package
        .functions(FunctionKind::Model)
        .filter(|function| model.is_none_or(|name| function.name.name == name));
    let mut inputs = Vec::new();
    for parameter in models.flat_map(|function| &function.parameters) {
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
        return Err(Error::request(
            format!("there is no input called `{name}`"),
            format!("inputs: {}", known.join(", ")),
        ));
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
