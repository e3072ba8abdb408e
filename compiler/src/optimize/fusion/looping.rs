//! Loops as kernels.

use std::collections::BTreeSet;

use super::draft::Draft;
use super::fuse;
use super::inline::tensor_of;
use crate::graph::{Graph, NodeId, Output, Update};
use crate::kernel::{KernelBody, Loop, LoopOperand};
use crate::op::{Op, OperandRole, Port, Scan};
use crate::optimize::OptimizeOptions;

/// The kernel of a scan that writes `ports`, some of its results: its body covered with kernels.
pub(super) fn draft(
    graph: &Graph,
    scan_node: NodeId,
    ports: &[NodeId],
    options: &OptimizeOptions,
) -> Draft {
    let node = graph.node(scan_node);
    let Op::Scan(scan) = &node.op else { unreachable!("only scans are loops") };
    let result = |index: usize| {
        let is_it = |port: &&NodeId| port_of(graph, **port).index == index;
        ports.iter().find(is_it).map(|port| tensor_of(*port))
    };
    let operands = node.operands.iter().enumerate().map(|(number, &operand)| {
        let value = tensor_of(operand);
        match scan.role(number) {
            OperandRole::Carry => LoopOperand::Carry { initial: value, result: result(number) },
            OperandRole::Sequence => LoopOperand::Sequence(value),
            OperandRole::Capture => LoopOperand::Capture(value),
        }
    });
    let yielded: Vec<usize> =
        (scan.carries..scan.result_count()).filter(|&index| result(index).is_some()).collect();
    let body = KernelBody::Loop(Box::new(Loop {
        length: scan.length,
        reverse: scan.reverse,
        // Other kernels are looked for meanwhile.
        body: fuse(&step_graph(scan, &yielded), options, 1),
        until: scan.until,
        operands: operands.collect(),
        yields: yielded.iter().filter_map(|&index| result(index)).collect(),
    }));
    Draft {
        body,
        outputs: ports.to_vec(),
        inputs: node.operands.iter().copied().collect(),
        nodes: ports.iter().copied().chain([scan_node]).collect::<BTreeSet<NodeId>>(),
        name: Some("loop"),
        reasons: vec![match scan.until {
            true => format!("a loop of at most {} steps", scan.length),
            false => format!("a loop of {} steps", scan.length),
        }],
    }
}

/// The operation of a node that is a result of a loop.
pub(super) fn port_of(graph: &Graph, node: NodeId) -> &Port {
    match &graph.node(node).op {
        Op::Port(port) => port,
        op => unreachable!("{node} = {op} is not a result of a loop"),
    }
}

/// A step of a loop as a graph of its own: new carries are updates of slots, and the results with
/// the numbers `yielded` are outputs, and so is a condition to end.
fn step_graph(scan: &Scan, yielded: &[usize]) -> Graph {
    let mut graph = Graph::clone(&scan.body);
    let outputs = std::mem::take(&mut graph.outputs);
    let updates = outputs[..scan.carries].iter().enumerate();
    graph.updates =
        updates.map(|(slot, output)| Update { slot: slot as u32, node: output.node }).collect();
    let end = scan.until.then(|| outputs.len() - 1);
    graph.outputs = (yielded.iter().copied().chain(end))
        .map(|index| Output { name: outputs[index].name.clone(), node: outputs[index].node })
        .collect();
    graph
}
