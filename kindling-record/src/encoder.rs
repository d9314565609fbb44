//! The thread that turns batches into segments, away from the rings. A [`Sink`] has them: files
//! that are written at once, or the memory of a flight recorder.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, anyhow};
use kindling_format::{
    EncodedMember, FormatError, Summary,
    header::Moment,
    schema::{
        Argument, Block, Clock, Fault, File, IoUring, Loss, Migration, Overhead, Payload, Process,
        Sample, Switch, Syscall, Table, Tcp, Thread, Wakeup,
    },
};

use crate::{
    batch::Batch,
    flight::{DumpOrder, SliceStart},
    part_writer::NewPart,
};

/// Batches that may wait: enough for a slow disk's hiccup, little enough to bound the memory. When
/// they are all full, the rings fill, and what finds no room there is counted.
const QUEUE: usize = 3;
/// Below interactive programs, so that a busy host's own work comes first.
const NICENESS: i32 = 10;
/// While batches wait for room in the queue: on a host without an idle moment the encoder would come
/// too late, and events that are lost are worse than time that is shared.
const HURRIED_NICENESS: i32 = -5;
/// How often a sink that waits for something else than messages looks for it.
const TEND: Duration = Duration::from_millis(20);

/// What a sink is told.
pub(crate) enum Message {
    Batch(Box<Batch>),
    /// The current file ends so, and another begins.
    Next(Box<(Summary, NewPart)>),
    /// What was told before is complete up to here; this repeats all that is known.
    Slice(Box<SliceStart>),
    /// What is in memory is to be written.
    Dump(Box<DumpOrder>),
}

/// Where segments go.
pub(crate) trait Sink: Send {
    /// Takes in what it is told.
    ///
    /// # Errors
    /// If the capture cannot be written.
    fn take(&mut self, message: Message) -> Result<()>;
    /// Takes in the names of code that are ready.
    ///
    /// # Errors
    /// As [`Sink::take`].
    fn tend(&mut self) -> Result<()>;
    /// Whether it waits for names of code.
    fn is_waiting(&self) -> bool;
    /// Bytes that it wrote, to all files.
    fn written_bytes(&self) -> u64;
    /// Bytes that it has in memory since its last slice began.
    fn slice_bytes(&self) -> u64;
    /// Whether there is no more room for what it writes: it takes no more.
    fn is_full(&self) -> bool;
    /// Ends what it writes.
    ///
    /// # Errors
    /// As [`Sink::take`].
    fn finish(self: Box<Self>, summary: Summary) -> Result<Written>;
}

/// The encoder, running.
pub(crate) struct Encoder {
    messages: Option<SyncSender<Message>>,
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Box<dyn Sink>>>,
}

/// What the encoder's thread tells while it runs.
#[derive(Debug, Default)]
struct Shared {
    written_bytes: AtomicU64,
    slice_bytes: AtomicU64,
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

    fn tell(&self, sink: &dyn Sink) {
        let (written, slice) = (sink.written_bytes(), sink.slice_bytes());
        self.written_bytes.store(written, Ordering::Relaxed);
        self.slice_bytes.store(slice, Ordering::Relaxed);
        self.is_full.store(sink.is_full(), Ordering::Relaxed);
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
    /// Begins to wait for batches.
    pub(crate) fn start(mut sink: Box<dyn Sink>) -> Self {
        let shared = Arc::new(Shared::default());
        shared.tell(&*sink);
        let (messages, waiting) = sync_channel(QUEUE);
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            of_thread.tid.store(tid, Ordering::Relaxed);
            set_niceness(tid, NICENESS);
            while let Some(message) = next(&waiting, &mut *sink, &of_thread)? {
                sink.take(message)?;
                sink.tend()?;
                of_thread.tell(&*sink);
                if sink.is_full() {
                    break;
                }
            }
            Ok(sink)
        });
        Self {
            messages: Some(messages),
            shared,
            thread,
        }
    }

    /// Hands over a batch; waits if the queue is full. `false` if nothing can be written any more.
    pub(crate) fn send(&self, batch: Batch) -> bool {
        self.tell(Message::Batch(Box::new(batch)))
    }

    /// Tells the sink; waits and answers as [`Encoder::send`].
    pub(crate) fn tell(&self, message: Message) -> bool {
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

    /// Bytes written so far, to all files.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.shared.written_bytes.load(Ordering::Relaxed)
    }

    /// Bytes in memory since the last slice began.
    pub(crate) fn slice_bytes(&self) -> u64 {
        self.shared.slice_bytes.load(Ordering::Relaxed)
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
        let sink = self
            .thread
            .join()
            .map_err(|_| anyhow!("the encoder thread failed"))??;
        sink.finish(summary)
    }
}

/// The next message; `None` when there will be none.
fn next(
    messages: &Receiver<Message>,
    sink: &mut dyn Sink,
    shared: &Shared,
) -> Result<Option<Message>> {
    match messages.try_recv() {
        Ok(message) => return Ok(Some(message)),
        Err(TryRecvError::Disconnected) => return Ok(None),
        Err(TryRecvError::Empty) => shared.relax(),
    }
    while sink.is_waiting() {
        match messages.recv_timeout(TEND) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => sink.tend()?,
        }
    }
    Ok(messages.recv().ok())
}

/// The members of a segment, in the order of the file.
pub(crate) fn encode(batch: Batch) -> Result<Vec<EncodedMember>, FormatError> {
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
