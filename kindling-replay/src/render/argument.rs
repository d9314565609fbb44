//! Syscall arguments as a programmer would write them.

use kindling_format::{
    schema::Argument,
    syscalls::ArgKind::{self, *},
};

use crate::{
    model::futex::{self, Waiter},
    render::{readiness, table::printable},
};

/// `AT_FDCWD`.
const AT_FDCWD: i32 = -100;
/// The most bytes of a path that are shown.
const PATH_LIMIT: usize = 200;

/// An argument of a call of a machine of `arch` in words; `pointed` is what it points to, if that was recorded.
pub fn argument(kind: ArgKind, value: u64, pointed: Option<&Argument>, arch: &str) -> String {
    // Most numbers are an int in the kernel's hands; its upper half is whatever was there.
    let int = value as i32;
    match (kind, pointed) {
        (Path, Some(data)) => quoted(data),
        (Sockaddr, Some(data)) => sockaddr(&data.data),
        (PollFds, Some(data)) => readiness::poll_fds(&data.data, data.truncated),
        (FdSet, Some(data)) => readiness::fd_set(&data.data, data.truncated),
        (EpollEvents, Some(data)) => readiness::epoll_events(&data.data, arch, data.truncated),
        (Futexes, Some(data)) => futexes(&data.data, data.truncated),
        (EpollEvent, Some(data)) => readiness::epoll_event(&data.data, arch),
        // Of futex operations that wait: of others it is no address.
        (Timespec | Address, Some(data)) => time(&data.data, "tv_nsec"),
        (Timeval, Some(data)) => time(&data.data, "tv_usec"),
        // Of a message's header the recorder keeps the address.
        (Pointer, Some(data)) => format!("{{msg_name={}}}", sockaddr(&data.data)),
        (DirFd, _) if int == AT_FDCWD => "AT_FDCWD".into(),
        (Fd | DirFd | Pid | Milliseconds, _) => int.to_string(),
        (kind, _) if points(kind) && value == 0 => "NULL".into(),
        (kind, _) if points(kind) => format!("{value:#x}"),
        (Address, _) if value < 4096 => value.to_string(),
        (Address, _) => format!("{value:#x}"),
        (Size | Unsigned, _) => value.to_string(),
        (Unsigned32, _) => (value as u32).to_string(),
        (Signed, _) => (value as i64).to_string(),
        (Mode, _) => format!("0{:o}", value & 0o7777),
        (Flags, _) if value == 0 => "0".into(),
        (Flags, _) => format!("{value:#x}"),
        (kind, _) => named(kind, value),
    }
}

/// Whether it is an address, whatever is there.
fn points(kind: ArgKind) -> bool {
    matches!(
        kind,
        Path | Sockaddr
            | PollFds
            | FdSet
            | EpollEvents
            | EpollEvent
            | Futexes
            | Timespec
            | Timeval
            | Pointer
    )
}

/// An array of `struct futex_waitv`: `[{val=0x2, uaddr=0x7f12, flags=0x82}]`.
fn futexes(data: &[u8], truncated: bool) -> String {
    let futex = |Waiter { value, word, flags }: Waiter| {
        format!("{{val={value:#x}, uaddr={word:#x}, flags={flags:#x}}}")
    };
    readiness::list(futex::waiters(data).map(futex), truncated, ", ")
}

/// A `struct timespec` or `timeval`: `{tv_sec=1, tv_nsec=500000000}`.
fn time(data: &[u8], fraction: &str) -> String {
    let mut numbers = data.chunks_exact(size_of::<i64>()).map(|bytes| {
        let bytes = bytes.first_chunk().copied();
        i64::from_le_bytes(bytes.unwrap_or_default())
    });
    match (numbers.next(), numbers.next()) {
        (Some(seconds), Some(rest)) => format!("{{tv_sec={seconds}, {fraction}={rest}}}"),
        _ => "{}".into(),
    }
}

/// Arguments that are made of named numbers.
fn named(kind: ArgKind, value: u64) -> String {
    match kind {
        OpenFlags => open_flags(value),
        Signal => one_of(&SIGNALS, value),
        SignalHow => one_of(&["SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"], value),
        Whence => one_of(
            &["SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE"],
            value,
        ),
        ShutdownHow => one_of(&["SHUT_RD", "SHUT_WR", "SHUT_RDWR"], value),
        EpollOp => one_of(
            &["", "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD"],
            value,
        ),
        ClockId => one_of(&CLOCKS, value),
        SocketFamily => one_of(&FAMILIES, value),
        SocketType => {
            let kind = one_of(&SOCKET_TYPES, value & 0xf);
            join(kind, flags(SOCKET_FLAGS, value & !0xf))
        }
        FutexOp => {
            let op = one_of(&FUTEX_OPS, value & 0x7f);
            join(op, flags(FUTEX_FLAGS, value & 0xffff_ff80))
        }
        FcntlCommand => FCNTL
            .iter()
            .find(|(number, _)| *number == value)
            .map_or_else(|| value.to_string(), |(_, name)| (*name).to_owned()),
        Advice => one_of(&ADVICE, value),
        AccessMode if value == 0 => "F_OK".into(),
        AccessMode => or_zero(flags(ACCESS, value)),
        Protection if value == 0 => "PROT_NONE".into(),
        Protection => or_zero(flags(PROTECTION, value)),
        MapFlags => or_zero(flags(MAP, value)),
        AtFlags => or_zero(flags(AT, value)),
        SocketFlags => or_zero(flags(SOCKET_FLAGS, value)),
        MessageFlags => or_zero(flags(MESSAGE, value)),
        WaitFlags => or_zero(flags(WAIT, value)),
        CloneFlags => {
            let signal = value & 0xff;
            let rest = flags(CLONE, value & !0xff);
            if signal == 0 {
                or_zero(rest)
            } else {
                join(or_zero(rest), one_of(&SIGNALS, signal))
            }
        }
        _ => value.to_string(),
    }
}

fn open_flags(value: u64) -> String {
    let access = one_of(&["O_RDONLY", "O_WRONLY", "O_RDWR"], value & 3);
    // O_SYNC contains O_DSYNC, O_TMPFILE contains O_DIRECTORY.
    join(access, flags(OPEN, value & !3))
}

fn join(first: String, rest: String) -> String {
    match (first.as_str(), rest.as_str()) {
        (_, "") => first,
        ("0", _) => rest,
        _ => format!("{first}|{rest}"),
    }
}

fn or_zero(text: String) -> String {
    if text.is_empty() { "0".into() } else { text }
}

/// The names of the bits of `value`, then what has no name in hexadecimal.
fn flags(names: &[(u64, &str)], value: u64) -> String {
    let mut left = value;
    let mut words = Vec::new();
    for (bits, name) in names {
        if left & bits == *bits {
            words.push((*name).to_owned());
            left &= !bits;
        }
    }
    if left != 0 {
        words.push(format!("{left:#x}"));
    }
    words.join("|")
}

/// The name of a signal: `SIGKILL`; the number of one without a name.
pub fn signal(number: i32) -> String {
    u64::try_from(number).map_or_else(|_| number.to_string(), |n| one_of(&SIGNALS, n))
}

fn one_of(names: &[&str], value: u64) -> String {
    let name = usize::try_from(value).ok().and_then(|at| names.get(at));
    match name {
        Some(name) if !name.is_empty() => (*name).to_owned(),
        _ => value.to_string(),
    }
}

fn quoted(argument: &Argument) -> String {
    let shown = argument.data.get(..PATH_LIMIT).unwrap_or(&argument.data);
    let text = String::from_utf8_lossy(shown)
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    let cut = argument.truncated || shown.len() < argument.data.len();
    format!("\"{}\"{}", printable(&text), if cut { "..." } else { "" })
}

/// A `struct sockaddr` as the kernel lays it out, on little-endian machines.
fn sockaddr(bytes: &[u8]) -> String {
    let family = bytes
        .get(..2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let port = bytes
        .get(2..4)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let octets = |from: usize, to: usize| bytes.get(from..to);
    match (family, port) {
        (Some(0), _) => "{AF_UNSPEC}".into(),
        (Some(1), _) => unix(bytes.get(2..).unwrap_or_default()),
        (Some(2), Some(port)) => match octets(4, 8).and_then(|ip| <[u8; 4]>::try_from(ip).ok()) {
            Some(ip) => format!("{{{}:{port}}}", std::net::Ipv4Addr::from(ip)),
            None => "{AF_INET}".into(),
        },
        (Some(10), Some(port)) => {
            match octets(8, 24).and_then(|ip| <[u8; 16]>::try_from(ip).ok()) {
                Some(ip) => format!("{{[{}]:{port}}}", std::net::Ipv6Addr::from(ip)),
                None => "{AF_INET6}".into(),
            }
        }
        (Some(family), _) => format!("{{{}}}", one_of(&FAMILIES, family.into())),
        (None, _) => "{}".into(),
    }
}

fn unix(path: &[u8]) -> String {
    let text = |bytes: &[u8]| printable(&String::from_utf8_lossy(bytes));
    match path.split_first() {
        None => "{AF_UNIX}".into(),
        // An abstract name begins with a zero byte and ends with the address.
        Some((0, name)) => format!("{{@\"{}\"}}", text(name)),
        Some(_) => format!(
            "{{\"{}\"}}",
            text(path.split(|&byte| byte == 0).next().unwrap_or(path))
        ),
    }
}

#[rustfmt::skip]
const OPEN: &[(u64, &str)] = &[
    (0x100, "O_NOCTTY"), (0x40, "O_CREAT"), (0x80, "O_EXCL"), (0x200, "O_TRUNC"), (0x400, "O_APPEND"),
    (0x800, "O_NONBLOCK"), (0x101000, "O_SYNC"), (0x1000, "O_DSYNC"), (0x2000, "O_ASYNC"),
    (0x4000, "O_DIRECT"), (0x8000, "O_LARGEFILE"), (0x410000, "O_TMPFILE"), (0x10000, "O_DIRECTORY"),
    (0x20000, "O_NOFOLLOW"), (0x40000, "O_NOATIME"), (0x80000, "O_CLOEXEC"), (0x200000, "O_PATH"),
];
#[rustfmt::skip]
const AT: &[(u64, &str)] = &[
    (0x100, "AT_SYMLINK_NOFOLLOW"), (0x200, "AT_REMOVEDIR"), (0x400, "AT_SYMLINK_FOLLOW"),
    (0x800, "AT_NO_AUTOMOUNT"), (0x1000, "AT_EMPTY_PATH"), (0x2000, "AT_STATX_FORCE_SYNC"),
    (0x4000, "AT_STATX_DONT_SYNC"),
];
const ACCESS: &[(u64, &str)] = &[(4, "R_OK"), (2, "W_OK"), (1, "X_OK")];
const PROTECTION: &[(u64, &str)] = &[(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")];
#[rustfmt::skip]
const MAP: &[(u64, &str)] = &[
    (0x3, "MAP_SHARED_VALIDATE"), (0x1, "MAP_SHARED"), (0x2, "MAP_PRIVATE"), (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"), (0x100, "MAP_GROWSDOWN"), (0x800, "MAP_DENYWRITE"), (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"), (0x8000, "MAP_POPULATE"), (0x10000, "MAP_NONBLOCK"),
    (0x20000, "MAP_STACK"), (0x40000, "MAP_HUGETLB"), (0x100000, "MAP_FIXED_NOREPLACE"),
];
const SOCKET_FLAGS: &[(u64, &str)] = &[(0x800, "SOCK_NONBLOCK"), (0x80000, "SOCK_CLOEXEC")];
#[rustfmt::skip]
const MESSAGE: &[(u64, &str)] = &[
    (0x1, "MSG_OOB"), (0x2, "MSG_PEEK"), (0x4, "MSG_DONTROUTE"), (0x8, "MSG_CTRUNC"), (0x20, "MSG_TRUNC"),
    (0x40, "MSG_DONTWAIT"), (0x80, "MSG_EOR"), (0x100, "MSG_WAITALL"), (0x800, "MSG_CONFIRM"),
    (0x2000, "MSG_ERRQUEUE"), (0x4000, "MSG_NOSIGNAL"), (0x8000, "MSG_MORE"), (0x10000, "MSG_WAITFORONE"),
    (0x4000000, "MSG_ZEROCOPY"), (0x20000000, "MSG_FASTOPEN"), (0x40000000, "MSG_CMSG_CLOEXEC"),
];
#[rustfmt::skip]
const WAIT: &[(u64, &str)] = &[
    (1, "WNOHANG"), (2, "WUNTRACED"), (4, "WEXITED"), (8, "WCONTINUED"), (0x1000000, "WNOWAIT"),
    (0x20000000, "__WNOTHREAD"), (0x40000000, "__WALL"), (0x80000000, "__WCLONE"),
];
#[rustfmt::skip]
const CLONE: &[(u64, &str)] = &[
    (0x100, "CLONE_VM"), (0x200, "CLONE_FS"), (0x400, "CLONE_FILES"), (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"), (0x2000, "CLONE_PTRACE"), (0x4000, "CLONE_VFORK"), (0x8000, "CLONE_PARENT"),
    (0x10000, "CLONE_THREAD"), (0x20000, "CLONE_NEWNS"), (0x40000, "CLONE_SYSVSEM"), (0x80000, "CLONE_SETTLS"),
    (0x100000, "CLONE_PARENT_SETTID"), (0x200000, "CLONE_CHILD_CLEARTID"), (0x400000, "CLONE_DETACHED"),
    (0x800000, "CLONE_UNTRACED"), (0x1000000, "CLONE_CHILD_SETTID"), (0x2000000, "CLONE_NEWCGROUP"),
    (0x4000000, "CLONE_NEWUTS"), (0x8000000, "CLONE_NEWIPC"), (0x10000000, "CLONE_NEWUSER"),
    (0x20000000, "CLONE_NEWPID"), (0x40000000, "CLONE_NEWNET"), (0x80000000, "CLONE_IO"),
];
const FUTEX_FLAGS: &[(u64, &str)] = &[(128, "FUTEX_PRIVATE_FLAG"), (256, "FUTEX_CLOCK_REALTIME")];
#[rustfmt::skip]
const FUTEX_OPS: [&str; 14] = [
    "FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_FD", "FUTEX_REQUEUE", "FUTEX_CMP_REQUEUE", "FUTEX_WAKE_OP",
    "FUTEX_LOCK_PI", "FUTEX_UNLOCK_PI", "FUTEX_TRYLOCK_PI", "FUTEX_WAIT_BITSET", "FUTEX_WAKE_BITSET",
    "FUTEX_WAIT_REQUEUE_PI", "FUTEX_CMP_REQUEUE_PI", "FUTEX_LOCK_PI2",
];
#[rustfmt::skip]
const FCNTL: &[(u64, &str)] = &[
    (0, "F_DUPFD"), (1, "F_GETFD"), (2, "F_SETFD"), (3, "F_GETFL"), (4, "F_SETFL"), (5, "F_GETLK"),
    (6, "F_SETLK"), (7, "F_SETLKW"), (8, "F_SETOWN"), (9, "F_GETOWN"), (36, "F_OFD_GETLK"),
    (37, "F_OFD_SETLK"), (38, "F_OFD_SETLKW"), (1024, "F_SETLEASE"), (1025, "F_GETLEASE"),
    (1026, "F_NOTIFY"), (1030, "F_DUPFD_CLOEXEC"), (1031, "F_SETPIPE_SZ"), (1032, "F_GETPIPE_SZ"),
    (1033, "F_ADD_SEALS"), (1034, "F_GET_SEALS"),
];
#[rustfmt::skip]
const ADVICE: [&str; 26] = [
    "MADV_NORMAL", "MADV_RANDOM", "MADV_SEQUENTIAL", "MADV_WILLNEED", "MADV_DONTNEED", "", "", "",
    "MADV_FREE", "MADV_REMOVE", "MADV_DONTFORK", "MADV_DOFORK", "MADV_MERGEABLE", "MADV_UNMERGEABLE",
    "MADV_HUGEPAGE", "MADV_NOHUGEPAGE", "MADV_DONTDUMP", "MADV_DODUMP", "MADV_WIPEONFORK",
    "MADV_KEEPONFORK", "MADV_COLD", "MADV_PAGEOUT", "MADV_POPULATE_READ", "MADV_POPULATE_WRITE",
    "MADV_DONTNEED_LOCKED", "MADV_COLLAPSE",
];
#[rustfmt::skip]
const CLOCKS: [&str; 12] = [
    "CLOCK_REALTIME", "CLOCK_MONOTONIC", "CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID",
    "CLOCK_MONOTONIC_RAW", "CLOCK_REALTIME_COARSE", "CLOCK_MONOTONIC_COARSE", "CLOCK_BOOTTIME",
    "CLOCK_REALTIME_ALARM", "CLOCK_BOOTTIME_ALARM", "", "CLOCK_TAI",
];
#[rustfmt::skip]
const FAMILIES: [&str; 18] = [
    "AF_UNSPEC", "AF_UNIX", "AF_INET", "", "", "", "", "", "", "", "AF_INET6", "", "", "", "", "",
    "AF_NETLINK", "AF_PACKET",
];
const SOCKET_TYPES: [&str; 6] = [
    "",
    "SOCK_STREAM",
    "SOCK_DGRAM",
    "SOCK_RAW",
    "SOCK_RDM",
    "SOCK_SEQPACKET",
];
#[rustfmt::skip]
const SIGNALS: [&str; 32] = [
    "", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL",
    "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT",
    "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF",
    "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_they_are_written() {
        let cases = [
            (DirFd, 0xffff_ff9c, "AT_FDCWD"),
            (DirFd, 0xffff_ffff_ffff_ff9c, "AT_FDCWD"),
            (Fd, 7, "7"),
            (Fd, 0xffff_ffff, "-1"),
            (OpenFlags, 0x80000, "O_RDONLY|O_CLOEXEC"),
            (OpenFlags, 0x241, "O_WRONLY|O_CREAT|O_TRUNC"),
            (OpenFlags, 0x101001, "O_WRONLY|O_SYNC"),
            (Mode, 0o644, "0644"),
            (Protection, 3, "PROT_READ|PROT_WRITE"),
            (MapFlags, 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
            (FutexOp, 0x80, "FUTEX_WAIT|FUTEX_PRIVATE_FLAG"),
            (
                SocketType,
                0x80801,
                "SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC",
            ),
            (SocketFamily, 2, "AF_INET"),
            (MessageFlags, 0x4000, "MSG_NOSIGNAL"),
            (CloneFlags, 0x11, "SIGCHLD"),
            (CloneFlags, 0x1000011, "CLONE_CHILD_SETTID|SIGCHLD"),
            (EpollOp, 1, "EPOLL_CTL_ADD"),
            (EpollOp, 77, "77"),
            (Pointer, 0, "NULL"),
            (Pointer, 0x7fff, "0x7fff"),
            (PollFds, 0x7fff, "0x7fff"),
            (FdSet, 0, "NULL"),
            (Futexes, 0x7fff, "0x7fff"),
            (Timespec, 0x7fff, "0x7fff"),
            (Timeval, 0, "NULL"),
            (Signed, u64::MAX, "-1"),
            (Flags, 0, "0"),
        ];
        for (kind, value, expect) in cases {
            let text = argument(kind, value, None, "x86_64");
            assert_eq!(text, expect, "{kind:?} {value:#x}");
        }
    }

    #[test]
    fn pointed_bytes_are_shown() {
        let check = |kind, data: &[u8], truncated, expect: &str| {
            let pointed = Argument {
                data: data.to_vec(),
                truncated,
                ..Argument::default()
            };
            assert_eq!(argument(kind, 1, Some(&pointed), "x86_64"), expect);
        };
        check(Path, b"/etc/passwd", false, "\"/etc/passwd\"");
        check(Path, b"a\"\n\xff", true, "\"a\\\"\\n\u{fffd}\"...");
        check(
            Sockaddr,
            &[2, 0, 0, 80, 127, 0, 0, 1],
            false,
            "{127.0.0.1:80}",
        );
        check(Sockaddr, &[2, 0, 0], false, "{AF_INET}");
        check(Sockaddr, &[1, 0, b'/', b'x', 0, 9], false, "{\"/x\"}");
        check(Sockaddr, &[1, 0, 0, b'x'], false, "{@\"x\"}");
        check(Sockaddr, &[], false, "{}");
        let [one, half] = [1u64, 500_000_000].map(u64::to_le_bytes);
        let time = [one, half].concat();
        check(Timespec, &time, false, "{tv_sec=1, tv_nsec=500000000}");
        check(Address, &time, false, "{tv_sec=1, tv_nsec=500000000}");
        check(Timeval, &time, false, "{tv_sec=1, tv_usec=500000000}");
        check(Timespec, &time[..9], false, "{}");
        let two = [2u64, 0x10, 0x82, 3, 0x20].map(u64::to_le_bytes).concat();
        check(
            Futexes,
            &two,
            true,
            "[{val=0x2, uaddr=0x10, flags=0x82}, ...]",
        );
        let mut v6 = [0; 28];
        (v6[0], v6[3], v6[23]) = (10, 80, 1);
        check(Sockaddr, &v6, false, "{[::1]:80}");
    }
}
