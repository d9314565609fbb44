//! What every thread did with its time.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    context::Context,
    model::{
        catalog::Catalog,
        select,
        slice::{Reason, Times},
        stack::Stacks,
        timeline::{self, Lane},
    },
    render::json::List,
};

/// One thread's time, adding up to its lifetime to the nanosecond.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadRow {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its last name in the window.
    pub comm: String,
    /// When its life in the window began, since the start of the capture.
    pub start_ns: i64,
    /// The part of its life in the window.
    pub lifetime_ns: i64,
    /// On a CPU.
    pub running_ns: i64,
    /// Waiting for a CPU.
    pub runnable_ns: i64,
    /// Waiting for something else.
    pub blocked_ns: i64,
    /// Not known.
    pub unknown_ns: i64,
    /// `blocked_ns` by reason; every reason is there.
    pub blocked_by_ns: BTreeMap<&'static str, i64>,
    /// Of the time in polls, that in calls which their timeout ended: nothing became ready.
    pub poll_idle_ns: i64,
    /// How often it left a CPU.
    pub switches: u64,
}

impl ThreadRow {
    /// The row of a lane that spent its time so.
    pub fn new(context: &Context, lane: &Lane<'_>, times: &Times) -> Self {
        let by_reason = times.by_reason().map(|(reason, ns)| (reason.word(), ns));
        Self {
            pid: lane.life.pid,
            tid: lane.life.tid,
            comm: lane.life.comm_at(lane.end).to_owned(),
            start_ns: context.offset_ns(lane.start),
            lifetime_ns: lane.end.saturating_sub(lane.start),
            running_ns: times.running_ns,
            runnable_ns: times.runnable_ns,
            blocked_ns: times.blocked_ns(),
            unknown_ns: times.unknown_ns,
            blocked_by_ns: by_reason.collect(),
            poll_idle_ns: times.poll_idle_ns,
            switches: lane.switches,
        }
    }

    /// Blocked for this reason.
    pub fn blocked_by(&self, reason: Reason) -> i64 {
        self.blocked_by_ns.get(reason.word()).copied().unwrap_or(0)
    }
}

/// The threads of the selection that lived in the window, by falling time on CPU.
pub fn report(context: &Context, catalog: &Catalog, stacks: &Stacks) -> List<ThreadRow> {
    let set = select::threads(context, catalog);
    let mut times: Vec<Times> = Vec::new();
    let lanes = timeline::replay(context, catalog, stacks, &set, |lane, slice| {
        if times.len() <= lane {
            times.resize(lane + 1, Times::default());
        }
        if let Some(times) = times.get_mut(lane) {
            times.add_slice(&slice);
        }
    });
    times.resize(lanes.len(), Times::default());
    let lived = lanes
        .iter()
        .zip(&times)
        .filter(|(lane, _)| lane.end > lane.start);
    let mut rows: Vec<ThreadRow> = lived
        .map(|(lane, times)| ThreadRow::new(context, lane, times))
        .collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.running_ns), row.tid, row.start_ns));
    List::new(rows, context.top)
}
