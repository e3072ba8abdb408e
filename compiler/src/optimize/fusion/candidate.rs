//! Kernel candidates: what a kernel computes, where, and what it may write.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::atlas::Atlas;
use super::downstream::Places;
use super::draft::{Draft, kept_indices, reduction_axes};
use super::inline::{Inlined, Inliner};
use super::looping;
use super::product::{Layout, parallel_axes};
use super::replay::Known;
use super::survey::Survey;
use crate::graph::NodeId;
use crate::index::IndexMap;
use crate::kernel::{Axis, AxisRole, ValueId};
use crate::op::Emit;
use crate::optimize::cost;
use crate::types::{Axes, Shape};

/// The points at which a kernel computes.
#[derive(Clone)]
pub(super) enum Frame {
    /// All points of a shape, independently.
    Points(Shape),
    /// Rows of a shape: reductions run over these axes.
    Rows(Shape, Axes),
    /// The result of a contraction.
    Product(Arc<Layout>),
}

impl Frame {
    /// Axes of the kernel's body, or of its epilogue.
    pub fn axes(&self) -> Vec<Axis> {
        match self {
            Frame::Points(shape) => parallel_axes(shape),
            Frame::Rows(shape, axes) => reduction_axes(shape, axes),
            Frame::Product(layout) => layout.result_axes(),
        }
    }

    /// How often per-row values are computed.
    pub fn rows(&self) -> usize {
        let axes = self.axes();
        let parallel = axes.iter().filter(|axis| axis.role == AxisRole::Parallel);
        parallel.map(|axis| axis.extent).product()
    }

    /// Shape and axes of the reductions that the kernel can do.
    pub fn reducing(&self) -> Option<(&[usize], &[usize])> {
        match self {
            Frame::Rows(shape, axes) => Some((shape, axes)),
            Frame::Points(_) | Frame::Product(_) => None,
        }
    }

    /// The places at which each point, or each row, computes one element of a tensor, and the
    /// number of these elements.
    fn own_places(&self) -> Vec<(IndexMap, usize)> {
        let size = |shape: &[usize]| shape.iter().product();
        match self {
            Frame::Points(shape) => vec![(IndexMap::identity(shape), size(shape))],
            Frame::Rows(shape, axes) => vec![
                (IndexMap::identity(shape), size(shape)),
                (kept_indices(shape, axes), self.rows()),
            ],
            Frame::Product(layout) => {
                vec![(layout.result.clone(), size(layout.result.domain()))]
            }
        }
    }
}

/// What makes a plan different from others: its axes, its contraction, what it computes, and what
/// it writes part by part.
pub(super) type PlanKey = (Vec<Axis>, Option<NodeId>, NodeSet, [NodeSet; 2], Vec<NodeId>);

/// Nodes, in a set that several plans share.
pub(super) type NodeSet = Arc<BTreeSet<NodeId>>;

/// What a kernel computes itself.
pub(super) struct Plan {
    /// The points at which it computes.
    pub frame: Frame,
    /// Nodes computed there.
    pub inside: NodeSet,
    /// Nodes computed while the left and the right operand of a product are packed.
    pub packed: [NodeSet; 2],
    /// Concatenations, among the nodes inside, whose parts are computed at the points and written
    /// one by one.
    pub joined: Vec<NodeId>,
}

impl Plan {
    /// What makes the plan different from others.
    pub fn key(&self) -> PlanKey {
        let product = match &self.frame {
            Frame::Product(layout) => Some(layout.node),
            Frame::Points(_) | Frame::Rows(..) => None,
        };
        let (inside, packed) = (self.inside.clone(), self.packed.clone());
        (self.frame.axes(), product, inside, packed, self.joined.clone())
    }

    fn inliner<'a, 'g>(
        &self,
        atlas: &'a mut Atlas<'g>,
        reads: &'a dyn Fn(NodeId) -> bool,
    ) -> Inliner<'a, 'g> {
        let inliner = Inliner::new(atlas, self.frame.axes(), reads);
        match &self.frame {
            Frame::Product(layout) => inliner.with_accumulator(layout.node, &layout.result),
            Frame::Points(_) | Frame::Rows(..) => inliner,
        }
    }

    fn draft(&self, atlas: &mut Atlas<'_>, inlined: Inlined, outputs: Vec<NodeId>) -> Draft {
        let Frame::Product(layout) = &self.frame else {
            return Draft::fused(inlined, outputs);
        };
        let [left, right] = &self.packed;
        let left = |node: NodeId| !left.contains(&node);
        let right = |node: NodeId| !right.contains(&node);
        Draft::product(atlas, layout, [&left, &right], inlined, outputs)
    }
}

/// How a candidate computes what it does.
pub(super) enum Making {
    /// On the points of a domain.
    Plan(Plan),
    /// By a kernel that cannot be anything else: a routine of the runtime, or a loop.
    Whole(Box<Draft>),
}

/// A kernel that may become part of the cover.
pub(super) struct Candidate {
    /// What it computes itself.
    making: Making,
    /// Nodes that can be written, and where.
    pub exports: Places,
    /// Nodes read from memory if all exports that were planned are computed.
    pub inputs: BTreeSet<NodeId>,
    /// Predicted nanoseconds, without storing anything.
    pub price: f64,
    /// What kind of kernel it is, as a sentence.
    pub reason: &'static str,
}

impl Candidate {
    /// A candidate of which all is known.
    pub fn new(plan: Plan, known: Known, reason: &'static str) -> Candidate {
        let Known { exports, inputs, price } = known;
        Candidate { making: Making::Plan(plan), exports, inputs, price, reason }
    }

    /// A candidate that computes a node by a routine of the runtime.
    pub fn routine(survey: &Survey<'_>, node: NodeId, reason: &'static str) -> Candidate {
        let draft = Draft::routine(survey.graph, node).because(reason.to_owned());
        Candidate::whole(survey, draft, vec![node], reason)
    }

    /// The loop of a scan, which writes all of its results that are needed.
    pub fn of_loop(survey: &Survey<'_>, scan: NodeId) -> Candidate {
        let ports = survey.users(scan);
        let draft = looping::draft(survey.graph, scan, ports, survey.options);
        Candidate::whole(survey, draft, ports.to_vec(), "a loop")
    }

    /// A candidate that is one kernel in any case, and writes all of `outputs`.
    fn whole(
        survey: &Survey<'_>,
        draft: Draft,
        outputs: Vec<NodeId>,
        reason: &'static str,
    ) -> Candidate {
        let place = |node: NodeId| (node, IndexMap::identity(&survey.graph.type_of(node).shape));
        let exports = outputs.into_iter().map(place).collect();
        let (price, inputs) = (price(survey, &draft), draft.inputs.clone());
        Candidate { making: Making::Whole(Box::new(draft)), exports, inputs, price, reason }
    }

    /// Number of nodes that it computes.
    pub fn size(&self) -> usize {
        match &self.making {
            Making::Plan(plan) => plan.inside.len(),
            Making::Whole(draft) => draft.nodes.len(),
        }
    }

    /// The kernel that writes `outputs`, which are among the exports.
    pub fn draft(&self, atlas: &mut Atlas<'_>, outputs: Vec<NodeId>) -> Draft {
        let plan = match &self.making {
            Making::Plan(plan) => plan,
            Making::Whole(draft) => return Draft::clone(draft),
        };
        let reads = |node: NodeId| !plan.inside.contains(&node);
        let mut inliner = plan.inliner(atlas, &reads);
        for &node in &outputs {
            match plan.joined.contains(&node) {
                true => inliner.store_parts(node),
                false => inliner.store(node, &self.exports[&node]),
            }
        }
        let inlined = inliner.finish();
        plan.draft(atlas, inlined, outputs).because(self.reason.to_owned())
    }
}

/// What a plan that computes `targets` (which are among the nodes inside) reads, can write and
/// costs.
pub(super) fn find_out(
    survey: &Survey<'_>,
    atlas: &mut Atlas<'_>,
    plan: &Plan,
    targets: &Places,
) -> Known {
    let reads = |node: NodeId| !plan.inside.contains(&node);
    let mut inliner = plan.inliner(atlas, &reads);
    for (&node, place) in targets {
        inliner.value(node, place);
    }
    for &joined in &plan.joined {
        inliner.parts(joined);
    }
    let own_places = plan.frame.own_places();
    let mut exports = targets.clone();
    for (node, place) in inliner.computed() {
        let whole = |(own, elements): &(IndexMap, usize)| {
            own == place && *elements == survey.elements(node)
        };
        if !survey.is_free(node) && own_places.iter().any(whole) {
            exports.entry(node).or_insert_with(|| place.clone());
        }
    }
    inliner.retain_storable(&mut exports);
    for &joined in &plan.joined {
        exports.insert(joined, IndexMap::identity(&survey.graph.type_of(joined).shape));
    }
    let inlined = inliner.finish();
    let draft = plan.draft(atlas, inlined, Vec::new());
    // What is indexed is read from memory even if it is computed, too.
    exports.retain(|node, _| !draft.inputs.contains(node));
    // What leaves the kernel is stored by it.
    let scattering =
        targets.iter().map(|(&node, place)| cost::of_scattering(place, survey.graph.type_of(node)));
    let price = price(survey, &draft) + scattering.sum::<f64>();
    Known { exports, inputs: draft.inputs, price }
}

/// Predicted nanoseconds of a draft.
fn price(survey: &Survey<'_>, draft: &Draft) -> f64 {
    let type_of = |value: ValueId| survey.graph.type_of(NodeId(value.0));
    cost::of_kernel(&draft.body, &type_of).nanoseconds
}
