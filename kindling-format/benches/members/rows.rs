//! The rows that are measured: those of a capture, or made-up ones.

use kindling_format::{
    Capture,
    schema::{Switch, Syscall, Table},
};

use crate::Segments;

const SEGMENTS: usize = 4;
const ROWS: usize = 1 << 16;

/// The rows of a capture's table, segment by segment, in the order in which they came.
pub fn of_capture<T: Table>(capture: &Capture) -> Segments<T> {
    let segments = capture.segments().map(|segment| {
        let mut rows: Vec<T> = capture.read::<T>(segment).unwrap().iter().collect();
        rows.sort_by_key(|row| row.span().map(|(_, end)| end));
        rows
    });
    segments.filter(|rows: &Vec<T>| !rows.is_empty()).collect()
}

/// A server's syscalls: threads that poll, read and write, with noisy lengths and gaps.
pub fn syscalls() -> Segments<Syscall> {
    let mut random = Random(7);
    let mut clocks = [1_000_000_000i64; 8];
    let segment = |random: &mut Random, clocks: &mut [i64; 8]| {
        let mut rows: Vec<Syscall> = (0..ROWS)
            .map(|_| {
                let thread = (random.next() % 8).min(random.next() % 8) as usize;
                let step = random.next() % 4;
                let ts = clocks[thread] + random.noise(900);
                let dur = random.noise([2_500, 600, 1_400, 250][step as usize]);
                clocks[thread] = ts + dur;
                let size = 64 + random.next() % 4 * 27;
                let buffer = 0x7f3a_8000_0000 + thread as u64 * 0x80_0000 + random.next() % 8 * 64;
                let fd = 5 + random.next() % 50;
                let base = Syscall {
                    ts,
                    dur: Some(dur),
                    pid: 400,
                    tid: 400 + thread as u32,
                    cpu: (random.next() % 2) as u16,
                    ..Syscall::default()
                };
                match step {
                    0 => Syscall {
                        nr: 232,
                        arg0: Some(4),
                        arg1: Some(0x7f3a_7000_0000),
                        arg2: Some(1024),
                        arg3: Some(u64::MAX),
                        ret: Some(1 + (random.next() % 3) as i64),
                        file: Some(4),
                        ..base
                    },
                    1 => Syscall {
                        nr: 0,
                        arg0: Some(fd),
                        arg1: Some(buffer),
                        arg2: Some(16_384),
                        ret: Some(size as i64),
                        file: Some(fd as u32),
                        ..base
                    },
                    2 => Syscall {
                        nr: 1,
                        arg0: Some(fd),
                        arg1: Some(buffer),
                        arg2: Some(size),
                        ret: Some(size as i64),
                        file: Some(fd as u32),
                        ..base
                    },
                    _ => Syscall {
                        nr: 186,
                        ret: Some(400),
                        ..base
                    },
                }
            })
            .collect();
        rows.sort_by_key(|row| row.ts + row.dur.unwrap_or(0));
        rows
    };
    (0..SEGMENTS)
        .map(|_| segment(&mut random, &mut clocks))
        .collect()
}

/// Threads that take turns on two CPUs.
pub fn switches() -> Segments<Switch> {
    let mut random = Random(9);
    let mut clocks = [1_000_000_000i64; 2];
    let mut running = [0u32; 2];
    let segment = |random: &mut Random, clocks: &mut [i64; 2], running: &mut [u32; 2]| {
        let mut rows: Vec<Switch> = (0..ROWS)
            .map(|_| {
                let cpu = (random.next() % 2) as usize;
                clocks[cpu] += random.noise(9_000);
                let prev_tid = running[cpu];
                let next = 400 + (random.next() % 8) as u32;
                running[cpu] = if prev_tid == 0 || random.next().is_multiple_of(2) {
                    next
                } else {
                    0
                };
                let in_syscall = prev_tid != 0 && !random.next().is_multiple_of(8);
                Switch {
                    ts: clocks[cpu],
                    cpu: cpu as u16,
                    prev_tid,
                    prev_state: u32::from(in_syscall),
                    prev_syscall: in_syscall.then_some(232),
                    next_tid: running[cpu],
                    ..Switch::default()
                }
            })
            .collect();
        rows.sort_by_key(|row| row.ts);
        rows
    };
    (0..SEGMENTS)
        .map(|_| segment(&mut random, &mut clocks, &mut running))
        .collect()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }

    /// Mostly near `typical`, with a long tail.
    fn noise(&mut self, typical: u64) -> i64 {
        let spread = typical / 4 + 1;
        let near = typical - spread / 2 + (self.next() % spread + self.next() % spread) / 2;
        let far = if self.next().is_multiple_of(64) {
            self.next() % (typical * 40)
        } else {
            0
        };
        (near + far) as i64
    }
}
