//! Loops, step by step.

use super::{Evaluator, Precision};
use crate::array::Array;
use crate::op::{OperandRole, Scan};
use crate::types::{DType, TensorType};

/// A loop and the values of its operands.
pub struct Steps<'a> {
    /// The loop.
    pub scan: &'a Scan,
    /// The values of its operands.
    pub operands: &'a [&'a Array],
    /// How results are rounded.
    pub precision: Precision,
    /// The operands in another evaluation, in which stopped gradients are held fixed
    /// ([`Evaluator::held`]).
    pub held: Option<Vec<&'a Array>>,
}

impl<'a> Steps<'a> {
    /// The loop in double precision.
    pub fn new(scan: &'a Scan, operands: &'a [&'a Array]) -> Steps<'a> {
        Steps { scan, operands, precision: Precision::Double, held: None }
    }

    /// Runs all steps, or those up to an early end, and calls `visit` with the place of each step in the sequences and the
    /// values of all nodes of the body. Gives the results, one after another, in one vector.
    ///
    /// # Panics
    /// If the operands do not fit.
    pub fn run(&self, mut visit: impl FnMut(usize, &[Array])) -> Array {
        let Steps { scan, .. } = self;
        let body = &*scan.body;
        let initial = |operands: &[&Array]| -> Vec<Array> {
            operands[..scan.carries].iter().map(|operand| (*operand).clone()).collect()
        };
        let next = |values: &[Array]| -> Vec<Array> {
            let outputs = body.outputs[..scan.carries].iter();
            outputs.map(|output| values[output.node.index()].clone()).collect()
        };
        let mut carries = initial(self.operands);
        let mut held_carries = self.held.as_deref().map(initial);
        let yields = scan.result_count() - scan.carries;
        let mut stacked: Vec<Vec<f64>> =
            (scan.results()[scan.carries..].iter()).map(|ty| vec![0.0; ty.elements()]).collect();
        debug_assert_eq!(stacked.len(), yields, "one tensor for each yield");
        for place in scan.order() {
            let held_values =
                self.held.as_deref().zip(held_carries.as_ref()).map(|(held, carries)| {
                    let slots = self.slots(held, carries, place);
                    Evaluator { precision: self.precision, ..Evaluator::new(&slots) }.values(body)
                });
            let slots = self.slots(self.operands, &carries, place);
            let evaluator = Evaluator {
                precision: self.precision,
                held: held_values.as_deref(),
                ..Evaluator::new(&slots)
            };
            let values = evaluator.values(body);
            // A condition to end, the last output, is not stacked.
            for (output, all) in body.outputs[scan.carries..].iter().zip(&mut stacked) {
                let element = &values[output.node.index()].values;
                let start = place * element.len();
                all[start..start + element.len()].copy_from_slice(element);
            }
            carries = next(&values);
            held_carries = held_values.map(|values| next(&values));
            visit(place, &values);
            if scan.end().is_some_and(|end| values[end.index()].values[0] != 0.0) {
                break;
            }
        }
        let mut all: Vec<f64> = carries.into_iter().flat_map(|carry| carry.values).collect();
        all.extend(stacked.into_iter().flatten());
        Array::new(TensorType::new(DType::F64, &[all.len()]), all)
    }

    /// The values of the body's slots in a step.
    fn slots(&self, operands: &[&Array], carries: &[Array], place: usize) -> Vec<Array> {
        let slot = |(number, operand): (usize, &&Array)| match self.scan.role(number) {
            OperandRole::Carry => carries[number].clone(),
            OperandRole::Capture => (*operand).clone(),
            OperandRole::Sequence => {
                let ty = self.scan.body.slots[number].ty.clone();
                let start = place * ty.elements();
                let values = operand.values[start..start + ty.elements()].to_vec();
                Array::new(ty, values)
            }
        };
        operands.iter().enumerate().map(slot).collect()
    }
}

/// The results of a loop in double precision, one after another.
pub fn scan_results(scan: &Scan, operands: &[&Array]) -> Array {
    Steps::new(scan, operands).run(|_, _| {})
}
