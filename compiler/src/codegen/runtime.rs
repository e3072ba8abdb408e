//! Functions of the runtime that generated code calls.

use std::collections::BTreeMap;

use cranelift::codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, FuncRef, Function, Signature, UserExternalName, types,
};
use cranelift::codegen::isa::CallConv;
use cygnet_runtime::cpu::Cpu;
use cygnet_runtime::random::RandomTile;
use cygnet_runtime::tile::TileFunction;
use serde::{Deserialize, Serialize};

use crate::kernel::loops::{self, LoopInstruction, LoopInstructionKind, Statement};
use crate::op::RandomKind;
use crate::op::lowering::Lowering;
use crate::types::DType;

/// A function of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum RuntimeFunction {
    /// `(out, operands..., len)`.
    Tile(TileFunction, DType),
    /// `(out, seed, stream, step, first index, distance, len)`.
    Random(RandomTile, DType),
}

impl RuntimeFunction {
    /// The symbol that listings show.
    pub(super) fn symbol(self) -> String {
        match self {
            RuntimeFunction::Tile(function, dtype) => format!("{}_{dtype}", function.name()),
            RuntimeFunction::Random(random, dtype) => format!("{}_{dtype}", random.name()),
        }
    }

    pub(super) fn address(self, cpu: Cpu) -> *const u8 {
        match self {
            RuntimeFunction::Tile(function, dtype) => function.address(dtype, cpu),
            RuntimeFunction::Random(random, dtype) => random.address(dtype, cpu),
        }
    }

    pub(super) fn signature(self, call_convention: CallConv) -> Signature {
        let parameters = match self {
            RuntimeFunction::Tile(function, _) => function.arity() + 2,
            RuntimeFunction::Random(..) => 7,
        };
        words_signature(call_convention, parameters)
    }

    /// The function that computes an instruction, if it is one of the runtime.
    pub(super) fn of(instruction: &LoopInstruction) -> Option<RuntimeFunction> {
        let dtype = instruction.dtype;
        match &instruction.kind {
            LoopInstructionKind::Apply(function, _) => match function.entry().lowering {
                Lowering::Tile(tile) => Some(RuntimeFunction::Tile(tile, dtype)),
                Lowering::Inline(_) => None,
            },
            LoopInstructionKind::Random { kind, .. } => {
                let random = match kind {
                    RandomKind::Uniform => RandomTile::Uniform,
                    RandomKind::Normal => RandomTile::Normal,
                };
                Some(RuntimeFunction::Random(random, dtype))
            }
            _ => None,
        }
    }

    /// The functions that a function's code calls.
    pub(super) fn called(function: &loops::Function) -> Vec<RuntimeFunction> {
        let mut called = Vec::new();
        visit(&function.body, &mut |instruction| called.extend(RuntimeFunction::of(instruction)));
        called
    }
}

fn visit(statements: &[Statement], seen: &mut impl FnMut(&LoopInstruction)) {
    for statement in statements {
        match statement {
            Statement::Loop { body, .. } => visit(body, seen),
            Statement::Tiles { body, .. } | Statement::Scalar(body) => {
                body.iter().for_each(&mut *seen);
            }
        }
    }
}

/// The namespace of the runtime's functions.
pub(super) const RUNTIME: u32 = 0;
/// The namespace of the routines of a function.
pub(super) const ROUTINES: u32 = 1;

/// How code refers to runtime functions.
pub(super) enum Imports {
    /// By their numbers in the module that the code is for.
    Numbers(BTreeMap<RuntimeFunction, u32>),
    /// By their symbols, for listings.
    Symbols,
}

impl Imports {
    /// Makes a runtime function callable from `function`.
    pub(super) fn import(&self, function: &mut Function, callee: RuntimeFunction) -> FuncRef {
        let signature = callee.signature(function.signature.call_conv);
        let number = |numbers: &BTreeMap<RuntimeFunction, u32>| {
            UserExternalName::new(RUNTIME, numbers[&callee])
        };
        self.callable(function, signature, number, || callee.symbol())
    }

    /// Makes a routine with wide vectors callable, which is placed behind the function's code and takes so
    /// many words.
    pub(super) fn import_routine(
        &self,
        function: &mut Function,
        routine: u32,
        words: usize,
    ) -> FuncRef {
        let signature = words_signature(function.signature.call_conv, words);
        let number = |_: &_| UserExternalName::new(ROUTINES, routine);
        self.callable(function, signature, number, || format!("vectors{routine}"))
    }

    fn callable(
        &self,
        function: &mut Function,
        signature: Signature,
        number: impl Fn(&BTreeMap<RuntimeFunction, u32>) -> UserExternalName,
        symbol: impl Fn() -> String,
    ) -> FuncRef {
        let signature = function.import_signature(signature);
        let name = match self {
            Imports::Numbers(numbers) => {
                let name = number(numbers);
                ExternalName::user(function.declare_imported_user_function(name))
            }
            Imports::Symbols => ExternalName::testcase(symbol()),
        };
        let data = ExtFuncData { name, signature, colocated: false, patchable: false };
        function.import_function(data)
    }
}

/// The signature of a function of so many words.
fn words_signature(call_convention: CallConv, words: usize) -> Signature {
    let mut signature = Signature::new(call_convention);
    signature.params = vec![AbiParam::new(types::I64); words];
    signature
}
