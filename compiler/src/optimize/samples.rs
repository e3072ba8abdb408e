//! Graphs for tests of the optimizer, and what they evaluate to.

use cygnet_runtime::random;

use crate::array::Array;
use crate::evaluate::{Evaluator, Precision};
use crate::graph::{Emit, Graph, NodeId, Output, SlotRole, Update};
use crate::kernel::KernelGraph;
use crate::kernel::interpret::interpret;
use crate::op::{Op, RandomKind, ReduceKind};
use crate::types::{DType, TensorType};

/// A graph under construction by name.
pub(super) struct Sample {
    pub graph: Graph,
}

impl Sample {
    pub fn new() -> Sample {
        Sample { graph: Graph::new() }
    }

    pub fn slot(&mut self, name: &str, role: SlotRole, dtype: DType, shape: &[usize]) -> NodeId {
        let index = self.graph.declare_slot(name, role, TensorType::new(dtype, shape));
        self.graph.read_slot(index)
    }

    pub fn input(&mut self, name: &str, shape: &[usize]) -> NodeId {
        self.slot(name, SlotRole::Input, DType::F32, shape)
    }

    pub fn output(&mut self, name: &str, node: NodeId) {
        self.graph.outputs.push(Output { name: name.to_owned(), node });
    }

    /// A row of numbers added to each row of a matrix.
    fn add_row(&mut self, matrix: NodeId, row: NodeId) -> NodeId {
        let shape = self.graph.type_of(matrix).shape.clone();
        let row = self.graph.broadcast(row, &shape, &[1]);
        self.graph.add(matrix, row)
    }

    /// `value` repeated along the rows of `like`.
    fn along_rows(&mut self, value: NodeId, like: NodeId) -> NodeId {
        let shape = self.graph.type_of(like).shape.clone();
        self.graph.broadcast(value, &shape, &[0])
    }
}

/// A training step of a multilayer perceptron with softmax cross-entropy and Adam: forward and
/// backward pass written out, and the update of each parameter.
pub(super) fn mlp_step(batch: usize, sizes: &[usize]) -> Graph {
    let mut s = Sample::new();
    let x = s.input("x", &[batch, sizes[0]]);
    let label = s.slot("label", SlotRole::Input, DType::I32, &[batch]);
    let step = s.slot("step", SlotRole::State, DType::F64, &[]);
    let mut activations = vec![x];
    let mut layers = Vec::new();
    for (layer, pair) in sizes.windows(2).enumerate() {
        let name = |part: &str| format!("layer{layer}.{part}");
        let weight = s.slot(&name("weight"), SlotRole::Parameter, DType::F32, &[pair[1], pair[0]]);
        let bias = s.slot(&name("bias"), SlotRole::Parameter, DType::F32, &[pair[1]]);
        let product = s.graph.contract(activations[layer], weight, &[], &[(1, 1)]);
        let sum = s.add_row(product, bias);
        let last = layer + 2 == sizes.len();
        let zero = s.graph.constant_like(sum, 0.0);
        let active = if last { sum } else { s.graph.apply("max", &[sum, zero]) };
        activations.push(active);
        layers.push((weight, bias, sum));
    }
    let logits = *activations.last().unwrap();
    let g = &mut s.graph;
    let shape = g.type_of(logits).shape.clone();
    let largest = g.reduce(ReduceKind::Max, logits, &[1]);
    let largest_row = g.broadcast(largest, &shape, &[0]);
    let shifted = g.sub(logits, largest_row);
    let exponentials = g.apply("exp", &[shifted]);
    let total = g.sum(exponentials, &[1]);
    let log_total = g.apply("log", &[total]);
    let iota = crate::op::Iota { axis: 1, dtype: DType::I32, shape: shape.clone() };
    let classes = g.emit(iota.into(), &[]);
    let labels = g.broadcast(label, &shape, &[0]);
    let hit = g.apply("eq", &[classes, labels]);
    let zero = g.constant_like(shifted, 0.0);
    let picked = g.select(hit, shifted, zero);
    let picked = g.sum(picked, &[1]);
    let losses = g.sub(log_total, picked);
    let sum = g.sum(losses, &[0]);
    let count = g.constant(DType::F32, &[], batch as f64);
    let loss = g.div(sum, count);
    let total_row = g.broadcast(total, &shape, &[0]);
    let softmax = g.div(exponentials, total_row);
    let one = g.constant_like(softmax, 1.0);
    let hit = g.select(hit, one, zero);
    let difference = g.sub(softmax, hit);
    let count = g.constant_like(difference, batch as f64);
    let mut gradient = g.div(difference, count);

    let one = g.constant(DType::F64, &[], 1.0);
    let next_step = g.add(step, one);
    let mut correction = |decay: f64| {
        let decay = g.constant(DType::F64, &[], decay);
        let power = g.apply("pow", &[decay, next_step]);
        let one = g.constant(DType::F64, &[], 1.0);
        let rest = g.sub(one, power);
        g.cast(rest, DType::F32)
    };
    let corrections = [correction(0.9), correction(0.999)];
    s.graph.updates.push(Update { slot: 2, node: next_step });
    for (layer, &(weight, bias, _)) in layers.iter().enumerate().rev() {
        let weight_gradient = s.graph.contract(gradient, activations[layer], &[], &[(0, 0)]);
        let bias_gradient = s.graph.sum(gradient, &[0]);
        for (parameter, gradient) in [(weight, weight_gradient), (bias, bias_gradient)] {
            adam(&mut s, parameter, gradient, corrections);
        }
        if layer > 0 {
            let back = s.graph.contract(gradient, weight, &[], &[(1, 0)]);
            let before = layers[layer - 1].2;
            let zero = s.graph.constant_like(before, 0.0);
            let positive = s.graph.apply("lt", &[zero, before]);
            gradient = s.graph.select(positive, back, zero);
        }
    }
    s.output("loss", loss);
    s.output("logits", logits);
    s.graph.guards.push(loss);
    s.graph
}

fn adam(s: &mut Sample, parameter: NodeId, gradient: NodeId, corrections: [NodeId; 2]) {
    let Op::Slot(slot) = s.graph.node(parameter).op.clone() else { unreachable!("a parameter") };
    let name = s.graph.slots[slot.index as usize].name.clone();
    let mut state = |part: &str| {
        let name = format!("{name}.{part}");
        (s.graph.slots.len() as u32, s.slot(&name, SlotRole::State, DType::F32, &slot.ty.shape))
    };
    let ((mean_slot, mean), (square_slot, square)) = (state("mean"), state("square"));
    let g = &mut s.graph;
    let scaled = |g: &mut Graph, node: NodeId, factor: f64| {
        let factor = g.constant_like(node, factor);
        g.mul(node, factor)
    };
    let (kept, fresh) = (scaled(g, mean, 0.9), scaled(g, gradient, 1.0 - 0.9));
    let mean = g.add(kept, fresh);
    let squared = g.mul(gradient, gradient);
    let (kept, fresh) = (scaled(g, square, 0.999), scaled(g, squared, 1.0 - 0.999));
    let square = g.add(kept, fresh);
    let [mean_correction, square_correction] =
        corrections.map(|correction| g.splat(correction, &slot.ty.shape));
    let corrected = g.div(mean, mean_correction);
    let spread = g.div(square, square_correction);
    let spread = g.apply("sqrt", &[spread]);
    let epsilon = g.constant_like(spread, 1e-8);
    let spread = g.add(spread, epsilon);
    let change = g.div(corrected, spread);
    let change = scaled(g, change, 1e-3);
    let parameter = g.sub(parameter, change);
    for (slot, node) in [(slot.index, parameter), (mean_slot, mean), (square_slot, square)] {
        g.updates.push(Update { slot, node });
    }
}

/// Normalization of each row, its scale and shift, and the residual connection before it.
pub(super) fn layer_norm(rows: usize, columns: usize) -> Graph {
    let mut s = Sample::new();
    let x = s.input("x", &[rows, columns]);
    let residual = s.input("residual", &[rows, columns]);
    let (scale, shift) = (s.input("scale", &[columns]), s.input("shift", &[columns]));
    let active = s.graph.apply("gelu", &[x]);
    let x = s.graph.add(active, residual);
    let count = s.graph.constant(DType::F32, &[rows], columns as f64);
    let sum = s.graph.sum(x, &[1]);
    let mean = s.graph.div(sum, count);
    let mean = s.along_rows(mean, x);
    let centered = s.graph.sub(x, mean);
    let squares = s.graph.mul(centered, centered);
    let sum = s.graph.sum(squares, &[1]);
    let variance = s.graph.div(sum, count);
    let epsilon = s.graph.constant_like(variance, 1e-5);
    let variance = s.graph.add(variance, epsilon);
    let deviation = s.graph.apply("sqrt", &[variance]);
    let deviation = s.along_rows(deviation, x);
    let normal = s.graph.div(centered, deviation);
    let shape = s.graph.type_of(x).shape.clone();
    let scale = s.graph.broadcast(scale, &shape, &[1]);
    let scaled = s.graph.mul(normal, scale);
    let result = s.add_row(scaled, shift);
    s.output("result", result);
    s.graph
}

/// Numbers for all slots: small positive state, indices below 3, everything else around zero.
pub(super) fn slot_values(graph: &Graph) -> Vec<Array> {
    let mut bits = 0x1234_5678_9abc_def0_u64;
    let mut next = move || {
        // xorshift64 (Marsaglia, 2003)
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        (bits >> 11) as f64 / (1u64 << 53) as f64
    };
    let slots = graph.slots.iter();
    slots
        .map(|slot| {
            Array::from_fn(slot.ty.clone(), |_| match (slot.ty.dtype, slot.role) {
                (DType::F32 | DType::F64, SlotRole::State) => next() * 0.1 + 0.01,
                (DType::F32 | DType::F64, _) => next() * 2.0 - 1.0,
                (DType::Bool, _) => f64::from(u8::from(next() < 0.5)),
                (DType::I32 | DType::U8, _) => (next() * 3.0).floor(),
            })
        })
        .collect()
}

/// Checks that a kernel graph computes what its graph does for these slots.
pub(super) fn assert_computes(kernels: &KernelGraph, graph: &Graph, slots: &[Array]) {
    let expected = Evaluator::new(slots).values(graph);
    let dense: Vec<Vec<f64>> = slots.iter().map(|slot| slot.values.clone()).collect();
    let random = |kind: RandomKind, stream: u64, index: u64| {
        f64::from(match kind {
            RandomKind::Uniform => random::uniform(0, stream, 0, index),
            RandomKind::Normal => random::normal(0, stream, 0, index),
        })
    };
    let values = interpret(kernels, &dense, &random);
    let same = |what: &str, node: NodeId, value| {
        let (expected, found) = (&expected[node.index()].values, &values[&value]);
        assert_eq!(expected.len(), found.len());
        for (place, (a, b)) in expected.iter().zip(found).enumerate() {
            let close =
                (a - b).abs() <= 1e-9 * (1.0 + a.abs()) || a == b || a.is_nan() && b.is_nan();
            assert!(close, "{what} at {place}: {a} became {b}\n{kernels}");
        }
    };
    for (output, (name, value)) in graph.outputs.iter().zip(&kernels.outputs) {
        assert_eq!(&output.name, name);
        same(name, output.node, *value);
    }
    for &(slot, value) in &kernels.updates {
        let update = graph.updates.iter().find(|update| update.slot == slot).unwrap();
        same(&graph.slots[slot as usize].name, update.node, value);
    }
    for (&node, &value) in graph.guards.iter().zip(&kernels.guards) {
        same("guard", node, value);
    }
}

/// Checks that a graph computes what another one with the same slots does, up to a share of the
/// largest element of each result.
pub(super) fn assert_equal(optimized: &Graph, graph: &Graph, slots: &[Array], tolerance: f64) {
    // Bits are those of the element types: constants are folded to them.
    let precision = if tolerance == 0.0 { Precision::Single } else { Precision::Double };
    let evaluator = Evaluator { precision, ..Evaluator::new(slots) };
    let (expected, found) = (evaluator.values(graph), evaluator.values(optimized));
    let names = graph.outputs.iter().map(|output| output.name.as_str());
    let names =
        names.chain(graph.updates.iter().map(|u| graph.slots[u.slot as usize].name.as_str()));
    let names = names.chain(graph.guards.iter().map(|_| "guard"));
    let roots: Vec<NodeId> = optimized.roots().collect();
    for ((name, old), new) in names.zip(graph.roots()).zip(roots) {
        let (expected, found) = (&expected[old.index()], &found[new.index()]);
        assert_eq!(expected.ty, found.ty);
        let scale = expected.values.iter().fold(1e-3, |scale: f64, value| scale.max(value.abs()));
        for (place, (a, b)) in expected.values.iter().zip(&found.values).enumerate() {
            let close = (a - b).abs() <= tolerance * scale || a == b || a.is_nan() && b.is_nan();
            assert!(close, "{name} at {place}: {a} became {b}\n{graph}\n{optimized}");
        }
    }
}
