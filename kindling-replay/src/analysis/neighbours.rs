//! `neighbours`: who had the CPUs while the selected threads waited for one.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::{
    context::Context,
    model::{
        catalog::Catalog,
        occupancy::{Holder, Occupancy, Tenure},
        select,
        slice::{Slice, State},
        timeline,
    },
    render::json::List,
};

/// The answer of `neighbours`. All times in it are of selected threads that could run and waited for a CPU.
/// A thread waits for the CPU that was taken from it, or else for the one to which it came; time in
/// interrupts counts for whom they interrupted.
#[derive(Debug, Clone, Serialize)]
pub struct NeighboursReport {
    /// All of it: `own_ns`, `others_ns`, `idle_ns` and `unknown_ns` together.
    pub runnable_ns: i64,
    /// How often threads waited.
    pub waits: u64,
    /// While other threads of the same process had the CPU.
    pub own_ns: i64,
    /// While threads of other processes had it.
    pub others_ns: i64,
    /// While nobody had it: it was on its way out of idleness, or another one was looked at.
    pub idle_ns: i64,
    /// While it is not known who had it.
    pub unknown_ns: i64,
    /// By thread that had the CPU. All add up to `own_ns` and `others_ns`.
    pub threads: List<NeighbourRow>,
    /// By process that had it, likewise.
    pub processes: List<NeighbourRow>,
    /// By container that had it, likewise; processes outside of containers have no id.
    pub containers: List<NeighbourRow>,
    /// By thread that waited. All add up to `runnable_ns`.
    pub waiters: List<WaiterRow>,
}

/// Somebody who had a CPU that others waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NeighbourRow {
    /// The process; `None` for a container.
    pub pid: Option<u32>,
    /// The thread; `None` for a process or a container.
    pub tid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// The container's id, if it is in one.
    pub container: Option<String>,
    /// How long others waited for it.
    pub ns: i64,
    /// In how many waits.
    pub waits: u64,
}

/// A thread that waited for a CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaiterRow {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// How long it waited.
    pub runnable_ns: i64,
    /// How often.
    pub waits: u64,
    /// How often because the CPU was taken from it.
    pub preempted: u64,
    /// The longest wait.
    pub max_ns: i64,
}

/// Charges the waits of the selected threads.
pub fn report(context: &Context, catalog: &Catalog) -> NeighboursReport {
    let set = select::threads(context, catalog);
    let mut occupancy = Occupancy::new(context, catalog);
    let mut charger = Charger::default();
    let mut waiters: Vec<Waiter> = Vec::new();
    let lanes = timeline::replay_states(context, catalog, &set, |step| {
        charger.tenures(occupancy.advance(step.switches, step.until));
        if step.until == i64::MAX {
            charger.tenures(occupancy.finish());
        }
        waiters.resize(step.slices.len(), Waiter::default());
        for (lane, (slices, waiter)) in step.slices.into_iter().zip(&mut waiters).enumerate() {
            let runnable = |slice: &Slice| slice.state == State::Runnable;
            for slice in slices.into_iter().filter(runnable) {
                waiter.add(&slice);
                charger.waits.push((lane, slice));
            }
        }
        charger.charge(&occupancy, step.until == i64::MAX);
        charger.forget(step.runnable_since);
    });
    let mut totals = Totals::new(catalog);
    for ((lane, holder), charge) in &charger.charges {
        let pid = lanes.get(*lane).map_or(0, |lane| lane.life.pid);
        totals.add(pid, *holder, charge);
    }
    let mut rows: Vec<WaiterRow> = Vec::new();
    for (lane, waiter) in lanes.iter().zip(&waiters).filter(|(_, w)| w.waits > 0) {
        rows.push(WaiterRow {
            pid: lane.life.pid,
            tid: lane.life.tid,
            comm: lane.life.comm_at(lane.end).to_owned(),
            runnable_ns: waiter.ns,
            waits: waiter.waits,
            preempted: waiter.preempted,
            max_ns: waiter.max_ns,
        });
    }
    rows.sort_by_key(|row| (std::cmp::Reverse(row.runnable_ns), row.tid));
    NeighboursReport {
        runnable_ns: rows
            .iter()
            .fold(0, |sum, row| row.runnable_ns.saturating_add(sum)),
        waits: rows.iter().map(|row| row.waits).sum(),
        own_ns: totals.own_ns,
        others_ns: totals.others_ns,
        idle_ns: totals.idle_ns,
        unknown_ns: totals.unknown_ns,
        threads: sorted(totals.threads, context.top),
        processes: sorted(totals.processes, context.top),
        containers: sorted(totals.containers, context.top),
        waiters: List::new(rows, context.top),
    }
}

fn sorted<K: Ord>(rows: BTreeMap<K, NeighbourRow>, top: Option<usize>) -> List<NeighbourRow> {
    let mut rows: Vec<NeighbourRow> = rows.into_values().collect();
    // Stable: equal ones stay in the order of their keys.
    rows.sort_by_key(|row| std::cmp::Reverse(row.ns));
    List::new(rows, top)
}

#[derive(Debug, Clone, Copy, Default)]
struct Waiter {
    ns: i64,
    waits: u64,
    preempted: u64,
    max_ns: i64,
}

impl Waiter {
    fn add(&mut self, slice: &Slice) {
        let ns = slice.length_ns();
        self.ns = self.ns.saturating_add(ns);
        self.waits += 1;
        self.preempted += u64::from(slice.wait.waker.is_none());
        self.max_ns = self.max_ns.max(ns);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Charge {
    ns: i64,
    waits: u64,
    /// When the holder last had the CPU.
    at: i64,
}

/// Charges waits to who had the CPU meanwhile.
#[derive(Debug, Default)]
struct Charger {
    /// The latest tenures of each CPU, by rising time.
    tenures: BTreeMap<u16, VecDeque<Tenure>>,
    /// Waits on CPUs that are not known up to their end yet.
    waits: Vec<(usize, Slice)>,
    charges: BTreeMap<(usize, Holder), Charge>,
}

impl Charger {
    fn tenures(&mut self, tenures: Vec<Tenure>) {
        for tenure in tenures {
            self.tenures
                .entry(tenure.cpu)
                .or_default()
                .push_back(tenure);
        }
    }

    fn charge(&mut self, occupancy: &Occupancy<'_>, all: bool) {
        let waits = std::mem::take(&mut self.waits);
        for (lane, slice) in waits {
            let known = slice.cpu.map_or(i64::MAX, |cpu| occupancy.known_until(cpu));
            if slice.end <= known || all {
                self.wait(lane, &slice);
            } else {
                self.waits.push((lane, slice));
            }
        }
    }

    /// Divides a wait between those who had its CPU; what nobody is known to have had is unknown.
    fn wait(&mut self, lane: usize, slice: &Slice) {
        let mut parts: BTreeMap<Holder, Charge> = BTreeMap::new();
        let mut add = |holder: Holder, ns: i64, at: i64| {
            let part = parts.entry(holder).or_insert(Charge {
                waits: 1,
                ..Charge::default()
            });
            part.ns = part.ns.saturating_add(ns);
            part.at = part.at.max(at);
        };
        let tenures = slice.cpu.and_then(|cpu| self.tenures.get(&cpu));
        let mut at = slice.start;
        if let Some(tenures) = tenures {
            let first = tenures.partition_point(|tenure| tenure.end <= slice.start);
            for tenure in tenures.iter().skip(first) {
                if tenure.start >= slice.end {
                    break;
                }
                let (from, to) = (tenure.start.max(at), tenure.end.min(slice.end));
                if from > at {
                    add(Holder::Unknown, from.saturating_sub(at), at);
                }
                add(tenure.holder, to.saturating_sub(from), from);
                at = to;
            }
        }
        if at < slice.end {
            add(Holder::Unknown, slice.end.saturating_sub(at), at);
        }
        for (holder, part) in parts {
            let charge = self.charges.entry((lane, holder)).or_default();
            charge.ns = charge.ns.saturating_add(part.ns);
            charge.waits += part.waits;
            charge.at = charge.at.max(part.at);
        }
    }

    /// Drops the tenures that no wait can need any more.
    fn forget(&mut self, runnable_since: i64) {
        let waiting = self.waits.iter().map(|(_, slice)| slice.start);
        let needed = waiting.fold(runnable_since, i64::min);
        for tenures in self.tenures.values_mut() {
            // A thread that is woken in the next step may come to a CPU that was quiet for long.
            while tenures.len() > 1 && tenures.front().is_some_and(|tenure| tenure.end < needed) {
                tenures.pop_front();
            }
        }
    }
}

/// Charges put together by thread, process and container.
struct Totals<'a> {
    catalog: &'a Catalog,
    own_ns: i64,
    others_ns: i64,
    idle_ns: i64,
    unknown_ns: i64,
    threads: BTreeMap<u32, NeighbourRow>,
    processes: BTreeMap<u32, NeighbourRow>,
    containers: BTreeMap<Option<String>, NeighbourRow>,
}

impl<'a> Totals<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            own_ns: 0,
            others_ns: 0,
            idle_ns: 0,
            unknown_ns: 0,
            threads: BTreeMap::new(),
            processes: BTreeMap::new(),
            containers: BTreeMap::new(),
        }
    }

    fn add(&mut self, waiter_pid: u32, holder: Holder, charge: &Charge) {
        let tid = match holder {
            Holder::Thread(tid) => tid,
            Holder::Idle => return self.idle_ns = self.idle_ns.saturating_add(charge.ns),
            Holder::Unknown => return self.unknown_ns = self.unknown_ns.saturating_add(charge.ns),
        };
        let life = self.catalog.thread_at(tid, charge.at);
        let pid = life.map(|life| life.pid);
        let sum = if pid == Some(waiter_pid) {
            &mut self.own_ns
        } else {
            &mut self.others_ns
        };
        *sum = sum.saturating_add(charge.ns);
        let process = pid.and_then(|pid| self.catalog.process_at(pid, charge.at));
        let container = process.and_then(|process| process.container.clone());
        let comm = life.map(|life| life.comm_at(charge.at).to_owned());
        let leader = pid.map(|pid| self.catalog.comm_at(pid, charge.at).to_owned());
        let thread = NeighbourRow {
            pid,
            tid: Some(tid),
            comm,
            container: container.clone(),
            ..NeighbourRow::default()
        };
        let of_process = NeighbourRow {
            pid,
            comm: leader,
            container: container.clone(),
            ..NeighbourRow::default()
        };
        let of_container = NeighbourRow {
            container: container.clone(),
            ..NeighbourRow::default()
        };
        let rows = [
            self.threads.entry(tid).or_insert(thread),
            self.processes.entry(pid.unwrap_or(0)).or_insert(of_process),
            self.containers.entry(container).or_insert(of_container),
        ];
        for row in rows {
            row.ns = row.ns.saturating_add(charge.ns);
            row.waits += charge.waits;
        }
    }
}

#[cfg(test)]
mod tests;
