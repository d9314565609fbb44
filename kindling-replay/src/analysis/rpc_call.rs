//! Calls: each request of the capture once, with both ends where both were recorded.
//!
//! Both ends of a connection count the same bytes, so a request at one end is the request at the same
//! offset of the other. Where recording began in the middle of a connection the ends count from
//! different bytes; the difference is found from requests that look alike in possible order of time.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use kindling_format::schema::{Loss, Payload, Table};

use crate::{
    context::Context,
    model::{
        catalog::Catalog,
        connection::{Connections, Role},
        stream::{self, Stream},
    },
    protocol::{Doubts, Exchange, Outcome, Transfer},
    scan,
};

/// How many requests of the client's and of the server's end are compared to align them.
const ALIGN_CLIENT: usize = 16;
const ALIGN_SERVER: usize = 256;

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

/// All calls of a capture.
#[derive(Debug, Default)]
pub struct Calls {
    /// In the order of their start. The place in this list is the call's id.
    pub calls: Vec<Call>,
    /// How much of them is uncertain.
    pub doubts: Doubts,
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

impl Calls {
    /// Finds the calls of a capture, whatever the selection is.
    pub fn load(context: &Context, catalog: &Catalog) -> Self {
        let connections = Connections::new(&catalog.files);
        let mut streams = stream::load(context, catalog, &connections);
        Self::of(context, &mut streams, &connections)
    }

    /// The calls of these streams, which are taken out of them.
    pub fn of(context: &Context, streams: &mut [Stream], connections: &Connections) -> Self {
        let mut calls = join(streams, connections);
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
        if let Some(last_loss) = last_loss {
            calls.doubt_silence(last_loss);
        }
        calls
    }

    /// Where payloads were lost after a request, an answer that was not seen may have been among them.
    fn doubt_silence(&mut self, last_loss: i64) {
        let ends = self
            .calls
            .iter_mut()
            .flat_map(|call| [&mut call.client, &mut call.server]);
        for (_, exchange) in ends.flatten() {
            let silent = exchange.outcome == Outcome::NoAnswer && exchange.response.is_none();
            if silent && exchange.request.first.ts <= last_loss {
                exchange.outcome = Outcome::Unknown;
                exchange.error = Some("no response was recorded, and payloads were lost".into());
            }
        }
    }
}

/// Joins the requests of all streams, which are taken out of them.
fn join(streams: &mut [Stream], connections: &Connections) -> Calls {
    let mut doubts = Doubts::default();
    let mut by_file: BTreeMap<u32, Stream> = BTreeMap::new();
    for stream in streams
        .iter_mut()
        .filter(|stream| stream.protocol.is_some())
    {
        doubts += stream.doubts;
        let exchanges = mem::take(&mut stream.exchanges);
        let traffic = BTreeMap::new();
        by_file.insert(
            stream.file,
            Stream {
                exchanges,
                traffic,
                ..*stream
            },
        );
    }
    let mut calls = Vec::new();
    let files: Vec<u32> = by_file.keys().copied().collect();
    for file in files {
        let Some(stream) = by_file.remove(&file) else {
            continue;
        };
        let peer = connections
            .peer(file)
            .and_then(|peer| by_file.remove(&peer));
        match peer {
            Some(peer) if fit(&stream, &peer) => pair(stream, peer, &mut calls),
            peer => {
                let alone = std::iter::once(stream).chain(peer);
                alone.for_each(|stream| one_sided(stream, &mut calls));
            }
        }
    }
    calls.sort_by_key(|call| {
        let offset = call.seen().map(|exchange| exchange.request.start);
        (
            call.start(),
            call.file(Role::Client),
            call.file(Role::Server),
            offset,
        )
    });
    Calls { calls, doubts }
}

/// Whether two streams can be both ends of one conversation.
fn fit(a: &Stream, b: &Stream) -> bool {
    matches!((a.protocol, b.protocol), (Some((name, role)), Some((other, peer))) if name == other && role != peer)
}

fn one_sided(stream: Stream, calls: &mut Vec<Call>) {
    let Some((protocol, role)) = stream.protocol else {
        return;
    };
    for exchange in stream.exchanges {
        let end = Some((stream.file, exchange));
        let (client, server) = match role {
            Role::Client => (end, None),
            Role::Server => (None, end),
        };
        calls.push(Call {
            protocol,
            tls: stream.tls,
            client,
            server,
        });
    }
}

fn pair(a: Stream, b: Stream, calls: &mut Vec<Call>) {
    let (client, server) = match a.protocol {
        Some((_, Role::Client)) => (a, b),
        _ => (b, a),
    };
    let protocol = client.protocol.map_or("", |(name, _)| name);
    let from_start = client.from_start && server.from_start;
    let tls = client.tls || server.tls;
    let partners = partners(&client.exchanges, &server.exchanges, from_start);
    let mut served: Vec<Option<Exchange>> = server.exchanges.into_iter().map(Some).collect();
    for (exchange, partner) in client.exchanges.into_iter().zip(partners) {
        let server_end = partner.and_then(|at| served.get_mut(at)?.take());
        calls.push(Call {
            protocol,
            tls,
            client: Some((client.file, exchange)),
            server: server_end.map(|exchange| (server.file, exchange)),
        });
    }
    for exchange in served.into_iter().flatten() {
        calls.push(Call {
            protocol,
            tls,
            client: None,
            server: Some((server.file, exchange)),
        });
    }
}

/// For each exchange of the client, the place of the server's that is the same request.
fn partners(client: &[Exchange], server: &[Exchange], from_start: bool) -> Vec<Option<usize>> {
    let mut partners = vec![None; client.len()];
    let mut taken = vec![false; server.len()];
    // Requests that one end could not see are still known by their responses.
    for key in [by_request as Key, by_response as Key] {
        let shift = if from_start {
            0
        } else {
            align(client, server, key)
        };
        let free = server
            .iter()
            .zip(&taken)
            .enumerate()
            .filter(|(_, (_, taken))| !**taken);
        let places: HashMap<i128, usize> = free
            .filter_map(|(at, (exchange, _))| Some((key(exchange)?, at)))
            .collect();
        for (partner, exchange) in partners.iter_mut().zip(client) {
            let place = key(exchange).and_then(|key| places.get(&(key + shift)));
            if let (None, Some(&place)) = (*partner, place)
                && let Some(taken @ false) = taken.get_mut(place)
            {
                *taken = true;
                *partner = Some(place);
            }
        }
    }
    partners
}

/// The offset that an exchange has in common at both ends, if it has one.
type Key = fn(&Exchange) -> Option<i128>;

fn by_request(exchange: &Exchange) -> Option<i128> {
    // Requests that were not seen share the place where they were lost.
    (&*exchange.endpoint != "?").then_some(exchange.request.start.into())
}

fn by_response(exchange: &Exchange) -> Option<i128> {
    exchange.response.map(|response| response.start.into())
}

/// How much further the server's end has counted when the same byte passes.
fn align(client: &[Exchange], server: &[Exchange], key: Key) -> i128 {
    let mut votes: BTreeMap<i128, usize> = BTreeMap::new();
    for a in client.iter().take(ALIGN_CLIENT) {
        for b in server.iter().take(ALIGN_SERVER).filter(|b| possible(a, b)) {
            if let (Some(a), Some(b)) = (key(a), key(b)) {
                *votes.entry(b - a).or_default() += 1;
            }
        }
    }
    let best = votes
        .into_iter()
        .max_by_key(|&(shift, count)| (count, -shift.abs()));
    best.map_or(0, |(shift, _)| shift)
}

/// Whether the server may have seen what the client saw: nothing is read before it was written.
fn possible(client: &Exchange, server: &Exchange) -> bool {
    let same = |a: &Arc<str>, b: &Arc<str>| a == b || &**a == "?" || &**b == "?";
    let request = server.request.last.end() >= client.request.first.ts;
    let response = match (client.response, server.response) {
        (Some(read), Some(written)) => written.first.ts <= read.last.end(),
        _ => true,
    };
    same(&client.endpoint, &server.endpoint) && request && response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Span;

    /// An exchange whose request lies at `request` and whose response at `response`, each 5 bytes long.
    fn exchange(endpoint: &str, ts: i64, request: u64, response: u64) -> Exchange {
        let transfer = |ts| Transfer {
            ts,
            dur: 1,
            pid: 1,
            tid: 1,
        };
        let span = |at: u64, ts| Span {
            start: at,
            end: at + 5,
            first: transfer(ts),
            last: transfer(ts),
        };
        Exchange {
            endpoint: endpoint.into(),
            outcome: Outcome::Ok,
            error: None,
            status: None,
            request: span(request, ts),
            response: Some(span(response, ts + 10)),
            inferred: false,
        }
    }

    fn check(
        from_start: bool,
        client: &[(&str, i64, u64, u64)],
        server: &[(&str, i64, u64, u64)],
        expect: &[(bool, bool, &str)],
    ) {
        let exchanges = |list: &[(&str, i64, u64, u64)]| {
            list.iter()
                .map(|&(e, t, a, b)| exchange(e, t, a, b))
                .collect()
        };
        let stream = |file, role, exchanges| Stream {
            file,
            protocol: Some(("http", role)),
            exchanges,
            doubts: Doubts::default(),
            from_start,
            tls: false,
            traffic: BTreeMap::new(),
        };
        let mut calls = Vec::new();
        pair(
            stream(2, Role::Server, exchanges(server)),
            stream(1, Role::Client, exchanges(client)),
            &mut calls,
        );
        let found: Vec<_> = calls
            .iter()
            .map(|c| (c.client.is_some(), c.server.is_some(), c.endpoint()))
            .collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn both_ends_of_a_request_are_one_call() {
        check(
            true,
            &[("a", 0, 0, 0), ("b", 20, 5, 5)],
            &[("a", 3, 0, 0), ("b", 22, 5, 5)],
            &[(true, true, "a"), (true, true, "b")],
        );
        // One end missed a request in the middle.
        check(
            true,
            &[("a", 0, 0, 0), ("a", 40, 10, 10)],
            &[("a", 3, 0, 0), ("a", 22, 5, 5), ("a", 42, 10, 10)],
            &[(true, true, "a"), (true, true, "a"), (false, true, "a")],
        );
    }

    #[test]
    fn ends_that_began_to_count_at_different_bytes_are_aligned() {
        check(
            false,
            &[("a", 20, 0, 0), ("b", 40, 5, 5)],
            &[("c", 1, 100, 70), ("a", 21, 105, 75), ("b", 41, 110, 80)],
            &[(true, true, "a"), (true, true, "b"), (false, true, "c")],
        );
    }

    #[test]
    fn a_request_that_one_end_could_not_see_is_known_by_its_response() {
        check(
            true,
            &[("a", 0, 0, 0), ("?", 0, 3, 5)],
            &[("a", 3, 0, 0), ("b", 3, 5, 5)],
            &[(true, true, "a"), (true, true, "b")],
        );
    }
}
