//! The timelines of all selected threads, in one pass over the segments.
//!
//! Segments arrive in order, but the events of two neighbours may overlap, because the rings of
//! several CPUs are drained side by side: so the events of a segment are replayed when the next one
//! is there, up to the first moment of that. A blocked slice can only be explained by the row of
//! its syscall, which is written when the call returns: such slices wait in line, and all slices
//! of a thread are handed over in the order of time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use kindling_format::schema::{Process, Switch, Syscall, Wakeup};
use rayon::prelude::*;

use crate::{
    context::Context,
    model::{
        catalog::{Catalog, ThreadLife, ThreadSet},
        host::local_id,
        loss::LossMap,
        slice::Slice,
        stack::Stacks,
        thread::{Event, RawSlice, ThreadBuilder},
        wait_reason::{Call, Classifier},
    },
    scan::{self, Segment},
    selection::Window,
};

/// A thread with the part of its life that lies in the window.
#[derive(Debug, Clone)]
pub struct Lane<'a> {
    /// The thread.
    pub life: &'a ThreadLife,
    /// The first moment of its life in the window.
    pub start: i64,
    /// The moment behind the last.
    pub end: i64,
    /// How often it left a CPU in that time.
    pub switches: u64,
}

/// Replays the selected threads of the target; gives every slice, clipped to the window, to `sink`
/// with the number of its lane. Of each thread the slices come in the order of time.
pub fn replay<'a>(
    context: &Context,
    catalog: &'a Catalog,
    stacks: &Stacks,
    set: &ThreadSet,
    mut sink: impl FnMut(usize, Slice),
) -> Vec<Lane<'a>> {
    let classifier = Classifier::new(catalog, stacks);
    run(context, catalog, set, Some(&classifier), |step| {
        for (lane, slices) in step.slices.into_iter().enumerate() {
            slices.into_iter().for_each(|slice| sink(lane, slice));
        }
    })
}

/// What is known of threads and CPUs up to a moment.
#[derive(Debug)]
pub struct Step {
    /// Events before this moment are all there.
    pub until: i64,
    /// Of each lane the slices that ended by now and were not given before.
    pub slices: Vec<Vec<Slice>>,
    /// The switches that were read in this step, some later than `until`, in any order.
    pub switches: Vec<CpuSwitch>,
    /// Since when the thread that has waited for a CPU the longest does; the end of time if none does.
    pub runnable_since: i64,
}

/// A context switch, as its CPU sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuSwitch {
    /// When.
    pub ts: i64,
    /// Which CPU.
    pub cpu: u16,
    /// The thread that left; 0 is the idle task.
    pub prev_tid: u32,
    /// The thread that came.
    pub next_tid: u32,
}

/// As [`replay`], without reasons: all waits are of [`Reason::Other`](super::slice::Reason::Other). So
/// slices come as soon as they end, and syscalls are not read.
pub fn replay_states<'a>(
    context: &Context,
    catalog: &'a Catalog,
    set: &ThreadSet,
    sink: impl FnMut(Step),
) -> Vec<Lane<'a>> {
    run(context, catalog, set, None, sink)
}

fn run<'a>(
    context: &Context,
    catalog: &'a Catalog,
    set: &ThreadSet,
    classifier: Option<&Classifier<'_>>,
    mut sink: impl FnMut(Step),
) -> Vec<Lane<'a>> {
    let losses = LossMap::load(context);
    let mut tracks: Vec<Track<'a>> = tracks(context, catalog, set);
    let index = TrackIndex::new(catalog, &tracks);
    let pids = set.pids(catalog);
    let mut advance = |until: i64, mut held: Held, tracks: &mut Vec<Track<'a>>| {
        let work =
            |(track, news): (&mut Track<'a>, News)| track.advance(until, news, &losses, classifier);
        let switches = std::mem::take(&mut held.switches);
        let slices: Vec<Vec<Slice>> = context.pool.install(|| {
            let news = held.into_news(tracks.len());
            tracks.par_iter_mut().zip(news).map(work).collect()
        });
        let waiting = tracks.iter();
        let runnable_since = waiting.filter_map(|track| track.builder.runnable_since());
        let runnable_since = runnable_since.min().unwrap_or(i64::MAX);
        sink(Step {
            until,
            slices,
            switches,
            runnable_since,
        });
    };
    let wanted = Wanted {
        window: context.selection.window,
        reasons: classifier.is_some(),
    };
    scan::segments(
        context,
        "replaying threads",
        |segment| collect(segment, wanted, &index, pids.as_ref()),
        |held: Held| {
            let until = held.first_ts.unwrap_or(i64::MIN);
            advance(until, held, &mut tracks);
        },
    );
    advance(i64::MAX, Held::default(), &mut tracks);
    tracks.into_iter().map(Track::into_lane).collect()
}

/// What is read of a segment.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    window: Window,
    /// Whether waits are explained, by the calls that threads were in; else switches are kept for CPUs.
    reasons: bool,
}

/// What a segment tells about one thread.
#[derive(Debug, Default)]
struct News {
    events: Vec<(i64, Event)>,
    calls: Vec<Call>,
}

/// What a segment tells about all of them.
#[derive(Debug, Default)]
struct Held {
    first_ts: Option<i64>,
    switches: Vec<CpuSwitch>,
    news: BTreeMap<usize, News>,
}

impl Held {
    fn into_news(mut self, tracks: usize) -> Vec<News> {
        (0..tracks)
            .map(|track| self.news.remove(&track).unwrap_or_default())
            .collect()
    }
}

/// One thread while it is replayed.
#[derive(Debug)]
struct Track<'a> {
    life: &'a ThreadLife,
    kernel_thread: bool,
    window: Window,
    start: i64,
    builder: ThreadBuilder,
    finished: bool,
    events: Vec<(i64, Event)>,
    calls: VecDeque<Call>,
    waiting: VecDeque<RawSlice>,
    switches: u64,
}

impl Track<'_> {
    /// Takes news and replays the events before `until`; gives the slices that are explained.
    fn advance(
        &mut self,
        until: i64,
        news: News,
        losses: &LossMap,
        classifier: Option<&Classifier<'_>>,
    ) -> Vec<Slice> {
        self.events.extend(news.events);
        self.events.sort_unstable();
        let ready = self.events.partition_point(|(ts, _)| *ts < until);
        let waiting = &mut self.waiting;
        let mut emit = |slice| waiting.push_back(slice);
        for (ts, event) in self.events.drain(..ready) {
            let counts = matches!(event, Event::Out { .. }) && ts < self.builder.end();
            self.switches += u64::from(counts && self.window.contains(ts) && ts >= self.start);
            self.builder.event(ts, event, losses, &mut emit);
        }
        if until == i64::MAX && !self.finished {
            self.finished = true;
            self.builder.finish(losses, &mut emit);
        }
        let Some(classifier) = classifier else {
            let window = self.window;
            let ended = self.waiting.drain(..);
            return ended.filter_map(|raw| clipped(raw.slice, window)).collect();
        };
        self.calls.extend(news.calls);
        self.calls.make_contiguous().sort_by_key(|call| call.ts);
        self.explain(until == i64::MAX, classifier)
    }

    /// Takes the slices that can be explained from the front of those that wait.
    fn explain(&mut self, all: bool, classifier: &Classifier<'_>) -> Vec<Slice> {
        let mut done = Vec::new();
        while let Some(raw) = self.waiting.front() {
            let entered = self
                .calls
                .partition_point(|call| call.ts <= raw.slice.start);
            let call = entered.checked_sub(1).and_then(|at| self.calls.get(at));
            let call = call.filter(|call| raw.is_in(call));
            // Calls do not nest: when a later one is there and this one's row is not, it was lost.
            let may_come = entered == self.calls.len() && !all;
            if call.is_none() && raw.wants_call() && may_come {
                break;
            }
            let slice = classifier.classify(raw, call, self.kernel_thread);
            done.extend(clipped(slice, self.window));
            self.waiting.pop_front();
        }
        let needed = self
            .waiting
            .front()
            .map_or(self.builder.at(), |raw| raw.slice.start);
        let entered = self.calls.partition_point(|call| call.ts <= needed);
        self.calls.drain(..entered.saturating_sub(1));
        done
    }

    fn lane_end(&self) -> i64 {
        self.builder.end().min(self.window.to)
    }
}

/// The part of a slice that lies in the window.
fn clipped(slice: Slice, window: Window) -> Option<Slice> {
    let (start, end) = window.clip(slice.start, slice.end)?;
    (start < end).then_some(Slice {
        start,
        end,
        ..slice
    })
}

impl<'a> Track<'a> {
    fn new(life: &'a ThreadLife, kernel_thread: bool, span: Window, window: Window) -> Self {
        let start = life.start_ts.max(span.from);
        let end = life.exit_ts.unwrap_or(span.to).min(span.to);
        let born = life.start_ts >= span.from;
        let seen = life.initial.filter(|_| !born).map(|initial| {
            let event = Event::Seen {
                state: initial.state,
                on_cpu: initial.on_cpu,
                syscall: initial.syscall,
            };
            (initial.ts, event)
        });
        Self {
            life,
            kernel_thread,
            window,
            start: start.max(window.from),
            builder: ThreadBuilder::new(start, end, born),
            finished: false,
            events: seen.into_iter().collect(),
            calls: VecDeque::new(),
            waiting: VecDeque::new(),
            switches: 0,
        }
    }

    /// The lane of the thread. One that only lived outside of the window has an empty one.
    fn into_lane(self) -> Lane<'a> {
        Lane {
            life: self.life,
            start: self.start,
            end: self.lane_end().max(self.start),
            switches: self.switches,
        }
    }
}

/// The threads that [`replay`] replays, in the order of their lanes.
pub fn lives<'a>(catalog: &'a Catalog, set: &ThreadSet) -> impl Iterator<Item = &'a ThreadLife> {
    let selected =
        |life: &&ThreadLife| life.target && set.contains(catalog, life.tid, life.start_ts);
    catalog.threads.values().filter(selected)
}

fn tracks<'a>(context: &Context, catalog: &'a Catalog, set: &ThreadSet) -> Vec<Track<'a>> {
    lives(catalog, set)
        .map(|life| {
            let process = catalog.process_at(life.pid, life.start_ts);
            // Kernel threads are children of kthreadd, whose pid is 2.
            let of_kthreadd = |process: &Process| local_id(process.ppid) == 2;
            let kernel_thread = local_id(life.pid) == 2 || process.is_some_and(of_kthreadd);
            Track::new(life, kernel_thread, context.span, context.selection.window)
        })
        .collect()
}

/// Finds the track of a tid at a moment: a tid can be used again.
#[derive(Debug)]
struct TrackIndex {
    lives: HashMap<u32, Vec<(i64, Option<usize>)>>,
}

impl TrackIndex {
    fn new(catalog: &Catalog, tracks: &[Track<'_>]) -> Self {
        let keys = tracks.iter().enumerate();
        let by_life: BTreeMap<(u32, i64), usize> = keys
            .map(|(at, track)| ((track.life.tid, track.life.start_ts), at))
            .collect();
        let mut lives: HashMap<u32, Vec<(i64, Option<usize>)>> = HashMap::new();
        for &(tid, start_ts) in catalog.threads.keys() {
            let track = by_life.get(&(tid, start_ts)).copied();
            lives.entry(tid).or_default().push((start_ts, track));
        }
        Self { lives }
    }

    fn find(&self, tid: u32, ts: i64) -> Option<usize> {
        let lives = self.lives.get(&tid)?;
        let started = lives.partition_point(|(start_ts, _)| *start_ts <= ts);
        lives.get(started.saturating_sub(1))?.1
    }
}

/// Sorts the events of a segment by thread.
fn collect(
    segment: Segment<'_>,
    wanted: Wanted,
    index: &TrackIndex,
    pids: Option<&BTreeSet<u32>>,
) -> Held {
    let window = wanted.window;
    let mut held = Held::default();
    let so_far = Window {
        from: i64::MIN,
        ..window
    };
    let add = |held: &mut Held, tid: u32, ts: i64, event: Event| {
        if let Some(track) = index.find(tid, ts) {
            held.news.entry(track).or_default().events.push((ts, event));
        }
    };
    let mut first_ts = i64::MAX;
    for row in segment
        .rows_within::<Switch>(so_far)
        .iter()
        .filter(|row| row.ts <= window.to)
    {
        first_ts = first_ts.min(row.ts);
        if !wanted.reasons {
            held.switches.push(CpuSwitch {
                ts: row.ts,
                cpu: row.cpu,
                prev_tid: row.prev_tid,
                next_tid: row.next_tid,
            });
        }
        let out = Event::Out {
            cpu: row.cpu,
            state: row.prev_state,
            preempted: row.preempted,
            syscall: row.prev_syscall,
            stack: row.stack,
        };
        add(&mut held, row.prev_tid, row.ts, out);
        add(&mut held, row.next_tid, row.ts, Event::In { cpu: row.cpu });
    }
    for row in segment
        .rows_within::<Wakeup>(so_far)
        .iter()
        .filter(|row| row.ts <= window.to)
    {
        first_ts = first_ts.min(row.ts);
        let woken = Event::Woken {
            tid: row.waker_tid,
            irq: row.irq,
        };
        add(&mut held, row.wakee_tid, row.ts, woken);
    }
    held.first_ts = (first_ts != i64::MAX).then_some(first_ts);
    if !wanted.reasons {
        return held;
    }
    for row in segment.rows_of::<Syscall>(window, pids).iter() {
        if let Some(track) = index.find(row.tid, row.ts) {
            held.news
                .entry(track)
                .or_default()
                .calls
                .push(Call::new(&row));
        }
    }
    held
}
