//! One small module per command: it opens the capture, runs the analysis and picks the renderer.
//!
//! A new command is a module with `Args`, whose `common` field is [`CommonArgs`], and
//! `run(&Args) -> anyhow::Result<Outcome>`, and one line in `commands!`.

use clap::Subcommand;

use crate::{Outcome, cli::CommonArgs};

pub mod check;
pub mod compact;
pub mod cpus;
pub mod critical_path;
pub mod cut;
pub mod events;
pub mod files;
pub mod flame;
pub mod flows;
pub mod info;
pub mod locks;
pub mod logs;
pub mod merge;
pub mod neighbours;
pub mod processes;
mod rewritten;
pub mod rpc;
pub mod rpcs;
pub mod salvage;
pub mod syscalls;
pub mod thread;
pub mod threads;

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident => $module:ident,)*) => {
        /// What can be asked of a capture.
        #[derive(Debug, Subcommand)]
        pub enum Command {
            $($(#[$doc])* $variant($module::Args),)*
        }

        impl Command {
            /// Runs the command.
            ///
            /// # Errors
            /// One line for the user; a [`crate::cli::UsageError`] if the options make no sense.
            pub fn run(&self) -> anyhow::Result<Outcome> {
                match self { $(Command::$variant(args) => $module::run(args),)* }
            }

            /// The options that it shares with all others.
            pub fn common(&self) -> &CommonArgs {
                match self { $(Command::$variant(args) => &args.common,)* }
            }
        }
    };
}

commands! {
    /// What the capture is: host, time, rows, losses, cost
    Info => info,
    /// Everything in the order of time, in the manner of strace
    Events => events,
    /// What every thread did with its time: text, JSON, or a timeline as SVG
    Threads => threads,
    /// The story of one thread: calls, waits, requests and logs in the order of time
    Thread => thread,
    /// Who ran on which CPU, and how long threads waited for one
    Cpus => cpus,
    /// Who had the CPUs while the selected threads waited for one
    Neighbours => neighbours,
    /// Where time went, by call stack: a flame graph, on-CPU or off-CPU
    Flame => flame,
    /// Syscalls by name: how many, how long, how many failed
    Syscalls => syscalls,
    /// Files by path or kind: bytes, calls, latencies, errors
    Files => files,
    /// Processes as a tree: command, user, container, how they ended, time on CPU
    Processes => processes,
    /// Lines that programs logged, with the thread and the request of each
    Logs => logs,
    /// Which locks threads waited for, how long, and for whom
    Locks => locks,
    /// Who talked to whom, over what, how much and how well
    Flows => flows,
    /// The requests that were made, and how long they took
    Rpcs => rpcs,
    /// One request taken apart: its stages, threads, waits and syscalls
    Rpc => rpc,
    /// What determined how long a thread, a request or a window took
    CriticalPath => critical_path,
    /// Verify every byte and row
    Check => check,
    /// Rebuild a finished capture from an unfinished or damaged one
    Salvage => salvage,
    /// A part of the capture, by time and threads, as a capture of its own
    Cut => cut,
    /// Several captures as one: parts of a recording, or recordings of several hosts
    Merge => merge,
    /// The same rows in fewer bytes
    Compact => compact,
}
