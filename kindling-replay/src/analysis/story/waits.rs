//! What a thread waited for: waits that differ in nothing but their time are one row.

use std::collections::{BTreeMap, BTreeSet};

use super::{Teller, WaitRow, kind_or_path};
use crate::{
    model::{
        ended::Ended,
        slice::{Reason, Slice, State},
    },
    render::json::List,
};

/// What tells waits apart: the reason; the syscall, the file and the waker; how it ended; the kind of descriptor
/// that ended it, and what it was ready for.
type WaitKey = (
    Reason,
    [Option<String>; 3],
    Option<Ended>,
    Option<(Option<String>, Vec<&'static str>)>,
);

/// A row, and the descriptors with their files that ended its waits.
struct Draft {
    row: WaitRow,
    descriptors: BTreeSet<(Option<i32>, Option<u32>)>,
}

impl Teller<'_> {
    /// The waits among some slices, the longest first.
    pub(super) fn waits(&self, slices: &[Slice]) -> List<WaitRow> {
        let mut drafts: BTreeMap<WaitKey, Draft> = BTreeMap::new();
        for slice in slices {
            let State::Blocked(reason) = slice.state else {
                continue;
            };
            self.add(slice, reason, &mut drafts);
        }
        let rows = drafts.into_values().map(|draft| WaitRow {
            descriptors: draft.descriptors.len() as u64,
            ..draft.row
        });
        let mut rows: Vec<WaitRow> = rows.collect();
        // Stable: equal ones stay in the order of their names.
        rows.sort_by_key(|row| std::cmp::Reverse(row.total_ns));
        List::new(rows, self.context.top)
    }

    fn add(&self, slice: &Slice, reason: Reason, drafts: &mut BTreeMap<WaitKey, Draft>) {
        let file = |id: Option<u32>| self.catalog.files.get(&id?).map(kind_or_path);
        let syscall = slice.wait.syscall.map(|nr| self.catalog.syscall_name(nr));
        let place = [syscall, file(slice.wait.file), self.waker(slice)];
        let end = self.polls.of(self.life.tid, slice);
        let kind = end.and_then(|end| file(end.first.file));
        let ready = self.ready(slice);
        let events = ready
            .as_ref()
            .map(|ready| (kind.clone(), ready.events.clone()));
        let key = (reason, place.clone(), slice.wait.ended, events);
        let draft = drafts.entry(key).or_insert_with(|| {
            let [syscall, file, waker] = place;
            Draft {
                row: WaitRow {
                    reason,
                    syscall,
                    file,
                    waker,
                    ended: slice.wait.ended,
                    ready: ready.clone(),
                    descriptors: 0,
                    count: 0,
                    total_ns: 0,
                    max_ns: 0,
                },
                descriptors: BTreeSet::new(),
            }
        });
        draft
            .descriptors
            .extend(end.map(|end| (end.first.fd, end.first.file)));
        let row = &mut draft.row;
        if let (Some(known), Some(ready)) = (&mut row.ready, ready) {
            known.merge(ready, kind);
        }
        row.count += 1;
        row.total_ns = row.total_ns.saturating_add(slice.length_ns());
        row.max_ns = row.max_ns.max(slice.length_ns());
    }
}
