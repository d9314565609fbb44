//! Rows of one capture as rows of another: clocks shifted, ids kept apart.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use kindling_format::schema::{
    Argument, Block, Clock, Fault, File, Frame, IoUring, Loss, Mapping, Migration, Overhead,
    Payload, Process, Sample, Stack, Switch, Symbol, Syscall, Tcp, Thread, Wakeup, Watch,
};

use super::{
    doubles::{Doubles, IsDouble},
    tables::Edit,
};
use crate::model::host::PID_BITS;

/// How the rows of one input differ in the output.
#[derive(Debug, Clone, Default)]
pub(super) struct Remap {
    /// Added to every `ts`.
    pub(super) shift_ns: i64,
    /// Added to every id of a file, a stack, a frame or a symbol.
    pub(super) id_base: u32,
    /// The number of its host in the output.
    pub(super) host: u32,
    /// Added to every CPU.
    pub(super) cpu_base: u16,
    /// Whether its readings of the clocks are the output's.
    pub(super) keeps_clock: bool,
    /// The code that is written already: the parts of one recording repeat it, with the same ids.
    pub(super) written: Arc<WrittenCode>,
    /// Rows that another input has.
    pub(super) doubles: Doubles,
}

/// Ids of code that is written.
#[derive(Debug, Default)]
pub(super) struct WrittenCode {
    stacks: Mutex<HashSet<u32>>,
    frames: Mutex<HashSet<u32>>,
    symbols: Mutex<HashSet<u32>>,
}

fn is_new(written: &Mutex<HashSet<u32>>, id: u32) -> bool {
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    written.insert(id)
}

impl Remap {
    fn ts(&self, ts: i64) -> i64 {
        ts.saturating_add(self.shift_ns)
    }

    fn id(&self, id: u32) -> u32 {
        id.saturating_add(self.id_base)
    }

    /// A process or a thread. The idle task and a parent that is none stay 0.
    fn pid(&self, pid: u32) -> u32 {
        match pid {
            0 => 0,
            _ => pid.saturating_add(self.host << PID_BITS),
        }
    }

    fn cpu(&self, cpu: u16) -> u16 {
        cpu.saturating_add(self.cpu_base)
    }

    /// A cookie or an inode number: what is unique on one host only, and small there.
    fn unique(&self, id: u64) -> u64 {
        id.wrapping_add(u64::from(self.host) << 48)
    }

    /// The inode number of a namespace. The kernel counts them up from `PROC_DYNAMIC_FIRST`,
    /// 0xf000_0000 (`<linux/proc_fs.h>`), so there is room below.
    fn namespace(&self, inode: u32) -> u32 {
        inode.wrapping_sub(self.host << 20)
    }
}

/// How the columns of a table are mapped: `column: by function` for plain ones, `column: some
/// function` for those that may be null.
macro_rules! remap {
    ($($kind:ident $row:ident { $($col:ident: $how:ident $by:ident),* $(,)? })*) => {
        $(impl Edit<$row> for Remap {
            // Of some tables every column is mapped.
            #[allow(clippy::needless_update)]
            fn edit(&self, row: $row) -> Option<$row> {
                if remap!($kind self, row) {
                    return None;
                }
                Some($row { $($col: remap!(self, row.$col, $how $by),)* ..row })
            }
        })*
    };
    (state $map:ident, $row:ident) => { false };
    (event $map:ident, $row:ident) => { $map.doubles.is_double(&$row) };
    ($map:ident, $row:ident.$col:ident, by $by:ident) => { $map.$by($row.$col) };
    ($map:ident, $row:ident.$col:ident, some $by:ident) => { $row.$col.map(|value| $map.$by(value)) };
}

remap! {
    state Process {
        ts: by ts, pid: by pid, ppid: by pid, start_ts: by ts, exit_ts: some ts,
        netns: some namespace, pidns: some namespace, mntns: some namespace,
    }
    state Thread { ts: by ts, tid: by pid, pid: by pid, start_ts: by ts, exit_ts: some ts }
    state Mapping { ts: by ts, pid: by pid }
    state Watch { ts: by ts, pid: by pid }
    state File {
        ts: by ts, id: by id, pid: by pid, open_ts: some ts, close_ts: some ts,
        inode: some unique, cookie: some unique, netns: some namespace, peer_inode: some unique,
    }
    event Syscall { ts: by ts, pid: by pid, tid: by pid, cpu: by cpu, file: some id, stack: some id }
    event Argument { ts: by ts, pid: by pid, tid: by pid }
    event Payload { ts: by ts, pid: by pid, tid: by pid, file: by id }
    event IoUring {
        ts: by ts, pid: by pid, tid: by pid, cpu: by cpu, ring: some id, file: some id,
    }
    event Tcp { ts: by ts, cpu: by cpu, cookie: by unique, file: some id, netns: by namespace }
    event Block { ts: by ts, pid: by pid, tid: by pid }
    event Fault { ts: by ts, pid: by pid, tid: by pid, cpu: by cpu }
    event Migration {
        ts: by ts, cpu: by cpu, tid: by pid, from_cpu: by cpu, to_cpu: by cpu, by_tid: by pid,
    }
    event Switch { ts: by ts, cpu: by cpu, prev_tid: by pid, next_tid: by pid, stack: some id }
    event Wakeup { ts: by ts, cpu: by cpu, waker_tid: by pid, wakee_tid: by pid, target_cpu: by cpu }
    state Sample { ts: by ts, cpu: by cpu, pid: by pid, tid: by pid, stack: some id }
    event Loss { ts: by ts, end_ts: by ts, cpu: some cpu }
    event Overhead { ts: by ts }
}

impl Edit<Clock> for Remap {
    fn edit(&self, row: Clock) -> Option<Clock> {
        let ts = self.ts(row.ts);
        let is_new = self.keeps_clock && !self.doubles.is_double(&row);
        is_new.then_some(Clock { ts, ..row })
    }
}

impl Edit<Stack> for Remap {
    fn edit(&self, row: Stack) -> Option<Stack> {
        let row = Stack {
            id: self.id(row.id),
            frames: row.frames.into_iter().map(|id| self.id(id)).collect(),
        };
        is_new(&self.written.stacks, row.id).then_some(row)
    }
}

impl Edit<Frame> for Remap {
    fn edit(&self, row: Frame) -> Option<Frame> {
        let row = Frame {
            id: self.id(row.id),
            symbol: row.symbol.map(|id| self.id(id)),
            ..row
        };
        is_new(&self.written.frames, row.id).then_some(row)
    }
}

impl Edit<Symbol> for Remap {
    fn edit(&self, row: Symbol) -> Option<Symbol> {
        let row = Symbol {
            id: self.id(row.id),
            inlined_in: row.inlined_in.map(|id| self.id(id)),
            ..row
        };
        is_new(&self.written.symbols, row.id).then_some(row)
    }
}
