//! The slices that are in memory, encoded: old ones are forgotten, and a dump shares the others.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    thread::JoinHandle,
};

use anyhow::Result;
use kindling_format::{EncodedMember, Summary, header::Moment};

use super::{
    dump::{DumpOrder, DumpReport, Snapshot},
    plan::Window,
};
use crate::{
    batch::Batch,
    cost,
    encoder::{Order, Sink, Written, encode},
    namer::{Keep, Namer},
    scheduling::{self, Class},
    unwind_rules::UnwindRules,
};

/// What a member takes in memory beside its bytes: about that much for its name, what it covers and
/// the allocator.
const MEMBER_BYTES: u64 = 256;

/// A slice begins.
pub(crate) struct SliceStart {
    /// What is from before this moment may be forgotten.
    pub(crate) needed_ns: i64,
    pub(crate) start: Moment,
    /// All that is known of what is alive and open.
    pub(crate) state: Batch,
}

/// A segment that is ready to be written.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) members: Vec<EncodedMember>,
    /// What its table of losses comes to.
    pub(super) lost: BTreeMap<String, u64>,
}

impl Segment {
    fn of(batch: &mut Batch) -> Result<Self> {
        let lost = std::mem::take(&mut batch.lost);
        Ok(Self::of_members(encode(batch)?, lost))
    }

    /// Without empty members, and without room to grow: they stay for long.
    fn of_members(members: Vec<EncodedMember>, lost: BTreeMap<String, u64>) -> Self {
        let some = members.into_iter().filter(|member| member.extent.rows > 0);
        let members = some.map(|mut member| {
            member.bytes.shrink_to_fit();
            member
        });
        Self {
            members: members.collect(),
            lost,
        }
    }

    fn size_bytes(&self) -> u64 {
        let sizes = self.members.iter().map(|member| member.bytes.len() as u64);
        sizes.map(|size| size + MEMBER_BYTES).sum()
    }
}

/// A part of the window: what was known when it began, and what came then.
struct Slice {
    start: Moment,
    /// CPU time of the recorder when it began.
    cpu_ns: i64,
    state: Arc<Segment>,
    segments: Vec<Arc<Segment>>,
    size_bytes: u64,
}

impl Slice {
    fn begin(start: Moment, state: Segment) -> Self {
        Self {
            start,
            cpu_ns: cost::cpu_ns(),
            size_bytes: state.size_bytes(),
            state: Arc::new(state),
            segments: Vec::new(),
        }
    }

    fn append(&mut self, segment: &Arc<Segment>) {
        self.size_bytes += segment.size_bytes();
        self.segments.push(Arc::clone(segment));
    }
}

/// The window.
pub(crate) struct Memory {
    window: Window,
    slices: VecDeque<Slice>,
    /// What is from before this moment may be forgotten.
    needed_ns: i64,
    namer: Namer,
    /// Dumps that wait for the names of their code, in the order in which these come.
    waiting: VecDeque<Snapshot>,
    writers: Vec<JoinHandle<()>>,
    reports: Sender<DumpReport>,
    written_bytes: Arc<AtomicU64>,
}

impl Memory {
    /// Begins with an empty slice at `start`; `reports` tells of the dumps that are written.
    pub(crate) fn start(
        window: Window,
        start: Moment,
        reports: Sender<DumpReport>,
        rules: Option<UnwindRules>,
    ) -> Self {
        Self {
            window,
            slices: VecDeque::from([Slice::begin(start, Segment::default())]),
            needed_ns: start.monotonic_ns,
            namer: Namer::start(Keep::Only, rules),
            waiting: VecDeque::new(),
            writers: Vec::new(),
            reports,
            written_bytes: Arc::default(),
        }
    }

    /// Drops slices that the window does without.
    fn forget(&mut self) {
        let held: u64 = self.slices.iter().map(|slice| slice.size_bytes).sum();
        let mut held = held;
        while let Some(second) = self.slices.get(1) {
            let is_covered = second.start.monotonic_ns <= self.needed_ns;
            if !is_covered && held <= self.window.most_bytes() {
                break;
            }
            let first = self.slices.pop_front();
            held -= first.map_or(0, |slice| slice.size_bytes);
        }
    }

    /// Shares what is there with a dump, which then waits for the names of its code.
    fn snapshot(&mut self, mut order: DumpOrder) -> Result<()> {
        let Some(first) = self.slices.front() else {
            return Ok(());
        };
        let open = Segment::of(&mut order.open)?;
        let segments = self.slices.iter().flat_map(|slice| &slice.segments);
        let segments = segments.cloned().chain([Arc::new(open)]);
        self.waiting.push_back(Snapshot {
            start: first.start,
            cpu_ns: cost::cpu_ns() - first.cpu_ns,
            state: Arc::clone(&first.state),
            segments: segments.collect(),
            order,
        });
        self.namer.repeat();
        Ok(())
    }

    fn take_named(&mut self, members: Vec<EncodedMember>, is_repeat: bool) {
        let segment = Arc::new(Segment::of_members(members, BTreeMap::new()));
        if is_repeat {
            if let Some(mut snapshot) = self.waiting.pop_front() {
                snapshot.segments.push(segment);
                self.write(snapshot);
            }
            return;
        }
        // It is of code that was sent before any dump that waits was asked for.
        for snapshot in &mut self.waiting {
            snapshot.segments.push(Arc::clone(&segment));
        }
        if let Some(slice) = self.slices.back_mut() {
            slice.append(&segment);
        }
    }

    fn write(&mut self, snapshot: Snapshot) {
        let (reports, written) = (self.reports.clone(), Arc::clone(&self.written_bytes));
        self.writers.retain(|writer| !writer.is_finished());
        self.writers.push(std::thread::spawn(move || {
            scheduling::set(scheduling::own_tid(), Class::Batch);
            let report = snapshot.write();
            written.fetch_add(report.size_bytes(), Ordering::Relaxed);
            // The session may have ended meanwhile.
            let _ = reports.send(report);
        }));
    }
}

impl Sink for Memory {
    fn batch(&mut self, batch: &mut Batch) -> Result<()> {
        self.namer.send(std::mem::take(&mut batch.code));
        let segment = Arc::new(Segment::of(batch)?);
        if let Some(slice) = self.slices.back_mut() {
            slice.append(&segment);
        }
        self.forget();
        Ok(())
    }

    fn take(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Slice(mut begin) => {
                self.needed_ns = begin.needed_ns;
                let slice = Slice::begin(begin.start, Segment::of(&mut begin.state)?);
                self.slices.push_back(slice);
                self.forget();
            }
            Order::Dump(order) => self.snapshot(*order)?,
            // Only a recording in files is told so.
            Order::Next(_) => {}
        }
        Ok(())
    }

    fn tend(&mut self) -> Result<()> {
        while let Some(named) = self.namer.ready()? {
            self.take_named(named.members, named.is_repeat);
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    fn slice_bytes(&self) -> u64 {
        self.slices.back().map_or(0, |slice| slice.size_bytes)
    }

    fn is_full(&self) -> bool {
        false
    }

    fn finish(mut self: Box<Self>, _summary: Summary) -> Result<Written> {
        for named in self.namer.finish()? {
            self.take_named(named.members, named.is_repeat);
        }
        for writer in std::mem::take(&mut self.writers) {
            // One that failed has reported nothing, and the session says so.
            let _ = writer.join();
        }
        Ok(Written {
            size_bytes: self.written_bytes(),
            full_at: None,
        })
    }
}
