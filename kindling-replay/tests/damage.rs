//! `check` and `salvage` on captures that are fine, unfinished and damaged, as a user sees them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::{fs, path::Path};

use common::{Segment, capture, run};
use kindling_format::{Capture, schema::*};

fn sound() -> Vec<u8> {
    let syscall = |n: u32| Syscall {
        ts: 2_000 + i64::from(n),
        dur: Some(5),
        pid: 7,
        tid: 7,
        file: Some(1),
        ..Syscall::default()
    };
    let segment = |n: u32| {
        Segment::default()
            .with(
                [Process {
                    ts: 1_000,
                    pid: 7,
                    ..Process::default()
                }],
                |c, r| c.push(r),
            )
            .with(
                [File {
                    ts: 1_000,
                    id: 1,
                    pid: 7,
                    ..File::default()
                }],
                |c, r| c.push(r),
            )
            .with((n * 50..n * 50 + 50).map(syscall), |c, r| c.push(r))
    };
    capture((0..3).map(segment).collect())
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_sound_capture_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "sound.kndl", &sound());
    let output = run(&["check", &file], 0);
    assert_eq!(text(output.stdout), "fine: 9 members, 156 rows\n");
    let json = text(run(&["check", &file, "--format", "json"], 0).stdout);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["check"]["state"], "fine");
    assert_eq!(json["check"]["rows"]["syscalls"], 150);
}

#[test]
fn an_unfinished_capture_is_salvaged_whole() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = sound();
    let whole = Capture::from_bytes(bytes.clone().into()).unwrap();
    let end = whole
        .entries()
        .iter()
        .rfind(|entry| entry.name.contains('/'))
        .unwrap()
        .end_off();
    let file = write(dir.path(), "killed.kndl", &bytes[..end as usize]);
    let output = run(&["check", &file], 3);
    assert!(text(output.stdout).starts_with("unfinished: 9 members, 156 rows"));
    let fixed = dir.path().join("fixed.kndl");
    let fixed = fixed.to_str().unwrap();
    let output = run(&["salvage", &file, "-o", fixed], 0);
    assert_eq!(
        text(output.stderr),
        "kindling-replay: kept 9 members with 156 rows\n"
    );
    run(&["check", fixed], 0);
}

#[test]
fn a_damaged_member_is_named_and_the_others_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = sound();
    let whole = Capture::from_bytes(bytes.clone().into()).unwrap();
    let name = "000001/syscalls.parquet";
    let entry = whole
        .entries()
        .iter()
        .find(|entry| entry.name == name)
        .unwrap();
    bytes[entry.data_off as usize + 11] ^= 1;
    let file = write(dir.path(), "damaged.kndl", &bytes);
    let output = run(&["check", &file], 1);
    let found = text(output.stdout);
    assert!(
        found.contains(&format!("{name} at byte {}: CRC is", entry.header_off)),
        "{found}"
    );
    let fixed = dir.path().join("fixed.kndl");
    let fixed = fixed.to_str().unwrap();
    let told = text(run(&["salvage", &file, "-o", fixed], 3).stderr);
    assert!(
        told.contains(&format!("lost {name} at byte {}", entry.header_off)),
        "{told}"
    );
    assert!(told.contains("50 rows over 54 ns"), "{told}");
    let saved = Capture::open(fixed.as_ref()).unwrap();
    let summary = saved.summary().unwrap();
    assert_eq!(
        (summary.rows["syscalls"], summary.lost["syscalls"]),
        (100, 50)
    );
    assert!(text(run(&["check", fixed], 0).stdout).starts_with("fine: 8 members"));
}

#[test]
fn compact_keeps_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "sound.kndl", &sound());
    let small = dir.path().join("small.kndl");
    let small = small.to_str().unwrap();
    run(&["compact", &file], 2);
    run(&["compact", &file, "-o", small], 0);
    assert_eq!(
        text(run(&["check", small], 0).stdout),
        "fine: 3 members, 156 rows\n"
    );
    let rows = |path: &str| {
        let capture = Capture::open(path.as_ref()).unwrap();
        let rows = |segment| {
            capture
                .read::<Syscall>(segment)
                .unwrap()
                .iter()
                .collect::<Vec<_>>()
        };
        let mut rows: Vec<Syscall> = capture.segments().flat_map(rows).collect();
        rows.sort_by_key(|row| row.ts);
        rows
    };
    assert_eq!(rows(&file), rows(small));
}

#[test]
fn what_is_no_capture_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "perf.data", b"PERFILE2 and so on");
    for command in ["check", "salvage"] {
        let told = text(run(&[command, &file], 1).stderr);
        assert!(
            told.contains("not a Kindling capture: it is a perf.data file"),
            "{told}"
        );
    }
}
