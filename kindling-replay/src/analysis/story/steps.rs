//! Items to steps: equal ones in a row are one part, patterns that repeat are one step, and short steps in a
//! row that have nothing to tell are one.

use std::{collections::BTreeMap, sync::Arc};

use super::{Part, Step};
use crate::{
    analysis::ready::ReadyRow,
    context::Context,
    model::{
        fold::{self, Run},
        slice::{Slice, State, Times},
    },
    selection::Window,
};

/// How many names a step of several calls tells.
const TOLD_NAMES: usize = 5;

/// A call, or what lies between two calls.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) start: i64,
    pub(super) end: i64,
    /// The call; `None` between two.
    pub(super) name: Option<&'static str>,
    /// Items of equal signature are the same thing done again.
    pub(super) signature: Arc<str>,
    /// The same with what differs between connections.
    pub(super) what: Arc<str>,
    pub(super) notes: Notes,
    pub(super) bytes: u64,
}

/// What a call was part of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notes {
    pub(super) serves: u64,
    pub(super) asks: u64,
    /// The first request.
    pub(super) request: Option<String>,
    pub(super) lines: u64,
    /// The first line.
    pub(super) line: Option<String>,
}

/// Folds items.
pub(super) struct Folding<'a> {
    pub(super) context: &'a Context,
    pub(super) slices: &'a [Slice],
    /// Who ended a wait.
    pub(super) waker: &'a dyn Fn(&Slice) -> Option<String>,
    /// What ended it, if it was a poll.
    pub(super) ready: &'a dyn Fn(&Slice) -> Option<ReadyRow>,
    /// What is shorter is not told by itself, unless it has something to tell.
    pub(super) worth_ns: i64,
}

/// Equal items in a row.
type Row<'a> = &'a [Item];

impl Folding<'_> {
    /// The steps that items in the order of time make.
    pub(super) fn steps(&self, items: &[Item]) -> Vec<Step> {
        let rows: Vec<Row<'_>> = items.chunk_by(|a, b| a.signature == b.signature).collect();
        let signatures: Vec<Option<&Arc<str>>> = rows
            .iter()
            .map(|row| row.first().map(|item| &item.signature))
            .collect();
        let runs = fold::fold(&signatures);
        let mut steps = Vec::new();
        let mut short: Vec<Row<'_>> = Vec::new();
        for run in runs {
            let Some(rows) = rows.get(run.start..run.end()) else {
                continue;
            };
            if self.is_short(rows) {
                short.extend(rows);
                continue;
            }
            steps.extend(self.told_together(&short));
            short.clear();
            steps.extend(self.step(run, rows));
        }
        steps.extend(self.told_together(&short));
        steps
    }

    fn is_short(&self, rows: &[Row<'_>]) -> bool {
        let silent = rows
            .iter()
            .all(|row| row.iter().all(|item| item.notes == Notes::default()));
        silent && span(rows).is_some_and(|(start, end)| end.saturating_sub(start) < self.worth_ns)
    }

    /// A pattern of rows with its repeats.
    fn step(&self, run: Run, rows: &[Row<'_>]) -> Option<Step> {
        let (start, end) = span(rows)?;
        let part = |at: usize| {
            let items = rows.iter().skip(at).step_by(run.period).copied().flatten();
            self.part(items, None)
        };
        Some(Step {
            start_ns: self.context.offset_ns(start),
            length_ns: end.saturating_sub(start),
            times: run.times as u64,
            parts: (0..run.period).filter_map(part).collect(),
        })
    }

    /// Short steps as one.
    fn told_together(&self, rows: &[Row<'_>]) -> Option<Step> {
        let (start, end) = span(rows)?;
        let items = || rows.iter().copied().flatten();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for name in items().filter_map(|item| item.name) {
            *counts.entry(name).or_default() += 1;
        }
        let mut names: Vec<(&str, u64)> = counts.into_iter().collect();
        names.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
        let others = names.len().saturating_sub(TOLD_NAMES);
        let told = names
            .iter()
            .take(TOLD_NAMES)
            .map(|(name, count)| match count {
                1 => (*name).to_owned(),
                count => format!("{count} {name}"),
            });
        let mut words: Vec<String> = told.collect();
        words.extend((others > 0).then(|| format!("{others} other kinds")));
        let together = (rows.len() > 1).then(|| words.join(", "));
        Some(Step {
            start_ns: self.context.offset_ns(start),
            length_ns: end.saturating_sub(start),
            times: 1,
            parts: self.part(items(), together).into_iter().collect(),
        })
    }

    /// Items as one part; `together` names them if they are several things.
    fn part<'b>(
        &self,
        items: impl Iterator<Item = &'b Item>,
        together: Option<String>,
    ) -> Option<Part> {
        let mut items = items.peekable();
        let first = items.peek()?;
        let mut part = Part {
            kind: match (&together, first.name) {
                (Some(_), _) => "syscalls",
                (None, Some(_)) => "syscall",
                (None, None) => "between",
            },
            what: together.clone().unwrap_or_else(|| first.what.to_string()),
            ..Part::default()
        };
        let mut times = Times::default();
        let mut longest: Option<(i64, &Slice)> = None;
        for item in items {
            if together.is_none() && *item.what != *part.what {
                part.what = item.signature.to_string();
            }
            part.count(item);
            for (slice, ns) in within(self.slices, item) {
                times.add(slice.state, ns);
                let blocked = matches!(slice.state, State::Blocked(_));
                if blocked && longest.is_none_or(|(most, _)| ns > most) {
                    longest = Some((ns, slice));
                }
            }
        }
        part.running_ns = times.running_ns;
        part.runnable_ns = times.runnable_ns;
        part.blocked_ns = times.blocked_ns();
        let most = times
            .by_reason()
            .max_by_key(|&(reason, ns)| (ns, std::cmp::Reverse(reason)));
        part.blocked_by = most.filter(|(_, ns)| *ns > 0).map(|(reason, _)| reason);
        part.waker = longest.and_then(|(_, slice)| (self.waker)(slice));
        part.ready = longest.and_then(|(_, slice)| (self.ready)(slice));
        Some(part)
    }
}

impl Part {
    fn count(&mut self, item: &Item) {
        self.calls += u64::from(item.name.is_some());
        self.bytes = self.bytes.saturating_add(item.bytes);
        self.total_ns = self
            .total_ns
            .saturating_add(item.end.saturating_sub(item.start));
        self.serves += item.notes.serves;
        self.asks += item.notes.asks;
        self.lines += item.notes.lines;
        if self.request.is_none() {
            self.request.clone_from(&item.notes.request);
        }
        if self.line.is_none() {
            self.line.clone_from(&item.notes.line);
        }
    }
}

/// From the first moment of some rows to the last.
fn span(rows: &[Row<'_>]) -> Option<(i64, i64)> {
    let items = || rows.iter().copied().flatten();
    let start = items().map(|item| item.start).min()?;
    let end = items().map(|item| item.end).max()?;
    Some((start, end))
}

/// The slices within an item, each with how long.
fn within<'a>(slices: &'a [Slice], item: &Item) -> impl Iterator<Item = (&'a Slice, i64)> {
    let window = Window {
        from: item.start,
        to: item.end,
    };
    let first = slices.partition_point(|slice| slice.end <= window.from);
    let slices = slices.iter().skip(first);
    let slices = slices.take_while(move |slice| slice.start < window.to);
    slices.filter_map(move |slice| {
        let (start, end) = window.clip(slice.start, slice.end)?;
        Some((slice, end.saturating_sub(start)))
    })
}
