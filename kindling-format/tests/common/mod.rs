//! A small capture with rows in every table, for the tests of this directory.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use kindling_format::{
    CaptureWriter, EncodedMember, Header, Summary,
    schema::{
        Argument, Clock, Direction, File, FileKind, Frame, Loss, Mapping, Mode, Overhead, Payload,
        Process, Sample, Stack, Switch, Symbol, Syscall, Table, Thread, Tls, Wakeup,
    },
};

/// The members of one segment whose rows begin at `ts`.
pub fn members(ts: i64) -> Vec<EncodedMember> {
    fn of<T: Table>(
        rows: impl IntoIterator<Item = T>,
        push: fn(&mut T::Columns, T),
    ) -> EncodedMember {
        let mut columns = T::columns();
        rows.into_iter().for_each(|row| push(&mut columns, row));
        T::encode(columns).unwrap()
    }
    let process = Process {
        ts,
        pid: 40,
        ppid: 1,
        start_ts: ts - 5,
        target: true,
        comm: "redis-server".into(),
        argv: vec!["redis-server".into(), "--port".into(), "0".into()],
        container: Some("3f".repeat(32)),
        ..Process::default()
    };
    let thread = |tid| Thread {
        ts,
        tid,
        pid: 40,
        start_ts: ts - 5,
        ..Thread::default()
    };
    let mapping = Mapping {
        ts,
        pid: 40,
        start: 0x55_0000,
        end: 0x56_0000,
        path: "/usr/bin/redis-server".into(),
        ..Mapping::default()
    };
    let file = |id, kind| File {
        ts,
        id,
        pid: 40,
        fd: 7,
        kind,
        ..File::default()
    };
    let symbol = |id| Symbol {
        id,
        name: format!("function_{id}"),
        ..Symbol::default()
    };
    let frame = |id| Frame {
        id,
        module: "/usr/bin/redis-server".into(),
        offset: u64::from(id) * 16,
        symbol: Some(id),
        ..Frame::default()
    };
    let syscall = |n: i64| Syscall {
        ts: ts + n * 1_500 + n * n % 701,
        dur: (n != 9).then_some(300 + n * 7 % 93),
        pid: 40,
        tid: 40 + (n % 3) as u32,
        cpu: (n % 2) as u16,
        nr: [0, 1, 232][(n % 3) as usize],
        arg0: Some(7),
        arg1: Some(0x7fff_0000_1000),
        arg2: (n % 3 != 2).then_some(4096),
        ret: (n != 9).then_some(n % 64),
        file: Some(1),
        stack: (n % 5 == 0).then_some(1),
        ..Syscall::default()
    };
    let argument = Argument {
        ts,
        pid: 40,
        tid: 40,
        arg: 1,
        data: b"/etc/hosts".to_vec(),
        truncated: false,
    };
    let payload = |n: i64| Payload {
        ts: ts + n * 1_500 + n * n % 701,
        dur: 300,
        pid: 40,
        tid: 40,
        file: 1,
        direction: if n % 2 == 0 {
            Direction::In
        } else {
            Direction::Out
        },
        size: 27,
        offset: n as u64 / 2 * 27,
        data: format!("*2\r\n$3\r\nGET\r\n$8\r\nkey:{n:04}\r\n").into_bytes(),
        tls: if n % 3 == 0 { Tls::Whole } else { Tls::No },
    };
    let switch = |n: i64| Switch {
        ts: ts + n * 911,
        cpu: (n % 2) as u16,
        prev_tid: if n % 2 == 0 { 40 } else { 0 },
        prev_state: 1,
        prev_syscall: Some(232),
        next_tid: if n % 2 == 0 { 0 } else { 40 },
        stack: Some(1),
        ..Switch::default()
    };
    let wakeup = |n: i64| Wakeup {
        ts: ts + n * 901,
        waker_tid: 41,
        wakee_tid: 40,
        ..Wakeup::default()
    };
    let sample = |n: i64| Sample {
        ts: ts + n * 10_000,
        pid: 40,
        tid: 40,
        mode: Mode::Kernel,
        period_ns: 10_000,
        stack: Some(1),
        ..Sample::default()
    };
    let loss = Loss {
        ts,
        end_ts: ts + 9,
        cpu: Some(1),
        source: "payloads".into(),
        cause: "ring full".into(),
        count: 3,
    };
    vec![
        of(
            [Clock {
                ts,
                boottime_ns: ts,
                realtime_ns: ts + 1_700_000_000,
            }],
            |c, r| c.push(r),
        ),
        of([process], |c, r| c.push(r)),
        of((40..43).map(thread), |c, r| c.push(r)),
        of([mapping], |c, r| c.push(r)),
        of(
            [file(1, FileKind::Tcp), file(2, FileKind::Epoll)],
            |c, r| c.push(r),
        ),
        of((1..4).map(symbol), |c, r| c.push(r)),
        of((1..4).map(frame), |c, r| c.push(r)),
        of(
            [
                Stack {
                    id: 1,
                    frames: vec![3, 2, 1],
                },
                Stack {
                    id: 2,
                    frames: vec![1],
                },
            ],
            |c, r| c.push(r),
        ),
        of((0..60).map(syscall), |c, r| c.push(r)),
        of([argument], |c, r| c.push(r)),
        of((0..20).map(payload), |c, r| c.push(r)),
        of((0..20).map(switch), |c, r| c.push(r)),
        of((0..10).map(wakeup), |c, r| c.push(r)),
        of((0..5).map(sample), |c, r| c.push(r)),
        of([loss], |c, r| c.push(r)),
        of(
            [Overhead {
                ts,
                dur: 90_000,
                records: 116,
                ..Overhead::default()
            }],
            |c, r| c.push(r),
        ),
    ]
}

/// A finished capture of so many segments.
pub fn capture(segments: u32) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), &Header::default()).unwrap();
    for segment in 0..segments {
        for member in members(1_000 + i64::from(segment) * 100_000) {
            writer.append(segment, member).unwrap();
        }
    }
    let reason = "test".to_owned();
    writer
        .finish(&Summary {
            reason,
            ..Summary::default()
        })
        .unwrap()
}
