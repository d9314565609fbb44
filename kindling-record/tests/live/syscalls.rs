//! Every syscall that was made is in the capture, once, with its result and its bytes.

use std::collections::BTreeMap;
use std::process::Command;

use kindling_format::schema::{Argument, Direction, File, FileKind, Payload, Process, Syscall};
use kindling_format::syscalls::{self, ArgKind};

use crate::support::{Program, Recording, id, needs, number, transcript};

/// How often a thread made a syscall with a result: (tid, nr, result) to count.
type Counts = BTreeMap<(u32, u16, i64), i64>;

fn made(truth: &serde_json::Value) -> Counts {
    let threads = truth["threads"].as_array().unwrap().iter();
    let calls = threads.flat_map(|thread| {
        let tid = id(&thread["tid"]);
        thread["calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |call| (tid, call))
    });
    calls
        .map(|(tid, call)| {
            let nr = number(&call["nr"]).try_into().unwrap();
            ((tid, nr, number(&call["ret"])), number(&call["count"]))
        })
        .collect()
}

fn recorded(recording: &Recording, made: &Counts) -> Counts {
    let mut counts = Counts::new();
    for row in recording.rows::<Syscall>() {
        let known = |(tid, nr, _): &(u32, u16, i64)| (*tid, *nr) == (row.tid, row.nr);
        if made.keys().any(known) {
            *counts
                .entry((row.tid, row.nr, row.ret.unwrap()))
                .or_default() += 1;
        }
    }
    counts
}

#[test]
fn each_thread_of_each_process_has_exactly_its_calls() {
    needs!("syscalls", "processes");
    let recording = Program::compile("syscalls").record(&[], &["4", "3", "500"]);
    recording.assert_complete();
    let made = made(&recording.truth);
    assert_eq!(made.len(), 4 * 3 * 6);
    assert_eq!(recorded(&recording, &made), made);
}

#[test]
fn calls_carry_their_thread_arguments_and_times() {
    needs!("syscalls");
    let recording = Program::compile("syscalls").record(&[], &["2", "1", "50"]);
    recording.assert_complete();
    let getppid = syscalls::named(std::env::consts::ARCH, "getppid")
        .unwrap()
        .nr;
    let read = syscalls::named(std::env::consts::ARCH, "read").unwrap().nr;
    for thread in recording.truth["threads"].as_array().unwrap() {
        let tid = id(&thread["tid"]);
        let rows: Vec<_> = recording
            .rows()
            .into_iter()
            .filter(|row: &Syscall| row.tid == tid)
            .collect();
        assert!(rows.iter().all(|row| row.pid == id(&thread["pid"])));
        // A thread is in one syscall at a time, and rows of a thread are in the order of time.
        assert!(
            rows.windows(2)
                .all(|pair| pair[0].ts + pair[0].dur.unwrap() <= pair[1].ts)
        );
        let of_zero = rows
            .iter()
            .filter(|row| row.nr == read && row.ret == Some(512));
        assert!(
            of_zero
                .clone()
                .all(|row| row.arg2 == Some(512) && row.arg3.is_none())
        );
        assert_eq!(of_zero.count(), 50);
        let bare = rows.iter().filter(|row| row.nr == getppid);
        assert!(
            bare.clone()
                .all(|row| row.arg0.is_none() && row.file.is_none())
        );
    }
}

#[test]
fn paths_are_kept_even_of_files_that_are_missing() {
    needs!("syscalls");
    let recording = Program::compile("syscalls").record(&[], &["1", "1", "20"]);
    let openat = syscalls::named(std::env::consts::ARCH, "openat")
        .unwrap()
        .nr;
    let tid = id(&recording.truth["threads"][0]["tid"]);
    let rows = recording.rows::<Syscall>();
    let opens = rows.iter().filter(|row| row.tid == tid && row.nr == openat);
    let times: Vec<_> = opens.map(|row| row.ts).collect();
    let arguments = recording.rows::<Argument>();
    let paths = arguments
        .iter()
        .filter(|row| row.tid == tid && times.contains(&row.ts));
    let paths: Vec<_> = paths
        .map(|row| (row.arg, row.data.as_slice(), row.truncated))
        .collect();
    assert_eq!(paths, vec![(1, &b"/nonexistent/kindling"[..], false); 20]);
}

/// Some calls write what is left of the time to where it was: it is kept before.
#[test]
fn calls_that_wait_tell_how_long_at_most() {
    needs!("syscalls", "switches");
    let recording = Program::compile("timeouts").record(&[], &[]);
    recording.assert_complete();
    let arch = &recording.capture.header().host.arch;
    let arguments = recording.rows::<Argument>();
    let calls = recording.rows::<Syscall>();
    let pid = recording.rows::<Process>();
    let pid = pid.iter().find(|row| row.comm == "timeouts");
    let pid = pid.expect("the program has its name").pid;
    let mut found = BTreeMap::new();
    for row in arguments.iter().filter(|row| row.pid == pid) {
        let call = calls
            .iter()
            .find(|call| (call.tid, call.ts) == (row.tid, row.ts));
        let call = call.expect("its call is there");
        let spec = syscalls::find(arch, call.nr).unwrap();
        let kind = spec.args[usize::from(row.arg)];
        if matches!(
            kind,
            ArgKind::Timespec | ArgKind::Timeval | ArgKind::Address
        ) {
            let number = |at: usize| i64::from_ne_bytes(row.data[at..at + 8].try_into().unwrap());
            let time = (i64::from(row.arg), number(0), number(8));
            found
                .entry(spec.name.to_owned())
                .or_insert_with(Vec::new)
                .push(time);
        }
    }
    let truth = recording.truth.as_object().unwrap();
    let given = truth.iter().filter(|(_, given)| given.is_object());
    let given: BTreeMap<String, Vec<(i64, i64, i64)>> = given
        .map(|(call, given)| {
            let [arg, seconds, fraction] =
                ["arg", "seconds", "fraction"].map(|key| number(&given[key]));
            (call.clone(), vec![(arg, seconds, fraction)])
        })
        .collect();
    assert_eq!(given.len() as i64, number(&recording.truth["calls"]));
    assert_eq!(found, given);
}

#[test]
fn pipe_bytes_are_kept_on_both_ends() {
    needs!("syscalls");
    let recording =
        Program::compile("syscalls").record(&["--payload-bytes", "48"], &["2", "2", "100"]);
    recording.assert_complete();
    let files = recording.rows::<File>();
    let kind = |id: u32| files.iter().rfind(|row| row.id == id).map(|row| row.kind);
    let payloads = recording.rows::<Payload>();
    for thread in recording.truth["threads"].as_array().unwrap() {
        let tid = id(&thread["tid"]);
        for direction in [Direction::Out, Direction::In] {
            let of_thread = |row: &&Payload| row.tid == tid && row.direction == direction;
            let rows: Vec<_> = payloads.iter().filter(of_thread).collect();
            assert_eq!(rows.len(), 100, "{direction} of {tid}");
            for (call, row) in rows.iter().enumerate() {
                let message =
                    format!("call {call:08} of thread {tid:08}................................");
                assert_eq!((row.size, row.offset), (64, 64 * call as u64));
                assert_eq!(row.data, &message.as_bytes()[..48]);
                assert_eq!(kind(row.file), Some(FileKind::Pipe));
            }
        }
    }
}

#[test]
fn recorded_and_lost_are_all_that_was_made() {
    needs!("syscalls", "processes");
    let storm = Program::compile("storm");
    // What the program does beside its storm: loading itself, printing.
    let quiet = storm.record(&[], &["0"]);
    quiet.assert_complete();
    let beside = quiet.rows::<Syscall>().len() as u64;
    for calls in [10_000, 1_000_000] {
        let recording = storm.record(&[], &[&calls.to_string()]);
        let recorded = recording.rows::<Syscall>().len() as u64;
        assert_eq!(recorded + recording.lost("syscalls"), beside + calls);
    }
}

#[test]
fn strace_counts_the_same() {
    needs!("syscalls", "processes");
    let program = Program::compile("syscalls");
    let args = ["3", "2", "50"];
    let strace = Command::new("strace")
        .args(["-f", "-c", "-U", "name,calls"])
        .arg(program.path())
        .args(args)
        .output();
    let Ok(strace) = strace else {
        eprintln!("SKIPPED: the comparison with strace: no strace");
        return;
    };
    assert!(strace.status.success(), "{}", transcript(&strace));
    let recording = program.record(&[], &args);
    recording.assert_complete();

    // These never return, or as often as the threads happen to meet; and strace starts the program
    // by an execve of its own.
    let varying = [
        "execve",
        "exit",
        "exit_group",
        "futex",
        "restart_syscall",
        "total",
    ];
    let text = String::from_utf8(strace.stderr).unwrap();
    let seen_by_strace: BTreeMap<String, u64> = text
        .lines()
        .filter_map(|line| {
            let (name, calls) = line.trim().split_once(char::is_whitespace)?;
            Some((name.to_owned(), calls.trim().parse().ok()?))
        })
        .filter(|(name, _)| !varying.contains(&name.as_str()))
        .collect();
    assert_eq!(seen_by_strace.get("getppid"), Some(&300), "{text}");

    let processes = recording.rows::<Process>();
    let target = |pid| processes.iter().any(|row| row.pid == pid && row.target);
    let mut seen_by_us = BTreeMap::new();
    for row in recording
        .rows::<Syscall>()
        .into_iter()
        .filter(|row| target(row.pid))
    {
        let name = syscalls::find(std::env::consts::ARCH, row.nr).unwrap().name;
        if !varying.contains(&name) {
            *seen_by_us.entry(name.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(seen_by_us, seen_by_strace);
}
