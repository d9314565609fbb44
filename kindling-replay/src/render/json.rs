//! The JSON form of every answer: one object with the capture, the selection, the completeness and
//! the command's own report.

use std::io::Write;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::context::Context;

/// A list of which only some rows may be shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct List<T> {
    /// How many there are.
    pub total: u64,
    /// The first of them.
    pub rows: Vec<T>,
}

impl<T> List<T> {
    /// The first `top` of these rows, or all.
    pub fn new(mut rows: Vec<T>, top: Option<usize>) -> Self {
        let total = rows.len() as u64;
        rows.truncate(top.unwrap_or(usize::MAX));
        Self { total, rows }
    }

    /// How many rows are not shown.
    pub fn hidden(&self) -> u64 {
        self.total.saturating_sub(self.rows.len() as u64)
    }
}

/// The capture that an answer speaks of.
#[derive(Debug, Clone, Serialize)]
pub struct CaptureReport {
    /// The file's name, without directories.
    pub file: String,
    /// The version of its format.
    pub format: String,
    /// The recorded machine.
    pub host: String,
    /// Its kernel.
    pub kernel: String,
    /// Its architecture.
    pub arch: String,
    /// Wall time of the start; moments in reports count from here.
    pub start_time: Option<String>,
    /// The start on the host's monotonic clock.
    pub start_monotonic_ns: i64,
    /// How long the recording is.
    pub duration_ns: i64,
}

impl CaptureReport {
    /// What the context knows of its capture.
    pub fn new(context: &Context) -> Self {
        let header = context.capture.header();
        Self {
            file: context.file_name.clone(),
            format: header.format.to_string(),
            host: header.host.name.clone(),
            kernel: header.host.kernel.clone(),
            arch: header.host.arch.clone(),
            start_time: context.clock.wall(context.span.from),
            start_monotonic_ns: context.span.from,
            duration_ns: context.span.length_ns(),
        }
    }
}

/// Writes the object that all commands answer with.
///
/// # Errors
/// Those of `out`.
pub fn envelope(
    out: &mut dyn Write,
    context: &Context,
    command: &str,
    report: &impl Serialize,
) -> anyhow::Result<()> {
    let mut serializer = serde_json::Serializer::pretty(&mut *out);
    let mut map = serializer.serialize_map(Some(4))?;
    map.serialize_entry("capture", &CaptureReport::new(context))?;
    map.serialize_entry("selection", &context.selection)?;
    map.serialize_entry("completeness", &context.completeness())?;
    map.serialize_entry(command, report)?;
    map.end()?;
    Ok(out.write_all(b"\n")?)
}

/// The rows of a list that is too long to hold, while they are written.
pub struct RowsSoFar<'a> {
    out: &'a mut (dyn Write + Send),
    total: u64,
}

impl RowsSoFar<'_> {
    /// Counts a row, and writes its JSON if it is among the first `top`. Tells whether it is not:
    /// then all that follow are not either.
    ///
    /// # Errors
    /// That of making the row, and those of the output.
    pub fn row(
        &mut self,
        top: Option<usize>,
        row: Result<String, serde_json::Error>,
    ) -> anyhow::Result<bool> {
        let full = top.is_some_and(|top| self.total >= top as u64);
        if !full {
            let comma = if self.total == 0 { "" } else { "," };
            write!(self.out, "{comma}\n      {}", row?)?;
        }
        self.total += 1;
        Ok(full)
    }
}

/// As [`envelope`], for a list whose rows `fill` writes one by one, each on a line.
///
/// The completeness comes last: trouble is known when everything was read.
///
/// # Errors
/// Those of `out` and of `fill`.
pub fn streamed(
    out: &mut (dyn Write + Send),
    context: &Context,
    command: &str,
    fill: impl FnOnce(&mut RowsSoFar<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let capture = serde_json::to_string(&CaptureReport::new(context))?;
    let selection = serde_json::to_string(&context.selection)?;
    write!(
        out,
        "{{\n  \"capture\": {capture},\n  \"selection\": {selection},\n"
    )?;
    write!(out, "  \"{command}\": {{\n    \"rows\": [")?;
    let mut rows = RowsSoFar {
        out: &mut *out,
        total: 0,
    };
    fill(&mut rows)?;
    let total = rows.total;
    let completeness = serde_json::to_string(&context.completeness())?;
    write!(out, "\n    ],\n    \"total\": {total}\n  }},\n")?;
    writeln!(out, "  \"completeness\": {completeness}\n}}")?;
    Ok(())
}
