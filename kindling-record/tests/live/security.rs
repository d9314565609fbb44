//! Rights are given up, and what is to be hidden is nowhere in the file.

use std::{fs, os::unix::fs::MetadataExt, os::unix::fs::PermissionsExt, process::Command};

use kindling_format::{
    Capture,
    schema::{Argument, Direction, File, Payload, Process, Syscall},
};

use crate::support::{Ongoing, needs, recorder, transcript};

/// A field of the status of every thread of a process.
fn status(pid: u32, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("status")));
    status
        .flatten()
        .map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            line.unwrap().trim_start_matches(':').trim().to_owned()
        })
        .collect()
}

#[test]
fn rights_are_given_up_when_everything_is_attached() {
    needs!("processes");
    // The recorder's process is the parent of the command's. The thread that started the command, and
    // kept its rights for it, ends when it runs.
    let script = "i=0
        while grep -q NoNewPrivs:.0 /proc/$PPID/task/*/status && [ $i -lt 100 ]; do
            i=$((i+1)); sleep 0.05
        done
        grep -h -e CapEff -e NoNewPrivs /proc/$PPID/task/*/status; grep CapEff /proc/$$/status";
    let output = recorder()
        .args(["-o", "/dev/null", "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let own = status(std::process::id(), "CapEff").remove(0);
    let mut lines: Vec<&str> = text.lines().collect();
    // The command has the rights of whoever started the recorder.
    assert_eq!(lines.pop().unwrap(), format!("CapEff:\t{own}"));
    // DAC_OVERRIDE, DAC_READ_SEARCH, KILL, SYS_PTRACE, SYS_NICE, SYSLOG, BPF by their numbers.
    let kept = [1, 2, 5, 19, 23, 34, 39]
        .iter()
        .fold(0u64, |bits, bit| bits | 1 << bit);
    let kept = u64::from_str_radix(&own, 16).unwrap() & kept;
    let capabilities = lines
        .iter()
        .filter_map(|line| line.strip_prefix("CapEff:\t"));
    let capabilities: Vec<_> = capabilities.collect();
    assert!(capabilities.len() > 1, "{text}");
    assert!(
        capabilities
            .iter()
            .all(|found| *found == format!("{kept:016x}")),
        "{text}"
    );
    assert!(
        text.contains("NoNewPrivs:\t1") && !text.contains("NoNewPrivs:\t0"),
        "{text}"
    );
}

#[test]
fn another_user_can_record_on() {
    needs!("processes", "tasks", "syscalls", "samples");
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.path().join("x.kndl");
    let script = "id -u; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let output = recorder()
        .arg("-o")
        .arg(&path)
        .args(["--user", "nobody", "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let nobody = Command::new("id")
        .args(["-u", "nobody"])
        .output()
        .unwrap()
        .stdout;
    let nobody: u32 = String::from_utf8(nobody).unwrap().trim().parse().unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (nobody, 0o600));
    // The command is not the recorder.
    let own = fs::metadata("/proc/self").unwrap().uid().to_string();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), own);
    let rows = Capture::open(&path)
        .unwrap()
        .summary()
        .unwrap()
        .rows
        .clone();
    for table in ["syscalls", "samples", "symbols", "mappings"] {
        assert!(
            rows.get(table).is_some_and(|rows| *rows > 0),
            "{table}: {rows:?}"
        );
    }
}

#[test]
fn what_is_hidden_is_not_in_the_capture() {
    needs!("processes", "syscalls");
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret-path");
    fs::write(&secret, "x").unwrap();
    let script = format!(
        "printf 'GET /?secret=1 HTTP/1.1\\r\\nHost: here\\r\\nCookie: secret\\r\\n\\r\\n' | cat; cat {}",
        secret.display()
    );
    let recording =
        Ongoing::start(&["--redact", "headers,args,paths", "--", "sh", "-c", &script]).finish();
    let has = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"secret");
    let payloads = recording.rows::<Payload>();
    let message = b"GET /?xxxxxxxx HTTP/1.1\r\nHost: here\r\nCookie: xxxxxx\r\n\r\n";
    let sent = payloads.iter().filter(|row| row.data == message);
    assert!(
        sent.clone().any(|row| row.direction == Direction::Out),
        "{payloads:?}"
    );
    assert!(
        sent.clone().any(|row| row.direction == Direction::In),
        "{payloads:?}"
    );
    assert!(!payloads.iter().any(|row| has(&row.data)));
    let arguments = recording.rows::<Argument>();
    assert!(!arguments.iter().any(|row| has(&row.data)));
    let files = recording.rows::<File>();
    assert!(
        !files
            .iter()
            .any(|row| row.path.as_ref().is_some_and(|path| has(path.as_bytes())))
    );
    // The file that was opened has the name by which it was opened.
    let opened = files.iter().filter_map(|row| row.path.as_ref());
    let opened: Vec<_> = opened.map(|path| path.as_bytes()).collect();
    assert!(
        arguments
            .iter()
            .any(|row| opened.contains(&row.data.as_slice()))
    );
    let processes = recording.rows::<Process>();
    assert!(
        processes
            .iter()
            .all(|row| row.argv.iter().all(|arg| !has(arg.as_bytes())))
    );
    let command = &recording.capture.header().options.command;
    assert_eq!(command, &["sh", "[redacted]", "[redacted]"]);
    assert!(!recording.rows::<Syscall>().is_empty());
}
