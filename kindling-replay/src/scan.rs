//! Reading a capture segment by segment on all cores.
//!
//! Segments are decoded in parallel, a bounded number ahead of the one whose result is handed over,
//! and that in the order of the segments: so memory follows the segments in flight, and the answer
//! does not depend on the number of threads.

use std::{
    collections::{BTreeSet, VecDeque},
    io::IsTerminal,
    ops::ControlFlow,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, TryRecvError},
    },
    time::{Duration, Instant},
};

use kindling_format::{
    Capture, Member, Rows,
    schema::{Index, Table},
};
use rayon::{ScopeFifo, Yield};

use crate::{context::Context, selection::Window, warning::Warning};

/// A segment of the capture that is being read.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    context: &'a Context,
    /// Its number in the capture.
    pub number: u32,
}

impl<'a> Segment<'a> {
    /// The segment with this number.
    pub fn new(context: &'a Context, number: u32) -> Self {
        Self { context, number }
    }

    /// The one before it.
    pub fn before(&self) -> Option<Self> {
        let before = self.capture().segments_before(self.number).next_back();
        before.map(|number| Self { number, ..*self })
    }

    /// The capture that it is a part of.
    pub fn capture(&self) -> &'a Capture {
        &self.context.capture
    }

    /// All rows of table `T`, whatever the selection is. A damaged member reads as no rows and
    /// leaves a warning.
    pub fn rows<T: Table>(&self) -> Rows<T> {
        self.columns(None)
    }

    /// The rows of table `T` if the index does not rule out that one speaks of `window`; the
    /// caller still looks at each row.
    pub fn rows_within<T: Table>(&self, window: Window) -> Rows<T> {
        self.rows_of(window, None)
    }

    /// As [`Segment::rows_within`], if the index does not rule out either that one speaks of these
    /// processes.
    pub fn rows_of<T: Table>(&self, window: Window, pids: Option<&BTreeSet<u32>>) -> Rows<T> {
        self.columns_of(window, pids, None)
    }

    /// As [`Segment::rows_of`], but only these columns are decoded; the others read as defaults.
    pub fn columns_of<T: Table>(
        &self,
        window: Window,
        pids: Option<&BTreeSet<u32>>,
        wanted: Option<&[&str]>,
    ) -> Rows<T> {
        if self.may_speak_of(T::NAME, window, pids) {
            self.columns(wanted)
        } else {
            self.skip::<T>();
            Rows::empty()
        }
    }

    /// As [`Segment::rows`], but only these columns are decoded; the others read as defaults.
    pub fn columns<T: Table>(&self, wanted: Option<&[&str]>) -> Rows<T> {
        match self.context.capture.read_columns::<T>(self.number, wanted) {
            Ok(rows) => {
                if let Some(member) = self.member(T::NAME) {
                    let counters = &self.context.counters;
                    let (bytes, rows) = (member.entry.size_bytes, rows.len() as u64);
                    counters.read(self.number, T::NAME, bytes, rows);
                }
                rows
            }
            Err(error) => {
                self.context.warn(Warning::DamagedMember {
                    what: error.to_string(),
                });
                Rows::empty()
            }
        }
    }

    /// Whether the index allows that a row of the table speaks of `window` and of one of `pids`.
    pub fn may_speak_of(&self, table: &str, window: Window, pids: Option<&BTreeSet<u32>>) -> bool {
        if self.member(table).is_none() {
            return false;
        }
        let Some(index) = self.index(table) else {
            return true;
        };
        let of_window = match (index.min_ts, index.max_ts) {
            (Some(min), Some(max)) => window.overlaps(min, max),
            _ => true,
        };
        // A table that names no processes may speak of any.
        let named = |pids: &BTreeSet<u32>| index.pids.iter().any(|pid| pids.contains(pid));
        of_window && (index.pids.is_empty() || pids.is_none_or(named))
    }

    /// The row of the table's member in the index; `None` if there is no member or no index.
    pub fn index(&self, table: &str) -> Option<&'a Index> {
        self.member(table)?.index.as_ref()
    }

    /// Counts a member that is not decoded, because no row of it belongs to the selection.
    pub fn skip<T: Table>(&self) {
        if self.member(T::NAME).is_some() {
            self.context.counters.skip(self.number, T::NAME);
        }
    }

    fn member(&self, table: &str) -> Option<&'a Member> {
        let mut members = self.context.capture.members(self.number);
        members
            .find(|(name, _)| *name == table)
            .map(|(_, member)| member)
    }
}

/// Runs `map` over every segment in parallel and `fold` over the results in segment order, on one of
/// the workers, while the others decode what comes next.
///
/// `what` names the work in the progress bar.
pub fn segments<R: Send>(
    context: &Context,
    what: &str,
    map: impl Fn(Segment<'_>) -> R + Sync,
    mut fold: impl FnMut(R) + Send,
) {
    let _: ControlFlow<()> = segments_while(context, what, map, |result| {
        fold(result);
        ControlFlow::Continue(())
    });
}

/// As [`segments`], until `fold` breaks.
///
/// # Errors
/// What `fold` breaks with.
pub fn segments_while<R: Send, B: Send>(
    context: &Context,
    what: &str,
    map: impl Fn(Segment<'_>) -> R + Sync,
    mut fold: impl FnMut(R) -> ControlFlow<B> + Send,
) -> ControlFlow<B> {
    let numbers: Vec<u32> = context.capture.segments().collect();
    let progress = Progress::new(context, what, numbers.len());
    let map = |number| {
        let result = map(Segment::new(context, number));
        progress.step();
        result
    };
    // With fewer per worker, the others run out of work while a result is folded.
    let ahead = context.pool.current_num_threads().max(1) * 4;
    context.pool.install(|| {
        rayon::in_place_scope_fifo(|scope| {
            let mut numbers = numbers.iter().copied();
            let begin = |number| spawn(scope, &map, number);
            let mut begun: VecDeque<Receiver<R>> =
                numbers.by_ref().take(ahead).map(begin).collect();
            while let Some(next) = begun.pop_front() {
                let Some(result) = wait(&next) else { break };
                begun.extend(numbers.next().map(begin));
                fold(result)?;
            }
            ControlFlow::Continue(())
        })
    })
}

/// Has a worker decode a segment.
fn spawn<'scope, R: Send + 'scope>(
    scope: &ScopeFifo<'scope>,
    map: &'scope (impl Fn(u32) -> R + Sync),
    number: u32,
) -> Receiver<R> {
    let (send, receive) = mpsc::sync_channel(1);
    scope.spawn_fifo(move |_| {
        // Nobody waits for it any more if the fold has broken off.
        let _ = send.send(map(number));
    });
    receive
}

/// Works on other segments until the result is there; `None` if its worker panicked, which goes on
/// at the end of the scope.
fn wait<R>(result: &Receiver<R>) -> Option<R> {
    loop {
        match result.try_recv() {
            Ok(result) => return Some(result),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        if rayon::yield_now() != Some(Yield::Executed) {
            return result.recv().ok();
        }
    }
}

/// A bar on standard error that shows up when the work takes longer than a second, and only on a
/// terminal. Of work that is done side by side one has it.
#[derive(Debug)]
struct Progress<'a> {
    what: &'a str,
    has_bar: &'a AtomicBool,
    total: u64,
    began: Instant,
    on_terminal: bool,
    bar: OnceLock<indicatif::ProgressBar>,
    done: AtomicU64,
}

impl<'a> Progress<'a> {
    fn new(context: &'a Context, what: &'a str, total: usize) -> Self {
        Self {
            what,
            has_bar: &context.has_progress_bar,
            total: total as u64,
            began: Instant::now(),
            on_terminal: std::io::stderr().is_terminal(),
            bar: OnceLock::new(),
            done: Default::default(),
        }
    }

    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.on_terminal || self.began.elapsed() < Duration::from_secs(1) {
            return;
        }
        if self.bar.get().is_some() || !self.has_bar.swap(true, Ordering::Relaxed) {
            self.bar.get_or_init(|| self.new_bar()).set_position(done);
        }
    }

    fn new_bar(&self) -> indicatif::ProgressBar {
        let bar = indicatif::ProgressBar::new(self.total);
        let style = indicatif::ProgressStyle::with_template(
            "{msg} [{bar:40}] {pos}/{len} segments, {eta} left",
        );
        bar.set_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()));
        bar.with_message(self.what.to_owned())
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
            self.has_bar.store(false, Ordering::Relaxed);
        }
    }
}
