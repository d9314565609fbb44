//! What the recorder's BPF programs cost, from samples: for a moment, less than twice a second, each
//! run of a program times itself. Timing all of them would add two readings of the clock to each.

use crate::probes::{BpfRuns, Probes};

/// How long a sample is at least; it ends with the round of the session in which this is over.
const SAMPLE_NS: i64 = 10_000_000;
/// From the start of one sample to that of the next. Shorter than a second, so that each second has
/// one, and not a part of it, so that what happens once a second is met at all its stages.
const INTERVAL_NS: i64 = 618_034_000;

/// What samples found that have ended since the last reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BpfSamples {
    /// How long they lasted.
    pub(crate) sampled_ns: i64,
    /// What ran meanwhile, on all CPUs.
    pub(crate) found: BpfRuns,
}

/// Takes the samples.
#[derive(Debug)]
pub(crate) struct BpfMeter {
    next_ns: i64,
    /// When the current sample began.
    since_ns: Option<i64>,
    /// What all samples found up to the last one that has ended.
    before: BpfRuns,
    samples: BpfSamples,
}

impl BpfMeter {
    pub(crate) fn new(now_ns: i64) -> Self {
        Self {
            next_ns: now_ns,
            since_ns: None,
            before: BpfRuns::default(),
            samples: BpfSamples::default(),
        }
    }

    /// Begins a sample, or ends the current one, if it is time.
    pub(crate) fn look(&mut self, now_ns: i64, probes: &mut Probes<'_>) {
        match self.since_ns {
            Some(since_ns) if now_ns - since_ns >= SAMPLE_NS => self.end(now_ns, probes),
            None if now_ns >= self.next_ns => {
                self.next_ns = now_ns + INTERVAL_NS;
                self.since_ns = Some(now_ns);
                probes.measure(true);
            }
            _ => {}
        }
    }

    /// Ends the current sample, if there is one.
    pub(crate) fn end(&mut self, now_ns: i64, probes: &mut Probes<'_>) {
        let Some(since_ns) = self.since_ns.take() else {
            return;
        };
        probes.measure(false);
        let found = probes.measured();
        self.samples.sampled_ns += now_ns - since_ns;
        self.samples.found.runs += found.runs - self.before.runs;
        self.samples.found.ns += found.ns - self.before.ns;
        self.before = found;
    }

    /// What was found since the last time; `None` if no sample has ended.
    pub(crate) fn take(&mut self) -> Option<BpfSamples> {
        let samples = std::mem::take(&mut self.samples);
        (samples.sampled_ns > 0).then_some(samples)
    }
}
