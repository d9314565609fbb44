//! Deep verification of a capture: every checksum, every row, the index, the order, and whether ids
//! that rows name have rows.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{
    Completion, Inspection, Member, inspect,
    schema::{
        File, Frame, Index, Payload, Process, Sample, Stack, Switch, Symbol, Syscall, Table, Thread,
    },
};
use serde::Serialize;

use crate::{
    context::Context,
    scan::{self, Segment},
};

/// What `check` found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// `fine`, `unfinished` or `damaged`.
    pub state: &'static str,
    /// Table members that were looked at.
    pub members: u64,
    /// The intact rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// What is wrong, in the order of the file.
    pub problems: Vec<Problem>,
    /// Members of each table whose rows are in another order than this version writes: no damage.
    pub unsorted_members: BTreeMap<String, u64>,
    /// Ids that rows name and that have no row, by column: the facts were lost or never recorded.
    pub dangling: BTreeMap<String, u64>,
}

/// Something that a sound capture does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The member.
    pub member: String,
    /// Where it begins in the file.
    pub at: u64,
    /// What was found and what was expected.
    pub what: String,
}

/// Looks at every byte and row of the capture.
pub fn report(context: &Context) -> CheckReport {
    let mut report = CheckReport {
        state: "fine",
        members: 0,
        rows: BTreeMap::new(),
        problems: other_members(context),
        unsorted_members: BTreeMap::new(),
        dangling: BTreeMap::new(),
    };
    let mut ids = Ids::default();
    scan::segments(context, "checking", look, |found| {
        report.members += found.members;
        for (table, rows) in found.rows {
            *report.rows.entry(table).or_default() += rows;
        }
        for table in found.unsorted {
            *report.unsorted_members.entry(table).or_default() += 1;
        }
        report.problems.extend(found.problems);
        ids.merge(found.ids);
    });
    report.problems.extend(totals(context, &report.rows));
    report.problems.sort_by_key(|problem| problem.at);
    report.dangling = ids.dangling();
    report.state = match context.capture.completion() {
        _ if !report.problems.is_empty() => "damaged",
        Completion::Unfinished { .. } => "unfinished",
        Completion::Finished(_) => "fine",
    };
    report
}

/// The checksums of members that belong to no segment.
fn other_members(context: &Context) -> Vec<Problem> {
    let capture = &context.capture;
    let tables: BTreeSet<u64> = capture
        .segments()
        .flat_map(|segment| capture.members(segment))
        .map(|(_, member)| member.entry.header_off)
        .collect();
    let others = capture
        .entries()
        .iter()
        .filter(|entry| !tables.contains(&entry.header_off));
    others
        .filter_map(|entry| {
            let bytes = capture.member_bytes(entry);
            let is_sound = bytes.and_then(|_| entry.verify_header(capture.bytes()));
            let error = is_sound.err()?;
            Some(Problem::of(&entry.name, entry.header_off, error))
        })
        .collect()
}

/// Whether the summary counts the rows that are there.
fn totals(context: &Context, rows: &BTreeMap<String, u64>) -> Option<Problem> {
    let summary = context.capture.summary()?;
    let differs = |(table, said): (&String, &u64)| {
        let found = rows.get(table).copied().unwrap_or(0);
        (found != *said).then(|| format!("{said} rows of {table}, found {found}"))
    };
    let differences: Vec<String> = summary.rows.iter().filter_map(differs).collect();
    let entry = context
        .capture
        .entries()
        .iter()
        .find(|entry| entry.name == "summary.json")?;
    (!differences.is_empty()).then(|| Problem {
        member: entry.name.clone(),
        at: entry.header_off,
        what: format!("it says {}", differences.join("; ")),
    })
}

impl Problem {
    fn of(member: &str, at: u64, what: impl ToString) -> Self {
        Self {
            member: member.to_owned(),
            at,
            what: what.to_string(),
        }
    }
}

/// What one segment gave.
#[derive(Default)]
struct Found {
    members: u64,
    rows: BTreeMap<String, u64>,
    problems: Vec<Problem>,
    unsorted: Vec<String>,
    ids: Ids,
}

fn look(segment: Segment<'_>) -> Found {
    let capture = segment.capture();
    let mut found = Found::default();
    for (table, member) in capture.members(segment.number) {
        let Member { entry, index } = member;
        found.members += 1;
        let inspected = capture.member_bytes(entry).and_then(|bytes| {
            entry.verify_header(capture.bytes())?;
            inspect(table, entry, bytes)
        });
        let problem = match inspected {
            Err(error) => Some(error.to_string()),
            Ok(inspection) => {
                let rows = u64::from(inspection.extent.rows);
                *found.rows.entry(table.to_owned()).or_default() += rows;
                if inspection.unsorted_row.is_some() {
                    found.unsorted.push(table.to_owned());
                }
                let has_index = capture.summary().is_some();
                contradiction(index.as_ref(), &inspection, has_index)
            }
        };
        let problem = problem.map(|what| Problem::of(&entry.name, entry.header_off, what));
        found.problems.extend(problem);
    }
    found.ids = Ids::of(segment);
    found
}

/// What the index says of a member and its rows do not.
fn contradiction(index: Option<&Index>, found: &Inspection, has_index: bool) -> Option<String> {
    let Some(index) = index else {
        return has_index.then(|| "the index does not list it".to_owned());
    };
    let extent = &found.extent;
    let said = (index.rows, index.min_ts.zip(index.max_ts));
    let seen = (u64::from(extent.rows), extent.span);
    if said != seen && (said.1.is_some() || seen.0 != said.0) {
        return Some(format!(
            "the index says rows and span {said:?}, found {seen:?}"
        ));
    }
    let unlisted = extent.pids.iter().find(|pid| !index.pids.contains(pid))?;
    Some(format!(
        "the index does not list process {unlisted}, which its rows name"
    ))
}

/// Ids that have rows, and ids that rows name.
#[derive(Default)]
struct Ids {
    known: BTreeMap<&'static str, BTreeSet<u32>>,
    named: BTreeMap<(&'static str, &'static str), BTreeSet<u32>>,
}

impl Ids {
    fn of(segment: Segment<'_>) -> Self {
        let mut ids = Ids::default();
        ids.know(segment, "files", |row: File| row.id);
        ids.know(segment, "stacks", |row: Stack| row.id);
        ids.know(segment, "frames", |row: Frame| row.id);
        ids.know(segment, "symbols", |row: Symbol| row.id);
        ids.know(segment, "processes", |row: Process| row.pid);
        ids.name(
            segment,
            "syscalls.file",
            "files",
            &["file"],
            |row: Syscall| row.file,
        );
        ids.name(
            segment,
            "syscalls.stack",
            "stacks",
            &["stack"],
            |row: Syscall| row.stack,
        );
        ids.name(
            segment,
            "payloads.file",
            "files",
            &["file"],
            |row: Payload| Some(row.file),
        );
        ids.name(
            segment,
            "switches.stack",
            "stacks",
            &["stack"],
            |row: Switch| row.stack,
        );
        ids.name(
            segment,
            "samples.stack",
            "stacks",
            &["stack"],
            |row: Sample| row.stack,
        );
        ids.name(
            segment,
            "stacks.frames",
            "frames",
            &["frames"],
            |row: Stack| row.frames,
        );
        ids.name(
            segment,
            "frames.symbol",
            "symbols",
            &["symbol"],
            |row: Frame| row.symbol,
        );
        let inlined = |row: Symbol| row.inlined_in;
        ids.name(
            segment,
            "symbols.inlined_in",
            "symbols",
            &["inlined_in"],
            inlined,
        );
        ids.name(
            segment,
            "threads.pid",
            "processes",
            &["pid"],
            |row: Thread| Some(row.pid),
        );
        ids
    }

    fn know<T: Table>(&mut self, segment: Segment<'_>, kind: &'static str, id: fn(T) -> u32) {
        let rows = segment.rows::<T>();
        self.known
            .entry(kind)
            .or_default()
            .extend(rows.iter().map(id));
    }

    fn name<T: Table, I: IntoIterator<Item = u32>>(
        &mut self,
        segment: Segment<'_>,
        column: &'static str,
        kind: &'static str,
        wanted: &[&str],
        ids: fn(T) -> I,
    ) {
        let rows = segment.columns::<T>(Some(wanted));
        self.named
            .entry((column, kind))
            .or_default()
            .extend(rows.iter().flat_map(ids));
    }

    fn merge(&mut self, other: Ids) {
        for (kind, ids) in other.known {
            self.known.entry(kind).or_default().extend(ids);
        }
        for (column, ids) in other.named {
            self.named.entry(column).or_default().extend(ids);
        }
    }

    fn dangling(&self) -> BTreeMap<String, u64> {
        let none = BTreeSet::new();
        let missing = self.named.iter().map(|((column, kind), named)| {
            let known = self.known.get(kind).unwrap_or(&none);
            ((*column).to_owned(), named.difference(known).count() as u64)
        });
        missing.filter(|(_, count)| *count > 0).collect()
    }
}
