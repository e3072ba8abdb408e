//! `load`: parameters that start with the values of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::data::weights::Weights;
use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::language::glob::Glob;
use crate::language::program::{GraphParameter, LoadClause, Program};
use crate::session::Session;

use super::weights::is_counter;

/// Sets the parameters and buffers that `clause` selects. The file names them as seen from the
/// instance, and paths are relative to `base`.
///
/// # Errors
/// Every missing, unexpected and mis-shaped tensor at once; nothing is set then.
pub(super) fn load(
    session: &mut Session,
    program: &Program,
    clause: &LoadClause,
    base: &Path,
) -> Result<(), Error> {
    let path = base.join(&clause.path);
    let weights =
        Weights::read(&path).map_err(|error| Error::Data { error, span: Some(clause.span) })?;
    let skip: Vec<Glob> = clause.skip.iter().map(|pattern| Glob::new(pattern)).collect();
    let skipped = |name: &str| skip.iter().any(|glob| glob.matches(name).is_some());

    // What the file's tensors are called in the model.
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut problems = Vec::new();
    for name in weights.names() {
        let renamed = renamed(&clause.rename, &name);
        if skipped(&name) || skipped(&renamed) || is_counter(&name) {
            continue;
        }
        if let Some(other) = found.insert(renamed.clone(), name.clone()) {
            problems.push(format!("`{other}` and `{name}` are both loaded as `{renamed}`"));
        }
    }
    let mut tensors = Vec::new();
    let mut known = BTreeSet::new();
    for parameter in program.parameters.iter().filter(|parameter| parameter.saved()) {
        let GraphParameter { path, ty, .. } = parameter;
        let Some(name) = clause.targets.relative(path) else { continue };
        known.insert(name);
        // The tensor of what is not selected may be in the file.
        if !clause.targets.covers(path) || skipped(name) {
            continue;
        }
        match found.get(name) {
            Some(stored) => match weights.parameter(stored, ty.dtype, &ty.shape) {
                Ok(tensor) => tensors.push((path, tensor)),
                Err(error) => problems.push(error.fault.to_string()),
            },
            None if clause.strict => problems.push(format!("`{name}` {ty} is missing")),
            None => {}
        }
    }
    if clause.strict {
        let unexpected = found.iter().filter(|(name, _)| !known.contains(name.as_str()));
        problems.extend(unexpected.map(|(_, stored)| format!("`{stored}` is not in the model")));
    }
    if !problems.is_empty() {
        let diagnostic = Diagnostic::error(
            "load",
            format!("{} does not fit what it is loaded into", clause.path),
        )
        .primary(clause.span, format!("{} of its tensors do not fit", problems.len()));
        let diagnostic = problems.into_iter().fold(diagnostic, Diagnostic::note);
        return Err(Error::Program(vec![diagnostic.help(
            "leave tensors out with `skip: [\"fc.*\"]`, give them other names with `rename: \
             [(\"old.*\", \"new.*\")]`, or take what fits with `strict: false`",
        )]));
    }
    for (name, tensor) in tensors {
        // What the training step does not read has no slot.
        if session.has_slot(name) {
            session.set(name, &tensor)?;
        }
    }
    Ok(())
}

/// The name that the first fitting pair makes of a name.
fn renamed(pairs: &[(String, String)], name: &str) -> String {
    let made = pairs.iter().find_map(|(from, to)| {
        let stars = Glob::new(from).matches(name)?;
        Some(Glob::new(to).filled(&stars))
    });
    made.unwrap_or_else(|| name.to_owned())
}
