//! The program at its border: bad files, bad options, outputs that fail.

#![allow(clippy::unwrap_used)]

mod common;

use std::{io::Read, process::Stdio};

use common::{Segment, capture, file, process, replay, run, text, thread};
use kindling_format::schema::*;

/// Every command that answers from a capture alone.
const COMMANDS: [&str; 10] = [
    "info",
    "events",
    "threads",
    "cpus",
    "locks",
    "flame",
    "syscalls",
    "files",
    "processes",
    "logs",
];

fn small() -> Vec<u8> {
    let calls = (0..2_000).map(|n| Syscall {
        ts: 1_000 + n,
        dur: Some(1),
        pid: 10,
        tid: 10,
        nr: 39,
        ret: Some(10),
        ..Syscall::default()
    });
    let sample = Sample {
        ts: 2_000,
        pid: 10,
        tid: 10,
        period_ns: 7,
        ..Sample::default()
    };
    let segment = Segment::default()
        .with([process(10, 10, "app")], ProcessColumns::push)
        .with([thread(10, 10, "app")], ThreadColumns::push)
        .with(calls, SyscallColumns::push)
        .with([sample], SampleColumns::push);
    capture(vec![segment])
}

/// The one line on standard error.
fn complaint(args: &[&str], code: i32) -> String {
    let stderr = String::from_utf8(run(args, code).stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

#[test]
fn bad_files_are_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.kndl");
    let foreign = dir.path().join("foreign.kndl");
    std::fs::write(
        &foreign,
        "\x7fELF and so on, which is not what was asked for",
    )
    .unwrap();
    let empty = dir.path().join("empty.kndl");
    std::fs::write(&empty, "").unwrap();
    for command in COMMANDS {
        let of = |path: &std::path::Path| complaint(&[command, path.to_str().unwrap()], 1);
        assert!(of(&missing).contains("missing.kndl"), "{}", of(&missing));
        assert!(
            of(&foreign).contains("not a Kindling capture"),
            "{}",
            of(&foreign)
        );
        assert!(
            of(&empty).contains("not a Kindling capture"),
            "{}",
            of(&empty)
        );
        assert!(of(dir.path()).contains("directory"), "{}", of(dir.path()));
    }
}

#[test]
fn a_cut_capture_is_read_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = small();
    let path = file(dir.path(), &whole[..whole.len() - 30]);
    for command in COMMANDS {
        let output = run(&[command, path.to_str().unwrap()], 3);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("unfinished"), "{stderr}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn a_damaged_member_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = small();
    let name = b"000000/syscalls.parquet";
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    bytes[at + name.len() + 60] ^= 1;
    let path = file(dir.path(), &bytes);
    let stderr = complaint(&["syscalls", path.to_str().unwrap()], 3);
    assert!(stderr.contains("000000/syscalls.parquet"), "{stderr}");
    let output = run(&["syscalls", path.to_str().unwrap(), "--format", "json"], 3);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["completeness"]["damaged_members"], 1);
    // Other tables do not need it.
    text(&["flame", path.to_str().unwrap(), "--format", "folded"]);
}

#[test]
fn lost_events_are_missing_data() {
    let dir = tempfile::tempdir().unwrap();
    let loss = Loss {
        ts: 2_000,
        end_ts: 3_000,
        source: "syscalls".into(),
        cause: "ring full".into(),
        count: 7,
        ..Loss::default()
    };
    let path = file(
        dir.path(),
        &capture(vec![Segment::default().with([loss], LossColumns::push)]),
    );
    let path = path.to_str().unwrap();
    let output = run(&["threads", path, "--format", "json"], 3);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["completeness"]["lost"], 7);
    assert_eq!(report["completeness"]["lost_by_table"]["syscalls"], 7);
    // Nothing is missing in a window without losses.
    run(&["threads", path, "--from", "5us"], 0);
}

#[test]
fn outputs_are_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &small());
    let path = path.to_str().unwrap();
    let answer = dir.path().join("answer.json");
    run(&["info", path, "-o", answer.to_str().unwrap()], 0);
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&answer).unwrap()).unwrap();
    assert!(report["info"].is_object(), "the name asks for JSON");
    let nowhere = dir.path().join("no/such/dir.txt");
    let stderr = complaint(&["info", path, "-o", nowhere.to_str().unwrap()], 1);
    assert!(stderr.contains("no/such/dir.txt"), "{stderr}");
    let stderr = complaint(&["info", path, "-o", path], 1);
    assert!(stderr.contains("the capture that is read"), "{stderr}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    if std::path::Path::new("/dev/full").exists() {
        let stderr = complaint(&["info", path, "-o", "/dev/full"], 1);
        assert!(stderr.contains("/dev/full"), "{stderr}");
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &small());
    let mut child = replay(&["events", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn wrong_usage_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &small());
    let path = path.to_str().unwrap();
    run(&["no-such-command"], 2);
    run(&["threads", path, "--from", "yesterday"], 2);
    assert!(complaint(&["info", path, "--format", "svg"], 2).contains("choose one of text, json"));
    for command in COMMANDS {
        assert!(
            text(&[command, "--help"]).contains("Examples:"),
            "{command}"
        );
    }
    assert!(text(&["--version"]).starts_with("kindling-replay "));
}

/// An option either changes the answer or is refused.
#[test]
fn no_option_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &small());
    let path = path.to_str().unwrap();
    let new = dir.path().join("new.kndl");
    let new = new.to_str().unwrap();
    let selection: [&[&str]; 7] = [
        &["--from", "1us"],
        &["--to", "2us"],
        &["--pid", "10"],
        &["--tid", "10"],
        &["--comm", "a*"],
        &["--container", "c"],
        &["--where", "dur > 1ns"],
    ];
    let top: &[&str] = &["--top", "1"];
    let stats: &[&str] = &["--stats"];
    let format: &[&str] = &["--format", "text"];
    let of_threads = &selection[2..6];
    type Options<'a> = &'a [&'a [&'a str]];
    let cases: [(&[&str], Options, Options); 8] = [
        (&["info", path], &selection, &[top]),
        (&["check", path], &selection, &[top]),
        (
            &["salvage", path, "-o", new],
            &selection,
            &[top, format, stats],
        ),
        (
            &["compact", path, "-o", new],
            &selection,
            &[top, format, stats],
        ),
        (
            &["merge", path, path, "-o", new],
            &selection,
            &[top, format, stats],
        ),
        (&["cut", path, "-o", new], &[], &[top, format]),
        (&["rpc", path, "r1"], &selection, &[top]),
        (&["thread", path, "10"], of_threads, &[]),
    ];
    for (command, selection, others) in cases {
        for option in selection.iter().chain(others) {
            let args = [command, option].concat();
            let stderr = complaint(&args, 2);
            assert!(
                stderr.contains(option[0]) && stderr.contains("no effect"),
                "{stderr}"
            );
        }
    }
    for option in selection {
        complaint(&[&["critical-path", path, "r1"], option].concat(), 2);
    }
}

/// The bytes of a file that are in memory, by `fincore`; `None` where there is no such program.
#[cfg(target_os = "linux")]
fn cached_bytes(path: &str) -> Option<u64> {
    let options = ["--bytes", "--noheadings", "--output", "RES"];
    let command = std::process::Command::new("fincore")
        .args(options)
        .arg(path)
        .output();
    let stdout = command.ok().filter(|out| out.status.success())?.stdout;
    String::from_utf8(stdout).ok()?.trim().parse().ok()
}

#[cfg(target_os = "linux")]
#[test]
fn a_question_about_a_part_reads_a_small_part_of_the_file() {
    let mut random = 1_u32;
    let mut noise = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    };
    let mut segment = |number: i64| {
        let ts = number * 1_000_000;
        let call = Syscall {
            ts,
            dur: Some(1),
            pid: 10,
            tid: 10,
            ..Syscall::default()
        };
        let payload = Payload {
            ts,
            pid: 10,
            tid: 10,
            data: (0..100_000).map(|_| noise()).collect(),
            ..Payload::default()
        };
        Segment::default()
            .with([call], SyscallColumns::push)
            .with([payload], PayloadColumns::push)
    };
    let bytes = capture((0..80).map(&mut segment).collect());
    // Not in a directory for temporary files: those can be all in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = file(dir.path(), &bytes);
    let on_disk = std::fs::File::open(&path).unwrap();
    let path = path.to_str().unwrap();
    for args in [
        ["syscalls", path, "--top", "1"],
        ["events", path, "--to", "2ms"],
        ["processes", path, "--top", "1"],
    ] {
        on_disk.sync_all().unwrap();
        rustix::fs::fadvise(&on_disk, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        match cached_bytes(path) {
            Some(0) => {}
            Some(_) => return println!("skipped: this file system keeps files in memory"),
            None => return println!("skipped: no fincore here"),
        }
        run(&args, 0);
        let (read, all) = (cached_bytes(path).unwrap(), bytes.len() as u64);
        assert!(
            all > 8_000_000 && read < all / 4,
            "{args:?}: {read} of {all}"
        );
    }
}
