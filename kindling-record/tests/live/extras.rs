//! The optional sources, and priorities.

use std::{fs, process::Command};

use kindling_format::schema::{Block, BlockOperation, Fault, Migration, Switch, Syscall, Thread};
use tempfile::TempDir;

use crate::support::{Ongoing, Program, id, needs, number, transcript};

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

/// A disk whose writes fail when a mebibyte of it is used: a loop over a sparse file on a file system of
/// that size.
struct FullDisk {
    dir: TempDir,
    device: String,
}

impl FullDisk {
    /// Makes one, or says why it cannot be made.
    fn new() -> Result<Self, String> {
        let dir = TempDir::new().unwrap();
        let place = dir.path().to_str().unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=1M", "kindling-test", place],
        )?;
        let mut disk = Self {
            device: String::new(),
            dir,
        };
        let image = disk.dir.path().join("image");
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        disk.device = run("losetup", &["-f", "--show", image.to_str().unwrap()])?;
        Ok(disk)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        if !self.device.is_empty() {
            let _ = run("losetup", &["-d", &self.device]);
        }
        let _ = run("umount", &["-l", self.dir.path().to_str().unwrap()]);
    }
}

/// What a program prints, or how it failed.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(transcript(&output)),
    }
}

#[test]
fn a_request_that_fails_has_its_error() {
    needs!("block", "syscalls");
    let disk = match FullDisk::new() {
        Ok(disk) => disk,
        Err(reason) => {
            eprintln!("SKIPPED: failing requests to disks: {reason}");
            return;
        }
    };
    let to = format!("of={}", disk.device);
    let writes = [
        "dd",
        "if=/dev/zero",
        &to,
        "bs=64k",
        "count=64",
        "oflag=direct",
    ];
    let options = ["--events", "+block", "--"];
    let recording = Ongoing::start(&[&options[..], &writes].concat()).finish();
    let rows = recording.rows::<Block>();
    let name = disk.device.trim_start_matches("/dev/");
    let requests: Vec<&Block> = rows
        .iter()
        .filter(|row| row.disk == name && row.operation == BlockOperation::Write)
        .collect();
    // BLK_STS_NOSPC; dd ends at the first one.
    let failed = |row: &&&Block| row.status == Some(3);
    let first = requests.iter().find(failed);
    let first = first.unwrap_or_else(|| panic!("no request failed: {requests:?}"));
    let before = requests.iter().filter(|row| row.ts < first.ts);
    assert!(before.clone().count() > 0, "{requests:?}");
    assert!(
        before.clone().all(|row| row.status == Some(0)),
        "{requests:?}"
    );
    // The thread that made it got it as the result of its call.
    let calls = recording.rows::<Syscall>();
    let call = calls.iter().find(|call| call.ret == Some(-28)).unwrap();
    assert_eq!((call.tid, call.ts <= first.ts), (first.tid, true));
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
