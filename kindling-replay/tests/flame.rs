//! Flame graphs over a capture with known stacks.

mod common;

use common::{Segment, capture, file, json, process, run, text, thread};
use kindling_format::schema::*;

fn segment() -> Segment {
    let symbol = |id, name: &str| Symbol {
        id,
        name: name.into(),
        ..Symbol::default()
    };
    let frame = |id, module: &str, symbol| Frame {
        id,
        module: module.into(),
        symbol,
        offset: 0x40,
        ..Frame::default()
    };
    let sample = |ts, stack| Sample {
        ts,
        pid: 10,
        tid: 10,
        period_ns: 100,
        stack,
        ..Sample::default()
    };
    let switch = |ts, prev_tid, next_tid, stack| Switch {
        ts,
        prev_tid,
        prev_state: 1,
        prev_syscall: (prev_tid != 0).then_some(0),
        next_tid,
        stack,
        ..Switch::default()
    };
    Segment::default()
        .with([process(10, 10, "app")], ProcessColumns::push)
        .with([thread(10, 10, "app")], ThreadColumns::push)
        .with(
            [
                symbol(1, "main"),
                symbol(2, "work;er"),
                symbol(3, "schedule"),
            ],
            SymbolColumns::push,
        )
        .with(
            [
                frame(1, "/bin/app", Some(1)),
                frame(2, "/bin/app", Some(2)),
                frame(3, "[kernel]", Some(3)),
                frame(4, "/lib/libx.so", None),
            ],
            FrameColumns::push,
        )
        .with(
            [
                Stack {
                    id: 1,
                    frames: vec![2, 1],
                },
                Stack {
                    id: 2,
                    frames: vec![3, 4, 1],
                },
            ],
            StackColumns::push,
        )
        .with(
            [
                sample(1_500, Some(1)),
                sample(1_600, Some(1)),
                sample(1_700, None),
            ],
            SampleColumns::push,
        )
        .with(
            [
                switch(3_000, 10, 0, Some(2)),
                switch(5_000, 0, 10, None),
                switch(6_000, 10, 0, None),
            ],
            SwitchColumns::push,
        )
        .with(
            [Wakeup {
                ts: 4_500,
                wakee_tid: 10,
                waker_tid: 10,
                ..Wakeup::default()
            }],
            WakeupColumns::push,
        )
}

#[test]
fn stacks_are_folded() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(vec![segment()]));
    let path = path.to_str().unwrap();
    let folded = |kind: &str| text(&["flame", path, "--kind", kind, "--format", "folded"]);
    assert_eq!(
        folded("on-cpu"),
        "app;[no stack] 100\napp;main;work:er 200\n"
    );
    assert_eq!(
        folded("off-cpu"),
        "app;[read] 5000\napp;main;[libx.so+0x40];schedule_[k] 1500\n"
    );
    let wakers = "app;[read];[not woken] 5000\napp;main;[libx.so+0x40];schedule_[k];app_[w] 1500\n";
    assert_eq!(folded("wakers"), wakers);
    assert_eq!(
        text(&["flame", path, "--off-cpu", "--format", "folded"]),
        folded("off-cpu")
    );
}

#[test]
fn the_graph_is_drawn_and_the_functions_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(vec![segment()]));
    let path = path.to_str().unwrap();
    let svg = text(&["flame", path]);
    assert!(svg.contains("<svg") && svg.contains("work:er") && svg.trim_end().ends_with("</svg>"));
    let report = json(&["flame", path]);
    assert_eq!(
        (&report["flame"]["total_ns"], &report["flame"]["count"]),
        (&300.into(), &3.into())
    );
    let functions = report["flame"]["functions"]["rows"].as_array().unwrap();
    let own: i64 = functions
        .iter()
        .map(|row| row["self_ns"].as_i64().unwrap())
        .sum();
    assert_eq!(own, 300);
    let nothing = run(&["flame", path, "--from", "9us"], 1);
    let stderr = String::from_utf8(nothing.stderr).unwrap();
    assert!(stderr.contains("no stack samples"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
