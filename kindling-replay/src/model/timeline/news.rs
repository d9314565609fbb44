//! What a segment tells about each thread.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use kindling_format::{
    Rows,
    schema::{Switch, Syscall, Wakeup},
};

use super::{CpuSwitch, track::Track};
use crate::{
    model::{catalog::Catalog, thread::Event, wait_reason::Call},
    scan::Segment,
    selection::Window,
};

/// What is read of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) window: Window,
    /// The processes that threads are of; `None` for all.
    pub(super) pids: Option<&'a BTreeSet<u32>>,
    /// Whether waits are explained, by the calls that threads were in; else switches are kept for CPUs.
    pub(super) reasons: bool,
}

/// What a segment tells about one thread.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) events: Vec<(i64, Event)>,
    pub(super) calls: Calls,
}

/// The syscalls of one thread: rows of a segment, which are sorted by thread and time.
#[derive(Debug, Default)]
pub(super) struct Calls {
    rows: Option<Arc<Rows<Syscall>>>,
    range: Range<usize>,
}

impl Calls {
    /// When the last one was entered.
    pub(super) fn last_ts(&self) -> Option<i64> {
        let last = self.range.clone().next_back()?;
        Some(self.rows.as_ref()?.ts(last))
    }

    /// The calls that a thread was in at one of these moments, which come in the order of time, and
    /// those that had not returned by `open`.
    pub(super) fn at(&self, moments: impl Iterator<Item = i64>, open: i64) -> Vec<Call> {
        let Some(rows) = &self.rows else {
            return Vec::new();
        };
        let call = |row: usize| Call::new(&rows.get(row));
        let mut found = Vec::new();
        // Rows before `entered` were entered by the moment, those before `done` are decided about.
        let (mut entered, mut done) = (self.range.start, self.range.start);
        for moment in moments {
            entered = first(entered..self.range.end, |row| rows.ts(row) > moment);
            let Some(last) = entered.checked_sub(1).filter(|&last| last >= done) else {
                continue;
            };
            let call = call(last);
            if call.end >= moment {
                found.push(call);
                done = entered;
            }
        }
        // Calls do not nest: those that returned last were entered last.
        let rest = (done..self.range.end).rev().map(call);
        let at = found.len();
        found.extend(rest.take_while(|call| call.end >= open));
        found[at..].reverse();
        found
    }
}

/// The first row of a range from which on something is so; its end if it nowhere is. Near ones are
/// found soonest.
fn first(range: Range<usize>, is_so: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut step) = (range.start, 1);
    while from + step <= range.end && !is_so(from + step - 1) {
        from += step;
        step *= 2;
    }
    let mut until = (from + step - 1).min(range.end);
    while from < until {
        let middle = from.midpoint(until);
        if is_so(middle) {
            until = middle;
        } else {
            from = middle + 1;
        }
    }
    from
}

/// What a segment tells about all of them.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) first_ts: Option<i64>,
    pub(super) switches: Vec<CpuSwitch>,
    /// By the number of the track.
    pub(super) news: Vec<News>,
}

/// Finds the track of a tid at a moment: a tid can be used again.
#[derive(Debug)]
pub(super) struct TrackIndex {
    tracks: usize,
    lives: HashMap<u32, Vec<(i64, Option<usize>)>>,
}

impl TrackIndex {
    pub(super) fn new(catalog: &Catalog, tracks: &[Track<'_>]) -> Self {
        let keys = tracks.iter().enumerate();
        let by_life: BTreeMap<(u32, i64), usize> = keys
            .map(|(at, track)| ((track.life.tid, track.life.start_ts), at))
            .collect();
        let mut lives: HashMap<u32, Vec<(i64, Option<usize>)>> = HashMap::new();
        for &(tid, start_ts) in catalog.threads.keys() {
            let track = by_life.get(&(tid, start_ts)).copied();
            lives.entry(tid).or_default().push((start_ts, track));
        }
        Self {
            tracks: tracks.len(),
            lives,
        }
    }

    /// The track, and until when the tid is not used again.
    fn find(&self, tid: u32, ts: i64) -> Found {
        let lives = self.lives.get(&tid).map_or(&[][..], Vec::as_slice);
        let started = lives.partition_point(|(start_ts, _)| *start_ts <= ts);
        let at = started.saturating_sub(1);
        let before = |at: usize| lives.get(at).map(|(start_ts, _)| *start_ts);
        Found {
            tid,
            from: before(at).filter(|_| at > 0).unwrap_or(i64::MIN),
            until: before(at + 1).unwrap_or(i64::MAX),
            track: lives.get(at).and_then(|(_, track)| *track),
        }
    }
}

/// Whose a tid is for some time.
#[derive(Debug, Clone, Copy)]
struct Found {
    tid: u32,
    from: i64,
    until: i64,
    track: Option<usize>,
}

/// Remembers what was found: rows name few threads again and again.
struct Finder<'a> {
    index: &'a TrackIndex,
    recent: [Option<Found>; RECENT],
}

const RECENT: usize = 64;

impl<'a> Finder<'a> {
    fn new(index: &'a TrackIndex) -> Self {
        Self {
            index,
            recent: [None; RECENT],
        }
    }

    fn find(&mut self, tid: u32, ts: i64) -> Found {
        let recent = &mut self.recent[tid as usize % RECENT];
        let fits = |found: &Found| found.tid == tid && found.from <= ts && ts < found.until;
        match recent.filter(fits) {
            Some(found) => found,
            None => *recent.insert(self.index.find(tid, ts)),
        }
    }
}

/// Sorts the events of a segment by thread.
pub(super) fn collect(segment: Segment<'_>, wanted: Wanted<'_>, index: &TrackIndex) -> Held {
    let mut held = Held::default();
    held.news.resize_with(index.tracks, News::default);
    let mut finder = Finder::new(index);
    held.collect_events(segment, wanted, &mut finder);
    if wanted.reasons {
        held.collect_calls(segment, wanted, &mut finder);
    }
    held
}

impl Held {
    fn add(&mut self, finder: &mut Finder<'_>, tid: u32, ts: i64, event: Event) {
        let track = finder.find(tid, ts).track;
        if let Some(news) = track.and_then(|track| self.news.get_mut(track)) {
            news.events.push((ts, event));
        }
        self.first_ts = Some(self.first_ts.map_or(ts, |first| first.min(ts)));
    }

    fn collect_events(
        &mut self,
        segment: Segment<'_>,
        wanted: Wanted<'_>,
        finder: &mut Finder<'_>,
    ) {
        let so_far = Window {
            from: i64::MIN,
            ..wanted.window
        };
        let switches = segment.rows_within::<Switch>(so_far);
        for row in switches.iter().filter(|row| row.ts <= so_far.to) {
            if !wanted.reasons {
                self.switches.push(CpuSwitch {
                    ts: row.ts,
                    cpu: row.cpu,
                    prev_tid: row.prev_tid,
                    next_tid: row.next_tid,
                });
            }
            let out = Event::Out {
                cpu: row.cpu,
                state: row.prev_state,
                preempted: row.preempted,
                syscall: row.prev_syscall,
                stack: row.stack,
            };
            self.add(finder, row.prev_tid, row.ts, out);
            self.add(finder, row.next_tid, row.ts, Event::In { cpu: row.cpu });
        }
        let wakeups = segment.rows_within::<Wakeup>(so_far);
        for row in wakeups.iter().filter(|row| row.ts <= so_far.to) {
            let woken = Event::Woken {
                tid: row.waker_tid,
                irq: row.irq,
            };
            self.add(finder, row.wakee_tid, row.ts, woken);
        }
    }

    fn collect_calls(&mut self, segment: Segment<'_>, wanted: Wanted<'_>, finder: &mut Finder<'_>) {
        let columns = Some(&Call::COLUMNS[..]);
        let rows = segment.columns_of::<Syscall>(wanted.window, wanted.pids, columns);
        let rows = Arc::new(rows);
        let mut start = 0;
        while start < rows.len() {
            let found = finder.find(rows.tid(start), rows.ts(start));
            let others = |row| rows.tid(row) != found.tid || rows.ts(row) >= found.until;
            let end = first(start + 1..rows.len(), others);
            if let Some(news) = found.track.and_then(|track| self.news.get_mut(track)) {
                news.calls = Calls {
                    rows: Some(Arc::clone(&rows)),
                    range: start..end,
                };
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first;

    #[test]
    fn the_first_row_is_found_wherever_it_is() {
        for len in 0..40 {
            for start in 0..=len {
                for at in start..=len {
                    assert_eq!(first(start..len, |row| row >= at), at, "{start}..{len}");
                }
            }
        }
    }
}
