//! Names for stacks that were counted. Frames of different addresses have the same names, so stacks become
//! the ranks of their names, which are compared sooner than the names themselves and sort as they do.

use std::{cmp::Reverse, collections::HashMap};

use rayon::prelude::*;

use crate::{
    analysis::flame::{FunctionRow, StackRow},
    model::stack::{Stacks, UNKNOWN},
};

/// A stack that was counted.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    pub(super) comm: String,
    /// The frames, innermost first: those of many stacks are the same.
    pub(super) stack: Option<&'a [u32]>,
    /// Stands for the stack where there is none, or on top of it.
    pub(super) leaf: Option<String>,
}

impl Key<'_> {
    /// Its names beside those of the frames: the thread's, then what stands on top.
    fn others(&self) -> impl Iterator<Item = &str> {
        let leaf = self.leaf.iter().flat_map(|leaf| leaf.split(';'));
        std::iter::once(self.comm.as_str()).chain(leaf)
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

/// A stack by the ranks of its names: the thread's, then functions from the outermost to the innermost.
pub(super) type Chain = Vec<u32>;

/// The names in all stacks, each once. Their ranks sort as they do.
pub(super) struct Names {
    sorted: Vec<String>,
    /// The functions of each frame, outermost first.
    of_frame: HashMap<u32, Chain>,
    unknown: Chain,
}

impl Names {
    pub(super) fn new(stacks: &Stacks, weights: &Weights<'_>) -> Self {
        let ids: Vec<u32> = stacks.frame_ids().collect();
        let labels = ids.par_iter().map(|&id| (id, stacks.labels_of_frame(id)));
        let labels: Vec<(u32, Vec<String>)> = labels.collect();
        let functions = labels.iter().flat_map(|(_, labels)| labels);
        let functions = functions.map(String::as_str).chain([UNKNOWN]);
        let others = weights.iter().flat_map(|(key, _)| key.others());
        let mut sorted: Vec<&str> = functions.chain(others).collect();
        sorted.par_sort_unstable();
        sorted.dedup();
        let ranks = |(id, labels): &(u32, Vec<String>)| -> (u32, Chain) {
            (*id, labels.iter().map(|name| rank(&sorted, name)).collect())
        };
        Self {
            of_frame: labels.par_iter().map(ranks).collect(),
            unknown: vec![rank(&sorted, UNKNOWN)],
            sorted: sorted.into_iter().map(str::to_owned).collect(),
        }
    }

    fn name(&self, rank: u32) -> &str {
        self.sorted.get(rank as usize).map_or("", String::as_str)
    }

    fn chain(&self, key: &Key<'_>) -> Chain {
        let frames = key.stack.unwrap_or_default().iter().rev();
        let functions = frames.flat_map(|id| self.of_frame.get(id).unwrap_or(&self.unknown));
        let mut others = key.others().map(|name| rank(&self.sorted, name));
        let comm = others.next();
        comm.into_iter()
            .chain(functions.copied())
            .chain(others)
            .collect()
    }
}

fn rank(sorted: &[impl AsRef<str>], name: &str) -> u32 {
    sorted.partition_point(|other| other.as_ref() < name) as u32
}

/// The chains of calls with what they weigh, by name; frames can have the same names.
pub(super) fn chains(names: &Names, weights: Weights<'_>) -> Vec<(Chain, Weight)> {
    let named = weights.par_iter();
    let named = named.map(|(key, weight)| (names.chain(key), *weight));
    let mut chains: Vec<(Chain, Weight)> = named.collect();
    chains.par_sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    chains.dedup_by(|(chain, weight), (before, sum)| {
        let is_same = chain == before;
        if is_same {
            add(sum, *weight);
        }
        is_same
    });
    chains
}

/// The rows of chains, by falling time.
pub(super) fn rows(names: &Names, chains: Vec<(Chain, Weight)>) -> Vec<StackRow> {
    let row = |(chain, (ns, count)): (Chain, Weight)| StackRow {
        frames: chain
            .iter()
            .map(|&rank| names.name(rank).to_owned())
            .collect(),
        ns,
        count,
    };
    let mut chains = chains;
    // Those of one weight stay in the order of their names.
    chains.par_sort_by_key(|(_, (ns, _))| Reverse(*ns));
    chains.into_par_iter().map(row).collect()
}

/// The functions in all chains, by falling time of their own.
pub(super) fn functions(names: &Names, chains: &[(Chain, Weight)]) -> Vec<FunctionRow> {
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
            function: name.clone(),
            self_ns: times.self_ns,
            total_ns: times.total_ns,
        });
    let mut rows: Vec<FunctionRow> = rows.collect();
    rows.sort_by_key(|row| Reverse((row.self_ns, row.total_ns)));
    rows
}
