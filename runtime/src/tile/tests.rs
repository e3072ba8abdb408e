//! Every tile function on every supported processor, against double precision.

use std::collections::HashSet;

use super::*;
use crate::cpu::FlushSubnormals;

/// Elements a tile usually has.
const TILE: usize = 512;

type UnaryTile<T> = unsafe extern "C" fn(*mut T, *const T, usize);
type BinaryTile<T> = unsafe extern "C" fn(*mut T, *const T, *const T, usize);

/// The instruction sets that this machine can run.
fn cpus() -> impl Iterator<Item = Cpu> {
    Cpu::ALL.into_iter().filter(|cpu| cpu.supported())
}

/// Calls a tile function on whole slices, `T` being the element type of `dtype`; `y` is ignored
/// for functions of one argument.
fn call<T>(function: TileFunction, dtype: DType, cpu: Cpu, out: &mut [T], x: &[T], y: &[T]) {
    assert_eq!(size_of::<T>(), dtype.size());
    assert!(x.len() == out.len() && y.len() == out.len());
    let address = function.address(dtype, cpu);
    // SAFETY: the address is of a function of this type; the slices have equal lengths.
    unsafe {
        if function.arity() == 1 {
            let tile: UnaryTile<T> = std::mem::transmute(address);
            tile(out.as_mut_ptr(), x.as_ptr(), out.len());
        } else {
            let tile: BinaryTile<T> = std::mem::transmute(address);
            tile(out.as_mut_ptr(), x.as_ptr(), y.as_ptr(), out.len());
        }
    }
}

/// The function in double precision.
fn exact(function: TileFunction, x: f32, y: f32) -> f64 {
    let mut out = [0.0];
    call(function, DType::F64, Cpu::Portable, &mut out, &[f64::from(x)], &[f64::from(y)]);
    out[0]
}

/// The largest number that the terms of the result, or the result itself, have: what the error
/// is relative to.
fn scale(function: TileFunction, x: f32, y: f32, exact: f64) -> f64 {
    let term = match function {
        TileFunction::Logaddexp => f64::from(x.max(y)).abs().max(exact - f64::from(x.max(y))),
        TileFunction::GeluGradient => {
            let x = f64::from(x);
            0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
        }
        _ => 0.0,
    };
    exact.abs().max(term)
}

/// The distance of `value` from `exact` in units in the last place of single precision at
/// `scale`; 0 for equal non-finite values, infinity for different ones.
fn error_in_ulp(value: f32, exact: f64, scale: f64) -> f64 {
    let rounded = exact as f32;
    if value.to_bits() == rounded.to_bits() || value.is_nan() && rounded.is_nan() {
        return 0.0;
    }
    if value == 0.0 && rounded == 0.0 {
        return f64::INFINITY; // zeros of different signs
    }
    if exact.is_infinite() || !value.is_finite() && rounded.is_finite() && exact.abs() < 3.4e38 {
        return f64::INFINITY;
    }
    // Infinity stands for the power of two beyond the largest number.
    let value = if value.is_infinite() {
        f64::from(f32::MAX) * (1.0 + f64::from(f32::EPSILON) / 2.0) * f64::from(value.signum())
    } else {
        f64::from(value)
    };
    let exponent = (libm::ilogb(scale)).clamp(-126, 127);
    (value - exact).abs() / libm::ldexp(1.0, exponent - 23)
}

/// Largest error of a sweep, and where.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "read in failure messages")]
struct Worst {
    ulp: f64,
    x: f32,
    y: f32,
    value: f32,
    exact: f64,
}

/// The error of `value` while subnormals are flushed: subnormal arguments may count as zeros,
/// and errors up to 2^-122 do not count.
fn flushed_error_in_ulp(function: TileFunction, x: f32, y: f32, value: f32) -> f64 {
    let flushed = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    let readings = [(x, y), (flushed(x), y), (x, flushed(y)), (flushed(x), flushed(y))];
    let errors = readings.map(|(x, y)| {
        let exact = exact(function, x, y);
        match (f64::from(value) - exact).abs() <= 16.0 * f64::from(f32::MIN_POSITIVE) {
            true => 0.0,
            false => error_in_ulp(value, exact, scale(function, x, y, exact)),
        }
    });
    errors.into_iter().fold(f64::NAN, f64::min)
}

/// The largest error over pairs of arguments, for each of `cpus`; with `flush`, while subnormals
/// are flushed.
fn sweep(
    function: TileFunction,
    cpus: &[Cpu],
    flush: bool,
    mut arguments: impl Iterator<Item = (f32, f32)>,
) -> Vec<Worst> {
    let mut worst: Vec<Worst> = cpus.iter().map(|_| Worst::default()).collect();
    loop {
        let (xs, ys): (Vec<f32>, Vec<f32>) = arguments.by_ref().take(TILE).unzip();
        if xs.is_empty() {
            return worst;
        }
        let exact: Vec<f64> = xs.iter().zip(&ys).map(|(&x, &y)| exact(function, x, y)).collect();
        let mut out = vec![0.0; xs.len()];
        for (&cpu, worst) in cpus.iter().zip(&mut worst) {
            {
                let _mode = flush.then(FlushSubnormals::enter);
                call(function, DType::F32, cpu, &mut out, &xs, &ys);
            }
            for (index, &value) in out.iter().enumerate() {
                let (x, y, exact) = (xs[index], ys[index], exact[index]);
                let mut ulp = error_in_ulp(value, exact, scale(function, x, y, exact));
                if flush && (ulp > worst.ulp || ulp.is_nan()) {
                    ulp = flushed_error_in_ulp(function, x, y, value);
                }
                if ulp > worst.ulp || ulp.is_nan() {
                    *worst = Worst { ulp, x, y, value, exact };
                }
            }
        }
    }
}

/// Numbers where functions have special values, overflow or change their formula.
fn special_numbers() -> impl Iterator<Item = f32> + Clone {
    let positive = [
        0.0,
        f32::from_bits(1),
        f32::from_bits(0x007f_ffff),
        f32::MIN_POSITIVE,
        f32::EPSILON,
        0.5,
        1.0,
        1.5,
        2.0,
        3.0,
        87.5,
        88.72284,
        103.98,
        131_072.0,
        8_388_609.0,
        16_777_218.0,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
    ];
    positive.into_iter().flat_map(|x| [x, -x])
}

/// The special numbers (for functions of two arguments, all pairs), then every `stride`-th bit
/// pattern or as many pairs, half of them of ordinary size.
fn arguments(function: TileFunction, stride: usize) -> Box<dyn Iterator<Item = (f32, f32)>> {
    let patterns = (0..=u32::MAX).step_by(stride);
    if function.arity() == 1 {
        let all = special_numbers().chain(patterns.map(f32::from_bits));
        return Box::new(all.map(|x| (x, 0.0)));
    }
    let special = special_numbers().flat_map(|x| special_numbers().map(move |y| (x, y)));
    Box::new(special.chain(patterns.enumerate().map(move |(index, bits)| {
        // The multiplier of Steele and Vigna's 32-bit congruential generators: it spreads the
        // second argument over all bit patterns.
        let other = (index as u32).wrapping_mul(0x93d7_65dd);
        if index % 2 == 0 {
            return (f32::from_bits(bits), f32::from_bits(other));
        }
        let unit = |bits: u32| f64::from(bits) / 4_294_967_296.0;
        match function {
            // Powers that are finite: |y log2 x| up to 150.
            TileFunction::Pow => {
                let x = (160.0 * unit(bits) - 80.0).exp2() as f32;
                let y = (300.0 * unit(other) - 150.0) / f64::from(x).log2();
                (x, y as f32)
            }
            _ => ((200.0 * unit(bits) - 100.0) as f32, (200.0 * unit(other) - 100.0) as f32),
        }
    })))
}

#[test]
fn errors_stay_within_the_documented_bounds() {
    let cpus: Vec<Cpu> = cpus().collect();
    for &function in TileFunction::ALL {
        let worst = sweep(function, &cpus, false, arguments(function, 4099));
        for (cpu, worst) in cpus.iter().zip(worst) {
            assert!(worst.ulp <= function.max_ulp(), "{function} on {cpu}: {worst:?}");
        }
    }
}

#[test]
fn the_same_bounds_hold_while_subnormals_are_flushed() {
    let cpus: Vec<Cpu> = cpus().collect();
    for &function in TileFunction::ALL {
        let worst = sweep(function, &cpus, true, arguments(function, 16_411));
        for (cpu, worst) in cpus.iter().zip(worst) {
            assert!(worst.ulp <= function.max_ulp(), "{function} on {cpu}: {worst:?}");
        }
    }
}

/// A few ordinary, large, tiny and special numbers in an order without a pattern.
fn mixed_numbers(count: usize) -> Vec<f32> {
    let ordinary = (0..count).map(|index| (index as f32 * 0.7).sin() * 12.0);
    let special: Vec<f32> = special_numbers().collect();
    ordinary
        .enumerate()
        .map(|(index, x)| if index % 7 == 3 { special[index % special.len()] } else { x })
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_value_does_not_depend_on_its_position_or_the_length() {
    let (x, mut y) = (mixed_numbers(80), mixed_numbers(80));
    y.reverse();
    for &function in TileFunction::ALL {
        for cpu in cpus() {
            let one_by_one: Vec<f32> = (0..x.len())
                .map(|index| {
                    let mut out = [0.0];
                    call(function, DType::F32, cpu, &mut out, &x[index..=index], &y[index..=index]);
                    out[0]
                })
                .collect();
            for len in 0..=70 {
                for offset in [0, 1, 9] {
                    let range = offset..offset + len;
                    let mut out = vec![-7.0; len + 2];
                    let inner = &mut out[1..=len];
                    call(function, DType::F32, cpu, inner, &x[range.clone()], &y[range.clone()]);
                    assert_eq!(bits(inner), bits(&one_by_one[range]), "{function} on {cpu}, {len}");
                    assert_eq!((out[0], out[len + 1]), (-7.0, -7.0), "{function} on {cpu}, {len}");
                }
            }
        }
    }
}

#[test]
fn functions_work_in_place() {
    let (x, mut y) = (mixed_numbers(45), mixed_numbers(45));
    y.reverse();
    for &function in TileFunction::ALL {
        for cpu in cpus() {
            let mut apart = vec![0.0; x.len()];
            call(function, DType::F32, cpu, &mut apart, &x, &y);
            let address = function.address(DType::F32, cpu);
            let (mut in_x, mut in_y) = (x.clone(), y.clone());
            let (x_start, y_start) = (in_x.as_mut_ptr(), in_y.as_mut_ptr());
            // SAFETY: the types are the function's, the lengths those of the vectors; `out` is
            // the same as an argument.
            unsafe {
                if function.arity() == 1 {
                    let tile: UnaryTile<f32> = std::mem::transmute(address);
                    tile(x_start, x_start, x.len());
                } else {
                    let tile: BinaryTile<f32> = std::mem::transmute(address);
                    tile(y_start, x_start, y_start, x.len());
                    tile(x_start, x_start, y.as_ptr(), x.len());
                    assert_eq!(bits(&in_y), bits(&apart), "{function} on {cpu}");
                }
            }
            assert_eq!(bits(&in_x), bits(&apart), "{function} on {cpu}");
        }
    }
}

#[test]
fn double_precision_agrees_with_the_standard_library() {
    let standard = |function: TileFunction, x: f64, y: f64| match function {
        TileFunction::Exp => x.exp(),
        TileFunction::Expm1 => x.exp_m1(),
        TileFunction::Log => x.ln(),
        TileFunction::Log1p => x.ln_1p(),
        TileFunction::Sin => x.sin(),
        TileFunction::Cos => x.cos(),
        TileFunction::Tanh => x.tanh(),
        TileFunction::Sigmoid => (1.0 + (-x).exp()).recip(),
        TileFunction::Erf => libm::erf(x),
        TileFunction::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        TileFunction::GeluGradient => {
            let step = 1e-5;
            let gelu = |x: f64| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()));
            (gelu(x + step) - gelu(x - step)) / (2.0 * step)
        }
        TileFunction::Pow => x.powf(y),
        TileFunction::Logaddexp => (x.exp() + y.exp()).ln(),
    };
    let x: Vec<f64> = (0..99).map(|index| 0.013 + 0.041 * f64::from(index)).collect();
    let y: Vec<f64> = (0..99).map(|index| 1.7 - 0.037 * f64::from(index)).collect();
    for &function in TileFunction::ALL {
        let mut out = vec![0.0; x.len()];
        call(function, DType::F64, Cpu::Portable, &mut out, &x, &y);
        for ((&x, &y), &value) in x.iter().zip(&y).zip(&out) {
            let expected = standard(function, x, y);
            let tolerance = match function {
                TileFunction::GeluGradient => 1e-9, // of the difference quotient
                _ => 4e-15 * expected.abs().max(0.1),
            };
            assert!((value - expected).abs() < tolerance, "{function}({x}, {y}) = {value}");
        }
    }
}

#[test]
fn names_are_unique() {
    let names: HashSet<&str> = TileFunction::ALL.iter().map(|function| function.name()).collect();
    assert_eq!(names.len(), TileFunction::ALL.len());
}

#[test]
#[should_panic(expected = "no tile function works on i32")]
fn integers_have_no_tile_functions() {
    TileFunction::Exp.address(DType::I32, Cpu::Portable);
}

/// Prints the largest errors over a dense sweep; `CYGNET_SWEEP_STRIDE=1` tries every number.
#[test]
#[ignore = "takes minutes; for measuring the bounds"]
fn measure_errors() {
    let stride = std::env::var("CYGNET_SWEEP_STRIDE").map_or(61, |text| text.parse().unwrap());
    let only = std::env::var("CYGNET_SWEEP_FUNCTION").ok();
    let cpus: Vec<Cpu> = cpus().collect();
    for &function in TileFunction::ALL {
        if only.as_deref().is_some_and(|name| name != function.name()) {
            continue;
        }
        for (cpu, worst) in
            cpus.iter().zip(sweep(function, &cpus, false, arguments(function, stride)))
        {
            println!("{function:14} {cpu:9} {:.3} {worst:?}", worst.ulp);
        }
    }
}
