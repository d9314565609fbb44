//! What is in a dump, and what is kept in memory.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kindling_format::{
    Capture,
    schema::{File, Process, Syscall},
};
use tempfile::TempDir;

use super::{Flight, number_of, rows, sound_dump, wait};
use crate::support::{Program, analyzer, needs, recorder, transcript};

/// When the program made each tick.
fn tick_times(file: &Path) -> Vec<i64> {
    let bytes = std::fs::read(file).unwrap();
    let times = bytes.chunks_exact(8);
    times
        .map(|time| i64::from_ne_bytes(time.try_into().unwrap()))
        .collect()
}

/// The ticks of a dump that its window has are those that the program made in it: the numbers, and
/// how many.
fn assert_ticks(capture: &Capture, times: &[i64]) -> (u64, u64) {
    let (start, end) = (
        capture.header().start.monotonic_ns,
        capture.summary().unwrap().end.monotonic_ns,
    );
    let calls = rows::<Syscall>(capture).into_iter();
    let ticks =
        calls.filter(|row| row.nr == number_of("pwrite64") && row.ts >= start && row.ts < end);
    let recorded: Vec<u64> = ticks.map(|row| row.arg3.unwrap() / 8).collect();
    // The program looks at its clock just before the call: at both ends one may be on either side.
    let made = (0..)
        .zip(times)
        .filter(|(_, ts)| (start..end).contains(*ts));
    let made: Vec<u64> = made.map(|(number, _)| number).collect();
    let (first, last) = (recorded[0], recorded[recorded.len() - 1]);
    assert!(
        recorded.is_sorted() && recorded.len() as u64 == last - first + 1,
        "{recorded:?}"
    );
    assert!(first.abs_diff(made[0]) <= 1, "{first} {made:?}");
    assert!(last.abs_diff(made[made.len() - 1]) <= 1, "{last} {made:?}");
    (first, last)
}

#[test]
fn a_dump_has_the_last_seconds_and_all_that_they_need() {
    needs!("syscalls", "processes", "tasks");
    let program = Program::compile("ticks");
    let place = TempDir::new().unwrap();
    let file = place.path().canonicalize().unwrap().join("numbers");
    let command = [
        program.path().to_str().unwrap(),
        file.to_str().unwrap(),
        "100000",
    ];
    let flight = Flight::start(&["--flight", "1s"], &command);
    let ticked = |count: u64| {
        wait(
            || file.metadata().is_ok_and(|file| file.len() >= 8 * count),
            || flight.log(),
        );
    };
    ticked(250);
    let pid = flight.child.id().to_string();
    let asked = recorder().args(["dump", "--pid", &pid]).output().unwrap();
    assert!(asked.status.success(), "{}", transcript(&asked));
    let first = flight.dump_path(1);
    assert_eq!(
        String::from_utf8(asked.stdout).unwrap().trim(),
        first.to_str().unwrap()
    );
    ticked(400);
    flight.signal("USR1");
    flight.wait_for_dumps(2);
    let (first, second) = (first, flight.dump_path(2));
    let times = tick_times(&file);
    let mut ends = Vec::new();
    for (path, trigger) in [(&first, "command"), (&second, "signal")] {
        assert_eq!(sound_dump(path).trigger, trigger);
        let capture = Capture::open(path).unwrap();
        let length_ns =
            capture.summary().unwrap().end.monotonic_ns - capture.header().start.monotonic_ns;
        assert!(
            (1_000_000_000..1_500_000_000).contains(&length_ns),
            "{length_ns}"
        );
        let (from, to) = assert_ticks(&capture, &times);
        assert!(from > 0, "the beginning is forgotten");
        ends.push(to);
        // What was opened and started long before.
        let files = rows::<File>(&capture);
        let is_it = |row: &&File| row.path.as_deref() == file.to_str();
        let id = files.iter().find(is_it).expect("the file has its path").id;
        let calls = rows::<Syscall>(&capture);
        let mut ticks = calls.iter().filter(|row| row.nr == number_of("pwrite64"));
        assert!(ticks.all(|row| row.file == Some(id)));
        let processes = rows::<Process>(&capture);
        assert!(
            processes
                .iter()
                .any(|row| row.target && row.argv.len() == 3)
        );
    }
    assert!(ends[1] > ends[0]);
    let private = std::os::unix::fs::PermissionsExt::mode(&first.metadata().unwrap().permissions());
    assert_eq!(private & 0o777, 0o600);
    let ended = flight.interrupt();
    assert_eq!(
        ended.files().len(),
        2,
        "the end alone writes nothing: {}",
        ended.log
    );
    let gone = recorder().args(["dump", "--pid", &pid]).output().unwrap();
    assert_eq!(gone.status.code(), Some(1), "{}", transcript(&gone));
}

#[test]
fn analyses_see_the_window_only() {
    needs!("syscalls", "processes");
    let Some(mut replay) = analyzer() else {
        eprintln!("SKIPPED: the analyzer is not built");
        return;
    };
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; done; kill -ABRT $$";
    let options = ["--flight", "1s", "--trigger", "crash", "--after", "0s"];
    let ended = Flight::start(&options, &["sh", "-c", script]).finish();
    assert_eq!(ended.only().trigger, "crash");
    let path = &ended.files()[0];
    let output = replay
        .args(["syscalls", "--format", "json"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds = report["syscalls"]["rows"]
        .as_array()
        .expect("a list of calls");
    let sleeps = kinds
        .iter()
        .find(|row| row["syscall"] == "clock_nanosleep")
        .unwrap();
    let calls = sleeps["calls"].as_u64().unwrap();
    assert!(
        (4..=6).contains(&calls),
        "{calls} sleeps of 0.2 s in one second"
    );
}

#[test]
fn a_dump_has_the_calls_that_threads_are_in() {
    needs!("syscalls", "tasks");
    let flight = Flight::start(&["--flight", "60s"], &["sh", "-c", "sleep 2; sleep 100"]);
    let pid = flight.child.id().to_string();
    // The sleeps that a dump has, finished or not.
    let sleeps = || {
        let asked = recorder().args(["dump", "--pid", &pid]).output().unwrap();
        if !asked.status.success() {
            return Vec::new();
        }
        let path = PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim());
        sound_dump(&path);
        let mut calls = rows::<Syscall>(&Capture::open(&path).unwrap());
        calls.retain(|row| row.nr == number_of("clock_nanosleep"));
        calls.sort_by_key(|row| row.ts);
        calls
    };
    let mut first = Vec::new();
    let mut second = Vec::new();
    wait(
        || {
            first = sleeps();
            !first.is_empty()
        },
        || flight.log(),
    );
    wait(
        || {
            second = sleeps();
            second.len() > 1
        },
        || flight.log(),
    );
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].dur, first[0].ret), (None, None), "it goes on");
    // What was open then is told once, as it ended.
    assert_eq!((second[0].tid, second[0].ts), (first[0].tid, first[0].ts));
    assert!(second[0].dur.is_some_and(|dur| dur >= 2_000_000_000));
    assert_eq!(second[1].dur, None);
    assert_eq!(second.len(), 2);
    flight.interrupt();
}

/// Resident memory of a process, and its data alone.
fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

#[test]
fn memory_is_bounded_by_the_window() {
    needs!("syscalls");
    const WINDOW: u64 = 4 << 20;
    const SLACK: u64 = 48 << 20;
    let storm = "while :; do dd if=/dev/zero of=/dev/null bs=1 count=200000 2>/dev/null; done";
    let flight = Flight::start(&["--flight", "4M"], &["sh", "-c", storm]);
    let pid = flight.child.id().to_string();
    let try_dump = || {
        let asked = recorder().args(["dump", "--pid", &pid]).output().unwrap();
        let path = PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim());
        asked.status.success().then(|| {
            sound_dump(&path);
            let capture = Capture::open(&path).unwrap();
            let start = capture.header().start.monotonic_ns;
            let rows = &capture.summary().unwrap().rows;
            let calls = rows.get("syscalls").copied().unwrap_or_default();
            (path.metadata().unwrap().len(), start, calls)
        })
    };
    let dump = || try_dump().unwrap_or_else(|| panic!("no dump: {}", flight.log()));
    let mut first = None;
    wait(
        || {
            first = try_dump();
            first.is_some()
        },
        || flight.log(),
    );
    let began = first.unwrap().1;
    // Until the window is full: then a dump begins later than the recording did.
    let mut last = dump();
    wait(
        || {
            last = dump();
            last.1 > began
        },
        || flight.log(),
    );
    let full = rss_bytes(flight.child.id());
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        last = dump();
        assert!(last.0 <= WINDOW + (1 << 20), "{last:?}");
        let now = rss_bytes(flight.child.id());
        // What waits to be encoded, and the allocator, come and go.
        assert!(now <= full + SLACK, "{full} grew to {now} bytes of memory");
    }
    let (size, _, calls) = last;
    let now = rss_bytes(flight.child.id());
    eprintln!("{calls} calls in {size} bytes; {full} bytes of memory, then {now}");
    flight.interrupt();
}
