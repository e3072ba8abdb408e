//! What holds for every entry of the table.

use super::*;
use crate::op::lowering::{Lane, Lanes};
use crate::types::Scalar;

/// [`Lanes`] over plain numbers.
#[derive(Default)]
struct Numbers {
    values: Vec<(DType, f64)>,
}

impl Numbers {
    fn push(&mut self, dtype: DType, value: f64) -> Lane {
        self.values.push((dtype, value));
        Lane(self.values.len() as u32 - 1)
    }

    fn value(&self, lane: Lane) -> f64 {
        self.values[lane.0 as usize].1
    }

    /// The value rounded to the type of `like`; integers wrap.
    fn same(&mut self, like: Lane, value: f64) -> Lane {
        match self.dtype(like) {
            DType::F32 => self.push(DType::F32, f64::from(value as f32)),
            DType::I32 => self.push(DType::I32, f64::from(value as i64 as i32)),
            dtype => self.push(dtype, value),
        }
    }

    fn mask(&mut self, holds: bool) -> Lane {
        self.push(DType::Bool, f64::from(holds))
    }
}

impl Lanes for Numbers {
    fn dtype(&self, lane: Lane) -> DType {
        self.values[lane.0 as usize].0
    }
    fn constant(&mut self, dtype: DType, value: f64) -> Lane {
        self.push(dtype, Scalar::new(dtype, value).value())
    }
    fn add(&mut self, a: Lane, b: Lane) -> Lane {
        self.same(a, self.value(a) + self.value(b))
    }
    fn sub(&mut self, a: Lane, b: Lane) -> Lane {
        self.same(a, self.value(a) - self.value(b))
    }
    fn mul(&mut self, a: Lane, b: Lane) -> Lane {
        if self.dtype(a) == DType::I32 {
            // The product of two i32 is not exact in f64.
            let product = self.value(a) as i64 * self.value(b) as i64;
            return self.push(DType::I32, f64::from(product as i32));
        }
        self.same(a, self.value(a) * self.value(b))
    }
    fn div(&mut self, a: Lane, b: Lane) -> Lane {
        self.same(a, self.value(a) / self.value(b))
    }
    fn neg(&mut self, a: Lane) -> Lane {
        self.same(a, -self.value(a))
    }
    fn abs(&mut self, a: Lane) -> Lane {
        self.same(a, self.value(a).abs())
    }
    fn sqrt(&mut self, a: Lane) -> Lane {
        self.same(a, self.value(a).sqrt())
    }
    fn floor(&mut self, a: Lane) -> Lane {
        self.same(a, self.value(a).floor())
    }
    fn less(&mut self, a: Lane, b: Lane) -> Lane {
        self.mask(self.value(a) < self.value(b))
    }
    fn equal(&mut self, a: Lane, b: Lane) -> Lane {
        self.mask(self.value(a) == self.value(b))
    }
    fn not(&mut self, a: Lane) -> Lane {
        self.mask(self.value(a) == 0.0)
    }
    fn and(&mut self, a: Lane, b: Lane) -> Lane {
        self.mask(self.value(a) != 0.0 && self.value(b) != 0.0)
    }
    fn or(&mut self, a: Lane, b: Lane) -> Lane {
        self.mask(self.value(a) != 0.0 || self.value(b) != 0.0)
    }
    fn select(&mut self, condition: Lane, yes: Lane, no: Lane) -> Lane {
        let chosen = if self.value(condition) != 0.0 { yes } else { no };
        let (dtype, value) = self.values[chosen.0 as usize];
        self.push(dtype, value)
    }
}

/// The operand types on which an entry is tried: one list per variant.
fn operand_types(entry: &Entry) -> Vec<Vec<DType>> {
    let all_of = |dtype| vec![dtype; entry.arity];
    match entry.typing {
        Typing::Numeric => vec![all_of(DType::F64), all_of(DType::F32), all_of(DType::I32)],
        Typing::Float => vec![all_of(DType::F64), all_of(DType::F32)],
        Typing::Comparison => DType::ALL.map(all_of).to_vec(),
        Typing::Logical => vec![all_of(DType::Bool)],
        Typing::Select => DType::ALL.map(|dtype| vec![DType::Bool, dtype, dtype]).to_vec(),
    }
}

/// Values worth trying of a type.
fn samples(dtype: DType) -> Vec<f64> {
    match dtype {
        DType::Bool => vec![0.0, 1.0],
        DType::U8 => vec![0.0, 1.0, 7.0, 255.0],
        DType::I32 => vec![0.0, 1.0, -1.0, 46_341.0, f64::from(i32::MAX), f64::from(i32::MIN)],
        DType::F32 | DType::F64 => {
            vec![0.0, -0.0, 1.0, -1.0, 0.375, -2.5, 1e30, f64::INFINITY, -f64::INFINITY, f64::NAN]
        }
    }
}

fn combinations(types: &[DType]) -> Vec<Vec<f64>> {
    types.iter().fold(vec![vec![]], |all, &dtype| {
        let extended = all.iter().flat_map(|values| {
            samples(dtype).into_iter().map(|value| [&values[..], &[value]].concat())
        });
        extended.collect()
    })
}

fn scalars(types: &[DType], values: &[f64]) -> Vec<Array> {
    let scalar = |(&dtype, &value)| {
        Array::filled(TensorType::scalar(dtype), Scalar::new(dtype, value).value())
    };
    types.iter().zip(values).map(scalar).collect()
}

fn evaluate(function: Elementwise, operands: &[Array]) -> f64 {
    let operands: Vec<&Array> = operands.iter().collect();
    let types: Vec<&TensorType> = operands.iter().map(|operand| &operand.ty).collect();
    let result = function.infer(&types).unwrap();
    let context = Context { slots: &[], seed: 0, step: 0 };
    function.evaluate(&operands, &result, &context).rounded().values[0]
}

#[test]
fn inline_lowerings_compute_what_the_reference_computes() {
    for function in Elementwise::all() {
        let entry = function.entry();
        let Lowering::Inline(lowering) = entry.lowering else { continue };
        for types in operand_types(entry) {
            for values in combinations(&types) {
                let operands = scalars(&types, &values);
                let expected = evaluate(function, &operands);
                let mut lanes = Numbers::default();
                let arguments: Vec<Lane> = operands
                    .iter()
                    .map(|operand| lanes.push(operand.ty.dtype, operand.values[0]))
                    .collect();
                let result = lowering(&mut lanes, &arguments);
                let found = lanes.value(result);
                assert!(
                    found == expected || found.is_nan() && expected.is_nan(),
                    "{function:?} of {values:?} as {types:?}: {found} instead of {expected}"
                );
            }
        }
    }
}

#[test]
fn only_commutative_functions_say_that_they_are() {
    for function in Elementwise::all().filter(|function| function.entry().arity == 2) {
        let types = &operand_types(function.entry())[0];
        let changes = combinations(types).into_iter().any(|values| {
            let swapped = [values[1], values[0]];
            let there = evaluate(function, &scalars(types, &values));
            let back = evaluate(function, &scalars(types, &swapped));
            there != back && !(there.is_nan() && back.is_nan())
        });
        assert_eq!(changes, !function.entry().commutative, "{function:?}");
    }
}

#[test]
fn entries_are_complete() {
    for (place, entry) in ELEMENTWISE.iter().enumerate() {
        let Entry { name, arity, .. } = entry;
        assert_eq!(entry.gradient.len(), *arity, "gradients of {name}");
        assert_eq!(entry.domain.ranges.len(), *arity, "ranges of {name}");
        assert!(entry.domain.ranges.iter().all(|(low, high)| low < high), "ranges of {name}");
        assert_eq!(entry.evaluate_i32.is_some(), entry.typing == Typing::Numeric, "{name}");
        assert!(entry.cost > 0.0 && !entry.doc.is_empty(), "{name}");
        assert_eq!(Elementwise::named(name), Some(Elementwise(place as u8)), "two {name}");
    }
}

#[test]
fn references_keep_their_digits() {
    let near = |name: &str, arguments: &[f64], expected: f64| {
        let entry = Elementwise::named(name).unwrap().entry();
        let found = (entry.evaluate)(arguments);
        assert!((found - expected).abs() <= 4e-14 * expected.abs(), "{name}: {found}");
    };
    // Computed with 50 digits. Naive formulas lose most of theirs at these places.
    near("sigmoid", &[-40.0], 4.248_354_255_291_589e-18);
    near("erf", &[1e-9], 1.128_379_167_095_512_6e-9);
    near("gelu", &[-10.0], -7.619_853_024_160_527e-23);
    near("logaddexp", &[1000.0, 1000.0], 1_000.693_147_180_56);
    near("logaddexp", &[-1000.0, f64::NEG_INFINITY], -1000.0);
    near("expm1", &[1e-12], 1.000_000_000_000_5e-12);
    near("log1p", &[1e-12], 9.999_999_999_995e-13);
}
