//! What there was: clocks, processes, threads, mappings and open files.

use super::*;

table! {
    /// A reading of three clocks at one moment: it maps `ts` to wall time and aligns two hosts.
    Clock, ClockColumns, ClockViews = "clock",
    sort(ts;), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// `CLOCK_MONOTONIC`.
        ts: i64, Delta;
        /// `CLOCK_BOOTTIME`: as monotonic, and counting suspension.
        boottime_ns: i64, Delta;
        /// `CLOCK_REALTIME`: since the Unix epoch, as the host believed it.
        realtime_ns: i64, Delta;
    }
}

table! {
    /// What is known of a process from `ts` on. A process has a row when it is first seen and
    /// another whenever a fact changes (exec, exit); the latest row of a (`pid`, `start_ts`) has
    /// them all.
    Process, ProcessColumns, ProcessViews = "processes",
    sort(pid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When this row became true.
        ts: i64, Delta;
        /// The process.
        pid: u32, Dict;
        /// Its parent when it was first seen.
        ppid: u32, Dict;
        /// When it started (`task_struct.start_time` of the leader).
        start_ts: i64, Delta;
        /// When it ended; null while it lives.
        exit_ts: Option<i64>, Delta;
        /// How it ended, as `wait(2)` reports: `status & 0x7f` is the signal, else
        /// `status >> 8` the exit code.
        exit_status: Option<i32>, Dict;
        /// Whether it is part of the recorded target; others are named only because they met it.
        target: bool, Dict;
        /// The leader's name (`task_struct.comm`).
        comm: String, Dict;
        /// The executable's path in the recorder's view of the file system.
        exe: Option<String>, Dict;
        /// The command line; empty when it could not be read.
        argv: Vec<String>, Dict;
        /// Real user id.
        uid: Option<u32>, Dict;
        /// The path in the cgroup v2 hierarchy.
        cgroup: Option<String>, Dict;
        /// The container's id, from the cgroup path or the runtime's state.
        container: Option<String>, Dict;
        /// The container's name, from the runtime's state.
        container_name: Option<String>, Dict;
        /// The runtime that its cgroup tells of: `docker`, `containerd`, `cri-o`, `podman`,
        /// `crun`, `runc`.
        container_runtime: Option<String>, Dict;
        /// The uid of the container's Kubernetes pod, from the cgroup path.
        pod_uid: Option<String>, Dict;
        /// Inode number of the network namespace.
        netns: Option<u32>, Dict;
        /// Inode number of the pid namespace.
        pidns: Option<u32>, Dict;
        /// Inode number of the mount namespace.
        mntns: Option<u32>, Dict;
    }
}

table! {
    /// What is known of a thread from `ts` on; rows follow the same rule as those of `processes`.
    Thread, ThreadColumns, ThreadViews = "threads",
    sort(tid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When this row became true.
        ts: i64, Delta;
        /// The thread.
        tid: u32, Dict;
        /// Its process.
        pid: u32, Dict;
        /// When it started (`task_struct.start_time`).
        start_ts: i64, Delta;
        /// When it ended; null while it lives.
        exit_ts: Option<i64>, Delta;
        /// Whether it is part of the recorded target.
        target: bool, Dict;
        /// Its name from `ts` on.
        comm: String, Dict;
        /// The kernel's state bits at `ts` (`task_struct.__state`), if it was looked up: 0 is
        /// running or runnable. Given when a capture begins.
        state: Option<u32>, Dict;
        /// Whether it held a CPU at `ts`, if it was looked up.
        on_cpu: Option<bool>, Dict;
        /// The syscall it was in at `ts`, numbered as in `syscalls`, if it was looked up and in one.
        syscall: Option<u16>, Dict;
        /// The kernel's own account of its time on CPU (`se.sum_exec_runtime`), at exit or at
        /// the end of the recording.
        cpu_ns: Option<i64>, Delta;
        /// The kernel's own count of voluntary switches (`nvcsw`), likewise.
        voluntary_switches: Option<u64>, Dict;
        /// The kernel's own count of involuntary switches (`nivcsw`), likewise.
        involuntary_switches: Option<u64>, Dict;
    }
}

table! {
    /// An executable mapping.
    Mapping, MappingColumns, MappingViews = "mappings",
    sort(pid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When it was mapped, or first seen.
        ts: i64, Delta;
        /// The process.
        pid: u32, Dict;
        /// First address.
        start: u64, Dict;
        /// Address behind the last.
        end: u64, Dict;
        /// File offset of the first address.
        offset: u64, Dict;
        /// The file, or the kernel's name for it (`[vdso]`).
        path: String, Dict;
        /// The file's GNU build-id in hexadecimal.
        build_id: Option<String>, Dict;
    }
}

table! {
    /// An open file (the kernel's `struct file`): what descriptors refer to, and share after `dup`,
    /// `fork` or `SCM_RIGHTS`. A file has a row when it is first used and another when a fact
    /// changes (bound, connected, closed); the latest row of an id has them all.
    File, FileColumns, FileViews = "files",
    sort(id; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When this row became true.
        ts: i64, Delta;
        /// The file's id in this capture.
        id: u32, Delta;
        /// The process that used it first.
        pid: u32, Dict;
        /// The descriptor by which that process used it.
        fd: i32, Dict;
        /// When it was opened, if that was recorded.
        open_ts: Option<i64>, Delta;
        /// When its last descriptor was closed, by a call or by the end of its process, if that was
        /// recorded; of a file that is mapped too it is not.
        close_ts: Option<i64>, Delta;
        /// What it is.
        kind: FileKind, Dict;
        /// The path, for what has one; the kernel's name for anonymous inodes; the address of a
        /// bound Unix socket.
        path: Option<String>, Dict;
        /// Inode number. Both ends of a pipe have the same.
        inode: Option<u64>, Dict;
        /// Local IP address.
        local_address: Option<String>, Dict;
        /// Local port.
        local_port: Option<u16>, Dict;
        /// Remote IP address.
        remote_address: Option<String>, Dict;
        /// Remote port.
        remote_port: Option<u16>, Dict;
        /// The socket's cookie, unique on the host since it started.
        cookie: Option<u64>, Dict;
        /// Inode number of the socket's network namespace.
        netns: Option<u32>, Dict;
        /// For a Unix socket, the inode number of its peer.
        peer_inode: Option<u64>, Dict;
        /// Whether the socket listens.
        listening: bool, Dict;
    }
}

table! {
    /// A descriptor that an epoll watched when the recorder looked: when it first met the process, and for
    /// epolls that were used by then when a file of a recording begins. What is added later is told by
    /// `arguments` of `epoll_ctl`.
    Watch, WatchColumns, WatchViews = "watches",
    sort(pid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When it looked.
        ts: i64, Delta;
        /// The process.
        pid: u32, Dict;
        /// The epoll's descriptor in it.
        epoll_fd: i32, Dict;
        /// The descriptor that is watched, as it was added.
        fd: i32, Delta;
        /// What it is watched for (`EPOLLIN`, …).
        events: u32, Dict;
        /// The program's mark (`epoll_data_t`), which a call that finds the descriptor ready gives back.
        data: u64, Delta;
    }
}
