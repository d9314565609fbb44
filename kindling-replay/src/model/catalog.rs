//! Who and what a capture names: processes, threads and files, each with what was known last.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{
    schema::{File, Mapping, Process, Thread},
    syscalls::{self, COMPAT, SyscallSpec},
};

use crate::{context::Context, scan};

/// The processes, threads and files of a capture.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Processes by pid and start: a pid can be used again.
    pub processes: BTreeMap<(u32, i64), Process>,
    /// Threads by tid and start.
    pub threads: BTreeMap<(u32, i64), ThreadLife>,
    /// Files by id.
    pub files: BTreeMap<u32, File>,
    arch: String,
}

/// The life of one thread.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadLife {
    /// The thread.
    pub tid: u32,
    /// Its process.
    pub pid: u32,
    /// When it started, maybe before the recording.
    pub start_ts: i64,
    /// When it ended; `None` if it lived on.
    pub exit_ts: Option<i64>,
    /// Whether it is part of the recorded target.
    pub target: bool,
    /// Its names, each from a moment on.
    pub comms: Vec<(i64, String)>,
    /// What it was doing when recording began, if that was looked up.
    pub initial: Option<InitialState>,
    /// The kernel's own account of its time on CPU, from its start on.
    pub cpu_ns: Option<i64>,
}

/// What a thread was doing when the recorder first looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialState {
    /// When it looked.
    pub ts: i64,
    /// The kernel's state bits; 0 is running or runnable.
    pub state: u32,
    /// Whether it held a CPU.
    pub on_cpu: bool,
    /// The syscall it was in.
    pub syscall: Option<u16>,
}

impl ThreadLife {
    /// Its last name.
    pub fn comm(&self) -> &str {
        self.comms.last().map_or("", |(_, comm)| comm)
    }

    /// Its name at a moment.
    pub fn comm_at(&self, ts: i64) -> &str {
        let after = self.comms.partition_point(|(since, _)| *since <= ts);
        self.comms
            .get(after.saturating_sub(1))
            .map_or("", |(_, comm)| comm)
    }

    fn absorb(&mut self, row: Thread) {
        self.pid = row.pid;
        self.target |= row.target;
        self.exit_ts = row.exit_ts.or(self.exit_ts);
        self.cpu_ns = row.cpu_ns.or(self.cpu_ns);
        if let (None, Some(state)) = (self.initial, row.state) {
            self.initial = Some(InitialState {
                ts: row.ts,
                state,
                on_cpu: row.on_cpu.unwrap_or(false),
                syscall: row.syscall,
            });
        }
        if self.comms.last().is_none_or(|(_, comm)| *comm != row.comm) {
            self.comms.push((row.ts, row.comm));
        }
    }
}

impl Catalog {
    /// Reads the catalog of the whole capture, whatever the selection is.
    pub fn load(context: &Context) -> Self {
        let mut processes = Vec::new();
        let mut threads = Vec::new();
        let mut files = Vec::new();
        scan::segments(
            context,
            "reading names",
            |segment| {
                let processes: Vec<Process> = segment.rows().iter().collect();
                let threads: Vec<Thread> = segment.rows().iter().collect();
                let files: Vec<File> = segment.rows().iter().collect();
                (processes, threads, files)
            },
            |(some_processes, some_threads, some_files)| {
                processes.extend(some_processes);
                threads.extend(some_threads);
                files.extend(some_files);
            },
        );
        Self::from_rows(
            &context.capture.header().host.arch,
            processes,
            threads,
            files,
        )
    }

    /// A catalog of rows in any order.
    pub fn from_rows(
        arch: &str,
        mut processes: Vec<Process>,
        mut threads: Vec<Thread>,
        mut files: Vec<File>,
    ) -> Self {
        let mut catalog = Self {
            arch: arch.to_owned(),
            ..Self::default()
        };
        // Stable sorts: rows of one moment keep the order in which they were written.
        processes.sort_by_key(|row| row.ts);
        threads.sort_by_key(|row| row.ts);
        files.sort_by_key(|row| row.ts);
        for row in processes {
            catalog.processes.insert((row.pid, row.start_ts), row);
        }
        for row in threads {
            let life = catalog.threads.entry((row.tid, row.start_ts));
            life.or_insert_with(|| ThreadLife {
                tid: row.tid,
                pid: row.pid,
                start_ts: row.start_ts,
                exit_ts: None,
                target: false,
                comms: Vec::new(),
                initial: None,
                cpu_ns: None,
            })
            .absorb(row);
        }
        for row in files {
            catalog.files.insert(row.id, row);
        }
        catalog
    }

    /// The life of the thread that had this tid at a moment.
    pub fn thread_at(&self, tid: u32, ts: i64) -> Option<&ThreadLife> {
        let lives = self.threads.range((tid, i64::MIN)..=(tid, i64::MAX));
        let mut lives = lives.map(|(_, life)| life);
        // The last one that had started; a start that is noted late counts for the first.
        let first = lives.clone().next();
        lives.rfind(|life| life.start_ts <= ts).or(first)
    }

    /// The process that had this pid at a moment.
    pub fn process_at(&self, pid: u32, ts: i64) -> Option<&Process> {
        let lives = self.processes.range((pid, i64::MIN)..=(pid, i64::MAX));
        let mut lives = lives.map(|(_, process)| process);
        let first = lives.clone().next();
        lives.rfind(|process| process.start_ts <= ts).or(first)
    }

    /// The name of a thread at a moment; empty if the capture does not know it.
    pub fn comm_at(&self, tid: u32, ts: i64) -> &str {
        self.thread_at(tid, ts).map_or("", |life| life.comm_at(ts))
    }

    /// The names that threads had, each once, in order.
    pub fn comms(&self) -> Vec<&str> {
        let names = self.threads.values().flat_map(|life| &life.comms);
        let names: BTreeSet<&str> = names.map(|(_, name)| name.as_str()).collect();
        names.into_iter().collect()
    }

    /// The name of a thread from a moment on, as [`Catalog::comm_at`], and until when it is that.
    pub fn comm_until(&self, tid: u32, ts: i64) -> (&str, i64) {
        let lives = self.threads.range((tid, i64::MIN)..=(tid, i64::MAX));
        let starts = lives.map(|(&(_, start), _)| start);
        let next_life = starts.into_iter().find(|&start| start > ts);
        let Some(life) = self.thread_at(tid, ts) else {
            return ("", i64::MAX);
        };
        let mut names = life.comms.iter().map(|(since, _)| *since);
        let next_name = names.find(|&since| since > ts);
        let until = next_life.into_iter().chain(next_name).min();
        (life.comm_at(ts), until.unwrap_or(i64::MAX))
    }

    /// The syscall with this number on the recorded machine.
    pub fn syscall(&self, nr: u16) -> Option<&'static SyscallSpec> {
        syscalls::find(&self.arch, nr)
    }

    /// The name of the syscall, `syscall_N` if this version does not know it; that of a 32-bit program
    /// with its table, `i386:write`.
    pub fn syscall_name(&self, nr: u16) -> String {
        let name = self.plain_syscall_name(nr);
        match nr & COMPAT {
            0 => name,
            _ => format!(
                "{}:{name}",
                syscalls::compat_arch(&self.arch).unwrap_or("compat")
            ),
        }
    }

    /// The name of the syscall, whichever table it is of.
    pub fn plain_syscall_name(&self, nr: u16) -> String {
        self.syscall(nr).map_or_else(
            || format!("syscall_{}", nr & !COMPAT),
            |spec| spec.name.to_owned(),
        )
    }

    /// The process that used a file first, and with it the socket below.
    pub fn owner_of(&self, file: Option<u32>) -> Option<u32> {
        Some(self.files.get(&file?)?.pid)
    }

    /// The files of sockets, by cookie: before a connection was accepted, its socket had none.
    pub fn files_by_cookie(&self) -> BTreeMap<u64, u32> {
        let files = self.files.values();
        files
            .filter_map(|file| Some((file.cookie?, file.id)))
            .collect()
    }
}

/// A set of threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThreadSet {
    /// Every thread, also one that the catalog does not know.
    All,
    /// These tids; of a tid that was used again, the lives that started at these moments.
    Some(BTreeMap<u32, Option<Vec<i64>>>),
}

impl ThreadSet {
    /// Whether the thread that had this tid at a moment is in the set.
    pub fn contains(&self, catalog: &Catalog, tid: u32, ts: i64) -> bool {
        match self {
            ThreadSet::All => true,
            ThreadSet::Some(tids) => match tids.get(&tid) {
                None => false,
                Some(None) => true,
                Some(Some(starts)) => catalog
                    .thread_at(tid, ts)
                    .is_some_and(|life| starts.contains(&life.start_ts)),
            },
        }
    }

    /// The processes of these threads; `None` if it may be any.
    pub fn pids(&self, catalog: &Catalog) -> Option<BTreeSet<u32>> {
        let ThreadSet::Some(tids) = self else {
            return None;
        };
        let lives = |tid: &u32| {
            let lives = catalog.threads.range((*tid, i64::MIN)..=(*tid, i64::MAX));
            lives.map(|(_, life)| life.pid)
        };
        Some(tids.keys().flat_map(lives).collect())
    }
}

/// The executable mappings of a capture, in the order of processes and time.
pub fn mappings(context: &Context) -> Vec<Mapping> {
    let mut all = Vec::new();
    scan::segments(
        context,
        "reading mappings",
        |segment| segment.rows::<Mapping>().iter().collect::<Vec<_>>(),
        |rows| all.extend(rows),
    );
    all.sort_by_key(|row| (row.pid, row.ts, row.start));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: u32, start_ts: i64, ts: i64, comm: &str) -> Thread {
        Thread {
            tid,
            pid: tid,
            start_ts,
            ts,
            comm: comm.into(),
            ..Thread::default()
        }
    }

    #[test]
    fn names_and_lives_follow_time() {
        let rows = vec![
            thread(7, 100, 120, "worker"),
            thread(7, 100, 100, "main"),
            thread(7, 500, 500, "other"),
        ];
        let catalog = Catalog::from_rows("x86_64", vec![], rows, vec![]);
        let cases = [
            (50, "main"),
            (110, "main"),
            (130, "worker"),
            (499, "worker"),
            (500, "other"),
        ];
        for (ts, comm) in cases {
            assert_eq!(catalog.comm_at(7, ts), comm, "at {ts}");
            let (name, until) = catalog.comm_until(7, ts);
            assert_eq!(name, comm, "at {ts}");
            assert_eq!(catalog.comm_at(7, until - 1), comm, "until {until}");
        }
        assert_eq!(catalog.comm_until(7, 110), ("main", 120));
        assert_eq!(catalog.comm_until(7, 130), ("worker", 500));
        assert_eq!(catalog.comm_until(8, 1), ("", i64::MAX));
        assert_eq!(catalog.comm_at(8, 1), "");
        assert_eq!(catalog.syscall_name(0), "read");
        assert_eq!(catalog.syscall_name(9999), "syscall_9999");
    }
}
