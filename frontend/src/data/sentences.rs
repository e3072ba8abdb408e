//! The sources `sentences` and `parallel`: lines of text as sequences of tokens.

use std::collections::BTreeMap;
use std::path::Path;

use cygnet_runtime::tensor::Tensor;

use super::characters::read_text;
use super::error::{DataError, Fault};
use super::raw::{Origin, Places, RawField};
use super::request::{Contents, Request};

/// The numbers with a meaning of their own: padding, begin and end of a sentence, and tokens that
/// the vocabulary lacks. They have these names in it.
const SPECIAL: [&str; 4] = ["<pad>", "<bos>", "<eos>", "<unk>"];
const BEGIN: i32 = 1;
const END: i32 = 2;
const UNKNOWN: i32 = 3;

/// The tokens of a line: words in small letters and single signs, or characters.
fn tokens(line: &str, characters: bool) -> Vec<String> {
    if characters {
        return line.chars().map(String::from).collect();
    }
    let mut all = Vec::new();
    for word in line.to_lowercase().split_whitespace() {
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let end = match first.is_alphanumeric() {
                true => rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()),
                false => first.len_utf8(),
            };
            all.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    all
}

/// The tokens of two sentences that mean the same.
type Pair = (Vec<String>, Vec<String>);

/// Numbers for tokens.
struct Vocabulary {
    numbers: BTreeMap<String, i32>,
    names: Vec<String>,
}

impl Vocabulary {
    /// The most frequent tokens; `size` counts the special ones, too. Among tokens of one frequency
    /// the order of their texts decides.
    fn new<'a>(tokens: impl Iterator<Item = &'a String>, size: Option<usize>) -> Vocabulary {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for token in tokens {
            *counts.entry(token).or_default() += 1;
        }
        let mut sorted: Vec<(&str, usize)> = counts.into_iter().collect();
        sorted.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        sorted.truncate(size.map_or(usize::MAX, |size| size.saturating_sub(SPECIAL.len())));
        let names = SPECIAL.into_iter().chain(sorted.into_iter().map(|(token, _)| token));
        let names: Vec<String> = names.map(str::to_owned).collect();
        let numbered = names.iter().cloned().zip(0..).skip(SPECIAL.len());
        Vocabulary { numbers: numbered.collect(), names }
    }

    fn number(&self, token: &String) -> i32 {
        self.numbers.get(token).copied().unwrap_or(UNKNOWN)
    }
}

/// Sequences as a tensor, padded with 0 or cut off at the length.
fn padded(
    sentences: impl ExactSizeIterator<Item = Vec<i32>>,
    length: usize,
    names: &[String],
    path: &Path,
) -> RawField {
    let count = sentences.len();
    let mut numbers = vec![0; count * length];
    for (row, sentence) in numbers.chunks_exact_mut(length).zip(sentences) {
        let kept = sentence.len().min(length);
        row[..kept].copy_from_slice(&sentence[..kept]);
    }
    RawField {
        tensor: Tensor::from_slice(&[count, length], &numbers),
        classes: Some(names.to_vec()),
        origin: Origin { path: Some(path.to_path_buf()), places: Places::Unknown },
    }
}

/// One sentence a line, and one file a class. The first field takes the tokens, the second the
/// number of the file. Empty lines are skipped, and what is longer than `length` is cut off.
pub(super) fn open(request: &Request<'_>) -> Result<Contents, DataError> {
    let paths = request.paths();
    if paths.is_empty() || request.fields.len() > 2 {
        let found = format!("{} paths for {} fields", paths.len(), request.fields.len());
        return Err(request.wrong_count("a path for each class, and one or two fields", found));
    }
    let characters = match request.options.text("by")? {
        None | Some("word") => false,
        Some("character") => true,
        Some(other) => {
            let expected = "\"word\" or \"character\"";
            let fault = Fault::BadOption { expected, found: other.to_owned() };
            return Err(DataError::in_option("by", fault));
        }
    };
    let (mut sentences, mut labels) = (Vec::new(), Vec::new());
    for (path, label) in paths.iter().zip(0_i32..) {
        let text = read_text(path)?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            sentences.push(tokens(line.trim(), characters));
            labels.push(label);
        }
    }
    let vocabulary = Vocabulary::new(sentences.iter().flatten(), request.options.count("vocab")?);
    let longest = sentences.iter().map(Vec::len).max().unwrap_or(1);
    let length = match request.options.count("length")? {
        None => request.declared_extent(1),
        given => given,
    };
    let numbered = sentences.iter().map(|sentence| {
        sentence.iter().map(|token| vocabulary.number(token)).collect::<Vec<i32>>()
    });
    let file = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut all = vec![
        padded(numbered, length.unwrap_or(longest), &vocabulary.names, &paths[0]),
        RawField {
            tensor: Tensor::from_slice(&[labels.len()], &labels),
            classes: Some(paths.iter().map(|path| file(path)).collect()),
            origin: Origin { path: None, places: Places::Unknown },
        },
    ]
    .into_iter();
    let fields = request.fields.iter();
    let fields = fields.map(|spec| all.next().filter(|_| !spec.is_ignored())).collect();
    Ok(Contents::plain(fields))
}

/// Pairs of sentences, line by line: words and the end in the first field, and in the second the
/// begin before them. Pairs with an empty line, or with more than `length` words, are left out.
pub(super) fn open_parallel(request: &Request<'_>) -> Result<Contents, DataError> {
    let paths = request.paths();
    let [from, to] = &paths[..] else {
        return Err(request.wrong_count("two paths", format!("{}", paths.len())));
    };
    let [source, target] = request.fields else {
        let found = format!("{} fields", request.fields.len());
        return Err(request.wrong_count("two fields", found));
    };
    let read = |path: &Path| -> Result<Vec<Vec<String>>, DataError> {
        Ok(read_text(path)?.lines().map(|line| tokens(line, false)).collect())
    };
    let (left, right) = (read(from)?, read(to)?);
    if left.len() != right.len() {
        let fault = Fault::CountMismatch {
            field: target.name.clone(),
            found: right.len(),
            other: source.name.clone(),
            expected: left.len(),
        };
        return Err(DataError::in_file(to, fault));
    }
    let length = request.options.count("length")?.unwrap_or(usize::MAX);
    let fits = |sentence: &[String]| !sentence.is_empty() && sentence.len() <= length;
    let pairs: Vec<Pair> =
        left.into_iter().zip(right).filter(|(a, b)| fits(a) && fits(b)).collect();
    let size = request.options.count("vocab")?;
    let longest = pairs.iter().map(|(a, b)| a.len().max(b.len())).max().unwrap_or(1);
    let side = |path: &Path, begins: bool, side: fn(&Pair) -> &[String]| {
        let vocabulary = Vocabulary::new(pairs.iter().flat_map(side), size);
        let numbered = pairs.iter().map(|pair| {
            let words = side(pair).iter().map(|token| vocabulary.number(token));
            begins.then_some(BEGIN).into_iter().chain(words).chain([END]).collect::<Vec<i32>>()
        });
        let length = longest + 1 + usize::from(begins);
        padded(numbered, length, &vocabulary.names, path)
    };
    let first = side(from, false, |(a, _)| a);
    let second = side(to, true, |(_, b)| b);
    let keep = |spec: &super::source::FieldSpec, field| Some(field).filter(|_| !spec.is_ignored());
    Ok(Contents::plain(vec![keep(source, first), keep(target, second)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_apart_from_signs() {
        assert_eq!(tokens("It's  a dog.", false), ["it", "'", "s", "a", "dog", "."]);
        assert_eq!(tokens("ab", true), ["a", "b"]);
    }

    #[test]
    fn frequent_tokens_have_small_numbers() {
        let text = tokens("b a b c a b", false);
        let vocabulary = Vocabulary::new(text.iter(), Some(6));
        assert_eq!(vocabulary.names, ["<pad>", "<bos>", "<eos>", "<unk>", "b", "a"]);
        let numbers: Vec<i32> = text.iter().map(|token| vocabulary.number(token)).collect();
        assert_eq!(numbers, [4, 5, 4, 3, 5, 4]);
    }
}
