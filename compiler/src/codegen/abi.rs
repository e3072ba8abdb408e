//! How generated functions are called and what they call.

use std::mem::offset_of;

use cranelift::codegen::ir::{AbiParam, Signature, types};
use cranelift::codegen::isa::CallConv;
use cygnet_runtime::program::{Frame, Region};

use crate::kernel::loops::Convention;

/// Byte offsets of the fields of [`Frame`].
pub(super) mod frame {
    use super::*;

    pub(in crate::codegen) const ARENA: i32 = offset_of!(Frame, arena) as i32;
    pub(in crate::codegen) const SCRATCH: i32 = offset_of!(Frame, scratch) as i32;
    pub(in crate::codegen) const SEED: i32 = offset_of!(Frame, seed) as i32;
    pub(in crate::codegen) const STEP: i32 = offset_of!(Frame, step) as i32;
    pub(in crate::codegen) const COUNTERS: i32 = offset_of!(Frame, counters) as i32;
}

/// Byte offsets of the fields of [`Region`].
pub(super) mod region {
    use super::*;

    pub(in crate::codegen) const BATCH: i32 = offset_of!(Region, batch) as i32;
    pub(in crate::codegen) const ROW_START: i32 = offset_of!(Region, row_start) as i32;
    pub(in crate::codegen) const ROW_END: i32 = offset_of!(Region, row_end) as i32;
    pub(in crate::codegen) const COLUMN_START: i32 = offset_of!(Region, column_start) as i32;
    pub(in crate::codegen) const COLUMN_END: i32 = offset_of!(Region, column_end) as i32;
}

/// The parameters of [`cygnet_runtime::program::PieceFunction`] (frame, piece) or
/// [`cygnet_runtime::program::RegionFunction`] (frame, tile, tile stride, region), and a table of
/// arena offsets after them if the code is shared ([`super::sharing`]).
pub(super) fn signature(
    convention: Convention,
    shared: bool,
    call_convention: CallConv,
) -> Signature {
    let parameters = match convention {
        Convention::Pieces => 2,
        Convention::Region { .. } => 4,
    };
    let mut signature = Signature::new(call_convention);
    signature.params = vec![AbiParam::new(types::I64); parameters + usize::from(shared)];
    signature
}
