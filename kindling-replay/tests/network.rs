//! `events` and `flows` over a capture with TCP and io_uring events of known content.

mod common;

use common::{Segment, capture, file, json, process, text, thread};
use kindling_format::schema::*;

fn socket() -> File {
    File {
        id: 4,
        ts: 1_000,
        pid: 10,
        kind: FileKind::Tcp,
        local_address: Some("127.0.0.1".into()),
        local_port: Some(5_000),
        remote_address: Some("10.0.0.1".into()),
        remote_port: Some(80),
        cookie: Some(77),
        ..File::default()
    }
}

fn tcp(ts: i64, kind: TcpKind, state: TcpState) -> Tcp {
    Tcp {
        ts,
        kind,
        direction: Direction::Out,
        cookie: 77,
        file: Some(4),
        old_state: state,
        state,
        local_address: Some("127.0.0.1".into()),
        local_port: Some(5_000),
        remote_address: Some("10.0.0.1".into()),
        remote_port: Some(80),
        ..Tcp::default()
    }
}

fn events() -> Segment {
    let rows = [
        Tcp {
            old_state: TcpState::Closed,
            // The descriptor of a socket can be used for the first time later.
            file: None,
            ..tcp(2_000, TcpKind::State, TcpState::SynSent)
        },
        Tcp {
            retransmits: Some(1),
            ..tcp(3_000, TcpKind::Retransmit, TcpState::SynSent)
        },
        Tcp {
            srtt_us: Some(250),
            retransmits: Some(1),
            unread_bytes: Some(10),
            ..tcp(4_000, TcpKind::Rtt, TcpState::Established)
        },
        Tcp {
            direction: Direction::In,
            srtt_us: Some(200),
            ..tcp(5_000, TcpKind::Reset, TcpState::Established)
        },
    ];
    let io = IoUring {
        ts: 6_000,
        pid: 10,
        tid: 10,
        ring: Some(5),
        user_data: 7,
        opcode: Some(27),
        file: Some(4),
        ..IoUring::default()
    };
    let result = IoUring {
        ts: 6_500,
        kind: IoUringKind::Complete,
        file: None,
        ret: Some(-104),
        ..io.clone()
    };
    Segment::default()
        .with([process(10, 500, "app")], ProcessColumns::push)
        .with([thread(10, 500, "app")], ThreadColumns::push)
        .with([socket()], FileColumns::push)
        .with([io, result], IoUringColumns::push)
        .with(rows, TcpColumns::push)
}

#[test]
fn events_of_sockets_and_rings_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(vec![events()]));
    let path = path.to_str().unwrap();
    let expect = "\
+0.000001000 ?                      ** tcp 127.0.0.1:5000->10.0.0.1:80 closed to syn_sent
+0.000002000 app/10                 ** tcp 127.0.0.1:5000->10.0.0.1:80 sends again, syn_sent (1 sent again)
+0.000003000 app/10                 ** tcp 127.0.0.1:5000->10.0.0.1:80 established (round trip 250 us, 1 sent again, 10 B unread)
+0.000004000 app/10                 ** tcp 127.0.0.1:5000->10.0.0.1:80 is reset, established (round trip 200 us)
";
    assert_eq!(text(&["events", path, "--tables", "tcp"]), expect);
    // Without being asked for: a ring takes the place of syscalls.
    let expect = "\
+0.000005000 app/10                 ** io_uring takes recv of tcp 127.0.0.1:5000->10.0.0.1:80, user_data 0x7
+0.000005500 app/10                 ** io_uring gives recv = -1 ECONNRESET, user_data 0x7
";
    assert_eq!(text(&["events", path]), expect);
    let failed = text(&[
        "events",
        path,
        "--tables",
        "io_uring",
        "--where",
        "errno == ECONNRESET and ret < 0",
    ]);
    assert_eq!(
        failed.lines().collect::<Vec<_>>(),
        expect.lines().skip(1).collect::<Vec<_>>()
    );
}

#[test]
fn flows_tell_what_happened_to_their_connections() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(vec![events()]));
    let report = json(&["flows", path.to_str().unwrap()]);
    let tcp = &report["flows"]["rows"][0]["tcp"];
    let expect = serde_json::json!({"retransmits": 1, "resets": 1, "srtt_max_us": 250});
    assert_eq!(*tcp, expect, "{report}");
}

#[test]
fn a_cut_keeps_what_the_selected_process_did() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(vec![events()]));
    let part = dir.path().join("part.kndl");
    let (path, part) = (path.to_str().unwrap(), part.to_str().unwrap());
    text(&["cut", path, "--pid", "10", "--from", "2us", "-o", part]);
    let cut = text(&["events", part, "--tables", "tcp,io_uring"]);
    assert_eq!(cut.lines().count(), 5, "{cut}");
    text(&["cut", path, "--to", "2.5us", "-o", part]);
    let cut = text(&["events", part, "--tables", "tcp,io_uring"]);
    assert_eq!(cut.lines().count(), 2, "{cut}");
}
