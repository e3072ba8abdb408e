//! Nanoseconds per element of generated kernels, and how long they take to compile.
//!
//! `cargo bench -p cygnet-compiler --bench codegen [FILTER]`

use std::time::{Duration, Instant};

use cygnet_compiler::codegen::generate;
use cygnet_compiler::index::{Constraint, Expression};
use cygnet_compiler::kernel::loops::{
    Address, Buffer, Convention, Function, LaneId, LoopAxis, LoopInstruction,
    LoopInstructionKind as Kind, Place, Range, Statement, verify,
};
use cygnet_compiler::op::{Elementwise, ReduceKind};
use cygnet_compiler::types::{DType, Scalar};
use cygnet_runtime::cpu::{Cpu, FlushSubnormals};
use cygnet_runtime::program::{COUNTERS, Frame};

/// A kernel under construction: statements over `rows x columns`, all buffers f32.
struct Kernel {
    function: Function,
    rows: usize,
    columns: usize,
    body: Vec<LoopInstruction>,
    /// Bytes of the arena so far.
    bytes: usize,
}

impl Kernel {
    fn new(name: &str, rows: usize, columns: usize) -> Kernel {
        let axis = |name: &str, extent| LoopAxis { name: name.into(), extent };
        Kernel {
            function: Function {
                name: name.into(),
                convention: Convention::Pieces,
                axes: vec![axis("row", rows), axis("column", columns)],
                buffers: Vec::new(),
                variables: Vec::new(),
                body: Vec::new(),
            },
            rows,
            columns,
            body: Vec::new(),
            bytes: 0,
        }
    }

    fn buffer(&mut self, length: usize) -> usize {
        let place = Place::Arena(self.bytes);
        self.bytes += (4 * length).next_multiple_of(64) + 64;
        let name = format!("buffer{}", self.function.buffers.len());
        self.function.buffers.push(Buffer {
            dtype: DType::F32,
            place,
            length,
            streamed: false,
            name,
        });
        self.function.buffers.len() - 1
    }

    fn scratch(&mut self, length: usize) -> usize {
        let place = Place::Scratch(0);
        self.function.buffers.push(Buffer {
            dtype: DType::F32,
            place,
            length,
            streamed: false,
            name: "row".into(),
        });
        self.function.buffers.len() - 1
    }

    /// A buffer with the whole domain.
    fn tensor(&mut self) -> usize {
        self.buffer(self.rows * self.columns)
    }

    fn element(&self) -> Expression {
        Expression::axis(0).times(self.columns as i64).plus(&Expression::axis(1))
    }

    fn push(&mut self, dtype: DType, kind: Kind) -> LaneId {
        let id = LaneId(self.body.len() as u32 + 100 * self.function.body.len() as u32);
        let result = (!kind.is_effect()).then_some(id);
        self.body.push(LoopInstruction { result, dtype, kind });
        id
    }

    fn load(&mut self, buffer: usize, offset: Expression) -> LaneId {
        self.load_where(buffer, offset, &[])
    }

    fn load_where(&mut self, buffer: usize, offset: Expression, where_: &[Constraint]) -> LaneId {
        let fill = (!where_.is_empty()).then(|| Scalar::new(DType::F32, 0.0));
        let address = Address::Offset(offset);
        self.push(DType::F32, Kind::Load { buffer, address, constraints: where_.into(), fill })
    }

    fn constant(&mut self, value: f64) -> LaneId {
        self.push(DType::F32, Kind::Constant(Scalar::new(DType::F32, value)))
    }

    fn apply(&mut self, name: &str, operands: &[LaneId]) -> LaneId {
        let function = Elementwise::named(name).expect("a primitive");
        let dtype = if name == "lt" { DType::Bool } else { DType::F32 };
        self.push(dtype, Kind::Apply(function, operands.into()))
    }

    fn store(&mut self, buffer: usize, offset: Expression, value: LaneId) {
        let address = Address::Offset(offset);
        self.push(DType::F32, Kind::Store { buffer, address, value });
    }

    fn fold(&mut self, kind: ReduceKind, value: LaneId) -> usize {
        let dtype = if kind == ReduceKind::Sum { DType::F64 } else { DType::F32 };
        self.function.variables.push(dtype);
        let variable = self.function.variables.len() - 1;
        self.push(DType::F32, Kind::Fold { variable, kind, value });
        variable
    }

    fn scalars(&mut self) {
        let body = std::mem::take(&mut self.body);
        self.function.body.push(Statement::Scalar(body));
    }

    fn tiles(&mut self) {
        let body = std::mem::take(&mut self.body);
        let range = Range::Fixed { start: 0, end: self.columns };
        self.function.body.push(Statement::Tiles { axis: 1, range, body });
    }

    fn finish(mut self) -> Self {
        let range = Range::Fixed { start: 0, end: self.rows };
        let body = std::mem::take(&mut self.function.body);
        self.function.body = vec![Statement::Loop { axis: 0, range, body }];
        self
    }
}

/// a x + b y + c
fn axpby(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("axpby", rows, columns);
    let (x, y, out) = (k.tensor(), k.tensor(), k.tensor());
    let (x, y) = (k.load(x, k.element()), k.load(y, k.element()));
    let [a, b, c] = [1.5, 0.5, 2.0].map(|value| k.constant(value));
    let ax = k.apply("mul", &[a, x]);
    let by = k.apply("mul", &[b, y]);
    let sum = k.apply("add", &[ax, by]);
    let sum = k.apply("add", &[sum, c]);
    k.store(out, k.element(), sum);
    k.tiles();
    k.finish()
}

/// gelu(x + bias)
fn bias_gelu(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("bias_gelu", rows, columns);
    let (x, bias, out) = (k.tensor(), k.buffer(k.columns), k.tensor());
    let (x, bias) = (k.load(x, k.element()), k.load(bias, Expression::axis(1)));
    let sum = k.apply("add", &[x, bias]);
    let gelu = k.apply("gelu", &[sum]);
    k.store(out, k.element(), gelu);
    k.tiles();
    k.finish()
}

/// dy where x + bias > 0, else 0: the gradient of a rectifier.
fn relu_gradient(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("relu_gradient", rows, columns);
    let (x, dy, bias, out) = (k.tensor(), k.tensor(), k.buffer(k.columns), k.tensor());
    let (x, dy) = (k.load(x, k.element()), k.load(dy, k.element()));
    let bias = k.load(bias, Expression::axis(1));
    let sum = k.apply("add", &[x, bias]);
    let zero = k.constant(0.0);
    let positive = k.apply("lt", &[zero, sum]);
    let dx = k.apply("select", &[positive, dy, zero]);
    k.store(out, k.element(), dx);
    k.tiles();
    k.finish()
}

/// The update of Adam, in place.
fn adam(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("adam", rows, columns);
    let tensors = [0; 4].map(|_| k.tensor());
    let [p, g, m, v] = tensors.map(|tensor| k.load(tensor, k.element()));
    let [b1, c1, b2, c2, rate, epsilon] =
        [0.9, 0.1, 0.999, 0.001, 0.001, 1e-8].map(|value| k.constant(value));
    let old = k.apply("mul", &[m, b1]);
    let new = k.apply("mul", &[g, c1]);
    let m = k.apply("add", &[old, new]);
    let old = k.apply("mul", &[v, b2]);
    let square = k.apply("mul", &[g, g]);
    let new = k.apply("mul", &[square, c2]);
    let v = k.apply("add", &[old, new]);
    let root = k.apply("sqrt", &[v]);
    let scale = k.apply("add", &[root, epsilon]);
    let step = k.apply("div", &[m, scale]);
    let step = k.apply("mul", &[step, rate]);
    let p = k.apply("sub", &[p, step]);
    for (tensor, value) in [(tensors[0], p), (tensors[2], m), (tensors[3], v)] {
        k.store(tensor, k.element(), value);
    }
    k.tiles();
    k.finish()
}

/// The sum of each row.
fn row_sums(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("row_sums", rows, columns);
    let (x, out) = (k.tensor(), k.buffer(k.rows));
    let zero = k.push(DType::F64, Kind::Constant(Scalar::new(DType::F64, 0.0)));
    k.push(DType::F64, Kind::Set(0, zero));
    k.scalars();
    let x = k.load(x, k.element());
    let sum = k.fold(ReduceKind::Sum, x);
    k.tiles();
    let sum = k.push(DType::F64, Kind::Get(sum));
    let sum = k.push(DType::F32, Kind::Cast(sum));
    k.store(out, Expression::axis(0), sum);
    k.scalars();
    k.finish()
}

/// Softmax of each row.
fn softmax(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("softmax", rows, columns);
    let (x, out, row) = (k.tensor(), k.tensor(), k.scratch(columns));
    let low = k.constant(f64::NEG_INFINITY);
    k.push(DType::F32, Kind::Set(0, low));
    let zero = k.push(DType::F64, Kind::Constant(Scalar::new(DType::F64, 0.0)));
    k.push(DType::F64, Kind::Set(1, zero));
    k.scalars();
    let value = k.load(x, k.element());
    let maximum = k.fold(ReduceKind::Max, value);
    k.tiles();
    let value = k.load(x, k.element());
    let maximum = k.push(DType::F32, Kind::Get(maximum));
    let below = k.apply("sub", &[value, maximum]);
    let exp = k.apply("exp", &[below]);
    k.store(row, Expression::axis(1), exp);
    let sum = k.fold(ReduceKind::Sum, exp);
    k.tiles();
    let exp = k.load(row, Expression::axis(1));
    let sum = k.push(DType::F64, Kind::Get(sum));
    let one = k.push(DType::F64, Kind::Constant(Scalar::new(DType::F64, 1.0)));
    let division = Elementwise::named("div").expect("a primitive");
    let inverse = k.push(DType::F64, Kind::Apply(division, [one, sum].as_slice().into()));
    let inverse = k.push(DType::F32, Kind::Cast(inverse));
    let value = k.apply("mul", &[exp, inverse]);
    k.store(out, k.element(), value);
    k.tiles();
    k.finish()
}

/// The sum of each column.
fn column_sums(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("column_sums", rows, columns);
    let (x, buffer) = (k.tensor(), k.buffer(k.columns));
    let value = k.load(x, k.element());
    let address = Address::Offset(Expression::axis(1));
    let kind = ReduceKind::Sum;
    k.push(DType::F32, Kind::Accumulate { buffer, address, kind, value });
    k.tiles();
    k.finish()
}

/// A transposed copy.
fn transpose(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("transpose", rows, columns);
    let (x, out) = (k.tensor(), k.tensor());
    let transposed = Expression::axis(1).times(rows as i64).plus(&Expression::axis(0));
    let value = k.load(x, transposed);
    k.store(out, k.element(), value);
    k.tiles();
    k.finish()
}

/// A copy with a margin of one zero around it.
fn padding(rows: usize, columns: usize) -> Kernel {
    let mut k = Kernel::new("padding", rows, columns);
    let (x, out) = (k.buffer((rows.max(3) - 2) * (columns - 2)), k.tensor());
    let shifted = |axis| Expression::axis(axis).plus(&Expression::constant(-1));
    let inside = |axis, extent: usize| Constraint {
        expression: shifted(axis),
        low: 0,
        high: extent.max(3) as i64 - 2,
    };
    let offset = shifted(0).times(columns as i64 - 2).plus(&shifted(1));
    let value = k.load_where(x, offset, &[inside(0, rows), inside(1, columns)]);
    k.store(out, k.element(), value);
    k.tiles();
    k.finish()
}

/// The best time of one call, from batches of calls for at least a tenth of a second.
fn time(mut call: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    let mut calls = 1;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        let elapsed = start.elapsed();
        best = best.min(elapsed / calls);
        if elapsed < Duration::from_millis(2) {
            calls *= 2;
        }
    }
    best
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let kernels: [fn(usize, usize) -> Kernel; 9] =
        [axpby, bias_gelu, relu_gradient, adam, row_sums, softmax, column_sums, transpose, padding];
    let cpu = Cpu::detect();
    let _mode = FlushSubnormals::enter();
    println!(
        "{:16} {:>12} {:>12} {:>12} {:>8}",
        "kernel", "shape", "ns/element", "compile us", "bytes"
    );
    for kernel in kernels {
        for (rows, columns) in [(4096, 10), (1, 4096), (64, 64), (1024, 1024)] {
            if columns == 10 && rows * columns > 1 << 16 {
                continue;
            }
            let Kernel { function, bytes, .. } = kernel(rows, columns);
            if filter.as_ref().is_some_and(|filter| !function.name.contains(filter.as_str())) {
                continue;
            }
            verify(&function).expect("a valid kernel");
            let functions = std::slice::from_ref(&function);
            let compile = || generate(functions, 1, cpu).and_then(|image| image.place(cpu));
            let code = compile().expect("a kernel that compiles");
            let compile = time(|| drop(compile()));
            let mut arena = vec![[0.5f32; 16]; bytes / 64 + 2];
            let mut scratch = vec![[0u64; 8]; code.scratch_bytes(0) / 64 + 2];
            let align = |start: *mut u8| start.wrapping_add(start.align_offset(64));
            let frame = Frame {
                arena: align(arena.as_mut_ptr().cast()),
                scratch: align(scratch.as_mut_ptr().cast()),
                seed: 0,
                step: 0,
                counters: [0; COUNTERS],
            };
            let call = code.piece_function(0);
            // SAFETY: arena and scratch memory hold the kernel's buffers.
            let run = time(|| unsafe { call(&frame, 0) });
            println!(
                "{:16} {:>12} {:>12.3} {:>12.0} {:>8}",
                function.name,
                format!("{rows}x{columns}"),
                run.as_nanos() as f64 / (rows * columns) as f64,
                compile.as_nanos() as f64 / 1e3,
                code.code_bytes(0)
            );
        }
    }
}
