//! Convolutions and pooling with random shapes.

use cygnet_compiler::arbitrary::RandomGraph;
use cygnet_compiler::array::Array;
use cygnet_compiler::graph::{Emit, Graph, NodeId, Output, SlotRole};
use cygnet_compiler::op::{Conv, Primitive, ReduceKind, Sliding, Window};
use cygnet_compiler::types::{Axes, DType, TensorType};
use cygnet_runtime::cpu::Cpu;
use proptest::prelude::*;

use super::{check, config, options};

/// A graph of a function of parameters of these shapes: the result is an output, and the loss is
/// the sum of its elements with different weights.
fn graph_of(
    shapes: &[&[usize]],
    build: impl FnOnce(&mut Graph, &[NodeId]) -> NodeId,
) -> RandomGraph {
    let mut graph = Graph::new();
    let mut slots = Vec::new();
    let mut slot = |graph: &mut Graph, role: SlotRole, shape: &[usize]| {
        let ty = TensorType::new(DType::F32, shape);
        let name = format!("{}{}", role.name(), slots.len());
        let number = |i: usize| ((i * 37 + slots.len() * 11) as f64 * 0.713).sin() as f32;
        slots.push(Array::new(ty.clone(), (0..ty.elements()).map(|i| number(i).into()).collect()));
        let index = graph.declare_slot(&name, role, ty);
        graph.read_slot(index)
    };
    let parameters: Vec<NodeId> =
        shapes.iter().map(|shape| slot(&mut graph, SlotRole::Parameter, shape)).collect();
    let result = build(&mut graph, &parameters);
    let shape = graph.type_of(result).shape.clone();
    let weights = slot(&mut graph, SlotRole::Input, &shape);
    let weighted = graph.mul(result, weights);
    let axes: Axes = (0..shape.len()).collect();
    let loss = graph.sum(weighted, &axes);
    graph.outputs.push(Output { name: "result".to_owned(), node: result });
    graph.outputs.push(Output { name: "loss".to_owned(), node: loss });
    graph.guards.push(loss);
    RandomGraph { graph, slots, loss }
}

/// Convolution, bias and rectifier, as layers have them.
fn layer(conv: &Conv, input: &[usize], kernel: &[usize]) -> RandomGraph {
    graph_of(&[input, kernel, &[kernel[1]]], |graph, nodes| {
        let y = graph.emit(conv.clone().into(), &nodes[..2]);
        let shape = graph.type_of(y).shape.clone();
        let bias = graph.broadcast(nodes[2], &shape, &[2]);
        let y = graph.add(y, bias);
        let zero = graph.constant_like(y, 0.0);
        graph.apply("max", &[y, zero])
    })
}

fn sliding() -> impl Strategy<Value = Sliding> {
    (1..=3usize, 1..=2usize, 1..=3usize, -1..=3i64, -1..=3i64).prop_map(
        |(stride, dilation, input_dilation, low, high)| Sliding {
            stride,
            dilation,
            input_dilation,
            low,
            high,
        },
    )
}

/// A convolution that fits, with the shapes of input and kernel.
fn convolution(
    extents: impl Strategy<Value = usize> + Clone + 'static,
) -> impl Strategy<Value = (Conv, Vec<usize>, Vec<usize>)> {
    let axes = prop::collection::vec((sliding(), extents, 1..=4usize), 1..=2);
    let channels = (1..=3usize, 1..=3usize, 1..=4usize, 1..=6usize);
    (axes, channels, any::<bool>()).prop_filter_map("a kernel that fits", |(axes, ch, reversed)| {
        let (groups, samples, inputs, outputs) = ch;
        let mut input = vec![groups, samples, inputs];
        let mut kernel = vec![groups, outputs, inputs];
        input.extend(axes.iter().map(|axis| axis.1));
        kernel.extend(axes.iter().map(|axis| axis.2));
        let conv = Conv { axes: axes.iter().map(|axis| axis.0).collect(), reversed };
        let types = [&input, &kernel].map(|shape| TensorType::new(DType::F32, shape));
        conv.infer(&[&types[0], &types[1]]).ok()?;
        Some((conv, input, kernel))
    })
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn convolutions_compute_what_the_evaluator_does(
        (conv, input, kernel) in convolution(1..=9usize)
    ) {
        check(&layer(&conv, &input, &kernel), &options(Cpu::detect(), true))?;
    }

    #[test]
    fn training_steps_of_convolutions_compute_what_the_evaluator_does(
        (conv, input, kernel) in convolution(1..=7usize)
    ) {
        let step = layer(&conv, &input, &kernel).training_step();
        check(&step, &options(Cpu::detect(), true))?;
    }

    #[test]
    fn separate_kernels_of_convolutions_compute_what_the_evaluator_does(
        (conv, input, kernel) in convolution(1..=7usize)
    ) {
        let step = layer(&conv, &input, &kernel).training_step();
        check(&step, &options(Cpu::Portable, false))?;
    }

    #[test]
    fn training_steps_of_pooling_compute_what_the_evaluator_does(
        size in 1..=4usize,
        stride in 1..=3usize,
        low in 0..=1i64,
        dilation in 1..=2usize,
        largest in any::<bool>(),
    ) {
        let window = Window { size, stride, dilation, low, high: low };
        prop_assume!(window.count(6).is_some() && low < size as i64);
        let step = graph_of(&[&[2, 2, 6, 6]], |graph, nodes| {
            let margin = if largest { f64::NEG_INFINITY } else { 0.0 };
            let windows = graph.unfold(nodes[0], &[window; 2], margin);
            let kind = if largest { ReduceKind::Max } else { ReduceKind::Sum };
            let mut shape = graph.type_of(windows).shape[..4].to_vec();
            shape.push(size * size);
            let windows = graph.reshape(windows, &shape);
            graph.reduce(kind, windows, &[4])
        });
        check(&step.training_step(), &options(Cpu::detect(), true))?;
    }
}

/// Shapes that reach every form of product: many windows, many taps, few channels.
#[test]
fn larger_convolutions_compute_what_the_evaluator_does() {
    let same = Sliding { low: 1, high: 1, ..Sliding::PLAIN };
    let halving = Sliding { stride: 2, low: 1, high: 1, ..Sliding::PLAIN };
    let doubling = Sliding { input_dilation: 2, low: 1, high: 2, ..Sliding::PLAIN };
    let cases: &[(Sliding, [usize; 5], [usize; 5])] = &[
        (same, [1, 2, 3, 17, 19], [1, 5, 3, 3, 3]),
        (halving, [1, 2, 4, 16, 18], [1, 6, 4, 3, 3]),
        (doubling, [1, 2, 4, 8, 9], [1, 3, 4, 3, 3]),
        (same, [3, 2, 1, 12, 10], [3, 1, 1, 3, 3]),
        (Sliding::PLAIN, [1, 3, 8, 9, 9], [1, 7, 8, 1, 1]),
        (Sliding::PLAIN, [1, 3, 4, 5, 5], [1, 7, 4, 5, 5]),
    ];
    for (sliding, input, kernel) in cases {
        let conv = Conv { axes: [*sliding; 2].into_iter().collect(), reversed: false };
        let step = layer(&conv, input, kernel).training_step();
        check(&step, &options(Cpu::detect(), true)).unwrap();
    }
}
