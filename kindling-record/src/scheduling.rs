//! How the recorder's threads share the CPUs with what is recorded.

use libc::{SCHED_BATCH, SCHED_IDLE, SCHED_OTHER, sched_param};
use rustix::thread::CapabilitySet;

/// Scheduling classes, as sched(7) has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// As any program, with this niceness.
    Usual(i32),
    /// With the share of any program, but who wakes up so interrupts nobody.
    Batch,
    /// When a CPU has nothing else to do. The kernel still takes it for idle: a thread that wakes up goes
    /// there, and not to where another one of the workload runs.
    Idle,
}

/// This thread's id.
pub(crate) fn own_tid() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Puts a thread into a class, and with it what it will start. Not being allowed to is no failure: recording
/// only costs more.
pub(crate) fn set(tid: i32, class: Class) {
    let policy = match class {
        Class::Usual(_) => SCHED_OTHER,
        Class::Batch => SCHED_BATCH,
        // From there is no way back without this right.
        Class::Idle if !can_raise() => return,
        Class::Idle => SCHED_IDLE,
    };
    let param = sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads `param`, which lives during the call, and nothing else of this process.
    unsafe { libc::sched_setscheduler(tid, policy, &raw const param) };
    if let Class::Usual(niceness) = class {
        let _ = rustix::process::setpriority_process(rustix::process::Pid::from_raw(tid), niceness);
    }
}

fn can_raise() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_NICE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The class of this thread, by its number in the kernel.
    fn policy() -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", own_tid())).ok()?;
        // proc(5): field 41, and the name before may hold spaces.
        let behind_name = stat.rsplit_once(')')?.1;
        behind_name.split_whitespace().nth(41 - 3)?.parse().ok()
    }

    #[test]
    fn a_class_is_taken_and_left() {
        for class in [Class::Idle, Class::Batch, Class::Usual(5)] {
            set(own_tid(), class);
            let expected = match class {
                Class::Idle if can_raise() => 5,
                Class::Idle | Class::Usual(_) => 0,
                Class::Batch => 3,
            };
            assert_eq!(policy(), Some(expected), "{class:?}");
        }
    }
}
