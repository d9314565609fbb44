//! The timelines of all selected threads, in one pass over the segments.
//!
//! Segments arrive in order, but the events of two neighbours may overlap, because the rings of
//! several CPUs are drained side by side: so the events of a segment are replayed when the next one
//! is there, up to the first moment of that. A blocked slice can only be explained by the row of
//! its syscall, which is written when the call returns: such slices wait in line, and all slices
//! of a thread are handed over in the order of time.

mod news;
mod track;

use kindling_format::schema::Process;
use rayon::prelude::*;

use self::{
    news::{Held, News, TrackIndex, Wanted},
    track::Track,
};
use crate::{
    context::Context,
    model::{
        catalog::{Catalog, ThreadLife, ThreadSet},
        host::local_id,
        loss::LossMap,
        slice::Slice,
        stack::Stacks,
        wait_reason::Classifier,
    },
    scan,
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
    mut sink: impl FnMut(usize, Slice) + Send,
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
    sink: impl FnMut(Step) + Send,
) -> Vec<Lane<'a>> {
    run(context, catalog, set, None, sink)
}

fn run<'a>(
    context: &Context,
    catalog: &'a Catalog,
    set: &ThreadSet,
    classifier: Option<&Classifier<'_>>,
    mut sink: impl FnMut(Step) + Send,
) -> Vec<Lane<'a>> {
    let losses = LossMap::load(context);
    let mut tracks: Vec<Track<'a>> = tracks(context, catalog, set);
    let index = TrackIndex::new(catalog, &tracks);
    let pids = set.pids(catalog);
    let mut advance = |until: i64, mut held: Held, tracks: &mut Vec<Track<'a>>| {
        let work =
            |(track, news): (&mut Track<'a>, News)| track.advance(until, news, &losses, classifier);
        let switches = std::mem::take(&mut held.switches);
        // Behind the last segment there is news of nobody.
        held.news.resize_with(tracks.len(), News::default);
        let slices: Vec<Vec<Slice>> = context
            .pool
            .install(|| tracks.par_iter_mut().zip(held.news).map(work).collect());
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
        pids: pids.as_ref(),
        reasons: classifier.is_some(),
    };
    scan::segments(
        context,
        "replaying threads",
        |segment| news::collect(segment, wanted, &index),
        |held: Held| {
            let until = held.first_ts.unwrap_or(i64::MIN);
            advance(until, held, &mut tracks);
        },
    );
    advance(i64::MAX, Held::default(), &mut tracks);
    tracks.into_iter().map(Track::into_lane).collect()
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
