//! Processes and threads: from what the kernel side says of a task to rows of both tables.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
};

use kindling_format::schema::{Process, ProcessColumns, Thread, ThreadColumns};

use crate::{
    containers::{Container, Containers},
    kernel_path::absolute_path,
    raw::{Record, get, layout, syscall_number},
    redact::hide_args,
};

/// `enum kd_task_event` in `kindling.h`.
mod event {
    pub(super) const FOUND: u8 = 1;
    pub(super) const FORK: u8 = 2;
    pub(super) const EXEC: u8 = 3;
    pub(super) const EXIT: u8 = 5;
    pub(super) const MET: u8 = 6;
    pub(super) const END: u8 = 7;
    pub(super) const LOOK: u8 = 8;
}
const NO_SYSCALL: u16 = 0xffff;
/// `KD_CGROUP_MADE` there.
const CGROUP_MADE: u8 = 1;

/// A moment at which the code of a process changes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SpaceEvent {
    /// A process was found running: its mappings are in `/proc`, as long as it is.
    Found { pid: u32 },
    /// `child` has the mappings of `parent`.
    Fork { parent: u32, child: u32 },
    /// The mappings of `pid` are gone.
    Exec { pid: u32 },
    /// `pid` has ended.
    Exit { pid: u32 },
}

/// Where in the cgroup hierarchies a process is.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The path in the v2 hierarchy.
    cgroup: Option<String>,
    container: Option<Container>,
}

impl Place {
    /// Whether the v2 hierarchy says where it is: the root may mean that only others do.
    fn is_known(&self) -> bool {
        self.cgroup.as_deref().is_some_and(|path| path != "/")
    }
}

/// A cgroup as the kernel side tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    pub(crate) id: u64,
    /// The path in the v2 hierarchy.
    pub(crate) path: String,
    /// It is new, and nothing is in it yet.
    pub(crate) is_new: bool,
}

impl Cgroup {
    pub(crate) fn new(record: &Record<'_, layout::kd_cgroup>) -> Self {
        let len = usize::from(get!(record, kd_cgroup, path_len));
        let text = record.rest.get(..len).unwrap_or_default();
        let flags: u8 = get!(record, kd_cgroup, head.flags);
        Self {
            id: get!(record, kd_cgroup, id),
            path: absolute_path(text).unwrap_or_else(|| "/".to_owned()),
            is_new: flags & CGROUP_MADE != 0,
        }
    }
}

/// What is known of the processes that are or were alive.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    processes: HashMap<u32, Process>,
    threads: HashMap<u32, Thread>,
    /// By the id of the cgroup.
    places: HashMap<u64, Place>,
    containers: Containers,
    /// Processes of the target, the ones that ended included.
    pub(crate) targets: BTreeSet<u32>,
    hides_args: bool,
    /// The command's process before it runs the command: it is still a copy of the recorder.
    pub(crate) held: Option<u32>,
}

impl Lives {
    pub(crate) fn new(hides_args: bool) -> Self {
        Self {
            hides_args,
            ..Self::default()
        }
    }

    /// Takes in one record; adds the rows that it changes and says whether mappings changed.
    pub(crate) fn record(
        &mut self,
        record: &Record<'_, layout::kd_task>,
        processes: &mut ProcessColumns,
        threads: &mut ThreadColumns,
    ) -> Option<SpaceEvent> {
        let event: u8 = get!(record, kd_task, head.flags);
        let ts = get!(record, kd_task, head.ts) as i64;
        let (pid, tid) = (get!(record, kd_task, pid), get!(record, kd_task, head.tid));
        if event == event::EXEC {
            let old_tid = get!(record, kd_task, old_tid);
            if old_tid != tid {
                self.end_renumbered(old_tid, ts, threads);
            }
        }
        let is_new = !self.processes.contains_key(&pid);
        let thread = self.thread_row(record, ts, event);
        if event == event::EXIT {
            self.threads.remove(&tid);
        } else {
            self.threads.insert(tid, thread.clone());
        }
        threads.push(thread);
        // A thread can outlive its leader; it does not bring the process back.
        if tid == pid || (is_new && event != event::EXIT) {
            let process = self.process_row(record, ts, event, is_new);
            if event == event::EXIT {
                self.processes.remove(&pid);
            } else {
                self.processes.insert(pid, process.clone());
            }
            processes.push(process);
        }
        if get!(record, kd_task, target) != 0 {
            self.targets.insert(pid);
        }
        match event {
            event::FOUND if is_new && self.held != Some(pid) => Some(SpaceEvent::Found { pid }),
            event::FORK if is_new => Some(SpaceEvent::Fork {
                parent: get!(record, kd_task, ppid),
                child: pid,
            }),
            event::EXEC => Some(SpaceEvent::Exec { pid }),
            event::EXIT if tid == pid => Some(SpaceEvent::Exit { pid }),
            _ => None,
        }
    }

    fn thread_row(&self, record: &Record<'_, layout::kd_task>, ts: i64, event: u8) -> Thread {
        let looked_up = event == event::FOUND || event == event::LOOK;
        let ended = event == event::EXIT || event == event::END;
        let syscall: u16 = get!(record, kd_task, syscall);
        Thread {
            ts,
            tid: get!(record, kd_task, head.tid),
            pid: get!(record, kd_task, pid),
            start_ts: get!(record, kd_task, start_ts) as i64,
            exit_ts: (event == event::EXIT).then_some(ts),
            target: get!(record, kd_task, target) != 0,
            comm: comm(record),
            state: looked_up.then(|| get!(record, kd_task, state)),
            on_cpu: looked_up.then(|| get!(record, kd_task, on_cpu) != 0),
            syscall: (looked_up && syscall != NO_SYSCALL).then(|| syscall_number(syscall)),
            cpu_ns: ended.then(|| get!(record, kd_task, cpu_ns) as i64),
            voluntary_switches: ended.then(|| get!(record, kd_task, voluntary_switches)),
            involuntary_switches: ended.then(|| get!(record, kd_task, involuntary_switches)),
        }
    }

    fn process_row(
        &mut self,
        record: &Record<'_, layout::kd_task>,
        ts: i64,
        event: u8,
        is_new: bool,
    ) -> Process {
        let pid: u32 = get!(record, kd_task, pid);
        let ppid: u32 = get!(record, kd_task, ppid);
        let mut place = match event {
            event::EXIT => Place::default(),
            _ => self.place(get!(record, kd_task, cgroup)),
        };
        if !place.is_known() && matches!(event, event::FOUND | event::EXEC | event::MET) {
            place.container = self.containers.of_process(&cgroups_of(pid));
        }
        let mut process = match self.processes.get(&pid) {
            Some(known) => known.clone(),
            None => Process {
                pid,
                ppid,
                start_ts: get!(record, kd_task, start_ts) as i64,
                ..Process::default()
            },
        };
        process.ts = ts;
        process.target |= get!(record, kd_task, target) != 0;
        process.comm = comm(record);
        process.uid = Some(get!(record, kd_task, uid));
        // A task that is ending has left its namespaces; what was known stays.
        process.netns = known(get!(record, kd_task, netns)).or(process.netns);
        process.pidns = known(get!(record, kd_task, pidns)).or(process.pidns);
        process.mntns = known(get!(record, kd_task, mntns)).or(process.mntns);
        process.cgroup = place.cgroup.or(process.cgroup);
        if let Some(container) = place.container {
            process.container = Some(container.id);
            process.container_name = container.name;
            process.container_runtime = container.runtime.map(str::to_owned);
            process.pod_uid = container.pod_uid;
        }
        match event {
            event::FORK if is_new => {
                if let Some(parent) = self.processes.get(&ppid) {
                    process.exe.clone_from(&parent.exe);
                    process.argv.clone_from(&parent.argv);
                    if process.container.is_none() {
                        inherit_container(&mut process, parent);
                    }
                }
            }
            event::EXEC => {
                let path_len = usize::from(get!(record, kd_task, path_len));
                let argv_len = usize::from(get!(record, kd_task, argv_len));
                process.exe = absolute_path(record.rest.get(..path_len).unwrap_or_default());
                process.argv = argv(
                    record
                        .rest
                        .get(path_len..path_len + argv_len)
                        .unwrap_or_default(),
                );
            }
            // Others than the target are named, not looked into.
            event::FOUND if is_new && self.held != Some(pid) => read_identity(&mut process),
            event::EXIT => {
                process.exit_ts = Some(ts);
                process.exit_status = Some(get!(record, kd_task, exit_code));
            }
            _ => {}
        }
        if self.hides_args {
            hide_args(&mut process.argv);
        }
        process
    }

    /// Adds the last row of everything that is alive once more, for a file that begins.
    pub(crate) fn repeat(&self, processes: &mut ProcessColumns, threads: &mut ThreadColumns) {
        // The encoder puts them in order.
        let alive = self.processes.values().cloned();
        alive.for_each(|process| processes.push(process));
        // What was looked up was so then; a new look follows.
        let alive = self.threads.values().cloned().map(|thread| Thread {
            state: None,
            on_cpu: None,
            syscall: None,
            ..thread
        });
        alive.for_each(|thread| threads.push(thread));
    }

    /// The name of a thread that is alive, or of a process.
    pub(crate) fn name_of(&self, tid: u32) -> Option<&str> {
        let of_thread = self.threads.get(&tid).map(|thread| thread.comm.as_str());
        of_thread.or_else(|| Some(self.processes.get(&tid)?.comm.as_str()))
    }

    /// Whether a process is alive.
    pub(crate) fn is_alive(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// Whether a thread of the target is alive.
    pub(crate) fn any_target_alive(&self) -> bool {
        self.threads.values().any(|thread| thread.target)
    }

    /// Exec from another thread than the leader: the thread goes on under the leader's number.
    fn end_renumbered(&mut self, old_tid: u32, ts: i64, threads: &mut ThreadColumns) {
        if let Some(thread) = self.threads.remove(&old_tid) {
            threads.push(Thread {
                ts,
                exit_ts: Some(ts),
                ..thread
            });
        }
    }

    /// Takes in the path of a cgroup, which comes before the first process in it.
    pub(crate) fn cgroup(&mut self, cgroup: Cgroup) {
        let place = Place {
            container: self.containers.of_cgroup(&cgroup.path),
            cgroup: Some(cgroup.path),
        };
        self.places.insert(cgroup.id, place);
    }

    fn place(&self, cgroup: u64) -> Place {
        self.places.get(&cgroup).cloned().unwrap_or_default()
    }
}

/// What `/proc` says of a process's cgroups; empty if it is gone.
fn cgroups_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

fn known(number: u32) -> Option<u32> {
    (number != 0).then_some(number)
}

fn comm(record: &Record<'_, layout::kd_task>) -> String {
    let offset = std::mem::offset_of!(layout::kd_task, comm);
    let bytes = record.bytes(offset, size_of::<[u8; 16]>());
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

/// Arguments as the kernel keeps them: each ended by a zero.
fn argv(bytes: &[u8]) -> Vec<String> {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&byte| byte == 0)
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect()
}

fn inherit_container(process: &mut Process, parent: &Process) {
    process.container.clone_from(&parent.container);
    process.container_name.clone_from(&parent.container_name);
    process
        .container_runtime
        .clone_from(&parent.container_runtime);
    process.pod_uid.clone_from(&parent.pod_uid);
}

/// For a process that was there before: what `/proc` says of its program.
fn read_identity(process: &mut Process) {
    let proc = format!("/proc/{}", process.pid);
    process.exe = fs::read_link(format!("{proc}/exe")).ok().map(|path| {
        path.to_string_lossy()
            .trim_end_matches(" (deleted)")
            .to_owned()
    });
    process.argv = argv(&fs::read(format!("{proc}/cmdline")).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_at_zeros() {
        assert_eq!(argv(b"ls\0-l\0\0a b\0"), ["ls", "-l", "", "a b"]);
        assert!(argv(b"").is_empty());
    }
}
