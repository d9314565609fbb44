//! What a command read of its capture, for `--stats`.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use kindling_format::Capture;

use crate::render::units;

/// Counts while a command runs, on all its threads.
#[derive(Debug)]
pub struct Counters {
    began: Instant,
    read: Mutex<BTreeSet<(u32, &'static str)>>,
    skipped: Mutex<BTreeSet<(u32, &'static str)>>,
    reads: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    /// Counts from now on.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            read: Mutex::default(),
            skipped: Mutex::default(),
            reads: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// A member of so many bytes was decoded to so many rows.
    pub fn read(&self, segment: u32, table: &'static str, bytes: u64, rows: u64) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert((segment, table));
        self.reads.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
    }

    /// A member was not decoded, because the index rules out that it has a row of the selection.
    pub fn skip(&self, segment: u32, table: &'static str) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.insert((segment, table));
    }

    /// What was counted so far.
    pub fn stats(&self, capture: &Capture) -> Stats {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let segments: BTreeSet<u32> = read.iter().map(|(segment, _)| *segment).collect();
        Stats {
            segments: capture.segments().count() as u64,
            segments_read: segments.len() as u64,
            members: capture
                .segments()
                .map(|n| capture.members(n).count() as u64)
                .sum(),
            members_read: read.len() as u64,
            members_skipped: skipped.difference(&read).count() as u64,
            reads: self.reads.load(Relaxed),
            rows: self.rows.load(Relaxed),
            bytes_read: self.bytes.load(Relaxed),
            size_bytes: capture.size_bytes(),
            wall: self.began.elapsed(),
            cpu: cpu_time(),
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// What a command read, and what that took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Segments of the capture.
    pub segments: u64,
    /// Segments of which at least one member was decoded.
    pub segments_read: u64,
    /// Tables of all segments.
    pub members: u64,
    /// Members that were decoded.
    pub members_read: u64,
    /// Members that were asked for, and never decoded: the index rules them out.
    pub members_skipped: u64,
    /// How often a member was decoded.
    pub reads: u64,
    /// Rows that this gave.
    pub rows: u64,
    /// Bytes of the file that it took.
    pub bytes_read: u64,
    /// Bytes of the whole file.
    pub size_bytes: u64,
    /// Time since the command began.
    pub wall: Duration,
    /// CPU time of the process; `None` where the system does not tell.
    pub cpu: Option<Duration>,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time =
            |time: Duration| units::duration(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let count = units::count;
        writeln!(
            f,
            "segments  {} of {} read",
            count(self.segments_read),
            count(self.segments)
        )?;
        writeln!(
            f,
            "members   {} of {} read, {} skipped by the index",
            count(self.members_read),
            count(self.members),
            count(self.members_skipped)
        )?;
        writeln!(
            f,
            "rows      {} decoded in {} reads",
            count(self.rows),
            count(self.reads)
        )?;
        writeln!(
            f,
            "bytes     {} decoded, the capture has {}",
            units::bytes(self.bytes_read),
            units::bytes(self.size_bytes)
        )?;
        write!(f, "time      {}", time(self.wall))?;
        match self.cpu {
            Some(cpu) => write!(f, ", {} on CPU", time(cpu)),
            None => Ok(()),
        }
    }
}

#[cfg(unix)]
fn cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let (seconds, ns) = (
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    );
    Some(Duration::new(seconds, ns))
}

#[cfg(not(unix))]
fn cpu_time() -> Option<Duration> {
    None
}
