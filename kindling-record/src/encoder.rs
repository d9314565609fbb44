//! The thread that turns batches into segments and writes them, away from the rings.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use kindling_format::{
    CaptureWriter, EncodedMember, FormatError, Header, Summary,
    schema::{
        Argument, Block, Clock, Fault, File, IoUring, Loss, Migration, Overhead, Payload, Process,
        Sample, Switch, Syscall, Table, Tcp, Thread, Wakeup,
    },
};

use crate::{
    batch::{Batch, Code},
    output::Output,
    symbols::Symbols,
};

/// Batches that may wait: enough for a slow disk's hiccup, little enough to bound the memory. When
/// they are all full, the rings fill, and what finds no room there is counted.
const QUEUE: usize = 4;
/// Below interactive programs, so that a busy host's own work comes first.
const NICENESS: i32 = 10;

/// The encoder, running.
pub(crate) struct Encoder {
    batches: Option<SyncSender<Batch>>,
    written_bytes: Arc<AtomicU64>,
    thread: JoinHandle<Result<CaptureWriter<Output>>>,
}

impl Encoder {
    /// Writes the header and begins to wait for batches.
    ///
    /// # Errors
    /// If the header cannot be written.
    pub(crate) fn start(output: Output, header: &Header, fsync: Option<Duration>) -> Result<Self> {
        let mut writer = CaptureWriter::new(output, header).context("cannot write the capture")?;
        writer.flush().context("cannot write the capture")?;
        let (batches, waiting) = sync_channel(QUEUE);
        let written_bytes = Arc::new(AtomicU64::new(writer.written_bytes()));
        let written = Arc::clone(&written_bytes);
        let thread = std::thread::spawn(move || {
            // Threads have a niceness of their own; not being allowed to change it is no failure.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            write_all(writer, &waiting, &written, fsync)
        });
        Ok(Self {
            batches: Some(batches),
            written_bytes,
            thread,
        })
    }

    /// Hands over a batch; waits if the queue is full. `false` if the encoder has failed.
    pub(crate) fn send(&self, batch: Batch) -> bool {
        self.batches
            .as_ref()
            .is_some_and(|batches| batches.send(batch).is_ok())
    }

    /// Bytes written so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Writes what is left, and the end of the capture. Returns its size in bytes.
    ///
    /// # Errors
    /// What went wrong while writing, now or earlier.
    pub(crate) fn finish(mut self, summary: &Summary) -> Result<u64> {
        self.batches = None;
        let writer = self
            .thread
            .join()
            .map_err(|_| anyhow!("the encoder thread failed"))??;
        let before = writer.written_bytes();
        writer
            .finish(summary)
            .context("cannot write the end of the capture")?;
        Ok(before)
    }
}

fn write_all(
    mut writer: CaptureWriter<Output>,
    batches: &Receiver<Batch>,
    written_bytes: &AtomicU64,
    fsync: Option<Duration>,
) -> Result<CaptureWriter<Output>> {
    let mut synced = Instant::now();
    let mut segment = 0;
    let namer = Namer::start();
    for mut batch in batches {
        namer.send(std::mem::take(&mut batch.code));
        for member in encode(batch)?.into_iter().chain(namer.ready()?) {
            writer
                .append(segment, member)
                .context("cannot write the capture")?;
        }
        segment += 1;
        writer.flush().context("cannot write the capture")?;
        if fsync.is_some_and(|interval| synced.elapsed() >= interval) {
            writer
                .get_ref()
                .sync()
                .context("cannot force the capture to the disk")?;
            synced = Instant::now();
        }
        written_bytes.store(writer.written_bytes(), Ordering::Relaxed);
    }
    for members in namer.finish()? {
        for member in members {
            writer
                .append(segment, member)
                .context("cannot write the capture")?;
        }
        segment += 1;
    }
    Ok(writer)
}

/// The thread that names code. Reading symbols takes seconds at times; events do not wait for it, so
/// the names of a segment's stacks come with a later one.
struct Namer {
    work: Sender<Code>,
    named: Receiver<Result<Vec<EncodedMember>, FormatError>>,
}

impl Namer {
    fn start() -> Self {
        let (work, waiting) = channel::<Code>();
        let (done, named) = channel();
        std::thread::spawn(move || {
            let mut symbols = Symbols::new();
            for code in waiting {
                if done.send(symbols.rows(code).encode()).is_err() {
                    return;
                }
            }
        });
        Self { work, named }
    }

    fn send(&self, code: Code) {
        // If the thread has failed, `ready` or `finish` say so: its results end.
        let _ = self.work.send(code);
    }

    /// The members of one earlier batch, if they are ready: each table once in a segment.
    fn ready(&self) -> Result<Vec<EncodedMember>> {
        match self.named.try_recv() {
            Ok(members) => Ok(members?),
            Err(TryRecvError::Empty) => Ok(Vec::new()),
            Err(TryRecvError::Disconnected) => Err(anyhow!("the thread that names code failed")),
        }
    }

    /// The members of all other batches.
    fn finish(self) -> Result<Vec<Vec<EncodedMember>>> {
        drop(self.work);
        Ok(self.named.into_iter().collect::<Result<_, _>>()?)
    }
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
