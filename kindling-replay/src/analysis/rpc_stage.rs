//! Where the time of a request went: stages that follow each other and add up to its latency, each
//! divided by what the thread in charge of it did.

use serde::Serialize;

use crate::{
    analysis::rpc_call::Call,
    model::connection::Role,
    protocol::{Exchange, Span, Transfer},
};

/// A stretch of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// What happens in it.
    pub kind: StageKind,
    /// Its first moment.
    pub start: i64,
    /// The moment behind its last.
    pub end: i64,
    /// Who is in charge: what that thread does is what the time is spent on. `None` if it was not
    /// recorded.
    pub tid: Option<u32>,
}

/// What happens in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// The client writes the request.
    Send,
    /// The request is on its way, or waits for the server to read it.
    Queue,
    /// The server reads the rest of the request.
    Receive,
    /// The server has the request and has not begun to write the response.
    Serve,
    /// The server writes the response.
    Respond,
    /// The response is on its way, or waits for the client to read it.
    Return,
    /// The client reads the rest of the response.
    Read,
    /// Network and server, of which nothing was recorded.
    Remote,
    /// Nothing more was seen of the request until its connection or the recording ended.
    Unanswered,
}

impl StageKind {
    /// The stage in words.
    pub fn words(self) -> &'static str {
        match self {
            StageKind::Send => "client sends the request",
            StageKind::Queue => "request waits for the server",
            StageKind::Receive => "server reads the rest of it",
            StageKind::Serve => "server works on it",
            StageKind::Respond => "server writes the response",
            StageKind::Return => "response waits for the client",
            StageKind::Read => "client reads the rest of it",
            StageKind::Remote => "network and server (not recorded)",
            StageKind::Unanswered => "nothing more happens",
        }
    }
}

/// The stages of a call that began at its start and ended, or was given up, at `end`.
pub fn stages(call: &Call, end: i64) -> Vec<Stage> {
    let (client, server) = (call.exchange(Role::Client), call.exchange(Role::Server));
    let mut line = Line {
        at: call.start(),
        end,
        stages: Vec::new(),
    };
    if let Some(client) = client {
        let sent = client.request.last.end();
        // The server may have the bytes before the client's syscall returns.
        let had = server.map_or(sent, |server| server.request.first.end());
        line.until(StageKind::Send, sent.min(had), Some(client.request.first));
    }
    match server {
        Some(server) => line.server(client, server),
        None => {
            let first = client
                .and_then(|client| client.response)
                .map(|response| response.first.end());
            if let Some(first) = first {
                line.until(StageKind::Remote, first, None);
            }
        }
    }
    if let Some(response) = client.and_then(|client| client.response) {
        line.until(
            StageKind::Return,
            response.first.end(),
            Some(response.first),
        );
        line.until(StageKind::Read, response.last.end(), Some(response.last));
    }
    let answered = call.end().is_some();
    let last = line.stages.last().map(|stage| (stage.kind, stage.tid));
    let in_charge = server.map(|server| server.request.last);
    match last {
        // What remains behind the last byte that was seen is nobody's.
        _ if !answered => line.until(StageKind::Unanswered, end, in_charge),
        Some((kind, tid)) => line.push(kind, end, tid),
        None => line.push(StageKind::Serve, end, None),
    }
    line.stages
}

struct Line {
    at: i64,
    end: i64,
    stages: Vec<Stage>,
}

impl Line {
    fn server(&mut self, client: Option<&Exchange>, server: &Exchange) {
        let (request, response) = (server.request, server.response);
        if client.is_some() {
            self.until(StageKind::Queue, request.first.end(), Some(request.first));
        }
        self.until(StageKind::Receive, request.last.end(), Some(request.last));
        let Some(Span { first, last, .. }) = response else {
            return;
        };
        self.until(StageKind::Serve, first.ts, Some(first));
        let read = client
            .and_then(|client| client.response)
            .map(|response| response.first.end());
        let written = read.map_or(last.end(), |read| last.end().min(read));
        self.until(StageKind::Respond, written, Some(first));
    }

    /// The next stage lasts until a moment; clocks of two CPUs may disagree, the line does not go back.
    fn until(&mut self, kind: StageKind, moment: i64, thread: Option<Transfer>) {
        self.push(kind, moment, thread.map(|thread| thread.tid));
    }

    fn push(&mut self, kind: StageKind, moment: i64, tid: Option<u32>) {
        let moment = moment.clamp(self.at, self.end.max(self.at));
        if moment > self.at {
            match self.stages.last_mut() {
                Some(last) if last.kind == kind && last.tid == tid => last.end = moment,
                _ => self.stages.push(Stage {
                    kind,
                    start: self.at,
                    end: moment,
                    tid,
                }),
            }
            self.at = moment;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Outcome;

    fn exchange(tid: u32, request: [(i64, i64); 2], response: Option<[(i64, i64); 2]>) -> Exchange {
        let transfer = |(ts, end): (i64, i64)| Transfer {
            ts,
            dur: end - ts,
            pid: tid,
            tid,
        };
        let span = |[a, b]: [(i64, i64); 2]| Span {
            start: 0,
            end: 1,
            first: transfer(a),
            last: transfer(b),
        };
        Exchange {
            endpoint: "e".into(),
            outcome: if response.is_some() {
                Outcome::Ok
            } else {
                Outcome::NoAnswer
            },
            error: None,
            status: None,
            request: span(request),
            response: response.map(span),
            inferred: false,
        }
    }

    fn check(
        client: Option<Exchange>,
        server: Option<Exchange>,
        end: i64,
        expect: &[(StageKind, i64, Option<u32>)],
    ) {
        let end_of = |exchange| Some((1, exchange));
        let call = Call {
            protocol: "http",
            tls: false,
            client: client.and_then(end_of),
            server: server.and_then(end_of),
        };
        let found = stages(&call, end);
        let shown: Vec<_> = found
            .iter()
            .map(|s| (s.kind, s.end - s.start, s.tid))
            .collect();
        assert_eq!(shown, expect);
        assert_eq!(
            found.iter().map(|s| s.end - s.start).sum::<i64>(),
            end - call.start()
        );
        assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn stages_add_up_to_the_latency() {
        use StageKind::*;
        let client = || exchange(1, [(100, 110); 2], Some([(120, 180), (185, 200)]));
        let server = || exchange(2, [(90, 125), (130, 135)], Some([(160, 165); 2]));
        check(
            Some(client()),
            Some(server()),
            200,
            &[
                (Send, 10, Some(1)),
                (Queue, 15, Some(2)),
                (Receive, 10, Some(2)),
                (Serve, 25, Some(2)),
                (Respond, 5, Some(2)),
                (Return, 15, Some(1)),
                (Read, 20, Some(1)),
            ],
        );
        check(
            Some(client()),
            None,
            200,
            &[(Send, 10, Some(1)), (Remote, 70, None), (Read, 20, Some(1))],
        );
        check(
            None,
            Some(server()),
            165,
            &[
                (Receive, 10, Some(2)),
                (Serve, 25, Some(2)),
                (Respond, 5, Some(2)),
            ],
        );
    }

    #[test]
    fn a_server_that_is_faster_than_the_clients_syscall_takes_nothing_twice() {
        use StageKind::*;
        let client = exchange(1, [(100, 140); 2], Some([(141, 150); 2]));
        let server = exchange(2, [(90, 120); 2], Some([(130, 160); 2]));
        check(
            Some(client),
            Some(server),
            150,
            &[
                (Send, 20, Some(1)),
                (Serve, 10, Some(2)),
                (Respond, 20, Some(2)),
            ],
        );
    }

    #[test]
    fn an_unanswered_request_waits_where_it_was_last_seen() {
        use StageKind::*;
        let client = || exchange(1, [(100, 110); 2], None);
        let server = exchange(2, [(90, 130); 2], None);
        check(
            Some(client()),
            None,
            300,
            &[(Send, 10, Some(1)), (Unanswered, 190, None)],
        );
        check(
            Some(client()),
            Some(server),
            300,
            &[
                (Send, 10, Some(1)),
                (Queue, 20, Some(2)),
                (Unanswered, 170, Some(2)),
            ],
        );
    }
}
