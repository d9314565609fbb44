//! Captures whose container and checksums are sound and whose rows are nonsense: every command
//! answers, and none panics.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Segment, capture, file, replay};
use kindling_format::schema::*;

const COMMANDS: [&[&str]; 29] = [
    &["info"],
    &[
        "events",
        "--tables",
        "syscalls,switches,wakeups,processes,threads",
    ],
    &["events", "--format", "json"],
    &["threads"],
    &["threads", "--format", "json"],
    &["threads", "--format", "svg"],
    &["locks"],
    &["cpus"],
    &["cpus", "--format", "svg"],
    &["neighbours", "--from", "1us"],
    &["critical-path", "--format", "svg"],
    &["locks", "--format", "svg"],
    &["flame", "--format", "text"],
    &["flame", "--format", "svg"],
    &["flame", "--kind", "wakers", "--format", "folded"],
    &["syscalls", "--histogram"],
    &["files"],
    &["files", "--by", "file", "--format", "json"],
    &["processes"],
    &["logs"],
    &["thread", "busiest"],
    &["thread", "busiest", "--format", "json", "--from", "3us"],
    &[
        "events",
        "--where",
        "dur > 1us or payload.size > 1 or not file.path exists",
    ],
    &["threads", "--where", "syscall.arg0 > 7 and ts > 2us"],
    &["flows"],
    &["flows", "--format", "svg"],
    &["flows", "--format", "dot"],
    &["rpcs"],
    &[
        "threads",
        "--from",
        "1ns",
        "--comm",
        "*",
        "--container",
        "x",
    ],
];

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }

    /// Mostly a moment of the capture, sometimes the end of the world.
    fn ts(&mut self) -> i64 {
        match self.below(12) {
            0 => [i64::MIN, i64::MAX, -1, 0][self.below(4) as usize],
            _ => 1_000 + self.below(10_000) as i64,
        }
    }

    /// Mostly a small number that means something elsewhere.
    fn id(&mut self) -> u32 {
        if self.below(20) == 0 {
            u32::MAX
        } else {
            self.below(6) as u32
        }
    }

    fn big(&mut self) -> u64 {
        if self.below(4) == 0 {
            u64::MAX >> self.below(64)
        } else {
            self.below(1_000)
        }
    }

    fn some<T>(&mut self, value: T) -> Option<T> {
        (self.below(3) > 0).then_some(value)
    }

    fn text(&mut self) -> String {
        ["", "a", "/x/y", "\u{1b}[0m;<&\n", "ünï"][self.below(5) as usize].to_owned()
    }
}

fn lives(r: &mut Random) -> Segment {
    let process = Process {
        ts: r.ts(),
        pid: r.id(),
        ppid: r.id(),
        start_ts: r.ts(),
        exit_ts: {
            let ts = r.ts();
            r.some(ts)
        },
        exit_status: Some(r.big() as i32),
        target: r.below(2) == 0,
        comm: r.text(),
        argv: vec![r.text(), r.text()],
        ..Process::default()
    };
    let threads: Vec<Thread> = (0..4)
        .map(|_| Thread {
            ts: r.ts(),
            tid: r.id(),
            pid: r.id(),
            start_ts: r.ts(),
            exit_ts: {
                let ts = r.ts();
                r.some(ts)
            },
            target: r.below(4) > 0,
            comm: r.text(),
            state: {
                let state = r.id();
                r.some(state)
            },
            on_cpu: Some(r.below(2) == 0),
            syscall: Some(r.id() as u16),
            ..Thread::default()
        })
        .collect();
    let file = File {
        id: r.id(),
        ts: r.ts(),
        kind: FileKind::Tcp,
        path: {
            let text = r.text();
            r.some(text)
        },
        local_address: {
            let text = r.text();
            r.some(text)
        },
        local_port: Some(r.big() as u16),
        ..File::default()
    };
    Segment::default()
        .with([process], ProcessColumns::push)
        .with(threads, ThreadColumns::push)
        .with([file], FileColumns::push)
}

fn stacks(r: &mut Random, segment: Segment) -> Segment {
    let symbol = Symbol {
        id: r.id(),
        name: r.text(),
        inlined_in: Some(r.id()),
        ..Symbol::default()
    };
    let frame = Frame {
        id: r.id(),
        module: r.text(),
        symbol: Some(r.id()),
        ..Frame::default()
    };
    let stack = Stack {
        id: r.id(),
        frames: vec![r.id(), r.id(), r.id()],
    };
    let sample = Sample {
        ts: r.ts(),
        tid: r.id(),
        period_ns: r.ts(),
        stack: Some(r.id()),
        ..Sample::default()
    };
    segment
        .with([symbol], SymbolColumns::push)
        .with([frame], FrameColumns::push)
        .with([stack], StackColumns::push)
        .with([sample], SampleColumns::push)
}

fn events(r: &mut Random, segment: Segment) -> Segment {
    let calls: Vec<Syscall> = (0..20)
        .map(|_| Syscall {
            ts: r.ts(),
            // The writer adds both up; rows that overflow there cannot be written.
            dur: {
                let dur = r.below(5_000) as i64;
                r.some(dur).map(|dur| -dur)
            },
            tid: r.id(),
            nr: r.below(500) as u16,
            arg0: Some(r.big()),
            arg1: Some(r.big()),
            arg2: {
                let big = r.big();
                r.some(big)
            },
            arg3: Some(r.big()),
            ret: Some(r.ts()),
            file: Some(r.id()),
            ..Syscall::default()
        })
        .map(|call| Syscall {
            dur: call.dur.filter(|_| call.ts > 0),
            ..call
        })
        .collect();
    let switches: Vec<Switch> = (0..20)
        .map(|_| Switch {
            ts: r.ts(),
            cpu: r.below(3) as u16,
            prev_tid: r.id(),
            prev_state: r.big() as u32,
            prev_syscall: Some(r.below(500) as u16),
            next_tid: r.id(),
            stack: Some(r.id()),
            ..Switch::default()
        })
        .collect();
    let wakeups: Vec<Wakeup> = (0..20)
        .map(|_| Wakeup {
            ts: r.ts(),
            waker_tid: r.id(),
            wakee_tid: r.id(),
            ..Wakeup::default()
        })
        .collect();
    let loss = Loss {
        ts: r.ts(),
        end_ts: r.ts(),
        source: ["switches", "wakeups", "\n"][r.below(3) as usize].into(),
        count: r.big(),
        ..Loss::default()
    };
    let clock = Clock {
        ts: r.ts(),
        boottime_ns: r.ts(),
        realtime_ns: r.ts(),
    };
    let argument = Argument {
        ts: r.ts(),
        tid: r.id(),
        arg: 200,
        data: vec![1],
        ..Argument::default()
    };
    let payloads = (0..20).map(|_| Payload {
        ts: r.ts(),
        dur: r.ts(),
        pid: r.id(),
        tid: r.id(),
        file: r.id(),
        direction: [Direction::In, Direction::Out][r.below(2) as usize],
        size: r.big(),
        offset: r.big(),
        data: b"GET / HTTP/1.1\r\n\r\n2026-01-31 12:00:00 a\n\xff".to_vec(),
        tls: [Tls::No, Tls::Rest, Tls::Whole][r.below(3) as usize],
    });
    let payloads: Vec<Payload> = payloads.collect();
    segment
        .with([clock], ClockColumns::push)
        .with(payloads, PayloadColumns::push)
        .with(calls, SyscallColumns::push)
        .with([argument], ArgumentColumns::push)
        .with(switches, SwitchColumns::push)
        .with(wakeups, WakeupColumns::push)
        .with([loss], LossColumns::push)
}

#[test]
fn nonsense_in_rows_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..25 {
        let mut random = Random(seed);
        let segments = (0..3).map(|_| {
            let segment = lives(&mut random);
            let segment = stacks(&mut random, segment);
            events(&mut random, segment)
        });
        let path = file(dir.path(), &capture(segments.collect()));
        for args in COMMANDS {
            let mut all = vec![args[0], path.to_str().unwrap()];
            all.extend(&args[1..]);
            let output = replay(&all).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code();
            assert!(
                matches!(code, Some(0..=3)),
                "seed {seed} {args:?}: {code:?}\n{stderr}"
            );
            assert!(
                !stderr.contains("panicked"),
                "seed {seed} {args:?}\n{stderr}"
            );
        }
    }
}
