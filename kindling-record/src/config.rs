//! What is recorded and how: the command line, checked.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{
        RecordArgs, Redact,
        units::{Extent, Resolution},
    },
    flight::{FlightConfig, Window},
    limits::Limits,
    logs::{self, LogPattern, parse_log},
    privileges::{User, parse_user},
    sources::{EventChoice, parse_events},
    target::{Target, TargetError},
    trigger::{SNIFFED_BYTES, Trigger},
    unwind,
};

/// Where the capture goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    File(PathBuf),
    Stdout,
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::File(path) => path.display().fmt(f),
            Destination::Stdout => f.write_str("standard output"),
        }
    }
}

/// A recording that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecordConfig {
    pub(crate) target: Target,
    pub(crate) destination: Destination,
    pub(crate) duration: Option<Duration>,
    /// 0 if payloads are off.
    pub(crate) payload_bytes: u32,
    /// Whether plaintext of TLS libraries is a payload too.
    pub(crate) tls: bool,
    /// Which files are logs.
    pub(crate) logs: Vec<LogPattern>,
    /// Sources that are recorded beside the usual ones, or not.
    pub(crate) events: Vec<EventChoice>,
    /// What it may cost.
    pub(crate) limits: Limits,
    /// What is made unreadable.
    pub(crate) redact: Vec<Redact>,
    /// Whom to go on as.
    pub(crate) user: Option<User>,
    /// 0 if sampling is off.
    pub(crate) sample_hz: u32,
    /// Bytes of user stack that are copied with a sample; 0 follows frame pointers instead.
    pub(crate) stack_bytes: u32,
    pub(crate) switch_stacks: bool,
    /// The steps of the times of events.
    pub(crate) resolution: Resolution,
    pub(crate) buffer_bytes: u64,
    pub(crate) flush: Duration,
    /// How often written bytes are forced to the disk; `None` leaves it to the operating system.
    pub(crate) fsync: Option<Duration>,
    /// When another file begins; never, if empty.
    pub(crate) rotate: Vec<Extent>,
    /// How many files are kept; `None` for all.
    pub(crate) keep: Option<u32>,
    /// Keep the last part in memory instead of writing all of it.
    pub(crate) flight: Option<FlightConfig>,
}

/// A command line that asks for nothing that can be done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum UsageError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{option} {text}: {why}")]
    Value {
        option: &'static str,
        text: String,
        why: String,
    },
    #[error("--log takes at most {} patterns: use fewer, broader ones", logs::MOST)]
    ManyLogs,
    #[error("standard output is a terminal: redirect it, or name a file with -o")]
    Terminal,
    #[error("--rotate and --flight write several files: name them with -o FILE, not -o -")]
    RotatedPipe,
    #[error("--keep is about files of --rotate or --flight: add one of them")]
    KeepOne,
    #[error("--trigger {0}: it needs the first 16 bytes of payloads: {1}")]
    Blind(String, &'static str),
}

impl UsageError {
    fn value(option: &'static str, text: &str, why: String) -> Self {
        let text = text.to_owned();
        Self::Value { option, text, why }
    }

    /// Whether the command line was right, and what it names is not there.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, UsageError::Target(error) if *error != TargetError::Nothing)
    }
}

/// A ring's size is a power of two of at least a page.
const SMALLEST_RING: u64 = 4096;
/// The largest that fits the kernel's 32-bit size.
const LARGEST_RING: u64 = 1 << 30;

impl RecordConfig {
    /// Checks what was typed.
    ///
    /// # Errors
    /// [`UsageError`] says what to type instead.
    pub(crate) fn new(args: &RecordArgs) -> Result<Self, UsageError> {
        if args.keep.is_some() && args.rotate.is_empty() && args.flight.is_empty() {
            return Err(UsageError::KeepOne);
        }
        Ok(Self {
            target: Target::new(args)?,
            destination: destination(args)?,
            duration: args.duration,
            payload_bytes: if args.no_payload {
                0
            } else {
                args.payload_bytes
            },
            tls: !args.no_tls,
            logs: logs(&args.log)?,
            events: events(&args.events)?,
            limits: Limits {
                max_size: args.max_size,
                max_rate: args.max_rate,
                max_cpu: args.max_cpu,
            },
            redact: args.redact.clone(),
            user: args.user.as_deref().map(user).transpose()?,
            sample_hz: args.sample_hz,
            stack_bytes: if unwind::IS_SUPPORTED {
                args.stack_bytes
            } else {
                0
            },
            switch_stacks: !args.no_switch_stacks,
            resolution: args.resolution,
            buffer_bytes: args.buffer,
            flush: args.flush,
            fsync: args.fsync,
            rotate: args.rotate.clone(),
            keep: args.keep,
            flight: flight(args)?,
        })
    }

    /// Whether this is to be made unreadable.
    pub(crate) fn hides(&self, what: Redact) -> bool {
        self.redact.contains(&what)
    }

    /// Whether TLS libraries are probed: without payloads nothing of theirs is wanted.
    pub(crate) fn takes_plaintext(&self) -> bool {
        self.tls && self.payload_bytes > 0
    }

    /// The size of each of `rings` rings.
    pub(crate) fn ring_bytes(&self, rings: usize) -> u32 {
        let share = (self.buffer_bytes / rings.max(1) as u64).clamp(SMALLEST_RING, LARGEST_RING);
        1 << share.ilog2()
    }
}

fn flight(args: &RecordArgs) -> Result<Option<FlightConfig>, UsageError> {
    if args.flight.is_empty() {
        return Ok(None);
    }
    let triggers = triggers(&args.trigger)?;
    if let Some(blind) = triggers.iter().find(|one| one.needs_payloads()) {
        let why = match (args.no_payload, args.payload_bytes) {
            (true, _) => "leave out --no-payload",
            (_, ..SNIFFED_BYTES) => "raise --payload-bytes",
            _ => "",
        };
        if !why.is_empty() {
            return Err(UsageError::Blind(blind.to_string(), why));
        }
    }
    let after = match args.trigger.is_empty() {
        true => Duration::ZERO,
        false => args.after,
    };
    Ok(Some(FlightConfig {
        window: Window::of(&args.flight, after),
        triggers,
        limit: args.dump_limit,
    }))
}

fn triggers(texts: &[String]) -> Result<Vec<Trigger>, UsageError> {
    let parse = |text: &String| {
        Trigger::parse(text).map_err(|why| UsageError::value("--trigger", text, why))
    };
    texts.iter().map(parse).collect()
}

fn logs(patterns: &[String]) -> Result<Vec<LogPattern>, UsageError> {
    if patterns.len() > logs::MOST {
        return Err(UsageError::ManyLogs);
    }
    patterns
        .iter()
        .map(|text| parse_log(text).map_err(|why| UsageError::value("--log", text, why)))
        .collect()
}

fn events(choices: &[String]) -> Result<Vec<EventChoice>, UsageError> {
    choices
        .iter()
        .map(|text| parse_events(text).map_err(|why| UsageError::value("--events", text, why)))
        .collect()
}

fn user(name: &str) -> Result<User, UsageError> {
    parse_user(name).map_err(|why| UsageError::value("--user", name, why))
}

fn destination(args: &RecordArgs) -> Result<Destination, UsageError> {
    if args.output.as_os_str() != "-" {
        return Ok(Destination::File(args.output.clone()));
    }
    if !args.rotate.is_empty() || !args.flight.is_empty() {
        return Err(UsageError::RotatedPipe);
    }
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        return Err(UsageError::Terminal);
    }
    Ok(Destination::Stdout)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parse(args: &[&str]) -> Result<RecordConfig, UsageError> {
        let line = ["kindling-record", "-o", "x"].iter().chain(args);
        RecordConfig::new(&crate::cli::Cli::parse_from(line).record)
    }

    #[test]
    fn rings_share_the_buffer() {
        let config = parse(&["--all", "--buffer", "48M"]).unwrap();
        assert_eq!(config.ring_bytes(1), 32 << 20);
        assert_eq!(config.ring_bytes(4), 8 << 20);
        assert_eq!(config.ring_bytes(1 << 20), 4096);
    }

    #[test]
    fn no_payload_is_a_limit_of_none() {
        assert_eq!(parse(&["--all", "--no-payload"]).unwrap().payload_bytes, 0);
    }
}
