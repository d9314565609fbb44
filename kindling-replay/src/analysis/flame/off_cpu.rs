//! Time blocked, by the stacks of threads that left their CPU.

use std::collections::BTreeMap;

use super::{
    Kind,
    names::{Key, Weight, Weights, add},
};
use crate::{
    context::Context,
    filter::EventKind,
    model::{
        catalog::{Catalog, ThreadLife},
        select::EventSelection,
        slice::Slice,
        stack::Stacks,
        timeline,
    },
};

/// The stacks of waits, with their time; with who ended them on top if that is asked for.
pub(super) fn weights<'a>(
    context: &Context,
    catalog: &Catalog,
    stacks: &'a Stacks,
    kind: Kind,
) -> Weights<'a> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Wait]);
    let lives: Vec<&ThreadLife> = timeline::lives(catalog, selected.threads()).collect();
    let waits = selected.waits();
    let admits = |lane: usize, slice: &Slice| {
        lives
            .get(lane)
            .is_some_and(|life| waits.admits(life, slice))
    };
    let mut by_lane: BTreeMap<(usize, Option<u32>, String), Weight> = BTreeMap::new();
    let set = selected.threads();
    let lanes = timeline::replay(context, catalog, stacks, set, |lane, slice| {
        if admits(lane, &slice) {
            let leaf = leaf(catalog, &slice, kind);
            let weight = by_lane.entry((lane, slice.wait.stack, leaf)).or_default();
            add(weight, (slice.length_ns(), 1));
        }
    });
    let comm = |lane: usize| {
        let lane = lanes.get(lane);
        lane.map_or("", |lane| lane.life.comm_at(lane.end))
    };
    let key = |(lane, stack, leaf): (usize, Option<u32>, String)| Key {
        comm: comm(lane).to_owned().into(),
        stack: stack.map(|id| stacks.frames(id)),
        leaf: Some(leaf).filter(|leaf| !leaf.is_empty()),
    };
    let counted = by_lane.into_iter();
    counted.map(|(lane, weight)| (key(lane), weight)).collect()
}

/// The syscall where there is no stack; the waker on top if that is asked for.
fn leaf(catalog: &Catalog, slice: &Slice, kind: Kind) -> String {
    let mut leaf = match (slice.wait.stack, slice.wait.syscall) {
        (Some(_), _) => String::new(),
        (None, Some(nr)) => format!("[{}]", catalog.syscall_name(nr)),
        (None, None) => format!("[{}]", slice.state.word()),
    };
    if kind == Kind::Wakers {
        let waker = match slice.wait.waker {
            Some(waker) if waker.irq => "[interrupt]".to_owned(),
            Some(waker) => format!("{}_[w]", catalog.comm_at(waker.tid, slice.end)),
            None => "[not woken]".to_owned(),
        };
        leaf = if leaf.is_empty() {
            waker
        } else {
            format!("{leaf};{waker}")
        };
    }
    leaf
}
