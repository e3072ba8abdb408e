//! Matrices that many products read, in panels of columns.
//!
//! A product reads its right operand row by row in panels of some columns. A fully connected layer's
//! weight lies across that order, so that each product would copy it into panels, and read it in short
//! pieces that come from memory late. A weight that stays, in inference or in a loop, is laid out in
//! panels once: [columns / 32, depth, 32], which is one sequence for each panel.

use std::collections::BTreeMap;

use crate::graph::{Emit, Graph, NodeId};
use crate::op::{Contract, Op};
use crate::types::{DType, TensorType};

/// Columns of a panel: a whole number of what kernels of any instruction set take at once.
const COLUMNS: usize = 32;

/// Products of fewer rows than this read whole rows of the weight, at the speed of memory.
const LEAST_ROWS: usize = 8;

/// How a matrix is laid out.
pub struct Panels {
    /// The axis that becomes columns; the other one is the depth.
    column_axis: usize,
    /// Extents of columns and of the depth.
    extents: [usize; 2],
}

impl Panels {
    /// The type of the matrix in panels.
    pub fn ty(&self, dtype: DType) -> TensorType {
        let [columns, depth] = self.extents;
        TensorType::new(dtype, &[columns / COLUMNS, depth, COLUMNS])
    }

    /// The matrix in panels.
    pub fn pack(&self, graph: &mut Graph, matrix: NodeId) -> NodeId {
        let [columns, depth] = self.extents;
        let matrix = graph.permute(matrix, &[self.column_axis, 1 - self.column_axis]);
        let matrix = graph.reshape(matrix, &[columns / COLUMNS, COLUMNS, depth]);
        graph.permute(matrix, &[0, 2, 1])
    }

    /// The matrix of which these are the panels.
    pub fn unpack(&self, graph: &mut Graph, panels: NodeId) -> NodeId {
        let [columns, depth] = self.extents;
        let matrix = graph.permute(panels, &[0, 2, 1]);
        let matrix = graph.reshape(matrix, &[columns, depth]);
        graph.permute(matrix, &[self.column_axis, 1 - self.column_axis])
    }
}

/// Of the matrices that stay, those that are worth panels: those that products of enough rows read, and
/// nothing else, since a tensor is not kept twice.
pub fn panels(graph: &Graph, stays: &[bool]) -> BTreeMap<NodeId, Panels> {
    let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); graph.nodes.len()];
    for (id, node) in graph.iter() {
        node.operands.iter().for_each(|operand| readers[operand.index()].push(id));
    }
    graph.roots().for_each(|root| readers[root.index()].push(root));
    let mut found = BTreeMap::new();
    for (id, _) in graph.iter().filter(|(id, _)| stays[id.index()]) {
        let mut layouts = readers[id.index()].iter().map(|reader| read_as(graph, *reader, id));
        let Some(Some(first)) = layouts.next() else { continue };
        let alike =
            |other: Option<Panels>| other.is_some_and(|o| o.column_axis == first.column_axis);
        if layouts.all(alike) && read_here_only(graph, id, &readers) {
            found.insert(id, first);
        }
    }
    found
}

/// Whether no tensor that `id` is a rearrangement of is read otherwise, or is smaller.
fn read_here_only(graph: &Graph, id: NodeId, readers: &[Vec<NodeId>]) -> bool {
    let mut base = id;
    while graph.node(base).op.is_movement() {
        base = graph.node(base).operands[0];
        if readers[base.index()].len() > 1 {
            return false;
        }
    }
    graph.node(base).ty.elements() == graph.node(id).ty.elements()
}

/// The panels in which `reader` would read the matrix `id`: as the right operand of a plain product.
fn read_as(graph: &Graph, reader: NodeId, id: NodeId) -> Option<Panels> {
    let node = graph.node(reader);
    let (Op::Contract(Contract { batch, contracted }), &[left, right]) =
        (&node.op, &node.operands[..])
    else {
        return None;
    };
    let [(_, depth_axis)] = contracted[..] else { return None };
    let ty = graph.type_of(id);
    if right != id || left == id || !batch.is_empty() || ty.rank() != 2 {
        return None;
    }
    let column_axis = 1 - depth_axis;
    let extents = [ty.shape[column_axis], ty.shape[depth_axis]];
    let rows = node.ty.elements().checked_div(extents[0])?;
    let fits = extents[0] > 0 && extents[0].is_multiple_of(COLUMNS) && rows >= LEAST_ROWS;
    fits.then_some(Panels { column_axis, extents })
}
