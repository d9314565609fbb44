//! A process has one life in the capture, and each of its threads one.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{
    schema::{File, Process, Syscall, Thread},
    syscalls,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ongoing, Program, id, needs, number};

#[test]
fn threads_that_outlive_their_leader_are_no_new_processes() {
    needs!("processes");
    let recording = Program::compile("exits").record(&[], &["5", "7"]);
    recording.assert_complete();
    let pid = id(&recording.truth["pid"]);
    let processes = recording.rows::<Process>();
    let rows: Vec<_> = processes.iter().filter(|row| row.pid == pid).collect();
    let starts: BTreeSet<_> = rows.iter().map(|row| row.start_ts).collect();
    assert_eq!(starts.len(), 1, "one life of {pid}: {rows:#?}");
    let last = rows.last().unwrap();
    assert_eq!(
        (last.comm.as_str(), last.exit_status),
        ("exits", Some(7 << 8))
    );
    assert!(last.exit_ts.is_some());

    let mut lives: BTreeMap<(u32, i64), Thread> = BTreeMap::new();
    for row in recording
        .rows::<Thread>()
        .into_iter()
        .filter(|row| row.pid == pid)
    {
        lives.insert((row.tid, row.start_ts), row);
    }
    assert_eq!(lives.len() as i64, number(&recording.truth["threads"]));
    assert!(
        lives
            .values()
            .all(|row| row.exit_ts.is_some() && row.cpu_ns.is_some())
    );
    let waiters = lives.values().filter(|row| row.comm.starts_with("waiter-"));
    assert_eq!(waiters.count(), 5);
}

#[test]
fn what_a_process_leaves_open_is_closed_at_its_end() {
    needs!("processes", "syscalls");
    let dir = TempDir::new().unwrap();
    let script = format!(
        "cd {}; exec 5>of-the-shell; (exec 6>of-its-child; true); sleep 0.05",
        dir.path().display()
    );
    let recording = Ongoing::start(&["--", "sh", "-c", &script]).finish();
    recording.assert_complete();
    let threads = recording.rows::<Thread>();
    let exit_of = |pid| {
        threads
            .iter()
            .find_map(|row| row.exit_ts.filter(|_| row.pid == pid))
    };
    let files = recording.rows::<File>();
    let closed = |name: &str| {
        let of_name = |row: &&File| row.path.as_ref().is_some_and(|path| path.ends_with(name));
        let last = files.iter().rfind(of_name).unwrap();
        let (close, exit) = (last.close_ts.unwrap(), exit_of(last.pid).unwrap());
        assert!(
            (0..5_000_000).contains(&(exit - close)),
            "{name} is closed at {close}, its process ends at {exit}"
        );
        (last.pid, close)
    };
    let (shell, by_shell) = closed("/of-the-shell");
    let (child, by_child) = closed("/of-its-child");
    // The child had the shell's file open too, and did not close it for the shell.
    assert!(shell != child && by_child < by_shell);
}

#[test]
fn a_file_that_threads_meet_at_the_same_moment_is_one_file() {
    needs!("syscalls");
    let recording = Program::compile("together").record(&[], &["2000"]);
    recording.assert_complete();
    let rounds = number(&recording.truth["rounds"]) as usize;
    let arch = &recording.capture.header().host.arch;
    let write = syscalls::named(arch, "write").unwrap().nr;
    let calls = recording.rows::<Syscall>();
    let files_of = |tid: &Value| -> Vec<Option<u32>> {
        let own = calls
            .iter()
            .filter(|row| (row.tid, row.nr) == (id(tid), write));
        let mut own: Vec<&Syscall> = own.collect();
        own.sort_by_key(|row| row.ts);
        // What it prints at the end comes behind.
        own.into_iter().take(rounds).map(|row| row.file).collect()
    };
    let tids = &recording.truth["tids"];
    let (first, second) = (files_of(&tids[0]), files_of(&tids[1]));
    assert_eq!((first.len(), second.len()), (rounds, rounds));
    let pairs = first.iter().zip(&second);
    let torn = pairs.filter(|(a, b)| a.is_none() || a != b).count();
    assert_eq!(torn, 0, "of {rounds} pipes");
}
