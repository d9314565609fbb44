//! The timelines of threads at the resolution of a picture.
//!
//! Memory and the size of the picture follow its width, not the number of slices: a slice that is
//! at least two columns wide is kept as a block, all shorter ones are mixed into the columns that
//! they touch. Of thousands of threads those that ran longest have a lane of their own; the others of
//! a process share one, and so do all processes of which none is left.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    analysis::ready::ReadyRow,
    context::Context,
    model::{
        catalog::Catalog,
        polls::Polls,
        select,
        slice::{Slice, State, Times},
        stack::Stacks,
        timeline::{self, Lane},
    },
};

/// Columns of the picture where threads are few.
const MOST_COLUMNS: usize = 1_200;
/// Columns where they are many.
const FEWEST_COLUMNS: usize = 200;
/// All threads together have about this many columns: it bounds the size of the picture.
const ALL_COLUMNS: usize = 48_000;
/// The most threads with a lane of their own.
const MOST_THREADS: usize = 200;
/// The most processes with a lane for the others of their threads.
const MOST_SHARED_LANES: usize = 60;

/// The timelines of some threads.
#[derive(Debug)]
pub struct TimelineReport {
    /// Start of the window, since the start of the capture.
    pub from_ns: i64,
    /// End of the window.
    pub to_ns: i64,
    /// Columns that the window is divided into.
    pub columns: usize,
    /// What was recorded, in a line.
    pub title: String,
    /// The processes, each with its threads.
    pub processes: Vec<ProcessTracks>,
    /// Threads without a lane of their own.
    pub shared: usize,
    /// What is missing, in words.
    pub warnings: Vec<String>,
}

/// The threads of one process.
#[derive(Debug)]
pub struct ProcessTracks {
    /// The process; `None` for all that have no lane of their own.
    pub pid: Option<u32>,
    /// Its command line, or its name.
    pub command: String,
    /// Its threads.
    pub tracks: Vec<TrackReport>,
}

/// The timeline of one thread, or of several together.
#[derive(Debug)]
pub struct TrackReport {
    /// The thread; `None` of several.
    pub tid: Option<u32>,
    /// Its name; of several, how many they are.
    pub comm: String,
    /// When its life began and ended, since the start of the capture.
    pub life_ns: (i64, i64),
    /// What it did with its time.
    pub times: Times,
    /// Slices that are worth a block, in the order of time.
    pub blocks: Vec<Block>,
    /// The mixed rest: column, and each state's part of the mixed time in it.
    pub columns: Vec<(usize, Vec<(State, f64)>)>,
}

/// A slice that is wide enough to see.
#[derive(Debug)]
pub struct Block {
    /// Its first moment, since the start of the capture.
    pub start_ns: i64,
    /// The moment behind its last.
    pub end_ns: i64,
    /// The state.
    pub state: State,
    /// What is known of the wait, in words.
    pub detail: String,
}

#[derive(Debug, Default)]
struct Draft {
    times: Times,
    blocks: Vec<Slice>,
    columns: Vec<(usize, Times)>,
}

/// The timelines of the selected threads; of many, those that ran longest.
pub fn report(context: &Context, catalog: &Catalog, stacks: &Stacks) -> TimelineReport {
    let set = select::threads(context, catalog);
    let selected = timeline::lives(catalog, &set).count();
    let shown = context.top.unwrap_or(MOST_THREADS).min(selected).max(1);
    let columns = (ALL_COLUMNS / shown).clamp(FEWEST_COLUMNS, MOST_COLUMNS);
    let scale = Scale::new(context, columns);
    let mut drafts: Vec<Draft> = Vec::new();
    let lanes = timeline::replay(context, catalog, stacks, &set, |lane, slice| {
        if drafts.len() <= lane {
            drafts.resize_with(lane + 1, Draft::default);
        }
        if let Some(draft) = drafts.get_mut(lane) {
            draft.add(&slice, scale);
        }
    });
    drafts.resize_with(lanes.len(), Draft::default);
    let mut lived: Vec<(Lane<'_>, Draft)> = lanes
        .into_iter()
        .zip(drafts)
        .filter(|(lane, _)| lane.end > lane.start)
        .collect();
    lived.sort_by_key(|(lane, draft)| (std::cmp::Reverse(draft.times.running_ns), lane.life.tid));
    let others = lived.split_off(shown.min(lived.len()));
    lived.sort_by_key(|(lane, _)| {
        (
            lane.life.pid,
            lane.life.tid != lane.life.pid,
            lane.life.tid,
            lane.start,
        )
    });
    let shared = others.len();
    let polls = Polls::load(context, catalog);
    let mut processes = by_process(context, catalog, &polls, lived);
    share(context, catalog, &mut processes, others, scale);
    let header = context.capture.header();
    TimelineReport {
        from_ns: context.selection.from_ns,
        to_ns: context.selection.to_ns,
        columns,
        title: format!(
            "{} · {} {}",
            context.file_name, header.host.kernel, header.host.arch
        ),
        processes,
        shared,
        warnings: context.warnings().iter().map(ToString::to_string).collect(),
    }
}

/// How a window maps to columns.
#[derive(Debug, Clone, Copy)]
struct Scale {
    from: i64,
    column_ns: i64,
    columns: usize,
}

impl Scale {
    fn new(context: &Context, columns: usize) -> Self {
        let window = context.selection.window;
        let column_ns = window.length_ns() / columns as i64 + 1;
        Self {
            from: window.from,
            column_ns,
            columns,
        }
    }

    /// Gives how much of a slice lies in each column that it touches.
    fn spread(self, slice: &Slice, mut give: impl FnMut(usize, i64)) {
        let mut at = slice.start;
        while at < slice.end {
            let column = self.column(at);
            let behind = (column as i64 + 1).saturating_mul(self.column_ns);
            let column_end = self.from.saturating_add(behind);
            let is_last = column + 1 >= self.columns;
            let end = if is_last {
                slice.end
            } else {
                slice.end.min(column_end)
            };
            give(column, end.saturating_sub(at));
            at = end.max(at + 1);
        }
    }

    fn column(self, ts: i64) -> usize {
        let column = ts.saturating_sub(self.from).max(0) / self.column_ns;
        usize::try_from(column)
            .unwrap_or(usize::MAX)
            .min(self.columns.saturating_sub(1))
    }
}

impl Draft {
    fn add(&mut self, slice: &Slice, scale: Scale) {
        self.times.add(slice.state, slice.length_ns());
        if slice.length_ns() >= scale.column_ns.saturating_mul(2) {
            return self.blocks.push(*slice);
        }
        scale.spread(slice, |column, ns| match self.columns.last_mut() {
            Some((last, times)) if *last == column => times.add(slice.state, ns),
            _ => {
                let mut times = Times::default();
                times.add(slice.state, ns);
                self.columns.push((column, times));
            }
        });
    }
}

/// Several threads together.
#[derive(Debug, Default)]
struct Shared {
    threads: usize,
    life: Option<(i64, i64)>,
    times: Times,
    columns: BTreeMap<usize, Times>,
}

impl Shared {
    fn add(&mut self, lane: &Lane<'_>, draft: &Draft, scale: Scale) {
        self.threads += 1;
        let (start, end) = self.life.unwrap_or((lane.start, lane.end));
        self.life = Some((start.min(lane.start), end.max(lane.end)));
        self.times.add_all(&draft.times);
        for (column, times) in &draft.columns {
            self.columns.entry(*column).or_default().add_all(times);
        }
        for block in &draft.blocks {
            scale.spread(block, |column, ns| {
                self.columns.entry(column).or_default().add(block.state, ns);
            });
        }
    }

    fn track(self, context: &Context) -> TrackReport {
        let (start, end) = self.life.unwrap_or_default();
        let columns = self.columns.iter();
        TrackReport {
            tid: None,
            comm: match self.threads {
                1 => "1 thread".to_owned(),
                threads => format!("{threads} threads"),
            },
            life_ns: (context.offset_ns(start), context.offset_ns(end)),
            times: self.times,
            blocks: Vec::new(),
            columns: columns
                .map(|(column, times)| (*column, parts(times)))
                .collect(),
        }
    }
}

/// Adds the threads without a lane of their own: one lane for those of each process, or of all
/// processes that ran least.
fn share(
    context: &Context,
    catalog: &Catalog,
    processes: &mut Vec<ProcessTracks>,
    others: Vec<(Lane<'_>, Draft)>,
    scale: Scale,
) {
    let mut by_pid: BTreeMap<u32, Shared> = BTreeMap::new();
    let mut rest = Shared::default();
    let mut rest_pids = BTreeSet::new();
    // The threads that ran longest come first, and so do their processes.
    for (lane, draft) in &others {
        let pid = lane.life.pid;
        let has_lane = by_pid.contains_key(&pid)
            || by_pid.len() < MOST_SHARED_LANES
            || processes.iter().any(|process| process.pid == Some(pid));
        if has_lane {
            by_pid.entry(pid).or_default().add(lane, draft, scale);
        } else {
            rest_pids.insert(pid);
            rest.add(lane, draft, scale);
        }
    }
    for (pid, shared) in by_pid {
        let end = shared.life.map_or(0, |(_, end)| end);
        let track = shared.track(context);
        match processes
            .iter_mut()
            .find(|process| process.pid == Some(pid))
        {
            Some(process) => process.tracks.push(track),
            None => processes.push(ProcessTracks {
                pid: Some(pid),
                command: command(catalog, pid, end),
                tracks: vec![track],
            }),
        }
    }
    processes.sort_by_key(|process| process.pid);
    if rest.threads > 0 {
        processes.push(ProcessTracks {
            pid: None,
            command: format!("{} more processes", rest_pids.len()),
            tracks: vec![rest.track(context)],
        });
    }
}

fn by_process(
    context: &Context,
    catalog: &Catalog,
    polls: &Polls,
    lived: Vec<(Lane<'_>, Draft)>,
) -> Vec<ProcessTracks> {
    let mut processes: Vec<ProcessTracks> = Vec::new();
    for (lane, draft) in lived {
        let pid = lane.life.pid;
        let track = track(context, catalog, polls, &lane, draft);
        match processes
            .last_mut()
            .filter(|process| process.pid == Some(pid))
        {
            Some(process) => process.tracks.push(track),
            None => processes.push(ProcessTracks {
                pid: Some(pid),
                command: command(catalog, pid, lane.end),
                tracks: vec![track],
            }),
        }
    }
    processes
}

fn command(catalog: &Catalog, pid: u32, ts: i64) -> String {
    match catalog.process_at(pid, ts) {
        Some(process) if !process.argv.is_empty() => process.argv.join(" "),
        // What cannot be read any more still has the name of its first thread.
        _ => catalog.comm_at(pid, ts).to_owned(),
    }
}

fn track(
    context: &Context,
    catalog: &Catalog,
    polls: &Polls,
    lane: &Lane<'_>,
    draft: Draft,
) -> TrackReport {
    let block = |slice: &Slice| Block {
        start_ns: context.offset_ns(slice.start),
        end_ns: context.offset_ns(slice.end),
        state: slice.state,
        detail: detail(catalog, polls, lane.life.tid, slice),
    };
    TrackReport {
        tid: Some(lane.life.tid),
        comm: lane.life.comm_at(lane.end).to_owned(),
        life_ns: (context.offset_ns(lane.start), context.offset_ns(lane.end)),
        times: draft.times,
        blocks: draft.blocks.iter().map(block).collect(),
        columns: draft
            .columns
            .iter()
            .map(|(column, times)| (*column, parts(times)))
            .collect(),
    }
}

/// The part of each state in some time.
fn parts(times: &Times) -> Vec<(State, f64)> {
    let total = times.total_ns().max(1) as f64;
    let states = [
        (State::Running, times.running_ns),
        (State::Runnable, times.runnable_ns),
        (State::Unknown, times.unknown_ns),
    ];
    let reasons = times
        .by_reason()
        .map(|(reason, ns)| (State::Blocked(reason), ns));
    let parts = states.into_iter().chain(reasons).filter(|(_, ns)| *ns > 0);
    parts
        .map(|(state, ns)| (state, ns as f64 / total))
        .collect()
}

/// A wait in words: `read of tcp 10.0.0.1:80, woken by nginx/123`.
fn detail(catalog: &Catalog, polls: &Polls, tid: u32, slice: &Slice) -> String {
    let mut words = Vec::new();
    match (slice.cpu, slice.state) {
        (Some(cpu), State::Runnable) => words.push(format!("for CPU {cpu}")),
        (Some(cpu), _) => words.push(format!("CPU {cpu}")),
        (None, _) => {}
    }
    if let Some(nr) = slice.wait.syscall {
        words.push(format!("in {}", catalog.syscall_name(nr)));
    }
    if let Some(file) = slice.wait.file.and_then(|id| catalog.files.get(&id)) {
        words.push(format!("of {}", crate::model::file::label(file)));
    }
    if let Some(futex) = slice.wait.futex {
        words.push(format!("at {futex:#x}"));
    }
    if let Some(end) = polls.of(tid, slice) {
        words.push(format!("ended by {}", ReadyRow::new(catalog, end)));
    }
    match slice.wait.waker {
        Some(waker) if waker.irq => words.push("woken by an interrupt".into()),
        Some(waker) => {
            let comm = catalog.comm_at(waker.tid, slice.end);
            words.push(format!("woken by {comm}/{}", waker.tid));
        }
        None => {}
    }
    words.join(", ")
}
