//! What the threads of a request did within it, and how it went from hand to hand.

use std::collections::BTreeSet;

use crate::{
    analysis::{
        rpc_breakdown::HandOff,
        rpc_call::Call,
        rpc_stage::{Stage, StageKind},
    },
    context::Context,
    model::{
        catalog::{Catalog, ThreadSet},
        connection::Role,
        lanes,
        slice::{Slice, State},
        stack::Stacks,
    },
    protocol::{Exchange, Span},
};

/// How many hand-overs between threads are followed.
const MAX_HOPS: usize = 16;

/// What the threads of both ends did within the window.
pub(super) struct Lanes {
    all: lanes::Lanes,
}

impl Lanes {
    pub(super) fn load(context: &Context, catalog: &Catalog, stacks: &Stacks, call: &Call) -> Self {
        let tids = |exchange: &Exchange| {
            let moved = [Some(exchange.request), exchange.response]
                .into_iter()
                .flatten();
            moved
                .flat_map(|span: Span| [span.first, span.last])
                .collect::<Vec<_>>()
        };
        let ends = [Role::Client, Role::Server]
            .map(|role| call.exchange(role).map(tids).unwrap_or_default());
        let mut set: BTreeSet<u32> = ends.iter().flatten().map(|transfer| transfer.tid).collect();
        // Any thread of the server may have had the request in between.
        let pids: BTreeSet<u32> = ends
            .iter()
            .skip(1)
            .flatten()
            .map(|transfer| transfer.pid)
            .collect();
        let lives = catalog
            .threads
            .values()
            .filter(|life| pids.contains(&life.pid));
        set.extend(lives.map(|life| life.tid));
        let set = ThreadSet::Some(set.into_iter().map(|tid| (tid, None)).collect());
        Self {
            all: lanes::Lanes::load(context, catalog, stacks, &set),
        }
    }

    /// The slices of a thread in a span, clipped to it; gaps are of unknown state.
    pub(super) fn within(&self, tid: Option<u32>, start: i64, end: i64) -> Vec<Slice> {
        let unknown = |start, end| Slice {
            start,
            end,
            state: State::Unknown,
            cpu: None,
            wait: Default::default(),
        };
        let slices = tid.map_or(&[][..], |tid| self.all.of(tid));
        let first = slices.partition_point(|slice| slice.end <= start);
        let (mut at, mut tiles) = (start, Vec::new());
        for slice in slices
            .iter()
            .skip(first)
            .take_while(|slice| slice.start < end)
        {
            let (from, to) = (slice.start.max(at), slice.end.min(end));
            if from > at {
                tiles.push(unknown(at, from));
            }
            if to > from {
                tiles.push(Slice {
                    start: from,
                    end: to,
                    ..*slice
                });
                at = to;
            }
        }
        if at < end {
            tiles.push(unknown(at, end));
        }
        tiles
    }

    /// The waits of a thread that ended in a span, the last first.
    pub(super) fn waits(&self, tid: u32, start: i64, end: i64) -> impl Iterator<Item = &Slice> {
        let slices = self.all.of(tid);
        let before = slices.get(..slices.partition_point(|slice| slice.end <= end));
        let ended = before.unwrap_or_default().iter().rev();
        ended
            .take_while(move |slice| slice.end > start)
            .filter(|slice| matches!(slice.state, State::Blocked(_)))
    }

    /// Who woke a thread with the request: the reader of it if that woke it at all, else the last
    /// thread of the server that did and had not had it yet.
    pub(super) fn waker(
        &self,
        tid: u32,
        reader: u32,
        start: i64,
        until: i64,
        had: &[(u32, i64)],
    ) -> Option<(u32, i64)> {
        let woken = |slice: &Slice| slice.wait.waker.map(|waker| (waker.tid, slice.end));
        let wakers = || self.waits(tid, start, until).filter_map(woken);
        let fresh = |waker: &(u32, i64)| {
            self.all.has(waker.0) && had.iter().all(|(tid, _)| *tid != waker.0)
        };
        wakers()
            .find(|waker| waker.0 == reader)
            .or_else(|| wakers().find(fresh))
    }

    /// Follows the request from the thread that answered back to the one that read it, by who woke
    /// whom, and divides the serving stage between them.
    pub(super) fn hand_off(&self, call: &Call, line: &mut Vec<Stage>) -> Option<HandOff> {
        let server = call.exchange(Role::Server)?;
        let (reader, writer) = (server.request.last.tid, server.response?.first.tid);
        if reader == writer {
            return None;
        }
        let at = line
            .iter()
            .position(|stage| stage.kind == StageKind::Serve)?;
        let serve = *line.get(at)?;
        let mut hops = vec![(writer, serve.end)];
        let (mut tid, mut until) = (writer, serve.end);
        while tid != reader && hops.len() < MAX_HOPS {
            // The first part of a request may be enough to hand it on.
            let begun = server.request.first.end();
            let Some(waker) = self.waker(tid, reader, begun, until, &hops) else {
                break;
            };
            (tid, until) = waker;
            hops.push(waker);
        }
        let followed = tid == reader;
        if !followed {
            return Some(HandOff {
                tids: vec![reader, writer],
                evidence: "none",
            });
        }
        hops.reverse();
        let tids = hops.iter().map(|&(tid, _)| tid).collect();
        line.splice(at..=at, divided(serve, &hops));
        Some(HandOff {
            tids,
            evidence: "wakeups",
        })
    }
}

/// The serving stage by thread: each has it until the moment that it woke the next.
fn divided(serve: Stage, hops: &[(u32, i64)]) -> Vec<Stage> {
    let mut start = serve.start;
    let mut stages = Vec::new();
    for (at, &(tid, until)) in hops.iter().enumerate() {
        let end = if at + 1 == hops.len() {
            serve.end
        } else {
            until.clamp(start, serve.end)
        };
        if end > start {
            stages.push(Stage {
                start,
                end,
                tid: Some(tid),
                ..serve
            });
        }
        start = end;
    }
    stages
}
