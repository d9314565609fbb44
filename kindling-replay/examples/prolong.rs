//! Writes a capture in which the samples of another come again and again, one time after the other, as if it had been
//! recorded for as much longer. `make bench` measures `flame` on it: so many samples take a quarter of an hour to record.
//!
//! usage: `prolong CAPTURE TIMES NEW`

use std::{fs::File, io::BufWriter, path::Path};

use anyhow::Context as _;
use kindling_format::{
    Capture, CaptureWriter, Rows, Summary,
    schema::{Frame, Process, Sample, SampleColumns, Stack, Symbol, Table, Thread},
};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, times, new] = args.as_slice() else {
        anyhow::bail!("usage: prolong CAPTURE TIMES NEW");
    };
    let times: i64 = times.parse().context("TIMES is no number")?;
    let capture = Capture::open(Path::new(from))?;
    let summary = capture.summary().cloned().unwrap_or_default();
    let start = capture.header().start.monotonic_ns;
    let length = summary.end.monotonic_ns - start;
    let segments: Vec<u32> = capture.segments().collect();
    let mut writer = CaptureWriter::new(BufWriter::new(File::create(new)?), capture.header())?;
    let mut number = 0;
    for again in 0..times {
        for &segment in &segments {
            if again == 0 {
                copy::<Process>(&capture, segment, number, &mut writer)?;
                copy::<Thread>(&capture, segment, number, &mut writer)?;
                copy::<Symbol>(&capture, segment, number, &mut writer)?;
                copy::<Frame>(&capture, segment, number, &mut writer)?;
                copy::<Stack>(&capture, segment, number, &mut writer)?;
            }
            let samples: Rows<Sample> = capture.read(segment)?;
            let mut later = Sample::columns();
            for row in samples.iter() {
                let ts = row.ts + again * length;
                SampleColumns::push(&mut later, Sample { ts, ..row });
            }
            writer.append(number, Sample::encode(later)?)?;
            number += 1;
        }
    }
    let mut end = summary.end;
    for moment in [
        &mut end.monotonic_ns,
        &mut end.boottime_ns,
        &mut end.realtime_ns,
    ] {
        *moment += (times - 1) * length;
    }
    let reason = "prolonged".to_owned();
    writer.finish(&Summary {
        end,
        reason,
        ..Summary::default()
    })?;
    Ok(())
}

/// Copies the rows of a table as they are.
fn copy<T: Table>(
    capture: &Capture,
    segment: u32,
    number: u32,
    writer: &mut CaptureWriter<BufWriter<File>>,
) -> anyhow::Result<()> {
    let member = capture
        .members(segment)
        .find(|(table, _)| *table == T::NAME);
    if let Some((table, member)) = member {
        let bytes = capture.member_bytes(&member.entry)?;
        let extent = T::extent(&capture.read::<T>(segment)?);
        let table = table.to_owned().into();
        writer.append(
            number,
            kindling_format::EncodedMember {
                table,
                extent,
                bytes: bytes.to_vec(),
            },
        )?;
    }
    Ok(())
}
