//! Training recipes.

use super::{
    Argument, Assignment, Binding, Declaration, Expr, ExprKind, Ident, Parameter, Pattern,
    PipeStep, Stage, Type,
};
use crate::source::Span;

/// `train name(parameters) { ... }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Its name.
    pub name: Ident,
    /// What `--set` and `tune` reach.
    pub parameters: Vec<Parameter>,
    /// The clauses, in order.
    pub clauses: Vec<Clause>,
    /// The whole recipe.
    pub span: Span,
}

/// One line of a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// What it says.
    pub kind: ClauseKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of a [`Clause`].
#[derive(Debug, Clone, PartialEq)]
pub enum ClauseKind {
    /// `let` or `var`.
    Binding(Binding),
    /// `param` or `state`.
    Declaration(Declaration),
    /// `name = value`.
    Assignment(Assignment),
    /// `data x: u8[n, 1, 8, 8], y: i32[n] from idx("data/digits")`.
    Data {
        /// What each example brings; at least one.
        fields: Vec<Field>,
        /// The loader.
        source: Expr,
    },
    /// `load net from safetensors("weights.safetensors")`.
    Load {
        /// Which parameters are loaded.
        targets: Paths,
        /// Where from.
        source: Expr,
    },
    /// `freeze net except net.head while epoch < 3`.
    Freeze {
        /// What stays as it is.
        targets: Paths,
        /// For how long; always, where it is missing.
        condition: Option<Expr>,
    },
    /// `minimize name = loss over net using adam(lr: lr)`.
    Minimize {
        /// The name of the objective, for `report`.
        name: Option<Ident>,
        /// What is minimized.
        objective: Expr,
        /// Which optimizer updates which parameters; at least one.
        groups: Vec<UpdateGroup>,
    },
    /// `batch 32`.
    Batch(Expr),
    /// `accumulate 4`: batches per update.
    Accumulate(Expr),
    /// `epochs 10`.
    Epochs(Expr),
    /// `stop when plateaus("loss") > 0`: the last epoch is the first after which this holds.
    Stop(Expr),
    /// `report accuracy(logits, label)`: metrics; at least one.
    Report(Vec<Reported>),
    /// `show generator(noise)`: images; at least one.
    Show(Vec<Expr>),
    /// Text that is not a clause.
    Error,
}

/// One field of a `data` clause.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// What it is bound to.
    pub pattern: Pattern,
    /// Its type.
    pub ty: Option<Type>,
    /// The whole field.
    pub span: Span,
}

/// `name = value` or `value` in a `report`.
#[derive(Debug, Clone, PartialEq)]
pub struct Reported {
    /// What it is called; where it is missing, as the function that is called.
    pub name: Option<Ident>,
    /// A scalar, or a use of a metric.
    pub value: Expr,
    /// The whole entry.
    pub span: Span,
}

/// `over net.head using adam(lr: lr)`: one group of a `minimize`.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateGroup {
    /// Which parameters; all of the objective's, where it is missing.
    pub over: Option<Paths>,
    /// The optimizer, possibly behind steps that change the gradient.
    pub using: Expr,
    /// The whole group.
    pub span: Span,
}

/// One step of what stands behind `using`: a transformation of gradients, or the optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateStep<'a> {
    /// What is called.
    pub callee: &'a Expr,
    /// The arguments, without the gradients; `None` where no parentheses are written.
    pub arguments: Option<&'a [Argument]>,
    /// The whole step.
    pub span: Span,
}

impl UpdateGroup {
    /// The transformations of gradients in their order, and last the optimizer; at least that.
    ///
    /// # Errors
    /// The place of a step that moves axes, which gradients cannot be led through.
    pub fn steps(&self) -> Result<Vec<UpdateStep<'_>>, Span> {
        let (input, steps) = match &self.using.kind {
            ExprKind::Pipe { input, steps } => (&**input, steps.as_slice()),
            _ => (&self.using, &[][..]),
        };
        let (callee, arguments) = match &input.kind {
            ExprKind::Call { callee, arguments } => (&**callee, Some(arguments.as_slice())),
            _ => (input, None),
        };
        let mut all = vec![UpdateStep { callee, arguments, span: input.span }];
        for step in steps {
            match step {
                PipeStep::Stage(Stage { callee, arguments, span, .. }) => {
                    all.push(UpdateStep { callee, arguments: Some(arguments), span: *span });
                }
                PipeStep::Movement(movement) => return Err(movement.span),
            }
        }
        Ok(all)
    }
}

/// A selection of parameters: `a, b.c except b.c.d`.
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    /// What is in it; at least one.
    pub included: Vec<Path>,
    /// What is not.
    pub excluded: Vec<Path>,
    /// The whole selection.
    pub span: Span,
}

/// `net.layers.0.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// The first name: an instance of a model.
    pub root: Ident,
    /// What follows.
    pub segments: Vec<PathSegment>,
    /// The whole path.
    pub span: Span,
}

/// What follows a dot in a [`Path`].
#[derive(Debug, Clone, PartialEq)]
pub enum PathSegment {
    /// `.name`.
    Name(Ident),
    /// `.0`.
    Index(u64, Span),
    /// `.*`.
    Any(Span),
}
