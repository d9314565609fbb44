//! The analyzer of Kindling captures, as a library: what `kindling-replay` runs, and what tests,
//! benches and other front ends can call.
//!
//! ```text
//! file → mmap → members (zone map) → parallel decode → model → analysis → report → renderer
//!        kindling_format              scan             model   analysis    serde     render
//! ```
//!
//! * Any bytes may be in a capture: nothing here panics on them. A damaged member becomes a
//!   [`warning::Warning`], and the rest goes on.
//! * The same capture and options give the same bytes out, whatever `--jobs` is.
//! * Memory follows the segments in flight, not the file.
//! * An analysis takes the model and returns a report; it prints nothing. A renderer takes a report
//!   and writes; it computes nothing.
//! * Only Rust's standard library touches the system: it runs wherever Rust runs.

use std::process::ExitCode;

use clap::Parser;

pub mod analysis;
pub mod cli;
pub mod commands;
pub mod context;
pub mod filter;
pub mod model;
pub mod output;
pub mod protocol;
pub mod render;
pub mod rewrite;
pub mod scan;
pub mod selection;
pub mod stats;
pub mod warning;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer speaks of everything that was asked for.
    Done,
    /// The answer is there, but data that belongs to it was missing.
    Incomplete,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Incomplete => ExitCode::from(3),
        }
    }
}

/// The command line, from the process's arguments to its exit code: 0 done, 1 failed, 2 usage,
/// 3 done but data was missing.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command.run() {
        Ok(outcome) => outcome.into(),
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kindling-replay: {error:#}");
            let usage = error.downcast_ref::<cli::UsageError>().is_some();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
