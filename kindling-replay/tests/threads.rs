//! Thread timelines over captures with known content.
//!
//! ```text
//! ns       1000      2000   3000      5000 6000      8000        11000
//! main/10  │ running        │ read of tcp   │▒│ running           │
//! work/11            │▒ running │ futex, returns never             │
//! ```

mod common;

use common::{Segment, capture, file, json, process, run, text, thread};
use kindling_format::schema::*;

fn switch(ts: i64, cpu: u16, prev: (u32, u32, Option<u16>), next_tid: u32) -> Switch {
    Switch {
        ts,
        cpu,
        prev_tid: prev.0,
        prev_state: prev.1,
        prev_syscall: prev.2,
        next_tid,
        ..Switch::default()
    }
}

fn tcp_read(dur: Option<i64>) -> Syscall {
    Syscall {
        ts: 2_900,
        dur,
        pid: 10,
        tid: 10,
        nr: 0,
        arg0: Some(7),
        ret: Some(5),
        file: Some(1),
        ..Syscall::default()
    }
}

fn first_segment() -> Segment {
    let tcp = File {
        id: 1,
        ts: 1_000,
        pid: 10,
        kind: FileKind::Tcp,
        ..File::default()
    };
    Segment::default()
        .with([process(10, 10, "main")], ProcessColumns::push)
        .with(
            [thread(10, 10, "main"), thread(11, 2_000, "work")],
            ThreadColumns::push,
        )
        .with([tcp], FileColumns::push)
        .with(
            [
                switch(3_000, 0, (10, 1, Some(0)), 0),
                switch(2_100, 1, (0, 0, None), 11),
                switch(4_000, 1, (11, 1, Some(202)), 0),
            ],
            SwitchColumns::push,
        )
        .with(
            [Wakeup {
                ts: 2_000,
                wakee_tid: 11,
                waker_tid: 10,
                new: true,
                ..Wakeup::default()
            }],
            WakeupColumns::push,
        )
}

fn second_segment() -> Segment {
    let futex = Syscall {
        ts: 3_900,
        pid: 10,
        tid: 11,
        nr: 202,
        arg0: Some(0xbeef),
        ..Syscall::default()
    };
    Segment::default()
        .with([tcp_read(Some(3_200)), futex], SyscallColumns::push)
        .with([switch(6_000, 0, (0, 0, None), 10)], SwitchColumns::push)
        .with(
            [Wakeup {
                ts: 5_000,
                wakee_tid: 10,
                irq: true,
                ..Wakeup::default()
            }],
            WakeupColumns::push,
        )
}

#[test]
fn every_nanosecond_of_a_thread_has_one_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        &capture(vec![first_segment(), second_segment()]),
    );
    let report = json(&["threads", path.to_str().unwrap()]);
    let rows = &report["threads"]["rows"];
    assert_eq!(report["threads"]["total"], 2);
    let expect = |row: &serde_json::Value, wanted: &[(&str, i64)]| {
        for (key, ns) in wanted {
            assert_eq!(row[key], *ns, "{key} of {row:#}");
        }
    };
    let main = [
        ("tid", 10),
        ("lifetime_ns", 10_000),
        ("running_ns", 7_000),
        ("runnable_ns", 1_000),
        ("blocked_ns", 2_000),
        ("unknown_ns", 0),
        ("switches", 1),
    ];
    expect(&rows[0], &main);
    assert_eq!(rows[0]["blocked_by_ns"]["network"], 2_000);
    let work = [
        ("tid", 11),
        ("start_ns", 1_000),
        ("lifetime_ns", 9_000),
        ("running_ns", 1_900),
        ("runnable_ns", 100),
        ("blocked_ns", 7_000),
        ("switches", 1),
    ];
    expect(&rows[1], &work);
    assert_eq!(rows[1]["blocked_by_ns"]["lock"], 7_000);
    assert_eq!(rows[1]["blocked_by_ns"].as_object().unwrap().len(), 10);
    assert_eq!(report["completeness"]["lost"], 0);
    assert_eq!(report["completeness"]["finished"], true);
}

#[test]
fn a_window_is_a_part_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        &capture(vec![first_segment(), second_segment()]),
    );
    let path = path.to_str().unwrap();
    let sum = |from: &str, to: &str, key: &str| {
        let report = json(&["threads", path, "--from", from, "--to", to, "--tid", "10"]);
        let row = &report["threads"]["rows"][0];
        (
            row[key].as_i64().unwrap(),
            row["blocked_by_ns"]["network"].as_i64().unwrap(),
        )
    };
    assert_eq!(sum("0", "2500ns", "running_ns"), (2_000, 500));
    assert_eq!(sum("2500ns", "4500ns", "runnable_ns"), (500, 1_500));
    assert_eq!(sum("4500ns", "10us", "running_ns"), (5_000, 0));
    let nobody = run(&["threads", path, "--tid", "99"], 0);
    let stderr = String::from_utf8(nobody.stderr).unwrap();
    assert!(stderr.contains("no thread that fits --tid 99"), "{stderr}");
    run(&["threads", path, "--from", "2s", "--to", "1s"], 2);
}

#[test]
fn without_the_row_of_a_call_its_number_decides() {
    let dir = tempfile::tempdir().unwrap();
    let late = Syscall {
        ts: 7_000,
        dur: Some(1),
        ..tcp_read(None)
    };
    let second = Segment::default()
        .with([late], SyscallColumns::push)
        .with([switch(6_000, 0, (0, 0, None), 10)], SwitchColumns::push);
    let path = file(dir.path(), &capture(vec![first_segment(), second]));
    let report = json(&["threads", path.to_str().unwrap(), "--tid", "10"]);
    assert_eq!(
        report["threads"]["rows"][0]["blocked_by_ns"]["other"],
        3_000
    );
}

#[test]
fn the_answer_depends_on_neither_jobs_nor_index() {
    let dir = tempfile::tempdir().unwrap();
    let whole = capture(vec![first_segment(), second_segment()]);
    let path = file(dir.path(), &whole);
    let path = path.to_str().unwrap();
    for format in ["text", "json", "svg"] {
        let one = text(&["threads", path, "--format", format, "--jobs", "1"]);
        let many = text(&["threads", path, "--format", format, "--jobs", "8"]);
        assert_eq!(one, many);
        assert!(one.contains("work"), "{one}");
    }
    let with_index = json(&["threads", path, "--to", "4us"]);
    std::fs::write(path, &whole[..whole.len() - 22]).unwrap();
    let without = run(&["threads", path, "--to", "4us", "--format", "json"], 3).stdout;
    let without: serde_json::Value = serde_json::from_slice(&without).unwrap();
    assert_eq!(without["threads"], with_index["threads"]);
}

/// 3,000 threads in 300 processes: those of process n ran 1,000 - n ns each, one after another.
#[test]
fn thousands_of_threads_make_one_picture() {
    let tid = |process: u32, thread: u32| 1_000 + process * 10 + thread;
    let (mut processes, mut threads, mut switches) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..300 {
        processes.push(process(tid(n, 0), 10, &format!("p{n}")));
        for m in 0..10 {
            threads.push(Thread {
                pid: tid(n, 0),
                ..thread(tid(n, m), 10, "worker")
            });
            let cpu = u16::try_from(n).unwrap();
            let at = 1_000 + i64::from(m) * 1_000;
            switches.push(switch(at, cpu, (0, 0, None), tid(n, m)));
            switches.push(switch(
                at + 1_000 - i64::from(n),
                cpu,
                (tid(n, m), 1, None),
                0,
            ));
        }
    }
    let segment = Segment::default()
        .with(processes, ProcessColumns::push)
        .with(threads, ThreadColumns::push)
        .with(switches, SwitchColumns::push);
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(vec![segment]));
    let path = path.to_str().unwrap();
    let svg = text(&["threads", path, "--format", "svg"]);
    assert_eq!(
        svg,
        text(&["threads", path, "--format", "svg", "--jobs", "1"])
    );
    // 200 threads of 20 processes by themselves; 60 processes with a lane for their ten threads; one lane
    // for the 220 others.
    assert_eq!(svg.matches("<g><title>").count(), 200 + 60 + 1);
    assert_eq!(
        svg.matches(">10 threads <").count(),
        60,
        "the lanes' labels"
    );
    assert!(svg.contains(">220 more processes<") && svg.contains(">2200 threads <"));
    assert!(svg.contains("2800 threads that ran less are drawn together"));
    assert!(svg.len() < 2 << 20, "{} bytes", svg.len());
    // Nothing is left out: the shared lanes have the time of all their threads.
    assert!(
        svg.contains("2200 threads together: 22.0 ms"),
        "10 us for each"
    );
    let two = text(&["threads", path, "--format", "svg", "--top", "2"]);
    assert!(
        two.contains(">8 threads <") && two.contains("2998 threads that ran less"),
        "{two}"
    );
}
