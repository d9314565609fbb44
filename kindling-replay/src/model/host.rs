//! The hosts of a capture that was merged of several: process and thread ids carry the host's number.

/// Ids of processes and threads are below `PID_MAX_LIMIT`, 4,194,304 (`<linux/threads.h>`), on
/// every host; the bits above hold the number of the host in a merged capture (`docs/FORMAT.md`).
pub const PID_BITS: u32 = 22;

/// The id that the process or thread had on its own host.
pub fn local_id(id: u32) -> u32 {
    id & ((1 << PID_BITS) - 1)
}
