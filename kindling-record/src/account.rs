//! What a recording costs and misses, accounted for while it goes on.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use kindling_format::{Summary, header::Moment, schema::Loss};

use crate::{
    bpf_cost::BpfMeter,
    cost::{self, CostMeter},
    drain::Drain,
    probes::Probes,
};

/// How often the recorder looks at its own cost and at what was lost.
const INTERVAL_NS: i64 = 1_000_000_000;

/// The cost and the losses of the current file, and the losses of those before it.
pub(crate) struct Account {
    meter: CostMeter,
    bpf: BpfMeter,
    drain: Rc<RefCell<Drain>>,
    lost: BTreeMap<String, u64>,
    lost_before: BTreeMap<String, u64>,
    /// CPU time of the recorder when the current file began.
    cpu_before_ns: i64,
    last_ns: i64,
}

impl Account {
    /// An account that begins now; what it finds goes into the batches of `drain`.
    pub(crate) fn new(now_ns: i64, drain: &Rc<RefCell<Drain>>) -> Self {
        Self {
            meter: CostMeter::new(now_ns),
            bpf: BpfMeter::new(now_ns),
            drain: Rc::clone(drain),
            lost: BTreeMap::new(),
            lost_before: BTreeMap::new(),
            cpu_before_ns: 0,
            last_ns: now_ns,
        }
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, now_ns: i64) -> bool {
        now_ns - self.last_ns >= INTERVAL_NS
    }

    /// Notes how many bytes waited in a ring.
    pub(crate) fn saw_ring(&mut self, bytes: u64) {
        self.meter.saw_ring(bytes);
    }

    /// Begins or ends a sample of what BPF programs cost, if it is time.
    pub(crate) fn sample_bpf(&mut self, now_ns: i64, probes: &mut Probes<'_>) {
        self.bpf.look(now_ns, probes);
    }

    /// Ends the last sample: from now on the programs do nothing.
    pub(crate) fn end_bpf_sample(&mut self, now_ns: i64, probes: &mut Probes<'_>) {
        self.bpf.end(now_ns, probes);
    }

    /// Looks at what was lost, shed for `cause`, and used since the last time.
    pub(crate) fn read(
        &mut self,
        now_ns: i64,
        probes: &mut Probes<'_>,
        cause: &str,
        written_bytes: u64,
    ) {
        for (cpu, kind, count) in probes.newly_shed() {
            self.lose(Some(cpu), kind.table(), cause, count, now_ns);
        }
        for (cpu, kind, count) in probes.new_losses() {
            self.lose(Some(cpu), kind.table(), "ring full", count, now_ns);
        }
        for (table, count) in probes.newly_skipped() {
            self.lose(None, table, "program entered again", count, now_ns);
        }
        let malformed = std::mem::take(&mut self.drain.borrow_mut().malformed);
        self.lose(None, "unknown", "malformed record", malformed, now_ns);
        let mut drain = self.drain.borrow_mut();
        let bpf = self.bpf.take();
        let cost = self.meter.read(now_ns, drain.records, written_bytes, bpf);
        drain.batch.overhead.push(cost);
        self.last_ns = now_ns;
    }

    /// Notes that `count` records of a source were lost since the last reading.
    pub(crate) fn lose(
        &mut self,
        cpu: Option<u16>,
        source: &str,
        cause: &str,
        count: u64,
        now_ns: i64,
    ) {
        if count == 0 {
            return;
        }
        *self.lost.entry(source.to_owned()).or_insert(0) += count;
        let batch = &mut self.drain.borrow_mut().batch;
        *batch.lost.entry(source.to_owned()).or_insert(0) += count;
        batch.losses.push(Loss {
            ts: self.last_ns,
            end_ts: now_ns,
            cpu,
            source: source.to_owned(),
            cause: cause.to_owned(),
            count,
        });
    }

    /// How the current file ends.
    pub(crate) fn summary(&self, end: Moment, reason: &str, exit_status: Option<i32>) -> Summary {
        Summary {
            end,
            reason: reason.to_owned(),
            rows: BTreeMap::new(),
            lost: self.lost.clone(),
            exit_status,
            recorder_cpu_ns: cost::cpu_ns() - self.cpu_before_ns,
        }
    }

    /// Begins the account of another file.
    pub(crate) fn next_part(&mut self) {
        self.lost_before = self.all_lost();
        self.lost.clear();
        self.cpu_before_ns = cost::cpu_ns();
    }

    /// What all files lost, by source.
    pub(crate) fn all_lost(&self) -> BTreeMap<String, u64> {
        let mut all = self.lost_before.clone();
        for (source, count) in &self.lost {
            *all.entry(source.clone()).or_insert(0) += count;
        }
        all
    }
}
