//! One thread while it is replayed.

use std::collections::VecDeque;

use super::{
    Lane,
    news::{Calls, News},
};
use crate::{
    model::{
        catalog::ThreadLife,
        loss::LossMap,
        slice::Slice,
        thread::{Event, RawSlice, ThreadBuilder},
        wait_reason::{Call, Classifier},
    },
    selection::Window,
};

/// One thread while it is replayed.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pub(super) life: &'a ThreadLife,
    kernel_thread: bool,
    window: Window,
    start: i64,
    pub(super) builder: ThreadBuilder,
    finished: bool,
    events: Vec<(i64, Event)>,
    /// Calls of which some were entered at a moment up to which not all events are there.
    unsettled: VecDeque<Calls>,
    /// The other calls that may explain a slice, in the order of time.
    calls: Vec<Call>,
    /// When the latest of all settled calls was entered.
    last_call: i64,
    waiting: VecDeque<RawSlice>,
    switches: u64,
}

impl Track<'_> {
    /// Takes news and replays the events before `until`; gives the slices that are explained.
    pub(super) fn advance(
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
        self.take_calls(news.calls, until);
        self.explain(until == i64::MAX, classifier)
    }

    /// Of the calls that were entered before `until`, keeps those in which the thread left its CPU
    /// or still may.
    fn take_calls(&mut self, news: Calls, until: i64) {
        self.unsettled.push_back(news);
        let is_settled = |calls: &Calls| calls.last_ts().is_none_or(|last| last < until);
        while self.unsettled.front().is_some_and(is_settled) {
            let calls = self.unsettled.pop_front().unwrap_or_default();
            self.last_call = self.last_call.max(calls.last_ts().unwrap_or(i64::MIN));
            let waiting = self.waiting.iter().filter(|raw| raw.wants_call());
            let starts = waiting.map(|raw| raw.slice.start);
            // The slice that is being made begins where the builder is; those after it, later.
            let starts = starts.chain([self.builder.at()]);
            self.calls.extend(calls.at(starts, until));
            // In order already, but where two segments overlap.
            self.calls.sort_by_key(|call| call.ts);
        }
    }

    /// Takes the slices that can be explained from the front of those that wait.
    fn explain(&mut self, all: bool, classifier: &Classifier<'_>) -> Vec<Slice> {
        let mut done = Vec::new();
        // Slices come in the order of time, so the calls before the one of a slice are done with.
        let mut entered = 0;
        while let Some(raw) = self.waiting.front() {
            let later = self.calls.get(entered..).unwrap_or_default();
            entered += later.partition_point(|call| call.ts <= raw.slice.start);
            let call = entered.checked_sub(1).and_then(|at| self.calls.get(at));
            let call = call.filter(|call| raw.is_in(call));
            // Calls do not nest: when a later one is there and this one's row is not, it was lost.
            let may_come = self.last_call <= raw.slice.start && !all;
            if call.is_none() && raw.wants_call() && may_come {
                break;
            }
            let slice = classifier.classify(raw, call, self.kernel_thread);
            done.extend(clipped(slice, self.window));
            self.waiting.pop_front();
        }
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
    pub(super) fn new(
        life: &'a ThreadLife,
        kernel_thread: bool,
        span: Window,
        window: Window,
    ) -> Self {
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
            unsettled: VecDeque::new(),
            calls: Vec::new(),
            last_call: i64::MIN,
            waiting: VecDeque::new(),
            switches: 0,
        }
    }

    /// The lane of the thread. One that only lived outside of the window has an empty one.
    pub(super) fn into_lane(self) -> Lane<'a> {
        Lane {
            life: self.life,
            start: self.start,
            end: self.lane_end().max(self.start),
            switches: self.switches,
        }
    }
}
