//! What becomes of convolutions, as kernels.

use super::expand;
use crate::array::Array;
use crate::evaluate::Evaluator;
use crate::graph::{Emit, Graph, NodeId, Output, SlotRole};
use crate::kernel::{InstructionKind, KernelBody, KernelGraph, Product, ProductOperand};
use crate::op::{Conv, Op, Sliding};
use crate::optimize::{MathMode, OptimizeOptions, fusion, optimize, prepare};
use crate::types::{DType, TensorType};

fn slot(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    let ty = TensorType::new(DType::F32, shape);
    let index = graph.declare_slot(name, SlotRole::Input, ty);
    graph.read_slot(index)
}

/// A convolution of two slots, in a graph of its own.
fn convolution(input: &[usize], kernel: &[usize], sliding: Sliding) -> (Graph, NodeId) {
    let mut graph = Graph::new();
    let operands = [slot(&mut graph, "x", input), slot(&mut graph, "w", kernel)];
    let axes = [sliding; 2].into_iter().collect();
    let y = graph.emit(Conv { axes, reversed: false }.into(), &operands);
    (graph, y)
}

fn kernels(mut graph: Graph, result: NodeId) -> KernelGraph {
    graph.outputs.push(Output { name: "y".to_owned(), node: result });
    let options = OptimizeOptions::default();
    fusion::fuse(&optimize(&graph, &options).0, &options, 1)
}

fn products(kernels: &KernelGraph) -> Vec<&Product> {
    let mut products = Vec::new();
    for kernel in kernels.kernels.node_weights() {
        if let KernelBody::Product(product) = &kernel.body {
            products.push(&**product);
        }
    }
    products
}

const SAME: Sliding = Sliding { low: 1, high: 1, ..Sliding::PLAIN };

#[test]
fn a_kernel_of_one_element_is_a_product_in_place() {
    let (graph, y) = convolution(&[1, 4, 16, 12, 12], &[1, 32, 16, 1, 1], Sliding::PLAIN);
    let kernels = kernels(graph, y);
    assert_eq!(kernels.kernels.node_count(), 1);
    let [product] = products(&kernels)[..] else { panic!("one product") };
    assert!(matches!(product.left, ProductOperand::Value(..)));
    assert!(matches!(product.right, ProductOperand::Value(..)));
}

#[test]
fn windows_are_read_where_they_lie() {
    // Too few channels for a transformed space.
    let (mut graph, y) = convolution(&[1, 8, 16, 28, 28], &[1, 32, 16, 3, 3], SAME);
    let bias = slot(&mut graph, "bias", &[32]);
    let shape = graph.type_of(y).shape.clone();
    let bias = graph.broadcast(bias, &shape, &[2]);
    let sum = graph.add(y, bias);
    let zero = graph.constant_like(sum, 0.0);
    let y = graph.apply("max", &[sum, zero]);
    let kernels = kernels(graph, y);
    // The padded input, and the product with bias and rectifier in its epilogue.
    assert_eq!(kernels.kernels.node_count(), 2);
    let windows = 8 * 28 * 28 * 16 * 9;
    assert!(kernels.values.iter().all(|value| value.ty.elements() < windows));
    let [product] = products(&kernels)[..] else { panic!("one product") };
    assert!(matches!(product.left, ProductOperand::Value(..)));
    // Windows over the padded input, where they lie.
    assert!(matches!(product.right, ProductOperand::Value(..)));
    let applied = product.epilogue.instructions.iter();
    let applied = applied.filter(|i| matches!(i.kind, InstructionKind::Apply(..)));
    assert!(applied.count() >= 2);
}

#[test]
fn the_gradient_of_a_kernel_is_summed_in_parts() {
    let (mut graph, y) = convolution(&[1, 8, 16, 28, 28], &[1, 32, 16, 3, 3], SAME);
    let shape = graph.type_of(y).shape.clone();
    let weights = slot(&mut graph, "weights", &shape);
    let weighted = graph.mul(y, weights);
    let loss = graph.sum(weighted, &[0, 1, 2, 3, 4]);
    let kernel = NodeId(1);
    let gradient = crate::differentiate::gradient(&mut graph, loss, &[kernel]).unwrap();
    let kernels = kernels(graph, gradient[0].unwrap());
    let [product] = products(&kernels)[..] else { panic!("one product") };
    assert_eq!((product.batch.iter().product::<usize>(), product.depth), (8, 28 * 28));
}

#[test]
fn dilated_inputs_multiply_no_zeros() {
    let doubling = Sliding { input_dilation: 2, low: 1, high: 2, ..Sliding::PLAIN };
    let (mut graph, y) = convolution(&[1, 2, 8, 14, 14], &[1, 16, 8, 3, 3], doubling);
    graph.outputs.push(Output { name: "y".to_owned(), node: y });
    let expanded = expand(graph.clone(), &OptimizeOptions::default());
    expanded.verify().unwrap();
    assert!(!expanded.nodes.iter().any(|node| matches!(node.op, Op::Conv(_))));
    // Each of the four phases has a part of the nine taps: four, two, two and one.
    let products = expanded.nodes.iter().filter(|node| matches!(node.op, Op::Contract(_)));
    assert_eq!(products.count(), 4);
    assert!(expanded.flops() <= graph.flops() * 1.001, "{}", expanded.flops());
}

#[test]
fn phases_share_one_padded_input() {
    // Four taps at distance one over an input with gaps: each phase has its own two of them.
    let doubling = Sliding { input_dilation: 2, low: 2, high: 2, ..Sliding::PLAIN };
    let (mut graph, y) = convolution(&[1, 2, 8, 14, 14], &[1, 16, 8, 4, 4], doubling);
    graph.outputs.push(Output { name: "y".to_owned(), node: y });
    let expanded = expand(graph, &OptimizeOptions::default());
    expanded.verify().unwrap();
    let count = |is: fn(&Op) -> bool| expanded.nodes.iter().filter(|node| is(&node.op)).count();
    assert_eq!(count(|op| matches!(op, Op::Contract(_))), 4);
    let mut read: Vec<NodeId> =
        expanded.nodes.iter().flat_map(|node| node.operands.iter().copied()).collect();
    read.sort_unstable();
    read.dedup();
    let pads = read.iter().filter(|&&node| matches!(expanded.node(node).op, Op::Pad(_)));
    assert_eq!(pads.count(), 1);
}

#[test]
fn phases_of_few_channels_are_channels_of_one_product() {
    let doubling = Sliding { input_dilation: 2, low: 1, high: 2, ..Sliding::PLAIN };
    for reversed in [false, true] {
        let (mut graph, y) = convolution(&[1, 2, 8, 14, 14], &[1, 1, 8, 3, 3], doubling);
        let Op::Conv(conv) = &mut graph.nodes[y.index()].op else { panic!("a convolution") };
        conv.reversed = reversed;
        graph.outputs.push(Output { name: "y".to_owned(), node: y });
        let products = |math: MathMode| {
            let options = OptimizeOptions { math, ..OptimizeOptions::default() };
            let expanded = expand(graph.clone(), &options);
            expanded.verify().unwrap();
            expanded.nodes.iter().filter(|node| matches!(node.op, Op::Contract(_))).count()
        };
        assert_eq!(products(MathMode::Default), 1);
        // Zeros times infinity are NaN.
        assert_eq!(products(MathMode::Strict), 0);
    }
}

#[test]
fn many_small_windows_are_multiplied_in_a_transformed_space() {
    let mut graph = Graph::new();
    let input = slot(&mut graph, "x", &[1, 8, 64, 16, 16]);
    // As layers have them: without an axis for groups.
    let kernel = slot(&mut graph, "w", &[64, 64, 3, 3]);
    let kernel = graph.reshape(kernel, &[1, 64, 64, 3, 3]);
    let axes = [SAME; 2].into_iter().collect();
    let y = graph.emit(Conv { axes, reversed: false }.into(), &[input, kernel]);
    let shape = graph.type_of(y).shape.clone();
    let weights = slot(&mut graph, "weights", &shape);
    let weighted = graph.mul(y, weights);
    let loss = graph.sum(weighted, &[0, 1, 2, 3, 4]);
    let gradient = crate::differentiate::gradient(&mut graph, loss, &[input]).unwrap();
    for (name, node) in [("loss", loss), ("gradient", gradient[0].unwrap())] {
        graph.outputs.push(Output { name: name.to_owned(), node });
    }
    let count = |math: MathMode, is: fn(&Op) -> bool| {
        let expanded =
            expand(graph.clone(), &OptimizeOptions { math, ..OptimizeOptions::default() });
        expanded.verify().unwrap();
        expanded.nodes.iter().filter(|node| is(&node.op)).count()
    };
    type Test = fn(&Op) -> bool;
    let (convolution, kernel): (Test, Test) =
        (|op| matches!(op, Op::Winograd(_)), |op| matches!(op, Op::WinogradKernel(_)));
    // The gradient by the input reads the same kernels in another order.
    assert_eq!(count(MathMode::Default, convolution), 2);
    assert_eq!(count(MathMode::Default, kernel), 2);
    assert_eq!(count(MathMode::Strict, convolution), 0);
}

#[test]
fn fixed_kernels_are_transformed_once_whatever_was_folded_into_them() {
    let mut graph = Graph::new();
    let input = slot(&mut graph, "x", &[1, 1, 128, 16, 16]);
    let weight = |graph: &mut Graph, name: &str, shape: &[usize]| {
        let index =
            graph.declare_slot(name, SlotRole::Parameter, TensorType::new(DType::F32, shape));
        graph.read_slot(index)
    };
    let kernel = weight(&mut graph, "w", &[1, 128, 128, 3, 3]);
    let factors = weight(&mut graph, "factors", &[128]);
    let factors = graph.broadcast(factors, &[1, 128, 128, 3, 3], &[1]);
    let kernel = graph.mul(kernel, factors);
    let axes = [SAME; 2].into_iter().collect();
    let y = graph.emit(Conv { axes, reversed: false }.into(), &[input, kernel]);
    graph.outputs.push(Output { name: "y".to_owned(), node: y });
    let with = |fixed_weights: bool| {
        let options = OptimizeOptions { fixed_weights, ..OptimizeOptions::default() };
        let expanded = expand(graph.clone(), &options);
        expanded.verify().unwrap();
        expanded
    };
    let transforms = |graph: &Graph| {
        graph.nodes.iter().filter(|node| matches!(node.op, Op::WinogradKernel(_))).count()
    };
    // 64 tiles are too few to transform so many kernels for them.
    assert_eq!(transforms(&with(false)), 0);
    let expanded = with(true);
    assert_eq!(transforms(&expanded), 1);
    let (step, preparations) = prepare::split(&expanded);
    assert_eq!(transforms(&step), 0);
    let [preparation] = &preparations[..] else { panic!("one preparation") };
    assert_eq!(preparation.sources, ["w", "factors"]);
    assert_eq!(transforms(&preparation.graph), 1);
}

#[test]
fn fixed_kernels_are_put_in_order_once() {
    let mut graph = Graph::new();
    let x = slot(&mut graph, "x", &[1, 1, 3, 16, 16]);
    let weight = TensorType::new(DType::F32, &[1, 8, 3, 3, 3]);
    let weight = graph.declare_slot("w", SlotRole::Parameter, weight);
    let kernel = graph.read_slot(weight);
    let halving = Sliding { stride: 2, low: 1, high: 1, ..Sliding::PLAIN };
    let axes = [halving; 2].into_iter().collect();
    let y = graph.emit(Conv { axes, reversed: false }.into(), &[x, kernel]);
    graph.outputs.push(Output { name: "y".to_owned(), node: y });
    let options = OptimizeOptions { fixed_weights: true, ..OptimizeOptions::default() };
    let (step, preparations) = prepare::split(&expand(graph, &options));
    let [preparation] = &preparations[..] else { panic!("one preparation") };
    assert_eq!(preparation.sources, ["w"]);
    let ordered = step.slots.iter().find(|slot| slot.name == preparation.result).unwrap();
    // Taps, then input channels, then output channels.
    assert_eq!(ordered.ty.shape[..], [1, 3, 3, 3, 8]);
    assert!(step.slots.iter().all(|slot| slot.name != "w"));
}

/// Extents that are no multiple of a tile's, with kernels that stay and with others.
#[test]
fn transformed_convolutions_have_the_values_of_direct_ones() {
    let channels = 64;
    for (samples, extent, fixed_weights, tile) in [(1, 23, true, 4), (8, 15, false, 2)] {
        let mut graph = Graph::new();
        let input = TensorType::new(DType::F32, &[1, samples, channels, extent, extent]);
        let kernel = TensorType::new(DType::F32, &[1, channels, channels, 3, 3]);
        let x = graph.declare_slot("x", SlotRole::Input, input.clone());
        let w = graph.declare_slot("w", SlotRole::Parameter, kernel.clone());
        let operands = [graph.read_slot(x), graph.read_slot(w)];
        let axes = [SAME; 2].into_iter().collect();
        let y = graph.emit(Conv { axes, reversed: false }.into(), &operands);
        graph.outputs.push(Output { name: "y".to_owned(), node: y });
        let options = OptimizeOptions { fixed_weights, ..OptimizeOptions::default() };
        let expanded = expand(graph.clone(), &options);
        expanded.verify().unwrap();
        let has_tile = |op: &Op| matches!(op, Op::Winograd(conv) if conv.shape.tile == tile);
        assert!(expanded.nodes.iter().any(|node| has_tile(&node.op)), "{extent}");
        let slots = [input, kernel].map(|ty| {
            let values = (0..ty.elements()).map(|i| (i as f64 * 0.713).sin()).collect();
            Array::new(ty, values)
        });
        let evaluator = Evaluator::new(&slots);
        let [direct, transformed] =
            [&graph, &expanded].map(|graph| evaluator.run(graph).outputs.swap_remove(0));
        assert_eq!(direct.ty, transformed.ty);
        for (a, b) in direct.values.iter().zip(&transformed.values) {
            assert!((a - b).abs() < 1e-9, "{a} and {b}");
        }
    }
}

/// Also where the kernel is met from its other end, and with extents that are no multiple of a tile's.
#[test]
fn transformed_gradients_of_kernels_have_the_values_of_direct_ones() {
    let channels = 64;
    for (samples, extent, reversed) in [(8, 15, false), (4, 16, true)] {
        let mut graph = Graph::new();
        let input = TensorType::new(DType::F32, &[1, samples, channels, extent, extent]);
        let kernel = TensorType::new(DType::F32, &[1, channels, channels, 3, 3]);
        let x = graph.declare_slot("x", SlotRole::Input, input.clone());
        let w = graph.declare_slot("w", SlotRole::Parameter, kernel.clone());
        let c = graph.declare_slot("c", SlotRole::Input, input.clone());
        let [x, w, c] = [x, w, c].map(|slot| graph.read_slot(slot));
        let axes = [SAME; 2].into_iter().collect();
        let y = graph.emit(Conv { axes, reversed }.into(), &[x, w]);
        let weighted = graph.mul(y, c);
        let loss = graph.sum(weighted, &[0, 1, 2, 3, 4]);
        let gradient = crate::differentiate::gradient(&mut graph, loss, &[w]).unwrap();
        graph.outputs.push(Output { name: "dw".to_owned(), node: gradient[0].unwrap() });
        let count = |math: MathMode| {
            let expanded =
                expand(graph.clone(), &OptimizeOptions { math, ..OptimizeOptions::default() });
            expanded.verify().unwrap();
            let is_taps = |op: &Op| matches!(op, Op::WinogradTaps(_));
            expanded.nodes.iter().filter(|node| is_taps(&node.op)).count()
        };
        assert_eq!(count(MathMode::Strict), 0);
        assert_eq!(count(MathMode::Default), 1, "{samples} of {extent}, reversed {reversed}");
        let expanded = expand(graph.clone(), &OptimizeOptions::default());
        let slots = [input.clone(), kernel, input].map(|ty| {
            let values = (0..ty.elements()).map(|i| (i as f64 * 0.713).sin()).collect();
            Array::new(ty, values)
        });
        let evaluator = Evaluator::new(&slots);
        let [direct, transformed] =
            [&graph, &expanded].map(|graph| evaluator.run(graph).outputs.swap_remove(0));
        assert_eq!(direct.ty, transformed.ty);
        for (a, b) in direct.values.iter().zip(&transformed.values) {
            assert!((a - b).abs() < 1e-8, "{a} and {b}");
        }
    }
}

/// A small autoencoder whose tensors lie channels last: convolutions with a stride, one of dilated input, pooling,
/// concatenation and batch statistics. Only kernels are put into another order, and nothing changes.
#[test]
fn channels_last_has_the_same_values_and_moves_only_kernels() {
    let mut graph = Graph::new();
    let x = slot(&mut graph, "x", &[1, 3, 2, 17, 17]);
    let shapes: [(&str, [usize; 5]); 4] = [
        ("down", [1, 6, 2, 3, 3]),
        ("deeper", [1, 8, 6, 3, 3]),
        ("up", [1, 7, 8, 3, 3]),
        ("out", [1, 1, 7, 3, 3]),
    ];
    let kernels = shapes.map(|(name, shape)| slot(&mut graph, name, &shape));
    let [down, deeper, up, out] = kernels;
    let conv = |g: &mut Graph, input, kernel, sliding: Sliding, reversed| {
        let axes = [sliding; 2].into_iter().collect();
        g.emit(Conv { axes, reversed }.into(), &[input, kernel])
    };
    let halving = Sliding { stride: 2, low: 1, high: 1, ..Sliding::PLAIN };
    let doubling = Sliding { input_dilation: 2, low: 1, high: 1, ..Sliding::PLAIN };
    let g = &mut graph;
    let small = conv(g, x, down, halving, false);
    let bias = slot(g, "bias", &[6]);
    let shape = g.type_of(small).shape.clone();
    let bias = g.broadcast(bias, &shape, &[2]);
    let sum = g.add(small, bias);
    let zero = g.constant_like(sum, 0.0);
    let small = g.apply("max", &[sum, zero]);
    // Statistics of each channel, as batch normalization has them.
    let totals = g.sum(small, &[0, 1, 3, 4]);
    let totals = g.broadcast(totals, &shape, &[2]);
    let small = g.mul(small, totals);
    let smaller = conv(g, small, deeper, halving, false);
    let back = conv(g, smaller, up, doubling, true);
    let result = conv(g, back, out, doubling, true);
    let pool = crate::op::Window { size: 2, stride: 2, dilation: 1, low: 0, high: 0 };
    let windows = g.unfold(back, &[pool; 2], f64::NEG_INFINITY);
    let rank = g.type_of(windows).rank();
    let pooled = g.reduce(crate::op::ReduceKind::Max, windows, &[rank - 1]);
    let pooled = g.reduce(crate::op::ReduceKind::Max, pooled, &[rank - 2]);
    let doubled = g.concat(&[back, back], 2);
    let parts = [result, pooled, doubled].map(|node| {
        let square = g.mul(node, node);
        g.sum(square, &[0, 1, 2, 3, 4])
    });
    let loss = g.add(parts[0], parts[1]);
    let loss = g.add(loss, parts[2]);
    let gradients = crate::differentiate::gradient(g, loss, &kernels).unwrap();
    for (number, node) in gradients.into_iter().map(Option::unwrap).chain([loss]).enumerate() {
        graph.outputs.push(Output { name: number.to_string(), node });
    }
    let slots: Vec<Array> = (graph.slots.iter())
        .map(|slot| {
            let values = (0..slot.ty.elements()).map(|i| (i as f64 * 0.713).sin()).collect();
            Array::new(slot.ty.clone(), values)
        })
        .collect();
    let evaluator = Evaluator::new(&slots);
    for math in [MathMode::Default, MathMode::Strict] {
        let options = OptimizeOptions { math, ..OptimizeOptions::default() };
        let expanded = expand(graph.clone(), &options);
        expanded.verify().unwrap();
        let results = [&graph, &expanded].map(|graph| evaluator.run(graph).outputs);
        for (number, (direct, found)) in results[0].iter().zip(&results[1]).enumerate() {
            assert_eq!(direct.ty, found.ty);
            for (a, b) in direct.values.iter().zip(&found.values) {
                assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{number}: {a} and {b}");
            }
        }
        let kernels = fusion::fuse(&expanded, &options, 1);
        let permutes = kernels.kernels.node_weights().filter(|kernel| kernel.name == "permute");
        let largest = permutes.map(|kernel| match &kernel.body {
            KernelBody::Library(library) => kernels.values[library.result.0 as usize].ty.elements(),
            KernelBody::Fused(body) => {
                kernels.values[body.stores[0].value.0 as usize].ty.elements()
            }
            _ => 0,
        });
        assert!(largest.max().unwrap_or(0) <= 8 * 7 * 9, "{kernels}");
    }
}
