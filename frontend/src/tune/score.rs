//! By which result trials are compared.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::language::program::{RecipeGraph, smaller_is_better};

/// Whether larger or smaller results are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Larger ones, as of accuracy.
    Maximize,
    /// Smaller ones, as of a loss.
    Minimize,
}

/// The result that trials are compared by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// Its name: an objective, or what is reported.
    pub metric: String,
    /// Which values are better.
    pub goal: Goal,
}

impl Criterion {
    /// The criterion for a recipe. Without a name it is the first number that is reported, or else
    /// the first objective. Without a goal, [`smaller_is_better`] decides.
    ///
    /// # Errors
    /// If nothing has that name, or it is no single number.
    pub fn of(
        recipe: &RecipeGraph,
        metric: Option<&str>,
        goal: Option<Goal>,
    ) -> Result<Criterion, Error> {
        let is_number = |name: &str| {
            let mut outputs = recipe.evaluation.outputs.iter();
            outputs.any(|output| output.name == name && output.ty.shape.is_empty())
        };
        let reported = recipe.reports.iter().map(|report| report.name.as_str());
        let all = reported.chain(recipe.objectives.iter().map(String::as_str));
        let numbers: Vec<&str> = all.clone().filter(|name| is_number(name)).collect();
        let listed = || format!("use one of {}", numbers.join(", "));
        let name = match metric {
            Some(metric) if numbers.contains(&metric) => metric,
            Some(metric) => {
                let text = match all.into_iter().any(|name| name == metric) {
                    true => format!("`{metric}` is not a single number"),
                    false => format!("nothing is reported as `{metric}`"),
                };
                return Err(Error::request(text, listed()));
            }
            None => *numbers.first().ok_or_else(|| {
                Error::request(
                    format!("the recipe `{}` has no result to compare trials by", recipe.plan.name),
                    "add an objective, or `report` a metric",
                )
            })?,
        };
        let objective = recipe.objectives.iter().any(|objective| objective == name);
        let inferred = match smaller_is_better(name, objective) {
            true => Goal::Minimize,
            false => Goal::Maximize,
        };
        Ok(Criterion { metric: name.to_owned(), goal: goal.unwrap_or(inferred) })
    }
}
