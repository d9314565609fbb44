//! `critical-path --rpcs`: what makes slow requests slower than usual ones. The critical paths of requests
//! around the median and of the slowest hundredth are put together by process and state, and set side
//! by side.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    analysis::{
        critical_path,
        critical_path_report::Question,
        rpc::{RpcFilter, Wanted},
        rpc_call::{self, Call, CallKey},
    },
    context::Context,
    model::{
        catalog::{Catalog, ThreadSet},
        connection::{Connections, Role},
        lanes::Lanes,
        sends::Sends,
        slice::State,
        stack::Stacks,
    },
    render::json::List,
    selection::Window,
};

/// The most requests of a group whose paths are followed: evenly chosen if there are more.
const MOST_PATHS: usize = 500;

/// The answer of `critical-path --rpcs`.
#[derive(Debug, Clone, Serialize)]
pub struct CompareReport {
    /// The requests that were answered.
    pub requests: u64,
    /// Those around the median: from the 40th to the 60th percentile.
    pub usual: Group,
    /// The slowest: from the 99th percentile on.
    pub slow: Group,
    /// What a path consists of on average in each group, by falling difference. Each column adds up to the
    /// group's mean latency, but for rounding.
    #[serde(flatten)]
    pub parts: List<ComparePart>,
}

/// Some of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How many paths were followed.
    pub paths: u64,
    /// The latency of the fastest of them.
    pub min_ns: i64,
    /// And of the slowest.
    pub max_ns: i64,
    /// On average.
    pub mean_ns: i64,
}

/// What processes in one state add to the paths of both groups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparePart {
    /// The name of the process.
    pub process: String,
    /// The state.
    pub state: State,
    /// The syscall of a wait.
    pub syscall: Option<String>,
    /// In a usual request, on average.
    pub usual_ns: i64,
    /// In a slow one.
    pub slow_ns: i64,
    /// How much more that is.
    pub difference_ns: i64,
}

/// What the path of a call is: of the thread that had the answer, from the call's start to its end.
pub fn question(call: &Call, id: &str) -> Option<Question> {
    let (tid, window) = answered(call)?;
    Some(Question {
        of: format!("request {id}, {} {}", call.protocol, call.endpoint()),
        tid: Some(tid),
        window,
    })
}

/// The thread that had the answer of a call, and when that was asked for and was there.
fn answered(call: &Call) -> Option<(u32, Window)> {
    let end = call
        .exchange(Role::Client)
        .or(call.exchange(Role::Server))?;
    let (from, to) = (call.start(), call.end()?);
    Some((end.response?.last.tid, Window { from, to }))
}

type Key = (String, State, Option<u16>);

/// Compares the requests of the selection that the filter admits; `None` if none was answered.
pub fn report(
    context: &Context,
    catalog: &Catalog,
    stacks: &Stacks,
    filter: &RpcFilter,
) -> Option<CompareReport> {
    let connections = Connections::new(&catalog.files);
    let wanted = Wanted::new(context, catalog);
    let mut paths: Vec<Path> = Vec::new();
    rpc_call::each(context, catalog, &connections, |call| {
        let is_wanted = wanted.admits(&call) && filter.admits(&call, None);
        let answered = answered(&call).filter(|_| is_wanted);
        let answered = answered.filter(|(_, window)| context.selection.window.contains(window.to));
        paths.extend(answered.map(|(tid, window)| Path {
            length_ns: window.length_ns(),
            key: call.key(),
            tid,
        }));
    });
    // Stable: no two calls are the same but by their place.
    paths.sort_by_key(|path| (path.length_ns, path.key));
    let count = paths.len();
    let usual = chosen(&paths, count * 2 / 5, (count * 3 / 5).max(1).min(count));
    let slow = chosen(&paths, (count * 99 / 100).min(count.checked_sub(1)?), count);
    drop(paths);
    let lanes = Lanes::load(context, catalog, stacks, &ThreadSet::All);
    let sends = Sends::load(context, catalog);
    let (usual, usual_parts) = follow(catalog, &lanes, &sends, &usual);
    let (slow, slow_parts) = follow(catalog, &lanes, &sends, &slow);
    let mut keys: Vec<&Key> = usual_parts.keys().chain(slow_parts.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mean = |parts: &BTreeMap<Key, i64>, key: &Key, group: &Group| {
        let paths = i64::try_from(group.paths.max(1)).unwrap_or(i64::MAX);
        parts.get(key).map_or(0, |ns| ns / paths)
    };
    let row = |key: &Key| {
        let (usual_ns, slow_ns) = (
            mean(&usual_parts, key, &usual),
            mean(&slow_parts, key, &slow),
        );
        ComparePart {
            process: key.0.clone(),
            state: key.1,
            syscall: key.2.map(|nr| catalog.syscall_name(nr)),
            usual_ns,
            slow_ns,
            difference_ns: slow_ns.saturating_sub(usual_ns),
        }
    };
    let mut rows: Vec<ComparePart> = keys.into_iter().map(row).collect();
    // Stable: equal ones stay in the order of their keys.
    rows.sort_by_key(|row| std::cmp::Reverse(row.difference_ns));
    Some(CompareReport {
        requests: count as u64,
        usual,
        slow,
        parts: List::new(rows, context.top),
    })
}

/// A path that may be followed.
#[derive(Debug, Clone, Copy)]
struct Path {
    length_ns: i64,
    key: CallKey,
    tid: u32,
}

/// Those of a part that are followed.
fn chosen(paths: &[Path], from: usize, to: usize) -> Vec<Path> {
    let part = paths.get(from.min(to)..to).unwrap_or_default();
    let every = part.len().div_ceil(MOST_PATHS).max(1);
    part.iter().step_by(every).copied().collect()
}

/// Follows the paths of a group; the time of all of them by process, state and syscall.
fn follow(
    catalog: &Catalog,
    lanes: &Lanes,
    sends: &Sends,
    paths: &[Path],
) -> (Group, BTreeMap<Key, i64>) {
    let mut parts: BTreeMap<Key, i64> = BTreeMap::new();
    let mut lengths = Vec::new();
    for path in paths {
        lengths.push(path.length_ns);
        let from = path.key.start;
        let to = from.saturating_add(path.length_ns);
        let pieces = critical_path::walk(lanes, sends, path.tid, from, to);
        for piece in pieces {
            let ts = piece.slice.start;
            let pid = catalog.thread_at(piece.tid, ts).map_or(0, |life| life.pid);
            let process = catalog.comm_at(pid, ts).to_owned();
            let key = (process, piece.slice.state, piece.slice.wait.syscall);
            let part = parts.entry(key).or_default();
            *part = part.saturating_add(piece.slice.length_ns());
        }
    }
    let paths = lengths.len() as u64;
    let total = lengths.iter().fold(0i64, |sum, ns| sum.saturating_add(*ns));
    let group = Group {
        paths,
        min_ns: lengths.iter().min().copied().unwrap_or(0),
        max_ns: lengths.iter().max().copied().unwrap_or(0),
        mean_ns: total / i64::try_from(paths.max(1)).unwrap_or(i64::MAX),
    };
    (group, parts)
}
