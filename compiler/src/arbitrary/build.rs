//! From plans to graphs.

use proptest::sample::Index;

use super::plan::{Pairing, Plan, ScanPlan, SlotKind, Step};
use super::{Options, RandomGraph};
use crate::array::Array;
use crate::evaluate::Evaluator;
use crate::graph::{Emit, Graph, NodeId, Output, ScanBuilder, SlotRole};
use crate::op::elementwise::Typing;
use crate::op::{
    ArgReduce, ArgSort, Broadcast, Cast, Concat, Constant, Contract, Cumulate, Elementwise, Gather,
    Iota, Op, Pad, Permute, Random, Reduce, ReduceKind, Reshape, Reverse, Scatter, Slice,
    StopGradient,
};
use crate::types::{Axes, DType, Scalar, Shape, TensorType};

/// Largest magnitude of any value.
const LARGEST: f64 = 100.0;

/// Builds the planned graph.
pub(super) fn build(plan: &Plan, options: &Options) -> RandomGraph {
    let mut builder = Builder::new(plan, options);
    builder.steps(&plan.steps);
    builder.finish()
}

struct Builder<'a> {
    options: &'a Options,
    graph: Graph,
    slots: Vec<Array>,
    /// Values of the nodes so far; in the body of a loop, those of the first step.
    values: Vec<Array>,
    /// Whether nodes were left behind by the body of a loop.
    left: Vec<bool>,
    /// How many loops are under construction.
    depth: usize,
    seed: u64,
}

impl<'a> Builder<'a> {
    fn new(plan: &Plan, options: &'a Options) -> Builder<'a> {
        let mut builder = Builder {
            options,
            graph: Graph::new(),
            slots: Vec::new(),
            values: Vec::new(),
            left: Vec::new(),
            depth: 0,
            seed: plan.seed,
        };
        for slot in &plan.slots {
            let (dtype, role) = match slot.kind {
                SlotKind::Parameter => (options.dtype, SlotRole::Parameter),
                SlotKind::Input => (options.dtype, SlotRole::Input),
                SlotKind::Labels => (DType::I32, SlotRole::Input),
            };
            let node = builder.slot(role, TensorType::new(dtype, &slot.shape));
            builder.evaluate(node);
        }
        builder
    }

    /// A slot with random values and the node that reads it.
    fn slot(&mut self, role: SlotRole, ty: TensorType) -> NodeId {
        let name = format!("{}{}", role.name(), self.slots.len());
        let values = (0..ty.elements()).map(|_| self.number(ty.dtype)).collect();
        self.slots.push(Array::new(ty.clone(), values));
        let index = self.graph.declare_slot(&name, role, ty);
        self.graph.read_slot(index)
    }

    /// The next random number: a float in (-2, 2) with few digits, or a small integer. (SplitMix64:
    /// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.)
    fn number(&mut self, dtype: DType) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        match dtype.is_float() {
            true => Scalar::new(dtype, (bits % 4096) as f64 / 1024.0 - 2.0).value(),
            false => (bits % 4) as f64,
        }
    }

    /// Carries out steps; one that does not fit leaves nothing behind.
    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            let (nodes, depth) = (self.graph.nodes.len(), self.depth);
            if self.step(step).is_none() {
                self.graph.nodes.truncate(nodes);
                self.values.truncate(nodes);
                self.left.truncate(nodes);
                self.depth = depth;
            }
        }
    }

    fn evaluate(&mut self, node: NodeId) {
        let value = Evaluator::new(&self.slots).node(&self.graph, node, &self.values);
        self.known(value);
    }

    /// The next node has this value.
    fn known(&mut self, value: Array) {
        self.values.push(value);
        self.left.push(false);
    }

    fn ty(&self, node: NodeId) -> &TensorType {
        &self.graph.node(node).ty
    }

    /// Appends a node if it fits and its value is of moderate size.
    fn emit(&mut self, op: impl Into<Op>, operands: &[NodeId]) -> Option<NodeId> {
        let node = self.graph.try_emit(op.into(), operands).ok()?;
        if self.ty(node).elements() > self.options.elements {
            return None;
        }
        self.evaluate(node);
        let moderate = self.values[node.index()].values.iter().all(|x| x.abs() <= LARGEST);
        moderate.then_some(node)
    }

    fn apply(&mut self, name: &str, operands: &[NodeId]) -> Option<NodeId> {
        self.emit(Elementwise::named(name)?, operands)
    }

    fn constant(&mut self, like: NodeId, value: f64) -> Option<NodeId> {
        let TensorType { dtype, shape } = self.ty(like).clone();
        self.emit(Constant { value: Scalar::new(dtype, value), shape }, &[])
    }

    /// One of the nodes that fit.
    fn choose(&self, index: Index, fits: impl Fn(&TensorType) -> bool) -> Option<NodeId> {
        self.choose_from(0, index, fits)
    }

    /// One of the nodes from this one on that fit.
    fn choose_from(
        &self,
        first: usize,
        index: Index,
        fits: impl Fn(&TensorType) -> bool,
    ) -> Option<NodeId> {
        let usable = |id: NodeId| self.is_value(id) && fits(self.ty(id));
        let nodes = self.graph.iter().skip(first).map(|(id, _)| id);
        let fitting: Vec<NodeId> = nodes.filter(|&id| usable(id)).collect();
        (!fitting.is_empty()).then(|| *index.get(&fitting))
    }

    /// Whether a node is one that others may read.
    fn is_value(&self, id: NodeId) -> bool {
        !self.left[id.index()] && !matches!(self.graph.node(id).op, Op::Scan(_))
    }

    fn any(&self, index: Index) -> Option<NodeId> {
        self.choose(index, |_| true)
    }

    fn number_node(&self, index: Index) -> Option<NodeId> {
        self.choose(index, |ty| ty.dtype.is_float() || ty.dtype == DType::I32)
    }

    /// Carries out a step; `None` if nothing fits it.
    fn step(&mut self, step: &Step) -> Option<NodeId> {
        match step {
            Step::Elementwise(function, operands) => self.elementwise(*function, operands),
            Step::Cast(dtype, operand) => {
                let x = self.choose(*operand, |ty| ty.dtype != *dtype)?;
                self.emit(Cast { dtype: *dtype }, &[x])
            }
            Step::Reshape(operand, rows) => {
                let x = self.any(*operand)?;
                let mut rest = self.ty(x).elements();
                let mut shape = Shape::new();
                for row in rows {
                    let divisors: Vec<usize> =
                        (1..=rest).filter(|&d| rest.is_multiple_of(d)).collect();
                    shape.push(*row.get(&divisors));
                    rest /= shape[shape.len() - 1];
                }
                shape.push(rest);
                self.emit(Reshape { shape }, &[x])
            }
            Step::Permute(operand, ranks) => {
                let x = self.choose(*operand, |ty| (2..=4).contains(&ty.rank()))?;
                let mut order: Axes = (0..self.ty(x).rank()).collect();
                order.sort_by_key(|&axis| ranks[axis]);
                self.emit(Permute { order }, &[x])
            }
            Step::Broadcast(operand, new) => {
                let x = self.choose(*operand, |ty| ty.rank() + new.len() <= 4)?;
                let mut shape: Vec<(usize, bool)> =
                    self.ty(x).shape.iter().map(|&extent| (extent, true)).collect();
                for (place, extent) in new {
                    shape.insert(place.index(shape.len() + 1), (*extent, false));
                }
                let axes = (0..shape.len()).filter(|&axis| shape[axis].1).collect();
                let shape = shape.into_iter().map(|(extent, _)| extent).collect();
                self.emit(Broadcast { shape, axes }, &[x])
            }
            Step::Slice(operand, cuts) => {
                let x = self.choose(*operand, |ty| (1..=4).contains(&ty.rank()))?;
                let mut slice = Slice { start: Axes::new(), stop: Axes::new(), step: Axes::new() };
                for (&extent, (start, length, step)) in self.ty(x).shape.iter().zip(cuts) {
                    let start = start.index(extent);
                    slice.start.push(start);
                    slice.stop.push(start + 1 + length.index(extent - start));
                    slice.step.push(*step);
                }
                self.emit(slice, &[x])
            }
            Step::Reverse(operand, marked) => {
                let x = self.any(*operand)?;
                let axes: Axes = (0..self.ty(x).rank().min(4)).filter(|&a| marked[a]).collect();
                self.emit(Reverse { axes }, &[x])
            }
            Step::Pad(operand, sizes, value) => {
                let x = self.choose(*operand, |ty| (1..=4).contains(&ty.rank()))?;
                let rank = self.ty(x).rank();
                let pad = Pad {
                    low: sizes[..rank].iter().map(|size| size.0).collect(),
                    high: sizes[..rank].iter().map(|size| size.1).collect(),
                    interior: sizes[..rank].iter().map(|size| size.2).collect(),
                    value: Scalar::new(self.ty(x).dtype, f64::from(*value)),
                };
                self.emit(pad, &[x])
            }
            Step::Concat(operands, axis) => {
                let first = self.choose(operands[0], |ty| ty.rank() > 0)?;
                let ty = self.ty(first).clone();
                let axis = axis.index(ty.rank());
                let joins = |other: &TensorType| {
                    let others = |ty: &TensorType| {
                        let mut shape = ty.shape.clone();
                        shape.remove(axis);
                        shape
                    };
                    other.dtype == ty.dtype
                        && other.rank() == ty.rank()
                        && others(other) == others(&ty)
                };
                let operands: Option<Vec<NodeId>> =
                    operands.iter().map(|&operand| self.choose(operand, joins)).collect();
                self.emit(Concat { axis }, &operands?)
            }
            Step::Reduce(kind, operand, marked) => {
                let x = self.number_node(*operand)?;
                let axes: Axes = (0..self.ty(x).rank().min(4)).filter(|&a| marked[a]).collect();
                if axes.is_empty() {
                    return None;
                }
                self.emit(Reduce { kind: *kind, axes }, &[x])
            }
            Step::ArgReduce(kind, operand, axis) => {
                let x = self.choose(*operand, |ty| ty.rank() > 0)?;
                let axis = axis.index(self.ty(x).rank());
                self.emit(ArgReduce { kind: *kind, axis }, &[x])
            }
            Step::Contract([left, right], pairings) => {
                let left = self.choose(*left, |ty| ty.dtype.is_float())?;
                let dtype = self.ty(left).dtype;
                let right = self.choose(*right, |ty| ty.dtype == dtype)?;
                let contract = pair_axes(self.ty(left), self.ty(right), pairings);
                self.emit(contract, &[left, right])
            }
            Step::Gather([x, indices], batch) => {
                let x = self.choose(*x, |ty| ty.rank() > 0)?;
                let indices = self.choose(*indices, |ty| ty.dtype == DType::I32)?;
                let shared = shared_axes(self.ty(x), self.ty(indices));
                let batch = (*batch).min(shared).min(self.ty(x).rank() - 1);
                let indices = self.clamped(indices, self.ty(x).shape[batch])?;
                self.emit(Gather { batch }, &[x, indices])
            }
            Step::Scatter(kind, [updates, indices], extent, batch) => {
                let updates = self.number_node(*updates)?;
                let shape = self.ty(updates).shape.clone();
                let fits = |ty: &TensorType| ty.dtype == DType::I32 && shape.starts_with(&ty.shape);
                let indices = self.choose(*indices, fits)?;
                let batch = (*batch).min(self.ty(indices).rank());
                let indices = self.clamped(indices, *extent)?;
                self.emit(Scatter { kind: *kind, batch, extent: *extent }, &[indices, updates])
            }
            Step::Cumulate(kind, [operand, axis], [reverse, exclusive]) => {
                let x = self.choose(*operand, |ty| ty.rank() > 0)?;
                let axis = axis.index(self.ty(x).rank());
                // The largest of no elements is not of moderate size.
                let exclusive = *exclusive && *kind != ReduceKind::Max;
                self.emit(Cumulate { kind: *kind, axis, reverse: *reverse, exclusive }, &[x])
            }
            Step::ArgSort(descending, [operand, count]) => {
                let x = self.choose(*operand, |ty| ty.rank() > 0)?;
                let count = 1 + count.index(*self.ty(x).shape.last()?);
                self.emit(ArgSort { descending: *descending, count }, &[x])
            }
            Step::Random(kind, like) => {
                let shape = self.any(*like).map(|like| self.ty(like).shape.clone())?;
                let stream = self.graph.nodes.len() as u64;
                self.emit(Random { kind: *kind, stream, dtype: self.options.dtype, shape }, &[])
            }
            Step::Constant(like, value) => {
                let like = self.any(*like)?;
                self.constant(like, f64::from(*value))
            }
            Step::Iota(like, axis) => {
                let like = self.choose(*like, |ty| ty.rank() > 0 && ty.dtype != DType::Bool)?;
                let TensorType { dtype, shape } = self.ty(like).clone();
                self.emit(Iota { axis: axis.index(shape.len()), dtype, shape }, &[])
            }
            Step::StopGradient(operand) => {
                let x = self.choose(*operand, |ty| ty.dtype.is_float())?;
                self.emit(StopGradient, &[x])
            }
            Step::Softmax(operand) => {
                let x = self.choose(*operand, |ty| ty.dtype.is_float() && ty.rank() > 0)?;
                self.softmax(x)
            }
            Step::Scan(plan) => self.scan(plan),
        }
    }

    /// A loop. New values of carries are kept between -1 and 1, and operands of functions with a
    /// limited domain are always squeezed, since only the first step's values are known.
    fn scan(&mut self, plan: &ScanPlan) -> Option<NodeId> {
        let dtype = self.options.dtype;
        let initial: Option<Vec<NodeId>> = (plan.carries.iter())
            .map(|[carry, _]| self.choose(*carry, |ty| ty.dtype == dtype))
            .collect();
        let mut length = plan.length;
        let mut sequences = Vec::new();
        for &sequence in &plan.sequences {
            let fits =
                |ty: &TensorType| ty.rank() > 0 && (sequences.is_empty() || ty.shape[0] == length);
            let node = self.choose(sequence, fits)?;
            length = self.ty(node).shape[0];
            sequences.push(node);
        }
        let mut builder = ScanBuilder::begin(&self.graph, length, plan.reverse);
        let first = self.graph.nodes.len();
        let mut carries = Vec::new();
        for node in initial? {
            carries.push(builder.carry(&mut self.graph, "carry", node));
            self.known(self.values[node.index()].clone());
        }
        for node in sequences {
            let inside = builder.element(&mut self.graph, "element", node);
            let ty = self.ty(inside).clone();
            let place = if plan.reverse { length - 1 } else { 0 };
            let elements = &self.values[node.index()].values[place * ty.elements()..];
            let element = Array::new(ty.clone(), elements[..ty.elements()].to_vec());
            self.known(element);
        }
        self.depth += 1;
        self.steps(&plan.steps);
        let mut next = Vec::new();
        for (&carry, [_, new]) in carries.iter().zip(&plan.carries) {
            let ty = self.ty(carry).clone();
            let new = self.choose_from(first, *new, |other| *other == ty)?;
            next.push(self.apply("tanh", &[new])?);
        }
        if let Some(until) = plan.until {
            let node = self.choose_from(first, until, |ty| ty.dtype.is_float())?;
            let axes: Axes = (0..self.ty(node).rank()).collect();
            let sum = match axes.is_empty() {
                true => node,
                false => self.emit(Reduce { kind: ReduceKind::Sum, axes }, &[node])?,
            };
            let zero = self.constant(sum, 0.0)?;
            builder.until(self.apply("lt", &[zero, sum])?);
        }
        let yields: Option<Vec<NodeId>> =
            plan.yields.iter().map(|&node| self.choose_from(first, node, |_| true)).collect();
        let body = first..self.graph.nodes.len();
        let nodes = builder.finish(&mut self.graph, &next, &yields?);
        self.depth -= 1;
        self.left[body].fill(true);
        while self.values.len() < self.graph.nodes.len() {
            self.evaluate(NodeId(self.values.len() as u32));
        }
        let mut last = None;
        for port in nodes.carries.into_iter().chain(nodes.yields) {
            let values = &self.values[port.index()].values;
            if values.len() > self.options.elements || values.iter().any(|x| x.abs() > LARGEST) {
                return None;
            }
            last = Some(port);
            if plan.until.is_some() && self.ty(port).dtype.is_float() {
                // There is no gradient.
                self.left[port.index()] = true;
                last = Some(self.emit(StopGradient, &[port])?);
            }
        }
        last
    }

    fn elementwise(&mut self, function: Elementwise, operands: &[Index; 3]) -> Option<NodeId> {
        let entry = function.entry();
        let mut chosen: Vec<NodeId> = Vec::new();
        if entry.typing == Typing::Select {
            let value = self.any(operands[1])?;
            let ty = self.ty(value).clone();
            let other = self.choose(operands[2], |other| *other == ty)?;
            let fits = |node: &TensorType| node.dtype == DType::Bool && node.shape == ty.shape;
            let condition = match self.choose(operands[0], fits) {
                Some(condition) => condition,
                None => self.apply("lt", &[value, other])?,
            };
            chosen = vec![condition, value, other];
        } else {
            let first = self.choose(operands[0], |ty| match entry.typing {
                Typing::Numeric => ty.dtype.is_float() || ty.dtype == DType::I32,
                Typing::Float => ty.dtype.is_float(),
                Typing::Logical => ty.dtype == DType::Bool,
                Typing::Comparison | Typing::Select => true,
            })?;
            let ty = self.ty(first).clone();
            chosen.push(first);
            for &operand in &operands[1..entry.arity] {
                chosen.push(self.choose(operand, |other| *other == ty)?);
            }
        }
        for (operand, &range) in chosen.iter_mut().zip(entry.domain.ranges) {
            if self.ty(*operand).dtype.is_float() {
                *operand = self.squeezed(*operand, range)?;
            }
        }
        self.emit(function, &chosen)
    }

    /// `x`, or if it is not within the range a function of it that is.
    fn squeezed(&mut self, x: NodeId, (low, high): (f64, f64)) -> Option<NodeId> {
        let within = self.values[x.index()].values.iter().all(|x| (low..=high).contains(x));
        if within && self.depth == 0 {
            return Some(x);
        }
        let share = self.apply("sigmoid", &[x])?;
        let width = self.constant(x, high - low)?;
        let low = self.constant(x, low)?;
        let product = self.apply("mul", &[share, width])?;
        self.apply("add", &[product, low])
    }

    /// Indices within an axis.
    fn clamped(&mut self, indices: NodeId, extent: usize) -> Option<NodeId> {
        let (first, last) = (self.constant(indices, 0.0)?, extent.checked_sub(1)?);
        let last = self.constant(indices, last as f64)?;
        let indices = self.apply("max", &[indices, first])?;
        self.apply("min", &[indices, last])
    }

    fn softmax(&mut self, x: NodeId) -> Option<NodeId> {
        let shape = self.ty(x).shape.clone();
        let last = shape.len() - 1;
        let kept: Axes = (0..last).collect();
        let over_last = |kind| Reduce { kind, axes: Axes::from_slice(&[last]) };
        let repeated = Broadcast { shape, axes: kept };
        let largest = self.emit(over_last(ReduceKind::Max), &[x])?;
        let largest = self.emit(StopGradient, &[largest])?;
        let largest = self.emit(repeated.clone(), &[largest])?;
        let difference = self.apply("sub", &[x, largest])?;
        let power = self.apply("exp", &[difference])?;
        let sum = self.emit(over_last(ReduceKind::Sum), &[power])?;
        let sum = self.emit(repeated, &[sum])?;
        self.apply("div", &[power, sum])
    }

    /// Adds outputs and the loss: the sum, over all float nodes that are not read, of their
    /// elements with random weights.
    fn finish(mut self) -> RandomGraph {
        let mut read = vec![false; self.graph.nodes.len()];
        for (_, node) in self.graph.iter().filter(|(id, _)| !self.left[id.index()]) {
            node.operands.iter().for_each(|operand| read[operand.index()] = true);
        }
        let nodes = self.graph.iter().map(|(id, _)| id);
        let unread: Vec<NodeId> =
            nodes.filter(|&id| !read[id.index()] && self.is_value(id)).collect();
        let mut loss = self.graph.constant(self.options.dtype, &[], 0.0);
        for node in unread {
            let output = Output { name: format!("result{}", node.0), node };
            self.graph.outputs.push(output);
            let ty = self.ty(node).clone();
            if ty.dtype.is_float() {
                let weights = self.slot(SlotRole::Input, ty.clone());
                let weighted = self.graph.mul(node, weights);
                let axes: Axes = (0..ty.rank()).collect();
                let sum = self.graph.sum(weighted, &axes);
                let sum = self.graph.cast(sum, self.options.dtype);
                loss = self.graph.add(loss, sum);
            }
        }
        self.graph.outputs.push(Output { name: "loss".to_owned(), node: loss });
        self.graph.guards.push(loss);
        self.graph.prune();
        let loss = self.graph.guards[0];
        RandomGraph { graph: self.graph, slots: self.slots, loss }
    }
}

/// How many leading axes two tensors share.
fn shared_axes(a: &TensorType, b: &TensorType) -> usize {
    a.shape.iter().zip(&b.shape).take_while(|(a, b)| a == b).count()
}

/// The product of tensors of these types in which pairs of axes of equal extents, first come first
/// served, are treated as planned.
fn pair_axes(left: &TensorType, right: &TensorType, pairings: &[Pairing; 3]) -> Contract {
    let mut contract = Contract { batch: Default::default(), contracted: Default::default() };
    let mut free: Vec<usize> = (0..right.rank()).collect();
    let mut pairings = pairings.iter();
    for (axis, extent) in left.shape.iter().enumerate() {
        let Some(place) = free.iter().position(|&other| right.shape[other] == *extent) else {
            continue;
        };
        match pairings.next() {
            Some(Pairing::Contract) => contract.contracted.push((axis, free.remove(place))),
            Some(Pairing::Batch) => contract.batch.push((axis, free.remove(place))),
            Some(Pairing::Leave) | None => {}
        }
    }
    contract
}
