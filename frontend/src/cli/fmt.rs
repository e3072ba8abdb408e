//! `cygnet fmt`.

use std::path::PathBuf;

use clap::Args;

use crate::data::atomic::write_atomically;
use crate::error::Error;
use crate::format::format;
use crate::source::SourceMap;

use super::console::{Console, Failure};

/// Arguments of `cygnet fmt`.
#[derive(Args)]
pub struct Arguments {
    /// Files to format
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; fail if a file is not formatted
    #[arg(long)]
    check: bool,
}

/// Formats files in place, or checks them.
pub fn run(arguments: &Arguments, console: &Console) -> Result<(), Failure> {
    let mut failed = false;
    for path in &arguments.files {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::request(format!("{name}: {error}"), "name a readable .cyg file")
        })?;
        let mut sources = SourceMap::new();
        let file = sources.add(&*name, text);
        let file = sources.file(file);
        match format(file) {
            Err(diagnostics) => {
                console.diagnose(&diagnostics, &sources);
                failed = true;
            }
            Ok(formatted) if formatted == file.text() => {}
            Ok(_) if arguments.check => {
                console.print(&format!("{name} is not formatted"));
                failed = true;
            }
            Ok(formatted) => {
                write_atomically(path, |writer| writer.write_all(formatted.as_bytes()))
                    .map_err(Error::data)?;
                console.print(&format!("formatted {name}"));
            }
        }
    }
    if failed { Err(Failure::reported()) } else { Ok(()) }
}
