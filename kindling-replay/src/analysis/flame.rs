//! Stacks with the time they stand for: on a CPU, off the CPU, or by who ended the wait.

mod names;
mod off_cpu;
mod on_cpu;
mod visible;

use serde::{Serialize, Serializer};

use crate::{
    context::Context,
    model::{catalog::Catalog, stack::Stacks},
    render::json::List,
};
use names::{Chain, Names, Weight};

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
        Kind::OnCpu => on_cpu::weights(context, catalog, stacks),
        Kind::OffCpu | Kind::Wakers => off_cpu::weights(context, catalog, stacks, kind),
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

    /// The stacks that take time, by name; of a report that is limited those with the most time.
    pub fn rows(&self, context: &Context) -> impl Iterator<Item = StackRow<'_>> {
        let chains = self.chosen(context).into_iter();
        chains.map(|chain| names::row(&self.names, chain))
    }

    /// The same, as far as a picture shows them: each function of less than this part of their time counts as its
    /// caller's own.
    pub fn visible(&self, context: &Context, least: f64) -> Vec<StackRow<'_>> {
        context.pool.install(|| {
            let chains = self.chosen(context);
            let all_ns: f64 = chains.iter().map(|(_, (ns, _))| *ns as f64).sum();
            let shown = visible::visible(chains.into_iter(), least * all_ns);
            names::rows(&self.names, shown.iter().collect())
        })
    }

    fn chosen(&self, context: &Context) -> Vec<&(Chain, Weight)> {
        let mut chains: Vec<&(Chain, Weight)> = self.chains.iter().collect();
        if context.top.is_some() {
            chains = context
                .pool
                .install(|| names::heaviest(&self.chains, context.top));
            chains.sort_unstable();
        }
        chains.retain(|(_, (ns, _))| *ns > 0);
        chains
    }
}
