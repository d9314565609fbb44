//! TCP events in words.

use kindling_format::schema::{Direction, Tcp, TcpKind};

use crate::render::{table::printable, units};

/// What happened.
pub fn text(row: &Tcp) -> String {
    let local = end(row.local_address.as_deref(), row.local_port);
    let remote = end(row.remote_address.as_deref(), row.remote_port);
    let what = match (row.kind, row.direction) {
        (TcpKind::State, _) => format!("{} to {}", row.old_state, row.state),
        (TcpKind::Retransmit, _) => format!("sends again, {}", row.state),
        (TcpKind::Reset, Direction::Out) => format!("sends a reset, {}", row.state),
        (TcpKind::Reset, Direction::In) => format!("is reset, {}", row.state),
        (TcpKind::Rtt, _) => row.state.to_string(),
    };
    let microseconds = |us: u32| units::duration(i64::from(us) * 1_000);
    let facts = [
        row.srtt_us
            .map(|us| format!("round trip {}", microseconds(us))),
        row.retransmits
            .filter(|&count| count > 0)
            .map(|count| format!("{count} sent again")),
        row.unread_bytes
            .filter(|&bytes| bytes > 0)
            .map(|bytes| format!("{} unread", units::bytes(bytes.into()))),
        row.unacked_bytes
            .filter(|&bytes| bytes > 0)
            .map(|bytes| format!("{} not confirmed", units::bytes(bytes.into()))),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    let facts = match facts.is_empty() {
        true => String::new(),
        false => format!(" ({})", facts.join(", ")),
    };
    format!("** tcp {local}->{remote} {what}{facts}")
}

fn end(address: Option<&str>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(address), Some(port)) if address.contains(':') => {
            format!("[{}]:{port}", printable(address))
        }
        (Some(address), Some(port)) => format!("{}:{port}", printable(address)),
        _ => "?".into(),
    }
}
