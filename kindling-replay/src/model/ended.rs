//! How a call in which a thread waited came to its end, from what it returned.

use serde::{Serialize, Serializer};

const EINTR: i64 = -4;
const EAGAIN: i64 = -11;
const ETIME: i64 = -62;
const ETIMEDOUT: i64 = -110;
/// `ERESTARTSYS` to `ERESTART_RESTARTBLOCK`: the kernel's own words for a call that a signal broke off.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// What it was for came about: somebody let the thread go on, a file became ready.
    Woken,
    /// Its time was over.
    TimedOut,
    /// By a signal.
    Interrupted,
    /// Not while it was recorded.
    Open,
}

impl Ended {
    /// All of them.
    pub const ALL: [Ended; 4] = [
        Ended::Woken,
        Ended::TimedOut,
        Ended::Interrupted,
        Ended::Open,
    ];

    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Ended::Woken => "woken",
            Ended::TimedOut => "timed_out",
            Ended::Interrupted => "interrupted",
            Ended::Open => "open",
        }
    }

    /// How a call of this name ended in which the thread was blocked, by what it returned.
    pub fn of_call(name: &str, ret: Option<i64>) -> Self {
        match (name, ret) {
            (_, None) => Ended::Open,
            (_, Some(EINTR)) => Ended::Interrupted,
            (_, Some(ret)) if RESTARTS.contains(&ret) => Ended::Interrupted,
            (_, Some(ETIME | ETIMEDOUT)) => Ended::TimedOut,
            // The word had another value than the caller thought.
            ("futex" | "futex_wait" | "futex_waitv", _) => Ended::Woken,
            // A call that has waited, and still would have to: a socket can have a limit of its own.
            (_, Some(EAGAIN)) => Ended::TimedOut,
            (
                "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "poll" | "ppoll" | "select"
                | "pselect6" | "io_getevents" | "io_pgetevents" | "nanosleep" | "clock_nanosleep"
                | "restart_syscall",
                Some(0),
            ) => Ended::TimedOut,
            _ => Ended::Woken,
        }
    }
}

impl Serialize for Ended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_returns_tells_how_it_ended() {
        let cases = [
            ("epoll_wait", Some(0), Ended::TimedOut),
            ("epoll_wait", Some(2), Ended::Woken),
            ("poll", Some(-516), Ended::Interrupted),
            ("clock_nanosleep", Some(0), Ended::TimedOut),
            ("clock_nanosleep", Some(-4), Ended::Interrupted),
            ("futex", Some(0), Ended::Woken),
            ("futex", Some(-11), Ended::Woken),
            ("futex_waitv", Some(-110), Ended::TimedOut),
            ("semtimedop", Some(-11), Ended::TimedOut),
            ("recvfrom", Some(-11), Ended::TimedOut),
            ("recvfrom", Some(0), Ended::Woken),
            ("connect", Some(-111), Ended::Woken),
            ("read", None, Ended::Open),
        ];
        for (name, ret, expect) in cases {
            assert_eq!(Ended::of_call(name, ret), expect, "{name} {ret:?}");
        }
    }
}
