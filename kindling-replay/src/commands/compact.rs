//! `compact`: the same rows in fewer bytes.

use anyhow::Context as _;

use crate::{
    Outcome,
    cli::{CommonArgs, UsageError},
    context::open_capture,
    output::Target,
    render::units,
    rewrite,
};

/// What can be typed after `compact`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Small segments are put together and compressed with more effort than a recorder may spend. Every row
is kept; the result is a capture like any other.

Examples:
  kindling-replay compact web.kndl -o web-small.kndl")]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: CommonArgs,
}

/// Runs `compact`.
///
/// # Errors
/// If the capture cannot be read, a member is damaged, or the result not be written.
pub fn run(args: &Args) -> anyhow::Result<Outcome> {
    let (file, output) = (&args.common.file, args.common.output.output.as_deref());
    if output.is_none() {
        return Err(UsageError("compact needs -o FILE (`-o -` is standard output)".into()).into());
    }
    let target = Target::new(output, file)?;
    let capture = open_capture(file)?;
    let mut written_bytes = 0;
    target.write(|out| {
        let mut counted = Counted { out, bytes: 0 };
        rewrite::compact(&capture, &mut counted)
            .with_context(|| format!("cannot compact {}", file.display()))?;
        written_bytes = counted.bytes;
        Ok(())
    })?;
    let before = capture.size_bytes();
    let saved = 100.0 - written_bytes as f64 * 100.0 / before.max(1) as f64;
    eprintln!(
        "kindling-replay: {} instead of {}: {saved:.1} % less",
        units::bytes(written_bytes),
        units::bytes(before)
    );
    Ok(match capture.summary() {
        Some(_) => Outcome::Done,
        None => Outcome::Incomplete,
    })
}

/// Counts what is written.
struct Counted<'a> {
    out: &'a mut dyn std::io::Write,
    bytes: u64,
}

impl std::io::Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(data)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
