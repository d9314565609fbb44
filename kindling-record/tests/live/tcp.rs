//! TCP connections have their whole life in the capture, failures and retransmissions included.

use std::collections::BTreeMap;

use kindling_format::schema::{Direction, File, Loss, Tcp, TcpKind, TcpState};

use crate::support::{Program, Recording, id, needs, number};

/// The cookies that the program printed, without the zero that ends each list.
fn cookies(recording: &Recording, list: &str) -> Vec<u64> {
    let cookies = recording.truth[list].as_array().unwrap().iter();
    let cookies = cookies.map(|cookie| cookie.as_u64().unwrap());
    cookies.filter(|cookie| *cookie != 0).collect()
}

/// Fails if anything was lost that can be of this program. The programs for TCP run for every socket of the host; of a
/// run that an interrupt kept off nobody knows whose it was, and here each socket is compared by itself.
fn assert_complete(recording: &Recording) {
    let mut lost = recording.rows::<Loss>();
    lost.retain(|row| row.source != "tcp" || row.cause != "program entered again");
    assert!(lost.is_empty(), "events were lost: {lost:?}");
}

fn by_cookie(recording: &Recording) -> BTreeMap<u64, Vec<Tcp>> {
    let mut rows = recording.rows::<Tcp>();
    rows.sort_by_key(|row| row.ts);
    let mut sockets = BTreeMap::<u64, Vec<Tcp>>::new();
    for row in rows {
        sockets.entry(row.cookie).or_default().push(row);
    }
    sockets
}

/// The states that a socket went through, from the first one that it left.
fn states(rows: &[Tcp]) -> Vec<TcpState> {
    let changes: Vec<_> = rows
        .iter()
        .filter(|row| row.kind == TcpKind::State)
        .collect();
    assert!(
        changes
            .windows(2)
            .all(|pair| pair[0].state == pair[1].old_state),
        "{rows:?}"
    );
    let first = changes.first().map(|row| row.old_state);
    first
        .into_iter()
        .chain(changes.iter().map(|row| row.state))
        .collect()
}

#[test]
fn connections_are_followed_from_state_to_state() {
    use TcpState::*;
    needs!("syscalls", "tcp");
    let recording = Program::compile("tcp").record(&[], &["20", "7", "5", "0"]);
    assert_complete(&recording);
    let sockets = by_cookie(&recording);
    let port = id(&recording.truth["port"]) as u16;

    let good = cookies(&recording, "good");
    assert_eq!(good.len(), 20);
    for cookie in &good {
        let rows = &sockets[cookie];
        // The full socket ends when it waits for the last packet of the other side; what remains
        // is the kernel's.
        let states = states(rows);
        assert_eq!(
            states[..4],
            [Closed, SynSent, Established, FinWait1],
            "{states:?}"
        );
        assert_eq!(states.last(), Some(&Closed), "{states:?}");
        let last = rows.last().unwrap();
        // SYN and FIN count as one byte each.
        let facts = (last.remote_port, last.acked_bytes, last.received_bytes);
        assert_eq!(facts, (Some(port), Some(1002), Some(11)));
        assert!(
            last.srtt_us.is_some() && last.retransmits == Some(0),
            "{last:?}"
        );
    }
    for cookie in cookies(&recording, "refused") {
        assert_eq!(states(&sockets[&cookie]), [Closed, SynSent, Closed]);
        let reset = sockets[&cookie]
            .iter()
            .find(|row| row.kind == TcpKind::Reset);
        assert!(reset.is_none_or(|row| row.direction == Direction::In));
    }
    for cookie in cookies(&recording, "reset") {
        let resets = sockets[&cookie]
            .iter()
            .filter(|row| row.kind == TcpKind::Reset);
        let directions: Vec<_> = resets.map(|row| row.direction).collect();
        assert_eq!(directions, [Direction::Out]);
    }
    let accepted = sockets
        .values()
        .filter(|rows| rows[0].local_port == Some(port) && rows[0].old_state == SynReceived);
    assert_eq!(accepted.count(), 25);
    let received = recording
        .rows::<Tcp>()
        .into_iter()
        .filter(|row| row.kind == TcpKind::Reset && row.direction == Direction::In)
        .filter(|row| row.local_port == Some(port));
    assert_eq!(received.count(), 5);
}

/// What it measures is told while it lasts, and how much waits to be read.
#[test]
fn a_connection_that_lasts_is_told_again_and_again() {
    needs!("syscalls", "tcp", "tcp_rtt");
    let recording = Program::compile("tcp").record(&[], &["0", "0", "0", "1500"]);
    assert_complete(&recording);
    let truth = &recording.truth["lasting"];
    let sockets = by_cookie(&recording);
    let told = |end: &str| -> Vec<&Tcp> {
        let rows = &sockets[&truth[end].as_u64().unwrap()];
        rows.iter().filter(|row| row.kind == TcpKind::Rtt).collect()
    };
    for rows in [told("client"), told("server")] {
        // It lasts 1.5 s, or longer on a busy machine, and is looked at every 100 ms.
        assert!((5..=60).contains(&rows.len()), "{rows:?}");
        let is_sound = |row: &&Tcp| row.state == TcpState::Established && row.local_port.is_some();
        assert!(rows.iter().all(is_sound), "{rows:?}");
    }
    let client = told("client");
    assert!(client.iter().all(|row| row.srtt_us.is_some()), "{client:?}");
    let unread: Vec<u32> = told("server")
        .iter()
        .filter_map(|row| row.unread_bytes)
        .collect();
    assert!(
        unread.windows(2).all(|pair| pair[0] < pair[1]),
        "{unread:?}"
    );
    let last = unread.last().copied().unwrap_or_default();
    let sent = number(&truth["sent"]) as u32;
    assert!(last > sent / 2 && last <= sent, "{unread:?} of {sent}");
}

#[test]
fn a_syn_that_is_sent_again_is_counted_as_the_kernel_does() {
    needs!("syscalls", "tcp");
    let recording = Program::compile("tcp").record(&[], &["0", "0", "0", "0"]);
    assert_complete(&recording);
    let truth = &recording.truth["unanswered"];
    let rows = &by_cookie(&recording)[&truth["cookie"].as_u64().unwrap()];
    let again = rows.iter().filter(|row| row.kind == TcpKind::Retransmit);
    let again = again.collect::<Vec<_>>();
    assert_eq!(
        again.len() as i64,
        number(&truth["retransmits"]),
        "{rows:?}"
    );
    assert!(!again.is_empty() && again.iter().all(|row| row.state == TcpState::SynSent));
}

#[test]
fn a_socket_is_tied_to_its_file() {
    needs!("syscalls", "tcp");
    let recording = Program::compile("tcp").record(&[], &["3", "0", "0", "0"]);
    let files = recording.rows::<File>();
    let sockets = by_cookie(&recording);
    for cookie in cookies(&recording, "good") {
        let file = files.iter().rfind(|row| row.cookie == Some(cookie));
        let file = file
            .expect("the file of a connected socket has its cookie")
            .id;
        assert!(sockets[&cookie].iter().all(|row| row.file == Some(file)));
    }
}
