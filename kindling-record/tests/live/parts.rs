//! A recording that goes on in several files, and one that ends because there is no more room.

use std::path::{Path, PathBuf};

use kindling_format::{
    Capture, Completion,
    schema::{Process, Syscall, Thread},
};

use crate::support::{needs, recorder, transcript};

/// What `dd` moves byte by byte.
const WRITES: usize = 60_000;

fn rows<T: kindling_format::schema::Table>(capture: &Capture) -> Vec<T> {
    let segments = capture.segments();
    segments
        .flat_map(|segment| {
            capture
                .read::<T>(segment)
                .unwrap()
                .iter()
                .collect::<Vec<_>>()
        })
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// A thread that sleeps all the time beside one that is busy.
fn workload() -> String {
    format!(
        "sleep 100 & for i in 1 2 3 4; do dd if=/dev/zero of=/dev/null bs=1 count={} 2>/dev/null; \
         sleep 0.3; done; kill $!",
        WRITES / 4
    )
}

#[test]
fn a_rotated_recording_is_complete_in_its_parts() {
    needs!("syscalls", "processes", "switches");
    let dir = tempfile::tempdir().unwrap();
    let output = recorder()
        .args(["--rotate", "300ms", "-o"])
        .arg(dir.path().join("x.kndl"))
        .args(["--", "sh", "-c", &workload()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let files = files(dir.path());
    assert!(files.len() >= 3, "{files:?}");
    let mut writes = 0;
    let mut end_ns = None;
    for (number, path) in files.iter().enumerate() {
        assert_eq!(
            path.file_name().unwrap().to_str().unwrap(),
            format!("x.{number:06}.kndl")
        );
        let capture = Capture::open(path).unwrap();
        let header = capture.header();
        assert_eq!(header.part as usize, number);
        assert!(!header.recording.is_empty());
        let summary = capture.summary().unwrap();
        if let Some(end_ns) = end_ns.replace(summary.end.monotonic_ns) {
            assert_eq!(
                header.start.monotonic_ns, end_ns,
                "a part begins where the last one ends"
            );
        }
        // The one that sleeps is in every part, with its program and its state.
        let processes = rows::<Process>(&capture);
        let sleeper = processes.iter().find(|row| row.argv == ["sleep", "100"]);
        let sleeper = sleeper
            .unwrap_or_else(|| panic!("no sleeper in part {number}"))
            .pid;
        let threads = rows::<Thread>(&capture);
        let seen = threads
            .iter()
            .any(|row| row.tid == sleeper && row.state.is_some_and(|state| state & 1 != 0));
        assert!(
            seen || number == 0,
            "part {number} does not say that it sleeps"
        );
        let calls = rows::<Syscall>(&capture);
        writes += calls
            .iter()
            .filter(|row| row.nr == 1 && row.arg0 == Some(1) && row.arg2 == Some(1))
            .count();
    }
    if cfg!(target_arch = "x86_64") {
        assert_eq!(writes, WRITES, "each write is in one part");
    }
    eprintln!("{} parts with {writes} writes", files.len());
}

#[test]
fn only_the_newest_parts_are_kept() {
    needs!("syscalls", "processes");
    let dir = tempfile::tempdir().unwrap();
    let output = recorder()
        .args(["--rotate", "100ms", "--keep", "2", "-o"])
        .arg(dir.path().join("x.kndl"))
        .args(["--", "sh", "-c", &workload()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let files = files(dir.path());
    assert_eq!(files.len(), 2, "{files:?}");
    for path in &files {
        let capture = Capture::open(path).unwrap();
        assert!(matches!(capture.completion(), Completion::Finished(_)));
        assert!(capture.header().part >= 2);
    }
}

/// A file system of its own, of some size, that is gone when the test ends.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn a_full_disk_ends_the_recording_with_all_that_fitted() {
    needs!("syscalls", "processes");
    for size in ["256k", "400k", "700k"] {
        let Some(disk) = SmallDisk::mount(size) else {
            eprintln!("SKIPPED: a full disk: a tmpfs cannot be mounted");
            return;
        };
        let path = disk.0.path().join("x.kndl");
        let busy = "for i in 1 2 3 4 5 6; do dd if=/dev/zero of=/dev/null bs=1 count=100000 2>/dev/null; \
                    ls -l / >/dev/null; done";
        let output = recorder()
            .args(["--flush", "50ms", "-o"])
            .arg(&path)
            .args(["--", "sh", "-c", busy])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", transcript(&output));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("the disk is full"), "{stderr}");
        let capture = Capture::open(&path).unwrap();
        let summary = capture.summary().expect("it is finished");
        assert_eq!(summary.reason, "disk full");
        let calls = rows::<Syscall>(&capture);
        assert_eq!(calls.len() as u64, summary.rows["syscalls"]);
        let last_ns = calls
            .iter()
            .filter_map(|row| Some(row.ts + row.dur?))
            .max()
            .unwrap();
        assert!(last_ns >= capture.header().start.monotonic_ns);
        eprintln!("{size}: {} calls were kept", calls.len());
    }
}
