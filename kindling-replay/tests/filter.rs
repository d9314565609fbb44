//! `--where` over a capture with known content: what each command shows, and what it reads.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeSet, path::Path};

use common::{Segment, capture, file, json, process, replay, run, text, thread};
use kindling_format::schema::*;
use serde_json::Value;

/// Threads `app/10` and `worker/11` of process 10, and `db/20` of process 20, in two containers.
fn names() -> Segment {
    let thread_of = |tid, pid, comm| Thread {
        pid,
        ..thread(tid, 10, comm)
    };
    let of_container = |pid, comm, container: &str| Process {
        container: Some(container.into()),
        ..process(pid, 10, comm)
    };
    let tcp = File {
        id: 4,
        ts: 1_000,
        pid: 20,
        kind: FileKind::Tcp,
        local_address: Some("10.0.0.1".into()),
        local_port: Some(5432),
        remote_address: Some("10.0.0.2".into()),
        remote_port: Some(40_000),
        ..File::default()
    };
    Segment::default()
        .with(
            [
                of_container(10, "app", "aaa"),
                of_container(20, "db", "bbb"),
            ],
            ProcessColumns::push,
        )
        .with(
            [
                thread_of(10, 10, "app"),
                thread_of(11, 10, "worker"),
                thread_of(20, 20, "db"),
            ],
            ThreadColumns::push,
        )
        .with([tcp], FileColumns::push)
}

fn call(ts: i64, tid: u32, dur: i64, ret: i64) -> Syscall {
    Syscall {
        ts,
        tid,
        pid: if tid == 20 { 20 } else { 10 },
        dur: Some(dur),
        nr: 0,
        ret: Some(ret),
        file: (tid == 20).then_some(4),
        ..Syscall::default()
    }
}

/// Nine segments of 1,000 ns with calls: of process 10 in the odd ones, of 20 in the even ones. Only
/// one call takes 500 ns and only one fails.
fn nine() -> Vec<u8> {
    let mut segments = vec![names()];
    for n in 1..=9 {
        let at = 1_000 + n * 1_000;
        let calls = match n % 2 {
            1 => vec![
                call(at, 10, 10, 1),
                call(at + 100, 11, 20, if n == 5 { -28 } else { 1 }),
            ],
            _ => vec![call(at, 20, if n == 6 { 500 } else { 30 }, 1)],
        };
        let payload = Payload {
            ts: at,
            dur: 1,
            tid: 20,
            pid: 20,
            file: 4,
            direction: Direction::In,
            size: 4096,
            data: b"SELECT 1".into(),
            ..Payload::default()
        };
        let wakeup = Wakeup {
            ts: at + 200,
            waker_tid: 11,
            wakee_tid: 20,
            irq: n == 3,
            ..Wakeup::default()
        };
        let sample = Sample {
            ts: at + 300,
            tid: 10,
            pid: 10,
            cpu: u16::try_from(n % 2).unwrap(),
            period_ns: 1,
            ..Sample::default()
        };
        let segment = Segment::default().with(calls, SyscallColumns::push);
        let segment = match n {
            6 => segment.with([payload], PayloadColumns::push),
            _ => segment,
        };
        let segment = segment.with([wakeup], WakeupColumns::push);
        segments.push(segment.with([sample], SampleColumns::push));
    }
    capture(segments)
}

struct Captured {
    path: String,
    _dir: tempfile::TempDir,
}

impl Captured {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), &nine()).to_str().unwrap().to_owned();
        Self { path, _dir: dir }
    }

    fn json(&self, command: &str, condition: &str) -> Value {
        json(&[command, &self.path, "--where", condition])
    }

    fn events(&self, condition: &str) -> u64 {
        self.json("events", condition)["events"]["total"]
            .as_u64()
            .unwrap()
    }

    fn tids(&self, condition: &str) -> Vec<u64> {
        let report = self.json("threads", condition);
        let rows = report["threads"]["rows"].as_array().unwrap();
        let mut tids: Vec<u64> = rows
            .iter()
            .map(|row| row["tid"].as_u64().unwrap())
            .collect();
        tids.sort_unstable();
        tids
    }
}

#[test]
fn events_are_tested_one_by_one() {
    let capture = Captured::new();
    let cases = [
        ("syscall.name == read", 14),
        ("dur == 500ns", 1),
        ("dur > 10ns and dur < 100ns", 8),
        ("thread.comm == worker", 5),
        ("process.comm == db or errno == ENOSPC", 5),
        ("container.id == bbb and not dur == 500ns", 3),
        ("net.port == 5432", 4),
        ("net.address == 10.0.0.0/24 and net.peer.port != 40000", 0),
        ("ts < 2us", 2),
        ("ts >= 2us and ts <= 3us", 2),
        ("not (ts >= 2us and ts <= 3us)", 12),
        ("ret != 1", 1),
        // Not of syscalls: the tables that have it are shown.
        ("payload.data contains SELECT", 1),
        ("wakeup.irq", 1),
        ("event.kind == wakeup and thread.comm == db", 9),
        ("sample.mode == user and cpu == 0", 4),
        ("event.kind in (sample, payload)", 10),
    ];
    for (condition, count) in cases {
        assert_eq!(capture.events(condition), count, "{condition}");
    }
    let report = capture.json("events", "dur == 500ns");
    assert_eq!(report["selection"]["where"], "dur == 500ns");
}

#[test]
fn counts_are_those_of_the_events() {
    let capture = Captured::new();
    let calls = |condition: &str| {
        capture.json("syscalls", condition)["syscalls"]["rows"][0]["calls"].clone()
    };
    assert_eq!(calls("thread.tid in (10, 11)"), 10);
    assert_eq!(calls("errno"), 1);
    let flame = |condition: &str| capture.json("flame", condition)["flame"]["count"].clone();
    assert_eq!(flame("cpu == 1"), 5);
    assert_eq!(flame("thread.tid == 11"), 0);
}

#[test]
fn threads_are_shown_whole() {
    let capture = Captured::new();
    let cases: [(&str, &[u64]); 9] = [
        ("thread.comm == worker", &[11]),
        ("process.pid == 10", &[10, 11]),
        ("not process.pid == 10", &[20]),
        ("container.id glob b*", &[20]),
        // By their events.
        ("errno == ENOSPC", &[11]),
        ("dur == 500ns", &[20]),
        ("wakeup.irq", &[11, 20]),
        ("payload.size > 0 or sample.mode == user", &[10, 20]),
        ("process.pid == 10 and dur == 20ns", &[11]),
    ];
    for (condition, tids) in cases {
        assert_eq!(capture.tids(condition), tids, "{condition}");
    }
    let report = capture.json("threads", "errno == ENOSPC");
    assert_eq!(report["threads"]["rows"][0]["lifetime_ns"], 10_000);
    let report = capture.json("threads", "errno == ENOSPC and ts >= 5us and ts < 6us");
    assert_eq!(report["threads"]["rows"][0]["lifetime_ns"], 999);
}

#[test]
fn threads_are_found_by_what_they_waited_for() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    let truth = std::fs::read_to_string(samples.join("waits.truth.json")).unwrap();
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let path = samples.join("waits.kndl");
    let tids = |condition: &str| {
        let report = json(&["threads", path.to_str().unwrap(), "--where", condition]);
        let rows = report["threads"]["rows"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["tid"].as_u64().unwrap())
            .collect::<BTreeSet<u64>>()
    };
    let waits = truth["waits"].as_array().unwrap();
    let known: BTreeSet<u64> = waits
        .iter()
        .map(|wait| wait["tid"].as_u64().unwrap())
        .collect();
    for reason in ["timer", "poll", "lock", "pipe", "network", "child"] {
        let of_reason = waits.iter().filter(|wait| wait["reason"] == reason);
        let expected: BTreeSet<u64> = of_reason
            .map(|wait| wait["tid"].as_u64().unwrap())
            .collect();
        // Each was asked to wait for 100 ms for one thing; others that it waited for were short.
        let found = tids(&format!(
            "wait.reason == {reason} and dur > 60ms and syscall.name exists"
        ));
        let found: BTreeSet<u64> = found.intersection(&known).copied().collect();
        assert!(
            !expected.is_empty() && expected == found,
            "{reason}: {found:?}"
        );
        let either = tids(&format!("wait.reason == {reason} or wakeup.irq"));
        assert!(either.is_superset(&found) && either.is_superset(&tids("wakeup.irq")));
    }
    let idle = tids("wait.ended == timed_out and wait.reason == poll");
    assert!(idle.len() < known.len() && !idle.is_empty(), "{idle:?}");
}

#[test]
fn the_answer_is_that_of_the_options() {
    let capture = Captured::new();
    let path = capture.path.as_str();
    for command in ["events", "syscalls", "threads"] {
        let pairs = [
            (vec!["--pid", "10"], "process.pid == 10"),
            (vec!["--tid", "11,20"], "thread.tid in (11, 20)"),
            (vec!["--comm", "w*"], "thread.comm glob w*"),
            (
                vec!["--from", "2us", "--to", "4us"],
                "ts >= 2us and ts <= 4us",
            ),
        ];
        for (options, condition) in pairs {
            let mut by_option = vec![command, path];
            by_option.extend(&options);
            let by_condition = text(&[command, path, "--where", condition]);
            assert_eq!(text(&by_option), by_condition, "{command} {condition}");
        }
    }
}

/// What `--stats` says of members: read, all, skipped.
fn members(args: &[&str]) -> (u64, u64, u64) {
    let args: Vec<&str> = args.iter().copied().chain(["--stats"]).collect();
    let stderr = String::from_utf8(run(&args, 0).stderr).unwrap();
    let line = stderr
        .lines()
        .find(|line| line.starts_with("members"))
        .unwrap();
    let numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    (numbers[0], numbers[1], numbers[2])
}

#[test]
fn narrow_questions_read_few_members() {
    let capture = Captured::new();
    let path = capture.path.as_str();
    let of = |args: &[&str]| {
        let mut all = vec!["events", path];
        all.extend(args);
        members(&all)
    };
    // Names and files are always read: 3 members. The capture has 3 + 9 * 3 + 1.
    assert_eq!(of(&[]), (12, 31, 0));
    // Calls of one segment: only its member of syscalls.
    assert_eq!(of(&["--where", "ts >= 5us and ts < 5999ns"]), (4, 31, 8));
    assert_eq!(of(&["--where", "process.pid == 20"]), (7, 31, 5));
    assert_eq!(
        of(&["--where", "thread.tid == 20 and dur > 1us"]),
        (7, 31, 5)
    );
    assert_eq!(
        of(&["--where", "thread.comm == db and ts < 3us"]),
        (4, 31, 8)
    );
    assert_eq!(of(&["--pid", "20"]), (7, 31, 5));
    let either = "(process.pid == 20 and ts < 3us) or (process.pid == 10 and ts > 9us)";
    assert_eq!(of(&["--where", either]), (5, 31, 7));
    // Whole threads: samples and payloads of process 20 cannot be of thread 11, nor its calls.
    let by_event = [
        "threads",
        path,
        "--where",
        "thread.tid == 11 and dur == 20ns",
    ];
    let (read, _, skipped) = members(&by_event);
    assert!(skipped >= 4 && read < 31, "{read} read, {skipped} skipped");
    // Without an index everything is read, and the answer is the same.
    let bytes = std::fs::read(path).unwrap();
    let index = b"index.parquet";
    let at = bytes
        .windows(index.len())
        .position(|window| window == index)
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cut = file(dir.path(), &bytes[..at - 30]);
    let args = ["events", cut.to_str().unwrap(), "--where", either];
    let output = String::from_utf8(run(&args, 3).stdout).unwrap();
    assert_eq!(output, text(&["events", path, "--where", either]));
}

#[test]
fn a_condition_that_no_event_can_fulfil_is_told() {
    let capture = Captured::new();
    let complaint = |command: &str, condition: &str| {
        let output = run(&[command, &capture.path, "--where", condition], 0);
        String::from_utf8(output.stderr).unwrap()
    };
    let told = complaint("syscalls", "payload.size > 0");
    assert!(told.contains("no syscall has"), "{told}");
    assert!(complaint("threads", "event.kind == tcp").contains("no syscall or switch or"));
    assert!(complaint("events", "thread.comm == nobody").contains("no thread that fits --where"));
    assert_eq!(complaint("events", "dur > 1h"), "");
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let capture = Captured::new();
    let output = run(&["events", &capture.path, "--where", "dur > 10"], 2);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("column 7") && stderr.contains("\n        ^^"),
        "{stderr}"
    );
    let stderr = run(&["events", &capture.path, "--where", "ts > 1h"], 2).stderr;
    assert!(String::from_utf8(stderr).unwrap().contains("leave nothing"));
    // The list of fields needs no capture.
    let help = replay(&["events", "--where", "help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.contains("syscall.name") && help.contains("wait.reason"),
        "{help}"
    );
}
