//! What `arguments` says of polls: the bytes of the calls that have them.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{
    Rows,
    schema::{Argument, Syscall, Watch},
    syscalls::ArgKind,
};

use crate::{
    context::Context,
    model::{
        catalog::Catalog,
        doing::{self, Moments},
        ready::{self, Events},
        wait_reason::Call,
    },
    scan::{self, Segment},
    selection::Window,
};

/// `EPOLL_CTL_ADD`, `EPOLL_CTL_MOD` (`<linux/eventpoll.h>`).
const MARKING: [u32; 2] = [1, 3];

/// The argument of `epoll_ctl` that has the mark.
const MARK_ARGUMENT: u8 = 3;

/// What is to be read of it.
#[derive(Debug)]
pub(super) enum Wanted<'a> {
    Everything,
    /// What epolls of these processes were told to watch, or were found to, before a moment.
    Watching {
        pids: &'a BTreeSet<u32>,
        before: i64,
    },
}

impl Wanted<'_> {
    fn window(&self) -> Window {
        match self {
            Self::Everything => Window::ALWAYS,
            Self::Watching { before, .. } => Window {
                to: before.saturating_sub(1),
                ..Window::ALWAYS
            },
        }
    }

    fn pids(&self) -> Option<&BTreeSet<u32>> {
        match self {
            Self::Everything => None,
            Self::Watching { pids, .. } => Some(pids),
        }
    }

    fn has(&self, pid: u32, ts: i64) -> bool {
        self.window().contains(ts) && self.pids().is_none_or(|pids| pids.contains(&pid))
    }

    /// Whether the call of this argument is wanted, as far as the argument tells.
    fn has_argument(&self, row: &Argument) -> bool {
        let of_kind = matches!(self, Self::Everything) || row.arg == MARK_ARGUMENT;
        of_kind && self.has(row.pid, row.ts)
    }
}

/// What was read of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Polls that found something.
    pub(super) polls: Vec<Poll>,
    /// What was added to epolls, or given another mark there.
    pub(super) adds: Vec<Add>,
    /// What epolls watched when they were looked at.
    pub(super) watches: Vec<Watch>,
}

/// What a poll found first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Fd(i32, Events),
    /// The program's mark of it.
    Mark(u64, Events),
}

/// A poll that found something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Poll {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) ts: i64,
    pub(super) end: i64,
    /// The epoll.
    pub(super) file: Option<u32>,
    /// `None` if it lies beyond what was recorded.
    pub(super) found: Option<Found>,
    pub(super) count: u64,
}

/// A descriptor that was added to an epoll, or given another mark there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Add {
    pub(super) ts: i64,
    pub(super) pid: u32,
    pub(super) epoll_fd: i32,
    /// The epoll itself.
    pub(super) epoll: u32,
    pub(super) fd: i32,
    pub(super) events: Events,
    pub(super) mark: u64,
}

impl Poll {
    /// A call that has found something, and what that was.
    fn new(call: &Call, row: &Argument, found: Option<Found>) -> Option<Self> {
        let count = u64::try_from(call.ret?).ok().filter(|count| *count > 0)?;
        Some(Self {
            pid: row.pid,
            tid: row.tid,
            ts: call.ts,
            end: call.end,
            file: call.file,
            found,
            count,
        })
    }
}

impl Told {
    /// Reads it in the whole capture.
    pub(super) fn load(context: &Context, catalog: &Catalog, wanted: &Wanted<'_>) -> Self {
        let reader = Reader {
            catalog,
            arch: &context.capture.header().host.arch,
        };
        let mut told = Self::default();
        let mut orphans: BTreeMap<(u32, i64), Vec<Argument>> = BTreeMap::new();
        scan::segments(
            context,
            "reading what polls found",
            |segment| reader.segment(segment, wanted),
            |(some_told, some_orphans)| {
                told.polls.extend(some_told.polls);
                told.adds.extend(some_told.adds);
                told.watches.extend(some_told.watches);
                for row in some_orphans {
                    orphans.entry((row.tid, row.ts)).or_default().push(row);
                }
            },
        );
        let mut moments = Moments::new();
        for (tid, ts) in orphans.keys() {
            moments.entry(*tid).or_default().insert(*ts);
        }
        for ((tid, ts), call) in doing::calls_at(context, &moments) {
            let arguments = orphans.remove(&(tid, ts)).unwrap_or_default();
            if call.ts == ts {
                reader.call(&call, &arguments, &mut told);
            }
        }
        told
    }
}

/// Puts bytes into words.
pub(super) struct Reader<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) arch: &'a str,
}

impl Reader<'_> {
    /// What a segment says, and arguments whose call is in another one.
    fn segment(&self, segment: Segment<'_>, wanted: &Wanted<'_>) -> (Told, Vec<Argument>) {
        let (window, pids) = (wanted.window(), wanted.pids());
        let watches = segment.rows_of::<Watch>(window, pids);
        let watches = watches.iter().filter(|row| wanted.has(row.pid, row.ts));
        let mut told = Told {
            watches: watches.collect(),
            ..Told::default()
        };
        let mut orphans = Vec::new();
        let arguments = segment.rows_of::<Argument>(window, pids);
        let arguments = arguments.iter().filter(|row| wanted.has_argument(row));
        let arguments: Vec<Argument> = arguments.collect();
        if arguments.is_empty() {
            return (told, orphans);
        }
        let calls = segment.columns::<Syscall>(Some(&Call::COLUMNS));
        for own in arguments.chunk_by(|a, b| (a.tid, a.ts) == (b.tid, b.ts)) {
            let Some(first) = own.first() else { continue };
            match find(&calls, first.tid, first.ts) {
                Some(row) => self.call(&Call::new(&calls.get(row)), own, &mut told),
                None => orphans.extend_from_slice(own),
            }
        }
        (told, orphans)
    }

    /// Adds what the arguments of a call say.
    pub(super) fn call(&self, call: &Call, arguments: &[Argument], told: &mut Told) {
        let kinds = self
            .catalog
            .syscall(call.nr)
            .map_or(&[][..], |spec| spec.args);
        let kind_of = |row: &Argument| kinds.get(usize::from(row.arg));
        for row in arguments {
            match kind_of(row) {
                Some(ArgKind::PollFds) => told.polls.extend(poll(call, row)),
                Some(ArgKind::EpollEvents) => told.polls.extend(self.epoll(call, row)),
                Some(ArgKind::EpollEvent) => told.adds.extend(self.add(call, row)),
                _ => {}
            }
        }
        let sets = arguments
            .iter()
            .filter(|row| kind_of(row) == Some(&ArgKind::FdSet));
        told.polls.extend(select(call, sets));
    }

    fn epoll(&self, call: &Call, row: &Argument) -> Option<Poll> {
        let events = ready::epoll_events(&row.data, self.arch);
        let first = events.first();
        Poll::new(
            call,
            row,
            first.map(|event| Found::Mark(event.data, event.events)),
        )
    }

    fn add(&self, call: &Call, row: &Argument) -> Option<Add> {
        // Operations and descriptors are ints in the kernel's hands.
        let [epoll_fd, operation, fd, _] = call.args.map(|argument| argument as u32);
        let gives_mark = MARKING.contains(&operation) && call.ret == Some(0);
        let event = ready::epoll_events(&row.data, self.arch);
        let event = event.first()?;
        Some(Add {
            ts: call.ts,
            pid: row.pid,
            epoll_fd: epoll_fd as i32,
            epoll: call.file.filter(|_| gives_mark)?,
            fd: fd as i32,
            events: event.events,
            mark: event.data,
        })
    }
}

fn poll(call: &Call, row: &Argument) -> Option<Poll> {
    let mut fds = ready::poll_fds(&row.data);
    let first = fds.find(|entry| entry.found != Events::default());
    Poll::new(
        call,
        row,
        first.map(|entry| Found::Fd(entry.fd, entry.found)),
    )
}

/// `sets` are the descriptors that can be read, those that can be written, and those with something else.
fn select<'r>(call: &Call, sets: impl Iterator<Item = &'r Argument>) -> Option<Poll> {
    let mut found: BTreeMap<i32, u32> = BTreeMap::new();
    let mut any = None;
    let mut truncated = false;
    for row in sets {
        let Events(event) = match row.arg {
            1 => Events::IN,
            2 => Events::OUT,
            _ => Events::PRI,
        };
        // The kernel writes whole words, and means the first bits.
        let counted = ready::fd_set(&row.data).filter(|fd| (*fd as u64) < call.args[0]);
        counted.for_each(|fd| *found.entry(fd).or_default() |= event);
        truncated |= row.truncated;
        any = Some(row);
    }
    let first = found.first_key_value();
    let first = first.map(|(fd, events)| Found::Fd(*fd, Events(*events)));
    let poll = Poll::new(call, any?, first)?;
    // The call counts a descriptor that is in two sets twice.
    let count = if truncated {
        poll.count
    } else {
        found.len() as u64
    };
    Some(Poll { count, ..poll })
}

/// The row of the call that a thread made at a moment; rows are sorted by thread and time.
fn find(calls: &Rows<Syscall>, tid: u32, ts: i64) -> Option<usize> {
    let (mut from, mut until) = (0, calls.len());
    while from < until {
        let middle = from.midpoint(until);
        if (calls.tid(middle), calls.ts(middle)) < (tid, ts) {
            from = middle + 1;
        } else {
            until = middle;
        }
    }
    let is_there = from < calls.len() && (calls.tid(from), calls.ts(from)) == (tid, ts);
    is_there.then_some(from)
}
