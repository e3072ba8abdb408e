//! Weights in files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::weights::{Weights, write_weights};
use crate::error::Error;
use crate::language::program::{GraphParameter, Program};
use crate::session::Session;

/// Writes all parameters and buffers of a program as safetensors, all or nothing.
///
/// # Errors
/// If the file cannot be written; it is then as it was.
pub fn save_weights(
    session: &Session,
    program: &Program,
    name: &str,
    path: &Path,
) -> Result<(), Error> {
    let mut tensors = Vec::new();
    for parameter in program.parameters.iter().filter(|parameter| parameter.saved()) {
        tensors.push((parameter.path.as_str(), session.get(&parameter.path)?));
    }
    let metadata = BTreeMap::from([
        ("format".to_owned(), "cygnet".to_owned()),
        ("recipe".to_owned(), name.to_owned()),
    ]);
    write_weights(path, tensors.iter().map(|(name, tensor)| (*name, tensor)), &metadata)
        .map_err(Error::data)
}

/// Reads parameters and buffers from a safetensors file into a session. Tensors of the file that the model
/// does not have are an error too: the file then belongs to another model.
///
/// # Errors
/// Every missing, unexpected and mis-shaped tensor at once; nothing is set then.
pub fn load_weights(session: &mut Session, program: &Program, path: &Path) -> Result<(), Error> {
    let weights = Weights::read(path).map_err(Error::data)?;
    let saved: Vec<&GraphParameter> =
        program.parameters.iter().filter(|parameter| parameter.saved()).collect();
    let mut problems = Vec::new();
    let mut tensors = Vec::new();
    let names = weights.names();
    for GraphParameter { path: name, ty, .. } in &saved {
        if !names.contains(name) {
            problems.push(format!("`{name}` {ty} is missing"));
            continue;
        }
        match weights.parameter(name, ty.dtype, &ty.shape) {
            Ok(tensor) => tensors.push((name, tensor)),
            Err(error) => problems.push(error.to_string()),
        }
    }
    let unexpected = names.iter().filter(|name| saved.iter().all(|p| p.path != **name));
    problems.extend(unexpected.map(|name| format!("`{name}` is not part of the model")));
    if !problems.is_empty() {
        return Err(Error::request(
            format!("{} does not fit the model: {}", path.display(), problems.join("; ")),
            "use the weights of this model, saved with the same sizes",
        ));
    }
    for (name, tensor) in tensors {
        session.set(name, &tensor)?;
    }
    Ok(())
}
