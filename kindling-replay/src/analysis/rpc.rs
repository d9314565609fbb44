//! `rpcs`: every request of the capture, and how long each kind of them takes.

use std::collections::BTreeMap;

use kindling_format::schema::File;
use serde::Serialize;

use crate::{
    analysis::rpc_call::{Call, Calls},
    context::{Completeness, Context},
    filter::EventKind,
    model::{
        catalog::Catalog,
        connection::{self, Role},
        histogram::Histogram,
        select::{Details, EventSelection},
    },
    protocol::{Doubts, Outcome},
    render::json::{CaptureReport, List},
    selection::glob,
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

/// Lists the requests.
pub fn report(
    context: &Context,
    catalog: &Catalog,
    calls: &Calls,
    filter: &RpcFilter,
) -> RpcsReport {
    let ends = EventSelection::new(context, catalog, &[EventKind::Request]);
    let described = Described { context, catalog };
    let wanted = calls.calls.iter().enumerate().filter(|(_, call)| {
        let window = context.selection.window;
        window.contains(call.start()) && described.involves(call, &ends)
    });
    let rows = wanted.map(|(index, call)| described.row(index, call));
    let mut rows: Vec<RpcRow> = rows.filter(|row| filter.admits(row)).collect();
    let endpoints = endpoints(&rows);
    let uncertain = uncertain(&rows, calls.doubts);
    if filter.sort == Sort::Latency {
        // Stable: equal ones stay in the order of time.
        rows.sort_by_key(|row| std::cmp::Reverse(row.latency_ns));
    }
    RpcsReport {
        capture: CaptureReport::new(context),
        completeness: context.completeness(),
        list: List::new(rows, context.top),
        endpoints,
        uncertain,
        payload_bytes: context.capture.header().options.payload_bytes,
    }
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
    fn admits(&self, row: &RpcRow) -> bool {
        let slow = |least: i64| row.latency_ns.is_some_and(|latency| latency >= least);
        self.protocol
            .as_ref()
            .is_none_or(|name| row.protocol == name)
            && self
                .endpoint
                .as_ref()
                .is_none_or(|pattern| glob(pattern, &row.endpoint))
            && self.slower_ns.is_none_or(slow)
            && (!self.errors || matches!(row.outcome, "error" | "no_answer"))
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
        let inferred = [Role::Client, Role::Server].iter().all(|&role| {
            // One end that is certain is enough.
            call.exchange(role).is_none_or(|exchange| exchange.inferred)
        });
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
            inferred,
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

fn endpoints(rows: &[RpcRow]) -> Vec<EndpointRow> {
    let mut groups: BTreeMap<(&'static str, bool, &str), Vec<&RpcRow>> = BTreeMap::new();
    for row in rows {
        groups
            .entry((row.protocol, row.tls, &row.endpoint))
            .or_default()
            .push(row);
    }
    let mut rows: Vec<EndpointRow> = groups
        .into_iter()
        .map(|((protocol, tls, endpoint), rows)| EndpointRow {
            protocol,
            tls,
            endpoint: endpoint.to_owned(),
            ..timed(&rows)
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.total_ns));
    rows
}

/// How often requests were made, and how long they took.
fn timed(rows: &[&RpcRow]) -> EndpointRow {
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count() as u64;
    let answered = rows
        .iter()
        .filter(|row| matches!(row.outcome, "ok" | "error"));
    let mut latencies = Histogram::default();
    for latency in answered.filter_map(|row| row.latency_ns) {
        latencies.record(latency);
    }
    let is_timed = latencies.count() > 0;
    let per_mille = |most| is_timed.then(|| latencies.per_mille_ns(most));
    EndpointRow {
        count: rows.len() as u64,
        errors: count("error"),
        no_answer: count("no_answer"),
        timed: latencies.count(),
        p50_ns: per_mille(500),
        p90_ns: per_mille(900),
        p99_ns: per_mille(990),
        max_ns: is_timed.then(|| latencies.max_ns()),
        total_ns: latencies.total_ns(),
        ..EndpointRow::default()
    }
}

fn uncertain(rows: &[RpcRow], doubts: Doubts) -> Uncertain {
    Uncertain {
        inferred: rows.iter().filter(|row| row.inferred).count() as u64,
        unknown: rows.iter().filter(|row| row.outcome == "unknown").count() as u64,
        lost_requests: doubts.lost_requests,
        lost_responses: doubts.lost_responses,
        unmatched_responses: doubts.unmatched_responses,
    }
}
