//! Proposing kernels: for each tensor that some kernel reads, a few ways to compute it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::atlas::Atlas;
use super::candidate::{self, Candidate, Plan, PlanKey};
use super::downstream::Places;
use super::draft::reduced_axes;
use super::replay::{Describer, Piece, Replay};
use super::survey::Survey;
use super::ways::{self, Wanted, Way, shape_of_parts};
use crate::graph::NodeId;
use crate::op::{Emit, Op};
use crate::parallel;
use crate::types::Shape;

/// How many plans must be priced for a thread to be worth its start.
const ENOUGH: usize = 16;

/// About how many plans finding ways for a node takes as long as pricing.
const PLANS_A_NODE: usize = 4;

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
pub(super) fn propose(survey: &Survey<'_>, threads: usize) -> Proposal {
    let threads = 0..threads.max(1);
    let mut proposer = Proposer {
        survey,
        atlases: threads.map(|_| Atlas::new(survey.graph)).collect(),
        known: FxHashSet::default(),
        loops: BTreeSet::new(),
        describer: Describer::new(survey),
        replay: Replay::default(),
        candidates: Vec::new(),
        largest: vec![None; survey.graph.nodes.len()],
        demanded: survey.roots.clone(),
    };
    let roots = survey.roots.iter().copied().collect();
    let roots = proposer.wanted(roots);
    proposer.run(roots);
    let siblings = proposer.siblings();
    proposer.run(siblings);
    let Proposer { candidates, demanded, replay, .. } = proposer;
    Proposal { candidates, demanded, priced: replay.priced() }
}

struct Proposer<'a, 'g> {
    survey: &'a Survey<'g>,
    /// One for each thread.
    atlases: Vec<Atlas<'g>>,
    known: FxHashSet<PlanKey>,
    loops: BTreeSet<NodeId>,
    describer: Describer,
    replay: Replay,
    candidates: Vec<Candidate>,
    /// For each node, the number of the candidate that computes the most for it.
    largest: Vec<Option<usize>>,
    demanded: BTreeSet<NodeId>,
}

/// A kernel to propose.
enum Offer {
    /// A plan, and what makes it different from others.
    Plan(Planned, PlanKey),
    /// What is known already.
    Whole(Candidate),
}

/// A plan that computes `targets` at least, and its description.
struct Planned {
    plan: Plan,
    targets: Arc<Places>,
    reason: &'static str,
    piece: Piece,
}

/// Describes ways, each once.
fn offers(survey: &Survey<'_>, describer: &Describer, ways: Vec<Way>) -> Vec<Offer> {
    let mut known = FxHashSet::default();
    let offers = ways.into_iter().filter_map(|way| match way {
        Way::Whole(candidate) => Some(Offer::Whole(candidate)),
        Way::Plan { plan, targets, reason } => {
            let key = plan.key();
            known.insert(key.clone()).then(|| {
                let piece = describer.piece(survey, &plan, &targets);
                Offer::Plan(Planned { plan, targets, reason, piece }, key)
            })
        }
    });
    offers.collect()
}

impl Proposer<'_, '_> {
    /// Proposes kernels for what is wanted, for what these read, and so on.
    fn run(&mut self, mut wanted: Vec<Wanted>) {
        while !wanted.is_empty() {
            let threads = self.threads(PLANS_A_NODE * wanted.len());
            let (survey, describer) = (self.survey, &self.describer);
            let found = parallel::map(&mut self.atlases[..threads], &wanted, |_, wanted| {
                offers(survey, describer, ways::find(survey, wanted))
            });
            let demanded = self.offer(found.into_iter().flatten().collect());
            wanted = self.wanted(demanded);
        }
    }

    /// How many threads so many plans are worth.
    fn threads(&self, plans: usize) -> usize {
        (plans / ENOUGH).clamp(1, self.atlases.len())
    }

    /// What is wanted for nodes: each of them, or the loop that it is a result of, once.
    fn wanted(&mut self, nodes: Vec<NodeId>) -> Vec<Wanted> {
        let wanted = nodes.into_iter().filter_map(|id| {
            let node = self.survey.graph.node(id);
            match node.op {
                Op::Port(_) => {
                    let scan = node.operands[0];
                    self.loops.insert(scan).then_some(Wanted::Loop(scan))
                }
                _ => Some(Wanted::Node(id)),
            }
        });
        wanted.collect()
    }

    /// Adds a candidate for each offer, unless there is one like it. Tells which nodes are demanded
    /// for the first time.
    fn offer(&mut self, offers: Vec<Offer>) -> Vec<NodeId> {
        let survey = self.survey;
        let (mut whole, mut plans) = (Vec::new(), Vec::new());
        for offer in offers {
            match offer {
                Offer::Whole(candidate) => whole.push(candidate),
                Offer::Plan(Planned { plan, targets, reason, piece }, key) => {
                    if self.known.insert(key) {
                        plans.push((plan, targets, reason, self.replay.enter(piece)));
                    }
                }
            }
        }
        let unknown: Vec<_> = plans.iter().filter(|(.., entry)| entry.is_new).collect();
        let threads = self.threads(unknown.len());
        let atlases = &mut self.atlases[..threads];
        let found = parallel::map(atlases, &unknown, |atlas, (plan, targets, ..)| {
            candidate::find_out(survey, atlas, plan, targets)
        });
        for ((.., entry), known) in unknown.into_iter().zip(&found) {
            self.replay.learn(entry, known);
        }
        let mut demanded = Vec::new();
        for candidate in whole {
            self.add(candidate, &mut demanded);
        }
        for (plan, _, reason, entry) in plans {
            let candidate = Candidate::new(plan, self.replay.tell(&entry), reason);
            self.add(candidate, &mut demanded);
        }
        demanded
    }

    /// Adds a candidate, and demands what it reads.
    fn add(&mut self, candidate: Candidate, demanded: &mut Vec<NodeId>) {
        for &input in &candidate.inputs {
            let slot = matches!(self.survey.graph.node(input).op, Op::Slot(_));
            if self.demanded.insert(input) && !slot {
                demanded.push(input);
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

    /// Demanded nodes that one kernel may compute at once: elementwise ones of one shape (the state of
    /// an optimizer and the parameter), and reductions over the same axes.
    fn siblings(&self) -> Vec<Wanted> {
        let mut points: BTreeMap<&Shape, Vec<NodeId>> = BTreeMap::new();
        let mut rows: BTreeMap<(&Shape, &[usize]), Vec<NodeId>> = BTreeMap::new();
        let graph = self.survey.graph;
        for &id in &self.demanded {
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
        let mut wanted = Vec::new();
        for (shape, nodes) in points {
            let groups = self.groups(&nodes, shape.is_empty()).into_iter();
            wanted.extend(groups.map(|group| Wanted::Points(shape.clone(), group)));
        }
        for nodes in rows.into_values() {
            wanted.extend(self.groups(&nodes, false).into_iter().map(Wanted::Rows));
        }
        wanted
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
