//! What happened to each thread lately, for facts whose counterpart comes a segment or more later.

use std::collections::{BTreeMap, VecDeque};

/// Events of a segment by thread, each list in the order of time.
pub type ByThread<T> = BTreeMap<u32, Vec<(i64, T)>>;

/// The events of the last few segments, and of each thread the last one from before those. Memory
/// follows the segments that are kept and the threads, not the capture.
#[derive(Debug)]
pub struct Recent<T> {
    keep: usize,
    segments: VecDeque<ByThread<T>>,
    older: BTreeMap<u32, (i64, T)>,
}

impl<T: Copy> Recent<T> {
    /// Keeps the events of so many segments.
    pub fn new(keep: usize) -> Self {
        Self {
            keep,
            segments: VecDeque::new(),
            older: BTreeMap::new(),
        }
    }

    /// Takes the events of the next segment, in any order.
    pub fn push(&mut self, mut events: ByThread<T>) {
        // Stable: events of one moment keep the order in which they were written.
        events
            .values_mut()
            .for_each(|list| list.sort_by_key(|(ts, _)| *ts));
        self.segments.push_back(events);
        while self.segments.len() > self.keep {
            let oldest = self.segments.pop_front().unwrap_or_default();
            for (tid, list) in oldest {
                let known = self.older.get(&tid).map_or(i64::MIN, |(ts, _)| *ts);
                let last = list.last().filter(|(ts, _)| *ts >= known);
                last.into_iter().for_each(|last| {
                    self.older.insert(tid, *last);
                });
            }
        }
    }

    /// The thread's last event from `from` up to and including `to`.
    pub fn last(&self, tid: u32, from: i64, to: i64) -> Option<(i64, T)> {
        let lists = self.segments.iter().filter_map(|segment| segment.get(&tid));
        let kept = lists.filter_map(|list| {
            let after = list.partition_point(|(ts, _)| *ts <= to);
            list.get(after.checked_sub(1)?).copied()
        });
        let older = self.older.get(&tid).copied();
        kept.chain(older)
            .filter(|(ts, _)| (from..=to).contains(ts))
            .max_by_key(|(ts, _)| *ts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_is_found_across_segments() {
        let mut recent = Recent::new(2);
        recent.push([(1, vec![(10, 'a'), (5, 'b')])].into());
        recent.push([(1, vec![(30, 'c')])].into());
        assert_eq!(recent.last(1, 0, 29), Some((10, 'a')));
        assert_eq!(recent.last(1, 0, 9), Some((5, 'b')));
        recent.push([(1, vec![(20, 'd')])].into());
        // Of the first segment only the last event is left.
        assert_eq!(recent.last(1, 0, 9), None);
        assert_eq!(recent.last(1, 0, 19), Some((10, 'a')));
        assert_eq!(recent.last(1, 0, 99), Some((30, 'c')));
        assert_eq!(recent.last(1, 11, 25), Some((20, 'd')));
        assert_eq!(recent.last(2, 0, 99), None);
    }
}
