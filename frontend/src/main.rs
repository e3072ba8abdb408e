//! The `cygnet` command.

/// Compilation makes many small allocations, on several threads; with this allocator it takes a fifth
/// less time than with that of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cygnet::cli::main()
}
