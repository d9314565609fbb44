//! What differs for 32-bit programs: arguments of 64 bits come in two halves, and some calls are their
//! own.
//!
//! Facts of the kernel's ABI (`arch/x86/entry/syscalls/syscall_32.tbl` and the functions named there).

use super::ArgKind::{self, *};

/// The arguments of calls of i386 that have others than the call of this name has elsewhere, or whose
/// name is not found elsewhere, as [`base`] says it.
pub(super) const I386: &[(&str, &[ArgKind])] = &[
    ("_llseek", &[Fd, Unsigned, Unsigned, Pointer, Whence]),
    ("_newselect", &[Signed, Pointer, Pointer, Pointer, Pointer]),
    ("bdflush", &[Signed, Signed]),
    ("fadvise64", &[Fd, Unsigned, Unsigned, Size, Signed]),
    (
        "fadvise64_64",
        &[Fd, Unsigned, Unsigned, Unsigned, Unsigned, Signed],
    ),
    (
        "fallocate",
        &[Fd, Flags, Unsigned, Unsigned, Unsigned, Unsigned],
    ),
    ("fanotify_mark", &[Fd, Flags, Flags, Flags, DirFd, Path]),
    ("fstatat64", &[DirFd, Path, Pointer, AtFlags]),
    ("fstatfs64", &[Fd, Size, Pointer]),
    ("ftruncate64", &[Fd, Unsigned, Unsigned]),
    (
        "ipc",
        &[Unsigned, Signed, Unsigned, Unsigned, Pointer, Signed],
    ),
    ("lookup_dcookie", &[Unsigned, Unsigned, Pointer, Size]),
    // Its arguments are in memory, as those of select.
    ("mmap", &[Pointer]),
    (
        "mmap2",
        &[Pointer, Size, Protection, MapFlags, Fd, Unsigned],
    ),
    ("nice", &[Signed]),
    ("oldfstat", &[Fd, Pointer]),
    ("oldlstat", &[Path, Pointer]),
    ("oldolduname", &[Pointer]),
    ("oldstat", &[Path, Pointer]),
    ("olduname", &[Pointer]),
    ("pread64", &[Fd, Pointer, Size, Unsigned, Unsigned]),
    ("pwrite64", &[Fd, Pointer, Size, Unsigned, Unsigned]),
    ("readahead", &[Fd, Unsigned, Unsigned, Size]),
    ("readdir", &[Fd, Pointer, Unsigned]),
    ("select", &[Pointer]),
    ("sgetmask", &[]),
    ("sigaction", &[Signal, Pointer, Pointer]),
    ("signal", &[Signal, Pointer]),
    ("sigpending", &[Pointer]),
    ("sigprocmask", &[SignalHow, Pointer, Pointer]),
    ("sigreturn", &[]),
    ("sigsuspend", &[Signed, Signed, Unsigned]),
    ("socketcall", &[Unsigned, Pointer]),
    ("ssetmask", &[Unsigned]),
    ("statfs64", &[Path, Size, Pointer]),
    ("stime", &[Pointer]),
    (
        "sync_file_range",
        &[Fd, Unsigned, Unsigned, Unsigned, Unsigned, Flags],
    ),
    ("truncate64", &[Path, Unsigned, Unsigned]),
    ("ugetrlimit", &[Signed, Pointer]),
    ("umount", &[Path]),
    ("vm86", &[Unsigned, Pointer]),
    ("vm86old", &[Pointer]),
    ("waitpid", &[Pid, Pointer, WaitFlags]),
    // Never made, or removed: they fail whatever they are given.
    ("break", &[]),
    ("ftime", &[]),
    ("gtty", &[]),
    ("idle", &[]),
    ("lock", &[]),
    ("mpx", &[]),
    ("prof", &[]),
    ("profil", &[]),
    ("stty", &[]),
    ("ulimit", &[]),
];

/// The name that the same call has where numbers, times and ids have always been wide enough:
/// `futex` for `futex_time64`, `chown` for `chown32`.
pub(super) fn base(name: &str) -> &str {
    ["_time64", "64", "32"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}
