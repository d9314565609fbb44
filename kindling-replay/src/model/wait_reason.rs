//! What a blocked thread waits for: one reason, from the syscall it is in, that call's file and
//! arguments, and the kernel functions on its stack.

use std::collections::BTreeMap;

use kindling_format::{
    schema::{FileKind, Syscall},
    syscalls::{ArgKind, SyscallSpec},
};

use crate::model::{
    catalog::Catalog,
    ended::Ended,
    slice::{Reason, Slice, State},
    stack::{Function, Stacks},
    thread::RawSlice,
};

/// `TASK_UNINTERRUPTIBLE`.
const UNINTERRUPTIBLE: u32 = 0x2;
/// `F_SETLKW`, `F_OFD_SETLKW`.
const BLOCKING_LOCKS: [u64; 2] = [7, 38];
const MADV_WILLNEED: u64 = 3;
/// Functions of the kernel that are on the stack while a page is made to be there.
const FAULTS: [&str; 4] = [
    "exc_page_fault",
    "handle_mm_fault",
    "do_user_addr_fault",
    "do_mem_abort",
];
/// How the names of functions begin in which the kernel waits for one thing.
const WAITS: [(Hint, &[&str]); 4] = [
    (
        Hint::Disk,
        &[
            "io_schedule",
            "blk_mq_",
            "submit_bio_wait",
            "folio_wait_",
            "jbd2_",
            "wait_on_page",
            "balance_dirty_pages",
        ],
    ),
    (
        Hint::Lock,
        &[
            "rwsem_down_",
            "__mutex_lock",
            "mutex_lock",
            "down_read",
            "down_write",
            "percpu_rwsem_wait",
            "__vma_start_write",
            "__vma_enter_locked",
            "rt_mutex_",
            // How `restart_syscall` goes on with a call that a stop has broken off.
            "futex_wait_restart",
        ],
    ),
    (Hint::Poll, &["do_restart_poll"]),
    (
        Hint::Memory,
        &[
            "__alloc_pages_slowpath",
            "reclaim_throttle",
            "shrink_node",
            "try_to_free_",
            "mem_cgroup_out_of_memory",
            "mem_cgroup_handle_over_high",
            "__mem_cgroup_handle_over_high",
        ],
    ),
];

/// A syscall that a thread was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When it was entered.
    pub ts: i64,
    /// When it returned; the end of time if it did not.
    pub end: i64,
    /// Its number.
    pub nr: u16,
    /// The file it worked on.
    pub file: Option<u32>,
    /// Its first four arguments.
    pub args: [u64; 4],
    /// What it returned; `None` if it did not.
    pub ret: Option<i64>,
}

impl Call {
    /// The columns of `syscalls` that it is made of, and those that say whose it is.
    pub const COLUMNS: [&str; 10] = [
        "ts", "dur", "tid", "nr", "file", "arg0", "arg1", "arg2", "arg3", "ret",
    ];

    /// The call of a row.
    pub fn new(row: &Syscall) -> Self {
        let args = [row.arg0, row.arg1, row.arg2, row.arg3];
        Self {
            ts: row.ts,
            end: row.dur.map_or(i64::MAX, |dur| row.ts.saturating_add(dur)),
            nr: row.nr,
            file: row.file,
            args: args.map(Option::unwrap_or_default),
            ret: row.ret,
        }
    }
}

/// What the kernel part of a stack says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    Memory,
    Disk,
    Lock,
    Poll,
}

/// Finds reasons.
#[derive(Debug)]
pub struct Classifier<'a> {
    catalog: &'a Catalog,
    hints: BTreeMap<u32, Hint>,
}

impl<'a> Classifier<'a> {
    /// A classifier for a capture with these names and stacks.
    pub fn new(catalog: &'a Catalog, stacks: &Stacks) -> Self {
        Self {
            catalog,
            hints: stacks.classify(sign, |signs| hint(signs)),
        }
    }

    /// The slice with its reason and what the syscall adds to it. `kernel_thread` says that the
    /// thread never has a user space to return to.
    pub fn classify(&self, raw: &RawSlice, call: Option<&Call>, kernel_thread: bool) -> Slice {
        let mut slice = raw.slice;
        if !matches!(slice.state, State::Blocked(reason) if reason != Reason::Stopped) {
            return slice;
        }
        let hint = slice.wait.stack.and_then(|id| self.hints.get(&id).copied());
        let nr = slice.wait.syscall.or(call.map(|call| call.nr));
        let reason = match (hint, nr) {
            (Some(Hint::Memory), _) => Reason::PageFault,
            (Some(Hint::Disk), _) => Reason::Disk,
            (Some(Hint::Lock), _) => Reason::Lock,
            (Some(Hint::Poll), _) => Reason::Poll,
            (None, Some(nr)) => self.of_syscall(nr, call),
            (None, None) if kernel_thread || raw.any_syscall => Reason::Other,
            // In no syscall, it came from user space by an exception: its memory was not there.
            (None, None) if raw.bits & UNINTERRUPTIBLE != 0 => Reason::PageFault,
            (None, None) => Reason::Other,
        };
        slice.state = State::Blocked(reason);
        slice.wait.syscall = nr;
        slice.wait.file = call.and_then(|call| call.file);
        let name = nr.map_or("", |nr| self.name(nr));
        let is_futex = reason == Reason::Lock && matches!(name, "futex" | "futex_wait");
        slice.wait.futex = call.filter(|_| is_futex).map(|call| call.args[0]);
        let ended_as = match (name, reason) {
            ("restart_syscall", Reason::Lock) => "futex",
            _ => name,
        };
        slice.wait.ended = call.map(|call| Ended::of_call(ended_as, call.ret));
        slice
    }

    fn name(&self, nr: u16) -> &'static str {
        self.catalog.syscall(nr).map_or("", SyscallSpec::wide_name)
    }

    fn of_syscall(&self, nr: u16, call: Option<&Call>) -> Reason {
        let args = call.map(|call| call.args);
        match self.name(nr) {
            "futex" | "futex_wait" | "futex_waitv" | "flock" | "semop" | "semtimedop" => {
                Reason::Lock
            }
            "fcntl" => match args {
                Some(args) if !BLOCKING_LOCKS.contains(&args[1]) => Reason::Disk,
                _ => Reason::Lock,
            },
            "poll" | "ppoll" if args.is_some_and(|args| args[1] == 0) => Reason::Timer,
            "select" | "pselect6" if args.is_some_and(|args| args[0] == 0) => Reason::Timer,
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "poll" | "ppoll" | "select"
            | "pselect6" | "io_uring_enter" | "io_getevents" | "io_pgetevents" => Reason::Poll,
            "nanosleep" | "clock_nanosleep" | "restart_syscall" => Reason::Timer,
            "wait4" | "waitid" | "vfork" | "clone" | "clone3" | "fork" => Reason::Child,
            "msgrcv" | "msgsnd" | "mq_timedsend" | "mq_timedreceive" => Reason::Pipe,
            "connect" | "accept" | "accept4" | "sendto" | "recvfrom" | "sendmsg" | "recvmsg"
            | "sendmmsg" | "recvmmsg" | "shutdown" => self.of_file(call).unwrap_or(Reason::Network),
            "pause" | "rt_sigsuspend" | "rt_sigtimedwait" | "exit" | "exit_group" | "ptrace"
            | "ioctl" | "bpf" | "seccomp" | "membarrier" | "sched_yield" => Reason::Other,
            "madvise" if args.is_some_and(|args| args[2] == MADV_WILLNEED) => Reason::Disk,
            // They work on the address space, of which there is one for all threads of the process.
            "mmap" | "munmap" | "mremap" | "mprotect" | "pkey_mprotect" | "madvise" | "brk"
            | "mlock" | "mlock2" | "mlockall" | "munlock" | "munlockall" | "mbind" | "shmat"
            | "shmdt" => Reason::Lock,
            _ => self.of_file(call).unwrap_or_else(|| self.of_signature(nr)),
        }
    }

    /// The reason by what the call worked on.
    fn of_file(&self, call: Option<&Call>) -> Option<Reason> {
        let file = self.catalog.files.get(&call?.file?)?;
        Some(match file.kind {
            FileKind::Tcp | FileKind::Udp | FileKind::Netlink | FileKind::Socket => Reason::Network,
            FileKind::Unix | FileKind::Pipe | FileKind::Eventfd => Reason::Pipe,
            FileKind::Regular | FileKind::Directory | FileKind::Block => Reason::Disk,
            FileKind::Epoll | FileKind::IoUring => Reason::Poll,
            FileKind::Timerfd => Reason::Timer,
            FileKind::Pidfd => Reason::Child,
            _ => Reason::Other,
        })
    }

    /// A call that names a path or syncs a file waits for a file system.
    fn of_signature(&self, nr: u16) -> Reason {
        let Some(spec) = self.catalog.syscall(nr) else {
            return Reason::Other;
        };
        let syncs = [
            "sync",
            "syncfs",
            "fsync",
            "fdatasync",
            "sync_file_range",
            "msync",
        ];
        if spec.args.contains(&ArgKind::Path) || syncs.contains(&spec.name) {
            return Reason::Disk;
        }
        Reason::Other
    }
}

/// What a function of the kernel says.
#[derive(Debug, Clone, Copy)]
enum Sign {
    Fault,
    Waits(Hint),
}

fn sign(functions: &[Function]) -> Option<Sign> {
    let kernel = functions.iter().filter(|function| function.kernel);
    let mut names = kernel.map(|function| function.name.as_str());
    names.find_map(|name| {
        if FAULTS.iter().any(|fault| name.contains(fault)) {
            return Some(Sign::Fault);
        }
        let is = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
        let wait = WAITS.iter().find(|(_, words)| is(words));
        wait.map(|(hint, _)| Sign::Waits(*hint))
    })
}

/// A page fault counts wherever it is on the stack, as it may wait for a disk itself; else the
/// innermost function that says something counts.
fn hint(signs: &mut dyn Iterator<Item = Sign>) -> Option<Hint> {
    let mut innermost = None;
    for sign in signs {
        match sign {
            Sign::Fault => return Some(Hint::Memory),
            Sign::Waits(hint) => drop(innermost.get_or_insert(hint)),
        }
    }
    innermost
}

#[cfg(test)]
mod tests {
    use kindling_format::{schema::File, syscalls};

    use super::*;
    use crate::model::slice::Wait;

    fn check(name: &str, bits: u32, call: Option<([u64; 4], Option<FileKind>)>, expect: Reason) {
        let file = call.and_then(|(_, kind)| kind).map(|kind| File {
            id: 9,
            kind,
            ..File::default()
        });
        let catalog = Catalog::from_rows("x86_64", vec![], vec![], file.into_iter().collect());
        let nr = syscalls::named("x86_64", name).map(|spec| spec.nr);
        let raw = RawSlice {
            slice: Slice {
                start: 0,
                end: 1,
                state: State::Blocked(Reason::Other),
                cpu: None,
                wait: Wait {
                    syscall: nr,
                    ..Wait::default()
                },
            },
            bits,
            any_syscall: false,
        };
        let call = call.map(|(args, _)| Call {
            ts: 0,
            end: 1,
            nr: nr.unwrap_or_default(),
            file: Some(9),
            args,
            ret: Some(0),
        });
        let classifier = Classifier::new(&catalog, &Stacks::default());
        let slice = classifier.classify(&raw, call.as_ref(), false);
        assert_eq!(slice.state, State::Blocked(expect), "{name} {call:?}");
    }

    #[test]
    fn reasons() {
        use FileKind::{Eventfd, Pipe, Regular, Tcp, Timerfd, Tty, Unix};
        let file = |kind| Some(([0; 4], Some(kind)));
        let args = |args| Some((args, None));
        check("read", 1, file(Tcp), Reason::Network);
        check("read", 1, file(Pipe), Reason::Pipe);
        check("read", 1, file(Unix), Reason::Pipe);
        check("read", 1, file(Eventfd), Reason::Pipe);
        check("read", 1, file(Timerfd), Reason::Timer);
        check("read", 1, file(Tty), Reason::Other);
        check("pread64", 2, file(Regular), Reason::Disk);
        check("read", 1, None, Reason::Other);
        check("recvfrom", 1, file(Unix), Reason::Pipe);
        check("recvfrom", 1, None, Reason::Network);
        check("futex", 1, None, Reason::Lock);
        check("fcntl", 1, args([3, 7, 0, 0]), Reason::Lock);
        check("epoll_wait", 1, None, Reason::Poll);
        check("poll", 1, args([0, 0, 100, 0]), Reason::Timer);
        check("poll", 1, args([1, 2, 100, 0]), Reason::Poll);
        check("clock_nanosleep", 1, None, Reason::Timer);
        check("wait4", 1, None, Reason::Child);
        check("fsync", 2, None, Reason::Disk);
        check("openat", 2, None, Reason::Disk);
        check("pause", 1, None, Reason::Other);
        check("mprotect", 2, None, Reason::Lock);
        check("munmap", 2, args([0, 4096, 0, 0]), Reason::Lock);
        check("madvise", 2, args([0, 4096, 4, 0]), Reason::Lock);
        check("madvise", 2, args([0, 4096, 3, 0]), Reason::Disk);
        check("futex_wait", 1, None, Reason::Lock);
        check("futex_waitv", 1, None, Reason::Lock);
        check("no syscall", 2, None, Reason::PageFault);
        check("no syscall", 1, None, Reason::Other);
    }
}
