//! When scheduler events were lost, so that nothing is claimed to be known there.

use kindling_format::schema::{Loss, Switch, Table, Wakeup};

use crate::{context::Context, scan};

/// The spans in which switches or wakeups were lost.
#[derive(Debug, Clone, Default)]
pub struct LossMap {
    switches: Vec<LossSpan>,
    wakeups: Vec<LossSpan>,
}

#[derive(Debug, Clone, Copy)]
struct LossSpan {
    start: i64,
    end: i64,
    /// `None` if it may have been any.
    cpu: Option<u16>,
}

impl LossMap {
    /// Reads the losses of the whole capture.
    pub fn load(context: &Context) -> Self {
        let mut rows = Vec::new();
        scan::segments(
            context,
            "reading losses",
            |segment| segment.rows::<Loss>().iter().collect::<Vec<_>>(),
            |some| rows.extend(some),
        );
        Self::new(rows)
    }

    /// The spans of these rows.
    pub fn new(rows: Vec<Loss>) -> Self {
        let mut map = Self::default();
        for row in rows {
            let span = LossSpan {
                start: row.ts,
                end: row.end_ts,
                cpu: row.cpu,
            };
            match row.source.as_str() {
                Switch::NAME => map.switches.push(span),
                Wakeup::NAME => map.wakeups.push(span),
                _ => {}
            }
        }
        map.switches.sort_by_key(|span| (span.start, span.end));
        map.wakeups.sort_by_key(|span| (span.start, span.end));
        map
    }

    /// The parts of `start..end` in which a switch may have been lost: of this CPU, or of any.
    pub fn switch_gaps(&self, start: i64, end: i64, cpu: Option<u16>) -> Vec<(i64, i64)> {
        let of_cpu = |span: &&LossSpan| match (span.cpu, cpu) {
            (Some(lost), Some(cpu)) => lost == cpu,
            _ => true,
        };
        let began = self.switches.partition_point(|span| span.start < end);
        let spans = self.switches.iter().take(began).filter(of_cpu);
        let spans = spans.filter(|span| span.end > start);
        let mut gaps: Vec<(i64, i64)> = Vec::new();
        for span in spans {
            let (from, to) = (span.start.max(start), span.end.min(end));
            match gaps.last_mut() {
                Some((_, last)) if *last >= from => *last = to.max(*last),
                _ => gaps.push((from, to)),
            }
        }
        gaps
    }

    /// The first moment of `start..end` from which on a wakeup may have been lost.
    pub fn first_wakeup_gap(&self, start: i64, end: i64) -> Option<i64> {
        let spans = self
            .wakeups
            .iter()
            .filter(|span| span.end > start && span.start < end);
        spans.map(|span| span.start.max(start)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_clipped_joined_and_by_cpu() {
        let loss = |ts, end_ts, cpu, source: &str| Loss {
            ts,
            end_ts,
            cpu,
            source: source.into(),
            ..Loss::default()
        };
        let map = LossMap::new(vec![
            loss(10, 20, Some(0), "switches"),
            loss(15, 30, None, "switches"),
            loss(50, 60, Some(1), "switches"),
            loss(40, 45, None, "wakeups"),
            loss(0, 99, None, "samples"),
        ]);
        assert_eq!(map.switch_gaps(0, 100, None), [(10, 30), (50, 60)]);
        assert_eq!(map.switch_gaps(0, 100, Some(1)), [(15, 30), (50, 60)]);
        assert_eq!(map.switch_gaps(12, 18, Some(0)), [(12, 18)]);
        assert_eq!(map.switch_gaps(30, 50, None), []);
        assert_eq!(map.first_wakeup_gap(42, 50), Some(42));
        assert_eq!(map.first_wakeup_gap(0, 40), None);
    }
}
