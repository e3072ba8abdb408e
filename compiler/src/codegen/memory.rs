//! Loads and stores.

use cranelift::codegen::ir::{self, BlockArg, InstBuilder, types};
use cranelift::prelude::IntCC;

use super::abi;
use super::function::{MEMORY, Translator};
use super::indices::multiply;
use super::lanes::{Held, LaneBuilder, Width};
use crate::index::{Atom, Expression};
use crate::kernel::loops::{Address, AxisId, BufferId};
use crate::op::indexing::missing;
use crate::op::lowering::{Lane, Lanes};
use crate::types::{DType, Scalar};

/// An address: a register and a constant displacement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) pointer: ir::Value,
    pub(super) displacement: i32,
}

/// Where a computed index leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Indexed {
    /// Bytes from the element at index 0.
    pub(super) bytes: ir::Value,
    /// Whether the index lies inside, as a lane of one.
    pub(super) inside: Lane,
}

/// Distance between the elements of neighbouring indices.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stride {
    /// So many elements.
    Fixed(i64),
    /// A number of elements that is known when the function runs.
    Computed(ir::Value),
    /// It differs from index to index.
    Irregular,
}

impl Translator<'_> {
    /// An element whose index is fixed along all axes.
    pub(super) fn element(&mut self, buffer: BufferId, address: &Address) -> Element {
        match address {
            Address::Offset(expression) => self.offset(buffer, expression),
            Address::Tile => self.tile_element(buffer),
        }
    }

    /// The element at an offset; terms of axes that do not run count as zero.
    pub(super) fn offset(&mut self, buffer: BufferId, expression: &Expression) -> Element {
        let size = self.function.buffers[buffer].dtype.size();
        let (base, place) = self.places[buffer];
        let pointer =
            self.indices.pointer(&mut self.lanes.builder, base, size.trailing_zeros(), expression);
        self.displaced(pointer, place + expression.offset() * size as i64)
    }

    /// An address with a displacement of any size.
    pub(super) fn displaced(&mut self, pointer: ir::Value, displacement: i64) -> Element {
        match i32::try_from(displacement) {
            // Room is left for the elements after this one in a few vectors.
            Ok(displacement) if displacement < i32::MAX - 4096 => Element { pointer, displacement },
            _ => {
                let pointer = self.lanes.ins().iadd_imm_s(pointer, displacement);
                Element { pointer, displacement: 0 }
            }
        }
    }

    /// The numbers of a region function's row axis, and of the axis whose neighbours are
    /// neighbouring columns.
    fn tile_axes(&self) -> (AxisId, AxisId) {
        let region = self.region.expect("verified: a tile belongs to a region function");
        let columns = region.batch_axes + 1 + usize::from(region.block.is_some());
        (region.batch_axes, columns)
    }

    /// The running column of a region function; without an index within its block, the block's
    /// first.
    fn tile_column(&mut self) -> Option<ir::Value> {
        let (_, axis) = self.tile_axes();
        let index = self.indices.index(axis);
        let Some(width) = self.region?.block else { return index };
        let block = self.indices.index(axis - 1)?;
        let builder = &mut self.lanes.builder;
        let first = builder.ins().imul_imm_s(block, width as i64);
        Some(index.map_or(first, |index| builder.ins().iadd(first, index)))
    }

    /// The running element of the tile; a missing row or column counts as index 0 of the whole
    /// matrix.
    fn tile_element(&mut self, buffer: BufferId) -> Element {
        let size = self.function.buffers[buffer].dtype.size() as i64;
        let region = self.region.expect("verified: a tile belongs to a region function");
        let row = self.indices.index(region.batch_axes);
        let row = self.tile_index(row, abi::region::ROW_START);
        let column = self.tile_column();
        let column = self.tile_index(column, abi::region::COLUMN_START);
        let builder = &mut self.lanes.builder;
        let rows = builder.ins().imul(row, region.tile_stride);
        let offset = builder.ins().iadd(rows, column);
        let bytes = builder.ins().ishl_imm_u(offset, i64::from(size.trailing_zeros()));
        let pointer = builder.ins().iadd(region.tile, bytes);
        Element { pointer, displacement: 0 }
    }

    /// A row or column of the matrix as one of the region, which starts at a field's value.
    fn tile_index(&mut self, index: Option<ir::Value>, start: i32) -> ir::Value {
        let start = self.region_field(start);
        match index {
            Some(index) => self.lanes.ins().isub(index, start),
            None => self.lanes.ins().ineg(start),
        }
    }

    /// The element at index 0 of an axis that does not run yet, and the distance to the next;
    /// irregular ones have terms of the axis left over. `piece` tells that the axis will run from
    /// this index, a multiple of this number, to the next multiple at most.
    pub(super) fn row(
        &mut self,
        buffer: BufferId,
        address: &Address,
        axis: AxisId,
        piece: Option<(usize, ir::Value)>,
    ) -> (Element, Stride) {
        match address {
            Address::Offset(expression) => {
                let fixed = without_axis(expression, axis);
                let first = self.offset(buffer, &fixed);
                if let Some(stride) = expression.stride(axis) {
                    return (first, Stride::Fixed(stride));
                }
                let within = piece.and_then(|(chunk, start)| {
                    Some((place_in_piece(expression, axis, chunk)?, start))
                });
                let Some((stride, start)) = within else { return (first, Stride::Irregular) };
                // The piece's first index has place 0.
                let size = self.function.buffers[buffer].dtype.size() as i64;
                let builder = &mut self.lanes.builder;
                let before = multiply(builder, start, stride * size);
                let pointer = builder.ins().isub(first.pointer, before);
                (Element { pointer, ..first }, Stride::Fixed(stride))
            }
            Address::Tile => {
                let (rows, columns) = self.tile_axes();
                let start = self.tile_element(buffer);
                let region = self.region.expect("verified: a tile belongs to a region function");
                let stride = if axis == rows {
                    Stride::Computed(region.tile_stride)
                } else if axis == columns {
                    Stride::Fixed(1)
                } else {
                    Stride::Fixed(0)
                };
                (start, stride)
            }
        }
    }

    /// Where an index leads, in elements of `dtype` of which neighbours are `stride` apart: to
    /// index 0 if it lies outside `0..extent`.
    pub(super) fn indexed(
        &mut self,
        dtype: DType,
        index: Lane,
        stride: usize,
        extent: usize,
    ) -> Indexed {
        let index = self.lanes.value(index);
        let builder = &mut self.lanes.builder;
        // As an unsigned number, a negative index is larger than any extent.
        let end = builder.ins().iconst(types::I32, extent as i64);
        let inside = builder.ins().icmp(IntCC::UnsignedLessThan, index, end);
        let index = builder.ins().uextend(types::I64, index);
        let zero = builder.ins().iconst(types::I64, 0);
        let index = builder.ins().select(inside, index, zero);
        let bytes = multiply(builder, index, (stride * dtype.size()) as i64);
        Indexed { bytes, inside: self.lanes.hold(DType::Bool, Width::One, inside) }
    }

    /// The element that an index leads to, `first` being the one at index 0.
    pub(super) fn gather_one(&mut self, dtype: DType, first: Element, indexed: Indexed) -> Lane {
        let element = self.indexed_element(first, indexed);
        let lane = self.lanes.load_one(dtype, element);
        let missing = self.lanes.scalar_constant(Scalar::new(dtype, missing(dtype)));
        let missing = self.lanes.hold(dtype, Width::One, missing);
        self.lanes.select(indexed.inside, lane, missing)
    }

    /// The address of the element that an index leads to.
    pub(super) fn indexed_element(&mut self, first: Element, indexed: Indexed) -> Element {
        let pointer = self.lanes.ins().iadd(first.pointer, indexed.bytes);
        Element { pointer, ..first }
    }

    /// What `load` gives if the guard (0 or 1) holds, else the fill value; `load` is reached only
    /// if the guard holds.
    pub(super) fn guarded(
        &mut self,
        dtype: DType,
        guard: Option<(ir::Value, Scalar)>,
        load: impl FnOnce(&mut Self) -> Lane,
    ) -> Lane {
        let Some((guard, fill)) = guard else { return load(self) };
        let width = self.lanes.width;
        let fill = self.lanes.constant(dtype, fill.value());
        let builder = &mut self.lanes.builder;
        let inside = builder.create_block();
        let joined = builder.create_block();
        let parts = width.parts(dtype);
        let results: Vec<ir::Value> = (0..parts)
            .map(|_| builder.append_block_param(joined, width.part_type(dtype)))
            .collect();
        let arguments = |held: Held| {
            held.parts[..parts].iter().map(|&v| BlockArg::Value(v)).collect::<Vec<_>>()
        };
        let fill = arguments(self.lanes.held(fill));
        let builder = &mut self.lanes.builder;
        builder.ins().brif(guard, inside, &[], joined, &fill);
        builder.seal_block(inside);
        builder.switch_to_block(inside);
        self.indices.enter(None);
        let loaded = load(self);
        self.indices.leave();
        let loaded = arguments(self.lanes.held(loaded));
        let builder = &mut self.lanes.builder;
        builder.ins().jump(joined, &loaded);
        builder.seal_block(joined);
        builder.switch_to_block(joined);
        self.lanes.hold_parts(dtype, width, [results[0], results[parts - 1]])
    }
}

/// The expression's terms that do not depend on an axis.
pub(super) fn without_axis(expression: &Expression, axis: AxisId) -> Expression {
    let fixed = expression.part(|atom| !depends(atom, axis));
    fixed.plus(&Expression::constant(expression.offset()))
}

/// The distance between neighbours in an expression that depends on an axis by its place in pieces
/// of so many indices only.
fn place_in_piece(expression: &Expression, axis: AxisId, chunk: usize) -> Option<i64> {
    let mut terms = expression.terms().iter().filter(|(atom, _)| depends(atom, axis));
    let (Atom::Remainder(index, divisor), stride) = terms.next()? else { return None };
    let places = **index == Expression::axis(axis) && *divisor == chunk as i64;
    (places && terms.next().is_none()).then_some(*stride)
}

fn depends(atom: &Atom, axis: AxisId) -> bool {
    match atom {
        Atom::Axis(known) => *known == axis,
        Atom::Quotient(inner, _) | Atom::Remainder(inner, _) => inner.depends_on(axis),
    }
}

impl LaneBuilder<'_> {
    /// Loads one element.
    pub(super) fn load_one(&mut self, dtype: DType, element: Element) -> Lane {
        let Element { pointer, displacement } = element;
        let flags = MEMORY.with_aligned();
        let value = match dtype {
            DType::U8 => self.builder.ins().uload8(types::I32, flags, pointer, displacement),
            _ => {
                let ty = Width::One.part_type(dtype);
                self.builder.ins().load(ty, flags, pointer, displacement)
            }
        };
        self.hold(dtype, Width::One, value)
    }

    /// Stores a lane of one element.
    pub(super) fn store_one(&mut self, lane: Lane, element: Element) {
        let Held { dtype, parts: [value, _], .. } = self.held(lane);
        let Element { pointer, displacement } = element;
        let flags = MEMORY.with_aligned();
        match dtype {
            DType::U8 => self.builder.ins().istore8(flags, value, pointer, displacement),
            _ => self.builder.ins().store(flags, value, pointer, displacement),
        };
    }

    /// Loads four neighbouring elements.
    pub(super) fn load_four(&mut self, dtype: DType, element: Element) -> Lane {
        let Element { pointer, displacement } = element;
        let ty = Width::Four.part_type(dtype);
        match dtype {
            DType::F32 | DType::I32 => {
                let vector = self.builder.ins().load(ty, MEMORY, pointer, displacement);
                self.hold(dtype, Width::Four, vector)
            }
            DType::F64 => {
                let parts = [0, 16]
                    .map(|half| self.builder.ins().load(ty, MEMORY, pointer, displacement + half));
                self.hold_parts(dtype, Width::Four, parts)
            }
            DType::U8 | DType::Bool => {
                let bytes = self.builder.ins().load(types::I32, MEMORY, pointer, displacement);
                let vector = self.builder.ins().scalar_to_vector(types::I32X4, bytes);
                let vector = self.bits(types::I8X16, vector);
                let vector = self.builder.ins().uwiden_low(vector);
                let mut vector = self.builder.ins().uwiden_low(vector);
                if dtype == DType::Bool {
                    vector = self.builder.ins().ineg(vector);
                }
                self.hold(dtype, Width::Four, vector)
            }
        }
    }

    /// Loads four elements of 32 bits that lie two apart. Nothing behind the last one is read.
    pub(super) fn load_every_other(&mut self, dtype: DType, element: Element) -> Lane {
        let Element { pointer, displacement } = element;
        let ty = Width::Four.part_type(dtype);
        let [low, high] = [0, 12]
            .map(|distance| self.builder.ins().load(ty, MEMORY, pointer, displacement + distance));
        let words = self.words(low, high, [0, 2, 5, 7]);
        let vector = self.bits(ty, words);
        self.hold(dtype, Width::Four, vector)
    }

    /// Loads two elements of 32 bits that lie side by side, each to two places.
    pub(super) fn load_pairs(&mut self, dtype: DType, element: Element) -> Lane {
        let Element { pointer, displacement } = element;
        let both = self.builder.ins().load(types::F64, MEMORY, pointer, displacement);
        let both = self.builder.ins().scalar_to_vector(types::F64X2, both);
        let words = self.words(both, both, [0, 0, 1, 1]);
        let vector = self.bits(Width::Four.part_type(dtype), words);
        self.hold(dtype, Width::Four, vector)
    }

    /// Stores a lane of four elements side by side.
    pub(super) fn store_four(&mut self, lane: Lane, element: Element) {
        let Held { dtype, parts, .. } = self.held(lane);
        let Element { pointer, displacement } = element;
        match dtype {
            DType::F32 | DType::I32 => {
                self.builder.ins().store(MEMORY, parts[0], pointer, displacement);
            }
            DType::F64 => {
                self.builder.ins().store(MEMORY, parts[0], pointer, displacement);
                self.builder.ins().store(MEMORY, parts[1], pointer, displacement + 16);
            }
            DType::U8 | DType::Bool => {
                let words = match dtype {
                    DType::Bool => self.builder.ins().ineg(parts[0]),
                    _ => parts[0],
                };
                let halves = self.builder.ins().snarrow(words, words);
                let bytes = self.builder.ins().unarrow(halves, halves);
                let bytes = self.bits(types::I32X4, bytes);
                let bytes = self.builder.ins().extractlane(bytes, 0);
                self.builder.ins().store(MEMORY, bytes, pointer, displacement);
            }
        }
    }
}
