//! The `loadtest` binary: see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    bigroom_loadtest::main_from(std::env::args_os())
}
