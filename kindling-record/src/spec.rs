//! What the kernel side has to know of each syscall: how many arguments it has, and which of them
//! lead to a file, a path, an address or bytes worth keeping.

use kindling_format::syscalls::{ArgKind, SyscallSpec};

use crate::raw::layout::kd_syscall_spec;

/// As `KD_HAS_FILE`, … in `kindling.h`.
const HAS_FILE: u8 = 1;
const OPENS: u8 = 2;
const CLOSES: u8 = 4;
const DESCRIBE: u8 = 8;

/// As `KD_FUTEX`.
const FUTEX: u8 = 0x80;

/// Paths are taken from the first arguments only, as in `emit_args`.
const PATH_ARGS: usize = 4;

/// The table for the kernel side, by syscall number.
pub(crate) fn fill(table: &[SyscallSpec], specs: &mut [kd_syscall_spec]) {
    for syscall in table {
        if let Some(spec) = specs.get_mut(usize::from(syscall.nr)) {
            *spec = spec_of(syscall);
        }
    }
}

fn spec_of(syscall: &SyscallSpec) -> kd_syscall_spec {
    let args = syscall.args;
    let paths = args
        .iter()
        .take(PATH_ARGS)
        .enumerate()
        .filter(|(_, kind)| **kind == ArgKind::Path);
    let sockaddr = args.iter().position(|kind| *kind == ArgKind::Sockaddr);
    kd_syscall_spec {
        args: args.len() as u8,
        flags: flags(syscall),
        transfer: transfer(syscall.name),
        paths: paths.fold(0, |bits, (arg, _)| bits | 1 << arg),
        sockaddr: sockaddr.map_or(0, |arg| arg as u8 + 1),
        peek: peek(syscall.name),
        readiness: readiness(syscall),
        timeout: timeout(syscall),
    }
}

/// As `enum kd_readiness` in `kindling.h`, which knows where these arguments are.
fn readiness(syscall: &SyscallSpec) -> u8 {
    let of_kind = |kind: &ArgKind| match kind {
        ArgKind::PollFds => Some(1),
        ArgKind::FdSet => Some(2),
        ArgKind::EpollEvents => Some(3),
        ArgKind::EpollEvent => Some(4),
        ArgKind::Futexes if syscall.name == "futex_requeue" => Some(6),
        ArgKind::Futexes => Some(5),
        _ => None,
    };
    syscall.args.iter().find_map(of_kind).unwrap_or(0)
}

/// One more than the argument that points to how long to wait at most.
fn timeout(syscall: &SyscallSpec) -> u8 {
    let is_time = |kind: &ArgKind| matches!(kind, ArgKind::Timespec | ArgKind::Timeval);
    match syscall.args.iter().position(is_time) {
        Some(arg) => arg as u8 + 1,
        None if syscall.name == "futex" => FUTEX | 4,
        None => 0,
    }
}

/// One more than the argument that can hold `MSG_PEEK`.
fn peek(name: &str) -> u8 {
    match name {
        "recvfrom" | "recvmmsg" | "recvmmsg_time64" => 4,
        "recvmsg" => 3,
        _ => 0,
    }
}

fn flags(syscall: &SyscallSpec) -> u8 {
    let mut flags = 0;
    // A directory's descriptor counts too; AT_FDCWD is none.
    if matches!(syscall.args.first(), Some(ArgKind::Fd | ArgKind::DirFd)) {
        flags |= HAS_FILE;
    }
    // dup and its kin are not here: they make a descriptor, not an open file.
    if matches!(
        syscall.name,
        "open"
            | "openat"
            | "openat2"
            | "creat"
            | "open_by_handle_at"
            | "open_tree"
            | "fsopen"
            | "socket"
            | "accept"
            | "accept4"
            | "epoll_create"
            | "epoll_create1"
            | "eventfd"
            | "eventfd2"
            | "timerfd_create"
            | "signalfd"
            | "signalfd4"
            | "memfd_create"
            | "memfd_secret"
            | "inotify_init"
            | "inotify_init1"
            | "fanotify_init"
            | "pidfd_open"
            | "userfaultfd"
            | "io_uring_setup"
            | "perf_event_open"
    ) {
        flags |= OPENS;
    }
    if syscall.name == "close" {
        flags |= CLOSES;
    }
    if matches!(syscall.name, "connect" | "bind" | "listen") {
        flags |= DESCRIBE;
    }
    flags
}

/// As `enum kd_transfer` in `kindling.h`.
fn transfer(name: &str) -> u8 {
    match name {
        "read" | "pread64" | "recvfrom" => 1,
        "write" | "pwrite64" | "sendto" => 2,
        "readv" | "preadv" | "preadv2" => 3,
        "writev" | "pwritev" | "pwritev2" => 4,
        "recvmsg" => 5,
        "sendmsg" => 6,
        "sendfile" | "sendfile64" => 7,
        "splice" | "copy_file_range" => 8,
        "tee" => 9,
        "recvmmsg" | "recvmmsg_time64" => 10,
        "sendmmsg" => 11,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use kindling_format::syscalls;

    use super::*;
    use crate::raw::KD_COMPAT;

    fn of(name: &str) -> kd_syscall_spec {
        spec_of(syscalls::named("x86_64", name).unwrap())
    }

    #[test]
    fn what_matters_of_a_syscall_is_known() {
        assert_eq!((of("getppid").args, of("getppid").flags), (0, 0));
        assert_eq!(
            (of("read").args, of("read").flags, of("read").transfer),
            (3, HAS_FILE, 1)
        );
        assert_eq!(
            (of("openat").paths, of("openat").flags),
            (0b10, HAS_FILE | OPENS)
        );
        assert_eq!(
            (of("connect").sockaddr, of("connect").flags),
            (2, HAS_FILE | DESCRIBE)
        );
        assert_eq!(of("sendto").sockaddr, 5);
        assert_eq!((of("sendmmsg").transfer, of("splice").transfer), (11, 8));
        assert_eq!(of("renameat2").paths, 0b1010);
        assert_eq!(of("close").flags, HAS_FILE | CLOSES);
        let polls = ["poll", "pselect6", "epoll_pwait2", "epoll_ctl", "read"];
        assert_eq!(polls.map(|name| of(name).readiness), [1, 2, 3, 4, 0]);
        let futexes = ["futex_waitv", "futex_requeue", "futex"];
        assert_eq!(futexes.map(|name| of(name).readiness), [5, 6, 0]);
        let waits = ["nanosleep", "select", "futex", "futex_wake", "futex_waitv"];
        assert_eq!(waits.map(|name| of(name).timeout), [1, 5, FUTEX | 4, 0, 4]);
    }

    #[test]
    fn every_syscall_fits_the_kernel_side() {
        for arch in ["x86_64", "aarch64", "i386"] {
            for syscall in syscalls::table(arch).unwrap() {
                assert!(
                    syscall.nr < KD_COMPAT && syscall.args.len() <= 6,
                    "{}",
                    syscall.name
                );
            }
        }
    }
}
