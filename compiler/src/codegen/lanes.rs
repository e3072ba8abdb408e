//! Arithmetic on one element, or on four at a time.

use cranelift::codegen::ir::{self, ConstantData, Endianness, InstBuilder, MemFlagsData, types};
use cranelift::frontend::FunctionBuilder;
use cranelift::prelude::{FloatCC, IntCC};

use crate::op::lowering::{Lane, Lanes};
use crate::types::{DType, Scalar};

/// How many elements a lane holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Width {
    /// One element, in a scalar register. Booleans are `i8` 0 or 1, bytes are zero-extended
    /// `i32`.
    One,
    /// Four elements: `f32x4`, `i32x4`, or a pair of `f64x2`. Booleans are `i32x4` masks, bytes
    /// are zero-extended `i32x4`.
    Four,
}

impl Width {
    /// Number of elements.
    pub(super) const fn elements(self) -> usize {
        match self {
            Width::One => 1,
            Width::Four => 4,
        }
    }

    /// The type of each part of a lane.
    pub(super) const fn part_type(self, dtype: DType) -> ir::Type {
        match (self, dtype) {
            (Width::One, DType::F32) => types::F32,
            (Width::One, DType::F64) => types::F64,
            (Width::One, DType::I32 | DType::U8) => types::I32,
            (Width::One, DType::Bool) => types::I8,
            (Width::Four, DType::F32) => types::F32X4,
            (Width::Four, DType::F64) => types::F64X2,
            (Width::Four, DType::I32 | DType::U8 | DType::Bool) => types::I32X4,
        }
    }

    /// Number of parts of a lane.
    pub(super) const fn parts(self, dtype: DType) -> usize {
        match (self, dtype) {
            (Width::Four, DType::F64) => 2,
            _ => 1,
        }
    }
}

/// The machine values of a lane; the second part repeats the first where there is only one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) dtype: DType,
    pub(super) width: Width,
    pub(super) parts: [ir::Value; 2],
}

/// Vector bit casts name a byte order; only the element size changes here.
const LITTLE: MemFlagsData = MemFlagsData::new().with_endianness(Endianness::Little);

/// Emits instructions on lanes at the builder's place.
pub(super) struct LaneBuilder<'f> {
    pub(super) builder: FunctionBuilder<'f>,
    /// Elements per lane of the code being emitted.
    pub(super) width: Width,
    held: Vec<Held>,
}

impl<'f> LaneBuilder<'f> {
    pub(super) fn new(builder: FunctionBuilder<'f>) -> LaneBuilder<'f> {
        LaneBuilder { builder, width: Width::One, held: Vec::new() }
    }

    pub(super) fn ins(&mut self) -> impl InstBuilder<'_> {
        self.builder.ins()
    }

    /// A lane of one machine value.
    pub(super) fn hold(&mut self, dtype: DType, width: Width, value: ir::Value) -> Lane {
        self.hold_parts(dtype, width, [value; 2])
    }

    /// A lane of as many machine values as the width takes.
    pub(super) fn hold_parts(&mut self, dtype: DType, width: Width, parts: [ir::Value; 2]) -> Lane {
        self.held.push(Held { dtype, width, parts });
        Lane((self.held.len() - 1) as u32)
    }

    pub(super) fn held(&self, lane: Lane) -> Held {
        self.held[lane.0 as usize]
    }

    /// The machine value of a lane in one part.
    pub(super) fn value(&self, lane: Lane) -> ir::Value {
        self.held(lane).parts[0]
    }

    /// Applies an instruction to each part; the result has the element type `dtype`, which takes
    /// as many parts.
    pub(super) fn map<const N: usize>(
        &mut self,
        dtype: DType,
        operands: [Lane; N],
        instruction: impl Fn(&mut FunctionBuilder<'f>, [ir::Value; N]) -> ir::Value,
    ) -> Lane {
        let first = self.held(operands[0]);
        let mut parts = [None; 2];
        for (part, result) in parts.iter_mut().enumerate().take(first.width.parts(first.dtype)) {
            let values = operands.map(|lane| self.held(lane).parts[part]);
            *result = Some(instruction(&mut self.builder, values));
        }
        let first_part = parts[0].expect("a lane has at least one part");
        self.hold_parts(dtype, first.width, [first_part, parts[1].unwrap_or(first_part)])
    }

    /// A constant vector.
    pub(super) fn vector_constant(&mut self, ty: ir::Type, bytes: Vec<u8>) -> ir::Value {
        let constant = self.builder.func.dfg.constants.insert(ConstantData::from(bytes));
        self.builder.ins().vconst(ty, constant)
    }

    /// Reinterprets a vector.
    pub(super) fn bits(&mut self, ty: ir::Type, value: ir::Value) -> ir::Value {
        if self.builder.func.dfg.value_type(value) == ty {
            return value;
        }
        self.builder.ins().bitcast(ty, LITTLE, value)
    }

    /// The 32-bit words of `a` (0..4) and `b` (4..8) at these places.
    pub(super) fn words(&mut self, a: ir::Value, b: ir::Value, places: [u8; 4]) -> ir::Value {
        let (a, b) = (self.bits(types::I8X16, a), self.bits(types::I8X16, b));
        let bytes: Vec<u8> =
            places.iter().flat_map(|&place| (0..4).map(move |byte| place * 4 + byte)).collect();
        let mask = self.builder.func.dfg.immediates.push(ConstantData::from(bytes));
        let shuffled = self.builder.ins().shuffle(a, b, mask);
        self.bits(types::I32X4, shuffled)
    }

    /// One lane of four elements from a lane of one.
    pub(super) fn splat(&mut self, lane: Lane) -> Lane {
        let Held { dtype, width, parts: [value, _] } = self.held(lane);
        if width == Width::Four {
            return lane;
        }
        let value = match dtype {
            DType::Bool => {
                let wide = self.builder.ins().uextend(types::I32, value);
                self.builder.ins().ineg(wide)
            }
            _ => value,
        };
        let vector = self.builder.ins().splat(Width::Four.part_type(dtype), value);
        self.hold(dtype, Width::Four, vector)
    }

    /// Element `place` of a lane of four, as a lane of one.
    pub(super) fn extract(&mut self, lane: Lane, place: u8) -> Lane {
        let Held { dtype, parts, .. } = self.held(lane);
        let value = match dtype {
            DType::F64 => self.builder.ins().extractlane(parts[usize::from(place / 2)], place % 2),
            DType::Bool => {
                let mask = self.builder.ins().extractlane(parts[0], place);
                let bit = self.builder.ins().band_imm_u(mask, 1);
                self.builder.ins().ireduce(types::I8, bit)
            }
            DType::F32 | DType::I32 | DType::U8 => self.builder.ins().extractlane(parts[0], place),
        };
        self.hold(dtype, Width::One, value)
    }

    /// A lane of four from four lanes of one.
    pub(super) fn gather(&mut self, elements: [Lane; 4]) -> Lane {
        let dtype = self.held(elements[0]).dtype;
        let ty = Width::Four.part_type(dtype);
        let values = elements.map(|element| self.value(element));
        if dtype == DType::F64 {
            let pairs = [[values[0], values[1]], [values[2], values[3]]];
            let parts = pairs.map(|[low, high]| {
                let vector = self.builder.ins().scalar_to_vector(ty, low);
                self.builder.ins().insertlane(vector, high, 1)
            });
            return self.hold_parts(dtype, Width::Four, parts);
        }
        let values = values.map(|value| match dtype {
            DType::Bool => self.builder.ins().uextend(types::I32, value),
            _ => value,
        });
        let mut vector = self.builder.ins().scalar_to_vector(ty, values[0]);
        for (value, place) in values.into_iter().zip(0u8..).skip(1) {
            vector = self.builder.ins().insertlane(vector, value, place);
        }
        if dtype == DType::Bool {
            vector = self.builder.ins().ineg(vector);
        }
        self.hold(dtype, Width::Four, vector)
    }

    /// A lane of the current width from a lane of one.
    pub(super) fn widen(&mut self, lane: Lane) -> Lane {
        match self.width {
            Width::One => lane,
            Width::Four => self.splat(lane),
        }
    }

    /// A lane of the current width from as many lanes of one.
    pub(super) fn join(&mut self, elements: &[Lane]) -> Lane {
        match *elements {
            [element] => element,
            [a, b, c, d] => self.gather([a, b, c, d]),
            _ => unreachable!("a lane has one element or four"),
        }
    }

    /// An element of a lane of any width, as a lane of one.
    pub(super) fn element(&mut self, lane: Lane, place: u8) -> Lane {
        match self.held(lane).width {
            Width::One => lane,
            Width::Four => self.extract(lane, place),
        }
    }

    /// A constant that need not be four times the same.
    pub(super) fn constants(&mut self, dtype: DType, values: [f64; 4]) -> Lane {
        let bytes = |values: &[f64]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|&value| {
                    let value = Scalar::new(dtype, value).value();
                    match dtype {
                        DType::F32 => (value as f32).to_le_bytes().to_vec(),
                        DType::F64 => value.to_le_bytes().to_vec(),
                        DType::I32 | DType::U8 => (value as i32).to_le_bytes().to_vec(),
                        DType::Bool => (-(value as i32)).to_le_bytes().to_vec(),
                    }
                })
                .collect()
        };
        let ty = Width::Four.part_type(dtype);
        if dtype == DType::F64 {
            let low = self.vector_constant(ty, bytes(&values[..2]));
            let high = self.vector_constant(ty, bytes(&values[2..]));
            return self.hold_parts(dtype, Width::Four, [low, high]);
        }
        let vector = self.vector_constant(ty, bytes(&values));
        self.hold(dtype, Width::Four, vector)
    }

    /// A constant in a scalar register.
    pub(super) fn scalar_constant(&mut self, value: Scalar) -> ir::Value {
        let ty = Width::One.part_type(value.dtype);
        match value.dtype {
            DType::F32 => self.builder.ins().f32const(value.value() as f32),
            DType::F64 => self.builder.ins().f64const(value.value()),
            DType::I32 | DType::U8 | DType::Bool => {
                self.builder.ins().iconst(ty, value.value() as i64)
            }
        }
    }

    /// The comparison of two numbers, as a mask of as many parts.
    fn compare(&mut self, float: FloatCC, int: IntCC, a: Lane, b: Lane) -> Lane {
        let dtype = self.held(a).dtype;
        let compared = self.map(dtype, [a, b], |builder, [a, b]| {
            if dtype.is_float() {
                builder.ins().fcmp(float, a, b)
            } else {
                builder.ins().icmp(int, a, b)
            }
        });
        self.masked(compared)
    }

    /// A mask from the machine's result of a comparison.
    pub(super) fn masked(&mut self, compared: Lane) -> Lane {
        let Held { width, parts, .. } = self.held(compared);
        let mask = if parts[0] == parts[1] || width == Width::One {
            parts[0]
        } else {
            self.words(parts[0], parts[1], [0, 2, 4, 6])
        };
        self.hold(DType::Bool, width, mask)
    }

    /// A mask in as many parts, and of the same machine type, as a lane of `dtype`; for lanes of
    /// four.
    fn widened(&mut self, mask: ir::Value, dtype: DType) -> [ir::Value; 2] {
        if dtype == DType::F64 {
            [[0, 0, 1, 1], [2, 2, 3, 3]].map(|places| {
                let words = self.words(mask, mask, places);
                self.bits(types::F64X2, words)
            })
        } else {
            [self.bits(Width::Four.part_type(dtype), mask); 2]
        }
    }
}

impl Lanes for LaneBuilder<'_> {
    fn dtype(&self, lane: Lane) -> DType {
        self.held(lane).dtype
    }

    fn constant(&mut self, dtype: DType, value: f64) -> Lane {
        match self.width {
            Width::One => {
                let constant = self.scalar_constant(Scalar::new(dtype, value));
                self.hold(dtype, Width::One, constant)
            }
            Width::Four => self.constants(dtype, [value; 4]),
        }
    }

    fn add(&mut self, a: Lane, b: Lane) -> Lane {
        let dtype = self.dtype(a);
        self.map(dtype, [a, b], |builder, [a, b]| {
            if dtype.is_float() { builder.ins().fadd(a, b) } else { builder.ins().iadd(a, b) }
        })
    }

    fn sub(&mut self, a: Lane, b: Lane) -> Lane {
        let dtype = self.dtype(a);
        self.map(dtype, [a, b], |builder, [a, b]| {
            if dtype.is_float() { builder.ins().fsub(a, b) } else { builder.ins().isub(a, b) }
        })
    }

    fn mul(&mut self, a: Lane, b: Lane) -> Lane {
        let dtype = self.dtype(a);
        self.map(dtype, [a, b], |builder, [a, b]| {
            if dtype.is_float() { builder.ins().fmul(a, b) } else { builder.ins().imul(a, b) }
        })
    }

    fn div(&mut self, a: Lane, b: Lane) -> Lane {
        self.map(self.dtype(a), [a, b], |builder, [a, b]| builder.ins().fdiv(a, b))
    }

    fn neg(&mut self, a: Lane) -> Lane {
        let dtype = self.dtype(a);
        self.map(dtype, [a], |builder, [a]| {
            if dtype.is_float() { builder.ins().fneg(a) } else { builder.ins().ineg(a) }
        })
    }

    fn abs(&mut self, a: Lane) -> Lane {
        let dtype = self.dtype(a);
        self.map(dtype, [a], |builder, [a]| {
            if dtype.is_float() { builder.ins().fabs(a) } else { builder.ins().iabs(a) }
        })
    }

    fn sqrt(&mut self, a: Lane) -> Lane {
        self.map(self.dtype(a), [a], |builder, [a]| builder.ins().sqrt(a))
    }

    fn floor(&mut self, a: Lane) -> Lane {
        self.map(self.dtype(a), [a], |builder, [a]| builder.ins().floor(a))
    }

    fn less(&mut self, a: Lane, b: Lane) -> Lane {
        if self.dtype(a) == DType::Bool {
            let above = self.not(a);
            return self.and(above, b);
        }
        self.compare(FloatCC::LessThan, IntCC::SignedLessThan, a, b)
    }

    fn equal(&mut self, a: Lane, b: Lane) -> Lane {
        self.compare(FloatCC::Equal, IntCC::Equal, a, b)
    }

    fn not(&mut self, a: Lane) -> Lane {
        let width = self.held(a).width;
        self.map(DType::Bool, [a], |builder, [a]| match width {
            Width::One => builder.ins().bxor_imm_u(a, 1),
            Width::Four => builder.ins().bnot(a),
        })
    }

    fn and(&mut self, a: Lane, b: Lane) -> Lane {
        self.map(DType::Bool, [a, b], |builder, [a, b]| builder.ins().band(a, b))
    }

    fn or(&mut self, a: Lane, b: Lane) -> Lane {
        self.map(DType::Bool, [a, b], |builder, [a, b]| builder.ins().bor(a, b))
    }

    fn select(&mut self, condition: Lane, yes: Lane, no: Lane) -> Lane {
        let Held { dtype, width, .. } = self.held(yes);
        let mask = self.value(condition);
        match width {
            Width::One => {
                self.map(dtype, [yes, no], |builder, [yes, no]| builder.ins().select(mask, yes, no))
            }
            Width::Four => {
                let masks = self.widened(mask, dtype);
                let mask = self.hold_parts(dtype, width, masks);
                self.map(dtype, [yes, no, mask], |builder, [yes, no, mask]| {
                    builder.ins().bitselect(mask, yes, no)
                })
            }
        }
    }
}
