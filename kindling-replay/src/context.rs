//! What every command starts from: the open capture, the selection, where the answer goes, and the
//! trouble met on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    num::NonZeroUsize,
    path::Path,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
};

use anyhow::Context as _;
use kindling_format::{
    Capture, Completion, FormatError,
    schema::{Clock, Loss, Sample, Switch, Syscall, Wakeup},
};
use serde::Serialize;

use crate::{
    Outcome,
    cli::{CommonArgs, Format, UsageError},
    model::clock::ClockMap,
    output::Target,
    render::json,
    scan::Segment,
    selection::{Selection, Window},
    stats::Counters,
    warning::Warning,
};

/// An open capture with everything that all commands share.
#[derive(Debug)]
pub struct Context {
    /// The capture.
    pub capture: Capture,
    /// Its file name, without directories.
    pub file_name: String,
    /// From the first to the last moment of the recording.
    pub span: Window,
    /// The capture's clocks.
    pub clock: ClockMap,
    /// What the command looks at.
    pub selection: Selection,
    /// The format of the answer.
    pub format: Format,
    /// The most rows of a list; `None` for all.
    pub top: Option<usize>,
    /// Where the answer goes.
    pub target: Target,
    /// The threads that decode.
    pub pool: rayon::ThreadPool,
    /// What was read so far.
    pub counters: Counters,
    /// Whether a progress bar is up.
    pub has_progress_bar: AtomicBool,
    show_stats: bool,
    warnings: Mutex<BTreeSet<Warning>>,
}

impl Context {
    /// Opens the capture for a command that answers in one of `formats`, the first by default.
    ///
    /// # Errors
    /// One line that says what is wrong with the file and what to do, or a [`UsageError`].
    pub fn open(args: &CommonArgs, formats: &[Format]) -> anyhow::Result<Self> {
        let format = choose_format(args, formats)?;
        let target = Target::new(args.output.output.as_deref(), &args.file)?;
        let capture = open_capture(&args.file)?;
        Self::new(capture, args, format, target)
    }

    fn new(
        capture: Capture,
        args: &CommonArgs,
        format: Format,
        target: Target,
    ) -> anyhow::Result<Self> {
        let pool = worker_threads(args)?;
        let file_name = args
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let unknown = Window { from: 0, to: 0 };
        let mut context = Self {
            file_name,
            span: unknown,
            clock: ClockMap::default(),
            selection: Selection::new(&Default::default(), unknown, &ClockMap::default())?,
            format,
            top: args.output.top,
            target,
            pool,
            counters: Counters::new(),
            has_progress_bar: AtomicBool::new(false),
            show_stats: args.stats,
            warnings: Mutex::default(),
            capture,
        };
        if let Completion::Unfinished { tail_bytes } = *context.capture.completion() {
            context.warn(Warning::Unfinished { tail_bytes });
        }
        context.span = span(&context);
        context.clock = clock(&context);
        context.selection = Selection::new(&args.selection, context.span, &context.clock)?;
        context.warn_of_losses();
        Ok(context)
    }

    /// Notes trouble, to be shown once when the command ends.
    pub fn warn(&self, warning: Warning) {
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(warning);
    }

    /// Looks at another window of time than was asked for, with the losses of that one.
    pub fn select_window(&mut self, window: Window) {
        self.selection.window = window;
        self.selection.from_ns = self.offset_ns(window.from);
        self.selection.to_ns = self.offset_ns(window.to);
        let warnings = self.warnings.get_mut();
        let warnings = warnings.unwrap_or_else(PoisonError::into_inner);
        warnings.retain(|warning| !matches!(warning, Warning::Lost { .. }));
        self.warn_of_losses();
    }

    fn warn_of_losses(&self) {
        for (cause, tables) in lost(self) {
            self.warn(Warning::Lost { cause, tables });
        }
    }

    /// The trouble so far, in a fixed order.
    pub fn warnings(&self) -> Vec<Warning> {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.iter().cloned().collect()
    }

    /// Nanoseconds since the start of the capture: how reports speak of moments.
    pub fn offset_ns(&self, ts: i64) -> i64 {
        ts.saturating_sub(self.span.from)
    }

    /// How much of the truth an answer holds. Complete when the scans of the command are over.
    pub fn completeness(&self) -> Completeness {
        let warnings = self.warnings();
        let mut lost_by_table = BTreeMap::new();
        for warning in &warnings {
            if let Warning::Lost { tables, .. } = warning {
                for (table, count) in tables {
                    let lost: &mut u64 = lost_by_table.entry(table.clone()).or_default();
                    *lost = lost.saturating_add(*count);
                }
            }
        }
        let damaged = |w: &&Warning| matches!(w, Warning::DamagedMember { .. });
        Completeness {
            finished: matches!(self.capture.completion(), Completion::Finished(_)),
            lost: lost_by_table
                .values()
                .fold(0, |sum, &n| sum.saturating_add(n)),
            lost_by_table,
            damaged_members: warnings.iter().filter(damaged).count() as u64,
            warnings: warnings.iter().map(Warning::to_string).collect(),
        }
    }

    /// Writes an answer in any format; JSON is wrapped by [`Context::write_json`] instead.
    ///
    /// # Errors
    /// Those of `fill` and of the output.
    pub fn write(
        &self,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.target.write(fill)
    }

    /// Writes a report as JSON: one object with the capture, the selection, the completeness, and
    /// the report under the command's name.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write_json(&self, command: &str, report: &impl Serialize) -> anyhow::Result<()> {
        self.write(|out| json::envelope(out, self, command, report))
    }

    /// Bounds the rows of an answer in text where the user did not: what does not fit a screen is
    /// better asked for.
    pub fn limit_text(&mut self, rows: usize) {
        if self.format == Format::Text {
            self.top.get_or_insert(rows);
        }
    }

    /// Answers with a report that has a text and a JSON form, and ends the command.
    ///
    /// # Errors
    /// Those of the output.
    pub fn answer<R: Serialize>(
        &self,
        command: &str,
        report: &R,
        text: impl FnOnce(&mut dyn Write, &R) -> anyhow::Result<()>,
    ) -> anyhow::Result<Outcome> {
        match self.format {
            Format::Json => self.write_json(command, report)?,
            _ => self.write(|out| text(out, report))?,
        }
        Ok(self.finish())
    }

    /// Ends a command: shows the warnings on standard error and tells what the exit code says.
    pub fn finish(&self) -> Outcome {
        let warnings = self.warnings();
        for warning in &warnings {
            eprintln!("kindling-replay: warning: {warning}");
        }
        if self.show_stats {
            eprintln!("{}", self.counters.stats(&self.capture));
        }
        if warnings.iter().any(Warning::is_missing_data) {
            Outcome::Incomplete
        } else {
            Outcome::Done
        }
    }
}

/// How much of the truth an answer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Whether the recorder got to the end of the file.
    pub finished: bool,
    /// Events that did not arrive in the selected window.
    pub lost: u64,
    /// The same, by the table that misses their rows.
    pub lost_by_table: BTreeMap<String, u64>,
    /// Members that were to be read and could not.
    pub damaged_members: u64,
    /// All trouble in words.
    pub warnings: Vec<String>,
}

fn choose_format(args: &CommonArgs, formats: &[Format]) -> Result<Format, UsageError> {
    let by_name = args.output.output.as_deref().and_then(Format::of_path);
    let by_name = by_name.filter(|format| formats.contains(format));
    let default = formats.first().copied().unwrap_or(Format::Text);
    let format = args.output.format.or(by_name).unwrap_or(default);
    if formats.contains(&format) {
        return Ok(format);
    }
    let words: Vec<&str> = formats.iter().map(|format| format.word()).collect();
    let (word, words) = (format.word(), words.join(", "));
    Err(UsageError(format!(
        "this command has no format {word}: choose one of {words}"
    )))
}

/// The threads that decode, as many as `--jobs` says.
///
/// # Errors
/// If they cannot be started.
pub fn worker_threads(args: &CommonArgs) -> anyhow::Result<rayon::ThreadPool> {
    let jobs = args.jobs.map_or(0, NonZeroUsize::get);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build();
    pool.context("cannot start worker threads")
}

/// Opens a capture; the error is one line that says what to do next.
///
/// # Errors
/// If the file cannot be read, is no capture, is too new, or is damaged at its root.
pub fn open_capture(path: &Path) -> anyhow::Result<Capture> {
    Capture::open(path).map_err(|error| {
        let next = match &error {
            FormatError::NotACapture { .. } => "; kindling-record writes captures".to_owned(),
            error if error.is_damage() => format!(
                "; what is intact can be kept: kindling-replay salvage {} -o FIXED.kndl",
                path.display()
            ),
            _ => String::new(),
        };
        anyhow::anyhow!("cannot read {}: {error}{next}", path.display())
    })
}

/// From the first to the last moment of the recording: as header and summary say, else as the rows
/// do.
fn span(context: &Context) -> Window {
    let rows = || {
        let numbers: Vec<u32> = context.capture.segments().collect();
        let first = numbers
            .first()
            .into_iter()
            .filter_map(|&n| segment_span(context, n))
            .next();
        let last = numbers
            .iter()
            .rev()
            .find_map(|&number| segment_span(context, number));
        (first.map(|span| span.from), last.map(|span| span.to))
    };
    let start = context.capture.header().start.monotonic_ns;
    let end = context
        .capture
        .summary()
        .map_or(0, |summary| summary.end.monotonic_ns);
    let (start, end) = match (start, end) {
        (0, 0) => rows(),
        (0, end) => (rows().0, Some(end)),
        (start, 0) => (Some(start), rows().1),
        (start, end) => (Some(start), Some(end)),
    };
    let start = start.unwrap_or_default();
    Window {
        from: start,
        to: end.unwrap_or(start).max(start),
    }
}

fn segment_span(context: &Context, number: u32) -> Option<Window> {
    let segment = Segment::new(context, number);
    let mut span: Option<Window> = None;
    let mut add = |start: i64, end: i64| {
        let old = span.unwrap_or(Window {
            from: start,
            to: end,
        });
        span = Some(Window {
            from: old.from.min(start),
            to: old.to.max(end),
        });
    };
    let only_ts = Some(["ts"].as_slice());
    for row in segment.columns::<Syscall>(Some(&["ts", "dur"])).iter() {
        add(row.ts, row.ts.saturating_add(row.dur.unwrap_or(0)));
    }
    segment
        .columns::<Switch>(only_ts)
        .iter()
        .for_each(|row| add(row.ts, row.ts));
    segment
        .columns::<Wakeup>(only_ts)
        .iter()
        .for_each(|row| add(row.ts, row.ts));
    segment
        .columns::<Sample>(only_ts)
        .iter()
        .for_each(|row| add(row.ts, row.ts));
    segment
        .columns::<Clock>(only_ts)
        .iter()
        .for_each(|row| add(row.ts, row.ts));
    span
}

fn clock(context: &Context) -> ClockMap {
    let mut readings = vec![context.capture.header().start];
    for number in context.capture.segments() {
        let rows = Segment::new(context, number).rows::<Clock>();
        readings.extend(rows.iter().map(|row| kindling_format::header::Moment {
            monotonic_ns: row.ts,
            boottime_ns: row.boottime_ns,
            realtime_ns: row.realtime_ns,
        }));
    }
    ClockMap::new(readings)
}

/// Events lost in the selected window, by cause and table.
fn lost(context: &Context) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut lost: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for number in context.capture.segments() {
        let rows = Segment::new(context, number).rows_within::<Loss>(context.selection.window);
        for row in rows.iter() {
            if context.selection.window.overlaps(row.ts, row.end_ts) {
                let count = lost
                    .entry(row.cause)
                    .or_default()
                    .entry(row.source)
                    .or_default();
                *count = count.saturating_add(row.count);
            }
        }
    }
    lost
}
