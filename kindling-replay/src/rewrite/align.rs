//! How far the clocks of two hosts are apart, by what crossed between them: bytes are not received
//! before they were sent.

use std::collections::BTreeMap;

use kindling_format::{
    Capture,
    schema::{Direction, File, FileKind, Payload, Tls},
};

use crate::model::connection::{Tuple, mirrored, tuple};

/// What the shift of the second clock can be, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    least: i64,
    most: i64,
    /// Connections of which both ends were seen.
    connections: usize,
}

/// The bounds that the connections between two captures set. A damaged member sets none.
pub(super) fn bounds(first: &Capture, second: &Capture) -> Bounds {
    let (ours, theirs) = (Ends::of(first), Ends::of(second));
    let mut bounds = Bounds {
        least: i64::MIN,
        most: i64::MAX,
        connections: 0,
    };
    for (tuple, our) in &ours.by_tuple {
        let Some(their) = theirs.by_tuple.get(&mirrored(tuple.clone())) else {
            continue;
        };
        bounds.connections += 1;
        // Sent here, received there: sent <= received + shift.
        if let (Some(sent), Some(received)) = (our.sent, their.received) {
            bounds.least = bounds.least.max(sent.saturating_sub(received));
        }
        // Sent there, received here: sent + shift <= received.
        if let (Some(sent), Some(received)) = (their.sent, our.received) {
            bounds.most = bounds.most.min(received.saturating_sub(sent));
        }
    }
    bounds
}

impl Bounds {
    /// The shift within the bounds that is nearest to the one by wall time; their middle, if wall
    /// time is outside of them. Bounds that contradict each other are not believed.
    pub(super) fn nearest(self, by_wall: i64) -> i64 {
        let within = self.least <= by_wall && by_wall <= self.most;
        match (self.least, self.most) {
            _ if within || self.least > self.most => by_wall,
            (i64::MIN, most) => most,
            (least, i64::MAX) => least,
            (least, most) => least + (most.saturating_sub(least)) / 2,
        }
    }

    /// What was done, in words.
    pub(super) fn describe(self, by_wall: i64, shift: i64) -> String {
        use crate::render::units::duration;
        let width = match (self.least, self.most) {
            (i64::MIN, _) | (_, i64::MAX) => String::new(),
            (least, most) => format!(
                ", known to {} by {} connections between the hosts",
                duration(most.saturating_sub(least).max(0)),
                self.connections
            ),
        };
        match shift.saturating_sub(by_wall) {
            0 => format!("clock aligned by wall time{width}"),
            moved => format!(
                "clock aligned by wall time and moved by {}{width}",
                duration(moved)
            ),
        }
    }
}

/// When the first bytes went each way through one end of a connection.
#[derive(Default, Clone, Copy)]
struct End {
    sent: Option<i64>,
    received: Option<i64>,
}

/// The ends of connections with other hosts, by addresses.
#[derive(Default)]
struct Ends {
    by_tuple: BTreeMap<Tuple, End>,
}

impl Ends {
    fn of(capture: &Capture) -> Self {
        let mut tuples: BTreeMap<u32, Tuple> = BTreeMap::new();
        let mut ends: BTreeMap<u32, End> = BTreeMap::new();
        for segment in capture.segments() {
            let files = capture.read::<File>(segment).into_iter();
            for file in files.flat_map(|rows| rows.iter().collect::<Vec<_>>()) {
                if file.kind == FileKind::Tcp
                    && let Some(tuple) = tuple(&file)
                {
                    tuples.insert(file.id, tuple);
                }
            }
            let wanted = ["ts", "dur", "file", "direction", "offset", "tls"];
            let payloads = capture
                .read_columns::<Payload>(segment, Some(&wanted))
                .into_iter();
            for row in payloads.flat_map(|rows| rows.iter().collect::<Vec<_>>()) {
                if row.offset == 0 && row.tls == Tls::No {
                    let end = ends.entry(row.file).or_default();
                    match row.direction {
                        Direction::Out => end.sent = Some(row.ts),
                        Direction::In => end.received = Some(row.ts.saturating_add(row.dur)),
                    }
                }
            }
        }
        // Addresses that two connections had in turn tell nothing.
        let mut uses: BTreeMap<Tuple, (usize, End)> = BTreeMap::new();
        for (file, tuple) in tuples {
            let end = ends.get(&file).copied().unwrap_or_default();
            let (count, known) = uses.entry(tuple).or_default();
            (*count, *known) = (*count + 1, end);
        }
        let once = uses.into_iter().filter(|(_, (count, _))| *count == 1);
        Self {
            by_tuple: once.map(|(tuple, (_, end))| (tuple, end)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crossed_corrects_the_wall_clock() {
        let bounds = |least, most| Bounds {
            least,
            most,
            connections: 1,
        };
        let cases = [
            (bounds(i64::MIN, i64::MAX), 7, 7),
            (bounds(-10, 10), 7, 7),
            (bounds(-10, 10), 70, 0),
            (bounds(100, 120), 70, 110),
            (bounds(100, i64::MAX), 70, 100),
            (bounds(i64::MIN, 50), 70, 50),
            (bounds(10, -10), 70, 70),
        ];
        for (bounds, by_wall, expect) in cases {
            assert_eq!(bounds.nearest(by_wall), expect, "{bounds:?} {by_wall}");
        }
    }
}
