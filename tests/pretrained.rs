//! Networks with published weights, held against published results; where the collection of real
//! data is at hand.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use cygnet::data::load::load;
use cygnet::data::npy::read_npy;
use cygnet::data::source::{FieldSpec, SourceSpec};
use cygnet::data::weights::write_weights;
use cygnet::language::package::Package;
use cygnet::model::Model;
use cygnet::session::SessionOptions;
use cygnet_runtime::dtype::DType;
use cygnet_runtime::tensor::Tensor;

use crate::data::real_data;
use crate::networks::network;

/// A model of a network, compiled, with weights from a file.
fn compiled(package: &Package, name: &str, dims: &[(&str, usize)], weights: &Path) -> Model {
    let model = Model::compile(package, Some(name), dims, &SessionOptions::default());
    let mut model = model.expect("compiled");
    model.load_weights(weights).expect("weights that fit");
    model
}

/// Values agree within 1e-4 absolutely and relatively.
fn assert_agree(found: &Tensor, reference: &Tensor) {
    assert_eq!(found.shape(), reference.shape());
    for index in 0..found.len() {
        let (a, b) = (found.get_f64(index), reference.get_f64(index));
        assert!((a - b).abs() <= 1e-4 + 1e-4 * b.abs(), "element {index}: {a} is not {b}");
    }
}

/// The arrays of `stories260K.bin` as safetensors. Behind a header of seven numbers stand `f32`
/// arrays, each for all layers.
fn convert_stories(file: &Path, out: &Path) {
    let bytes = std::fs::read(file).expect("the weights");
    let (words, _) = bytes.as_chunks::<4>();
    let header: Vec<usize> =
        words[..7].iter().map(|&word| i32::from_le_bytes(word) as usize).collect();
    let [d, width, depth, heads, shared, vocab, _] = header[..] else { panic!("seven numbers") };
    let kv = d / heads * shared;
    let layer = |part: &str, shape: Vec<usize>| (format!("layers.#.{part}.weight"), shape);
    let parts = [
        ("tok_embeddings.weight".to_owned(), vec![vocab, d]),
        layer("attention_norm", vec![d]),
        layer("attention.wq", vec![d, d]),
        layer("attention.wk", vec![kv, d]),
        layer("attention.wv", vec![kv, d]),
        layer("attention.wo", vec![d, d]),
        layer("ffn_norm", vec![d]),
        layer("feed_forward.w1", vec![width, d]),
        layer("feed_forward.w2", vec![d, width]),
        layer("feed_forward.w3", vec![width, d]),
        ("norm.weight".to_owned(), vec![d]),
    ];
    let mut rest = words[7..].iter().map(|&word| f32::from_le_bytes(word));
    let mut tensors = Vec::new();
    for (name, shape) in parts {
        let layers = if name.contains('#') { depth } else { 1 };
        for number in 0..layers {
            let values: Vec<f32> = rest.by_ref().take(shape.iter().product()).collect();
            let name = name.replace('#', &number.to_string());
            tensors.push((name, Tensor::from_slice(&shape, &values)));
        }
    }
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_weights(out, tensors, &BTreeMap::new()).expect("written");
}

#[test]
fn llama_tells_the_story_of_published_weights() {
    let Some(data) = real_data("models/stories260k") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("stories.safetensors");
    convert_stories(&data.join("stories260K.bin"), &weights);
    let package = network("llama");

    let expected = read_npy(&data.join("expected_greedy_tokens.npy")).expect("tokens");
    let expected: Vec<i32> = (0..expected.len()).map(|i| expected.get_f64(i) as i32).collect();
    let logits = read_npy(&data.join("reference_logits_first8.npy")).expect("logits");
    let mut forward = compiled(&package, "llama.forward", &[("n", 1), ("t", 8)], &weights);
    forward.set("tokens", &Tensor::from_slice(&[1, 8], &expected[..8])).expect("tokens");
    forward.run();
    let found = forward.output("output").expect("logits");
    assert_agree(&Tensor::from_slice(&[8, 512], found.as_slice::<f32>()), &logits);

    // No position sees a later one, so what stands behind the story so far does not matter.
    let steps = expected.len() - 1;
    let mut greedy = compiled(&package, "llama.greedy", &[("n", 1), ("t", steps)], &weights);
    let mut tokens = vec![0; steps + 1];
    tokens[0] = expected[0];
    for step in 0..steps {
        let sequence = Tensor::from_slice(&[1, steps], &tokens[..steps]);
        greedy.set("tokens", &sequence).expect("tokens");
        greedy.run();
        tokens[step + 1] = greedy.output("output").expect("tokens").as_slice::<i32>()[step];
    }
    assert_eq!(tokens, expected);

    // With keys and values in a cache, behind beginnings of one token and of several.
    for beginning in [1, 9] {
        let rest = expected.len() - beginning;
        let sizes = [("n", 1), ("t", beginning), ("length", rest)];
        let mut tell = compiled(&package, "llama.tell", &sizes, &weights);
        let given = Tensor::from_slice(&[1, beginning], &expected[..beginning]);
        tell.set("tokens", &given).expect("tokens");
        tell.run();
        assert_eq!(
            tell.output("output").expect("tokens").as_slice::<i32>(),
            &expected[beginning..]
        );
    }
}

/// The part of `samples` that are classified as their labels say, `batch` at a time.
fn accuracy(model: &mut Model, samples: &[Vec<f32>], labels: &[usize], batch: usize) -> f64 {
    let mut right = 0;
    for (samples, labels) in samples.chunks(batch).zip(labels.chunks(batch)) {
        let mut values = samples.concat();
        let rest = batch - samples.len();
        values.extend(std::iter::repeat_n(0.0, rest * samples[0].len()));
        model.set_f32("x", &values).expect("images");
        model.run();
        let logits = model.output("output").expect("logits");
        let rows = logits.as_slice::<f32>().chunks(logits.len() / batch);
        right += rows.zip(labels).filter(|(row, label)| largest(row) == **label).count();
    }
    right as f64 / samples.len() as f64
}

fn largest(row: &[f32]) -> usize {
    let places = 0..row.len();
    places.max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("at least one class")
}

/// The first output for the first 32 samples.
fn first_outputs(model: &mut Model, samples: &[Vec<f32>]) -> Tensor {
    model.set_f32("x", &samples[..32].concat()).expect("images");
    model.run();
    model.output("output").expect("logits")
}

#[test]
fn a_small_network_reads_digits_with_published_weights() {
    let (Some(data), Some(mnist)) = (real_data("models/mnist_cnn_safetensors"), real_data("mnist"))
    else {
        return;
    };
    let field = |name: &str, dtype, sample: &[usize]| FieldSpec {
        name: name.to_owned(),
        dtype,
        shape: std::iter::once(None).chain(sample.iter().map(|&size| Some(size))).collect(),
        classes: None,
    };
    let fields = [field("image", DType::U8, &[1, 28, 28]), field("label", DType::I32, &[])];
    let source = SourceSpec {
        kind: "idx".to_owned(),
        paths: vec![".".to_owned()],
        options: BTreeMap::new(),
    };
    let test = load(&source, &fields, &mnist).expect("MNIST").test.expect("its test files");
    let [images, labels] = test.fields() else { panic!("two fields") };
    let pixels = images.tensor().bytes();
    let scaled = |&pixel: &u8| (f32::from(pixel) / 255.0 - 0.1307) / 0.3081;
    let samples: Vec<Vec<f32>> =
        pixels.chunks(28 * 28).map(|image| image.iter().map(scaled).collect()).collect();
    let labels: Vec<usize> =
        labels.tensor().as_slice::<i32>().iter().map(|&label| label as usize).collect();

    let package = network("mnist_cnn");
    let weights = data.join("mnist.safetensors");
    let reference = read_npy(&data.join("reference_logsoftmax_t10k_first32.npy"));
    let mut model = compiled(&package, "mnist_cnn", &[("n", 32), ("h", 28), ("w", 28)], &weights);
    assert_agree(&first_outputs(&mut model, &samples), &reference.expect("a reference"));
    let mut model = compiled(&package, "mnist_cnn", &[("n", 250), ("h", 28), ("w", 28)], &weights);
    let accuracy = accuracy(&mut model, &samples, &labels, 250);
    assert!((accuracy - 0.9917).abs() < 0.0005, "{accuracy}");
}

/// Images as ResNet-20 takes them, and labels, of a file of CIFAR-10 records: a label, then the
/// planes of red, green and blue.
fn cifar(file: &Path) -> (Vec<Vec<f32>>, Vec<usize>) {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(file).expect("the images");
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let scaled = |(place, &pixel): (usize, &u8)| -> f32 {
        let plane = place / 1024;
        (f32::from(pixel) / 255.0 - mean[plane]) / deviation[plane]
    };
    let records = bytes.chunks_exact(3073);
    records
        .map(|record| (record[1..].iter().enumerate().map(scaled).collect(), record[0] as usize))
        .unzip()
}

#[test]
fn resnet20_sees_small_photographs_with_published_weights() {
    let (Some(data), Some(images)) = (real_data("models/resnet20_cifar10"), real_data("cifar10"))
    else {
        return;
    };
    let package = network("resnet20");
    let weights = data.join("resnet20.safetensors");
    let dims = |batch: usize| [("n", batch), ("h", 32), ("w", 32)];
    let mut few = compiled(&package, "resnet20", &dims(32), &weights);
    let mut many = compiled(&package, "resnet20", &dims(100), &weights);
    for (name, published) in [("train_1000", 0.999), ("val_400", 0.9975), ("test_jpeg_300", 0.813)]
    {
        let (samples, labels) = cifar(&images.join(format!("{name}.bin.gz")));
        let accuracy = accuracy(&mut many, &samples, &labels, 100);
        assert!((accuracy - published).abs() < 0.0005, "{name}: {accuracy}");
        let reference = data.join(format!("reference_logits_{name}_first32.npy"));
        if reference.is_file() {
            let reference = read_npy(&reference).expect("a reference");
            assert_agree(&first_outputs(&mut few, &samples), &reference);
        }
    }
}
