//! The command `cygnet`, as a person runs it.

use std::process::Command;

/// The command. It keeps no compiled programs, unless the test tells where.
pub fn cygnet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cygnet"));
    command.env("CYGNET_CACHE", "off");
    command
}
