//! Which vector instructions kernels use, and the floating-point mode they run in.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use thiserror::Error;

/// A set of vector instructions that the runtime has kernels for.
///
/// Results may differ in the last places between two of them, never between thread counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cpu {
    /// x86-64 with AVX-512 F, DQ, VL and BW, and BMI2: 16 single-precision lanes.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 single-precision lanes.
    Avx2,
    /// Any processor: what the compiler makes of plain Rust.
    Portable,
}

impl Cpu {
    /// All instruction sets, fastest first.
    pub const ALL: [Cpu; 3] = [Cpu::Avx512, Cpu::Avx2, Cpu::Portable];

    /// The fastest one that this machine supports.
    pub fn detect() -> Cpu {
        Cpu::ALL.into_iter().find(|cpu| cpu.supported()).unwrap_or(Cpu::Portable)
    }

    /// Whether this machine can run kernels built for it.
    pub fn supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(target_arch = "x86_64")]
            Cpu::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Cpu::Avx512 | Cpu::Avx2 => false,
            Cpu::Portable => true,
        }
    }

    /// Panics unless this machine supports it: what is handed out for it can then be called.
    pub(crate) fn require(self) {
        assert!(self.supported(), "this machine does not support {self} instructions");
    }

    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Cpu::Avx512 => "avx512",
            Cpu::Avx2 => "avx2",
            Cpu::Portable => "portable",
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The error of [`Cpu::from_str`]: no instruction set has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown instruction set `{0}`: expected `avx512`, `avx2` or `portable`")]
pub struct UnknownCpu(pub String);

impl FromStr for Cpu {
    type Err = UnknownCpu;

    /// The instruction set with this name, as in [`Cpu::name`]; whether the machine supports it
    /// is another question.
    fn from_str(name: &str) -> Result<Cpu, UnknownCpu> {
        Cpu::ALL
            .into_iter()
            .find(|cpu| cpu.name() == name)
            .ok_or_else(|| UnknownCpu(name.to_owned()))
    }
}

/// While it lives, the current thread reads and writes subnormal numbers as zeros; dropping it
/// restores the mode found before.
///
/// Arithmetic on subnormals is up to a hundred times slower on x86-64, and decaying optimizer
/// state is full of them. Every thread that runs a part of a step holds one of these, so that
/// the bits of a result do not depend on which thread computed it. On other architectures
/// nothing changes.
#[derive(Debug)]
pub struct FlushSubnormals {
    #[cfg(target_arch = "x86_64")]
    previous: u32,
    /// The mode belongs to a thread: neither `Send` nor `Sync`.
    thread_bound: PhantomData<*const ()>,
}

impl FlushSubnormals {
    /// Switches the current thread to flushing.
    #[must_use = "the previous mode returns when the guard is dropped"]
    pub fn enter() -> FlushSubnormals {
        #[cfg(target_arch = "x86_64")]
        {
            /// MXCSR bits 15 (flush results to zero) and 6 (take operands as zeros).
            const FLUSH_AND_ZERO: u32 = 1 << 15 | 1 << 6;
            let previous = control_register::read();
            control_register::write(previous | FLUSH_AND_ZERO);
            FlushSubnormals { previous, thread_bound: PhantomData }
        }
        #[cfg(not(target_arch = "x86_64"))]
        FlushSubnormals { thread_bound: PhantomData }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for FlushSubnormals {
    fn drop(&mut self) {
        control_register::write(self.previous);
    }
}

/// The x86-64 floating-point control and status register, MXCSR.
#[cfg(target_arch = "x86_64")]
mod control_register {
    use std::arch::asm;

    pub(super) fn read() -> u32 {
        let mut value = 0u32;
        // SAFETY: stores four bytes to a live local variable and touches nothing else.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags));
        }
        value
    }

    pub(super) fn write(value: u32) {
        // SAFETY: `value` was read from this register, but for the two bits about subnormals:
        // no reserved bit is set, exceptions stay masked and rounding stays as it was. Flushing
        // changes values, not memory safety.
        unsafe {
            asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_are_refused() {
        for cpu in Cpu::ALL {
            assert_eq!(cpu.to_string().parse(), Ok(cpu));
        }
        let error = "sse9".parse::<Cpu>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown instruction set `sse9`: expected `avx512`, `avx2` or `portable`"
        );
    }

    #[test]
    fn the_detected_cpu_is_the_first_supported() {
        assert!(Cpu::Portable.supported());
        assert_eq!(Some(Cpu::detect()), Cpu::ALL.into_iter().find(|cpu| cpu.supported()));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn subnormals_flush_while_the_guard_lives() {
        let halve = || black_box(black_box(f32::MIN_POSITIVE) * 0.5);
        assert!(halve() > 0.0);
        {
            let _outer = FlushSubnormals::enter();
            assert_eq!(halve().to_bits(), 0);
            drop(FlushSubnormals::enter());
            assert_eq!(halve().to_bits(), 0, "the inner guard restores the outer mode");
            let doubled = black_box(f32::from_bits(1)) * black_box(2.0);
            assert_eq!(black_box(doubled).to_bits(), 0, "operands count as zero");
        }
        assert!(halve() > 0.0);
    }
}
