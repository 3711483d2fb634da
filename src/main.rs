//! The `proxmaint` program: parses, calls, and returns the exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    match proxmaint::cli::args::Cli::read(std::env::args_os()) {
        Ok(cli) => proxmaint::cli::main(cli),
        Err(code) => code,
    }
}
