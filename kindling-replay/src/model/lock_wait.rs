//! Waits for locks, each with who ended it.
//!
//! Who wakes a thread is told by `wakeups` at once; what call the waker made, and what the waiter's own
//! call returned, is told when those calls return, maybe a segment later. So waits are handed over one
//! segment after the one in which they returned. Memory follows the segments that are kept and the
//! threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use kindling_format::schema::{Argument, Switch, Syscall, Table as _, Wakeup};

use crate::{
    context::Context,
    model::{
        catalog::{Catalog, ThreadSet},
        ended::Ended,
        futex::{Action, FutexCall, FutexCalls, LockKind},
        recent::{ByThread, Recent},
        stack::{Function, Stacks},
    },
    scan::{self, Segment},
    selection::Window,
};

const EAGAIN: i64 = -11;
/// Segments for which the events of threads are kept.
const KEPT_SEGMENTS: usize = 4;

/// A word of memory that threads wait on. Private ones are told apart by process; of one that several
/// processes map, each has its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockPlace {
    /// The process.
    pub pid: u32,
    /// The word's address in it.
    pub address: u64,
    /// When the process started: a pid can be used again.
    pub pid_start: i64,
}

impl LockPlace {
    /// The places at an address of all processes that had this pid.
    pub fn any(pid: u32, address: u64) -> RangeInclusive<Self> {
        let place = |pid_start| Self {
            pid,
            address,
            pid_start,
        };
        place(i64::MIN)..=place(i64::MAX)
    }
}

/// A wait for a lock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LockWait {
    /// The thread that waited.
    pub tid: u32,
    /// Where it waited.
    pub place: LockPlace,
    /// Whether other processes may use the same lock.
    pub shared: bool,
    /// What the lock is, by the waiter's stack or else by the operation.
    pub kind: LockKind,
    /// Whether the stack told.
    pub named: bool,
    /// When the call was made.
    pub start: i64,
    /// When it returned; the end of the thread or of the window if it did not.
    pub end: i64,
    /// How.
    pub ended: Ended,
    /// Who ended it, if somebody did.
    pub wake: Option<LockWake>,
    /// Where the thread left the CPU.
    pub stack: Option<u32>,
    /// Whether the thread is selected; the waits of others tell who held a lock.
    pub selected: bool,
}

/// Somebody ended a wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LockWake {
    /// When.
    pub ts: i64,
    /// Which thread.
    pub tid: u32,
    /// Whether it was seen to wake waiters of this very lock.
    pub certain: bool,
    /// The lock's address in the waker's process, if that is another process.
    pub elsewhere: Option<(u32, u64)>,
}

/// A thread called to wake who waits, whether anybody did or not: it let go of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetGo {
    /// When.
    pub ts: i64,
    /// The thread.
    pub tid: u32,
    /// Its process.
    pub pid: u32,
    /// The word's address.
    pub address: u64,
}

/// Where a thread left a CPU.
pub type Outs = Recent<Option<u32>>;

/// What is handed over for each segment.
pub struct Batch<'a> {
    /// Waits, in the order in which they were ended.
    pub waits: Vec<LockWait>,
    /// Calls that wake, in the order of time.
    pub let_go: Vec<LetGo>,
    /// Calls that found the word changed and did not wait, by place.
    pub missed: BTreeMap<LockPlace, u64>,
    /// Where threads left their CPU lately.
    pub outs: &'a Outs,
}

/// Finds the waits of threads in the set within the window; gives them to `sink` batch by batch.
pub fn replay(
    context: &Context,
    catalog: &Catalog,
    stacks: &Stacks,
    set: &ThreadSet,
    mut sink: impl FnMut(Batch<'_>) + Send,
) {
    let reader = Reader {
        catalog,
        set,
        futex: FutexCalls::of(&context.capture.header().host.arch),
        window: context.selection.window,
    };
    let mut past = Past::new(catalog, stacks, reader.window);
    scan::segments(
        context,
        "reading lock waits",
        |segment| reader.facts(segment),
        |facts| sink(past.push(facts)),
    );
    // The last waits have no segment behind them; an analysis may hold some back for one more.
    for _ in 0..2 {
        sink(past.push(Facts::default()));
    }
}

/// A call that waited, as its row says.
#[derive(Debug, Clone, Copy)]
struct Waited {
    tid: u32,
    place: LockPlace,
    operation: LockKind,
    word: u64,
    shared: bool,
    selected: bool,
    start: i64,
    returned: Option<i64>,
    ended: Ended,
}

/// A call that wakes.
#[derive(Debug, Clone, Copy)]
struct Waking {
    end: i64,
    pid: u32,
    word: u64,
    private: bool,
}

/// The futex calls of a segment.
#[derive(Debug, Default)]
struct Calls {
    waited: Vec<Waited>,
    let_go: Vec<LetGo>,
    missed: BTreeMap<LockPlace, u64>,
}

/// What a segment tells.
#[derive(Debug, Default)]
struct Facts {
    calls: Calls,
    waking: ByThread<Waking>,
    woken: ByThread<(u32, bool)>,
    outs: ByThread<Option<u32>>,
}

struct Reader<'a> {
    catalog: &'a Catalog,
    set: &'a ThreadSet,
    futex: FutexCalls,
    window: Window,
}

impl Reader<'_> {
    fn facts(&self, segment: Segment<'_>) -> Facts {
        let mut facts = Facts::default();
        self.calls(segment, &mut facts);
        if segment.may_speak_of(Wakeup::NAME, self.window, None) {
            let columns = ["ts", "wakee_tid", "waker_tid", "irq"];
            for row in segment.columns::<Wakeup>(Some(&columns)).iter() {
                let woken = facts.woken.entry(row.wakee_tid).or_default();
                woken.push((row.ts, (row.waker_tid, row.irq)));
            }
        }
        if segment.may_speak_of(Switch::NAME, self.window, None) {
            let columns = ["ts", "prev_tid", "prev_state", "preempted", "stack"];
            let rows = segment.columns::<Switch>(Some(&columns));
            let left = |row: &Switch| row.prev_tid != 0 && row.prev_state != 0 && !row.preempted;
            for row in rows.iter().filter(left) {
                let outs = facts.outs.entry(row.prev_tid).or_default();
                outs.push((row.ts, row.stack));
            }
        }
        facts
    }

    fn calls(&self, segment: Segment<'_>, facts: &mut Facts) {
        if !segment.may_speak_of(Syscall::NAME, self.window, None) {
            return;
        }
        let columns = [
            "ts", "dur", "pid", "tid", "nr", "arg0", "arg1", "arg2", "arg3", "ret",
        ];
        let rows = segment.columns::<Syscall>(Some(&columns));
        let points = |row: &Syscall| self.futex.points(row.nr);
        let of_futexes = |row: &Syscall| self.futex.contains(row.nr) || points(row);
        let rows: Vec<Syscall> = rows.iter().filter(of_futexes).collect();
        let pointing = rows.iter().filter(|row| points(row));
        let pointed = pointed(segment, pointing.map(|row| (row.tid, row.ts)).collect());
        for row in &rows {
            let args = [row.arg0, row.arg1, row.arg2, row.arg3].map(Option::unwrap_or_default);
            let call = match pointed.get(&(row.tid, row.ts)) {
                Some(data) => self.futex.understand_pointed(row.nr, data, row.ret),
                None => self.futex.understand(row.nr, args),
            };
            let Some(call) = call else {
                continue;
            };
            match call.action {
                Action::Wait(operation) => {
                    self.waited(row, call, operation, &mut facts.calls);
                }
                Action::Wake => {
                    facts.calls.let_go.push(LetGo {
                        ts: row.ts,
                        tid: row.tid,
                        pid: row.pid,
                        address: call.word,
                    });
                    let waking = Waking {
                        end: row.dur.map_or(i64::MAX, |dur| row.ts.saturating_add(dur)),
                        pid: row.pid,
                        word: call.word,
                        private: call.private,
                    };
                    facts
                        .waking
                        .entry(row.tid)
                        .or_default()
                        .push((row.ts, waking));
                }
            }
        }
    }

    fn waited(&self, row: &Syscall, call: FutexCall, operation: LockKind, calls: &mut Calls) {
        let returned = row.dur.map(|dur| row.ts.saturating_add(dur));
        let (start, end) = (row.ts, returned.unwrap_or(i64::MAX));
        if !self.window.overlaps(start, end) {
            return;
        }
        let selected = self.set.contains(self.catalog, row.tid, start);
        let process = self.catalog.process_at(row.pid, start);
        let place = LockPlace {
            pid: row.pid,
            pid_start: process.map_or(0, |process| process.start_ts),
            address: FutexCall::home(call.word, operation),
        };
        let ended = Ended::of_call("futex", row.ret);
        match row.ret {
            Some(EAGAIN) => {
                *calls.missed.entry(place).or_default() += u64::from(selected);
                return;
            }
            // It failed.
            Some(ret) if ret < 0 && ended == Ended::Woken => return,
            _ => {}
        }
        calls.waited.push(Waited {
            tid: row.tid,
            place,
            operation,
            word: call.word,
            shared: !call.private,
            selected,
            start,
            returned,
            ended,
        });
    }
}

/// What the first arguments of calls point to, by thread and the call's start. A call is written after what it points to,
/// at times a segment later.
fn pointed(segment: Segment<'_>, mut calls: BTreeSet<(u32, i64)>) -> BTreeMap<(u32, i64), Vec<u8>> {
    let mut pointed = BTreeMap::new();
    for segment in [Some(segment), segment.before()].into_iter().flatten() {
        if calls.is_empty() {
            break;
        }
        for row in segment
            .columns::<Argument>(Some(&["ts", "tid", "arg", "data"]))
            .iter()
        {
            if row.arg == 0 && calls.remove(&(row.tid, row.ts)) {
                pointed.insert((row.tid, row.ts), row.data);
            }
        }
    }
    pointed
}

/// The last few segments.
struct Past<'a> {
    catalog: &'a Catalog,
    window: Window,
    kinds: BTreeMap<u32, LockKind>,
    held: Calls,
    waking: Recent<Waking>,
    woken: Recent<(u32, bool)>,
    outs: Outs,
}

impl<'a> Past<'a> {
    fn new(catalog: &'a Catalog, stacks: &Stacks, window: Window) -> Self {
        let kind = |functions: &[Function]| {
            let user = functions.iter().filter(|function| !function.kernel);
            LockKind::of_functions(user.map(|function| function.name.as_str()))
        };
        Self {
            catalog,
            window,
            kinds: stacks.classify(kind, |kinds| kinds.next()),
            held: Calls::default(),
            waking: Recent::new(KEPT_SEGMENTS),
            woken: Recent::new(KEPT_SEGMENTS),
            outs: Recent::new(KEPT_SEGMENTS),
        }
    }

    /// Takes the next segment, explains the waits of the one before.
    fn push(&mut self, facts: Facts) -> Batch<'_> {
        self.waking.push(facts.waking);
        self.woken.push(facts.woken);
        self.outs.push(facts.outs);
        let calls = std::mem::replace(&mut self.held, facts.calls);
        let mut let_go = calls.let_go;
        let_go.sort_by_key(|call| (call.ts, call.tid));
        let waits = calls.waited.iter().map(|waited| self.explain(waited));
        let mut waits: Vec<LockWait> = waits.collect();
        waits.sort_by_key(|wait| (wait.wake.map_or(wait.end, |wake| wake.ts), wait.tid));
        Batch {
            waits,
            let_go,
            missed: calls.missed,
            outs: &self.outs,
        }
    }

    fn explain(&self, waited: &Waited) -> LockWait {
        let exit = self.catalog.thread_at(waited.tid, waited.start);
        let exit = exit.and_then(|life| life.exit_ts).unwrap_or(i64::MAX);
        let latest = exit.min(self.window.to).max(waited.start);
        let end = waited.returned.unwrap_or(latest);
        let out = self.outs.last(waited.tid, waited.start, end);
        let stack = out.and_then(|(_, stack)| stack);
        let by_stack = stack.and_then(|stack| self.kinds.get(&stack).copied());
        let woken = waited.ended == Ended::Woken;
        LockWait {
            tid: waited.tid,
            place: waited.place,
            shared: waited.shared,
            kind: match (waited.operation, by_stack) {
                // Its functions are those of any mutex.
                (LockKind::PiMutex, Some(LockKind::Mutex)) => LockKind::PiMutex,
                (_, Some(by_stack)) => by_stack,
                (LockKind::CondvarOrSemaphore, None) if FutexCall::is_second_word(waited.word) => {
                    LockKind::Condvar
                }
                (operation, None) => operation,
            },
            named: by_stack.is_some(),
            start: waited.start,
            end,
            ended: waited.ended,
            wake: woken.then(|| self.wake(waited, end)).flatten(),
            stack,
            selected: waited.selected,
        }
    }

    /// Who let the thread go on: the last one that made it runnable before the call returned.
    fn wake(&self, waited: &Waited, end: i64) -> Option<LockWake> {
        let (ts, (tid, irq)) = self.woken.last(waited.tid, waited.start, end)?;
        if irq {
            return None;
        }
        let call = self.waking.last(tid, i64::MIN, ts);
        let call = call.map(|(_, call)| call).filter(|waking| waking.end >= ts);
        let operation = waited.operation;
        let here = |call: &Waking| {
            let home = FutexCall::home(call.word, operation);
            call.pid == waited.place.pid && home == waited.place.address
        };
        let there = |call: &Waking| call.pid != waited.place.pid && waited.shared && !call.private;
        let elsewhere = call.filter(there);
        // A thread that ends wakes who joins it without a call.
        let joined = operation == LockKind::Join && call.is_none();
        Some(LockWake {
            ts,
            tid,
            certain: joined || elsewhere.is_some() || call.is_some_and(|call| here(&call)),
            elsewhere: elsewhere.map(|call| (call.pid, FutexCall::home(call.word, operation))),
        })
    }
}
