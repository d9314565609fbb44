//! Triggers of the flight recorder: what is looked for in the stream of events, while it is drained.
//!
//! [`expr`] is what can be typed, [`sniff`] what the first bytes of a payload are, [`answers`] which
//! requests are in flight. A [`Watch`] puts them together. It sees every finished call, payload and end
//! of a process; a call costs a look into a table, a payload of a socket one in a hash map.

mod answers;
mod calls;
mod expr;
mod sniff;

use kindling_format::{
    header::Dump,
    schema::{File, Payload, Syscall, Tls},
};

pub(crate) use expr::Trigger;
pub(crate) use sniff::SNIFFED_BYTES;

use answers::{Answered, Answers, Bytes, Request};
use calls::SlowCalls;
use expr::{Condition, Status};

/// How often requests without answer are looked for, as a part of the time that they may take.
const SCANS: i64 = 16;
const SHORTEST_SCAN_NS: i64 = 20_000_000;
const LONGEST_SCAN_NS: i64 = 500_000_000;
/// `wait(2)`: the signal that ended a process.
const SIGNAL_MASK: i32 = 0x7f;

/// A trigger that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fired {
    pub(crate) dump: Dump,
}

/// What is known of files and threads.
pub(crate) trait Known {
    /// An open file.
    fn file(&self, id: u32) -> Option<&File>;
    /// A thread's name.
    fn name(&self, tid: u32) -> Option<&str>;
}

/// Who did it.
#[derive(Debug, Clone, Copy)]
struct Who {
    pid: u32,
    tid: u32,
}

/// What is looked for.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    triggers: Vec<Trigger>,
    calls: SlowCalls,
    answers: Option<Answers>,
    /// How often requests without answer are looked for; `None` for never.
    scan_ns: Option<i64>,
    scanned_ns: i64,
    /// What fires is only counted.
    is_muted: bool,
    fired: Option<Fired>,
    more: u64,
}

impl Watch {
    pub(crate) fn new(triggers: &[Trigger]) -> Self {
        let waits = triggers
            .iter()
            .filter_map(|trigger| match trigger.condition {
                Condition::NoAnswer { after_ns, .. } => Some(after_ns),
                _ => None,
            });
        let scan_ns = waits.min().map(|after_ns| after_ns / SCANS);
        Self {
            triggers: triggers.to_vec(),
            calls: SlowCalls::of(triggers),
            answers: triggers
                .iter()
                .any(Trigger::needs_payloads)
                .then(Answers::default),
            scan_ns: scan_ns.map(|ns| ns.clamp(SHORTEST_SCAN_NS, LONGEST_SCAN_NS)),
            ..Self::default()
        }
    }

    /// Whether what fires is only counted from now on.
    pub(crate) fn mute(&mut self, is_muted: bool) {
        self.is_muted = is_muted;
    }

    /// What fired since the last time: the first, and how many there were more.
    pub(crate) fn take_fired(&mut self) -> (Option<Fired>, u64) {
        (self.fired.take(), std::mem::take(&mut self.more))
    }

    /// Takes in a finished call.
    #[inline]
    pub(crate) fn call(&mut self, row: &Syscall, known: &impl Known) {
        let Some(dur) = row.dur.filter(|&dur| self.calls.may_be_slow(row.nr, dur)) else {
            return;
        };
        let file = row.file.and_then(|id| known.file(id));
        let Some(trigger) = self.calls.find(&self.triggers, row.nr, dur, file) else {
            return;
        };
        let who = Who {
            pid: row.pid,
            tid: row.tid,
        };
        let at_ns = row.ts.saturating_add(dur);
        self.fire(trigger, who, known, at_ns, Some(dur), || {
            calls::describe(row.nr, dur, file)
        });
    }

    /// Takes in bytes that crossed a file.
    #[inline]
    pub(crate) fn payload(&mut self, row: &Payload, known: &impl Known) {
        let Some(answers) = &mut self.answers else {
            return;
        };
        if row.data.is_empty() {
            return;
        }
        let bytes = Bytes {
            file: row.file,
            is_plaintext: row.tls != Tls::No,
            pid: row.pid,
            tid: row.tid,
            direction: row.direction,
            from_ns: row.ts,
            until_ns: row.ts.saturating_add(row.dur),
            data: &row.data,
        };
        let Some(answered) = answers.take(&bytes, || known.file(row.file)) else {
            return;
        };
        let is_met = |trigger: &Trigger| is_answer_meant(&trigger.condition, &answered);
        if let Some(trigger) = self.triggers.iter().position(is_met) {
            let who = Who {
                pid: row.pid,
                tid: row.tid,
            };
            let latency_ns = answered.latency_ns();
            self.fire(
                trigger,
                who,
                known,
                answered.at_ns,
                Some(latency_ns),
                || describe_answer(&answered),
            );
        }
    }

    /// A file was closed.
    pub(crate) fn close(&mut self, file: u32) {
        if let Some(answers) = &mut self.answers {
            answers.close(file);
        }
    }

    /// A process of the target ended so, as `wait(2)` reports.
    pub(crate) fn exit(&mut self, pid: u32, ts: i64, status: i32, known: &impl Known) {
        let number = status & SIGNAL_MASK;
        let found = self.triggers.iter().enumerate().find_map(|(at, trigger)| {
            let Condition::Crash { signals } = &trigger.condition else {
                return None;
            };
            let signal = signals.iter().find(|signal| signal.number == number)?;
            Some((at, signal.name))
        });
        if let Some((trigger, name)) = found {
            let who = Who { pid, tid: pid };
            self.fire(trigger, who, known, ts, None, || {
                format!("killed by {name}")
            });
        }
    }

    /// Looks for requests that have waited too long, now and then.
    pub(crate) fn scan(&mut self, now_ns: i64, known: &impl Known) {
        let is_due = |scan_ns: i64| now_ns - self.scanned_ns >= scan_ns;
        if !self.scan_ns.is_some_and(is_due) {
            return;
        }
        self.scanned_ns = now_ns;
        for at in 0..self.triggers.len() {
            let (Some(trigger), Some(answers)) = (self.triggers.get(at), &mut self.answers) else {
                continue;
            };
            let Condition::NoAnswer {
                protocols,
                after_ns,
            } = &trigger.condition
            else {
                continue;
            };
            let is_meant =
                |request: &Request| protocols.is_empty() || protocols.contains(&request.protocol);
            let (oldest, others) = answers.overdue(now_ns - after_ns, is_meant);
            self.more += others;
            if let Some(request) = oldest {
                let who = Who {
                    pid: request.pid,
                    tid: request.tid,
                };
                let waited_ns = now_ns - request.at_ns;
                self.fire(at, who, known, now_ns, Some(waited_ns), || {
                    format!(
                        "{} has no answer after {}",
                        request.describe(),
                        time(waited_ns)
                    )
                });
            }
        }
    }

    fn fire(
        &mut self,
        trigger: usize,
        who: Who,
        known: &impl Known,
        at_ns: i64,
        latency_ns: Option<i64>,
        event: impl FnOnce() -> String,
    ) {
        if self.is_muted || self.fired.is_some() {
            self.more += 1;
            return;
        }
        let trigger = self.triggers.get(trigger);
        self.fired = Some(Fired {
            dump: Dump {
                trigger: trigger.map(Trigger::to_string).unwrap_or_default(),
                ts: at_ns,
                pid: Some(who.pid),
                tid: Some(who.tid),
                comm: known.name(who.tid).unwrap_or_default().to_owned(),
                event: event(),
                latency_ns,
                suppressed: 0,
            },
        });
    }
}

fn is_answer_meant(condition: &Condition, answered: &Answered) -> bool {
    let Condition::Answer {
        protocol,
        statuses,
        slower_ns,
    } = condition
    else {
        return false;
    };
    let answer = &answered.answer;
    let is_status = |status: &Status| match status {
        Status::Error => answer.is_error,
        Status::Code(code) => answer.code == Some(*code),
        Status::Class(class) => answer.code.is_some_and(|code| code / 100 == *class),
    };
    protocol.is_none_or(|protocol| protocol == answered.request.protocol)
        && (statuses.is_empty() || statuses.iter().any(is_status))
        && slower_ns.is_none_or(|slower_ns| answered.latency_ns() > slower_ns)
}

fn describe_answer(answered: &Answered) -> String {
    let latency = time(answered.latency_ns());
    let request = answered.request.describe();
    match answered.answer.text.as_str() {
        "" => format!("{request} was answered after {latency}"),
        text => format!("{request} was answered with {text} after {latency}"),
    }
}

/// Nanoseconds, for people.
fn time(ns: i64) -> String {
    let ns = ns as f64;
    match ns {
        ..1e6 => format!("{:.1} us", ns / 1e3),
        ..1e9 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.3} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use kindling_format::{
        schema::{Direction, FileKind},
        syscalls,
    };

    use super::*;

    /// One open file, whatever its id.
    struct OneFile(File);

    impl Known for OneFile {
        fn file(&self, _: u32) -> Option<&File> {
            Some(&self.0)
        }
        fn name(&self, _: u32) -> Option<&str> {
            Some("me")
        }
    }

    fn watch(triggers: &[&str]) -> Watch {
        let triggers: Vec<_> = triggers
            .iter()
            .map(|text| Trigger::parse(text).unwrap())
            .collect();
        Watch::new(&triggers)
    }

    fn fired(watch: &mut Watch) -> Option<(String, String)> {
        let (fired, _) = watch.take_fired();
        fired.map(|Fired { dump }| (dump.trigger, dump.event))
    }

    fn call(name: &str, dur: i64) -> Syscall {
        Syscall {
            ts: 100,
            dur: Some(dur),
            nr: syscalls::named(std::env::consts::ARCH, name).unwrap().nr,
            file: Some(1),
            ..Syscall::default()
        }
    }

    #[test]
    fn slow_calls_fire_unless_they_are_meant_to_wait() {
        let mut watch = watch(&["syscall>1ms", "syscall:futex>5ms"]);
        let mut fires = |name: &str, dur: i64, kind: FileKind| {
            let path = Some("/x".into());
            let file = OneFile(File {
                kind,
                path,
                ..File::default()
            });
            watch.call(&call(name, dur), &file);
            watch.take_fired().0.map(|fired| fired.dump.event)
        };
        let event = fires("fsync", 1_500_000, FileKind::Regular);
        assert_eq!(event.as_deref(), Some("fsync of /x took 1.5 ms"));
        assert!(
            fires("fsync", 1_000_000, FileKind::Regular).is_none(),
            "not slower"
        );
        assert!(fires("read", 2_000_000, FileKind::Regular).is_some());
        assert!(fires("read", 2_000_000, FileKind::Pipe).is_none());
        assert!(fires("epoll_pwait", 2_000_000, FileKind::Epoll).is_none());
        assert!(fires("futex", 2_000_000, FileKind::Other).is_none());
        assert!(
            fires("futex", 6_000_000, FileKind::Other).is_some(),
            "it is named"
        );
    }

    #[test]
    fn crashes_fire_by_their_signal() {
        let nothing = OneFile(File::default());
        let mut watch = watch(&["crash:segv", "crash:abrt"]);
        watch.exit(1, 5, 11 | 0x80, &nothing);
        assert_eq!(
            fired(&mut watch),
            Some(("crash:segv".into(), "killed by SIGSEGV".into()))
        );
        watch.exit(1, 5, 6, &nothing);
        assert_eq!(
            fired(&mut watch),
            Some(("crash:abrt".into(), "killed by SIGABRT".into()))
        );
        watch.exit(1, 5, 15, &nothing);
        watch.exit(1, 5, 7 << 8, &nothing);
        assert_eq!(fired(&mut watch), None);
    }

    fn cross(watch: &mut Watch, ts: i64, direction: Direction, data: &[u8]) {
        let socket = File {
            kind: FileKind::Tcp,
            local_port: Some(40_000),
            remote_port: Some(80),
            ..File::default()
        };
        let row = Payload {
            ts,
            direction,
            data: data.to_vec(),
            ..Payload::default()
        };
        watch.payload(&row, &OneFile(socket));
    }

    #[test]
    fn an_answer_through_tls_is_that_of_the_plaintext() {
        let mut watch = watch(&["http:5xx"]);
        let socket = || File {
            kind: FileKind::Tcp,
            ..File::default()
        };
        // The library moves encrypted bytes within its calls: their rows come first.
        let rows = [
            (1, Direction::Out, Tls::No, &b"\x17\x03\x03\x01"[..]),
            (1, Direction::Out, Tls::Whole, b"GET /a HTTP/1.1\r\n"),
            (5, Direction::In, Tls::No, b"\x17\x03\x03\x02"),
            (5, Direction::In, Tls::Whole, b"HTTP/1.1 503 No\r\n"),
        ];
        for (ts, direction, tls, data) in rows {
            let row = Payload {
                ts,
                direction,
                tls,
                data: data.to_vec(),
                ..Payload::default()
            };
            watch.payload(&row, &OneFile(socket()));
        }
        let (trigger, what) = fired(&mut watch).unwrap();
        assert_eq!(trigger, "http:5xx");
        assert!(what.contains("GET /a") && what.contains("503"), "{what}");
    }

    #[test]
    fn answers_fire_by_status_and_latency() {
        let mut watch = watch(&["http:5xx>1us", "redis>1ms", "answer>2us"]);
        let mut answer = |latency: i64, data: &[u8]| {
            cross(&mut watch, 1000, Direction::Out, b"GET /a HTTP/1.1\r\n");
            cross(&mut watch, 1000 + latency, Direction::In, data);
            let fires = fired(&mut watch);
            watch.close(0);
            fires
        };
        assert_eq!(answer(500, b"HTTP/1.1 500 x\r\n"), None);
        assert_eq!(answer(1500, b"HTTP/1.1 200 x\r\n"), None);
        let event = "GET /a was answered with status 503 after 1.5 us";
        assert_eq!(
            answer(1500, b"HTTP/1.1 503 x\r\n"),
            Some(("http:5xx>1us".into(), event.into()))
        );
        let (trigger, _) = answer(3000, b"HTTP/1.1 200 x\r\n").unwrap();
        assert_eq!(trigger, "answer>2us");
    }

    #[test]
    fn requests_without_answer_fire_once() {
        let mut watch = watch(&["no-answer>1s"]);
        let second = 1_000_000_000;
        cross(&mut watch, 0, Direction::Out, b"GET /a HTTP/1.1\r\n");
        watch.scan(second / 2, &OneFile(File::default()));
        assert_eq!(fired(&mut watch), None);
        watch.scan(2 * second, &OneFile(File::default()));
        let event = "GET /a has no answer after 2.000 s";
        assert_eq!(
            fired(&mut watch),
            Some(("no-answer>1s".into(), event.into()))
        );
        watch.scan(4 * second, &OneFile(File::default()));
        assert_eq!(fired(&mut watch), None);
    }

    #[test]
    fn what_fires_while_it_is_muted_is_counted() {
        let nothing = OneFile(File::default());
        let mut watch = watch(&["crash"]);
        watch.exit(1, 5, 11, &nothing);
        watch.exit(2, 6, 11, &nothing);
        let (first, more) = watch.take_fired();
        assert_eq!(
            (first.map(|fired| fired.dump.pid), more),
            (Some(Some(1)), 1)
        );
        watch.mute(true);
        watch.exit(3, 7, 11, &nothing);
        assert_eq!(watch.take_fired(), (None, 1));
    }
}
