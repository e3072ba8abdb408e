//! What is checked: a scalar of a graph, and the slots that are varied.

use cygnet_compiler::graph::{Graph, NodeId, Output, SlotInfo, SlotRole};
use cygnet_compiler::op::Op;
use cygnet_compiler::types::DType;

use super::precise::graph_in_f64;

/// Where the values of a slot come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// Independent and normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Independent and uniform in `[low, high)`.
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Independent whole numbers from 0, less than this.
    Below(usize),
    /// One value everywhere.
    Fixed(f64),
}

/// How a slot is filled, and whether its gradient is checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Where the values come from.
    pub values: Values,
    /// Whether the scalar is differentiated by it. Only floats can be varied.
    pub varied: bool,
}

impl Sampling {
    /// What suits most slots of this role: moderate normal numbers for inputs and parameters, which
    /// are varied; positive ones for buffers and state (they often are variances); 1 for scalars;
    /// few whole numbers for what is no float.
    pub fn of_slot(slot: &SlotInfo) -> Sampling {
        let float = slot.ty.dtype.is_float();
        let values = match (slot.ty.dtype, slot.role) {
            (DType::Bool | DType::I32, _) => Values::Below(2),
            (DType::U8, _) => Values::Below(16),
            (_, SlotRole::Input) => Values::Normal { mean: 0.0, std: 1.0 },
            (_, SlotRole::Parameter) => Values::Normal { mean: 0.0, std: 0.5 },
            (_, SlotRole::Buffer | SlotRole::State) => Values::Uniform { low: 0.5, high: 1.5 },
            (_, SlotRole::Scalar) => Values::Fixed(1.0),
        };
        let varied = float && matches!(slot.role, SlotRole::Input | SlotRole::Parameter);
        Sampling { values, varied }
    }
}

/// A slot that is varied.
#[derive(Clone, Debug)]
pub struct Variable {
    /// The slot.
    pub slot: u32,
    /// Its name.
    pub name: String,
    /// The nodes that read it.
    pub nodes: Vec<NodeId>,
}

/// A scalar of a graph, to be differentiated by some of the slots.
#[derive(Clone, Debug)]
pub struct Problem {
    graph: Graph,
    loss: NodeId,
    samplings: Vec<Sampling>,
    variables: Vec<Variable>,
}

impl Problem {
    /// The gradient of `loss`, a float scalar of `graph`, by the varied slots on which it depends.
    /// There is one sampling per slot. What `loss` does not need is removed from the graph.
    ///
    /// # Panics
    /// If the number of samplings is not that of the slots, or a varied slot is no float.
    pub fn new(mut graph: Graph, loss: NodeId, samplings: Vec<Sampling>) -> Problem {
        assert_eq!(graph.slots.len(), samplings.len(), "one sampling per slot");
        graph.outputs = vec![Output { name: "loss".to_owned(), node: loss }];
        graph.updates.clear();
        graph.guards.clear();
        graph.prune();
        let loss = graph.outputs[0].node;
        let mut variables: Vec<Variable> = Vec::new();
        for (slot, (info, sampling)) in graph.slots.iter().zip(&samplings).enumerate() {
            if !sampling.varied {
                continue;
            }
            assert!(info.ty.dtype.is_float(), "{} cannot be varied", info.name);
            let reads = |node: &Op| matches!(node, Op::Slot(read) if read.index as usize == slot);
            let nodes: Vec<NodeId> =
                graph.iter().filter(|(_, node)| reads(&node.op)).map(|(id, _)| id).collect();
            if !nodes.is_empty() {
                variables.push(Variable { slot: slot as u32, name: info.name.clone(), nodes });
            }
        }
        Problem { graph, loss, samplings, variables }
    }

    /// The same problem with f64 in place of f32; nodes keep their numbers.
    pub fn in_f64(&self) -> Problem {
        Problem { graph: graph_in_f64(&self.graph), ..self.clone() }
    }

    /// The graph, whose only result is the scalar.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The scalar.
    pub fn loss(&self) -> NodeId {
        self.loss
    }

    /// How each slot is filled.
    pub fn samplings(&self) -> &[Sampling] {
        &self.samplings
    }

    /// The slots that are varied and that the scalar depends on.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }
}
