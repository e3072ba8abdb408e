//! Whether a graph is what every pass may rely on.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{Graph, NodeId};
use crate::op::Op;
use crate::types::TensorType;

/// What does not hold in a graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {problem}")]
pub struct VerifyError {
    /// The node, slot or result.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Graph {
    /// Checks all invariants: operands come before users, types are what the operations infer,
    /// slots are read as they were declared and updated at most once with values of their type,
    /// names are unique, guards are float scalars.
    ///
    /// # Errors
    /// The first violation. It is always a mistake of the pass that made the graph.
    pub fn verify(&self) -> Result<(), VerifyError> {
        for (id, _) in self.iter() {
            self.verify_node(id)
                .map_err(|problem| violation(&format!("{id} = {}", self.node(id).op), problem))?;
        }
        self.verify_names()?;
        self.verify_results()
    }

    fn verify_node(&self, id: NodeId) -> Result<(), String> {
        let node = self.node(id);
        if let Some(operand) = node.operands.iter().find(|operand| **operand >= id) {
            return Err(format!("the operand {operand} does not come before it"));
        }
        if let Op::Slot(slot) = &node.op {
            match self.slots.get(slot.index as usize) {
                None => return Err("there is no such slot".to_owned()),
                Some(info) if info.ty != slot.ty => {
                    return Err(format!(
                        "slot {} is a {}, read as {}",
                        info.name, info.ty, slot.ty
                    ));
                }
                Some(_) => {}
            }
        }
        self.verify_loop(id)?;
        let types: Vec<&TensorType> =
            node.operands.iter().map(|operand| &self.node(*operand).ty).collect();
        let inferred = node.op.primitive().infer(&types)?;
        match inferred == node.ty {
            true => Ok(()),
            false => Err(format!("its type is {}, not {}", inferred, node.ty)),
        }
    }

    /// Loops have valid bodies that change no slots and draw no random numbers; ports are those of
    /// a loop.
    fn verify_loop(&self, id: NodeId) -> Result<(), String> {
        let node = self.node(id);
        match &node.op {
            Op::Scan(scan) => {
                let body = &scan.body;
                body.verify().map_err(|error| format!("in its body: {error}"))?;
                if !body.updates.is_empty() || !body.guards.is_empty() {
                    return Err("its body has effects".to_owned());
                }
                match body.nodes.iter().any(|node| matches!(node.op, Op::Random(_))) {
                    true => Err("its body draws random numbers".to_owned()),
                    false => Ok(()),
                }
            }
            Op::Port(port) => match node.operands.first().map(|scan| &self.node(*scan).op) {
                Some(Op::Scan(scan))
                    if port.index < scan.result_count() && scan.port(port.index) == *port =>
                {
                    Ok(())
                }
                _ => Err("there is no such result".to_owned()),
            },
            _ => Ok(()),
        }
    }

    fn verify_names(&self) -> Result<(), VerifyError> {
        let mut names = BTreeSet::new();
        for slot in &self.slots {
            if !names.insert(&slot.name) {
                let problem = "two slots have this name".to_owned();
                return Err(violation(&format!("slot {}", slot.name), problem));
            }
        }
        let mut names = BTreeSet::new();
        for output in &self.outputs {
            if !names.insert(&output.name) {
                let problem = "two outputs have this name".to_owned();
                return Err(violation(&format!("output {}", output.name), problem));
            }
        }
        Ok(())
    }

    fn verify_results(&self) -> Result<(), VerifyError> {
        if let Some(root) = self.roots().find(|root| root.index() >= self.nodes.len()) {
            return Err(violation("results", format!("there is no node {root}")));
        }
        let mut updated = BTreeSet::new();
        for update in &self.updates {
            let Some(slot) = self.slots.get(update.slot as usize) else {
                let problem = format!("there is no slot {}", update.slot);
                return Err(violation("updates", problem));
            };
            let place = format!("update {}", slot.name);
            let ty = &self.node(update.node).ty;
            if *ty != slot.ty {
                let problem = format!("{} is a {ty}, the slot a {}", update.node, slot.ty);
                return Err(violation(&place, problem));
            }
            if !updated.insert(update.slot) {
                return Err(violation(&place, "it is updated twice".to_owned()));
            }
        }
        for guard in &self.guards {
            let ty = &self.node(*guard).ty;
            if !ty.dtype.is_float() || ty.rank() != 0 {
                return Err(violation(
                    &format!("guard {guard}"),
                    format!("a {ty} is not a float scalar"),
                ));
            }
        }
        Ok(())
    }
}

fn violation(place: &str, problem: String) -> VerifyError {
    VerifyError { place: place.to_owned(), problem }
}
