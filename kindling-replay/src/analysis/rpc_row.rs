//! A request as answers show it: its name, its ends, how long it took.

use kindling_format::schema::File;
use serde::Serialize;

use crate::{
    analysis::rpc_call::Call,
    context::Context,
    model::{
        catalog::Catalog,
        connection::{self, Role},
        select::{Details, EventSelection},
    },
    protocol::Outcome,
    selection::Window,
};

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

/// The name of the call at a place in the list of all.
pub fn id(index: usize) -> String {
    format!("r{}", index + 1)
}

/// The place of the call with this name.
pub fn index_of(id: &str) -> Option<usize> {
    let number: usize = id.strip_prefix('r').unwrap_or(id).parse().ok()?;
    number.checked_sub(1)
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
    pub(super) fn involves(&self, call: &Call, ends: &EventSelection<'_>) -> bool {
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

    pub(super) fn latency(&self, call: &Call) -> Option<i64> {
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
