//! Stacks with the time they stand for: on a CPU, off the CPU, or by who ended the wait.

use std::collections::BTreeMap;

use kindling_format::schema::Sample;
use rayon::prelude::*;
use serde::{Serialize, Serializer};

use crate::{
    context::Context,
    filter::EventKind,
    model::{
        catalog::{Catalog, ThreadLife},
        select::{Details, EventSelection},
        slice::Slice,
        stack::Stacks,
        timeline,
    },
    render::json::List,
    scan,
};

/// Which time a flame graph shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Time on a CPU, by stack samples
    OnCpu,
    /// Time blocked, by the stacks of threads that left their CPU
    OffCpu,
    /// Time blocked, with who ended the wait on top
    Wakers,
}

impl Kind {
    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Kind::OnCpu => "on-cpu",
            Kind::OffCpu => "off-cpu",
            Kind::Wakers => "wakers",
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// The answer of `flame`.
#[derive(Debug, Serialize)]
pub struct FlameReport {
    /// Which time it shows.
    pub kind: Kind,
    /// All of it.
    pub total_ns: i64,
    /// The samples or waits that it comes from.
    pub count: u64,
    /// Functions by falling time of their own.
    pub functions: List<FunctionRow>,
    /// Distinct stacks by falling time.
    pub stacks: List<StackRow>,
}

/// A function in all stacks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FunctionRow {
    /// Its name.
    pub function: String,
    /// Time in which it was innermost.
    pub self_ns: i64,
    /// Time in which it was on the stack.
    pub total_ns: i64,
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StackRow {
    /// The thread's name, then functions from the outermost to the innermost; kernel functions
    /// end with `_[k]`, inlined ones with `_[i]`.
    pub frames: Vec<String>,
    /// The time that it stands for.
    pub ns: i64,
    /// How often it was seen.
    pub count: u64,
}

/// Collects the stacks of the selected threads in the window.
pub fn report(context: &Context, catalog: &Catalog, stacks: &Stacks, kind: Kind) -> FlameReport {
    let weights = match kind {
        Kind::OnCpu => on_cpu(context, catalog, stacks),
        Kind::OffCpu | Kind::Wakers => off_cpu(context, catalog, stacks, kind),
    };
    let weights: Vec<(Key<'_>, Weight)> = weights.into_iter().collect();
    let named = weights
        .into_par_iter()
        .map(|(key, weight)| (frames(stacks, key), weight));
    let mut rows: BTreeMap<Vec<String>, Weight> = BTreeMap::new();
    // Frames can have the same names.
    for (frames, weight) in context.pool.install(|| named.collect::<Vec<_>>()) {
        add(rows.entry(frames).or_default(), weight);
    }
    let total_ns = rows
        .values()
        .fold(0i64, |sum, (ns, _)| sum.saturating_add(*ns));
    let count = rows.values().map(|(_, count)| count).sum();
    let functions = functions(&rows);
    let stacks = rows
        .into_iter()
        .map(|(frames, (ns, count))| StackRow { frames, ns, count });
    let mut stacks: Vec<StackRow> = stacks.collect();
    stacks.sort_by(|a, b| b.ns.cmp(&a.ns).then_with(|| a.frames.cmp(&b.frames)));
    FlameReport {
        kind,
        total_ns,
        count,
        functions: List::new(functions, context.top),
        stacks: List::new(stacks, context.top),
    }
}

/// What stacks are told apart by while they are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    comm: String,
    /// The frames, innermost first: those of many stacks are the same.
    stack: Option<&'a [u32]>,
    /// Stands for the stack where there is none, or on top of it.
    leaf: Option<String>,
}

/// Nanoseconds, and how often.
type Weight = (i64, u64);
type Weights<'a> = BTreeMap<Key<'a>, Weight>;

fn add(sum: &mut Weight, (ns, count): Weight) {
    *sum = (sum.0.saturating_add(ns), sum.1 + count);
}

fn on_cpu<'a>(context: &Context, catalog: &Catalog, stacks: &'a Stacks) -> Weights<'a> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Sample]);
    let mut weights = Weights::new();
    scan::segments(
        context,
        "counting samples",
        |segment| {
            let mut weights: BTreeMap<(u32, &str, Option<&'a [u32]>), Weight> = BTreeMap::new();
            for row in selected.rows::<Sample>(segment, EventKind::Sample).iter() {
                if selected.admits(row.tid, row.ts, Details::Sample(&row)) {
                    let comm = catalog.comm_at(row.tid, row.ts);
                    let known = if comm.is_empty() { row.tid } else { 0 };
                    let stack = row.stack.map(|id| stacks.frames(id));
                    let weight = weights.entry((known, comm, stack)).or_default();
                    add(weight, (row.period_ns, 1));
                }
            }
            weights
        },
        |some| {
            for ((tid, comm, stack), weight) in some {
                let comm = if comm.is_empty() {
                    format!("tid {tid}")
                } else {
                    comm.to_owned()
                };
                let leaf = stack.is_none().then(|| "[no stack]".to_owned());
                let key = Key { comm, stack, leaf };
                add(weights.entry(key).or_default(), weight);
            }
        },
    );
    weights
}

fn off_cpu<'a>(
    context: &Context,
    catalog: &Catalog,
    stacks: &'a Stacks,
    kind: Kind,
) -> Weights<'a> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Wait]);
    let lives: Vec<&ThreadLife> = timeline::lives(catalog, selected.threads()).collect();
    let waits = selected.waits();
    let admits = |lane: usize, slice: &Slice| {
        lives
            .get(lane)
            .is_some_and(|life| waits.admits(life, slice))
    };
    let mut by_lane: BTreeMap<(usize, Option<u32>, String), Weight> = BTreeMap::new();
    let set = selected.threads();
    let lanes = timeline::replay(context, catalog, stacks, set, |lane, slice| {
        if admits(lane, &slice) {
            let leaf = leaf(catalog, &slice, kind);
            let weight = by_lane.entry((lane, slice.wait.stack, leaf)).or_default();
            add(weight, (slice.length_ns(), 1));
        }
    });
    let mut weights = Weights::new();
    for ((lane, stack, leaf), weight) in by_lane {
        let comm = lanes
            .get(lane)
            .map_or("", |lane| lane.life.comm_at(lane.end))
            .to_owned();
        let leaf = Some(leaf).filter(|leaf| !leaf.is_empty());
        let stack = stack.map(|id| stacks.frames(id));
        add(
            weights.entry(Key { comm, stack, leaf }).or_default(),
            weight,
        );
    }
    weights
}

/// The syscall where there is no stack; the waker on top if that is asked for.
fn leaf(catalog: &Catalog, slice: &Slice, kind: Kind) -> String {
    let mut leaf = match (slice.wait.stack, slice.wait.syscall) {
        (Some(_), _) => String::new(),
        (None, Some(nr)) => format!("[{}]", catalog.syscall_name(nr)),
        (None, None) => format!("[{}]", slice.state.word()),
    };
    if kind == Kind::Wakers {
        let waker = match slice.wait.waker {
            Some(waker) if waker.irq => "[interrupt]".to_owned(),
            Some(waker) => format!("{}_[w]", catalog.comm_at(waker.tid, slice.end)),
            None => "[not woken]".to_owned(),
        };
        leaf = if leaf.is_empty() {
            waker
        } else {
            format!("{leaf};{waker}")
        };
    }
    leaf
}

fn frames(stacks: &Stacks, key: Key<'_>) -> Vec<String> {
    let names = key.stack.map(|stack| stacks.labels_of(stack));
    let names = names.unwrap_or_default();
    let leaf = key
        .leaf
        .iter()
        .flat_map(|leaf| leaf.split(';'))
        .map(str::to_owned);
    std::iter::once(key.comm).chain(names).chain(leaf).collect()
}

fn functions(stacks: &BTreeMap<Vec<String>, Weight>) -> Vec<FunctionRow> {
    let mut times: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (frames, (ns, _)) in stacks {
        let mut functions: Vec<&str> = frames.iter().skip(1).map(String::as_str).collect();
        if let Some(innermost) = functions.last() {
            let own = &mut times.entry(innermost).or_default().0;
            *own = own.saturating_add(*ns);
        }
        // A function that calls itself counts once.
        functions.sort_unstable();
        functions.dedup();
        for function in functions {
            let total = &mut times.entry(function).or_default().1;
            *total = total.saturating_add(*ns);
        }
    }
    let row = |(function, (self_ns, total_ns)): (&str, _)| FunctionRow {
        function: function.to_owned(),
        self_ns,
        total_ns,
    };
    let mut rows: Vec<FunctionRow> = times.into_iter().map(row).collect();
    rows.sort_by(|a, b| {
        let key = |row: &FunctionRow| (row.self_ns, row.total_ns);
        key(b)
            .cmp(&key(a))
            .then_with(|| a.function.cmp(&b.function))
    });
    rows
}
