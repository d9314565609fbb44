//! TCP events: from what the kernel side says of a socket to rows of the table.

use kindling_format::schema::{Direction, Tcp, TcpKind, TcpState};

use crate::{
    files::address,
    raw::{Record, get, layout},
};

/// `enum kd_tcp_event` in `kindling.h`.
const RETRANSMIT: u8 = 2;
const RESET_SENT: u8 = 3;
const RESET_RECEIVED: u8 = 4;
const RTT: u8 = 5;

/// The row of a record.
pub(crate) fn row(record: &Record<'_, layout::kd_tcp>) -> Tcp {
    let event: u8 = get!(record, kd_tcp, head.flags);
    let family: u16 = get!(record, kd_tcp, family);
    let port = |port: u16| (port != 0).then_some(port);
    let local_port = port(get!(record, kd_tcp, local_port));
    let remote_port = port(get!(record, kd_tcp, remote_port));
    let local = record.bytes(std::mem::offset_of!(layout::kd_tcp, local_addr), 16);
    let remote = record.bytes(std::mem::offset_of!(layout::kd_tcp, remote_addr), 16);
    let is_full = get!(record, kd_tcp, is_full) != 0;
    let fact = |value: u32| is_full.then_some(value);
    // The kernel's estimate is 0 as long as it has none.
    let estimate = |value: u32| fact(value).filter(|&value| value != 0);
    Tcp {
        ts: get!(record, kd_tcp, head.ts) as i64,
        cpu: get!(record, kd_tcp, head.cpu),
        kind: match event {
            RETRANSMIT => TcpKind::Retransmit,
            RESET_SENT | RESET_RECEIVED => TcpKind::Reset,
            RTT => TcpKind::Rtt,
            _ => TcpKind::State,
        },
        direction: if event == RESET_RECEIVED {
            Direction::In
        } else {
            Direction::Out
        },
        cookie: get!(record, kd_tcp, cookie),
        file: Some(get!(record, kd_tcp, file)).filter(|&file| file != 0),
        old_state: state(get!(record, kd_tcp, old_state)),
        state: state(get!(record, kd_tcp, state)),
        local_address: local_port.and_then(|_| address(family, local)),
        local_port,
        remote_address: remote_port.and_then(|_| address(family, remote)),
        remote_port,
        netns: get!(record, kd_tcp, netns),
        srtt_us: estimate(get!(record, kd_tcp, srtt_us)),
        rttvar_us: estimate(get!(record, kd_tcp, rttvar_us)),
        cwnd: fact(get!(record, kd_tcp, cwnd)),
        retransmits: fact(get!(record, kd_tcp, retransmits)),
        unread_bytes: fact(get!(record, kd_tcp, unread)),
        unacked_bytes: fact(get!(record, kd_tcp, unacked)),
        acked_bytes: is_full.then(|| get!(record, kd_tcp, acked)),
        received_bytes: is_full.then(|| get!(record, kd_tcp, received)),
    }
}

/// `<net/tcp_states.h>`
fn state(number: u8) -> TcpState {
    match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 | 12 => TcpState::SynReceived,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Closed,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        10 => TcpState::Listen,
        11 => TcpState::Closing,
        _ => TcpState::Other,
    }
}
