//! `locks`: which locks threads waited for, how long, for whom, and where.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    analysis::lock_table::{Confidence, Holder, Lock, LockTable, Tally},
    context::Context,
    model::{catalog::Catalog, futex::LockKind, lock_wait, select, stack::Stacks},
    render::json::List,
};

/// The most stacks, waiters and holders of one lock that are listed.
const MOST_OF_ONE: usize = 8;

/// The answer of `locks`.
#[derive(Debug, Serialize)]
pub struct LocksReport {
    /// Waits for all locks.
    pub waits: u64,
    /// Their time.
    pub wait_ns: i64,
    /// The locks, by falling time waited.
    #[serde(flatten)]
    pub locks: List<LockRow>,
    /// Who waited for whom, by falling time.
    pub edges: List<LockEdge>,
}

/// A lock that threads waited for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LockRow {
    /// Its name in this answer: `l1` is the one that was waited for longest.
    pub id: String,
    /// What it is, as far as that can be told.
    pub kind: LockKind,
    /// Whether its futex was not marked private: other processes may use it.
    pub shared: bool,
    /// Where it is: in one process, or in each that was seen to use it.
    pub places: Vec<LockPlaceRow>,
    /// How often a thread waited.
    pub waits: u64,
    /// How long, from the call to its return, within the window.
    pub wait_ns: i64,
    /// Divided by `waits`.
    pub mean_ns: i64,
    /// The longest.
    pub max_ns: i64,
    /// The part of `wait_ns` in which the waiter was woken already.
    pub wake_ns: i64,
    /// Waits that ended by a timeout.
    pub timed_out: u64,
    /// Waits that a signal ended.
    pub interrupted: u64,
    /// Waits that did not end while they were recorded.
    pub open: u64,
    /// Calls that did not wait, because the word had changed just before.
    pub missed: u64,
    /// How often a thread held it from the end of its wait on and then let go. A lock that is taken without
    /// a wait is taken unseen.
    pub holds: u64,
    /// How long.
    pub hold_ns: i64,
    /// The longest.
    pub hold_max_ns: i64,
    /// The threads that waited, by falling time.
    pub waiters: List<LockThreadRow>,
    /// The threads that held it after a wait, by falling time.
    pub holders: List<LockThreadRow>,
    /// Where the waiters left their CPU, by falling time waited.
    pub wait_stacks: List<LockStackRow>,
    /// Where the threads that were waited for had last left theirs, by the time others waited.
    pub holder_stacks: List<LockStackRow>,
}

/// An address of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockPlaceRow {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The address in hexadecimal.
    pub address: String,
}

/// What one thread had to do with a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockThreadRow {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// How often.
    pub count: u64,
    /// How long.
    pub ns: i64,
    /// The longest.
    pub max_ns: i64,
}

/// A stack with the time that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockStackRow {
    /// Functions from the outermost to the innermost, spelled as in `flame`.
    pub frames: Vec<String>,
    /// The time.
    pub ns: i64,
    /// How many waits.
    pub count: u64,
}

/// The time that one thread waited for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockEdge {
    /// The lock.
    pub lock: String,
    /// What it is.
    pub kind: LockKind,
    /// Who waited.
    pub waiter: LockParty,
    /// For whom: the holder of a mutex; the thread that let it go on, for other kinds. `None` if
    /// nobody did or it is not known.
    pub holder: Option<LockParty>,
    /// How sure that is.
    pub confidence: Confidence,
    /// Waits that this thread ended.
    pub waits: u64,
    /// The time that it was waited for. All edges of a lock and its `wake_ns` add up to its `wait_ns`.
    pub wait_ns: i64,
}

/// A thread at one end of a wait.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LockParty {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
}

/// The locks that the selected threads waited for in the window.
pub fn report(context: &Context, catalog: &Catalog, stacks: &Stacks) -> LocksReport {
    let set = select::threads(context, catalog);
    let mut table = LockTable::new(context.selection.window);
    lock_wait::replay(context, catalog, stacks, &set, |batch| table.add(batch));
    let mut locks = table.into_locks();
    locks.sort_by(|a, b| {
        let key = |lock: &Lock| (lock.waits.ns, lock.waits.count);
        key(b)
            .cmp(&key(a))
            .then_with(|| a.places.cmp(&b.places))
            .then_with(|| a.kinds.cmp(&b.kinds))
            .then_with(|| a.named.cmp(&b.named))
    });
    let names = Names { catalog, stacks };
    let mut rows = Vec::new();
    let mut edges = Vec::new();
    for (index, lock) in locks.iter().enumerate() {
        let row = names.row(format!("l{}", index + 1), lock);
        edges.extend(lock.edges.iter().map(|edge| names.edge(&row, edge)));
        rows.push(row);
    }
    edges.sort_by(|a, b| {
        let parties = |edge: &LockEdge| (edge.waiter.tid, edge.holder.clone(), edge.confidence);
        b.wait_ns
            .cmp(&a.wait_ns)
            .then_with(|| a.lock.cmp(&b.lock))
            .then_with(|| parties(a).cmp(&parties(b)))
    });
    LocksReport {
        waits: rows.iter().map(|row| row.waits).sum(),
        wait_ns: rows
            .iter()
            .fold(0, |sum, row| row.wait_ns.saturating_add(sum)),
        locks: List::new(rows, context.top),
        edges: List::new(edges, context.top),
    }
}

/// Gives names to what a lock collected.
struct Names<'a> {
    catalog: &'a Catalog,
    stacks: &'a Stacks,
}

impl Names<'_> {
    fn row(&self, id: String, lock: &Lock) -> LockRow {
        let holds = lock.holds.values();
        let count = i64::try_from(lock.waits.count).unwrap_or(i64::MAX);
        LockRow {
            id,
            kind: kind(lock),
            shared: lock.shared,
            places: self.places(lock),
            waits: lock.waits.count,
            wait_ns: lock.waits.ns,
            mean_ns: lock.waits.ns.checked_div(count).unwrap_or(0),
            max_ns: lock.waits.max_ns,
            wake_ns: lock.wake_ns,
            timed_out: lock.timed_out,
            interrupted: lock.interrupted,
            open: lock.open,
            missed: lock.missed,
            holds: holds.clone().map(|hold| hold.count).sum(),
            hold_ns: holds
                .clone()
                .fold(0, |sum, hold| hold.ns.saturating_add(sum)),
            hold_max_ns: holds.map(|hold| hold.max_ns).max().unwrap_or(0),
            waiters: self.threads(&lock.waiters),
            holders: self.threads(&lock.holds),
            wait_stacks: self.stacks(&lock.wait_stacks),
            holder_stacks: self.stacks(&lock.holder_stacks),
        }
    }

    fn places(&self, lock: &Lock) -> Vec<LockPlaceRow> {
        let places = lock.places.iter().map(|&(pid, address)| LockPlaceRow {
            pid,
            comm: self.catalog.comm_at(pid, lock.waits.at).to_owned(),
            address: format!("{address:#x}"),
        });
        places.take(MOST_OF_ONE).collect()
    }

    fn party(&self, tid: u32, ts: i64) -> LockParty {
        let life = self.catalog.thread_at(tid, ts);
        LockParty {
            pid: life.map_or(0, |life| life.pid),
            tid,
            comm: life.map_or("", |life| life.comm_at(ts)).to_owned(),
        }
    }

    fn threads(&self, threads: &BTreeMap<u32, Tally>) -> List<LockThreadRow> {
        let row = |(&tid, tally): (&u32, &Tally)| {
            let LockParty { pid, tid, comm } = self.party(tid, tally.at);
            LockThreadRow {
                pid,
                tid,
                comm,
                count: tally.count,
                ns: tally.ns,
                max_ns: tally.max_ns,
            }
        };
        let mut rows: Vec<LockThreadRow> = threads.iter().map(row).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.ns), row.tid));
        List::new(rows, Some(MOST_OF_ONE))
    }

    fn stacks(&self, stacks: &BTreeMap<u32, Tally>) -> List<LockStackRow> {
        let mut by_frames: BTreeMap<Vec<String>, Tally> = BTreeMap::new();
        for (&stack, tally) in stacks {
            let sum = by_frames.entry(self.stacks.labels(stack)).or_default();
            sum.ns = sum.ns.saturating_add(tally.ns);
            sum.count += tally.count;
        }
        let mut rows: Vec<LockStackRow> = by_frames
            .into_iter()
            .map(|(frames, tally)| LockStackRow {
                frames,
                ns: tally.ns,
                count: tally.count,
            })
            .collect();
        rows.sort_by(|a, b| b.ns.cmp(&a.ns).then_with(|| a.frames.cmp(&b.frames)));
        List::new(rows, Some(MOST_OF_ONE))
    }

    fn edge(&self, row: &LockRow, edge: (&(u32, Holder), &Tally)) -> LockEdge {
        let (&(waiter, holder), tally) = edge;
        LockEdge {
            lock: row.id.clone(),
            kind: row.kind,
            waiter: self.party(waiter, tally.at),
            holder: holder.tid.map(|tid| self.party(tid, tally.at)),
            confidence: holder.confidence,
            waits: tally.count,
            wait_ns: tally.ns,
        }
    }
}

/// The kind that the functions name which waited; else the one that most operations are of, if they can be of one lock:
/// one sign of what a condition variable or a semaphore is decides for all, and a word that was waited on with values
/// that those of glibc do not have is none of its locks, whatever other values were.
fn kind(lock: &Lock) -> LockKind {
    let most = |kinds: &BTreeMap<LockKind, u64>| {
        let most = kinds
            .iter()
            .max_by_key(|(kind, count)| (**count, std::cmp::Reverse(**kind)));
        most.map(|(kind, _)| *kind)
    };
    let has = |kind: &LockKind| lock.kinds.contains_key(kind);
    if let Some(named) = most(&lock.named) {
        return named;
    }
    if has(&LockKind::Futex) {
        return LockKind::Futex;
    }
    match most(&lock.kinds) {
        Some(LockKind::CondvarOrSemaphore) => {
            let decided = [LockKind::Condvar, LockKind::Semaphore];
            let decided = decided.into_iter().find(has);
            decided.unwrap_or(LockKind::CondvarOrSemaphore)
        }
        most => most.unwrap_or(LockKind::Futex),
    }
}
