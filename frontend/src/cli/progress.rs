//! Progress of a training run on stderr: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::train::Event;

use super::results;

/// Shows the events of a training run.
pub struct Progress {
    bar: Option<ProgressBar>,
    steps_per_epoch: usize,
    epochs: usize,
}

impl Progress {
    /// A display on stderr.
    pub fn new() -> Progress {
        Progress { bar: None, steps_per_epoch: 0, epochs: 0 }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started {
                parameters,
                samples,
                steps_per_epoch,
                epochs,
                compile_ms,
                planned_bytes,
            } => {
                eprintln!(
                    "compiled in {compile_ms:.1} ms: {parameters} parameters, {samples} samples, \
                     peak memory {}",
                    bytes(*planned_bytes)
                );
                self.steps_per_epoch = *steps_per_epoch;
                self.epochs = *epochs;
                if std::io::stderr().is_terminal() {
                    let bar = ProgressBar::with_draw_target(
                        Some((steps_per_epoch * epochs) as u64),
                        ProgressDrawTarget::stderr_with_hz(10),
                    );
                    let style = "{bar:30} {pos}/{len} steps, {eta} left  {msg}";
                    bar.set_style(
                        ProgressStyle::with_template(style).expect("the template is valid"),
                    );
                    self.bar = Some(bar);
                }
            }
            Event::Step { loss, .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("loss {loss:.4}"));
                    bar.inc(1);
                }
            }
            Event::Epoch { epoch, seconds, train, .. } => {
                let width = self.epochs.to_string().len();
                let line = format!(
                    "epoch {epoch:>width$}/{}  {}  ({seconds:.2} s)",
                    self.epochs,
                    results::line(train)
                );
                match &self.bar {
                    Some(bar) => bar.println(line),
                    None => eprintln!("{line}"),
                }
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A number of bytes with a unit.
pub fn bytes(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / 1024f64.powi(2)),
        _ => format!("{:.2} GiB", bytes as f64 / 1024f64.powi(3)),
    }
}
