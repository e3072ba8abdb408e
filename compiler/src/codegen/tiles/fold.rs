//! Reductions into variables.
//!
//! Within a tile, each lane of a few vectors accumulates its own share; at the tile's end the
//! shares are combined in a fixed tree and the result goes into the variable. A sum of f32 values
//! therefore adds at most [`TILE`](super::plan::TILE) terms in single precision, in chains of far
//! fewer, before it continues in double precision.

use std::collections::HashMap;

use cranelift::codegen::ir::{self, InstBuilder, types};
use cranelift::frontend::Variable;
use cranelift::prelude::FloatCC;

use super::TilesCode;
use super::segment::Rest;
use crate::codegen::function::Translator;
use crate::codegen::lanes::{LaneBuilder, Width};
use crate::kernel::loops::{LoopInstructionKind, VariableId};
use crate::op::lowering::{Lane, Lanes};
use crate::op::{ArgKind, ReduceKind};
use crate::types::DType;

/// Accumulators of a fold.
#[derive(Clone, Debug)]
pub(super) struct LaneFold {
    kind: ReduceKind,
    dtype: DType,
    variable: VariableId,
    /// One lane of four for each copy of the body in a loop by vectors.
    chains: Vec<[Variable; 2]>,
    /// For elements that are left over.
    rest: Option<Variable>,
    /// Of a routine with wide vectors: where the accumulators lie in scratch memory.
    wide: Option<usize>,
    /// Whether those are combined with what is there already.
    continued: bool,
}

/// The value that changes nothing.
pub(super) const fn neutral(kind: ReduceKind, dtype: DType) -> f64 {
    match kind {
        ReduceKind::Sum => 0.0,
        ReduceKind::Max if dtype.is_float() => f64::NEG_INFINITY,
        ReduceKind::Max => i32::MIN as f64,
        ReduceKind::Prod => 1.0,
    }
}

impl LaneBuilder<'_> {
    /// `known` combined with `value`. A maximum with a NaN is NaN.
    pub(in crate::codegen) fn combine(
        &mut self,
        kind: ReduceKind,
        known: Lane,
        value: Lane,
    ) -> Lane {
        match kind {
            ReduceKind::Sum => self.add(known, value),
            ReduceKind::Prod => self.mul(known, value),
            ReduceKind::Max => {
                // The machine's maximum: `known` if one is NaN.
                let less = self.less(known, value);
                let larger = self.select(less, value, known);
                if !self.dtype(value).is_float() {
                    return larger;
                }
                let dtype = self.dtype(value);
                let number = self.map(dtype, [value], |builder, [value]| {
                    builder.ins().fcmp(FloatCC::Ordered, value, value)
                });
                let number = self.masked(number);
                self.select(number, larger, value)
            }
        }
    }
}

impl Translator<'_> {
    /// Declares the accumulators of all folds; those of routines with wide vectors lie one after another
    /// from the offset `wide_at` of scratch memory on.
    pub(super) fn folds(
        &mut self,
        code: &TilesCode<'_>,
        mut wide_at: usize,
    ) -> HashMap<usize, LaneFold> {
        let mut folds = HashMap::new();
        for (number, step) in code.plan.steps.iter().enumerate() {
            let shape = code.shapes[number];
            for &n in step.members() {
                let LoopInstructionKind::Fold { variable, kind, .. } = code.body[n].kind else {
                    continue;
                };
                // Integers are added as what the sum's variable is: no partial sum wraps.
                let dtype = match (kind, code.body[n].dtype) {
                    (ReduceKind::Sum, DType::I32) => DType::F64,
                    (_, dtype) => dtype,
                };
                let builder = &mut self.lanes.builder;
                let vector = Width::Four.part_type(dtype);
                let chains = if shape.vectors || shape.copies > 1 { shape.copies } else { 0 };
                let chains = (0..chains)
                    .map(|_| [builder.declare_var(vector), builder.declare_var(vector)])
                    .collect();
                let rest = (shape.rest == Rest::Elements)
                    .then(|| builder.declare_var(Width::One.part_type(dtype)));
                let wide = code.wide[number].as_ref().map(|_| {
                    wide_at += self.wide_accumulator_bytes();
                    wide_at - self.wide_accumulator_bytes()
                });
                let continued = !code.guards.intervals_of(step.members()).is_empty();
                let fold = LaneFold { kind, dtype, variable, chains, rest, wide, continued };
                folds.insert(n, fold);
            }
        }
        folds
    }

    /// Sets all accumulators to the neutral value.
    pub(super) fn start_folds(&mut self, code: &TilesCode<'_>) {
        for fold in code.sorted_folds() {
            let value = neutral(fold.kind, fold.dtype);
            self.lanes.width = Width::Four;
            for &chain in &fold.chains {
                let neutral = self.lanes.constant(fold.dtype, value);
                self.set_chain(fold.dtype, chain, neutral);
            }
            if let Some(offset) = fold.wide.filter(|_| fold.continued) {
                let neutral = self.lanes.constant(fold.dtype, value);
                self.set_wide_accumulators(neutral, offset);
            }
            self.lanes.width = Width::One;
            if let Some(rest) = fold.rest {
                let neutral = self.lanes.constant(fold.dtype, value);
                let neutral = self.lanes.value(neutral);
                self.lanes.builder.def_var(rest, neutral);
            }
        }
    }

    fn set_chain(&mut self, dtype: DType, chain: [Variable; 2], value: Lane) {
        let parts = self.lanes.held(value).parts;
        for part in 0..Width::Four.parts(dtype) {
            self.lanes.builder.def_var(chain[part], parts[part]);
        }
    }

    fn chain(&mut self, dtype: DType, chain: [Variable; 2]) -> Lane {
        let parts = Width::Four.parts(dtype);
        let values: Vec<ir::Value> =
            chain[..parts].iter().map(|&v| self.lanes.builder.use_var(v)).collect();
        self.lanes.hold_parts(dtype, Width::Four, [values[0], values[parts - 1]])
    }

    /// Combines a lane into its accumulator.
    pub(super) fn fold_lane(&mut self, fold: &LaneFold, copy: usize, value: Lane) {
        let value = self.lanes.cast(value, fold.dtype);
        match self.lanes.width {
            Width::Four => {
                let chain = fold.chains[copy];
                let known = self.chain(fold.dtype, chain);
                let combined = self.lanes.combine(fold.kind, known, value);
                self.set_chain(fold.dtype, chain, combined);
            }
            Width::One => {
                let rest = fold.rest.expect("a loop by elements has an accumulator");
                let known = self.lanes.builder.use_var(rest);
                let known = self.lanes.hold(fold.dtype, Width::One, known);
                let combined = self.lanes.combine(fold.kind, known, value);
                let combined = self.lanes.value(combined);
                self.lanes.builder.def_var(rest, combined);
            }
        }
    }

    /// Combines the accumulators of a tile into the variables.
    pub(super) fn finish_folds(&mut self, code: &TilesCode<'_>) {
        for fold in code.sorted_folds() {
            let chains: Vec<Lane> = match fold.wide {
                Some(offset) => self.wide_accumulators(fold.dtype, offset),
                None => fold.chains.iter().map(|&chain| self.chain(fold.dtype, chain)).collect(),
            };
            self.lanes.width = Width::One;
            let mut shares = Vec::new();
            if let Some(chains) = self.tree(fold.kind, chains) {
                let elements = [0, 1, 2, 3].map(|place| self.lanes.extract(chains, place));
                shares.extend(self.tree(fold.kind, elements.to_vec()));
            }
            if let Some(rest) = fold.rest {
                let rest = self.lanes.builder.use_var(rest);
                shares.push(self.lanes.hold(fold.dtype, Width::One, rest));
            }
            let tile = self.tree(fold.kind, shares).expect("some loop folds");
            self.fold_scalar(fold.variable, fold.kind, tile);
        }
    }

    /// Combines neighbours, then neighbouring results, and so on; `None` of nothing.
    fn tree(&mut self, kind: ReduceKind, mut lanes: Vec<Lane>) -> Option<Lane> {
        while lanes.len() > 1 {
            let pairs = lanes.chunks(2);
            lanes = pairs
                .map(|pair| match *pair {
                    [a, b] => self.lanes.combine(kind, a, b),
                    _ => pair[0],
                })
                .collect();
        }
        lanes.first().copied()
    }

    /// Combines one value into a variable, in the variable's type.
    pub(in crate::codegen) fn fold_scalar(
        &mut self,
        variable: VariableId,
        kind: ReduceKind,
        value: Lane,
    ) {
        let known = self.variable(variable);
        let value = self.lanes.cast(value, self.lanes.dtype(known));
        let combined = self.lanes.combine(kind, known, value);
        let combined = self.lanes.value(combined);
        self.lanes.builder.def_var(self.variables[variable], combined);
    }

    /// Keeps the extreme and its position: the first among equals, and the first NaN before all.
    pub(in crate::codegen) fn fold_position(
        &mut self,
        variable: VariableId,
        position: VariableId,
        kind: ArgKind,
        value: Lane,
        index: ir::Value,
    ) {
        let known = self.variable(variable);
        let better = match kind {
            ArgKind::Max => self.lanes.less(known, value),
            ArgKind::Min => self.lanes.less(value, known),
        };
        let mut better = self.lanes.value(better);
        let [known, value] = [known, value].map(|lane| self.lanes.held(lane));
        let builder = &mut self.lanes.builder;
        let [known_value, new_value] = [known.parts[0], value.parts[0]];
        if value.dtype.is_float() {
            let number = builder.ins().fcmp(FloatCC::Ordered, known_value, known_value);
            let nan = builder.ins().fcmp(FloatCC::Unordered, new_value, new_value);
            let wins = builder.ins().bor(better, nan);
            better = builder.ins().band(wins, number);
        }
        let extreme = builder.ins().select(better, new_value, known_value);
        builder.def_var(self.variables[variable], extreme);
        let index = builder.ins().ireduce(types::I32, index);
        let before = builder.use_var(self.variables[position]);
        let place = builder.ins().select(better, index, before);
        builder.def_var(self.variables[position], place);
    }
}
