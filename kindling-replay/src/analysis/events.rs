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
    Argument, Block, Fault, IoUring, Migration, Payload, Process, Sample, Switch, Syscall, Table,
    Tcp, Thread, Wakeup,
};

use crate::{
    context::Context,
    filter::{EventKind, Filter},
    model::{
        catalog::Catalog,
        select::{Details, EventSelection},
    },
    scan::{self, Segment},
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
    /// Stack samples
    Samples,
    /// Bytes that went through sockets, pipes and terminals
    Payloads,
    /// Requests to disks
    Block,
    /// Page faults
    Faults,
    /// Threads that are moved to another CPU
    Migrations,
    /// Processes that start, execute a program, or end
    Processes,
    /// Threads that start, change their name, or end
    Threads,
}

impl Source {
    const ALL: [Source; 12] = [
        Source::Syscalls,
        Source::IoUring,
        Source::Tcp,
        Source::Switches,
        Source::Wakeups,
        Source::Samples,
        Source::Payloads,
        Source::Block,
        Source::Faults,
        Source::Migrations,
        Source::Processes,
        Source::Threads,
    ];

    fn kind(self) -> EventKind {
        match self {
            Source::Syscalls => EventKind::Syscall,
            Source::IoUring => EventKind::IoUring,
            Source::Tcp => EventKind::Tcp,
            Source::Switches => EventKind::Switch,
            Source::Wakeups => EventKind::Wakeup,
            Source::Samples => EventKind::Sample,
            Source::Payloads => EventKind::Payload,
            Source::Block => EventKind::Block,
            Source::Faults => EventKind::Fault,
            Source::Migrations => EventKind::Migration,
            Source::Processes => EventKind::Process,
            Source::Threads => EventKind::Thread,
        }
    }

    /// What to show if nothing else is asked for: what programs ask of the kernel, or if the condition
    /// can hold for none of that, whatever it can hold for.
    pub fn default_for(filter: Option<&Filter>) -> BTreeSet<Source> {
        let may_hold = |source: Source| filter.is_none_or(|filter| filter.may_hold(source.kind()));
        if may_hold(Source::Syscalls) {
            return BTreeSet::from([Source::Syscalls, Source::IoUring]);
        }
        let others = Source::ALL.into_iter().filter(|&source| may_hold(source));
        others.collect()
    }
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
    /// A stack sample.
    Sample(Sample),
    /// Bytes that were moved.
    Payload(Box<Payload>),
    /// A request to a disk.
    Block(Box<Block>),
    /// A page fault.
    Fault(Fault),
    /// A move to another CPU.
    Migration(Migration),
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
            Row::Sample(_) => 4,
            Row::Syscall(..) => 5,
            Row::Payload(_) => 6,
            Row::IoUring(_) => 7,
            Row::Tcp(_) => 8,
            Row::Migration(_) => 9,
            Row::Fault(_) => 10,
            Row::Block(_) => 11,
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
pub fn stream<R: Send, B: Send>(
    context: &Context,
    catalog: &Catalog,
    sources: &BTreeSet<Source>,
    render: impl Fn(&Event) -> R + Sync,
    mut sink: impl FnMut(R) -> ControlFlow<B> + Send,
) -> ControlFlow<B> {
    let kinds: Vec<EventKind> = sources.iter().map(|source| source.kind()).collect();
    let selected = EventSelection::new(context, catalog, &kinds);
    let mut stream = Stream {
        sources,
        limits: limits(context, sources, &selected),
        selected,
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
    selected: EventSelection<'a>,
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
            macro_rules! of_threads {
                ($row:ident, $event:expr) => {
                    events.extend(self.of_threads::<$row>(
                        segment,
                        source.kind(),
                        |row| (row.ts, row.tid),
                        |row| Details::$row(row),
                        $event,
                    ))
                };
            }
            match source {
                Source::Syscalls => orphans = self.syscalls(segment, &mut events),
                Source::IoUring => self.io_uring(segment, &mut events),
                Source::Tcp => self.tcp(segment, &mut events),
                Source::Switches => self.switches(segment, &mut events),
                Source::Wakeups => self.wakeups(segment, &mut events),
                Source::Samples => of_threads!(Sample, Row::Sample),
                Source::Payloads => of_threads!(Payload, |row| Row::Payload(Box::new(row))),
                Source::Block => of_threads!(Block, |row| Row::Block(Box::new(row))),
                Source::Faults => of_threads!(Fault, Row::Fault),
                Source::Migrations => of_threads!(Migration, Row::Migration),
                Source::Processes => self.processes(segment, &mut events),
                Source::Threads => self.threads(segment, &mut events),
            }
        }
        events.sort_by_key(Event::key);
        (events, orphans)
    }

    fn syscalls(&self, segment: Segment<'_>, events: &mut Vec<Event>) -> Arguments {
        let mut arguments: Arguments = BTreeMap::new();
        for row in self
            .selected
            .rows::<Argument>(segment, EventKind::Syscall)
            .iter()
        {
            if self.selected.may_admit(row.tid, row.ts) {
                arguments.entry((row.tid, row.ts)).or_default().push(row);
            }
        }
        for row in self
            .selected
            .rows::<Syscall>(segment, EventKind::Syscall)
            .iter()
        {
            let (ts, tid) = (row.ts, row.tid);
            // Whether it is shown or not: what is left over belongs to calls of other segments.
            let own = arguments.remove(&(tid, ts));
            if self.selected.admits(tid, ts, Details::Syscall(&row)) {
                let own = own.or_else(|| self.orphans.get(&(tid, ts)).cloned());
                let row = Row::Syscall(Box::new(row), own.unwrap_or_default());
                events.push(Event { ts, tid, row });
            }
        }
        arguments
    }

    fn io_uring(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in self
            .selected
            .rows::<IoUring>(segment, EventKind::IoUring)
            .iter()
        {
            // A result often comes in the context of another thread: then its process counts.
            let admits = |tid| self.selected.admits(tid, row.ts, Details::IoUring(&row));
            if admits(row.tid) || admits(row.pid) {
                let (ts, tid) = (row.ts, row.tid);
                let row = Row::IoUring(Box::new(row));
                events.push(Event { ts, tid, row });
            }
        }
    }

    fn tcp(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in self.selected.rows::<Tcp>(segment, EventKind::Tcp).iter() {
            let tid = self.selected.catalog().owner_of(row.file).unwrap_or(0);
            if self.selected.admits(tid, row.ts, Details::Tcp(&row)) {
                let ts = row.ts;
                let row = Row::Tcp(Box::new(row));
                events.push(Event { ts, tid, row });
            }
        }
    }

    fn switches(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in self
            .selected
            .rows::<Switch>(segment, EventKind::Switch)
            .iter()
        {
            let admits = |tid| self.selected.admits(tid, row.ts, Details::Switch(&row));
            if admits(row.prev_tid) || admits(row.next_tid) {
                let (ts, tid) = (row.ts, row.prev_tid);
                let row = Row::Switch(row);
                events.push(Event { ts, tid, row });
            }
        }
    }

    fn wakeups(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in self
            .selected
            .rows::<Wakeup>(segment, EventKind::Wakeup)
            .iter()
        {
            let admits = |tid| self.selected.admits(tid, row.ts, Details::Wakeup(&row));
            if admits(row.waker_tid) || admits(row.wakee_tid) {
                let (ts, tid) = (row.ts, row.waker_tid);
                let row = Row::Wakeup(row);
                events.push(Event { ts, tid, row });
            }
        }
    }

    /// The rows of a table whose rows belong to one thread each.
    fn of_threads<T: Table>(
        &self,
        segment: Segment<'_>,
        kind: EventKind,
        key: fn(&T) -> (i64, u32),
        details: for<'r> fn(&'r T) -> Details<'r>,
        row: fn(T) -> Row,
    ) -> Vec<Event> {
        let rows = self.selected.rows::<T>(segment, kind);
        let admitted = rows.iter().filter(|row| {
            let (ts, tid) = key(row);
            self.selected.admits(tid, ts, details(row))
        });
        admitted
            .map(|found| {
                let (ts, tid) = key(&found);
                let row = row(found);
                Event { ts, tid, row }
            })
            .collect()
    }

    fn processes(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in self
            .selected
            .rows::<Process>(segment, EventKind::Process)
            .iter()
        {
            if row.target && self.selected.admits(row.pid, row.ts, Details::Process) {
                let (ts, tid) = (row.ts, row.pid);
                let row = Row::Process(Box::new(row));
                events.push(Event { ts, tid, row });
            }
        }
    }

    fn threads(&self, segment: Segment<'_>, events: &mut Vec<Event>) {
        for row in self
            .selected
            .rows::<Thread>(segment, EventKind::Thread)
            .iter()
        {
            if row.target && self.selected.admits(row.tid, row.ts, Details::Thread) {
                let (ts, tid) = (row.ts, row.tid);
                let row = Row::Thread(Box::new(row));
                events.push(Event { ts, tid, row });
            }
        }
    }
}

/// The latest event before each segment.
fn limits(
    context: &Context,
    sources: &BTreeSet<Source>,
    selected: &EventSelection<'_>,
) -> BTreeMap<u32, i64> {
    let mut limits = BTreeMap::new();
    let mut latest = i64::MIN;
    scan::segments(
        context,
        "looking at times",
        |segment| {
            let of = |&source: &Source| match source {
                Source::Syscalls => latest_of::<Syscall>(selected, segment, source, |row| row.ts),
                Source::IoUring => latest_of::<IoUring>(selected, segment, source, |row| row.ts),
                Source::Tcp => latest_of::<Tcp>(selected, segment, source, |row| row.ts),
                Source::Switches => latest_of::<Switch>(selected, segment, source, |row| row.ts),
                Source::Wakeups => latest_of::<Wakeup>(selected, segment, source, |row| row.ts),
                Source::Samples => latest_of::<Sample>(selected, segment, source, |row| row.ts),
                Source::Payloads => latest_of::<Payload>(selected, segment, source, |row| row.ts),
                Source::Block => latest_of::<Block>(selected, segment, source, |row| row.ts),
                Source::Faults => latest_of::<Fault>(selected, segment, source, |row| row.ts),
                Source::Migrations => {
                    latest_of::<Migration>(selected, segment, source, |row| row.ts)
                }
                Source::Processes => latest_of::<Process>(selected, segment, source, |row| row.ts),
                Source::Threads => latest_of::<Thread>(selected, segment, source, |row| row.ts),
            };
            let last = sources.iter().map(of).max();
            (segment.number, last.unwrap_or(i64::MIN))
        },
        |(number, last)| {
            limits.insert(number, latest);
            latest = latest.max(last);
        },
    );
    limits
}

fn latest_of<T: Table>(
    selected: &EventSelection<'_>,
    segment: Segment<'_>,
    source: Source,
    ts: fn(&T) -> i64,
) -> i64 {
    let rows = selected.columns::<T>(segment, source.kind(), Some(&["ts"]));
    rows.iter().map(|row| ts(&row)).max().unwrap_or(i64::MIN)
}
