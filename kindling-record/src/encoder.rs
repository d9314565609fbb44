//! The thread that turns batches into segments, away from the rings. A [`Sink`] has them: files
//! that are written at once, or the memory of a flight recorder.

use std::{
    cell::Cell,
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
    Effort, EncodedMember, FormatError, Summary,
    header::Moment,
    schema::{
        Argument, Block, Clock, Fault, File, IoUring, Loss, Migration, Overhead, Payload, Process,
        Sample, Switch, Syscall, Table, Tcp, Thread, Wakeup, Watch,
    },
};

use crate::{
    batch::Batch,
    flight::{DumpOrder, SliceStart},
    part_writer::NewPart,
    scheduling::{self, Class},
};

/// Batches that may wait: enough for a slow disk's hiccup, little enough to bound the memory. When
/// they are all full, the rings fill, and what finds no room there is counted.
const QUEUE: usize = 3;
/// Batches that may wait to be filled again: their memory is there, and the caches may know it.
const SPARES: usize = 2;
/// While no batch was finished for a while, or batches wait for room in the queue: on a host without an idle
/// moment the encoder would come too late, and events that are lost are worse than time that is shared.
const HURRIED: Class = Class::Usual(-5);
/// How long a batch may wait for an idle moment: what is not written yet is lost if the recorder is killed.
const LATE_NS: i64 = 50_000_000;
/// How often a sink that waits for something else than messages looks for it.
const TEND: Duration = Duration::from_millis(20);

enum Message {
    Batch(Box<Batch>),
    Order(Order),
}

/// What a sink is told between batches.
pub(crate) enum Order {
    /// The current file ends so, and another begins.
    Next(Box<(Summary, NewPart)>),
    /// What was told before is complete up to here; this repeats all that is known.
    Slice(Box<SliceStart>),
    /// What is in memory is to be written.
    Dump(Box<DumpOrder>),
}

/// Where segments go.
pub(crate) trait Sink: Send {
    /// Encodes a batch, which is empty then.
    ///
    /// # Errors
    /// If the capture cannot be written.
    fn batch(&mut self, batch: &mut Batch) -> Result<()>;
    /// Takes in what else it is told.
    ///
    /// # Errors
    /// As [`Sink::batch`].
    fn take(&mut self, order: Order) -> Result<()>;
    /// Takes in the names of code that are ready.
    ///
    /// # Errors
    /// As [`Sink::batch`].
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
    /// As [`Sink::batch`].
    fn finish(self: Box<Self>, summary: Summary) -> Result<Written>;
}

/// The encoder, running.
pub(crate) struct Encoder {
    messages: Option<SyncSender<Message>>,
    /// Batches that were encoded.
    spares: Receiver<Box<Batch>>,
    shared: Arc<Shared>,
    /// Messages that were handed over.
    sent: Cell<u64>,
    /// How many were done when that was last seen to change, and when.
    progress: Cell<(u64, i64)>,
    thread: JoinHandle<Result<Box<dyn Sink>>>,
}

/// What the encoder's thread tells while it runs.
#[derive(Debug, Default)]
struct Shared {
    written_bytes: AtomicU64,
    slice_bytes: AtomicU64,
    is_full: AtomicBool,
    /// Messages that were dealt with.
    done: AtomicU64,
    /// The thread's id; 0 until it runs.
    tid: AtomicI32,
    is_hurried: AtomicBool,
}

impl Shared {
    fn hurry(&self) {
        if !self.is_hurried.swap(true, Ordering::Relaxed) {
            scheduling::set(self.tid.load(Ordering::Relaxed), HURRIED);
        }
    }

    fn relax(&self) {
        if self.is_hurried.swap(false, Ordering::Relaxed) {
            scheduling::set(self.tid.load(Ordering::Relaxed), Class::Idle);
        }
    }

    fn tell(&self, sink: &dyn Sink) {
        let (written, slice) = (sink.written_bytes(), sink.slice_bytes());
        self.written_bytes.store(written, Ordering::Relaxed);
        self.slice_bytes.store(slice, Ordering::Relaxed);
        self.is_full.store(sink.is_full(), Ordering::Relaxed);
    }
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
        let (emptied, spares) = sync_channel(SPARES);
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let tid = scheduling::own_tid();
            of_thread.tid.store(tid, Ordering::Relaxed);
            scheduling::set(tid, Class::Idle);
            while let Some(message) = next(&waiting, &mut *sink, &of_thread)? {
                match message {
                    Message::Batch(mut batch) => {
                        sink.batch(&mut batch)?;
                        // Nobody has to take it.
                        let _ = emptied.try_send(batch);
                    }
                    Message::Order(order) => sink.take(order)?,
                }
                sink.tend()?;
                of_thread.tell(&*sink);
                of_thread.done.fetch_add(1, Ordering::Relaxed);
                if sink.is_full() {
                    break;
                }
            }
            Ok(sink)
        });
        Self {
            messages: Some(messages),
            spares,
            shared,
            sent: Cell::default(),
            progress: Cell::default(),
            thread,
        }
    }

    /// An empty batch.
    pub(crate) fn spare(&self) -> Box<Batch> {
        self.spares.try_recv().unwrap_or_default()
    }

    /// Hands over a batch; waits if the queue is full. `false` if nothing can be written any more.
    pub(crate) fn batch(&self, batch: Box<Batch>) -> bool {
        self.send(Message::Batch(batch))
    }

    /// Tells the sink; waits and answers as [`Encoder::batch`].
    pub(crate) fn tell(&self, order: Order) -> bool {
        self.send(Message::Order(order))
    }

    fn send(&self, message: Message) -> bool {
        let Some(messages) = &self.messages else {
            return false;
        };
        self.sent.set(self.sent.get() + 1);
        match messages.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(message)) => {
                self.shared.hurry();
                messages.send(message).is_ok()
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Has it make haste if what it was given waits for long already.
    pub(crate) fn look(&self, now_ns: i64) {
        let done = self.shared.done.load(Ordering::Relaxed);
        let (done_before, since_ns) = self.progress.get();
        if done == self.sent.get() || done != done_before {
            self.progress.set((done, now_ns));
        } else if now_ns - since_ns > LATE_NS {
            self.shared.hurry();
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
        self.shared.hurry();
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

/// The members of a segment, in the order of the file, of a batch that is empty then.
pub(crate) fn encode(batch: &mut Batch) -> Result<Vec<EncodedMember>, FormatError> {
    batch.lost.clear();
    batch.record_bytes = 0;
    batch.cut_at = None;
    Ok(vec![
        member::<Clock>(&mut batch.clock)?,
        member::<Process>(&mut batch.processes)?,
        member::<Thread>(&mut batch.threads)?,
        member::<File>(&mut batch.files)?,
        member::<Watch>(&mut batch.watches)?,
        member::<Syscall>(&mut batch.syscalls)?,
        member::<Argument>(&mut batch.arguments)?,
        member::<Payload>(&mut batch.payloads)?,
        member::<IoUring>(&mut batch.io_uring)?,
        member::<Tcp>(&mut batch.tcp)?,
        member::<Block>(&mut batch.block)?,
        member::<Fault>(&mut batch.faults)?,
        member::<Switch>(&mut batch.switches)?,
        member::<Migration>(&mut batch.migrations)?,
        member::<Wakeup>(&mut batch.wakeups)?,
        member::<Sample>(&mut batch.samples)?,
        member::<Loss>(&mut batch.losses)?,
        member::<Overhead>(&mut batch.overhead)?,
    ])
}

fn member<T: Table>(columns: &mut T::Columns) -> Result<EncodedMember, FormatError> {
    T::encode_with(columns, Effort::Record)
}
