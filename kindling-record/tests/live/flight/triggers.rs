//! What makes it write, beside answers.

use kindling_format::{
    Capture,
    schema::{Process, Syscall},
};
use tempfile::TempDir;

use super::{Flight, rows, sound_dump};
use crate::support::{needs, recorder, transcript};

#[test]
fn crashes_make_it_write() {
    needs!("processes");
    let options = ["--flight", "5s", "--trigger", "crash", "--after", "50ms"];
    let ended = Flight::start(&options, &["sh", "-c", "sleep 0.1; kill -SEGV $$"]).finish();
    let dump = ended.only();
    assert_eq!(dump.event, "killed by SIGSEGV");
    assert_eq!((dump.trigger.as_str(), dump.comm.as_str()), ("crash", "sh"));
    assert!(
        ended.log.contains("crash: killed by SIGSEGV in sh"),
        "{}",
        ended.log
    );
    let capture = Capture::open(&ended.files()[0]).unwrap();
    let processes = rows::<Process>(&capture);
    let dead = processes
        .iter()
        .find(|row| row.exit_status.is_some_and(|status| status & 0x7f == 11));
    assert_eq!(dead.map(|row| row.pid), dump.pid);

    let others = ["--flight", "5s", "--trigger", "crash:abrt,bus"];
    let ended = Flight::start(&others, &["sh", "-c", "kill -SEGV $$"]).finish();
    assert!(ended.files().is_empty());
    assert!(
        ended.log.contains("nothing asked for a dump"),
        "{}",
        ended.log
    );
}

#[test]
fn slow_calls_make_it_write() {
    needs!("syscalls");
    let slow_pipe = "(sleep 0.3; echo x) | cat";
    for (trigger, event) in [
        (
            "syscall:clock_nanosleep>200ms",
            Some("clock_nanosleep took 3"),
        ),
        ("syscall:read>200ms", Some("read of a pipe took ")),
        // Both are meant to wait.
        ("syscall>200ms", None),
    ] {
        let options = ["--flight", "5s", "--trigger", trigger, "--after", "0s"];
        let ended = Flight::start(&options, &["sh", "-c", slow_pipe]).finish();
        let Some(event) = event else {
            assert!(ended.files().is_empty(), "{}", ended.log);
            continue;
        };
        let dump = ended.only();
        assert!(dump.event.starts_with(event), "{dump:?}");
        assert!(dump.latency_ns.unwrap() > 200_000_000);
        // The call itself is in the dump.
        let capture = Capture::open(&ended.files()[0]).unwrap();
        let calls = rows::<Syscall>(&capture);
        let is_it = |row: &Syscall| Some(row.tid) == dump.tid && row.dur == dump.latency_ns;
        assert!(calls.iter().any(is_it), "{dump:?}");
    }
}

#[test]
fn triggers_are_limited_counted_and_old_dumps_go() {
    needs!("syscalls");
    let script = "for i in 1 2 3 4 5; do sleep 0.3; done";
    let base = [
        "--flight",
        "5s",
        "--trigger",
        "syscall:clock_nanosleep>200ms",
        "--after",
        "0s",
    ];
    let ended = Flight::start(&base, &["sh", "-c", script]).finish();
    ended.only();
    assert!(
        ended.log.contains("4 triggers without one of their own"),
        "{}",
        ended.log
    );

    let often = [&base[..], &["--dump-limit", "0s", "--keep", "2"]].concat();
    let ended = Flight::start(&often, &["sh", "-c", script]).finish();
    let names: Vec<_> = ended.files();
    let names: Vec<_> = names
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["x-0004.kndl", "x-0005.kndl"], "{}", ended.log);
    ended.dumps();
}

#[test]
fn a_file_that_is_there_is_never_overwritten() {
    needs!("syscalls");
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("y-0001.kndl"), "precious").unwrap();
    let output = recorder()
        .args(["--flight", "5s", "--trigger", "crash", "-o"])
        .arg(dir.path().join("y.kndl"))
        .args(["--", "sh", "-c", "kill -ABRT $$"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    assert_eq!(
        std::fs::read(dir.path().join("y-0001.kndl")).unwrap(),
        b"precious"
    );
    sound_dump(&dir.path().join("y-0002.kndl"));
}
