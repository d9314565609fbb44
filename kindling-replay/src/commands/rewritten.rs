//! What the commands share that write a capture: where it goes, and how large it came out.

use std::io::{self, Write};

use crate::{
    cli::{CommonArgs, Unused, UsageError},
    output::Target,
    render::units,
};

/// Refuses a command line without `-o`: a capture is not for a terminal.
pub(super) fn needs_output(command: &str, common: &CommonArgs) -> Result<(), UsageError> {
    match common.output.output {
        Some(_) => Ok(()),
        None => Err(UsageError(format!(
            "{command} needs -o FILE (`-o -` is standard output)"
        ))),
    }
}

/// Refuses a selection where all of the capture is meant, and options of answers that are no capture.
pub(super) fn takes_all(command: &str, common: &CommonArgs) -> Result<(), UsageError> {
    let why = format!("{command} takes the whole capture; a part of it: kindling-replay cut");
    common.refuse(&Unused::SELECTION, &why)?;
    let why = format!("{command} writes a capture");
    common.refuse(&[Unused::Format, Unused::Top, Unused::Stats], &why)
}

/// How many bytes were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    written_bytes: u64,
}

impl Sizes {
    /// Writes to `target` and counts.
    pub(super) fn of_write(
        target: &Target,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut written_bytes = 0;
        target.write(|out| {
            let mut counted = Counted { out, bytes: 0 };
            fill(&mut counted)?;
            written_bytes = counted.bytes;
            Ok(())
        })?;
        Ok(Self { written_bytes })
    }

    /// Tells on standard error what became of so many bytes.
    pub(super) fn tell(self, before_bytes: u64) {
        let saved = 100.0 - self.written_bytes as f64 * 100.0 / before_bytes.max(1) as f64;
        eprintln!(
            "kindling-replay: {} instead of {}: {saved:.1} % less",
            units::bytes(self.written_bytes),
            units::bytes(before_bytes)
        );
    }
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut (dyn Write + Send),
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.out.write(data)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
