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

/// `ERESTARTSYS` in the kernel's `<linux/errno.h>`: the call has not returned, a signal is in its way.
const ERESTARTSYS: i64 = -512;

/// In a child of vfork, killed within the call, begun anew after a signal, and with the program that a thread beside the
/// first one executes.
#[test]
fn calls_whose_threads_take_a_turn_come_out_right() {
    needs!("processes", "syscalls");
    let recording = Program::compile("turns").record(&[], &[]);
    recording.assert_complete();
    let truth = &recording.truth;
    let [pid, vforked, killed, restarted, thread] =
        ["pid", "vforked", "killed", "restarted", "thread"].map(|key| id(&truth[key]));
    let arch = &recording.capture.header().host.arch;
    let mut calls = recording.rows::<Syscall>();
    calls.sort_by_key(|row| row.ts);
    let results = |pid: u32, tid: u32, name: &str| -> Vec<Option<i64>> {
        let nr = syscalls::named(arch, name).unwrap().nr;
        let of_it = |row: &&Syscall| (row.pid, row.tid, row.nr) == (pid, tid, nr);
        calls.iter().filter(of_it).map(|row| row.ret).collect()
    };

    // Both programs of the child of vfork, and one execve between them.
    assert_eq!(
        results(vforked, vforked, "getppid"),
        [Some(pid.into()); 5 + 7]
    );
    assert_eq!(results(vforked, vforked, "execve"), [Some(0)]);

    // The last call on a pipe of the one that was killed, which the dynamic linker's come before.
    assert_eq!(
        results(killed, killed, "read").last(),
        Some(&Some(ERESTARTSYS))
    );
    let processes = recording.rows::<Process>();
    let died = processes.iter().rfind(|row| row.pid == killed).unwrap();
    assert_eq!(died.exit_status, Some(9));

    // A call that is begun anew is another call.
    let bytes = number(&truth["bytes"]);
    assert_eq!(
        results(restarted, restarted, "read"),
        [Some(ERESTARTSYS), Some(bytes)]
    );

    // The thread has become the process's first one, and the other is gone.
    assert_eq!(results(pid, pid, "execve"), [Some(0), Some(0)]);
    assert_eq!(results(pid, pid, "getppid").len(), 3);
    assert!(results(pid, thread, "execve").is_empty());
    let threads = recording.rows::<Thread>();
    assert!(
        threads
            .iter()
            .any(|row| row.tid == thread && row.pid == pid)
    );
}
