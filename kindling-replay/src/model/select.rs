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
    schema::{Block, Fault, Migration, Payload, Sample, Switch, Syscall, Table, Wakeup},
};

use crate::{
    context::Context,
    filter::{EventKind, Filter},
    model::{
        catalog::{Catalog, ThreadLife, ThreadSet},
        facts::{EventFacts, LifeFacts, MemberFacts},
        polls::Polls,
        slice::{Slice, State},
        stack::Stacks,
        timeline,
    },
    scan::{self, Segment},
    selection::{Selection, Window, glob},
    warning::Warning,
};

pub use crate::model::facts::Details;

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

/// The threads that a command takes which accounts for their time; warns if there are none. A command that
/// looks at events asks an [`EventSelection`].
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
        let about_waits = filter.is_about(EventKind::Wait);
        if about_waits {
            chosen.extend(with_waits(context, catalog, &open));
        } else {
            warn_if_never(context, filter, &EVENTS);
        }
        if !about_waits || EVENTS.iter().any(|&kind| filter.may_hold(kind)) {
            chosen.extend(with_events(context, catalog, &open));
        }
    }
    if chosen.is_empty() {
        context.warn(Warning::NothingSelected {
            option: selection.thread_options(),
        });
    }
    set_of(catalog, chosen)
}

/// The kinds of events that decide about threads, besides waits: these take a replay, which only a
/// condition about them is worth.
const EVENTS: [EventKind; 8] = [
    EventKind::Syscall,
    EventKind::Switch,
    EventKind::Wakeup,
    EventKind::Sample,
    EventKind::Payload,
    EventKind::Block,
    EventKind::Fault,
    EventKind::Migration,
];

/// Which of some threads have an event in the window for which the condition holds.
fn with_events(
    context: &Context,
    catalog: &Catalog,
    open: &BTreeSet<(u32, i64)>,
) -> BTreeSet<(u32, i64)> {
    let events = EventSelection::of(context, catalog, open);
    let mut found = BTreeSet::new();
    scan::segments(
        context,
        "looking for threads",
        |segment| events.threads_of(segment),
        |some| found.extend(some),
    );
    found
}

/// Which of some threads have a wait in the window for which the condition holds.
fn with_waits(
    context: &Context,
    catalog: &Catalog,
    open: &BTreeSet<(u32, i64)>,
) -> BTreeSet<(u32, i64)> {
    let events = EventSelection::of(context, catalog, open);
    let waits = events.waits();
    let stacks = Stacks::load(context);
    let lives: Vec<&ThreadLife> = timeline::lives(catalog, &events.threads).collect();
    let mut found = BTreeSet::new();
    timeline::replay(context, catalog, &stacks, &events.threads, |lane, slice| {
        if let Some(life) = lives.get(lane)
            && waits.admits(life, &slice)
        {
            found.insert((life.tid, life.start_ts));
        }
    });
    found
}

/// The waits that a selection admits.
#[derive(Debug)]
pub struct WaitSelection<'a> {
    events: &'a EventSelection<'a>,
    polls: Polls,
}

impl WaitSelection<'_> {
    /// Whether it admits what a thread did then: that is a wait, and the condition holds for it.
    pub fn admits(&self, life: &ThreadLife, slice: &Slice) -> bool {
        matches!(slice.state, State::Blocked(_)) && {
            let wait = Details::Wait(slice, self.polls.of(life.tid, slice));
            self.events.holds(life.tid, slice.start, wait)
        }
    }
}

impl<'a> EventSelection<'a> {
    /// The selection among some threads.
    fn of(context: &'a Context, catalog: &'a Catalog, open: &BTreeSet<(u32, i64)>) -> Self {
        let threads = set_of(catalog, open.clone());
        Self {
            context,
            catalog,
            pids: threads.pids(catalog),
            threads,
        }
    }

    /// The waits that it admits.
    pub fn waits(&'a self) -> WaitSelection<'a> {
        // Only a condition asks what ended a wait.
        let filter = self.context.selection.filter.as_ref();
        WaitSelection {
            events: self,
            polls: filter.map_or_else(Polls::default, |_| Polls::load(self.context, self.catalog)),
        }
    }

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
        for row in self.rows::<Block>(segment, EventKind::Block).iter() {
            look(row.tid, row.ts, Details::Block(&row));
        }
        for row in self.rows::<Fault>(segment, EventKind::Fault).iter() {
            look(row.tid, row.ts, Details::Fault(&row));
        }
        for row in self.rows::<Migration>(segment, EventKind::Migration).iter() {
            look(row.tid, row.ts, Details::Migration(&row));
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
