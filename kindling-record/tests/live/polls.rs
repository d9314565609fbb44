//! A poll that a descriptor ended says which; one that did not wait says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use kindling_format::{
    schema::{Argument, Syscall, Watch},
    syscalls::{self, ArgKind},
};
use serde_json::Value;

use crate::support::{
    Ongoing, Program, Recording, analyzed, id, needs, number, record_until_known,
};

const ASKED: &str = "60";
const EPOLL_CTL_ADD: u64 = 1;
const POLLS: [&str; 5] = ["epoll_wait", "poll", "ppoll", "pselect6", "epoll_ctl"];

fn polls(recording: &Recording) -> &[Value] {
    recording.truth["polls"].as_array().unwrap()
}

/// The call of a case, the longest of its kind that its thread made.
fn call_of(calls: &[Syscall], poll: &Value) -> Syscall {
    let of_case =
        |row: &&Syscall| (row.tid, i64::from(row.nr)) == (id(&poll["tid"]), number(&poll["nr"]));
    let longest = calls.iter().filter(of_case).max_by_key(|row| row.dur);
    longest
        .unwrap_or_else(|| panic!("no call of {poll}"))
        .clone()
}

#[test]
fn only_polls_that_blocked_say_what_was_ready() {
    needs!("syscalls", "switches");
    let recording = Program::compile("polls").record(&[], &[ASKED]);
    recording.assert_complete();
    let arch = &recording.capture.header().host.arch;
    let name = |row: &Syscall| syscalls::find(arch, row.nr).map_or("", |spec| spec.name);
    let calls = recording.rows::<Syscall>();
    let mut told: BTreeMap<(u32, i64), Vec<Argument>> = BTreeMap::new();
    for row in recording.rows::<Argument>() {
        told.entry((row.tid, row.ts)).or_default().push(row);
    }
    // How long they were to wait is told of those that nothing ended, too.
    let calls_by_key = calls.iter().map(|row| ((row.tid, row.ts), row));
    let calls_by_key: BTreeMap<(u32, i64), &Syscall> = calls_by_key.collect();
    for (key, rows) in &mut told {
        let spec = calls_by_key
            .get(key)
            .and_then(|call| syscalls::find(arch, call.nr));
        rows.retain(|row| {
            let kind = spec.and_then(|spec| spec.args.get(usize::from(row.arg)));
            kind != Some(&ArgKind::Timespec)
        });
    }
    told.retain(|_, rows| !rows.is_empty());
    for poll in polls(&recording) {
        let call = call_of(&calls, poll);
        let rows = told
            .get(&(call.tid, call.ts))
            .map_or(&[][..], Vec::as_slice);
        let Some(ready) = poll["ready"].as_i64() else {
            assert!(rows.is_empty(), "{poll} ended by its time: {rows:?}");
            continue;
        };
        let [row] = rows else {
            panic!("{poll} has one argument of interest, not {rows:?}");
        };
        assert!(!row.truncated, "{row:?}");
        let is_set = |fd: i64| row.data[fd as usize / 8] & 1 << (fd % 8) != 0;
        match name(&call) {
            "epoll_wait" => assert_eq!(row.data.len(), if arch == "x86_64" { 12 } else { 16 }),
            "pselect6" => assert!(is_set(ready) && !is_set(ready - 2), "{row:?}"),
            _ => assert!(
                row.data
                    .chunks(8)
                    .any(|entry| entry[0] == ready as u8 && entry[6] != 0),
                "{row:?}"
            ),
        }
    }
    let ready: BTreeSet<(u32, i64)> = polls(&recording)
        .iter()
        .filter(|poll| poll["ready"].is_i64())
        .map(|poll| call_of(&calls, poll))
        .map(|call| (call.tid, call.ts))
        .collect();
    let pid = id(&recording.truth["pid"]);
    let of_program = calls
        .iter()
        .filter(|row| row.pid == pid && POLLS.contains(&name(row)));
    let (added, others): (Vec<&Syscall>, Vec<&Syscall>) =
        of_program.partition(|row| name(row) == "epoll_ctl");
    let adder = id(&recording.truth["adder"]);
    let (again, added): (Vec<&Syscall>, Vec<&Syscall>) =
        added.into_iter().partition(|row| row.tid == adder);
    let is_add = |row: &&&Syscall| row.arg1 == Some(EPOLL_CTL_ADD);
    let again: Vec<&&Syscall> = again.iter().filter(is_add).collect();
    let news = again
        .iter()
        .filter(|row| told.contains_key(&(row.tid, row.ts)));
    assert_eq!(again.len() as i64, number(&recording.truth["adds"]));
    assert_eq!(news.count() as i64, number(&recording.truth["marks"]));
    for row in added {
        assert!(
            told.contains_key(&(row.tid, row.ts)),
            "{row:?} has its event"
        );
    }
    let silent = others
        .iter()
        .filter(|row| !ready.contains(&(row.tid, row.ts)));
    let (mut count, mut blocked) = (0, 0);
    for row in silent {
        count += 1;
        blocked += usize::from(told.contains_key(&(row.tid, row.ts)));
    }
    assert!(count > number(&recording.truth["quick"]), "{count} calls");
    // Now and then even a call that need not wait does, for a lock of the kernel's.
    assert!(
        blocked < 5,
        "{blocked} of {count} calls that need not wait tell"
    );
}

/// What ended the longest poll of a case's thread, and how that wait ended.
fn end_of(recording: &Recording, poll: &Value) -> (Value, Value) {
    let story = analyzed(recording, "thread", &[&poll["tid"].to_string()]).unwrap();
    let rows = story["waits"]["rows"].as_array().unwrap();
    let waits = rows.iter().filter(|row| row["reason"] == "poll");
    let wait = waits.max_by_key(|row| number(&row["max_ns"])).unwrap();
    (wait["ready"].clone(), wait["ended"].clone())
}

fn record_known() -> Option<Recording> {
    record_until_known(&Program::compile("polls"), &[ASKED], |truth| {
        let polls = truth["polls"].as_array().unwrap().iter();
        polls.map(|poll| &poll["tid"]).collect()
    })
}

#[test]
fn the_analyzer_names_the_descriptor_that_ended_the_wait() {
    needs!("syscalls", "switches", "wakeups");
    let Some(recording) = record_known() else {
        return;
    };
    for poll in polls(&recording) {
        let (ready, ended) = end_of(&recording, poll);
        if poll["ready"].is_null() {
            assert_eq!(
                (&ready, &ended),
                (&Value::Null, &"timed_out".into()),
                "{poll}"
            );
            continue;
        }
        let events = ready["events"].as_array().unwrap();
        assert_eq!(ready["fd"], poll["ready"], "{poll}: {ready:#}");
        assert_eq!(ready["certain"], true, "{poll}: {ready:#}");
        assert_eq!(ready["others"], poll["others"], "{poll}: {ready:#}");
        assert!(events.contains(&poll["events"]), "{poll}: {ready:#}");
        let (file, kind) = (
            ready["file"].as_str().unwrap(),
            poll["kind"].as_str().unwrap(),
        );
        assert!(file.starts_with(kind), "{poll}: {ready:#}");
    }
}

#[test]
fn a_piece_knows_what_epolls_watched_before_it() {
    needs!("syscalls", "switches", "wakeups");
    let Some(recording) = record_known() else {
        return;
    };
    let of_epolls = |poll: &&Value| poll["name"].as_str().unwrap().starts_with("epoll-");
    for poll in polls(&recording).iter().filter(of_epolls) {
        let within = number(&poll["began_ns"]) + number(&recording.truth["asked_ns"]) / 2;
        let Some(piece) = recording.cut_from(within) else {
            return;
        };
        let (whole, _) = end_of(&recording, poll);
        let (ready, _) = end_of(&piece, poll);
        assert_eq!(
            (&ready["fd"], &ready["certain"]),
            (&poll["ready"], &true.into()),
            "{poll}"
        );
        assert_eq!(ready, whole, "{poll}");
    }
}

#[test]
fn what_an_epoll_watched_before_the_recording_is_known() {
    needs!("syscalls", "switches", "wakeups");
    let program = Program::compile("polls");
    let mut child = Command::new(program.path())
        .args([ASKED, "3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let numbers: Vec<i64> = line
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let [pid, epoll, ready] = numbers[..] else {
        panic!("three numbers, not {line}")
    };
    let mut recorder = Ongoing::start(&["--pid", &pid.to_string()]);
    // The capture is made when everything is attached, and the process is found a moment later.
    while recorder.is_running() && !recorder.path().exists() {
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(300));
    child.stdin.take().unwrap().write_all(b"x").unwrap();
    let recording = recorder.finish();
    assert!(child.wait().unwrap().success());
    let watches = recording.rows::<Watch>();
    let of_epoll = |row: &&Watch| (i64::from(row.pid), i64::from(row.epoll_fd)) == (pid, epoll);
    let watched: Vec<&Watch> = watches.iter().filter(of_epoll).collect();
    assert_eq!(watched.len(), 3, "{watches:?}");
    assert!(
        watched
            .iter()
            .all(|row| row.events & 1 != 0 && row.data > 1 << 20),
        "{watched:?}"
    );
    let Some(story) = analyzed(&recording, "thread", &[&pid.to_string()]) else {
        return;
    };
    let rows = story["waits"]["rows"].as_array().unwrap().iter();
    let ended: Vec<&Value> = rows
        .filter(|row| row["reason"] == "poll" && !row["ready"].is_null())
        .collect();
    assert!(!ended.is_empty(), "{story:#}");
    for wait in ended {
        let found = &wait["ready"];
        assert_eq!(
            (&found["fd"], &found["certain"]),
            (&ready.into(), &true.into()),
            "{wait:#}"
        );
    }
}
