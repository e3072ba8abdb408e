//! Proposing kernels: for each tensor that some kernel reads, a few ways to compute it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use rustc_hash::FxHashSet;

use super::candidate::{Candidate, Frame, Plan, PlanKey};
use super::downstream::{self, Places};
use super::draft::{kept_indices, reduced_axes};
use super::product::Layout;
use super::replay::Replay;
use super::survey::Survey;
use super::upstream::{self, Growth, Reach};
use crate::graph::NodeId;
use crate::index::{IndexMap, row_major_strides};
use crate::op::{Emit, Op};
use crate::types::{Axes, Shape};

/// How many of the values on the way from a product to the end of its epilogue are tried as ends.
const EPILOGUE_ENDS: usize = 4;

/// Candidates, and the nodes whose tensors they read or the graph's roots need.
pub(super) struct Proposal {
    /// Candidates; each demanded node is an export of one at least.
    pub candidates: Vec<Candidate>,
    /// Demanded nodes, slots among them.
    pub demanded: BTreeSet<NodeId>,
    /// How many plans were priced: equal ones are priced once.
    pub priced: usize,
}

/// Proposes kernels for a graph.
pub(super) fn propose(survey: &Survey<'_>) -> Proposal {
    let mut proposer = Proposer {
        survey,
        known: FxHashSet::default(),
        loops: BTreeSet::new(),
        replay: Replay::new(survey),
        candidates: Vec::new(),
        largest: vec![None; survey.graph.nodes.len()],
        demanded: BTreeSet::new(),
        queue: VecDeque::new(),
    };
    for &root in &survey.roots {
        proposer.demanded.insert(root);
        proposer.queue.push_back(root);
    }
    proposer.run();
    proposer.join_siblings();
    proposer.run();
    let Proposer { candidates, demanded, replay, .. } = proposer;
    Proposal { candidates, demanded, priced: replay.priced }
}

struct Proposer<'a, 'g> {
    survey: &'a Survey<'g>,
    known: FxHashSet<PlanKey>,
    loops: BTreeSet<NodeId>,
    replay: Replay,
    candidates: Vec<Candidate>,
    /// For each node, the number of the candidate that computes the most for it.
    largest: Vec<Option<usize>>,
    demanded: BTreeSet<NodeId>,
    queue: VecDeque<NodeId>,
}

impl Proposer<'_, '_> {
    fn run(&mut self) {
        while let Some(node) = self.queue.pop_front() {
            match &self.survey.graph.node(node).op {
                Op::Contract(_) => self.products(node),
                Op::Reduce(_) | Op::ArgReduce(_) => self.rows(&[node]),
                op if op.is_routine() => {
                    let reason = "a routine of the runtime";
                    self.offer(Candidate::routine(self.survey, node, reason));
                }
                Op::Port(_) => self.looping(self.survey.graph.node(node).operands[0]),
                _ => {
                    self.points(&self.survey.graph.type_of(node).shape, &[node]);
                    if let Some(shape) = shape_of_parts(self.survey, node) {
                        self.points(shape, &[node]);
                    }
                }
            }
        }
    }

    /// Adds a candidate unless there is one like it.
    fn add(&mut self, plan: Plan, targets: &Places, reason: &'static str) {
        if !self.known.insert(plan.key()) {
            return;
        }
        let candidate = Candidate::new(self.survey, plan, targets, reason, &mut self.replay);
        self.offer(candidate);
    }

    /// Adds the loop of a scan, once.
    fn looping(&mut self, scan: NodeId) {
        if self.loops.insert(scan) {
            self.offer(Candidate::of_loop(self.survey, scan));
        }
    }

    /// Adds a candidate, and demands what it reads.
    fn offer(&mut self, candidate: Candidate) {
        for &input in &candidate.inputs {
            let slot = matches!(self.survey.graph.node(input).op, Op::Slot(_));
            if self.demanded.insert(input) && !slot {
                self.queue.push_back(input);
            }
        }
        for node in candidate.exports.keys() {
            let largest = &mut self.largest[node.index()];
            if largest.is_none_or(|known| self.candidates[known].size() <= candidate.size()) {
                *largest = Some(self.candidates.len());
            }
        }
        self.candidates.push(candidate);
    }

    /// Elementwise kernels that compute nodes of one shape, or concatenations part by part.
    fn points(&mut self, shape: &Shape, nodes: &[NodeId]) {
        let graph = self.survey.graph;
        let (whole, joined): (Vec<NodeId>, Vec<NodeId>) =
            nodes.iter().partition(|&&node| graph.type_of(node).shape == *shape);
        let parts = joined.iter().flat_map(|&node| graph.node(node).operands.iter().copied());
        let places: Places =
            whole.iter().copied().chain(parts).map(|n| (n, IndexMap::identity(shape))).collect();
        let reason = match nodes {
            [node] if joined.contains(node) => "parts of a tensor, each written to its place",
            [_] => "elementwise",
            _ => "elementwise, several results from shared operands",
        };
        let frame = Frame::Points(shape.clone());
        for reach in [Reach::Owned, Reach::Cheap, Reach::All] {
            for repeating in [false, true] {
                self.fused_with_parts(frame.clone(), &places, &joined, reach, repeating, reason);
            }
        }
    }

    /// Kernels that reduce over the same axes of the same shape, with what can be computed on.
    fn rows(&mut self, nodes: &[NodeId]) {
        let graph = self.survey.graph;
        let first = graph.node(nodes[0]);
        let shape = graph.type_of(first.operands[0]).shape.clone();
        let axes = Axes::from_slice(reduced_axes(&first.op).expect("a reduction"));
        let place = kept_indices(&shape, &axes);
        let frame = Frame::Rows(shape.clone(), axes.clone());
        let anchors: Places = nodes.iter().map(|&node| (node, place.clone())).collect();
        let cone = downstream::grow(self.survey, &anchors, frame.reducing());
        let per_row: Places = cone.iter().filter(|(_, p)| **p == place).map(clone_pair).collect();
        for (ends, reason) in [
            (&anchors, "a reduction"),
            (&per_row, "a reduction and what follows for each row"),
            (&cone, "rows: reductions, and what uses their results along the row"),
        ] {
            let computed = closure(self.survey, &cone, ends);
            for reach in [Reach::Movement, Reach::Owned, Reach::Cheap, Reach::All] {
                self.fused(frame.clone(), &computed, reach, false, reason);
            }
            self.fused(frame.clone(), &computed, Reach::All, true, reason);
        }
    }

    /// Adds the kernel that computes these nodes and grows from them toward its operands.
    fn fused(
        &mut self,
        frame: Frame,
        computed: &Places,
        reach: Reach,
        repeating: bool,
        reason: &'static str,
    ) {
        self.fused_with_parts(frame, computed, &[], reach, repeating, reason);
    }

    /// The same, where some of what is computed are the parts of concatenations.
    fn fused_with_parts(
        &mut self,
        frame: Frame,
        computed: &Places,
        joined: &[NodeId],
        reach: Reach,
        repeating: bool,
        reason: &'static str,
    ) {
        let growth = Growth { reach, repeating, rows: frame.rows(), reducing: frame.reducing() };
        let nodes: BTreeSet<NodeId> = computed.keys().chain(joined).copied().collect();
        let inside = upstream::grow(self.survey, &nodes, growth);
        let wanted = computed.iter().filter(|(node, _)| self.survey.leaves(**node, &nodes));
        let targets = wanted.map(clone_pair).collect();
        let packed = [BTreeSet::new(), BTreeSet::new()];
        let plan = Plan { frame, inside, packed, joined: joined.to_vec() };
        self.add(plan, &targets, reason);
    }

    /// Those of the nodes that something else than the others needs.
    fn targets(&self, computed: &Places) -> Places {
        let nodes: BTreeSet<NodeId> = computed.keys().copied().collect();
        let wanted = computed.iter().filter(|(node, _)| self.survey.leaves(**node, &nodes));
        wanted.map(clone_pair).collect()
    }

    /// Matrix products with what goes before and after.
    fn products(&mut self, node: NodeId) {
        let survey = self.survey;
        let lay_out = |swapped: bool| {
            let layout = Rc::new(Layout::new(survey.graph, node, swapped));
            let anchors = Places::from([(node, layout.result.clone())]);
            let cone = downstream::grow(survey, &anchors, None);
            (layout, anchors, cone)
        };
        let mut planned = lay_out(false);
        if self.lies_across(&planned.2) {
            planned = lay_out(true);
        }
        let (layout, anchors, cone) = planned;
        let frame = Frame::Product(Rc::clone(&layout));
        let mut ends: Vec<Places> = vec![anchors.clone()];
        let computed: BTreeSet<NodeId> = cone.keys().copied().collect();
        let stops = cone.iter().filter(|(id, _)| {
            **id != node && (survey.users(**id).len() > 1 || survey.leaves(**id, &computed))
        });
        ends.extend(stops.take(EPILOGUE_ENDS).map(|pair| Places::from([clone_pair(pair)])));
        ends.push(cone.clone());
        for ends in &ends {
            let computed = closure(survey, &cone, ends);
            let nodes: BTreeSet<NodeId> = computed.keys().copied().collect();
            let targets = self.targets(&computed);
            for reach in [Reach::Owned, Reach::Cheap, Reach::All] {
                let growth = Growth { reach, repeating: false, rows: frame.rows(), reducing: None };
                let inside = upstream::grow(survey, &nodes, growth);
                for packed in self.packings(&layout) {
                    let reason = match nodes.len() {
                        1 => "a matrix product",
                        _ => "a matrix product, and what follows on its finished tiles",
                    };
                    let (frame, inside) = (frame.clone(), inside.clone());
                    let plan = Plan { frame, inside, packed, joined: Vec::new() };
                    self.add(plan, &targets, reason);
                }
            }
        }
    }

    /// Whether what a product computes mostly lies with its rows along memory, so that the
    /// transposed product would write along memory.
    fn lies_across(&self, cone: &Places) -> bool {
        let strides = self.targets(cone).into_iter().map(|(node, place)| {
            let offset = place.offset(&row_major_strides(&self.survey.graph.type_of(node).shape));
            let axes = place.domain().len();
            [axes - 2, axes - 1].map(|axis| offset.stride(axis))
        });
        let votes = strides.map(|[row, column]| match (row, column) {
            (_, Some(1)) => -1,
            (Some(1), _) => 1,
            _ => 0,
        });
        votes.sum::<i32>() > 0
    }

    /// What may be computed while the operands of a product are packed: nothing but movement, all
    /// that can be for one of them, or less movement than there is, where memory may hold the
    /// result of some.
    fn packings(&self, layout: &Layout) -> Vec<[BTreeSet<NodeId>; 2]> {
        let before = |operand: NodeId, reach: Reach| {
            let elements = self.survey.elements(operand);
            let growth = Growth { reach, repeating: false, rows: elements, reducing: None };
            upstream::grow_operand(self.survey, operand, growth)
        };
        let operands = [layout.left.0, layout.right.0];
        let moved = operands.map(|operand| before(operand, Reach::Movement));
        let in_place = layout.reads_in_place(self.survey.graph);
        let less = [0, 1].map(|side| {
            let mut less = vec![moved[side].clone()];
            if !in_place[side] {
                less.extend([self.unpadded(operands[side]), BTreeSet::new()]);
                less.dedup();
            }
            less
        });
        let [left, right] = &less;
        let mut packings: Vec<[BTreeSet<NodeId>; 2]> = left
            .iter()
            .flat_map(|left| right.iter().map(|right| [left.clone(), right.clone()]))
            .collect();
        for side in [0, 1] {
            let mut all = moved.clone();
            all[side] = before(operands[side], Reach::All);
            if !packings.contains(&all) {
                packings.push(all);
            }
        }
        packings
    }

    /// The movements that lead to an operand from the last one that fills something in.
    fn unpadded(&self, operand: NodeId) -> BTreeSet<NodeId> {
        let graph = self.survey.graph;
        let mut outer = BTreeSet::new();
        let mut at = operand;
        while let [source] = graph.node(at).operands[..]
            && let Some(map) = graph.node(at).op.index_map(&graph.type_of(source).shape)
            && map.constraints().is_empty()
        {
            outer.insert(at);
            at = source;
        }
        outer
    }

    /// Proposes kernels that compute several demanded nodes at once: elementwise ones of one shape
    /// (the state of an optimizer and the parameter), and reductions over the same axes.
    fn join_siblings(&mut self) {
        let mut points: BTreeMap<&Shape, Vec<NodeId>> = BTreeMap::new();
        let mut rows: BTreeMap<(&Shape, &[usize]), Vec<NodeId>> = BTreeMap::new();
        let graph = self.survey.graph;
        let demanded = self.demanded.clone();
        for &id in &demanded {
            let node = graph.node(id);
            match &node.op {
                Op::Contract(_) | Op::Slot(_) | Op::Port(_) => {}
                op if op.is_routine() => {}
                op => match reduced_axes(op) {
                    Some(axes) => {
                        let shape = &graph.type_of(node.operands[0]).shape;
                        rows.entry((shape, axes)).or_default().push(id);
                    }
                    None => {
                        let shape = shape_of_parts(self.survey, id).unwrap_or(&node.ty.shape);
                        points.entry(shape).or_default().push(id);
                    }
                },
            }
        }
        for (shape, nodes) in points {
            for group in self.groups(&nodes, shape.is_empty()) {
                self.points(shape, &group);
            }
        }
        for nodes in rows.into_values() {
            for group in self.groups(&nodes, false) {
                self.rows(&group);
            }
        }
    }

    /// Groups of at least two nodes that read something in common (or, for scalars, slots only:
    /// then nothing waits for what comes along) and do not wait for each other.
    fn groups(&self, nodes: &[NodeId], scalars: bool) -> Vec<Vec<NodeId>> {
        struct Group {
            members: Vec<NodeId>,
            inputs: BTreeSet<NodeId>,
            depends: Vec<bool>,
        }
        let is_slot = |id: NodeId| matches!(self.survey.graph.node(id).op, Op::Slot(_));
        let mut groups: Vec<Group> = Vec::new();
        for &node in nodes {
            let Some(inputs) = self.inputs_of(node) else { continue };
            let depends = self.survey.descendants(&[node]);
            let fits = |group: &Group| {
                let waits = inputs.iter().any(|input| group.depends[input.index()])
                    || group.inputs.iter().any(|input| depends[input.index()]);
                let early = |inputs: &BTreeSet<NodeId>| inputs.iter().all(|input| is_slot(*input));
                let together = match scalars {
                    true => early(&inputs) && early(&group.inputs),
                    false => inputs.iter().any(|input| group.inputs.contains(input)),
                };
                !waits && together
            };
            match groups.iter_mut().find(|group| fits(group)) {
                Some(group) => {
                    group.members.push(node);
                    group.inputs.extend(inputs);
                    for (all, one) in group.depends.iter_mut().zip(depends) {
                        *all |= one;
                    }
                }
                None => groups.push(Group { members: vec![node], inputs, depends }),
            }
        }
        groups.into_iter().map(|group| group.members).filter(|members| members.len() > 1).collect()
    }

    /// What the kernel reads that computes the most for this node.
    fn inputs_of(&self, node: NodeId) -> Option<BTreeSet<NodeId>> {
        self.largest[node.index()].map(|number| self.candidates[number].inputs.clone())
    }
}

/// The shape of a concatenation's parts, if they are alike and each has something to compute.
fn shape_of_parts<'g>(survey: &Survey<'g>, joined: NodeId) -> Option<&'g Shape> {
    let node = survey.graph.node(joined);
    let shape = &survey.graph.type_of(*node.operands.first()?).shape;
    let is_part =
        |part: &NodeId| survey.graph.type_of(*part).shape == *shape && !survey.is_free(*part);
    let fits = matches!(node.op, Op::Concat(_)) && node.operands.len() > 1;
    (fits && node.operands.iter().all(is_part)).then_some(shape)
}

fn clone_pair((node, place): (&NodeId, &IndexMap)) -> (NodeId, IndexMap) {
    (*node, place.clone())
}

/// The ends, and the nodes of the cone that they need.
fn closure(survey: &Survey<'_>, cone: &Places, ends: &Places) -> Places {
    let mut closure = ends.clone();
    for (&node, place) in cone.iter().rev() {
        if survey.users(node).iter().any(|user| closure.contains_key(user)) {
            closure.insert(node, place.clone());
        }
    }
    closure
}
