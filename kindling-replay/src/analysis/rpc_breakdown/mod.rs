//! `rpc ID`: one request taken apart.

use std::collections::BTreeMap;

use kindling_format::schema::{Direction, Payload, Syscall, Tls};
use serde::Serialize;

use crate::{
    analysis::{
        ready::ReadyRow,
        rpc_call::{Call, Calls},
        rpc_lanes::Lanes,
        rpc_row::{Described, RpcRow},
        rpc_stage::{Stage, StageKind, stages},
    },
    context::{Completeness, Context},
    model::{
        catalog::Catalog,
        connection::Role,
        file,
        polls::Polls,
        slice::{Slice, State, Times},
        stack::Stacks,
    },
    protocol::{self, Outcome, Side},
    render::json::CaptureReport,
    scan,
    selection::Window,
};

/// How many characters of a message are shown.
const LINE_CHARS: usize = 160;

/// The answer of `rpc ID`.
#[derive(Debug, Clone, Serialize)]
pub struct BreakdownReport {
    /// The same as in every answer.
    #[serde(skip)]
    pub capture: CaptureReport,
    /// The same as in every answer.
    #[serde(skip)]
    pub completeness: Completeness,
    /// The request, as `rpcs` lists it.
    #[serde(flatten)]
    pub rpc: RpcRow,
    /// The beginning of the request, if it was recorded.
    pub request_line: Option<String>,
    /// The beginning of the response, if it was recorded.
    pub response_line: Option<String>,
    /// The stages; their durations add up to `latency_ns`.
    pub stages: Vec<StageRow>,
    /// How the server's threads handed the request on; `None` if one thread read and answered it.
    pub hand_off: Option<HandOff>,
    /// Requests that the serving thread had in hand while this one waited.
    pub behind: Behind,
    /// The threads involved, with their time within the request.
    pub threads: Vec<ThreadPart>,
    /// Syscalls of the serving threads between reading the request and writing the response, the most
    /// time first.
    pub syscalls: Vec<SyscallPart>,
    /// Requests that the serving threads made meanwhile.
    pub nested: Vec<RpcRow>,
    /// Who woke the server's thread to read the request, if it slept.
    pub server_woken_by: Option<WakerRow>,
    /// Who woke the client's thread to read the response, if it slept.
    pub client_woken_by: Option<WakerRow>,
}

/// A stage of the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageRow {
    /// What happens in it.
    pub stage: StageKind,
    /// When it begins, since the start of the request.
    pub start_ns: i64,
    /// How long it is.
    pub duration_ns: i64,
    /// The thread in charge; `None` if it was not recorded.
    pub tid: Option<u32>,
    /// What that thread did; adds up to `duration_ns`.
    pub parts: Vec<PartRow>,
}

/// What the thread in charge did for a part of a stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartRow {
    /// `running`, `runnable`, `unknown`, or why it was blocked.
    pub state: State,
    /// The syscall and the file that it was blocked in.
    pub detail: Option<String>,
    /// The thread.
    pub tid: Option<u32>,
    /// How long altogether.
    pub duration_ns: i64,
    /// In how many stretches.
    pub count: u64,
}

/// How a request went from the thread that read it to the one that answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HandOff {
    /// The threads in the order in which they had it.
    pub tids: Vec<u32>,
    /// `wakeups`: each was woken by the one before it. `none`: the capture does not show how the last
    /// came by it.
    pub evidence: &'static str,
}

/// Who the request waited for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Behind {
    /// How many requests the serving thread had read and not answered, at any moment of the wait.
    pub count: u64,
    /// The one that it had for the longest part of the wait.
    pub longest: Option<RpcRow>,
    /// How long it had that one while this one waited.
    pub longest_ns: i64,
}

/// A thread's time within the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThreadPart {
    /// `client` or `server`.
    pub role: &'static str,
    /// Its process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// On a CPU.
    pub running_ns: i64,
    /// Waiting for a CPU.
    pub runnable_ns: i64,
    /// Blocked, by reason.
    pub blocked_by_ns: BTreeMap<&'static str, i64>,
    /// Not known.
    pub unknown_ns: i64,
}

/// The calls of one syscall.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SyscallPart {
    /// Its name.
    pub name: String,
    /// How often it was called.
    pub count: u64,
    /// How often it failed.
    pub errors: u64,
    /// The time in it, within the request.
    pub duration_ns: i64,
}

/// Who ended a wait.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WakerRow {
    /// The thread; 0 is the idle task.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Whether an interrupt did it, and the thread was only there.
    pub irq: bool,
    /// When, since the start of the request.
    pub at_ns: i64,
}

/// Takes a call apart. The selected window must be the call's, see [`Described::window`], and `calls` must have all
/// that touch it.
pub fn report(
    context: &Context,
    catalog: &Catalog,
    stacks: &Stacks,
    calls: &Calls,
    id: usize,
) -> Option<BreakdownReport> {
    let call = calls.get(id)?;
    let described = Described { context, catalog };
    let rpc = described.row(id, call);
    let Window {
        from: start,
        to: end,
    } = context.selection.window;
    let lanes = Lanes::load(context, catalog, stacks, call);
    let mut line = match rpc.latency_ns {
        Some(_) => stages(call, end),
        None => Vec::new(),
    };
    let hand_off = lanes.hand_off(call, &mut line);
    let serving = serving(call, hand_off.as_ref());
    let polls = Polls::load(context, catalog);
    let view = View {
        described,
        lanes: &lanes,
        polls: &polls,
        start,
    };
    let [request_line, response_line] = lines(context, call);
    Some(BreakdownReport {
        capture: CaptureReport::new(context),
        request_line,
        response_line,
        stages: view.stages(&line),
        behind: view.behind(calls, id, &line),
        threads: view.threads(
            call,
            &serving,
            Window {
                from: start,
                to: end,
            },
        ),
        syscalls: view.syscalls(&serving, &line),
        nested: view.nested(calls, &serving, &line),
        server_woken_by: view.woken(call.requester(Role::Server).map(|t| (t.tid, t.end()))),
        client_woken_by: view.woken(
            call.exchange(Role::Client).and_then(|client| {
                Some((client.response?.first.tid, client.response?.first.end()))
            }),
        ),
        hand_off,
        completeness: context.completeness(),
        rpc,
    })
}

/// The threads of the server that had the request.
fn serving(call: &Call, hand_off: Option<&HandOff>) -> Vec<u32> {
    match (hand_off, call.exchange(Role::Server)) {
        (Some(hand_off), _) => hand_off.tids.clone(),
        (None, Some(server)) => vec![
            server
                .response
                .map_or(server.request.last.tid, |r| r.first.tid),
        ],
        (None, None) => Vec::new(),
    }
}

struct View<'a> {
    described: Described<'a>,
    lanes: &'a Lanes,
    polls: &'a Polls,
    start: i64,
}

impl View<'_> {
    fn stages(&self, line: &[Stage]) -> Vec<StageRow> {
        let row = |stage: &Stage| StageRow {
            stage: stage.kind,
            start_ns: stage.start.saturating_sub(self.start),
            duration_ns: stage.end.saturating_sub(stage.start),
            tid: stage.tid,
            parts: self.parts(stage),
        };
        line.iter().map(row).collect()
    }

    /// What the thread in charge did, the most time first.
    fn parts(&self, stage: &Stage) -> Vec<PartRow> {
        let mut parts: BTreeMap<(State, Option<String>), (i64, u64)> = BTreeMap::new();
        for slice in self.lanes.within(stage.tid, stage.start, stage.end) {
            let detail = self.detail(stage.tid, &slice);
            let part = parts.entry((slice.state, detail)).or_default();
            part.0 = part.0.saturating_add(slice.length_ns());
            part.1 += 1;
        }
        let row = |((state, detail), (duration_ns, count))| PartRow {
            state,
            detail,
            tid: stage.tid,
            duration_ns,
            count,
        };
        let mut rows: Vec<PartRow> = parts.into_iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.duration_ns));
        rows
    }

    /// Where a thread was blocked: `epoll_wait`, `read pipe 123`; and what ended that, if it was a poll.
    fn detail(&self, tid: Option<u32>, slice: &Slice) -> Option<String> {
        let catalog = self.described.catalog;
        let name = catalog.syscall_name(
            slice
                .wait
                .syscall
                .filter(|_| matches!(slice.state, State::Blocked(_)))?,
        );
        let file = slice.wait.file.and_then(|id| catalog.files.get(&id));
        let place = file.map_or(name.clone(), |file| format!("{name} {}", file::label(file)));
        Some(match tid.and_then(|tid| self.polls.of(tid, slice)) {
            Some(end) => format!("{place}, ended by {}", ReadyRow::new(catalog, end)),
            None => place,
        })
    }

    fn woken(&self, reader: Option<(u32, i64)>) -> Option<WakerRow> {
        let (tid, until) = reader?;
        let wait = self.lanes.waits(tid, self.start, until).next()?;
        let waker = wait.wait.waker?;
        let comm = match waker.tid {
            0 => "idle",
            tid => self.described.catalog.comm_at(tid, wait.end),
        };
        let at_ns = wait.end.saturating_sub(self.start);
        Some(WakerRow {
            tid: waker.tid,
            comm: comm.to_owned(),
            irq: waker.irq,
            at_ns,
        })
    }

    fn threads(&self, call: &Call, serving: &[u32], window: Window) -> Vec<ThreadPart> {
        let client = call
            .requester(Role::Client)
            .map(|transfer| ("client", transfer.tid));
        let servers = serving.iter().map(|&tid| ("server", tid));
        let part = |(role, tid): (&'static str, u32)| {
            let mut times = Times::default();
            let slices = self.lanes.within(Some(tid), window.from, window.to);
            slices
                .iter()
                .for_each(|slice| times.add(slice.state, slice.length_ns()));
            let life = self.described.catalog.thread_at(tid, window.to);
            ThreadPart {
                role,
                pid: life.map_or(0, |life| life.pid),
                tid,
                comm: life.map_or("", |life| life.comm_at(window.to)).to_owned(),
                running_ns: times.running_ns,
                runnable_ns: times.runnable_ns,
                blocked_by_ns: times
                    .by_reason()
                    .filter(|(_, ns)| *ns > 0)
                    .map(|(reason, ns)| (reason.word(), ns))
                    .collect(),
                unknown_ns: times.unknown_ns,
            }
        };
        client.into_iter().chain(servers).map(part).collect()
    }

    fn syscalls(&self, serving: &[u32], line: &[Stage]) -> Vec<SyscallPart> {
        let Some(window) = serving_window(line) else {
            return Vec::new();
        };
        let mut parts: BTreeMap<u16, SyscallPart> = BTreeMap::new();
        let Described { context, catalog } = self.described;
        let inside = |row: &Syscall| serving.contains(&row.tid) && window.contains(row.ts);
        scan::segments(
            context,
            "reading syscalls",
            |segment| {
                segment
                    .rows_within::<Syscall>(window)
                    .iter()
                    .filter(inside)
                    .collect::<Vec<_>>()
            },
            |rows| {
                for row in rows {
                    let end = row.dur.map_or(window.to, |dur| row.ts.saturating_add(dur));
                    let part = parts.entry(row.nr).or_insert_with(|| SyscallPart {
                        name: catalog.syscall_name(row.nr),
                        count: 0,
                        errors: 0,
                        duration_ns: 0,
                    });
                    part.count += 1;
                    part.errors += u64::from(row.ret.is_some_and(|ret| (-4095..0).contains(&ret)));
                    let time = end.min(window.to).saturating_sub(row.ts);
                    part.duration_ns = part.duration_ns.saturating_add(time);
                }
            },
        );
        let mut parts: Vec<SyscallPart> = parts.into_values().collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.duration_ns));
        parts
    }

    fn nested(&self, calls: &Calls, serving: &[u32], line: &[Stage]) -> Vec<RpcRow> {
        let Some(window) = serving_window(line) else {
            return Vec::new();
        };
        let inside = |call: &Call| {
            let client = call
                .exchange(Role::Client)
                .map(|client| client.request.first);
            client.is_some_and(|made| serving.contains(&made.tid) && window.contains(made.ts))
        };
        let nested = calls.calls.iter().filter(|(_, call)| inside(call));
        nested
            .map(|(id, call)| self.described.row(*id, call))
            .collect()
    }

    /// The requests that the thread which was to read this one had in hand.
    fn behind(&self, calls: &Calls, id: usize, line: &[Stage]) -> Behind {
        let mut behind = Behind::default();
        let queue = line.iter().find(|stage| stage.kind == StageKind::Queue);
        let Some(&Stage {
            start,
            end,
            tid: Some(tid),
            ..
        }) = queue
        else {
            return behind;
        };
        let mut longest = None;
        for (other, call) in calls.calls.iter().filter(|(other, _)| *other != id) {
            let Some(server) = call
                .exchange(Role::Server)
                .filter(|s| s.request.last.tid == tid)
            else {
                continue;
            };
            let done = server
                .response
                .map_or(i64::MAX, |response| response.last.end());
            let Some((from, to)) = Window {
                from: start,
                to: end,
            }
            .clip(server.request.last.ts, done) else {
                continue;
            };
            let held = if server.outcome == Outcome::NoAnswer {
                0
            } else {
                to.saturating_sub(from)
            };
            behind.count += 1;
            if held > behind.longest_ns {
                (behind.longest_ns, longest) = (held, Some((other, call)));
            }
        }
        behind.longest = longest.map(|(other, call)| self.described.row(*other, call));
        behind
    }
}

/// From where the server had the request to where it began to answer.
fn serving_window(line: &[Stage]) -> Option<Window> {
    let serve = |stage: &&Stage| {
        matches!(
            stage.kind,
            StageKind::Serve | StageKind::Receive | StageKind::Respond | StageKind::Unanswered
        )
    };
    let first = line.iter().find(serve)?;
    let last = line.iter().rfind(serve)?;
    Some(Window {
        from: first.start,
        to: last.end,
    })
}

/// The first bytes of request and response in words, from the end that speaks for the call.
fn lines(context: &Context, call: &Call) -> [Option<String>; 2] {
    let role = if call.client.is_some() {
        Role::Client
    } else {
        Role::Server
    };
    let (Some(file), Some(exchange)) = (call.file(role), call.exchange(role)) else {
        return [None, None];
    };
    let Some(protocol) = protocol::named(call.protocol) else {
        return [None, None];
    };
    let wanted = [
        (Side::Request, Some(exchange.request)),
        (Side::Response, exchange.response),
    ];
    wanted.map(|(side, span)| {
        let span = span?;
        let direction = match (side, role) {
            (Side::Request, Role::Client) | (Side::Response, Role::Server) => Direction::Out,
            _ => Direction::In,
        };
        let mut bytes = Vec::new();
        let holds = |row: &Payload| {
            let begins = row.offset <= span.start
                && span.start < row.offset.saturating_add(row.data.len() as u64);
            let is_plaintext = row.tls != Tls::No;
            row.file == file && row.direction == direction && is_plaintext == call.tls && begins
        };
        let moment = Window {
            from: span.first.ts,
            to: span.first.end(),
        };
        scan::segments(
            context,
            "reading payloads",
            |segment| segment.rows_within::<Payload>(moment).iter().find(holds),
            |row| {
                if let Some(row) = row {
                    let skip = usize::try_from(span.start - row.offset).unwrap_or(usize::MAX);
                    let length = usize::try_from(span.bytes()).unwrap_or(usize::MAX);
                    bytes = row.data.into_iter().skip(skip).take(length).collect();
                }
            },
        );
        (!bytes.is_empty()).then(|| protocol.shown(&bytes, LINE_CHARS))
    })
}
