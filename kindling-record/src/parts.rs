//! When a recording goes on in another file, and which files there are.

use std::time::Duration;

use anyhow::Result;
use kindling_format::{Header, header::Moment};

use crate::{
    cli::units::Extent,
    config::{Destination, RecordConfig},
    header::of_pieces,
    output::{self, Output},
    part_writer::NewPart,
};

/// The files of a recording, one or many.
#[derive(Debug)]
pub(crate) struct PartPlan {
    destination: Destination,
    rotate: Vec<Extent>,
    keep: Option<u32>,
    header: Header,
    /// The part that is being written.
    number: u32,
    /// When it began, and how much all parts had by then.
    pub(crate) start: Moment,
    start_bytes: u64,
}

impl PartPlan {
    /// The plan for a recording with this header.
    pub(crate) fn new(config: &RecordConfig, mut header: Header) -> Self {
        let rotates = !config.rotate.is_empty();
        if rotates {
            header = of_pieces(header);
        }
        Self {
            destination: config.destination.clone(),
            rotate: config.rotate.clone(),
            keep: config.keep,
            start: header.start,
            header,
            number: 0,
            start_bytes: 0,
        }
    }

    /// Whether there may be more than one.
    pub(crate) fn has_parts(&self) -> bool {
        !self.rotate.is_empty()
    }

    /// Whether the current part is long enough.
    pub(crate) fn is_due(&self, now_ns: i64, written_bytes: u64) -> bool {
        self.rotate.iter().any(|rotation| match rotation {
            Extent::Bytes(bytes) => written_bytes.saturating_sub(self.start_bytes) >= *bytes,
            Extent::Time(time) => {
                let lasted = u64::try_from(now_ns - self.start.monotonic_ns).unwrap_or(0);
                Duration::from_nanos(lasted) >= *time
            }
        })
    }

    /// The next file, beginning at `start`; the oldest one goes if too many are kept.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn next(&mut self, start: Moment, written_bytes: u64) -> Result<NewPart> {
        self.number += 1;
        self.start = start;
        self.start_bytes = written_bytes;
        if let Some(oldest) = self.keep.and_then(|keep| self.number.checked_sub(keep)) {
            output::discard(&self.destination.part(oldest));
        }
        self.open()
    }

    /// Opens the file of the current part.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn open(&self) -> Result<NewPart> {
        Ok(NewPart {
            output: Output::open(&self.current())?,
            header: Header {
                start: self.start,
                part: self.number,
                ..self.header.clone()
            },
        })
    }

    /// Removes the file in which nothing was recorded.
    pub(crate) fn discard(&self) {
        output::discard(&self.current());
    }

    /// How many files there are, those included that were not kept.
    pub(crate) fn count(&self) -> u32 {
        self.number + 1
    }

    fn current(&self) -> Destination {
        match self.has_parts() {
            true => self.destination.part(self.number),
            false => self.destination.clone(),
        }
    }
}
