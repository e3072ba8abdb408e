//! The price of kernels: predicted time on one thread.
//!
//! A kernel costs a start (dispatch and its share of a barrier) and the larger of two times: that
//! of moving its values, and that of computing. What stays inside a kernel moves no bytes. The
//! coefficients were measured on a 2-core Zen 5 machine with AVX-512; only their ratios matter for
//! decisions, and those hold widely.

use cygnet_runtime::gemm;
use cygnet_runtime::library::{Permute, Routine};
use smallvec::SmallVec;

use crate::graph::{Graph, Node};
use crate::index::{Expression, IndexMap, row_major_strides};
use crate::kernel::{
    Body, Cost, Instruction, InstructionKind, KernelBody, Library, Loop, Product, ProductOperand,
    ValueId,
};
use crate::op::lowering::Lowering;
use crate::op::{ArgKind, Op, ReduceKind};
use crate::types::{DType, TensorType};

/// Nanoseconds for starting a kernel: dispatch of its pieces and a barrier of a spinning team
/// (71 ns measured), plus what is lost where pieces end unevenly.
const KERNEL_START: f64 = 250.0;

/// Bytes per nanosecond of streaming through the second-level cache, one core (measured triad).
const L2_BANDWIDTH: f64 = 177.0;

/// Bytes per nanosecond from the last-level cache, one core (measured triad).
const LAST_LEVEL_BANDWIDTH: f64 = 109.0;

/// Bytes per nanosecond from main memory, one core (measured triad).
const MEMORY_BANDWIDTH: f64 = 31.6;

/// Tensors up to this many bytes are found in the second-level cache again.
const L2_BYTES: f64 = 512e3;

/// Tensors up to this many bytes are found in the last-level cache again.
const LAST_LEVEL_BYTES: f64 = 12e6;

/// Floating-point operations per nanosecond of a large f32 product, one core (measured, 512-bit
/// fused multiply-add).
const PRODUCT_RATE: f64 = 232.0;

/// Rows and columns of the register tile of products: a product with fewer wastes lanes.
const REGISTER_TILE: (usize, usize) = (14, 32);

/// Nanoseconds per element for a load or a store in a vector loop, beside its bytes.
const VECTOR_ACCESS: f64 = 0.015;

/// Nanoseconds per element for a load that vectors cannot do: gaps between neighbours, quotients.
const SCALAR_ACCESS: f64 = 1.0;

/// The same where neighbours are so far apart that each access takes a line of its own.
const FAR_ACCESS: f64 = 4.0;

/// Bytes of a cache line.
const LINE: i64 = 64;

/// Tensors up to this many bytes are found in the first-level cache again.
pub const L1_BYTES: usize = 32 << 10;

/// Nanoseconds per element to transpose squares in registers.
const TRANSPOSE: f64 = 0.2;

/// Rows and columns of a square that are worth it.
const LEAST_SQUARE: usize = 4;

/// Nanoseconds for starting a vector loop over one of many short rows.
const SHORT_ROW: f64 = 4.0;

/// Nanoseconds per element and condition of a load with constraints, where the condition varies
/// along the innermost axis.
const CONSTRAINT: f64 = 0.1;

/// Nanoseconds per element of a random number: a block cipher round by round, in vectors.
const RANDOM_NUMBER: f64 = 0.8;

/// Nanoseconds per element folded into an accumulator.
const FOLD: f64 = 0.03;

/// Nanoseconds per row for starting and ending a pass over the row.
const ROW_PASS: f64 = 8.0;

/// Nanoseconds per element of simple arithmetic in 128-bit vectors, as in the table of elementwise
/// primitives.
const ARITHMETIC: f64 = 0.02;

/// Elementwise functions up to this cost are computed again rather than stored without a thought.
pub const CHEAP: f64 = 0.05;

/// Nanoseconds per element to pack an operand for a product.
const PACK: f64 = 0.05;

/// Nanoseconds per element to pack windows over a tensor for a product: vectors of neighbours.
const PACK_WINDOWS: f64 = 0.03;

/// Nanoseconds per element to pack a matrix whose elements do not lie near each other, or to read it where they
/// lie.
const PACK_SCATTERED: f64 = 0.6;

/// Nanoseconds per index that a scatter reads and compares with the rows of each piece.
const INDEX: f64 = 8.0;

/// Nanoseconds lost at the start of a row's part, some kilobytes away from the last one, of a
/// tensor that lies beyond the second-level cache: an update of optimizer state in an epilogue
/// took 11 ns an element in parts of 32, six tensors side by side.
const FAR_ROW: f64 = 40.0;

/// The same for a tensor in the second-level cache.
const NEAR_ROW: f64 = 5.0;

/// Nanoseconds of a call of a tile function with its loop beside the work (measured).
const TILE_CALL: f64 = 12.0;

/// Nanoseconds per element of a tile of inputs or results that is transformed, in vectors.
const TRANSFORM: f64 = 0.08;

/// The same for kernels, whose taps are gathered.
const TRANSFORM_KERNEL: f64 = 0.4;

/// Nanoseconds to make taps of a sum in the transformed space.
const TRANSFORM_SUMS: f64 = 0.1;

/// How much faster a transformed convolution must be to make up for what cannot be fused with it.
const WINOGRAD_MARGIN: f64 = 0.8;

/// Nanoseconds per element of a running sum, each waiting for the one before.
const CHAIN: f64 = 1.0;

/// Nanoseconds per element and level of a sort.
const COMPARISON: f64 = 3.0;

/// The last digit of rows and columns of a matrix, (extent, stride).
pub type Runs = [(usize, isize); 2];

/// Elements at most this far apart are picked out of few vectors.
const NEARBY: isize = 4;

/// Whether neither elements along rows nor along columns of a matrix share cache lines.
fn are_far(runs: Runs) -> bool {
    runs.iter().all(|&(extent, stride)| extent == 1 || 4 * stride.unsigned_abs() >= LINE as usize)
}

/// Whether elements along rows or columns of a matrix lie near each other, so that it is packed in vectors.
pub fn are_nearby(runs: Runs) -> bool {
    let is_near = |&(extent, stride): &(usize, isize)| extent > 1 && (1..=NEARBY).contains(&stride);
    runs.iter().all(|run| run.0 == 1) || runs.iter().any(is_near)
}

/// f64 has half the lanes of f32.
fn lane_factor(dtype: DType) -> f64 {
    if dtype == DType::F64 { 2.0 } else { 1.0 }
}

/// Nanoseconds to move a tensor of `bytes` once.
fn streaming(bytes: f64, tensor_bytes: f64) -> f64 {
    let bandwidth = if tensor_bytes <= L2_BYTES {
        L2_BANDWIDTH
    } else if tensor_bytes <= LAST_LEVEL_BYTES {
        LAST_LEVEL_BANDWIDTH
    } else {
        MEMORY_BANDWIDTH
    };
    bytes / bandwidth
}

/// Nanoseconds to store a tensor and have it in cache or memory afterwards.
pub fn of_store(ty: &TensorType) -> f64 {
    let bytes = ty.bytes() as f64;
    streaming(bytes, bytes) + ty.elements() as f64 * VECTOR_ACCESS
}

/// Nanoseconds that storing a tensor takes longer, beside [`of_store`], if a kernel's points lie there so.
pub fn of_scattering(map: &IndexMap, ty: &TensorType) -> f64 {
    ty.elements() as f64 * (of_access(map, ty).element - VECTOR_ACCESS)
}

/// The time of a part of a kernel, before moving and computing are weighed against each other.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    computing: f64,
    moving: f64,
    flops: f64,
    bytes: f64,
}

impl Work {
    fn add(&mut self, other: Work) {
        self.computing += other.computing;
        self.moving += other.moving;
        self.flops += other.flops;
        self.bytes += other.bytes;
    }

    fn transfer(&mut self, elements: f64, ty: &TensorType) {
        let bytes = elements.min(ty.elements() as f64) * ty.dtype.size() as f64;
        self.moving += streaming(bytes, ty.bytes() as f64);
        self.bytes += bytes;
    }
}

/// The predicted cost of a kernel whose values have the types that `type_of` tells.
pub fn of_kernel<'a>(body: &KernelBody, type_of: &dyn Fn(ValueId) -> &'a TensorType) -> Cost {
    let work = match body {
        KernelBody::Fused(body) => of_body(body, type_of),
        KernelBody::Product(product) => of_product(product, type_of),
        KernelBody::Library(library) => of_library(library, type_of),
        KernelBody::Loop(the_loop) => return of_loop(the_loop),
    };
    Cost {
        nanoseconds: KERNEL_START + work.computing.max(work.moving),
        flops: work.flops,
        bytes: work.bytes,
    }
}

/// The predicted cost of a loop: that of its kernels, once for each step.
fn of_loop(the_loop: &Loop) -> Cost {
    let steps = the_loop.length as f64;
    let kernels = the_loop.body.kernels.node_weights();
    kernels.fold(Cost::default(), |sum, kernel| Cost {
        nanoseconds: sum.nanoseconds + steps * kernel.cost.nanoseconds,
        flops: sum.flops + steps * kernel.cost.flops,
        bytes: sum.bytes + steps * kernel.cost.bytes,
    })
}

/// Nanoseconds that an operation takes on one thread if it is part of a kernel: nothing is counted
/// for moving operands or the result. This is what algebra decides by, before kernels are known.
pub fn of_operation(op: &Op, operands: &[&TensorType], result: &TensorType) -> f64 {
    let elements = result.elements() as f64 * lane_factor(result.dtype);
    match op {
        Op::Slot(_) | Op::Constant(_) | Op::StopGradient(_) => 0.0,
        Op::Iota(_) | Op::Cast(_) => elements * ARITHMETIC,
        Op::Random(_) => elements * RANDOM_NUMBER,
        Op::Elementwise(function) => elements * function.entry().cost,
        Op::Concat(_) | Op::Gather(_) => elements * VECTOR_ACCESS,
        Op::Scatter(_)
        | Op::Cumulate(_)
        | Op::ArgSort(_)
        | Op::Interleave(_)
        | Op::Winograd(_)
        | Op::WinogradInput(_)
        | Op::WinogradKernel(_)
        | Op::WinogradGradient(_)
        | Op::WinogradTaps(_) => {
            op.routine(operands).map_or(0.0, |(routine, _)| of_routine(&routine))
        }
        Op::Reduce(_) | Op::ArgReduce(_) => {
            operands[0].elements() as f64 * lane_factor(operands[0].dtype) * FOLD
        }
        Op::Fold(_) => elements * FOLD * operands[0].elements() as f64 / result.elements() as f64,
        Op::Contract(_) | Op::Conv(_) => {
            let flops = op.primitive().flops(operands, result);
            flops * lane_factor(result.dtype) / PRODUCT_RATE
        }
        Op::Scan(scan) => scan.length as f64 * of_graph(&scan.body),
        // Movement is part of how operands are read, results of loops lie in memory.
        Op::Port(_)
        | Op::Reshape(_)
        | Op::Permute(_)
        | Op::Broadcast(_)
        | Op::Slice(_)
        | Op::Reverse(_)
        | Op::Pad(_)
        | Op::Unfold(_)
        | Op::View(_) => 0.0,
    }
}

/// Nanoseconds that all operations of a graph take on one thread.
fn of_graph(graph: &Graph) -> f64 {
    let of = |node: &Node| {
        let operands: Vec<&TensorType> =
            node.operands.iter().map(|operand| &graph.node(*operand).ty).collect();
        of_operation(&node.op, &operands, &node.ty)
    };
    graph.nodes.iter().map(of).sum()
}

/// How a body puts the axes of a tensor into another order, if that is all it does and both orders have rows
/// worth transposing: a routine of the runtime does that ([`super::fusion`]).
pub fn permutation<'a>(
    body: &Body,
    type_of: &dyn Fn(ValueId) -> &'a TensorType,
) -> Option<Permute> {
    let [instruction] = &body.instructions[..] else { return None };
    let InstructionKind::Load { value, map } = &instruction.kind else { return None };
    let (source, domain) = (type_of(*value), map.domain());
    let offset = offset_of(map, source);
    let dense = IndexMap::identity(domain).offset(&row_major_strides(domain));
    // What is stored is not known yet where kernels are looked for.
    let stores_densely = match &body.stores[..] {
        [] => true,
        [store] => offset_of(&store.map, type_of(store.value)) == dense,
        _ => false,
    };
    let moves_all = offset.offset() == 0 && domain.iter().product::<usize>() == source.elements();
    if instruction.dtype != DType::F32 || map.fill().is_some() || !stores_densely || !moves_all {
        return None;
    }
    // Axes of the result may be several of the source, one within the other.
    let mut axes: SmallVec<[(usize, usize); 4]> = SmallVec::new();
    for (axis, &extent) in domain.iter().enumerate() {
        for (extent, distance) in offset.distances(axis, extent)? {
            axes.push((extent, usize::try_from(distance).ok()?));
        }
    }
    let permute = Permute::new(axes)?;
    let [.., (along_target, _)] = permute.axes() else { return None };
    let along_source = permute.axes().iter().find(|axis| axis.1 == 1)?.0;
    (along_source.min(*along_target) >= LEAST_SQUARE).then_some(permute)
}

fn of_body<'a>(body: &Body, type_of: &dyn Fn(ValueId) -> &'a TensorType) -> Work {
    let extents = body.extents();
    let points = extents.iter().product::<usize>() as f64;
    if let [Instruction { kind: InstructionKind::Load { value, .. }, .. }] = &body.instructions[..]
        && permutation(body, type_of).is_some()
    {
        let mut work = Work { computing: points * TRANSPOSE, ..Work::default() };
        work.transfer((1 + body.stores.len()) as f64 * points, type_of(*value));
        return work;
    }
    let rows = (body.axes.iter())
        .filter(|axis| axis.role == crate::kernel::AxisRole::Parallel)
        .map(|axis| axis.extent)
        .product::<usize>() as f64;
    let per_point = body.per_point();
    let all_points = rows == points;
    let mut work = Work::default();
    let mut row_starts: f64 = 0.0;
    let mut access = |times: f64, map: &IndexMap, ty: &TensorType| {
        let access = of_access(map, ty);
        row_starts = row_starts.max(times * access.row_start);
        times * access.element
    };
    for (instruction, &varies) in body.instructions.iter().zip(&per_point) {
        let times = if varies || all_points { points } else { rows };
        let lanes = lane_factor(instruction.dtype);
        match &instruction.kind {
            InstructionKind::Constant(_) | InstructionKind::Accumulator => {}
            InstructionKind::Load { value, map } => {
                let ty = type_of(*value);
                work.transfer(distinct(map, &extents), ty);
                work.computing += access(times * lanes, map, ty);
            }
            InstructionKind::Gather { value, map, .. } => {
                let ty = type_of(*value);
                work.transfer(times, ty);
                let along = extents.iter().rposition(|&extent| extent > 1);
                let row =
                    along.is_some_and(|axis| map.indices().iter().any(|e| e.depends_on(axis)));
                work.computing += match row {
                    true => access(times * lanes, map, ty),
                    false => times * lanes * SCALAR_ACCESS,
                };
            }
            InstructionKind::Index(_) => work.computing += times * ARITHMETIC,
            InstructionKind::Random { .. } => work.computing += times * lanes * RANDOM_NUMBER,
            InstructionKind::Apply(function, _) => {
                work.computing += times * lanes * function.entry().cost;
                work.flops += times;
            }
            InstructionKind::Cast(_) => work.computing += times * lanes * ARITHMETIC,
            InstructionKind::Masked(_, map) => {
                work.computing += times * (ARITHMETIC + of_constraints(map));
            }
            InstructionKind::Reduce(kind, _) => {
                let fold = if *kind == ReduceKind::Prod { 2.0 * FOLD } else { FOLD };
                work.computing += points * lanes * fold + rows * ROW_PASS;
                work.flops += points;
            }
            InstructionKind::ArgReduce(ArgKind::Max | ArgKind::Min, _) => {
                work.computing += points * lanes * 2.0 * FOLD + rows * ROW_PASS;
            }
        }
    }
    for store in &body.stores {
        let ty = type_of(store.value);
        let elements = store.map.domain().iter().product::<usize>() as f64;
        work.transfer(elements, ty);
        work.computing += access(elements, &store.map, ty);
    }
    work.computing += row_starts;
    work
}

/// Nanoseconds that the epilogue of a product takes to start on a row of a piece: for each tensor
/// whose rows it goes along, and each tile function. `elements` tells those of a tensor.
pub fn of_row_start(epilogue: &Body, elements: &dyn Fn(ValueId) -> usize) -> f64 {
    let [row, column] = [2, 1].map(|back| epilogue.axes.len() - back);
    let stream = |value: ValueId, map: &IndexMap| {
        let along = |axis: usize| map.indices().iter().any(|index| index.depends_on(axis));
        match along(row) && along(column) {
            true if 4.0 * elements(value) as f64 > L2_BYTES => FAR_ROW,
            true => NEAR_ROW,
            false => 0.0,
        }
    };
    let of = |instruction: &Instruction| match &instruction.kind {
        InstructionKind::Load { value, map } => stream(*value, map),
        InstructionKind::Apply(function, _) => match function.entry().lowering {
            Lowering::Tile(_) => TILE_CALL,
            Lowering::Inline(_) => 0.0,
        },
        InstructionKind::Random { .. } => TILE_CALL,
        _ => 0.0,
    };
    let instructions: f64 = epilogue.instructions.iter().map(of).sum();
    let stores: f64 = epilogue.stores.iter().map(|store| stream(store.value, &store.map)).sum();
    instructions + stores
}

fn of_library<'a>(library: &Library, type_of: &dyn Fn(ValueId) -> &'a TensorType) -> Work {
    // A transformed convolution counts as what it computes, so that shares of a machine's limit can
    // be compared, whatever way is taken.
    let flops = match &library.routine {
        Routine::Winograd(shape) => direct_flops(shape),
        Routine::WinogradGradient(shape) => direct_gradient_flops(shape),
        _ => 0.0,
    };
    let computing = of_routine(&library.routine);
    let mut work = Work { computing, flops, ..Work::default() };
    for &value in library.operands.iter().chain([&library.result]) {
        let ty = type_of(value);
        work.transfer(ty.elements() as f64, ty);
    }
    work
}

/// Nanoseconds of a routine beside the bytes moved.
fn of_routine(routine: &Routine) -> f64 {
    match routine {
        Routine::Scatter(scatter) => {
            let indices = (scatter.batch * scatter.count) as f64;
            indices * (INDEX + scatter.width as f64 * FOLD)
        }
        Routine::Cumulate(cumulate) => {
            let elements = (cumulate.outer * cumulate.length * cumulate.inner) as f64;
            elements * if cumulate.inner == 1 { CHAIN } else { 4.0 * FOLD }
        }
        Routine::Sort(sort) => {
            let elements = (sort.rows * sort.length) as f64;
            let kept = (sort.kept.max(2) as f64).log2();
            elements * COMPARISON * kept
        }
        Routine::Interleave(interleave) => {
            let blocks = (interleave.parts * interleave.outer) as f64;
            blocks * if interleave.inner == 1 { FOLD } else { SHORT_ROW }
        }
        // They take the place of kernels that have a price: see `fusion/routines.rs`.
        Routine::Pad(_) | Routine::Permute(_) => 0.0,
        Routine::Winograd(shape) => {
            let tiles = shape.tiles() as f64;
            let (from, to) = (shape.from as f64, shape.to as f64);
            let inputs = if shape.transformed { 0.0 } else { shape.column_groups() as f64 * from };
            let points = shape.points() as f64;
            tiles * points * (2.0 * from * to / PRODUCT_RATE + (inputs + to) * TRANSFORM)
        }
        Routine::WinogradInput(shape) => {
            (shape.tiles() * shape.points() * shape.from) as f64 * TRANSFORM
        }
        Routine::WinogradGradient(shape) => {
            let [from, to] = [shape.from, shape.to].map(|channels| channels as f64);
            let [row_blocks, column_blocks] = shape.blocks().map(|blocks| blocks as f64);
            let transformed = from * row_blocks + to * column_blocks;
            let points = (shape.tiles() * gemm::WinogradGradient::POINTS) as f64;
            points * (2.0 * from * to / PRODUCT_RATE + transformed * TRANSFORM)
        }
        Routine::WinogradTaps(shape) => shape.elements()[2] as f64 * TRANSFORM_SUMS,
        Routine::WinogradKernel(kernel) => {
            (kernel.points() * kernel.kernels()) as f64 * TRANSFORM_KERNEL
        }
    }
}

/// The form of a convolution of 3 x 3 taps in a transformed space that is faster than its product, if
/// one is. Kernels have to be transformed in each step unless they are fixed.
pub fn preferred_winograd(
    forms: impl IntoIterator<Item = gemm::Winograd>,
    fixed_kernels: bool,
) -> Option<gemm::Winograd> {
    let computing = |shape: &gemm::Winograd| {
        let mut time = of_routine(&Routine::Winograd(*shape));
        if !fixed_kernels {
            time += of_routine(&Routine::WinogradKernel(shape.kernel(false)));
        }
        if shape.transformed {
            let bytes = 4.0 * shape.transformed_elements() as f64;
            time += of_routine(&Routine::WinogradInput(*shape)) + streaming(2.0 * bytes, bytes);
        }
        time
    };
    // Kernels of all layers are more than the caches hold from one step to the next.
    let timed = forms.into_iter().map(|shape| {
        let bytes = 4.0 * shape.kernel(false).elements() as f64;
        (computing(&shape) + bytes / MEMORY_BANDWIDTH, shape)
    });
    let (_, shape) = timed.min_by(|a, b| a.0.total_cmp(&b.0))?;
    // Kernels have to be read by any convolution.
    (computing(&shape) < WINOGRAD_MARGIN * direct_flops(&shape) / PRODUCT_RATE).then_some(shape)
}

/// Whether the gradient of kernels of 3 x 3 taps is faster by sums in a transformed space.
pub fn prefers_winograd_gradient(shape: &gemm::WinogradGradient) -> bool {
    let sums = 4.0 * shape.elements()[2] as f64;
    let computing = of_routine(&Routine::WinogradGradient(*shape))
        + of_routine(&Routine::WinogradTaps(*shape))
        + 2.0 * streaming(sums, sums);
    computing < WINOGRAD_MARGIN * direct_gradient_flops(shape) / PRODUCT_RATE
}

/// Floating-point operations of a convolution as products and sums of its windows.
fn direct_flops(shape: &gemm::Winograd) -> f64 {
    let gemm::Winograd { samples, from, to, result: [height, width], .. } = *shape;
    2.0 * 9.0 * (samples * height * width) as f64 * (from * to) as f64
}

/// The same for the gradient of its kernels.
fn direct_gradient_flops(shape: &gemm::WinogradGradient) -> f64 {
    let gemm::WinogradGradient { samples, from, to, cotangent: [height, width], .. } = *shape;
    2.0 * 9.0 * (samples * height * width) as f64 * (from * to) as f64
}

/// At most how many elements a map reaches from a domain with these extents.
fn distinct(map: &IndexMap, extents: &[usize]) -> f64 {
    let along = |axis: usize| map.indices().iter().any(|index| index.depends_on(axis));
    (0..extents.len()).filter(|&axis| along(axis)).map(|axis| extents[axis] as f64).product()
}

/// Nanoseconds per element of a load or a store.
struct Access {
    /// Those of each access.
    element: f64,
    /// Those for starting on rows, which all accesses of a loop have in common.
    row_start: f64,
}

fn of_access(map: &IndexMap, ty: &TensorType) -> Access {
    let plain = |element: f64| Access { element, row_start: 0.0 };
    let rows = |length: f64| Access { element: VECTOR_ACCESS, row_start: SHORT_ROW / length };
    let Some(innermost) = map.domain().iter().rposition(|&extent| extent > 1) else {
        return plain(VECTOR_ACCESS);
    };
    let offset = offset_of(map, ty);
    let access = match offset.stride(innermost) {
        Some(0) => plain(VECTOR_ACCESS),
        Some(1) => rows(run_length(&offset, map.domain(), innermost)),
        Some(stride) => plain(of_gap(stride, ty)),
        None => match rows_of(&offset, map.domain(), innermost) {
            Some((0 | 1, width)) if VECTOR_ACCESS + SHORT_ROW / width < SCALAR_ACCESS => {
                rows(width)
            }
            Some((stride, _)) => plain(of_gap(stride, ty)),
            None => plain(SCALAR_ACCESS),
        },
    };
    Access { element: access.element + of_constraints(map), ..access }
}

/// How many neighbours follow each other in memory.
fn run_length(offset: &Expression, domain: &[usize], innermost: usize) -> f64 {
    let mut length = domain[innermost];
    for axis in (0..innermost).rev() {
        match (domain[axis], offset.stride(axis)) {
            (1, _) => {}
            (extent, Some(stride)) if stride == length as i64 => length *= extent,
            _ => break,
        }
    }
    length as f64
}

/// Nanoseconds per access where neighbours lie so many elements apart.
fn of_gap(stride: i64, ty: &TensorType) -> f64 {
    let is_far = stride.abs() * ty.dtype.size() as i64 >= LINE && ty.bytes() > L1_BYTES;
    if is_far { FAR_ACCESS } else { SCALAR_ACCESS }
}

/// The distance of neighbours along the innermost axis within rows, and how many make a row.
fn rows_of(offset: &Expression, domain: &[usize], innermost: usize) -> Option<(i64, f64)> {
    let width = Expression::block_width([offset], innermost)?;
    let mut split = domain.to_vec();
    split[innermost] = domain[innermost].div_ceil(width);
    split.push(width);
    let column = Expression::axis(innermost).times(width as i64);
    let column = column.plus(&Expression::axis(domain.len()));
    let axes = (0..domain.len()).map(Expression::axis);
    let mut replacements: Vec<Expression> = axes.collect();
    replacements[innermost] = column;
    let stride = offset.substitute(&replacements, &split).stride(domain.len())?;
    Some((stride, width as f64))
}

fn of_constraints(map: &IndexMap) -> f64 {
    let Some(innermost) = map.domain().iter().rposition(|&extent| extent > 1) else { return 0.0 };
    let varying = map.constraints().iter().filter(|c| c.expression.depends_on(innermost));
    varying.count() as f64 * CONSTRAINT
}

fn offset_of(map: &IndexMap, ty: &TensorType) -> Expression {
    let mut offset = Expression::constant(0);
    for (index, &extent) in map.indices().iter().zip(&ty.shape) {
        offset = offset.times(extent as i64).plus(index);
    }
    offset
}

fn of_product<'a>(product: &Product, type_of: &dyn Fn(ValueId) -> &'a TensorType) -> Work {
    let batch = product.batch.iter().product::<usize>() as f64;
    let (rows, columns) = (product.rows as f64, product.columns as f64);
    let depth = product.depth as f64;
    let mut work = of_body(&product.epilogue, type_of);
    let blocking =
        gemm::blocking(product.rows, product.columns, product.depth, batch as usize, product.dtype);
    // Each piece packs its part of both operands: the left one once for each block of columns.
    let times = |extent: usize, block: usize| extent.div_ceil(block) as f64;
    let operands = [
        (&product.left, rows * depth, times(product.columns, blocking.columns)),
        (&product.right, depth * columns, times(product.rows, blocking.rows)),
    ];
    let in_place: [fn(Runs) -> bool; 2] = [gemm::reads_left_run, gemm::reads_right_run];
    for (&(operand, elements, times), in_place) in operands.iter().zip(in_place) {
        work.add(of_operand(operand, batch * elements, times, in_place, type_of));
    }
    if let [ProductOperand::Value(left, left_map), ProductOperand::Value(right, right_map)] =
        [&product.left, &product.right]
        && !is_plain(left_map, type_of(*left))
        && is_transposed(right_map, type_of(*right))
    {
        let [_, (_, elements, times)] = operands;
        work.computing += times * batch * elements * TRANSPOSE;
    }
    let tiled = |extent: usize, tile: usize| (extent.div_ceil(tile) * tile) as f64;
    // Lanes of a column tile are masked, rows of a row tile are left out: a tile of a single row
    // still loads the whole right operand for one multiplication each.
    let columns_done = tiled(product.columns, REGISTER_TILE.1 / 2);
    let rows_done = rows.max((rows + REGISTER_TILE.0 as f64) / 2.0);
    let flops = 2.0 * batch * rows * columns * depth;
    work.flops += flops;
    work.computing +=
        2.0 * batch * rows_done * columns_done * depth * lane_factor(product.dtype) / PRODUCT_RATE;
    work
}

/// Whether elements of an operand lie at one distance along each axis.
fn is_plain(map: &IndexMap, ty: &TensorType) -> bool {
    let offset = offset_of(map, ty);
    (0..map.domain().len()).all(|axis| offset.stride(axis).is_some())
}

/// Whether the rows of a matrix, not its columns, are neighbours: dot kernels read it so, if the left operand
/// is plain, others transpose it.
fn is_transposed(map: &IndexMap, ty: &TensorType) -> bool {
    let offset = offset_of(map, ty);
    let [row, column] = [2, 1].map(|back| offset.stride(map.domain().len() - back));
    row == Some(1) && column != Some(1)
}

fn of_operand<'a>(
    operand: &ProductOperand,
    elements: f64,
    times: f64,
    reads_in_place: fn(Runs) -> bool,
    type_of: &dyn Fn(ValueId) -> &'a TensorType,
) -> Work {
    match operand {
        ProductOperand::Value(value, map) => {
            let ty = type_of(*value);
            let mut work = Work::default();
            work.transfer(distinct(map, map.domain()), ty);
            let runs = map.runs(&row_major_strides(&ty.shape));
            if let Some(runs) = runs.filter(|_| !is_plain(map, ty)) {
                let element = match (reads_in_place(runs), are_nearby(runs)) {
                    (true, _) if !are_far(runs) => 0.0,
                    (false, true) => PACK_WINDOWS,
                    _ => PACK_SCATTERED,
                };
                work.computing += times * elements * element;
            }
            work
        }
        ProductOperand::Computed(body) => {
            let once = of_body(body, type_of);
            let computing = times * (once.computing + elements * PACK);
            Work { computing, moving: times * once.moving, ..once }
        }
    }
}
