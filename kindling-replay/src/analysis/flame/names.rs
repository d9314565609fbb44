//! Names for stacks that were counted. Frames of different addresses have the same names, so stacks become
//! the ranks of their names, which are compared sooner than the names themselves and sort as they do.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use rayon::prelude::*;

use super::{FunctionRow, StackRow};
use crate::model::{
    by_id::ById,
    stack::{Stacks, UNKNOWN},
};

/// A stack that was counted.
#[derive(Debug)]
pub(super) struct Key<'a> {
    pub(super) comm: Cow<'a, str>,
    /// The frames, innermost first.
    pub(super) stack: Option<&'a [u32]>,
    /// Stands for the stack where there is none, or on top of it.
    pub(super) leaf: Option<String>,
}

impl Key<'_> {
    /// Its names beside those of the frames: the thread's, then what stands on top.
    fn others(&self) -> impl Iterator<Item = &str> {
        let leaf = self.leaf.iter().flat_map(|leaf| leaf.split(';'));
        std::iter::once(&*self.comm).chain(leaf)
    }
}

/// Nanoseconds, and how often.
pub(super) type Weight = (i64, u64);
/// What was counted. Chains of calls that have the same names may be there several times.
pub(super) type Weights<'a> = Vec<(Key<'a>, Weight)>;

/// Adds to a weight.
pub(super) fn add(sum: &mut Weight, (ns, count): Weight) {
    *sum = (sum.0.saturating_add(ns), sum.1 + count);
}

/// Sorts what was counted, and puts together what is the same.
fn sum_same<K: Ord + Send>(counted: &mut Vec<(K, Weight)>) {
    counted.par_sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    counted.dedup_by(|(key, weight), (before, sum)| {
        let is_same = key == before;
        if is_same {
            add(sum, *weight);
        }
        is_same
    });
}

/// A stack by the ranks of its names: the thread's, then functions from the outermost to the innermost.
pub(super) type Chain = Vec<u32>;

/// Into so many parts stacks are divided to be counted, whatever the number of threads is.
const PARTS: usize = 16;

/// Chains that were counted, and room for the next.
#[derive(Default)]
struct Tally {
    chain: Chain,
    weights: HashMap<Chain, Weight>,
}

/// The names in all stacks, each once. Their ranks sort as they do.
pub(super) struct Names {
    sorted: Vec<String>,
    /// The functions of frames, outermost first.
    functions: Vec<Chain>,
    /// Which of them those of a frame are.
    of_frame: ById<usize>,
    unknown: Chain,
}

impl Names {
    pub(super) fn new(stacks: &Stacks, weights: &Weights<'_>) -> Self {
        let frames = stacks.frames_by_function();
        let first = |ids: &Vec<u32>| ids.first().map(|&id| stacks.labels_of_frame(id));
        let labels = frames.par_iter().map(|ids| first(ids).unwrap_or_default());
        let labels: Vec<Vec<String>> = labels.collect();
        let functions = labels.iter().flatten().map(String::as_str);
        let others = weights.iter().flat_map(|(key, _)| key.others());
        // Most are the same few.
        let others: HashSet<&str> = others.collect();
        let mut sorted: Vec<&str> = functions.chain([UNKNOWN]).chain(others).collect();
        sorted.par_sort_unstable();
        sorted.dedup();
        let ranks = |labels: &Vec<String>| -> Chain {
            labels.iter().map(|name| rank(&sorted, name)).collect()
        };
        let mut of_frame = ById::new(frames.iter().map(Vec::len).sum());
        for (at, ids) in frames.iter().enumerate() {
            ids.iter().for_each(|&id| of_frame.insert(id, at));
        }
        Self {
            functions: labels.par_iter().map(ranks).collect(),
            of_frame,
            unknown: vec![rank(&sorted, UNKNOWN)],
            sorted: sorted.into_iter().map(str::to_owned).collect(),
        }
    }

    fn name(&self, rank: u32) -> &str {
        self.sorted.get(rank as usize).map_or("", String::as_str)
    }

    /// Puts a stack's ranks into `chain`.
    fn fill(&self, chain: &mut Chain, key: &Key<'_>) {
        let frames = key.stack.unwrap_or_default().iter().rev();
        let functions = |id: &u32| {
            let at = self.of_frame.get(*id);
            let functions = at.and_then(|at| self.functions.get(at));
            functions.unwrap_or(&self.unknown)
        };
        let mut others = key.others().map(|name| rank(&self.sorted, name));
        chain.clear();
        chain.extend(others.next());
        frames.for_each(|id| chain.extend(functions(id)));
        chain.extend(others);
    }
}

fn rank(sorted: &[impl AsRef<str>], name: &str) -> u32 {
    sorted.partition_point(|other| other.as_ref() < name) as u32
}

/// The chains of calls with what they weigh, by name; frames can have the same names, and most do.
pub(super) fn chains(names: &Names, weights: Weights<'_>) -> Vec<(Chain, Weight)> {
    let each = weights.len().div_ceil(PARTS).max(1);
    let parts = weights
        .into_par_iter()
        .fold_chunks(each, Tally::default, |mut tally, part| {
            let (key, weight) = part;
            names.fill(&mut tally.chain, &key);
            match tally.weights.get_mut(&tally.chain) {
                Some(sum) => add(sum, weight),
                None => drop(tally.weights.insert(tally.chain.clone(), weight)),
            }
            tally
        });
    let counted = parts.flat_map_iter(|tally| tally.weights);
    let mut chains: Vec<(Chain, Weight)> = counted.collect();
    sum_same(&mut chains);
    chains
}

/// Chains with the most time, most first; those of one weight in the order of their names.
pub(super) fn heaviest(chains: &[(Chain, Weight)], top: Option<usize>) -> Vec<&(Chain, Weight)> {
    let mut sorted: Vec<&(Chain, Weight)> = chains.iter().collect();
    sorted.par_sort_by_key(|(_, (ns, _))| Reverse(*ns));
    sorted.truncate(top.unwrap_or(usize::MAX));
    sorted
}

/// The row of a chain.
pub(super) fn row<'a>(names: &'a Names, (chain, (ns, count)): &(Chain, Weight)) -> StackRow<'a> {
    StackRow {
        frames: chain.iter().map(|&rank| names.name(rank)).collect(),
        ns: *ns,
        count: *count,
    }
}

/// The rows of chains.
pub(super) fn rows<'a>(names: &'a Names, chains: Vec<&(Chain, Weight)>) -> Vec<StackRow<'a>> {
    let rows = chains.into_par_iter().map(|chain| row(names, chain));
    rows.collect()
}

/// The functions in all chains, by falling time of their own.
pub(super) fn functions<'a>(names: &'a Names, chains: &[(Chain, Weight)]) -> Vec<FunctionRow<'a>> {
    #[derive(Clone, Copy, Default)]
    struct Times {
        self_ns: i64,
        total_ns: i64,
        /// The last chain that it was counted in, from 1 on: one that calls itself counts once.
        counted: usize,
    }
    let mut times = vec![Times::default(); names.sorted.len()];
    for (number, (chain, (ns, _))) in (1..).zip(chains) {
        let functions = chain.get(1..).unwrap_or_default();
        for &rank in functions {
            if let Some(times) = times.get_mut(rank as usize)
                && std::mem::replace(&mut times.counted, number) != number
            {
                times.total_ns = times.total_ns.saturating_add(*ns);
            }
        }
        let innermost = functions.last();
        if let Some(times) = innermost.and_then(|&rank| times.get_mut(rank as usize)) {
            times.self_ns = times.self_ns.saturating_add(*ns);
        }
    }
    let met = times.iter().zip(&names.sorted);
    let rows = met
        .filter(|(times, _)| times.counted > 0)
        .map(|(times, name)| FunctionRow {
            function: name,
            self_ns: times.self_ns,
            total_ns: times.total_ns,
        });
    let mut rows: Vec<FunctionRow<'_>> = rows.collect();
    rows.sort_by_key(|row| Reverse((row.self_ns, row.total_ns)));
    rows
}
