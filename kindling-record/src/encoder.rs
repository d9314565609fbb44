//! The thread that turns batches into segments and writes them, away from the rings.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use kindling_format::{
    CaptureWriter, EncodedMember, FormatError, Header, Summary,
    header::Moment,
    schema::{
        Argument, Block, Clock, Fault, File, IoUring, Loss, Migration, Overhead, Payload, Process,
        Sample, Switch, Syscall, Table, Tcp, Thread, Wakeup,
    },
};

use crate::{
    batch::Batch,
    namer::{Named, Namer},
    output::Output,
};

/// Batches that may wait: enough for a slow disk's hiccup, little enough to bound the memory. When
/// they are all full, the rings fill, and what finds no room there is counted.
const QUEUE: usize = 3;
/// Below interactive programs, so that a busy host's own work comes first.
const NICENESS: i32 = 10;
/// While batches wait for room in the queue: on a host without an idle moment the encoder would come
/// too late, and events that are lost are worse than time that is shared.
const HURRIED_NICENESS: i32 = -5;

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

enum Message {
    Batch(Box<Batch>),
    /// The current part ends so, and another begins.
    Next(Box<(Summary, NewPart)>),
}

/// The encoder, running.
pub(crate) struct Encoder {
    messages: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Parts>>,
}

/// What the encoder's thread tells while it runs.
#[derive(Debug, Default)]
struct Shared {
    written_bytes: AtomicU64,
    is_full: AtomicBool,
    /// The thread's id; 0 until it runs.
    tid: AtomicI32,
    is_hurried: AtomicBool,
}

impl Shared {
    fn hurry(&self) {
        if !self.is_hurried.swap(true, Ordering::Relaxed) {
            set_niceness(self.tid.load(Ordering::Relaxed), HURRIED_NICENESS);
        }
    }

    fn relax(&self) {
        if self.is_hurried.swap(false, Ordering::Relaxed) {
            set_niceness(self.tid.load(Ordering::Relaxed), NICENESS);
        }
    }
}

/// Threads have a niceness of their own; not being allowed to change it is no failure.
fn set_niceness(tid: i32, niceness: i32) {
    let tid = rustix::process::Pid::from_raw(tid);
    let _ = rustix::process::setpriority_process(tid, niceness);
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) size_bytes: u64,
    /// If the disk was full: up to when events were written.
    pub(crate) full_at: Option<Moment>,
}

impl Encoder {
    /// Writes the header and begins to wait for batches.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub(crate) fn start(first: NewPart, options: WriteOptions) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let start = first.header.start;
        let mut parts = Parts {
            open: VecDeque::new(),
            namer: Namer::start(options.has_parts),
            options,
            synced: Instant::now(),
            last_cut: start,
            ended_bytes: 0,
            shared: Arc::clone(&shared),
        };
        parts.begin(first)?;
        parts.tell();
        let (messages, waiting) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || {
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            parts.shared.tid.store(tid, Ordering::Relaxed);
            set_niceness(tid, NICENESS);
            parts.write_all(&waiting)?;
            Ok(parts)
        });
        Ok(Self {
            messages: Some(messages),
            shared,
            thread,
        })
    }

    /// Hands over a batch; waits if the queue is full. `false` if nothing can be written any more.
    pub(crate) fn send(&self, batch: Batch) -> bool {
        self.message(Message::Batch(Box::new(batch)))
    }

    /// Ends the current part with `summary` and begins another; `false` likewise.
    pub(crate) fn next_part(&self, summary: Summary, next: NewPart) -> bool {
        self.message(Message::Next(Box::new((summary, next))))
    }

    fn message(&self, message: Message) -> bool {
        let Some(messages) = &self.messages else {
            return false;
        };
        match messages.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(message)) => {
                self.shared.hurry();
                messages.send(message).is_ok()
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Bytes written so far, to all parts.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.shared.written_bytes.load(Ordering::Relaxed)
    }

    /// Whether the encoder stopped because the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Relaxed)
    }

    /// Writes what is left, and the end of the capture.
    ///
    /// # Errors
    /// What went wrong while writing, now or earlier.
    pub(crate) fn finish(mut self, summary: Summary) -> Result<Written> {
        self.messages = None;
        let parts = self
            .thread
            .join()
            .map_err(|_| anyhow!("the encoder thread failed"))??;
        let is_full = self.shared.is_full.load(Ordering::Relaxed);
        let full_at = is_full.then_some(parts.last_cut);
        let summary = Summary {
            end: full_at.unwrap_or(summary.end),
            ..summary
        };
        let size_bytes = parts.finish(summary)?;
        Ok(Written {
            size_bytes,
            full_at,
        })
    }
}

/// The parts that are open: the last one takes the batches, those before it wait for the names of
/// the code that theirs mention.
struct Parts {
    open: VecDeque<Part>,
    namer: Namer,
    options: WriteOptions,
    synced: Instant,
    /// When the last batch was cut that is written whole.
    last_cut: Moment,
    /// Bytes of the parts that are finished.
    ended_bytes: u64,
    shared: Arc<Shared>,
}

impl Parts {
    fn write_all(&mut self, messages: &Receiver<Message>) -> Result<()> {
        loop {
            let message = match messages.try_recv() {
                Ok(message) => message,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {
                    self.shared.relax();
                    match messages.recv() {
                        Ok(message) => message,
                        Err(_) => return Ok(()),
                    }
                }
            };
            let written = match message {
                Message::Batch(batch) => self.write(*batch),
                Message::Next(next) => {
                    let (summary, next) = *next;
                    self.namer.next_part();
                    if let Some(part) = self.open.back_mut() {
                        part.summary = Some(summary);
                    }
                    self.begin(next)
                }
            };
            match written.and_then(|()| self.write_named()) {
                Err(error) if is_full(&error) => {
                    self.shared.is_full.store(true, Ordering::Relaxed);
                    return self.make_room();
                }
                other => other?,
            }
            self.tell();
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

    fn write(&mut self, mut batch: Batch) -> Result<()> {
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

    /// Writes the names that are ready.
    fn write_named(&mut self) -> Result<()> {
        while let Some(named) = self.namer.ready()? {
            self.take_named(named)?;
        }
        Ok(())
    }

    fn take_named(&mut self, named: Named) -> Result<()> {
        if named.begins_part && self.open.len() > 1 {
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
        }
        Ok(())
    }

    /// Ends all parts. Returns their bytes in all.
    fn finish(mut self, summary: Summary) -> Result<u64> {
        if let Some(part) = self.open.back_mut() {
            part.summary = Some(summary);
        }
        let is_full_already = self.shared.is_full.load(Ordering::Relaxed);
        for named in self.namer.finish()? {
            match self.take_named(named) {
                // Names of code are worth less than a finished capture.
                Err(error) if is_full_already && is_full(&error) => self.make_room()?,
                other => other?,
            }
        }
        while !self.open.is_empty() {
            self.finish_first()?;
        }
        Ok(self.ended_bytes)
    }

    fn tell(&self) {
        let open = self.open.iter().map(|part| part.writer.written_bytes());
        let written_bytes = self.ended_bytes + open.sum::<u64>();
        self.shared
            .written_bytes
            .store(written_bytes, Ordering::Relaxed);
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
        for member in members {
            self.writer
                .append(self.segment, member)
                .context(CANNOT_WRITE)?;
        }
        if self.writer.written_bytes() > before {
            self.segment += 1;
            self.writer.flush().context(CANNOT_WRITE)?;
            self.reserve()?;
        }
        Ok(())
    }

    /// Keeps room for the end of the capture. Without it the disk is full: nothing more is written.
    fn reserve(&self) -> Result<()> {
        let writer = &self.writer;
        let reserved = writer
            .get_ref()
            .reserve(writer.written_bytes(), writer.end_bytes());
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

/// The members of a segment, in the order of the file.
fn encode(batch: Batch) -> Result<Vec<EncodedMember>, FormatError> {
    Ok(vec![
        Clock::encode(batch.clock)?,
        Process::encode(batch.processes)?,
        Thread::encode(batch.threads)?,
        File::encode(batch.files)?,
        Syscall::encode(batch.syscalls)?,
        Argument::encode(batch.arguments)?,
        Payload::encode(batch.payloads)?,
        IoUring::encode(batch.io_uring)?,
        Tcp::encode(batch.tcp)?,
        Block::encode(batch.block)?,
        Fault::encode(batch.faults)?,
        Switch::encode(batch.switches)?,
        Migration::encode(batch.migrations)?,
        Wakeup::encode(batch.wakeups)?,
        Sample::encode(batch.samples)?,
        Loss::encode(batch.losses)?,
        Overhead::encode(batch.overhead)?,
    ])
}
