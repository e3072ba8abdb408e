//! Graphs in f64 throughout.
//!
//! Finite differences tell about ten digits of a derivative, so what they are held against must
//! not be rounded to f32 anywhere: not even constants, such as those that gradient rules emit.

use std::sync::Arc;

use cygnet_compiler::array::Array;
use cygnet_compiler::graph::{Emit, Graph};
use cygnet_compiler::op::Op;
use cygnet_compiler::types::{DType, Scalar};

/// The same graph with f64 in place of f32, node by node. Constants keep their values.
pub fn graph_in_f64(graph: &Graph) -> Graph {
    let mut precise = Graph::new();
    for slot in &graph.slots {
        let ty = slot.ty.with_dtype(dtype_in_f64(slot.ty.dtype));
        precise.declare_slot(&slot.name, slot.role, ty);
    }
    for node in &graph.nodes {
        precise.set_origin(Arc::clone(&node.origin));
        precise.emit(op_in_f64(&node.op), &node.operands);
    }
    precise.outputs = graph.outputs.clone();
    precise
}

/// The same numbers as f64.
pub fn array_in_f64(array: &Array) -> Array {
    Array::new(array.ty.with_dtype(dtype_in_f64(array.ty.dtype)), array.values.clone())
}

fn dtype_in_f64(dtype: DType) -> DType {
    if dtype == DType::F32 { DType::F64 } else { dtype }
}

/// The operation that takes and gives f64 where this one takes and gives f32.
fn op_in_f64(op: &Op) -> Op {
    let scalar = |value: Scalar| Scalar::new(dtype_in_f64(value.dtype), value.value());
    let mut op = op.clone();
    match &mut op {
        Op::Slot(slot) => slot.ty = slot.ty.with_dtype(dtype_in_f64(slot.ty.dtype)),
        Op::Constant(constant) => constant.value = scalar(constant.value),
        Op::Iota(iota) => iota.dtype = dtype_in_f64(iota.dtype),
        Op::Random(random) => random.dtype = dtype_in_f64(random.dtype),
        Op::Cast(cast) => cast.dtype = dtype_in_f64(cast.dtype),
        Op::Pad(pad) => pad.value = scalar(pad.value),
        Op::Unfold(unfold) => unfold.value = scalar(unfold.value),
        Op::View(_)
        | Op::Elementwise(_)
        | Op::Reshape(_)
        | Op::Permute(_)
        | Op::Broadcast(_)
        | Op::Slice(_)
        | Op::Reverse(_)
        | Op::Concat(_)
        | Op::Reduce(_)
        | Op::ArgReduce(_)
        | Op::Contract(_)
        | Op::Gather(_)
        | Op::Scatter(_)
        | Op::Cumulate(_)
        | Op::ArgSort(_)
        | Op::Conv(_)
        | Op::Interleave(_)
        | Op::Winograd(_)
        | Op::WinogradInput(_)
        | Op::WinogradKernel(_)
        | Op::WinogradGradient(_)
        | Op::WinogradTaps(_)
        | Op::Fold(_)
        | Op::StopGradient(_) => {}
        Op::Scan(scan) => scan.body = Arc::new(graph_in_f64(&scan.body)),
        Op::Port(port) => port.ty = port.ty.with_dtype(dtype_in_f64(port.ty.dtype)),
    }
    op
}
