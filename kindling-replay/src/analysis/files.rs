//! Files: what was read and written, how long that took, and what failed, by path or kind.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{
    schema::{Argument, File, FileKind, Syscall},
    syscalls::ArgKind,
};
use serde::Serialize;

use crate::{
    context::Context,
    filter::EventKind,
    model::{
        catalog::Catalog,
        file,
        histogram::Histogram,
        select::{Details, EventSelection},
    },
    render::{errno, json::List},
    scan::{self, Segment},
};

/// What one row of the answer stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// A path; of files that have none, a kind
    #[default]
    Path,
    /// A kind: regular, tcp, pipe, …
    Kind,
    /// One open file: each connection and pipe by itself
    File,
}

/// The order of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// The most time first
    #[default]
    Time,
    /// The most bytes first
    Bytes,
    /// The most calls first
    Calls,
    /// The most errors first
    Errors,
    /// The slowest call first
    Max,
}

/// The calls on one path, kind or file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileRow {
    /// The path, the kind, or what tells the file from others.
    pub name: String,
    /// The kind; `None` if only calls by path were seen (`stat`), or a call that failed to open it.
    pub kind: Option<String>,
    /// How many open files the calls were on.
    pub files: u64,
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// The same by the error's name.
    pub errors_by: BTreeMap<String, u64>,
    /// Time in all calls that returned.
    pub total_ns: i64,
    /// The longest of them.
    pub max_ns: i64,
    /// Calls that read or receive.
    pub read: Moved,
    /// Calls that write or send.
    pub write: Moved,
    /// All others: open, close, stat, poll, …
    pub other: Latency,
}

/// Calls that move bytes one way.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Moved {
    /// What they moved. `recvmmsg` and `sendmmsg` count messages, so their bytes are not known.
    pub bytes: u64,
    /// How long they took.
    #[serde(flatten)]
    pub latency: Latency,
}

/// How long some calls took.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Calls, those that never returned included.
    pub calls: u64,
    /// Time in those that returned.
    pub total_ns: i64,
    /// Half of them took at most this, to three digits.
    pub p50_ns: i64,
    /// 99 of 100 took at most this, likewise.
    pub p99_ns: i64,
    /// The longest.
    pub max_ns: i64,
}

/// Counts the calls of the selection that name a file or a path.
pub fn report(context: &Context, catalog: &Catalog, by: By, sort: Sort) -> List<FileRow> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Syscall]);
    let mut files: BTreeMap<Key, Tally> = BTreeMap::new();
    let mut orphans = Orphans::default();
    scan::segments(
        context,
        "counting calls on files",
        |segment| of_segment(segment, &selected, catalog, by),
        |(some, some_orphans)| {
            for (key, tally) in some {
                files.entry(key).or_default().add(&tally);
            }
            orphans.add(some_orphans);
        },
    );
    for (path, call) in orphans.matched() {
        files.entry(Key::path(&path, by)).or_default().add(&call);
    }
    let mut rows: Vec<FileRow> = files
        .into_iter()
        .map(|(key, tally)| tally.row(key))
        .collect();
    rows.sort_by_cached_key(|row| {
        let by = match sort {
            Sort::Time => u64::try_from(row.total_ns).unwrap_or(0),
            Sort::Bytes => row.read.bytes.saturating_add(row.write.bytes),
            Sort::Calls => row.calls,
            Sort::Errors => row.errors,
            Sort::Max => u64::try_from(row.max_ns).unwrap_or(0),
        };
        (std::cmp::Reverse(by), row.name.clone())
    });
    List::new(rows, context.top)
}

/// What a row stands for. Calls by path and calls on the open file of that path are in one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(String);

impl Key {
    fn file(file: &File, by: By) -> Self {
        let path = file.path.as_ref().filter(|path| path.starts_with('/'));
        Key(match (by, path) {
            (By::Kind, _) => file.kind.to_string(),
            (By::Path, Some(path)) => path.clone(),
            (By::Path, None) if file.kind == FileKind::Anon => file::label(file),
            (By::Path, None) => file.kind.to_string(),
            (By::File, _) => format!("{} #{}", file::label(file), file.id),
        })
    }

    fn path(path: &str, by: By) -> Self {
        Key(match by {
            By::Kind => "by path".to_owned(),
            By::Path | By::File => path.to_owned(),
        })
    }
}

/// Which way a call moves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
    Neither,
}

fn way(name: &str) -> Way {
    match name {
        "read" | "pread64" | "readv" | "preadv" | "preadv2" | "recvfrom" | "recvmsg"
        | "recvmmsg" | "getdents" | "getdents64" | "splice" | "tee" | "copy_file_range" => {
            Way::Read
        }
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendto" | "sendmsg"
        | "sendmmsg" | "sendfile" | "vmsplice" => Way::Write,
        _ => Way::Neither,
    }
}

#[derive(Debug, Clone, Default)]
struct Tally {
    kind: Option<FileKind>,
    ids: BTreeSet<u32>,
    calls: u64,
    errors: BTreeMap<u16, u64>,
    read: Side,
    write: Side,
    other: Side,
}

#[derive(Debug, Clone, Default)]
struct Side {
    calls: u64,
    bytes: u64,
    times: Histogram,
}

impl Tally {
    fn count(&mut self, name: &str, row: &Syscall) {
        self.calls += 1;
        if let Some(errno) = row.ret.and_then(errno::of_return) {
            *self.errors.entry(errno).or_default() += 1;
        }
        let side = match way(name) {
            Way::Read => &mut self.read,
            Way::Write => &mut self.write,
            Way::Neither => &mut self.other,
        };
        side.calls += 1;
        let counts_messages = matches!(name, "recvmmsg" | "sendmmsg");
        let moved = row
            .ret
            .filter(|_| !counts_messages && way(name) != Way::Neither);
        side.bytes = side
            .bytes
            .saturating_add(u64::try_from(moved.unwrap_or(0)).unwrap_or(0));
        if let Some(dur) = row.dur {
            side.times.record(dur);
        }
    }

    fn add(&mut self, other: &Tally) {
        self.kind = self.kind.or(other.kind);
        self.ids.extend(&other.ids);
        self.calls += other.calls;
        for (errno, count) in &other.errors {
            *self.errors.entry(*errno).or_default() += count;
        }
        self.read.add(&other.read);
        self.write.add(&other.write);
        self.other.add(&other.other);
    }

    fn row(self, key: Key) -> FileRow {
        let sides = [&self.read, &self.write, &self.other];
        FileRow {
            name: key.0,
            kind: self.kind.map(|kind| kind.to_string()),
            files: self.ids.len() as u64,
            calls: self.calls,
            errors: self.errors.values().sum(),
            errors_by: self
                .errors
                .iter()
                .map(|(&errno, &n)| (errno::name(errno), n))
                .collect(),
            total_ns: sides
                .iter()
                .fold(0, |sum, side| side.times.total_ns().saturating_add(sum)),
            max_ns: sides
                .iter()
                .map(|side| side.times.max_ns())
                .max()
                .unwrap_or(0),
            read: self.read.moved(),
            write: self.write.moved(),
            other: self.other.latency(),
        }
    }
}

impl Side {
    fn add(&mut self, other: &Side) {
        self.calls += other.calls;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.times.add(&other.times);
    }

    fn moved(&self) -> Moved {
        Moved {
            bytes: self.bytes,
            latency: self.latency(),
        }
    }

    fn latency(&self) -> Latency {
        Latency {
            calls: self.calls,
            total_ns: self.times.total_ns(),
            p50_ns: self.times.per_mille_ns(500),
            p99_ns: self.times.per_mille_ns(990),
            max_ns: self.times.max_ns(),
        }
    }
}

/// Calls by path and paths of calls that are not in one segment: the row of a path is written when the
/// call is entered, that of the call when it returned.
#[derive(Debug, Default)]
struct Orphans {
    calls: BTreeMap<(u32, i64), Tally>,
    paths: BTreeMap<(u32, i64), String>,
}

impl Orphans {
    fn add(&mut self, more: Orphans) {
        self.calls.extend(more.calls);
        self.paths.extend(more.paths);
    }

    fn matched(mut self) -> impl Iterator<Item = (String, Tally)> {
        let calls = self.calls.into_iter();
        calls.filter_map(move |(call, tally)| Some((self.paths.remove(&call)?, tally)))
    }
}

fn of_segment(
    segment: Segment<'_>,
    selected: &EventSelection<'_>,
    catalog: &Catalog,
    by: By,
) -> (BTreeMap<Key, Tally>, Orphans) {
    let mut tallies: BTreeMap<Key, Tally> = BTreeMap::new();
    let mut keys: BTreeMap<u32, Key> = BTreeMap::new();
    let mut orphans = Orphans {
        paths: paths(segment, selected),
        ..Orphans::default()
    };
    for row in selected.rows::<Syscall>(segment, EventKind::Syscall).iter() {
        let call = (row.tid, row.ts);
        let admitted = selected.admits(row.tid, row.ts, Details::Syscall(&row));
        let spec = catalog.syscall(row.nr);
        let name = spec.map_or("", |spec| spec.name);
        let file = row.file.and_then(|id| catalog.files.get(&id));
        // A call on an open file counts there, whatever path it was opened by.
        let path = orphans.paths.remove(&call);
        if !admitted {
            continue;
        }
        if let Some(file) = file {
            let key = keys.entry(file.id).or_insert_with(|| Key::file(file, by));
            let tally = tallies.entry(key.clone()).or_default();
            tally.kind = tally.kind.or(Some(file.kind));
            tally.ids.insert(file.id);
            tally.count(name, &row);
        } else if let Some(path) = path {
            tallies
                .entry(Key::path(&path, by))
                .or_default()
                .count(name, &row);
        } else if spec.is_some_and(|spec| spec.args.contains(&ArgKind::Path)) {
            let mut tally = Tally::default();
            tally.count(name, &row);
            orphans.calls.insert(call, tally);
        }
    }
    (tallies, orphans)
}

/// The first path that each call of the segment was given.
fn paths(segment: Segment<'_>, selected: &EventSelection<'_>) -> BTreeMap<(u32, i64), String> {
    let mut paths = BTreeMap::new();
    for row in selected
        .rows::<Argument>(segment, EventKind::Syscall)
        .iter()
    {
        if row.data.starts_with(b"/") && selected.may_admit(row.tid, row.ts) {
            let path = String::from_utf8_lossy(&row.data).into_owned();
            paths.entry((row.tid, row.ts)).or_insert(path);
        }
    }
    paths
}
