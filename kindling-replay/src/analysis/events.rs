//! All events in the order of time, streamed.
//!
//! A syscall is written when it returns, maybe many segments after it was entered, so the rows of
//! the segments overlap in time. Rows that lie before a row of an earlier segment are few (the calls
//! that were in flight when a segment ended): they are collected first and merged into the stream,
//! so that memory holds these and the segments in flight.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use kindling_format::schema::{
    Argument, IoUring, Process, Switch, Syscall, Table, Tcp, Thread, Wakeup,
};

use crate::{
    context::Context,
    model::catalog::{Catalog, ThreadSet},
    scan::{self, Segment},
    selection::Window,
};

/// A table whose rows are events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Source {
    /// System calls
    Syscalls,
    /// Operations of io_urings, and their results
    #[value(name = "io_uring")]
    IoUring,
    /// What happened to TCP sockets
    Tcp,
    /// Context switches
    Switches,
    /// Wakeups
    Wakeups,
    /// Processes that start, execute a program, or end
    Processes,
    /// Threads that start, change their name, or end
    Threads,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When; a syscall counts when it was entered.
    pub ts: i64,
    /// The thread: the one that left, of a switch; the waker, of a wakeup. Of a TCP socket the
    /// process that used it first, 0 if that is not known.
    pub tid: u32,
    /// The row.
    pub row: Row,
}

/// The row of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A syscall, with what its arguments pointed to.
    Syscall(Box<Syscall>, Vec<Argument>),
    /// An operation or a result of an io_uring.
    IoUring(Box<IoUring>),
    /// What happened to a TCP socket.
    Tcp(Box<Tcp>),
    /// A context switch.
    Switch(Switch),
    /// A wakeup.
    Wakeup(Wakeup),
    /// A fact about a process.
    Process(Box<Process>),
    /// A fact about a thread.
    Thread(Box<Thread>),
}

impl Event {
    fn key(&self) -> (i64, u8, u32) {
        let rank = match self.row {
            Row::Process(_) => 0,
            Row::Thread(_) => 1,
            Row::Switch(_) => 2,
            Row::Wakeup(_) => 3,
            Row::Syscall(..) => 4,
            Row::IoUring(_) => 5,
            Row::Tcp(_) => 6,
        };
        (self.ts, rank, self.tid)
    }
}

/// Arguments by the call that they belong to: its thread and when it was entered.
type Arguments = BTreeMap<(u32, i64), Vec<Argument>>;

/// Gives the events of these tables that the selection admits to `sink`, each as what `render` makes
/// of it, until that breaks. `render` runs on all cores.
///
/// # Errors
/// What `sink` breaks with.
pub fn stream<R: Send, B>(
    context: &Context,
    catalog: &Catalog,
    sources: &BTreeSet<Source>,
    render: impl Fn(&Event) -> R + Sync,
    mut sink: impl FnMut(R) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let mut stream = Stream {
        sources,
        catalog,
        set: catalog.select(context),
        window: context.selection.window,
        limits: limits(context, sources),
        orphans: BTreeMap::new(),
    };
    let mut early = stream.early(context).into_iter().peekable();
    scan::segments_while(
        context,
        "reading events",
        |segment| {
            let limit = stream.limit(segment);
            let events = stream.events(segment).0.into_iter();
            let events = events.filter(|event| event.ts >= limit);
            events
                .map(|event| (event.key(), render(&event)))
                .collect::<Vec<_>>()
        },
        |events| {
            for (key, event) in events {
                while let Some(before) = early.next_if(|early| early.key() <= key) {
                    sink(render(&before))?;
                }
                sink(event)?;
            }
            ControlFlow::Continue(())
        },
    )?;
    early.try_for_each(|event| sink(render(&event)))
}

#[derive(Debug)]
struct Stream<'a> {
    sources: &'a BTreeSet<Source>,
    catalog: &'a Catalog,
    set: ThreadSet,
    window: Window,
    /// The latest event before each segment: what lies before it is early.
    limits: BTreeMap<u32, i64>,
    /// Arguments whose syscall is in another segment, because it returned much later.
    orphans: Arguments,
}

impl Stream<'_> {
    fn limit(&self, segment: Segment<'_>) -> i64 {
        self.limits
            .get(&segment.number)
            .copied()
            .unwrap_or(i64::MIN)
    }

    /// Collects the early events of all segments, and the orphans.
    fn early(&mut self, context: &Context) -> Vec<Event> {
        let mut early = Vec::new();
        let mut orphans: Arguments = BTreeMap::new();
        scan::segments(
            context,
            "looking for early events",
            |segment| {
                let limit = self.limit(segment);
                let (mut events, orphans) = self.events(segment);
                events.retain(|event| event.ts < limit);
                (events, orphans)
            },
            |(some, some_orphans)| {
                early.extend(some);
                for (call, arguments) in some_orphans {
                    orphans.entry(call).or_default().extend(arguments);
                }
            },
        );
        for event in &mut early {
            if let Row::Syscall(call, arguments) = &mut event.row
                && let Some(found) = orphans.get(&(call.tid, call.ts))
            {
                arguments.extend(found.iter().cloned());
            }
        }
        early.sort_by_key(Event::key);
        self.orphans = orphans;
        early
    }

    /// The events of a segment in the order of time, and arguments without a call.
    fn events(&self, segment: Segment<'_>) -> (Vec<Event>, Arguments) {
        let mut events = Vec::new();
        let mut orphans = BTreeMap::new();
        for source in self.sources {
            match source {
                Source::Syscalls => orphans = self.syscalls(segment, &mut events),
                Source::IoUring => self.io_uring(segment, &mut events),
                Source::Tcp => self.tcp(segment, &mut events),
                Source::Switches => self.switches(segment, &mut events),
                Source::Wakeups => self.wakeups(segment, &mut events),
                Source::Processes => self.processes(segment, &mut events),
                Source::Threads => self.threads(segment, &mut events),
            }
        }
        events.sort_by_key(Event::key);
        (events, orphans)
    }

    fn admits(&self, tid: u32, ts: i64) -> bool {
        self.window.contains(ts) && self.set.contains(self.catalog, tid, ts)
    }

    fn syscalls(&self, segment: Segment<'_>, events: &mut Vec<Event>) -> Arguments {
        let mut arguments: Arguments = BTreeMap::new();
        for row in segment.rows_within::<Argument>(self.window).iter() {
            if self.admits(row.tid, row.ts) {
                arguments.entry((row.tid, row.ts)).or_default().push(row);
            }
        }
        for row in segment.rows_within::<Syscall>(self.window).iter() {
            if self.admits(row.tid, row.ts) {
                let key = (row.tid, row.ts);
                let orphans = self.orphans.get(&key).cloned();
                let arguments = arguments.remove(&key).or(orphans).unwrap_or_default();
                let (ts, tid) = (row.ts, row.tid);
                let row = Row::Syscall(Box::new(row), arguments);
                events.push(Event { ts, tid, row });
            }
        }
        arguments
    }

    fn io_uring(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in segment.rows_within::<IoUring>(self.window).iter() {
            if self.admits(row.tid, row.ts) || self.admits(row.pid, row.ts) {
                let (ts, tid) = (row.ts, row.tid);
                let row = Row::IoUring(Box::new(row));
                events.push(Event { ts, tid, row });
            }
        }
    }

    fn tcp(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in segment.rows_within::<Tcp>(self.window).iter() {
            let tid = self.catalog.owner_of(row.file).unwrap_or(0);
            if self.admits(tid, row.ts) {
                let ts = row.ts;
                let row = Row::Tcp(Box::new(row));
                events.push(Event { ts, tid, row });
            }
        }
    }

    fn switches(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in segment.rows_within::<Switch>(self.window).iter() {
            if self.admits(row.prev_tid, row.ts) || self.admits(row.next_tid, row.ts) {
                let (ts, tid) = (row.ts, row.prev_tid);
                events.push(Event {
                    ts,
                    tid,
                    row: Row::Switch(row),
                });
            }
        }
    }

    fn wakeups(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in segment.rows_within::<Wakeup>(self.window).iter() {
            if self.admits(row.waker_tid, row.ts) || self.admits(row.wakee_tid, row.ts) {
                let (ts, tid) = (row.ts, row.waker_tid);
                events.push(Event {
                    ts,
                    tid,
                    row: Row::Wakeup(row),
                });
            }
        }
    }

    fn processes(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in segment.rows_within::<Process>(self.window).iter() {
            if row.target && self.admits(row.pid, row.ts) {
                let (ts, tid) = (row.ts, row.pid);
                events.push(Event {
                    ts,
                    tid,
                    row: Row::Process(Box::new(row)),
                });
            }
        }
    }

    fn threads(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in segment.rows_within::<Thread>(self.window).iter() {
            if row.target && self.admits(row.tid, row.ts) {
                let (ts, tid) = (row.ts, row.tid);
                events.push(Event {
                    ts,
                    tid,
                    row: Row::Thread(Box::new(row)),
                });
            }
        }
    }
}

/// The latest event before each segment.
fn limits(context: &Context, sources: &BTreeSet<Source>) -> BTreeMap<u32, i64> {
    let mut limits = BTreeMap::new();
    let mut latest = i64::MIN;
    scan::segments(
        context,
        "looking at times",
        |segment| {
            let of = |source: &Source| match source {
                Source::Syscalls => latest_of::<Syscall>(segment, |row| row.ts),
                Source::IoUring => latest_of::<IoUring>(segment, |row| row.ts),
                Source::Tcp => latest_of::<Tcp>(segment, |row| row.ts),
                Source::Switches => latest_of::<Switch>(segment, |row| row.ts),
                Source::Wakeups => latest_of::<Wakeup>(segment, |row| row.ts),
                Source::Processes => latest_of::<Process>(segment, |row| row.ts),
                Source::Threads => latest_of::<Thread>(segment, |row| row.ts),
            };
            (
                segment.number,
                sources.iter().map(of).max().unwrap_or(i64::MIN),
            )
        },
        |(number, last)| {
            limits.insert(number, latest);
            latest = latest.max(last);
        },
    );
    limits
}

fn latest_of<T: Table>(segment: Segment<'_>, ts: fn(&T) -> i64) -> i64 {
    let rows = segment.columns::<T>(Some(&["ts"]));
    rows.iter().map(|row| ts(&row)).max().unwrap_or(i64::MIN)
}
