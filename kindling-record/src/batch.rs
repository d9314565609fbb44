//! What one segment will hold: columns that are filled straight from the rings.

use std::collections::BTreeMap;

use kindling_format::{
    header::Moment,
    schema::{
        ArgumentColumns, BlockColumns, Clock, ClockColumns, FaultColumns, FileColumns,
        IoUringColumns, LossColumns, MigrationColumns, OverheadColumns, PayloadColumns,
        ProcessColumns, SampleColumns, SwitchColumns, SyscallColumns, TcpColumns, ThreadColumns,
        WakeupColumns, WatchColumns,
    },
};

use crate::{lives::SpaceEvent, mappings::MappedFile, unwind::StackMemory};

/// A segment is cut before a table has more rows than this, or after the flush interval,
const SEGMENT_ROWS: usize = 65_536;
/// or when it is made of so many bytes: payloads can be long, and memory is to be bounded.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Records that are taken from the rings before the clock, and the batch, are looked at.
pub(crate) const ROUND: usize = 512;
/// What a round's records can be in rows: `KD_CALLS` in `kindling.h` are in one at most.
const ROUND_ROWS: usize = ROUND * 16;

/// A stack as it was taken: addresses of one process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawStack {
    /// Its id in the capture.
    pub(crate) id: u32,
    /// Whether later rows may name it too: the kernel side sends it once.
    pub(crate) is_shared: bool,
    pub(crate) ts: i64,
    pub(crate) pid: u32,
    /// Kernel addresses, innermost first.
    pub(crate) kernel: Vec<u64>,
    pub(crate) user: UserStack,
}

/// The user-space part of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserStack {
    /// Addresses, innermost first, as the kernel walked them by frame pointers.
    Walked(Vec<u64>),
    /// Registers and memory, yet to be unwound.
    Memory(StackMemory),
}

/// The rows of a segment, and what the encoder needs to make the others of it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) clock: ClockColumns,
    pub(crate) processes: ProcessColumns,
    pub(crate) threads: ThreadColumns,
    pub(crate) files: FileColumns,
    pub(crate) watches: WatchColumns,
    pub(crate) syscalls: SyscallColumns,
    pub(crate) arguments: ArgumentColumns,
    pub(crate) payloads: PayloadColumns,
    pub(crate) io_uring: IoUringColumns,
    pub(crate) tcp: TcpColumns,
    pub(crate) block: BlockColumns,
    pub(crate) faults: FaultColumns,
    pub(crate) migrations: MigrationColumns,
    pub(crate) switches: SwitchColumns,
    pub(crate) wakeups: WakeupColumns,
    pub(crate) samples: SampleColumns,
    pub(crate) losses: LossColumns,
    /// What `losses` come to, by table.
    pub(crate) lost: BTreeMap<String, u64>,
    pub(crate) overhead: OverheadColumns,
    pub(crate) code: Code,
    /// The bytes of the records that it is made of.
    pub(crate) record_bytes: u64,
    /// When the batch was cut: it has what was drained before.
    pub(crate) cut_at: Option<Moment>,
}

/// Where code was and ran, not named yet.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) stacks: Vec<RawStack>,
    /// What happened to address spaces, each with its time.
    pub(crate) spaces: Vec<(i64, SpaceEvent)>,
    pub(crate) mapped: Vec<MappedFile>,
    /// Stacks that no row will name any more.
    pub(crate) forgotten: Vec<u32>,
}

impl Batch {
    /// Whether it is time to write it: another round of records may be too many. Columns keep their memory,
    /// and would keep twice as much for one row beyond a power of two.
    pub(crate) fn is_full(&self) -> bool {
        self.longest() + ROUND_ROWS > SEGMENT_ROWS || self.record_bytes >= SEGMENT_BYTES
    }

    /// The rows of the fullest table.
    fn longest(&self) -> usize {
        let lengths = [self.syscalls.len(), self.switches.len(), self.wakeups.len()];
        lengths
            .into_iter()
            .chain([self.payloads.len(), self.arguments.len()])
            .chain([self.io_uring.len(), self.tcp.len()])
            .chain([self.block.len(), self.faults.len(), self.migrations.len()])
            .max()
            .unwrap_or(0)
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.longest() == 0
            && self.samples.is_empty()
            && self.threads.is_empty()
            && self.files.is_empty()
            && self.losses.is_empty()
            && self.code.mapped.is_empty()
    }

    /// Adds a reading of the clocks.
    pub(crate) fn clock(&mut self, moment: Moment) {
        self.clock.push(Clock {
            ts: moment.monotonic_ns,
            boottime_ns: moment.boottime_ns,
            realtime_ns: moment.realtime_ns,
        });
    }
}
