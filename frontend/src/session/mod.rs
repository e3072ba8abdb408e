//! A compiled graph, loaded and ready to run.

mod prepare;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cygnet_compiler::compile::{CompileOptions, Compiled, Stage, compile};
use cygnet_compiler::executable::{Bundle, Executable, Loaded};
use cygnet_compiler::graph::{Graph, SlotRole};
use cygnet_runtime::executor::Executor;
use cygnet_runtime::program::{self as runtime, Outcome};
use cygnet_runtime::tensor::Tensor;
use thiserror::Error;

use crate::cache::Cache;
use crate::compilations::Compilations;
use crate::language::initializer::{initialize, initialize_into};
use crate::language::program::{GraphParameter, Program};
use prepare::Preparing;

/// How sessions are compiled and run.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Options of the compiler.
    pub compile: CompileOptions,
    /// Threads that run a step, the calling one included; 0 for as many as the machine has.
    pub threads: usize,
    /// What other sessions with the same options have compiled, to share with them.
    pub shared: Option<Arc<Compilations>>,
    /// Whether large weights need not be kept once the tensors that the step reads instead are
    /// computed from them. They cannot be read any more then.
    pub release_weights: bool,
    /// Compiled programs on disk, to load instead of compiling.
    pub cache: Option<Cache>,
}

impl SessionOptions {
    /// The same options for a graph whose weights stay while its inputs change.
    pub fn with_fixed_weights(mut self) -> SessionOptions {
        self.compile.optimize.fixed_weights = true;
        self
    }

    /// The number of threads meant by [`SessionOptions::threads`].
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// Why a session cannot do what is asked.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The compiler failed, which is a defect of Cygnet.
    #[error("the compiler failed: {0}; this is a defect of Cygnet, please report it")]
    Compiler(String),
    /// There is no slot or output of this name.
    #[error("there is no input, parameter or output called `{0}`")]
    UnknownName(String),
    /// A tensor does not fit its slot.
    #[error("{0}")]
    Mismatch(String),
}

/// A compiled graph with its memory and threads.
pub struct Session {
    executor: Executor,
    loaded: Arc<Loaded>,
    /// The stages; absent if another process compiled the graph.
    compiled: Option<Arc<Compiled>>,
    slots: HashMap<String, usize>,
    outputs: HashMap<String, usize>,
    preparing: Preparing,
    timings: Vec<(Stage, Duration)>,
}

impl Session {
    /// Compiles a graph, unless that was done before, and loads the program. All slots are zero.
    ///
    /// # Errors
    /// If the compiler fails.
    pub fn new(graph: &Graph, options: &SessionOptions) -> Result<Session, SessionError> {
        let mut timings = Vec::new();
        let Obtained { loaded, compiled } = match &options.shared {
            Some(shared) => shared.obtain(graph, || obtain(graph, options, &mut Vec::new())),
            None => obtain(graph, options, &mut timings),
        }
        .map_err(SessionError::Compiler)?;
        let preparing = Preparing::new(Arc::clone(&loaded), options);
        let program = loaded.program();
        let names = |range: std::ops::Range<usize>| {
            range.map(|index| (program.slots[index].name.clone(), index)).collect()
        };
        // Slots that nothing reads have no place in the program.
        let count = program.slots.len() - graph.outputs.len();
        let (slots, outputs) = (names(0..count), names(count..program.slots.len()));
        let executor = load(program, options.thread_count());
        Ok(Session { executor, loaded, compiled, slots, outputs, preparing, timings })
    }

    /// All that was compiled, as it can be stored.
    pub fn bundle(&self) -> &Bundle {
        &self.loaded.bundle
    }

    /// The step.
    pub fn executable(&self) -> &Executable {
        &self.loaded.bundle.step
    }

    /// The stages that led to it, unless another process compiled the graph.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.compiled.as_deref()
    }

    /// Time taken by each stage of compilation; none of what another session has compiled.
    pub fn timings(&self) -> &[(Stage, Duration)] {
        &self.timings
    }

    /// The executor, for seeds, profiles and step numbers.
    pub fn executor(&mut self) -> &mut Executor {
        &mut self.executor
    }

    /// Number of threads that take part in a step.
    pub fn thread_count(&self) -> usize {
        self.executor.threads()
    }

    /// Bytes of the arena: the planned peak memory.
    pub fn planned_bytes(&self) -> usize {
        self.executor.program().arena_bytes
    }

    /// Runs a step.
    pub fn step(&mut self) -> Outcome {
        self.take_prepared(None);
        self.executor.step()
    }

    /// Whether the graph has a slot of this name.
    pub fn has_slot(&self, name: &str) -> bool {
        self.slots.contains_key(name) || self.preparing.depends_on(name)
    }

    /// Whether something is computed from the weight `name` when it is set. That takes memory for a
    /// while, so it is better set before the others.
    pub fn prepares(&self, name: &str) -> bool {
        self.preparing.depends_on(name)
    }

    /// Sets a slot.
    ///
    /// # Errors
    /// If there is no such slot, or the tensor does not fit it.
    pub fn set(&mut self, name: &str, tensor: &Tensor) -> Result<(), SessionError> {
        if self.preparing.depends_on(name) {
            return self.put(name, tensor.clone());
        }
        self.write(name, tensor)
    }

    /// Sets a slot to a tensor that the caller does not need any more.
    ///
    /// # Errors
    /// As for [`Session::set`].
    pub fn put(&mut self, name: &str, tensor: Tensor) -> Result<(), SessionError> {
        if !self.preparing.depends_on(name) {
            return self.write(name, &tensor);
        }
        if self.slots.contains_key(name) {
            self.write(name, &tensor)?;
        }
        self.preparing.set(name, tensor)?;
        self.take_prepared(Some(name));
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &Tensor) -> Result<(), SessionError> {
        let slot = self.slot(name)?;
        self.executor
            .write_slot(slot, tensor)
            .map_err(|error| SessionError::Mismatch(error.to_string()))
    }

    /// Sets a run-time scalar, if the graph has one of this name.
    pub fn set_scalar(&mut self, name: &str, value: f64) {
        if let Some(&slot) = self.slots.get(name) {
            let tensor = Tensor::from_slice(&[], &[value]);
            self.executor.write_slot(slot, &tensor).expect("run-time scalars are f64");
        }
    }

    /// Puts tensors in place that are computed from weights: all whose weights have changed, or
    /// those that depend on one weight alone.
    fn take_prepared(&mut self, alone: Option<&str>) {
        for number in self.preparing.due(alone) {
            let (name, prepared) = self.preparing.compute(number);
            if let Some(&slot) = self.slots.get(&name) {
                let result = prepared.slot_bytes(prepared.program().slots.len() - 1);
                let target = self.executor.slot_bytes_mut(slot);
                let (Some(result), Some(target)) = (result, target) else {
                    unreachable!("values of steps are laid out row-major")
                };
                target.copy_from_slice(result);
            }
        }
    }

    /// A copy of a slot.
    ///
    /// # Errors
    /// If there is no such slot, or it holds a weight that was released.
    pub fn get(&self, name: &str) -> Result<Tensor, SessionError> {
        if let Some(tensor) = self.preparing.held(name) {
            return Ok(tensor.clone());
        }
        Ok(self.executor.read_slot(self.slot(name)?))
    }

    /// The bytes of a row-major slot, to be filled.
    ///
    /// # Errors
    /// If there is no such slot, or something is computed from its value.
    pub fn bytes_mut(&mut self, name: &str) -> Result<&mut [u8], SessionError> {
        if self.preparing.depends_on(name) {
            return Err(SessionError::Mismatch(format!("`{name}` is set as a whole")));
        }
        let slot = self.slot(name)?;
        self.executor
            .slot_bytes_mut(slot)
            .ok_or_else(|| SessionError::Mismatch(format!("`{name}` is not laid out row-major")))
    }

    /// A copy of an output of the last step.
    ///
    /// # Errors
    /// If there is no such output.
    pub fn output(&self, name: &str) -> Result<Tensor, SessionError> {
        let output = self.outputs.get(name);
        let output = output.ok_or_else(|| SessionError::UnknownName(name.to_owned()))?;
        Ok(self.executor.read_slot(*output))
    }

    /// A scalar output of the last step.
    ///
    /// # Errors
    /// If there is no such output.
    pub fn scalar_output(&self, name: &str) -> Result<f64, SessionError> {
        Ok(self.output(name)?.get_f64(0))
    }

    /// Puts the first values of parameters, state and run-time scalars in place.
    ///
    /// # Errors
    /// If the session was not compiled from this program.
    pub fn initialize(&mut self, program: &Program, seed: u64) -> Result<(), SessionError> {
        // What takes memory for a while first, as long as the others have touched none.
        for prepares in [true, false] {
            let of_kind = |parameter: &&GraphParameter| self.prepares(&parameter.path) == prepares;
            let parameters: Vec<_> = program.parameters.iter().filter(of_kind).collect();
            for parameter in parameters {
                self.set_first(parameter, seed)?;
            }
        }
        self.set_scalars(program);
        self.executor.set_seed(seed);
        Ok(())
    }

    /// Puts what begins anew with every pass over the samples at its first value.
    ///
    /// # Errors
    /// If the session was not compiled from this program.
    pub fn begin_pass(&mut self, program: &Program, seed: u64) -> Result<(), SessionError> {
        for parameter in program.parameters.iter().filter(|parameter| parameter.per_pass) {
            if self.has_slot(&parameter.path) {
                self.set_first(parameter, seed)?;
            }
        }
        Ok(())
    }

    /// Goes on with a pass that `other`, compiled from the same recipe for batches of another
    /// size, has begun. State that depends on that size begins anew.
    ///
    /// # Errors
    /// If the session was not compiled from this program.
    pub fn continue_pass(
        &mut self,
        program: &Program,
        other: &Session,
    ) -> Result<(), SessionError> {
        for parameter in program.parameters.iter().filter(|parameter| parameter.per_pass) {
            let path = &parameter.path;
            if self.has_slot(path) && other.has_slot(path) {
                let tensor = other.get(path)?;
                if *tensor.shape() == *parameter.ty.shape {
                    self.set(path, &tensor)?;
                }
            }
        }
        Ok(())
    }

    fn set_first(&mut self, parameter: &GraphParameter, seed: u64) -> Result<(), SessionError> {
        let GraphParameter { path, ty, initializer, .. } = parameter;
        if let Ok(bytes) = self.bytes_mut(path) {
            initialize_into(initializer, seed, path, ty.dtype, bytes);
            return Ok(());
        }
        self.put(path, initialize(initializer, seed, path, ty))
    }

    /// Sets the run-time scalars whose values are known.
    pub fn set_scalars(&mut self, program: &Program) {
        for scalar in &program.scalars {
            if let Some(value) = scalar.value {
                self.set_scalar(&scalar.name, value);
            }
        }
    }

    /// Copies all parameters and buffers that both sessions have.
    ///
    /// # Errors
    /// If a shape differs.
    pub fn copy_weights_from(&mut self, other: &Session) -> Result<(), SessionError> {
        for slot in &other.executable().slots {
            let is_weight = matches!(slot.role, SlotRole::Parameter | SlotRole::Buffer);
            if is_weight && self.has_slot(&slot.name) {
                self.set(&slot.name, &other.get(&slot.name)?)?;
            }
        }
        Ok(())
    }

    fn slot(&self, name: &str) -> Result<usize, SessionError> {
        self.slots.get(name).copied().ok_or_else(|| SessionError::UnknownName(name.to_owned()))
    }
}

/// A program, and how it came to be.
#[derive(Clone)]
pub(crate) struct Obtained {
    loaded: Arc<Loaded>,
    /// The stages; absent if another process compiled the graph.
    compiled: Option<Arc<Compiled>>,
}

/// The graph's program from the cache, or compiled and stored there.
///
/// # Errors
/// How the compiler failed.
fn obtain(
    graph: &Graph,
    options: &SessionOptions,
    timings: &mut Vec<(Stage, Duration)>,
) -> Result<Obtained, String> {
    let mut since = Instant::now();
    let place = options.cache.as_ref();
    let place = place.and_then(|cache| Some((cache, Cache::key(graph, &options.compile)?)));
    if let Some(loaded) = place.and_then(|(cache, key)| cache.load(key, graph, options.compile.cpu))
    {
        timings.push((Stage::Load, since.elapsed()));
        return Ok(Obtained { loaded: Arc::new(loaded), compiled: None });
    }
    let compiled = compile(graph, &options.compile, |stage| {
        timings.push((stage, since.elapsed()));
        since = Instant::now();
    });
    let compiled = compiled.map_err(|error| error.to_string())?;
    if let Some((cache, key)) = place {
        cache.store(key, &compiled.loaded.bundle);
    }
    Ok(Obtained { loaded: Arc::clone(&compiled.loaded), compiled: Some(Arc::new(compiled)) })
}

/// A program with memory and threads.
fn load(program: runtime::Program, threads: usize) -> Executor {
    // SAFETY: the program was compiled for this machine's instructions from a verified graph, by
    // this build of the compiler, and its functions access the arena and scratch memory only.
    unsafe { Executor::new(program, threads) }
}
