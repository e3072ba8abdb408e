//! Generated code: as text, and as data.

use std::fmt::Write;

use cygnet_compiler::codegen::{CodegenError, list_functions};
use cygnet_compiler::compile::Compiled;
use cygnet_runtime::cpu::Cpu;
use serde::Serialize;

use super::Stage;
use super::place::{Places, SourceLine};

/// A form of generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Cranelift's intermediate representation.
    Clif,
    /// Machine code, disassembled.
    Assembly,
}

/// Generated code as data.
#[derive(Serialize)]
pub struct CodeView<'a> {
    name: &'a str,
    stage: Stage,
    functions: Vec<FunctionView<'a>>,
}

#[derive(Serialize)]
struct FunctionView<'a> {
    name: &'a str,
    kernels: Vec<u32>,
    #[serde(skip)]
    labels: Vec<String>,
    lines: Vec<SourceLine>,
    bytes: usize,
    code: String,
}

/// The code of each function, which is for `cpu`, with the kernels that run it and their source lines.
pub fn view<'a>(
    name: &'a str,
    form: Code,
    (compiled, cpu): (&'a Compiled, Cpu),
    places: &Places<'_>,
) -> Result<CodeView<'a>, CodegenError> {
    let functions = &compiled.schedule.functions;
    let mut kernels: Vec<Vec<u32>> = vec![Vec::new(); functions.len()];
    for task in compiled.schedule.tasks() {
        for function in task.work.functions() {
            kernels[function].push(task.kernel);
        }
    }
    let listings = list_functions(functions, cpu)?;
    let views = functions.iter().zip(listings).zip(kernels).enumerate();
    let views = views.map(|(number, ((function, listing), kernels))| {
        let mut lines = Vec::new();
        for &kernel in &kernels {
            let nodes = &compiled.schedule.kernel(kernel).nodes;
            let more = places.lines(compiled.graph_of_kernel(kernel), nodes);
            lines.extend(more.into_iter().filter(|line| !lines.contains(line)).collect::<Vec<_>>());
        }
        FunctionView {
            name: &function.name,
            labels: kernels.iter().map(|&id| compiled.schedule.label(id)).collect(),
            kernels,
            lines,
            bytes: compiled.loaded.code().code_bytes(number),
            code: match form {
                Code::Clif => listing.clif,
                Code::Assembly => listing.assembly,
            },
        }
    });
    let stage = match form {
        Code::Clif => Stage::Clif,
        Code::Assembly => Stage::Asm,
    };
    Ok(CodeView { name, stage, functions: views.collect() })
}

/// The functions one after another, each below a comment that says what it is for.
pub fn text(view: &CodeView<'_>) -> String {
    let mut text = String::new();
    for (number, function) in view.functions.iter().enumerate() {
        let FunctionView { name, labels, lines, bytes, code, .. } = function;
        let kernels: Vec<String> = labels.iter().map(|id| format!("kernel {id}")).collect();
        let blank = if number == 0 { "" } else { "\n" };
        let _ = writeln!(text, "{blank}; {name}: {bytes} bytes for {}", kernels.join(", "));
        for line in lines {
            let _ = writeln!(text, "; {line}");
        }
        text.push_str(code);
    }
    text
}
