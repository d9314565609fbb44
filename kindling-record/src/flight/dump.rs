//! One dump: a snapshot of the window as a capture of its own, written beside the recording.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, mpsc::Sender},
};

use anyhow::{Context, Result};
use kindling_format::{
    CaptureWriter, EncodedMember, Header, Summary,
    header::{Dump, Moment},
};

use super::{control::Reply, memory::Segment};
use crate::{
    batch::Batch,
    clocks,
    config::Destination,
    output::{self, Output},
};

/// A dump that is to be made.
pub(crate) struct DumpOrder {
    /// Of the recording; its start is not the dump's.
    pub(crate) header: Header,
    pub(crate) dump: Dump,
    /// When the dump is to begin, if that is in memory.
    pub(crate) from_ns: i64,
    pub(crate) end: Moment,
    /// Calls that threads are in, which go on: no later dump is to have them.
    pub(crate) open: Batch,
    /// How the started command ended.
    pub(crate) exit_status: Option<i32>,
    pub(crate) destination: Destination,
    /// The number that its name has if there is no such file.
    pub(crate) number: u32,
    /// Whether it is to be forced to the disk.
    pub(crate) syncs: bool,
    /// Who waits for it.
    pub(crate) reply: Option<Sender<Reply>>,
}

/// What came of a dump.
#[derive(Debug)]
pub(crate) struct DumpReport {
    pub(crate) dump: Dump,
    pub(crate) outcome: Result<WrittenDump, String>,
}

impl DumpReport {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.outcome
            .as_ref()
            .map_or(0, |written| written.size_bytes)
    }
}

/// A dump that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenDump {
    pub(crate) path: PathBuf,
    pub(crate) number: u32,
    pub(crate) size_bytes: u64,
    pub(crate) duration_ns: i64,
}

/// What a dump holds: its members are shared with the window, which goes on.
pub(super) struct Snapshot {
    /// When its first slice begins.
    pub(super) start: Moment,
    /// CPU time of the recorder since then.
    pub(super) cpu_ns: i64,
    /// What was known then.
    pub(super) state: Arc<Segment>,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) order: DumpOrder,
}

impl Snapshot {
    /// Writes the file, and answers who waits for it. A file that cannot be written whole is removed:
    /// the window is still in memory, and what it took on the disk is free again.
    pub(super) fn write(self) -> DumpReport {
        let outcome = self.write_file().map_err(|error| format!("{error:#}"));
        if let Some(reply) = &self.order.reply {
            let path = |written: &WrittenDump| {
                std::path::absolute(&written.path).unwrap_or_else(|_| written.path.clone())
            };
            // Whoever asked may have gone.
            let _ = reply.send(outcome.as_ref().map(path).map_err(String::clone));
        }
        DumpReport {
            dump: self.order.dump,
            outcome,
        }
    }

    fn write_file(&self) -> Result<WrittenDump> {
        let (path, number, output) = create(&self.order.destination, self.order.number)?;
        let start = self.start_of_dump();
        match self.write_to(output, start) {
            Ok(()) => Ok(WrittenDump {
                number,
                size_bytes: path.metadata().map_or(0, |metadata| metadata.len()),
                path,
                duration_ns: self.order.end.monotonic_ns - start.monotonic_ns,
            }),
            Err(error) => {
                output::discard(&Destination::File(path.clone()));
                Err(error.context(format!("cannot write {}", path.display())))
            }
        }
    }

    fn start_of_dump(&self) -> Moment {
        let by_ns = self.order.from_ns.saturating_sub(self.start.monotonic_ns);
        clocks::later(self.start, by_ns.max(0))
    }

    fn write_to(&self, output: Output, start: Moment) -> Result<()> {
        let order = &self.order;
        let header = Header {
            start,
            dump: Some(order.dump.clone()),
            ..order.header.clone()
        };
        let mut writer = CaptureWriter::new(output, &header)?;
        let mut lost = BTreeMap::new();
        let segments = std::iter::once(&self.state).chain(&self.segments);
        for (number, segment) in (0..).zip(segments) {
            for member in &segment.members {
                if is_over(member, start) {
                    continue;
                }
                writer.append(number, member)?;
                if member.table == "losses" {
                    add(&mut lost, &segment.lost);
                }
            }
        }
        let summary = Summary {
            end: order.end,
            reason: format!("dump: {}", order.dump.trigger),
            rows: BTreeMap::new(),
            lost,
            exit_status: order.exit_status,
            recorder_cpu_ns: self.cpu_ns,
        };
        let output = writer.finish(&summary)?;
        if order.syncs {
            output.sync().context("cannot force it to the disk")?;
        }
        Ok(())
    }
}

fn add(sum: &mut BTreeMap<String, u64>, lost: &BTreeMap<String, u64>) {
    for (table, count) in lost {
        *sum.entry(table.clone()).or_insert(0) += count;
    }
}

/// Whether nothing in the dump needs a member: all of it was over before the dump begins, and it
/// tells no state. Of a thread that does not move, the last switch is from before the start.
fn is_over(member: &EncodedMember, start: Moment) -> bool {
    let tells_state = matches!(
        &*member.table,
        "clock" | "processes" | "threads" | "files" | "switches" | "wakeups"
    );
    let until = member.extent.span.map(|(_, until)| until);
    !tells_state && until.is_some_and(|until| until < start.monotonic_ns)
}

/// Creates the file, under the first number from `number` on that is free.
fn create(destination: &Destination, mut number: u32) -> Result<(PathBuf, u32, Output)> {
    loop {
        let Destination::File(path) = destination.dump(number) else {
            anyhow::bail!("a dump is a file");
        };
        match output::create_new(&path) {
            Ok(output) => return Ok((path, number, output)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < u32::MAX => {
                number += 1;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot write {}", path.display()));
            }
        }
    }
}
