//! How a request and its response begin.

use kindling_format::schema::{Direction, Payload, Tls};

use crate::{
    analysis::rpc_call::Call,
    context::Context,
    model::connection::Role,
    protocol::{self, Side},
    scan,
    selection::Window,
};

/// How many characters of a message are shown.
const LINE_CHARS: usize = 160;

/// The first bytes of request and response in words, from the end that speaks for the call.
pub(super) fn beginnings(context: &Context, call: &Call) -> [Option<String>; 2] {
    let role = if call.client.is_some() {
        Role::Client
    } else {
        Role::Server
    };
    let (Some(file), Some(exchange)) = (call.file(role), call.exchange(role)) else {
        return [None, None];
    };
    let Some(protocol) = protocol::named(call.protocol) else {
        return [None, None];
    };
    let wanted = [
        (Side::Request, Some(exchange.request)),
        (Side::Response, exchange.response),
    ];
    wanted.map(|(side, span)| {
        let span = span?;
        let direction = match (side, role) {
            (Side::Request, Role::Client) | (Side::Response, Role::Server) => Direction::Out,
            _ => Direction::In,
        };
        let mut bytes = Vec::new();
        let holds = |row: &Payload| {
            let begins = row.offset <= span.start
                && span.start < row.offset.saturating_add(row.data.len() as u64);
            let is_plaintext = row.tls != Tls::No;
            row.file == file && row.direction == direction && is_plaintext == call.tls && begins
        };
        let moment = Window {
            from: span.first.ts,
            to: span.first.end(),
        };
        scan::segments(
            context,
            "reading payloads",
            |segment| segment.rows_within::<Payload>(moment).iter().find(holds),
            |row| {
                if let Some(row) = row {
                    let skip = usize::try_from(span.start - row.offset).unwrap_or(usize::MAX);
                    let length = usize::try_from(span.bytes()).unwrap_or(usize::MAX);
                    bytes = row.data.into_iter().skip(skip).take(length).collect();
                }
            },
        );
        (!bytes.is_empty()).then(|| protocol.shown(&bytes, LINE_CHARS))
    })
}
