//! Several captures as one: parts of a recording, recordings of one host one after another, or of
//! several hosts.
//!
//! The clock of the capture that begins first is the clock of the result. Captures of the same boot
//! share it already; others are aligned by wall time, and then by what crossed between them
//! ([`super::align`]).

use std::{io::Write, sync::Arc};

use kindling_format::{
    Capture, CaptureWriter, Effort, FormatError, Header, Summary,
    header::{HostPart, Moment},
    inspect,
    schema::{File, Frame, Loss, Stack, Switch, Symbol, Syscall, Table, Wakeup},
};

use super::{
    align,
    doubles::{calls_over, target_threads},
    last_moment,
    left_out::LeftOut,
    remap::Remap,
    summary,
    tables::Tables,
};
use crate::model::{clock::ClockMap, host::PID_BITS};

/// Ids that no row is known of can be named beyond the greatest that has one: their rows were lost.
const ID_MARGIN: u32 = 1 << 16;
/// Hosts get CPU numbers in steps of this, or of the next power of two that they have.
const CPU_STEP: u32 = 256;

/// What merging came to.
#[derive(Debug)]
pub struct Merged {
    /// The hosts, by number.
    pub hosts: Vec<HostPart>,
    /// What a reader of the result should know, a line each.
    pub notes: Vec<String>,
    /// What this version does not know.
    pub left_out: LeftOut,
}

/// Why captures cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One of them cannot be read, or the result not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// They do not fit together.
    #[error("{0}")]
    Unfit(String),
}

/// A capture to be merged, with its name for messages.
#[derive(Debug)]
pub struct Input {
    /// Its file name.
    pub name: String,
    /// The capture.
    pub capture: Capture,
}

/// Writes `inputs` as one capture to `out`.
///
/// # Errors
/// If two of them hold the same events, there are more hosts, CPUs or ids than there are numbers,
/// a member is damaged, or `out` cannot be written.
pub fn merge(
    pool: &rayon::ThreadPool,
    mut inputs: Vec<Input>,
    history: String,
    out: &mut dyn Write,
) -> Result<Merged, MergeError> {
    inputs.sort_by_key(|input| {
        let header = input.capture.header();
        (header.start.realtime_ns, header.part)
    });
    let plan = Plan::of(&inputs)?;
    let mut writer = CaptureWriter::new(out, &plan.header(&inputs, history))?;
    let mut tables = Tables::default();
    for row in plan.gaps(&inputs)? {
        tables.Loss.push(row);
    }
    let mut number = 0;
    for (input, segment) in plan.segments(&inputs)? {
        let (Some(source), Some(remap)) = (inputs.get(input), plan.remaps.get(input)) else {
            continue;
        };
        tables.add(pool, &source.capture, segment, remap)?;
        if tables.is_full() {
            std::mem::take(&mut tables).write(pool, number, Effort::Record, &mut writer)?;
            number += 1;
        }
    }
    tables.write(pool, number, Effort::Record, &mut writer)?;
    writer.finish(&plan.summary(&inputs))?;
    let mut left_out = LeftOut::default();
    for input in &inputs {
        left_out.add(LeftOut::of(&input.capture)?);
    }
    Ok(Merged {
        left_out,
        hosts: plan.hosts,
        notes: plan.notes,
    })
}

/// How each input fits into the output.
struct Plan {
    remaps: Vec<Remap>,
    hosts: Vec<HostPart>,
    notes: Vec<String>,
}

impl Plan {
    fn of(inputs: &[Input]) -> Result<Self, MergeError> {
        let mut plan = Self {
            remaps: Vec::new(),
            hosts: Vec::new(),
            notes: Vec::new(),
        };
        let mut next_id: u32 = 0;
        for (at, input) in inputs.iter().enumerate() {
            let same =
                |other: &&(usize, &Input)| is_same_recording(&input.capture, &other.1.capture);
            let earlier: Vec<(usize, &Input)> = inputs.iter().enumerate().take(at).collect();
            let part_of = earlier
                .iter()
                .find(same)
                .and_then(|&(at, _)| plan.remaps.get(at));
            let remap = match part_of {
                Some(first) => Remap {
                    keeps_clock: first.keeps_clock,
                    ..first.clone()
                },
                None => {
                    let on_host = plan.host(inputs, at)?;
                    let id_base = next_id;
                    Remap {
                        id_base,
                        written: Arc::default(),
                        ..on_host
                    }
                }
            };
            let end = greatest_id(&input.capture)?
                .checked_add(remap.id_base)
                .and_then(|id| id.checked_add(ID_MARGIN))
                .ok_or_else(|| unfit("there are more files and stacks than there are ids"))?;
            next_id = next_id.max(end);
            plan.remaps.push(remap);
        }
        plan.find_doubles(inputs)?;
        Ok(plan)
    }

    /// The place of an input on its host: the one of an earlier input of the same boot, or a new one.
    fn host(&mut self, inputs: &[Input], at: usize) -> Result<Remap, MergeError> {
        let Some(input) = inputs.get(at) else {
            return Ok(Remap::default());
        };
        let header = input.capture.header();
        let boot_id = &header.host.boot_id;
        let is_known = |part: &&HostPart| !boot_id.is_empty() && part.host.boot_id == *boot_id;
        if let Some(part) = self.hosts.iter().find(is_known)
            && header.hosts.is_empty()
        {
            return Ok(Remap {
                shift_ns: part.clock_shift_ns,
                host: part.number,
                cpu_base: part.cpu_base,
                keeps_clock: part.number == 0,
                ..Remap::default()
            });
        }
        let number = self.hosts.len() as u32;
        let parts = match header.hosts.as_slice() {
            [] => vec![HostPart {
                host: header.host.clone(),
                ..HostPart::default()
            }],
            parts => parts.to_vec(),
        };
        let cpu_base = match self.hosts.last() {
            Some(last) => {
                u32::from(last.cpu_base) + last.host.cpus.next_power_of_two().max(CPU_STEP)
            }
            None => 0,
        };
        let (Ok(cpu_base), true) = (
            u16::try_from(cpu_base),
            number as usize + parts.len() <= 1 << (u32::BITS - PID_BITS),
        ) else {
            return Err(unfit(
                "there are more hosts or CPUs than there are numbers for them",
            ));
        };
        let shift_ns = match inputs.first() {
            Some(first) if at > 0 => self.shift(first, input),
            _ => 0,
        };
        for part in parts {
            self.hosts.push(HostPart {
                number: number + part.number,
                cpu_base: cpu_base.saturating_add(part.cpu_base),
                clock_shift_ns: shift_ns.saturating_add(part.clock_shift_ns),
                host: part.host,
            });
        }
        Ok(Remap {
            shift_ns,
            host: number,
            cpu_base,
            keeps_clock: number == 0,
            ..Remap::default()
        })
    }

    /// What is added to the times of `input` to make them times of `first`.
    fn shift(&mut self, first: &Input, input: &Input) -> i64 {
        let clock = ClockMap::new(readings(&first.capture));
        let start = input.capture.header().start;
        let by_wall = clock
            .ts_of_wall(start.realtime_ns)
            .saturating_sub(start.monotonic_ns);
        let bounds = align::bounds(&first.capture, &input.capture);
        let shift_ns = bounds.nearest(by_wall);
        self.notes.push(format!(
            "{}: {}",
            input.name,
            bounds.describe(by_wall, shift_ns)
        ));
        shift_ns
    }

    /// Finds what inputs of one host have twice; refuses those that recorded the same processes at
    /// the same time.
    fn find_doubles(&mut self, inputs: &[Input]) -> Result<(), MergeError> {
        for (at, input) in inputs.iter().enumerate() {
            for (other_at, other) in inputs.iter().enumerate() {
                if at == other_at || self.host_of(at) != self.host_of(other_at) {
                    continue;
                }
                let (ours, theirs) = (span(&input.capture), span(&other.capture));
                let is_earlier = theirs.1 <= ours.0;
                let Some(doubles) = self.remaps.get_mut(at).map(|remap| &mut remap.doubles) else {
                    continue;
                };
                if is_earlier && is_same_recording(&input.capture, &other.capture) {
                    doubles.calls.extend(calls_over(&other.capture, theirs.1)?);
                    doubles.told_until = doubles.told_until.max(Some(theirs.1));
                } else if theirs.0 < ours.1 && ours.0 < theirs.1 {
                    let tids = target_threads(&other.capture)?;
                    if let Some(tid) = target_threads(&input.capture)?.intersection(&tids).min() {
                        return Err(unfit(format!(
                            "{} and {} recorded thread {tid} at the same time, so its events would \
                             count twice; cut one of them first (kindling-replay cut --from, --to, --pid)",
                            input.name, other.name
                        )));
                    }
                    doubles
                        .others
                        .extend(tids.into_iter().map(|tid| (tid, theirs)));
                }
            }
        }
        Ok(())
    }

    fn host_of(&self, input: usize) -> Option<u32> {
        self.remaps.get(input).map(|remap| remap.host)
    }

    /// Losses that stand for the time between two recordings of a host, in which nobody looked.
    fn gaps(&self, inputs: &[Input]) -> Result<Vec<Loss>, MergeError> {
        let mut rows = Vec::new();
        for (at, input) in inputs.iter().enumerate() {
            let before = inputs.iter().enumerate().take(at);
            let before = before.filter(|(other, _)| self.host_of(*other) == self.host_of(at));
            let Some((_, last)) = before.max_by_key(|(_, input)| span(&input.capture).1) else {
                continue;
            };
            let (end, start) = (span(&last.capture).1, span(&input.capture).0);
            if is_same_recording(&input.capture, &last.capture) || start <= end {
                continue;
            }
            let shift_ns = self.remaps.get(at).map_or(0, |remap| remap.shift_ns);
            for source in [Syscall::NAME, Switch::NAME, Wakeup::NAME] {
                rows.push(Loss {
                    ts: end.saturating_add(shift_ns),
                    end_ts: start.saturating_add(shift_ns),
                    cpu: None,
                    source: source.into(),
                    cause: "between recordings".into(),
                    count: 0,
                });
            }
        }
        Ok(rows)
    }

    /// The segments of all inputs in the order of the result: that of the time when they were cut.
    fn segments(&self, inputs: &[Input]) -> Result<Vec<(usize, u32)>, MergeError> {
        let mut all = Vec::new();
        for (at, (input, remap)) in inputs.iter().zip(&self.remaps).enumerate() {
            let mut cut_at = i64::MIN;
            for segment in input.capture.segments() {
                // A segment of code alone has no time: it comes where it came.
                let last = last_ts(&input.capture, segment)?;
                cut_at = last
                    .map_or(cut_at, |ts| ts.saturating_add(remap.shift_ns))
                    .max(cut_at);
                all.push((cut_at, at, segment));
            }
        }
        all.sort_unstable();
        Ok(all
            .into_iter()
            .map(|(_, at, segment)| (at, segment))
            .collect())
    }

    fn header(&self, inputs: &[Input], history: String) -> Header {
        let Some(Input { capture, .. }) = inputs.first() else {
            return Header::default();
        };
        let first = capture.header();
        let mut header = first.clone();
        for other in inputs.iter().skip(1).map(|input| input.capture.header()) {
            let pids = other.options.pids.iter();
            let new = pids.filter(|pid| !first.options.pids.contains(pid));
            header.options.pids.extend(new);
            for source in &mut header.sources {
                if let Some(gone) = other
                    .sources
                    .iter()
                    .find(|s| s.name == source.name && !s.available)
                {
                    source.clone_from(gone);
                }
            }
        }
        if inputs.len() > 1 {
            header.dump = None;
        }
        if self.hosts.len() > 1 {
            header.hosts.clone_from(&self.hosts);
        }
        if !inputs
            .iter()
            .all(|input| is_same_recording(&input.capture, capture))
        {
            header.recording = String::new();
        }
        header.part = 0;
        header.history.push(history);
        header
    }

    fn summary(&self, inputs: &[Input]) -> Summary {
        let mut merged = Summary::default();
        for (input, remap) in inputs.iter().zip(&self.remaps) {
            let summary = summary(&input.capture);
            let end = Moment {
                monotonic_ns: summary.end.monotonic_ns.saturating_add(remap.shift_ns),
                ..summary.end
            };
            if end.monotonic_ns >= merged.end.monotonic_ns {
                merged.end = end;
                merged.reason = summary.reason;
                merged.exit_status = summary.exit_status;
            }
            merged.recorder_cpu_ns = merged
                .recorder_cpu_ns
                .saturating_add(summary.recorder_cpu_ns);
            for (table, lost) in summary.lost {
                let count: &mut u64 = merged.lost.entry(table).or_default();
                *count = count.saturating_add(lost);
            }
        }
        merged
    }
}

fn unfit(what: impl Into<String>) -> MergeError {
    MergeError::Unfit(what.into())
}

fn is_same_recording(a: &Capture, b: &Capture) -> bool {
    !a.header().recording.is_empty() && a.header().recording == b.header().recording
}

/// From the first to the last moment of the recording.
fn span(capture: &Capture) -> (i64, i64) {
    let end = match capture.summary() {
        Some(summary) => summary.end,
        None => last_moment(capture),
    };
    (capture.header().start.monotonic_ns, end.monotonic_ns)
}

fn readings(capture: &Capture) -> Vec<Moment> {
    let mut readings = vec![capture.header().start];
    readings.extend(capture.summary().map(|summary| summary.end));
    readings
}

/// The greatest id of any kind that has a row.
fn greatest_id(capture: &Capture) -> Result<u32, FormatError> {
    let mut greatest = 0;
    for segment in capture.segments() {
        let ids = [
            last_id::<File>(capture, segment, |row| row.id)?,
            last_id::<Stack>(capture, segment, |row| row.id)?,
            last_id::<Frame>(capture, segment, |row| row.id)?,
            last_id::<Symbol>(capture, segment, |row| row.id)?,
        ];
        greatest = ids.into_iter().fold(greatest, u32::max);
    }
    Ok(greatest)
}

fn last_id<T: Table>(
    capture: &Capture,
    segment: u32,
    id: fn(T) -> u32,
) -> Result<u32, FormatError> {
    let rows = capture.read_columns::<T>(segment, Some(&["id"]))?;
    Ok(rows.iter().map(id).max().unwrap_or(0))
}

/// The last moment that a row of the segment speaks of.
fn last_ts(capture: &Capture, segment: u32) -> Result<Option<i64>, FormatError> {
    let mut last = None;
    for (table, member) in capture.members(segment) {
        let ts = match &member.index {
            Some(index) => index.max_ts,
            None => {
                let bytes = capture.member_bytes(&member.entry)?;
                inspect(table, &member.entry, bytes)?
                    .extent
                    .span
                    .map(|(_, max)| max)
            }
        };
        last = last.max(ts);
    }
    Ok(last)
}
