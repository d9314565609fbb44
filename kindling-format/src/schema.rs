//! The tables of a capture: the one place where a column is named, typed, encoded and explained.
//!
//! Each table is a row struct, declared with `table!`. The names of tables and columns are public
//! API (`docs/FORMAT.md` is the normative list, and a test holds the two together). Conventions:
//!
//! * `pid` is the process (the kernel's tgid), `tid` the thread (the kernel's pid).
//! * `ts` is a point in time: nanoseconds of `CLOCK_MONOTONIC` of the recorded host. `dur` is a
//!   length in nanoseconds. Other numbers carry their unit in the name.
//! * A null means that the fact was not recorded or does not apply, never zero.
//! * Ids (`file`, `stack`, `frame`, `symbol`) are local to one capture; 0 is never an id.

use std::collections::BTreeSet;

use crate::{
    FormatError,
    column::{Order, Rows, Store, Value, View, words},
    segment::{Effort, EncodedMember},
};

/// How a column is laid out in its Parquet member. The measurements behind the choices are in
/// `docs/FORMAT.md`, section "Encodings".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Parquet's dictionary: few distinct values.
    Dict,
    /// `DELTA_BINARY_PACKED`: rising numbers.
    Delta,
    /// `BYTE_STREAM_SPLIT`: noise in the low bytes only.
    Split,
    /// Values one after another: bytes that rarely repeat.
    Plain,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The column's name in the file.
    pub name: &'static str,
    /// Its Arrow type.
    pub data_type: arrow::datatypes::DataType,
    /// Whether it may hold nulls.
    pub nullable: bool,
    /// Its Parquet encoding.
    pub encoding: Encoding,
    /// What it means, as in `docs/FORMAT.md`.
    pub meaning: String,
}

/// A table with its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// The table's name: the file name of its members without `.parquet`.
    pub name: &'static str,
    /// The columns that rows of a member are sorted by.
    pub sort: &'static [&'static str],
    /// What a row is.
    pub meaning: String,
    /// Its columns, in the order of the file.
    pub columns: Vec<ColumnSpec>,
}

/// What a set of rows covers, for the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// The number of rows.
    pub rows: u32,
    /// The earliest and the latest moment that a row speaks of; `None` for tables without time.
    pub span: Option<(i64, i64)>,
    /// The processes that the rows name.
    pub pids: BTreeSet<u32>,
    last_pid: Option<u32>,
}

impl Extent {
    /// So many rows of which nothing else is known.
    pub fn of_rows(rows: u64) -> Self {
        Self {
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }

    #[inline]
    fn add(&mut self, span: Option<(i64, i64)>, pid: Option<u32>) {
        self.rows += 1;
        if let Some((start, end)) = span {
            let (min, max) = self.span.unwrap_or((start, end));
            self.span = Some((min.min(start), max.max(end)));
        }
        if pid != self.last_pid {
            self.last_pid = pid;
            self.pids.extend(pid);
        }
    }
}

/// A table of the capture; implemented by its row type.
pub trait Table: Sized {
    /// The table's name: the file name of its members without `.parquet`.
    const NAME: &'static str;
    /// The columns that rows of a member are sorted by.
    const SORT: &'static [&'static str];
    /// What a row is, as lines of prose.
    const MEANING: &'static [&'static str];
    /// Collects rows.
    type Columns: Default;
    /// Reads rows.
    type Views;
    /// The table's columns, in the order of the file.
    fn specs() -> Vec<ColumnSpec>;
    /// An empty collector of rows.
    fn columns() -> Self::Columns {
        Self::Columns::default()
    }
    /// Appends one row.
    fn push(columns: &mut Self::Columns, row: Self);
    /// The earliest and the latest moment that the row speaks of, if it has a time.
    fn span(&self) -> Option<(i64, i64)>;
    /// The process that the row names, if it names one.
    fn pid(&self) -> Option<u32>;
    /// The rows as Arrow arrays, in the order in which they were appended.
    ///
    /// # Errors
    /// [`FormatError::Encode`] if Arrow refuses them.
    fn into_batch(columns: Self::Columns) -> Result<arrow::array::RecordBatch, FormatError>;
    /// Sorts and encodes collected rows into a member, as a recorder does.
    ///
    /// # Errors
    /// [`FormatError::Encode`] if the Parquet writer refuses them.
    fn encode(columns: Self::Columns) -> Result<EncodedMember, FormatError> {
        Self::encode_with(columns, Effort::Record)
    }
    /// As [`Table::encode`], with so much effort.
    ///
    /// # Errors
    /// As [`Table::encode`].
    fn encode_with(columns: Self::Columns, effort: Effort) -> Result<EncodedMember, FormatError>;
    /// How many rows were collected.
    fn collected(columns: &Self::Columns) -> usize;
    /// What these rows cover.
    fn extent(rows: &Rows<Self>) -> Extent;
    /// The first row that comes before its predecessor in the order of [`Table::SORT`].
    fn first_unsorted(rows: &Rows<Self>) -> Option<usize>;
    #[doc(hidden)]
    fn absent() -> Self::Views;
    #[doc(hidden)]
    fn open(batch: &arrow::array::RecordBatch) -> Result<Rows<Self>, String>;
    #[doc(hidden)]
    fn row(views: &Self::Views, index: usize) -> Self;
}

macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $row:ident, $columns:ident, $views:ident = $name:literal,
        sort($group:ident $(, $key:ident)*), span |$s:ident| $span:expr, pid |$p:ident| $pid:expr,
        { $($(#[doc = $cdoc:literal])* $col:ident: $ty:ty, $encoding:ident;)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
        pub struct $row { $($(#[doc = $cdoc])* pub $col: $ty,)* }

        #[doc = concat!("Collects rows of `", $name, "`.")]
        #[derive(Default)]
        pub struct $columns {
            extent: Extent,
            $($col: <$ty as Value>::Store,)*
        }

        impl $columns {
            /// Appends one row.
            #[inline]
            pub fn push(&mut self, row: $row) {
                self.extent.add(row.span(), row.pid());
                $(self.$col.push(row.$col);)*
            }

            /// What the rows cover so far.
            pub fn extent(&self) -> &Extent {
                &self.extent
            }

            /// The number of rows.
            pub fn len(&self) -> usize {
                self.extent.rows as usize
            }

            /// Whether there are no rows.
            pub fn is_empty(&self) -> bool {
                self.extent.rows == 0
            }
        }

        impl std::fmt::Debug for $columns {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($columns)).field("extent", &self.extent).finish()
            }
        }

        #[doc(hidden)]
        pub struct $views { $($col: <$ty as Value>::View,)* }

        impl Table for $row {
            const NAME: &'static str = $name;
            const SORT: &'static [&'static str] = &[stringify!($group) $(, stringify!($key))*];
            const MEANING: &'static [&'static str] = &[$($doc),*];
            type Columns = $columns;
            type Views = $views;

            fn specs() -> Vec<ColumnSpec> {
                vec![$(ColumnSpec {
                    name: stringify!($col),
                    data_type: <$ty as Value>::data_type(),
                    nullable: <$ty as Value>::NULLABLE,
                    encoding: Encoding::$encoding,
                    meaning: sentence(&[$($cdoc),*]),
                },)*]
            }

            #[inline]
            fn push(columns: &mut $columns, row: $row) {
                columns.push(row);
            }

            #[inline]
            fn span(&self) -> Option<(i64, i64)> {
                let $s = self;
                $span
            }

            #[inline]
            fn pid(&self) -> Option<u32> {
                let $p = self;
                $pid
            }

            fn into_batch(columns: $columns) -> Result<arrow::array::RecordBatch, FormatError> {
                let arrays = vec![$(columns.$col.finish(&Order::AsIs),)*];
                crate::segment::batch::<$row>(arrays)
            }

            fn collected(columns: &$columns) -> usize {
                columns.len()
            }

            fn encode_with(
                columns: $columns,
                effort: Effort,
            ) -> Result<EncodedMember, FormatError> {
                let group = |row: u32| columns.$group.values[row as usize];
                let key = |row: u32| (group(row), $(columns.$key.values[row as usize],)*);
                let order = Order::of(columns.extent.rows, group, key);
                let arrays = vec![$(columns.$col.finish(&order),)*];
                crate::segment::encode::<$row>(arrays, columns.extent, effort)
            }

            fn extent(rows: &Rows<$row>) -> Extent {
                let mut extent = Extent::default();
                for row in rows.iter() {
                    extent.add(row.span(), row.pid());
                }
                extent
            }

            fn first_unsorted(rows: &Rows<$row>) -> Option<usize> {
                let mut keys = rows.iter().map(|row| (row.$group, $(row.$key,)*));
                let mut last = keys.next()?;
                let early = keys.position(|key| std::mem::replace(&mut last, key) > last);
                early.map(|position| position + 1)
            }

            fn absent() -> $views {
                $views { $($col: <<$ty as Value>::View as View<$ty>>::absent(),)* }
            }

            fn open(batch: &arrow::array::RecordBatch) -> Result<Rows<$row>, String> {
                Ok(Rows {
                    len: batch.num_rows(),
                    views: $views { $($col: crate::segment::view::<$ty>(batch, stringify!($col))?,)* },
                })
            }

            #[inline]
            fn row(views: &$views, index: usize) -> $row {
                $row { $($col: views.$col.get(index),)* }
            }
        }
    };
}

/// Calls a macro with every table's row type.
///
/// The order is that of the members in a segment: what others refer to comes first.
#[macro_export]
macro_rules! for_each_table {
    ($each:ident) => {
        $each! {
            Clock, Process, Thread, Mapping, File, Symbol, Frame, Stack,
            Syscall, Argument, Payload, IoUring, Tcp, Block, Fault, Switch, Migration, Wakeup, Sample, Loss, Overhead
        }
    };
}

macro_rules! catalogue {
    ($($row:ident),*) => {
        /// Every table, in the order of the members in a segment.
        pub fn tables() -> Vec<TableSpec> {
            vec![$(TableSpec {
                name: $row::NAME,
                sort: $row::SORT,
                meaning: sentence($row::MEANING),
                columns: $row::specs(),
            }),*]
        }
    };
}
for_each_table!(catalogue);

/// The lines of a doc comment as one.
fn sentence(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

words! {
    /// Which way bytes went, seen from the process.
    Direction {
        /// Read, received.
        #[default]
        In = "in",
        /// Written, sent.
        Out = "out",
    }
}

words! {
    /// What a file descriptor refers to.
    FileKind {
        /// Something that this version has no word for.
        #[default]
        Other = "other",
        /// A regular file.
        Regular = "regular",
        /// A directory.
        Directory = "directory",
        /// A block device.
        Block = "block",
        /// A character device that is not a terminal.
        Char = "char",
        /// A terminal or pseudo-terminal.
        Tty = "tty",
        /// A pipe, or a FIFO with a name.
        Pipe = "pipe",
        /// A TCP socket.
        Tcp = "tcp",
        /// A UDP socket.
        Udp = "udp",
        /// A Unix-domain socket.
        Unix = "unix",
        /// A netlink socket.
        Netlink = "netlink",
        /// A socket of another family or type.
        Socket = "socket",
        /// An epoll instance.
        Epoll = "epoll",
        /// An eventfd.
        Eventfd = "eventfd",
        /// A timerfd.
        Timerfd = "timerfd",
        /// A signalfd.
        Signalfd = "signalfd",
        /// A pidfd.
        Pidfd = "pidfd",
        /// An inotify instance.
        Inotify = "inotify",
        /// An io_uring instance.
        IoUring = "io_uring",
        /// Another file without an inode of its own; `path` has the kernel's name for it.
        Anon = "anon",
    }
}

words! {
    /// What a disk was asked to do.
    BlockOperation {
        /// Something else: zones, secure erase, the driver's own.
        #[default]
        Other = "other",
        /// Read.
        Read = "read",
        /// Write.
        Write = "write",
        /// Write what is in the disk's cache to its medium.
        Flush = "flush",
        /// Forget sectors.
        Discard = "discard",
        /// Write zeros.
        WriteZeroes = "write_zeroes",
    }
}

words! {
    /// What an io_uring did.
    IoUringKind {
        /// It took an operation.
        #[default]
        Submit = "submit",
        /// It gave a result.
        Complete = "complete",
    }
}

words! {
    /// What happened to a TCP socket.
    TcpKind {
        /// Its state changed.
        #[default]
        State = "state",
        /// It sent a segment again.
        Retransmit = "retransmit",
        /// It sent or received a reset.
        Reset = "reset",
        /// Nothing in particular: its measurements, at most every 100 ms, when packets arrive.
        Rtt = "rtt",
    }
}

words! {
    /// The states of TCP (RFC 9293).
    TcpState {
        /// One that this version has no word for.
        #[default]
        Other = "other",
        /// CLOSED: not connected yet, or not any more.
        Closed = "closed",
        /// LISTEN.
        Listen = "listen",
        /// SYN-SENT.
        SynSent = "syn_sent",
        /// SYN-RECEIVED.
        SynReceived = "syn_received",
        /// ESTABLISHED.
        Established = "established",
        /// FIN-WAIT-1.
        FinWait1 = "fin_wait_1",
        /// FIN-WAIT-2.
        FinWait2 = "fin_wait_2",
        /// CLOSE-WAIT.
        CloseWait = "close_wait",
        /// CLOSING.
        Closing = "closing",
        /// LAST-ACK.
        LastAck = "last_ack",
        /// TIME-WAIT.
        TimeWait = "time_wait",
    }
}

words! {
    /// Which side of the kernel boundary a sample found the thread on.
    Mode {
        /// In user space.
        #[default]
        User = "user",
        /// In the kernel, on the thread's behalf or in an interrupt.
        Kernel = "kernel",
    }
}

table! {
    /// A reading of three clocks at one moment: it maps `ts` to wall time and aligns two hosts.
    Clock, ClockColumns, ClockViews = "clock",
    sort(ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
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
    sort(pid, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
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
    sort(tid, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
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
        /// The syscall it was in at `ts`, if it was looked up and in one.
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
    sort(pid, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
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
    sort(id, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
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
        /// When a descriptor of it was closed, if that was recorded.
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
    /// A function of a program, as symbolized by the recorder.
    Symbol, SymbolColumns, SymbolViews = "symbols",
    sort(id), span |_r| None, pid |_r| None,
    {
        /// The symbol's id in this capture.
        id: u32, Delta;
        /// The function, demangled.
        name: String, Plain;
        /// Source file, if known.
        file: Option<String>, Dict;
        /// Line in the source file, if known.
        line: Option<u32>, Dict;
        /// The symbol of the function that this one was inlined into at this place.
        inlined_in: Option<u32>, Dict;
    }
}

table! {
    /// A code address, named so that it means the same in every process and on every machine.
    Frame, FrameColumns, FrameViews = "frames",
    sort(id), span |_r| None, pid |_r| None,
    {
        /// The frame's id in this capture.
        id: u32, Delta;
        /// The file it is in; `[kernel]` for kernel code; `[unknown]` if no mapping was known.
        module: String, Dict;
        /// The module's GNU build-id in hexadecimal.
        build_id: Option<String>, Dict;
        /// Offset in the module's file; the address itself for kernel and unknown code.
        offset: u64, Plain;
        /// The innermost function there, if known.
        symbol: Option<u32>, Dict;
    }
}

table! {
    /// A call stack.
    Stack, StackColumns, StackViews = "stacks",
    sort(id), span |_r| None, pid |_r| None,
    {
        /// The stack's id in this capture.
        id: u32, Delta;
        /// Frame ids, innermost first: kernel frames, then user frames.
        frames: Vec<u32>, Dict;
    }
}

table! {
    /// A system call.
    Syscall, SyscallColumns, SyscallViews = "syscalls",
    sort(tid, ts), span |r| Some((r.ts, r.ts.saturating_add(r.dur.unwrap_or(0)))), pid |r| Some(r.pid),
    {
        /// When it was entered; the start of the recording if it was entered before that.
        ts: i64, Delta;
        /// How long it took; null if it never returned while recorded.
        dur: Option<i64>, Split;
        /// The process.
        pid: u32, Delta;
        /// The thread.
        tid: u32, Delta;
        /// The CPU on which it returned.
        cpu: u16, Dict;
        /// Its number in the host's table (`kindling.json`, `host.arch`).
        nr: u16, Dict;
        /// First argument; null beyond the call's arity, as are all the others.
        arg0: Option<u64>, Dict;
        /// Second argument.
        arg1: Option<u64>, Dict;
        /// Third argument.
        arg2: Option<u64>, Dict;
        /// Fourth argument.
        arg3: Option<u64>, Dict;
        /// Fifth argument.
        arg4: Option<u64>, Dict;
        /// Sixth argument.
        arg5: Option<u64>, Dict;
        /// Return value, negative errno included; null if it never returned while recorded.
        ret: Option<i64>, Dict;
        /// The open file that its first argument named, or that it opened.
        file: Option<u32>, Dict;
        /// Where the program called it, if recorded.
        stack: Option<u32>, Dict;
    }
}

table! {
    /// What an argument of a syscall pointed to. It belongs to the syscall with the same
    /// (`tid`, `ts`).
    Argument, ArgumentColumns, ArgumentViews = "arguments",
    sort(tid, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When the syscall was entered.
        ts: i64, Delta;
        /// The process.
        pid: u32, Delta;
        /// The thread.
        tid: u32, Delta;
        /// Which argument, from 0.
        arg: u8, Dict;
        /// The bytes: a path without its terminating zero, or a socket address as the kernel
        /// lays it out (`struct sockaddr`).
        data: Vec<u8>, Dict;
        /// Whether `data` was cut at the recorder's limit.
        truncated: bool, Dict;
    }
}

table! {
    /// Bytes that a syscall moved through a socket, pipe or terminal, or wrote to a log (a file that
    /// is a program's standard output or error, or that was named). It belongs to the syscall
    /// with the same (`tid`, `ts`); `sendmmsg` and `recvmmsg` have one for each message, in their
    /// order. Bytes that the kernel moved by itself (`sendfile`, `splice`, `tee`,
    /// `copy_file_range`) have a row without `data` for each of both files, of whatever kind.
    Payload, PayloadColumns, PayloadViews = "payloads",
    sort(file, direction, ts), span |r| Some((r.ts, r.ts.saturating_add(r.dur))), pid |r| Some(r.pid),
    {
        /// When the syscall was entered.
        ts: i64, Delta;
        /// How long the syscall took: received bytes were there at `ts + dur`.
        dur: i64, Split;
        /// The process.
        pid: u32, Dict;
        /// The thread.
        tid: u32, Dict;
        /// The open file.
        file: u32, Dict;
        /// Which way the bytes went.
        direction: Direction, Dict;
        /// How many bytes the syscall moved.
        size: u64, Dict;
        /// How many bytes this file had moved in this direction before, since it was first seen.
        offset: u64, Delta;
        /// The first bytes of them, up to the recorder's limit.
        data: Vec<u8>, Plain;
    }
}

table! {
    /// An operation that an io_uring took, or a result that it gave. Both carry the program's
    /// `user_data`; operations that give more than one result exist.
    IoUring, IoUringColumns, IoUringViews = "io_uring",
    sort(pid, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When.
        ts: i64, Delta;
        /// The process that the ring belongs to.
        pid: u32, Dict;
        /// The thread in whose context it happened: for results often another than the one that
        /// submitted, and not always one of `pid`.
        tid: u32, Dict;
        /// The CPU on which it happened.
        cpu: u16, Dict;
        /// What happened.
        kind: IoUringKind, Dict;
        /// The open file that is the ring; null if it was set up before the recording and not
        /// used by a syscall since.
        ring: Option<u32>, Dict;
        /// The program's mark, by which it finds the operation of a result.
        user_data: u64, Delta;
        /// The operation (`IORING_OP_…`); null for results beyond the first of an operation.
        opcode: Option<u8>, Dict;
        /// The open file that the operation works on; null if it works on none, if its file is a
        /// registered one, and for results.
        file: Option<u32>, Dict;
        /// Of an operation the flags of its request, the lowest as in `IOSQE_…`; of a result
        /// `IORING_CQE_F_…`.
        flags: u64, Dict;
        /// The result, negative errno included; null for operations.
        ret: Option<i64>, Dict;
    }
}

table! {
    /// Something that happened to a TCP socket of the target, with what the kernel had measured of
    /// the connection by then. A socket is of the target if the target has used it, or if it came
    /// in at a port where the target listens.
    Tcp, TcpColumns, TcpViews = "tcp",
    sort(cookie, ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When.
        ts: i64, Delta;
        /// On which CPU: often in an interrupt, so that the thread there means nothing.
        cpu: u16, Dict;
        /// What happened.
        kind: TcpKind, Dict;
        /// Whether a reset was sent or received; `out` for all else.
        direction: Direction, Dict;
        /// The socket's cookie, as in `files`.
        cookie: u64, Delta;
        /// Its open file; null if no descriptor of it had been used yet.
        file: Option<u32>, Dict;
        /// The state before; the same as `state` if it did not change.
        old_state: TcpState, Dict;
        /// The state from `ts` on.
        state: TcpState, Dict;
        /// Local IP address.
        local_address: Option<String>, Dict;
        /// Local port.
        local_port: Option<u16>, Dict;
        /// Remote IP address.
        remote_address: Option<String>, Dict;
        /// Remote port.
        remote_port: Option<u16>, Dict;
        /// Inode number of the socket's network namespace.
        netns: u32, Dict;
        /// The smoothed round-trip time, in microseconds; null before the first measurement, and
        /// like all below when only a rest of the connection was left.
        srtt_us: Option<u32>, Dict;
        /// Its mean deviation, in microseconds.
        rttvar_us: Option<u32>, Dict;
        /// The congestion window, in segments.
        cwnd: Option<u32>, Dict;
        /// Segments sent again so far.
        retransmits: Option<u32>, Dict;
        /// Bytes that were received and wait to be read.
        unread_bytes: Option<u32>, Dict;
        /// Bytes that were written and not confirmed yet.
        unacked_bytes: Option<u32>, Dict;
        /// Bytes that the other side has confirmed so far; SYN and FIN count as one each.
        acked_bytes: Option<u64>, Delta;
        /// Bytes received so far; FIN counts as one.
        received_bytes: Option<u64>, Delta;
    }
}

table! {
    /// A request to a disk that a thread of the target made, answered. Optional source `block`.
    Block, BlockColumns, BlockViews = "block",
    sort(tid, ts), span |r| Some((r.ts, r.ts.saturating_add(r.dur))), pid |r| Some(r.pid),
    {
        /// When it was made.
        ts: i64, Delta;
        /// How long it took until the answer.
        dur: i64, Split;
        /// How much of that it waited before the device was given it; null if it never was.
        queued_ns: Option<i64>, Dict;
        /// The process that made it.
        pid: u32, Dict;
        /// The thread.
        tid: u32, Dict;
        /// The kernel's name of the disk.
        disk: String, Dict;
        /// What was asked.
        operation: BlockOperation, Dict;
        /// The first sector, in units of 512 bytes.
        sector: u64, Delta;
        /// How many bytes.
        size_bytes: u32, Dict;
    }
}

table! {
    /// A page fault of the target. Optional source `faults`.
    Fault, FaultColumns, FaultViews = "faults",
    sort(tid, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When.
        ts: i64, Delta;
        /// The process.
        pid: u32, Dict;
        /// The thread.
        tid: u32, Dict;
        /// The CPU.
        cpu: u16, Dict;
        /// The address that was used.
        address: u64, Delta;
        /// The instruction that used it.
        ip: u64, Dict;
        /// Whether the kernel used it, on the thread's behalf.
        kernel: bool, Dict;
        /// Whether it was to be written.
        write: bool, Dict;
        /// Whether instructions were to be fetched from it.
        execute: bool, Dict;
        /// Whether a page was there that did not allow it, such as one shared until it is written.
        present: bool, Dict;
    }
}

table! {
    /// A thread of the target was moved to another CPU. Optional source `migrations`: where a thread
    /// runs is in `switches` too, but not when and by whom it was moved.
    Migration, MigrationColumns, MigrationViews = "migrations",
    sort(tid, ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When.
        ts: i64, Delta;
        /// Where it was decided.
        cpu: u16, Dict;
        /// The thread that was moved.
        tid: u32, Dict;
        /// From this CPU
        from_cpu: u16, Dict;
        /// to this one.
        to_cpu: u16, Dict;
        /// The thread that ran where it was decided: its waker, often, or one that was just
        /// interrupted; 0 is the idle task.
        by_tid: u32, Dict;
    }
}

table! {
    /// A context switch that a recorded thread took part in.
    Switch, SwitchColumns, SwitchViews = "switches",
    sort(cpu, ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When.
        ts: i64, Delta;
        /// On which CPU.
        cpu: u16, Dict;
        /// The thread that left; 0 is the idle task.
        prev_tid: u32, Dict;
        /// The state it left in (`task_struct.__state`): 0 is still runnable.
        prev_state: u32, Dict;
        /// Whether it was preempted: it stayed runnable whatever `prev_state` says.
        preempted: bool, Dict;
        /// The syscall it was in; null if it was in none or is not recorded.
        prev_syscall: Option<u16>, Dict;
        /// Its priority (`task_struct.prio`): 120 is the default, more is nicer, below 100 is real
        /// time; null in older captures.
        prev_priority: Option<u8>, Dict;
        /// The thread that came; 0 is the idle task.
        next_tid: u32, Dict;
        /// Where the thread that left was, if recorded.
        stack: Option<u32>, Dict;
    }
}

table! {
    /// A thread was made runnable.
    Wakeup, WakeupColumns, WakeupViews = "wakeups",
    sort(wakee_tid, ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When, on the waker's side (`sched_waking`).
        ts: i64, Delta;
        /// On which CPU the waker was.
        cpu: u16, Dict;
        /// The thread that was running there; 0 is the idle task.
        waker_tid: u32, Dict;
        /// Whether an interrupt did it: then `waker_tid` only names whom it interrupted.
        irq: bool, Dict;
        /// The thread that was woken.
        wakee_tid: u32, Delta;
        /// The CPU it last ran on, where the kernel starts to look for one.
        target_cpu: u16, Dict;
        /// Whether this is the first wakeup of a new thread.
        new: bool, Dict;
    }
}

table! {
    /// A stack sample of a thread that held a CPU.
    Sample, SampleColumns, SampleViews = "samples",
    sort(tid, ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When.
        ts: i64, Delta;
        /// On which CPU.
        cpu: u16, Dict;
        /// The process.
        pid: u32, Delta;
        /// The thread.
        tid: u32, Delta;
        /// Where it was.
        mode: Mode, Dict;
        /// The time that the sample stands for.
        period_ns: i64, Dict;
        /// The call stack; null if it could not be taken.
        stack: Option<u32>, Dict;
    }
}

table! {
    /// Events that did not arrive.
    Loss, LossColumns, LossViews = "losses",
    sort(ts), span |r| Some((r.ts, r.end_ts)), pid |_r| None,
    {
        /// They were lost after this moment,
        ts: i64, Delta;
        /// and not later than this.
        end_ts: i64, Delta;
        /// On which CPU; null if the loss has none.
        cpu: Option<u16>, Dict;
        /// The table whose rows are missing.
        source: String, Dict;
        /// Why: `ring full`, …; `max-cpu` or `max-rate` if the recorder left them out because
        /// recording took more than it was allowed to.
        cause: String, Dict;
        /// How many.
        count: u64, Dict;
    }
}

table! {
    /// What the recorder itself cost between two moments.
    Overhead, OverheadColumns, OverheadViews = "overhead",
    sort(ts), span |r| Some((r.ts, r.ts.saturating_add(r.dur))), pid |_r| None,
    {
        /// The start of the interval.
        ts: i64, Delta;
        /// Its length.
        dur: i64, Split;
        /// CPU time of the recorder's process, user space and kernel.
        cpu_ns: i64, Dict;
        /// Time in BPF programs on all CPUs; null if the kernel was not asked to count it.
        bpf_ns: Option<i64>, Dict;
        /// Runs of BPF programs on all CPUs; null likewise.
        bpf_runs: Option<u64>, Dict;
        /// Records taken from the rings.
        records: u64, Dict;
        /// The most bytes that waited in a ring.
        ring_bytes: u64, Dict;
        /// Resident memory of the recorder at the end.
        rss_bytes: u64, Dict;
        /// Bytes written to the capture.
        written_bytes: u64, Dict;
    }
}

table! {
    /// The index: one row per member of a table, in `index.parquet` behind the last segment.
    Index, IndexColumns, IndexViews = "index",
    sort(offset), span |_r| None, pid |_r| None,
    {
        /// The segment.
        segment: u32, Dict;
        /// The table.
        table: String, Dict;
        /// Rows of the member.
        rows: u64, Dict;
        /// Where the member's local header begins in the file.
        offset: u64, Delta;
        /// The size of the member without its header.
        size_bytes: u64, Dict;
        /// The earliest moment that its rows speak of; null for tables without time.
        min_ts: Option<i64>, Delta;
        /// The latest moment.
        max_ts: Option<i64>, Delta;
        /// The processes that its rows name, rising; empty for tables that name none.
        pids: Vec<u32>, Dict;
    }
}
