//! Syscalls by name: how many, how long, how many failed.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use kindling_format::schema::Syscall;
use serde::Serialize;

use crate::{
    context::Context,
    filter::EventKind,
    model::{
        catalog::Catalog,
        select::{Details, EventSelection},
    },
    render::json::List,
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
    pub p50_ns: u64,
    /// 99 of 100 took at most this, likewise.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: i64,
}

#[derive(Debug, Clone)]
struct Tally {
    calls: u64,
    errors: u64,
    unfinished: u64,
    total_ns: i64,
    max_ns: i64,
    times: Histogram<u64>,
}

/// The largest negative return value that is an errno.
const MAX_ERRNO: i64 = 4095;

/// Counts the calls of the selected threads, by falling total time.
pub fn report(context: &Context, catalog: &Catalog) -> anyhow::Result<List<SyscallRow>> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Syscall]);
    let empty = Tally {
        calls: 0,
        errors: 0,
        unfinished: 0,
        total_ns: 0,
        max_ns: 0,
        // Three digits, for any time up to u64's end.
        times: Histogram::new(3)?,
    };
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
                    tallies
                        .entry(row.nr)
                        .or_insert_with(|| empty.clone())
                        .count(&row);
                }
            }
            tallies
        },
        |some| {
            for (nr, tally) in some {
                tallies
                    .entry(nr)
                    .or_insert_with(|| empty.clone())
                    .add(&tally);
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
    Ok(List::new(rows, context.top))
}

impl Tally {
    fn count(&mut self, row: &Syscall) {
        self.calls += 1;
        self.errors += u64::from(row.ret.is_some_and(|ret| (-MAX_ERRNO..0).contains(&ret)));
        match row.dur {
            None => self.unfinished += 1,
            Some(dur) => {
                let dur = dur.max(0);
                self.total_ns = self.total_ns.saturating_add(dur);
                self.max_ns = self.max_ns.max(dur);
                // It grows by itself, so every time fits.
                let _ = self.times.record(dur.unsigned_abs());
            }
        }
    }

    fn add(&mut self, other: &Tally) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.unfinished += other.unfinished;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        // Both resize by themselves, so this cannot fail for want of range.
        let _ = self.times.add(&other.times);
    }

    fn row(self, syscall: String) -> SyscallRow {
        let finished = i64::try_from(self.calls - self.unfinished).unwrap_or(i64::MAX);
        SyscallRow {
            syscall,
            calls: self.calls,
            errors: self.errors,
            unfinished: self.unfinished,
            total_ns: self.total_ns,
            mean_ns: self.total_ns.checked_div(finished).unwrap_or(0),
            p50_ns: self.times.value_at_quantile(0.5),
            p99_ns: self.times.value_at_quantile(0.99),
            max_ns: self.max_ns,
        }
    }
}
