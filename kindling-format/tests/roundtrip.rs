//! Every table, written and read back.

#![allow(clippy::unwrap_used)]

use kindling_format::{
    Capture, CaptureWriter, Completion, Header, Summary, for_each_table,
    schema::{self, *},
};

fn capture_of(members: Vec<kindling_format::EncodedMember>) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), &Header::default()).unwrap();
    for member in members {
        writer.append(0, member).unwrap();
    }
    writer
        .finish(&Summary {
            reason: "test".into(),
            ..Summary::default()
        })
        .unwrap()
}

#[test]
fn rows_come_back_sorted_with_nulls_and_words() {
    let mut syscalls = Syscall::columns();
    for (tid, ts) in [(7, 30), (5, 20), (7, 10)] {
        syscalls.push(Syscall {
            ts,
            tid,
            pid: 5,
            nr: 1,
            dur: (ts != 20).then_some(4),
            arg0: Some(u64::MAX),
            ret: Some(-11),
            ..Syscall::default()
        });
    }
    let mut files = File::columns();
    files.push(File {
        id: 3,
        kind: FileKind::Tcp,
        local_port: Some(80),
        ..File::default()
    });
    let mut stacks = Stack::columns();
    stacks.push(Stack {
        id: 1,
        frames: vec![3, 2, 1],
    });
    let mut processes = Process::columns();
    processes.push(Process {
        pid: 5,
        argv: vec!["a".into(), "b c".into()],
        ..Process::default()
    });

    let bytes = capture_of(vec![
        Syscall::encode(syscalls).unwrap(),
        File::encode(files).unwrap(),
        Stack::encode(stacks).unwrap(),
        Process::encode(processes).unwrap(),
    ]);
    let capture = Capture::from_bytes(bytes.into()).unwrap();
    assert_eq!(capture.summary().unwrap().rows["syscalls"], 3);

    let rows: Vec<Syscall> = capture.read::<Syscall>(0).unwrap().iter().collect();
    let keys: Vec<_> = rows.iter().map(|row| (row.tid, row.ts, row.dur)).collect();
    assert_eq!(keys, [(5, 20, None), (7, 10, Some(4)), (7, 30, Some(4))]);
    assert_eq!(
        (rows[0].arg0, rows[0].arg1, rows[0].ret),
        (Some(u64::MAX), None, Some(-11))
    );

    let file = capture.read::<File>(0).unwrap().get(0);
    assert_eq!(
        (file.kind, file.local_port, file.path),
        (FileKind::Tcp, Some(80), None)
    );
    assert_eq!(capture.read::<Stack>(0).unwrap().get(0).frames, [3, 2, 1]);
    assert_eq!(
        capture.read::<Process>(0).unwrap().get(0).argv,
        ["a", "b c"]
    );

    let (_, member) = capture
        .members(0)
        .find(|(table, _)| *table == "syscalls")
        .unwrap();
    let index = member.index.as_ref().unwrap();
    assert_eq!(
        (index.min_ts, index.max_ts, &index.pids[..]),
        (Some(10), Some(34), &[5][..])
    );
}

#[test]
fn unwanted_columns_are_not_decoded() {
    let mut syscalls = Syscall::columns();
    syscalls.push(Syscall {
        ts: 1,
        tid: 2,
        pid: 3,
        nr: 4,
        ..Syscall::default()
    });
    let bytes = capture_of(vec![Syscall::encode(syscalls).unwrap()]);
    let capture = Capture::from_bytes(bytes.into()).unwrap();
    let row = capture
        .read_columns::<Syscall>(0, Some(&["ts", "nr"]))
        .unwrap()
        .get(0);
    assert_eq!((row.ts, row.nr, row.tid, row.pid), (1, 4, 0, 0));
}

#[test]
fn an_empty_table_of_each_kind_can_be_encoded_and_is_left_out() {
    macro_rules! each {
        ($($row:ident),*) => {
            vec![$(schema::$row::encode(schema::$row::columns()).unwrap()),*]
        };
    }
    let capture = Capture::from_bytes(capture_of(for_each_table!(each)).into()).unwrap();
    assert_eq!(capture.segments().count(), 0);
}

#[test]
fn a_capture_without_directory_is_unfinished_and_keeps_its_members() {
    let mut clock = Clock::columns();
    clock.push(Clock {
        ts: 1,
        boottime_ns: 2,
        realtime_ns: 3,
    });
    let whole = capture_of(vec![Clock::encode(clock).unwrap()]);
    let capture = Capture::from_bytes(whole[..whole.len() - 1].to_vec().into()).unwrap();
    assert!(matches!(
        capture.completion(),
        Completion::Unfinished { .. }
    ));
    assert_eq!(capture.read::<Clock>(0).unwrap().len(), 1);
}
