//! A recording that is written to files as it goes on, one or several one after another.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kindling_format::{CaptureWriter, EncodedMember, FormatError, Header, Summary, header::Moment};

use crate::{
    batch::Batch,
    encoder::{Order, Sink, Written, encode},
    namer::{Keep, Named, Namer},
    output::Output,
    unwind_rules::UnwindRules,
};

/// A capture that is about to be written: all of the recording, or the next piece of it.
pub(crate) struct NewPart {
    pub(crate) output: Output,
    pub(crate) header: Header,
}

/// How a recording is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    /// How often written bytes are forced to the disk.
    pub(crate) fsync: Option<Duration>,
    /// Whether there may be more parts than one: then each repeats the code of those before.
    pub(crate) has_parts: bool,
}

/// Writes parts as their batches come: the last one takes them, those before it wait for the names of
/// the code that theirs mention.
pub(crate) struct PartWriter {
    open: VecDeque<Part>,
    namer: Namer,
    options: WriteOptions,
    synced: Instant,
    /// When the last batch was cut that is written whole.
    last_cut: Moment,
    /// Bytes of the parts that are finished.
    ended_bytes: u64,
    is_full: bool,
}

impl Sink for PartWriter {
    fn batch(&mut self, batch: &mut Batch) -> Result<()> {
        let written = self.write(batch);
        self.unless_full(written)
    }

    fn take(&mut self, order: Order) -> Result<()> {
        let written = match order {
            Order::Next(next) => {
                let (summary, next) = *next;
                self.namer.repeat();
                if let Some(part) = self.open.back_mut() {
                    part.summary = Some(summary);
                }
                self.begin(next)
            }
            // Only a flight recorder is told so.
            Order::Slice(_) | Order::Dump(_) => Ok(()),
        };
        self.unless_full(written)
    }

    /// Writes the names that are ready.
    fn tend(&mut self) -> Result<()> {
        let mut written = Ok(());
        while written.is_ok()
            && !self.is_full
            && let Some(named) = self.namer.ready()?
        {
            written = self.take_named(named);
        }
        self.unless_full(written)
    }

    fn is_waiting(&self) -> bool {
        false
    }

    fn written_bytes(&self) -> u64 {
        let open = self.open.iter().map(|part| part.writer.written_bytes());
        self.ended_bytes + open.sum::<u64>()
    }

    fn slice_bytes(&self) -> u64 {
        0
    }

    fn is_full(&self) -> bool {
        self.is_full
    }

    fn finish(mut self: Box<Self>, summary: Summary) -> Result<Written> {
        let full_at = self.is_full.then_some(self.last_cut);
        let summary = Summary {
            end: full_at.unwrap_or(summary.end),
            ..summary
        };
        if let Some(part) = self.open.back_mut() {
            part.summary = Some(summary);
        }
        for named in self.namer.finish()? {
            match self.take_named(named) {
                // Names of code are worth less than a finished capture.
                Err(error) if self.is_full && is_full(&error) => self.make_room()?,
                other => other?,
            }
        }
        while !self.open.is_empty() {
            self.finish_first()?;
        }
        Ok(Written {
            size_bytes: self.ended_bytes,
            full_at,
        })
    }
}

impl PartWriter {
    /// Writes the first header.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) fn start(
        first: NewPart,
        options: WriteOptions,
        rules: Option<UnwindRules>,
    ) -> Result<Self> {
        let keep = match options.has_parts {
            true => Keep::Also,
            false => Keep::Nothing,
        };
        let mut writer = Self {
            open: VecDeque::new(),
            namer: Namer::start(keep, rules),
            options,
            synced: Instant::now(),
            last_cut: first.header.start,
            ended_bytes: 0,
            is_full: false,
        };
        writer.begin(first)?;
        Ok(writer)
    }

    /// A full disk is no failure: what fitted stays, and room for its end is made.
    fn unless_full(&mut self, written: Result<()>) -> Result<()> {
        match written {
            Err(error) if is_full(&error) => {
                self.is_full = true;
                self.make_room()
            }
            other => other,
        }
    }

    fn begin(&mut self, part: NewPart) -> Result<()> {
        let mut writer = CaptureWriter::new(part.output, &part.header).context(CANNOT_WRITE)?;
        writer.flush().context(CANNOT_WRITE)?;
        self.open.push_back(Part {
            writer,
            segment: 0,
            summary: None,
        });
        Ok(())
    }

    fn write(&mut self, batch: &mut Batch) -> Result<()> {
        self.namer.send(std::mem::take(&mut batch.code));
        let cut_at = batch.cut_at;
        let members = encode(batch)?;
        let Some(part) = self.open.back_mut() else {
            return Ok(());
        };
        part.append(members)?;
        let due = |interval| self.synced.elapsed() >= interval;
        if self.options.fsync.is_some_and(due) {
            let synced = part.writer.get_ref().sync();
            synced.context("cannot force the capture to the disk")?;
            self.synced = Instant::now();
        }
        self.last_cut = cut_at.unwrap_or(self.last_cut);
        Ok(())
    }

    fn take_named(&mut self, named: Named) -> Result<()> {
        if named.is_repeat && self.open.len() > 1 {
            self.finish_first()?;
        }
        match self.open.front_mut() {
            Some(part) => part.append(named.members),
            None => Ok(()),
        }
    }

    /// Finishes the oldest part, whose code is all named.
    fn finish_first(&mut self) -> Result<()> {
        let Some(Part {
            writer, summary, ..
        }) = self.open.pop_front()
        else {
            return Ok(());
        };
        self.ended_bytes += writer.written_bytes();
        let output = writer.finish(&summary.unwrap_or_default());
        let mut output = output.context("cannot write the end of the capture")?;
        output.end().context("cannot end the capture")?;
        if self.options.fsync.is_some() {
            output
                .sync()
                .context("cannot force the capture to the disk")?;
        }
        Ok(())
    }

    /// Cuts off what was not written whole, so that there is room for the ends of the captures.
    fn make_room(&mut self) -> Result<()> {
        for part in &mut self.open {
            let cut = part.writer.discard_partial(|output, len| output.cut(len));
            cut.context("cannot cut the capture to its whole members")?;
            // The cut sets free what was kept for the end. Where nothing can be kept, the end is tried.
            let _ = part.reserve(&[]);
        }
        Ok(())
    }
}

const CANNOT_WRITE: &str = "cannot write the capture";

/// A capture that is being written.
struct Part {
    writer: CaptureWriter<Output>,
    segment: u32,
    /// How it ended, if it did.
    summary: Option<Summary>,
}

impl Part {
    /// Writes a segment, unless it has no rows.
    fn append(&mut self, members: Vec<EncodedMember>) -> Result<()> {
        let before = self.writer.written_bytes();
        self.reserve(&members)?;
        for member in members {
            self.writer
                .append(self.segment, member)
                .context(CANNOT_WRITE)?;
        }
        if self.writer.written_bytes() > before {
            self.segment += 1;
            self.writer.flush().context(CANNOT_WRITE)?;
        }
        Ok(())
    }

    /// Keeps room for `members` and the end of the capture behind them. If there is none, the disk is
    /// full: they are not begun, and what was kept for the end is still there.
    fn reserve(&self, members: &[EncodedMember]) -> Result<()> {
        let writer = &self.writer;
        let reserved = writer
            .get_ref()
            .reserve(writer.written_bytes(), writer.end_bytes(members));
        reserved.map_err(FormatError::Io).context(CANNOT_WRITE)
    }
}

/// Whether an error says that there is no more room where the capture goes.
fn is_full(error: &anyhow::Error) -> bool {
    let mut kinds = error
        .chain()
        .filter_map(|cause| match cause.downcast_ref() {
            Some(FormatError::Io(error)) => Some(error.kind()),
            _ => None,
        });
    kinds.any(|kind| {
        matches!(
            kind,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        )
    })
}
