//! Tensors that a session computes from its weights once, when these are set.
//!
//! What depends on one weight is computed as soon as that is set; what depends on several, before
//! the next step, since they are set one by one.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use cygnet_compiler::executable::{Loaded, PreparedTensor};
use cygnet_compiler::graph::SlotInfo;
use cygnet_runtime::executor::Executor;
use cygnet_runtime::slots::SlotError;
use cygnet_runtime::tensor::Tensor;

use super::{SessionError, SessionOptions, load};

/// Weights of more elements than this are released once they are not needed any more.
const SMALL: usize = 1 << 14;

/// The preparations of a session's program.
pub(super) struct Preparing {
    loaded: Arc<Loaded>,
    threads: usize,
    /// Names of the weights that preparations depend on.
    sources: HashSet<String>,
    /// Numbers of those whose weights have changed.
    pending: BTreeSet<usize>,
    /// Weights that preparations depend on.
    held: BTreeMap<String, Tensor>,
    /// Weights that were held before.
    released: BTreeSet<String>,
    release: bool,
}

impl Preparing {
    /// The preparations of a program. All depend on weights that are zero.
    pub fn new(loaded: Arc<Loaded>, options: &SessionOptions) -> Preparing {
        let preparations = &loaded.bundle.preparations;
        let pending = (0..preparations.len()).collect();
        let sources = preparations.iter().flat_map(|one| &one.sources).cloned().collect();
        let (held, released) = (BTreeMap::new(), BTreeSet::new());
        let (threads, release) = (options.thread_count(), options.release_weights);
        Preparing { loaded, threads, sources, pending, held, released, release }
    }

    fn preparations(&self) -> &[PreparedTensor] {
        &self.loaded.bundle.preparations
    }

    /// The slots that stand for the sources of a preparation.
    fn slots(&self, preparation: &PreparedTensor) -> &[SlotInfo] {
        &self.loaded.bundle.preparing[preparation.program].slots
    }

    /// Whether a preparation depends on the weight `name`.
    pub fn depends_on(&self, name: &str) -> bool {
        self.sources.contains(name)
    }

    /// The weight `name`, if it is held.
    pub fn held(&self, name: &str) -> Option<&Tensor> {
        self.held.get(name)
    }

    /// Takes a new value of the weight `name`.
    ///
    /// # Errors
    /// If it does not fit, or others that it is combined with were released.
    pub fn set(&mut self, name: &str, tensor: Tensor) -> Result<(), SessionError> {
        let loaded = Arc::clone(&self.loaded);
        for (number, preparation) in loaded.bundle.preparations.iter().enumerate() {
            let Some(place) = preparation.sources.iter().position(|source| source == name) else {
                continue;
            };
            let ty = &self.slots(preparation)[place].ty;
            let slot = || name.to_owned();
            let error = if tensor.dtype() != ty.dtype {
                SlotError::DType { slot: slot(), expected: ty.dtype, found: tensor.dtype() }
            } else if tensor.shape() != ty.shape.as_slice() {
                let (expected, found) = (ty.shape.to_vec(), tensor.shape().to_vec());
                SlotError::Shape { slot: slot(), expected, found }
            } else {
                let mut others = preparation.sources.iter().filter(|source| *source != name);
                if let Some(other) = others.find(|other| self.released.contains(*other)) {
                    return Err(SessionError::Mismatch(format!(
                        "`{name}` was combined with `{other}`, which is not kept: set `{other}` first"
                    )));
                }
                self.pending.insert(number);
                continue;
            };
            return Err(SessionError::Mismatch(error.to_string()));
        }
        self.released.remove(name);
        self.held.insert(name.to_owned(), tensor);
        Ok(())
    }

    /// Numbers of the preparations whose weights have changed: only those that depend on nothing but
    /// the weight `alone`, or all.
    pub fn due(&self, alone: Option<&str>) -> Vec<usize> {
        let due = |number: &usize| {
            alone.is_none_or(|name| self.preparations()[*number].sources == [name])
        };
        self.pending.iter().copied().filter(due).collect()
    }

    /// Computes a prepared tensor: the name of the slot that it is for, and what has it in its last
    /// slot. Weights that were never set are zero; what is not needed any more is let go before more
    /// memory is used.
    pub fn compute(&mut self, number: usize) -> (String, Executor) {
        let preparation = &self.preparations()[number];
        let program = self.loaded.preparing_program(preparation.program);
        // Slots that are read, then the only output.
        let output = program.slots.len() - 1;
        let mut executor = load(program, self.threads);
        for (slot, source) in self.slots(preparation).iter().zip(&preparation.sources) {
            let places = &executor.program().slots[..output];
            let place = places.iter().position(|place| place.name == slot.name);
            if let (Some(place), Some(tensor)) = (place, self.held.get(source)) {
                executor.write_slot(place, tensor).expect("the weight was checked");
            }
        }
        let result = preparation.result.clone();
        self.pending.remove(&number);
        if self.release {
            self.release();
        }
        executor.step();
        (result, executor)
    }

    /// Lets go of large weights that no pending preparation needs.
    fn release(&mut self) {
        let sources = self.pending.iter().flat_map(|&number| &self.preparations()[number].sources);
        let needed: BTreeSet<&String> = sources.collect();
        let done = self
            .held
            .iter()
            .filter(|(name, tensor)| tensor.len() > SMALL && !needed.contains(name));
        let done: Vec<String> = done.map(|(name, _)| name.clone()).collect();
        for name in done {
            self.held.remove(&name);
            self.released.insert(name);
        }
    }
}
