//! The evaluator: one reading of the language, used in two ways.
//!
//! To *check* a definition, its free dims are symbols and tensors are only types. To *elaborate*
//! a model or recipe, dims are numbers, every tensor is also a node, and the nodes make the graph.
//! Static values - numbers, lists, initializers, instances - are computed on the way in both, so
//! what is left of a program in the graph are its tensor operations.
//!
//! A mistake is reported where it is found and gives [`Stop`]; the statement it happened in has
//! the value [`Value::Unknown`], about which nothing more is said, and evaluation goes on.

mod arguments;
mod broadcast;
mod call;
mod control;
mod declaration;
mod entry;
mod expression;
mod index;
mod movement;
mod number;
mod operator;
mod report;
mod scan;
mod shape;
mod slots;
mod statement;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use cygnet_compiler::graph::{Graph, NodeId, Origin};

pub use arguments::{Arguments, Parameter, Place, Signature, assign_arguments};
pub use call::{is_input, layer_in_function, parameters_of, signature_of};
pub use entry::{DEFAULT_ENTRY, entry_point, entry_points, has_entry_points};
pub use movement::unknown_axis;
pub use number::Number;
pub use report::{Constraint, Requirement};
pub use shape::{Renaming, Site};
pub use slots::{SlotRecord, Slots};

use super::instance::{Activation, Roots};
use super::metric::Reporting;
use super::package::{ModuleId, Package};
use super::program::{ModelInstance, Plateau};
use super::scope::Scope;
use super::selection::Selection;
use super::value::{Axis, AxisNames, Tensor, Value};
use crate::data::source::Classes;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// A mistake was reported, or there is too little to go on. The value is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

/// The result of evaluating something.
pub type Eval<T> = Result<T, Stop>;

/// How deep definitions may call each other, counted in nested expressions. A definition that
/// calls itself with a static condition ends before; one that does not is reported.
const MAX_DEPTH: u32 = 500;

/// How many expressions are evaluated at most: a bound on the time that a program takes.
const MAX_EXPRESSIONS: u32 = 1_000_000;

/// A definition being evaluated.
struct Frame<'p> {
    /// Its name.
    name: &'p str,
    /// Where it was called, if it was.
    call: Option<Span>,
    /// The instance, in a layer or model.
    activation: Option<Rc<Activation>>,
    /// Distinguishes this frame from all others.
    serial: u64,
}

/// The parameter that an optimizer updates.
#[derive(Clone, Debug)]
pub struct Updated {
    /// Its path.
    pub path: String,
    /// Its type, which the optimizer's state has, too.
    pub tensor: Tensor,
    /// The optimizer's name.
    pub optimizer: String,
    /// Where the optimizer is defined.
    pub declared: Span,
}

/// Evaluates definitions of a package.
pub struct Evaluator<'p> {
    /// The program.
    pub package: &'p Package,
    /// The names of axes.
    pub axes: AxisNames<'p>,
    /// The graph being elaborated; `None` while checking.
    pub graph: Option<Graph>,
    /// The value of `training`.
    pub training: bool,
    /// Whether `step` and `epoch` can be read here.
    pub in_recipe: bool,
    /// Whether a recipe uses one model, whose parameters then need no prefix.
    pub single_model: bool,
    /// Labels that select a class, and what they may be.
    pub labels: Vec<(NodeId, Classes)>,
    /// What is frozen: its parameters are not trained, and `training` is false in it.
    pub frozen: Vec<Selection>,
    /// What is asked about the course of metrics from epoch to epoch.
    pub plateaus: Vec<Plateau>,
    /// The models used, by the paths of their instances.
    pub models: BTreeMap<String, ModelInstance>,
    /// The parameter that an optimizer updates.
    pub updated: Option<Updated>,
    /// What `report` is about to name, while a recipe's `report` is evaluated.
    pub reporting: Option<Reporting>,
    /// Parameters, state and what else outlives a step.
    pub slots: Slots,
    diagnostics: Vec<Diagnostic>,
    constraints: Vec<Constraint>,
    roots: Roots,
    frames: Vec<Frame<'p>>,
    serial: u64,
    span: Span,
    /// The operator being applied, for messages.
    operator: Option<Span>,
    depth: u32,
    /// How many expressions were evaluated.
    expressions: u32,
    /// What the loops being evaluated have yielded, the innermost last.
    yields: Vec<Yields<'p>>,
    /// How many `scan`s are being evaluated, one inside another.
    loops: usize,
    /// What a capture is called: the name that a `let` binds it to, or the list that it is in, and
    /// its place there.
    capture_name: Option<String>,
    /// The scopes of `let`s at the top of modules; `None` while one is being evaluated.
    globals: HashMap<(ModuleId, usize), Option<Rc<Scope<'p>>>>,
    origin: Option<(Span, u64, Arc<Origin>)>,
}

/// What a loop has yielded.
#[derive(Default)]
struct Yields<'p> {
    values: Vec<Value<'p>>,
    /// The name that a `let` binds the list of them to.
    name: Option<String>,
}

impl<'p> Evaluator<'p> {
    /// An evaluator that checks, or that elaborates into an empty graph.
    pub fn new(package: &'p Package, elaborate: bool, training: bool) -> Evaluator<'p> {
        Evaluator {
            package,
            axes: AxisNames::default(),
            graph: elaborate.then(Graph::new),
            training,
            in_recipe: false,
            single_model: false,
            labels: Vec::new(),
            frozen: Vec::new(),
            plateaus: Vec::new(),
            models: BTreeMap::new(),
            updated: None,
            reporting: None,
            slots: Slots::default(),
            diagnostics: Vec::new(),
            constraints: Vec::new(),
            roots: Roots::default(),
            frames: Vec::new(),
            serial: 0,
            span: Span::default(),
            operator: None,
            depth: 0,
            expressions: 0,
            yields: Vec::new(),
            loops: 0,
            capture_name: None,
            globals: HashMap::new(),
            origin: None,
        }
    }

    /// Runs `action` as the body of `name` in the instance `activation`, called at `call`.
    pub fn in_frame<T>(
        &mut self,
        name: &'p str,
        call: Option<Span>,
        activation: Option<Rc<Activation>>,
        action: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.serial += 1;
        self.frames.push(Frame { name, call, activation, serial: self.serial });
        let span = self.span;
        let result = action(self);
        self.span = span;
        self.frames.pop();
        result
    }

    /// The instance whose body is being evaluated, if it is one of a layer or model.
    pub fn activation(&self) -> Option<Rc<Activation>> {
        self.frames.last()?.activation.clone()
    }

    /// The value of `training` here: it is false in instances that are frozen.
    pub fn is_training(&self) -> bool {
        let innermost = self.frames.iter().rev().find_map(|frame| frame.activation.as_ref());
        let frozen = innermost.is_some_and(|instance| self.is_frozen(&instance.path));
        self.training && (self.in_recipe_body() || !frozen)
    }

    /// Whether a recipe's own clauses are being evaluated.
    pub fn in_recipe_body(&self) -> bool {
        self.in_recipe && self.frames.len() == 1
    }

    /// Runs `action` for the expression at `span`: what it emits and reports comes from there.
    pub fn at<T>(&mut self, span: Span, action: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.span, span);
        let result = action(self);
        self.span = before;
        result
    }

    /// Goes on at another place; returns the one before.
    pub fn move_to(&mut self, span: Span) -> Span {
        std::mem::replace(&mut self.span, span)
    }

    /// The place being evaluated.
    pub fn here(&self) -> Span {
        self.span
    }

    /// Emits nodes if this is an elaboration. `operands` are the tensors' nodes.
    ///
    /// `build` must not fail: shapes and element types were checked before.
    pub fn emit<const N: usize>(
        &mut self,
        operands: [&Tensor; N],
        build: impl FnOnce(&mut Graph, [NodeId; N]) -> NodeId,
    ) -> Option<NodeId> {
        self.emit_nodes(operands.map(|tensor| tensor.node), build)
    }

    /// As [`Evaluator::emit`], on nodes that are there in an elaboration.
    pub fn emit_nodes<const N: usize>(
        &mut self,
        operands: [Option<NodeId>; N],
        build: impl FnOnce(&mut Graph, [NodeId; N]) -> NodeId,
    ) -> Option<NodeId> {
        let origin = self.graph.is_some().then(|| self.current_origin())?;
        let graph = self.graph.as_mut()?;
        if operands.iter().any(Option::is_none) {
            return None;
        }
        graph.set_origin(origin);
        Some(build(graph, operands.map(|node| node.unwrap_or(NodeId(0)))))
    }

    /// Where a node emitted now comes from.
    fn current_origin(&mut self) -> Arc<Origin> {
        let serial = self.frames.last().map_or(0, |frame| frame.serial);
        if let Some((span, frame, origin)) = &self.origin
            && (*span, *frame) == (self.span, serial)
        {
            return Arc::clone(origin);
        }
        let calls = self.frames.iter().rev().filter_map(|frame| frame.call);
        let path = self.frames.iter().rev().find_map(|frame| frame.activation.as_ref());
        let origin = Arc::new(Origin {
            spans: std::iter::once(self.span).chain(calls).collect(),
            path: path.map_or_else(String::new, |activation| activation.path.clone()),
            ..Origin::default()
        });
        self.origin = Some((self.span, serial, Arc::clone(&origin)));
        origin
    }

    /// Records what the program calls the tensors in `value`.
    pub fn name_value(&mut self, value: &Value<'p>, name: &str) {
        let node = match value {
            Value::Tensor(tensor) => tensor.node,
            Value::Scalar(node) => *node,
            _ => None,
        };
        if let (Some(node), Some(graph)) = (node, self.graph.as_mut()) {
            let origin = &mut graph.nodes[node.index()].origin;
            if origin.name.is_none() {
                Arc::make_mut(origin).name = Some(name.to_owned());
            }
        }
    }

    /// The extents of axes, which are numbers in an elaboration.
    pub fn extents(axes: &[Axis]) -> Vec<usize> {
        let extent = |axis: &Axis| axis.size.as_constant().and_then(|size| size.try_into().ok());
        axes.iter().map(|axis| extent(axis).unwrap_or(0)).collect()
    }
}
