//! Rows that two inputs of a merge have both: pieces of one recording overlap where a call reaches
//! over an end, and two recorders on one host both see a switch from a thread of one to a thread of
//! the other.

use std::collections::{HashMap, HashSet};

use kindling_format::{
    Capture, FormatError,
    schema::{
        Argument, Block, Clock, Fault, IoUring, Loss, Migration, Overhead, Payload, Switch,
        Syscall, Tcp, Thread, Tls, Wakeup,
    },
};

/// What an input repeats of the others.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubles {
    /// Calls, of the kernel or of a TLS library, that reach over the end of an earlier piece of the same
    /// recording, by tid and entry.
    pub(super) calls: HashSet<(u32, i64)>,
    /// Up to when an earlier piece of the same recording has everything else.
    pub(super) told_until: Option<i64>,
    /// Threads that another recorder of the same host had for its target, and when it looked.
    pub(super) others: HashMap<u32, (i64, i64)>,
}

impl Doubles {
    /// Whether an earlier piece has what happened at this moment.
    fn is_told(&self, ts: i64) -> bool {
        self.told_until.is_some_and(|until| ts < until)
    }

    fn is_others(&self, tid: u32, ts: i64) -> bool {
        let looked = self.others.get(&tid);
        looked.is_some_and(|&(from, to)| from <= ts && ts <= to)
    }
}

/// Tells whether a row is a double.
pub(super) trait IsDouble<T> {
    fn is_double(&self, row: &T) -> bool;
}

macro_rules! of_calls {
    ($($row:ident),*) => {
        $(impl IsDouble<$row> for Doubles {
            fn is_double(&self, row: &$row) -> bool {
                self.calls.contains(&(row.tid, row.ts))
            }
        })*
    };
}
of_calls!(Syscall, Argument, Payload);

impl IsDouble<Block> for Doubles {
    fn is_double(&self, row: &Block) -> bool {
        self.is_told(row.ts.saturating_add(row.dur))
    }
}

impl IsDouble<Switch> for Doubles {
    /// The recorder of the thread that left knows where it was.
    fn is_double(&self, row: &Switch) -> bool {
        self.is_told(row.ts) || self.is_others(row.prev_tid, row.ts)
    }
}

impl IsDouble<Wakeup> for Doubles {
    fn is_double(&self, row: &Wakeup) -> bool {
        self.is_told(row.ts) || self.is_others(row.wakee_tid, row.ts)
    }
}

impl IsDouble<Loss> for Doubles {
    fn is_double(&self, row: &Loss) -> bool {
        self.is_told(row.end_ts)
    }
}

macro_rules! of_pieces {
    ($($row:ident),*) => {
        $(impl IsDouble<$row> for Doubles {
            fn is_double(&self, row: &$row) -> bool {
                self.is_told(row.ts)
            }
        })*
    };
}
of_pieces!(Clock, Fault, IoUring, Migration, Overhead, Tcp);

/// The calls of a capture that end after `end`, or not at all: syscalls, and those of TLS libraries,
/// which have nothing but their payload.
pub(super) fn calls_over(capture: &Capture, end: i64) -> Result<HashSet<(u32, i64)>, FormatError> {
    let mut calls = HashSet::new();
    for segment in capture.segments() {
        let rows = capture.read_columns::<Syscall>(segment, Some(&["ts", "dur", "tid"]))?;
        let over = rows.iter().filter(|row| {
            let until = row.dur.map(|dur| row.ts.saturating_add(dur));
            until.is_none_or(|until| until > end)
        });
        calls.extend(over.map(|row| (row.tid, row.ts)));
        let columns = ["ts", "dur", "tid", "tls"];
        let rows = capture.read_columns::<Payload>(segment, Some(&columns))?;
        let over = rows
            .iter()
            .filter(|row| row.tls != Tls::No && row.ts.saturating_add(row.dur) > end);
        calls.extend(over.map(|row| (row.tid, row.ts)));
    }
    Ok(calls)
}

/// The threads that a capture has for its target.
pub(super) fn target_threads(capture: &Capture) -> Result<HashSet<u32>, FormatError> {
    let mut tids = HashSet::new();
    for segment in capture.segments() {
        let rows = capture.read_columns::<Thread>(segment, Some(&["tid", "target"]))?;
        tids.extend(rows.iter().filter(|row| row.target).map(|row| row.tid));
    }
    Ok(tids)
}
