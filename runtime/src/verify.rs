//! Checks of programs before they are loaded.

use crate::program::{COUNTERS, Loop, MAX_LOOP_DEPTH, Motion, NO_LOOP, Part, Program, Slot, Work};

/// Most elements along an axis, bytes of memory and iterations: what is computed with such numbers
/// stays within 128 bits.
pub(crate) const MOST: usize = 1 << 48;

/// The product of extents, unless it is too large for any memory.
///
/// # Errors
/// If it is.
pub(crate) fn elements(extents: impl IntoIterator<Item = usize>) -> Result<usize, String> {
    let product = extents.into_iter().try_fold(1usize, |product, extent| {
        product.checked_mul(extent).filter(|product| *product <= MOST)
    });
    product.ok_or_else(|| "extents that no memory holds".to_owned())
}

impl Program {
    /// Checks that slots, operands and results lie in the arena and are aligned, that contractions
    /// and routines have as many pieces as they are cut into, and that guards stand alone and
    /// outside loops.
    ///
    /// # Errors
    /// What is wrong, in words. It is always a mistake of who made the program.
    pub fn verify(&self) -> Result<(), String> {
        if self.arena_bytes > MOST || self.scratch_bytes > MOST {
            return Err(format!("{} bytes of memory", self.arena_bytes.max(self.scratch_bytes)));
        }
        for slot in &self.slots {
            self.verify_slot(slot).map_err(|problem| format!("slot {}: {problem}", slot.name))?;
        }
        self.verify_parts(&self.parts, 0, &NO_LOOP)
    }

    fn verify_slot(&self, slot: &Slot) -> Result<(), String> {
        if slot.shape.len() != slot.strides.len() {
            return Err("it has not a stride for each axis".to_owned());
        }
        let size = slot.dtype.size();
        if !slot.offset.is_multiple_of(size) {
            return Err("it is not aligned".to_owned());
        }
        elements(slot.shape.iter().copied().filter(|extent| *extent != 0))?;
        if slot.shape.contains(&0) {
            return Ok(());
        }
        let axes = slot.shape.iter().zip(&slot.strides);
        let last: u128 = axes.map(|(&extent, &stride)| (extent - 1) as u128 * stride as u128).sum();
        if slot.offset as u128 + (last + 1) * size as u128 > self.arena_bytes as u128 {
            return Err("it lies outside the arena".to_owned());
        }
        Ok(())
    }

    /// Checks parts inside of `depth` loops, each of whose counters is below its limit.
    fn verify_parts(
        &self,
        parts: &[Part],
        depth: usize,
        limits: &[u64; COUNTERS],
    ) -> Result<(), String> {
        for part in parts {
            match part {
                Part::Phase(phase) => {
                    let guards =
                        phase.tasks.iter().any(|task| matches!(task.work, Work::Guard { .. }));
                    if guards && (phase.tasks.len() != 1 || depth != 0) {
                        return Err("a guard shares its phase, or stands in a loop".to_owned());
                    }
                    for task in &phase.tasks {
                        self.verify_work(&task.work, task.pieces, limits)
                            .map_err(|problem| format!("kernel {}: {problem}", task.kernel))?;
                    }
                }
                Part::Loop(the_loop) => {
                    self.verify_loop(the_loop, depth, limits)
                        .map_err(|problem| format!("loop {}: {problem}", the_loop.kernel))?;
                    let inside = the_loop.limits(limits);
                    self.verify_parts(&the_loop.parts, depth + 1, &inside)?;
                }
            }
        }
        Ok(())
    }

    fn verify_loop(
        &self,
        the_loop: &Loop,
        depth: usize,
        limits: &[u64; COUNTERS],
    ) -> Result<(), String> {
        if the_loop.depth != depth || depth >= MAX_LOOP_DEPTH {
            return Err(format!("it says depth {} at depth {depth}", the_loop.depth));
        }
        if the_loop.count > MOST as u64 {
            return Err(format!("{} iterations", the_loop.count));
        }
        if let Some(bands) = the_loop.bands {
            let in_bands = |part: &Part| match part {
                Part::Phase(phase) => phase.tasks.iter().all(|task| task.pieces == bands),
                Part::Loop(_) => false,
            };
            if the_loop.until.is_some() || !the_loop.parts.iter().all(in_bands) {
                return Err(format!("it is not made of {bands} bands"));
            }
        }
        let Some(home) = the_loop.until else { return Ok(()) };
        let (first, last) = home.reach(&the_loop.limits(limits));
        if first < 0 || last >= self.arena_bytes as i128 {
            return Err("its end lies outside the arena".to_owned());
        }
        if home.motion.0[Motion::parity(depth)] == 0 {
            return Err("its end has one place in all iterations".to_owned());
        }
        Ok(())
    }

    fn verify_work(
        &self,
        work: &Work,
        pieces: u32,
        limits: &[u64; COUNTERS],
    ) -> Result<(), String> {
        let cut_into = match work {
            Work::Native(_) => return Ok(()),
            Work::Contraction(contraction) => {
                contraction.verify(self.arena_bytes, limits)?;
                contraction.pieces()
            }
            Work::Library(call) => {
                call.verify(self.arena_bytes, limits)?;
                call.routine.pieces()
            }
            &Work::Guard { offset, dtype } => {
                let inside = offset <= self.arena_bytes
                    && dtype.size() <= self.arena_bytes - offset
                    && offset.is_multiple_of(dtype.size());
                if !dtype.is_float() || !inside {
                    return Err(format!("a guard on {dtype} at {offset}"));
                }
                1
            }
        };
        if cut_into != pieces as usize {
            return Err(format!("{pieces} pieces of {cut_into}"));
        }
        Ok(())
    }
}
