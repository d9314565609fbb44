//! A stretch of a thread's life in one state.

use serde::{Serialize, Serializer};

use crate::model::ended::Ended;

/// From `start` up to, not including, `end`, the thread was in one state. The slices of a thread
/// tile its life: none overlaps another, and there is no gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Its first moment.
    pub start: i64,
    /// The moment behind its last.
    pub end: i64,
    /// The state.
    pub state: State,
    /// The CPU, while running; while runnable the one that it left, or else came to.
    pub cpu: Option<u16>,
    /// What is known of the wait, while blocked; while runnable only who made it so, if it was woken.
    pub wait: Wait,
}

impl Slice {
    /// Its length.
    pub fn length_ns(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

/// What a thread does at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It holds a CPU.
    Running,
    /// It could run and waits for a CPU: preempted, or woken and not yet there.
    Runnable,
    /// It waits for something else.
    Blocked(Reason),
    /// The capture does not say: before the first event of the thread, or where events were lost.
    Unknown,
}

/// What a blocked thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A peer over TCP, UDP or another network socket.
    Network,
    /// A file system or a block device.
    Disk,
    /// Another thread that holds a lock, or signals a condition; also a lock of the kernel, such as that of
    /// the process's address space.
    Lock,
    /// Any of several files: `epoll_wait`, `poll`, `select`.
    Poll,
    /// Time to pass.
    Timer,
    /// A process on this machine, by pipe, Unix socket, eventfd or message queue.
    Pipe,
    /// A child to end, or to let its parent go on after `vfork`.
    Child,
    /// Memory to be there: a page to be read, or others to be given back first.
    PageFault,
    /// To be continued: stopped by a signal or a debugger.
    Stopped,
    /// Something else.
    Other,
}

impl Reason {
    /// All reasons, in the order in which reports list them.
    pub const ALL: [Reason; 10] = [
        Reason::Network,
        Reason::Disk,
        Reason::Lock,
        Reason::Poll,
        Reason::Timer,
        Reason::Pipe,
        Reason::Child,
        Reason::PageFault,
        Reason::Stopped,
        Reason::Other,
    ];

    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Network => "network",
            Reason::Disk => "disk",
            Reason::Lock => "lock",
            Reason::Poll => "poll",
            Reason::Timer => "timer",
            Reason::Pipe => "pipe",
            Reason::Child => "child",
            Reason::PageFault => "page_fault",
            Reason::Stopped => "stopped",
            Reason::Other => "other",
        }
    }
}

impl State {
    /// Its name in reports: the reason of a blocked thread.
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Runnable => "runnable",
            State::Blocked(reason) => reason.word(),
            State::Unknown => "unknown",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What is known of a wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wait {
    /// The syscall that the thread waited in; `None` if in none, or if that is not known.
    pub syscall: Option<u16>,
    /// The file that the syscall worked on.
    pub file: Option<u32>,
    /// The address of the futex that it waited for.
    pub futex: Option<u64>,
    /// How the syscall ended, and with it the last wait in it; `None` if that is not recorded.
    pub ended: Option<Ended>,
    /// Who ended the wait.
    pub waker: Option<Waker>,
    /// Where the thread was when it left the CPU.
    pub stack: Option<u32>,
}

/// Who made a thread runnable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waker {
    /// The thread that ran there; 0 is the idle task.
    pub tid: u32,
    /// Whether an interrupt did it, and the thread was only there by chance.
    pub irq: bool,
}

/// Time by state, adding up to the length of what was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// On a CPU.
    pub running_ns: i64,
    /// Waiting for a CPU.
    pub runnable_ns: i64,
    /// Blocked, by reason in the order of [`Reason::ALL`].
    pub blocked_by_ns: [i64; Reason::ALL.len()],
    /// Not known.
    pub unknown_ns: i64,
    /// Of the time blocked in a poll, that in calls which their timeout ended: nothing became ready.
    pub poll_idle_ns: i64,
}

impl Times {
    /// Adds time in a state.
    pub fn add(&mut self, state: State, ns: i64) {
        let time = match state {
            State::Running => &mut self.running_ns,
            State::Runnable => &mut self.runnable_ns,
            State::Unknown => &mut self.unknown_ns,
            // A reason is its position in ALL, by the order of their declaration.
            State::Blocked(reason) => match self.blocked_by_ns.get_mut(reason as usize) {
                Some(time) => time,
                None => &mut self.unknown_ns,
            },
        };
        *time = time.saturating_add(ns);
    }

    /// Adds a slice.
    pub fn add_slice(&mut self, slice: &Slice) {
        let ns = slice.length_ns();
        self.add(slice.state, ns);
        let is_idle = slice.wait.ended == Some(Ended::TimedOut);
        if is_idle && slice.state == State::Blocked(Reason::Poll) {
            self.poll_idle_ns = self.poll_idle_ns.saturating_add(ns);
        }
    }

    /// Adds other times.
    pub fn add_all(&mut self, other: &Times) {
        self.poll_idle_ns = self.poll_idle_ns.saturating_add(other.poll_idle_ns);
        self.add(State::Running, other.running_ns);
        self.add(State::Runnable, other.runnable_ns);
        self.add(State::Unknown, other.unknown_ns);
        for (reason, ns) in other.by_reason() {
            self.add(State::Blocked(reason), ns);
        }
    }

    /// Blocked for any reason.
    pub fn blocked_ns(&self) -> i64 {
        self.blocked_by_ns
            .iter()
            .fold(0, |sum, &ns| sum.saturating_add(ns))
    }

    /// All of it.
    pub fn total_ns(&self) -> i64 {
        let states = [
            self.running_ns,
            self.runnable_ns,
            self.blocked_ns(),
            self.unknown_ns,
        ];
        states.into_iter().fold(0, i64::saturating_add)
    }

    /// Each reason with its time, in the order of [`Reason::ALL`].
    pub fn by_reason(&self) -> impl Iterator<Item = (Reason, i64)> + '_ {
        Reason::ALL.into_iter().zip(self.blocked_by_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up() {
        let mut times = Times::default();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            times.add(State::Blocked(reason), 1 << index);
        }
        times.add(State::Running, 1 << 20);
        times.add(State::Runnable, 1 << 21);
        times.add(State::Unknown, 1 << 22);
        assert_eq!(times.blocked_ns(), (1 << 10) - 1);
        assert_eq!(times.total_ns(), (1 << 10) - 1 + (7 << 20));
        assert!(
            times
                .by_reason()
                .all(|(reason, ns)| ns == 1 << (reason as usize))
        );
    }
}
