//! Joins the requests that both ends of a connection have seen, while they are read.
//!
//! Both ends of a connection count the same bytes, so a request at one end is the request at the same
//! offset of the other. Where recording began in the middle of a connection the ends count from
//! different bytes; the difference is found from requests that look alike in possible order of time.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use crate::{
    analysis::rpc_call::Call,
    model::{
        connection::{Connections, OtherEnd, Role},
        stream::Speaks,
    },
    protocol::Exchange,
};

/// How many requests of the client's and of the server's end are compared to align them.
const ALIGN_CLIENT: usize = 16;
const ALIGN_SERVER: usize = 256;

/// Takes requests end by end, gives them out as calls.
#[derive(Debug)]
pub(super) struct Joiner<'a> {
    connections: &'a Connections,
    /// By the lower of both files.
    links: BTreeMap<u32, Link>,
    /// Ends of which it is only known at the end of the recording which others have spoken.
    tangled: BTreeMap<u32, End>,
}

/// One end, and what it has seen.
#[derive(Debug)]
struct End {
    file: u32,
    speaks: Speaks,
    exchanges: Vec<Exchange>,
}

/// Two files that are the ends of one connection.
#[derive(Debug)]
enum Link {
    /// One of them has not spoken yet.
    Half(End),
    /// They are in one conversation.
    Pair(Box<Pair>),
    /// They are not: each speaks for itself.
    Apart,
}

impl<'a> Joiner<'a> {
    /// Joins by these connections.
    pub(super) fn new(connections: &'a Connections) -> Self {
        Self {
            connections,
            links: BTreeMap::new(),
            tangled: BTreeMap::new(),
        }
    }

    /// Takes the next requests of a file, which are done with.
    pub(super) fn add(
        &mut self,
        file: u32,
        speaks: Speaks,
        exchanges: Vec<Exchange>,
        sink: &mut dyn FnMut(Call),
    ) {
        let end = End {
            file,
            speaks,
            exchanges,
        };
        match self.connections.other_end(file) {
            OtherEnd::None => end.alone(sink),
            OtherEnd::Several => match self.tangled.get_mut(&file) {
                Some(known) => known.exchanges.extend(end.exchanges),
                None => drop(self.tangled.insert(file, end)),
            },
            OtherEnd::One(peer) => {
                let key = file.min(peer);
                let link = match self.links.remove(&key) {
                    None => Link::Half(end),
                    Some(link) => link.add(end, sink),
                };
                self.links.insert(key, link);
            }
        }
    }

    /// Gives out what is left when all was read.
    pub(super) fn finish(self, sink: &mut dyn FnMut(Call)) {
        for link in self.links.into_values() {
            match link {
                Link::Half(end) => end.alone(sink),
                Link::Pair(pair) => pair.finish(sink),
                Link::Apart => {}
            }
        }
        let mut ends = self.tangled;
        while let Some((file, end)) = ends.pop_first() {
            let peer = self.connections.peer(file);
            match peer.and_then(|peer| ends.remove(&peer)) {
                None => end.alone(sink),
                Some(peer) => match Link::of(end, peer, sink) {
                    Link::Pair(pair) => pair.finish(sink),
                    Link::Half(_) | Link::Apart => {}
                },
            }
        }
    }
}

impl End {
    /// Gives out the requests as seen by this end only.
    fn alone(self, sink: &mut dyn FnMut(Call)) {
        let Speaks {
            protocol,
            role,
            tls,
            ..
        } = self.speaks;
        for exchange in self.exchanges {
            let end = Some((self.file, exchange));
            let (client, server) = match role {
                Role::Client => (end, None),
                Role::Server => (None, end),
            };
            sink(Call {
                protocol,
                tls,
                client,
                server,
            });
        }
    }
}

impl Link {
    /// What two ends are that have spoken.
    fn of(a: End, b: End, sink: &mut dyn FnMut(Call)) -> Self {
        let fit = a.speaks.protocol == b.speaks.protocol && a.speaks.role != b.speaks.role;
        if !fit {
            a.alone(sink);
            b.alone(sink);
            return Link::Apart;
        }
        let mut pair = Box::new(Pair::new(&a, &b));
        pair.add(a.speaks.role, a.exchanges, sink);
        pair.add(b.speaks.role, b.exchanges, sink);
        Link::Pair(pair)
    }

    fn add(self, end: End, sink: &mut dyn FnMut(Call)) -> Self {
        match self {
            Link::Half(mut known) if known.file == end.file => {
                known.exchanges.extend(end.exchanges);
                Link::Half(known)
            }
            Link::Half(known) => Link::of(known, end, sink),
            Link::Pair(mut pair) => {
                pair.add(end.speaks.role, end.exchanges, sink);
                Link::Pair(pair)
            }
            Link::Apart => {
                end.alone(sink);
                Link::Apart
            }
        }
    }
}

/// Both ends of one conversation.
#[derive(Debug)]
struct Pair {
    protocol: &'static str,
    tls: bool,
    from_start: bool,
    client: Half,
    server: Half,
    shifts: Option<Shifts>,
}

/// How much further the server's end has counted when the same byte passes.
#[derive(Debug, Clone, Copy)]
struct Shifts {
    request: i128,
    response: i128,
}

/// One end of a pair, with the requests whose other end was not seen yet.
#[derive(Debug)]
struct Half {
    file: u32,
    /// Those from before the ends are aligned.
    early: Vec<Exchange>,
    /// The others, in their order.
    waiting: BTreeMap<u64, Exchange>,
    /// Their places there, by where the request begins as the server counts.
    places: HashMap<i128, u64>,
    count: u64,
}

impl Half {
    fn new(file: u32) -> Self {
        Self {
            file,
            early: Vec::new(),
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            count: 0,
        }
    }

    fn wait(&mut self, key: Option<i128>, exchange: Exchange) {
        self.waiting.insert(self.count, exchange);
        if let Some(key) = key {
            self.places.insert(key, self.count);
        }
        self.count += 1;
    }

    fn take(&mut self, key: i128) -> Option<Exchange> {
        let place = self.places.remove(&key)?;
        self.waiting.remove(&place)
    }
}

impl Pair {
    fn new(a: &End, b: &End) -> Self {
        let (client, server) = match a.speaks.role {
            Role::Client => (a, b),
            Role::Server => (b, a),
        };
        Self {
            protocol: client.speaks.protocol,
            tls: client.speaks.tls || server.speaks.tls,
            from_start: client.speaks.from_start && server.speaks.from_start,
            client: Half::new(client.file),
            server: Half::new(server.file),
            shifts: None,
        }
    }

    fn add(&mut self, role: Role, exchanges: Vec<Exchange>, sink: &mut dyn FnMut(Call)) {
        if self.shifts.is_some() {
            for exchange in exchanges {
                self.offer(role, exchange, sink);
            }
            return;
        }
        let half = match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        };
        half.early.extend(exchanges);
        let enough =
            self.client.early.len() >= ALIGN_CLIENT && self.server.early.len() >= ALIGN_SERVER;
        if self.from_start || enough {
            self.align(sink);
        }
    }

    /// Finds out how both ends count, and looks at what came before that was known.
    fn align(&mut self, sink: &mut dyn FnMut(Call)) {
        let (client, server) = (&self.client.early, &self.server.early);
        let shift = |key| match self.from_start {
            true => 0,
            false => align(client, server, key),
        };
        self.shifts = Some(Shifts {
            request: shift(by_request),
            response: shift(by_response),
        });
        for exchange in mem::take(&mut self.server.early) {
            self.offer(Role::Server, exchange, sink);
        }
        for exchange in mem::take(&mut self.client.early) {
            self.offer(Role::Client, exchange, sink);
        }
    }

    /// Gives out the request of one end if the other one has it; else it waits for that.
    fn offer(&mut self, role: Role, exchange: Exchange, sink: &mut dyn FnMut(Call)) {
        let shift = self.shifts.map_or(0, |shifts| shifts.request);
        let key = by_request(&exchange).map(|key| match role {
            Role::Client => key + shift,
            Role::Server => key,
        });
        let (own, other) = match role {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        };
        let Some(partner) = key.and_then(|key| other.take(key)) else {
            return own.wait(key, exchange);
        };
        let (client, server) = match role {
            Role::Client => (exchange, partner),
            Role::Server => (partner, exchange),
        };
        sink(self.call(Some(client), Some(server)));
    }

    /// Gives out the rest: requests that one end could not see are still known by their responses.
    fn finish(mut self, sink: &mut dyn FnMut(Call)) {
        if self.shifts.is_none() {
            self.align(sink);
        }
        let shift = self.shifts.map_or(0, |shifts| shifts.response);
        let mut places: HashMap<i128, u64> = HashMap::new();
        for (&place, exchange) in &self.server.waiting {
            places.extend(by_response(exchange).map(|key| (key, place)));
        }
        for client in mem::take(&mut self.client.waiting).into_values() {
            let place = by_response(&client).and_then(|key| places.remove(&(key + shift)));
            let server = place.and_then(|place| self.server.waiting.remove(&place));
            sink(self.call(Some(client), server));
        }
        for server in mem::take(&mut self.server.waiting).into_values() {
            sink(self.call(None, Some(server)));
        }
    }

    fn call(&self, client: Option<Exchange>, server: Option<Exchange>) -> Call {
        Call {
            protocol: self.protocol,
            tls: self.tls,
            client: client.map(|exchange| (self.client.file, exchange)),
            server: server.map(|exchange| (self.server.file, exchange)),
        }
    }
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
mod tests;
