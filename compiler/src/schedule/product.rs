//! Descriptors of matrix products.

use cygnet_runtime::arena::CACHE_LINE;
use cygnet_runtime::contraction::{
    Blocking, Contraction, Digits, Operand, Output, Scattered, Strided,
};
use cygnet_runtime::gemm::{self, Habits};
use cygnet_runtime::program::RegionFunction;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::index::Expression;
use crate::kernel::loops::Function;
use crate::kernel::{Body, InstructionId, InstructionKind, Product, ProductOperand, ValueId};
use crate::optimize::cost;
use crate::types::DType;

use super::lower;
use super::memory::Memory;
use super::pieces::Cutting;

/// A matrix product before its generated functions have addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProductTask {
    /// Extents and cutting.
    pub product: Extents,
    /// Left operand.
    pub left: Source,
    /// Right operand.
    pub right: Source,
    /// Destination.
    pub output: Source,
}

/// Extents of a product, and how it is cut.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Extents {
    /// Element type.
    pub dtype: DType,
    /// Batch axes.
    #[serde(with = "cygnet_runtime::list")]
    pub batch: SmallVec<[usize; 2]>,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Length of the sum.
    pub depth: usize,
    /// Cutting into pieces.
    pub blocking: Blocking,
}

/// Where a product's matrix is read from or written to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// Strided matrices in the arena.
    Arena(Strided),
    /// Matrices in the arena with distances digit by digit (operands only).
    Scattered(Scattered),
    /// A generated region function, by its number in the schedule.
    Function(usize),
}

impl Source {
    /// The number of the generated function, if it is one.
    pub fn function(&self) -> Option<usize> {
        match self {
            Source::Arena(_) | Source::Scattered(_) => None,
            Source::Function(function) => Some(*function),
        }
    }
}

/// Describes a product, appending the functions that it needs.
pub fn describe(
    name: &str,
    product: &Product,
    memory: &Memory,
    cutting: Cutting,
    functions: &mut Vec<Function>,
) -> ProductTask {
    let operand =
        |operand: &ProductOperand, side: &str, functions: &mut Vec<Function>| match operand {
            ProductOperand::Value(value, map) => {
                let offset = map.offset(&memory.strides(*value));
                let batch = product.batch.len();
                strided(&offset, batch, *value, memory)
                    .or_else(|| scattered(&offset, map.domain(), *value, memory))
                    .expect("a verified operand lies like a matrix")
            }
            ProductOperand::Computed(body) => {
                functions.push(lower::prologue(&format!("{name}_{side}"), body, memory));
                Source::Function(functions.len() - 1)
            }
        };
    let left = operand(&product.left, "left", functions);
    let right = operand(&product.right, "right", functions);
    let output = plain_store(&product.epilogue, memory).unwrap_or_else(|| {
        functions.push(lower::epilogue(&format!("{name}_epilogue"), &product.epilogue, memory));
        Source::Function(functions.len() - 1)
    });
    let blocking = match cutting {
        Cutting::Cost(_) => cut(product, [&left, &right, &output], memory),
        Cutting::Bands { height, .. } => Blocking { rows: height, columns: product.columns },
    };
    let extents = Extents {
        dtype: product.dtype,
        batch: product.batch.clone(),
        rows: product.rows,
        columns: product.columns,
        depth: product.depth,
        blocking,
    };
    ProductTask { product: extents, left, right, output }
}

/// How a product of these operands, with this destination, is cut into pieces.
fn cut(product: &Product, places: [&Source; 3], memory: &Memory) -> Blocking {
    let [left, right, output] = places;
    let scattered = [left, right].iter().any(|side| match side {
        Source::Scattered(matrices) => !matrices.is_in_panels(),
        _ => false,
    });
    let row_start_ns = match output {
        // Columns that are windows of an image have cuts of their own to keep to.
        Source::Function(_) if !scattered => {
            cost::of_row_start(&product.epilogue, &|value| memory.elements(value))
        }
        _ => 0.0,
    };
    // Kernels see what goes to columns transposed.
    let transposed = match (left, right, output) {
        (Source::Arena(left), Source::Arena(right), Source::Arena(output))
            if gemm::is_by_column(output) =>
        {
            Some([right.transposed(), left.transposed()].map(Source::Arena))
        }
        _ => None,
    };
    let (left, right, rows, columns) = match &transposed {
        Some([left, right]) => (left, right, product.columns, product.rows),
        None => (left, right, product.rows, product.columns),
    };
    let packs_left = match left {
        Source::Arena(matrices) => gemm::copies_left(matrices, product.dtype.size()),
        Source::Scattered(_) => false,
        Source::Function(_) => true,
    };
    let packs_right = match right {
        Source::Arena(matrices) if matrices.column_stride == 1 || columns == 1 => {
            gemm::copies_right(matrices, product.depth, product.dtype.size())
        }
        Source::Arena(_) => true,
        Source::Scattered(matrices) => {
            !gemm::reads_right_run([matrices.rows.run(), matrices.columns.run()])
        }
        Source::Function(_) => true,
    };
    let row_run = match left {
        Source::Scattered(matrices) => matrices.rows.run().0,
        // Rows that follow each other share cache lines, which no two pieces should read.
        Source::Arena(matrices) if gemm::is_by_column(matrices) => {
            CACHE_LINE / product.dtype.size()
        }
        _ => 1,
    };
    let habits = Habits { packs_left, packs_right, row_run, row_start_ns };
    let batch: usize = product.batch.iter().product();
    let cut = gemm::blocking_for(rows, columns, product.depth, batch, product.dtype, habits);
    match transposed {
        Some(_) => Blocking { rows: cut.columns, columns: cut.rows },
        None => cut,
    }
}

/// The epilogue as a destination, if it only stores the accumulator.
fn plain_store(epilogue: &Body, memory: &Memory) -> Option<Source> {
    let [store] = epilogue.stores.as_slice() else { return None };
    let InstructionId(index) = store.instruction;
    if epilogue.instructions[index as usize].kind != InstructionKind::Accumulator {
        return None;
    }
    let offset = store.map.offset(&memory.strides(store.value));
    strided(&offset, epilogue.axes.len() - 2, store.value, memory)
}

/// The matrix that an affine offset over `batch..., row, column` describes.
fn strided(
    offset: &Expression,
    batch_axes: usize,
    value: ValueId,
    memory: &Memory,
) -> Option<Source> {
    let stride = |axis: usize| offset.stride(axis).map(|stride| stride as isize);
    let mut home = memory.home(value);
    home.offset += offset.offset() as usize * memory.dtype(value).size();
    Some(Source::Arena(Strided {
        home,
        batch_strides: (0..batch_axes).map(stride).collect::<Option<_>>()?,
        row_stride: stride(batch_axes)?,
        column_stride: stride(batch_axes + 1)?,
    }))
}

/// The matrix that an offset over `batch..., row, column` describes, of digits along the last two.
fn scattered(
    offset: &Expression,
    domain: &[usize],
    value: ValueId,
    memory: &Memory,
) -> Option<Source> {
    let batch = domain.len() - 2;
    let mut home = memory.home(value);
    home.offset += offset.offset() as usize * memory.dtype(value).size();
    let digits = |axis: usize| {
        let digits = offset.distances(axis, domain[axis])?;
        Some(Digits::new(digits.into_iter().map(|(extent, stride)| (extent, stride as isize))))
    };
    let stride = |axis: usize| offset.stride(axis).map(|stride| stride as isize);
    Some(Source::Scattered(Scattered {
        home,
        batch_strides: (0..batch).map(stride).collect::<Option<_>>()?,
        rows: digits(batch)?,
        columns: digits(batch + 1)?,
    }))
}

impl ProductTask {
    /// Whether there is something to read and to write: `known` tells whether a number is that of a
    /// region function.
    pub fn is_complete(&self, known: impl Fn(usize) -> bool) -> bool {
        let there = |source: &Source| source.function().is_none_or(&known);
        let writable = !matches!(self.output, Source::Scattered(_));
        writable && [&self.left, &self.right, &self.output].into_iter().all(there)
    }

    /// The runtime's descriptor, given the address of each function.
    pub fn resolve(&self, address: impl Fn(usize) -> RegionFunction) -> Contraction {
        let operand = |source: &Source| match source {
            Source::Arena(matrices) => Operand::Arena(matrices.clone()),
            Source::Scattered(matrices) => Operand::Scattered(matrices.clone()),
            Source::Function(function) => Operand::Generated(address(*function)),
        };
        let output = match &self.output {
            Source::Arena(matrices) => Output::Arena(matrices.clone()),
            Source::Scattered(_) => unreachable!("only operands are scattered"),
            Source::Function(function) => Output::Epilogue(address(*function)),
        };
        Contraction {
            dtype: self.product.dtype,
            batch: self.product.batch.clone(),
            rows: self.product.rows,
            columns: self.product.columns,
            depth: self.product.depth,
            left: operand(&self.left),
            right: operand(&self.right),
            output,
            blocking: self.product.blocking,
        }
    }

    /// Number of pieces.
    pub fn pieces(&self) -> usize {
        let Extents { batch, rows, columns, blocking, .. } = &self.product;
        batch.iter().product::<usize>()
            * rows.div_ceil(blocking.rows)
            * columns.div_ceil(blocking.columns)
    }
}
