//! Which open file a descriptor of a process was at a moment.
//!
//! A syscall says which file its first argument named, so descriptors are known from their uses: the last use
//! before a moment tells, unless the descriptor was closed or made anew since; else the next one. A child has
//! its parent's. Memory follows the descriptors that are asked for.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{schema::Syscall, syscalls::ArgKind};

use crate::{context::Context, model::catalog::Catalog, scan, selection::Window};

/// `F_DUPFD`, `F_DUPFD_CLOEXEC`.
const DUPLICATING: [u64; 2] = [0, 1030];
/// The most ancestors of which descriptors are inherited here.
const MOST_ANCESTORS: usize = 8;

/// A descriptor of a process.
pub type Descriptor = (u32, i32);

/// What a call says of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// It was this file.
    Used,
    /// It is this file from now on.
    Made,
    /// It was this file until now.
    Closed,
}

type Saying = (i64, Said, u32);

/// What is known of some descriptors.
#[derive(Debug)]
pub struct Descriptors<'a> {
    catalog: &'a Catalog,
    said: BTreeMap<Descriptor, Vec<Saying>>,
}

impl<'a> Descriptors<'a> {
    /// Reads what calls of the whole capture say of these descriptors.
    pub fn load(context: &Context, catalog: &'a Catalog, asked: BTreeSet<Descriptor>) -> Self {
        let wanted = with_ancestors(catalog, asked);
        if wanted.is_empty() {
            return Self::from_sayings(catalog, [], &wanted);
        }
        let pids: BTreeSet<u32> = wanted.iter().map(|(pid, _)| *pid).collect();
        let mut all = Vec::new();
        scan::segments(
            context,
            "reading what descriptors are",
            |segment| {
                let columns = [
                    "ts", "dur", "pid", "tid", "nr", "arg0", "arg1", "ret", "file",
                ];
                let rows =
                    segment.columns_of::<Syscall>(Window::ALWAYS, Some(&pids), Some(&columns));
                let mut found: BTreeMap<Descriptor, Vec<Saying>> = BTreeMap::new();
                for row in rows.iter() {
                    for (fd, saying) in sayings(catalog, &row) {
                        if wanted.contains(&(row.pid, fd)) {
                            add(found.entry((row.pid, fd)).or_default(), saying);
                        }
                    }
                }
                found
            },
            |found| all.extend(found),
        );
        Self::from_sayings(catalog, all, &wanted)
    }

    /// What `files` alone says of these descriptors.
    #[cfg(test)]
    pub(super) fn of_files(catalog: &'a Catalog, asked: BTreeSet<Descriptor>) -> Self {
        Self::from_sayings(catalog, [], &asked)
    }

    /// Puts what was said in order, with what `files` says of the wanted descriptors.
    fn from_sayings(
        catalog: &'a Catalog,
        all: impl IntoIterator<Item = (Descriptor, Vec<Saying>)>,
        wanted: &BTreeSet<Descriptor>,
    ) -> Self {
        let mut unsorted: BTreeMap<Descriptor, Vec<Saying>> = BTreeMap::new();
        for (descriptor, some) in all {
            unsorted.entry(descriptor).or_default().extend(some);
        }
        for file in catalog.files.values() {
            let descriptor = (file.pid, file.fd);
            if wanted.contains(&descriptor) {
                let made = file.open_ts.map(|ts| (ts, Said::Made, file.id));
                let closed = file.close_ts.map(|ts| (ts, Said::Closed, file.id));
                let said = unsorted.entry(descriptor).or_default();
                said.extend(made.into_iter().chain(closed));
            }
        }
        let sorted = unsorted.into_iter().map(|(descriptor, mut all)| {
            all.sort_unstable();
            let mut said: Vec<Saying> = Vec::new();
            all.into_iter().for_each(|saying| add(&mut said, saying));
            (descriptor, said)
        });
        Self {
            catalog,
            said: sorted.collect(),
        }
    }

    /// The file that the descriptor was; `None` if nothing says so.
    pub fn file(&self, pid: u32, fd: i32, ts: i64) -> Option<u32> {
        let (mut pid, mut ts) = (pid, ts);
        for _ in 0..MOST_ANCESTORS {
            let said = self.said.get(&(pid, fd)).map_or(&[][..], Vec::as_slice);
            let after = said.partition_point(|(at, ..)| *at <= ts);
            match after.checked_sub(1).and_then(|last| said.get(last)) {
                Some((_, Said::Used | Said::Made, file)) => return Some(*file),
                before => match (said.get(after), before) {
                    (Some((_, Said::Used | Said::Closed, file)), _) => return Some(*file),
                    // It was closed here, so it is not the parent's.
                    (_, Some(_)) => return None,
                    (_, None) => {}
                },
            }
            let process = self.catalog.process_at(pid, ts)?;
            (pid, ts) = (process.ppid, process.start_ts);
        }
        None
    }
}

/// The descriptors, and those of the same number that processes may have them from.
fn with_ancestors(catalog: &Catalog, asked: BTreeSet<Descriptor>) -> BTreeSet<Descriptor> {
    let mut wanted = asked.clone();
    for (pid, fd) in asked {
        let mut pid = pid;
        for _ in 1..MOST_ANCESTORS {
            let Some(process) = catalog.process_at(pid, i64::MAX) else {
                break;
            };
            pid = process.ppid;
            if !wanted.insert((pid, fd)) {
                break;
            }
        }
    }
    wanted
}

/// Adds what was said last, unless it says nothing new. A file whose descriptor has become another one is
/// closed without that one.
fn add(said: &mut Vec<Saying>, saying: Saying) {
    let (_, what, file) = saying;
    let is_known = said.last().is_some_and(|&(_, last, of)| match what {
        Said::Used => of == file && last != Said::Closed,
        Said::Closed => of != file || last == Said::Closed,
        Said::Made => false,
    });
    if !is_known {
        said.push(saying);
    }
}

/// What a call says of descriptors.
fn sayings(catalog: &Catalog, row: &Syscall) -> impl Iterator<Item = (i32, Saying)> {
    let spec = catalog.syscall(row.nr);
    let named = spec.filter(|spec| matches!(spec.args.first(), Some(ArgKind::Fd | ArgKind::DirFd)));
    let told = named.zip(row.file).map(|(spec, file)| {
        let name = spec.wide_name();
        let said = match name {
            "close" => Said::Closed,
            _ => Said::Used,
        };
        let duplicate = match (name, row.arg1) {
            ("dup", _) => row.ret,
            ("fcntl", Some(command)) if DUPLICATING.contains(&command) => row.ret,
            ("dup2" | "dup3", _) => row.ret,
            _ => None,
        };
        let duplicate = duplicate.and_then(|ret| i32::try_from(ret).ok());
        let end = row.ts.saturating_add(row.dur.unwrap_or(0));
        let made = duplicate
            .filter(|fd| *fd >= 0)
            .map(|fd| (fd, (end, Said::Made, file)));
        // A descriptor is an int in the kernel's hands.
        let used = row.arg0.map(|fd| (fd as i32, (row.ts, said, file)));
        used.into_iter().chain(made)
    });
    told.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use kindling_format::{
        schema::{File, Process},
        syscalls,
    };

    use super::*;

    fn row(name: &str, ts: i64, fd: u64, file: u32, ret: i64) -> Syscall {
        Syscall {
            ts,
            dur: Some(1),
            pid: 7,
            tid: 7,
            nr: syscalls::named("x86_64", name).unwrap().nr,
            arg0: Some(fd),
            ret: Some(ret),
            file: Some(file),
            ..Syscall::default()
        }
    }

    #[test]
    fn a_descriptor_is_what_its_uses_say() {
        let opened = File {
            id: 30,
            pid: 7,
            fd: 3,
            open_ts: Some(60),
            ..File::default()
        };
        let process = |pid, ppid, start_ts| Process {
            pid,
            ppid,
            start_ts,
            ts: start_ts,
            ..Process::default()
        };
        let processes = vec![process(7, 1, 0), process(8, 7, 25)];
        let catalog = Catalog::from_rows("x86_64", processes, vec![], vec![opened]);
        let rows = [
            row("read", 20, 3, 10, 1),
            row("read", 30, 3, 10, 1),
            row("close", 40, 3, 10, 0),
            row("read", 50, 3, 20, 1),
            row("dup", 70, 3, 30, 9),
            row("getppid", 80, 3, 40, 9),
        ];
        let mut all: Vec<(Descriptor, Vec<Saying>)> = Vec::new();
        for row in &rows {
            let said = sayings(&catalog, row);
            all.extend(said.map(|(fd, saying)| ((row.pid, fd), vec![saying])));
        }
        all.reverse();
        let wanted = BTreeSet::from([(7, 3), (7, 9)]);
        let found = Descriptors::from_sayings(&catalog, all, &wanted);
        let cases = [
            (7, 3, 10, Some(10)),
            (7, 3, 35, Some(10)),
            // Opened between, by a call that says nothing of it.
            (7, 3, 45, Some(20)),
            (7, 3, 55, Some(20)),
            (7, 3, 65, Some(30)),
            (7, 9, 60, None),
            (7, 9, 75, Some(30)),
            (8, 3, 1000, Some(10)),
            (7, 4, 65, None),
            (9, 3, 65, None),
        ];
        for (pid, fd, ts, expect) in cases {
            assert_eq!(found.file(pid, fd, ts), expect, "{fd} of {pid} at {ts}");
        }
    }
}
