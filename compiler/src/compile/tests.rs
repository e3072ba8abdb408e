//! Compiled random graphs against the reference evaluator.

use cygnet_runtime::executor::Executor;
use cygnet_runtime::program::Outcome;
use cygnet_runtime::tensor::Tensor;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::{self, RandomGraph};
use crate::array::Array;
use crate::evaluate::{Evaluator, Precision, kink_distance};
use crate::graph::NodeId;
use crate::op::Op;
use crate::types::DType;

fn tensor(array: &Array) -> Tensor {
    let shape = &array.ty.shape;
    let values = array.values.iter();
    match array.ty.dtype {
        DType::F32 => Tensor::from_slice(shape, &values.map(|&x| x as f32).collect::<Vec<_>>()),
        DType::F64 => Tensor::from_slice(shape, &array.values),
        DType::I32 => Tensor::from_slice(shape, &values.map(|&x| x as i32).collect::<Vec<_>>()),
        DType::U8 | DType::Bool => unreachable!("random graphs have no such slots"),
    }
}

/// All slots and outputs after one step, by name.
fn run(sample: &RandomGraph, threads: usize) -> Vec<(String, Tensor)> {
    let (program, _) = compile(&sample.graph, &CompileOptions::default(), |_| {}).unwrap();
    // SAFETY: the program was compiled from a verified graph for this machine.
    let mut executor = unsafe { Executor::new(program, threads) };
    for (info, value) in sample.graph.slots.iter().zip(&sample.slots) {
        if let Some(index) = executor.slot_index(&info.name) {
            executor.write_slot(index, &tensor(value)).unwrap();
        }
    }
    assert_eq!(executor.step(), Outcome::Finished);
    let slots = executor.program().slots.iter().enumerate();
    slots.map(|(index, slot)| (slot.name.clone(), executor.read_slot(index))).collect()
}

/// What a step should leave in a slot or output, by name, in both precisions.
fn expected(sample: &RandomGraph) -> Vec<(String, Array, Array)> {
    let double = Evaluator::new(&sample.slots);
    let single = Evaluator { precision: Precision::Single, ..double };
    let (double, single) = (double.run(&sample.graph), single.run(&sample.graph));
    let outputs = sample.graph.outputs.iter().map(|output| output.name.clone());
    let outputs = outputs.zip(double.outputs.into_iter().zip(single.outputs));
    let updates = double.updates.into_iter().zip(single.updates).map(|(double, single)| {
        let name = sample.graph.slots[double.0 as usize].name.clone();
        (name, (double.1, single.1))
    });
    outputs.chain(updates).map(|(name, (double, single))| (name, double, single)).collect()
}

/// How far the values of the graph are from places where rounding could change a decision.
fn decision_distance(sample: &RandomGraph) -> f64 {
    let values = Evaluator::new(&sample.slots).values(&sample.graph);
    let is_float_leaf = |id: &NodeId| {
        let node = sample.graph.node(*id);
        matches!(node.op, Op::Slot(_) | Op::Random(_)) && node.ty.dtype.is_float()
    };
    let leaves: Vec<NodeId> = sample.graph.iter().map(|(id, _)| id).filter(is_float_leaf).collect();
    kink_distance(&sample.graph, &values, &leaves)
}

proptest! {
    #![proptest_config(arbitrary::config(48))]

    #[test]
    fn native_training_steps_compute_what_the_reference_computes(forward in arbitrary::graph()) {
        prop_assume!(decision_distance(&forward) > 1e-3);
        let sample = forward.training_step();
        let found = run(&sample, 2);
        for (name, double, single) in expected(&sample) {
            let (_, tensor) = found.iter().find(|(slot, _)| *slot == name).expect("a slot");
            prop_assert_eq!(tensor.shape(), &double.ty.shape[..]);
            for (index, (double, single)) in double.values.iter().zip(&single.values).enumerate() {
                let value = tensor.get_f64(index);
                // What rounding node by node does, and as much again for other orders.
                let tolerance = 16.0 * (single - double).abs() + 1e-5 * (1.0 + double.abs());
                prop_assert!((value - double).abs() <= tolerance,
                    "{name}[{index}] is {value} instead of {double}");
            }
        }
        for ((name, one), (_, two)) in run(&sample, 1).iter().zip(&found) {
            prop_assert_eq!(one.bytes(), two.bytes(), "{} on one and two threads", name);
        }
    }
}
