//! `cut` and `merge`: answers from the pieces are answers from the whole.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{json, run, text};
use kindling_format::{
    Capture, CaptureWriter, Header, Summary,
    header::{Host, Moment},
    schema::*,
};

/// Answers that are the same from a piece as from the whole with the same selection.
const ANSWERS: [&[&str]; 5] = [
    &["threads"],
    &["syscalls"],
    &["flame", "--format", "folded"],
    &["flame", "--kind", "off-cpu", "--format", "folded"],
    &["flame", "--kind", "wakers", "--format", "folded"],
];

/// Answers that are, if the piece begins within no request: one that only its server received within
/// the piece counts there, and not in the whole.
const ANSWERS_OF_REQUESTS: [&[&str]; 2] = [&["flows"], &["rpcs", "--top", "0"]];

fn sample(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("samples").join(name)
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn answer(command: &[&str], capture: &Path, selection: &[&str]) -> String {
    let (name, options) = command.split_first().unwrap();
    let mut args = vec![*name, str(capture)];
    args.extend(options);
    args.extend(selection);
    let text = text(&args);
    // How sure an answer is depends on what was seen before; the answer does not.
    let rows = text
        .lines()
        .take_while(|line| *name != "rpcs" || !line.is_empty());
    // Moments count from the beginning of the capture.
    let rows = rows.map(|line| line.split_once(" +").map_or(line, |(row, _)| row));
    rows.map(|line| line.trim_end().replace("  ", " ") + "\n")
        .collect()
}

fn cut(capture: &Path, selection: &[&str], to: &Path) {
    let mut args = vec!["cut", str(capture)];
    args.extend(selection);
    args.extend(["-o", str(to)]);
    run(&args, 0);
}

/// The pid of the process with this name.
fn pid(capture: &Path, comm: &str) -> String {
    let report = json(&["threads", str(capture), "--comm", comm]);
    report["threads"]["rows"][0]["pid"].to_string()
}

/// `check` finds nothing wrong, and nothing named that is not there.
fn assert_sound(capture: &Path) {
    let report = json(&["check", str(capture)]);
    assert_eq!(report["check"]["state"], "fine", "{report}");
    assert_eq!(
        report["check"]["dangling"],
        serde_json::json!({}),
        "{report}"
    );
}

#[test]
fn a_piece_answers_as_the_whole_does_for_that_selection() {
    let dir = tempfile::tempdir().unwrap();
    let piece = dir.path().join("piece.kndl");
    let demo = sample("demo.kndl");
    let client = pid(&demo, "client");
    let mut selections: Vec<Vec<&str>> = vec![vec!["--pid", &client]];
    let windows = [
        ("0", "100ms"),
        ("455ms", "460ms"),
        ("500.123456ms", "600ms"),
        ("500ms", "60s"),
    ];
    for (from, to) in windows {
        selections.push(vec!["--from", from, "--to", to]);
        selections.push(vec!["--from", from, "--to", to, "--pid", &client]);
    }
    for selection in &selections {
        cut(&demo, selection, &piece);
        assert_sound(&piece);
        // A piece of one side and of time counts what that side saw then, the whole what either did.
        let is_within_requests = selection.contains(&"500.123456ms") || selection.len() > 4;
        let of_requests = ANSWERS_OF_REQUESTS.iter().filter(|_| !is_within_requests);
        for command in ANSWERS.iter().chain(of_requests) {
            let (piece, whole) = (
                answer(command, &piece, &[]),
                answer(command, &demo, selection),
            );
            assert_eq!(piece, whole, "{command:?} {selection:?}");
        }
    }
}

#[test]
fn waits_that_reach_over_the_cut_keep_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let piece = dir.path().join("piece.kndl");
    let waits = sample("waits.kndl");
    let length_ns = json(&["info", str(&waits)])["capture"]["duration_ns"]
        .as_i64()
        .unwrap();
    for part in 0..8 {
        let at = |part: i64| format!("{}ns", length_ns * part / 8);
        let (from, to) = (at(part), at(part + 1));
        let selection = ["--from", &from, "--to", &to];
        cut(&waits, &selection, &piece);
        let (piece, whole) = (
            answer(&["threads"], &piece, &[]),
            answer(&["threads"], &waits, &selection),
        );
        assert_eq!(piece, whole, "{selection:?}");
    }
}

#[test]
fn pieces_of_time_merge_to_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let demo = sample("demo.kndl");
    let names = ["first", "second", "third"].map(|name| dir.path().join(format!("{name}.kndl")));
    cut(&demo, &["--to", "470ms"], &names[0]);
    cut(&demo, &["--from", "470ms", "--to", "500ms"], &names[1]);
    cut(&demo, &["--from", "500ms"], &names[2]);
    let whole = dir.path().join("whole.kndl");
    // The order in which they are named does not matter.
    run(
        &[
            "merge",
            str(&names[2]),
            str(&names[0]),
            str(&names[1]),
            "-o",
            str(&whole),
        ],
        0,
    );
    assert_sound(&whole);
    let events: &[&str] = &["events", "--top", "0"];
    for command in ANSWERS
        .into_iter()
        .chain(ANSWERS_OF_REQUESTS)
        .chain([events])
    {
        assert_eq!(
            answer(command, &whole, &[]),
            answer(command, &demo, &[]),
            "{command:?}"
        );
    }
    let rows = |path: &Path| Capture::open(path).unwrap().summary().unwrap().rows.clone();
    for table in [
        "syscalls",
        "arguments",
        "payloads",
        "switches",
        "wakeups",
        "samples",
        "clock",
    ] {
        assert_eq!(rows(&whole).get(table), rows(&demo).get(table), "{table}");
    }
}

#[test]
fn plaintext_that_reaches_over_a_cut_is_merged_to_one_row() {
    let dir = tempfile::tempdir().unwrap();
    let file = File {
        id: 1,
        ts: 1_000,
        pid: 10,
        kind: FileKind::Tcp,
        ..File::default()
    };
    let row = |ts, offset, tls| Payload {
        ts,
        dur: 1_000,
        pid: 10,
        tid: 10,
        file: 1,
        size: 2,
        offset,
        data: b"ab".to_vec(),
        tls,
        ..Payload::default()
    };
    // The library's call is still waiting for the socket at 3 us.
    let rows = [row(1_500, 0, Tls::Whole), row(2_500, 2, Tls::Whole)];
    let segment = common::Segment::default()
        .with([common::process(10, 1_000, "app")], ProcessColumns::push)
        .with([common::thread(10, 10, "app")], ThreadColumns::push)
        .with([file], FileColumns::push)
        .with(rows, PayloadColumns::push);
    let whole = common::file(dir.path(), &common::capture(vec![segment]));
    let pieces = ["a.kndl", "b.kndl"].map(|name| dir.path().join(name));
    cut(&whole, &["--to", "2us"], &pieces[0]);
    cut(&whole, &["--from", "2us"], &pieces[1]);
    let merged = dir.path().join("merged.kndl");
    run(
        &[
            "merge",
            str(&pieces[0]),
            str(&pieces[1]),
            "-o",
            str(&merged),
        ],
        0,
    );
    let offsets = |path: &Path| {
        let capture = Capture::open(path).unwrap();
        let segments = capture.segments();
        let rows = segments.flat_map(|segment| {
            let rows = capture.read::<Payload>(segment).unwrap();
            rows.iter().map(|row| row.offset).collect::<Vec<_>>()
        });
        rows.collect::<Vec<_>>()
    };
    assert_eq!(
        pieces.each_ref().map(|piece| offsets(piece)),
        [vec![0, 2], vec![2]]
    );
    assert_eq!(offsets(&merged), [0, 2]);
}

#[test]
fn recordings_of_two_sides_merge_to_requests_with_both() {
    let dir = tempfile::tempdir().unwrap();
    let demo = sample("demo.kndl");
    let (servers, clients) = (
        dir.path().join("servers.kndl"),
        dir.path().join("clients.kndl"),
    );
    let comms = ["nginx", "redis-server"].map(|comm| {
        let report = json(&["threads", str(&demo), "--comm", comm]);
        let rows = report["threads"]["rows"].as_array().unwrap().clone();
        rows.iter()
            .map(|row| row["pid"].to_string())
            .collect::<Vec<_>>()
            .join(",")
    });
    cut(&demo, &["--pid", &comms.join(",")], &servers);
    let client = pid(&demo, "client");
    cut(&demo, &["--pid", &client], &clients);
    let both = dir.path().join("both.kndl");
    run(
        &["merge", str(&servers), str(&clients), "-o", str(&both)],
        0,
    );
    assert_sound(&both);
    let selection = ["--pid", &client];
    for command in [&["threads"][..], &["syscalls"], &["flows"]] {
        let (both, whole) = (
            answer(command, &both, &selection),
            answer(command, &demo, &selection),
        );
        assert_eq!(both, whole, "{command:?}");
    }
}

#[test]
fn what_would_count_twice_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let demo = sample("demo.kndl");
    let (first, second) = (
        dir.path().join("first.kndl"),
        dir.path().join("second.kndl"),
    );
    cut(&demo, &["--to", "500ms"], &first);
    cut(&demo, &["--from", "400ms"], &second);
    let out = dir.path().join("out.kndl");
    let refused = run(&["merge", str(&first), str(&second), "-o", str(&out)], 1);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("at the same time"), "{stderr}");
    assert!(!out.exists());
    run(&["merge", str(&first), str(&first), "-o", str(&out)], 2);
    run(&["merge", str(&first), "-o", str(&out)], 2);
    run(&["merge", str(&first), str(&second)], 2);
}

/// A capture with a table of a later version, which has 7 rows, and a column of one.
fn later(start_ns: i64) -> Vec<u8> {
    let moment = |ns| Moment {
        monotonic_ns: ns,
        boottime_ns: ns,
        realtime_ns: ns,
    };
    let header = Header {
        start: moment(start_ns),
        ..Header::default()
    };
    let mut columns = Syscall::columns();
    for n in 0..7 {
        let row = Syscall {
            ts: start_ns + n,
            ..Syscall::default()
        };
        SyscallColumns::push(&mut columns, row);
    }
    let mut member = Syscall::encode(columns).unwrap();
    member.table = "tides".into();
    let mut tide = Wakeup::columns();
    let row = Wakeup {
        ts: start_ns,
        wakee_tid: 7,
        ..Wakeup::default()
    };
    WakeupColumns::push(&mut tide, row);
    let mut with_tide = Wakeup::encode(tide).unwrap();
    // A name of the same length, in the Parquet footer.
    let place = |bytes: &[u8]| bytes.windows(3).position(|name| name == b"irq");
    while let Some(at) = place(&with_tide.bytes) {
        with_tide.bytes[at..at + 3].copy_from_slice(b"ebb");
    }
    let mut writer = CaptureWriter::new(Vec::new(), &header).unwrap();
    writer.append(0, member).unwrap();
    writer.append(0, with_tide).unwrap();
    let summary = Summary {
        end: moment(start_ns + 100),
        ..Summary::default()
    };
    writer.finish(&summary).unwrap()
}

#[test]
fn what_later_versions_add_is_kept_or_told() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, out] = ["a", "b", "out"].map(|name| dir.path().join(name));
    std::fs::write(&first, later(1_000)).unwrap();
    std::fs::write(&second, later(5_000)).unwrap();
    let told = |args: &[&str], code: i32| {
        let args = [args, &["-o", str(&out)]].concat();
        String::from_utf8(run(&args, code).stderr).unwrap()
    };
    let stderr = told(&["cut", str(&first)], 3);
    assert!(stderr.contains("tides (7 rows)"), "{stderr}");
    assert!(stderr.contains("does not know: wakeups.ebb;"), "{stderr}");
    let stderr = told(&["merge", str(&first), str(&second)], 3);
    assert!(stderr.contains("tides (14 rows)"), "{stderr}");
    assert!(stderr.contains("does not know: wakeups.ebb;"), "{stderr}");
    for (command, code) in [("compact", 3), ("salvage", 0)] {
        let stderr = told(&[command, str(&first)], code);
        assert!(!stderr.contains("tides"), "{stderr}");
        assert_eq!(
            stderr.contains("wakeups.ebb"),
            command == "compact",
            "{stderr}"
        );
        let kept = Capture::open(&out).unwrap();
        assert!(kept.members(0).any(|(table, _)| table == "tides"));
    }
}

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
