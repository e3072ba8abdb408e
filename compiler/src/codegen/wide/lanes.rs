//! Lowerings of elementwise functions to wide vectors.

use super::assembler::Opcode;
use super::program::{Comparison, Invariant, MaskOperation, Operation, Program, ValueId};
use crate::op::ReduceKind;
use crate::op::lowering::{Lane, Lanes};
use crate::types::{DType, Scalar};

/// Rounds down, without an exception for what is not an integer.
const ROUND_DOWN: u8 = 0x9;

/// Records operations on lanes as a program. Lanes of booleans are masks, all others vectors of 32-bit
/// words; bytes are held as integers.
///
/// What has other elements (f64) makes the program [unsupported](WideLanes::is_supported);
/// it must not be used then.
pub(in crate::codegen) struct WideLanes {
    pub(in crate::codegen) program: Program,
    lanes: Vec<(DType, ValueId)>,
    supported: bool,
}

impl WideLanes {
    pub(in crate::codegen) fn new() -> WideLanes {
        WideLanes { program: Program::new(), lanes: Vec::new(), supported: true }
    }

    /// Whether all that was recorded can be computed.
    pub(in crate::codegen) fn is_supported(&self) -> bool {
        self.supported
    }

    /// A lane of a value that the program computes.
    pub(in crate::codegen) fn hold(&mut self, dtype: DType, value: ValueId) -> Lane {
        self.supported &= dtype != DType::F64;
        self.lanes.push((dtype, value));
        Lane(self.lanes.len() as u32 - 1)
    }

    pub(in crate::codegen) fn value(&self, lane: Lane) -> ValueId {
        self.lanes[lane.0 as usize].1
    }

    fn bits(&mut self, bits: u32) -> ValueId {
        self.program.invariant(Invariant::Constant(bits))
    }

    fn compute(&mut self, dtype: DType, operation: Operation) -> Lane {
        let value = self.program.compute(operation);
        self.hold(dtype, value)
    }

    fn unary(&mut self, dtype: DType, opcode: Opcode, constant: Option<u8>, a: Lane) -> Lane {
        let a = self.value(a);
        self.compute(dtype, Operation::Unary(opcode, constant, a))
    }

    /// An operation on two numbers, by different instructions for floats and integers.
    fn binary(&mut self, [float, integer]: [Opcode; 2], a: Lane, b: Lane) -> Lane {
        let dtype = self.dtype(a);
        let opcode = if dtype.is_float() { float } else { integer };
        let (a, b) = (self.value(a), self.value(b));
        self.compute(dtype, Operation::Binary(opcode, a, b))
    }

    /// A comparison of two numbers, one of floats or one of integers.
    fn compare(&mut self, [float, integer]: [Comparison; 2], a: Lane, b: Lane) -> Lane {
        let comparison = if self.dtype(a).is_float() { float } else { integer };
        let (a, b) = (self.value(a), self.value(b));
        self.compute(DType::Bool, Operation::Compare(comparison, a, b))
    }

    fn mask(&mut self, operation: MaskOperation, a: Lane, b: Lane) -> Lane {
        let (a, b) = (self.value(a), self.value(b));
        self.compute(DType::Bool, Operation::Mask(operation, a, b))
    }

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
            ReduceKind::Max if self.dtype(value).is_float() => {
                let (known, value) = (self.value(known), self.value(value));
                self.compute(DType::F32, Operation::Max(known, value))
            }
            ReduceKind::Max => self.binary([Opcode::VPMAXSD; 2], known, value),
        }
    }

    /// Conversion as [`crate::op::Cast`] describes it.
    pub(in crate::codegen) fn cast(&mut self, lane: Lane, to: DType) -> Lane {
        let from = self.dtype(lane);
        if from == to {
            return lane;
        }
        match to {
            DType::F64 => {
                self.supported = false;
                lane
            }
            DType::F32 if from == DType::Bool => {
                let one = self.bits(1f32.to_bits());
                let mask = self.value(lane);
                self.compute(to, Operation::Keep(mask, one))
            }
            DType::F32 => self.unary(to, Opcode::VCVTDQ2PS, None, lane),
            DType::I32 => self.integer(lane),
            DType::U8 => {
                let integer = self.integer(lane);
                let [low, high] = [0, 255].map(|bound| self.bits(bound));
                let integer = self.value(integer);
                let above = self.program.compute(Operation::Binary(Opcode::VPMAXSD, integer, low));
                self.compute(to, Operation::Binary(Opcode::VPMINSD, above, high))
            }
            DType::Bool => {
                let zero = self.bits(0);
                let zero = self.hold(from, zero);
                if from.is_float() {
                    return self.compare([Comparison::FloatNotEqual; 2], lane, zero);
                }
                let is_zero = self.equal(lane, zero);
                self.not(is_zero)
            }
        }
    }

    /// Anything to i32; floats truncate and saturate, NaN gives 0.
    fn integer(&mut self, lane: Lane) -> Lane {
        let value = self.value(lane);
        match self.dtype(lane) {
            DType::I32 | DType::U8 => self.hold(DType::I32, value),
            DType::Bool => {
                let one = self.bits(1);
                self.compute(DType::I32, Operation::Keep(value, one))
            }
            // What does not fit becomes the smallest integer.
            DType::F32 => {
                let truncated = self.unary(DType::I32, Opcode::VCVTTPS2DQ, None, lane);
                let largest = self.bits(i32::MAX.cast_unsigned());
                let largest = self.hold(DType::I32, largest);
                let limit = self.constant(DType::F32, -f64::from(i32::MIN));
                let above = self.less_equal(limit, lane);
                let bounded = self.select(above, largest, truncated);
                let number = self.equal(lane, lane);
                let (number, bounded) = (self.value(number), self.value(bounded));
                self.compute(DType::I32, Operation::Keep(number, bounded))
            }
            DType::F64 => {
                self.supported = false;
                lane
            }
        }
    }
}

impl Lanes for WideLanes {
    fn dtype(&self, lane: Lane) -> DType {
        self.lanes[lane.0 as usize].0
    }

    fn constant(&mut self, dtype: DType, value: f64) -> Lane {
        let value = Scalar::new(dtype, value).value();
        let value = match dtype {
            DType::Bool => self.program.invariant(Invariant::Always(value != 0.0)),
            DType::I32 | DType::U8 => self.bits((value as i32).cast_unsigned()),
            DType::F32 | DType::F64 => self.bits((value as f32).to_bits()),
        };
        self.hold(dtype, value)
    }

    fn add(&mut self, a: Lane, b: Lane) -> Lane {
        self.binary([Opcode::VADDPS, Opcode::VPADDD], a, b)
    }

    fn sub(&mut self, a: Lane, b: Lane) -> Lane {
        self.binary([Opcode::VSUBPS, Opcode::VPSUBD], a, b)
    }

    fn mul(&mut self, a: Lane, b: Lane) -> Lane {
        self.binary([Opcode::VMULPS, Opcode::VPMULLD], a, b)
    }

    fn div(&mut self, a: Lane, b: Lane) -> Lane {
        self.binary([Opcode::VDIVPS; 2], a, b)
    }

    fn neg(&mut self, a: Lane) -> Lane {
        let dtype = self.dtype(a);
        let value = self.value(a);
        match dtype.is_float() {
            true => {
                let sign = self.bits(1 << 31);
                self.compute(dtype, Operation::Binary(Opcode::VPXORD, value, sign))
            }
            false => {
                let zero = self.bits(0);
                self.compute(dtype, Operation::Binary(Opcode::VPSUBD, zero, value))
            }
        }
    }

    fn abs(&mut self, a: Lane) -> Lane {
        let dtype = self.dtype(a);
        match dtype.is_float() {
            true => {
                let (value, others) = (self.value(a), self.bits(!(1 << 31)));
                self.compute(dtype, Operation::Binary(Opcode::VPANDD, value, others))
            }
            false => self.unary(dtype, Opcode::VPABSD, None, a),
        }
    }

    fn sqrt(&mut self, a: Lane) -> Lane {
        self.unary(self.dtype(a), Opcode::VSQRTPS, None, a)
    }

    fn floor(&mut self, a: Lane) -> Lane {
        self.unary(self.dtype(a), Opcode::VRNDSCALEPS, Some(ROUND_DOWN), a)
    }

    fn less(&mut self, a: Lane, b: Lane) -> Lane {
        match self.dtype(a) {
            DType::Bool => self.mask(MaskOperation::AndNot, a, b),
            _ => self.compare([Comparison::FloatLess, Comparison::IntegerLess], a, b),
        }
    }

    fn less_equal(&mut self, a: Lane, b: Lane) -> Lane {
        if self.dtype(a).is_float() {
            return self.compare([Comparison::FloatLessEqual; 2], a, b);
        }
        let less = self.less(a, b);
        let equal = self.equal(a, b);
        self.or(less, equal)
    }

    fn equal(&mut self, a: Lane, b: Lane) -> Lane {
        match self.dtype(a) {
            DType::Bool => self.mask(MaskOperation::Same, a, b),
            _ => self.compare([Comparison::FloatEqual, Comparison::IntegerEqual], a, b),
        }
    }

    fn not(&mut self, a: Lane) -> Lane {
        let all = self.program.invariant(Invariant::Always(true));
        let all = self.hold(DType::Bool, all);
        self.mask(MaskOperation::AndNot, a, all)
    }

    fn and(&mut self, a: Lane, b: Lane) -> Lane {
        self.mask(MaskOperation::And, a, b)
    }

    fn or(&mut self, a: Lane, b: Lane) -> Lane {
        self.mask(MaskOperation::Or, a, b)
    }

    fn select(&mut self, condition: Lane, yes: Lane, no: Lane) -> Lane {
        match self.dtype(yes) {
            DType::Bool => {
                let yes = self.and(condition, yes);
                let no = self.mask(MaskOperation::AndNot, condition, no);
                self.or(yes, no)
            }
            dtype => {
                let [condition, yes, no] = [condition, yes, no].map(|lane| self.value(lane));
                self.compute(dtype, Operation::Select(condition, yes, no))
            }
        }
    }
}
