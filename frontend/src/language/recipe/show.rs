//! The `show` clause: tensors that are written to files after each epoch.

use super::Run;
use super::report::called;
use crate::language::evaluate::Eval;
use crate::syntax::ast::Expr;

impl<'p> Run<'_, 'p> {
    /// `show tensor`. Only what shows is built has use for it.
    pub(super) fn show(&mut self, expr: &'p Expr) -> Eval<()> {
        let value = self.evaluator.expr(expr, &self.scope)?;
        let tensor = self.evaluator.expect_tensor(&value, expr.span, "what is shown")?;
        let base = match called(expr) {
            "metric" => "shown",
            name => name,
        };
        let name = self.free_name(base);
        self.outcome.shows.push((name, tensor));
        Ok(())
    }
}
