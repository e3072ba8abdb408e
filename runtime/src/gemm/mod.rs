//! Matrix products: micro-kernels, and the drivers that feed them.
//!
//! A [`Product`] is a contraction made ready for an instruction set. Following Goto and van de
//! Geijn ("Anatomy of high-performance matrix multiplication", 2008), a piece of the result is
//! computed in blocks that fit the caches, down to a tile that micro-kernels hold in registers.
//! Unlike there, operands are read where they lie whenever their strides allow it, since the
//! matrices of small and middle-sized models are small: packing would cost more than it saves.
//!
//! How a product is computed, and so the last bits of its result, depends on shapes, strides and
//! the instruction set; never on threads.

mod ahead;
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod compiled;
#[cfg(target_arch = "x86_64")]
#[macro_use]
mod depth;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocking;
mod driver;
mod kernel;
mod pack;
mod places;
mod plan;
mod portable;
mod tiles;
mod vector;
mod winograd;

use std::ops::Range;

use crate::contraction::Contraction;
use crate::cpu::Cpu;
use crate::dtype::DType;
use crate::program::Frame;

pub use blocking::{Habits, blocking, blocking_for, predicted_ns};
use driver::Driver;
use kernel::Kernels;
pub use plan::{copies_left, copies_right, is_by_column, reads_left_run, reads_right_run};
pub use winograd::{KERNEL_PANEL, Winograd, WinogradGradient, WinogradKernel};

/// A contraction made ready to run on an instruction set.
pub struct Product(Typed);

enum Typed {
    F32(Driver<f32>),
    F64(Driver<f64>),
}

impl Product {
    /// Prepares a contraction.
    ///
    /// # Panics
    /// If its elements are neither F32 nor F64.
    pub fn new(contraction: &Contraction, cpu: Cpu) -> Product {
        let contraction = &*plan::oriented(contraction);
        Product(match contraction.dtype {
            DType::F32 => Typed::F32(Driver::new(contraction, kernels(cpu))),
            DType::F64 => Typed::F64(Driver::new(contraction, &portable::KERNELS_F64)),
            other => panic!("a product of {other} elements"),
        })
    }

    /// Bytes of scratch memory that a piece needs, without its region functions: a multiple of
    /// 64.
    pub fn scratch_bytes(&self) -> usize {
        match &self.0 {
            Typed::F32(driver) => driver.scratch_bytes(),
            Typed::F64(driver) => driver.scratch_bytes(),
        }
    }

    /// Computes a run of pieces, with numbers less than [`Contraction::pieces`].
    ///
    /// # Safety
    /// This machine supports the instruction set. The frame's arena holds the operands (see
    /// [`Contraction::verify`]); nobody writes what these pieces read, or uses what they write,
    /// meanwhile; its scratch holds [`Product::scratch_bytes`] and what the region functions
    /// use after that; and these may be called.
    pub unsafe fn run_pieces(&self, frame: &Frame, pieces: Range<usize>) {
        // SAFETY: by the caller's promise.
        unsafe {
            match &self.0 {
                Typed::F32(driver) => driver.run_pieces(frame, pieces),
                Typed::F64(driver) => driver.run_pieces(frame, pieces),
            }
        }
    }
}

/// Bytes of scratch memory per thread that the driver of a contraction uses, without its region
/// functions.
pub fn scratch_bytes(contraction: &Contraction, cpu: Cpu) -> usize {
    Product::new(contraction, cpu).scratch_bytes()
}

/// The f32 kernels of an instruction set. On other architectures than x86-64 all are portable
/// (the place of an AArch64 NEON module beside `avx2` is here).
fn kernels(cpu: Cpu) -> &'static Kernels<f32> {
    match cpu {
        #[cfg(target_arch = "x86_64")]
        Cpu::Avx512 => &avx512::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Cpu::Avx2 => &avx2::KERNELS,
        _ => &portable::KERNELS_F32,
    }
}
