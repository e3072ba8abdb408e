//! Slopes of graphs by differences of the reference evaluator, in f64.

use cygnet_compiler::array::Array;
use cygnet_compiler::evaluate::Steps;
use cygnet_compiler::graph::{Graph, NodeId};
use cygnet_compiler::op::{Context, Op};

/// Distances at which values are moved, for operands of size 1. With a relative precision of
/// 1.1e-16 and smooth third derivatives the best distance for a central difference is the cube
/// root of the precision, 5e-6; the larger one suits results of which most cancels, the smaller
/// ones are for places near kinks and for strong curvature, as of a normalization over two values
/// whose variance is about its `eps`.
const DISTANCES: [f64; 4] = [1e-5, 1e-4, 1e-6, 1e-7];

/// Relative error with which no other distance needs to be tried, if the derivative in question
/// agrees.
const GOOD_ERROR: f64 = 1e-6;

/// How much nearer than its distance to a kink an operand must stay: both operands of a
/// comparison may move, and distances are known up to a constant factor.
const KINK_MARGIN: f64 = 4.0;

/// By which share of its movement an operation's result must leave a straight line to be at a
/// kink; over the small distances smooth functions leave it much less.
const SMALLEST_BEND: f64 = 0.05;

/// Roundoff errors counted for each rounded number: an operation's own and its function's.
const ROUNDOFFS: f64 = 8.0;

/// The weighted sum of a node's elements as a function of the values of other nodes.
///
/// What stands behind a stop of the gradient keeps its value, as differentiation takes it.
pub struct Function<'a> {
    graph: &'a Graph,
    result: NodeId,
    weights: &'a [f64],
    /// Values of all nodes where the slope is asked for.
    base: &'a [Array],
    context: Context<'a>,
    /// For each node, whether the result depends on it without a stop of the gradient between.
    relevant: Vec<bool>,
    /// For each node, how far its operands are from its kinks.
    kinks: Vec<f64>,
}

/// A derivative along a direction, by differences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slope {
    /// No operation comes near a kink.
    Smooth {
        /// The central difference.
        value: f64,
        /// Bound on its error: what halving the distance changes (once and before, as far as
        /// errors fall with the square of the distance), and rounding.
        error: f64,
    },
    /// Some operation has a kink too near: the slopes on both sides.
    Kink {
        /// The smaller one, less its error.
        low: f64,
        /// The larger one, plus its error.
        high: f64,
    },
    /// Differences are no numbers, or nothing bounds how far they are rounded.
    Unknown,
}

/// The values of the nodes that a movement changes, by number.
type Changed = Vec<Option<Array>>;

impl<'a> Function<'a> {
    /// The function near the values `base` of all nodes of the graph.
    pub fn new(
        graph: &'a Graph,
        (result, weights): (NodeId, &'a [f64]),
        base: &'a [Array],
        context: Context<'a>,
    ) -> Function<'a> {
        let mut relevant = vec![false; graph.nodes.len()];
        relevant[result.index()] = true;
        for (id, node) in graph.iter().rev() {
            if relevant[id.index()] && !matches!(node.op, Op::StopGradient(_)) {
                node.operands.iter().for_each(|operand| relevant[operand.index()] = true);
            }
        }
        let kinks = graph.iter().map(|(id, node)| {
            if !relevant[id.index()] {
                return f64::INFINITY;
            }
            let operands: Vec<&Array> =
                node.operands.iter().map(|operand| &base[operand.index()]).collect();
            node.op.primitive().kink_distance(&operands)
        });
        let kinks = kinks.collect();
        Function { graph, result, weights, base, context, relevant, kinks }
    }

    /// The slope when the nodes of `direction` move as it says, to be held against the slope
    /// `claimed`. `rounding` is the sum, over all rounded numbers, of their sizes times their
    /// effects on the result.
    ///
    /// Two differences may be equal by chance while both are far off. So what disagrees with
    /// `claimed`, or is not exact, is compared with a third one, at twice the distance again, and
    /// the distance with the least error counts.
    pub fn slope(&self, direction: &[(NodeId, &[f64])], rounding: f64, claimed: f64) -> Slope {
        let rounding = match (rounding.is_finite(), claimed.is_finite()) {
            (true, _) => rounding,
            (false, true) => return Slope::Unknown,
            // Any number contradicts a slope that is none.
            (false, false) => 0.0,
        };
        let settles = |value: f64, error: f64| {
            error <= GOOD_ERROR * value.abs() && (value - claimed).abs() <= error
        };
        let mut best: Option<(f64, f64)> = None;
        let mut at_kink = false;
        for distance in DISTANCES {
            let moved = [-2.0, -1.0, 1.0, 2.0].map(|times| self.moved(direction, times * distance));
            if self.meets_kink(&moved) {
                at_kink = true;
                continue;
            }
            let [far_below, below, above, far_above] = moved.map(|changed| self.value(&changed));
            let value = (above - below) / (2.0 * distance);
            let coarse = (far_above - far_below) / (4.0 * distance);
            let rounding = rounding_error(rounding, distance);
            let mut error = (value - coarse).abs() + rounding;
            let mut is_known = value.is_finite() && error.is_finite();
            if !settles(value, error) {
                let far = [-4.0, 4.0].map(|times| self.moved(direction, times * distance));
                let [below, above] = far.map(|changed| self.value(&changed));
                let coarsest = (above - below) / (8.0 * distance);
                is_known &= coarsest.is_finite();
                error = error.max((coarse - coarsest).abs() / 4.0 + rounding);
            }
            if is_known && best.is_none_or(|(_, least)| error < least) {
                best = Some((value, error));
            }
            if settles(value, error) {
                break;
            }
        }
        match best {
            Some((value, error)) => Slope::Smooth { value, error },
            None if at_kink => self.one_sided(direction, rounding),
            None => Slope::Unknown,
        }
    }

    /// Slopes at a kink.
    fn one_sided(&self, direction: &[(NodeId, &[f64])], rounding: f64) -> Slope {
        let distance = DISTANCES[2];
        let here = self.value(&[]);
        let side = |sign: f64| {
            let at = |distance: f64| self.value(&self.moved(direction, sign * distance));
            let slope = |distance: f64| sign * (at(distance) - here) / distance;
            let (fine, coarse) = (slope(distance), slope(2.0 * distance));
            (fine, (fine - coarse).abs() + rounding_error(rounding, distance))
        };
        let (below, above) = (side(-1.0), side(1.0));
        let sides = [below.0 - below.1, above.0 - above.1, below.0 + below.1, above.0 + above.1];
        if !sides.iter().all(|side| side.is_finite()) {
            return Slope::Unknown;
        }
        Slope::Kink { low: sides[0].min(sides[1]), high: sides[2].max(sides[3]) }
    }

    /// The values that change when the nodes of `direction` move by so much of it.
    fn moved(&self, direction: &[(NodeId, &[f64])], distance: f64) -> Changed {
        let mut changed: Changed = vec![None; self.graph.nodes.len()];
        for &(node, step) in direction {
            let mut array = self.base[node.index()].clone();
            for (value, step) in array.values.iter_mut().zip(step) {
                *value += distance * step;
            }
            changed[node.index()] = Some(array);
        }
        for (id, node) in self.graph.iter().take(self.result.index() + 1) {
            let moves = node.operands.iter().any(|operand| changed[operand.index()].is_some());
            if changed[id.index()].is_some() || !moves || !self.passes(id) {
                continue;
            }
            let operands: Vec<&Array> = (node.operands.iter())
                .map(|operand| {
                    changed[operand.index()].as_ref().unwrap_or(&self.base[operand.index()])
                })
                .collect();
            let value = match &node.op {
                Op::Scan(scan) => {
                    // Inside, too, what is behind a stop of the gradient keeps its value.
                    let held = node.operands.iter().map(|operand| &self.base[operand.index()]);
                    let held = Some(held.collect());
                    Steps { held, ..Steps::new(scan, &operands) }.run(|_, _| {})
                }
                op => op.primitive().evaluate(&operands, &node.ty, &self.context),
            };
            changed[id.index()] = Some(value);
        }
        changed
    }

    /// Whether movements of a node's operands can reach the result through it.
    fn passes(&self, id: NodeId) -> bool {
        self.relevant[id.index()] && !matches!(self.graph.node(id).op, Op::StopGradient(_))
    }

    /// The weighted sum, where these values have changed.
    fn value(&self, changed: &[Option<Array>]) -> f64 {
        let index = self.result.index();
        let result = changed.get(index).and_then(Option::as_ref).unwrap_or(&self.base[index]);
        result.values.iter().zip(self.weights).map(|(value, weight)| value * weight).sum()
    }

    /// Whether some operation meets a kink within the farthest movements.
    fn meets_kink(&self, moved: &[Changed; 4]) -> bool {
        let far = [&moved[0], &moved[3]];
        self.graph.iter().take(self.result.index() + 1).any(|(id, node)| {
            if !self.passes(id) {
                return false;
            }
            let movement = |operand: &NodeId| far.map(|changed| self.movement(changed, *operand));
            let movement = node.operands.iter().flat_map(movement).fold(0.0, f64::max);
            let is_far = self.kinks[id.index()] >= KINK_MARGIN * movement;
            movement != 0.0 && !is_far && self.bends(id, moved)
        })
    }

    /// The largest change of an element of a node; infinite for one that is no number.
    fn movement(&self, changed: &Changed, id: NodeId) -> f64 {
        let Some(after) = &changed[id.index()] else { return 0.0 };
        let pairs = self.base[id.index()].values.iter().zip(&after.values);
        let change = |(before, after): (&f64, &f64)| match (after - before).abs() {
            change if change.is_nan() => f64::INFINITY,
            change => change,
        };
        pairs.map(change).fold(0.0, f64::max)
    }

    /// Whether an element of a node does not move in proportion to the distance. (Nearness to a
    /// kink is not enough: equal elements may share a maximum and stand still.)
    fn bends(&self, id: NodeId, moved: &[Changed; 4]) -> bool {
        let index = id.index();
        let base = &self.base[index].values;
        base.iter().enumerate().any(|(element, &here)| {
            let moved = moved.each_ref().map(|changed| {
                changed[index].as_ref().map_or(0.0, |array| array.values[element] - here)
            });
            let [far_below, below, above, far_above] = moved;
            let farthest = far_below.abs().max(far_above.abs());
            let bend = (far_below + far_above)
                .abs()
                .max((far_below - 2.0 * below).abs())
                .max((far_above - 2.0 * above).abs());
            let rounding = ROUNDOFFS * f64::EPSILON * here.abs();
            let is_straight = bend <= SMALLEST_BEND * farthest + rounding;
            !is_straight
        })
    }
}

/// Bound on the error of a difference quotient because values are rounded to f64.
fn rounding_error(rounding: f64, distance: f64) -> f64 {
    ROUNDOFFS * f64::EPSILON * rounding / distance
}
