//! Syscalls by name: how many, how long, how many failed.

use std::collections::BTreeMap;

use kindling_format::schema::Syscall;
use serde::Serialize;

use crate::{
    context::Context,
    filter::EventKind,
    model::{
        catalog::Catalog,
        histogram::Histogram,
        select::{Details, EventSelection},
    },
    render::{errno, json::List},
    scan,
};

/// One kind of syscall.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyscallRow {
    /// Its name.
    pub syscall: String,
    /// Calls that were entered in the window.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that never returned while recorded; they have no part in the times.
    pub unfinished: u64,
    /// The time in all of them.
    pub total_ns: i64,
    /// The time in one on average.
    pub mean_ns: i64,
    /// Half of them took at most this, to three digits.
    pub p50_ns: i64,
    /// 99 of 100 took at most this, likewise.
    pub p99_ns: i64,
    /// The longest.
    pub max_ns: i64,
    /// `errors` by the error's name.
    pub errors_by: BTreeMap<String, u64>,
    /// The calls that returned, by powers of two of their time, without the empty ones.
    pub histogram: Vec<Bucket>,
}

/// Calls that took about the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// They took at least this, and less than twice that; 0 is for itself.
    pub least_ns: i64,
    /// How many they are.
    pub calls: u64,
}

#[derive(Debug, Clone, Default)]
struct Tally {
    calls: u64,
    errors: BTreeMap<u16, u64>,
    unfinished: u64,
    times: Histogram,
}

/// Counts the calls of the selected threads, by falling total time.
pub fn report(context: &Context, catalog: &Catalog) -> List<SyscallRow> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Syscall]);
    // A condition may ask for any of them.
    let columns = ["ts", "dur", "tid", "nr", "ret"];
    let columns = context
        .selection
        .filter
        .is_none()
        .then_some(columns.as_slice());
    let mut tallies: BTreeMap<u16, Tally> = BTreeMap::new();
    scan::segments(
        context,
        "counting syscalls",
        |segment| {
            let mut tallies: BTreeMap<u16, Tally> = BTreeMap::new();
            let rows = selected.columns::<Syscall>(segment, EventKind::Syscall, columns);
            for row in rows.iter() {
                if selected.admits(row.tid, row.ts, Details::Syscall(&row)) {
                    tallies.entry(row.nr).or_default().count(&row);
                }
            }
            tallies
        },
        |some| {
            for (nr, tally) in some {
                tallies.entry(nr).or_default().add(&tally);
            }
        },
    );
    let rows = tallies
        .into_iter()
        .map(|(nr, tally)| tally.row(catalog.syscall_name(nr)));
    let mut rows: Vec<SyscallRow> = rows.collect();
    rows.sort_by(|a, b| {
        b.total_ns
            .cmp(&a.total_ns)
            .then_with(|| a.syscall.cmp(&b.syscall))
    });
    List::new(rows, context.top)
}

impl Tally {
    fn count(&mut self, row: &Syscall) {
        self.calls += 1;
        if let Some(errno) = row.ret.and_then(errno::of_return) {
            *self.errors.entry(errno).or_default() += 1;
        }
        match row.dur {
            None => self.unfinished += 1,
            Some(dur) => self.times.record(dur),
        }
    }

    fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        for (errno, count) in &other.errors {
            *self.errors.entry(*errno).or_default() += count;
        }
        self.unfinished += other.unfinished;
        self.times.add(&other.times);
    }

    fn row(self, syscall: String) -> SyscallRow {
        let errors = self.errors.iter();
        let log2 = self.times.log2().into_iter();
        SyscallRow {
            syscall,
            calls: self.calls,
            errors: self.errors.values().sum(),
            unfinished: self.unfinished,
            total_ns: self.times.total_ns(),
            mean_ns: self.times.mean_ns(),
            p50_ns: self.times.per_mille_ns(500),
            p99_ns: self.times.per_mille_ns(990),
            max_ns: self.times.max_ns(),
            errors_by: errors
                .map(|(&errno, &count)| (errno::name(errno), count))
                .collect(),
            histogram: log2
                .map(|(least_ns, calls)| Bucket { least_ns, calls })
                .collect(),
        }
    }
}
