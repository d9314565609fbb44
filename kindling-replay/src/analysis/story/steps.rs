//! Items to steps: equal ones in a row are one part, patterns that repeat are one step, and short steps in a
//! row that have nothing to tell are one.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Part, Step,
    items::{Item, Items, Notes},
};
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

/// Folds items.
pub(super) struct Folding<'a> {
    pub(super) context: &'a Context,
    /// In the order of time.
    pub(super) items: &'a Items,
    pub(super) slices: &'a [Slice],
    /// Who ended a wait.
    pub(super) waker: &'a dyn Fn(&Slice) -> Option<String>,
    /// What ended it, if it was a poll.
    pub(super) ready: &'a dyn Fn(&Slice) -> Option<ReadyRow>,
    /// A request by its id.
    pub(super) request: &'a dyn Fn(usize) -> Option<String>,
    /// What is shorter is not told by itself, unless it has something to tell.
    pub(super) worth_ns: i64,
}

/// Equal items in a row, by their numbers.
type Row = Range<usize>;

impl Folding<'_> {
    /// The steps that the items make.
    pub(super) fn steps(&self) -> Vec<Step> {
        let kinds = &self.items.kinds;
        let equal = |a: &Item, b: &Item| kinds.signature(a) == kinds.signature(b);
        let mut end = 0;
        let mut signatures = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for row in self.items.all.chunk_by(equal) {
            rows.push(end..end + row.len());
            end += row.len();
            signatures.extend(row.first().map(|item| kinds.signature(item)));
        }
        let runs = fold::fold(&signatures);
        let mut steps = Vec::new();
        let mut short: Vec<Row> = Vec::new();
        for run in runs {
            let Some(rows) = rows.get(run.start..run.end()) else {
                continue;
            };
            if self.is_short(rows) {
                short.extend_from_slice(rows);
                continue;
            }
            steps.extend(self.told_together(&short));
            short.clear();
            steps.extend(self.step(run, rows));
        }
        steps.extend(self.told_together(&short));
        steps
    }

    fn is_short(&self, rows: &[Row]) -> bool {
        let silent = rows.iter().all(|row| !self.items.any_noted(row.clone()));
        let span = self.span(rows);
        silent && span.is_some_and(|(start, end)| end.saturating_sub(start) < self.worth_ns)
    }

    /// From the first moment of some rows to the last.
    fn span(&self, rows: &[Row]) -> Option<(i64, i64)> {
        let items = || self.items_of(rows.iter()).map(|(_, item)| item);
        let start = items().map(|item| item.start).min()?;
        let end = items().map(|item| item.end).max()?;
        Some((start, end))
    }

    /// The items of some rows, with their numbers.
    fn items_of<'r>(
        &'r self,
        rows: impl Iterator<Item = &'r Row>,
    ) -> impl Iterator<Item = (usize, &'r Item)> {
        rows.flat_map(|row| {
            let items = self.items.all.get(row.clone()).unwrap_or_default();
            row.clone().zip(items)
        })
    }

    /// A pattern of rows with its repeats.
    fn step(&self, run: Run, rows: &[Row]) -> Option<Step> {
        let (start, end) = self.span(rows)?;
        let part = |at: usize| {
            let rows = rows.iter().skip(at).step_by(run.period);
            self.part(self.items_of(rows), None)
        };
        Some(Step {
            start_ns: self.context.offset_ns(start),
            length_ns: end.saturating_sub(start),
            times: run.times as u64,
            parts: (0..run.period).filter_map(part).collect(),
        })
    }

    /// Short steps as one.
    fn told_together(&self, rows: &[Row]) -> Option<Step> {
        let (start, end) = self.span(rows)?;
        let items = || self.items_of(rows.iter());
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for name in items().filter_map(|(_, item)| self.items.kinds.of(item).name) {
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
        items: impl Iterator<Item = (usize, &'b Item)>,
        together: Option<String>,
    ) -> Option<Part> {
        let kinds = &self.items.kinds;
        let mut items = items.peekable();
        let first = kinds.of(items.peek()?.1);
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
        for (at, item) in items {
            let kind = kinds.of(item);
            if together.is_none() && *kind.what != *part.what {
                part.what = kind.signature.to_string();
            }
            part.calls += u64::from(kind.name.is_some());
            part.count(item);
            if let Some(notes) = self.items.notes(at) {
                self.note(&mut part, notes);
            }
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

    fn note(&self, part: &mut Part, notes: &Notes) {
        part.serves += u64::from(notes.serves);
        part.asks += u64::from(notes.asks);
        part.lines += u64::from(notes.lines);
        if part.request.is_none() {
            part.request = notes.request.and_then(self.request);
        }
        if part.line.is_none() {
            part.line.clone_from(&notes.line);
        }
    }
}

impl Part {
    fn count(&mut self, item: &Item) {
        self.bytes = self.bytes.saturating_add(item.bytes);
        self.total_ns = self
            .total_ns
            .saturating_add(item.end.saturating_sub(item.start));
    }
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
