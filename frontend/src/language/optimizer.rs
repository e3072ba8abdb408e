//! Optimizers: their bodies, evaluated once for each parameter.

use super::evaluate::{Eval, Evaluator, Stop, Updated};
use super::instance::{Activation, Root};
use super::scope::{BindingKind, Scope};
use super::value::{Settings, Tensor, Value};
use crate::diagnostic::Diagnostic;
use crate::syntax::ast::Body;

impl<'p> Evaluator<'p> {
    /// What an optimizer makes of the parameter number `slot` and its gradient. Each objective has
    /// optimizer state of its own.
    pub(super) fn updated_parameter(
        &mut self,
        settings: &Settings<'p>,
        objective: &str,
        slot: usize,
        gradient: Tensor,
    ) -> Eval<Tensor> {
        let record = self.slots.record(slot).clone();
        let path = format!("{}/{objective}", record.path);
        self.run_optimizer(settings, &path, record.tensor(), gradient)
    }

    /// The new value of the tensor `value` at `path` with the gradient `gradient`.
    pub(super) fn run_optimizer(
        &mut self,
        settings: &Settings<'p>,
        path: &str,
        value: Tensor,
        gradient: Tensor,
    ) -> Eval<Tensor> {
        let function = settings.closure.function;
        let name = &function.name;
        let activation = Activation::of_root(path, Root::PROGRAM, 0);
        self.updated = Some(Updated {
            path: path.to_owned(),
            tensor: value.clone(),
            optimizer: name.name.clone(),
            declared: name.span,
        });
        let result = self.in_frame(&name.name, Some(settings.span), Some(activation), |this| {
            let scope = Scope::of_function(settings.closure.module, None);
            for (parameter, value) in function.parameters.iter().zip(&settings.values) {
                scope.fix(&parameter.name.name, value.clone(), parameter.name.span);
            }
            let variable = BindingKind::Variable;
            scope.bind("value", Value::Tensor(value), variable, name.span);
            scope.bind("grad", Value::Tensor(gradient), variable, name.span);
            match &function.body {
                Body::Block(block) => {
                    // Mistakes were reported; what counts is what `value` is in the end.
                    let _ = this.block_in(block, &scope);
                }
                Body::Expr(expr) => {
                    return Err(this.report(
                        Diagnostic::error(
                            "optimizer-body",
                            format!("`{}` does not update `value`", name.name),
                        )
                        .primary(expr.span, "only an expression")
                        .help("write a block: `{ value = value - lr * grad }`"),
                    ));
                }
            }
            match scope.lookup("value").map(|binding| binding.value) {
                Some(Value::Tensor(value)) => Ok(value),
                _ => Err(Stop),
            }
        });
        self.updated = None;
        result
    }
}
