//! Loads at computed indices.
//!
//! An index that is the same for the whole statement - that of a row of a table - is followed once,
//! before the loops: then the row is read like any other. Other indices lead to each element on its
//! own.

use std::collections::HashMap;

use super::TilesCode;
use super::plan::Plan;
use super::segment::Group;
use crate::codegen::function::Translator;
use crate::codegen::lanes::Width;
use crate::codegen::memory::{Indexed, Stride};
use crate::kernel::loops::{Address, BufferId, LoopInstruction, LoopInstructionKind};
use crate::op::indexing::missing;
use crate::op::lowering::{Lane, Lanes};

/// Where an index leads that is the same for all elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct GatheredRow {
    pub(super) indexed: Indexed,
    /// Whether it lies inside, as a lane of four.
    all_inside: Lane,
}

impl Translator<'_> {
    /// Follows the indices that are the same for all elements.
    pub(super) fn gathered_rows(
        &mut self,
        plan: &Plan,
        body: &[LoopInstruction],
    ) -> HashMap<usize, GatheredRow> {
        let mut rows = HashMap::new();
        for (n, instruction) in body.iter().enumerate() {
            let LoopInstructionKind::Gather { index, stride, extent, .. } = instruction.kind else {
                continue;
            };
            if plan.varying(index).is_none() && plan.uniform.binary_search(&n).is_err() {
                let index = self.values[&index];
                let indexed = self.indexed(instruction.dtype, index, stride, extent);
                let all_inside = self.lanes.splat(indexed.inside);
                rows.insert(n, GatheredRow { indexed, all_inside });
            }
        }
        rows
    }

    /// Emits a gathering along a row.
    pub(super) fn gather_along(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        place: (BufferId, &Address),
        row: GatheredRow,
    ) -> Lane {
        let dtype = code.body[n].dtype;
        let lane = if let Some(first) = self.vector(code, group, n) {
            let element = self.indexed_element(first, row.indexed);
            self.lanes.load_four(dtype, element)
        } else if matches!(code.rows[&n].1, Stride::Fixed(0)) {
            let first = self.elements(code, group, n, place)[0];
            let element = self.indexed_element(first, row.indexed);
            let lane = self.lanes.load_one(dtype, element);
            self.lanes.widen(lane)
        } else {
            let first = self.elements(code, group, n, place);
            let lanes: Vec<Lane> = first
                .into_iter()
                .map(|first| {
                    let element = self.indexed_element(first, row.indexed);
                    self.lanes.load_one(dtype, element)
                })
                .collect();
            self.lanes.join(&lanes)
        };
        let missing = self.lanes.constant(dtype, missing(dtype));
        let inside = match self.lanes.width {
            Width::One => row.indexed.inside,
            Width::Four => row.all_inside,
        };
        self.lanes.select(inside, lane, missing)
    }

    /// Emits a gathering with an index for each element.
    pub(super) fn gather_each(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        place: (BufferId, &Address),
        indices: Lane,
    ) -> Lane {
        let LoopInstruction { dtype, kind, .. } = &code.body[n];
        let &LoopInstructionKind::Gather { stride, extent, .. } = kind else {
            unreachable!("the instruction is a gathering")
        };
        let first = self.elements(code, group, n, place);
        let lanes: Vec<Lane> = (0u8..)
            .zip(first)
            .map(|(number, first)| {
                let index = self.lanes.element(indices, number);
                let indexed = self.indexed(*dtype, index, stride, extent);
                self.gather_one(*dtype, first, indexed)
            })
            .collect();
        self.lanes.join(&lanes)
    }
}
