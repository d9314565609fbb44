//! Processes as a tree: who started whom, with what command, and how each of them ended.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::Process;
use serde::Serialize;

use crate::{
    context::Context,
    model::{catalog::Catalog, select, slice::Times, stack::Stacks, timeline},
    render::json::List,
};

/// A process of the target. Rows are in the order of the tree: children follow their parent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessRow {
    /// The process.
    pub pid: u32,
    /// Its parent when it was first seen.
    pub ppid: u32,
    /// How many of its ancestors are in the tree.
    pub depth: usize,
    /// Whether it is the last child of its parent in the tree.
    pub last_child: bool,
    /// Its last name.
    pub comm: String,
    /// Its executable's path, if it could be read.
    pub exe: Option<String>,
    /// Its last command line; empty if it could not be read.
    pub argv: Vec<String>,
    /// Its user.
    pub uid: Option<u32>,
    /// The id of its container.
    pub container: Option<String>,
    /// When it started, since the start of the capture; negative if it was there before.
    pub start_ns: i64,
    /// When it ended; `None` if it lived on.
    pub exit_ns: Option<i64>,
    /// Its exit code, if it ended by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub exit_signal: Option<i32>,
    /// Threads of it that lived in the window.
    pub threads: u64,
    /// Time of its threads in the window, together: on a CPU,
    pub running_ns: i64,
    /// waiting for one,
    pub runnable_ns: i64,
    /// waiting for something else,
    pub blocked_ns: i64,
    /// and not known.
    pub unknown_ns: i64,
}

/// A process: its pid and when it started.
type Key = (u32, i64);

/// What the threads of a process did.
#[derive(Debug, Clone, Default)]
struct Work {
    threads: u64,
    times: Times,
}

/// The processes of the target with a selected thread that lived in the window.
pub fn report(context: &Context, catalog: &Catalog) -> List<ProcessRow> {
    let work = work(context, catalog);
    let shown = |key: &Key| work.contains_key(key);
    let key_of = |process: &Process| (process.pid, process.start_ts);
    let mut children: BTreeMap<Option<Key>, Vec<Key>> = BTreeMap::new();
    for (key, process) in catalog.processes.iter().filter(|(key, _)| shown(key)) {
        let parent = catalog
            .process_at(process.ppid, process.start_ts)
            .map(key_of);
        let parent = parent.filter(|parent| parent != key && shown(parent));
        children.entry(parent).or_default().push(*key);
    }
    for list in children.values_mut() {
        list.sort_by_key(|&(pid, start_ts)| (start_ts, pid));
    }
    let mut tree = Tree {
        context,
        catalog,
        work: &work,
        children,
        placed: BTreeSet::new(),
        rows: Vec::new(),
    };
    tree.place(None);
    // A damaged capture can have a process among its own ancestors: none is left out for that.
    for &key in work.keys() {
        if !tree.placed.contains(&key) {
            tree.place_all(vec![(key, 0, true)]);
        }
    }
    List::new(tree.rows, context.top)
}

/// What the selected threads did, by process.
fn work(context: &Context, catalog: &Catalog) -> BTreeMap<Key, Work> {
    let set = select::threads(context, catalog);
    let mut times: Vec<Times> = Vec::new();
    // Stacks tell reasons to wait apart, and here all are added up.
    let stacks = Stacks::default();
    let lanes = timeline::replay(context, catalog, &stacks, &set, |lane, slice| {
        if times.len() <= lane {
            times.resize(lane + 1, Times::default());
        }
        if let Some(times) = times.get_mut(lane) {
            times.add(slice.state, slice.length_ns());
        }
    });
    times.resize(lanes.len(), Times::default());
    let mut work: BTreeMap<Key, Work> = BTreeMap::new();
    for (lane, times) in lanes.iter().zip(&times) {
        let process = catalog.process_at(lane.life.pid, lane.life.start_ts);
        let Some(process) = process.filter(|_| lane.end > lane.start) else {
            continue;
        };
        let work = work.entry((process.pid, process.start_ts)).or_default();
        work.threads += 1;
        work.times.add_all(times);
    }
    work
}

struct Tree<'a> {
    context: &'a Context,
    catalog: &'a Catalog,
    work: &'a BTreeMap<Key, Work>,
    children: BTreeMap<Option<Key>, Vec<Key>>,
    placed: BTreeSet<Key>,
    rows: Vec<ProcessRow>,
}

impl Tree<'_> {
    /// Places the children of a process, each with its own behind it.
    fn place(&mut self, parent: Option<Key>) {
        let children = self.pending(parent, 0);
        self.place_all(children);
    }

    /// As many levels as processes are possible: so no recursion.
    fn place_all(&mut self, mut pending: Vec<(Key, usize, bool)>) {
        while let Some((key, depth, last_child)) = pending.pop() {
            if self.placed.insert(key) {
                self.rows.extend(self.row(key, depth, last_child));
                pending.extend(self.pending(Some(key), depth + 1));
            }
        }
    }

    /// The children of a process, the first one at the end.
    fn pending(&self, parent: Option<Key>, depth: usize) -> Vec<(Key, usize, bool)> {
        let children = self.children.get(&parent).map_or(&[][..], Vec::as_slice);
        let children = children.iter().rev().enumerate();
        children
            .map(|(from_end, &key)| (key, depth, from_end == 0))
            .collect()
    }

    fn row(&self, key: Key, depth: usize, last_child: bool) -> Option<ProcessRow> {
        let process = self.catalog.processes.get(&key)?;
        let work = self.work.get(&key)?;
        let signal = process.exit_status.map(|status| status & 0x7f);
        Some(ProcessRow {
            pid: process.pid,
            ppid: process.ppid,
            depth,
            last_child,
            comm: process.comm.clone(),
            exe: process.exe.clone(),
            argv: process.argv.clone(),
            uid: process.uid,
            container: process.container.clone(),
            start_ns: self.context.offset_ns(process.start_ts),
            exit_ns: process.exit_ts.map(|ts| self.context.offset_ns(ts)),
            exit_code: process
                .exit_status
                .filter(|_| signal == Some(0))
                .map(|status| (status >> 8) & 0xff),
            exit_signal: signal.filter(|&signal| signal != 0),
            threads: work.threads,
            running_ns: work.times.running_ns,
            runnable_ns: work.times.runnable_ns,
            blocked_ns: work.times.blocked_ns(),
            unknown_ns: work.times.unknown_ns,
        })
    }
}
