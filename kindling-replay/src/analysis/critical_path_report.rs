//! `critical-path`: the path of one thread or request, with names.

use std::collections::BTreeMap;

use kindling_format::schema::Sample;
use serde::Serialize;

use crate::{
    analysis::{
        critical_path::{self, Piece},
        ready::ReadyRow,
    },
    context::Context,
    model::{
        catalog::{Catalog, ThreadSet},
        doing::{self, Moments},
        ended::Ended,
        file,
        lanes::Lanes,
        polls::Polls,
        select,
        sends::Sends,
        slice::State,
        stack::Stacks,
        wait_reason::Call,
    },
    render::json::List,
    scan,
    selection::Window,
};

/// The answer of `critical-path` for one thread, request or window.
#[derive(Debug, Clone, Serialize)]
pub struct PathReport {
    /// Whose path it is, in words.
    pub of: String,
    /// The thread that it ends with.
    pub thread: PathThread,
    /// When it begins, since the start of the capture.
    pub from_ns: i64,
    /// When it ends.
    pub to_ns: i64,
    /// The time between: all pieces together.
    pub length_ns: i64,
    /// The time in each state.
    pub by_state_ns: BTreeMap<State, i64>,
    /// The pieces put together by thread and state, the most time first.
    pub parts: List<PathPart>,
    /// The pieces in the order of time; with `--top`, the longest of them.
    #[serde(flatten)]
    pub pieces: List<PathPiece>,
}

/// A thread of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PathThread {
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
}

/// What one thread in one state added to a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathPart {
    /// The thread.
    #[serde(flatten)]
    pub thread: PathThread,
    /// The state: `running`, `runnable`, the reason of a wait that nobody on the path ended, `unknown`.
    pub state: State,
    /// How much.
    pub ns: i64,
    /// In how many pieces.
    pub pieces: u64,
}

/// A piece of a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathPiece {
    /// When it begins, since the start of the capture.
    pub start_ns: i64,
    /// How long it is.
    pub length_ns: i64,
    /// The thread.
    #[serde(flatten)]
    pub thread: PathThread,
    /// What it did.
    pub state: State,
    /// The CPU that it had, or waited for.
    pub cpu: Option<u16>,
    /// How many threads waited, each for the next, for this one.
    pub depth: usize,
    /// The syscall that it waited in.
    pub syscall: Option<String>,
    /// What that worked on.
    pub file: Option<String>,
    /// How that call ended, if it waited in one and that is recorded.
    pub ended: Option<Ended>,
    /// What ended it, if descriptors did and that is recorded.
    pub ready: Option<ReadyRow>,
    /// Who made it go on here, if the path comes from there.
    pub woken_by: Option<PathWaker>,
    /// Where it was, from the outermost function: where it left the CPU if it was blocked, where samples
    /// found it most often if it ran.
    pub frames: Vec<String>,
}

/// Who made a thread go on, and what it did then.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathWaker {
    /// The thread; of an interrupt, whom that interrupted.
    #[serde(flatten)]
    pub thread: PathThread,
    /// Whether an interrupt did it.
    pub interrupt: bool,
    /// The syscall in which it did that; `None` if that is not recorded.
    pub syscall: Option<String>,
    /// What the syscall worked on.
    pub file: Option<String>,
}

/// What a path is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// In words.
    pub of: String,
    /// The thread that it ends with; `None` for the selected one that ran last.
    pub tid: Option<u32>,
    /// From when to when.
    pub window: Window,
}

/// The path that is asked for; `None` if no selected thread lived in the window.
pub fn report(
    context: &Context,
    catalog: &Catalog,
    stacks: &Stacks,
    question: Question,
) -> Option<PathReport> {
    let lanes = Lanes::load(context, catalog, stacks, &ThreadSet::All);
    let sends = Sends::load(context, catalog);
    let set = select::threads(context, catalog);
    let tid = question
        .tid
        .or_else(|| last_to_run(&lanes, |tid, ts| set.contains(catalog, tid, ts)))?;
    let Window { from, to } = question.window;
    let last = lanes.of(tid).last()?.end;
    let pieces = critical_path::walk(&lanes, &sends, tid, from, to.min(last));
    let names = Names::load(context, catalog, stacks, &pieces);
    let end = pieces.last().map_or(from, |piece| piece.slice.end);
    Some(PathReport {
        of: question.of,
        thread: names.thread(tid, end),
        from_ns: context.offset_ns(from),
        to_ns: context.offset_ns(end),
        length_ns: end.saturating_sub(from),
        by_state_ns: by_state(&pieces),
        parts: names.parts(&pieces),
        pieces: names.pieces(&pieces),
    })
}

fn by_state(pieces: &[Piece]) -> BTreeMap<State, i64> {
    let mut times: BTreeMap<State, i64> = BTreeMap::new();
    for piece in pieces {
        let ns = times.entry(piece.slice.state).or_default();
        *ns = ns.saturating_add(piece.slice.length_ns());
    }
    times
}

/// The thread that was the last to run; of several the one that ran longest in that stretch.
fn last_to_run(lanes: &Lanes, selected: impl Fn(u32, i64) -> bool) -> Option<u32> {
    let runs = lanes.iter().filter_map(|(tid, slices)| {
        let ran = |slice: &&crate::model::slice::Slice| slice.state == State::Running;
        let last = slices.iter().rfind(ran)?;
        let key = (last.end, last.length_ns(), std::cmp::Reverse(tid));
        selected(tid, last.start).then_some(key)
    });
    runs.max().map(|(_, _, tid)| tid.0)
}

/// Everything that the pieces are told with.
struct Names<'a> {
    context: &'a Context,
    catalog: &'a Catalog,
    stacks: &'a Stacks,
    calls: BTreeMap<(u32, i64), Call>,
    polls: Polls,
    /// Where samples found the thread of a running piece, by the place of the piece.
    sampled: BTreeMap<usize, u32>,
}

impl<'a> Names<'a> {
    fn load(
        context: &'a Context,
        catalog: &'a Catalog,
        stacks: &'a Stacks,
        pieces: &[Piece],
    ) -> Self {
        let mut moments = Moments::new();
        for piece in pieces {
            if let Some(waker) = piece.woken_by.filter(|waker| !waker.irq) {
                let of_waker = moments.entry(waker.tid).or_default();
                of_waker.insert(piece.slice.start);
            }
        }
        Self {
            context,
            catalog,
            stacks,
            calls: doing::calls_at(context, &moments),
            polls: Polls::load(context, catalog),
            sampled: sampled(context, pieces),
        }
    }

    fn thread(&self, tid: u32, ts: i64) -> PathThread {
        let life = self.catalog.thread_at(tid, ts);
        PathThread {
            pid: life.map_or(0, |life| life.pid),
            tid,
            comm: life.map_or("", |life| life.comm_at(ts)).to_owned(),
        }
    }

    fn file(&self, id: Option<u32>) -> Option<String> {
        let file = id.and_then(|id| self.catalog.files.get(&id));
        file.map(file::label)
    }

    fn parts(&self, pieces: &[Piece]) -> List<PathPart> {
        let mut parts: BTreeMap<(u32, State), (i64, u64, i64)> = BTreeMap::new();
        for piece in pieces {
            let part = parts.entry((piece.tid, piece.slice.state)).or_default();
            part.0 = part.0.saturating_add(piece.slice.length_ns());
            part.1 += 1;
            part.2 = piece.slice.start;
        }
        let row = |((tid, state), (ns, pieces, ts))| PathPart {
            thread: self.thread(tid, ts),
            state,
            ns,
            pieces,
        };
        let mut rows: Vec<PathPart> = parts.into_iter().map(row).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.ns), row.thread.tid, row.state));
        List::new(rows, self.context.top)
    }

    fn pieces(&self, pieces: &[Piece]) -> List<PathPiece> {
        let mut places: Vec<usize> = (0..pieces.len()).collect();
        if let Some(top) = self.context.top.filter(|top| *top < pieces.len()) {
            let length = |at: &usize| pieces.get(*at).map_or(0, |piece| piece.slice.length_ns());
            places.sort_by_key(|at| (std::cmp::Reverse(length(at)), *at));
            places.truncate(top);
            places.sort_unstable();
        }
        let rows = places
            .into_iter()
            .filter_map(|at| Some(self.piece(at, pieces.get(at)?)));
        List {
            total: pieces.len() as u64,
            rows: rows.collect(),
        }
    }

    fn piece(&self, at: usize, piece: &Piece) -> PathPiece {
        let slice = &piece.slice;
        let stack = slice.wait.stack.or(self.sampled.get(&at).copied());
        PathPiece {
            start_ns: self.context.offset_ns(slice.start),
            length_ns: slice.length_ns(),
            thread: self.thread(piece.tid, slice.start),
            state: slice.state,
            cpu: slice.cpu,
            depth: piece.depth,
            syscall: slice.wait.syscall.map(|nr| self.catalog.syscall_name(nr)),
            file: self.file(slice.wait.file),
            ended: slice.wait.ended,
            ready: self
                .polls
                .of(piece.tid, slice)
                .map(|end| ReadyRow::new(self.catalog, end)),
            woken_by: piece.woken_by.map(|waker| {
                let call = self.calls.get(&(waker.tid, slice.start));
                PathWaker {
                    thread: self.thread(waker.tid, slice.start),
                    interrupt: waker.irq,
                    syscall: call.map(|call| self.catalog.syscall_name(call.nr)),
                    file: self.file(call.and_then(|call| call.file)),
                }
            }),
            frames: stack.map_or_else(Vec::new, |stack| self.stacks.labels(stack)),
        }
    }
}

/// The stack that samples found most often in each running piece.
fn sampled(context: &Context, pieces: &[Piece]) -> BTreeMap<usize, u32> {
    let mut running: BTreeMap<(u32, i64), usize> = BTreeMap::new();
    for (at, piece) in pieces.iter().enumerate() {
        if piece.slice.state == State::Running {
            running.insert((piece.tid, piece.slice.start), at);
        }
    }
    let mut found: BTreeMap<(usize, u32), u64> = BTreeMap::new();
    scan::segments(
        context,
        "reading samples",
        |segment| {
            let mut found = Vec::new();
            for row in segment
                .rows_within::<Sample>(context.selection.window)
                .iter()
            {
                let before = running.range((row.tid, i64::MIN)..=(row.tid, row.ts));
                let at = before.last().map(|(_, at)| *at);
                let piece = at.and_then(|at| Some((at, pieces.get(at)?)));
                if let (Some((at, piece)), Some(stack)) = (piece, row.stack)
                    && row.ts < piece.slice.end
                {
                    found.push((at, stack));
                }
            }
            found
        },
        |some| {
            for key in some {
                *found.entry(key).or_default() += 1;
            }
        },
    );
    let mut most: BTreeMap<usize, (u64, u32)> = BTreeMap::new();
    for ((at, stack), count) in found {
        let best = most.entry(at).or_insert((count, stack));
        if count > best.0 {
            *best = (count, stack);
        }
    }
    let stacks = most.into_iter().map(|(at, (_, stack))| (at, stack));
    stacks.collect()
}
