//! Locks with who waited for whom, collected wait by wait.
//!
//! Who holds a lock is not written anywhere: taking a free mutex needs no syscall. But a mutex that
//! others wait for is let go by a call that wakes the next one. So the time before each such call
//! belongs to who made it, and a thread that waited for three of them waited for three threads in turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    model::{
        ended::Ended,
        futex::LockKind,
        lock_wait::{Batch, LetGo, LockPlace, LockWait, LockWake, Outs},
    },
    selection::Window,
};

/// The most releases of a lock that are kept for waits that are still to come.
const KEPT_RELEASES: usize = 1_024;

/// How sure it is that a wait was for that thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// It woke waiters of this lock by a call on it.
    High,
    /// It woke the waiter, but its call was not seen.
    Medium,
    /// It was the last that was let in.
    Low,
    /// There is no sign of who it was.
    None,
}

/// Whom a wait was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    /// The thread, if it is known.
    pub(super) tid: Option<u32>,
    pub(super) confidence: Confidence,
}

impl Holder {
    const NOBODY: Self = Self {
        tid: None,
        confidence: Confidence::None,
    };

    fn who_woke(wake: LockWake) -> Self {
        Self {
            tid: Some(wake.tid),
            confidence: if wake.certain {
                Confidence::High
            } else {
                Confidence::Medium
            },
        }
    }
}

/// Times that were measured several times.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) ns: i64,
    pub(super) max_ns: i64,
    /// When it was last measured.
    pub(super) at: i64,
}

impl Tally {
    fn add(&mut self, ns: i64, at: i64) {
        self.count += 1;
        self.more(ns, at);
    }

    /// More time of what was counted already.
    fn more(&mut self, ns: i64, at: i64) {
        self.ns = self.ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
        self.at = self.at.max(at);
    }
}

/// A lock, or what looks like one.
#[derive(Debug, Default)]
pub(super) struct Lock {
    pub(super) places: BTreeSet<(u32, u64)>,
    /// What it is by the operations on it.
    pub(super) kinds: BTreeMap<LockKind, u64>,
    /// What it is by the functions that waited.
    pub(super) named: BTreeMap<LockKind, u64>,
    pub(super) shared: bool,
    pub(super) waits: Tally,
    pub(super) missed: u64,
    pub(super) timed_out: u64,
    pub(super) interrupted: u64,
    pub(super) open: u64,
    /// Time between being woken and being back.
    pub(super) wake_ns: i64,
    pub(super) waiters: BTreeMap<u32, Tally>,
    /// By waiter and holder.
    pub(super) edges: BTreeMap<(u32, Holder), Tally>,
    /// By holder: from being let in after a wait to letting go.
    pub(super) holds: BTreeMap<u32, Tally>,
    pub(super) wait_stacks: BTreeMap<u32, Tally>,
    /// Where holders had left their CPU, by the time that others waited for them.
    pub(super) holder_stacks: BTreeMap<u32, Tally>,
    releases: VecDeque<Release>,
    /// Releases up to here are not kept.
    forgotten: i64,
    let_in: BTreeMap<u32, i64>,
}

/// A thread let go of a lock, and so let another in.
#[derive(Debug, Clone, Copy)]
struct Release {
    ts: i64,
    holder: Holder,
    next: u32,
}

/// All locks.
#[derive(Debug)]
pub(super) struct LockTable {
    window: Window,
    locks: Vec<Lock>,
    /// Locks that turned out to be the same.
    same_as: Vec<usize>,
    by_place: BTreeMap<LockPlace, usize>,
    /// Other addresses of shared locks.
    elsewhere: BTreeMap<(u32, u64), usize>,
    /// Waits whose holders are still to be found: an earlier release may come with the next batch.
    held: Vec<(usize, LockWait)>,
}

impl LockTable {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            locks: Vec::new(),
            same_as: Vec::new(),
            by_place: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    /// Takes the waits of the next segment.
    pub(super) fn add(&mut self, batch: Batch<'_>) {
        for (place, count) in batch.missed {
            let at = self.at(place);
            self.locks
                .get_mut(at)
                .into_iter()
                .for_each(|lock| lock.missed += count);
        }
        let mut waits = Vec::with_capacity(batch.waits.len());
        for wait in batch.waits {
            waits.push((self.meet(&wait), wait));
        }
        self.follow_holders(&waits, &batch.let_go);
        let due = std::mem::replace(&mut self.held, waits);
        for (at, wait) in due.into_iter().filter(|(_, wait)| wait.selected) {
            let at = self.root(at);
            if let Some(lock) = self.locks.get_mut(at) {
                lock.charge(&wait, self.window, batch.outs);
            }
        }
    }

    /// The locks that were waited for, those that are the same put together.
    pub(super) fn into_locks(mut self) -> Vec<Lock> {
        for at in 0..self.locks.len() {
            let root = self.root(at);
            if root == at {
                continue;
            }
            let lock = self.locks.get_mut(at).map(std::mem::take);
            if let (Some(lock), Some(root)) = (lock, self.locks.get_mut(root)) {
                root.absorb(lock);
            }
        }
        let mut locks = self.locks;
        locks.retain(|lock| lock.waits.count > 0);
        locks
    }

    fn at(&mut self, place: LockPlace) -> usize {
        let elsewhere = self.elsewhere.get(&(place.pid, place.address)).copied();
        let new = self.locks.len();
        let at = *self
            .by_place
            .entry(place)
            .or_insert(elsewhere.unwrap_or(new));
        if at == new {
            self.locks.push(Lock::default());
            self.same_as.push(new);
        }
        self.root(at)
    }

    fn root(&self, mut at: usize) -> usize {
        while let Some(&next) = self.same_as.get(at)
            && next != at
        {
            at = next;
        }
        at
    }

    /// The lock of a wait; notes where else the lock is.
    fn meet(&mut self, wait: &LockWait) -> usize {
        let at = self.at(wait.place);
        let elsewhere = wait.wake.and_then(|wake| wake.elsewhere);
        if let Some((pid, address)) = elsewhere {
            self.elsewhere.insert((pid, address), at);
            let same = self.by_place.range(LockPlace::any(pid, address));
            let same: Vec<usize> = same.map(|(_, at)| *at).collect();
            for other in same {
                let (other, at) = (self.root(other), self.root(at));
                // The older number stays, so that chains end.
                if let Some(same_as) = self.same_as.get_mut(other.max(at)) {
                    *same_as = other.min(at);
                }
            }
        }
        let at = self.root(at);
        if let Some(lock) = self.locks.get_mut(at) {
            lock.places.insert((wait.place.pid, wait.place.address));
            lock.places.extend(elsewhere);
            lock.shared |= wait.shared;
            let kinds = match wait.named {
                true => &mut lock.named,
                false => &mut lock.kinds,
            };
            *kinds.entry(wait.kind).or_default() += 1;
        }
        at
    }

    /// Notes who let whom in, and how long who was let in held the lock.
    fn follow_holders(&mut self, waits: &[(usize, LockWait)], let_go: &[LetGo]) {
        let woken = waits
            .iter()
            .filter(|(_, wait)| wait.kind.is_exclusive() && wait.ended == Ended::Woken);
        // Threads are let in and let go, in the order of time.
        let mut moments: Vec<(i64, usize, u32, bool)> = Vec::new();
        for (at, wait) in woken {
            moments.push((wait.end, *at, wait.tid, false));
            let Some(lock) = self.locks.get_mut(*at) else {
                continue;
            };
            if let Some(wake) = wait.wake {
                lock.release(Release {
                    ts: wake.ts,
                    holder: Holder::who_woke(wake),
                    next: wait.tid,
                });
            }
        }
        for call in let_go {
            let places = self.by_place.range(LockPlace::any(call.pid, call.address));
            moments.extend(places.map(|(_, at)| (call.ts, self.root(*at), call.tid, true)));
        }
        moments.sort_unstable_by_key(|&(ts, at, tid, goes)| (ts, goes, at, tid));
        for (ts, at, tid, goes) in moments {
            if let Some(lock) = self.locks.get_mut(at) {
                lock.hold(ts, tid, goes, self.window);
            }
        }
    }
}

impl Lock {
    /// A thread is let in after a wait, or lets go.
    fn hold(&mut self, ts: i64, tid: u32, goes: bool, window: Window) {
        if !goes {
            self.let_in.insert(tid, ts);
        } else if let Some(since) = self.let_in.remove(&tid)
            && window.contains(ts)
        {
            let hold = self.holds.entry(tid).or_default();
            hold.add(ts.saturating_sub(since), ts);
        }
    }

    fn release(&mut self, release: Release) {
        let at = self
            .releases
            .partition_point(|other| other.ts <= release.ts);
        self.releases.insert(at, release);
        if self.releases.len() > KEPT_RELEASES {
            let oldest = self.releases.pop_front();
            self.forgotten = oldest.map_or(self.forgotten, |oldest| oldest.ts);
        }
    }

    /// Adds a wait, its time divided between the threads that it was for.
    fn charge(&mut self, wait: &LockWait, window: Window, outs: &Outs) {
        let clip = |start: i64, end: i64| {
            let clipped = window.clip(start, end);
            clipped.map_or(0, |(start, end)| end.saturating_sub(start))
        };
        let length = clip(wait.start, wait.end);
        self.waits.add(length, wait.end);
        self.waiters
            .entry(wait.tid)
            .or_default()
            .add(length, wait.end);
        match wait.ended {
            Ended::Woken => {}
            Ended::TimedOut => self.timed_out += 1,
            Ended::Interrupted => self.interrupted += 1,
            Ended::Open => self.open += 1,
        }
        if let Some(stack) = wait.stack {
            self.wait_stacks
                .entry(stack)
                .or_default()
                .add(length, wait.end);
        }
        let until = wait.wake.map_or(wait.end, |wake| wake.ts);
        self.wake_ns = self.wake_ns.saturating_add(clip(until, wait.end));
        let parts = self.parts(wait, until);
        // The wait counts once, for the thread that ended it.
        let last = parts.len().saturating_sub(1);
        for (index, (start, end, holder)) in parts.into_iter().enumerate() {
            let edge = self.edges.entry((wait.tid, holder)).or_default();
            edge.more(clip(start, end), end);
            edge.count += u64::from(index == last);
            let out = holder.tid.and_then(|tid| outs.last(tid, start, end));
            if let Some((_, Some(stack))) = out {
                let stack = self.holder_stacks.entry(stack).or_default();
                stack.add(clip(start, end), end);
            }
        }
    }

    /// Whom a wait was for, from its start to `until`, without a gap.
    fn parts(&self, wait: &LockWait, until: i64) -> Vec<(i64, i64, Holder)> {
        let mut parts = Vec::new();
        let mut at = wait.start;
        if !wait.kind.is_exclusive() {
            let holder = wait.wake.map_or(Holder::NOBODY, Holder::who_woke);
            return vec![(at, until, holder)];
        }
        if self.forgotten > at {
            let end = self.forgotten.min(until);
            parts.push((at, end, Holder::NOBODY));
            at = end;
        }
        let first = self.releases.partition_point(|release| release.ts <= at);
        let mut rest = Holder::NOBODY;
        for release in self.releases.iter().skip(first) {
            if release.ts > until {
                break;
            }
            parts.push((at, release.ts, release.holder));
            at = release.ts;
            rest = Holder {
                tid: Some(release.next),
                confidence: Confidence::Low,
            };
        }
        if at < until || parts.is_empty() {
            let own = rest.tid == Some(wait.tid);
            parts.push((at, until, if own { Holder::NOBODY } else { rest }));
        }
        parts
    }

    /// Takes in what was collected of the same lock under another address.
    fn absorb(&mut self, other: Lock) {
        fn add<K: Ord>(to: &mut BTreeMap<K, Tally>, from: BTreeMap<K, Tally>) {
            for (key, tally) in from {
                merge(to.entry(key).or_default(), tally);
            }
        }
        fn merge(to: &mut Tally, from: Tally) {
            to.count += from.count;
            to.ns = to.ns.saturating_add(from.ns);
            to.max_ns = to.max_ns.max(from.max_ns);
            to.at = to.at.max(from.at);
        }
        self.places.extend(other.places);
        for (to, from) in [
            (&mut self.kinds, other.kinds),
            (&mut self.named, other.named),
        ] {
            for (kind, count) in from {
                *to.entry(kind).or_default() += count;
            }
        }
        self.shared |= other.shared;
        merge(&mut self.waits, other.waits);
        self.missed += other.missed;
        self.timed_out += other.timed_out;
        self.interrupted += other.interrupted;
        self.open += other.open;
        self.wake_ns = self.wake_ns.saturating_add(other.wake_ns);
        add(&mut self.waiters, other.waiters);
        add(&mut self.edges, other.edges);
        add(&mut self.holds, other.holds);
        add(&mut self.wait_stacks, other.wait_stacks);
        add(&mut self.holder_stacks, other.holder_stacks);
    }
}

#[cfg(test)]
mod tests;
