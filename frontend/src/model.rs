//! A model for use from Rust programs: compile once, run many times on slices.

use std::collections::BTreeMap;
use std::path::Path;

use cygnet_compiler::graph::Graph;
use cygnet_compiler::optimize::{OptimizeOptions, optimize};
use cygnet_runtime::tensor::Tensor;

use crate::error::Error;
use crate::language::bindings::Bindings;
use crate::language::elaborate::elaborate_model;
use crate::language::package::Package;
use crate::language::program::{Mode, ModelGraph};
use crate::session::{Session, SessionOptions};
use crate::train::load_weights;

/// A compiled model with its weights.
///
/// ```
/// use cygnet::model::Model;
/// use cygnet::session::SessionOptions;
///
/// let source = "model scale(x: f32[n, 3], by: float = 2.0) -> f32[n, 3] { x * by }";
/// let (package, diagnostics) = cygnet::language::package::Package::from_source("scale", source);
/// assert!(diagnostics.is_empty());
/// let mut model = Model::compile(&package, None, &[("n", 1)], &SessionOptions::default())?;
/// model.set_f32("x", &[1.0, 2.0, 3.0])?;
/// model.run();
/// assert_eq!(model.output("output")?.as_slice::<f32>(), [2.0, 4.0, 6.0]);
/// # Ok::<(), cygnet::error::Error>(())
/// ```
pub struct Model {
    elaborated: ModelGraph,
    session: Session,
    optimize: OptimizeOptions,
}

impl Model {
    /// Compiles a model of a package, or an entry point of one (`vae.sample`), for these sizes of
    /// its free dims. Without a name, the package's only model is taken. Parameters get their initial values, by seed 0.
    ///
    /// # Errors
    /// Everything that is wrong with the program, as diagnostics with spans into
    /// [`Package::sources`]; or if a free dim has no size.
    pub fn compile(
        package: &Package,
        name: Option<&str>,
        dims: &[(&str, usize)],
        options: &SessionOptions,
    ) -> Result<Model, Error> {
        let bindings = Bindings::of_dims(dims.iter().copied());
        Model::compile_with(package, name, &bindings, options)
    }

    /// As [`Model::compile`], with settings of the model's static parameters.
    ///
    /// # Errors
    /// As [`Model::compile`].
    pub fn compile_with(
        package: &Package,
        name: Option<&str>,
        bindings: &Bindings,
        options: &SessionOptions,
    ) -> Result<Model, Error> {
        let elaborated = elaborate_model(package, name, bindings, Mode::Inference)?;
        let options = options.clone().with_fixed_weights();
        let mut session = Session::new(&elaborated.program.graph, &options)?;
        session.initialize(&elaborated.program, 0)?;
        Ok(Model { elaborated, session, optimize: options.compile.optimize })
    }

    /// Reads all parameters from a safetensors file.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or mis-shaped; no parameter changes then.
    pub fn load_weights(&mut self, path: &Path) -> Result<(), Error> {
        load_weights(&mut self.session, &self.elaborated.program, path)
    }

    /// Sets an f32 input, row-major.
    ///
    /// # Errors
    /// If there is no such input, or it has another element type or number of elements.
    pub fn set_f32(&mut self, input: &str, values: &[f32]) -> Result<(), Error> {
        let shape = self.shape_of(input)?;
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::request(
                format!("`{input}` has shape {shape:?}, but {} values were given", values.len()),
                "give as many values as the shape has elements",
            ));
        }
        self.set(input, &Tensor::from_slice(&shape, values))
    }

    /// Sets an input or a parameter.
    ///
    /// # Errors
    /// If there is none of this name, or the tensor does not fit.
    pub fn set(&mut self, name: &str, tensor: &Tensor) -> Result<(), Error> {
        Ok(self.session.set(name, tensor)?)
    }

    /// Runs the model on its current inputs.
    pub fn run(&mut self) {
        self.session.step();
    }

    /// A copy of an output of the last run: `output`, or of a model that returns a tuple the names
    /// in it, with `output0`, `output1`, … for parts that are no names.
    ///
    /// # Errors
    /// If there is no such output.
    pub fn output(&self, name: &str) -> Result<Tensor, Error> {
        Ok(self.session.output(name)?)
    }

    /// Names and values of all parameters.
    ///
    /// # Errors
    /// None for a compiled model.
    pub fn parameters(&self) -> Result<BTreeMap<String, Tensor>, Error> {
        let parameters = self.elaborated.program.parameters.iter();
        parameters.map(|p| Ok((p.path.clone(), self.session.get(&p.path)?))).collect()
    }

    /// The graph before optimization.
    pub fn graph(&self) -> &Graph {
        &self.elaborated.program.graph
    }

    /// The graph after algebra, which kernels were chosen for.
    pub fn optimized_graph(&self) -> Graph {
        match self.session.compiled() {
            Some(compiled) => compiled.optimized.clone(),
            None => optimize(self.graph(), &self.optimize).0,
        }
    }

    fn shape_of(&self, input: &str) -> Result<Vec<usize>, Error> {
        let inputs = &self.elaborated.program.inputs;
        inputs.iter().find(|known| known.name == input).map_or_else(
            || {
                let known: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
                Err(Error::request(
                    format!("there is no input called `{input}`"),
                    format!("inputs: {}", known.join(", ")),
                ))
            },
            |input| Ok(input.ty.shape.to_vec()),
        )
    }
}
