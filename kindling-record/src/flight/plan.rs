//! When a slice begins, and when what is in memory becomes a file.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use kindling_format::{
    Header,
    header::{Dump, Moment},
};
use rustix::fs::Access;

use super::{
    control::{Ask, ControlSocket, Reply},
    dump::{DumpOrder, DumpReport, WrittenDump},
};
use crate::{
    batch::Batch,
    cli::units::Extent,
    config::{Destination, RecordConfig},
    header::of_pieces,
    output,
    trigger::{Fired, Trigger},
};

/// The window is cut into so many slices: two more than the window has are in memory at most.
const SLICES: u32 = 8;
/// A trigger is seen so late at most.
const DRAINED_WITHIN: Duration = Duration::from_millis(250);

/// How much of the recording is kept: all bounds hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// What a dump has before its trigger.
    before: Option<Duration>,
    /// What it has after.
    after: Duration,
    bytes: Option<u64>,
}

impl Window {
    /// The smallest of each kind.
    pub(crate) fn of(extents: &[Extent], after: Duration) -> Self {
        let time = |extent: &Extent| match extent {
            Extent::Time(time) => Some(*time),
            Extent::Bytes(_) => None,
        };
        let bytes = |extent: &Extent| match extent {
            Extent::Bytes(bytes) => Some(*bytes),
            Extent::Time(_) => None,
        };
        Self {
            before: extents.iter().filter_map(time).min(),
            after,
            bytes: extents.iter().filter_map(bytes).min(),
        }
    }

    /// When the dump of a trigger at `ts` begins.
    fn begin_ns(&self, ts: i64) -> i64 {
        self.before
            .map_or(i64::MIN, |before| ts.saturating_sub(ns(before)))
    }

    /// More bytes than that are not kept.
    pub(super) fn most_bytes(&self) -> u64 {
        self.bytes.unwrap_or(u64::MAX)
    }

    fn is_slice(&self, lasted_ns: i64, size_bytes: u64) -> bool {
        let is_long = self
            .before
            .is_some_and(|before| lasted_ns >= ns((before + self.after) / SLICES));
        is_long
            || self
                .bytes
                .is_some_and(|bytes| size_bytes >= bytes / u64::from(SLICES))
    }
}

fn ns(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// What was asked of the flight recorder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FlightConfig {
    pub(crate) window: Window,
    pub(crate) triggers: Vec<Trigger>,
    /// The time in which one dump at most is written for triggers.
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FlightOutcome {
    /// How many dumps were written.
    pub(crate) written: u32,
    pub(crate) last: Option<PathBuf>,
    /// How many times a trigger fired without a dump of its own.
    pub(crate) suppressed: u64,
}

/// A dump that waits to be made.
struct Wanted {
    dump: Dump,
    /// When what is to be in it has happened.
    due_ns: i64,
    reply: Option<Sender<Reply>>,
}

/// Decides when to write, and keeps account of what was written.
pub(crate) struct Flight {
    config: FlightConfig,
    destination: Destination,
    keep: Option<u32>,
    syncs: bool,
    header: Header,
    slice_start_ns: i64,
    /// SIGUSR1 came.
    signal: Arc<AtomicBool>,
    asks: Receiver<Ask>,
    _socket: Option<ControlSocket>,
    reports: Receiver<DumpReport>,
    wanted: VecDeque<Wanted>,
    /// How many dumps were begun, and are not written yet.
    orders: u32,
    is_writing: bool,
    /// When a trigger last brought about a dump.
    triggered_ns: Option<i64>,
    suppressed: u64,
    /// The dumps that are there, oldest first.
    dumps: VecDeque<WrittenDump>,
    outcome: FlightOutcome,
}

impl Flight {
    /// Prepares to write dumps; the second half is for who writes them.
    ///
    /// # Errors
    /// If files cannot be created where they are to go: better now than when something happens.
    pub(crate) fn new(
        config: &RecordConfig,
        flight: &FlightConfig,
        header: Header,
        signal: Arc<AtomicBool>,
        socket: Option<ControlSocket>,
    ) -> Result<(Self, Sender<DumpReport>)> {
        check_directory(&config.destination)?;
        let (report, reports) = channel();
        let (ask, asks) = channel();
        if let Some(socket) = &socket {
            socket.serve(ask)?;
        }
        let flight = Self {
            config: flight.clone(),
            destination: config.destination.clone(),
            keep: config.keep,
            syncs: config.fsync.is_some(),
            slice_start_ns: header.start.monotonic_ns,
            header: of_pieces(header),
            signal,
            asks,
            _socket: socket,
            reports,
            wanted: VecDeque::new(),
            orders: 0,
            is_writing: false,
            triggered_ns: None,
            suppressed: 0,
            dumps: VecDeque::new(),
            outcome: FlightOutcome::default(),
        };
        Ok((flight, report))
    }

    /// Whether the current slice is long enough.
    pub(crate) fn is_slice_due(&self, now_ns: i64, slice_bytes: u64) -> bool {
        let lasted_ns = now_ns - self.slice_start_ns;
        self.config.window.is_slice(lasted_ns, slice_bytes)
    }

    /// A slice begins; what is from before the moment that comes back, no dump will need: neither one
    /// that is wanted, nor one whose trigger is still in the rings.
    pub(crate) fn begin_slice(&mut self, now_ns: i64) -> i64 {
        self.slice_start_ns = now_ns;
        let window = &self.config.window;
        let wanted = self.wanted.iter().map(|wanted| wanted.dump.ts);
        let latest = now_ns - ns(window.after) - ns(DRAINED_WITHIN);
        window.begin_ns(wanted.fold(latest, i64::min))
    }

    /// Takes in what triggers saw: the first one, and how many there were more.
    pub(crate) fn fired(&mut self, fired: Option<Fired>, more: u64) {
        self.suppress(more);
        let Some(Fired { dump }) = fired else { return };
        let is_early = |last: i64| dump.ts < last.saturating_add(ns(self.config.limit));
        if self.triggered_ns.is_some_and(is_early) {
            return self.suppress(1);
        }
        self.triggered_ns = Some(dump.ts);
        let after = self.config.window.after;
        eprintln!("kindling-record: {}; writing in {after:?}", describe(&dump));
        self.wanted.push_back(Wanted {
            due_ns: dump.ts.saturating_add(ns(after)),
            dump,
            reply: None,
        });
    }

    /// Whether a trigger that fires now would only be counted.
    pub(crate) fn is_limited(&self, now_ns: i64) -> bool {
        let limit_ns = ns(self.config.limit);
        self.triggered_ns
            .is_some_and(|last| now_ns < last.saturating_add(limit_ns))
    }

    fn suppress(&mut self, count: u64) {
        self.suppressed += count;
        self.outcome.suppressed += count;
    }

    /// Takes in who asks; whether a dump is due now, or, `at_end`, at all.
    pub(crate) fn is_due(&mut self, now_ns: i64, at_end: bool) -> bool {
        if self.signal.swap(false, Ordering::Relaxed) {
            self.want("signal", "SIGUSR1", now_ns, None);
        }
        while let Ok(ask) = self.asks.try_recv() {
            let event = "kindling-record dump";
            self.want("command", event, now_ns, Some(ask.reply));
        }
        let is_due = |wanted: &Wanted| at_end || wanted.due_ns <= now_ns;
        // One after another: the members of each stay in memory until it is written.
        (at_end || !self.is_writing) && self.wanted.iter().any(is_due)
    }

    fn want(&mut self, trigger: &str, event: &str, now_ns: i64, reply: Option<Sender<Reply>>) {
        let dump = Dump {
            trigger: trigger.to_owned(),
            ts: now_ns,
            event: event.to_owned(),
            ..Dump::default()
        };
        self.wanted.push_back(Wanted {
            dump,
            due_ns: now_ns,
            reply,
        });
    }

    /// The order for the dump that is due first, of everything until `end`, with the calls that are
    /// `open` then.
    pub(crate) fn order(
        &mut self,
        end: Moment,
        exit_status: Option<i32>,
        open: Batch,
    ) -> Option<DumpOrder> {
        let wanted = self.wanted.iter().enumerate();
        let (at, _) = wanted.min_by_key(|(_, wanted)| wanted.due_ns)?;
        let Wanted {
            mut dump, reply, ..
        } = self.wanted.remove(at)?;
        dump.suppressed = std::mem::take(&mut self.suppressed);
        self.is_writing = true;
        self.orders += 1;
        Some(DumpOrder {
            header: Header {
                part: self.orders - 1,
                ..self.header.clone()
            },
            from_ns: self.config.window.begin_ns(dump.ts),
            dump,
            end,
            open,
            exit_status,
            destination: self.destination.clone(),
            number: self.dumps.back().map_or(1, |last| last.number + 1),
            syncs: self.syncs,
            reply,
        })
    }

    /// Takes in what became of dumps, and says so.
    pub(crate) fn take_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.is_writing = false;
            let trigger = &report.dump.trigger;
            match report.outcome {
                Ok(written) => {
                    let more = match report.dump.suppressed {
                        0 => String::new(),
                        count => format!("; {count} more triggers since the last one"),
                    };
                    eprintln!(
                        "kindling-record: {:.1} s, {:.1} MB to {} ({trigger}){more}",
                        written.duration_ns as f64 / 1e9,
                        written.size_bytes as f64 / 1e6,
                        written.path.display(),
                    );
                    self.outcome.written += 1;
                    self.outcome.last = Some(written.path.clone());
                    self.dumps.push_back(written);
                    self.drop_oldest();
                }
                Err(error) => eprintln!("kindling-record: no dump ({trigger}): {error}"),
            }
        }
    }

    fn drop_oldest(&mut self) {
        let most = self.keep.map_or(usize::MAX, |keep| keep as usize);
        while self.dumps.len() > most {
            if let Some(oldest) = self.dumps.pop_front() {
                output::discard(&Destination::File(oldest.path));
            }
        }
    }

    /// Bytes of the dumps that are there.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.dumps.iter().map(|dump| dump.size_bytes).sum()
    }

    /// What came of it all; the last dumps must be written.
    pub(crate) fn end(mut self) -> FlightOutcome {
        self.take_reports();
        self.outcome
    }
}

/// What happened, and who did it.
fn describe(dump: &Dump) -> String {
    let who = match (dump.pid, dump.tid) {
        (Some(pid), Some(tid)) if pid != tid => {
            format!(" in {} (pid {pid}, tid {tid})", dump.comm)
        }
        (Some(pid), _) => format!(" in {} (pid {pid})", dump.comm),
        _ => String::new(),
    };
    format!("{}: {}{who}", dump.trigger, dump.event)
}

fn check_directory(destination: &Destination) -> Result<()> {
    let Destination::File(path) = destination else {
        return Ok(());
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    rustix::fs::access(&directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(std::io::Error::from)
        .with_context(|| format!("cannot write files to {}", directory.display()))
}
