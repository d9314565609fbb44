//! Recordings of two hosts that talk to each other.

use kindling_format::{
    Capture, CaptureWriter, Header, Summary,
    header::{Host, Moment},
    schema::*,
};

use crate::{
    common::{json, run},
    str,
};

const HOST_A: &str = "10.0.0.1";
const HOST_B: &str = "10.0.0.2";

/// One end of a connection between two hosts: a process 77 with one thread that sends and receives.
/// `at` are the moments of its two calls, in the order of time.
fn host(name: &str, start_ns: i64, wall_ns: i64, sends_first: bool, at: [i64; 2]) -> Vec<u8> {
    let moment = |monotonic_ns| Moment {
        monotonic_ns,
        boottime_ns: monotonic_ns,
        realtime_ns: wall_ns + monotonic_ns - start_ns,
    };
    let header = Header {
        host: Host {
            name: name.into(),
            arch: "x86_64".into(),
            boot_id: format!("boot of {name}"),
            cpus: 2,
            ..Host::default()
        },
        start: moment(start_ns),
        ..Header::default()
    };
    let (local, remote) = match sends_first {
        true => ((HOST_A, 40_000), (HOST_B, 80)),
        false => ((HOST_B, 80), (HOST_A, 40_000)),
    };
    let file = File {
        ts: start_ns,
        id: 1,
        pid: 77,
        fd: 3,
        kind: FileKind::Tcp,
        open_ts: Some(start_ns),
        local_address: Some(local.0.into()),
        local_port: Some(local.1),
        remote_address: Some(remote.0.into()),
        remote_port: Some(remote.1),
        cookie: Some(5),
        ..File::default()
    };
    let thread = Thread {
        ts: start_ns,
        tid: 77,
        pid: 77,
        start_ts: start_ns,
        target: true,
        comm: name.into(),
        ..Thread::default()
    };
    let process = Process {
        ts: start_ns,
        pid: 77,
        ppid: 1,
        start_ts: start_ns,
        target: true,
        comm: name.into(),
        ..Process::default()
    };
    let request: &[u8] = b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n";
    let response: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut payloads = Payload::columns();
    let mut calls = Syscall::columns();
    for (step, ts) in at.into_iter().enumerate() {
        let is_request = step == 0;
        let data = if is_request { request } else { response };
        let sends = is_request == sends_first;
        payloads.push(Payload {
            ts,
            dur: 10,
            pid: 77,
            tid: 77,
            file: 1,
            direction: if sends { Direction::Out } else { Direction::In },
            size: data.len() as u64,
            offset: 0,
            data: data.to_vec(),
            ..Payload::default()
        });
        calls.push(Syscall {
            ts,
            dur: Some(10),
            pid: 77,
            tid: 77,
            cpu: 1,
            nr: if sends { 1 } else { 0 },
            ret: Some(data.len() as i64),
            file: Some(1),
            ..Syscall::default()
        });
    }
    let mut writer = CaptureWriter::new(Vec::new(), &header).unwrap();
    macro_rules! one {
        ($table:ident, $row:expr) => {{
            let mut columns = $table::columns();
            columns.push($row);
            writer.append(0, $table::encode(columns).unwrap()).unwrap();
        }};
    }
    one!(Process, process);
    one!(Thread, thread);
    one!(File, file);
    writer.append(0, Syscall::encode(calls).unwrap()).unwrap();
    writer
        .append(0, Payload::encode(payloads).unwrap())
        .unwrap();
    let summary = Summary {
        end: moment(start_ns + 1_000_000),
        reason: "duration".into(),
        ..Summary::default()
    };
    writer.finish(&summary).unwrap()
}

#[test]
fn two_hosts_share_a_clock_and_keep_their_ids_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (client, server) = (
        dir.path().join("client.kndl"),
        dir.path().join("server.kndl"),
    );
    // The server's wall clock is 500 us fast, so by wall time it answered before it was asked:
    // asked at 100 us, received at 600 us by its clock, answered at 650 us, received at 200 us.
    let wall_ns = 1_700_000_000_000_000_000;
    let bytes = host("client", 1_000, wall_ns, true, [101_000, 200_000]);
    std::fs::write(&client, bytes).unwrap();
    let bytes = host(
        "server",
        9_000_000,
        wall_ns + 500_000,
        false,
        [9_130_000, 9_150_000],
    );
    std::fs::write(&server, bytes).unwrap();
    let both = dir.path().join("both.kndl");
    let merged = run(&["merge", str(&server), str(&client), "-o", str(&both)], 0);
    let notes = String::from_utf8(merged.stderr).unwrap();
    assert!(notes.contains("moved by"), "{notes}");

    let rpcs = json(&["rpcs", str(&both)]);
    assert_eq!(rpcs["rpcs"]["total"], 1, "{rpcs}");
    let rpc = &rpcs["rpcs"]["rows"][0];
    assert_eq!(rpc["latency_ns"], 200_010 - 101_000, "{rpc}");
    let capture = Capture::open(&both).unwrap();
    let tids: Vec<u32> = capture
        .read::<Thread>(0)
        .unwrap()
        .iter()
        .map(|row| row.tid)
        .collect();
    assert_eq!(tids, [77, 77 + (1 << 22)]);
    let calls: Vec<Syscall> = capture.read::<Syscall>(0).unwrap().iter().collect();
    let of = |tid: u32| {
        calls
            .iter()
            .filter(move |row| row.tid == tid)
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = (of(77), of(77 + (1 << 22)));
    assert!(
        ours[0].ts <= theirs[0].ts + 10,
        "received before it was sent"
    );
    assert!(
        theirs[1].ts <= ours[1].ts + 10,
        "received before it was sent"
    );
    assert_ne!(ours[0].file, theirs[0].file);
    assert_ne!(ours[0].cpu, theirs[0].cpu);
    assert_eq!(capture.header().hosts.len(), 2);
}
