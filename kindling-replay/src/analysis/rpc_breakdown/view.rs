//! What a request's threads did in its stages.

use std::collections::BTreeMap;

use kindling_format::schema::Syscall;

use super::{Behind, PartRow, StageRow, SyscallPart, ThreadPart, WakerRow};
use crate::{
    analysis::{
        ready::ReadyRow,
        rpc_call::{Call, Calls},
        rpc_lanes::Lanes,
        rpc_row::{Described, RpcRow},
        rpc_stage::{Stage, StageKind},
    },
    model::{
        connection::Role,
        file,
        polls::Polls,
        slice::{Slice, State, Times},
    },
    protocol::Outcome,
    scan,
    selection::Window,
};

/// A request and what is known of the time that it took.
pub(super) struct View<'a> {
    pub(super) described: Described<'a>,
    pub(super) lanes: &'a Lanes,
    pub(super) polls: &'a Polls,
    pub(super) start: i64,
}

impl View<'_> {
    pub(super) fn stages(&self, line: &[Stage]) -> Vec<StageRow> {
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

    pub(super) fn woken(&self, reader: Option<(u32, i64)>) -> Option<WakerRow> {
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

    pub(super) fn threads(&self, call: &Call, serving: &[u32], window: Window) -> Vec<ThreadPart> {
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

    pub(super) fn syscalls(&self, serving: &[u32], line: &[Stage]) -> Vec<SyscallPart> {
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

    pub(super) fn nested(&self, calls: &Calls, serving: &[u32], line: &[Stage]) -> Vec<RpcRow> {
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
    pub(super) fn behind(&self, calls: &Calls, id: usize, line: &[Stage]) -> Behind {
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
