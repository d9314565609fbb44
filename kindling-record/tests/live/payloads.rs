//! Bytes that move in other ways than by read and write, and what is written to logs.

use std::process::Command;

use kindling_format::{
    schema::{Argument, Direction, File, FileKind, Payload, Syscall},
    syscalls::find,
};

use crate::support::{Ongoing, Program, Recording, needs};

const LINE: &[u8] = b"something happened\n";

/// Payload rows with the file that they are of.
fn payloads(recording: &Recording) -> Vec<(Payload, File)> {
    let files = recording.rows::<File>();
    let file = |id: u32| files.iter().rfind(|file| file.id == id).cloned();
    let rows = recording.rows::<Payload>().into_iter();
    rows.map(|row| {
        let file = file(row.file).unwrap_or_else(|| panic!("no file {}", row.file));
        (row, file)
    })
    .collect()
}

fn is_named(file: &File, name: &str) -> bool {
    file.path
        .as_deref()
        .is_some_and(|path| path.ends_with(name))
}

#[test]
fn datagrams_of_one_call_have_a_payload_each() {
    needs!("syscalls");
    let dir = tempfile::tempdir().unwrap();
    let recording = Program::compile("transfers").record(&[], &[dir.path().to_str().unwrap()]);
    recording.assert_complete();
    let payloads = payloads(&recording);
    for direction in [Direction::Out, Direction::In] {
        let rows: Vec<_> = payloads
            .iter()
            .filter(|(row, file)| file.kind == FileKind::Udp && row.direction == direction)
            .map(|(row, _)| (row.size, row.offset, row.data.clone()))
            .collect();
        let wanted = [
            (10, 0, vec![b'a'; 10]),
            (20, 10, vec![b'b'; 20]),
            (30, 30, vec![b'c'; 30]),
        ];
        assert_eq!(rows, wanted, "{direction}");
    }
}

#[test]
fn what_the_kernel_moves_is_counted_by_file() {
    needs!("syscalls");
    let dir = tempfile::tempdir().unwrap();
    let recording = Program::compile("transfers").record(&[], &[dir.path().to_str().unwrap()]);
    recording.assert_complete();
    let payloads = payloads(&recording);
    let moved = |of: &dyn Fn(&File) -> bool, direction| {
        let rows = payloads
            .iter()
            .filter(|(row, file)| of(file) && row.direction == direction && row.data.is_empty());
        rows.map(|(row, _)| (row.size, row.offset))
            .collect::<Vec<_>>()
    };
    let of_in = |file: &File| is_named(file, "/in");
    // By sendfile, splice and copy_file_range.
    assert_eq!(
        moved(&of_in, Direction::In),
        [(100, 0), (100, 100), (100, 200)]
    );
    assert_eq!(
        moved(&|file| is_named(file, "/out"), Direction::Out),
        [(100, 0)]
    );
    assert_eq!(
        moved(&|file| file.kind == FileKind::Unix, Direction::Out),
        [(100, 0)]
    );
    // By splice and by tee.
    let of_pipe = |file: &File| file.kind == FileKind::Pipe;
    assert_eq!(moved(&of_pipe, Direction::Out), [(100, 0), (100, 0)]);
}

#[test]
fn logs_are_kept_by_their_path_and_other_files_are_not() {
    needs!("syscalls");
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().canonicalize().unwrap();
    let place = place.to_str().unwrap();
    let program = Program::compile("transfers");
    let whole = format!("{place}/*.l?g");
    let elsewhere = "/elsewhere/*.log";
    for (pattern, is_kept) in [
        ("*.log", true),
        ("app.*g", true),
        (whole.as_str(), true),
        ("*.lo", false),
        (elsewhere, false),
    ] {
        let recording = program.record(&["--log", pattern], &[place]);
        let payloads = payloads(&recording);
        let of = |name: &str| {
            let rows = payloads.iter().filter(|(_, file)| is_named(file, name));
            rows.map(|(row, _)| row.data.clone()).collect::<Vec<_>>()
        };
        let wanted = if is_kept { vec![LINE.to_vec()] } else { vec![] };
        assert_eq!(of("/app.log"), wanted, "{pattern}");
        assert!(of("/app.txt").is_empty(), "{pattern}");
    }
}

#[test]
fn what_a_program_prints_into_a_file_is_kept() {
    needs!("syscalls");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("printed");
    let script = format!(
        "echo one > {0}; echo two >> {0}; echo three >&2 2>> {0}",
        out.display()
    );
    let recording = Ongoing::start(&["--", "sh", "-c", &script]).finish();
    let payloads = payloads(&recording);
    let printed = payloads
        .iter()
        .filter(|(_, file)| is_named(file, "/printed"));
    let lines: Vec<_> = printed.map(|(row, _)| row.data.clone()).collect();
    assert_eq!(lines, [b"one\n".to_vec(), b"two\n".to_vec()]);
}

#[test]
fn messages_have_the_address_that_they_go_to_and_come_from() {
    needs!("syscalls");
    let script = "import socket
a, b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
a.bind(('127.0.0.1', 0)); b.bind(('127.0.0.1', 0))
a.sendmsg([b'hi'], [], 0, b.getsockname())
assert b.recvmsg(10)[0] == b'hi'
print(a.getsockname()[1], b.getsockname()[1])";
    let output = Command::new("python3").arg("--version").output();
    if output.is_err() {
        eprintln!("SKIPPED: addresses of messages: no python3 (scripts/setup.sh)");
        return;
    }
    let recording = Ongoing::start(&["--", "python3", "-c", script]).finish();
    recording.assert_complete();
    let files = recording.rows::<File>();
    let arguments = recording.rows::<Argument>();
    let address = |name: &str| {
        let calls = recording.rows::<Syscall>();
        let is = |row: &&Syscall| {
            find(&recording.capture.header().host.arch, row.nr)
                .is_some_and(|spec| spec.name == name)
        };
        let call = calls.iter().find(is).unwrap();
        let of = |row: &&Argument| (row.tid, row.ts, row.arg) == (call.tid, call.ts, 1);
        arguments.iter().find(of).unwrap().data.clone()
    };
    // Family, port, address, as the kernel lays them out.
    let sockaddr = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [&[2, 0, high, low, 127, 0, 0, 1][..], &[0; 8]].concat()
    };
    let ports: Vec<u16> = files
        .iter()
        .filter(|file| file.kind == FileKind::Udp)
        .filter_map(|file| file.local_port)
        .collect();
    let (to, from) = (address("sendmsg"), address("recvmsg"));
    assert!(
        ports.iter().any(|&port| to == sockaddr(port)),
        "{to:?} of {ports:?}"
    );
    assert!(
        ports.iter().any(|&port| from == sockaddr(port)),
        "{from:?} of {ports:?}"
    );
    assert_ne!(to, from);
}
