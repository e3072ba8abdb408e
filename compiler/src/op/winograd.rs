//! Convolutions of 3 x 3 taps in a transformed space; made by the optimizer.

use cygnet_runtime::gemm;
use cygnet_runtime::library::Routine;

use super::{Application, Context, Cotangents, Emit, Primitive, library as routines, operands_of};
use crate::array::Array;
use crate::types::{DType, TensorType};

/// Kernels of 3 x 3 taps transformed for [`Winograd`], in panels of rows: see
/// [`gemm::WinogradKernel`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WinogradKernel {
    /// Whether kernels are `[from, to, 3, 3]`, and windows meet them from their other end, instead of
    /// `[to, from, 3, 3]`.
    pub turned: bool,
    /// Rows and columns of a tile of the result: 2 or 4.
    pub tile: usize,
}

/// A convolution with stride 1 of `[1, samples, rows, columns, from]`, with kernels transformed by
/// [`WinogradKernel`]; the result is `[1, samples, rows, columns, to]`. See [`gemm::Winograd`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Winograd {
    /// Extents.
    pub shape: gemm::Winograd,
}

impl WinogradKernel {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        let [kernels] = operands else { unreachable!("one operand") };
        (Routine::WinogradKernel(self.shape(kernels)), kernels.dtype)
    }

    fn shape(&self, kernels: &TensorType) -> gemm::WinogradKernel {
        let (outer, inner) = (kernels.shape[0], kernels.shape[1]);
        let (to, from) = if self.turned { (inner, outer) } else { (outer, inner) };
        gemm::WinogradKernel { to, from, turned: self.turned, tile: self.tile }
    }
}

/// The input of a [`Winograd`] with [`gemm::Winograd::transformed`], in its layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WinogradInput {
    /// Extents of the convolution.
    pub shape: gemm::Winograd,
}

impl WinogradInput {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        (Routine::WinogradInput(self.shape), operands[0].dtype)
    }
}

impl Winograd {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        (Routine::Winograd(self.shape), operands[0].dtype)
    }
}

impl Primitive for WinogradKernel {
    fn name(&self) -> &'static str {
        "winograd_kernel"
    }

    fn doc(&self) -> &'static str {
        "kernels of 3 x 3 taps, transformed"
    }

    fn attributes(&self) -> String {
        let turned = if self.turned { ", turned" } else { "" };
        format!("tile={}{turned}", self.tile)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels] = operands_of(operands)?;
        match (kernels.dtype, &kernels.shape[..]) {
            (DType::F32, &[_, _, 3, 3]) => {
                let shape = self.shape(kernels);
                Ok(TensorType::new(DType::F32, &[shape.points(), shape.point_stride()]))
            }
            _ => Err(format!("kernels {kernels}")),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }

    fn flops(&self, operands: &[&TensorType], _: &TensorType) -> f64 {
        // Three columns and then each row, at two operations for a point.
        let side = (self.tile + 2) as f64;
        operands[0].elements() as f64 / 9.0 * 2.0 * (3.0 + side) * side
    }
}

impl Primitive for WinogradInput {
    fn name(&self) -> &'static str {
        "winograd_input"
    }

    fn doc(&self) -> &'static str {
        "an input for windows of 3 x 3 taps, transformed"
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [input] = operands_of(operands)?;
        let plain = gemm::Winograd { transformed: false, ..self.shape };
        match input.dtype == DType::F32 && input.elements() == plain.elements()[1] {
            true => Ok(TensorType::new(DType::F32, &[self.shape.transformed_elements()])),
            false => Err(format!("an input {input}")),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }

    fn flops(&self, _: &[&TensorType], _: &TensorType) -> f64 {
        2.0 * (self.shape.tiles() * self.shape.points() * self.shape.from) as f64
    }
}

impl Primitive for Winograd {
    fn name(&self) -> &'static str {
        "winograd"
    }

    fn doc(&self) -> &'static str {
        "sums of products of 3 x 3 windows with transformed kernels"
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [kernels, input] = operands_of(operands)?;
        let gemm::Winograd { samples, to, result: [height, width], .. } = self.shape;
        let elements = self.shape.elements();
        let fits = [kernels, input].map(TensorType::elements) == elements[..2]
            && [kernels, input].iter().all(|operand| operand.dtype == DType::F32);
        match fits {
            true => Ok(TensorType::new(DType::F32, &[1, samples, height, width, to])),
            false => Err(format!("kernels {kernels} over {input}")),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }

    fn flops(&self, _: &[&TensorType], _: &TensorType) -> f64 {
        let gemm::Winograd { from, to, .. } = self.shape;
        let (tiles, points) = (self.shape.tiles() as f64, self.shape.points() as f64);
        tiles * points * 2.0 * ((from * to) as f64 + (from + to) as f64)
    }
}

/// Sums in the transformed space for the gradient of kernels of 3 x 3 taps, of an input and a cotangent that have
/// their channels last: see [`gemm::WinogradGradient`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WinogradGradient {
    /// Extents.
    pub shape: gemm::WinogradGradient,
}

/// The gradient of kernels, `[to, from, 3, 3]`, made of the sums of a [`WinogradGradient`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WinogradTaps {
    /// Extents.
    pub shape: gemm::WinogradGradient,
}

impl WinogradGradient {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        (Routine::WinogradGradient(self.shape), operands[0].dtype)
    }

    /// The type of the sums.
    fn sums(shape: &gemm::WinogradGradient) -> TensorType {
        let ([row_blocks, column_blocks], points) =
            (shape.blocks(), gemm::WinogradGradient::POINTS);
        let extents = [shape.parts(), row_blocks, column_blocks, points, shape.point_stride()];
        TensorType::new(DType::F32, &extents)
    }
}

impl WinogradTaps {
    /// The routine that computes it.
    pub(super) fn routine(&self, operands: &[&TensorType]) -> (Routine, DType) {
        (Routine::WinogradTaps(self.shape), operands[0].dtype)
    }
}

impl Primitive for WinogradGradient {
    fn name(&self) -> &'static str {
        "winograd_gradient"
    }

    fn doc(&self) -> &'static str {
        "sums for the gradient of kernels of 3 x 3 taps, transformed"
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [input, cotangent] = operands_of(operands)?;
        let fits = [input, cotangent].map(TensorType::elements) == self.shape.elements()[..2]
            && [input, cotangent].iter().all(|operand| operand.dtype == DType::F32);
        match fits {
            true => Ok(WinogradGradient::sums(&self.shape)),
            false => Err(format!("cotangents {cotangent} over {input}")),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }

    fn flops(&self, _: &[&TensorType], _: &TensorType) -> f64 {
        let gemm::WinogradGradient { from, to, .. } = self.shape;
        let points = (self.shape.tiles() * gemm::WinogradGradient::POINTS) as f64;
        points * 2.0 * ((from * to) as f64 + (from + to) as f64)
    }
}

impl Primitive for WinogradTaps {
    fn name(&self) -> &'static str {
        "winograd_taps"
    }

    fn doc(&self) -> &'static str {
        "the gradient of kernels of 3 x 3 taps, from its sums"
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [sums] = operands_of(operands)?;
        let gemm::WinogradGradient { from, to, .. } = self.shape;
        match *sums == WinogradGradient::sums(&self.shape) {
            true => Ok(TensorType::new(DType::F32, &[to, from, 3, 3])),
            false => Err(format!("sums {sums}")),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        routines::evaluate(self.routine(&[&operands[0].ty]), operands, result)
    }

    fn differentiable(&self, _: usize) -> bool {
        false
    }

    fn gradient(&self, _: &mut dyn Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err(routines::MADE_AFTER_GRADIENTS.to_owned())
    }

    fn flops(&self, operands: &[&TensorType], _: &TensorType) -> f64 {
        // Sums of parts; then four columns and three rows, at two operations for a point.
        operands[0].elements() as f64 + (self.shape.from * self.shape.to) as f64 * 2.0 * 7.0 * 4.0
    }
}

/// The matrices of Lavin and Gray, with halves and other fractions in those of kernels: transforms of
/// inputs `B^T`, of kernels `G`, and back to results `A^T`, row by row.
struct Matrices {
    inputs: &'static [&'static [f64]],
    kernels: &'static [[f64; 3]],
    results: &'static [&'static [f64]],
}

const TWO: Matrices = Matrices {
    inputs: &[
        &[1.0, 0.0, -1.0, 0.0],
        &[0.0, 1.0, 1.0, 0.0],
        &[0.0, -1.0, 1.0, 0.0],
        &[0.0, 1.0, 0.0, -1.0],
    ],
    kernels: &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
    results: &[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, -1.0, -1.0]],
};

const FOUR: Matrices = Matrices {
    inputs: &[
        &[4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        &[0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        &[0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        &[0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        &[0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        &[0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ],
    kernels: &[
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ],
    results: &[
        &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        &[0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        &[0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        &[0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ],
};

/// Those for tiles of so many rows and columns.
const fn matrices(tile: usize) -> &'static Matrices {
    if tile == 2 { &TWO } else { &FOUR }
}

/// `matrix * square * matrix^T`.
fn on_both_sides(
    matrix: &[impl AsRef<[f64]>],
    square: impl Fn(usize, usize) -> f64,
) -> Vec<Vec<f64>> {
    let side = matrix[0].as_ref().len();
    let dot = |row: &[f64], value: &dyn Fn(usize) -> f64| -> f64 {
        row.iter().enumerate().map(|(place, factor)| factor * value(place)).sum()
    };
    let row = |left: &[f64]| {
        let half: Vec<f64> = (0..side).map(|j| dot(left, &|i| square(i, j))).collect();
        matrix.iter().map(|right| dot(right.as_ref(), &|j| half[j])).collect()
    };
    matrix.iter().map(|left| row(left.as_ref())).collect()
}

/// Transformed kernels, in f64.
pub(super) fn transform_kernels(shape: &gemm::WinogradKernel, kernels: &[f64]) -> Vec<f64> {
    let &gemm::WinogradKernel { to: rows, from: depth, turned, tile } = shape;
    let mut result = vec![0.0; shape.elements()];
    for (row, k) in (0..rows).flat_map(|row| (0..depth).map(move |k| (row, k))) {
        let number = if turned { k * rows + row } else { row * depth + k };
        let tap = |i: usize, j: usize| {
            let place = if turned { 8 - (3 * i + j) } else { 3 * i + j };
            kernels[9 * number + place]
        };
        let points = on_both_sides(matrices(tile).kernels, tap);
        for (point, value) in points.into_iter().flatten().enumerate() {
            result[place(shape, point, row, k)] = value;
        }
    }
    result
}

/// Where an element of transformed kernels lies.
fn place(shape: &gemm::WinogradKernel, point: usize, row: usize, k: usize) -> usize {
    let place = row / gemm::KERNEL_PANEL * shape.from + k;
    point * shape.point_stride() + place * gemm::KERNEL_PANEL + row % gemm::KERNEL_PANEL
}

/// Images `[samples, rows, columns, channels]`, with zeros around them.
struct Images<'a> {
    values: &'a [f64],
    extents: [usize; 2],
    channels: usize,
}

impl Images<'_> {
    /// Element (i, j) from a place on, of an image's channel; `low` zeros come before the first row and column.
    fn at(
        &self,
        (sample, channel): (usize, usize),
        from: [usize; 2],
        low: [usize; 2],
        [i, j]: [usize; 2],
    ) -> f64 {
        let [rows, columns] = self.extents;
        let (row, column) = (from[0] + i, from[1] + j);
        let inside =
            (low[0]..low[0] + rows).contains(&row) && (low[1]..low[1] + columns).contains(&column);
        let place = || (sample * rows + row - low[0]) * columns + column - low[1];
        if inside { self.values[place() * self.channels + channel] } else { 0.0 }
    }
}

/// The sample of a tile, and its first row and column in a result of these extents.
fn place_of_tile(tile: usize, side: usize, extents: [usize; 2]) -> (usize, [usize; 2]) {
    let [rows, columns] = extents.map(|extent| extent.div_ceil(side));
    let (rest, column) = (tile / columns, tile % columns);
    (rest / rows, [side * (rest % rows), side * column])
}

/// The transformed input, in f64: `[blocks of tiles, points, tiles of a block, channels]`.
pub(super) fn transform_inputs(shape: &gemm::Winograd, input: &[f64]) -> Vec<f64> {
    let &gemm::Winograd { from, tile: side, .. } = shape;
    let images = Images { values: input, extents: shape.input, channels: from };
    let mut result = vec![0.0; shape.transformed_elements()];
    for (tile, channel) in (0..shape.tiles()).flat_map(|t| (0..from).map(move |c| (t, c))) {
        let (sample, place) = place_of_tile(tile, side, shape.result);
        let at = |i: usize, j: usize| images.at((sample, channel), place, shape.low, [i, j]);
        let points = on_both_sides(matrices(side).inputs, at);
        for (point, value) in points.into_iter().flatten().enumerate() {
            result[place_of_input(shape, tile, point, channel)] = value;
        }
    }
    result
}

/// Where an element of the transformed input lies.
fn place_of_input(shape: &gemm::Winograd, tile: usize, point: usize, channel: usize) -> usize {
    let (block, tile) = (tile / shape.tile_block(), tile % shape.tile_block());
    let point = (block * shape.points() + point) * shape.input_stride();
    point + tile * shape.input_row() + channel
}

/// The convolution in transformed space, in f64.
pub(super) fn convolve(shape: &gemm::Winograd, kernels: &[f64], input: &[f64]) -> Vec<f64> {
    let &gemm::Winograd { samples, from, to, tile: side, result: [height, width], .. } = shape;
    let (layout, matrices) = (shape.kernel(false), matrices(side));
    let transformed = match shape.transformed {
        true => input.to_vec(),
        false => transform_inputs(shape, input),
    };
    let mut result = vec![0.0; samples * height * width * to];
    for (tile, channel) in (0..shape.tiles()).flat_map(|t| (0..to).map(move |c| (t, c))) {
        let (sample, [y, x]) = place_of_tile(tile, side, shape.result);
        let sum = |point: usize| -> f64 {
            let input = |k: usize| transformed[place_of_input(shape, tile, point, k)];
            (0..from).map(|k| kernels[place(&layout, point, channel, k)] * input(k)).sum()
        };
        let sums: Vec<f64> = (0..shape.points()).map(sum).collect();
        let results = on_both_sides(matrices.results, |i, j| sums[(side + 2) * i + j]);
        for (i, row) in results.into_iter().enumerate().take(height - y) {
            for (j, value) in row.into_iter().enumerate().take(width - x) {
                let place = (sample * height + y + i) * width + x + j;
                result[place * to + channel] = value;
            }
        }
    }
    result
}

/// Where a sum of part 0 lies.
fn place_of_sum(shape: &gemm::WinogradGradient, point: usize, row: usize, column: usize) -> usize {
    let ([rows, columns], [_, column_blocks]) = (shape.block(), shape.blocks());
    let block = row / rows * column_blocks + column / columns;
    let point = block * gemm::WinogradGradient::POINTS + point;
    point * shape.point_stride() + row % rows * columns + column % columns
}

/// The sums for the gradient of kernels, all in the first part, in f64.
pub(super) fn sums(shape: &gemm::WinogradGradient, input: &[f64], cotangent: &[f64]) -> Vec<f64> {
    let &gemm::WinogradGradient { from, to, low, .. } = shape;
    let mut result = vec![0.0; shape.elements()[2]];
    // `A` is the transpose of the transform of results.
    let back = |k: usize| TWO.results.iter().map(move |row| row[k]);
    let columns: Vec<Vec<f64>> = (0..4).map(|k| back(k).collect()).collect();
    let cotangents = Images { values: cotangent, extents: shape.cotangent, channels: to };
    let inputs = Images { values: input, extents: shape.input, channels: from };
    for tile in 0..shape.tiles() {
        let (sample, place) = place_of_tile(tile, 2, shape.cotangent);
        let u = |channel: usize| {
            let at = |i: usize, j: usize| cotangents.at((sample, channel), place, [0; 2], [i, j]);
            on_both_sides(&columns, at).concat()
        };
        let v = |channel: usize| {
            let at = |i: usize, j: usize| inputs.at((sample, channel), place, low, [i, j]);
            on_both_sides(TWO.inputs, at).concat()
        };
        let inputs: Vec<Vec<f64>> = (0..from).map(v).collect();
        for row in 0..to {
            let u = u(row);
            for (column, v) in inputs.iter().enumerate() {
                for (point, (u, v)) in u.iter().zip(v).enumerate() {
                    result[place_of_sum(shape, point, row, column)] += u * v;
                }
            }
        }
    }
    result
}

/// The gradient of kernels, made of sums, in f64.
pub(super) fn taps(shape: &gemm::WinogradGradient, sums: &[f64]) -> Vec<f64> {
    let back = |k: usize| TWO.kernels.iter().map(move |row| row[k]);
    let columns: Vec<Vec<f64>> = (0..3).map(|k| back(k).collect()).collect();
    let mut result = Vec::new();
    for (row, column) in (0..shape.to).flat_map(|row| (0..shape.from).map(move |c| (row, c))) {
        let sum = |i: usize, j: usize| -> f64 {
            let place = place_of_sum(shape, 4 * i + j, row, column);
            (0..shape.parts()).map(|part| sums[part * shape.part() + place]).sum()
        };
        result.extend(on_both_sides(&columns, sum).into_iter().flatten());
    }
    result
}
