//! Lines that programs logged: what they wrote to terminals, to standard output and standard error, to
//! log files, and to the system's log, each with the thread that wrote it and the request that it was
//! serving then.
//!
//! A program writes a line in pieces, or several lines at once: the bytes of one open file are put in
//! order by their offsets and cut at line ends. Where bytes are missing, because they were not recorded
//! or the recorder kept only the first ones of a call, the line ends and says so.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::{Direction, File, FileKind, Payload, Syscall};
use serde::Serialize;

use crate::{
    analysis::serving::Serving,
    context::Context,
    filter::EventKind,
    model::{
        catalog::Catalog,
        file, log_time,
        select::{Details, EventSelection},
    },
    render::json::List,
    scan::{self, Segment},
};

/// The most bytes that one line may take: what comes behind is left out.
const LONGEST_LINE: usize = 1 << 16;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRow {
    /// When its first byte was written, since the start of the capture.
    pub ts_ns: i64,
    /// The process that wrote it.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name then.
    pub comm: String,
    /// What it wrote to: `stdout`, `stderr`, or a path or the like.
    pub file: String,
    /// The time that the line says of itself, with a zone only if it says one.
    pub own_time: Option<String>,
    /// The request that the thread was serving: of several, the one that began last.
    pub request: Option<String>,
    /// How many requests it had in hand then.
    pub requests_in_hand: u64,
    /// The line without its end; bytes that are no UTF-8 are replaced.
    pub line: String,
    /// Whether a part of it is missing.
    pub truncated: bool,
}

/// The lines that the selection admits, in the order of time. To a condition a line is a payload: that of
/// the call that began it, with the line's own bytes.
pub fn report(context: &Context, catalog: &Catalog, serving: &Serving) -> List<LogRow> {
    let teller = Teller::new(context, catalog, serving);
    let lines = lines(context, catalog);
    let total = lines.len() as u64;
    let shown = lines.into_iter().take(context.top.unwrap_or(usize::MAX));
    List {
        total,
        rows: shown.map(|line| teller.row(line)).collect(),
    }
}

/// The lines that one thread began.
pub fn of_thread(context: &Context, catalog: &Catalog, serving: &Serving, tid: u32) -> Vec<LogRow> {
    let teller = Teller::new(context, catalog, serving);
    let own = lines(context, catalog).into_iter();
    let own = own.filter(|line| line.begun.row.tid == tid);
    own.map(|line| teller.row(line)).collect()
}

/// Says of lines what is known of them.
struct Teller<'a> {
    context: &'a Context,
    catalog: &'a Catalog,
    serving: &'a Serving,
    year: i16,
}

impl<'a> Teller<'a> {
    fn new(context: &'a Context, catalog: &'a Catalog, serving: &'a Serving) -> Self {
        Self {
            context,
            catalog,
            serving,
            year: year(context),
        }
    }

    fn row(&self, line: Line) -> LogRow {
        let Line {
            begun: Write { row: begun, fd },
            truncated,
        } = line;
        let (request, requests_in_hand) = self.serving.at(begun.tid, begun.ts);
        let file = self.catalog.files.get(&begun.file);
        let text = String::from_utf8_lossy(&begun.data).into_owned();
        LogRow {
            ts_ns: self.context.offset_ns(begun.ts),
            pid: begun.pid,
            tid: begun.tid,
            comm: self.catalog.comm_at(begun.tid, begun.ts).to_owned(),
            file: file.map_or_else(String::new, |file| name(file, fd)),
            own_time: log_time::own_time(&text, self.year),
            request,
            requests_in_hand,
            line: text,
            truncated,
        }
    }
}

/// A call that wrote to what may be a log, and the descriptor that it named.
#[derive(Debug, Clone, PartialEq)]
struct Write {
    row: Payload,
    fd: i32,
}

/// Whether files of this kind can be logs at all.
fn may_be_log(kind: FileKind) -> bool {
    matches!(
        kind,
        FileKind::Tty | FileKind::Regular | FileKind::Pipe | FileKind::Char | FileKind::Unix
    )
}

/// Whether what is written to a file is read by people: terminals, what a program was given as its
/// standard output or error, files, and the system's log.
fn is_log(file: &File, fd: i32) -> bool {
    let standard = matches!(fd, 1 | 2);
    match file.kind {
        FileKind::Tty | FileKind::Regular => true,
        FileKind::Pipe | FileKind::Char => standard,
        FileKind::Unix => standard || file.path.as_deref().is_some_and(is_system_log),
        _ => false,
    }
}

fn is_system_log(path: &str) -> bool {
    path == "/dev/log" || path.starts_with("/run/systemd/journal/")
}

/// What a log is called: standard output and error by these words.
fn name(file: &File, fd: i32) -> String {
    let label = file::label(file);
    match fd {
        1 => format!("stdout ({label})"),
        2 => format!("stderr ({label})"),
        _ => label,
    }
}

/// The year in which the capture was made, for lines that leave it out.
fn year(context: &Context) -> i16 {
    let wall = context.clock.wall(context.span.from).unwrap_or_default();
    wall.get(..4)
        .and_then(|year| year.parse().ok())
        .unwrap_or(1970)
}

/// A line.
#[derive(Debug)]
struct Line {
    /// The call that began it; its `data` is the line without its end.
    begun: Write,
    truncated: bool,
}

/// All lines of the selection.
fn lines(context: &Context, catalog: &Catalog) -> Vec<Line> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Payload]);
    let mut writes: BTreeMap<u32, Vec<Write>> = BTreeMap::new();
    scan::segments(
        context,
        "reading logs",
        |segment| writes_of(segment, catalog, &selected),
        |some| {
            for write in some {
                writes.entry(write.row.file).or_default().push(write);
            }
        },
    );
    let mut lines: Vec<Line> = writes.into_values().flat_map(cut).collect();
    lines.retain(|line| {
        let row = &line.begun.row;
        selected.admits(row.tid, row.ts, Details::Payload(row))
    });
    lines.sort_by_key(|line| (line.begun.row.ts, line.begun.row.file));
    lines
}

/// The writes to logs in a segment.
fn writes_of(segment: Segment<'_>, catalog: &Catalog, selected: &EventSelection<'_>) -> Vec<Write> {
    let rows = selected.rows::<Payload>(segment, EventKind::Payload);
    let file = |row: &Payload| catalog.files.get(&row.file);
    let outs = rows.iter().filter(|row| {
        let kind = file(row).map(|file| file.kind);
        row.direction == Direction::Out && kind.is_some_and(may_be_log)
    });
    let mut writes: Vec<Write> = outs
        .map(|row| {
            // Until its call is found: the descriptor by which the file was used first.
            let fd = file(&row).map_or(-1, |file| file.fd);
            Write { row, fd }
        })
        .collect();
    if !writes.is_empty() {
        find_descriptors(segment, &mut writes);
    }
    writes.retain(|write| file(&write.row).is_some_and(|file| is_log(file, write.fd)));
    writes
}

/// The row of a call says which descriptor it named.
fn find_descriptors(segment: Segment<'_>, writes: &mut [Write]) {
    let columns = ["tid", "ts", "arg0"];
    let calls = segment.columns::<Syscall>(Some(&columns));
    let wanted: BTreeSet<(u32, i64)> = writes.iter().map(|w| (w.row.tid, w.row.ts)).collect();
    let named = calls.iter().filter_map(|call| {
        let key = (call.tid, call.ts);
        let fd = i32::try_from(call.arg0? & 0xffff_ffff).ok()?;
        wanted.contains(&key).then_some((key, fd))
    });
    let named: BTreeMap<(u32, i64), i32> = named.collect();
    for write in writes {
        if let Some(&fd) = named.get(&(write.row.tid, write.row.ts)) {
            write.fd = fd;
        }
    }
}

/// Cuts the bytes of one file into lines.
fn cut(mut writes: Vec<Write>) -> Vec<Line> {
    writes.sort_by_key(|write| (write.row.offset, write.row.ts));
    let mut cutter = Cutter::default();
    for write in &writes {
        let row = &write.row;
        if cutter.next_offset.is_some_and(|next| next != row.offset) {
            cutter.end_of_line(true);
        }
        let mut offset = row.offset;
        for piece in row.data.split_inclusive(|&byte| byte == b'\n') {
            cutter.push(write, offset, piece);
            offset = offset.saturating_add(piece.len() as u64);
        }
        if (row.data.len() as u64) < row.size {
            cutter.end_of_line(true);
        }
        cutter.next_offset = Some(row.offset.saturating_add(row.size));
    }
    cutter.end_of_line(false);
    cutter.lines
}

#[derive(Debug, Default)]
struct Cutter {
    next_offset: Option<u64>,
    /// The line in progress.
    open: Option<Line>,
    lines: Vec<Line>,
}

impl Cutter {
    fn push(&mut self, write: &Write, offset: u64, piece: &[u8]) {
        let line = self.open.get_or_insert_with(|| {
            let row = Payload {
                offset,
                size: 0,
                data: Vec::new(),
                ..write.row
            };
            Line {
                begun: Write { row, ..*write },
                truncated: false,
            }
        });
        let row = &mut line.begun.row;
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        let room = LONGEST_LINE.saturating_sub(row.data.len());
        line.truncated |= text.len() > room;
        row.size = row.size.saturating_add(piece.len() as u64);
        row.data.extend(text.iter().take(room));
        if piece.ends_with(b"\n") {
            self.end_of_line(false);
        }
    }

    fn end_of_line(&mut self, truncated: bool) {
        if let Some(mut line) = self.open.take() {
            line.truncated |= truncated;
            if line.begun.row.data.last() == Some(&b'\r') {
                line.begun.row.data.pop();
            }
            self.lines.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(ts: i64, tid: u32, offset: u64, size: u64, data: &str) -> Write {
        let row = Payload {
            ts,
            tid,
            offset,
            size,
            data: data.into(),
            ..Payload::default()
        };
        Write { row, fd: 1 }
    }

    fn check(rows: Vec<Write>, expect: &[(i64, u32, &str, bool)]) {
        let lines = cut(rows);
        let shown = lines.iter().map(|line| {
            let row = &line.begun.row;
            let text = std::str::from_utf8(&row.data).unwrap();
            (row.ts, row.tid, text, line.truncated)
        });
        assert_eq!(shown.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn lines_are_joined_and_cut() {
        let rows = vec![
            write(40, 2, 12, 8, "g\r\nend\n!"),
            write(10, 1, 0, 8, "one\ntwo "),
            write(20, 2, 8, 4, "long"),
        ];
        let expect = [
            (10, 1, "one", false),
            (10, 1, "two longg", false),
            (40, 2, "end", false),
            (40, 2, "!", false),
        ];
        check(rows, &expect);
    }

    #[test]
    fn bytes_that_are_missing_end_a_line() {
        let rows = vec![
            write(10, 1, 0, 3, "abc"),
            write(20, 1, 5, 4, "def\n"),
            // The recorder kept two bytes of three.
            write(30, 1, 9, 3, "gh"),
            write(40, 1, 12, 2, "\n\n"),
        ];
        let expect = [
            (10, 1, "abc", true),
            (20, 1, "def", false),
            (30, 1, "gh", true),
            (40, 1, "", false),
            (40, 1, "", false),
        ];
        check(rows, &expect);
    }
}
