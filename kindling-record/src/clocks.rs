//! The host's clocks.

use kindling_format::header::Moment;
use rustix::time::{ClockId, clock_gettime};

/// This moment on all three clocks.
pub(crate) fn now() -> Moment {
    Moment {
        monotonic_ns: read(ClockId::Monotonic),
        boottime_ns: read(ClockId::Boottime),
        realtime_ns: read(ClockId::Realtime),
    }
}

/// This moment on the clock of every event.
pub(crate) fn monotonic_ns() -> i64 {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The moment that is `ns` after another, if no clock is set in between.
pub(crate) fn later(moment: Moment, ns: i64) -> Moment {
    Moment {
        monotonic_ns: moment.monotonic_ns.saturating_add(ns),
        boottime_ns: moment.boottime_ns.saturating_add(ns),
        realtime_ns: moment.realtime_ns.saturating_add(ns),
    }
}
