//! Fused kernels: what the optimizer hands over to the scheduler.
//!
//! A [`KernelGraph`] covers a graph: every value that is materialized is written by one kernel,
//! and what stays inside kernels never touches memory. [`loops`] is the form a kernel takes once
//! its iteration is decided, right before native code.

mod dot;
pub mod interpret;
mod looping;
pub mod loops;
mod print;
#[cfg(test)]
mod tests;
pub mod verify;

pub use looping::{Loop, LoopOperand};
pub use print::Listing;

use std::collections::BTreeSet;

use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use cygnet_runtime::library::Routine;

use crate::graph::{NodeId, SlotInfo};
use crate::index::{Expression, IndexMap};
use crate::op::{ArgKind, Elementwise, RandomKind, ReduceKind};
use crate::types::{DType, Scalar, TensorType};

/// Number of a materialized value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A tensor in memory.
#[derive(Clone, Debug)]
pub struct Value {
    /// Element type and shape.
    pub ty: TensorType,
    /// The slot that it is before the step, if it is one.
    pub slot: Option<u32>,
    /// The node of the optimized graph whose value it is.
    pub node: NodeId,
}

/// Kernels and the values between them.
///
/// An edge leads from the kernel that writes a value to each kernel that reads it.
#[derive(Clone, Debug, Default)]
pub struct KernelGraph {
    /// Kernels; edges carry the value that flows.
    pub kernels: DiGraph<Kernel, ValueId>,
    /// Materialized values.
    pub values: Vec<Value>,
    /// The graph's slots.
    pub slots: Vec<SlotInfo>,
    /// Results, by name.
    pub outputs: Vec<(String, ValueId)>,
    /// New values of slots, taking effect when the step ends.
    pub updates: Vec<(u32, ValueId)>,
    /// Scalars that must be finite before any slot is overwritten.
    pub guards: Vec<ValueId>,
}

/// Index of a kernel in its graph.
pub type KernelId = NodeIndex;

/// A kernel: one pass over a domain, or one matrix product with what is fused to it.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Short descriptive name, for example `matmul_bias_relu`; unique by number elsewhere.
    pub name: String,
    /// What it computes.
    pub body: KernelBody,
    /// The nodes of the optimized graph that it computes.
    pub nodes: Vec<NodeId>,
    /// Why this kernel was chosen, one sentence each.
    pub reasons: Vec<String>,
    /// Predicted cost.
    pub cost: Cost,
}

/// Predicted cost of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Nanoseconds on one thread.
    pub nanoseconds: f64,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read from and written to materialized values.
    pub bytes: f64,
}

/// What a kernel computes.
#[derive(Clone, Debug)]
pub enum KernelBody {
    /// A fused computation on each point of a domain.
    Fused(Body),
    /// A batched matrix product.
    Product(Box<Product>),
    /// A routine of the runtime's library.
    Library(Library),
    /// A loop over kernels.
    Loop(Box<Loop>),
}

/// How a kernel iterates over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AxisRole {
    /// Points are independent.
    Parallel,
    /// The reductions of the kernel run over it.
    Reduced,
}

/// An axis of a kernel's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Number of points.
    pub extent: usize,
    /// How the kernel iterates.
    pub role: AxisRole,
}

/// Number of an instruction in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstructionId(pub u32);

/// A computation on each point of a rectangular domain.
///
/// All reductions run over all `Reduced` axes together. An instruction is *per point* if it
/// depends, through its operands, on a reduced axis; otherwise it is *per row*: computed once for
/// each index of the parallel axes. Per-row results may be used per point again (softmax: the
/// row's maximum is subtracted from each element).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// Axes, outermost first. Index expressions refer to them by position.
    pub axes: Vec<Axis>,
    /// Instructions; operands come first.
    pub instructions: Vec<Instruction>,
    /// What is written: a value by one store, or part by part by several.
    pub stores: Vec<Store>,
}

/// A scalar computation at a point (or a row) of a body's domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// What is computed.
    pub kind: InstructionKind,
    /// Element type of the result.
    pub dtype: DType,
}

/// Kinds of instructions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InstructionKind {
    /// A constant.
    Constant(Scalar),
    /// An element of a materialized value; the map's domain is the body's axes.
    Load {
        /// What is read.
        value: ValueId,
        /// From the point to the element.
        map: IndexMap,
    },
    /// An element of a materialized value at an index that is computed: NaN (0 for other types
    /// than floats) where the index lies outside.
    Gather {
        /// What is read.
        value: ValueId,
        /// From the point to the element at index 0 of the indexed axis, without constraints.
        map: IndexMap,
        /// The axis of the value that is indexed.
        axis: usize,
        /// The index along it, an i32.
        index: InstructionId,
    },
    /// The finished product at this point; only in epilogues of products.
    Accumulator,
    /// An index expression as a number.
    Index(Expression),
    /// A random number; `index` is the row-major position within the stream.
    Random {
        /// Distribution.
        kind: RandomKind,
        /// Name of the stream.
        stream: u64,
        /// Position.
        index: Expression,
    },
    /// An elementwise function.
    Apply(Elementwise, SmallVec<[InstructionId; 3]>),
    /// Conversion to the instruction's dtype.
    Cast(InstructionId),
    /// `operand` where all constraints of the map hold, else its fill value; the map's indices
    /// are not used. Movement with padding of a value that stays inside the kernel.
    Masked(InstructionId, IndexMap),
    /// Combination over all reduced axes; the result is per row.
    Reduce(ReduceKind, InstructionId),
    /// Position, along the single reduced axis, of the extreme; the result is per row.
    ArgReduce(ArgKind, InstructionId),
}

/// A write to a materialized value.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// What is written.
    pub value: ValueId,
    /// From the point (of the whole domain, or of the parallel axes for a per-row value) to the
    /// element; without constraints, and injective over its domain.
    pub map: IndexMap,
    /// The result stored.
    pub instruction: InstructionId,
}

/// A batched matrix product with what is fused to it.
///
/// The result's domain has the axes `batch..., row, column`; the left operand's `batch..., row,
/// depth`, the right operand's `batch..., depth, column`.
#[derive(Clone, Debug)]
pub struct Product {
    /// F32 or F64.
    pub dtype: DType,
    /// Extents of the batch axes.
    pub batch: SmallVec<[usize; 2]>,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Length of the summed axis.
    pub depth: usize,
    /// Left operand.
    pub left: ProductOperand,
    /// Right operand.
    pub right: ProductOperand,
    /// What happens to the finished product: a body over `batch..., row, column`, all parallel,
    /// whose [`InstructionKind::Accumulator`] is the product. A plain store is a body of two
    /// instructions at most.
    pub epilogue: Body,
}

/// An operand of a product.
#[derive(Clone, Debug)]
pub enum ProductOperand {
    /// Elements of a materialized value that lie like those of matrices, [`IndexMap::is_matrix`].
    Value(ValueId, IndexMap),
    /// Computed while it is packed (prologue): a body over the operand's domain, all axes
    /// parallel, without stores; its last instruction is the operand.
    Computed(Body),
}

/// A routine of the runtime's library on whole tensors, all of them dense and row-major.
#[derive(Clone, Debug)]
pub struct Library {
    /// The routine.
    pub routine: Routine,
    /// The element type that it works on.
    pub dtype: DType,
    /// What it reads.
    pub operands: SmallVec<[ValueId; 2]>,
    /// What it writes.
    pub result: ValueId,
}

/// Predicted nanoseconds to copy a byte within the second-level cache, reading and writing.
const COPY_NANOSECONDS_PER_BYTE: f64 = 0.015;

impl Body {
    /// The body that copies a tensor of this type from one value to another.
    pub fn copy(from: ValueId, to: ValueId, ty: &TensorType) -> Body {
        let parallel = |&extent: &usize| Axis { extent, role: AxisRole::Parallel };
        let mut body = Body { axes: ty.shape.iter().map(parallel).collect(), ..Body::default() };
        let map = IndexMap::identity(&ty.shape);
        let load = InstructionKind::Load { value: from, map: map.clone() };
        let instruction = body.push(load, ty.dtype);
        body.stores.push(Store { value: to, map, instruction });
        body
    }

    /// The body that writes zeros to a value of this type.
    pub fn zeros(to: ValueId, ty: &TensorType) -> Body {
        let parallel = |&extent: &usize| Axis { extent, role: AxisRole::Parallel };
        let mut body = Body { axes: ty.shape.iter().map(parallel).collect(), ..Body::default() };
        let zero = InstructionKind::Constant(Scalar::new(ty.dtype, 0.0));
        let instruction = body.push(zero, ty.dtype);
        body.stores.push(Store { value: to, map: IndexMap::identity(&ty.shape), instruction });
        body
    }

    /// The instruction with this number.
    pub fn instruction(&self, id: InstructionId) -> &Instruction {
        &self.instructions[id.0 as usize]
    }

    /// Appends an instruction.
    pub fn push(&mut self, kind: InstructionKind, dtype: DType) -> InstructionId {
        self.instructions.push(Instruction { kind, dtype });
        InstructionId((self.instructions.len() - 1) as u32)
    }

    /// Extents of the axes.
    pub fn extents(&self) -> SmallVec<[usize; 4]> {
        self.axes.iter().map(|axis| axis.extent).collect()
    }

    /// The values that the body reads, one for each load.
    pub fn loaded(&self) -> impl Iterator<Item = ValueId> {
        self.instructions.iter().filter_map(|instruction| match instruction.kind {
            InstructionKind::Load { value, .. } | InstructionKind::Gather { value, .. } => {
                Some(value)
            }
            _ => None,
        })
    }

    /// The values that the body writes.
    pub fn stored(&self) -> impl Iterator<Item = ValueId> {
        self.stores.iter().map(|store| store.value)
    }

    /// For each instruction, whether it is per point: whether it depends on a reduced axis.
    pub fn per_point(&self) -> Vec<bool> {
        let reduced = |position: usize| self.axes[position].role == AxisRole::Reduced;
        let varies = |e: &Expression| (0..self.axes.len()).any(|a| reduced(a) && e.depends_on(a));
        let condition = |map: &IndexMap| map.constraints().iter().any(|c| varies(&c.expression));
        let mut per_point = Vec::with_capacity(self.instructions.len());
        for instruction in &self.instructions {
            let of = |id: &InstructionId| -> bool { per_point[id.0 as usize] };
            let varies = match &instruction.kind {
                InstructionKind::Constant(_)
                | InstructionKind::Accumulator
                | InstructionKind::Reduce(..)
                | InstructionKind::ArgReduce(..) => false,
                InstructionKind::Load { map, .. } => {
                    map.indices().iter().any(varies) || condition(map)
                }
                InstructionKind::Index(e) | InstructionKind::Random { index: e, .. } => varies(e),
                InstructionKind::Gather { map, index, .. } => {
                    of(index) || map.indices().iter().any(varies)
                }
                InstructionKind::Apply(_, operands) => operands.iter().any(of),
                InstructionKind::Cast(operand) => of(operand),
                InstructionKind::Masked(operand, map) => of(operand) || condition(map),
            };
            per_point.push(varies);
        }
        per_point
    }
}

impl InstructionKind {
    /// The instructions whose results this one uses.
    pub fn operands(&self) -> &[InstructionId] {
        match self {
            InstructionKind::Constant(_)
            | InstructionKind::Load { .. }
            | InstructionKind::Accumulator
            | InstructionKind::Index(_)
            | InstructionKind::Random { .. } => &[],
            InstructionKind::Apply(_, operands) => operands,
            InstructionKind::Gather { index: operand, .. }
            | InstructionKind::Cast(operand)
            | InstructionKind::Masked(operand, _)
            | InstructionKind::Reduce(_, operand)
            | InstructionKind::ArgReduce(_, operand) => std::slice::from_ref(operand),
        }
    }
}

impl Kernel {
    /// A kernel that copies the value `from` to the value `to` of the same type.
    pub fn copying(source: &Value, from: ValueId, to: ValueId, reason: &str) -> Kernel {
        let bytes = 2.0 * source.ty.bytes() as f64;
        Kernel {
            name: "copy".to_owned(),
            body: KernelBody::Fused(Body::copy(from, to, &source.ty)),
            nodes: vec![source.node],
            reasons: vec![reason.to_owned()],
            cost: Cost { nanoseconds: bytes * COPY_NANOSECONDS_PER_BYTE, flops: 0.0, bytes },
        }
    }

    /// A kernel that writes zeros to the value `to` of this type.
    pub fn filling(to: ValueId, ty: &TensorType, reason: &str) -> Kernel {
        let bytes = ty.bytes() as f64;
        Kernel {
            name: "zeros".to_owned(),
            body: KernelBody::Fused(Body::zeros(to, ty)),
            nodes: Vec::new(),
            reasons: vec![reason.to_owned()],
            cost: Cost { nanoseconds: bytes * COPY_NANOSECONDS_PER_BYTE, flops: 0.0, bytes },
        }
    }

    /// The values that the kernel writes.
    pub fn stored(&self) -> impl Iterator<Item = ValueId> {
        let stored: SmallVec<[ValueId; 4]> = match &self.body {
            KernelBody::Fused(body) => body.stored().collect(),
            KernelBody::Product(product) => product.epilogue.stored().collect(),
            KernelBody::Library(library) => SmallVec::from_elem(library.result, 1),
            KernelBody::Loop(the_loop) => the_loop.stored().collect(),
        };
        stored.into_iter()
    }

    /// The values that the kernel reads, each once.
    pub fn loaded(&self) -> BTreeSet<ValueId> {
        match &self.body {
            KernelBody::Fused(body) => body.loaded().collect(),
            KernelBody::Library(library) => library.operands.iter().copied().collect(),
            KernelBody::Product(product) => {
                let operands = [&product.left, &product.right].into_iter();
                let operands = operands.flat_map(|operand| match operand {
                    ProductOperand::Value(value, _) => BTreeSet::from([*value]),
                    ProductOperand::Computed(body) => body.loaded().collect(),
                });
                operands.chain(product.epilogue.loaded()).collect()
            }
            KernelBody::Loop(the_loop) => the_loop.operands.iter().map(LoopOperand::read).collect(),
        }
    }
}
