//! Targets, ends and errors of the recorder, at the border of the process.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use kindling_format::{
    Capture,
    schema::{Process, Syscall},
};

use crate::support::{Program, needs, recorder, transcript};

/// A command that must fail with one line that has these words, and leave no panic.
fn fails(args: &[&str], code: i32, words: &[&str]) {
    let output = recorder().args(args).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}: {}",
        transcript(&output)
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        !stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"),
        "{stderr}"
    );
    for word in words {
        assert!(stderr.contains(word), "no {word:?} in: {stderr}");
    }
}

#[test]
fn a_wrong_command_line_is_told_apart_from_a_failure() {
    fails(&["--no-such-option"], 2, &["--no-such-option"]);
    fails(&["-o", "/dev/null"], 2, &[]);
}

#[test]
fn a_missing_command_is_named() {
    needs!("processes");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.kndl");
    fails(
        &["-o", path.to_str().unwrap(), "--", "/no/such/command"],
        1,
        &["/no/such/command"],
    );
    assert!(
        !path.exists(),
        "a capture in which nothing was recorded stays"
    );
}

#[test]
fn a_missing_process_is_named() {
    needs!("processes");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.kndl");
    // Above the largest pid that Linux gives.
    fails(
        &["-o", path.to_str().unwrap(), "--pid", "4194305"],
        1,
        &["4194305"],
    );
}

#[test]
fn an_unwritable_output_is_named() {
    needs!("processes");
    fails(
        &["-o", "/no/such/directory/x.kndl", "--", "true"],
        1,
        &["/no/such/directory/x.kndl"],
    );
}

#[test]
fn a_full_disk_is_named() {
    needs!("processes");
    fails(&["-o", "/dev/full", "--", "true"], 1, &["/dev/full"]);
}

#[test]
fn the_command_ends_the_recording_whatever_its_status() {
    needs!("processes");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.kndl");
    let output = recorder()
        .arg("-o")
        .arg(&path)
        .args(["--", "sh", "-c", "exit 7"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let capture = Capture::open(&path).unwrap();
    assert_eq!(capture.summary().unwrap().exit_status, Some(7 << 8));
}

#[test]
fn a_capture_goes_to_a_pipe() {
    needs!("processes");
    let output = recorder().args(["-o", "-", "--", "true"]).output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let capture = Capture::from_bytes(output.stdout.into()).unwrap();
    assert!(capture.summary().is_some());
}

#[test]
fn signals_end_a_recording_cleanly() {
    needs!("processes");
    for signal in ["INT", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.kndl");
        let mut child = recorder()
            .arg("-o")
            .arg(&path)
            .args(["--", "sh", "-c", "echo started; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = [0; 8];
        child
            .stdout
            .take()
            .unwrap()
            .read_exact(&mut started)
            .unwrap();
        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert!(child.wait().unwrap().success(), "{signal}");
        assert!(
            Capture::open(&path).unwrap().summary().is_some(),
            "{signal}"
        );
    }
}

#[test]
fn a_running_process_is_recorded_for_a_while() {
    needs!("processes", "tasks", "syscalls");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.kndl");
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut record = recorder()
        .arg("-o")
        .arg(&path)
        .args(["--duration", "2s", "--pid", &cat.id().to_string()])
        .spawn()
        .unwrap();
    let mut input = cat.stdin.take().unwrap();
    while record.try_wait().unwrap().is_none() {
        input.write_all(b"meow\n").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(input);
    cat.wait().unwrap();
    assert!(record.wait().unwrap().success());
    let capture = Capture::open(&path).unwrap();
    assert_eq!(capture.header().options.pids, [cat.id()]);
    let rows = capture.segments().flat_map(|segment| {
        capture
            .read::<Process>(segment)
            .unwrap()
            .iter()
            .collect::<Vec<_>>()
    });
    let targets: Vec<_> = rows.filter(|row| row.target).collect();
    assert!(
        targets
            .iter()
            .all(|row| row.pid == cat.id() && row.comm == "cat"),
        "{targets:?}"
    );
    assert!(!targets.is_empty());
    assert!(capture.summary().unwrap().rows["syscalls"] > 50);
}

#[test]
fn names_and_command_lines_are_those_of_the_target() {
    needs!("processes");
    let program = Program::compile("storm");
    let recording = program.record(&[], &["10"]);
    let processes = recording.rows::<Process>();
    let last = processes
        .iter()
        .rfind(|row| row.pid == crate::support::id(&recording.truth["pid"]));
    let last = last.expect("the program is in the capture");
    assert_eq!(
        (last.comm.as_str(), last.exit_status, last.target),
        ("storm", Some(0), true)
    );
    assert_eq!(last.exe.as_deref(), program.path().to_str());
    assert_eq!(last.argv, [program.path().to_str().unwrap(), "10"]);
}

#[test]
fn the_whole_host_is_recorded_but_not_the_recorder() {
    needs!("processes", "tasks", "syscalls");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.kndl");
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut record = recorder()
        .arg("-o")
        .arg(&path)
        .args(["--all", "--no-payload", "--duration", "1s"])
        .spawn()
        .unwrap();
    let mut input = cat.stdin.take().unwrap();
    while record.try_wait().unwrap().is_none() {
        input.write_all(b"meow\n").unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(input);
    cat.wait().unwrap();
    // 3: recorded, but events were lost.
    assert!(matches!(record.wait().unwrap().code(), Some(0 | 3)));
    let capture = Capture::open(&path).unwrap();
    assert_eq!(capture.header().options.target, "all");
    let rows = |pid: u32| {
        let segments = capture.segments();
        segments
            .map(|segment| capture.read::<Syscall>(segment).unwrap())
            .map(|rows| rows.iter().filter(|row| row.pid == pid).count())
            .sum::<usize>()
    };
    assert!(rows(cat.id()) > 20, "{} syscalls of cat", rows(cat.id()));
    assert_eq!(rows(record.id()), 0, "syscalls of the recorder");
    let tables = &capture.summary().unwrap().rows;
    assert!(!tables.contains_key("payloads"), "{tables:?}");
}
