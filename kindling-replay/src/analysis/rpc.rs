//! `rpcs`: every request of the capture, and how long each kind of them takes.

use std::{cmp::Reverse, collections::BTreeMap};

use kindling_format::schema::File;
use serde::Serialize;

use crate::{
    analysis::rpc_call::{self, Call, CallKey, CallOrder},
    context::{Completeness, Context},
    filter::EventKind,
    model::{
        catalog::Catalog,
        connection::{self, Connections, Role},
        first::First,
        histogram::Histogram,
        select::{Details, EventSelection},
    },
    protocol::{Doubts, Outcome},
    render::json::{CaptureReport, List},
    selection::{Window, glob},
};

/// Which requests are wanted, beside the selection that all commands share.
#[derive(Debug, Clone, Default)]
pub struct RpcFilter {
    /// Only this protocol.
    pub protocol: Option<String>,
    /// Only operations like this.
    pub endpoint: Option<String>,
    /// Only those that took, or waited, at least so long.
    pub slower_ns: Option<i64>,
    /// Only those that failed or were not answered.
    pub errors: bool,
    /// The order of the list.
    pub sort: Sort,
}

/// The order of a list of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// The slowest first
    #[default]
    Latency,
    /// The earliest first
    Start,
}

/// The answer of `rpcs`.
#[derive(Debug, Clone, Serialize)]
pub struct RpcsReport {
    /// The same as in every answer.
    #[serde(skip)]
    pub capture: CaptureReport,
    /// The same as in every answer.
    #[serde(skip)]
    pub completeness: Completeness,
    /// The requests that were selected.
    #[serde(flatten)]
    pub list: List<RpcRow>,
    /// The same requests by operation, the most time first.
    pub endpoints: Vec<EndpointRow>,
    /// How much of them is uncertain.
    pub uncertain: Uncertain,
    /// The most bytes that were recorded of one payload.
    pub payload_bytes: u32,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RpcRow {
    /// Its name in this capture, the same whatever is selected: `r1` began first.
    pub id: String,
    /// The protocol.
    pub protocol: &'static str,
    /// Whether it went through TLS, and was read from the plaintext.
    pub tls: bool,
    /// The operation; `?` if the request's bytes were not recorded.
    pub endpoint: String,
    /// `ok`, `error`, `no_answer`, `one_way` (none is given) or `unknown` (none was recorded).
    pub outcome: &'static str,
    /// Why it failed or has no answer.
    pub error: Option<String>,
    /// The protocol's status code.
    pub status: Option<u16>,
    /// From the first byte of the request to the last of the response, at the client if it was
    /// recorded, else at the server. Without an answer, how long it was waited for; `None` if it is
    /// not known.
    pub latency_ns: Option<i64>,
    /// When it began, since the start of the capture.
    pub start_ns: i64,
    /// Who asked.
    pub client: EndRow,
    /// Who answered.
    pub server: EndRow,
    /// The request's length.
    pub request_bytes: u64,
    /// The response's length, as far as it came.
    pub response_bytes: Option<u64>,
    /// Whether request and response were put together by an assumption, because bytes between were
    /// not recorded.
    pub inferred: bool,
}

/// One end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EndRow {
    /// The process, if this end was recorded.
    pub pid: Option<u32>,
    /// The thread that sent (client) or received (server) the request.
    pub tid: Option<u32>,
    /// Its name then.
    pub comm: Option<String>,
    /// Its address, if it has one.
    pub address: Option<String>,
}

/// All requests for one operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EndpointRow {
    /// The protocol.
    pub protocol: &'static str,
    /// Whether they went through TLS.
    pub tls: bool,
    /// The operation.
    pub endpoint: String,
    /// How many there are.
    pub count: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How many were not answered.
    pub no_answer: u64,
    /// How many have a latency: were answered, and wholly recorded.
    pub timed: u64,
    /// Half of these were not slower, in nanoseconds.
    pub p50_ns: Option<i64>,
    /// 90 % were not slower.
    pub p90_ns: Option<i64>,
    /// 99 % were not slower.
    pub p99_ns: Option<i64>,
    /// The slowest.
    pub max_ns: Option<i64>,
    /// All together.
    pub total_ns: i64,
}

/// What bytes that were not recorded leave open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Uncertain {
    /// Selected requests that were paired by an assumption.
    pub inferred: u64,
    /// Selected requests whose answer was not recorded.
    pub unknown: u64,
    /// In the whole capture: places where requests could not be followed.
    pub lost_requests: u64,
    /// Places where responses could not be followed.
    pub lost_responses: u64,
    /// Responses whose requests are from before the recording, or were not recorded.
    pub unmatched_responses: u64,
}

/// Lists the requests. Of those that are not shown only the key is kept, by which requests have their names.
pub fn report(context: &Context, catalog: &Catalog, filter: &RpcFilter) -> RpcsReport {
    let connections = Connections::new(&catalog.files);
    let mut gathered = Gathered {
        wanted: Wanted::new(context, catalog),
        filter,
        keys: Vec::new(),
        total: 0,
        first: First::new(context.top),
        endpoints: BTreeMap::new(),
        uncertain: Uncertain::default(),
    };
    let streams = rpc_call::each(context, catalog, &connections, |call| gathered.add(call));
    gathered.report(rpc_call::doubts(&streams))
}

/// Which request is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That of an id.
    Id(usize),
    /// The slowest of those that the selection admits.
    Slowest,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub id: usize,
    /// From its start to its end, or to when nobody waited for it any more.
    pub window: Window,
}

/// Finds a request, if it exists, and counts them all.
pub fn locate(context: &Context, catalog: &Catalog, which: Which) -> (Option<Place>, usize) {
    let wanted = Wanted::new(context, catalog);
    let connections = Connections::new(&catalog.files);
    let (mut order, mut ends, mut slowest) = (CallOrder::default(), Vec::new(), None);
    rpc_call::each(context, catalog, &connections, |call| {
        let known_by = order.add(&call);
        ends.push(wanted.described.window(&call).to);
        if which == Which::Slowest && wanted.admits(&call) {
            let slow = (Reverse(wanted.described.latency(&call)), known_by);
            slowest = slowest
                .take()
                .map_or(Some(slow), |other| Some(slow.min(other)));
        }
    });
    order.sort();
    let id = match which {
        Which::Id(id) => Some(id),
        Which::Slowest => slowest.and_then(|(_, known_by)| order.id(&known_by)),
    };
    let place = |id: usize| {
        let (key, arrival) = order.get(id)?;
        let window = Window {
            from: key.start,
            to: *ends.get(*arrival as usize)?,
        };
        Some(Place { id, window })
    };
    (id.and_then(place), order.total())
}

/// The requests that the selection admits.
pub(super) struct Wanted<'a> {
    described: Described<'a>,
    ends: EventSelection<'a>,
}

impl<'a> Wanted<'a> {
    /// Those of this capture.
    pub(super) fn new(context: &'a Context, catalog: &'a Catalog) -> Self {
        Self {
            described: Described { context, catalog },
            ends: EventSelection::new(context, catalog, &[EventKind::Request]),
        }
    }

    /// Whether it began in the window, and one of its ends is selected.
    pub(super) fn admits(&self, call: &Call) -> bool {
        let window = self.described.context.selection.window;
        window.contains(call.start()) && self.described.involves(call, &self.ends)
    }
}

/// What puts a request before another: its latency if it is asked for, then its key, and of those that still are
/// equal when it was found.
type Order = (Reverse<Option<i64>>, CallKey, usize);

/// The requests while they are read.
struct Gathered<'a> {
    wanted: Wanted<'a>,
    filter: &'a RpcFilter,
    /// Of all requests of the capture.
    keys: Vec<CallKey>,
    total: u64,
    first: First<Order, Call>,
    /// By protocol and whether it was through TLS, then by operation.
    endpoints: BTreeMap<(&'static str, bool), BTreeMap<String, EndpointDraft>>,
    uncertain: Uncertain,
}

#[derive(Debug, Default)]
struct EndpointDraft {
    count: u64,
    errors: u64,
    no_answer: u64,
    latencies: Histogram,
}

impl Gathered<'_> {
    fn add(&mut self, call: Call) {
        let (key, found) = (call.key(), self.keys.len());
        self.keys.push(key);
        let latency = self.wanted.described.latency(&call);
        if !self.wanted.admits(&call) || !self.filter.admits(&call, latency) {
            return;
        }
        self.total += 1;
        self.uncertain.inferred += u64::from(call.is_inferred());
        self.uncertain.unknown += u64::from(call.outcome() == Outcome::Unknown);
        self.count(&call, latency);
        let first = match self.filter.sort {
            Sort::Latency => latency,
            Sort::Start => None,
        };
        self.first.push((Reverse(first), key, found), call);
    }

    fn count(&mut self, call: &Call, latency: Option<i64>) {
        let of_protocol = self.endpoints.entry((call.protocol, call.tls)).or_default();
        if !of_protocol.contains_key(call.endpoint()) {
            of_protocol.insert(call.endpoint().to_owned(), EndpointDraft::default());
        }
        let Some(draft) = of_protocol.get_mut(call.endpoint()) else {
            return;
        };
        let outcome = call.outcome();
        draft.count += 1;
        draft.errors += u64::from(outcome == Outcome::Error);
        draft.no_answer += u64::from(outcome == Outcome::NoAnswer);
        let answered = matches!(outcome, Outcome::Ok | Outcome::Error);
        if let Some(latency) = latency.filter(|_| answered) {
            draft.latencies.record(latency);
        }
    }

    fn report(self, doubts: Doubts) -> RpcsReport {
        let described = self.wanted.described;
        let context = described.context;
        let (order, calls): (Vec<Order>, Vec<Call>) = self.first.into_sorted().into_iter().unzip();
        let places: Vec<(CallKey, usize)> = order.iter().map(|&(_, key, at)| (key, at)).collect();
        let indexes = ranks(&self.keys, &places);
        let rows = indexes.into_iter().zip(&calls);
        let rows = rows.map(|(index, call)| described.row(index, call));
        let mut endpoints: Vec<EndpointRow> = Vec::new();
        for ((protocol, tls), drafts) in self.endpoints {
            let rows = drafts.into_iter();
            endpoints.extend(rows.map(|(endpoint, draft)| draft.row(protocol, tls, endpoint)));
        }
        // Stable: equal ones stay in the order of their names.
        endpoints.sort_by_key(|row| Reverse(row.total_ns));
        RpcsReport {
            capture: CaptureReport::new(context),
            completeness: context.completeness(),
            list: List {
                total: self.total,
                rows: rows.collect(),
            },
            endpoints,
            uncertain: Uncertain {
                lost_requests: doubts.lost_requests,
                lost_responses: doubts.lost_responses,
                unmatched_responses: doubts.unmatched_responses,
                ..self.uncertain
            },
            payload_bytes: context.capture.header().options.payload_bytes,
        }
    }
}

impl EndpointDraft {
    fn row(self, protocol: &'static str, tls: bool, endpoint: String) -> EndpointRow {
        let latencies = self.latencies;
        let is_timed = latencies.count() > 0;
        let per_mille = |most| is_timed.then(|| latencies.per_mille_ns(most));
        EndpointRow {
            protocol,
            tls,
            endpoint,
            count: self.count,
            errors: self.errors,
            no_answer: self.no_answer,
            timed: latencies.count(),
            p50_ns: per_mille(500),
            p90_ns: per_mille(900),
            p99_ns: per_mille(990),
            max_ns: is_timed.then(|| latencies.max_ns()),
            total_ns: latencies.total_ns(),
        }
    }
}

/// How many of `all` come before each of these, which are named by key and place in `all`.
fn ranks(all: &[CallKey], wanted: &[(CallKey, usize)]) -> Vec<usize> {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    let mut between = vec![0; sorted.len() + 1];
    for (at, key) in all.iter().enumerate() {
        let before = sorted.partition_point(|other| *other <= (*key, at));
        between[before] += 1;
    }
    let mut before = 0;
    let mut rank_of = BTreeMap::new();
    for (wanted, count) in sorted.into_iter().zip(between) {
        before += count;
        rank_of.insert(wanted, before);
    }
    let rank = |wanted| rank_of.get(wanted).copied().unwrap_or_default();
    wanted.iter().map(rank).collect()
}

/// The name of the call at a place in the list of all.
pub fn id(index: usize) -> String {
    format!("r{}", index + 1)
}

/// The place of the call with this name.
pub fn index_of(id: &str) -> Option<usize> {
    let number: usize = id.strip_prefix('r').unwrap_or(id).parse().ok()?;
    number.checked_sub(1)
}

impl RpcFilter {
    pub(super) fn admits(&self, call: &Call, latency_ns: Option<i64>) -> bool {
        let slow = |least: i64| latency_ns.is_some_and(|latency| latency >= least);
        let failed = || matches!(call.outcome(), Outcome::Error | Outcome::NoAnswer);
        self.protocol
            .as_ref()
            .is_none_or(|name| call.protocol == name)
            && self
                .endpoint
                .as_ref()
                .is_none_or(|pattern| glob(pattern, call.endpoint()))
            && self.slower_ns.is_none_or(slow)
            && (!self.errors || failed())
    }
}

/// Puts calls into words.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// The capture.
    pub context: &'a Context,
    /// Its names.
    pub catalog: &'a Catalog,
}

impl Described<'_> {
    /// The call at a place in the list of all.
    pub fn row(&self, index: usize, call: &Call) -> RpcRow {
        let seen = call.seen();
        let response = seen.and_then(|exchange| exchange.response);
        RpcRow {
            id: id(index),
            protocol: call.protocol,
            tls: call.tls,
            endpoint: call.endpoint().to_owned(),
            outcome: word(call.outcome()),
            error: seen
                .and_then(|exchange| exchange.error.as_deref())
                .map(str::to_owned),
            status: seen.and_then(|exchange| exchange.status),
            latency_ns: self.latency(call),
            start_ns: self.context.offset_ns(call.start()),
            client: self.end(call, Role::Client),
            server: self.end(call, Role::Server),
            request_bytes: seen.map_or(0, |exchange| exchange.request.bytes()),
            response_bytes: response.map(|response| response.bytes()),
            inferred: call.is_inferred(),
        }
    }

    /// Whether one end of the call is selected, by a thread that read or wrote there.
    fn involves(&self, call: &Call, ends: &EventSelection<'_>) -> bool {
        [Role::Client, Role::Server].into_iter().any(|role| {
            let Some(exchange) = call.exchange(role) else {
                return false;
            };
            let details = Details::Request {
                file: call.file(role),
                start: call.start(),
                dur: self.latency(call),
            };
            let response = exchange.response.map(|response| response.first);
            let transfers = [Some(exchange.request.last), response];
            let mut transfers = transfers.into_iter().flatten();
            transfers.any(|moved| ends.holds(moved.tid, moved.ts, details))
        })
    }

    fn latency(&self, call: &Call) -> Option<i64> {
        let end = match call.outcome() {
            Outcome::Ok | Outcome::Error => call.end()?,
            Outcome::NoAnswer => self.gave_up(call),
            Outcome::OneWay | Outcome::Unknown => return None,
        };
        Some(end.saturating_sub(call.start()).max(0))
    }

    /// Until when an answer could have come.
    pub fn gave_up(&self, call: &Call) -> i64 {
        let file = call.file(Role::Client).or(call.file(Role::Server));
        let closed = file.and_then(|file| self.catalog.files.get(&file)?.close_ts);
        closed.unwrap_or(self.context.span.to)
    }

    /// From its start to its end, or to when nobody waited for it any more.
    pub fn window(&self, call: &Call) -> Window {
        let from = call.start();
        let to = call.end().unwrap_or_else(|| self.gave_up(call));
        Window {
            from,
            to: to.max(from),
        }
    }

    /// One end of the call.
    pub fn end(&self, call: &Call, role: Role) -> EndRow {
        let file = |role| self.catalog.files.get(&call.file(role)?);
        let address = match (file(role), file(role.other())) {
            (Some(own), _) => local(own),
            (None, Some(other)) => remote(other),
            (None, None) => None,
        };
        let thread = call.requester(role);
        EndRow {
            pid: thread.map(|thread| thread.pid),
            tid: thread.map(|thread| thread.tid),
            comm: thread.map(|thread| self.catalog.comm_at(thread.tid, thread.ts).to_owned()),
            address,
        }
    }
}

/// The outcome's word in JSON.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Error => "error",
        Outcome::NoAnswer => "no_answer",
        Outcome::OneWay => "one_way",
        Outcome::Unknown => "unknown",
    }
}

/// The address of a file's own end.
pub fn local(file: &File) -> Option<String> {
    match (&file.local_address, file.local_port) {
        (Some(ip), Some(port)) => Some(connection::address(ip, port)),
        _ => file.path.clone().filter(|path| !path.is_empty()),
    }
}

/// The address of the other end.
pub fn remote(file: &File) -> Option<String> {
    Some(connection::address(
        file.remote_address.as_ref()?,
        file.remote_port?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_rank_for_a_name() {
        let keys: Vec<CallKey> = [30, 10, 20, 10, 40].map(CallKey::at).into();
        let place = |at: usize| (keys[at], at);
        let ranks = |places: &[usize]| {
            let places: Vec<_> = places.iter().map(|&at| place(at)).collect();
            ranks(&keys, &places)
        };
        assert_eq!(ranks(&[4, 0, 3, 1, 2]), [4, 3, 1, 0, 2]);
        assert_eq!(ranks(&[3, 4]), [1, 4]);
        assert!(ranks(&[]).is_empty());
    }
}
