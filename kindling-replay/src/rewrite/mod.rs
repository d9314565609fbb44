//! Captures made of captures: the rows of some segments are read, changed or left out, gathered, and
//! written again. Memory follows the segment that is gathered, not the file.

mod align;
mod compact;
mod cut;
mod doubles;
mod left_out;
mod merge;
mod needs;
mod remap;
mod tables;

pub use compact::compact;
pub use cut::cut;
pub use left_out::LeftOut;
pub use merge::{Input, MergeError, Merged, merge};

use kindling_format::{Capture, Completion, Summary, header::Moment, schema::Clock};

/// The capture's summary; one that says so if the recorder did not write it.
fn summary(capture: &Capture) -> Summary {
    match capture.completion() {
        Completion::Finished(summary) => summary.clone(),
        Completion::Unfinished { .. } => Summary {
            end: last_moment(capture),
            reason: "unfinished".into(),
            ..Summary::default()
        },
    }
}

/// The last reading of the clocks.
fn last_moment(capture: &Capture) -> Moment {
    let clock = |segment| capture.read::<Clock>(segment).ok();
    let rows = capture.segments().filter_map(clock);
    let last = rows.filter_map(|rows| rows.iter().last()).last();
    last.map_or(capture.header().start, |row| Moment {
        monotonic_ns: row.ts,
        boottime_ns: row.boottime_ns,
        realtime_ns: row.realtime_ns,
    })
}
