//! The optional sources, and priorities.

use kindling_format::schema::{Block, BlockOperation, Fault, Migration, Switch, Thread};

use crate::support::{Ongoing, Program, id, needs, number};

#[test]
fn every_fresh_page_faults_once() {
    needs!("faults");
    let recording = Program::compile("pages").record(&["--events", "+faults"], &["500", "0"]);
    recording.assert_complete();
    let first = recording.truth["first_page"].as_u64().unwrap();
    let faults = recording.rows::<Fault>();
    let within = |row: &&Fault| (first..first + 500 * 4096).contains(&row.address);
    let ours: Vec<_> = faults.iter().filter(within).collect();
    assert_eq!(ours.len(), 500);
    let pid = id(&recording.truth["pid"]);
    assert!(ours.iter().all(|row| row.pid == pid && row.tid == pid));
    assert!(
        ours.iter()
            .all(|row| row.write && !row.kernel && !row.present && !row.execute)
    );
    let mut pages: Vec<_> = ours.iter().map(|row| row.address & !4095).collect();
    pages.dedup();
    assert_eq!(pages.len(), 500);
}

#[test]
fn every_block_that_goes_around_the_cache_is_a_request() {
    needs!("block");
    let recording = Program::compile("pages").record(&["--events", "+block"], &["1", "40"]);
    recording.assert_complete();
    let blocks = number(&recording.truth["blocks"]) as usize;
    let rows = recording.rows::<Block>();
    if blocks == 0 || rows.is_empty() {
        eprintln!("SKIPPED: requests to disks: this file system is on none");
        return;
    }
    let of = |operation| {
        let rows = rows.iter().filter(move |row| {
            row.operation == operation && row.size_bytes == 4096 && !row.disk.is_empty()
        });
        rows.collect::<Vec<_>>()
    };
    // Beside these the file system may write its own.
    let (reads, writes) = (of(BlockOperation::Read), of(BlockOperation::Write));
    assert!(reads.len() >= blocks && writes.len() >= blocks, "{rows:?}");
    let pid = id(&recording.truth["pid"]);
    assert!(rows.iter().all(|row| row.pid == pid && row.dur > 0));
    assert!(
        reads
            .iter()
            .all(|row| row.queued_ns.is_some_and(|queued| queued <= row.dur))
    );
    // What was written to a sector is read from there.
    let written: Vec<u64> = writes.iter().map(|row| row.sector).collect();
    let again = reads.iter().filter(|row| written.contains(&row.sector));
    assert!(again.count() >= blocks, "{rows:?}");
}

#[test]
fn a_switch_tells_the_priority_of_the_thread_that_left() {
    needs!("switches", "processes");
    let recording = Ongoing::start(&["--", "nice", "-n", "5", "sleep", "0.05"]).finish();
    let threads = recording.rows::<Thread>();
    let sleep = threads.iter().find(|row| row.comm == "sleep").unwrap().tid;
    let switches = recording.rows::<Switch>();
    // Rows come CPU by CPU, not in the order of time.
    let left = switches.iter().filter(|row| row.prev_tid == sleep);
    let last = left.max_by_key(|row| row.ts);
    let last = last.and_then(|row| row.prev_priority);
    // Niceness is inherited.
    let own = own_niceness();
    assert_eq!(last, Some((120 + own + 5).min(139) as u8));
}

/// The niceness of this process, from its status: field 19 of `/proc/self/stat`.
fn own_niceness() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit(')').next().unwrap();
    behind_name
        .split_whitespace()
        .nth(16)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_thread_that_is_moved_is_told_from_where_to_where() {
    needs!("migrations", "processes");
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("SKIPPED: migrations: there is one CPU only");
        return;
    }
    let script = "for i in 1 2 3 4 5; do taskset -p -c 0 $$; taskset -p -c 1 $$; done";
    let options = ["--events", "+migrations", "--", "sh", "-c", script];
    let recording = Ongoing::start(&options).finish();
    let threads = recording.rows::<Thread>();
    let shell = threads.iter().find(|row| row.comm == "sh").unwrap().tid;
    let rows = recording.rows::<Migration>();
    let moves: Vec<_> = rows.iter().filter(|row| row.tid == shell).collect();
    assert!(
        moves.iter().all(|row| row.from_cpu != row.to_cpu),
        "{rows:?}"
    );
    let to = |from, to| {
        moves
            .iter()
            .filter(|row| (row.from_cpu, row.to_cpu) == (from, to))
            .count()
    };
    assert!(to(0, 1) >= 4 && to(1, 0) >= 4, "{rows:?}");
    // Each move begins where the one before ended.
    assert!(
        moves
            .windows(2)
            .all(|pair| pair[0].to_cpu == pair[1].from_cpu),
        "{moves:?}"
    );
}
