//! Loops: a body applied once for each element of sequences, some of its results going to the
//! next step.
//!
//! With carries `c`, sequence elements `x[t]` and captures `k`, a body computes
//! `(c', y[t]) = body(c, x[t], k)`. A scan's results are the carries after the last step, and the
//! `y[t]` of all steps stacked along a new first axis.
//!
//! A loop may end early: after the first step whose last output holds. The `y[t]` of steps that
//! were not done are zero. Such a loop has no gradient.
//!
//! A node of a graph has one tensor, a scan has several. So the tensor of a scan is all of its
//! results, element after element, as one long vector of f64; it exists in reference evaluation
//! only. Each result is a node of its own, a [`Port`] of the scan.

use std::sync::Arc;

use super::{Application, Context, Cotangents, Primitive, operands_of, wrong_count};
use crate::array::Array;
use crate::evaluate::{Steps, scan_results};
use crate::graph::{Graph, NodeId};
use crate::types::{DType, TensorType};

/// A loop over a known number of steps.
///
/// The operands are the initial carries, the sequences (the elements of all steps stacked along
/// a first axis), and the captures, which are the same in all steps. The body has a slot for each
/// operand, in this order, and the new carries and the yields as outputs, then the condition to
/// end, if there is one. It draws no random numbers: those come in as a sequence, so that they
/// differ from step to step and can be drawn again for the gradient.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scan {
    /// What a step computes.
    pub body: Arc<Graph>,
    /// Number of steps; the most of them, if the loop may end early.
    pub length: usize,
    /// Whether the last elements of the sequences come first.
    pub reverse: bool,
    /// Whether the loop ends after the first step in which the last output of the body holds, a
    /// single bool that is no result.
    pub until: bool,
    /// Number of carries: the first slots and outputs of the body.
    pub carries: usize,
    /// Number of sequences: the slots of the body after the carries.
    pub sequences: usize,
}

/// What an operand of a scan is to its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperandRole {
    /// What the first step gets from the step before.
    Carry,
    /// Each step has its element of the first axis.
    Sequence,
    /// The same in all steps.
    Capture,
}

impl OperandRole {
    /// The name in listings.
    pub fn name(self) -> &'static str {
        match self {
            OperandRole::Carry => "carry",
            OperandRole::Sequence => "sequence",
            OperandRole::Capture => "capture",
        }
    }
}

impl Scan {
    /// What the operand (and the body's slot) with this number is.
    pub fn role(&self, operand: usize) -> OperandRole {
        if operand < self.carries {
            OperandRole::Carry
        } else if operand < self.carries + self.sequences {
            OperandRole::Sequence
        } else {
            OperandRole::Capture
        }
    }

    /// The type of a tensor that has `element` for each step.
    pub fn stacked(&self, element: &TensorType) -> TensorType {
        let shape = std::iter::once(self.length).chain(element.shape.iter().copied());
        TensorType { dtype: element.dtype, shape: shape.collect() }
    }

    /// The type of the operand with this number.
    pub fn operand_type(&self, operand: usize) -> TensorType {
        let inside = &self.body.slots[operand].ty;
        match self.role(operand) {
            OperandRole::Sequence => self.stacked(inside),
            OperandRole::Carry | OperandRole::Capture => inside.clone(),
        }
    }

    /// Number of results: carries and yields.
    pub fn result_count(&self) -> usize {
        self.body.outputs.len() - usize::from(self.until)
    }

    /// The node of the body that tells whether this was the last step.
    pub fn end(&self) -> Option<NodeId> {
        self.body.outputs.last().map(|output| output.node).filter(|_| self.until)
    }

    /// The types of the results: the final carries, then the stacked yields.
    pub fn results(&self) -> Vec<TensorType> {
        let outputs = self.body.outputs.iter().take(self.result_count()).enumerate();
        outputs
            .map(|(number, output)| {
                let ty = &self.body.node(output.node).ty;
                if number < self.carries { ty.clone() } else { self.stacked(ty) }
            })
            .collect()
    }

    /// The result with this number, as an operation on the scan.
    ///
    /// # Panics
    /// If there are fewer results.
    pub fn port(&self, index: usize) -> Port {
        let results = self.results();
        let start = results[..index].iter().map(TensorType::elements).sum();
        Port { index, start, ty: results[index].clone() }
    }

    /// The places of the steps in the sequences, in the order of time.
    pub fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (length, reverse) = (self.length, self.reverse);
        (0..length).map(move |step| if reverse { length - 1 - step } else { step })
    }

    fn check(&self, operands: &[&TensorType]) -> Result<(), String> {
        let slots = self.body.slots.len();
        if operands.len() != slots || self.carries + self.sequences > slots {
            return Err(wrong_count(slots, operands.len()));
        }
        for (number, found) in operands.iter().enumerate() {
            let expected = self.operand_type(number);
            if expected != **found {
                let (role, name) = (self.role(number).name(), &self.body.slots[number].name);
                return Err(format!("the {role} {name} is a {found}, not a {expected}"));
            }
        }
        for (slot, output) in self.body.slots.iter().zip(&self.body.outputs).take(self.carries) {
            let new = &self.body.node(output.node).ty;
            if *new != slot.ty {
                return Err(format!(
                    "the carry {} is a {} and becomes a {new}",
                    slot.name, slot.ty
                ));
            }
        }
        if self.body.outputs.len() < self.carries + usize::from(self.until) {
            return Err(format!("{} carries have no new value", self.carries));
        }
        match self.end().map(|end| &self.body.node(end).ty) {
            Some(ty) if *ty != TensorType::new(DType::Bool, &[]) => {
                Err(format!("the condition to end is a {ty}, not a {}[]", DType::Bool))
            }
            _ => Ok(()),
        }
    }
}

impl Primitive for Scan {
    fn name(&self) -> &'static str {
        "scan"
    }

    fn doc(&self) -> &'static str {
        "a loop: a body applied to each element of sequences, with values carried along"
    }

    fn attributes(&self) -> String {
        let reverse = if self.reverse { " reverse" } else { "" };
        let until = if self.until { " until" } else { "" };
        format!("length={}{reverse}{until}", self.length)
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        self.check(operands)?;
        let elements = self.results().iter().map(TensorType::elements).sum();
        Ok(TensorType::new(DType::F64, &[elements]))
    }

    fn evaluate(&self, operands: &[&Array], _: &TensorType, _: &Context<'_>) -> Array {
        scan_results(self, operands)
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    /// The gradient of a loop is a loop; [`crate::differentiate`] makes it from all results
    /// together.
    fn gradient(&self, _: &mut dyn super::Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err("a loop is differentiated as a whole".to_owned())
    }

    fn flops(&self, _: &[&TensorType], _: &TensorType) -> f64 {
        self.length as f64 * self.body.flops()
    }

    fn kink_distance(&self, operands: &[&Array]) -> f64 {
        let mut distance = f64::INFINITY;
        Steps::new(self, operands).run(|_, values| {
            for node in &self.body.nodes {
                let operands: Vec<&Array> =
                    node.operands.iter().map(|o| &values[o.index()]).collect();
                distance = distance.min(node.op.primitive().kink_distance(&operands));
            }
        });
        distance
    }
}

/// One result of a scan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Number of the result.
    pub index: usize,
    /// Elements of the results before it.
    pub start: usize,
    /// Type of the result.
    pub ty: TensorType,
}

impl Primitive for Port {
    fn name(&self) -> &'static str {
        "port"
    }

    fn doc(&self) -> &'static str {
        "one result of a loop"
    }

    fn attributes(&self) -> String {
        self.index.to_string()
    }

    fn infer(&self, operands: &[&TensorType]) -> Result<TensorType, String> {
        let [results] = operands_of(operands)?;
        let end = self.start + self.ty.elements();
        match results.rank() == 1 && results.dtype == DType::F64 && end <= results.elements() {
            true => Ok(self.ty.clone()),
            false => Err(format!("elements {}..{end} of {results}", self.start)),
        }
    }

    fn evaluate(&self, operands: &[&Array], result: &TensorType, _: &Context<'_>) -> Array {
        let range = self.start..self.start + self.ty.elements();
        Array::new(result.clone(), operands[0].values[range].to_vec())
    }

    fn differentiable(&self, _: usize) -> bool {
        true
    }

    /// As for [`Scan`].
    fn gradient(&self, _: &mut dyn super::Emit, _: &Application<'_>) -> Result<Cotangents, String> {
        Err("a loop is differentiated as a whole".to_owned())
    }
}
