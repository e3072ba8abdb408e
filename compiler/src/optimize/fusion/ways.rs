//! The ways in which a tensor that some kernel reads can be computed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::candidate::{Candidate, Frame, NodeSet, Plan};
use super::downstream::{self, Places};
use super::draft::{kept_indices, reduced_axes};
use super::product::Layout;
use super::survey::Survey;
use super::upstream::{self, Growth, Reach};
use crate::graph::NodeId;
use crate::index::{IndexMap, row_major_strides};
use crate::op::{Emit, Op};
use crate::types::{Axes, Shape};

/// How many of the values on the way from a product to the end of its epilogue are tried as ends.
const EPILOGUE_ENDS: usize = 4;

/// What kernels are wanted for.
pub(super) enum Wanted {
    /// A node.
    Node(NodeId),
    /// All needed results of a scan.
    Loop(NodeId),
    /// Several nodes with elements at the same points.
    Points(Shape, Vec<NodeId>),
    /// Several reductions over the same axes.
    Rows(Vec<NodeId>),
}

/// A kernel that could compute what is wanted.
pub(super) enum Way {
    /// On the points of a domain.
    Plan {
        /// What it computes itself.
        plan: Plan,
        /// What it computes at least, for others; among the nodes inside.
        targets: Arc<Places>,
        /// What kind of kernel it is, as a sentence.
        reason: &'static str,
    },
    /// By a kernel that cannot be anything else.
    Whole(Candidate),
}

/// Ways to compute what is wanted, in an order that depends on the graph alone.
pub(super) fn find(survey: &Survey<'_>, wanted: &Wanted) -> Vec<Way> {
    let mut ways = Ways { survey, found: Vec::new() };
    match wanted {
        Wanted::Node(node) => ways.node(*node),
        Wanted::Loop(scan) => ways.found.push(Way::Whole(Candidate::of_loop(survey, *scan))),
        Wanted::Points(shape, nodes) => ways.points(shape, nodes),
        Wanted::Rows(nodes) => ways.rows(nodes),
    }
    ways.found
}

struct Ways<'a, 'g> {
    survey: &'a Survey<'g>,
    found: Vec<Way>,
}

impl Ways<'_, '_> {
    fn node(&mut self, node: NodeId) {
        match &self.survey.graph.node(node).op {
            Op::Contract(_) => self.products(node),
            Op::Reduce(_) | Op::ArgReduce(_) => self.rows(&[node]),
            op if op.is_routine() => {
                let reason = "a routine of the runtime";
                self.found.push(Way::Whole(Candidate::routine(self.survey, node, reason)));
            }
            _ => {
                self.points(&self.survey.graph.type_of(node).shape, &[node]);
                if let Some(shape) = shape_of_parts(self.survey, node) {
                    self.points(shape, &[node]);
                }
            }
        }
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
        // What is computed in one order may be put into another by a kernel of its own.
        if let [node] = nodes
            && graph.node(*node).op.is_movement()
        {
            self.fused(frame.clone(), &places, Reach::Movement, false, "moved");
        }
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
        let nodes: BTreeSet<NodeId> = computed.keys().chain(joined).copied().collect();
        let wanted = computed.iter().filter(|(node, _)| self.survey.leaves(**node, &nodes));
        let targets = Arc::new(wanted.map(clone_pair).collect());
        for reads_transposed in [false, true] {
            let (rows, reducing) = (frame.rows(), frame.reducing());
            let growth = Growth { reach, repeating, rows, reducing, reads_transposed };
            let inside = Arc::new(upstream::grow(self.survey, &nodes, growth));
            let reads_across = inside.iter().any(|&node| self.survey.transposes(node));
            let packed = [NodeSet::default(), NodeSet::default()];
            let plan = Plan { frame: frame.clone(), inside, packed, joined: joined.to_vec() };
            self.found.push(Way::Plan { plan, targets: Arc::clone(&targets), reason });
            if !reads_across {
                break;
            }
        }
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
            let layout = Arc::new(Layout::new(survey.graph, node, swapped));
            let anchors = Places::from([(node, layout.result.clone())]);
            let cone = downstream::grow(survey, &anchors, None);
            (layout, anchors, cone)
        };
        let mut planned = lay_out(false);
        if self.lies_across(&planned.2) {
            planned = lay_out(true);
        }
        let (layout, anchors, cone) = planned;
        let frame = Frame::Product(Arc::clone(&layout));
        let mut ends: Vec<Places> = vec![anchors.clone()];
        let computed: BTreeSet<NodeId> = cone.keys().copied().collect();
        let stops = cone.iter().filter(|(id, _)| {
            **id != node && (survey.users(**id).len() > 1 || survey.leaves(**id, &computed))
        });
        ends.extend(stops.take(EPILOGUE_ENDS).map(|pair| Places::from([clone_pair(pair)])));
        ends.push(cone.clone());
        let packings = self.packings(&layout);
        for ends in &ends {
            let computed = closure(survey, &cone, ends);
            let nodes: BTreeSet<NodeId> = computed.keys().copied().collect();
            let targets = Arc::new(self.targets(&computed));
            for reach in [Reach::Owned, Reach::Cheap, Reach::All] {
                let growth = Growth {
                    reach,
                    repeating: false,
                    rows: frame.rows(),
                    reducing: None,
                    reads_transposed: false,
                };
                let inside = Arc::new(upstream::grow(survey, &nodes, growth));
                for packed in &packings {
                    let reason = match nodes.len() {
                        1 => "a matrix product",
                        _ => "a matrix product, and what follows on its finished tiles",
                    };
                    let (frame, inside) = (frame.clone(), Arc::clone(&inside));
                    let packed = packed.clone();
                    let plan = Plan { frame, inside, packed, joined: Vec::new() };
                    self.found.push(Way::Plan { plan, targets: Arc::clone(&targets), reason });
                }
            }
        }
    }

    /// Whether what a product computes mostly lies with its rows along memory, so that the
    /// transposed product would write along memory. What is only moved counts if nothing else is computed:
    /// it can be moved later.
    fn lies_across(&self, cone: &Places) -> bool {
        let mut targets = self.targets(cone);
        let moves = |node: &NodeId| self.survey.graph.node(*node).op.is_movement();
        if !targets.keys().all(moves) {
            targets.retain(|node, _| !moves(node));
        }
        let strides = targets.into_iter().map(|(node, place)| {
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
    fn packings(&self, layout: &Layout) -> Vec<[NodeSet; 2]> {
        let before = |operand: NodeId, reach: Reach| {
            let elements = self.survey.elements(operand);
            let growth = Growth {
                reach,
                repeating: false,
                rows: elements,
                reducing: None,
                reads_transposed: false,
            };
            Arc::new(upstream::grow_operand(self.survey, operand, growth))
        };
        let operands = [layout.left.0, layout.right.0];
        let moved = operands.map(|operand| before(operand, Reach::Movement));
        let in_place = layout.reads_in_place(self.survey.graph);
        let less = [0, 1].map(|side| {
            let mut less = vec![moved[side].clone()];
            if !in_place[side] {
                less.extend(self.before_permutations(operands[side]).map(Arc::new));
                less.extend([Arc::new(self.unpadded(operands[side])), NodeSet::default()]);
                less.dedup();
            }
            less
        });
        let [left, right] = &less;
        let mut packings: Vec<[NodeSet; 2]> = left
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

    /// The movements that lead to an operand from each that reorders axes, where that is not the last one.
    fn before_permutations(&self, operand: NodeId) -> impl Iterator<Item = BTreeSet<NodeId>> {
        let graph = self.survey.graph;
        let mut sets = Vec::new();
        let mut outer = BTreeSet::new();
        let mut at = operand;
        while graph.node(at).op.is_movement() {
            if matches!(graph.node(at).op, Op::Permute(_)) && !outer.is_empty() {
                sets.push(outer.clone());
            }
            outer.insert(at);
            at = graph.node(at).operands[0];
        }
        sets.into_iter()
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
}

/// The shape of a concatenation's parts, if they are alike and each has something to compute.
pub(super) fn shape_of_parts<'g>(survey: &Survey<'g>, joined: NodeId) -> Option<&'g Shape> {
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
