//! Every vector type does in each lane what plain Rust does for one number.

use super::*;
use crate::cpu::Cpu;

/// Runs `$check` for the vector type of every instruction set that the machine supports.
macro_rules! for_each_vector {
    ($check:ident) => {
        #[cfg(target_arch = "x86_64")]
        {
            if Cpu::Avx512.supported() {
                $check::<avx512::F32x16>();
            }
            if Cpu::Avx2.supported() {
                $check::<avx2::F32x8>();
            }
        }
        $check::<portable::Lanes<8>>();
        $check::<portable::Lanes<1>>();
    };
}

/// A vector of the first lanes of an array.
fn vector<V: Vector>(lanes: [f32; MAX_LANES]) -> V {
    // SAFETY: `for_each_vector` looked for the instructions; no vector has more lanes.
    unsafe { V::load(lanes.as_ptr()) }
}

/// The bits of the lanes, with one NaN for all.
fn lanes<V: Vector>(vector: V) -> Vec<u32> {
    let mut lanes = [0.0; MAX_LANES];
    // SAFETY: no vector has more lanes.
    unsafe { vector.store(lanes.as_mut_ptr()) };
    lanes[..V::LANES].iter().map(|&lane| bits(lane)).collect()
}

/// The bits of a number, with one NaN for all.
fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

const X: [f32; MAX_LANES] = [
    0.5,
    -0.0,
    1.5,
    -2.5,
    f32::NAN,
    f32::INFINITY,
    4_194_304.5,
    -8_388_607.5,
    1e30,
    0.499_999_97,
    -0.5,
    2.25,
    1e-40,
    -3e-3,
    7.0,
    f32::NEG_INFINITY,
];

const Y: [f32; MAX_LANES] = [
    2.0,
    0.0,
    f32::NAN,
    -2.5,
    1.0,
    f32::INFINITY,
    -1.0,
    3e5,
    1e-30,
    0.25,
    0.5,
    -9.0,
    1e-39,
    123.0,
    f32::NAN,
    5.0,
];

/// Checks an operation on two vectors against the same on numbers.
fn binary<V: Vector>(name: &str, on_vectors: impl Fn(V, V) -> V, on_numbers: fn(f32, f32) -> f32) {
    let expected: Vec<u32> = (0..V::LANES).map(|lane| bits(on_numbers(X[lane], Y[lane]))).collect();
    assert_eq!(lanes(on_vectors(vector(X), vector(Y))), expected, "{name}, {} lanes", V::LANES);
}

/// Checks an operation on two vectors of integers against the same on numbers.
fn integers<V: Vector>(
    name: &str,
    on_vectors: impl Fn(V::Integer, V::Integer) -> V::Integer,
    on_numbers: fn(u32, u32) -> u32,
) {
    let result = on_vectors(vector::<V>(X).bits(), vector::<V>(Y).bits());
    for lane in 0..V::LANES {
        let expected = on_numbers(X[lane].to_bits(), Y[lane].to_bits());
        // In halves, so that the bits are not those of a NaN.
        let low = lanes((result & 0xffff).as_float())[lane];
        let high = lanes(result.shift_right::<16>().as_float())[lane];
        assert_eq!(high << 16 | low, expected, "{name}, {} lanes", V::LANES);
    }
}

fn check_arithmetic<V: Vector>() {
    binary::<V>("add", |x, y| x + y, |x, y| x + y);
    binary::<V>("subtract", |x, y| x - y, |x, y| x - y);
    binary::<V>("multiply", |x, y| x * y, |x, y| x * y);
    binary::<V>("divide", |x, y| x / y, |x, y| x / y);
    binary::<V>("add a number", |x, _| x + 0.75, |x, _| x + 0.75);
    binary::<V>("negate", |x, _| -x, |x, _| -x);
    binary::<V>("absolute value", |x, _| x.abs(), |x, _| x.abs());
    binary::<V>("square root", |x, _| x.sqrt(), |x, _| x.sqrt());
    binary::<V>("round", |x, _| x.round(), |x, _| x.round_ties_even());
    binary::<V>("minimum", |x, y| x.min(y), |x, y| if x < y { x } else { y });
    binary::<V>("maximum", |x, y| x.max(y), |x, y| if x > y { x } else { y });
    binary::<V>(
        "flip sign",
        |x, y| x.flip_sign(y.sign()),
        |x, y| {
            if y.is_sign_negative() { -x } else { x }
        },
    );
    binary::<V>("fused", |x, y| x.fused_mul_add(y, -(x * y)), |x, y| x.mul_add(y, -(x * y)));
    binary::<V>("polynomial", |x, _| x.polynomial([2.0, 3.0]), |x, _| 2.0 + 3.0 * x);
    binary::<V>(
        "widen",
        |x, y| (x.widen() * y.widen()).narrow(),
        |x, y| (f64::from(x) * f64::from(y)) as f32,
    );
    binary::<V>("wide round", |x, _| x.widen().round().narrow(), |x, _| x.round_ties_even());
}

fn check_masks<V: Vector>() {
    let choose = |mask: V::Mask, x: V, y: V| V::select(mask, x, y);
    binary::<V>("less", |x, y| choose(x.less(y), x, y), |x, y| if x < y { x } else { y });
    binary::<V>("equal", |x, y| choose(x.equal(y), x, y), |x, y| if x == y { x } else { y });
    binary::<V>("NaN", |x, y| choose(x.is_nan(), x, y), |x, y| if x.is_nan() { x } else { y });
    binary::<V>("not", |x, y| choose(!x.less(y), x, y), |x, y| if x < y { y } else { x });
    binary::<V>(
        "and",
        |x, y| choose(x.less(y) & y.less(y.splat(1.0)), x, y),
        |x, y| if x < y && y < 1.0 { x } else { y },
    );
    binary::<V>(
        "or",
        |x, y| choose(x.less(y) | y.less(y.splat(1.0)), x, y),
        |x, y| if x < y || y < 1.0 { x } else { y },
    );
    let x: V = vector(X);
    assert!(!x.less(x).any());
    assert!(x.equal(vector(X)).any());
}

fn check_integers<V: Vector>() {
    integers::<V>("add", |x, y| x + y, u32::wrapping_add);
    integers::<V>("subtract", |x, y| x - y, u32::wrapping_sub);
    integers::<V>("and", |x, y| x & y, |x, y| x & y);
    integers::<V>("or", |x, y| x | y, |x, y| x | y);
    integers::<V>("xor", |x, y| x ^ y, |x, y| x ^ y);
    integers::<V>("left", |x, _| x.shift_left::<3>(), |x, _| x << 3);
    integers::<V>("right", |x, _| x.shift_right::<3>(), |x, _| x >> 3);
    integers::<V>(
        "signed",
        |x, _| x.shift_right_signed::<3>(),
        |x, _| (x.cast_signed() >> 3).cast_unsigned(),
    );
    let low = |x: V::Integer, y: V::Integer| x.widen().multiply_low_halves(y.widen());
    integers::<V>("low product", |x, y| low(x, y).narrow(), u32::wrapping_mul);
    integers::<V>(
        "high product",
        |x, y| low(x, y).high_half().narrow(),
        |x, y| ((u64::from(x) * u64::from(y)) >> 32) as u32,
    );
    integers::<V>("wide xor", |x, y| (x.widen() ^ y.widen()).narrow(), |x, y| x ^ y);
    binary::<V>("to float", |x, _| x.bits().to_float(), |x, _| x.to_bits().cast_signed() as f32);
    binary::<V>(
        "zero",
        |x, y| V::select((x.bits() & 0xff).is_zero(), x, y),
        |x, y| if x.to_bits() & 0xff == 0 { x } else { y },
    );
    let small: V = vector(X.map(|x| if x.abs() < 1e6 { x } else { 1.0 }));
    let rounded = small.round_to_integer().to_float() + 0.0;
    assert_eq!(lanes(rounded), lanes(small.round() + 0.0));
    let numbers = small.bits().lane_numbers().to_float();
    assert_eq!(lanes(numbers), (0..V::LANES).map(|lane| bits(lane as f32)).collect::<Vec<_>>());
}

fn check_scale<V: Vector>() {
    for significand in [1.0, -1.75, 0.75, 1.999_999_9] {
        for exponent in [-160, -150, -149, -140, -127, -126, -1, 0, 1, 64, 127, 128, 129] {
            let scaled =
                vector::<V>([significand; MAX_LANES]).scale(vector([exponent as f32; MAX_LANES]));
            let expected = libm::ldexp(f64::from(significand), exponent) as f32;
            assert_eq!(lanes(scaled), vec![bits(expected); V::LANES], "{significand} {exponent}");
        }
    }
}

fn check_quotients<V: Vector>() {
    for n in 1..2_000 {
        let (x, y) = ((n as f32 * 0.37).sin() * 9.0, 1.0 + (n as f32 * 0.113).cos().abs() * 1e4);
        let quotient = vector::<V>([x; MAX_LANES]).near_quotient(vector([y; MAX_LANES]));
        let exact = x / y;
        for found in lanes(quotient) {
            let apart = f32::from_bits(found) - exact;
            assert!(apart.abs() <= exact.abs() * f32::EPSILON, "{x} / {y}");
        }
    }
    let nothing = vector::<V>([1.0; MAX_LANES]).near_quotient(vector([f32::NAN; MAX_LANES]));
    assert!(lanes(nothing).iter().all(|&bits| f32::from_bits(bits).is_nan()));
}

fn check_memory<V: Vector>() {
    for count in 0..=V::LANES {
        // SAFETY: the arrays are long enough; `for_each_vector` looked for the instructions.
        let (first, mut out) = unsafe { (V::load_first(Y.as_ptr(), count), [8.0; MAX_LANES]) };
        let expected = |lane: usize, rest: f32| bits(if lane < count { Y[lane] } else { rest });
        assert_eq!(lanes(first), (0..V::LANES).map(|lane| expected(lane, 0.0)).collect::<Vec<_>>());
        // SAFETY: the array is long enough.
        unsafe { vector::<V>(Y).store_first(out.as_mut_ptr(), count) };
        assert!(out.iter().enumerate().all(|(lane, &x)| bits(x) == expected(lane, 8.0)));
    }
}

#[test]
fn arithmetic() {
    for_each_vector!(check_arithmetic);
}

#[test]
fn comparisons_and_selection() {
    for_each_vector!(check_masks);
}

#[test]
fn integers_and_conversions() {
    for_each_vector!(check_integers);
}

#[test]
fn quotients_that_are_nearly_rounded() {
    for_each_vector!(check_quotients);
}

#[test]
fn scaling_by_powers_of_two() {
    for_each_vector!(check_scale);
}

#[test]
fn parts_of_vectors_in_memory() {
    for_each_vector!(check_memory);
}
