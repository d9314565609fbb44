//! What the recorder itself costs, measured while it records.

use std::fs;

use kindling_format::schema::Overhead;
use rustix::param::page_size;

use crate::bpf_cost::BpfSamples;

/// Measures from one reading to the next.
#[derive(Debug)]
pub(crate) struct CostMeter {
    last_ts: i64,
    last_cpu_ns: i64,
    last_records: u64,
    last_written_bytes: u64,
    most_ring_bytes: u64,
}

impl CostMeter {
    pub(crate) fn new(now_ns: i64) -> Self {
        Self {
            last_ts: now_ns,
            last_cpu_ns: cpu_ns(),
            last_records: 0,
            last_written_bytes: 0,
            most_ring_bytes: 0,
        }
    }

    /// Notes how many bytes waited in a ring.
    pub(crate) fn saw_ring(&mut self, bytes: u64) {
        self.most_ring_bytes = self.most_ring_bytes.max(bytes);
    }

    /// The cost since the last reading.
    pub(crate) fn read(
        &mut self,
        now_ns: i64,
        records: u64,
        written_bytes: u64,
        bpf: Option<BpfSamples>,
    ) -> Overhead {
        let cpu_ns = cpu_ns();
        let row = Overhead {
            ts: self.last_ts,
            dur: now_ns - self.last_ts,
            cpu_ns: cpu_ns - self.last_cpu_ns,
            bpf_ns: bpf.map(|bpf| bpf.found.ns as i64),
            bpf_runs: bpf.map(|bpf| bpf.found.runs),
            bpf_sampled_ns: bpf.map(|bpf| bpf.sampled_ns),
            records: records - self.last_records,
            ring_bytes: self.most_ring_bytes,
            rss_bytes: rss_bytes(),
            written_bytes: written_bytes - self.last_written_bytes,
        };
        *self = Self {
            last_ts: now_ns,
            last_cpu_ns: cpu_ns,
            last_records: records,
            last_written_bytes: written_bytes,
            most_ring_bytes: 0,
        };
        row
    }
}

/// CPU time of this process, all threads, user space and kernel.
pub(crate) fn cpu_ns() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn rss_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * page_size() as u64
}
