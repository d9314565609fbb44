//! The slices of threads over a window, for analyses that go back and forth in them.
//!
//! Memory follows the context switches in the window: ask for a short one.

use std::collections::BTreeMap;

use crate::{
    context::Context,
    model::{
        catalog::{Catalog, ThreadSet},
        slice::Slice,
        stack::Stacks,
        timeline,
    },
};

/// Slices by thread.
#[derive(Debug, Default)]
pub struct Lanes {
    by_tid: BTreeMap<u32, Vec<Slice>>,
}

impl Lanes {
    /// The slices of these threads in the selected window.
    pub fn load(context: &Context, catalog: &Catalog, stacks: &Stacks, set: &ThreadSet) -> Self {
        let mut slices: Vec<Vec<Slice>> = Vec::new();
        let lanes = timeline::replay(context, catalog, stacks, set, |lane, slice| {
            if slices.len() <= lane {
                slices.resize(lane + 1, Vec::new());
            }
            slices
                .get_mut(lane)
                .into_iter()
                .for_each(|lane| lane.push(slice));
        });
        let tids = lanes.iter().map(|lane| lane.life.tid);
        Self::from_slices(
            tids.zip(slices)
                .flat_map(|(tid, slices)| slices.into_iter().map(move |slice| (tid, slice))),
        )
    }

    /// The slices of threads by tid: of a tid that was used again, all lives after one another.
    pub fn from_slices(slices: impl IntoIterator<Item = (u32, Slice)>) -> Self {
        let mut by_tid: BTreeMap<u32, Vec<Slice>> = BTreeMap::new();
        for (tid, slice) in slices {
            by_tid.entry(tid).or_default().push(slice);
        }
        by_tid
            .values_mut()
            .for_each(|slices| slices.sort_by_key(|slice| slice.start));
        Self { by_tid }
    }

    /// Whether the thread has slices.
    pub fn has(&self, tid: u32) -> bool {
        self.by_tid.contains_key(&tid)
    }

    /// The slices of a thread in the order of time.
    pub fn of(&self, tid: u32) -> &[Slice] {
        self.by_tid.get(&tid).map_or(&[], Vec::as_slice)
    }

    /// All threads with their slices.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[Slice])> {
        self.by_tid
            .iter()
            .map(|(tid, slices)| (*tid, slices.as_slice()))
    }

    /// What a thread did just before a moment.
    pub fn before(&self, tid: u32, ts: i64) -> Option<&Slice> {
        let slices = self.of(tid);
        let after = slices.partition_point(|slice| slice.start < ts);
        let slice = slices.get(after.checked_sub(1)?)?;
        (slice.end >= ts).then_some(slice)
    }
}
