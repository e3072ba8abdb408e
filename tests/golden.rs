//! Layers, losses and optimizers against PyTorch: outputs and gradients of `golden/layers.py`, and
//! what `golden/training.py` makes of parameters step by step.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cygnet::data::weights::Weights;
use cygnet::language::bindings::Bindings;
use cygnet::language::elaborate::elaborate_model;
use cygnet::language::package::Package;
use cygnet::language::program::{Mode, Program};
use cygnet::language::recipe::elaborate_recipe;
use cygnet::session::{Session, SessionOptions};
use cygnet_compiler::differentiate::gradient;
use cygnet_compiler::graph::{Graph, NodeId, Output, SlotRole};
use cygnet_compiler::op::{Emit, Op};
use cygnet_runtime::tensor::Tensor;

/// Largest difference allowed, relative to the largest element of the tensor.
const TOLERANCE: f64 = 1e-5;

#[test]
fn layers_and_losses_have_the_values_and_gradients_of_pytorch() {
    let golden = Golden::read("layers");
    let cases = golden.cases();
    assert!(cases.len() >= 95, "{} cases", cases.len());
    let wrong: Vec<String> = cases.iter().flat_map(|case| golden.compare(case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Steps of `training.py` per epoch.
const STEPS_PER_EPOCH: usize = 2;

#[test]
fn optimizers_and_schedules_change_parameters_as_those_of_pytorch() {
    let golden = Golden::read("training");
    let mut names: Vec<&str> = golden.package.recipes().map(|r| r.name.name.as_str()).collect();
    names.retain(|name| name.ends_with("_case"));
    // `start` is no case.
    assert_eq!(names.len(), golden.cases().len() - 1);
    let wrong: Vec<String> = names.iter().flat_map(|name| golden.compare_training(name)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The models, and what PyTorch computes.
struct Golden {
    package: Package,
    tensors: Weights,
}

impl Golden {
    fn read(name: &str) -> Golden {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let (package, diagnostics) = Package::load(&folder.join(format!("{name}.cyg")));
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let file: PathBuf = folder.join(format!("{name}.safetensors"));
        Golden { package, tensors: Weights::read(&file).unwrap() }
    }

    fn cases(&self) -> BTreeSet<String> {
        let names = self.tensors.names();
        names.iter().filter_map(|name| Some(name.split_once('/')?.0.to_owned())).collect()
    }

    fn tensor(&self, case: &str, name: &str) -> Option<Tensor> {
        let name = format!("{case}/{name}");
        self.tensors.shape(&name).map(|_| self.tensors.tensor(&name).unwrap())
    }

    /// Runs a case, and says what differs.
    fn compare(&self, case: &str) -> Vec<String> {
        let name = format!("{case}_case");
        let bindings = Bindings::of_dims([]);
        let model = elaborate_model(&self.package, Some(&name), &bindings, Mode::Training)
            .unwrap_or_else(|error| panic!("{case}: {error:?}"));
        let differentiated = differentiate(model.program);
        let options = SessionOptions { threads: 2, ..SessionOptions::default() };
        let mut session = Session::new(&differentiated.program.graph, &options).unwrap();
        session.initialize(&differentiated.program, 0).unwrap();
        session.set("cotangent", &self.tensor(case, "cotangent").unwrap()).unwrap();
        for (slot, file) in &differentiated.given {
            let value = self.tensor(case, file);
            session.set(slot, &value.unwrap_or_else(|| panic!("{case}: no {file}"))).unwrap();
        }
        session.step();
        (differentiated.results.iter())
            .filter_map(|(output, file)| {
                let expected = self.tensor(case, file)?;
                let ours = session.output(output).unwrap();
                let difference = difference(&ours, &expected);
                (difference > TOLERANCE).then(|| format!("{case}/{file}: {difference:.1e}"))
            })
            .chain(self.unknown(case, &differentiated))
            .collect()
    }

    /// Trains a recipe with the samples of the file, and says what differs, and in which step.
    fn compare_training(&self, recipe: &str) -> Vec<String> {
        let case = recipe.strip_suffix("_case").expect("the name of a case");
        let elaborated = elaborate_recipe(&self.package, Some(recipe), &Bindings::default())
            .unwrap_or_else(|error| panic!("{case}: {error:?}"));
        let program = &elaborated.training;
        let mut session = Session::new(&program.graph, &SessionOptions::default()).unwrap();
        session.initialize(program, 0).unwrap();
        let parameters = ["w", "b"];
        for name in parameters {
            session.set(name, &self.tensor("start", name).expect("a first value")).unwrap();
        }
        let samples = self.tensors.tensor("samples").unwrap();
        let steps = samples.shape()[0];
        session.set_scalar("steps", steps as f64);
        let mut wrong = Vec::new();
        for step in 0..steps {
            session.set_scalar("step", (step + 1) as f64);
            session.set_scalar("epoch", (step / STEPS_PER_EPOCH) as f64);
            session.set("g", &part(&samples, step)).unwrap();
            session.step();
            for name in parameters {
                let expected = part(&self.tensor(case, name).expect("values"), step);
                let ours = session.get(name).unwrap();
                let expected = Tensor::from_slice(ours.shape(), expected.as_slice::<f32>());
                let difference = difference(&ours, &expected);
                if difference > TOLERANCE {
                    wrong.push(format!("{case}/{name} behind step {step}: {difference:.1e}"));
                }
            }
        }
        wrong
    }

    /// What PyTorch's layer has and ours has not.
    fn unknown(&self, case: &str, ours: &Differentiated) -> Vec<String> {
        let known: BTreeSet<&str> = (ours.given.iter().chain(&ours.results))
            .map(|(_, file)| file.as_str())
            .chain(["cotangent"])
            .collect();
        let names = self.tensors.names();
        let of_case = names.iter().filter_map(|name| name.strip_prefix(&format!("{case}/")));
        let missing = of_case.filter(|name| !known.contains(name));
        missing.map(|name| format!("{case}: there is no {name}")).collect()
    }
}

/// A program with gradients among its outputs, and the names of slots and outputs in the file.
struct Differentiated {
    program: Program,
    given: Vec<(String, String)>,
    results: Vec<(String, String)>,
}

/// Adds gradients of the sum of the output times a slot `cotangent`.
fn differentiate(mut program: Program) -> Differentiated {
    let graph = &mut program.graph;
    let output = graph.outputs[0].node;
    let ty = graph.type_of(output).clone();
    let axes: Vec<usize> = (0..ty.rank()).collect();
    let slot = graph.declare_slot("cotangent", SlotRole::Input, ty);
    let cotangent = graph.read_slot(slot);
    let product = graph.mul(output, cotangent);
    let scalar = graph.sum(product, &axes);

    let inputs = program.inputs.iter().map(|i| (i.slot, i.name.clone(), "input"));
    let trained = program.parameters.iter().filter(|parameter| parameter.trainable());
    let parameters = trained.map(|p| (p.slot, p.path.clone(), "param"));
    let slots: Vec<(u32, String, &str)> = inputs.chain(parameters).collect();
    let given =
        slots.iter().map(|(_, name, group)| (name.clone(), format!("{group}/{name}"))).collect();
    let float: Vec<(NodeId, String)> = (slots.iter())
        .filter_map(|(slot, name, group)| {
            let node = node_of(graph, *slot)?;
            graph.type_of(node).dtype.is_float().then(|| (node, format!("grad/{group}/{name}")))
        })
        .collect();
    let nodes: Vec<NodeId> = float.iter().map(|(node, _)| *node).collect();
    let gradients = gradient(graph, scalar, &nodes).unwrap();
    let mut results = vec![("output".to_owned(), "output".to_owned())];
    for ((_, name), gradient) in float.into_iter().zip(gradients) {
        if let Some(node) = gradient {
            graph.outputs.push(Output { name: name.clone(), node });
            results.push((name.clone(), name));
        }
    }
    Differentiated { program, given, results }
}

/// The node that reads a slot.
fn node_of(graph: &Graph, slot: u32) -> Option<NodeId> {
    let mut nodes = graph.iter();
    nodes.find(|(_, node)| matches!(&node.op, Op::Slot(op) if op.index == slot)).map(|(id, _)| id)
}

/// Element `index` along the first axis, which becomes 1.
fn part(tensor: &Tensor, index: usize) -> Tensor {
    let mut shape = tensor.shape().to_vec();
    let size = tensor.len() / shape[0];
    shape[0] = 1;
    Tensor::from_slice(&shape, &tensor.as_slice::<f32>()[index * size..][..size])
}

/// The largest difference, relative to the largest element.
fn difference(ours: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(ours.shape(), expected.shape());
    let pairs = (0..expected.len()).map(|i| (ours.get_f64(i), expected.get_f64(i)));
    let largest = pairs.clone().map(|(_, expected)| expected.abs()).fold(1e-6, f64::max);
    pairs.map(|(ours, expected)| (ours - expected).abs()).fold(0.0, f64::max) / largest
}
