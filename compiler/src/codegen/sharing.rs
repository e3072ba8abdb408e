//! Functions that differ only in where their buffers lie.
//!
//! The layers of a network often repeat; so do their kernels, but for the places of buffers in the
//! arena. Such functions share one body, which reads the offsets from a table that it is given as
//! one more argument; in front of it each function has an *entry*, a few instructions that call
//! the body with the function's table. All entries of a convention have the same bytes, so they
//! are compiled once, too, and linked to different tables.

use std::collections::HashMap;

use cranelift::codegen::ir;
use cranelift::codegen::ir::{
    ExtFuncData, ExternalName, GlobalValueData, InstBuilder, UserExternalName, types,
};
use cranelift::codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift::frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::ModuleRelocTarget;

use super::abi;
use super::image::Target;
use crate::kernel::loops::{Convention, Function, Place};

/// For each function the first one that equals it but for names and places in the arena: the one
/// whose body it runs.
pub(super) fn representatives(functions: &[Function]) -> Vec<usize> {
    let mut known = HashMap::new();
    let numbered = functions.iter().enumerate();
    numbered.map(|(n, function)| *known.entry(anonymous(function)).or_insert(n)).collect()
}

/// Pairs of buffers that overlap.
type Overlaps = Vec<(usize, usize)>;

/// The function without names, and with arena offsets replaced by what code depends on: which
/// buffers begin at the same place and which overlap.
fn anonymous(function: &Function) -> (Function, Overlaps) {
    let mut anonymous = function.clone();
    anonymous.name.clear();
    anonymous.axes.iter_mut().for_each(|axis| axis.name.clear());
    let buffers = &function.buffers;
    let mut overlaps = Overlaps::new();
    for (n, buffer) in anonymous.buffers.iter_mut().enumerate() {
        buffer.name.clear();
        if let Place::Arena(start) | Place::Moving(start, _) = &mut buffer.place {
            let same = buffers.iter().position(|other| other.place == buffers[n].place);
            *start = same.unwrap_or(n);
            let earlier = (0..n).filter(|&other| buffers[other].overlaps(&buffers[n]));
            overlaps.extend(earlier.map(|other| (other, n)));
        }
    }
    (anonymous, overlaps)
}

/// The table of a function: for each buffer its byte offset in the arena, 0 for those elsewhere.
pub(super) fn table(function: &Function) -> Vec<u8> {
    let offsets = function.buffers.iter().map(|buffer| match buffer.place {
        Place::Arena(offset) | Place::Moving(offset, _) => offset as u64,
        Place::Scratch(_) | Place::Tile => 0,
    });
    offsets.flat_map(u64::to_ne_bytes).collect()
}

/// What an entry refers to, before it is linked.
const BODY: UserExternalName = UserExternalName { namespace: 0, index: 0 };
const TABLE: UserExternalName = UserExternalName { namespace: 1, index: 0 };

/// Fills `target` with an entry: it calls the body with its own arguments and the table.
pub(super) fn translate_entry(
    convention: Convention,
    target: &mut ir::Function,
    context: &mut FunctionBuilderContext,
    call_convention: CallConv,
    frontend: TargetFrontendConfig,
) {
    target.signature = abi::signature(convention, false, call_convention);
    let mut builder = FunctionBuilder::new(target, context);
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    builder.seal_block(block);
    let mut arguments = builder.block_params(block).to_vec();
    let name = ExternalName::user(builder.func.declare_imported_user_function(TABLE));
    let table = builder.create_global_value(GlobalValueData::Symbol {
        name,
        offset: 0.into(),
        colocated: false,
        tls: false,
    });
    arguments.push(builder.ins().symbol_value(types::I64, table));
    let signature = builder.import_signature(abi::signature(convention, true, call_convention));
    let name = ExternalName::user(builder.func.declare_imported_user_function(BODY));
    let data = ExtFuncData { name, signature, colocated: false, patchable: false };
    let body = builder.import_function(data);
    builder.ins().call(body, &arguments);
    builder.ins().return_(&[]);
    builder.finalize(frontend);
}

/// What a name in an entry stands for.
pub(super) fn target(name: &ModuleRelocTarget) -> Option<Target> {
    match name {
        ModuleRelocTarget::User { namespace, .. } if *namespace == TABLE.namespace => {
            Some(Target::Table)
        }
        ModuleRelocTarget::User { .. } => Some(Target::Body),
        _ => None,
    }
}
