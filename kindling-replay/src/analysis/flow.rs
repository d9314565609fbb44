//! `flows`: who talked to whom, over what, how much, and how well it went.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::{File, FileKind};
use serde::Serialize;

use crate::{
    analysis::{
        flow_tcp::{self, FlowTcp},
        rpc_call::{self, Call},
        rpc_row,
    },
    context::{Completeness, Context},
    filter::EventKind,
    model::{
        catalog::Catalog,
        connection::{Connections, Role},
        histogram::Histogram,
        select::{Details, EventSelection},
        stream::{Stream, Traffic},
    },
    protocol::Outcome,
    render::json::{CaptureReport, List},
};

/// The answer of `flows`.
#[derive(Debug, Clone, Serialize)]
pub struct FlowsReport {
    /// The same as in every answer.
    #[serde(skip)]
    pub capture: CaptureReport,
    /// The same as in every answer.
    #[serde(skip)]
    pub completeness: Completeness,
    /// The flows, the most bytes first.
    #[serde(flatten)]
    pub list: List<FlowRow>,
}

/// All connections between two parties over one protocol and address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowRow {
    /// `http`, `redis`, or what carries bytes that are neither: `tcp`, `udp`, `unix`, `pipe`.
    pub protocol: String,
    /// Whether it went through TLS whose plaintext was recorded. Bytes are those of the connection.
    pub tls: bool,
    /// Who connected; the writer of a pipe.
    pub client: Party,
    /// Who was connected to; the reader of a pipe.
    pub server: Party,
    /// Where the server was reached, if that has an address.
    pub address: Option<String>,
    /// Connections that were open in the window.
    pub connections: u64,
    /// Bytes from the client to the server.
    pub request_bytes: u64,
    /// Bytes from the server to the client.
    pub response_bytes: u64,
    /// The first moment that bytes moved in the window, since the start of the capture.
    pub first_ns: Option<i64>,
    /// The last one.
    pub last_ns: Option<i64>,
    /// What TCP itself had to say; `None` for other flows, and if the capture does not tell.
    pub tcp: Option<FlowTcp>,
    /// The requests that began in the window; `None` if the protocol is not known.
    pub requests: Option<FlowRequests>,
}

/// One side of a flow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Party {
    /// The process; `None` if it was not recorded.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// The host of a party that was not recorded; empty if that has no address.
    pub host: Option<String>,
}

/// The requests of a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FlowRequests {
    /// How many.
    pub count: u64,
    /// How many failed.
    pub errors: u64,
    /// How many were not answered.
    pub no_answer: u64,
    /// Half of those with a known latency were not slower.
    pub p50_ns: Option<i64>,
    /// 99 % were not slower.
    pub p99_ns: Option<i64>,
    /// The slowest.
    pub max_ns: Option<i64>,
}

/// Draws the map.
pub fn report(context: &Context, catalog: &Catalog, connections: &Connections) -> FlowsReport {
    let mut requests = Requests::default();
    let streams = rpc_call::each(context, catalog, connections, |call| {
        if context.selection.window.contains(call.start()) {
            requests.add(&call);
        }
    });
    let view = View {
        context,
        catalog,
        connections,
        ends: EventSelection::new(context, catalog, &[EventKind::Connection]),
    };
    let (mut flows, by_file) = view.collect(&streams);
    let has_peer = |file| connections.peer(file).is_some();
    for (at, tcp) in flow_tcp::collect(context, catalog, &by_file, has_peer) {
        if let Some(flow) = flows.get_mut(at) {
            flow.tcp = Some(tcp);
        }
    }
    requests.share(&mut flows, &by_file);
    flows.sort_by_cached_key(|flow| {
        let bytes = flow.request_bytes.saturating_add(flow.response_bytes);
        let parties = (flow.client.clone(), flow.server.clone());
        (
            std::cmp::Reverse(bytes),
            parties,
            flow.protocol.clone(),
            flow.tls,
            flow.address.clone(),
        )
    });
    FlowsReport {
        capture: CaptureReport::new(context),
        completeness: context.completeness(),
        list: List::new(flows, context.top),
    }
}

/// The requests of each file: the client's, if that was recorded.
#[derive(Debug, Default)]
struct Requests(BTreeMap<u32, (FlowRequests, Histogram)>);

impl Requests {
    fn add(&mut self, call: &Call) {
        let Some(file) = call.file(Role::Client).or(call.file(Role::Server)) else {
            return;
        };
        let (requests, latencies) = self.0.entry(file).or_default();
        requests.count += 1;
        requests.errors += u64::from(call.outcome() == Outcome::Error);
        requests.no_answer += u64::from(call.outcome() == Outcome::NoAnswer);
        if let Some(end) = call.end() {
            latencies.record(end.saturating_sub(call.start()));
        }
    }

    /// Gives each flow the requests of its files.
    fn share(self, flows: &mut [FlowRow], by_file: &BTreeMap<u32, usize>) {
        let mut all: BTreeMap<usize, Histogram> = BTreeMap::new();
        for (file, (requests, latencies)) in self.0 {
            let at = by_file.get(&file).copied();
            if let Some((at, flow)) = at.and_then(|at| Some((at, flows.get_mut(at)?))) {
                let sum = flow.requests.get_or_insert_default();
                sum.count += requests.count;
                sum.errors += requests.errors;
                sum.no_answer += requests.no_answer;
                all.entry(at).or_default().add(&latencies);
            }
        }
        for (at, latencies) in all {
            let requests = flows.get_mut(at).and_then(|flow| flow.requests.as_mut());
            if let Some(requests) = requests.filter(|_| latencies.count() > 0) {
                requests.max_ns = Some(latencies.max_ns());
                requests.p50_ns = Some(latencies.per_mille_ns(500));
                requests.p99_ns = Some(latencies.per_mille_ns(990));
            }
        }
    }
}

struct View<'a> {
    context: &'a Context,
    catalog: &'a Catalog,
    connections: &'a Connections,
    ends: EventSelection<'a>,
}

/// One connection, with the files of its ends.
struct Link<'a> {
    client: Option<&'a File>,
    server: Option<&'a File>,
    protocol: String,
    tls: bool,
}

type Key = (String, bool, Party, Party, Option<String>);

impl<'a> View<'a> {
    /// The flows, and to which of them each file belongs.
    fn collect(&self, streams: &[Stream]) -> (Vec<FlowRow>, BTreeMap<u32, usize>) {
        let by_file: BTreeMap<u32, &Stream> = streams.iter().map(|s| (s.file, s)).collect();
        let mut places: BTreeMap<Key, usize> = BTreeMap::new();
        let (mut flows, mut flow_of) = (Vec::new(), BTreeMap::new());
        for link in self.links(&by_file) {
            for flow in self.flows_of(&link, &by_file) {
                let key = (
                    flow.protocol.clone(),
                    flow.tls,
                    flow.client.clone(),
                    flow.server.clone(),
                    flow.address.clone(),
                );
                let place = *places.entry(key).or_insert(flows.len());
                for file in [link.client, link.server].into_iter().flatten() {
                    flow_of.entry(file.id).or_insert(place);
                }
                match flows.get_mut(place) {
                    Some(known) => merge(known, &flow),
                    None => flows.push(flow),
                }
            }
        }
        (flows, flow_of)
    }

    /// Each connection of the capture once.
    fn links(&self, streams: &BTreeMap<u32, &Stream>) -> Vec<Link<'a>> {
        let mut done = BTreeSet::new();
        let mut links = Vec::new();
        for file in self.catalog.files.values() {
            if !is_connection(file) || !done.insert(file.id) {
                continue;
            }
            let peer = self
                .connections
                .peer(file.id)
                .and_then(|id| self.catalog.files.get(&id));
            let peer = peer.filter(|peer| done.insert(peer.id));
            let known = [Some(file), peer].into_iter().flatten().find_map(|file| {
                let speaks = streams.get(&file.id)?.speaks?;
                Some((file.id, speaks.protocol, speaks.role))
            });
            let role = match known {
                Some((id, _, role)) if id == file.id => role,
                Some((_, _, role)) => role.other(),
                None => self.guess_role(file, streams),
            };
            let (client, server) = match role {
                Role::Client => (Some(file), peer),
                Role::Server => (peer, Some(file)),
            };
            let protocol = known.map_or(file.kind.to_string(), |(_, name, _)| name.to_owned());
            let ends = [Some(file), peer].into_iter().flatten();
            let tls = ends
                .filter_map(|end| streams.get(&end.id))
                .any(|stream| stream.tls);
            links.push(Link {
                client,
                server,
                protocol,
                tls,
            });
        }
        links
    }

    /// A pipe's writer is the client; else who is likelier to have connected.
    fn guess_role(&self, file: &File, streams: &BTreeMap<u32, &Stream>) -> Role {
        let wrote = streams.get(&file.id).map(|stream| {
            let traffic = stream.traffic.values();
            traffic.clone().any(|t| t.out_bytes > 0) || !traffic.clone().any(|t| t.in_bytes > 0)
        });
        match (file.kind, self.connections.role(file.id)) {
            (FileKind::Pipe, _) if wrote == Some(false) => Role::Server,
            (_, Some(role)) => role,
            _ => Role::Client,
        }
    }

    /// A connection as flows: one for each process that used it, where several shared it.
    fn flows_of(&self, link: &Link<'_>, streams: &BTreeMap<u32, &Stream>) -> Vec<FlowRow> {
        let users = |file: Option<&File>| file.map_or_else(Vec::new, |file| users(file, streams));
        let (clients, servers) = (users(link.client), users(link.server));
        let seen = |users: &[User], file: Option<&File>| {
            users
                .iter()
                .any(|user| file.is_some_and(|file| self.selected(user, file)))
        };
        let open = [link.client, link.server]
            .into_iter()
            .flatten()
            .any(|file| self.is_open(file));
        let used = |users: &[User]| users.iter().any(|user| user.moved);
        // A TCP connection is worth knowing without a byte; a pair of descriptors is not.
        let told = link.protocol == "tcp" || used(&clients) || used(&servers);
        if !open || !told || !(seen(&clients, link.client) || seen(&servers, link.server)) {
            return Vec::new();
        }
        let main = |users: &[User]| users.first().copied();
        let pairs: Vec<(Option<User>, Option<User>)> = if servers.len() > 1 && clients.len() <= 1 {
            servers
                .iter()
                .map(|&server| (main(&clients), Some(server)))
                .collect()
        } else if clients.is_empty() {
            vec![(None, main(&servers))]
        } else {
            clients
                .iter()
                .map(|&client| (Some(client), main(&servers)))
                .collect()
        };
        let shared = pairs.len() > 1;
        pairs
            .into_iter()
            .map(|(client, server)| self.flow(link, client, server, shared))
            .collect()
    }

    fn flow(
        &self,
        link: &Link<'_>,
        client: Option<User>,
        server: Option<User>,
        shared: bool,
    ) -> FlowRow {
        let address = match (link.server, link.client) {
            (Some(server), _) => rpc_row::local(server),
            (None, Some(client)) => rpc_row::remote(client),
            (None, None) => None,
        };
        // Each end counts what it moved itself; of a shared connection, the end with the one process
        // cannot say with whom.
        let (sent, received) = match (client, server) {
            (Some(client), Some(server)) if !shared => {
                let (a, b) = (client.traffic, server.traffic);
                (a.out_bytes.max(b.in_bytes), a.in_bytes.max(b.out_bytes))
            }
            (Some(client), _) => (client.traffic.out_bytes, client.traffic.in_bytes),
            (None, Some(server)) => (server.traffic.in_bytes, server.traffic.out_bytes),
            (None, None) => (0, 0),
        };
        let moved = [client, server]
            .into_iter()
            .flatten()
            .filter(|user| user.moved);
        let span = |at: fn(&Traffic) -> i64| moved.clone().map(move |user| at(&user.traffic));
        FlowRow {
            protocol: link.protocol.clone(),
            tls: link.tls,
            client: self.party(
                client,
                link.server.and_then(|file| file.remote_address.as_deref()),
            ),
            server: self.party(
                server,
                link.client.and_then(|file| file.remote_address.as_deref()),
            ),
            address,
            connections: 1,
            request_bytes: sent,
            response_bytes: received,
            first_ns: span(|t| t.first).min().map(|ts| self.context.offset_ns(ts)),
            last_ns: span(|t| t.last).max().map(|ts| self.context.offset_ns(ts)),
            tcp: None,
            requests: None,
        }
    }

    fn party(&self, user: Option<User>, host: Option<&str>) -> Party {
        match user {
            Some(User { traffic, .. }) => {
                // The name of a process is that of its first thread.
                let first = self.catalog.thread_at(traffic.pid, traffic.last);
                let comm = first.map(|thread| thread.comm_at(traffic.last).to_owned());
                Party {
                    pid: Some(traffic.pid),
                    comm,
                    host: None,
                }
            }
            None => Party {
                pid: None,
                comm: None,
                host: host.map(str::to_owned),
            },
        }
    }

    fn selected(&self, user: &User, file: &File) -> bool {
        let window = self.context.selection.window;
        let details = Details::Connection {
            file: file.id,
            start: user.traffic.first.clamp(window.from, window.to),
        };
        self.ends.holds(user.tid, user.traffic.last, details)
    }

    fn is_open(&self, file: &File) -> bool {
        let (start, end) = (
            file.open_ts.unwrap_or(i64::MIN),
            file.close_ts.unwrap_or(i64::MAX),
        );
        self.context.selection.window.overlaps(start, end)
    }
}

/// A process that used a file.
#[derive(Debug, Clone, Copy)]
struct User {
    /// The thread that moved the most, or that opened the file.
    tid: u32,
    /// What all its threads moved.
    traffic: Traffic,
    /// Whether it moved anything.
    moved: bool,
}

/// The processes that used a file, the one that moved the most bytes first.
fn users(file: &File, streams: &BTreeMap<u32, &Stream>) -> Vec<User> {
    let mut users: BTreeMap<u32, User> = BTreeMap::new();
    let mut most = 0;
    for (&tid, traffic) in streams
        .get(&file.id)
        .into_iter()
        .flat_map(|stream| &stream.traffic)
    {
        let moved = traffic.in_bytes.saturating_add(traffic.out_bytes);
        let user = users.entry(traffic.pid).or_insert(User {
            tid,
            traffic: Traffic {
                in_bytes: 0,
                out_bytes: 0,
                ..*traffic
            },
            moved: true,
        });
        if moved > most {
            (user.tid, most) = (tid, moved);
        }
        user.traffic.in_bytes = user.traffic.in_bytes.saturating_add(traffic.in_bytes);
        user.traffic.out_bytes = user.traffic.out_bytes.saturating_add(traffic.out_bytes);
        user.traffic.first = user.traffic.first.min(traffic.first);
        user.traffic.last = user.traffic.last.max(traffic.last);
    }
    let mut users: Vec<User> = users.into_values().collect();
    if users.is_empty() {
        let traffic = Traffic {
            pid: file.pid,
            first: file.ts,
            last: file.ts,
            ..Traffic::default()
        };
        users.push(User {
            tid: file.pid,
            traffic,
            moved: false,
        });
    }
    users.sort_by_key(|user| {
        std::cmp::Reverse(user.traffic.in_bytes.saturating_add(user.traffic.out_bytes))
    });
    users
}

fn is_connection(file: &File) -> bool {
    match file.kind {
        FileKind::Tcp | FileKind::Udp => {
            !file.listening && file.remote_port.is_some_and(|port| port != 0)
        }
        FileKind::Unix => file.peer_inode.is_some_and(|inode| inode != 0),
        FileKind::Pipe => true,
        _ => false,
    }
}

fn merge(known: &mut FlowRow, more: &FlowRow) {
    known.connections += more.connections;
    known.request_bytes = known.request_bytes.saturating_add(more.request_bytes);
    known.response_bytes = known.response_bytes.saturating_add(more.response_bytes);
    let both = |a: Option<i64>, b: Option<i64>, pick: fn(i64, i64) -> i64| match (a, b) {
        (Some(a), Some(b)) => Some(pick(a, b)),
        (a, b) => a.or(b),
    };
    known.first_ns = both(known.first_ns, more.first_ns, i64::min);
    known.last_ns = both(known.last_ns, more.last_ns, i64::max);
}
