//! Damaged programs: whatever the text, the lexer, the parser, the formatter and the renderer
//! come to an end without a panic, and what still parses is formatted faithfully.
//!
//! `CYGNET_FUZZ_SECONDS=300 cargo test --test capabilities damaged` goes on with further seeds
//! for that long.

use std::time::{Duration, Instant};

use cygnet::source::SourceMap;
use cygnet::syntax;

use crate::language::{programs, render};

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Pieces that are inserted: every token, and some text that is none.
const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "..",
    "...",
    "=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "**",
    "/",
    "//",
    "|>",
    "->",
    "_",
    "\n",
    "\n\n",
    " ",
    "\t",
    "\r\n",
    "#",
    " # note\n",
    "\"",
    "\"a{i}b\"",
    "\"{\"",
    "\\",
    "'",
    ";",
    "é",
    "\u{feff}",
    "\0",
    "0",
    "1_0",
    "1e",
    "1e999",
    "0x1",
    "99999999999999999999",
    "use ",
    "fn ",
    "layer ",
    "model ",
    "optimizer ",
    "train ",
    "let ",
    "var ",
    "param ",
    "state ",
    "yield ",
    "if ",
    "else ",
    "for ",
    "scan ",
    "in ",
    "as ",
    "and ",
    "or ",
    "not ",
    "true",
    "false",
    "from ",
    "over ",
    "using ",
    "except ",
    "while ",
    "along ",
    "until ",
    "data ",
    "load ",
    "freeze ",
    "minimize ",
    "batch ",
    "epochs ",
    "report ",
    "show ",
    "x",
    "((((((((",
    "[[[[",
    "{{{{{{",
    "- - - -",
    "not not ",
];

/// A random place between two characters.
fn boundary(text: &str, random: &mut Random) -> usize {
    let mut place = random.below(text.len() + 1);
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

/// What says little, inserted alone in half of the cases: many of them parse, and the formatter
/// meets comments in odd places.
const LAYOUT: &[&str] = &["\n", "\n\n", " ", "\t", "\r\n", " # note\n", "# a\n\n# b\n"];

/// Damages a text at one place.
fn damage(text: &mut String, others: &[String], random: &mut Random) {
    let place = boundary(text, random);
    let length = [1, 3, 10, 60][random.below(4)];
    let mut end = (place + random.below(length) + 1).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    match random.below(6) {
        0 => text.replace_range(place..end, ""),
        1 => text.insert_str(place, random.pick::<&str>(PIECES)),
        2 => text.replace_range(place..end, random.pick::<&str>(PIECES)),
        3 => {
            let copy = text[place..end].to_string();
            let target = boundary(text, random);
            text.insert_str(target, &copy);
        }
        4 => {
            let other = random.pick(others);
            let from = boundary(other, random);
            let piece: String = other[from..].chars().take(length * 4).collect();
            text.insert_str(place, &piece);
        }
        _ if random.below(8) == 0 => text.truncate(place),
        _ => text.insert_str(place, random.pick::<&str>(PIECES)),
    }
}

/// Runs everything over a text. Returns whether it could be parsed.
fn survive(text: &str) -> bool {
    let mut sources = SourceMap::new();
    let file = sources.add("damaged.cyg", text);
    let parsed = syntax::parse(&sources, file);
    for label in parsed.diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        let (start, end) = (label.span.start as usize, label.span.end as usize);
        assert!(text.get(start..end).is_some(), "{start}..{end} is not a piece of:\n{text}");
    }
    if parsed.diagnostics.is_empty() {
        crate::format::check(text);
        return true;
    }
    assert!(!render(&parsed.diagnostics, &sources).is_empty());
    false
}

fn run(seed: u64, programs: &[String]) -> bool {
    let mut random = Random(seed);
    let mut text = random.pick(programs).clone();
    let only_layout = random.below(2) == 0;
    for _ in 0..=random.below(6) {
        if only_layout {
            let place = boundary(&text, &mut random);
            text.insert_str(place, random.pick::<&str>(LAYOUT));
        } else {
            damage(&mut text, programs, &mut random);
        }
    }
    survive(&text)
}

#[test]
fn damaged_programs_are_survived() {
    let programs: Vec<String> = programs().into_iter().map(|(_, text)| text).collect();
    let seconds = std::env::var("CYGNET_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let mut parsed = 0;
    let mut seed = 0;
    while seed < 500 || Instant::now() < until {
        let start = Instant::now();
        parsed += usize::from(run(seed, &programs));
        // Milliseconds are usual; this is about what grows beyond all measure.
        assert!(start.elapsed() < Duration::from_secs(10), "seed {seed} takes too long");
        seed += 1;
    }
    println!("{seed} damaged programs, of which {parsed} could be parsed");
    assert!(parsed > 50, "the formatter had something to do");
}
