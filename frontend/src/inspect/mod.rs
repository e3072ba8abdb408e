//! Looking into a compiled program: every stage on the way from source to machine code.
//!
//! An [`Inspector`] shows any [`Stage`] of one model or recipe as text, as a graph in Graphviz's
//! language, or as one JSON document, all of them on one [page](Inspector::page), and tells [why](Inspector::why) a node of the optimized
//! graph is there and what became of it. Nothing is printed here: the command line does that.

mod code;
mod error;
mod graph;
mod kernels;
mod listing;
mod memory;
mod page;
mod place;
mod source;
#[cfg(test)]
mod tests;
mod why;

use std::cell::OnceCell;

use clap::ValueEnum;
use cygnet_compiler::compile::{CompileOptions, Compiled, compile};
use cygnet_compiler::graph::Graph;
use serde::Serialize;

use crate::highlight::Language;
use crate::source::{SourceMap, Span};

pub use error::InspectError;
pub use source::definitions_used;

use code::Code;
use place::Places;

/// A stage of compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The definition, and those of the functions, layers and optimizers that it uses
    Source,
    /// The forward pass as a graph of primitive operations
    Graph,
    /// Forward pass, gradients and updates: the whole training step
    Gradient,
    /// The same after algebra
    Optimized,
    /// Fused kernels with the reasons for them, and their loops
    Kernels,
    /// Where every value lies, and when
    Memory,
    /// Cranelift's intermediate representation
    Clif,
    /// Machine code
    Asm,
}

impl Stage {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Source => "source",
            Stage::Graph => "graph",
            Stage::Gradient => "gradient",
            Stage::Optimized => "optimized",
            Stage::Kernels => "kernels",
            Stage::Memory => "memory",
            Stage::Clif => "clif",
            Stage::Asm => "asm",
        }
    }

    /// Whether the stage is a graph, which can be drawn.
    pub fn is_graph(self) -> bool {
        matches!(self, Stage::Graph | Stage::Gradient | Stage::Optimized | Stage::Kernels)
    }
}

/// How a stage is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// Graphviz's language, to be drawn by `dot -Tsvg`
    Dot,
    /// One JSON document
    Json,
    /// A page for a browser: source, kernel graph and kernels, which lead to each other
    Html,
}

/// What is shown of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The text; it ends with a line break.
    pub text: String,
    /// What it is written in, for [`highlight`](crate::highlight::highlight).
    pub language: Language,
}

/// A model or recipe as elaboration leaves it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a str,
    /// The files that spans refer to.
    pub sources: &'a SourceMap,
    /// How many of the files, the first ones, are the standard library.
    pub standard_files: usize,
    /// The text of its definition and of those that it uses; see [`definitions_used`].
    pub definitions: Vec<Span>,
    /// A model's graph, or what a recipe evaluates.
    pub forward: &'a Graph,
    /// A recipe's training step.
    pub training: Option<&'a Graph>,
}

/// Shows the stages of a subject. It is compiled at most once, when a stage asks for it.
pub struct Inspector<'a> {
    subject: Subject<'a>,
    options: CompileOptions,
    compiled: OnceCell<Compiled>,
}

impl<'a> Inspector<'a> {
    /// An inspector of what these options make of the subject.
    pub fn new(subject: Subject<'a>, options: CompileOptions) -> Inspector<'a> {
        Inspector { subject, options, compiled: OnceCell::new() }
    }

    /// Shows a stage. From `optimized` on it is that of the whole training step for recipes.
    ///
    /// # Errors
    /// If the subject has no such stage, the stage no such format, or the compiler fails. HTML
    /// is the format of a [page](Inspector::page) of all stages.
    pub fn show(&self, stage: Stage, format: Format) -> Result<Shown, InspectError> {
        if format == Format::Html {
            return Err(InspectError::PageOfAll);
        }
        if format == Format::Dot && !stage.is_graph() {
            return Err(InspectError::NotAGraph { stage });
        }
        let Subject { name, sources, .. } = self.subject;
        let places = self.places();
        match stage {
            Stage::Source => {
                let view = source::view(name, &self.subject.definitions, sources);
                Ok(shown(format, &view, source::text, Language::Cygnet))
            }
            Stage::Graph => Ok(graph::show(name, stage, self.subject.forward, &places, format)),
            Stage::Gradient => match self.subject.training {
                Some(training) => Ok(graph::show(name, stage, training, &places, format)),
                None => Err(InspectError::NoGradient { name: name.to_owned() }),
            },
            Stage::Optimized => {
                let compiled = self.compiled()?;
                let mut shown = graph::show(name, stage, &compiled.optimized, &places, format);
                if format == Format::Text {
                    shown.text.insert_str(0, &graph::rules_applied(&compiled.report));
                }
                Ok(shown)
            }
            Stage::Kernels => Ok(kernels::show(name, self.compiled()?, &places, format)),
            Stage::Memory => {
                let view = memory::view(name, &self.compiled()?.schedule);
                Ok(shown(format, &view, memory::text, Language::Listing))
            }
            Stage::Clif | Stage::Asm => {
                let code = if stage == Stage::Clif { Code::Clif } else { Code::Assembly };
                let view = code::view(name, code, (self.compiled()?, self.options.cpu), &places)?;
                let language = match code {
                    Code::Clif => Language::Listing,
                    Code::Assembly => Language::Assembly,
                };
                Ok(shown(format, &view, code::text, language))
            }
        }
    }

    /// A page for a browser with source, kernel graph and kernels.
    ///
    /// # Errors
    /// If the compiler fails.
    pub fn page(&self) -> Result<Shown, InspectError> {
        let Subject { name, sources, standard_files, .. } = self.subject;
        Ok(page::show(name, self.compiled()?, &self.places(), sources, standard_files))
    }

    /// Where a node of the optimized graph comes from, the rules that led to it, and the kernels
    /// that compute it.
    ///
    /// # Errors
    /// If there is no such node, the format is neither text nor JSON, or the compiler fails.
    pub fn why(&self, node: u32, format: Format) -> Result<Shown, InspectError> {
        match format {
            Format::Dot => return Err(InspectError::WhyIsNotAGraph),
            Format::Html => return Err(InspectError::PageOfAll),
            Format::Text | Format::Json => {}
        }
        let compiled = self.compiled()?;
        let count = compiled.optimized.nodes.len();
        if node as usize >= count {
            return Err(InspectError::NoNode { node, count });
        }
        let view = why::view(self.subject.name, node, compiled, &self.places());
        Ok(shown(format, &view, why::text, Language::Listing))
    }

    fn places(&self) -> Places<'a> {
        Places::new(self.subject.sources, self.subject.standard_files)
    }

    fn compiled(&self) -> Result<&Compiled, InspectError> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled);
        }
        let graph = self.subject.training.unwrap_or(self.subject.forward);
        let compiled = compile(graph, &self.options, |_| {})?;
        Ok(self.compiled.get_or_init(|| compiled))
    }
}

/// A view as text, or as JSON.
fn shown<View: Serialize>(
    format: Format,
    view: &View,
    text: impl Fn(&View) -> String,
    language: Language,
) -> Shown {
    match format {
        Format::Json => json(view),
        Format::Text | Format::Dot | Format::Html => Shown { text: text(view), language },
    }
}

fn json(view: &impl Serialize) -> Shown {
    let text = serde_json::to_string_pretty(view).expect("plain data become JSON");
    Shown { text: text + "\n", language: Language::Json }
}
