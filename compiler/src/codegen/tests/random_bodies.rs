//! Random bodies: any mix of loads, constraints, functions, conversions, random numbers and
//! effects, over any lengths and pieces.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::harness::{Draft, Memory, affine, compare_exactly, sample};
use crate::index::{Constraint, Expression};
use crate::kernel::loops::{
    Address, LaneId, LoopInstruction, LoopInstructionKind, Range, Statement,
};
use crate::op::elementwise::Typing;
use crate::op::{ArgKind, Elementwise, RandomKind, ReduceKind};
use crate::types::{DType, Scalar};

/// A random function over `rows x columns`: choices are reduced modulo what there is to choose.
#[derive(Clone, Debug)]
struct Recipe {
    rows: usize,
    columns: usize,
    /// Columns per piece.
    chunk: usize,
    steps: Vec<[u8; 4]>,
    /// Whether the function changes its first buffer in place.
    in_place: bool,
    /// Whether all is of a kind that wide vectors compute: no double precision, no positions.
    narrow: bool,
}

/// The types of a function, and of what it reduces.
const NARROW: [DType; 4] = [DType::F32, DType::I32, DType::U8, DType::Bool];
const REDUCED: [DType; 3] = [DType::F32, DType::F64, DType::I32];

fn recipe() -> impl Strategy<Value = Recipe> {
    let columns = prop_oneof![1..24usize, 24..200usize, 500..1100usize];
    let steps = prop::collection::vec(any::<[u8; 4]>(), 1..14);
    (1..4usize, columns, 1..700usize, steps, any::<bool>(), any::<bool>()).prop_map(
        |(rows, columns, chunk, steps, in_place, narrow)| Recipe {
            rows,
            columns,
            chunk,
            steps,
            in_place,
            narrow,
        },
    )
}

/// The function under construction.
struct Cook {
    draft: Draft,
    rows: usize,
    columns: usize,
    types: &'static [DType],
    /// The outer axis has number 0, the tile axis number 1.
    body: Vec<LoopInstruction>,
    inputs: BTreeMap<DType, usize>,
    values: BTreeMap<DType, Vec<LaneId>>,
}

const ROW: usize = 0;
const COLUMN: usize = 1;

impl Cook {
    fn new(rows: usize, columns: usize, types: &'static [DType]) -> Cook {
        let mut draft = Draft::new(&[rows, columns]);
        // Strides of 2 along rows and columns stay inside.
        let length = 4 * rows * columns + columns + 4;
        let inputs = types.iter().map(|&dtype| (dtype, draft.buffer(dtype, length)));
        let inputs = inputs.collect();
        let mut cook =
            Cook { draft, rows, columns, types, body: Vec::new(), inputs, values: BTreeMap::new() };
        for &dtype in types {
            let element = cook.element();
            let value = cook.draft.load(&mut cook.body, cook.inputs[&dtype], element);
            cook.keep(dtype, value);
        }
        cook
    }

    fn element(&self) -> Expression {
        affine(0, &[(ROW, self.columns as i64), (COLUMN, 1)])
    }

    fn keep(&mut self, dtype: DType, value: LaneId) {
        self.values.entry(dtype).or_default().push(value);
    }

    fn pick(&self, dtype: DType, choice: u8) -> LaneId {
        let values = &self.values[&dtype];
        values[usize::from(choice) % values.len()]
    }

    fn latest(&self, dtype: DType) -> LaneId {
        *self.values[&dtype].last().expect("every type has a value")
    }

    fn domain(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// An address that stays inside an input.
    fn address(&self, choice: u8) -> Expression {
        let (columns, last) = (self.columns as i64, self.columns as i64 - 1);
        let column = Expression::axis(COLUMN);
        match choice % 9 {
            0 => self.element(),
            1 => affine(1, &[(ROW, 1), (COLUMN, self.rows as i64)]),
            2 => affine(last, &[(ROW, columns), (COLUMN, -1)]),
            3 => affine(0, &[(ROW, 2 * columns), (COLUMN, 2)]),
            4 => affine(2, &[(ROW, columns)]),
            5 => column.divided(3, &self.domain()).plus(&affine(0, &[(ROW, columns)])),
            6 => column.remainder(5, &self.domain()).plus(&affine(0, &[(ROW, 4)])),
            7 => affine(7, &[(ROW, 5), (COLUMN, 3)]).remainder(4, &self.domain()),
            _ => affine(0, &[(COLUMN, 1)]),
        }
    }

    fn constraint(&self, choice: u8) -> Vec<Constraint> {
        let columns = self.columns as i64;
        let on = |expression: Expression, low: i64, high: i64| Constraint { expression, low, high };
        let column = || Expression::axis(COLUMN);
        let digit = column().remainder(3, &self.domain());
        let upper = column().divided(4, &self.domain());
        match choice % 8 {
            0 => vec![],
            1 => vec![on(affine(-2, &[(COLUMN, 1)]), 0, columns)],
            2 => vec![on(column(), 1, columns - 1)],
            3 => vec![on(affine(-1, &[(ROW, 1)]), 0, 1)],
            4 => vec![on(digit, 0, 2)],
            5 => vec![
                on(affine(5, &[(COLUMN, -3), (ROW, 1)]), -20, 4),
                on(Expression::axis(ROW), 0, 2),
            ],
            6 => vec![on(upper, 1, 30), on(column(), 0, 77)],
            _ => vec![on(affine(0, &[(COLUMN, 2), (ROW, -1)]), 3, 900)],
        }
    }

    fn step(&mut self, [what, x, y, z]: [u8; 4]) {
        let dtype = self.types[usize::from(x) % self.types.len()];
        match what % 8 {
            0 => {
                let (address, constraints) = (self.address(y), self.constraint(z));
                let buffer = self.inputs[&dtype];
                let body = &mut self.body;
                let value = self.draft.load_where(body, buffer, address, &constraints, 0.5);
                self.keep(dtype, value);
            }
            1..=3 => self.apply(what / 8, x, [y, z, x ^ y]),
            4 => {
                let operand = self.pick(dtype, y);
                let to = self.types[usize::from(z) % self.types.len()];
                let cast = LoopInstructionKind::Cast(operand);
                let value = self.draft.value(&mut self.body, to, cast);
                self.keep(to, value);
            }
            5 => {
                let operand = self.pick(dtype, y);
                let constraints = self.constraint(z.max(1)).into();
                let fill = Scalar::new(dtype, 1.25);
                let masked = LoopInstructionKind::Masked { operand, constraints, fill };
                let value = self.draft.value(&mut self.body, dtype, masked);
                self.keep(dtype, value);
            }
            6 => {
                let dtype = if dtype == DType::Bool { DType::I32 } else { dtype };
                let index = LoopInstructionKind::Index(self.address(y));
                let value = self.draft.value(&mut self.body, dtype, index);
                self.keep(dtype, value);
            }
            _ => {
                let wide = x % 2 == 1 && self.types.contains(&DType::F64);
                let dtype = if wide { DType::F64 } else { DType::F32 };
                let kind = if y % 2 == 0 { RandomKind::Uniform } else { RandomKind::Normal };
                let index = self.address(z);
                let random = LoopInstructionKind::Random { kind, stream: 77 + u64::from(y), index };
                let value = self.draft.value(&mut self.body, dtype, random);
                self.keep(dtype, value);
            }
        }
    }

    fn apply(&mut self, function: u8, dtype: u8, operands: [u8; 3]) {
        let functions: Vec<Elementwise> = Elementwise::all().collect();
        let function = functions[usize::from(function ^ operands[2]) % functions.len()];
        let choose = |among: &[DType]| {
            let known: Vec<DType> =
                among.iter().copied().filter(|dtype| self.types.contains(dtype)).collect();
            known[usize::from(dtype) % known.len()]
        };
        let entry = function.entry();
        let value_type = match entry.typing {
            Typing::Numeric => choose(&[DType::F32, DType::F64, DType::I32]),
            Typing::Float => choose(&[DType::F32, DType::F64]),
            Typing::Logical => DType::Bool,
            Typing::Comparison | Typing::Select => choose(&DType::ALL),
        };
        let mut arguments: Vec<LaneId> =
            operands[..entry.arity].iter().map(|&choice| self.pick(value_type, choice)).collect();
        let mut result = value_type;
        match entry.typing {
            Typing::Select => arguments[0] = self.pick(DType::Bool, operands[0]),
            Typing::Comparison => result = DType::Bool,
            _ => {}
        }
        let value = self.draft.apply(&mut self.body, entry.name, result, &arguments);
        self.keep(result, value);
    }

    /// A value within -8..=8, so that no sum overflows in single precision.
    fn bounded(&mut self, dtype: DType) -> LaneId {
        let mut value = self.latest(dtype);
        for (name, bound) in [("min", 8.0), ("max", -8.0)] {
            let bound = self.draft.constant(&mut self.body, dtype, bound);
            value = self.draft.apply(&mut self.body, name, dtype, &[value, bound]);
        }
        value
    }

    /// A value within 1 - 1/128..=1 + 1/128, so that a product stays near 1.
    fn near_one(&mut self, dtype: DType) -> LaneId {
        let value = self.bounded(dtype);
        let scale = self.draft.constant(&mut self.body, dtype, 1.0 / 1024.0);
        let scaled = self.draft.apply(&mut self.body, "mul", dtype, &[value, scale]);
        let one = self.draft.constant(&mut self.body, dtype, 1.0);
        self.draft.apply(&mut self.body, "add", dtype, &[scaled, one])
    }
}

/// The function, the number of its pieces, and the buffers that may differ by rounding.
fn cook(recipe: &Recipe) -> (Draft, usize, Vec<usize>) {
    let Recipe { rows, columns, chunk, ref steps, in_place, narrow } = *recipe;
    let types = if narrow { &NARROW[..] } else { &DType::ALL };
    let reduced = if narrow { &REDUCED[..1] } else { &REDUCED };
    let mut cook = Cook::new(rows, columns, types);
    for &step in steps {
        cook.step(step);
    }
    let count = columns.div_ceil(chunk);
    let mut rounded = Vec::new();
    let (mut start, mut end) = (Vec::new(), Vec::new());
    for &dtype in reduced {
        for kind in [ReduceKind::Sum, ReduceKind::Max, ReduceKind::Prod] {
            let (held, neutral) = match kind {
                ReduceKind::Sum => (DType::F64, 0.0),
                ReduceKind::Max => (dtype, -1e9),
                ReduceKind::Prod => (dtype, 1.0),
            };
            let value = match kind {
                ReduceKind::Sum => cook.bounded(dtype),
                ReduceKind::Prod if dtype.is_float() => cook.near_one(dtype),
                _ => cook.latest(dtype),
            };
            let variable = cook.draft.variable(held);
            let neutral = cook.draft.constant(&mut start, held, neutral);
            cook.draft.effect(&mut start, held, LoopInstructionKind::Set(variable, neutral));
            let fold = LoopInstructionKind::Fold { variable, kind, value };
            cook.draft.effect(&mut cook.body, dtype, fold);
            // Every piece writes its result for the row; the last one's stays.
            let buffer = cook.draft.buffer(held, rows);
            let total = cook.draft.value(&mut end, held, LoopInstructionKind::Get(variable));
            let place = affine(0, &[(ROW, 1)]);
            cook.draft.store(&mut end, buffer, place, total);
            if kind != ReduceKind::Max && dtype.is_float() {
                rounded.push(buffer);
            }
        }
        if narrow {
            continue;
        }
        let (variable, position) = (cook.draft.variable(dtype), cook.draft.variable(DType::I32));
        for (variable, dtype) in [(variable, dtype), (position, DType::I32)] {
            let initial = cook.draft.constant(&mut start, dtype, -1.0);
            cook.draft.effect(&mut start, dtype, LoopInstructionKind::Set(variable, initial));
        }
        let (kind, value) = (ArgKind::Max, cook.latest(dtype));
        let index = affine(3, &[(COLUMN, 2)]);
        let fold = LoopInstructionKind::FoldArg { variable, position, kind, value, index };
        cook.draft.effect(&mut cook.body, dtype, fold);
        let buffer = cook.draft.buffer(DType::I32, rows);
        let found = cook.draft.value(&mut end, DType::I32, LoopInstructionKind::Get(position));
        let place = affine(0, &[(ROW, 1)]);
        cook.draft.store(&mut end, buffer, place, found);
    }
    for (n, &dtype) in types.iter().enumerate() {
        let out = cook.draft.buffer(dtype, rows * columns);
        let transposed = affine(0, &[(ROW, 1), (COLUMN, rows as i64)]);
        let address = if n % 2 == 0 { cook.element() } else { transposed };
        let value = cook.latest(dtype);
        cook.draft.store(&mut cook.body, out, address, value);
        if matches!(dtype, DType::F64 | DType::I32) {
            let buffer = cook.draft.buffer(dtype, columns);
            let address = Address::Offset(affine(0, &[(COLUMN, 1)]));
            let kind = ReduceKind::Max;
            let accumulate = LoopInstructionKind::Accumulate { buffer, address, kind, value };
            cook.draft.effect(&mut cook.body, dtype, accumulate);
        }
    }
    if in_place {
        // Loads of other elements of the buffer would depend on the order of indices.
        let alone = cook.body.iter().skip(1).all(|instruction| {
            !matches!(instruction.kind, LoopInstructionKind::Load { buffer: 0, .. })
        });
        if alone {
            let (element, value) = (cook.element(), cook.latest(DType::F32));
            cook.draft.store(&mut cook.body, 0, element, value);
        }
    }
    let range = Range::Piece { count, inner: 1, chunk, extent: columns };
    cook.draft.function.body = vec![Statement::Loop {
        axis: ROW,
        range: Range::Fixed { start: 0, end: rows },
        body: vec![
            Statement::Scalar(start),
            Statement::Tiles { axis: COLUMN, range, body: cook.body },
            Statement::Scalar(end),
        ],
    }];
    (cook.draft, count, rounded)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bodies_run_as_interpreted(recipe in recipe()) {
        let (draft, pieces, rounded) = cook(&recipe);
        let mut memory = Memory::for_function(&draft.function);
        memory.fill(&draft.function, 0, |n| match n % 97 {
            5 => f64::NAN,
            17 => f64::INFINITY,
            _ => sample(n),
        });
        compare_exactly(&draft.function, memory, pieces, |buffer| {
            if rounded.contains(&buffer) { 1e-3 } else { 0.0 }
        });
    }
}
