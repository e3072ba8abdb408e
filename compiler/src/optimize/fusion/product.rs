//! Contractions as matrix products.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::atlas::Atlas;
use super::inline::{Inlined, Inliner, tensor_of};
use crate::graph::{Graph, NodeId};
use crate::index::{Expression, IndexMap, row_major_strides};
use crate::kernel::{Axis, AxisRole, Body, InstructionKind, Product, ProductOperand};
use crate::op::{Contract, Emit, Op};
use crate::optimize::cost;
use crate::types::Shape;

/// How a contraction is laid out as a product: which operand is on the left, and where in the
/// operands and in the result a point (batch..., row, column, depth) lies.
pub(super) struct Layout {
    /// The contraction.
    pub node: NodeId,
    /// Whether the right operand of the contraction is on the left.
    pub swapped: bool,
    /// Batch extents.
    pub batch: SmallVec<[usize; 2]>,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// Length of the summed axis.
    pub depth: usize,
    /// The node on the left, and the map from (batch..., row, depth) to its indices.
    pub left: (NodeId, IndexMap),
    /// The node on the right, and the map from (batch..., depth, column) to its indices.
    pub right: (NodeId, IndexMap),
    /// From (batch..., row, column) to the indices of the contraction's result.
    pub result: IndexMap,
}

impl Layout {
    /// The layout of contraction `node`; with its operands `swapped`, rows run over the axes of
    /// the right operand.
    pub fn new(graph: &Graph, node: NodeId, swapped: bool) -> Layout {
        let Op::Contract(contract) = &graph.node(node).op else {
            unreachable!("only contractions are products")
        };
        let [left, right] = graph.node(node).operands[..] else {
            unreachable!("contractions have two operands")
        };
        let shapes = [&graph.type_of(left).shape, &graph.type_of(right).shape];
        let groups = Groups::new(contract, shapes);
        let extents = |side: usize, axes: &[usize]| -> Shape {
            axes.iter().map(|&axis| shapes[side][axis]).collect()
        };
        let batch: SmallVec<[usize; 2]> = extents(0, &groups.batch[0]).iter().copied().collect();
        let rank = batch.len();
        let outer = [extents(0, &groups.outer[0]), extents(1, &groups.outer[1])];
        let size = |shape: &Shape| shape.iter().product::<usize>();
        let depths = extents(0, &groups.depth[0]);
        let (row_side, column_side) = if swapped { (1, 0) } else { (0, 1) };
        let (rows, columns) = (size(&outer[row_side]), size(&outer[column_side]));
        let depth = size(&depths);

        let domain = |first: usize, second: usize| -> Shape {
            batch.iter().copied().chain([first, second]).collect()
        };
        let operand = |side: usize, domain: &Shape, outer_axis: usize, depth_axis: usize| {
            let mut indices = vec![Expression::default(); shapes[side].len()];
            for (position, &axis) in groups.batch[side].iter().enumerate() {
                indices[axis] = Expression::axis(position);
            }
            let outer_digits = digits(outer_axis, &outer[side], domain);
            for (&axis, digit) in groups.outer[side].iter().zip(outer_digits) {
                indices[axis] = digit;
            }
            for (&axis, digit) in groups.depth[side].iter().zip(digits(depth_axis, &depths, domain))
            {
                indices[axis] = digit;
            }
            IndexMap::new(domain, indices)
        };
        let nodes = [left, right];
        let left_map = operand(row_side, &domain(rows, depth), rank, rank + 1);
        let right_map = operand(column_side, &domain(depth, columns), rank + 1, rank);
        let result_domain = domain(rows, columns);
        let mut sides = [Vec::new(), Vec::new()];
        sides[row_side] = digits(rank, &outer[row_side], &result_domain);
        sides[column_side] = digits(rank + 1, &outer[column_side], &result_domain);
        let result = (0..rank).map(Expression::axis).chain(sides.into_iter().flatten());
        Layout {
            node,
            swapped,
            rows,
            columns,
            depth,
            left: (nodes[row_side], left_map),
            right: (nodes[column_side], right_map),
            result: IndexMap::new(&result_domain, result),
            batch,
        }
    }

    /// Axes of the epilogue's body.
    pub fn result_axes(&self) -> Vec<Axis> {
        parallel_axes(self.result.domain())
    }
}

/// Axis numbers of both operands by what a contraction does with them.
struct Groups {
    batch: [Shape; 2],
    outer: [Shape; 2],
    depth: [Shape; 2],
}

impl Groups {
    fn new(contract: &Contract, shapes: [&Shape; 2]) -> Groups {
        Groups {
            batch: [
                contract.batch.iter().map(|pair| pair.0).collect(),
                contract.batch.iter().map(|pair| pair.1).collect(),
            ],
            outer: [
                contract.left_outer(shapes[0].len()).collect(),
                contract.right_outer(shapes[1].len()).collect(),
            ],
            depth: [
                contract.contracted.iter().map(|pair| pair.0).collect(),
                contract.contracted.iter().map(|pair| pair.1).collect(),
            ],
        }
    }
}

/// The index along `axis` of a domain, read as a row-major index over `extents`.
fn digits(axis: usize, extents: &[usize], domain: &[usize]) -> Vec<Expression> {
    let index = Expression::axis(axis);
    let strides = row_major_strides(extents);
    strides
        .iter()
        .zip(extents)
        .map(|(&stride, &extent)| {
            let digit = index.divided(stride.max(1) as i64, domain);
            digit.remainder(extent.max(1) as i64, domain)
        })
        .collect()
}

/// Parallel axes with these extents.
pub(super) fn parallel_axes(extents: &[usize]) -> Vec<Axis> {
    extents.iter().map(|&extent| Axis { extent, role: AxisRole::Parallel }).collect()
}

/// An operand of a product, read from memory where it lies if its elements lie there like those of
/// matrices, else computed while it is packed. Adds what is read and computed to the sets.
fn operand(
    atlas: &mut Atlas<'_>,
    (node, map): &(NodeId, IndexMap),
    reads: &dyn Fn(NodeId) -> bool,
    inputs: &mut BTreeSet<NodeId>,
    inside: &mut BTreeSet<NodeId>,
) -> ProductOperand {
    let graph = atlas.graph();
    let mut inliner = Inliner::new(atlas, parallel_axes(map.domain()), reads);
    inliner.value(*node, map);
    let Inlined { body, inputs: read, inside: computed } = inliner.finish();
    inputs.extend(read.iter().copied());
    inside.extend(computed);
    if let ([instruction], [source]) = (&body.instructions[..], &Vec::from_iter(read)[..])
        && let InstructionKind::Load { map, .. } = &instruction.kind
        && map.is_matrix(&row_major_strides(&graph.type_of(*source).shape))
    {
        return ProductOperand::Value(tensor_of(*source), map.clone());
    }
    ProductOperand::Computed(body)
}

impl Layout {
    /// Whether the left and the right operand lie in memory like matrices, moved or not, with neighbours
    /// near each other along an axis: others may be put in order once.
    pub fn reads_in_place(&self, graph: &Graph) -> [bool; 2] {
        let mut atlas = Atlas::new(graph);
        [&self.left, &self.right].map(|place| {
            let computes = |node: NodeId| !graph.node(node).op.is_movement();
            let (mut inputs, mut inside) = (BTreeSet::new(), BTreeSet::new());
            let operand = operand(&mut atlas, place, &computes, &mut inputs, &mut inside);
            let ProductOperand::Value(value, map) = operand else { return false };
            let shape = &graph.type_of(NodeId(value.0)).shape;
            map.runs(&row_major_strides(shape)).is_some_and(cost::are_nearby)
        })
    }

    /// The product of this layout with an epilogue. `reads` tells what is read from memory for
    /// the left and the right operand. Adds what is read and computed to the sets.
    pub fn product(
        &self,
        atlas: &mut Atlas<'_>,
        reads: [&dyn Fn(NodeId) -> bool; 2],
        epilogue: Body,
        inputs: &mut BTreeSet<NodeId>,
        inside: &mut BTreeSet<NodeId>,
    ) -> Product {
        Product {
            dtype: atlas.graph().type_of(self.left.0).dtype,
            batch: self.batch.clone(),
            rows: self.rows,
            columns: self.columns,
            depth: self.depth,
            left: operand(atlas, &self.left, reads[0], inputs, inside),
            right: operand(atlas, &self.right, reads[1], inputs, inside),
            epilogue,
        }
    }
}
