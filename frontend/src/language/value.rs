//! What expressions of the language evaluate to.

use std::rc::Rc;

use cygnet_compiler::graph::NodeId;
use cygnet_compiler::types::DType;

use super::builtins::Builtin;
use super::initializer::Initializer;
use super::instance::{Activation, Root};
use super::package::ModuleId;
use super::scope::Scope;
use super::size::Size;
use crate::source::Span;
use crate::syntax::ast;

/// Identity of an axis. Two axes with one identity run together; what they are called is in the
/// [`AxisNames`] that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AxisId(pub(super) u32);

/// One axis of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Which axis it is.
    pub id: AxisId,
    /// How long it is.
    pub size: Size,
}

/// Makes axis identities and knows what they are called.
#[derive(Debug, Default)]
pub struct AxisNames<'p> {
    names: Vec<Option<&'p str>>,
}

impl<'p> AxisNames<'p> {
    /// A new axis called `name`.
    pub fn named(&mut self, name: &'p str) -> AxisId {
        self.push(Some(name))
    }

    /// A new axis without a name.
    pub fn unnamed(&mut self) -> AxisId {
        self.push(None)
    }

    fn push(&mut self, name: Option<&'p str>) -> AxisId {
        self.names.push(name);
        AxisId((self.names.len() - 1) as u32)
    }

    /// What the axis is called, if it has a name.
    pub fn name(&self, id: AxisId) -> Option<&'p str> {
        self.names[id.0 as usize]
    }

    /// The identity that the next new axis gets; all older ones are smaller.
    pub fn next(&self) -> AxisId {
        AxisId(self.names.len() as u32)
    }
}

/// A tensor: its type, and in an elaboration the node that computes it.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// The axes, outermost first; no identity occurs twice.
    pub axes: Vec<Axis>,
    /// The node; `None` while a program is only checked.
    pub node: Option<NodeId>,
}

/// A whole number known when the program is compiled, or an extent.
#[derive(Clone, Debug)]
pub struct Int {
    /// Its value.
    pub size: Size,
    /// The axis that a dim's name stands for besides its size.
    pub axis: Option<AxisId>,
}

/// A value of the language.
#[derive(Clone)]
pub enum Value<'p> {
    /// Not determined: it depends on what only the use of a definition says, or a mistake in it
    /// was reported. Nothing more is reported about it.
    Unknown,
    /// A static whole number or a dim.
    Int(Int),
    /// A static float; `None` if it depends on free dims or on how a definition is used.
    Float(Option<f64>),
    /// A static truth value.
    Bool(bool),
    /// A static text.
    Text(Rc<str>),
    /// A float that the compiled program is given or computes once a step: an `f64` scalar that
    /// adapts to the element type of tensors.
    Scalar(Option<NodeId>),
    /// A tensor.
    Tensor(Tensor),
    /// `(a, b)`.
    Tuple(Rc<[Value<'p>]>),
    /// `[a, b]`, and what a `for` yields.
    List(Rc<[Value<'p>]>),
    /// `start..end`.
    Range(Size, Size),
    /// How a parameter starts; `None` if it depends on free dims.
    Initializer(Option<Initializer>),
    /// A definition of a program or of the standard library.
    Closure(Closure<'p>),
    /// A function that the language defines.
    Builtin(Builtin),
    /// A layer or model with parameters of its own, or a function with arguments given.
    Capture(Rc<Capture<'p>>),
    /// A function of an instance: `net.encode`.
    EntryPoint(Rc<EntryPoint<'p>>),
    /// An optimizer with its settings.
    Optimizer(Rc<Settings<'p>>),
    /// A file imported under a name.
    Module(ModuleId),
    /// Nothing: a block that does not end in an expression.
    Unit,
}

/// A definition and where its free names are looked up.
#[derive(Clone)]
pub struct Closure<'p> {
    /// The definition.
    pub function: &'p ast::Function,
    /// The module it stands in.
    pub module: ModuleId,
    /// The scope around it, if it stands inside another definition.
    pub scope: Option<Rc<Scope<'p>>>,
    /// The instance around it, if it stands inside a layer or model: it may use parameters.
    pub activation: Option<Rc<Activation>>,
}

/// An argument and where it stands.
#[derive(Clone)]
pub struct Given<'p> {
    /// Its value.
    pub value: Value<'p>,
    /// Its expression.
    pub span: Span,
}

/// `linear(_, 10)`: an instance that can be called several times.
pub struct Capture<'p> {
    /// The captured definition.
    pub closure: Closure<'p>,
    /// The static arguments, by parameter of the definition.
    pub statics: Vec<Option<Given<'p>>>,
    /// The identity that its parameters belong to.
    pub root: Root,
    /// The path of its parameters.
    pub path: String,
    /// Where it was captured.
    pub span: Span,
}

/// `net.encode`: a function of an instance, to be called.
pub struct EntryPoint<'p> {
    /// The instance.
    pub capture: Rc<Capture<'p>>,
    /// The function that the model holds.
    pub entry: &'p ast::Function,
}

/// A definition with the values of all its parameters.
pub struct Settings<'p> {
    /// The definition.
    pub closure: Closure<'p>,
    /// Its parameters' values, in order.
    pub values: Vec<Value<'p>>,
    /// Where it was called.
    pub span: Span,
}

impl<'p> Value<'p> {
    /// A static whole number.
    pub fn int(size: Size) -> Value<'p> {
        Value::Int(Int { size, axis: None })
    }

    /// What kind of value it is, for messages, with an article.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Unknown => "an undetermined value",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a bool",
            Value::Text(_) => "a text",
            Value::Scalar(_) => "a float known only when the program runs",
            Value::Tensor(_) => "a tensor",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Range(..) => "a range",
            Value::Initializer(_) => "an initializer",
            Value::Closure(closure) => match closure.function.kind {
                ast::FunctionKind::Fn => "a function",
                ast::FunctionKind::Layer => "a layer",
                ast::FunctionKind::Model => "a model",
                ast::FunctionKind::Optimizer => "an optimizer",
                ast::FunctionKind::Metric => "a metric",
            },
            Value::Builtin(_) => "a function",
            Value::Capture(_) => "an instance",
            Value::EntryPoint(_) => "an entry point",
            Value::Optimizer(_) => "an optimizer",
            Value::Module(_) => "a module",
            Value::Unit => "nothing",
        }
    }
}
