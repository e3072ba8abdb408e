//! Elements by indices that are data: gathering and scattering.

use cygnet_runtime::library::{self, Routine, ScatterKind};
use smallvec::smallvec;

use super::{Application, Context, Cotangents, Emit, Primitive, library as routines, operands_of};
use crate::array::Array;
use crate::types::{DType, Shape, TensorType};

/// Slices of `x [b..., v, d...]` at `indices [b..., n...]` (i32, from 0) to a result
/// `[b..., n..., d...]`: the first `batch` axes run together, the next one of `x` is indexed.
///
/// Without batch axes it looks rows up in a table (an embedding); with all axes but the last as
/// batch axes, and no `d`, it takes elements along an axis, one list of indices for each row.
/// Where an index lies outside `0..v` the result is NaN for floats, which the loss guard notices,
/// and 0 for other types.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gather {
    /// Leading axes that both operands share.
    pub batch: usize,
}

/// What stands where an index leads nowhere.
pub fn missing(dtype: DType) -> f64 {
    if dtype.is_float() { f64::NAN } else { 0.0 }
}

/// The shared leading extents of an operation on indices, or why there are none.
fn batch_of<'a>(
    batch: usize,
    indices: &'a TensorType,
    other: &TensorType,
) -> Result<&'a [usize], String> {
    if indices.dtype != DType::I32 {
        return Err(format!("indices are i32, not {indices}"));
    }
    let shared = indices.shape.get(..batch).filter(|shape| other.shape.get(..batch) == Some(shape));
    shared.ok_or_else(|| format!("{other} and {indices} do not share {batch} axes"))
}

impl Gather {
    /// Extents of the result: of the batch axes, of the other axes of the indices, of a slice.
    fn extents<'a>(&self, x: &'a TensorType, indices: &'a TensorType) -> [&'a [usize]; 3] {
        let (shared, listed) = indices.shape.split_at(self.batch);
        [shared, listed, &x.shape[self.batch + 1..]]
    }
}

impl Primitive for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn doc(&self) -> &'static str {
        "slices of the first operand at the indices of the second; NaN (0 for integers) outside"
    }

    fn attributes(&self) -> String {
        format!("batch={}", self.batch)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [x, indices] = operands_of(operands)?;
        batch_of(self.batch, indices, x)?;
        match x.shape.get(self.batch) {
            None => return Err(format!("{x} has no axis {} to be indexed", self.batch)),
            Some(0) => return Err(format!("no elements along axis {} of {x}", self.batch)),
            Some(_) => {}
        }
        let shape = self.extents(x, indices).concat();
        Ok(TensorType { dtype: x.dtype, shape: Shape::from_vec(shape) })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let [x, indices] = operands else { unreachable!("two operands") };
        let (rank, extent) = (indices.ty.rank(), x.ty.shape[self.batch]);
        let mut source = vec![0; x.ty.rank()];
        Array::from_fn(result.clone(), |index| {
            let (place, inside) = index.split_at(rank);
            let entry = indices.at(place);
            if entry < 0.0 || entry >= extent as f64 {
                return missing(result.dtype);
            }
            source[..self.batch].copy_from_slice(&index[..self.batch]);
            source[self.batch] = entry as usize;
            source[self.batch + 1..].copy_from_slice(inside);
            x.at(&source)
        })
    }

    fn differentiable(&self, operand: usize) -> bool {
        operand == 0
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let extent = g.type_of(at.operands[0]).shape[self.batch];
        let scatter = Scatter { kind: ScatterKind::Add, batch: self.batch, extent };
        let dx = g.emit(scatter.into(), &[at.operands[1], at.cotangent]);
        Ok(smallvec![Some(dx), None])
    }
}

/// The inverse movement: `updates [b..., n..., d...]` to a result `[b..., extent, d...]` in which
/// slice `indices [b..., n...]` is the sum of the updates with that index, or the last of them;
/// 0 where there is none.
///
/// If an index lies outside `0..extent`, all of a result of floats that belongs to its indices of
/// the batch axes is NaN; updates of other types are left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scatter {
    /// What happens to updates with equal indices.
    pub kind: ScatterKind,
    /// Leading axes that both operands share.
    pub batch: usize,
    /// Extent of the indexed axis.
    pub extent: usize,
}

impl Scatter {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        let [indices, updates] = operands else { unreachable!("two operands") };
        let (shared, listed) = indices.shape.split_at(self.batch);
        let scatter = library::Scatter {
            kind: self.kind,
            batch: shared.iter().product(),
            extent: self.extent,
            count: listed.iter().product(),
            width: updates.shape[indices.rank()..].iter().product(),
        };
        (Routine::Scatter(scatter), updates.dtype)
    }
}

impl Primitive for Scatter {
    fn name(&self) -> &'static str {
        match self.kind {
            ScatterKind::Add => "scatter_add",
            ScatterKind::Set => "scatter_set",
        }
    }

    fn doc(&self) -> &'static str {
        match self.kind {
            ScatterKind::Add => "sums of the slices of the second operand with equal indices",
            ScatterKind::Set => "slices of the second operand put at indices; the last one stays",
        }
    }

    fn attributes(&self) -> String {
        format!("batch={} extent={}", self.batch, self.extent)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [indices, updates] = operands_of(operands)?;
        let shared = batch_of(self.batch, indices, updates)?;
        if matches!(updates.dtype, DType::Bool | DType::U8) {
            return Err(format!("a scattering of {}; cast it first", updates.dtype));
        }
        if updates.shape.get(..indices.rank()) != Some(&indices.shape) {
            return Err(format!("{updates} has no slice for each index of {indices}"));
        }
        let inside = &updates.shape[indices.rank()..];
        let shape = [shared, &[self.extent], inside].concat();
        Ok(TensorType { dtype: updates.dtype, shape: Shape::from_vec(shape) })
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let types: Vec<&TensorType> = operands.iter().map(|operand| &operand.ty).collect();
        routines::evaluate(self.routine(&types), operands, result)
    }

    fn differentiable(&self, operand: usize) -> bool {
        operand == 1
    }

    fn gradient(&self, g: &mut dyn Emit, at: &Application<'_>) -> Result<Cotangents, String> {
        let indices = at.operands[0];
        let gather = Gather { batch: self.batch };
        let dy = g.emit(gather.clone().into(), &[at.cotangent, indices]);
        if self.kind == ScatterKind::Add {
            return Ok(smallvec![None, Some(dy)]);
        }
        // Only the update that stayed has an effect: the one whose number is found at its index.
        let TensorType { shape, .. } = g.type_of(indices).clone();
        let listed: usize = shape[self.batch..].iter().product();
        let numbers = g.iota(DType::I32, &[listed], 0);
        let shared: Shape = shape[..self.batch].into();
        let flat = [&shared[..], &[listed]].concat();
        let numbers = g.broadcast(numbers, &flat, &[self.batch]);
        let numbers = g.reshape(numbers, &shape);
        let stayed = g.emit(self.clone().into(), &[indices, numbers]);
        let stayed = g.emit(gather.into(), &[stayed, indices]);
        let stays = g.apply("eq", &[stayed, numbers]);
        let target = g.type_of(dy).shape.clone();
        let stays = g.broadcast(stays, &target, &(0..shape.len()).collect::<Vec<_>>());
        let zero = g.constant_like(dy, 0.0);
        Ok(smallvec![None, Some(g.select(stays, dy, zero))])
    }

    fn flops(&self, operands: &[&TensorType], _: &TensorType) -> f64 {
        match self.kind {
            ScatterKind::Add => operands[1].elements() as f64,
            ScatterKind::Set => 0.0,
        }
    }
}

/// The first index of a gathering or scattering that leads nowhere, and the extent that it would
/// have to be below.
pub fn first_outside(op: &super::Op, operands: &[&Array]) -> Option<(i64, usize)> {
    let (indices, extent) = match op {
        super::Op::Gather(gather) => (operands[1], operands[0].ty.shape[gather.batch]),
        super::Op::Scatter(scatter) => (operands[0], scatter.extent),
        _ => return None,
    };
    let outside = |index: &f64| *index < 0.0 || *index >= extent as f64;
    let found = indices.values.iter().copied().find(outside)?;
    Some((found as i64, extent))
}
