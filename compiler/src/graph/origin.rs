//! Where nodes come from.

use smallvec::SmallVec;

use crate::span::Span;

/// Provenance of a node. It survives every pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Source places, innermost first: the expression, then the calls that led to it.
    pub spans: SmallVec<[Span; 3]>,
    /// Path of the layer instance, for example `layer1.0.conv1`.
    pub path: String,
    /// What the value is called where it is made (a `let` or a parameter), if it has a name.
    pub name: Option<String>,
    /// Whether differentiation made it: it carries the cotangent of something at these places.
    pub gradient: bool,
    /// Sentences of the rewrite rules that led to it, oldest first.
    pub rules: SmallVec<[&'static str; 2]>,
}
