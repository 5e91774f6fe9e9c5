//! The command line of loraloom.

// Keeps freed pages for the next pass: fresh ones from the system cost a tenth of a forward pass.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
