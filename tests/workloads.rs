//! The workloads in `examples/bench`, which other systems are compared with.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cygnet::bench::random_inputs;
use cygnet::compilations::Compilations;
use cygnet::language::bindings::Bindings;
use cygnet::language::check::check;
use cygnet::language::elaborate::elaborate_model;
use cygnet::language::package::Package;
use cygnet::language::program::{Mode, Program};
use cygnet::language::recipe::elaborate_recipe;
use cygnet::session::{Session, SessionOptions};
use cygnet_compiler::optimize::fusion::{Effort, fuse, fuse_with_effort};
use cygnet_compiler::optimize::{OptimizeOptions, optimize};
use cygnet_compiler::schedule::schedule;

use crate::language::render;

/// The workloads, with the number of their saved tensors and of the elements of these.
const WORKLOADS: [(&str, usize, usize); 14] = [
    ("bert_base_s128_b1", 199, 109_482_240),
    ("bert_mini_finetune", 73, 11_171_074),
    ("cnn", 14, 1_626_154),
    ("conv_autoencoder", 8, 9_569),
    ("dcgan", 28, 463_488),
    ("ln_gelu", 3, 3_072),
    ("lstm", 7, 350_593),
    ("lstm_b1", 4, 526_336),
    ("mlp", 6, 535_818),
    ("mlp_b1", 6, 535_818),
    ("resnet18_224_b1", 102, 11_699_112),
    ("resnet18_cifar", 102, 11_183_562),
    ("rnn", 6, 26_122),
    ("vgg16_224_b1", 32, 138_357_544),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bench")
}

pub fn workload(name: &str) -> Package {
    let (package, diagnostics) = Package::load(&folder().join(format!("{name}.cyg")));
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
    package
}

/// What `cygnet bench` measures: the recipe's training step, or the model's forward pass.
pub fn program(package: &Package) -> Program {
    let bindings = Bindings::default();
    let program = if package.recipes().next().is_some() {
        elaborate_recipe(package, None, &bindings).map(|recipe| recipe.training)
    } else {
        elaborate_model(package, None, &bindings, Mode::Inference).map(|model| model.program)
    };
    program.unwrap_or_else(|diagnostics| panic!("{}", render(&diagnostics, package.sources())))
}

/// What three steps leave in all parameters, states and outputs, from random inputs.
pub fn after_steps(session: &mut Session, program: &Program) -> BTreeMap<String, Vec<u8>> {
    session.initialize(program, 3).expect("a session of this program");
    for (name, tensor) in random_inputs(program) {
        if session.has_slot(&name) {
            session.set(&name, &tensor).expect("it fits");
        }
    }
    for step in 1..=3 {
        session.set_scalar("step", f64::from(step));
        session.step();
    }
    let parameters = program.parameters.iter().map(|parameter| &parameter.path);
    let slots = parameters.filter(|path| session.has_slot(path));
    let slots = slots.map(|path| (path.clone(), session.get(path).expect("a slot")));
    let outputs = program.graph.outputs.iter();
    let outputs = outputs.map(|o| (o.name.clone(), session.output(&o.name).expect("an output")));
    slots.chain(outputs).map(|(name, tensor)| (name, tensor.bytes().to_vec())).collect()
}

#[test]
fn every_workload_is_tested() {
    let files = std::fs::read_dir(folder()).expect("the workloads");
    let paths = files.map(|file| file.expect("an entry").path());
    let programs = paths.filter(|path| path.extension().is_some_and(|kind| kind == "cyg"));
    let mut names: Vec<String> = programs
        .map(|path| path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned())
        .collect();
    names.sort();
    assert_eq!(names, WORKLOADS.map(|(name, ..)| name));
}

#[test]
fn workloads_have_no_mistakes() {
    for (name, ..) in WORKLOADS {
        let package = workload(name);
        let checked = check(&package);
        let mistakes = render(&checked.diagnostics, package.sources());
        assert!(checked.diagnostics.is_empty(), "{mistakes}");
    }
}

#[test]
fn workloads_have_the_parameters_of_their_specification() {
    for (name, tensors, elements) in WORKLOADS {
        let program = program(&workload(name));
        program.graph.verify().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let sizes: Vec<usize> = (program.parameters.iter())
            .filter(|parameter| parameter.saved())
            .map(|parameter| parameter.ty.elements())
            .collect();
        assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (tensors, elements), "{name}");
    }
}

/// Kernels, phases and planned memory of each workload. A change here is a change of what runs:
/// fewer is better, and more has to be paid for by something.
#[test]
fn kernels_and_memory() {
    let mut table = String::new();
    for (name, ..) in WORKLOADS {
        let program = program(&workload(name));
        let options = OptimizeOptions::default();
        let (optimized, _) = optimize(&program.graph, &options);
        let schedule = schedule(fuse(&optimized, &options, 2));
        let outer = schedule.kernels.kernels.node_count();
        let all = schedule.kernel_numbers().count();
        let kibibytes = schedule.memory.arena_bytes.div_ceil(1024);
        let _ = writeln!(
            table,
            "{name:20} {outer:4} kernels, {:3} in loops, {:3} parts, {kibibytes:7} KiB",
            all - outer,
            schedule.parts.len(),
        );
    }
    insta::assert_snapshot!(table);
}

/// Inference with weights that stay, as `cygnet bench` measures it, and training steps.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for name in ["mlp", "rnn", "conv_autoencoder", "mlp_b1", "lstm_b1"] {
        let package = workload(name);
        let program = program(&package);
        let shared = Arc::<Compilations>::default();
        let results = [1, 2, 4].map(|threads| {
            let shared = Some(Arc::clone(&shared));
            let mut options = SessionOptions { shared, threads, ..SessionOptions::default() };
            if package.recipes().next().is_none() {
                options = options.with_fixed_weights();
            }
            let mut session = Session::new(&program.graph, &options).expect("it compiles");
            assert_eq!(session.thread_count(), threads, "{name}");
            after_steps(&mut session, &program)
        });
        assert_eq!(shared.count(), 1);
        assert!(results[0] == results[1], "{name}: two threads give other bits");
        assert!(results[0] == results[2], "{name}: four threads give other bits");
    }
}

/// Products of fixed weights read them in panels, which are computed again when a weight is set.
#[test]
fn weights_in_panels_change_nothing() {
    let text = "model m(x: f32[n: 24, d: 160]) -> f32[n, 64] {
        x |> a: linear(96) |> relu |> b: linear(64)
    }";
    let (package, diagnostics) = Package::from_source("m.cyg", text);
    assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
    let program = program(&package);
    let output = program.graph.outputs[0].name.clone();
    let values = |options: &SessionOptions| {
        let mut session = Session::new(&program.graph, options).expect("it compiles");
        // Weights are set a second time after three steps.
        (0..2).map(|_| after_steps(&mut session, &program)[&output].clone()).collect::<Vec<_>>()
    };
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks(4).map(|bytes| f32::from_ne_bytes(bytes.try_into().unwrap())).collect()
    };
    let plain = values(&SessionOptions::default());
    let fixed = |threads, release_weights| {
        let options = SessionOptions { threads, release_weights, ..SessionOptions::default() };
        values(&options.with_fixed_weights())
    };
    let first = fixed(1, false);
    for (a, b) in floats(&plain[0]).into_iter().zip(floats(&first[0])) {
        assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} {b}");
    }
    assert!(floats(&first[0]).iter().any(|value| *value != 0.0));
    assert_eq!(first[0], first[1]);
    for threads in [2, 4] {
        assert!(fixed(threads, true) == first, "{threads} threads");
    }
}

#[test]
fn the_length_of_a_loop_costs_no_compilation() {
    let text = std::fs::read_to_string(folder().join("lstm.cyg")).expect("the workload");
    // Prices decide how many changes of the cover are tried, and depend on the number of steps.
    let effort = |steps: usize| -> ([usize; 4], Effort) {
        let text = text.replace("i32[n, 64]", &format!("i32[n, {steps}]"));
        let (package, diagnostics) = Package::from_source("lstm.cyg", &text);
        assert!(diagnostics.is_empty(), "{}", render(&diagnostics, package.sources()));
        let options = OptimizeOptions::default();
        let (optimized, _) = optimize(&program(&package).graph, &options);
        let (kernels, effort) = fuse_with_effort(&optimized, &options, 2);
        let schedule = schedule(kernels);
        let Effort { candidates, priced, .. } = effort;
        let kernels = schedule.kernel_numbers().count();
        ([candidates, priced, kernels, schedule.functions.len()], effort)
    };
    let ((short, small), (long, large)) = (effort(64), effort(1024));
    assert_eq!(short, long);
    assert!(large.trials <= 2 * small.trials, "{small:?} and {large:?}");
}
