//! What threads asked of the kernel, and what came of it.

use super::*;

table! {
    /// A system call.
    Syscall, SyscallColumns, SyscallViews = "syscalls",
    sort(tid; ts), span |r| Some((r.ts, r.ts.saturating_add(r.dur.unwrap_or(0)))), pid |r| Some(r.pid),
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
        /// Its number in the host's table (`kindling.json`, `host.arch`); plus 32 768 if it was made the
        /// way of 32-bit programs: then it is a number of their table (of i386 on x86_64).
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
    sort(tid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
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
        /// lays it out (`struct sockaddr`). Of a message's header (`sendmsg`, `recvmsg`) it is the
        /// address in it (`msg_name`), of several (`sendmmsg`, `recvmmsg`) that of the first. Of calls
        /// that wait for descriptors it is what they left, as the host lays it out: `struct pollfd`
        /// (`poll`, `ppoll`; at most 64), `fd_set` (`select`, `pselect6`; whole words of 64 bits, at most
        /// 1024 bits) or `struct epoll_event` (`epoll_wait` and its kin; at most 8; 12 bytes each on
        /// x86_64, else 16). They have a row only if their thread blocked in them and something was
        /// ready. Of `epoll_ctl` that adds a descriptor or changes what is known of it, it is the
        /// `struct epoll_event`, unless its mark is the one that the thread gave last. Of calls that wait
        /// at most for a time, or until a moment (`nanosleep`, `ppoll`, `futex`, …), it is the `struct
        /// timespec`, of `select` the `struct timeval`, as it was given, if their thread blocked in
        /// them. Of `futex_waitv`, if its thread blocked in it, and `futex_requeue` it is the `struct
        /// futex_waitv` (24 bytes each, at most 40). Calls of 32-bit programs have none of these.
        data: Vec<u8>, Dict;
        /// Whether `data` was cut at the recorder's limit.
        truncated: bool, Dict;
    }
}

table! {
    /// Bytes that a syscall moved through a socket, pipe or terminal, or wrote to a log (a file that
    /// is a program's standard output or error, or that was named). It belongs to the syscall
    /// with the same (`tid`, `ts`); `sendmmsg` and `recvmmsg` have one for each message, in their
    /// order. With `tls`, plaintext that a call of a TLS library took or gave: it belongs to no
    /// syscall, and the syscalls of its thread between `ts` and `ts + dur` are the library's own. Bytes that the kernel moved by itself (`sendfile`, `splice`, `tee`,
    /// `copy_file_range`) have a row without `data` for each of both files, of whatever kind.
    Payload, PayloadColumns, PayloadViews = "payloads",
    sort(file, direction; ts), span |r| Some((r.ts, r.ts.saturating_add(r.dur))), pid |r| Some(r.pid),
    {
        /// When the syscall, or the function of the TLS library, was entered.
        ts: i64, Delta;
        /// How long that took: received bytes were there at `ts + dur`.
        dur: i64, Split;
        /// The process.
        pid: u32, Dict;
        /// The thread.
        tid: u32, Dict;
        /// The open file; of plaintext the socket that the library used, or the session itself
        /// (kind `tls` in `files`).
        file: u32, Dict;
        /// Which way the bytes went.
        direction: Direction, Dict;
        /// How many bytes the call moved.
        size: u64, Dict;
        /// How many bytes this file had moved in this direction before, since it was first seen;
        /// plaintext and what the syscalls moved are counted apart.
        offset: u64, Delta;
        /// The first bytes of them, up to the recorder's limit.
        data: Vec<u8>, Plain;
        /// Whether it is plaintext of a TLS session.
        tls: Tls, Dict;
    }
}

table! {
    /// An operation that an io_uring took, or a result that it gave. Both carry the program's
    /// `user_data`; operations that give more than one result exist.
    IoUring, IoUringColumns, IoUringViews = "io_uring",
    sort(pid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
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
    sort(cookie; ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When.
        ts: i64, Delta;
        /// On which CPU: often in an interrupt, so that the thread there means nothing.
        cpu: u16, Dict;
        /// What happened.
        kind: TcpKind, Dict;
        /// Whether a reset was sent or received; `out` for all else.
        direction: Direction, Dict;
        /// The socket's cookie, as in `files`; 0 as long as it has none, which only a socket can be without that was there
        /// before the recording: `file` says which it is.
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
    sort(tid; ts), span |r| Some((r.ts, r.ts.saturating_add(r.dur))), pid |r| Some(r.pid),
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
        /// How it ended, as the kernel's `blk_status_t`: 0 if it was done, 3 no space left, 7 a medium error,
        /// 10 an I/O error, … Numbers from 14 on are not the same in all versions of the kernel. Null in
        /// captures that were made without it.
        status: Option<u8>, Dict;
    }
}

table! {
    /// A page fault of the target. Optional source `faults`.
    Fault, FaultColumns, FaultViews = "faults",
    sort(tid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
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
