//! What a trigger waits for, as it is typed: `WHAT[:NAME,NAME…][>TIME]`.

use std::{collections::BTreeSet, fmt, time::Duration};

use kindling_format::syscalls;

use super::sniff::{Protocol, RCODES};
use crate::cli::units::parse_duration;

/// Something that makes the flight recorder write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trigger {
    text: String,
    pub(super) condition: Condition,
}

/// What must happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// A call takes longer: one of these numbers, or any that is not meant to wait.
    Syscall {
        numbers: Option<BTreeSet<u16>>,
        slower_ns: i64,
    },
    /// An answer has one of these statuses, and takes longer; no status stands for any.
    Answer {
        protocol: Option<Protocol>,
        statuses: Vec<Status>,
        slower_ns: Option<i64>,
    },
    /// A request has no answer after this time.
    NoAnswer {
        protocols: Vec<Protocol>,
        after_ns: i64,
    },
    /// A process is killed by one of these signals.
    Crash { signals: Vec<Signal> },
}

/// A status that an answer can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// `500`, or the response code of DNS.
    Code(u16),
    /// The first digit of HTTP's: `5xx`.
    Class(u16),
    /// Any error.
    Error,
}

/// A signal that kills, with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) number: i32,
    pub(super) name: &'static str,
}

/// `<asm-generic/signal.h>`: those that a process gets for a fault of its own, and the one that the
/// kernel ends it with when memory is short.
const SIGNALS: [Signal; 8] = [
    Signal {
        number: 4,
        name: "SIGILL",
    },
    Signal {
        number: 5,
        name: "SIGTRAP",
    },
    Signal {
        number: 6,
        name: "SIGABRT",
    },
    Signal {
        number: 7,
        name: "SIGBUS",
    },
    Signal {
        number: 8,
        name: "SIGFPE",
    },
    Signal {
        number: 9,
        name: "SIGKILL",
    },
    Signal {
        number: 11,
        name: "SIGSEGV",
    },
    Signal {
        number: 31,
        name: "SIGSYS",
    },
];

const WHAT: &str = "syscall, answer, http, redis, dns, no-answer or crash";

/// One part of the text, with where it begins.
#[derive(Debug, Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    column: usize,
}

impl<'a> Part<'a> {
    /// Without the spaces around it.
    fn new(text: &'a str, column: usize) -> Self {
        let spaces = text.len() - text.trim_start().len();
        Self {
            text: text.trim(),
            column: column + spaces,
        }
    }

    fn names(self) -> impl Iterator<Item = Part<'a>> {
        let mut column = self.column;
        self.text.split(',').map(move |name| {
            let part = Part::new(name, column);
            column += name.len() + 1;
            part
        })
    }

    fn wrong(self, expected: &str) -> String {
        match self.text {
            "" => format!("at column {}: expected {expected}", self.column),
            text => format!("at column {}: `{text}` is not {expected}", self.column),
        }
    }
}

impl Trigger {
    /// Reads one.
    ///
    /// # Errors
    /// Says at which column what was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (head, time) = match text.split_once('>') {
            Some((head, time)) => (head, Some(Part::new(time, head.len() + 2))),
            None => (text, None),
        };
        let (what, names) = match head.split_once(':') {
            Some((what, names)) => (what, Some(Part::new(names, what.len() + 2))),
            None => (head, None),
        };
        let what = Part::new(what, 1);
        let end = Part::new("", text.len() + 1);
        let condition = match what.text {
            "syscall" => Condition::Syscall {
                numbers: names.map(call_numbers).transpose()?,
                slower_ns: needed(time, end, "syscall>200ms")?,
            },
            "no-answer" => Condition::NoAnswer {
                protocols: names.map(protocols).transpose()?.unwrap_or_default(),
                after_ns: needed(time, end, "no-answer>2s")?,
            },
            "crash" => Condition::Crash {
                signals: crash(names, time)?,
            },
            "answer" => Condition::Answer {
                protocol: None,
                statuses: unnamed(names)?,
                slower_ns: Some(needed(time, end, "answer>500ms")?),
            },
            other => {
                let protocol = Protocol::named(other).ok_or_else(|| what.wrong(WHAT))?;
                answer(protocol, names, time, end)?
            }
        };
        let text = text.trim().to_owned();
        Ok(Self { text, condition })
    }

    /// Whether it looks at the first bytes of payloads.
    pub(crate) fn needs_payloads(&self) -> bool {
        matches!(
            self.condition,
            Condition::Answer { .. } | Condition::NoAnswer { .. }
        )
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn nanoseconds(time: Part<'_>) -> Result<i64, String> {
    let duration = parse_duration(time.text).map_err(|why| match time.text {
        "" => time.wrong("a time such as 200ms"),
        _ => format!("at column {}: {why}", time.column),
    })?;
    if duration == Duration::ZERO {
        return Err(time.wrong("more than no time"));
    }
    i64::try_from(duration.as_nanos()).map_err(|_| time.wrong("a time that a recording can last"))
}

fn needed(time: Option<Part<'_>>, end: Part<'_>, example: &str) -> Result<i64, String> {
    let missing = || {
        let what =
            format!("`>` and a time, as in '{example}' (in quotes: the shell takes > for itself)");
        end.wrong(&what)
    };
    nanoseconds(time.ok_or_else(missing)?)
}

fn call_numbers(names: Part<'_>) -> Result<BTreeSet<u16>, String> {
    let arch = std::env::consts::ARCH;
    let number = |name: Part<'_>| {
        let spec = syscalls::named(arch, name.text);
        let found = spec.map(|spec| spec.nr);
        found.ok_or_else(|| name.wrong(&format!("a syscall of {arch}, such as fsync")))
    };
    names.names().map(number).collect()
}

fn protocols(names: Part<'_>) -> Result<Vec<Protocol>, String> {
    let protocol = |name: Part<'_>| {
        let found = Protocol::named(name.text);
        found.ok_or_else(|| name.wrong("a protocol: http, redis or dns"))
    };
    names.names().map(protocol).collect()
}

fn unnamed(names: Option<Part<'_>>) -> Result<Vec<Status>, String> {
    match names {
        None => Ok(Vec::new()),
        Some(names) => Err(names.wrong("known of every protocol: say http:, redis: or dns:")),
    }
}

fn answer(
    protocol: Protocol,
    names: Option<Part<'_>>,
    time: Option<Part<'_>>,
    end: Part<'_>,
) -> Result<Condition, String> {
    let statuses = match names {
        Some(names) => names
            .names()
            .map(|name| status(protocol, name))
            .collect::<Result<Vec<_>, _>>()?,
        None => Vec::new(),
    };
    let slower_ns = time.map(nanoseconds).transpose()?;
    if statuses.is_empty() && slower_ns.is_none() {
        let example = match protocol {
            Protocol::Http => "`>` and a time or `:` and a status, as in 'http>1s' or http:5xx",
            Protocol::Redis => "`>` and a time or `:error`, as in 'redis>10ms' or redis:error",
            Protocol::Dns => "`>` and a time or `:` and a code, as in 'dns>1s' or dns:servfail",
        };
        return Err(end.wrong(example));
    }
    Ok(Condition::Answer {
        protocol: Some(protocol),
        statuses,
        slower_ns,
    })
}

fn status(protocol: Protocol, name: Part<'_>) -> Result<Status, String> {
    let word = name.text.to_ascii_lowercase();
    match protocol {
        Protocol::Http => http_status(&word).ok_or_else(|| name.wrong("a status: 5xx, 404, …")),
        _ if word == "error" => Ok(Status::Error),
        Protocol::Redis => Err(name.wrong("a status of Redis: error")),
        Protocol::Dns => RCODES
            .iter()
            .find(|(code, _)| *code == word)
            .map(|(_, code)| Status::Code(*code))
            .ok_or_else(|| {
                name.wrong("a response code: servfail, nxdomain, refused, formerr, notimp or error")
            }),
    }
}

fn http_status(word: &str) -> Option<Status> {
    if let Some(class) = word.strip_suffix("xx") {
        let class = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(Status::Class(class));
    }
    let code = word
        .parse()
        .ok()
        .filter(|code| (100..=599).contains(code))?;
    Some(Status::Code(code))
}

fn crash(names: Option<Part<'_>>, time: Option<Part<'_>>) -> Result<Vec<Signal>, String> {
    if let Some(time) = time {
        return Err(time.wrong("of use here: a crash takes no time"));
    }
    let Some(names) = names else {
        return Ok(SIGNALS.to_vec());
    };
    let signal = |name: Part<'_>| {
        let word = name.text.to_ascii_uppercase();
        let word = word.strip_prefix("SIG").unwrap_or(&word);
        let found = SIGNALS
            .iter()
            .find(|signal| signal.name.strip_prefix("SIG") == Some(word));
        found.copied().ok_or_else(|| {
            name.wrong("a signal of a crash: ill, trap, abrt, bus, fpe, kill, segv or sys")
        })
    };
    names.names().map(signal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> Condition {
        Trigger::parse(text).unwrap().condition
    }

    #[test]
    fn every_kind_is_read() {
        let Condition::Syscall { numbers, slower_ns } = condition("syscall:read, fsync > 50ms")
        else {
            panic!("another kind");
        };
        assert_eq!(slower_ns, 50_000_000);
        let number = |name| syscalls::named(std::env::consts::ARCH, name).unwrap().nr;
        assert_eq!(
            numbers,
            Some(BTreeSet::from([number("read"), number("fsync")]))
        );
        assert_eq!(
            condition("http:5xx,404>1s"),
            Condition::Answer {
                protocol: Some(Protocol::Http),
                statuses: vec![Status::Class(5), Status::Code(404)],
                slower_ns: Some(1_000_000_000),
            }
        );
        assert_eq!(
            condition("dns:SERVFAIL,error"),
            Condition::Answer {
                protocol: Some(Protocol::Dns),
                statuses: vec![Status::Code(2), Status::Error],
                slower_ns: None,
            }
        );
        assert_eq!(
            condition("no-answer:dns>2s"),
            Condition::NoAnswer {
                protocols: vec![Protocol::Dns],
                after_ns: 2_000_000_000,
            }
        );
        let Condition::Crash { signals } = condition("crash:segv,SIGABRT") else {
            panic!("another kind");
        };
        assert_eq!(
            signals.iter().map(|one| one.number).collect::<Vec<_>>(),
            [11, 6]
        );
        for text in [
            "syscall>1",
            "answer>500ms",
            "http>1s",
            "redis:error",
            "crash",
        ] {
            assert_eq!(Trigger::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, words) in [
            ("", "at column 1: expected syscall, answer"),
            ("sycall>1s", "at column 1: `sycall` is not syscall, answer"),
            ("syscall", "at column 8: expected `>` and a time"),
            ("syscall:fsync", "in quotes"),
            (
                "syscall:fsync,fsnc>1s",
                "at column 15: `fsnc` is not a syscall",
            ),
            ("syscall:>1s", "at column 9: expected a syscall"),
            ("syscall>", "at column 9: expected a time"),
            (
                "syscall> 1parsec",
                "at column 10: `parsec` is not a unit of time",
            ),
            ("syscall>0s", "at column 9: `0s` is not more than no time"),
            ("http", "http:5xx"),
            ("http:6xx", "at column 6: `6xx` is not a status"),
            (
                "redis:404",
                "at column 7: `404` is not a status of Redis: error",
            ),
            (
                "dns:nodomain",
                "at column 5: `nodomain` is not a response code",
            ),
            ("answer:5xx>1s", "say http:"),
            (
                "no-answer:smtp>1s",
                "at column 11: `smtp` is not a protocol",
            ),
            ("crash:term", "at column 7: `term` is not a signal"),
            ("crash>1s", "a crash takes no time"),
        ] {
            let error = Trigger::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
