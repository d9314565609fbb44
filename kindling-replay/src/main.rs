//! `kindling-replay`: opens a capture and answers questions about it.

use std::process::ExitCode;

fn main() -> ExitCode {
    kindling_replay::main()
}
