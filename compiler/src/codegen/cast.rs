//! Conversions between element types.

use cranelift::codegen::ir::{InstBuilder, types};
use cranelift::prelude::{FloatCC, IntCC};

use super::lanes::{Held, LaneBuilder, Width};
use crate::op::lowering::{Lane, Lanes};
use crate::types::DType;

impl LaneBuilder<'_> {
    /// Conversion as [`crate::op::Cast`] describes it.
    pub(super) fn cast(&mut self, lane: Lane, to: DType) -> Lane {
        let from = self.dtype(lane);
        if from == to {
            return lane;
        }
        match to {
            DType::F32 | DType::F64 => match from {
                DType::F32 => self.promote(lane),
                DType::F64 => self.demote(lane),
                _ => {
                    let integer = self.integer(lane);
                    self.float_of_integer(integer, to)
                }
            },
            DType::I32 => self.integer(lane),
            DType::U8 => {
                let integer = self.integer(lane);
                self.clamp_to_byte(integer)
            }
            DType::Bool => self.differs_from_zero(lane),
        }
    }

    /// f32 to f64.
    fn promote(&mut self, lane: Lane) -> Lane {
        let Held { width, parts: [value, _], .. } = self.held(lane);
        match width {
            Width::One => {
                let wide = self.builder.ins().fpromote(types::F64, value);
                self.hold(DType::F64, width, wide)
            }
            Width::Four => {
                let upper = self.words(value, value, [2, 3, 2, 3]);
                let upper = self.bits(types::F32X4, upper);
                let parts = [value, upper].map(|half| self.builder.ins().fvpromote_low(half));
                self.hold_parts(DType::F64, width, parts)
            }
        }
    }

    /// f64 to f32, to nearest.
    fn demote(&mut self, lane: Lane) -> Lane {
        let Held { width, parts, .. } = self.held(lane);
        match width {
            Width::One => {
                let narrow = self.builder.ins().fdemote(types::F32, parts[0]);
                self.hold(DType::F32, width, narrow)
            }
            Width::Four => {
                let [low, high] = parts.map(|half| self.builder.ins().fvdemote(half));
                let both = self.words(low, high, [0, 1, 4, 5]);
                let both = self.bits(types::F32X4, both);
                self.hold(DType::F32, width, both)
            }
        }
    }

    /// Anything to i32; floats truncate and saturate, NaN gives 0.
    fn integer(&mut self, lane: Lane) -> Lane {
        let Held { dtype, width, parts } = self.held(lane);
        let value = match (dtype, width) {
            (DType::I32 | DType::U8, _) => parts[0],
            (DType::Bool, Width::One) => self.builder.ins().uextend(types::I32, parts[0]),
            (DType::Bool, Width::Four) => self.builder.ins().ineg(parts[0]),
            (DType::F32 | DType::F64, Width::One) => {
                self.builder.ins().fcvt_to_sint_sat(types::I32, parts[0])
            }
            (DType::F32, Width::Four) => {
                self.builder.ins().fcvt_to_sint_sat(types::I32X4, parts[0])
            }
            (DType::F64, Width::Four) => {
                let elements = [0, 1, 2, 3].map(|place| {
                    let element = self.extract(lane, place);
                    self.integer(element)
                });
                let gathered = self.gather(elements);
                self.value(gathered)
            }
        };
        self.hold(DType::I32, width, value)
    }

    fn float_of_integer(&mut self, lane: Lane, to: DType) -> Lane {
        let Held { width, parts: [value, _], .. } = self.held(lane);
        if to == DType::F64 && width == Width::Four {
            let upper = self.words(value, value, [2, 3, 2, 3]);
            let parts = [value, upper].map(|half| {
                let wide = self.builder.ins().swiden_low(half);
                self.builder.ins().fcvt_from_sint(types::F64X2, wide)
            });
            return self.hold_parts(to, width, parts);
        }
        let converted = self.builder.ins().fcvt_from_sint(width.part_type(to), value);
        self.hold(to, width, converted)
    }

    fn clamp_to_byte(&mut self, lane: Lane) -> Lane {
        let width = self.held(lane).width;
        let outer = std::mem::replace(&mut self.width, width);
        let bounds = [0.0, 255.0].map(|bound| self.constant(DType::I32, bound));
        self.width = outer;
        self.map(DType::U8, [lane, bounds[0], bounds[1]], |builder, [value, low, high]| {
            let above = builder.ins().smax(value, low);
            builder.ins().smin(above, high)
        })
    }

    /// Whether a number is not 0; NaN is not.
    fn differs_from_zero(&mut self, lane: Lane) -> Lane {
        let Held { dtype, width, .. } = self.held(lane);
        let outer = std::mem::replace(&mut self.width, width);
        let zero = self.constant(dtype, 0.0);
        self.width = outer;
        let compared = self.map(dtype, [lane, zero], |builder, [value, zero]| {
            if dtype.is_float() {
                builder.ins().fcmp(FloatCC::NotEqual, value, zero)
            } else {
                builder.ins().icmp(IntCC::NotEqual, value, zero)
            }
        });
        self.masked(compared)
    }
}
