//! The story of one thread: what it did in the order of time, with what it waited for, whom it served and
//! what it logged; repeats folded, so that an event loop is one step that happened a thousand times.
//!
//! An item is a call, or what lay between two calls: computing, and waiting that was no call's (for a CPU,
//! for memory). Items are folded into steps, each with its time by state from the thread's timeline.

use std::collections::BTreeMap;

use kindling_format::schema::{File, FileKind, Syscall};
use serde::Serialize;

use crate::{
    analysis::{
        logs, ready::ReadyRow, rpc_call::Calls, rpc_row, serving::Serving, threads::ThreadRow,
    },
    context::Context,
    filter::EventKind,
    model::{
        catalog::{Catalog, ThreadLife, ThreadSet},
        connection::Role,
        ended::Ended,
        file,
        polls::Polls,
        select::{Details, EventSelection},
        slice::{Reason, Slice, Times},
        stack::Stacks,
        timeline,
    },
    render::{errno, json::List},
    scan,
    selection::Window,
};

use items::{BETWEEN, Item, Items, Key, Kind, Notes};
use steps::Folding;

mod items;
mod steps;
mod waits;

/// What takes less than this part of the time that is shown is not told by itself.
const WORTH_A_STEP: i64 = 1_000;

/// The story of one thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoryReport {
    /// The thread, with its time by state.
    pub thread: ThreadRow,
    /// The command line of its process.
    pub command: String,
    /// Requests that it served in the window.
    pub served: u64,
    /// Requests that it made.
    pub asked: u64,
    /// What it waited for, the longest first.
    pub waits: List<WaitRow>,
    /// What it did, in the order of time.
    pub steps: List<Step>,
}

/// Waits of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaitRow {
    /// Why.
    pub reason: Reason,
    /// The call that it waited in.
    pub syscall: Option<String>,
    /// The file of the call.
    pub file: Option<String>,
    /// Who ended it: `comm/tid` or `interrupt`; `None` if nobody did, or it is not known.
    pub waker: Option<String>,
    /// How the call ended; `None` if that is not recorded.
    pub ended: Option<Ended>,
    /// What ended it, if descriptors did and that is recorded; of several without what differs.
    pub ready: Option<ReadyRow>,
    /// How many descriptors that were, as far as they are known.
    pub descriptors: u64,
    /// How often.
    pub count: u64,
    /// How long together.
    pub total_ns: i64,
    /// The longest.
    pub max_ns: i64,
}

/// Something that the thread did, maybe several times in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// When it began, since the start of the capture.
    pub start_ns: i64,
    /// From its beginning to its end.
    pub length_ns: i64,
    /// How often it was done in a row.
    pub times: u64,
    /// Its parts in their order; each stands for all repeats.
    pub parts: Vec<Part>,
}

/// A part of a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Part {
    /// `syscall`; `syscalls` for several short ones that are not told apart; `between` two calls.
    pub kind: &'static str,
    /// The call with its file and error; of several the most frequent, each with how often.
    pub what: String,
    /// How many calls.
    pub calls: u64,
    /// Requests that they read, to be served.
    pub serves: u64,
    /// Requests that they wrote, to be answered.
    pub asks: u64,
    /// The first of these requests, and what it asked for.
    pub request: Option<String>,
    /// Lines that they logged.
    pub lines: u64,
    /// The first of these.
    pub line: Option<String>,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Time in it.
    pub total_ns: i64,
    /// Of that, on a CPU,
    pub running_ns: i64,
    /// waiting for one,
    pub runnable_ns: i64,
    /// and waiting for something else,
    pub blocked_ns: i64,
    /// mostly for this reason.
    pub blocked_by: Option<Reason>,
    /// Who ended the longest of these waits.
    pub waker: Option<String>,
    /// What ended it, if descriptors did and that is recorded.
    pub ready: Option<ReadyRow>,
}

/// Tells the story of a thread of the catalog; `None` if it was not recorded. `calls` are those that the
/// thread had a part in.
pub fn report(
    context: &Context,
    catalog: &Catalog,
    stacks: &Stacks,
    calls: &Calls,
    life: &ThreadLife,
) -> Option<StoryReport> {
    let set = ThreadSet::Some(BTreeMap::from([(life.tid, Some(vec![life.start_ts]))]));
    let mut slices: Vec<Slice> = Vec::new();
    let lanes = timeline::replay(context, catalog, stacks, &set, |_, slice| {
        slices.push(slice)
    });
    let mut times = Times::default();
    slices.iter().for_each(|slice| times.add_slice(slice));
    let lane = lanes.first()?;
    let polls = Polls::load(context, catalog);
    let teller = Teller {
        context,
        catalog,
        life,
        polls: &polls,
        shown: Window {
            from: lane.start,
            to: lane.end,
        },
    };
    let mut items = teller.calls();
    let is_filtered = context.selection.filter.is_some();
    if !is_filtered {
        let between = teller.between(&items.all);
        items.all.extend(between);
        items.all.sort_by_key(|item| (item.start, item.end));
    }
    let (served, asked) = teller.note_requests(calls, &mut items);
    teller.note_lines(calls, &mut items);
    let steps = Folding {
        context,
        items: &items,
        slices: &slices,
        waker: &|slice| teller.waker(slice),
        ready: &|slice| teller.ready(slice),
        request: &|id| {
            let call = calls.get(id)?;
            let (protocol, endpoint) = (call.protocol, call.endpoint());
            Some(format!("{}: {protocol} {endpoint}", rpc_row::id(id)))
        },
        // What was asked for by a condition is told, however short it is.
        worth_ns: if is_filtered { 0 } else { teller.worth_ns() },
    };
    Some(StoryReport {
        thread: ThreadRow::new(context, lane, &times),
        command: teller.command(),
        served,
        asked,
        waits: teller.waits(&slices),
        steps: List::new(steps.steps(), context.top),
    })
}

struct Teller<'a> {
    context: &'a Context,
    catalog: &'a Catalog,
    life: &'a ThreadLife,
    polls: &'a Polls,
    /// The part of its life in the window.
    shown: Window,
}

impl Teller<'_> {
    fn worth_ns(&self) -> i64 {
        self.shown.length_ns() / WORTH_A_STEP
    }

    fn command(&self) -> String {
        let process = self.catalog.process_at(self.life.pid, self.life.start_ts);
        process.map_or_else(String::new, |process| process.argv.join(" "))
    }

    /// Its calls, in the order of time.
    fn calls(&self) -> Items {
        let selected = EventSelection::new(self.context, self.catalog, &[EventKind::Syscall]);
        let own = |row: &Syscall| {
            let life = self.catalog.thread_at(row.tid, row.ts);
            row.tid == self.life.tid && life.is_some_and(|life| life.start_ts == self.life.start_ts)
        };
        let pids = [self.life.pid].into();
        let window = self.context.selection.window;
        let mut items = Items::default();
        scan::segments(
            self.context,
            "reading calls",
            |segment| {
                let rows = segment.rows_of::<Syscall>(window, Some(&pids));
                let own = rows.iter().filter(own);
                // A call that was entered before the window is a part of it too.
                let shown = own.filter(|row| self.shown.overlaps(row.ts, end_of(row)));
                let admitted =
                    shown.filter(|row| selected.holds(row.tid, row.ts, Details::Syscall(row)));
                admitted.map(|row| self.call(&row)).collect::<Vec<_>>()
            },
            |some| {
                let kinds = &mut items.kinds;
                items.all.extend(some.into_iter().map(|(key, item)| {
                    let kind = kinds.number(key, || self.kind(key));
                    Item { kind, ..item }
                }));
            },
        );
        items.all.sort_by_key(|item| (item.start, item.end));
        items
    }

    /// A call, without the number of its kind.
    fn call(&self, row: &Syscall) -> (Key, Item) {
        let file = row.file.and_then(|id| self.catalog.files.get(&id));
        let name = self
            .catalog
            .syscall(row.nr)
            .map_or("unknown", |spec| spec.name);
        let moves = moves_bytes(name) && file.is_some_and(|file| file.kind != FileKind::Directory);
        let moved = row
            .ret
            .filter(|_| moves)
            .and_then(|ret| u64::try_from(ret).ok());
        let item = Item {
            start: row.ts.max(self.shown.from),
            end: end_of(row).min(self.shown.to),
            bytes: moved.unwrap_or(0),
            kind: BETWEEN,
        };
        let errno = row.ret.and_then(errno::of_return);
        ((row.nr, row.file, errno), item)
    }

    /// A kind of calls in words.
    fn kind(&self, (nr, file, errno): Key) -> Kind {
        let file = file.and_then(|id| self.catalog.files.get(&id));
        let name = self.catalog.syscall_name(nr);
        let error = errno.map(|errno| format!("= {}", errno::name(errno)));
        let describe = |file: Option<String>| {
            let words = [Some(name.clone()), file, error.clone()];
            words
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
                .into()
        };
        Kind {
            name: Some(self.catalog.syscall(nr).map_or("unknown", |spec| spec.name)),
            // Connections of one kind are the same thing done again, paths are not.
            signature: describe(file.map(kind_or_path)),
            what: describe(file.map(file::label)),
        }
    }

    /// What lies between the calls, where that is long enough.
    fn between(&self, calls: &[Item]) -> Vec<Item> {
        let least = self.worth_ns();
        let mut items = Vec::new();
        let mut at = self.shown.from;
        let ends = calls.iter().map(|call| (call.start, call.end));
        for (start, end) in ends.chain([(self.shown.to, self.shown.to)]) {
            if start.saturating_sub(at) > least {
                items.push(Item {
                    start: at,
                    end: start,
                    bytes: 0,
                    kind: BETWEEN,
                });
            }
            at = at.max(end);
        }
        items
    }

    /// Notes at the calls which requests they read and wrote; tells how many of each there were.
    fn note_requests(&self, calls: &Calls, items: &mut Items) -> (u64, u64) {
        let window = self.context.selection.window;
        let (mut served, mut asked) = (0, 0);
        for (id, call) in &calls.calls {
            for role in [Role::Server, Role::Client] {
                let own = call.requester(role).filter(|by| by.tid == self.life.tid);
                let Some(own) = own.filter(|by| window.contains(by.ts)) else {
                    continue;
                };
                let mut unseen = Notes::default();
                let notes = items.notes_at(own.ts).unwrap_or(&mut unseen);
                let (all, noted) = match role {
                    Role::Server => (&mut served, &mut notes.serves),
                    Role::Client => (&mut asked, &mut notes.asks),
                };
                *all += 1;
                *noted += 1;
                notes.request.get_or_insert(*id);
            }
        }
        (served, asked)
    }

    /// Notes at the calls which lines they began.
    fn note_lines(&self, calls: &Calls, items: &mut Items) {
        let serving = Serving::new(calls);
        for row in logs::of_thread(self.context, self.catalog, &serving, self.life.tid) {
            let ts = self.context.span.from.saturating_add(row.ts_ns);
            if let Some(notes) = items.notes_at(ts) {
                notes.lines += 1;
                notes.line.get_or_insert(row.line);
            }
        }
    }

    /// What ended a poll.
    fn ready(&self, slice: &Slice) -> Option<ReadyRow> {
        let end = self.polls.of(self.life.tid, slice)?;
        Some(ReadyRow::new(self.catalog, end))
    }

    fn waker(&self, slice: &Slice) -> Option<String> {
        let waker = slice.wait.waker?;
        Some(match waker.irq {
            true => "interrupt".to_owned(),
            false => format!(
                "{}/{}",
                self.catalog.comm_at(waker.tid, slice.end),
                waker.tid
            ),
        })
    }
}

/// When a call returned; the end of time if it did not.
fn end_of(row: &Syscall) -> i64 {
    row.dur.map_or(i64::MAX, |dur| row.ts.saturating_add(dur))
}

/// What a file is without what differs between connections.
fn kind_or_path(file: &File) -> String {
    match &file.path {
        Some(path) if path.starts_with('/') => path.clone(),
        _ => file.kind.to_string(),
    }
}

/// Whether a call's return value counts bytes.
fn moves_bytes(name: &str) -> bool {
    let stems = ["read", "write", "recv", "send", "splice", "copy_file_range"];
    let is_count_of_messages = name.ends_with("mmsg");
    !is_count_of_messages && stems.iter().any(|stem| name.contains(stem))
}
