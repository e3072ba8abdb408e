//! Arguments of calls whose callee is known by its name.

use super::Resolver;
use crate::language::builtins::Builtin;
use crate::language::evaluate::{
    DEFAULT_ENTRY, Place, assign_arguments, entry_point, has_entry_points, is_input,
    layer_in_function, parameters_of, signature_of,
};
use crate::source::Span;
use crate::syntax::ast::{Argument, Expr, ExprKind, FunctionKind, Item};

impl Resolver<'_> {
    /// Reports arguments that the callee does not take, and missing ones.
    pub(super) fn call(
        &mut self,
        callee: &Expr,
        piped: Option<Span>,
        arguments: &[Argument],
        span: Span,
    ) {
        let ExprKind::Name(name) = &callee.kind else { return };
        if self.names.find(name).is_some() {
            return;
        }
        let is_placeholder =
            |argument: &&Argument| matches!(argument.value.kind, ExprKind::Placeholder);
        let capture = arguments.iter().any(|argument| is_placeholder(&argument));
        let written = arguments.iter().filter(|argument| !is_placeholder(argument));
        let places: Vec<Place<'_>> = piped
            .into_iter()
            .map(|span| Place { name: None, span })
            .chain(written.map(|argument| Place {
                name: argument.name.as_ref().map(|name| (name.name.as_str(), name.span)),
                span: argument.value.span,
            }))
            .collect();
        let definition = self.package.definition(self.module, name);
        let item = definition.and_then(|definition| self.package.item(definition));
        let assigned = match (item, Builtin::named(name)) {
            (Some(Item::Function(function)), _) if has_entry_points(function) && !capture => {
                let Ok(forward) = entry_point(function, DEFAULT_ENTRY) else { return };
                let parameters = parameters_of(forward);
                assign_arguments(signature_of(forward, &parameters), &places, span)
            }
            (Some(Item::Function(function)), _) => {
                let parameters = parameters_of(function);
                let inputs = function.parameters.iter().take_while(|p| is_input(p)).count();
                let parameters = if capture { &parameters[inputs..] } else { &parameters[..] };
                assign_arguments(signature_of(function, parameters), &places, span)
            }
            (None, Some(builtin)) if !capture => match builtin.parameters() {
                Some(parameters) => assign_arguments(builtin.signature(&parameters), &places, span),
                None => return,
            },
            _ => return,
        };
        if let Some(Item::Function(function)) = item
            && self.pure
            && matches!(function.kind, FunctionKind::Layer | FunctionKind::Model)
        {
            self.report(layer_in_function(function, span));
        }
        for mistake in assigned.err().into_iter().flatten() {
            self.report(mistake);
        }
    }
}
