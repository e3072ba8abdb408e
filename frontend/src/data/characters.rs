//! The source `text`: windows of a long text, character by character.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use cygnet_runtime::tensor::Tensor;

use super::error::{DataError, Fault};
use super::input::Input;
use super::raw::{Origin, Places, RawField};
use super::request::{Contents, Prepare, Request};

/// Reads a text file, plain or compressed.
pub(super) fn read_text(path: &Path) -> Result<String, DataError> {
    let mut input = Input::open(path)?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| input.io_error(error))?;
    String::from_utf8(bytes).map_err(|_| DataError::in_file(path, Fault::NotUtf8))
}

/// Cuts a text into windows. The first field takes the numbers of their characters, the second
/// those of the characters behind each. Numbers are places in the sorted list of all characters of
/// the text, which the fields have as the names of classes.
pub(super) fn open(request: &Request<'_>) -> Result<Contents, DataError> {
    let [path] = &request.paths()[..] else {
        return Err(request.wrong_count("one path", format!("{}", request.spec.paths.len())));
    };
    if request.fields.len() > 2 {
        let found = format!("{} fields", request.fields.len());
        return Err(request.wrong_count("one or two fields", found));
    }
    let window = match request.options.count("window")? {
        None => request.declared_extent(1),
        given => given,
    };
    let window = request.options.required("window", window)?;
    let contiguous = request.options.flag("contiguous")?;
    let text = read_text(path)?;
    let names: Vec<char> = text.chars().collect::<BTreeSet<char>>().into_iter().collect();
    let number = |letter: char| names.binary_search(&letter).unwrap_or_default() as i32;
    let numbers: Vec<i32> = text.chars().map(number).collect();
    let count = numbers.len().saturating_sub(1) / window;
    if count == 0 {
        let fault = Fault::ShortText { found: numbers.len(), window };
        return Err(DataError::in_file(path, fault));
    }
    let names: Vec<String> = names.into_iter().map(String::from).collect();
    let field = |shift: usize| RawField {
        tensor: Tensor::from_slice(&[count, window], &numbers[shift..][..count * window]),
        classes: Some(names.clone()),
        origin: Origin { path: Some(path.clone()), places: Places::Unknown },
    };
    let fields = request.fields.iter().enumerate();
    let fields = fields.map(|(shift, spec)| (!spec.is_ignored()).then(|| field(shift)));
    let prepare = Prepare { contiguous, ..Prepare::default() };
    Ok(Contents { prepare, ..Contents::plain(fields.collect()) })
}
