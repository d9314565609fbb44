//! Stacks with the time they stand for: on a CPU, off the CPU, or by who ended the wait.

mod names;
mod visible;

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
        stack::{Span, Stacks},
        timeline,
    },
    render::json::List,
    scan,
};
use names::{Chain, Key, Names, Weight, Weights, add, sum_same};

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

/// Stacks that were counted, and what the functions in them are called.
pub struct Counted {
    /// Which time they stand for.
    pub kind: Kind,
    /// All of it.
    pub total_ns: i64,
    names: Names,
    /// Each once, by name.
    chains: Vec<(Chain, Weight)>,
}

/// The answer of `flame`, with names of what was counted.
#[derive(Debug, Serialize)]
pub struct FlameReport<'a> {
    /// Which time it shows.
    pub kind: Kind,
    /// All of it.
    pub total_ns: i64,
    /// The samples or waits that it comes from.
    pub count: u64,
    /// Functions by falling time of their own.
    pub functions: List<FunctionRow<'a>>,
    /// Distinct stacks by falling time.
    pub stacks: List<StackRow<'a>>,
}

/// A function in all stacks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FunctionRow<'a> {
    /// Its name.
    pub function: &'a str,
    /// Time in which it was innermost.
    pub self_ns: i64,
    /// Time in which it was on the stack.
    pub total_ns: i64,
}

/// A stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StackRow<'a> {
    /// The thread's name, then functions from the outermost to the innermost; kernel functions
    /// end with `_[k]`, inlined ones with `_[i]`.
    pub frames: Vec<&'a str>,
    /// The time that it stands for.
    pub ns: i64,
    /// How often it was seen.
    pub count: u64,
}

/// Counts the stacks of the selected threads in the window.
pub fn count(context: &Context, catalog: &Catalog, stacks: &Stacks, kind: Kind) -> Counted {
    let weights = match kind {
        Kind::OnCpu => on_cpu(context, catalog, stacks),
        Kind::OffCpu | Kind::Wakers => off_cpu(context, catalog, stacks, kind),
    };
    context.pool.install(|| {
        let names = Names::new(stacks, &weights);
        let chains = names::chains(&names, weights);
        let sum = |sum: i64, (_, (ns, _)): &(_, Weight)| sum.saturating_add(*ns);
        Counted {
            kind,
            total_ns: chains.iter().fold(0, sum),
            names,
            chains,
        }
    })
}

impl Counted {
    /// How many distinct stacks there are.
    pub fn stacks(&self) -> u64 {
        self.chains.len() as u64
    }

    /// The answer.
    pub fn report(&self, context: &Context) -> FlameReport<'_> {
        let Self { names, chains, .. } = self;
        let (functions, stacks) = context.pool.join(
            || names::functions(names, chains),
            || names::rows(names, names::heaviest(chains, context.top)),
        );
        FlameReport {
            kind: self.kind,
            total_ns: self.total_ns,
            count: chains.iter().map(|(_, (_, count))| count).sum(),
            functions: List::new(functions, context.top),
            stacks: List {
                total: self.stacks(),
                rows: stacks,
            },
        }
    }

    /// The stacks that take time, as far as a picture shows them: each function of less than this part of their
    /// time counts as its caller's own.
    pub fn visible(&self, context: &Context, least: f64) -> Vec<StackRow<'_>> {
        context.pool.install(|| {
            let mut chains: Vec<&(Chain, Weight)> = self.chains.iter().collect();
            if context.top.is_some() {
                chains = names::heaviest(&self.chains, context.top);
                chains.sort_unstable();
            }
            chains.retain(|(_, (ns, _))| *ns > 0);
            let all_ns: f64 = chains.iter().map(|(_, (ns, _))| *ns as f64).sum();
            let shown = visible::visible(chains.into_iter(), least * all_ns);
            names::rows(&self.names, shown.iter().collect())
        })
    }
}

fn on_cpu<'a>(context: &Context, catalog: &'a Catalog, stacks: &'a Stacks) -> Weights<'a> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Sample]);
    // Where the stack's frames are, which is compared sooner than the frames or the thread's name, then what the
    // thread is called by.
    type ByPlace<'a> = ((Option<Span>, u32, &'a str), Weight);
    let mut by_place: Vec<ByPlace<'_>> = Vec::new();
    scan::segments(
        context,
        "counting samples",
        |segment| {
            let rows = selected.rows::<Sample>(segment, EventKind::Sample);
            let chosen = rows
                .iter()
                .filter(|row| selected.admits(row.tid, row.ts, Details::Sample(row)));
            let by_place = chosen.map(|row| {
                let comm = catalog.comm_at(row.tid, row.ts);
                let unnamed = if comm.is_empty() { row.tid } else { 0 };
                let place = row.stack.map(|stack| stacks.span(stack));
                ((place, unnamed, comm), (row.period_ns, 1))
            });
            let mut by_place: Vec<_> = by_place.collect();
            sum_same(&mut by_place);
            by_place
        },
        |some| by_place.extend(some),
    );
    let key = |(place, tid, comm): (Option<Span>, u32, &'a str)| Key {
        comm: match comm {
            "" => format!("tid {tid}").into(),
            comm => comm.into(),
        },
        stack: place.map(|place| stacks.frames_at(place)),
        leaf: place.is_none().then(|| "[no stack]".to_owned()),
    };
    context.pool.install(|| {
        sum_same(&mut by_place);
        let counted = by_place.into_par_iter();
        counted.map(|(id, weight)| (key(id), weight)).collect()
    })
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
        comm: comm(lane).to_owned().into(),
        stack: stack.map(|id| stacks.frames(id)),
        leaf: Some(leaf).filter(|leaf| !leaf.is_empty()),
    };
    let counted = by_lane.into_iter();
    counted.map(|(lane, weight)| (key(lane), weight)).collect()
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
