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
    /// A slice that no syscall explains.
    fn plain(slice: Slice) -> Self {
        Self {
            slice,
            bits: 0,
            any_syscall: false,
        }
    }

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

const RUNNABLE: Now = Now::Runnable {
    left: None,
    woken: None,
};

#[derive(Debug, Clone, Copy)]
enum Now {
    /// Nothing was heard of the thread yet.
    NotYetKnown,
    Running {
        cpu: u16,
        /// A wakeup that came before the switch out: the kernel lets it race with that.
        woken: Option<Waker>,
    },
    Runnable {
        /// The CPU that was taken from it.
        left: Option<u16>,
        /// Who made it runnable; `None` if it was preempted or that is not known.
        woken: Option<Waker>,
    },
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
            now: if born { RUNNABLE } else { Now::NotYetKnown },
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
                self.came(ts, now, cpu, losses, emit);
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
                    state if preempted || state == 0 => Now::Runnable {
                        left: Some(cpu),
                        woken: None,
                    },
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
                        Now::Runnable {
                            left: None,
                            woken: Some(waker),
                        }
                    }
                    // Nothing happened to it since the start, so it was blocked all the time.
                    Now::NotYetKnown => {
                        let wait = Wait {
                            waker: Some(waker),
                            ..Wait::default()
                        };
                        self.blocked(ts, 1, wait, true, losses, emit);
                        Now::Runnable {
                            left: None,
                            woken: Some(waker),
                        }
                    }
                    // It is new: its parent has made it.
                    Now::Runnable {
                        left: None,
                        woken: None,
                    } => Now::Runnable {
                        left: None,
                        woken: Some(waker),
                    },
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
            Now::Runnable { left, woken } => self.runnable(end, left, woken, losses, emit),
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

    /// Since when it waits for a CPU, if it does.
    pub fn runnable_since(&self) -> Option<i64> {
        let woken = matches!(
            self.now,
            Now::Runnable { .. } | Now::Blocked { woken: Some(_), .. }
        );
        woken.then_some(self.at)
    }

    /// The end of its life as known so far.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Ends what came before a switch in to this CPU.
    fn came(
        &mut self,
        ts: i64,
        now: Now,
        cpu: u16,
        losses: &LossMap,
        emit: &mut dyn FnMut(RawSlice),
    ) {
        match now {
            Now::Runnable { left, woken } => {
                self.runnable(ts, left.or(Some(cpu)), woken, losses, emit);
            }
            Now::Blocked {
                woken: Some(waker), ..
            } => {
                self.runnable(ts, Some(cpu), Some(waker), losses, emit);
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

    fn runnable(
        &mut self,
        ts: i64,
        cpu: Option<u16>,
        waker: Option<Waker>,
        losses: &LossMap,
        emit: &mut dyn FnMut(RawSlice),
    ) {
        let slice = Slice {
            start: self.at,
            end: ts,
            state: State::Runnable,
            cpu,
            wait: Wait {
                waker,
                ..Wait::default()
            },
        };
        self.at = ts;
        cut(RawSlice::plain(slice), losses, emit);
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
        cut(RawSlice::plain(slice), losses, emit);
    }
}

fn seen(state: u32, on_cpu: bool, syscall: Option<u16>) -> Now {
    match state {
        // Which CPU is not known; the switch out will tell.
        _ if on_cpu => Now::NotYetKnown,
        0 => RUNNABLE,
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
            RawSlice::plain(unknown)
        });
    };
    if state == State::Unknown {
        return piece(start, end, true);
    }
    // A switch on any CPU may have ended a wait for one.
    let cpu = cpu.filter(|_| state == State::Running);
    let mut at = start;
    for (gap_start, gap_end) in losses.switch_gaps(start, end, cpu) {
        piece(at, gap_start, true);
        piece(gap_start, gap_end, false);
        at = gap_end;
    }
    piece(at, end, true);
}

#[cfg(test)]
mod tests;
