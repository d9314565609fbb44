//! The flight recorder: what is in a dump, what makes it write one, and what it keeps in memory.

mod answers;
mod triggers;
mod window;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kindling_format::{Capture, header::Dump, schema::Table, syscalls};
use tempfile::TempDir;

use crate::support::{analyzer, recorder, transcript};

/// Longer than anything here takes, even on a busy host.
const PATIENCE: Duration = Duration::from_secs(40);

/// A flight recorder that runs.
struct Flight {
    dir: TempDir,
    child: Child,
}

impl Flight {
    fn start(options: &[&str], command: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = recorder()
            .arg("-o")
            .arg(dir.path().join("x.kndl"))
            .args(options)
            .arg("--")
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    fn dump_path(&self, number: u32) -> PathBuf {
        self.dir.path().join(format!("x-{number:04}.kndl"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits until so many dumps are told to be written.
    fn wait_for_dumps(&self, count: usize) {
        wait(
            || self.log().matches(" MB to ").count() >= count,
            || self.log(),
        );
    }

    /// Waits for the end; the recorder's last words.
    fn finish(mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let log = self.log();
        assert!(matches!(status.code(), Some(0 | 3)), "{status}: {log}");
        Ended { dir: self.dir, log }
    }

    fn interrupt(self) -> Ended {
        self.signal("INT");
        self.finish()
    }
}

struct Ended {
    dir: TempDir,
    log: String,
}

impl Ended {
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "kndl")
            })
            .collect();
        files.sort();
        files
    }

    /// The reasons of the dumps, in their order. Each must be sound.
    fn dumps(&self) -> Vec<Dump> {
        self.files().iter().map(|path| sound_dump(path)).collect()
    }

    /// The only dump's reason.
    fn only(&self) -> Dump {
        let mut dumps = self.dumps();
        assert_eq!(dumps.len(), 1, "{}", self.log);
        dumps.remove(0)
    }
}

fn wait(mut is_so: impl FnMut() -> bool, say: impl Fn() -> String) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {}", say());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn rows<T: Table>(capture: &Capture) -> Vec<T> {
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

fn sound_dump(path: &Path) -> Dump {
    if let Some(mut check) = analyzer() {
        let output = check.arg("check").arg(path).output().unwrap();
        assert!(output.status.success(), "{}", transcript(&output));
    }
    let capture = Capture::open(path).unwrap();
    assert!(
        capture.summary().is_some(),
        "{} is finished",
        path.display()
    );
    capture.header().dump.clone().expect("a dump has a reason")
}

fn number_of(call: &str) -> u16 {
    syscalls::named(std::env::consts::ARCH, call).unwrap().nr
}

#[test]
fn what_cannot_be_is_a_usage_error() {
    for (args, words) in [
        (&["--flight", "5s", "--rotate", "5s"][..], "--rotate"),
        (&["--flight", "5s", "-o", "-"], "name them with -o FILE"),
        (&["--trigger", "crash"], "--flight"),
        (
            &["--flight", "5s", "--trigger", "fsync>1s"],
            "at column 1: `fsync` is not",
        ),
        (
            &["--flight", "5s", "--trigger", "http>1s", "--no-payload"],
            "leave out --no-payload",
        ),
        (&["--keep", "2"], "--rotate or --flight"),
    ] {
        let output = recorder().args(args).args(["--", "true"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    }
}
