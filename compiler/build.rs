//! Tells builds apart: a fingerprint of the sources and of how they are built, for programs that
//! are kept on disk and must not be run by another build.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;
use std::process::Command;

/// What generated code depends on; the lock file is absent where this crate is a dependency.
const SOURCES: [&str; 5] =
    ["src", "Cargo.toml", "../runtime/src", "../runtime/Cargo.toml", "../Cargo.lock"];

fn main() -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        let path = Path::new(source);
        if path.exists() {
            println!("cargo::rerun-if-changed={source}");
            add(path, &mut hasher)?;
        }
    }
    let building = |name: &str| {
        [
            "CARGO_CFG_",
            "CARGO_FEATURE_",
            "CARGO_ENCODED_RUSTFLAGS",
            "OPT_LEVEL",
            "PROFILE",
            "TARGET",
        ]
        .iter()
        .any(|start| name.starts_with(start))
    };
    let mut variables: Vec<_> = std::env::vars().filter(|(name, _)| building(name)).collect();
    variables.sort();
    variables.hash(&mut hasher);
    if let Some(compiler) = std::env::var_os("RUSTC") {
        Command::new(compiler).arg("-vV").output()?.stdout.hash(&mut hasher);
    }
    println!("cargo::rustc-env=CYGNET_BUILD={:016x}", hasher.finish());
    Ok(())
}

/// Adds a file, or all that is in a folder.
fn add(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    path.hash(hasher);
    if !path.is_dir() {
        std::fs::read(path)?.hash(hasher);
        return Ok(());
    }
    let entries = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().try_for_each(|path| add(path, hasher))
}
