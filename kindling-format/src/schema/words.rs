//! Words that columns hold instead of numbers.

use super::words;

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
        /// No file, but a TLS session whose socket is not known, because its program carries the
        /// encrypted bytes between library and socket (memory BIOs). Only `payloads` refer to it.
        Tls = "tls",
    }
}

words! {
    /// Whether bytes are plaintext of a TLS session, and since when that was followed.
    Tls {
        /// They are what a syscall moved.
        #[default]
        No = "no",
        /// Plaintext of a session that was there before it, or its library, was watched.
        Rest = "rest",
        /// Plaintext of a session that was watched from its handshake on: nothing came before what
        /// `offset` counts.
        Whole = "whole",
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
