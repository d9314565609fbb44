//! Which threads and events the selection admits: the options that all commands share, and the
//! condition of `--where` with the facts of a capture.
//!
//! A command that lists or counts events asks for each of them ([`EventSelection`]). A command that
//! accounts for the time of threads takes whole threads ([`threads`]): those that a condition decides
//! by facts of threads and processes alone, and of the others those that have an event for which it
//! holds. Both judge first what can be judged of many events at once (a member by its row in the
//! index, a thread by its life), and read only what is left.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{
    Rows,
    schema::{File, IoUring, Payload, Process, Sample, Switch, Syscall, Table, Tcp, Wakeup},
};

use crate::{
    context::Context,
    filter::{EventKind, Fact, Facts, Field, Filter},
    model::{
        catalog::{Catalog, ThreadLife, ThreadSet},
        slice::{Slice, State},
    },
    render::errno,
    scan::{self, Segment},
    selection::{Selection, Window, glob},
    warning::Warning,
};

/// The events that the selection admits.
#[derive(Debug)]
pub struct EventSelection<'a> {
    context: &'a Context,
    catalog: &'a Catalog,
    threads: ThreadSet,
    /// The processes of these threads; `None` if it may be any.
    pids: Option<BTreeSet<u32>>,
}

impl<'a> EventSelection<'a> {
    /// The selection for a command that looks at events of these kinds; warns if it can admit none.
    pub fn new(context: &'a Context, catalog: &'a Catalog, kinds: &[EventKind]) -> Self {
        if let Some(filter) = context.selection.filter.as_ref() {
            warn_if_never(context, filter, kinds);
        }
        let threads = candidates(context, catalog);
        let pids = threads.pids(catalog);
        Self {
            context,
            catalog,
            threads,
            pids,
        }
    }

    /// What is known of threads, processes and files.
    pub fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// The threads that such events can be of.
    pub fn threads(&self) -> &ThreadSet {
        &self.threads
    }

    /// The rows of table `T` in a segment, unless the index rules out that the selection admits one
    /// of them. They are events of this kind.
    pub fn rows<T: Table>(&self, segment: Segment<'_>, kind: EventKind) -> Rows<T> {
        self.columns(segment, kind, None)
    }

    /// As [`EventSelection::rows`], with only these columns.
    pub fn columns<T: Table>(
        &self,
        segment: Segment<'_>,
        kind: EventKind,
        wanted: Option<&[&str]>,
    ) -> Rows<T> {
        let window = self.context.selection.window;
        let may_speak = segment.may_speak_of(T::NAME, window, self.pids.as_ref());
        if may_speak && self.member_may_hold(segment, T::NAME, kind) {
            segment.columns(wanted)
        } else {
            segment.skip::<T>();
            Rows::empty()
        }
    }

    fn member_may_hold(&self, segment: Segment<'_>, table: &str, kind: EventKind) -> bool {
        let (Some(filter), Some(index)) = (&self.context.selection.filter, segment.index(table))
        else {
            return true;
        };
        let offset = |ts| self.context.offset_ns(ts);
        let facts = MemberFacts {
            kind,
            span: index
                .min_ts
                .zip(index.max_ts)
                .map(|(a, b)| (offset(a), offset(b))),
            pids: &index.pids,
        };
        filter.judge(&facts) != Some(false)
    }

    /// Whether it may admit an event of a thread, by the thread and the time alone.
    pub fn may_admit(&self, tid: u32, ts: i64) -> bool {
        self.context.selection.window.contains(ts) && self.threads.contains(self.catalog, tid, ts)
    }

    /// Whether it admits an event of a thread.
    pub fn admits(&self, tid: u32, ts: i64, details: Details<'_>) -> bool {
        self.context.selection.window.contains(ts) && self.holds(tid, ts, details)
    }

    /// Whether it admits an event, whenever that was.
    pub fn holds(&self, tid: u32, ts: i64, details: Details<'_>) -> bool {
        self.threads.contains(self.catalog, tid, ts)
            && self.context.selection.filter.as_ref().is_none_or(|filter| {
                filter.holds(&EventFacts {
                    catalog: self.catalog,
                    ts,
                    offset_ns: self.context.offset_ns(details.start().unwrap_or(ts)),
                    tid,
                    details,
                })
            })
    }
}

/// The threads that a command takes which accounts for their time; warns if there are none.
pub fn threads(context: &Context, catalog: &Catalog) -> ThreadSet {
    let selection = &context.selection;
    if !selection.restricts_threads() {
        return ThreadSet::All;
    }
    let (mut chosen, mut open) = (BTreeSet::new(), BTreeSet::new());
    for (&key, life) in &catalog.threads {
        match judge(context, catalog, life) {
            Some(true) => drop(chosen.insert(key)),
            None => drop(open.insert(key)),
            Some(false) => {}
        }
    }
    if let Some(filter) = selection.filter.as_ref().filter(|_| !open.is_empty()) {
        warn_if_never(context, filter, &EVENTS);
        chosen.extend(with_events(context, catalog, &open));
    }
    if chosen.is_empty() {
        context.warn(Warning::NothingSelected {
            option: selection.thread_options(),
        });
    }
    set_of(catalog, chosen)
}

/// The kinds of events that decide about threads.
const EVENTS: [EventKind; 5] = [
    EventKind::Syscall,
    EventKind::Switch,
    EventKind::Wakeup,
    EventKind::Sample,
    EventKind::Payload,
];

/// Which of some threads have an event in the window for which the condition holds.
fn with_events(
    context: &Context,
    catalog: &Catalog,
    open: &BTreeSet<(u32, i64)>,
) -> BTreeSet<(u32, i64)> {
    let threads = set_of(catalog, open.clone());
    let events = EventSelection {
        context,
        catalog,
        pids: threads.pids(catalog),
        threads,
    };
    let mut found = BTreeSet::new();
    scan::segments(
        context,
        "looking for threads",
        |segment| events.threads_of(segment),
        |some| found.extend(some),
    );
    found
}

impl EventSelection<'_> {
    /// The threads that have an admitted event in a segment.
    fn threads_of(&self, segment: Segment<'_>) -> BTreeSet<(u32, i64)> {
        let mut found: BTreeSet<(u32, i64)> = BTreeSet::new();
        let mut look = |tid: u32, ts: i64, details: Details<'_>| {
            let key = |life: &ThreadLife| (life.tid, life.start_ts);
            if let Some(key) = self.catalog.thread_at(tid, ts).map(key)
                && !found.contains(&key)
                && self.admits(tid, ts, details)
            {
                found.insert(key);
            }
        };
        for row in self.rows::<Syscall>(segment, EventKind::Syscall).iter() {
            look(row.tid, row.ts, Details::Syscall(&row));
        }
        for row in self.rows::<Switch>(segment, EventKind::Switch).iter() {
            look(row.prev_tid, row.ts, Details::Switch(&row));
            look(row.next_tid, row.ts, Details::Switch(&row));
        }
        for row in self.rows::<Wakeup>(segment, EventKind::Wakeup).iter() {
            look(row.waker_tid, row.ts, Details::Wakeup(&row));
            look(row.wakee_tid, row.ts, Details::Wakeup(&row));
        }
        for row in self.rows::<Sample>(segment, EventKind::Sample).iter() {
            look(row.tid, row.ts, Details::Sample(&row));
        }
        for row in self.rows::<Payload>(segment, EventKind::Payload).iter() {
            look(row.tid, row.ts, Details::Payload(&row));
        }
        found
    }
}

/// The threads whose events can be admitted. Those that the capture does not know are among them only
/// if nothing is asked of threads.
fn candidates(context: &Context, catalog: &Catalog) -> ThreadSet {
    let selection = &context.selection;
    let filter = selection.filter.as_ref();
    let strangers = filter.is_none_or(|filter| filter.judge(&LifeFacts::stranger()) != Some(false));
    if strangers && !selection.has_thread_options() {
        return ThreadSet::All;
    }
    let lives = catalog.threads.iter();
    let possible = lives.filter(|(_, life)| judge(context, catalog, life) != Some(false));
    let keys: BTreeSet<(u32, i64)> = possible.map(|(&key, _)| key).collect();
    if keys.is_empty() {
        context.warn(Warning::NothingSelected {
            option: selection.thread_options(),
        });
    }
    set_of(catalog, keys)
}

fn set_of(catalog: &Catalog, keys: BTreeSet<(u32, i64)>) -> ThreadSet {
    let mut set: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    for (tid, start_ts) in keys {
        set.entry(tid).or_default().push(start_ts);
    }
    let reused = |tid: u32| {
        let lives = catalog.threads.range((tid, i64::MIN)..=(tid, i64::MAX));
        lives.count() > 1
    };
    let some = set.into_iter();
    ThreadSet::Some(
        some.map(|(tid, starts)| (tid, reused(tid).then_some(starts)))
            .collect(),
    )
}

/// Whether a thread is selected; `None` if its events decide.
fn judge(context: &Context, catalog: &Catalog, life: &ThreadLife) -> Option<bool> {
    let selection = &context.selection;
    if !fits(catalog, life, selection) {
        return Some(false);
    }
    let Some(filter) = &selection.filter else {
        return Some(true);
    };
    let offset = |ts| context.offset_ns(ts);
    let Window { from, to } = selection.window;
    let mut facts = LifeFacts {
        life: Some(life),
        process: catalog.process_at(life.pid, life.start_ts),
        comm: "",
        window: (offset(from), offset(to)),
    };
    // A thread that had several names fits if it does under one of them, as with --comm.
    let mut answer = Some(false);
    for (_, comm) in &life.comms {
        facts.comm = comm;
        match filter.judge(&facts) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

fn fits(catalog: &Catalog, life: &ThreadLife, selection: &Selection) -> bool {
    let listed = |ids: &[u32], id| ids.is_empty() || ids.contains(&id);
    let comm = |pattern: &String| life.comms.iter().any(|(_, comm)| glob(pattern, comm));
    let container = |id: &String| {
        let process = catalog.process_at(life.pid, life.start_ts);
        process.is_some_and(|process| {
            let begins = |container: &String| container.starts_with(id);
            process.container.as_ref().is_some_and(begins)
                || process.container_name.as_ref() == Some(id)
        })
    };
    listed(&selection.pids, life.pid)
        && listed(&selection.tids, life.tid)
        && selection.comm.as_ref().is_none_or(comm)
        && selection.container.as_ref().is_none_or(container)
}

fn warn_if_never(context: &Context, filter: &Filter, kinds: &[EventKind]) {
    if !kinds.iter().any(|&kind| filter.may_hold(kind)) {
        context.warn(Warning::NeverHolds {
            kinds: kinds.iter().map(|kind| kind.word()).collect(),
        });
    }
}

/// What is known of an event beside its thread and time.
#[derive(Debug, Clone, Copy)]
pub enum Details<'a> {
    /// A system call.
    Syscall(&'a Syscall),
    /// An operation or a result of an io_uring.
    IoUring(&'a IoUring),
    /// What happened to a TCP socket.
    Tcp(&'a Tcp),
    /// A context switch, for one of its two threads.
    Switch(&'a Switch),
    /// A wakeup, likewise.
    Wakeup(&'a Wakeup),
    /// A stack sample.
    Sample(&'a Sample),
    /// Bytes that were moved.
    Payload(&'a Payload),
    /// A fact about a process.
    Process,
    /// A fact about a thread.
    Thread,
    /// A stretch of time in which the thread was blocked.
    Wait(&'a Slice),
    /// One end of a request.
    Request {
        /// Its file.
        file: Option<u32>,
        /// When the request began.
        start: i64,
        /// How long it took.
        dur: Option<i64>,
    },
    /// One end of a connection.
    Connection {
        /// Its file.
        file: u32,
        /// When it first moved bytes in the window.
        start: i64,
    },
}

impl Details<'_> {
    fn kind(&self) -> EventKind {
        match self {
            Details::Syscall(_) => EventKind::Syscall,
            Details::IoUring(_) => EventKind::IoUring,
            Details::Tcp(_) => EventKind::Tcp,
            Details::Switch(_) => EventKind::Switch,
            Details::Wakeup(_) => EventKind::Wakeup,
            Details::Sample(_) => EventKind::Sample,
            Details::Payload(_) => EventKind::Payload,
            Details::Process => EventKind::Process,
            Details::Thread => EventKind::Thread,
            Details::Wait(_) => EventKind::Wait,
            Details::Request { .. } => EventKind::Request,
            Details::Connection { .. } => EventKind::Connection,
        }
    }

    fn file(&self) -> Option<u32> {
        match self {
            Details::Syscall(row) => row.file,
            Details::IoUring(row) => row.file,
            Details::Tcp(row) => row.file,
            Details::Payload(row) => Some(row.file),
            Details::Wait(slice) => slice.wait.file,
            Details::Request { file, .. } => *file,
            Details::Connection { file, .. } => Some(*file),
            _ => None,
        }
    }

    fn dur(&self) -> Option<i64> {
        match self {
            Details::Syscall(row) => row.dur,
            Details::Payload(row) => Some(row.dur),
            Details::Wait(slice) => Some(slice.length_ns()),
            Details::Request { dur, .. } => *dur,
            _ => None,
        }
    }

    /// The moment that its `ts` means, if that is not the one at which its thread is looked up.
    fn start(&self) -> Option<i64> {
        match self {
            Details::Request { start, .. } | Details::Connection { start, .. } => Some(*start),
            _ => None,
        }
    }

    fn cpu(&self) -> Option<u16> {
        match self {
            Details::Syscall(row) => Some(row.cpu),
            Details::IoUring(row) => Some(row.cpu),
            Details::Tcp(row) => Some(row.cpu),
            Details::Switch(row) => Some(row.cpu),
            Details::Wakeup(row) => Some(row.cpu),
            Details::Sample(row) => Some(row.cpu),
            _ => None,
        }
    }

    fn nr(&self) -> Option<u16> {
        match self {
            Details::Syscall(row) => Some(row.nr),
            Details::Wait(slice) => slice.wait.syscall,
            _ => None,
        }
    }
}

/// One event.
struct EventFacts<'a> {
    catalog: &'a Catalog,
    ts: i64,
    offset_ns: i64,
    tid: u32,
    details: Details<'a>,
}

impl Facts for EventFacts<'_> {
    fn fact(&self, field: Field) -> Fact<'_> {
        let life = || self.catalog.thread_at(self.tid, self.ts);
        match field {
            Field::EventKind => Fact::text(Some(self.details.kind().word())),
            Field::Ts => Fact::number(Some(self.offset_ns)),
            Field::Dur => Fact::number(self.details.dur()),
            Field::Cpu => Fact::number(self.details.cpu()),
            Field::Tid => Fact::number(Some(self.tid)),
            Field::ThreadComm => Fact::text(life().map(|life| life.comm_at(self.ts))),
            Field::Pid => Fact::number(life().map(|life| life.pid)),
            Field::SyscallNr => Fact::number(self.details.nr()),
            Field::SyscallName => match self.details.nr() {
                Some(nr) => Fact::Text(self.catalog.syscall_name(nr).into()),
                None => Fact::Absent,
            },
            field => self.details.fact(field).unwrap_or_else(|| {
                let file = self.details.file();
                let file = file.and_then(|id| self.catalog.files.get(&id));
                file_fact(field, file).unwrap_or_else(|| {
                    let process =
                        life().and_then(|life| self.catalog.process_at(life.pid, self.ts));
                    process_fact(field, process)
                })
            }),
        }
    }
}

impl<'a> Details<'a> {
    /// The fields that belong to one kind of event; `None` for those of files and processes.
    fn fact(&self, field: Field) -> Option<Fact<'a>> {
        let call = match *self {
            Details::Syscall(row) => Some(row),
            _ => None,
        };
        let payload = match *self {
            Details::Payload(row) => Some(row),
            _ => None,
        };
        let switch = match *self {
            Details::Switch(row) => Some(row),
            _ => None,
        };
        let wakeup = match *self {
            Details::Wakeup(row) => Some(row),
            _ => None,
        };
        let word = |word: Option<String>| word.map_or(Fact::Absent, |word| Fact::Text(word.into()));
        Some(match field {
            Field::Arg0 => Fact::number(call.and_then(|row| row.arg0)),
            Field::Arg1 => Fact::number(call.and_then(|row| row.arg1)),
            Field::Arg2 => Fact::number(call.and_then(|row| row.arg2)),
            Field::Arg3 => Fact::number(call.and_then(|row| row.arg3)),
            Field::Arg4 => Fact::number(call.and_then(|row| row.arg4)),
            Field::Arg5 => Fact::number(call.and_then(|row| row.arg5)),
            Field::Ret => Fact::number(call.and_then(|row| row.ret)),
            Field::Errno => Fact::number(call.and_then(|row| errno::of_return(row.ret?))),
            Field::PayloadDirection => word(payload.map(|row| row.direction.to_string())),
            Field::PayloadSize => Fact::number(payload.map(|row| row.size)),
            Field::PayloadOffset => Fact::number(payload.map(|row| row.offset)),
            Field::PayloadData => payload.map_or(Fact::Absent, |row| Fact::Bytes(&row.data)),
            Field::SwitchPrev => Fact::number(switch.map(|row| row.prev_tid)),
            Field::SwitchNext => Fact::number(switch.map(|row| row.next_tid)),
            Field::Preempted => Fact::number(switch.map(|row| row.preempted)),
            Field::Waker => Fact::number(wakeup.map(|row| row.waker_tid)),
            Field::Wakee => Fact::number(wakeup.map(|row| row.wakee_tid)),
            Field::Irq => Fact::number(wakeup.map(|row| row.irq)),
            Field::SampleMode => word(match *self {
                Details::Sample(row) => Some(row.mode.to_string()),
                _ => None,
            }),
            Field::WaitReason => match *self {
                Details::Wait(Slice {
                    state: State::Blocked(reason),
                    ..
                }) => Fact::text(Some(reason.word())),
                _ => Fact::Absent,
            },
            _ => return None,
        })
    }
}

/// A field of the file that an event worked on; `None` if it is not one.
fn file_fact(field: Field, file: Option<&File>) -> Option<Fact<'_>> {
    let address =
        |of: fn(&File) -> &Option<String>| Fact::text(file.and_then(|file| of(file).as_deref()));
    let port = |of: fn(&File) -> Option<u16>| Fact::number(file.and_then(of));
    Some(match field {
        Field::FilePath => address(|file| &file.path),
        Field::FileKind => match file {
            Some(file) => Fact::Text(file.kind.to_string().into()),
            None => Fact::Absent,
        },
        Field::FileId => Fact::number(file.map(|file| file.id)),
        Field::FileInode => Fact::number(file.and_then(|file| file.inode)),
        Field::LocalAddress => address(|file| &file.local_address),
        Field::LocalPort => port(|file| file.local_port),
        Field::PeerAddress => address(|file| &file.remote_address),
        Field::PeerPort => port(|file| file.remote_port),
        Field::Address => Fact::both(
            address(|file| &file.local_address),
            address(|file| &file.remote_address),
        ),
        Field::Port => Fact::both(port(|file| file.local_port), port(|file| file.remote_port)),
        _ => return None,
    })
}

/// A field of a process; absent if it is none.
fn process_fact(field: Field, process: Option<&Process>) -> Fact<'_> {
    let Some(process) = process else {
        return Fact::Absent;
    };
    match field {
        Field::Ppid => Fact::number(Some(process.ppid)),
        Field::ProcessComm => Fact::text(Some(&process.comm)),
        Field::Exe => Fact::text(process.exe.as_deref()),
        Field::Args if process.argv.is_empty() => Fact::Absent,
        Field::Args => Fact::Text(process.argv.join(" ").into()),
        Field::Uid => Fact::number(process.uid),
        Field::Cgroup => Fact::text(process.cgroup.as_deref()),
        Field::Container => Fact::text(process.container.as_deref()),
        _ => Fact::Absent,
    }
}

/// All events of a thread under one of its names.
struct LifeFacts<'a> {
    /// `None` for a thread that the capture does not know.
    life: Option<&'a ThreadLife>,
    process: Option<&'a Process>,
    comm: &'a str,
    window: (i64, i64),
}

impl LifeFacts<'_> {
    fn stranger() -> Self {
        Self {
            life: None,
            process: None,
            comm: "",
            window: (i64::MIN, i64::MAX),
        }
    }
}

impl Facts for LifeFacts<'_> {
    fn fact(&self, field: Field) -> Fact<'_> {
        let (from, to) = self.window;
        match field {
            Field::Ts => Fact::Between(from.into(), to.into()),
            Field::Tid => Fact::number(self.life.map(|life| life.tid)),
            Field::Pid => Fact::number(self.life.map(|life| life.pid)),
            Field::ThreadComm => Fact::text(Some(self.comm)),
            Field::Ppid
            | Field::ProcessComm
            | Field::Exe
            | Field::Args
            | Field::Uid
            | Field::Cgroup
            | Field::Container => process_fact(field, self.process),
            _ => Fact::Unknown,
        }
    }
}

/// All events of a member, by its row in the index.
struct MemberFacts<'a> {
    kind: EventKind,
    span: Option<(i64, i64)>,
    /// Empty if its rows name no processes.
    pids: &'a [u32],
}

impl Facts for MemberFacts<'_> {
    fn fact(&self, field: Field) -> Fact<'_> {
        match field {
            Field::EventKind => Fact::text(Some(self.kind.word())),
            Field::Ts => match self.span {
                Some((first, last)) => Fact::Between(first.into(), last.into()),
                None => Fact::Unknown,
            },
            Field::Pid if !self.pids.is_empty() => Fact::OneOf(self.pids),
            field if field.is_of(self.kind) => Fact::Unknown,
            _ => Fact::Absent,
        }
    }
}
