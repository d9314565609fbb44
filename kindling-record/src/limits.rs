//! What a recording may cost: when it ends for its size, and what is left out when it takes too much
//! of the machine.

/// The bounds that were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    /// Bytes of the capture at which recording ends.
    pub(crate) max_size: Option<u64>,
    /// Records per second.
    pub(crate) max_rate: Option<u64>,
    /// CPU time of the recorder's own threads, in percent of one CPU.
    pub(crate) max_cpu: Option<f64>,
}

/// How often the cost is looked at: long enough to be measured, short enough to react to a storm.
pub(crate) const INTERVAL_NS: i64 = 100_000_000;
/// The last level: `enum shed` in `maps.bpf.h`.
const HIGHEST: u32 = 4;
/// Something comes back when the cost was below this part of the limit
const LOW: f64 = 0.7;
/// for so many intervals.
const QUIET_INTERVALS: u32 = 10;

/// What is left out, class by class: payloads first, then stacks and samples, then syscalls, then
/// switches and wakeups. Lives of processes and threads always stay.
#[derive(Debug)]
pub(crate) struct Shedder {
    limits: Limits,
    level: u32,
    quiet: u32,
    last_ts: i64,
    last_cpu_ns: i64,
    last_records: u64,
    cause: &'static str,
}

impl Shedder {
    pub(crate) fn new(limits: Limits, now_ns: i64, cpu_ns: i64) -> Self {
        Self {
            limits,
            level: 0,
            quiet: 0,
            last_ts: now_ns,
            last_cpu_ns: cpu_ns,
            last_records: 0,
            cause: "",
        }
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, now_ns: i64) -> bool {
        let is_asked = self.limits.max_rate.is_some() || self.limits.max_cpu.is_some();
        is_asked && now_ns - self.last_ts >= INTERVAL_NS
    }

    /// Why something is left out; empty if nothing ever was.
    pub(crate) fn cause(&self) -> &'static str {
        self.cause
    }

    /// Looks at what was used since the last time; the new level, if it is another.
    pub(crate) fn look(&mut self, now_ns: i64, cpu_ns: i64, records: u64) -> Option<u32> {
        let elapsed = (now_ns - self.last_ts).max(1) as f64;
        let cpu = (cpu_ns - self.last_cpu_ns) as f64 * 100.0 / elapsed;
        let rate = (records - self.last_records) as f64 * 1e9 / elapsed;
        (self.last_ts, self.last_cpu_ns, self.last_records) = (now_ns, cpu_ns, records);
        let uses = [
            (self.limits.max_cpu.map(|limit| cpu / limit), "max-cpu"),
            (
                self.limits.max_rate.map(|limit| rate / limit as f64),
                "max-rate",
            ),
        ];
        let (used, cause) = uses
            .into_iter()
            .filter_map(|(used, cause)| Some((used?, cause)))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        self.quiet = if used < LOW { self.quiet + 1 } else { 0 };
        let level = if used > 1.0 {
            self.cause = cause;
            (self.level + 1).min(HIGHEST)
        } else if self.quiet >= QUIET_INTERVALS {
            self.quiet = 0;
            self.level.saturating_sub(1)
        } else {
            self.level
        };
        let changed = level != self.level;
        self.level = level;
        changed.then_some(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// The levels after intervals of so many records each.
    fn levels(limit: u64, records: &[u64]) -> Vec<u32> {
        let limits = Limits {
            max_rate: Some(limit),
            ..Limits::default()
        };
        let mut shedder = Shedder::new(limits, 0, 0);
        let mut sum = 0;
        let mut level = 0;
        let each = records.iter().zip(1..).map(|(count, at)| {
            sum += count;
            level = shedder.look(at * SECOND, 0, sum).unwrap_or(level);
            level
        });
        each.collect()
    }

    #[test]
    fn more_is_left_out_as_long_as_it_is_too_much() {
        assert_eq!(
            levels(100, &[50, 101, 100, 200, 300, 400, 500]),
            [0, 1, 1, 2, 3, 4, 4]
        );
    }

    #[test]
    fn what_was_left_out_comes_back_when_it_is_quiet_for_long() {
        let mut records = vec![200];
        records.extend([10; 10]);
        assert_eq!(levels(100, &records)[9..], [1, 0]);
        // Just below the limit is not quiet: it would come and go.
        records = vec![200];
        records.extend([80; 30]);
        assert_eq!(levels(100, &records).last(), Some(&1));
    }

    #[test]
    fn the_dearer_of_two_limits_is_the_cause() {
        let limits = Limits {
            max_rate: Some(1000),
            max_cpu: Some(2.0),
            ..Limits::default()
        };
        let mut shedder = Shedder::new(limits, 0, 0);
        assert_eq!(shedder.look(SECOND, SECOND / 10, 100), Some(1));
        assert_eq!(shedder.cause(), "max-cpu");
    }
}
