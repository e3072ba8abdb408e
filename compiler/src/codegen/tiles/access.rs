//! Access to buffers and slots, and index arithmetic, for the elements of a group.

use cranelift::codegen::ir::{self, InstBuilder};

use super::TilesCode;
use super::plan::{Home, slot_size};
use super::segment::{Cut, Group};
use crate::codegen::function::Translator;
use crate::codegen::indices::{add_constant, multiply};
use crate::codegen::lanes::Width;
use crate::codegen::memory::{Element, Stride};
use crate::index::{Constraint, Expression};
use crate::kernel::loops::{Address, BufferId};
use crate::op::ReduceKind;
use crate::op::lowering::{Lane, Lanes};
use crate::types::{DType, Scalar};

impl Translator<'_> {
    /// The element at an index of a row whose index 0 is `row`.
    pub(super) fn at(
        &mut self,
        row: Element,
        stride: Stride,
        size: usize,
        index: ir::Value,
    ) -> Element {
        let builder = &mut self.lanes.builder;
        let bytes = match stride {
            Stride::Fixed(0) => return row,
            Stride::Fixed(elements) => multiply(builder, index, elements * size as i64),
            Stride::Computed(elements) => {
                let offset = builder.ins().imul(index, elements);
                multiply(builder, offset, size as i64)
            }
            Stride::Irregular => unreachable!("irregular elements have no row"),
        };
        Element { pointer: builder.ins().iadd(row.pointer, bytes), ..row }
    }

    /// The element at the first index of a group, in a row whose index 0 is `row`.
    fn at_group(&mut self, row: Element, stride: Stride, size: usize, group: &Group) -> Element {
        match stride {
            Stride::Fixed(elements) => {
                let first = self.at(row, stride, size, group.index);
                let distance = group.offset * elements * size as i64;
                self.displaced(first.pointer, i64::from(first.displacement) + distance)
            }
            _ => {
                let index = self.index_at(group, 0);
                self.at(row, stride, size, index)
            }
        }
    }

    /// The addresses of an instruction's elements, one for each of the group.
    pub(super) fn elements(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        (buffer, address): (BufferId, &Address),
    ) -> Vec<Element> {
        let (row, stride) = code.rows[&n];
        let size = self.function.buffers[buffer].dtype.size();
        if let Some(steps) = self.steps(code, group, n) {
            let first = self.first_element(code, group, n, (buffer, address));
            let displaced = steps.map(|step| {
                self.displaced(first.pointer, i64::from(first.displacement) + step * size as i64)
            });
            return displaced.to_vec();
        }
        (0..self.lanes.width.elements())
            .map(|place| match stride {
                Stride::Irregular => self.irregular_element(code, group, place, (buffer, address)),
                Stride::Fixed(_) => self.at_group(row, stride, size, group),
                Stride::Computed(_) => {
                    let index = self.index_at(group, place);
                    self.at(row, stride, size, index)
                }
            })
            .collect()
    }

    /// The address of the group's first element.
    fn first_element(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        (buffer, address): (BufferId, &Address),
    ) -> Element {
        match code.rows[&n] {
            (_, Stride::Irregular) => self.irregular_element(code, group, 0, (buffer, address)),
            (row, stride) => {
                let size = self.function.buffers[buffer].dtype.size();
                self.at_group(row, stride, size, group)
            }
        }
    }

    /// The address of one element of the group.
    fn irregular_element(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        place: usize,
        (buffer, address): (BufferId, &Address),
    ) -> Element {
        let index = self.index_at(group, place);
        self.indices.enter(Some((code.axis, index)));
        let element = self.element(buffer, address);
        self.indices.leave();
        element
    }

    /// How many elements each of a vector's elements lies behind the first one, if that is known.
    fn steps(&self, code: &TilesCode<'_>, group: &Group, n: usize) -> Option<[i64; 4]> {
        match (self.lanes.width, code.rows[&n].1, code.body[n].kind.access()?.1) {
            (Width::One, ..) => None,
            (_, Stride::Fixed(stride), _) => Some([0, 1, 2, 3].map(|place| place * stride)),
            (_, Stride::Irregular, Address::Offset(offset)) => {
                offset.steps(code.axis, group.alignment)
            }
            _ => None,
        }
    }

    fn index_at(&mut self, group: &Group, place: usize) -> ir::Value {
        add_constant(&mut self.lanes.builder, group.index, group.offset + place as i64)
    }

    /// The address of the whole group, if its elements lie side by side.
    pub(super) fn vector(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
    ) -> Option<Element> {
        let contiguous = self.steps(code, group, n) == Some([0, 1, 2, 3]);
        let place = code.body[n].kind.access().filter(|_| contiguous)?;
        Some(self.first_element(code, group, n, place))
    }

    /// Emits a load without constraints.
    pub(super) fn load_lane(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        place: (BufferId, &Address),
    ) -> Lane {
        let dtype = code.body[n].dtype;
        if let Some(element) = self.vector(code, group, n) {
            return self.lanes.load_four(dtype, element);
        }
        let elements = self.elements(code, group, n, place);
        let (first, words) = (elements[0], matches!(dtype, DType::F32 | DType::I32));
        match self.steps(code, group, n) {
            Some([0, 0, 0, 0]) => {
                let element = self.lanes.load_one(dtype, first);
                return self.lanes.widen(element);
            }
            Some([0, 2, 4, 6]) if words => return self.lanes.load_every_other(dtype, first),
            Some([0, 0, 1, 1]) if words => return self.lanes.load_pairs(dtype, first),
            _ => {}
        }
        let lanes: Vec<Lane> =
            elements.into_iter().map(|element| self.lanes.load_one(dtype, element)).collect();
        self.lanes.join(&lanes)
    }

    /// Emits a load of which some constraints differ from element to element.
    pub(super) fn load_irregular(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        place: (BufferId, &Address),
        fill: Scalar,
    ) -> Lane {
        let dtype = code.body[n].dtype;
        let constraints = code.guards.irregular(n);
        let width = self.lanes.width;
        let lanes: Vec<Lane> = (0..width.elements())
            .map(|element| {
                let index = self.index_at(group, element);
                let single = Group::new(index);
                self.lanes.width = Width::One;
                let guard = self.guard_at(code, group, element, constraints);
                let lane = self.guarded(dtype, Some((guard, fill)), |this| {
                    this.load_lane(code, &single, n, place)
                });
                self.lanes.width = width;
                lane
            })
            .collect();
        self.lanes.join(&lanes)
    }

    /// Whether constraints hold for one element of the group: 0 or 1.
    fn guard_at(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        place: usize,
        constraints: &[Constraint],
    ) -> ir::Value {
        let index = self.index_at(group, place);
        self.indices.enter(Some((code.axis, index)));
        let guard = self.guard(constraints).expect("there is a constraint");
        self.indices.leave();
        guard
    }

    /// A mask of the elements for which the constraints of an instruction hold; `None` if they
    /// hold for all.
    pub(super) fn inside(
        &mut self,
        code: &TilesCode<'_>,
        cut: &Cut,
        group: &Group,
        n: usize,
    ) -> Option<Lane> {
        let whole = cut.guards.get(&n).map(|&guard| {
            let guard = self.lanes.hold(DType::Bool, Width::One, guard);
            self.lanes.widen(guard)
        });
        let irregular = code.guards.irregular(n);
        if irregular.is_empty() {
            return whole;
        }
        let elements: Vec<Lane> = (0..self.lanes.width.elements())
            .map(|place| {
                let guard = self.guard_at(code, group, place, irregular);
                self.lanes.hold(DType::Bool, Width::One, guard)
            })
            .collect();
        let single = self.lanes.join(&elements);
        Some(whole.map_or(single, |whole| self.lanes.and(whole, single)))
    }

    /// Emits a store.
    pub(super) fn store_lane(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        place: (BufferId, &Address),
        value: Lane,
    ) {
        if let Some(element) = self.vector(code, group, n) {
            self.lanes.store_four(value, element);
            return;
        }
        let elements = self.elements(code, group, n, place);
        for (number, element) in (0u8..).zip(elements) {
            let single = self.lanes.element(value, number);
            self.lanes.store_one(single, element);
        }
    }

    /// Emits a load, a combination and a store.
    pub(super) fn accumulate_lane(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        n: usize,
        place: (BufferId, &Address),
        kind: ReduceKind,
        value: Lane,
    ) {
        let dtype = code.body[n].dtype;
        if let Some(element) = self.vector(code, group, n) {
            let known = self.lanes.load_four(dtype, element);
            let combined = self.lanes.combine(kind, known, value);
            self.lanes.store_four(combined, element);
            return;
        }
        let elements = self.elements(code, group, n, place);
        for (number, element) in (0u8..).zip(elements) {
            let single = self.lanes.element(value, number);
            let known = self.lanes.load_one(dtype, element);
            let combined = self.lanes.combine(kind, known, single);
            self.lanes.store_one(combined, element);
        }
    }

    /// The value of an expression for one element of the group.
    pub(super) fn expression_at(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        place: usize,
        expression: &Expression,
    ) -> ir::Value {
        let index = self.index_at(group, place);
        self.indices.enter(Some((code.axis, index)));
        let value = self.indices.evaluate(&mut self.lanes.builder, expression);
        self.indices.leave();
        value
    }

    /// An index expression as numbers.
    pub(super) fn index_lane(
        &mut self,
        code: &TilesCode<'_>,
        group: &Group,
        expression: &Expression,
        dtype: DType,
    ) -> Lane {
        let width = self.lanes.width;
        if let Width::Four = width
            && let Some(steps) = expression.steps(code.axis, group.alignment)
        {
            let first = self.expression_at(code, group, 0, expression);
            let first = self.index_number(first, DType::I32);
            let first = self.lanes.splat(first);
            let steps = self.lanes.constants(DType::I32, steps.map(|step| step as f64));
            let numbers = self.lanes.add(first, steps);
            return self.lanes.cast(numbers, dtype);
        }
        let elements: Vec<Lane> = (0..width.elements())
            .map(|place| {
                let index = self.expression_at(code, group, place, expression);
                self.index_number(index, dtype)
            })
            .collect();
        self.lanes.join(&elements)
    }

    /// The place in a slot of the group's first element.
    fn slot_element(
        &mut self,
        code: &TilesCode<'_>,
        slot: usize,
        dtype: DType,
        group: &Group,
    ) -> Element {
        let size = slot_size(dtype);
        let row = Element { pointer: code.slot_base(size), displacement: code.slot(slot) };
        self.at_group(row, Stride::Fixed(1), size, group)
    }

    /// Loads a value that an earlier step left in memory.
    pub(super) fn load_home(&mut self, code: &TilesCode<'_>, n: usize, group: &Group) -> Lane {
        let dtype = code.body[n].dtype;
        let (element, held) = match code.plan.homes[&n] {
            Home::Slot(slot) => (self.slot_element(code, slot, dtype, group), dtype_in_slot(dtype)),
            Home::Stored(store) => {
                let (row, stride) = code.rows[&store];
                (self.at_group(row, stride, dtype.size(), group), dtype)
            }
        };
        let lane = match self.lanes.width {
            Width::One => self.lanes.load_one(held, element),
            Width::Four => self.lanes.load_four(held, element),
        };
        self.lanes.cast(lane, dtype)
    }

    /// Leaves a value in a slot.
    pub(super) fn store_slot(
        &mut self,
        code: &TilesCode<'_>,
        slot: usize,
        lane: Lane,
        group: &Group,
    ) {
        let dtype = self.lanes.dtype(lane);
        let element = self.slot_element(code, slot, dtype, group);
        let lane = self.lanes.cast(lane, dtype_in_slot(dtype));
        match self.lanes.width {
            Width::One => self.lanes.store_one(lane, element),
            Width::Four => self.lanes.store_four(lane, element),
        }
    }
}

/// Booleans and bytes lie in slots as 32-bit words.
const fn dtype_in_slot(dtype: DType) -> DType {
    match dtype {
        DType::Bool | DType::U8 => DType::I32,
        _ => dtype,
    }
}
