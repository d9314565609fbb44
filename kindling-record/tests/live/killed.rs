//! A recorder that is killed loses at most what it had not flushed.

use std::time::Duration;

use kindling_format::{Capture, Completion, FormatError, schema::Syscall, syscalls::named};

use crate::support::{Ongoing, needs, recorder};

/// The interval that is asked for, and what a busy machine may add to it.
const FLUSH: Duration = Duration::from_millis(100);
const SLACK: Duration = Duration::from_millis(900);
const ROUNDS: u64 = 16;

fn monotonic_ns() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The syscalls of an unfinished capture; `None` while it is none yet.
fn syscalls(path: &std::path::Path) -> Option<Vec<Syscall>> {
    let capture = match Capture::open(path) {
        Ok(capture) => capture,
        Err(FormatError::Io(_) | FormatError::NotACapture { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    assert!(matches!(
        capture.completion(),
        Completion::Unfinished { .. }
    ));
    let segments: Vec<u32> = capture.segments().collect();
    let rows = segments
        .iter()
        .map(|&segment| capture.read::<Syscall>(segment).unwrap());
    Some(
        rows.flat_map(|rows| rows.iter().collect::<Vec<_>>())
            .collect(),
    )
}

/// The time of the last one.
fn last_syscall(path: &std::path::Path) -> Option<i64> {
    syscalls(path)?.iter().map(|row| row.ts).max()
}

#[test]
fn the_calls_of_a_thread_that_goes_on_computing_do_not_wait_for_its_next_ones() {
    needs!("syscalls", "processes");
    let Some(kill) = named(std::env::consts::ARCH, "kill") else {
        return;
    };
    let script = "kill -0 $$; while :; do :; done";
    let options = [
        "--flush",
        "100ms",
        "--duration",
        "20s",
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut recording = Ongoing::start(&options);
    let is_there = |rows: Vec<Syscall>| rows.iter().any(|row| row.nr == kill.nr);
    while !syscalls(&recording.path()).is_some_and(is_there) {
        assert!(recording.is_running(), "the call came at the end only");
        std::thread::sleep(Duration::from_millis(20));
    }
    recording.interrupt();
}

#[test]
fn a_killed_recorder_loses_no_more_than_the_flush_interval() {
    needs!("syscalls", "processes");
    let dir = tempfile::tempdir().unwrap();
    // Syscalls for as long as the recorder lives.
    let busy = "while kill -0 $PPID 2>/dev/null; do :; done";
    let mut most = Duration::ZERO;
    for round in 0..ROUNDS {
        let path = dir.path().join(format!("{round}.kndl"));
        let mut child = recorder()
            .args(["--flush", "100ms", "-o"])
            .arg(&path)
            .args(["--", "sh", "-c", busy])
            .spawn()
            .unwrap();
        // Reading while it is written works too, and says when there is something to lose.
        while last_syscall(&path).is_none() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(17 * round % 230));
        let killed_ns = monotonic_ns();
        child.kill().unwrap();
        child.wait().unwrap();
        let last_ns = last_syscall(&path).unwrap();
        let missing = Duration::from_nanos((killed_ns - last_ns).max(0) as u64);
        most = most.max(missing);
        assert!(
            missing <= FLUSH + SLACK,
            "round {round}: the last {missing:?} are missing"
        );
    }
    eprintln!(
        "killed {ROUNDS} recorders, each left a readable capture; at most {most:?} was missing"
    );
}
