//! `cpus`: who ran where, and how long threads waited for a CPU.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    context::Context,
    model::{
        catalog::Catalog,
        histogram::Histogram,
        occupancy::{Holder, Occupancy, Tenure},
        select,
        slice::{Slice, State},
        timeline,
    },
    render::json::List,
};

/// Threads of a CPU that are listed.
const MOST_THREADS: usize = 8;
/// Processes that have a colour of their own.
const MOST_PROCESSES: usize = 10;
/// Columns of the picture.
const COLUMNS: usize = 1_200;

/// The answer of `cpus`.
#[derive(Debug, Serialize)]
pub struct CpusReport {
    /// The length of the window.
    pub window_ns: i64,
    /// All CPUs together.
    pub all: CpuTimes,
    /// How long the selected threads waited for a CPU, on all of them.
    pub run_queue: RunQueue,
    /// Each CPU on which a recorded thread ran.
    #[serde(flatten)]
    pub cpus: List<CpuRow>,
    /// What the picture shows.
    #[serde(skip)]
    pub picture: Picture,
}

/// What a CPU did with its time: the parts add up to the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CpuTimes {
    /// It ran a thread.
    pub busy_ns: i64,
    /// It ran none.
    pub idle_ns: i64,
    /// It is not known: threads that are not recorded had it, or events were lost.
    pub unknown_ns: i64,
    /// Context switches that recorded threads took part in.
    pub switches: u64,
}

/// Waits for a CPU that ended with the thread coming to one, in nanoseconds to two digits. A wait counts
/// for the CPU that was taken from the thread, or else for the one to which it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RunQueue {
    /// How many.
    pub waits: u64,
    /// How many because the CPU was taken from the thread.
    pub preempted: u64,
    /// All together.
    pub total_ns: i64,
    /// Half of them were not longer.
    pub p50_ns: i64,
    /// 90 % were not longer.
    pub p90_ns: i64,
    /// 99 % were not longer.
    pub p99_ns: i64,
    /// The longest, exactly.
    pub max_ns: i64,
}

/// One CPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuRow {
    /// Its number.
    pub cpu: u16,
    /// What it did with its time.
    #[serde(flatten)]
    pub times: CpuTimes,
    /// How long the selected threads waited for it.
    pub run_queue: RunQueue,
    /// The threads that had it, the longest first.
    pub threads: List<CpuThread>,
}

/// A thread that had a CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuThread {
    /// Its process, if the capture knows it.
    pub pid: Option<u32>,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// How long it had the CPU.
    pub ns: i64,
}

/// The CPUs over time at the resolution of a picture.
#[derive(Debug, Default)]
pub struct Picture {
    /// Start of the window, since the start of the capture.
    pub from_ns: i64,
    /// End of the window.
    pub to_ns: i64,
    /// Columns that the window is divided into.
    pub columns: usize,
    /// The processes that ran longest, with their names: each has a colour.
    pub processes: Vec<(u32, String)>,
    /// The rows: the CPU's number, and of each column that is not wholly unknown the parts of its time.
    pub rows: Vec<(u16, Vec<(usize, Parts)>)>,
}

/// The parts of a column's time, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// By the place in [`Picture::processes`]; the last is all other processes.
    pub processes: Vec<f64>,
    /// Nobody ran.
    pub idle: f64,
}

/// Who had the CPUs in the window, and how long the selected threads waited for them.
pub fn report(context: &Context, catalog: &Catalog) -> CpusReport {
    let set = select::threads(context, catalog);
    let mut occupancy = Occupancy::new(context, catalog);
    let mut cpus: BTreeMap<u16, Draft> = BTreeMap::new();
    let scale = Scale::new(context);
    let mut all_waits = Waits::default();
    let mut waits: BTreeMap<u16, Waits> = BTreeMap::new();
    timeline::replay_states(context, catalog, &set, |step| {
        let mut tenures = occupancy.advance(step.switches, step.until);
        if step.until == i64::MAX {
            tenures.extend(occupancy.finish());
        }
        for tenure in tenures {
            cpus.entry(tenure.cpu)
                .or_default()
                .add(catalog, &tenure, scale);
        }
        let to = context.selection.window.to;
        let came = |slice: &Slice| slice.state == State::Runnable && slice.end < to;
        for slice in step.slices.into_iter().flatten().filter(came) {
            all_waits.add(&slice);
            if let Some(cpu) = slice.cpu {
                waits.entry(cpu).or_default().add(&slice);
            }
        }
    });
    let mut all = CpuTimes::default();
    let mut rows = Vec::new();
    for (cpu, switches) in occupancy.switches() {
        let Some(draft) = cpus.get_mut(&cpu) else {
            continue;
        };
        draft.times.switches = switches;
        all.add(draft.times);
        rows.push(CpuRow {
            cpu,
            times: draft.times,
            run_queue: waits.get(&cpu).map_or_else(RunQueue::default, Waits::row),
            threads: draft.threads(catalog),
        });
    }
    CpusReport {
        window_ns: context.selection.window.length_ns(),
        all,
        run_queue: all_waits.row(),
        cpus: List::new(rows, context.top),
        picture: picture(context, catalog, &cpus, scale),
    }
}

impl CpuTimes {
    fn add(&mut self, other: Self) {
        self.busy_ns = self.busy_ns.saturating_add(other.busy_ns);
        self.idle_ns = self.idle_ns.saturating_add(other.idle_ns);
        self.unknown_ns = self.unknown_ns.saturating_add(other.unknown_ns);
        self.switches += other.switches;
    }
}

#[derive(Debug, Default)]
struct Waits {
    times: Histogram,
    preempted: u64,
}

impl Waits {
    fn add(&mut self, slice: &Slice) {
        self.times.record(slice.length_ns());
        self.preempted += u64::from(slice.wait.waker.is_none());
    }

    fn row(&self) -> RunQueue {
        RunQueue {
            waits: self.times.count(),
            preempted: self.preempted,
            total_ns: self.times.total_ns(),
            p50_ns: self.times.per_mille_ns(500),
            p90_ns: self.times.per_mille_ns(900),
            p99_ns: self.times.per_mille_ns(990),
            max_ns: self.times.max_ns(),
        }
    }
}

/// How a window maps to columns.
#[derive(Debug, Clone, Copy)]
struct Scale {
    from: i64,
    column_ns: i64,
}

impl Scale {
    fn new(context: &Context) -> Self {
        let window = context.selection.window;
        Self {
            from: window.from,
            column_ns: window.length_ns() / COLUMNS as i64 + 1,
        }
    }

    fn column(self, ts: i64) -> usize {
        let column = ts.saturating_sub(self.from).max(0) / self.column_ns;
        usize::try_from(column).unwrap_or(COLUMNS).min(COLUMNS - 1)
    }

    /// The moment behind a column.
    fn end(self, column: usize) -> i64 {
        let columns = i64::try_from(column).unwrap_or(i64::MAX).saturating_add(1);
        self.from
            .saturating_add(columns.saturating_mul(self.column_ns))
    }
}

/// A CPU while it is put together.
#[derive(Debug, Default)]
struct Draft {
    times: CpuTimes,
    /// By thread: how long it had the CPU, and when last.
    threads: BTreeMap<u32, (i64, i64)>,
    /// By column and process; `None` is idle.
    columns: BTreeMap<(usize, Option<u32>), i64>,
}

impl Draft {
    fn add(&mut self, catalog: &Catalog, tenure: &Tenure, scale: Scale) {
        let ns = tenure.length_ns();
        let tid = match tenure.holder {
            Holder::Unknown => {
                self.times.unknown_ns = self.times.unknown_ns.saturating_add(ns);
                return;
            }
            Holder::Idle => {
                self.times.idle_ns = self.times.idle_ns.saturating_add(ns);
                None
            }
            Holder::Thread(tid) => {
                self.times.busy_ns = self.times.busy_ns.saturating_add(ns);
                let thread = self.threads.entry(tid).or_default();
                *thread = (thread.0.saturating_add(ns), tenure.start);
                Some(tid)
            }
        };
        let process = |tid| {
            let life = catalog.thread_at(tid, tenure.start);
            life.map_or(tid, |life| life.pid)
        };
        let process = tid.map(process);
        let mut at = tenure.start;
        while at < tenure.end {
            let column = scale.column(at);
            let end = if column + 1 < COLUMNS {
                scale.end(column).min(tenure.end)
            } else {
                tenure.end
            };
            let part = self.columns.entry((column, process)).or_default();
            *part = part.saturating_add(end.saturating_sub(at));
            at = end.max(at + 1);
        }
    }

    fn threads(&self, catalog: &Catalog) -> List<CpuThread> {
        let row = |(&tid, &(ns, ts)): (&u32, &(i64, i64))| CpuThread {
            pid: catalog.thread_at(tid, ts).map(|life| life.pid),
            tid,
            comm: catalog.comm_at(tid, ts).to_owned(),
            ns,
        };
        let mut rows: Vec<CpuThread> = self.threads.iter().map(row).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.ns), row.tid));
        List::new(rows, Some(MOST_THREADS))
    }
}

fn picture(
    context: &Context,
    catalog: &Catalog,
    cpus: &BTreeMap<u16, Draft>,
    scale: Scale,
) -> Picture {
    let mut ran: BTreeMap<u32, i64> = BTreeMap::new();
    for ((_, process), ns) in cpus.values().flat_map(|draft| &draft.columns) {
        if let Some(pid) = process {
            let sum = ran.entry(*pid).or_default();
            *sum = sum.saturating_add(*ns);
        }
    }
    let mut longest: Vec<(u32, i64)> = ran.into_iter().collect();
    longest.sort_by_key(|(pid, ns)| (std::cmp::Reverse(*ns), *pid));
    longest.truncate(MOST_PROCESSES);
    let end = context.selection.window.to;
    let name = |(pid, _): &(u32, i64)| (*pid, catalog.comm_at(*pid, end).to_owned());
    let processes: Vec<(u32, String)> = longest.iter().map(name).collect();
    let row = |(cpu, draft): (&u16, &Draft)| {
        let mut columns: Vec<(usize, Parts)> = Vec::new();
        for (&(column, process), ns) in &draft.columns {
            if columns.last().is_none_or(|(last, _)| *last != column) {
                let parts = Parts {
                    processes: vec![0.0; processes.len() + 1],
                    idle: 0.0,
                };
                columns.push((column, parts));
            }
            let share = *ns as f64 / scale.column_ns as f64;
            let place = |pid| processes.iter().position(|(of, _)| *of == pid);
            if let Some((_, parts)) = columns.last_mut() {
                let of_process = |pid| place(pid).unwrap_or(processes.len());
                let part = match process {
                    None => Some(&mut parts.idle),
                    Some(pid) => parts.processes.get_mut(of_process(pid)),
                };
                part.into_iter().for_each(|part| *part += share);
            }
        }
        (*cpu, columns)
    };
    Picture {
        from_ns: context.selection.from_ns,
        to_ns: context.selection.to_ns,
        columns: COLUMNS,
        rows: cpus.iter().map(row).collect(),
        processes,
    }
}
