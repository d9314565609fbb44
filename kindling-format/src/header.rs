//! The two JSON members: `kindling.json` at the start and `summary.json` at the end.
//!
//! Both evolve like the tables: a reader ignores fields that it does not know, and a field that is
//! missing reads as its default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name of the first member.
pub const HEADER_MEMBER: &str = "kindling.json";
/// The name of the member that a finished recording ends with.
pub const SUMMARY_MEMBER: &str = "summary.json";
/// The name of the member that lists all others.
pub const INDEX_MEMBER: &str = "index.parquet";

/// The version that this crate writes, and the newest that it reads.
pub const FORMAT: FormatVersion = FormatVersion { major: 1, minor: 1 };

/// A version of the format. A reader reads every minor of its own major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FormatVersion {
    /// Grows when an older reader could misunderstand a capture.
    pub major: u32,
    /// Grows when something is added that an older reader can skip.
    pub minor: u32,
}

impl std::fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// `kindling.json`: what is known when recording begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: FormatVersion,
    /// The program that wrote the capture, with its version.
    #[serde(default)]
    pub tool: String,
    /// The recorded machine.
    #[serde(default)]
    pub host: Host,
    /// The moment that recording began, on all three clocks.
    #[serde(default)]
    pub start: Moment,
    /// What was recorded, and how.
    #[serde(default)]
    pub options: Options,
    /// The sources of events, and why some are missing.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Names the recording: captures that share it are parts of one, and share their ids. Empty if
    /// the capture is all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recording: String,
    /// Which part of the recording this is, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub part: u32,
    /// Why it was written out of a recorder's memory; `None` if it was written as it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<Dump>,
    /// The hosts of a capture that was merged of several; empty if there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPart>,
    /// How this capture was made of others, oldest step first; empty as a recorder writes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Default for Header {
    fn default() -> Self {
        Self {
            format: FORMAT,
            tool: String::new(),
            host: Host::default(),
            start: Moment::default(),
            options: Options::default(),
            sources: Vec::new(),
            recording: String::new(),
            part: 0,
            dump: None,
            hosts: Vec::new(),
            history: Vec::new(),
        }
    }
}

/// Why a flight recorder wrote what it had in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dump {
    /// The trigger as it was given to the recorder; `signal` or `command` if somebody asked.
    pub trigger: String,
    /// When that was, `CLOCK_MONOTONIC`.
    pub ts: i64,
    /// The process that did it.
    pub pid: Option<u32>,
    /// The thread.
    pub tid: Option<u32>,
    /// The thread's name.
    pub comm: String,
    /// What happened, in words.
    pub event: String,
    /// How long it took; `None` for what has no length.
    pub latency_ns: Option<i64>,
    /// How many times a trigger fired since the last dump without one of its own.
    pub suppressed: u64,
}

/// The recorded machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`: it decides what the syscall numbers mean.
    pub arch: String,
    /// The number of CPUs online.
    pub cpus: u32,
    /// `/proc/sys/kernel/random/boot_id`: monotonic times are comparable within one boot.
    pub boot_id: String,
    /// The operating system's name for itself (`/etc/os-release`, `PRETTY_NAME`).
    pub os: String,
}

/// One host of a merged capture, and how its rows were told from those of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPart {
    /// Its number: added, times 2^22, to its process and thread ids.
    pub number: u32,
    /// Added to its CPUs.
    pub cpu_base: u16,
    /// Added to its times: they are those of the first host's clock now.
    pub clock_shift_ns: i64,
    /// The host.
    pub host: Host,
}

/// One moment on three clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`, the clock of every `ts`.
    pub monotonic_ns: i64,
    /// `CLOCK_BOOTTIME`.
    pub boottime_ns: i64,
    /// `CLOCK_REALTIME`.
    pub realtime_ns: i64,
}

/// What was asked of the recorder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The target in words: `all`, or those of `command`, `pids`, `comms`, `cgroups` and
    /// `containers` that were named, separated by commas.
    pub target: String,
    /// The command that was started, with its arguments.
    pub command: Vec<String>,
    /// The processes that were named.
    pub pids: Vec<u32>,
    /// The names of processes that were named.
    pub comms: Vec<String>,
    /// The cgroups that were named.
    pub cgroups: Vec<String>,
    /// The containers that were named.
    pub containers: Vec<String>,
    /// The most bytes kept of one payload; 0 if payloads were off.
    pub payload_bytes: u32,
    /// Patterns of the paths of files whose written bytes were kept.
    pub logs: Vec<String>,
    /// What was made unreadable: those of `headers`, `args` and `paths` that were asked for.
    pub redacted: Vec<String>,
    /// Stack samples per second and CPU; 0 if sampling was off.
    pub sample_hz: u32,
    /// The longest time that a finished event waits to be written.
    pub flush_interval_ns: i64,
    /// The times of events are whole steps of this, rounded down, a power of two; 0 or 1 if they are as
    /// the clock gave them. A merge that shifts a host's clock shifts the steps too.
    pub resolution_ns: u32,
}

/// A source of events on the recorded host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Its name, as `doctor` prints it.
    pub name: String,
    /// Whether it was recorded.
    pub available: bool,
    /// Why not, or how.
    pub detail: String,
}

/// `summary.json`: what is known when recording ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// The moment that recording ended.
    pub end: Moment,
    /// Why it ended: `target exited`, `interrupted`, `duration`, `max-size`, `disk full`, …
    pub reason: String,
    /// Rows per table.
    pub rows: BTreeMap<String, u64>,
    /// Events that did not arrive, per table.
    pub lost: BTreeMap<String, u64>,
    /// How the started command ended, as `wait(2)` reports.
    pub exit_status: Option<i32>,
    /// CPU time of the recorder over the whole recording.
    pub recorder_cpu_ns: i64,
}
