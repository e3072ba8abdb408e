//! What the tests of the readers share: inputs from bytes, arbitrary tensors, damaged files.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::input::Input;

/// `bytes` as if they were a file called `test`.
pub(super) fn input(bytes: &[u8]) -> Input<'_> {
    Input::new(Path::new("test"), bytes, bytes.len() as u64).unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Tensors of any element type, shape (also scalar and empty) and bits (also NaN).
pub(super) fn tensors() -> impl Strategy<Value = Tensor> {
    let shape = proptest::collection::vec(0_usize..5, 0..4);
    (prop::sample::select(DType::ALL.to_vec()), shape).prop_flat_map(|(dtype, shape)| {
        let length = Tensor::zeros(dtype, &shape).bytes().len();
        proptest::collection::vec(any::<u8>(), length).prop_map(move |mut bytes| {
            if dtype == DType::Bool {
                bytes.iter_mut().for_each(|byte| *byte &= 1);
            }
            let mut tensor = Tensor::zeros(dtype, &shape);
            tensor.bytes_mut().copy_from_slice(&bytes);
            tensor
        })
    })
}

/// Gives `parse` damaged copies of `seeds`, plain and compressed; the same ones in each run.
///
/// Every other copy goes through `repair` first, which corrects the lengths that frame the file:
/// otherwise most damage would be noticed there, and what lies behind would hardly be tested.
///
/// `CYGNET_FUZZ_SECONDS=300 cargo test -p cygnet damaged` goes on for longer.
pub(super) fn fuzz(seeds: &[Vec<u8>], repair: impl Fn(&mut Vec<u8>), mut parse: impl FnMut(&[u8])) {
    const CASES: u32 = 3000;
    let seconds = std::env::var("CYGNET_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let mut case = 0;
    while deadline.map_or(case < CASES, |deadline| Instant::now() < deadline) {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(3) {
            damage(&mut bytes, seeds, &mut random);
        }
        if case % 2 == 0 {
            repair(&mut bytes);
        }
        parse(&bytes);
        if case % 8 == 0 {
            parse(&gzip(&bytes));
        }
        case += 1;
    }
    if deadline.is_some() {
        eprintln!("{case} damaged files");
    }
}

fn damage(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut XorShift) {
    let at = random.below(bytes.len() + 1);
    let length = random.below(9).min(bytes.len() - at);
    match random.below(10) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'9', b'"'][random.below(7)],
        2 => drop(bytes.drain(at..at + length)),
        3 => {
            let copy = bytes[at..at + length].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => bytes[at..at + length].fill(0xff),
        5 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        6 => bytes.truncate(at),
        _ => replace_number(bytes, at, random),
    }
}

/// Replaces the first decimal number from `at` on by one at which arithmetic may go wrong.
fn replace_number(bytes: &mut Vec<u8>, at: usize, random: &mut XorShift) {
    const NUMBERS: [&str; 14] = [
        "0",
        "1",
        "2",
        "7",
        "-1",
        "1.5",
        "255",
        "2147483648",
        "4294967296",
        "1152921504606846976",
        "2305843009213693952",
        "9223372036854775808",
        "18446744073709551615",
        "99999999999999999999",
    ];
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found)
    else {
        return;
    };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[random.below(NUMBERS.len())].bytes();
    bytes.splice(start..start + digits, number);
}

/// Marsaglia's 64-bit xorshift generator; any sequence will do here.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
