//! `rpcs`: every request of the capture, and how long each kind of them takes.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use crate::{
    analysis::{
        rpc_call::{self, Call, CallKey},
        rpc_row::{Described, RpcRow},
    },
    context::{Completeness, Context},
    filter::EventKind,
    model::{
        catalog::Catalog, connection::Connections, first::First, histogram::Histogram,
        select::EventSelection,
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

/// The requests that the selection admits.
pub(super) struct Wanted<'a> {
    pub(super) described: Described<'a>,
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
