//! Stacks with the time they stand for: on a CPU, off the CPU, or by who ended the wait.

use std::collections::BTreeMap;

use kindling_format::schema::Sample;
use serde::{Serialize, Serializer};

use crate::{
    analysis::flame_names::{self, Key, Names, Weight, Weights, add},
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
    context.pool.install(|| {
        let names = Names::new(stacks, &weights);
        let chains = flame_names::chains(&names, weights);
        let sum = |sum: i64, (_, (ns, _)): &(_, Weight)| sum.saturating_add(*ns);
        FlameReport {
            kind,
            total_ns: chains.iter().fold(0, sum),
            count: chains.iter().map(|(_, (_, count))| count).sum(),
            functions: List::new(flame_names::functions(&names, &chains), context.top),
            stacks: List::new(flame_names::rows(&names, chains), context.top),
        }
    })
}

/// Puts together what has the same frames.
fn merged<'a>(counted: impl Iterator<Item = (Key<'a>, Weight)>) -> Weights<'a> {
    let mut weights: BTreeMap<Key<'a>, Weight> = BTreeMap::new();
    for (key, weight) in counted {
        add(weights.entry(key).or_default(), weight);
    }
    weights.into_iter().collect()
}

fn on_cpu<'a>(context: &Context, catalog: &Catalog, stacks: &'a Stacks) -> Weights<'a> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Sample]);
    // By the stack's id, which is compared sooner than its frames.
    let mut by_id: BTreeMap<(u32, &str, Option<u32>), Weight> = BTreeMap::new();
    scan::segments(
        context,
        "counting samples",
        |segment| {
            let mut weights: BTreeMap<(u32, &str, Option<u32>), Weight> = BTreeMap::new();
            for row in selected.rows::<Sample>(segment, EventKind::Sample).iter() {
                if selected.admits(row.tid, row.ts, Details::Sample(&row)) {
                    let comm = catalog.comm_at(row.tid, row.ts);
                    let known = if comm.is_empty() { row.tid } else { 0 };
                    let weight = weights.entry((known, comm, row.stack)).or_default();
                    add(weight, (row.period_ns, 1));
                }
            }
            weights
        },
        |some| {
            for (key, weight) in some {
                add(by_id.entry(key).or_default(), weight);
            }
        },
    );
    let key = |(tid, comm, stack): (u32, &str, Option<u32>)| Key {
        comm: match comm {
            "" => format!("tid {tid}"),
            comm => comm.to_owned(),
        },
        stack: stack.map(|id| stacks.frames(id)),
        leaf: stack.is_none().then(|| "[no stack]".to_owned()),
    };
    merged(by_id.into_iter().map(|(id, weight)| (key(id), weight)))
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
    let comm = |lane: usize| {
        let lane = lanes.get(lane);
        lane.map_or("", |lane| lane.life.comm_at(lane.end))
    };
    let key = |(lane, stack, leaf): (usize, Option<u32>, String)| Key {
        comm: comm(lane).to_owned(),
        stack: stack.map(|id| stacks.frames(id)),
        leaf: Some(leaf).filter(|leaf| !leaf.is_empty()),
    };
    let counted = by_lane.into_iter();
    merged(counted.map(|(lane, weight)| (key(lane), weight)))
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
