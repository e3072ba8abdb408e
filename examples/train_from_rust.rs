//! Trains `digits.cyg` from a Rust program, then reads one digit.
//!
//!     cargo run --release --example train_from_rust

use std::path::Path;

use cygnet::error::Error;
use cygnet::language::package::Package;
use cygnet::model::Model;
use cygnet::session::SessionOptions;
use cygnet::train::{Event, TrainOptions, Trainer};

/// The digit 7 as the data set stores it: 8x8 numbers from 0 to 16.
const SEVEN: [f32; 64] = [
    0., 0., 7., 8., 13., 16., 15., 1., 0., 0., 7., 7., 4., 11., 12., 0., 0., 0., 0., 0., 8., 13.,
    1., 0., 0., 4., 8., 8., 15., 15., 6., 0., 0., 2., 11., 15., 15., 4., 0., 0., 0., 0., 0., 16.,
    5., 0., 0., 0., 0., 0., 9., 15., 1., 0., 0., 0., 0., 0., 13., 5., 0., 0., 0., 0.,
];

fn main() -> Result<(), Error> {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/digits.cyg"));
    let (package, diagnostics) = Package::load(file);
    if !diagnostics.is_empty() {
        return Err(diagnostics.into());
    }

    let folder = file.parent().expect("a file lies in a folder");
    let mut trainer = Trainer::new(&package, None, folder, TrainOptions::default())?;
    let summary = trainer.run(|event| {
        if let Event::Epoch { epoch, train, .. } = event {
            println!("epoch {epoch}: loss {:.3}", train["loss"]);
        }
    })?;
    println!(
        "test accuracy {:.4}",
        summary.metrics.test.expect("the recipe keeps some")["accuracy"]
    );

    // The trained weights, in a model compiled for one image.
    let mut model = Model::compile(&package, None, &[("n", 1)], &SessionOptions::default())?;
    for path in model.parameters()?.keys() {
        model.set(path, &trainer.session().get(path)?)?;
    }
    model.set_f32("image", &SEVEN.map(|pixel| pixel / 16.0))?;
    model.run();
    let logits = model.output("output")?;
    let logits = logits.as_slice::<f32>();
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    println!("this is a {}", best.expect("ten logits"));
    Ok(())
}
