//! Kernel graphs written by hand: what they compute, how they are printed, and that broken ones are
//! refused with the right message.

use smallvec::smallvec;

use super::interpret::interpret;
use super::verify::verify;
use super::*;
use crate::graph::SlotRole;

fn parallel(extent: usize) -> Axis {
    Axis { extent, role: AxisRole::Parallel }
}

fn reduced(extent: usize) -> Axis {
    Axis { extent, role: AxisRole::Reduced }
}

fn apply(name: &str, operands: &[InstructionId]) -> InstructionKind {
    let function = Elementwise::named(name).expect("an elementwise function");
    InstructionKind::Apply(function, operands.iter().copied().collect())
}

/// A kernel graph under construction.
#[derive(Default)]
struct Draft {
    graph: KernelGraph,
}

impl Draft {
    /// A slot, and the value that it is before the step.
    fn slot(&mut self, name: &str, dtype: DType, shape: &[usize]) -> ValueId {
        let ty = TensorType::new(dtype, shape);
        let slot = self.graph.slots.len() as u32;
        let info = SlotInfo { name: name.to_owned(), role: SlotRole::Input, ty: ty.clone() };
        self.graph.slots.push(info);
        self.value(Some(slot), ty)
    }

    /// A value that a kernel writes.
    fn written(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        self.value(None, TensorType::new(dtype, shape))
    }

    fn value(&mut self, slot: Option<u32>, ty: TensorType) -> ValueId {
        let id = ValueId(self.graph.values.len() as u32);
        self.graph.values.push(Value { ty, slot, node: NodeId(id.0) });
        id
    }

    /// A kernel, with edges from the writers of what it reads.
    fn kernel(&mut self, name: &str, body: KernelBody) -> KernelId {
        let kernel = Kernel {
            name: name.to_owned(),
            body,
            nodes: Vec::new(),
            reasons: vec!["for a test".to_owned()],
            cost: Cost { nanoseconds: 100.0, flops: 12.0, bytes: 48.0 },
        };
        let loaded = kernel.loaded();
        let id = self.graph.kernels.add_node(kernel);
        for value in loaded {
            let kernels = &self.graph.kernels;
            let writer = kernels
                .node_indices()
                .find(|&other| other != id && kernels[other].stored().any(|v| v == value));
            if let Some(writer) = writer {
                self.graph.kernels.add_edge(writer, id, value);
            }
        }
        id
    }

    fn run(&self, slots: &[&[f64]]) -> Vec<Vec<f64>> {
        verify(&self.graph).expect("a valid kernel graph");
        let slots: Vec<Vec<f64>> = slots.iter().map(|slot| slot.to_vec()).collect();
        let values = interpret(&self.graph, &slots, &|_, _, index| index as f64);
        let outputs = self.graph.outputs.iter();
        outputs.map(|(_, value)| values[value].clone()).collect()
    }
}

/// The shares of a matrix's rows in their sums (per point), and the sums (per row), then the
/// largest sum as a scalar.
fn shares() -> Draft {
    let mut draft = Draft::default();
    let x = draft.slot("x", DType::F32, &[2, 3]);
    let (sums, shares) = (draft.written(DType::F32, &[2]), draft.written(DType::F32, &[2, 3]));
    let largest = draft.written(DType::F32, &[]);
    let mut body = Body { axes: vec![parallel(2), reduced(3)], ..Body::default() };
    let map = IndexMap::identity(&[2, 3]);
    let load = body.push(InstructionKind::Load { value: x, map: map.clone() }, DType::F32);
    let sum = body.push(InstructionKind::Reduce(ReduceKind::Sum, load), DType::F32);
    let share = body.push(apply("div", &[load, sum]), DType::F32);
    body.stores.push(Store { value: sums, map: IndexMap::identity(&[2]), instruction: sum });
    body.stores.push(Store { value: shares, map, instruction: share });
    draft.kernel("row_shares", KernelBody::Fused(body));

    let mut body = Body { axes: vec![reduced(2)], ..Body::default() };
    let map = IndexMap::identity(&[2]);
    let load = body.push(InstructionKind::Load { value: sums, map }, DType::F32);
    let top = body.push(InstructionKind::Reduce(ReduceKind::Max, load), DType::F32);
    body.stores.push(Store { value: largest, map: IndexMap::identity(&[]), instruction: top });
    draft.kernel("largest", KernelBody::Fused(body));
    draft.graph.outputs = vec![("shares".to_owned(), shares), ("largest".to_owned(), largest)];
    draft.graph.guards = vec![largest];
    draft
}

/// The product of two matrices, each element then doubled.
fn doubled_product() -> Draft {
    let mut draft = Draft::default();
    let (a, b) = (draft.slot("a", DType::F32, &[2, 3]), draft.slot("b", DType::F32, &[3, 2]));
    let result = draft.written(DType::F32, &[2, 2]);
    let mut epilogue = Body { axes: vec![parallel(2), parallel(2)], ..Body::default() };
    let product = epilogue.push(InstructionKind::Accumulator, DType::F32);
    let doubled = epilogue.push(apply("add", &[product, product]), DType::F32);
    let map = IndexMap::identity(&[2, 2]);
    epilogue.stores.push(Store { value: result, map, instruction: doubled });
    let product = Product {
        dtype: DType::F32,
        batch: smallvec![],
        rows: 2,
        columns: 2,
        depth: 3,
        left: ProductOperand::Value(a, IndexMap::identity(&[2, 3])),
        right: ProductOperand::Value(b, IndexMap::identity(&[3, 2])),
        epilogue,
    };
    draft.kernel("matmul_add", KernelBody::Product(Box::new(product)));
    draft.graph.outputs = vec![("y".to_owned(), result)];
    draft
}

#[test]
fn per_row_results_are_used_per_point() {
    let results = shares().run(&[&[1.0, 2.0, 5.0, 1.0, 1.0, 2.0]]);
    assert_eq!(results[0], [0.125, 0.25, 0.625, 0.25, 0.25, 0.5]);
    assert_eq!(results[1], [8.0]);
}

#[test]
fn epilogues_see_finished_products() {
    let a = [1.0, 2.0, 3.0, 0.0, -1.0, 4.0];
    let b = [1.0, 0.0, 0.0, 1.0, 2.0, 2.0];
    assert_eq!(doubled_product().run(&[&a, &b])[0], [14.0, 16.0, 16.0, 14.0]);
}

/// One kernel that stores what `body` makes of its axes and slots.
fn single(
    slots: &[(DType, &[usize], &[f64])],
    axes: Vec<Axis>,
    rows: &[usize],
    dtype: DType,
    build: impl FnOnce(&mut Body) -> InstructionId,
) -> Vec<f64> {
    let mut draft = Draft::default();
    for (number, (dtype, shape, _)) in slots.iter().enumerate() {
        draft.slot(&format!("x{number}"), *dtype, shape);
    }
    let value = draft.written(dtype, rows);
    let mut body = Body { axes, ..Body::default() };
    let instruction = build(&mut body);
    body.stores.push(Store { value, map: IndexMap::identity(rows), instruction });
    draft.kernel("single", KernelBody::Fused(body));
    draft.graph.outputs = vec![("y".to_owned(), value)];
    let values: Vec<&[f64]> = slots.iter().map(|(_, _, values)| *values).collect();
    draft.run(&values).remove(0)
}

#[test]
fn the_first_of_equal_extremes_is_found() {
    let x: (DType, &[usize], &[f64]) = (DType::F32, &[2, 3], &[1.0, 7.0, 7.0, 2.0, 0.0, 0.0]);
    for (kind, expected) in [(ArgKind::Max, [1.0, 0.0]), (ArgKind::Min, [0.0, 1.0])] {
        let found = single(&[x], vec![parallel(2), reduced(3)], &[2], DType::I32, |body| {
            let map = IndexMap::identity(&[2, 3]);
            let load = body.push(InstructionKind::Load { value: ValueId(0), map }, DType::F32);
            body.push(InstructionKind::ArgReduce(kind, load), DType::I32)
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn indices_outside_gather_nan() {
    let table: (DType, &[usize], &[f64]) = (DType::F32, &[3], &[10.0, 20.0, 30.0]);
    let indices: (DType, &[usize], &[f64]) = (DType::I32, &[4], &[2.0, 0.0, 3.0, -1.0]);
    let found = single(&[table, indices], vec![parallel(4)], &[4], DType::F32, |body| {
        let map = IndexMap::identity(&[4]);
        let index = body.push(InstructionKind::Load { value: ValueId(1), map }, DType::I32);
        let map = IndexMap::new(&[4], [Expression::constant(0)]);
        let gather = InstructionKind::Gather { value: ValueId(0), map, axis: 0, index };
        body.push(gather, DType::F32)
    });
    assert_eq!(found[..2], [30.0, 10.0]);
    assert!(found[2..].iter().all(|value| value.is_nan()), "{found:?}");
}

#[test]
fn random_numbers_are_asked_for_by_position() {
    let found = single(&[], vec![parallel(2), parallel(3)], &[2, 3], DType::F32, |body| {
        let index = Expression::axis(0).times(3).plus(&Expression::axis(1));
        let random = InstructionKind::Random { kind: RandomKind::Uniform, stream: 5, index };
        body.push(random, DType::F32)
    });
    assert_eq!(found, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn kernel_graphs_as_text() {
    insta::assert_snapshot!(format!("{}\n{}", shares().graph, doubled_product().graph));
}

/// The fused body of a kernel.
fn body(draft: &mut Draft, kernel: usize) -> &mut Body {
    match &mut draft.graph.kernels[KernelId::new(kernel)].body {
        KernelBody::Fused(body) => body,
        KernelBody::Product(product) => &mut product.epilogue,
        _ => unreachable!("samples have no loops and routines"),
    }
}

fn product(draft: &mut Draft) -> &mut Product {
    match &mut draft.graph.kernels[KernelId::new(0)].body {
        KernelBody::Product(product) => product,
        _ => unreachable!("the sample is a product"),
    }
}

type Damage = fn(&mut Draft);

/// Damage to [`shares`], and what is said about it.
const DAMAGED_SHARES: &[(Damage, &str)] = &[
    (|d| body(d, 1).stores.clear(), "kernel 1 (largest): nothing is stored"),
    (|d| body(d, 1).stores[0].value = ValueId(0), "kernel 1 (largest): "),
    (|d| body(d, 0).stores[1].value = ValueId(9), "kernel 0 (row_shares): there is no v9"),
    (|d| body(d, 0).instructions.swap(0, 1), "%0 uses a later instruction"),
    (|d| body(d, 0).instructions[2].dtype = DType::F64, "%2 is f64, not f32"),
    (|d| body(d, 0).axes[1].role = AxisRole::Parallel, "%1 reduces over 0 axes"),
    (|d| body(d, 0).axes[1].extent = 4, "is not over [2, 4]"),
    (
        |d| body(d, 0).stores[1].map = IndexMap::new(&[2, 3], vec![Expression::constant(0); 2]),
        "does not write v2 once",
    ),
    (
        |d| {
            let outside =
                vec![Expression::axis(0), Expression::axis(1).plus(&Expression::constant(1))];
            let map = IndexMap::new(&[2, 3], outside);
            body(d, 0).instructions[0].kind = InstructionKind::Load { value: ValueId(0), map };
        },
        "leaves v0",
    ),
    (
        |d| {
            let again = d.graph.kernels[KernelId::new(1)].clone();
            d.kernel("again", again.body);
        },
        "v3 is written twice",
    ),
    (|d| d.graph.kernels.clear_edges(), "edges are []"),
    (
        |d| {
            d.graph.kernels.add_edge(KernelId::new(1), KernelId::new(0), ValueId(3));
        },
        "kernels wait for each other in a circle",
    ),
    (|d| d.graph.outputs[0].1 = ValueId(0), "output shares v0 is not written by a kernel"),
    (|d| d.graph.guards = vec![ValueId(1)], "f32[2] cannot guard the step"),
    (|d| d.graph.updates = vec![(0, ValueId(1))], "slot 0 does not take v1 of type f32[2]"),
    (|d| d.graph.updates = vec![(0, ValueId(2)); 2], "slot 0 or v2 is in two updates"),
    (|d| d.graph.slots[0].ty = TensorType::scalar(DType::F32), "v0 is not slot 0"),
    (
        |d| {
            d.written(DType::F32, &[1]);
        },
        "nothing writes v4",
    ),
];

/// Damage to [`doubled_product`], and what is said about it.
const DAMAGED_PRODUCTS: &[(Damage, &str)] = &[
    (|d| product(d).epilogue.stores.clear(), "the epilogue stores nothing"),
    (|d| product(d).depth = 4, "is not over [2, 4]"),
    (|d| product(d).dtype = DType::F64, "operand v0 of a f64 product"),
    (
        |d| {
            product(d).epilogue.axes.pop();
        },
        "instead of parallel ones of [2, 2]",
    ),
    (
        |d| product(d).left = ProductOperand::Computed(Body::default()),
        "instead of parallel ones of [2, 3]",
    ),
    (
        |d| {
            let body = product(d).epilogue.clone();
            d.graph.kernels[KernelId::new(0)].body = KernelBody::Fused(body);
        },
        "there is no product outside an epilogue",
    ),
];

/// Damages a sample, which is valid, in each way.
fn assert_refused(sample: fn() -> Draft, damages: &[(Damage, &str)]) {
    assert_eq!(verify(&sample().graph), Ok(()));
    for (damage, message) in damages {
        let mut draft = sample();
        damage(&mut draft);
        let error = verify(&draft.graph).expect_err(message);
        assert!(error.contains(message), "{error}, not {message}");
    }
}

#[test]
fn broken_kernel_graphs_are_refused() {
    assert_refused(shares, DAMAGED_SHARES);
    assert_refused(doubled_product, DAMAGED_PRODUCTS);
}
