//! The syscalls of the architectures that Kindling records: number, name, and what each argument is.
//!
//! A capture stores numbers and raw arguments. The recorder asks this table how many arguments a
//! call has and which of them point to a path or an address; a reader asks it for names.
//!
//! ```
//! use kindling_format::syscalls::{ArgKind, find, named};
//!
//! let openat = find("x86_64", 257).unwrap();
//! assert_eq!((openat.name, openat.args.len()), ("openat", 4));
//! assert_eq!(openat.args[1], ArgKind::Path);
//! assert_eq!(named("aarch64", "openat").unwrap().nr, 56);
//! ```
//!
//! A 32-bit program on a 64-bit kernel has a table of its own. Its numbers carry a mark:
//!
//! ```
//! use kindling_format::syscalls::{COMPAT, find};
//!
//! assert_eq!(find("x86_64", 4).unwrap().name, "stat");
//! assert_eq!(find("x86_64", COMPAT | 4).unwrap().name, "write");
//! ```

use std::{collections::BTreeMap, sync::LazyLock};

mod compat;
mod numbers;
mod signatures;

/// The bit that is set in the number of a syscall that was made the way of 32-bit programs.
pub const COMPAT: u16 = 0x8000;

/// One syscall of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyscallSpec {
    /// Its number.
    pub nr: u16,
    /// The kernel's name for it.
    pub name: &'static str,
    /// What its arguments are; as many as the call has.
    pub args: &'static [ArgKind],
}

impl SyscallSpec {
    /// The name that the same call has in 64-bit programs, for those that wait.
    pub fn wide_name(&self) -> &'static str {
        match self.name {
            "_newselect" => "select",
            "waitpid" => "wait4",
            name => name.strip_suffix("_time64").unwrap_or(name),
        }
    }
}

/// What an argument of a syscall is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind {
    /// A file descriptor.
    Fd,
    /// A descriptor of a directory, or `AT_FDCWD`.
    DirFd,
    /// Points to a path that ends with a zero byte.
    Path,
    /// Points to a socket address that the program gives, `struct sockaddr`; its length is the
    /// next argument.
    Sockaddr,
    /// Points to an array of `struct pollfd`; the next argument says of how many.
    PollFds,
    /// Points to a `fd_set`; the first argument says how many of its bits count.
    FdSet,
    /// Points to where the kernel writes as many `struct epoll_event` as the call returns.
    EpollEvents,
    /// Points to one `struct epoll_event` that the program gives.
    EpollEvent,
    /// Points to an array of `struct futex_waitv` that the program gives.
    Futexes,
    /// Points to a `struct timespec` that the program gives: how long to wait at most, or until when.
    Timespec,
    /// Points to a `struct timeval` that the program gives: how long to wait at most.
    Timeval,
    /// Points to something else, or to where the kernel writes.
    Pointer,
    /// A pointer or a number, as another argument decides.
    Address,
    /// A number of bytes, or of items.
    Size,
    /// A number with a sign, as wide as an `int` where it fits.
    Signed,
    /// A number without a sign.
    Unsigned,
    /// A number of 32 bits without a sign; the upper half is noise.
    Unsigned32,
    /// Bits or a code without a table of names here.
    Flags,
    /// A process, a thread, or a group of them.
    Pid,
    /// A signal's number.
    Signal,
    /// What to do with a signal mask: `SIG_BLOCK`, …
    SignalHow,
    /// A timeout in milliseconds; -1 is forever.
    Milliseconds,
    /// `O_RDONLY`, …; the `_CLOEXEC` and `_NONBLOCK` of calls that make descriptors too.
    OpenFlags,
    /// `AT_EMPTY_PATH`, …
    AtFlags,
    /// `R_OK`, …
    AccessMode,
    /// Permission bits.
    Mode,
    /// `SEEK_SET`, …
    Whence,
    /// `F_GETFL`, …
    FcntlCommand,
    /// `PROT_READ`, …
    Protection,
    /// `MAP_PRIVATE`, …
    MapFlags,
    /// `MADV_DONTNEED`, …
    Advice,
    /// `AF_INET`, …
    SocketFamily,
    /// `SOCK_STREAM`, … with flags.
    SocketType,
    /// `SOCK_NONBLOCK`, `SOCK_CLOEXEC`.
    SocketFlags,
    /// `MSG_DONTWAIT`, …
    MessageFlags,
    /// `SHUT_RD`, …
    ShutdownHow,
    /// `EPOLL_CTL_ADD`, …
    EpollOp,
    /// `FUTEX_WAIT`, … with flags.
    FutexOp,
    /// `CLONE_VM`, … with the signal for the parent.
    CloneFlags,
    /// `WNOHANG`, …
    WaitFlags,
    /// `CLOCK_MONOTONIC`, …
    ClockId,
}

/// Every syscall of `arch` (as `uname -m` prints it), by number; `None` for other architectures.
pub fn table(arch: &str) -> Option<&'static [SyscallSpec]> {
    static X86_64: LazyLock<Vec<SyscallSpec>> = LazyLock::new(|| specs(numbers::X86_64));
    static AARCH64: LazyLock<Vec<SyscallSpec>> = LazyLock::new(|| specs(numbers::AARCH64));
    static I386: LazyLock<Vec<SyscallSpec>> = LazyLock::new(i386_specs);
    match arch {
        "x86_64" => Some(&X86_64),
        "aarch64" => Some(&AARCH64),
        "i386" => Some(&I386),
        _ => None,
    }
}

/// The architecture whose table 32-bit programs use on a machine of `arch`, as far as it is known here.
pub fn compat_arch(arch: &str) -> Option<&'static str> {
    (arch == "x86_64").then_some("i386")
}

/// The syscall that this number means on a machine of `arch`, if there is one.
pub fn find(arch: &str, nr: u16) -> Option<&'static SyscallSpec> {
    if nr & COMPAT != 0 {
        return find(compat_arch(arch)?, nr & !COMPAT);
    }
    let table = table(arch)?;
    // Numbers are given one after another; gaps come late.
    let dense = table.get(usize::from(nr)).filter(|spec| spec.nr == nr);
    dense.or_else(|| {
        let at = table.binary_search_by_key(&nr, |spec| spec.nr).ok()?;
        table.get(at)
    })
}

/// The syscall of `arch` with this name, if there is one.
pub fn named(arch: &str, name: &str) -> Option<&'static SyscallSpec> {
    table(arch)?.iter().find(|spec| spec.name == name)
}

/// A call without a signature counts as one with six arguments: nothing of it is thrown away.
const UNKNOWN: &[ArgKind] = &[ArgKind::Address; 6];

fn specs(numbers: &'static [(u16, &'static str)]) -> Vec<SyscallSpec> {
    let signatures: BTreeMap<_, _> = signatures::SIGNATURES.iter().copied().collect();
    let spec = |&(nr, name)| SyscallSpec {
        nr,
        name,
        args: signatures.get(name).copied().unwrap_or(UNKNOWN),
    };
    numbers.iter().map(spec).collect()
}

fn i386_specs() -> Vec<SyscallSpec> {
    let own: BTreeMap<_, _> = compat::I386.iter().copied().collect();
    let common: BTreeMap<_, _> = signatures::SIGNATURES.iter().copied().collect();
    let spec = |&(nr, name)| SyscallSpec {
        nr,
        name,
        args: own
            .get(name)
            .or_else(|| common.get(name))
            .or_else(|| common.get(compat::base(name)))
            .copied()
            .unwrap_or(UNKNOWN),
    };
    numbers::I386.iter().map(spec).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_of_every_architecture_has_a_signature() {
        let known: BTreeSet<_> = signatures::SIGNATURES
            .iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            known.len(),
            signatures::SIGNATURES.len(),
            "a name is there twice"
        );
        for numbers in [numbers::X86_64, numbers::AARCH64] {
            assert!(numbers.is_sorted_by(|a, b| a.0 < b.0));
            for (_, name) in numbers {
                assert!(known.contains(name), "{name} has no signature");
            }
        }
        assert!(numbers::I386.is_sorted_by(|a, b| a.0 < b.0));
        let own: BTreeSet<_> = compat::I386.iter().map(|(name, _)| name).collect();
        assert_eq!(own.len(), compat::I386.len(), "a name is there twice");
        for (_, name) in numbers::I386 {
            let is_known = own.contains(name) || known.contains(name);
            assert!(
                is_known || known.contains(&compat::base(name)),
                "{name} has no signature"
            );
        }
    }

    #[test]
    fn marked_numbers_are_those_of_32_bit_programs() {
        let name = |nr| find("x86_64", nr).map(|spec| (spec.name, spec.args.len()));
        assert_eq!(name(COMPAT | 1), Some(("exit", 1)));
        assert_eq!(name(COMPAT | 192), Some(("mmap2", 6)));
        assert_eq!(name(COMPAT | 422), Some(("futex_time64", 6)));
        assert_eq!(name(COMPAT | 180), Some(("pread64", 5)));
        assert_eq!(find("aarch64", COMPAT | 1), None);
        assert_eq!(find("i386", COMPAT | 1), None);
    }

    #[test]
    fn known_calls_have_their_numbers_and_arity() {
        let arity = |arch, name| named(arch, name).map(|spec| (spec.nr, spec.args.len()));
        assert_eq!(arity("x86_64", "read"), Some((0, 3)));
        assert_eq!(arity("x86_64", "futex"), Some((202, 6)));
        assert_eq!(arity("x86_64", "mmap"), Some((9, 6)));
        assert_eq!(arity("x86_64", "getppid"), Some((110, 0)));
        assert_eq!(arity("aarch64", "futex"), Some((98, 6)));
        assert_eq!(arity("aarch64", "newfstatat"), Some((79, 4)));
        assert_eq!(arity("aarch64", "open"), None);
        assert_eq!(find("x86_64", 6000), None);
        assert_eq!(table("riscv64"), None);
    }
}
