//! What goes through an io_uring is in the capture, although no syscall tells of it.

use std::collections::BTreeSet;

use kindling_format::schema::{File, FileKind, IoUring, IoUringKind, Thread};

use crate::support::{Program, id, needs};

const NOP: Option<u8> = Some(0);
const READ: Option<u8> = Some(22);
const FIRST_READ: u64 = 1 << 32;

#[test]
fn every_operation_is_submitted_once_and_completed_once() {
    needs!("syscalls", "io_uring");
    let (nops, reads) = (1000, 300);
    let recording =
        Program::compile("io_uring").record(&[], &[&nops.to_string(), &reads.to_string(), "0"]);
    recording.assert_complete();
    let pid = id(&recording.truth["pid"]);
    let rows = recording.rows::<IoUring>();
    assert!(rows.iter().all(|row| row.pid == pid && row.tid == pid));
    let files = recording.rows::<File>();
    let kind = |id: Option<u32>| {
        let file = files.iter().rfind(|row| Some(row.id) == id);
        file.map(|row| row.kind)
    };

    let of = |kind: IoUringKind, opcode| {
        let rows = rows
            .iter()
            .filter(move |row| row.kind == kind && row.opcode == opcode);
        rows.collect::<Vec<_>>()
    };
    let numbers = |rows: &[&IoUring]| {
        rows.iter()
            .map(|row| row.user_data)
            .collect::<BTreeSet<_>>()
    };
    for (opcode, first, count) in [(NOP, 0, nops), (READ, FIRST_READ, reads)] {
        let submitted = of(IoUringKind::Submit, opcode);
        let completed = of(IoUringKind::Complete, opcode);
        assert_eq!(
            (submitted.len() as u64, completed.len() as u64),
            (count, count)
        );
        let wanted: BTreeSet<u64> = (first..first + count).collect();
        assert_eq!(numbers(&submitted), wanted);
        assert_eq!(numbers(&completed), wanted);
        let result = if opcode == READ { 100 } else { 0 };
        assert!(completed.iter().all(|row| row.ret == Some(result)));
        assert!(submitted.iter().all(|row| row.ret.is_none()));
        let file = if opcode == READ {
            Some(FileKind::Regular)
        } else {
            None
        };
        assert!(submitted.iter().all(|row| kind(row.file) == file));
    }
    assert_eq!(rows.len() as u64, 2 * (nops + reads));
    assert!(
        rows.iter()
            .all(|row| kind(row.ring) == Some(FileKind::IoUring))
    );
}

#[test]
fn the_threads_that_work_for_a_ring_are_of_the_target() {
    needs!("syscalls", "io_uring", "wakeups");
    let recording = Program::compile("io_uring").record(&[], &["0", "0", "20"]);
    recording.assert_complete();
    let pid = id(&recording.truth["pid"]);
    let threads = recording.rows::<Thread>();
    let workers: BTreeSet<u32> = threads
        .iter()
        .filter(|row| row.pid == pid && row.comm.starts_with("iou-wrk"))
        .map(|row| row.tid)
        .collect();
    assert!(!workers.is_empty(), "{threads:?}");
    let rows = recording.rows::<IoUring>();
    let later = rows.iter().filter(|row| row.user_data >= 1 << 33);
    let (gave, took): (Vec<_>, Vec<_>) = later.partition(|row| row.kind == IoUringKind::Complete);
    assert_eq!((took.len(), gave.len()), (20, 20));
    assert!(
        gave.iter()
            .all(|row| row.ret == Some(100) && row.pid == pid)
    );
}
