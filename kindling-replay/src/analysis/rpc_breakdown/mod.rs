//! `rpc ID`: one request taken apart.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    analysis::{
        rpc_call::{Call, Calls},
        rpc_lanes::Lanes,
        rpc_row::{Described, RpcRow},
        rpc_stage::{StageKind, stages},
    },
    context::{Completeness, Context},
    model::{catalog::Catalog, connection::Role, polls::Polls, slice::State, stack::Stacks},
    render::json::CaptureReport,
    selection::Window,
};

use view::View;

mod message;
mod view;

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
    let [request_line, response_line] = message::beginnings(context, call);
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
