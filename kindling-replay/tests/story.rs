//! `logs` and `thread` over a capture with known content: a server that reads a request, computes, logs a
//! line in two pieces, and answers.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Segment, capture, file, json, process, run, text, thread};
use kindling_format::{schema::*, syscalls};
use serde_json::{Value, json};

const REQUEST: &str = "GET /items HTTP/1.1\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn call(name: &str, ts: i64, dur: i64, ret: i64, fd: u64, file: u32) -> Syscall {
    Syscall {
        ts,
        dur: Some(dur),
        pid: 10,
        tid: 10,
        nr: syscalls::named("x86_64", name).unwrap().nr,
        arg0: Some(fd),
        ret: Some(ret),
        file: (file > 0).then_some(file),
        ..Syscall::default()
    }
}

fn bytes(ts: i64, file: u32, direction: Direction, offset: u64, data: &str) -> Payload {
    Payload {
        ts,
        dur: 10,
        pid: 10,
        tid: 10,
        file,
        direction,
        size: data.len() as u64,
        offset,
        data: data.into(),
        ..Payload::default()
    }
}

/// An event of epoll, with a mark of the program's.
fn ready(ts: i64, arg: u8) -> Argument {
    let event = [
        &0x11u32.to_le_bytes()[..],
        &0x5555_0000_1000u64.to_le_bytes()[..],
    ];
    Argument {
        ts,
        pid: 10,
        tid: 10,
        arg,
        data: event.concat(),
        ..Argument::default()
    }
}

/// The name of the directory goes when the value is dropped.
struct Captured(String, #[allow(dead_code)] tempfile::TempDir);

/// Ten times: wait in `epoll_wait`, `read`, `write`; then one request with a line, and its answer.
fn server() -> Captured {
    let files = [
        File {
            id: 1,
            kind: FileKind::Epoll,
            open_ts: Some(1_000),
            ..File::default()
        },
        File {
            id: 2,
            kind: FileKind::Tcp,
            open_ts: Some(1_000),
            local_port: Some(80),
            local_address: Some("10.0.0.1".into()),
            remote_port: Some(5_000),
            remote_address: Some("10.0.0.2".into()),
            ..File::default()
        },
        // Bash had made it, and used it as 7.
        File {
            id: 3,
            fd: 7,
            kind: FileKind::Pipe,
            inode: Some(77),
            ..File::default()
        },
        File {
            id: 4,
            kind: FileKind::Unix,
            ..File::default()
        },
    ];
    let mut calls = Vec::new();
    let mut switches = Vec::new();
    let mut wakeups = Vec::new();
    for round in 0..10 {
        let at = 2_000 + round * 300;
        calls.push(call("epoll_wait", at, 200, 1, 5, 1));
        calls.push(call("read", at + 210, 20, 8, 6, 4));
        calls.push(call("write", at + 240, 20, 8, 6, 4));
        switches.push(Switch {
            ts: at + 20,
            prev_tid: 10,
            prev_state: 1,
            prev_syscall: Some(232),
            ..Switch::default()
        });
        wakeups.push(Wakeup {
            ts: at + 150,
            waker_tid: 99,
            wakee_tid: 10,
            ..Wakeup::default()
        });
        switches.push(Switch {
            ts: at + 180,
            next_tid: 10,
            ..Switch::default()
        });
    }
    // What ended the last wait comes in another segment than the call.
    let mut told: Vec<Argument> = (0..10).map(|round| ready(2_000 + round * 300, 1)).collect();
    let late = told.pop().unwrap();
    calls.push(Syscall {
        tid: 99,
        arg1: Some(1),
        arg2: Some(6),
        ..call("epoll_ctl", 1_990, 5, 0, 5, 1)
    });
    told.push(Argument {
        tid: 99,
        ..ready(1_990, 3)
    });
    calls.extend([
        call("read", 6_000, 10, REQUEST.len() as i64, 8, 2),
        call("write", 7_000, 10, 30, 2, 3),
        call("write", 7_100, 10, 8, 2, 3),
        call("write", 8_000, 10, RESPONSE.len() as i64, 8, 2),
        call("write", 9_000, 10, 5, 1, 3),
    ]);
    let payloads = [
        bytes(6_000, 2, Direction::In, 0, REQUEST),
        bytes(
            7_000,
            3,
            Direction::Out,
            0,
            "2026-01-31 12:00:00,5 ERROR no",
        ),
        bytes(7_100, 3, Direction::Out, 30, " items\r\n"),
        bytes(8_000, 2, Direction::Out, 0, RESPONSE),
        bytes(9_000, 3, Direction::Out, 38, "done\n"),
    ];
    let segment = Segment::default()
        .with([process(10, 10, "app")], ProcessColumns::push)
        .with(
            [thread(10, 10, "app"), thread(99, 10, "kick")],
            ThreadColumns::push,
        )
        .with(
            files.map(|file| File {
                ts: 1_000,
                pid: 10,
                ..file
            }),
            FileColumns::push,
        )
        .with(calls, SyscallColumns::push)
        .with(told, ArgumentColumns::push)
        .with(payloads, PayloadColumns::push)
        .with(switches, SwitchColumns::push)
        .with(wakeups, WakeupColumns::push);
    let dir = tempfile::tempdir().unwrap();
    let behind = Segment::default().with([late], ArgumentColumns::push);
    let path = file(dir.path(), &capture(vec![segment, behind]));
    Captured(path.to_str().unwrap().to_owned(), dir)
}

#[test]
fn lines_have_their_thread_request_and_time() {
    let capture = server();
    let report = json(&["logs", &capture.0]);
    let expect = json!([
        {
            "ts_ns": 6_000, "pid": 10, "tid": 10, "comm": "app", "file": "stderr (pipe 77)",
            "own_time": "2026-01-31T12:00:00.5", "request": "r1", "requests_in_hand": 1,
            "line": "2026-01-31 12:00:00,5 ERROR no items", "truncated": false
        },
        {
            "ts_ns": 8_000, "pid": 10, "tid": 10, "comm": "app", "file": "stdout (pipe 77)",
            "own_time": null, "request": null, "requests_in_hand": 0,
            "line": "done", "truncated": false
        }
    ]);
    assert_eq!(report["logs"]["rows"], expect);
    let only = |condition: &str| {
        json(&["logs", &capture.0, "--where", condition])["logs"]["total"].clone()
    };
    assert_eq!(
        only("payload.data contains \"no items\""),
        1,
        "a line is whole"
    );
    assert_eq!(only("payload.data matches \"^done$\""), 1);
    assert_eq!(only("payload.size > 1KiB"), 0);
}

#[test]
fn a_thread_tells_its_story() {
    let capture = server();
    let report = json(&["thread", &capture.0, "10"]);
    let story = &report["thread"];
    assert_eq!(story["thread"]["lifetime_ns"], 10_000);
    assert_eq!((&story["served"], &story["asked"]), (&json!(1), &json!(0)));
    let wait = &story["waits"]["rows"][0];
    let expect = json!({
        "reason": "poll", "syscall": "epoll_wait", "file": "epoll",
        "ended": "woken", "waker": "kick/99", "descriptors": 1,
        "ready": {"fd": 6, "file": "unix", "events": ["in", "hup"], "certain": true, "others": 0},
        "count": 10, "total_ns": 1_300, "max_ns": 130
    });
    assert_eq!(wait, &expect);
    let steps = story["steps"]["rows"].as_array().unwrap();
    // The loop is one step, from what came before its first call on.
    let round = steps.iter().find(|step| step["times"] == 10).unwrap();
    assert_eq!(
        (&round["start_ns"], &round["length_ns"]),
        (&json!(0), &json!(3_960))
    );
    let all = round["parts"].as_array().unwrap();
    let epoll = all
        .iter()
        .find(|part| part["what"] == "epoll_wait epoll")
        .unwrap();
    assert_eq!(
        (&epoll["calls"], &epoll["total_ns"]),
        (&json!(10), &json!(2_000))
    );
    assert_eq!(
        (&epoll["blocked_ns"], &epoll["blocked_by"]),
        (&json!(1_300), &json!("poll"))
    );
    assert_eq!(
        (&epoll["runnable_ns"], &epoll["running_ns"]),
        (&json!(300), &json!(400))
    );
    assert_eq!(epoll["waker"], "kick/99");
    // The request, the line, the answer.
    let all: Vec<&Value> = steps
        .iter()
        .flat_map(|step| step["parts"].as_array().unwrap())
        .collect();
    let serves = all.iter().find(|part| part["serves"] == 1).unwrap();
    assert_eq!(serves["request"], "r1: http GET /items");
    assert_eq!(serves["what"], "read tcp 10.0.0.1:80->10.0.0.2:5000");
    let line = all.iter().find(|part| !part["line"].is_null()).unwrap();
    assert_eq!(line["line"], "2026-01-31 12:00:00,5 ERROR no items");
    // What it did between the calls is told too: nothing is missing from its time.
    let total: i64 = all
        .iter()
        .map(|part| part["total_ns"].as_i64().unwrap())
        .sum();
    assert!((9_000..=10_000).contains(&total), "{total}");
}

#[test]
fn a_story_is_looked_at_closely() {
    let capture = server();
    let path = capture.0.as_str();
    let shown = text(&["thread", path, "10", "--from", "5us", "--to", "7500ns"]);
    for word in [
        "serves r1: http GET /items",
        "ERROR no items",
        "(between calls)",
    ] {
        assert!(shown.contains(word), "{word}\n{shown}");
    }
    assert!(!shown.contains("done"), "{shown}");
    let writes = json(&[
        "thread",
        path,
        "10",
        "--where",
        "syscall.name == write and file.kind == pipe",
    ]);
    let steps = writes["thread"]["steps"]["rows"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!(
        (
            &steps[0]["parts"][0]["calls"],
            &steps[0]["parts"][0]["bytes"]
        ),
        (&json!(3), &json!(43))
    );
    let missing = run(&["thread", path, "77"], 1);
    let stderr = String::from_utf8(missing.stderr).unwrap();
    assert!(stderr.contains("no recorded thread 77"), "{stderr}");
}

#[test]
fn waits_are_found_by_the_descriptor_that_ended_them() {
    let capture = server();
    let count = |condition: &str| {
        let args = [
            "flame", &capture.0, "--kind", "off-cpu", "--where", condition,
        ];
        json(&args)["flame"]["count"].clone()
    };
    assert_eq!(count("wait.fd == 6"), 10);
    assert_eq!(count("wait.fd == 7"), 0);
    assert_eq!(count("wait.fd == 6 and wait.ended == timed_out"), 0);
}
