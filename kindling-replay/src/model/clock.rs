//! The capture's clocks: `ts` to wall time and back.

use kindling_format::header::Moment;

/// Readings of all clocks at several moments, by rising `ts`.
#[derive(Debug, Clone, Default)]
pub struct ClockMap {
    readings: Vec<Moment>,
}

impl ClockMap {
    /// A map from these readings, in any order.
    pub fn new(mut readings: Vec<Moment>) -> Self {
        readings.retain(|reading| reading.realtime_ns != 0);
        readings.sort_by_key(|reading| (reading.monotonic_ns, reading.realtime_ns));
        Self { readings }
    }

    /// Wall time in nanoseconds since the Unix epoch, by the latest reading not after `ts`; `None`
    /// if the capture has no readings.
    pub fn wall_ns(&self, ts: i64) -> Option<i64> {
        let after = self
            .readings
            .partition_point(|reading| reading.monotonic_ns <= ts);
        let reading = self.readings.get(after.saturating_sub(1))?;
        Some(
            reading
                .realtime_ns
                .saturating_add(ts.saturating_sub(reading.monotonic_ns)),
        )
    }

    /// The `ts` of a wall time, by the latest reading whose wall time is not after it. Where the
    /// wall clock was set back, a wall time is there twice: this is the later one.
    pub fn ts_of_wall(&self, wall_ns: i64) -> i64 {
        let before = self
            .readings
            .iter()
            .rev()
            .find(|reading| reading.realtime_ns <= wall_ns);
        match before.or(self.readings.first()) {
            Some(reading) => reading
                .monotonic_ns
                .saturating_add(wall_ns.saturating_sub(reading.realtime_ns)),
            None => 0,
        }
    }

    /// Wall time as RFC 3339 in UTC; `None` if the capture has no readings.
    pub fn wall(&self, ts: i64) -> Option<String> {
        let wall = jiff::Timestamp::from_nanosecond(self.wall_ns(ts)?.into()).ok()?;
        Some(format!("{wall:.6}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_step_counts_from_the_reading_after_it() {
        let reading = |monotonic_ns, realtime_ns| Moment {
            monotonic_ns,
            realtime_ns,
            boottime_ns: 0,
        };
        let clock = ClockMap::new(vec![reading(200, 5_000), reading(100, 1_000)]);
        assert_eq!(clock.wall_ns(150), Some(1_050));
        assert_eq!(clock.wall_ns(50), Some(950));
        assert_eq!(clock.wall_ns(201), Some(5_001));
        assert_eq!(clock.ts_of_wall(1_050), 150);
        assert_eq!(clock.ts_of_wall(5_001), 201);
        assert_eq!(clock.ts_of_wall(950), 50);
        assert_eq!(ClockMap::default().wall(7), None);
    }
}
