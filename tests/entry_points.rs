//! Models with entry points: shared instances, fields, and running them with saved weights.

use std::path::Path;
use std::process::Output;

use cygnet::data::npy::{read_npy, write_npy};
use cygnet::language::bindings::Bindings;
use cygnet::language::elaborate::elaborate_model;
use cygnet::language::program::{Mode, ModelGraph};
use cygnet_runtime::tensor::Tensor;

use crate::command;
use crate::elaborate::{assert_close, outputs, package, recipe};

const AUTOENCODER: &str = "model coder(width: dim = 4, hidden: int = 3) {
    let down = linear(_, hidden)
    let up = linear(_, width)

    fn encode(x: f32[n, width]) = x |> down |> tanh

    fn decode(code: f32[n, hidden], scale: f32[] = 1.0, shift: f32[width] = zeros) {
        let y = code |> up
        (y * scale + shift, y, 2 * y)
    }

    fn forward(x: f32[n, width]) {
        let (y, _, _) = decode(encode(x))
        y
    }

    fn noise(count: dim = 5) -> f32[count, width] = normal[count, hidden] |> up
}
";

fn entry(text: &str, name: &str, bindings: &Bindings) -> ModelGraph {
    let package = package(text);
    let graph = elaborate_model(&package, Some(name), bindings, Mode::Inference);
    let graph = graph.expect("a graph");
    graph.program.graph.verify().expect("a valid graph");
    graph
}

fn paths(graph: &ModelGraph) -> Vec<&str> {
    graph.program.parameters.iter().map(|parameter| parameter.path.as_str()).collect()
}

#[test]
fn entry_points_share_the_instances_of_their_model() {
    let rows = Bindings::of_dims([("n", 2)]);
    let forward = entry(AUTOENCODER, "coder", &rows);
    assert_eq!(forward.name, "coder.forward");
    assert_eq!(paths(&forward), ["down.weight", "down.bias", "up.weight", "up.bias"]);
    let encode = entry(AUTOENCODER, "coder.encode", &rows);
    assert_eq!(paths(&encode), ["down.weight", "down.bias"]);
    assert_eq!(encode.program.models[""].statics["hidden"], "3");

    // Encoding and then decoding is what `forward` does.
    let whole = outputs(&forward.program, &[]).remove(0);
    let code = outputs(&encode.program, &[]).remove(0);
    let decode = entry(AUTOENCODER, "coder.decode", &rows);
    let decoded = outputs(&decode.program, &[("code", &code.values)]);
    assert_eq!(decoded.len(), 3);
    assert_close(&decoded[0].values, &whole.values);
}

#[test]
fn outputs_have_the_names_that_the_model_gives_them() {
    let decode = entry(AUTOENCODER, "coder.decode", &Bindings::of_dims([("n", 2)]));
    let names: Vec<&str> =
        decode.program.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["output0", "y", "output2"]);
    let nested = entry(
        "model m(x: f32[2]) {\n    let a = x\n    (a, (a, -a))\n}",
        "m",
        &Bindings::default(),
    );
    let names: Vec<&str> =
        nested.program.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["a", "output1_0", "output1_1"]);
}

#[test]
fn inputs_with_a_default_are_inputs_where_they_are_given() {
    let rows = Bindings::of_dims([("n", 2)]);
    let inputs = |bindings: &Bindings| -> Vec<String> {
        let graph = entry(AUTOENCODER, "coder.decode", bindings);
        graph.program.inputs.into_iter().map(|input| input.name).collect()
    };
    assert_eq!(inputs(&rows), ["code"]);
    assert_eq!(inputs(&rows.clone().giving("shift")), ["code", "shift"]);
    // A scalar can be set.
    let tripled = entry(AUTOENCODER, "coder.decode", &rows.set("scale", "3"));
    let results = outputs(&tripled.program, &[]);
    let wanted: Vec<f64> = results[1].values.iter().map(|y| 3.0 * y).collect();
    assert_close(&results[0].values, &wanted);
}

#[test]
fn recipes_use_entry_points_and_static_values_of_instances() {
    let body = "train t(size: int = 2) {
    data x: f32[n, 4] from csv(\"x.csv\")
    let net = coder(_, hidden: size)
    state last: f32[n, net.hidden] = zeros
    let code = net.encode(x)
    last = stop_gradient(code)
    let (y, _, _) = net.decode(code)
    minimize mse(y, net(x)) + mean((code - last) ** 2) using sgd
    report mean(net.noise(7)) + net.width
    batch 3
}";
    let recipe = recipe(&format!("{AUTOENCODER}{body}"), &[]);
    let saved = recipe.training.parameters.iter().filter(|parameter| parameter.saved());
    let paths: Vec<String> =
        saved.map(|parameter| format!("{} {}", parameter.path, parameter.ty)).collect();
    assert_eq!(
        paths,
        ["down.weight f32[2, 4]", "down.bias f32[2]", "up.weight f32[4, 2]", "up.bias f32[4]"]
    );
    assert_eq!(recipe.training.models[""].statics["hidden"], "2");
    assert_eq!(recipe.plan.statics["size"], "2");
    // The bare name of a model is one instance, also where its entry points are used.
    let bare = body
        .replace("    let net = coder(_, hidden: size)\n", "")
        .replace("size: int = 2", "")
        .replace("net", "coder");
    let bare = crate::elaborate::recipe(&format!("{AUTOENCODER}{bare}"), &[]);
    assert_eq!(bare.training.models.keys().collect::<Vec<_>>(), [""]);
}

#[test]
fn instances_inside_models_have_entry_points_and_fields() {
    let text = format!(
        "{AUTOENCODER}model outer(x: f32[n, 4]) {{
    let inner = coder(_, hidden: 2)
    let code = inner.encode(x)
    let up = inner.up
    up(code + zeros[n, inner.hidden]) + inner(x) + (x |> other: coder)
}}"
    );
    let graph = entry(&text, "outer", &Bindings::of_dims([("n", 2)]));
    let weights: Vec<&str> =
        paths(&graph).into_iter().filter(|path| path.ends_with("weight")).collect();
    assert_eq!(
        weights,
        ["inner.down.weight", "inner.up.weight", "other.down.weight", "other.up.weight"]
    );
    let streams = entry(&text, "coder.noise", &Bindings::default());
    assert_eq!(outputs(&streams.program, &[])[0].ty.to_string(), "f32[5, 4]");
}

/// A folder with a program, data for it, and a way to run commands there.
struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    fn new(program: &str) -> Workplace {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("net.cyg"), program).expect("written");
        let rows: String = (0..8).map(|i| format!("{i},{},{},1\n", i % 3, i * i)).collect();
        std::fs::write(folder.path().join("x.csv"), format!("a,b,c,d\n{rows}")).expect("written");
        Workplace { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &str) -> Output {
        let mut command = command::cygnet();
        command.args(arguments.split(' ')).current_dir(self.folder.path());
        command.output().expect("the command runs")
    }

    /// What the command prints.
    fn ok(&self, arguments: &str) -> String {
        let output = self.command(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What the command complains about, on one line.
    fn refused(&self, arguments: &str) -> String {
        self.refused_with(1, arguments)
    }

    /// The same for another exit code: 2 for a wrong setting.
    fn refused_with(&self, code: i32, arguments: &str) -> String {
        let output = self.command(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        assert!(output.stdout.is_empty());
        let text = String::from_utf8(output.stderr).expect("text");
        text.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" ")
    }

    fn values(&self, file: &str) -> Tensor {
        read_npy(&self.path(file)).expect("an array")
    }
}

fn trained() -> Workplace {
    let place = Workplace::new(&format!(
        "{AUTOENCODER}
train t(size: int = 2) {{
    data x: f32[n, 4] from csv(\"x.csv\")
    let net = coder(_, hidden: size)
    minimize mse(net(x), x) using adam
    batch 4
    epochs 1
}}"
    ));
    place.ok("train net.cyg --out out --set size=6");
    let code: Vec<f32> = (0..12).map(|index| index as f32 / 10.0).collect();
    write_npy(&place.path("code.npy"), &Tensor::from_slice(&[2, 6], &code)).expect("written");
    place
}

#[test]
fn weights_bring_the_static_values_of_their_models() {
    let place = trained();
    let run = "run net.cyg coder.decode --weights out/weights.safetensors --input code=code.npy";
    let text = place.ok(&format!("{run} --set scale=-2 --output results"));
    assert_eq!(
        text,
        "output0: f32[2, 4] saved to results/output0.npy
y: f32[2, 4] saved to results/y.npy
output2: f32[2, 4] saved to results/output2.npy
"
    );
    let (scaled, y) = (place.values("results/output0.npy"), place.values("results/y.npy"));
    for index in 0..8 {
        assert_eq!(scaled.get_f64(index), -2.0 * y.get_f64(index));
    }
    let line = place.ok(&format!("{run} --json")).lines().next().expect("a line").to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["name"], &line["shape"][1]), (&"output0".into(), &4.into()));
    assert_eq!(line["values"].as_array().expect("values").len(), 8);

    // The same random numbers for the same seed.
    let noise = "run net.cyg coder.noise --weights out/weights.safetensors --seed";
    assert_eq!(place.ok(&format!("{noise} 3")), place.ok(&format!("{noise} 3")));
    assert_ne!(place.ok(&format!("{noise} 3")), place.ok(&format!("{noise} 4")));
    // Evaluation needs no repetition of what was set either.
    place.refused("eval net.cyg --weights out/weights.safetensors");
    let place_of_settings =
        place.refused("eval net.cyg --weights out/weights.safetensors --set size=5");
    assert!(place_of_settings.contains("saved with hidden = 6, not 5"), "{place_of_settings}");
}

#[test]
fn what_contradicts_the_weights_or_the_inputs_is_refused() {
    let place = trained();
    let weights = "--weights out/weights.safetensors";
    let refused = |arguments: &str, message: &str| {
        let text = place.refused(&format!("run net.cyg {arguments}"));
        assert!(text.contains(message), "{text}");
    };
    refused(&format!("coder.noise {weights} --set hidden=5"), "with hidden = 6, not 5");
    refused("coder.decode", "the input `code` f32[n, hidden] is missing");
    refused("coder.decode --input cod=code.npy", "there is no input called `cod`");
    refused("coder.decode --input code=code.npy --set hidden=2", "code");
    let setting = "run net.cyg coder.decode --input code=code.npy --set scale=big";
    assert!(place.refused_with(2, setting).contains("which is not a number"));
    refused("coder.sample", "no entry point `sample`");
    let array = Tensor::from_slice(&[2], &[1.0_f32, 2.0]);
    write_npy(&place.path("flat.npy"), &array).expect("written");
    refused("coder.encode --input x=flat.npy", "`x` has 2 axes");
}

#[test]
fn one_file_holds_the_weights_of_several_models() {
    let place = Workplace::new(
        "model a(x: f32[n, 4], k: int = 2) = x |> fc: linear(k)
model b(x: f32[n, 4]) = x |> fc: linear(3)
model c(x: f32[n, 4]) = x
train t() {
    data x: f32[n, 4] from csv(\"x.csv\")
    let first = a(_, k: 5)
    minimize sum(first(x)) + sum(b(x)) + sum(c(x)) using sgd
    batch 4
    epochs 1
}",
    );
    place.ok("train net.cyg --out out");
    let x = Tensor::from_slice(&[1, 4], &[1.0_f32, 2.0, 3.0, 4.0]);
    write_npy(&place.path("x.npy"), &x).expect("written");
    let run = |model: &str| {
        format!("run net.cyg {model} --weights out/weights.safetensors --input x=x.npy")
    };
    assert!(place.ok(&run("a")).starts_with("output: f32[1, 5] = "));
    assert!(place.ok(&run("b")).starts_with("output: f32[1, 3] = "));
}

#[test]
fn weights_of_other_models_are_refused() {
    let place = trained();
    let other = Path::new("other.cyg");
    std::fs::write(place.path("other.cyg"), "model m(x: f32[n, 4]) = x |> linear(2)")
        .expect("written");
    let text = place.refused(&format!(
        "run {} m --weights out/weights.safetensors --set n=2 --input x=code.npy",
        other.display()
    ));
    assert!(text.contains("has no weights of the model `m`"), "{text}");
}
