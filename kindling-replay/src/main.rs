//! `kindling-replay`: opens a capture and answers questions about it.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Decoded columns are large and live shortly. The C library's allocator gives such memory back to the
/// kernel each time and faults it in again, page by page, which threads that decode wait for each other
/// to do; this one keeps it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    kindling_replay::main()
}
