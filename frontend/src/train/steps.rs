//! The compiled training steps of a recipe: one for each set of frozen parts.

use std::collections::BTreeMap;

use cygnet_compiler::graph::SlotRole;
use cygnet_runtime::tensor::Tensor;

use crate::error::Error;
use crate::language::program::Program;
use crate::session::{Session, SessionError, SessionOptions};

/// A compiled training step.
pub(super) struct Step {
    /// Which `freeze ... while` hold in it.
    frozen: Vec<bool>,
    /// What was compiled.
    pub program: Program,
    /// The program with its memory.
    pub session: Session,
}

/// The steps compiled so far. What outlives a step goes along when another one becomes current.
pub(super) struct Steps {
    steps: Vec<Step>,
    current: usize,
    /// Values that the current step has no slot for: optimizer state of what is frozen now.
    shelf: BTreeMap<String, Tensor>,
    seed: u64,
}

impl Steps {
    /// Compiles the first step and fills its parameters.
    pub fn new(
        frozen: Vec<bool>,
        program: Program,
        options: &SessionOptions,
        seed: u64,
    ) -> Result<Steps, Error> {
        let session = Session::new(&program.graph, options)?;
        let mut steps = Steps {
            steps: vec![Step { frozen, program, session }],
            current: 0,
            shelf: BTreeMap::new(),
            seed,
        };
        let Step { program, session, .. } = steps.current_mut();
        session.initialize(program, seed)?;
        Ok(steps)
    }

    /// The step that runs now.
    pub fn current(&self) -> &Step {
        &self.steps[self.current]
    }

    /// The step that runs now.
    pub fn current_mut(&mut self) -> &mut Step {
        &mut self.steps[self.current]
    }

    /// Makes the step with these frozen parts the current one, compiled by `elaborate` if there is
    /// none.
    pub fn switch(
        &mut self,
        frozen: Vec<bool>,
        options: &SessionOptions,
        elaborate: impl FnOnce(&[bool]) -> Result<Program, Error>,
    ) -> Result<(), Error> {
        if self.current().frozen == frozen {
            return Ok(());
        }
        self.shelf.extend(carried(&self.current().session));
        self.current = match self.steps.iter().position(|step| step.frozen == frozen) {
            Some(known) => known,
            None => {
                let program = elaborate(&frozen)?;
                let mut session = Session::new(&program.graph, options)?;
                session.initialize(&program, self.seed)?;
                self.steps.push(Step { frozen, program, session });
                self.steps.len() - 1
            }
        };
        let session = &mut self.steps[self.current].session;
        let shelf = std::mem::take(&mut self.shelf);
        let (here, elsewhere) = shelf.into_iter().partition(|(name, _)| session.has_slot(name));
        self.shelf = elsewhere;
        let here: BTreeMap<String, Tensor> = here;
        for (name, tensor) in &here {
            session.set(name, tensor)?;
        }
        Ok(())
    }

    /// Everything that outlives a step, by name of its slot.
    pub fn carried(&self) -> BTreeMap<String, Tensor> {
        let mut all = self.shelf.clone();
        all.extend(carried(&self.current().session));
        all
    }

    /// Puts back what [`Steps::carried`] gave.
    pub fn restore(&mut self, tensors: BTreeMap<String, Tensor>) -> Result<(), SessionError> {
        for (name, tensor) in tensors {
            let session = &mut self.steps[self.current].session;
            match session.has_slot(&name) {
                true => session.set(&name, &tensor)?,
                false => drop(self.shelf.insert(name, tensor)),
            }
        }
        Ok(())
    }
}

/// Parameters, buffers and states of a session, by name.
pub(super) fn carried(session: &Session) -> BTreeMap<String, Tensor> {
    let slots = session.executable().slots.iter();
    let carried = slots.filter(|slot| {
        matches!(slot.role, SlotRole::Parameter | SlotRole::Buffer | SlotRole::State)
    });
    let tensors = carried.filter_map(|slot| {
        let tensor = session.get(&slot.name).ok()?;
        Some((slot.name.clone(), tensor))
    });
    tensors.collect()
}
