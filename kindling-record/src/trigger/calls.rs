//! Slow system calls.

use kindling_format::{
    schema::{File, FileKind},
    syscalls,
};

use super::{
    expr::{Condition, Trigger},
    time,
};

/// Beyond every number of a call.
const NUMBERS: usize = 1024;

/// Calls that are meant to wait: for an event, a time, a child, a connection, a message.
const WAITING: [&str; 44] = [
    "accept",
    "accept4",
    "clock_nanosleep",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "epoll_wait_old",
    "futex",
    "futex_wait",
    "futex_waitv",
    "io_getevents",
    "io_pgetevents",
    "io_uring_enter",
    "mq_timedreceive",
    "mq_timedsend",
    "msgrcv",
    "msgsnd",
    "nanosleep",
    "pause",
    "poll",
    "ppoll",
    "pselect6",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "restart_syscall",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "select",
    "semop",
    "semtimedop",
    "sendfile",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "splice",
    "syslog",
    "tee",
    "vfork",
    "vmsplice",
    "wait4",
    "waitid",
    "exit",
    "exit_group",
];
/// Calls that wait where their file is one that others fill or empty.
const MOVING: [&str; 10] = [
    "read", "readv", "preadv", "preadv2", "pread64", "write", "writev", "pwritev", "pwritev2",
    "pwrite64",
];

/// How long each call may take.
#[derive(Debug, Default)]
pub(super) struct SlowCalls {
    /// The least of all triggers, by number; empty if none is about calls.
    slower_ns: Vec<i64>,
}

/// How a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Never,
    Always,
    /// If its file is no disk's.
    ByFile,
}

impl SlowCalls {
    pub(super) fn of(triggers: &[Trigger]) -> Self {
        let mut slower_ns = Vec::new();
        for trigger in triggers {
            let Condition::Syscall {
                numbers,
                slower_ns: least,
            } = &trigger.condition
            else {
                continue;
            };
            slower_ns.resize(NUMBERS, i64::MAX);
            for (number, slower_ns) in (0..).zip(slower_ns.iter_mut()) {
                if is_meant(
                    numbers.as_ref().map(|numbers| numbers.contains(&number)),
                    number,
                ) {
                    *slower_ns = (*slower_ns).min(*least);
                }
            }
        }
        Self { slower_ns }
    }

    /// Whether a trigger may be about this call.
    #[inline]
    pub(super) fn may_be_slow(&self, number: u16, dur: i64) -> bool {
        self.slower_ns
            .get(usize::from(number))
            .is_some_and(|&slower_ns| dur > slower_ns)
    }

    /// The first trigger that is about this call.
    pub(super) fn find(
        &self,
        triggers: &[Trigger],
        number: u16,
        dur: i64,
        file: Option<&File>,
    ) -> Option<usize> {
        triggers
            .iter()
            .position(|trigger| match &trigger.condition {
                Condition::Syscall { numbers, slower_ns } => {
                    let is_about = match numbers {
                        Some(numbers) => numbers.contains(&number),
                        None => match waits(number) {
                            Waits::Never => true,
                            Waits::Always => false,
                            Waits::ByFile => file.is_some_and(is_on_disk),
                        },
                    };
                    is_about && dur > *slower_ns
                }
                _ => false,
            })
    }
}

/// Whether a trigger is about calls of this number, if it names it or not, or names none.
fn is_meant(is_named: Option<bool>, number: u16) -> bool {
    is_named.unwrap_or_else(|| waits(number) != Waits::Always)
}

fn waits(number: u16) -> Waits {
    match name(number) {
        Some(name) if WAITING.contains(&name) => Waits::Always,
        Some(name) if MOVING.contains(&name) => Waits::ByFile,
        _ => Waits::Never,
    }
}

fn name(number: u16) -> Option<&'static str> {
    syscalls::find(std::env::consts::ARCH, number).map(|spec| spec.name)
}

fn is_on_disk(file: &File) -> bool {
    matches!(
        file.kind,
        FileKind::Regular | FileKind::Directory | FileKind::Block
    )
}

/// The call in words: `fsync of /var/lib/x took 71.2 ms`.
pub(super) fn describe(number: u16, dur: i64, file: Option<&File>) -> String {
    let name = name(number).map_or_else(|| format!("syscall {number}"), str::to_owned);
    let of = file.map(|file| format!(" of {}", file_name(file)));
    format!("{name}{} took {}", of.unwrap_or_default(), time(dur))
}

fn file_name(file: &File) -> String {
    if let Some(path) = &file.path {
        return path.escape_debug().to_string();
    }
    let end = |address: &Option<String>, port: Option<u16>| {
        let address = address.as_deref()?;
        Some(format!("{address} port {}", port.unwrap_or_default()))
    };
    let peer = end(&file.remote_address, file.remote_port);
    let place = peer.or_else(|| end(&file.local_address, file.local_port));
    match place {
        Some(place) => format!("a {} socket, {place}", file.kind),
        None => format!("a {}", file.kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_call_of_some_architecture() {
        for name in WAITING.iter().chain(&MOVING) {
            let is_known = |arch| syscalls::named(arch, name).is_some();
            assert!(is_known("x86_64") || is_known("aarch64"), "{name}");
        }
    }
}
