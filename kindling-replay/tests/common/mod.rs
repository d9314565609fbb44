//! Captures for tests, built in memory with the writer.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use kindling_format::{
    CaptureWriter, Header, Summary,
    header::{Host, Moment},
    schema::*,
};

/// The rows of one segment.
#[derive(Default)]
pub struct Segment {
    members: Vec<kindling_format::EncodedMember>,
}

impl Segment {
    /// Adds the rows of a table.
    pub fn with<T: Table>(
        mut self,
        rows: impl IntoIterator<Item = T>,
        push: fn(&mut T::Columns, T),
    ) -> Self {
        let mut columns = T::columns();
        rows.into_iter().for_each(|row| push(&mut columns, row));
        self.members.push(T::encode(columns).unwrap());
        self
    }
}

/// A capture from 1,000 to 11,000 ns with these segments.
pub fn capture(segments: Vec<Segment>) -> Vec<u8> {
    let moment = |monotonic_ns| Moment {
        monotonic_ns,
        boottime_ns: monotonic_ns,
        realtime_ns: 1_700_000_000_000_000_000 + monotonic_ns,
    };
    let header = Header {
        host: Host {
            name: "host".into(),
            arch: "x86_64".into(),
            ..Host::default()
        },
        start: moment(1_000),
        ..Header::default()
    };
    let mut writer = CaptureWriter::new(Vec::new(), &header).unwrap();
    for (number, segment) in segments.into_iter().enumerate() {
        for member in segment.members {
            writer
                .append(u32::try_from(number).unwrap(), member)
                .unwrap();
        }
    }
    let summary = Summary {
        end: moment(11_000),
        reason: "target exited".into(),
        ..Summary::default()
    };
    writer.finish(&summary).unwrap()
}

/// The program with these arguments.
pub fn replay(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kindling-replay"));
    command.args(args);
    command
}

/// Runs the program; on an unexpected exit code, shows everything.
pub fn run(args: &[&str], code: i32) -> Output {
    let output = replay(args).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "kindling-replay {args:?}\n--- stdout\n{}\n--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What the program prints; it must exit with 0.
pub fn text(args: &[&str]) -> String {
    String::from_utf8(run(args, 0).stdout).unwrap()
}

/// The JSON that the program prints; it must exit with 0.
pub fn json(args: &[&str]) -> serde_json::Value {
    let args: Vec<&str> = args.iter().copied().chain(["--format", "json"]).collect();
    serde_json::from_slice(&run(&args, 0).stdout).unwrap()
}

/// Writes a capture into a directory.
pub fn file(dir: &Path, bytes: &[u8]) -> PathBuf {
    let path = dir.join("test.kndl");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A thread of the target that starts at `start_ts`.
pub fn thread(tid: u32, start_ts: i64, comm: &str) -> Thread {
    Thread {
        ts: start_ts.max(1_000),
        tid,
        pid: 10,
        start_ts,
        target: true,
        comm: comm.into(),
        ..Thread::default()
    }
}

/// A process of the target that starts at `start_ts`.
pub fn process(pid: u32, start_ts: i64, comm: &str) -> Process {
    Process {
        ts: start_ts.max(1_000),
        pid,
        start_ts,
        target: true,
        comm: comm.into(),
        argv: vec![format!("/bin/{comm}"), "-x".into()],
        ..Process::default()
    }
}
