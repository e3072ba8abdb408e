//! The `cygnet` command.

fn main() -> std::process::ExitCode {
    cygnet::cli::main()
}
