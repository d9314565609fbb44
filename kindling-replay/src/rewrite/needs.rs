//! What the kept rows of a cut refer to, found before anything is written: rows may name threads,
//! files and stacks whose own rows are anywhere in the capture.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kindling_format::schema::{
    File, Frame, IoUring, Migration, Payload, Process, Sample, Stack, Switch, Symbol, Syscall, Tcp,
    Wakeup, Watch,
};

use super::{cut::Scope, tables::Edit};
use crate::{
    context::Context,
    model::{catalog::Catalog, polls},
    scan::{self, Segment},
};

/// What the kept rows refer to.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Lives of threads, by tid and start.
    pub(super) threads: BTreeSet<(u32, i64)>,
    /// Lives of processes that have one of these threads, and when each is first spoken of.
    pub(super) processes: BTreeMap<(u32, i64), i64>,
    /// Open files, and when each is first spoken of.
    pub(super) files: HashMap<u32, i64>,
    pub(super) stacks: HashSet<u32>,
    pub(super) frames: HashSet<u32>,
    pub(super) symbols: HashSet<u32>,
    /// The calls, at most one of a thread, that were entered before the window and end in it.
    pub(super) straddling: HashSet<(u32, i64)>,
    /// The last switches and wakeups of each thread before the window: they tell in which state it
    /// enters the window.
    pub(super) switches: Vec<Switch>,
    pub(super) wakeups: Vec<Wakeup>,
    /// What epolls watch when the window begins.
    pub(super) watches: Vec<Watch>,
}

impl Needs {
    /// Reads what the rows in `scope` refer to.
    pub(super) fn of(context: &Context, catalog: &Catalog, scope: &Scope<'_>) -> Self {
        let mut events = Events::default();
        scan::segments(
            context,
            "looking for what is needed",
            |segment| Events::of(segment, scope),
            |part| events.merge(part),
        );
        let (switches, wakeups) = events.before.into_rows();
        for stack in switches.iter().filter_map(|row| row.stack) {
            events.stacks.insert(stack);
        }
        for row in &switches {
            events.tids.extend([row.prev_tid, row.next_tid]);
        }
        events.tids.extend(wakeups.iter().map(|row| row.waker_tid));
        let threads = scope.threads(&events.tids);
        let mut pids: BTreeSet<u32> = scope.pids(&threads);
        // Who was at the other end is known by its file.
        let peers = scope.peers(&events.files);
        pids.extend(peers.iter().map(|file| file.pid));
        events.files.extend(peers.iter().map(|file| file.id));
        let standing = polls::standing_at(context, catalog, &pids, scope.window.from);
        let watched = standing.iter().flat_map(|it| [Some(it.epoll), it.file]);
        events.files.extend(watched.flatten());
        let mut needs = Self {
            threads,
            stacks: events.stacks,
            straddling: events.straddling,
            switches,
            wakeups,
            watches: standing.into_iter().map(|it| it.row).collect(),
            ..Self::default()
        };
        needs.first_rows(context, scope, &pids, &events.files);
        needs.code(context);
        needs
    }

    /// Whether a life of a process with this number is needed.
    pub(super) fn has_process(&self, pid: u32) -> bool {
        let mut lives = self.processes.range((pid, i64::MIN)..=(pid, i64::MAX));
        lives.next().is_some()
    }

    /// The processes and files, with the moment of the first row of each.
    fn first_rows(
        &mut self,
        context: &Context,
        scope: &Scope<'_>,
        pids: &BTreeSet<u32>,
        files: &HashSet<u32>,
    ) {
        let first = |at: &mut i64, ts: i64| *at = ts.min(*at);
        scan::segments(
            context,
            "looking for processes and files",
            |segment| {
                let processes = segment.rows::<Process>();
                let processes = processes.iter().filter(|row| {
                    pids.contains(&row.pid) && scope.lives(row.start_ts, row.exit_ts)
                });
                let opened = segment.rows::<File>();
                let opened = opened.iter().filter(|row| files.contains(&row.id));
                (
                    processes
                        .map(|row| ((row.pid, row.start_ts), row.ts))
                        .collect::<Vec<_>>(),
                    opened.map(|row| (row.id, row.ts)).collect::<Vec<_>>(),
                )
            },
            |(processes, opened)| {
                for (life, ts) in processes {
                    first(self.processes.entry(life).or_insert(ts), ts);
                }
                for (id, ts) in opened {
                    first(self.files.entry(id).or_insert(ts), ts);
                }
            },
        );
    }

    /// From stacks to their frames, from frames to their symbols and what those are inlined into.
    fn code(&mut self, context: &Context) {
        let (stacks, frames) = (&self.stacks, &mut self.frames);
        scan::segments(
            context,
            "looking for stacks",
            |segment| {
                let rows = segment.rows::<Stack>();
                let wanted = rows.iter().filter(|row| stacks.contains(&row.id));
                wanted.flat_map(|row| row.frames).collect::<Vec<_>>()
            },
            |named| frames.extend(named),
        );
        let (frames, symbols) = (&self.frames, &mut self.symbols);
        let mut outer: HashMap<u32, u32> = HashMap::new();
        scan::segments(
            context,
            "looking for symbols",
            |segment| {
                let rows = segment.rows::<Frame>();
                let wanted = rows.iter().filter(|row| frames.contains(&row.id));
                let named: Vec<u32> = wanted.filter_map(|row| row.symbol).collect();
                let rows = segment.columns::<Symbol>(Some(&["id", "inlined_in"]));
                let inlined = rows
                    .iter()
                    .filter_map(|row| Some((row.id, row.inlined_in?)));
                (named, inlined.collect::<Vec<_>>())
            },
            |(named, inlined)| {
                symbols.extend(named);
                outer.extend(inlined);
            },
        );
        let mut todo: Vec<u32> = symbols.iter().copied().collect();
        while let Some(id) = todo.pop() {
            // Each symbol is followed once, so a chain that bites its tail ends too.
            let next = outer.get(&id).copied();
            todo.extend(next.filter(|&next| symbols.insert(next)));
        }
    }
}

/// What the events of some segments refer to.
#[derive(Default)]
struct Events {
    tids: HashSet<u32>,
    files: HashSet<u32>,
    stacks: HashSet<u32>,
    straddling: HashSet<(u32, i64)>,
    before: Before,
}

impl Events {
    fn of(segment: Segment<'_>, scope: &Scope<'_>) -> Self {
        let mut events = Self::default();
        for row in kept::<Syscall>(segment, scope) {
            if row.ts < scope.window.from {
                events.straddling.insert((row.tid, row.ts));
            }
            events.files.extend(row.file);
            events.stacks.extend(row.stack);
        }
        for row in kept::<Payload>(segment, scope) {
            events.files.insert(row.file);
        }
        for row in kept::<IoUring>(segment, scope) {
            events.files.extend(row.ring.into_iter().chain(row.file));
        }
        for row in kept::<Migration>(segment, scope) {
            events.tids.insert(row.by_tid);
        }
        for row in kept::<Tcp>(segment, scope) {
            events.files.extend(row.file);
        }
        for row in kept::<Sample>(segment, scope) {
            events.stacks.extend(row.stack);
        }
        for row in segment.rows::<Switch>().iter() {
            if row.ts < scope.window.from {
                events.before.switch(row, scope);
            } else if let Some(row) = scope.edit(row) {
                events.tids.extend([row.prev_tid, row.next_tid]);
                events.stacks.extend(row.stack);
            }
        }
        for row in segment.rows::<Wakeup>().iter() {
            if row.ts < scope.window.from {
                events.before.wakeup(row, scope);
            } else if let Some(row) = scope.edit(row) {
                events.tids.extend([row.waker_tid, row.wakee_tid]);
            }
        }
        events
    }

    fn merge(&mut self, other: Self) {
        self.tids.extend(other.tids);
        self.files.extend(other.files);
        self.stacks.extend(other.stacks);
        self.straddling.extend(other.straddling);
        self.before.merge(other.before);
    }
}

fn kept<'a, T: kindling_format::schema::Table + 'a>(
    segment: Segment<'_>,
    scope: &'a Scope<'_>,
) -> impl Iterator<Item = T> + 'a
where
    Scope<'a>: Edit<T>,
{
    let rows = segment.rows_within::<T>(scope.window);
    (0..rows.len()).filter_map(move |index| scope.edit(rows.get(index)))
}

/// The last events of each thread before the window.
#[derive(Default)]
struct Before {
    left: BTreeMap<u32, Switch>,
    came: BTreeMap<u32, Switch>,
    woken: BTreeMap<u32, Wakeup>,
}

impl Before {
    fn switch(&mut self, row: Switch, scope: &Scope<'_>) {
        if scope.has(row.prev_tid, row.ts) {
            keep_later(&mut self.left, row.prev_tid, row.clone(), |row| row.ts);
        }
        if scope.has(row.next_tid, row.ts) {
            keep_later(&mut self.came, row.next_tid, row, |row| row.ts);
        }
    }

    fn wakeup(&mut self, row: Wakeup, scope: &Scope<'_>) {
        if scope.has(row.wakee_tid, row.ts) {
            keep_later(&mut self.woken, row.wakee_tid, row, |row| row.ts);
        }
    }

    fn merge(&mut self, other: Self) {
        for (tid, row) in other.left {
            keep_later(&mut self.left, tid, row, |row| row.ts);
        }
        for (tid, row) in other.came {
            keep_later(&mut self.came, tid, row, |row| row.ts);
        }
        for (tid, row) in other.woken {
            keep_later(&mut self.woken, tid, row, |row| row.ts);
        }
    }

    /// The rows, each once. A wakeup from before the thread last left a CPU says nothing any more.
    fn into_rows(self) -> (Vec<Switch>, Vec<Wakeup>) {
        let left = &self.left;
        let is_news = |row: &Wakeup| left.get(&row.wakee_tid).is_none_or(|out| out.ts <= row.ts);
        let wakeups = self
            .woken
            .values()
            .filter(|row| is_news(row))
            .cloned()
            .collect();
        let switches: HashSet<Switch> = self
            .left
            .into_values()
            .chain(self.came.into_values())
            .collect();
        let mut switches: Vec<Switch> = switches.into_iter().collect();
        switches.sort_by_key(|row| (row.cpu, row.ts, row.prev_tid, row.next_tid));
        (switches, wakeups)
    }
}

fn keep_later<R>(last: &mut BTreeMap<u32, R>, tid: u32, row: R, ts: fn(&R) -> i64) {
    match last.get(&tid) {
        Some(known) if ts(known) > ts(&row) => {}
        _ => {
            last.insert(tid, row);
        }
    }
}
