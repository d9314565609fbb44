//! A process has one life in the capture, and each of its threads one.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::{Process, Thread};

use crate::support::{Program, id, needs, number};

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
