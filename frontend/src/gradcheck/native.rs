//! Gradients by native code.

use cygnet_compiler::array::Array;
use cygnet_compiler::graph::Graph;
use cygnet_compiler::op::Context;
use cygnet_compiler::optimize::optimize;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

use crate::session::{Session, SessionError, SessionOptions};

use super::execute::{Execute, Execution};

/// Compiles graphs as training does.
#[derive(Clone, Debug, Default)]
pub struct NativeCode {
    /// How to compile and run.
    pub options: SessionOptions,
}

impl Execute for NativeCode {
    fn execute(&self, graph: &Graph, context: Context<'_>) -> Result<Execution, String> {
        self.run(graph, context).map_err(|error| error.to_string())
    }
}

impl NativeCode {
    fn run(&self, graph: &Graph, context: Context<'_>) -> Result<Execution, SessionError> {
        let mut session = Session::new(graph, &self.options)?;
        for (slot, value) in graph.slots.iter().zip(context.slots) {
            if session.has_slot(&slot.name) {
                session.set(&slot.name, &tensor_of(value))?;
            }
        }
        session.executor().set_seed(context.seed);
        session.executor().set_step_number(context.step);
        session.step();
        let outputs = graph.outputs.iter().map(|output| {
            let tensor = session.output(&output.name)?;
            let values = (0..tensor.len()).map(|index| tensor.get_f64(index)).collect();
            Ok(Array::new(graph.node(output.node).ty.clone(), values))
        });
        let outputs = outputs.collect::<Result<_, SessionError>>()?;
        let optimized = match session.compiled() {
            Some(compiled) => compiled.optimized.clone(),
            None => optimize(graph, &self.options.compile.optimize).0,
        };
        Ok(Execution { optimized, outputs })
    }
}

/// The tensor with the values of an array, which are exact in its element type.
fn tensor_of(array: &Array) -> Tensor {
    let mut tensor = Tensor::zeros(array.ty.dtype, &array.ty.shape);
    let values = array.values.iter();
    match array.ty.dtype {
        DType::F32 => {
            let elements = tensor.as_mut_slice::<f32>().iter_mut();
            elements.zip(values).for_each(|(element, &value)| *element = value as f32);
        }
        DType::F64 => tensor.as_mut_slice::<f64>().copy_from_slice(&array.values),
        DType::I32 => {
            let elements = tensor.as_mut_slice::<i32>().iter_mut();
            elements.zip(values).for_each(|(element, &value)| *element = value as i32);
        }
        DType::U8 | DType::Bool => {
            let elements = tensor.bytes_mut().iter_mut();
            elements.zip(values).for_each(|(element, &value)| *element = value as u8);
        }
    }
    tensor
}
