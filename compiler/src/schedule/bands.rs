//! Loops whose steps treat rows on their own.
//!
//! In a recurrent network, samples do not meet: row r of what a step writes depends on row r of what
//! this step and the one before wrote, and on what stands outside. Then no thread needs to wait for others
//! within the loop, nor to fetch what they wrote: the loop is cut into bands of rows, and whoever takes a
//! band runs all steps for it.

use crate::index::{Expression, IndexMap};
use crate::kernel::{
    AxisRole, Body, InstructionKind, KernelBody, Loop, LoopOperand, Product, ProductOperand,
    ValueId,
};

/// Rows of a band at least, since the rows of a band share what they read of a matrix. (A product of 8
/// rows runs at 84 to 88 % of the speed of 32 rows, one of 4 at 65 to 75 %: measured by `benches/gemm.rs`
/// on an Intel server with AVX-512, panels in the second-level cache.)
const LEAST_ROWS: usize = 8;

/// Bands at most: one for each of 16 threads.
const MOST_BANDS: usize = 16;

/// Bytes that stay the same in all steps, at most: each band reads them in each step, from a second-level
/// cache. Beyond, columns are cut instead, so that each thread has its part of them.
const MOST_CAPTURED_BYTES: usize = 3 << 19;

/// Bytes of two cache lines, which processors fetch together: bands share none.
const LINES: usize = 128;

/// How the kernels of a loop's body are cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bands {
    /// Rows of a band; the last one may have fewer.
    pub height: usize,
    /// Number of bands.
    pub count: usize,
    /// For each kernel of the body, which axis of its domain is that of rows. (Of a product, rows.)
    pub axes: Vec<usize>,
}

/// How a loop can be cut into bands of rows, if it can and that is worth it.
pub fn bands(the_loop: &Loop) -> Option<Bands> {
    let body = &the_loop.body;
    let kernels: Vec<&KernelBody> =
        body.kernels.node_weights().map(|kernel| &kernel.body).collect();
    let mut written = vec![false; body.values.len()];
    for value in kernels.iter().flat_map(|kernel| stored(kernel)) {
        written[value.0 as usize] = true;
    }
    for (value, written) in body.values.iter().zip(&mut written) {
        let operand = value.slot.map(|slot| the_loop.operands[slot as usize]);
        *written |= matches!(operand, Some(LoopOperand::Carry { .. }));
    }
    let mut rows = None;
    let mut row_bytes = usize::MAX;
    for (value, _) in body.values.iter().zip(&written).filter(|(_, written)| **written) {
        let &extent = value.ty.shape.first()?;
        if *rows.get_or_insert(extent) != extent || extent == 0 {
            return None;
        }
        row_bytes = row_bytes.min(value.ty.bytes() / extent);
    }
    let rows = rows?;
    let operands = the_loop.operands.iter().zip(&body.slots);
    let captured = operands.filter(|(operand, _)| matches!(operand, LoopOperand::Capture(_)));
    let captured_bytes: usize = captured.map(|(_, slot)| slot.ty.bytes()).sum();
    if the_loop.until || captured_bytes > MOST_CAPTURED_BYTES {
        return None;
    }
    let unit = LINES.div_ceil(row_bytes.max(1)).next_power_of_two();
    let height = rows.div_ceil(MOST_BANDS).max(LEAST_ROWS).next_multiple_of(unit);
    let count = rows.div_ceil(height);
    let with_rows = WithRows { written: &written, rows };
    let axes: Vec<usize> =
        kernels.into_iter().map(|kernel| with_rows.axis(kernel)).collect::<Option<_>>()?;
    (count > 1).then_some(Bands { height, count, axes })
}

/// The values that a kernel of a loop writes.
fn stored(kernel: &KernelBody) -> Vec<ValueId> {
    match kernel {
        KernelBody::Fused(body) => body.stored().collect(),
        KernelBody::Product(product) => product.epilogue.stored().collect(),
        KernelBody::Library(library) => vec![library.result],
        KernelBody::Loop(inner) => inner.stored().collect(),
    }
}

/// What changes in a loop, and has these rows.
struct WithRows<'a> {
    written: &'a [bool],
    rows: usize,
}

impl WithRows<'_> {
    /// The axis of a kernel's domain that is that of rows, in all that it reads and writes of them.
    fn axis(&self, kernel: &KernelBody) -> Option<usize> {
        match kernel {
            KernelBody::Fused(body) => {
                let first = body.stores.first()?;
                let axis = own_axis(&first.map)?;
                let axis = match body.per_point()[first.instruction.0 as usize] {
                    true => axis,
                    false => parallel_axes(body)[axis],
                };
                self.keeps_rows(body, axis).then_some(axis)
            }
            KernelBody::Product(product) => self.product_keeps_rows(product).then_some(0),
            KernelBody::Library(_) | KernelBody::Loop(_) => None,
        }
    }

    /// Whether a body reads and writes row r where its index along `axis` is r, and nowhere else.
    fn keeps_rows(&self, body: &Body, axis: usize) -> bool {
        let is_parallel = body.axes[axis].role == AxisRole::Parallel;
        // Stores of what is the same along reduced axes count parallel axes only.
        let per_point = body.per_point();
        let among_parallel = parallel_axes(body).iter().position(|&other| other == axis);
        let keeps = |map: &IndexMap, axis| map.indices().first() == Some(&Expression::axis(axis));
        let stores = body.stores.iter().all(|store| {
            let axis =
                if per_point[store.instruction.0 as usize] { Some(axis) } else { among_parallel };
            axis.is_some_and(|axis| keeps(&store.map, axis))
        });
        let loads = body.instructions.iter().all(|instruction| match &instruction.kind {
            InstructionKind::Load { value, map } => !self.changes(*value) || keeps(map, axis),
            InstructionKind::Gather { value, map, axis: along, .. } => {
                !self.changes(*value) || (*along > 0 && keeps(map, axis))
            }
            _ => true,
        });
        is_parallel && body.axes[axis].extent == self.rows && stores && loads
    }

    /// Whether rows of a product depend on the same rows of what changes in the loop.
    fn product_keeps_rows(&self, product: &Product) -> bool {
        let left = match &product.left {
            ProductOperand::Value(value, map) => {
                !self.changes(*value) || map.indices().first() == Some(&Expression::axis(0))
            }
            ProductOperand::Computed(body) => self.keeps_rows(body, 0),
        };
        let right = match &product.right {
            ProductOperand::Value(value, _) => !self.changes(*value),
            ProductOperand::Computed(body) => !body.loaded().any(|value| self.changes(value)),
        };
        let no_batch = product.batch.is_empty();
        no_batch
            && product.rows == self.rows
            && left
            && right
            && self.keeps_rows(&product.epilogue, 0)
    }

    fn changes(&self, value: ValueId) -> bool {
        self.written[value.0 as usize]
    }
}

fn parallel_axes(body: &Body) -> Vec<usize> {
    (0..body.axes.len()).filter(|&axis| body.axes[axis].role == AxisRole::Parallel).collect()
}

/// The axis that is the first index of a map.
fn own_axis(map: &IndexMap) -> Option<usize> {
    let first = map.indices().first()?;
    (0..map.domain().len()).find(|&axis| *first == Expression::axis(axis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Emit, Graph, NodeId, Output, ScanBuilder, SlotRole};
    use crate::optimize::OptimizeOptions;
    use crate::optimize::fusion::fuse;
    use crate::types::{DType, TensorType};

    /// The bands of the loop `h <- tanh(h W + x_t)` of 5 steps, its state changed further by `also`.
    fn bands_of(
        rows: usize,
        columns: usize,
        also: fn(&mut Graph, NodeId, [usize; 2]) -> NodeId,
    ) -> Option<Bands> {
        let mut g = Graph::new();
        let shapes = [vec![rows, columns], vec![columns, columns], vec![5, rows, columns]];
        let [h, w, x] = shapes.map(|shape| {
            let name = g.slots.len().to_string();
            let slot = g.declare_slot(&name, SlotRole::Input, TensorType::new(DType::F32, &shape));
            g.read_slot(slot)
        });
        let mut scan = ScanBuilder::begin(&g, 5, false);
        let state = scan.carry(&mut g, "state", h);
        let x = scan.element(&mut g, "x", x);
        let product = g.contract(state, w, &[], &[(1, 0)]);
        let sum = g.add(product, x);
        let next = g.apply("tanh", &[sum]);
        let next = also(&mut g, next, [rows, columns]);
        let results = scan.finish(&mut g, &[next], &[next]);
        g.outputs.push(Output { name: "states".to_owned(), node: results.yields[0] });
        g.prune();
        let mut kernels = fuse(&g, &OptimizeOptions::default(), 1);
        let the_loop = kernels.kernels.node_weights_mut().find_map(|kernel| match &kernel.body {
            KernelBody::Loop(the_loop) => Some((**the_loop).clone()),
            _ => None,
        });
        let mut the_loop = the_loop.expect("there is a loop");
        crate::schedule::order::order(
            &mut the_loop.body,
            crate::schedule::order::Replacement::Alternate,
        );
        bands(&the_loop)
    }

    fn nothing(_: &mut Graph, state: NodeId, _: [usize; 2]) -> NodeId {
        state
    }

    /// Each row divided by its sum of squares.
    fn normalized(g: &mut Graph, state: NodeId, shape: [usize; 2]) -> NodeId {
        let squares = g.mul(state, state);
        let sums = g.sum(squares, &[1]);
        let sums = g.broadcast(sums, &shape, &[0]);
        g.div(state, sums)
    }

    /// Each row without the sum of all rows.
    fn centred(g: &mut Graph, state: NodeId, shape: [usize; 2]) -> NodeId {
        let sums = g.sum(state, &[0]);
        let sums = g.broadcast(sums, &shape, &[1]);
        g.sub(state, sums)
    }

    /// Rows in the other order.
    fn turned(g: &mut Graph, state: NodeId, _: [usize; 2]) -> NodeId {
        g.reverse(state, &[0])
    }

    #[test]
    fn rows_that_never_meet_make_bands() {
        for also in [nothing, normalized] {
            let bands = bands_of(36, 64, also).unwrap();
            assert_eq!((bands.height, bands.count), (8, 5));
            let bands = bands_of(320, 64, also).unwrap();
            assert_eq!((bands.height, bands.count), (20, 16));
        }
    }

    #[test]
    fn rows_that_meet_make_none() {
        for also in [centred, turned] {
            assert_eq!(bands_of(36, 64, also), None);
        }
    }

    #[test]
    fn few_rows_and_large_matrices_make_none() {
        assert_eq!(bands_of(8, 64, nothing), None);
        assert_eq!(bands_of(36, 800, nothing), None);
    }

    #[test]
    fn bands_share_no_lines_of_memory() {
        // Rows of 12 bytes: 16 of them and more are a whole number of lines.
        assert_eq!(bands_of(40, 3, nothing).unwrap().height, 16);
    }
}
