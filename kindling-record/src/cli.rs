//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use units::{Extent, Resolution, parse_duration, parse_extent, parse_resolution, parse_size};

// This file is also part of the program that writes the man pages, which has no other of this crate.
#[path = "units.rs"]
pub(crate) mod units;

/// Record what processes do at the kernel boundary into one capture file.
///
/// Every syscall, context switch, wakeup, stack sample and payload of the target goes into a
/// compressed columnar file, which kindling-replay (or DuckDB, pandas, Spark) opens anywhere.
#[derive(Debug, Parser)]
#[command(
    name = "kindling-record",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = EXAMPLES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// Bytes of user stack that are copied if nothing else is said.
pub(crate) const STACK_BYTES: u32 = 8192;

const EXAMPLES: &str = "\
Examples:
  kindling-record -o build.kndl -- make -j4        record a command and all its children
  kindling-record -o redis.kndl --pid 812 -d 10s   record a running process for ten seconds
  kindling-record --comm nginx --container web      a union; later ones too, until Ctrl-C
  kindling-record --no-payload --all -d 2s -o a.kndl
  kindling-record -o - --pid 812 -d 5s | ssh laptop 'cat > redis.kndl'
  kindling-record --rotate 256M --keep 8 -o web.kndl --pid 812
  kindling-record --flight 60s --trigger 'http>500ms' --trigger crash -o web.kndl --comm nginx
  kindling-record dump                             have that one write its last 60 s now
  kindling-record doctor                           what this host can record

Triggers (in quotes, the shell takes > for itself):
  syscall>200ms                  a call that took longer, but those that are meant to wait
  syscall:fsync,read>50ms        one of these, whatever it waited for
  answer>500ms                   an answer to an HTTP/1, Redis or DNS request that took longer;
  http>1s  redis>10ms  dns>2s    of this protocol
  http:5xx  http:404,429         an answer with such a status, of any latency
  http:5xx>1s                    both
  redis:error                    an error reply
  dns:servfail,nxdomain          such a response code; dns:error is any
  no-answer>2s                   a request without answer for so long; no-answer:dns>5s
  crash  crash:segv,abrt         a process killed by SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE,
                                 SIGKILL, SIGSEGV or SIGSYS, or by these

Exit codes: 0 recorded, 1 failed, 2 wrong usage, 3 recorded, but events were lost.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say for each source of events whether this host has it, and if not, what to do.
    Doctor {
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Print on standard error what the kernel says of each program that it refuses.
        #[arg(short, long)]
        verbose: bool,
    },
    /// Have a recorder that runs with --flight write what it has in memory, and print the file's name.
    Dump {
        /// Which recorder, if there are several: its process id.
        #[arg(short, long)]
        pid: Option<u32>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One line per source.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The capture to write; `-` is the standard output.
    #[arg(short, long, value_name = "FILE", default_value = "capture.kndl")]
    pub(crate) output: PathBuf,

    /// Record these processes, with all their threads and future children.
    #[arg(short, long, value_name = "PID", value_delimiter = ',', num_args = 1..)]
    pub(crate) pid: Vec<u32>,

    /// Record the processes with this name, as ps shows it, also those that start later.
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub(crate) comm: Vec<String>,

    /// Record what is in this cgroup (v2) or below it, now and later: a path as in
    /// /proc/PID/cgroup, or the directory.
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Vec<PathBuf>,

    /// Record a container (docker, containerd, cri-o, podman, crun, runc), by its name or the
    /// beginning of its id, also one that starts later or once more (in the cgroup v2 hierarchy).
    #[arg(long, value_name = "ID")]
    pub(crate) container: Vec<String>,

    /// Record every process of the host but the recorder.
    #[arg(short, long, conflicts_with_all = ["pid", "comm", "cgroup", "container", "argv"])]
    pub(crate) all: bool,

    /// Stop after this time, for example 10s, 500ms or 2m.
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,

    /// Keep at most this many bytes of each payload.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=8191))]
    pub(crate) payload_bytes: u32,

    /// Keep no bytes that cross sockets, pipes and terminals.
    #[arg(long)]
    pub(crate) no_payload: bool,

    /// Keep no plaintext of what OpenSSL, GnuTLS and Go's crypto/tls encrypt; payloads of these
    /// connections are then as they cross the network.
    #[arg(long)]
    pub(crate) no_tls: bool,

    /// Keep what is written to files with such a path, as logs: `*.log` is about the name, one with
    /// a slash about the path's end, `/var/log/*/*.log` about all of it. Standard output and
    /// standard error are kept wherever they go.
    #[arg(long, value_name = "GLOB")]
    pub(crate) log: Vec<String>,

    /// Take this many stack samples per second and CPU; 0 takes none.
    #[arg(long, value_name = "HZ", default_value_t = 99, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) sample_hz: u32,

    /// Copy this many bytes of user stack where a sample, or a thread that leaves the CPU, is in a new
    /// chain of calls, to unwind programs that were built without frame pointers; 0 follows frame
    /// pointers.
    #[arg(long, value_name = "N", default_value_t = STACK_BYTES, value_parser = clap::value_parser!(u32).range(0..=16_384))]
    pub(crate) stack_bytes: u32,

    /// Take no stacks of threads that go off the CPU.
    #[arg(long)]
    pub(crate) no_switch_stacks: bool,

    /// Round the times of events down to whole steps of this, a power of two up to 1024ns. Steps as
    /// fine as the noise of reading a clock make captures a quarter larger; 1ns keeps them.
    #[arg(long, value_name = "TIME", default_value = "32ns", value_parser = parse_resolution)]
    pub(crate) resolution: Resolution,

    /// Memory for events that wait to be read, in all, for example 64M.
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = parse_size)]
    pub(crate) buffer: u64,

    /// Write a finished event after this time at the latest.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) flush: Duration,

    /// Force what was written to the disk this often, so that a power loss takes no more than that;
    /// without it the operating system decides (usually within 30 s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) fsync: Option<Duration>,

    /// Begin another file after this size or time, for example 256M, 60s or 256M,10m: FILE becomes
    /// FILE.000000.kndl and so on, each complete by itself; kindling-replay merge puts them together.
    #[arg(long, value_name = "SIZE|TIME", value_delimiter = ',', value_parser = parse_extent)]
    pub(crate) rotate: Vec<Extent>,

    /// With --rotate or --flight, keep only the newest N files.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: Option<u32>,

    /// Keep the last part in memory, for example 60s, 512M or 60s,512M (whichever is less), and write
    /// it only on SIGUSR1, on `kindling-record dump` and on a --trigger: to FILE-0001.kndl and so on,
    /// each a capture, none ever overwritten.
    #[arg(long, value_name = "TIME|SIZE", value_delimiter = ',', value_parser = parse_extent, conflicts_with = "rotate")]
    pub(crate) flight: Vec<Extent>,

    /// With --flight, write when this happens (see below); may be given several times.
    #[arg(long, value_name = "EXPR", requires = "flight")]
    pub(crate) trigger: Vec<String>,

    /// With --trigger, go on for so long before writing, so that what came of it is there too.
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "trigger", value_parser = parse_duration)]
    pub(crate) after: Duration,

    /// Write at most once in this time for triggers; others are counted. Who asks is always answered.
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "trigger", value_parser = parse_duration)]
    pub(crate) dump_limit: Duration,

    /// Record sources that are left out otherwise, or leave out others: +block, +faults,
    /// +migrations, -samples, … (`kindling-record doctor` lists all).
    #[arg(
        long,
        value_name = "+NAME,-NAME",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub(crate) events: Vec<String>,

    /// End the recording when the capture, or with --flight all dumps that are kept, have about this
    /// size, for example 1G.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_size: Option<u64>,

    /// Keep about this many records per second at most: what is more is left out by class, payloads
    /// first, then stacks, syscalls, switches, and counted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_rate: Option<u64>,

    /// Let the recorder take about this part of one CPU at most, for example 3%; leaves out as
    /// --max-rate does. What its programs take within the target's calls is not in it.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) max_cpu: Option<f64>,

    /// Make this unreadable before it is written.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) redact: Vec<Redact>,

    /// Go on as this user when everything is attached; the capture will be its own.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// The command to start and record, with its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<String>,
}

/// What can be made unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Redact {
    /// The values of HTTP/1 headers but those that frame and route a message, and what follows `?`
    /// in its target.
    Headers,
    /// Command lines but the program's name.
    Args,
    /// Paths of files that are opened or named in calls, and Unix sockets; programs keep theirs.
    Paths,
}

/// A part of one CPU, such as `3%` or `3`.
fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let percent: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is not a number of percent"))?;
    if percent > 0.0 && percent.is_finite() {
        Ok(percent)
    } else {
        Err("it must be more than 0 %".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_part_of_a_cpu_is_a_percentage() {
        assert_eq!(parse_percent("3%"), Ok(3.0));
        assert_eq!(parse_percent("0.5"), Ok(0.5));
        assert!(parse_percent("0").is_err() && parse_percent("much").is_err());
    }

    #[test]
    fn files_are_rotated_by_size_and_time() {
        let mebibytes = Extent::Bytes(256 << 20);
        let minutes = Extent::Time(Duration::from_secs(120));
        let cli = Cli::parse_from(["kindling-record", "--rotate", "256M,2m", "--all"]);
        assert_eq!(cli.record.rotate, [mebibytes, minutes]);
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let cli = Cli::parse_from(["kindling-record", "-o", "x", "--", "ls", "-o", "--all"]);
        assert_eq!(cli.record.argv, ["ls", "-o", "--all"]);
        assert!(!cli.record.all);
    }

    #[test]
    fn several_processes_can_be_named() {
        let cli = Cli::parse_from(["kindling-record", "--pid", "1", "2", "--pid", "3,4"]);
        assert_eq!(cli.record.pid, [1, 2, 3, 4]);
    }
}
