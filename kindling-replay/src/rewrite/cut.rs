//! A part of a capture as a capture of its own: a window of time, some threads, or both.
//!
//! The result is what a recorder would have written that was given this window and these threads,
//! and a little more: of each thread the last switches and wakeups before the window, so that its
//! state at the start is known, what epolls watched then, and calls that reach over an end of the
//! window as they were. Tables and columns that this version does not know are left out: of tables
//! nothing tells which rows belong.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::Write,
};

use kindling_format::{
    Capture, CaptureWriter, Effort, FormatError, Header, Summary,
    header::Moment,
    schema::{
        Argument, Block, Clock, Fault, File, Frame, Index, IoUring, Loss, Mapping, Migration,
        Overhead, Payload, Process, Sample, Stack, Switch, Symbol, Syscall, Tcp, Thread, Wakeup,
        Watch,
    },
};

use super::{
    left_out::LeftOut,
    needs::Needs,
    summary,
    tables::{Edit, Tables},
};
use crate::{
    context::Context,
    model::{
        catalog::{Catalog, ThreadSet},
        connection::Connections,
        select,
    },
    selection::Window,
};

/// Writes the selected part of the capture to `out`. `history` says in a line what was done.
///
/// # Errors
/// If a member is damaged or `out` cannot be written.
pub fn cut(context: &Context, history: String, out: &mut dyn Write) -> Result<(), FormatError> {
    let catalog = Catalog::load(context);
    let scope = Scope {
        window: context.selection.window,
        catalog: &catalog,
        selected: select::threads(context, &catalog),
    };
    let needs = Needs::of(context, &catalog, &scope);
    let selected = needs.threads.iter().copied();
    let selected = selected
        .filter(|&(tid, start_ts)| scope.has(tid, start_ts))
        .collect();
    let cut = Cut {
        target_pids: scope.pids(&selected),
        sockets: catalog.files_by_cookie(),
        scope,
        needs,
    };
    let left_out = LeftOut::of(&context.capture)?;
    left_out
        .warnings()
        .into_iter()
        .for_each(|warning| context.warn(warning));
    cut.write(context, history, out)
}

/// Which rows of events are kept.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) window: Window,
    catalog: &'a Catalog,
    selected: ThreadSet,
}

impl Scope<'_> {
    /// Whether the thread that had this tid at a moment is selected. The idle task never is.
    pub(super) fn has(&self, tid: u32, ts: i64) -> bool {
        tid != 0 && self.selected.contains(self.catalog, tid, ts)
    }

    /// Whether something that began and perhaps ended then is there within the window.
    pub(super) fn lives(&self, start: i64, end: Option<i64>) -> bool {
        self.window.overlaps(start, end.unwrap_or(i64::MAX))
    }

    /// The lives of threads in the window that are selected or named by a kept row.
    pub(super) fn threads(&self, named: &HashSet<u32>) -> BTreeSet<(u32, i64)> {
        let lives = self.catalog.threads.iter();
        let kept = lives.filter(|(_, life)| {
            let wanted = self.has(life.tid, life.start_ts) || named.contains(&life.tid);
            wanted && self.lives(life.start_ts, life.exit_ts)
        });
        kept.map(|(life, _)| *life).collect()
    }

    /// The processes of these threads.
    pub(super) fn pids(&self, threads: &BTreeSet<(u32, i64)>) -> BTreeSet<u32> {
        let lives = threads
            .iter()
            .filter_map(|life| self.catalog.threads.get(life));
        lives.map(|life| life.pid).collect()
    }

    /// The other ends of connections, as far as they were recorded.
    pub(super) fn peers(&self, files: &HashSet<u32>) -> Vec<&File> {
        let connections = Connections::new(&self.catalog.files);
        let peers = files.iter().filter_map(|&file| connections.peer(file));
        peers
            .filter_map(|peer| self.catalog.files.get(&peer))
            .collect()
    }
}

impl Edit<Syscall> for Scope<'_> {
    fn edit(&self, row: Syscall) -> Option<Syscall> {
        let end = row.dur.map(|dur| row.ts.saturating_add(dur));
        (self.lives(row.ts, end) && self.has(row.tid, row.ts)).then_some(row)
    }
}

impl Edit<Payload> for Scope<'_> {
    fn edit(&self, row: Payload) -> Option<Payload> {
        let end = row.ts.saturating_add(row.dur);
        (self.lives(row.ts, Some(end)) && self.has(row.tid, row.ts)).then_some(row)
    }
}

impl Edit<IoUring> for Scope<'_> {
    fn edit(&self, row: IoUring) -> Option<IoUring> {
        let is_ours = self.has(row.tid, row.ts) || self.has(row.pid, row.ts);
        (is_ours && self.window.contains(row.ts)).then_some(row)
    }
}

/// Events of one thread at one moment.
macro_rules! of_a_thread {
    ($($row:ident),*) => {
        $(impl Edit<$row> for Scope<'_> {
            fn edit(&self, row: $row) -> Option<$row> {
                (self.window.contains(row.ts) && self.has(row.tid, row.ts)).then_some(row)
            }
        })*
    };
}
of_a_thread!(Block, Fault, Migration, Sample);

impl Edit<Tcp> for Scope<'_> {
    fn edit(&self, row: Tcp) -> Option<Tcp> {
        let is_ours = match self.catalog.owner_of(row.file) {
            Some(pid) => self.has(pid, row.ts),
            None => self.selected == ThreadSet::All,
        };
        (is_ours && self.window.contains(row.ts)).then_some(row)
    }
}

impl Edit<Switch> for Scope<'_> {
    fn edit(&self, row: Switch) -> Option<Switch> {
        let touches = self.has(row.prev_tid, row.ts) || self.has(row.next_tid, row.ts);
        (touches && self.window.contains(row.ts)).then_some(row)
    }
}

impl Edit<Wakeup> for Scope<'_> {
    fn edit(&self, row: Wakeup) -> Option<Wakeup> {
        let touches = self.has(row.waker_tid, row.ts) || self.has(row.wakee_tid, row.ts);
        (touches && self.window.contains(row.ts)).then_some(row)
    }
}

/// Which rows of all tables are kept, and how they are changed.
#[derive(Debug)]
struct Cut<'a> {
    scope: Scope<'a>,
    /// Processes with a selected thread.
    target_pids: BTreeSet<u32>,
    needs: Needs,
    /// The files of sockets, by cookie.
    sockets: BTreeMap<u64, u32>,
}

impl Cut<'_> {
    fn write(
        &self,
        context: &Context,
        history: String,
        out: &mut dyn Write,
    ) -> Result<(), FormatError> {
        let capture = &context.capture;
        let mut writer = CaptureWriter::new(out, &self.header(context, history))?;
        let mut tables = Tables::default();
        for row in &self.needs.switches {
            tables.Switch.push(row.clone());
        }
        for row in &self.needs.wakeups {
            tables.Wakeup.push(row.clone());
        }
        for row in &self.needs.watches {
            tables.Watch.push(row.clone());
        }
        let mut first = None;
        let mut lost = BTreeMap::new();
        for segment in capture.segments() {
            tables.add(&context.pool, capture, segment, self)?;
            self.count_lost(capture, segment, &mut lost)?;
            let number = *first.get_or_insert(segment);
            if tables.is_full() {
                std::mem::take(&mut tables).write(
                    &context.pool,
                    number,
                    Effort::Record,
                    &mut writer,
                )?;
                first = None;
            }
        }
        if let Some(number) = first {
            tables.write(&context.pool, number, Effort::Record, &mut writer)?;
        }
        writer.finish(&self.summary(context, lost))?;
        Ok(())
    }

    fn header(&self, context: &Context, history: String) -> Header {
        let mut header = context.capture.header().clone();
        header.start = moment(context, self.scope.window.from);
        if header.recording.is_empty() {
            // Pieces of one capture know each other by its first member's checksum.
            let first = context.capture.entries().first();
            header.recording =
                first.map_or_else(String::new, |entry| format!("{:08x}", entry.crc32));
        }
        header.history.push(history);
        header
    }

    fn summary(&self, context: &Context, lost: BTreeMap<String, u64>) -> Summary {
        let whole = summary(&context.capture);
        let at_end = self.scope.window.to >= context.span.to;
        Summary {
            end: moment(context, self.scope.window.to),
            reason: if at_end { whole.reason } else { "cut".into() },
            exit_status: whole.exit_status.filter(|_| at_end),
            lost,
            ..Summary::default()
        }
    }

    fn count_lost(
        &self,
        capture: &Capture,
        segment: u32,
        lost: &mut BTreeMap<String, u64>,
    ) -> Result<(), FormatError> {
        for row in capture.read::<Loss>(segment)?.iter() {
            if self.scope.window.overlaps(row.ts, row.end_ts) {
                let count: &mut u64 = lost.entry(row.source).or_default();
                *count = count.saturating_add(row.count);
            }
        }
        Ok(())
    }

    /// Whether a row of something that is described anew whenever it changes is kept: what is true
    /// by the end of the window, and the first row in any case.
    fn is_known(&self, ts: i64, first: Option<&i64>) -> bool {
        first.is_some_and(|&first| ts <= self.scope.window.to.max(first))
    }

    /// Whether the index allows that an event of the member lies in the window.
    fn in_window(&self, index: &Index) -> bool {
        match index.min_ts.zip(index.max_ts) {
            Some((min, max)) => self.scope.window.overlaps(min, max),
            None => true,
        }
    }
}

/// All clocks at a moment of the capture.
fn moment(context: &Context, ts: i64) -> Moment {
    let start = context.capture.header().start;
    Moment {
        monotonic_ns: ts,
        boottime_ns: start
            .boottime_ns
            .saturating_add(ts.saturating_sub(start.monotonic_ns)),
        realtime_ns: context.clock.wall_ns(ts).unwrap_or(0),
    }
}

/// Events of the scope; the index tells which members have none.
macro_rules! of_scope {
    ($($row:ident),*) => {
        $(impl Edit<$row> for Cut<'_> {
            fn edit(&self, row: $row) -> Option<$row> {
                self.scope.edit(row)
            }

            fn may_keep(&self, index: &Index) -> bool {
                self.in_window(index)
            }
        })*
    };
}
of_scope!(
    Syscall, Payload, IoUring, Block, Fault, Switch, Migration, Wakeup, Sample
);

/// Of both ends of a connection: what one end sends again is what the other waits for.
impl Edit<Tcp> for Cut<'_> {
    fn edit(&self, row: Tcp) -> Option<Tcp> {
        let socket = row.file.or_else(|| self.sockets.get(&row.cookie).copied());
        if socket.is_some_and(|file| self.needs.files.contains_key(&file)) {
            return self.scope.window.contains(row.ts).then_some(row);
        }
        self.scope.edit(row)
    }

    fn may_keep(&self, index: &Index) -> bool {
        self.in_window(index)
    }
}

/// Rows that are kept if they name something that is needed.
macro_rules! if_needed {
    ($($row:ident by $needed:ident),*) => {
        $(impl Edit<$row> for Cut<'_> {
            fn edit(&self, row: $row) -> Option<$row> {
                self.needs.$needed.contains(&row.id).then_some(row)
            }
        })*
    };
}
if_needed!(Stack by stacks, Frame by frames, Symbol by symbols);

impl Edit<Argument> for Cut<'_> {
    fn edit(&self, row: Argument) -> Option<Argument> {
        let entered = self.scope.window.contains(row.ts) && self.scope.has(row.tid, row.ts);
        (entered || self.needs.straddling.contains(&(row.tid, row.ts))).then_some(row)
    }
}

impl Edit<Clock> for Cut<'_> {
    fn edit(&self, row: Clock) -> Option<Clock> {
        (row.ts <= self.scope.window.to).then_some(row)
    }
}

impl Edit<Process> for Cut<'_> {
    fn edit(&self, row: Process) -> Option<Process> {
        let first = self.needs.processes.get(&(row.pid, row.start_ts));
        let target = row.target && self.target_pids.contains(&row.pid);
        self.is_known(row.ts, first)
            .then_some(Process { target, ..row })
    }
}

impl Edit<Thread> for Cut<'_> {
    fn edit(&self, row: Thread) -> Option<Thread> {
        let life = (row.tid, row.start_ts);
        let life = self
            .needs
            .threads
            .get(&life)
            .and_then(|life| self.scope.catalog.threads.get(life));
        let first = life.and_then(|life| life.comms.first()).map(|(ts, _)| ts);
        let target = row.target && self.scope.has(row.tid, row.start_ts);
        self.is_known(row.ts, first)
            .then_some(Thread { target, ..row })
    }
}

impl Edit<Mapping> for Cut<'_> {
    fn edit(&self, row: Mapping) -> Option<Mapping> {
        (row.ts <= self.scope.window.to && self.needs.has_process(row.pid)).then_some(row)
    }
}

impl Edit<Watch> for Cut<'_> {
    /// What was watched at the start of the window is one of the needs.
    fn edit(&self, row: Watch) -> Option<Watch> {
        (self.scope.window.contains(row.ts) && self.needs.has_process(row.pid)).then_some(row)
    }
}

impl Edit<File> for Cut<'_> {
    fn edit(&self, row: File) -> Option<File> {
        self.is_known(row.ts, self.needs.files.get(&row.id))
            .then_some(row)
    }
}

impl Edit<Loss> for Cut<'_> {
    /// Losses from before the window say what the last events before it may have missed.
    fn edit(&self, row: Loss) -> Option<Loss> {
        (row.ts <= self.scope.window.to).then_some(row)
    }
}

impl Edit<Overhead> for Cut<'_> {
    fn edit(&self, row: Overhead) -> Option<Overhead> {
        let end = row.ts.saturating_add(row.dur);
        self.scope.window.overlaps(row.ts, end).then_some(row)
    }
}
