//! `files`, `processes` and `syscalls` over captures with known content.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Segment, capture, file, json, process, text, thread};
use kindling_format::{schema::*, syscalls};
use serde_json::{Value, json};

fn call(name: &str, ts: i64, dur: Option<i64>, ret: i64, file: Option<u32>) -> Syscall {
    Syscall {
        ts,
        dur,
        pid: 10,
        tid: 10,
        nr: syscalls::named("x86_64", name).unwrap().nr,
        ret: dur.map(|_| ret),
        file,
        ..Syscall::default()
    }
}

fn path(ts: i64, path: &str) -> Argument {
    Argument {
        ts,
        pid: 10,
        tid: 10,
        arg: 1,
        data: path.into(),
        ..Argument::default()
    }
}

fn open_file(id: u32, kind: FileKind, path: Option<&str>) -> File {
    File {
        id,
        ts: 1_000,
        pid: 10,
        kind,
        path: path.map(str::to_owned),
        ..File::default()
    }
}

/// The name of the directory goes when the value is dropped.
struct Captured(String, #[allow(dead_code)] tempfile::TempDir);

fn captured(segments: Vec<Segment>) -> Captured {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(segments));
    Captured(path.to_str().unwrap().to_owned(), dir)
}

/// Two open files of one path, a connection, an open that failed, and one that returned a segment later
/// than its path was written.
fn files() -> Captured {
    let first = Segment::default()
        .with([process(10, 10, "app")], ProcessColumns::push)
        .with([thread(10, 10, "app")], ThreadColumns::push)
        .with(
            [
                open_file(1, FileKind::Regular, Some("/data")),
                open_file(2, FileKind::Regular, Some("/data")),
                open_file(3, FileKind::Tcp, None),
            ],
            FileColumns::push,
        )
        .with(
            [
                call("openat", 2_000, Some(10), 5, Some(1)),
                call("read", 2_100, Some(100), 512, Some(1)),
                call("pread64", 2_300, Some(300), 1_024, Some(2)),
                call("read", 2_700, Some(1), -5, Some(2)),
                call("write", 2_800, Some(50), 7, Some(3)),
                call("recvfrom", 2_900, None, 0, Some(3)),
                call("openat", 3_000, Some(9), -2, None),
                call("getpid", 3_100, Some(1), 10, None),
            ],
            SyscallColumns::push,
        )
        .with(
            [
                path(2_000, "/data"),
                path(3_000, "/missing"),
                path(3_500, "/late"),
            ],
            ArgumentColumns::push,
        );
    let second = Segment::default().with(
        [call("openat", 3_500, Some(4_000), -13, None)],
        SyscallColumns::push,
    );
    captured(vec![first, second])
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rows = report["files"]["rows"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap()
}

#[test]
fn files_are_counted_by_path() {
    let capture = files();
    let report = json(&["files", &capture.0]);
    assert_eq!(report["files"]["total"], 4);
    let data = row(&report, "/data");
    let read = json!({"bytes": 1_536, "calls": 3, "total_ns": 401, "p50_ns": 100, "p99_ns": 300, "max_ns": 300});
    assert_eq!(data["read"], read);
    assert_eq!(
        (&data["files"], &data["calls"], &data["kind"]),
        (&json!(2), &json!(4), &json!("regular"))
    );
    assert_eq!(
        (&data["errors"], &data["errors_by"]),
        (&json!(1), &json!({"EIO": 1}))
    );
    assert_eq!(data["other"]["calls"], 1);
    let tcp = row(&report, "tcp");
    assert_eq!(
        (&tcp["write"]["bytes"], &tcp["read"]["calls"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(
        tcp["read"]["total_ns"], 0,
        "a call that never returned has no time"
    );
    // Nothing was opened there, so there is no kind.
    assert_eq!(row(&report, "/missing")["errors_by"], json!({"ENOENT": 1}));
    assert_eq!(row(&report, "/missing")["kind"], Value::Null);
    assert_eq!(row(&report, "/late")["errors_by"], json!({"EACCES": 1}));
    assert_eq!(
        report["files"]["rows"][0]["name"], "/late",
        "the most time first"
    );
}

#[test]
fn files_are_sorted_and_grouped_as_asked() {
    let capture = files();
    let first = |args: &[&str]| {
        let mut all = vec!["files", &capture.0];
        all.extend(args);
        json(&all)["files"]["rows"][0]["name"].clone()
    };
    assert_eq!(first(&["--sort", "bytes"]), "/data");
    assert_eq!(first(&["--sort", "calls"]), "/data");
    assert_eq!(first(&["--sort", "max"]), "/late");
    assert_eq!(first(&["--by", "kind", "--sort", "bytes"]), "regular");
    assert_eq!(first(&["--by", "file", "--sort", "bytes"]), "/data #2");
    assert_eq!(first(&["--where", "errno == EIO"]), "/data");
    assert_eq!(first(&["--where", "errno == ENOENT"]), "/missing");
    let shown = text(&["files", &capture.0, "--top", "1"]);
    assert!(shown.contains("4 rows, 3 of them not shown"), "{shown}");
}

#[test]
fn processes_are_a_tree() {
    let of = |pid, ppid, start_ts, status: Option<i32>| Process {
        ppid,
        exit_ts: status.map(|_| start_ts + 5_000),
        exit_status: status,
        ..process(pid, start_ts, &format!("p{pid}"))
    };
    let thread_of = |tid, pid, start_ts| Thread {
        pid,
        ..thread(tid, start_ts, "t")
    };
    let switch = |ts, prev_tid, next_tid| Switch {
        ts,
        prev_tid,
        next_tid,
        ..Switch::default()
    };
    let segment = Segment::default()
        .with(
            [
                of(10, 1, 10, None),
                of(20, 10, 2_000, Some(7 << 8)),
                of(30, 10, 3_000, Some(9)),
                of(40, 20, 2_500, Some(0)),
                // Their own ancestors, as only a damaged capture has them.
                of(50, 60, 20, None),
                of(60, 50, 20, None),
                Process {
                    target: false,
                    ..of(70, 1, 20, None)
                },
            ],
            ProcessColumns::push,
        )
        .with(
            [
                thread_of(10, 10, 10),
                thread_of(11, 10, 4_000),
                thread_of(20, 20, 2_000),
                thread_of(30, 30, 3_000),
                thread_of(40, 40, 2_500),
                thread_of(50, 50, 20),
                thread_of(60, 60, 20),
            ],
            ThreadColumns::push,
        )
        .with(
            [switch(5_000, 0, 10), switch(5_700, 10, 0)],
            SwitchColumns::push,
        );
    let capture = captured(vec![segment]);
    let report = json(&["processes", &capture.0]);
    let rows = report["processes"]["rows"].as_array().unwrap();
    let places: Vec<(u64, u64)> = rows
        .iter()
        .map(|row| (row["pid"].as_u64().unwrap(), row["depth"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        places,
        [(10, 0), (20, 1), (40, 2), (30, 1), (50, 0), (60, 1)]
    );
    assert_eq!(
        (&rows[0]["threads"], &rows[0]["running_ns"]),
        (&json!(2), &json!(700))
    );
    assert_eq!(
        (&rows[1]["exit_code"], &rows[1]["exit_signal"]),
        (&json!(7), &Value::Null)
    );
    assert_eq!(
        (&rows[3]["exit_code"], &rows[3]["exit_signal"]),
        (&Value::Null, &json!(9))
    );
    let shown = text(&["processes", &capture.0, "--pid", "10,20,30,40"]);
    let words: Vec<&str> = shown.split_whitespace().collect();
    let has = |line: &str| {
        let line: Vec<&str> = line.split_whitespace().collect();
        words.windows(line.len()).any(|window| window == line)
    };
    for line in [
        "runs /bin/p10 -x",
        "exit 7 ├ /bin/p20 -x",
        "exit 0 │ └ /bin/p40 -x",
        "killed by SIGKILL └ /bin/p30 -x",
    ] {
        assert!(has(line), "{line}\n{shown}");
    }
}

#[test]
fn latencies_are_shown_by_powers_of_two() {
    let calls = [1, 1_000, 1_100, 5_000].map(|dur| call("read", 2_000 + dur, Some(dur), 1, None));
    let failed = [-11, -11, -4].map(|ret| call("read", 9_000 + ret, Some(0), ret, None));
    let segment = Segment::default()
        .with([process(10, 10, "app")], ProcessColumns::push)
        .with([thread(10, 10, "app")], ThreadColumns::push)
        .with(calls.into_iter().chain(failed), SyscallColumns::push);
    let capture = captured(vec![segment]);
    let report = json(&["syscalls", &capture.0]);
    let row = &report["syscalls"]["rows"][0];
    let buckets = json!([
        {"least_ns": 0, "calls": 3},
        {"least_ns": 1, "calls": 1},
        {"least_ns": 512, "calls": 1},
        {"least_ns": 1_024, "calls": 1},
        {"least_ns": 4_096, "calls": 1}
    ]);
    assert_eq!(row["histogram"], buckets);
    assert_eq!(row["errors_by"], json!({"EAGAIN": 2, "EINTR": 1}));
    assert_eq!(row["max_ns"], 5_000);
    let plain = text(&["syscalls", &capture.0]);
    assert!(
        plain.contains("2 EAGAIN, 1 EINTR") && !plain.contains('█'),
        "{plain}"
    );
    let shown = text(&["syscalls", &capture.0, "--histogram"]);
    assert_eq!(
        shown.lines().filter(|line| line.contains('█')).count(),
        5,
        "{shown}"
    );
}
