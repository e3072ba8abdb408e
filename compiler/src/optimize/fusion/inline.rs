//! Inlining: turning a piece of the graph into the instructions of one kernel.
//!
//! An [`Inliner`] computes a node's element at a place of the kernel's domain. It follows operands
//! through elementwise functions and movement, composing index maps on the way, until it comes to
//! a node that the kernel reads from memory.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::atlas::{Atlas, Movement, Place, any_fill};
use crate::graph::{Graph, Node, NodeId};
use crate::index::{Expression, IndexMap, row_major_strides};
use crate::kernel::{
    Axis, AxisRole, Body, Instruction, InstructionId, InstructionKind, Store, ValueId,
};
use crate::op::{Elementwise, Emit, Op};
use crate::types::{DType, Scalar, Shape};

/// The value that holds a node's tensor, while values have no numbers of their own yet.
pub(super) fn tensor_of(node: NodeId) -> ValueId {
    ValueId(node.0)
}

/// Builds a kernel's body from nodes of the graph.
///
/// While a body is built, the value numbered like a node stands for that node's tensor in memory.
pub(super) struct Inliner<'a, 'g> {
    graph: &'g Graph,
    atlas: &'a mut Atlas<'g>,
    /// Whether a node is read from memory; slots always are.
    reads: &'a dyn Fn(NodeId) -> bool,
    /// The node whose finished value is at hand at its own place: the product of an epilogue.
    accumulator: Option<(NodeId, Place)>,
    extents: Shape,
    reduced: SmallVec<[usize; 4]>,
    body: Body,
    inputs: BTreeSet<NodeId>,
    inside: BTreeSet<NodeId>,
    /// Where a node was needed already, and what computes it there.
    places: FxHashMap<(NodeId, Place), InstructionId>,
    /// Equal instructions are written once.
    known: FxHashMap<Instruction, InstructionId>,
}

/// What an [`Inliner`] made.
pub(super) struct Inlined {
    /// The body.
    pub body: Body,
    /// Nodes read from memory.
    pub inputs: BTreeSet<NodeId>,
    /// Nodes computed.
    pub inside: BTreeSet<NodeId>,
}

impl<'a, 'g> Inliner<'a, 'g> {
    /// An inliner for a kernel over these axes that reads nodes for which `reads` holds.
    pub fn new(
        atlas: &'a mut Atlas<'g>,
        axes: Vec<Axis>,
        reads: &'a dyn Fn(NodeId) -> bool,
    ) -> Inliner<'a, 'g> {
        let positions = axes.iter().enumerate();
        Inliner {
            graph: atlas.graph(),
            atlas,
            reads,
            accumulator: None,
            extents: axes.iter().map(|axis| axis.extent).collect(),
            reduced: positions
                .filter(|(_, axis)| axis.role == AxisRole::Reduced)
                .map(|(position, _)| position)
                .collect(),
            body: Body { axes, ..Body::default() },
            inputs: BTreeSet::new(),
            inside: BTreeSet::new(),
            places: FxHashMap::default(),
            known: FxHashMap::default(),
        }
    }

    /// Makes `node` available at `map` as the product of an epilogue.
    pub fn with_accumulator(mut self, node: NodeId, map: &IndexMap) -> Self {
        self.accumulator = Some((node, self.atlas.place(map)));
        self
    }

    /// The nodes computed so far and where, in no particular order.
    pub fn computed(&self) -> impl Iterator<Item = (NodeId, &IndexMap)> {
        let places = self.places.keys().filter(|(node, _)| self.inside.contains(node));
        places.map(|(node, place)| (*node, self.atlas.map(*place)))
    }

    /// Keeps what can be written from where it is computed: nodes whose values vary along a row if
    /// their indices do.
    pub fn retain_storable(&mut self, nodes: &mut BTreeMap<NodeId, IndexMap>) {
        let per_point = self.body.per_point();
        nodes.retain(|&node, map| {
            let instruction = self.places[&(node, self.atlas.place(map))];
            let varies = |axis: &usize| map.indices().iter().any(|index| index.depends_on(*axis));
            self.reduced.iter().any(varies) == per_point[instruction.0 as usize]
        });
    }

    /// Ends the body.
    pub fn finish(self) -> Inlined {
        Inlined { body: self.body, inputs: self.inputs, inside: self.inside }
    }

    /// Writes `node`, computed at `map` (from the kernel's domain to the node's indices), to
    /// memory.
    pub fn store(&mut self, node: NodeId, map: &IndexMap) {
        let instruction = self.value(node, map);
        let map = if self.body.per_point()[instruction.0 as usize] {
            map.clone()
        } else {
            over_rows(map, &self.body.axes)
        };
        self.body.stores.push(Store { value: tensor_of(node), map, instruction });
    }

    /// Computes the parts of a concatenation at the kernel's points, which are those of each part.
    pub fn parts(&mut self, joined: NodeId) {
        for &part in &self.graph.node(joined).operands {
            self.value(part, &IndexMap::identity(&self.graph.type_of(part).shape));
        }
    }

    /// Writes the parts of a concatenation, each to its place.
    pub fn store_parts(&mut self, joined: NodeId) {
        let node = self.graph.node(joined);
        let Op::Concat(concat) = &node.op else { unreachable!("only concatenations have parts") };
        self.inside.insert(joined);
        let mut start = 0;
        for &part in &node.operands {
            let shape = &self.graph.type_of(part).shape;
            let instruction = self.value(part, &IndexMap::identity(shape));
            let mut indices: Vec<Expression> = (0..shape.len()).map(Expression::axis).collect();
            indices[concat.axis] = indices[concat.axis].plus(&Expression::constant(start as i64));
            let map = IndexMap::new(shape, indices);
            self.body.stores.push(Store { value: tensor_of(joined), map, instruction });
            start += shape[concat.axis];
        }
    }

    fn push(&mut self, kind: InstructionKind, dtype: DType) -> InstructionId {
        let instruction = Instruction { kind, dtype };
        if let Some(&known) = self.known.get(&instruction) {
            return known;
        }
        let id = self.body.push(instruction.kind.clone(), dtype);
        self.known.insert(instruction, id);
        id
    }

    fn load(&mut self, node: NodeId, place: Place, fill: Scalar) -> InstructionId {
        self.inputs.insert(node);
        let map = self.atlas.map(place).clone().with_fill(fill);
        let dtype = self.graph.node(node).ty.dtype;
        self.push(InstructionKind::Load { value: tensor_of(node), map }, dtype)
    }

    fn is_read(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id).op, Op::Slot(_)) || (self.reads)(id)
    }

    /// The element of `id` at `map`. Where constraints of the map fail, any value may result.
    pub fn value(&mut self, id: NodeId, map: &IndexMap) -> InstructionId {
        let place = self.atlas.place(map);
        self.value_at(id, place)
    }

    fn value_at(&mut self, id: NodeId, place: Place) -> InstructionId {
        let key = (id, place);
        if let Some(&known) = self.places.get(&key) {
            return known;
        }
        let graph = self.graph;
        let node = graph.node(id);
        let zero = Scalar::new(node.ty.dtype, 0.0);
        let result = if self.accumulator == Some(key) {
            self.inside.insert(id);
            self.push(InstructionKind::Accumulator, node.ty.dtype)
        } else if self.is_read(id) {
            self.load(id, place, zero)
        } else if let Some(result) = self.compute(id, node, place) {
            self.inside.insert(id);
            result
        } else {
            self.load(id, place, zero)
        };
        self.places.insert(key, result);
        result
    }

    /// `None` if this kernel cannot compute the node at this place.
    fn compute(&mut self, id: NodeId, node: &Node, place: Place) -> Option<InstructionId> {
        let dtype = node.ty.dtype;
        let operand = |i: usize| node.operands[i];
        if let Some(movement) = self.atlas.movement(id) {
            return Some(self.moved(operand(0), movement, place));
        }
        let map = self.atlas.map(place).clone();
        Some(match &node.op {
            Op::Slot(_)
            | Op::Contract(_)
            | Op::Scatter(_)
            | Op::Cumulate(_)
            | Op::ArgSort(_)
            | Op::Interleave(_)
            | Op::Winograd(_)
            | Op::WinogradInput(_)
            | Op::WinogradKernel(_)
            | Op::WinogradGradient(_)
            | Op::WinogradTaps(_)
            | Op::Scan(_)
            | Op::Port(_) => return None,
            Op::Constant(constant) => self.push(InstructionKind::Constant(constant.value), dtype),
            Op::Iota(iota) => {
                let index = map.indices()[iota.axis].clone();
                self.push(InstructionKind::Index(index), dtype)
            }
            Op::Random(random) => {
                let index = map.offset(&row_major_strides(&random.shape));
                let (kind, stream) = (random.kind, random.stream);
                self.push(InstructionKind::Random { kind, stream, index }, dtype)
            }
            Op::Elementwise(function) => {
                let operands =
                    node.operands.iter().map(|&operand| self.value_at(operand, place)).collect();
                self.push(InstructionKind::Apply(*function, operands), dtype)
            }
            Op::Cast(_) => {
                let operand = self.value_at(operand(0), place);
                self.push(InstructionKind::Cast(operand), dtype)
            }
            Op::StopGradient(_) => self.value_at(operand(0), place),
            Op::Concat(concat) => self.joined(id, node, concat.axis, &map),
            Op::Gather(gather) => self.gathered(node, gather.batch, &map)?,
            Op::Reduce(reduce) => {
                let place = self.place_of_reduced(operand(0), &reduce.axes, &map)?;
                let operand = self.value(operand(0), &place);
                self.push(InstructionKind::Reduce(reduce.kind, operand), dtype)
            }
            Op::ArgReduce(reduce) => {
                let place = self.place_of_reduced(operand(0), &[reduce.axis], &map)?;
                let operand = self.value(operand(0), &place);
                self.push(InstructionKind::ArgReduce(reduce.kind, operand), dtype)
            }
            Op::Reshape(_)
            | Op::Permute(_)
            | Op::Broadcast(_)
            | Op::Slice(_)
            | Op::Reverse(_)
            | Op::Pad(_)
            | Op::Unfold(_)
            | Op::View(_) => unreachable!("movements have index maps"),
            Op::Conv(_) | Op::Fold(_) => unreachable!("expanded before fusion"),
        })
    }

    /// The element of a moved `operand`.
    fn moved(&mut self, operand: NodeId, movement: Movement, place: Place) -> InstructionId {
        let there = self.atlas.chain(place, movement.need);
        let constraints = |place: Place| self.atlas.map(place).constraints();
        let fill = match movement.fill {
            // Nothing is filled in here, or only where no value is needed.
            None => return self.value_at(operand, there),
            Some(_) if constraints(there) == constraints(place) => {
                return self.value_at(operand, there);
            }
            Some(fill) => fill,
        };
        if self.is_read(operand) {
            return self.load(operand, there, fill);
        }
        let value = self.value_at(operand, there);
        let map = self.atlas.map(there).clone().with_fill(fill);
        self.push(InstructionKind::Masked(value, map), fill.dtype)
    }

    /// The element of a gathering, whose first operand lies in memory. Under conditions its index
    /// might lead anywhere, so there it is not computed.
    fn gathered(&mut self, node: &Node, batch: usize, map: &IndexMap) -> Option<InstructionId> {
        if !map.constraints().is_empty() {
            return None;
        }
        let [x, indices] = node.operands[..] else { unreachable!("a tensor and indices") };
        let listed = self.graph.type_of(indices).rank();
        let domain: Shape = map.domain().into();
        let (place, inside) = map.indices().split_at(listed);
        let index = self.value(indices, &IndexMap::new(&domain, place.iter().cloned()));
        let slices = place[..batch].iter().cloned().chain([Expression::constant(0)]);
        let first = IndexMap::new(&domain, slices.chain(inside.iter().cloned()));
        self.inputs.insert(x);
        let kind = InstructionKind::Gather { value: tensor_of(x), map: first, axis: batch, index };
        Some(self.push(kind, node.ty.dtype))
    }

    /// The element of a concatenation: each operand has its range of the joined axis. Operands
    /// that the map cannot reach are left out; between the others, the position selects.
    fn joined(&mut self, id: NodeId, node: &Node, axis: usize, map: &IndexMap) -> InstructionId {
        let shape = &self.graph.type_of(id).shape;
        let position = map.indices()[axis].clone();
        let (low, high) = position.range(&self.extents);
        let mut pieces: SmallVec<[(NodeId, usize, usize); 4]> = SmallVec::new();
        let mut start = 0;
        for &operand in &node.operands {
            let end = start + self.graph.type_of(operand).shape[axis];
            if low < end as i64 && high >= start as i64 {
                pieces.push((operand, start, end));
            }
            start = end;
        }
        let mut result = None;
        for &(operand, start, end) in pieces.iter().rev() {
            let from = &self.graph.type_of(operand).shape;
            let (mut before, none) = (vec![0; shape.len()], vec![0; shape.len()]);
            before[axis] = start;
            let part = IndexMap::pad(from, shape, &before, &none, any_fill());
            let place = map.compose(&part).expect("both maps fill alike");
            let value = self.value(operand, &place);
            result = Some(match result {
                None => value,
                Some(later) => {
                    let index = self.push(InstructionKind::Index(position.clone()), DType::I32);
                    let bound = Scalar::new(DType::I32, end as f64);
                    let bound = self.push(InstructionKind::Constant(bound), DType::I32);
                    let here = self.apply("lt", &[index, bound], DType::Bool);
                    self.apply("select", &[here, value, later], node.ty.dtype)
                }
            });
        }
        // Nothing is reached only if the result has no elements; then any value will do.
        let zero = Scalar::new(node.ty.dtype, 0.0);
        result.unwrap_or_else(|| self.push(InstructionKind::Constant(zero), node.ty.dtype))
    }

    fn apply(&mut self, name: &str, operands: &[InstructionId], dtype: DType) -> InstructionId {
        let function = Elementwise::named(name).expect("an entry of the table");
        self.push(InstructionKind::Apply(function, SmallVec::from_slice(operands)), dtype)
    }

    /// Where the operand of a reduction over `axes` is needed, if the result is needed at `map`
    /// and the kernel's reductions are this one's: the axes fit and `map` is the same for a row.
    fn place_of_reduced(
        &self,
        operand: NodeId,
        axes: &[usize],
        map: &IndexMap,
    ) -> Option<IndexMap> {
        let shape = &self.graph.type_of(operand).shape;
        let fits = map.constraints().is_empty()
            && axes.len() == self.reduced.len()
            && axes.iter().zip(&self.reduced).all(|(&a, &r)| shape[a] == self.extents[r])
            && map.indices().iter().all(|e| self.reduced.iter().all(|&axis| !e.depends_on(axis)));
        if !fits {
            return None;
        }
        let (mut kept, mut summed) = (map.indices().iter(), self.reduced.iter());
        let indices = (0..shape.len()).map(|axis| {
            if axes.contains(&axis) {
                Expression::axis(*summed.next().expect("as many reduced axes"))
            } else {
                kept.next().expect("an index for each kept axis").clone()
            }
        });
        Some(IndexMap::new(&self.extents, indices))
    }
}

/// A map that does not depend on reduced axes, as a map from the parallel axes alone.
fn over_rows(map: &IndexMap, axes: &[Axis]) -> IndexMap {
    let mut rows = Shape::new();
    let replacements: Vec<Expression> = axes
        .iter()
        .map(|axis| match axis.role {
            AxisRole::Parallel => {
                rows.push(axis.extent);
                Expression::axis(rows.len() - 1)
            }
            AxisRole::Reduced => Expression::constant(0),
        })
        .collect();
    map.over(&rows, &replacements)
}
