//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

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

const EXAMPLES: &str = "\
Examples:
  kindling-record -o build.kndl -- make -j4        record a command and all its children
  kindling-record -o redis.kndl --pid 812 -d 10s   record a running process for ten seconds
  kindling-record --comm nginx --container web      a union; later ones too, until Ctrl-C
  kindling-record --no-payload --all -d 2s -o a.kndl
  kindling-record -o - --pid 812 -d 5s | ssh laptop 'cat > redis.kndl'
  kindling-record --rotate 256M --keep 8 -o web.kndl --pid 812
  kindling-record doctor                           what this host can record

Exit codes: 0 recorded, 1 failed, 2 wrong usage, 3 recorded, but events were lost.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say for each source of events whether this host has it, and if not, what to do.
    Doctor {
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
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

    /// Record a running container (docker, containerd, cri-o, podman, crun, runc), by its name or
    /// the beginning of its id.
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

    /// Keep what is written to files with such a path, as logs: `*.log` is about the name, one with
    /// a slash about the path's end, `/var/log/*/*.log` about all of it. Standard output and
    /// standard error are kept wherever they go.
    #[arg(long, value_name = "GLOB")]
    pub(crate) log: Vec<String>,

    /// Take this many stack samples per second and CPU; 0 takes none.
    #[arg(long, value_name = "HZ", default_value_t = 99, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) sample_hz: u32,

    /// Copy this many bytes of user stack with each sample, to unwind programs that were built
    /// without frame pointers; 0 follows frame pointers.
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(0..=16_384))]
    pub(crate) stack_bytes: u32,

    /// Take no stacks of threads that go off the CPU.
    #[arg(long)]
    pub(crate) no_switch_stacks: bool,

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
    #[arg(long, value_name = "SIZE|TIME", value_delimiter = ',', value_parser = parse_rotation)]
    pub(crate) rotate: Vec<Rotation>,

    /// With --rotate, keep only the newest N files.
    #[arg(long, value_name = "N", requires = "rotate", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: Option<u32>,

    /// Record sources that are left out otherwise, or leave out others: +block, +faults,
    /// +migrations, -samples, … (`kindling-record doctor` lists all).
    #[arg(
        long,
        value_name = "+NAME,-NAME",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub(crate) events: Vec<String>,

    /// End the recording when the capture has about this size, for example 1G.
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

/// When a file is long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    Bytes(u64),
    Time(Duration),
}

/// A size ends with `K`, `M` or `G`, a time with a small letter; `m` is minutes.
fn parse_rotation(text: &str) -> Result<Rotation, String> {
    let is_size = text.ends_with(['K', 'M', 'G', 'B']);
    let rotation = match is_size {
        true => Rotation::Bytes(parse_size(text)?),
        false => Rotation::Time(parse_duration(text)?),
    };
    match rotation {
        Rotation::Bytes(0) | Rotation::Time(Duration::ZERO) => {
            Err("expected more than nothing, for example 256M or 60s".into())
        }
        rotation => Ok(rotation),
    }
}

/// A length of time: a number with `ns`, `us`, `ms`, `s` (the default), `m` or `h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is not a number"))?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "`{unit}` is not a unit of time: ns, us, ms, s, m or h"
            ));
        }
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// A size: a number with `K`, `M` or `G`, powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{number}` is not a number"))?;
    let shift = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("`{unit}` is not a unit of size: K, M or G")),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text} is too large"))
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
    fn times_and_sizes_have_units() {
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert!(parse_duration("2 parsecs").is_err());
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("1KiB"), Ok(1024));
        assert!(parse_size("64Q").is_err());
        assert_eq!(parse_percent("3%"), Ok(3.0));
        assert_eq!(parse_percent("0.5"), Ok(0.5));
        assert!(parse_percent("0").is_err() && parse_percent("much").is_err());
    }

    #[test]
    fn files_are_rotated_by_size_and_time() {
        let mebibytes = Rotation::Bytes(256 << 20);
        let minutes = Rotation::Time(Duration::from_secs(120));
        assert_eq!(parse_rotation("256M"), Ok(mebibytes));
        assert_eq!(parse_rotation("2m"), Ok(minutes));
        assert!(parse_rotation("0s").is_err());
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
