//! From scheduler events to the states of one thread.
//!
//! ```text
//! switch in ──► running ──► switch out, state 0 or preempted ──► runnable ──► switch in
//!                     └───► switch out, else ──► blocked ──► wakeup ──► runnable ──► switch in
//! ```
//!
//! An event that contradicts the state (a second switch in without a switch out) means that events
//! are missing: the time since the last one is unknown.

use crate::model::{
    loss::LossMap,
    slice::{Reason, Slice, State, Wait, Waker},
    wait_reason::Call,
};

/// Stopped by a signal or traced (`__TASK_STOPPED | __TASK_TRACED`).
const STOPPED: u32 = 0x4 | 0x8;
/// It will never run again (`EXIT_DEAD | EXIT_ZOMBIE | TASK_DEAD`).
const DEAD: u32 = 0x10 | 0x20 | 0x80;

/// Something that happened to a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// It left a CPU.
    Out {
        /// Which.
        cpu: u16,
        /// Its state bits.
        state: u32,
        /// Whether it was preempted.
        preempted: bool,
        /// The syscall that it was in.
        syscall: Option<u16>,
        /// Where it was.
        stack: Option<u32>,
    },
    /// It was made runnable.
    Woken {
        /// By whom.
        tid: u32,
        /// Or by an interrupt.
        irq: bool,
    },
    /// It came to a CPU.
    In {
        /// Which.
        cpu: u16,
    },
    /// The recorder looked at it.
    Seen {
        /// Its state bits.
        state: u32,
        /// Whether it held a CPU.
        on_cpu: bool,
        /// The syscall that it was in.
        syscall: Option<u16>,
    },
}

/// A slice whose wait may have a syscall that is still to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawSlice {
    /// The slice; a blocked one has [`Reason::Other`] until it is classified.
    pub slice: Slice,
    /// The state bits it was blocked in.
    pub bits: u32,
    /// Whether the syscall is not known, rather than none.
    pub any_syscall: bool,
}

impl RawSlice {
    /// Whether the row of its syscall says more about it.
    pub fn wants_call(&self) -> bool {
        self.any_syscall || self.slice.wait.syscall.is_some()
    }

    /// A moment at which the thread was in the syscall, if it was in one. A call from before the
    /// recording counts as entered when it began, which is about where the slice starts.
    pub fn moment(&self) -> i64 {
        if self.any_syscall {
            self.slice.end
        } else {
            self.slice.start
        }
    }

    /// Whether the thread was in this call when it left the CPU.
    pub fn is_in(&self, call: &Call) -> bool {
        let within = call.ts <= self.moment() && self.slice.start <= call.end;
        within && (self.any_syscall || self.slice.wait.syscall == Some(call.nr))
    }
}

#[derive(Debug, Clone, Copy)]
enum Now {
    /// Nothing was heard of the thread yet.
    NotYetKnown,
    Running {
        cpu: u16,
        /// A wakeup that came before the switch out: the kernel lets it race with that.
        woken: Option<Waker>,
    },
    Runnable,
    Blocked {
        bits: u32,
        wait: Wait,
        any_syscall: bool,
        woken: Option<Waker>,
    },
    Dead,
}

/// Turns the events of one thread, in the order of time, into slices.
#[derive(Debug)]
pub struct ThreadBuilder {
    at: i64,
    end: i64,
    now: Now,
}

impl ThreadBuilder {
    /// A thread that lives from `start` to `end` as far as the capture goes.
    ///
    /// One that was `born` while recording waits for its first CPU from the start.
    pub fn new(start: i64, end: i64, born: bool) -> Self {
        Self {
            at: start,
            end: end.max(start),
            now: if born {
                Now::Runnable
            } else {
                Now::NotYetKnown
            },
        }
    }

    /// Takes the next event; gives the slices that it ends to `emit`.
    ///
    /// Time never goes back: an event from before the previous one counts as of the same moment.
    pub fn event(
        &mut self,
        ts: i64,
        event: Event,
        losses: &LossMap,
        emit: &mut dyn FnMut(RawSlice),
    ) {
        let ts = ts.clamp(self.at, self.end);
        let next = match (self.now, event) {
            (Now::Dead, _) => return,
            (
                Now::NotYetKnown,
                Event::Seen {
                    state,
                    on_cpu,
                    syscall,
                },
            ) => {
                self.close(ts, State::Unknown, None, losses, emit);
                seen(state, on_cpu, syscall)
            }
            (_, Event::Seen { .. }) => return,
            (now, Event::In { cpu }) => {
                self.came(ts, now, losses, emit);
                Now::Running { cpu, woken: None }
            }
            (
                now,
                Event::Out {
                    cpu,
                    state,
                    preempted,
                    syscall,
                    stack,
                },
            ) => {
                let woken = self.left(ts, now, cpu, losses, emit);
                let wait = Wait {
                    syscall,
                    stack,
                    ..Wait::default()
                };
                match state {
                    _ if preempted => Now::Runnable,
                    0 => Now::Runnable,
                    bits if bits & DEAD != 0 => {
                        self.end = ts;
                        Now::Dead
                    }
                    bits => Now::Blocked {
                        bits,
                        wait,
                        any_syscall: false,
                        woken,
                    },
                }
            }
            (now, Event::Woken { tid, irq }) => {
                let waker = Waker { tid, irq };
                match now {
                    Now::Blocked {
                        bits,
                        wait,
                        any_syscall,
                        ..
                    } => {
                        let wait = Wait {
                            waker: Some(waker),
                            ..wait
                        };
                        self.blocked(ts, bits, wait, any_syscall, losses, emit);
                        Now::Runnable
                    }
                    // Nothing happened to it since the start, so it was blocked all the time.
                    Now::NotYetKnown => {
                        let wait = Wait {
                            waker: Some(waker),
                            ..Wait::default()
                        };
                        self.blocked(ts, 1, wait, true, losses, emit);
                        Now::Runnable
                    }
                    Now::Running { cpu, .. } => Now::Running {
                        cpu,
                        woken: Some(waker),
                    },
                    other => other,
                }
            }
        };
        self.now = next;
    }

    /// Ends the thread's timeline; gives its last slice to `emit`.
    pub fn finish(&mut self, losses: &LossMap, emit: &mut dyn FnMut(RawSlice)) {
        let end = self.end;
        match self.now {
            Now::NotYetKnown => self.close(end, State::Unknown, None, losses, emit),
            Now::Running { cpu, .. } => self.close(end, State::Running, Some(cpu), losses, emit),
            Now::Runnable => self.close(end, State::Runnable, None, losses, emit),
            Now::Blocked {
                bits,
                wait,
                any_syscall,
                ..
            } => {
                self.blocked(end, bits, wait, any_syscall, losses, emit);
            }
            Now::Dead => {}
        }
        self.now = Now::Dead;
    }

    /// The moment up to which slices were emitted.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// The end of its life as known so far.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Ends what came before a switch in.
    fn came(&mut self, ts: i64, now: Now, losses: &LossMap, emit: &mut dyn FnMut(RawSlice)) {
        match now {
            Now::Runnable => self.close(ts, State::Runnable, None, losses, emit),
            Now::Blocked { woken: Some(_), .. } => {
                self.close(ts, State::Runnable, None, losses, emit);
            }
            Now::Blocked {
                bits,
                wait,
                any_syscall,
                woken: None,
            } => {
                let gap = losses.first_wakeup_gap(self.at, ts);
                self.blocked(gap.unwrap_or(ts), bits, wait, any_syscall, losses, emit);
                self.close(ts, State::Unknown, None, losses, emit);
            }
            Now::NotYetKnown | Now::Running { .. } | Now::Dead => {
                self.close(ts, State::Unknown, None, losses, emit);
            }
        }
    }

    /// Ends what came before a switch out; tells of a wakeup that raced with it.
    fn left(
        &mut self,
        ts: i64,
        now: Now,
        cpu: u16,
        losses: &LossMap,
        emit: &mut dyn FnMut(RawSlice),
    ) -> Option<Waker> {
        match now {
            Now::Running { cpu: came, woken } if came == cpu => {
                self.close(ts, State::Running, Some(cpu), losses, emit);
                woken
            }
            // Nothing happened to it since the start, so it ran all the time.
            Now::NotYetKnown => {
                self.close(ts, State::Running, Some(cpu), losses, emit);
                None
            }
            _ => {
                self.close(ts, State::Unknown, None, losses, emit);
                None
            }
        }
    }

    fn blocked(
        &mut self,
        ts: i64,
        bits: u32,
        wait: Wait,
        any_syscall: bool,
        losses: &LossMap,
        emit: &mut dyn FnMut(RawSlice),
    ) {
        let reason = if bits & STOPPED != 0 {
            Reason::Stopped
        } else {
            Reason::Other
        };
        let slice = Slice {
            start: self.at,
            end: ts,
            state: State::Blocked(reason),
            cpu: None,
            wait,
        };
        self.at = ts;
        cut(
            RawSlice {
                slice,
                bits,
                any_syscall,
            },
            losses,
            emit,
        );
    }

    fn close(
        &mut self,
        ts: i64,
        state: State,
        cpu: Option<u16>,
        losses: &LossMap,
        emit: &mut dyn FnMut(RawSlice),
    ) {
        let slice = Slice {
            start: self.at,
            end: ts,
            state,
            cpu,
            wait: Wait::default(),
        };
        self.at = ts;
        cut(
            RawSlice {
                slice,
                bits: 0,
                any_syscall: false,
            },
            losses,
            emit,
        );
    }
}

fn seen(state: u32, on_cpu: bool, syscall: Option<u16>) -> Now {
    match state {
        // Which CPU is not known; the switch out will tell.
        _ if on_cpu => Now::NotYetKnown,
        0 => Now::Runnable,
        bits if bits & DEAD != 0 => Now::Dead,
        bits => Now::Blocked {
            bits,
            wait: Wait {
                syscall,
                ..Wait::default()
            },
            any_syscall: false,
            woken: None,
        },
    }
}

/// Emits a slice, its parts where switches were lost as unknown. Empty slices are left out.
fn cut(raw: RawSlice, losses: &LossMap, emit: &mut dyn FnMut(RawSlice)) {
    let Slice {
        start,
        end,
        state,
        cpu,
        ..
    } = raw.slice;
    let mut piece = |start: i64, end: i64, known: bool| {
        if start >= end {
            return;
        }
        let slice = Slice {
            start,
            end,
            ..raw.slice
        };
        let unknown = Slice {
            state: State::Unknown,
            cpu: None,
            wait: Wait::default(),
            ..slice
        };
        emit(if known {
            RawSlice { slice, ..raw }
        } else {
            RawSlice {
                slice: unknown,
                bits: 0,
                any_syscall: false,
            }
        });
    };
    if state == State::Unknown {
        return piece(start, end, true);
    }
    let mut at = start;
    for (gap_start, gap_end) in losses.switch_gaps(start, end, cpu) {
        piece(at, gap_start, true);
        piece(gap_start, gap_end, false);
        at = gap_end;
    }
    piece(at, end, true);
}

#[cfg(test)]
mod tests {
    use kindling_format::schema::Loss;

    use super::*;

    fn out(state: u32) -> Event {
        Event::Out {
            cpu: 0,
            state,
            preempted: false,
            syscall: None,
            stack: None,
        }
    }

    const IN: Event = Event::In { cpu: 0 };
    const WOKEN: Event = Event::Woken { tid: 9, irq: false };

    fn slices(
        builder: &mut ThreadBuilder,
        events: &[(i64, Event)],
        losses: &LossMap,
    ) -> Vec<Slice> {
        let mut slices = Vec::new();
        let mut emit = |raw: RawSlice| slices.push(raw.slice);
        for (ts, event) in events {
            builder.event(*ts, *event, losses, &mut emit);
        }
        builder.finish(losses, &mut emit);
        slices
    }

    /// Each state by its first letter, with the end of the slice; life is 0 to 100.
    fn check(born: bool, events: &[(i64, Event)], expect: &str) {
        let mut builder = ThreadBuilder::new(0, 100, born);
        let slices = slices(&mut builder, events, &LossMap::default());
        let words: Vec<String> = slices
            .iter()
            .map(|slice| match slice.state {
                State::Running => format!("run-{}", slice.end),
                State::Runnable => format!("wait-{}", slice.end),
                State::Blocked(Reason::Stopped) => format!("stop-{}", slice.end),
                State::Blocked(_) if slice.wait.waker.is_some() => format!("block!{}", slice.end),
                State::Blocked(_) => format!("block-{}", slice.end),
                State::Unknown => format!("?-{}", slice.end),
            })
            .collect();
        assert_eq!(words.join(" "), expect, "{events:?}");
    }

    #[test]
    fn states_follow_events() {
        check(
            true,
            &[(10, IN), (30, out(0)), (40, IN)],
            "wait-10 run-30 wait-40 run-100",
        );
        check(
            true,
            &[(10, IN), (30, out(1)), (50, WOKEN), (60, IN)],
            "wait-10 run-30 block!50 wait-60 run-100",
        );
        check(
            true,
            &[(10, IN), (30, out(4)), (50, WOKEN)],
            "wait-10 run-30 stop-50 wait-100",
        );
        check(true, &[(10, IN), (30, out(1))], "wait-10 run-30 block-100");
        // It dies: its last switch ends its life, and nothing comes after.
        check(
            true,
            &[(10, IN), (30, out(0x80)), (40, IN)],
            "wait-10 run-30",
        );
        // Preempted while going to sleep: it stays runnable.
        let preempted = Event::Out {
            cpu: 0,
            state: 1,
            preempted: true,
            syscall: None,
            stack: None,
        };
        check(
            true,
            &[(10, IN), (30, preempted), (40, IN)],
            "wait-10 run-30 wait-40 run-100",
        );
        // The wakeup raced with the switch out.
        check(
            true,
            &[(10, IN), (29, WOKEN), (30, out(1)), (40, IN)],
            "wait-10 run-30 wait-40 run-100",
        );
    }

    #[test]
    fn the_first_event_tells_what_was_before() {
        check(false, &[], "?-100");
        check(false, &[(10, IN), (30, out(1))], "?-10 run-30 block-100");
        check(false, &[(30, out(1))], "run-30 block-100");
        check(false, &[(30, WOKEN), (40, IN)], "block!30 wait-40 run-100");
        let seen = |state, on_cpu| Event::Seen {
            state,
            on_cpu,
            syscall: Some(1),
        };
        check(
            false,
            &[(5, seen(1, false)), (30, WOKEN)],
            "?-5 block!30 wait-100",
        );
        check(
            false,
            &[(5, seen(0, false)), (30, IN)],
            "?-5 wait-30 run-100",
        );
        check(
            false,
            &[(5, seen(0, true)), (30, out(0))],
            "?-5 run-30 wait-100",
        );
    }

    #[test]
    fn contradictions_are_unknown() {
        check(
            true,
            &[(10, IN), (30, IN), (40, out(0))],
            "wait-10 ?-30 run-40 wait-100",
        );
        check(true, &[(30, out(1))], "?-30 block-100");
        check(
            true,
            &[(10, IN), (20, out(1)), (30, out(1))],
            "wait-10 run-20 ?-30 block-100",
        );
    }

    #[test]
    fn nothing_is_claimed_where_events_were_lost() {
        let loss = |ts, end_ts, source: &str| Loss {
            ts,
            end_ts,
            source: source.into(),
            ..Loss::default()
        };
        let losses = LossMap::new(vec![loss(15, 20, "switches"), loss(60, 70, "wakeups")]);
        let mut builder = ThreadBuilder::new(0, 100, true);
        let events = [(10, IN), (30, out(1)), (80, IN)];
        let slices = slices(&mut builder, &events, &losses);
        let ends: Vec<_> = slices
            .iter()
            .map(|slice| (slice.end, slice.state.word()))
            .collect();
        let expect = [
            (10, "runnable"),
            (15, "running"),
            (20, "unknown"),
            (30, "running"),
            (60, "other"),
            (80, "unknown"),
            (100, "running"),
        ];
        assert_eq!(ends, expect);
    }

    /// Whatever the events are, in whatever order, the slices tile the life of the thread.
    #[test]
    fn slices_tile_the_life() {
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for round in 0..2_000 {
            let mut losses = Vec::new();
            for _ in 0..random(4) {
                let ts = random(1_000) as i64;
                losses.push(Loss {
                    ts,
                    end_ts: ts + random(200) as i64,
                    cpu: (random(2) == 0).then(|| random(2) as u16),
                    source: ["switches", "wakeups"][random(2) as usize].into(),
                    ..Loss::default()
                });
            }
            let mut events: Vec<(i64, Event)> = (0..random(40))
                .map(|_| {
                    let event = match random(4) {
                        0 => Event::In {
                            cpu: random(2) as u16,
                        },
                        1 => Event::Woken {
                            tid: 1,
                            irq: random(2) == 0,
                        },
                        2 => Event::Seen {
                            state: random(3) as u32,
                            on_cpu: random(2) == 0,
                            syscall: None,
                        },
                        _ => Event::Out {
                            cpu: random(2) as u16,
                            state: [0, 1, 2, 4][random(4) as usize],
                            preempted: random(5) == 0,
                            syscall: None,
                            stack: None,
                        },
                    };
                    (random(1_200) as i64 - 100, event)
                })
                .collect();
            if round % 10 != 0 {
                events.sort_unstable();
            }
            let mut builder = ThreadBuilder::new(50, 950, random(2) == 0);
            let slices = slices(&mut builder, &events, &LossMap::new(losses));
            let mut at = 50;
            for slice in &slices {
                assert_eq!(slice.start, at, "round {round}: {events:?}");
                assert!(slice.end > slice.start);
                at = slice.end;
            }
            assert_eq!(at, 950, "round {round}: {events:?}");
        }
    }
}
