//! Kernels that do nothing but put axes into another order: a routine of the runtime transposes squares in
//! registers.

use cygnet_runtime::library::Routine;
use smallvec::smallvec;

use crate::kernel::{Body, InstructionKind, Library, Value};
use crate::optimize::cost;
use crate::types::DType;

/// The routine for a body that puts the axes of a tensor into another order.
pub(super) fn routine(body: &Body, values: &[Value]) -> Option<Library> {
    let permute = cost::permutation(body, &|value| &values[value.0 as usize].ty)?;
    let ([instruction], [store]) = (&body.instructions[..], &body.stores[..]) else { return None };
    let InstructionKind::Load { value, .. } = &instruction.kind else { return None };
    Some(Library {
        routine: Routine::Permute(permute),
        dtype: DType::F32,
        operands: smallvec![*value],
        result: store.value,
    })
}
