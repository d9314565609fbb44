//! Calls: each request of the capture once, with both ends where both were recorded.

use kindling_format::schema::{Loss, Payload, Table};

use crate::{
    analysis::rpc_join::Joiner,
    context::Context,
    model::{
        catalog::Catalog,
        connection::{Connections, Role},
        stream::{self, Stream},
    },
    protocol::{Doubts, Exchange, Outcome, Transfer},
    scan,
    selection::Window,
};

/// A request with its response.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The protocol.
    pub protocol: &'static str,
    /// Whether it went through TLS.
    pub tls: bool,
    /// What the client saw, with its file; `None` if that end was not recorded.
    pub client: Option<(u32, Exchange)>,
    /// What the server saw, likewise.
    pub server: Option<(u32, Exchange)>,
}

/// Some calls of a capture, in memory. What only counts requests takes them one by one from [`each`].
#[derive(Debug, Default)]
pub struct Calls {
    /// Each with its id, which is its place among all calls in the order of their keys.
    pub calls: Vec<(usize, Call)>,
    /// How many there are in the capture.
    pub total: usize,
}

/// The order of all calls of a capture, without what is in them.
#[derive(Debug, Default)]
pub struct CallOrder(Vec<(CallKey, u32)>);

/// What orders calls: by their start, and those of one moment by their ends and place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallKey {
    /// When the call began.
    pub start: i64,
    /// Its file, 0 if that end was not recorded.
    client: u32,
    server: u32,
    offset: u64,
}

impl Call {
    /// The end that speaks for the call: the client's if it was recorded.
    pub fn seen(&self) -> Option<&Exchange> {
        let (client, server) = (self.exchange(Role::Client), self.exchange(Role::Server));
        match (client, server) {
            // What the client's end could not see, the server's may know.
            (Some(a), Some(b))
                if a.outcome == Outcome::Unknown && b.outcome != Outcome::Unknown =>
            {
                server
            }
            _ => client.or(server),
        }
    }

    /// What one end saw.
    pub fn exchange(&self, role: Role) -> Option<&Exchange> {
        let end = match role {
            Role::Client => &self.client,
            Role::Server => &self.server,
        };
        end.as_ref().map(|(_, exchange)| exchange)
    }

    /// The file of one end.
    pub fn file(&self, role: Role) -> Option<u32> {
        let end = match role {
            Role::Client => &self.client,
            Role::Server => &self.server,
        };
        end.as_ref().map(|(file, _)| *file)
    }

    /// The operation, from the end that knows it.
    pub fn endpoint(&self) -> &str {
        let known = |exchange: &&Exchange| &*exchange.endpoint != "?";
        let ends = [Role::Client, Role::Server].map(|role| self.exchange(role));
        ends.into_iter()
            .flatten()
            .find(known)
            .map_or("?", |exchange| &*exchange.endpoint)
    }

    /// When the call began: when the client sent the request, else when the server had it.
    pub fn start(&self) -> i64 {
        match (self.exchange(Role::Client), self.exchange(Role::Server)) {
            (Some(client), _) => client.request.first.ts,
            (None, Some(server)) => server.request.first.end(),
            (None, None) => 0,
        }
    }

    /// When it ended: when the client had the whole response, else when the server had sent it;
    /// `None` if there was none.
    pub fn end(&self) -> Option<i64> {
        let response = self.seen()?.response?;
        // A response that never ended is no answer; what is not known has no end either.
        let answered = matches!(self.outcome(), Outcome::Ok | Outcome::Error);
        answered.then(|| response.last.end().max(self.start()))
    }

    /// What became of it.
    pub fn outcome(&self) -> Outcome {
        self.seen()
            .map_or(Outcome::Unknown, |exchange| exchange.outcome)
    }

    /// The thread of one end that read or wrote the request.
    pub fn requester(&self, role: Role) -> Option<Transfer> {
        let request = self.exchange(role)?.request;
        Some(match role {
            Role::Client => request.first,
            Role::Server => request.last,
        })
    }
}

impl CallKey {
    /// The key of a call that began then.
    #[cfg(test)]
    pub fn at(start: i64) -> Self {
        Self {
            start,
            client: 0,
            server: 0,
            offset: 0,
        }
    }
}

impl Call {
    /// Whether request and response were put together by an assumption. One end that is certain is enough.
    pub fn is_inferred(&self) -> bool {
        let ends = [Role::Client, Role::Server].map(|role| self.exchange(role));
        ends.into_iter().flatten().all(|exchange| exchange.inferred)
    }

    /// Whether one of its ends was at it in the window.
    pub fn touches(&self, window: Window) -> bool {
        let ends = [Role::Client, Role::Server].map(|role| self.exchange(role));
        ends.into_iter().flatten().any(|exchange| {
            let done = exchange.response.map_or(i64::MAX, |r| r.last.end());
            window.overlaps(exchange.request.first.ts, done)
        })
    }

    /// Whether a thread read or wrote something of it.
    pub fn involves(&self, tid: u32) -> bool {
        let ends = [Role::Client, Role::Server].map(|role| self.exchange(role));
        ends.into_iter().flatten().any(|exchange| {
            let spans = [Some(exchange.request), exchange.response];
            let mut transfers = spans.into_iter().flatten();
            transfers.any(|span| span.first.tid == tid || span.last.tid == tid)
        })
    }

    /// Its place among all calls.
    pub fn key(&self) -> CallKey {
        let file = |role| self.file(role).map_or(0, |file| file.saturating_add(1));
        CallKey {
            start: self.start(),
            client: file(Role::Client),
            server: file(Role::Server),
            offset: self.seen().map_or(0, |exchange| exchange.request.start),
        }
    }

    /// Where payloads were lost after a request, an answer that was not seen may have been among them.
    fn doubt_silence(&mut self, last_loss: i64) {
        let ends = [&mut self.client, &mut self.server];
        for (_, exchange) in ends.into_iter().flatten() {
            let silent = exchange.outcome == Outcome::NoAnswer && exchange.response.is_none();
            if silent && exchange.request.first.ts <= last_loss {
                exchange.outcome = Outcome::Unknown;
                exchange.error = Some("no response was recorded, and payloads were lost".into());
            }
        }
    }
}

impl CallOrder {
    /// Adds a call in the order in which [`each`] gives them; what it is known by.
    pub fn add(&mut self, call: &Call) -> (CallKey, u32) {
        let known_by = (call.key(), u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        self.0.push(known_by);
        known_by
    }

    /// The calls are all there.
    pub fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// The id of a call; `None` before the order was sorted.
    pub fn id(&self, known_by: &(CallKey, u32)) -> Option<usize> {
        self.0.binary_search(known_by).ok()
    }

    /// What the call of an id is known by.
    pub fn get(&self, id: usize) -> Option<&(CallKey, u32)> {
        self.0.get(id)
    }

    /// How many calls there are.
    pub fn total(&self) -> usize {
        self.0.len()
    }
}

impl Calls {
    /// Finds the calls of a capture, whatever the selection is, and keeps those that are wanted.
    pub fn load(
        context: &Context,
        catalog: &Catalog,
        is_wanted: impl Fn(&Call) -> bool + Sync,
    ) -> Self {
        let mut order = CallOrder::default();
        let mut kept = Vec::new();
        let connections = Connections::new(&catalog.files);
        each(context, catalog, &connections, |call| {
            let known_by = order.add(&call);
            if is_wanted(&call) {
                kept.push((known_by, call));
            }
        });
        order.sort();
        let with_id = |(known_by, call)| Some((order.id(&known_by)?, call));
        let mut calls: Vec<_> = kept.into_iter().filter_map(with_id).collect();
        calls.sort_by_key(|(id, _)| *id);
        Self {
            calls,
            total: order.total(),
        }
    }

    /// The call of an id, if it was kept.
    pub fn get(&self, id: usize) -> Option<&Call> {
        let place = self.calls.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.calls.get(place).map(|(_, call)| call)
    }
}

/// Finds the calls of a capture, whatever the selection is, and gives each to `sink` as soon as it is over: in no
/// order of time, but always in the same. Memory follows the requests that wait for an answer, or for their
/// other end.
pub fn each(
    context: &Context,
    catalog: &Catalog,
    connections: &Connections,
    mut sink: impl FnMut(Call) + Send,
) -> Vec<Stream> {
    let last_loss = last_loss(context);
    let mut sink = |mut call: Call| {
        if let Some(last_loss) = last_loss {
            call.doubt_silence(last_loss);
        }
        sink(call);
    };
    let mut joiner = Joiner::new(connections);
    let streams = stream::read(context, catalog, connections, |file, speaks, exchanges| {
        joiner.add(file, speaks, exchanges, &mut sink);
    });
    joiner.finish(&mut sink);
    streams
}

/// How much of the messages of these streams is uncertain.
pub fn doubts(streams: &[Stream]) -> Doubts {
    let mut doubts = Doubts::default();
    for stream in streams.iter().filter(|stream| stream.speaks.is_some()) {
        doubts += stream.doubts;
    }
    doubts
}

/// The last moment at which payloads were lost.
fn last_loss(context: &Context) -> Option<i64> {
    let mut last_loss = None;
    scan::segments(
        context,
        "reading losses",
        |segment| {
            let rows = segment.rows::<Loss>();
            let payloads = rows.iter().filter(|row| row.source == Payload::NAME);
            payloads.map(|row| row.end_ts).max()
        },
        |end_ts| last_loss = last_loss.max(end_ts),
    );
    last_loss
}
