//! Requests and flows over captures with known content.
//!
//! ```text
//! ns        2000  2100     3000 3100      4000 4050   4100      5000
//! client/20 │ write GET │ … blocked in read …                 │ has it
//! server/10 … blocked in read … │ has it │▒│ works │ write 200 │
//! ```

#![allow(clippy::unwrap_used)]

mod common;

use common::{Segment, capture, file, json, process, replay, text, thread};
use kindling_format::schema::*;

const GET: &str = "GET /a?b=1 HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn socket(id: u32, pid: u32, local_port: u16, remote_port: u16) -> File {
    File {
        id,
        pid,
        ts: 1_500,
        open_ts: Some(1_500),
        close_ts: Some(9_000),
        kind: FileKind::Tcp,
        local_address: Some("127.0.0.1".into()),
        local_port: Some(local_port),
        remote_address: Some("127.0.0.1".into()),
        remote_port: Some(remote_port),
        netns: Some(1),
        ..File::default()
    }
}

/// What one end moved, from `ts` to `end`.
fn moved(
    file: u32,
    direction: Direction,
    (ts, end): (i64, i64),
    offset: u64,
    data: &str,
) -> Payload {
    let tid = if file == 1 { 20 } else { 10 };
    Payload {
        ts,
        dur: end - ts,
        pid: tid,
        tid,
        file,
        direction,
        size: data.len() as u64,
        offset,
        data: data.into(),
        ..Payload::default()
    }
}

fn lives() -> Segment {
    let client = Thread {
        pid: 20,
        ..thread(20, 10, "client")
    };
    Segment::default()
        .with(
            [process(10, 10, "server"), process(20, 10, "client")],
            ProcessColumns::push,
        )
        .with([thread(10, 10, "server"), client], ThreadColumns::push)
        .with(
            [socket(1, 20, 40_000, 80), socket(2, 10, 80, 40_000)],
            FileColumns::push,
        )
}

fn payloads() -> Vec<Payload> {
    use Direction::{In, Out};
    let get = GET.len() as u64;
    vec![
        moved(1, Out, (2_000, 2_100), 0, GET),
        moved(2, In, (1_800, 3_000), 0, GET),
        moved(2, Out, (4_000, 4_100), 0, OK),
        moved(1, In, (2_200, 5_000), 0, OK),
        // Asked again, and never answered.
        moved(1, Out, (6_000, 6_100), get, GET),
        moved(2, In, (5_000, 6_500), get, GET),
    ]
}

fn switches() -> Vec<Switch> {
    let switch = |ts, prev: (u32, u32, Option<u16>), next_tid| Switch {
        ts,
        cpu: 0,
        prev_tid: prev.0,
        prev_state: prev.1,
        prev_syscall: prev.2,
        next_tid,
        ..Switch::default()
    };
    vec![
        switch(1_850, (10, 1, Some(0)), 20),
        switch(2_300, (20, 1, Some(0)), 0),
        switch(2_900, (0, 0, None), 10),
        // Preempted while it works.
        switch(3_200, (10, 0, None), 0),
        switch(3_500, (0, 0, None), 10),
    ]
}

fn known(payloads: Vec<Payload>) -> Vec<u8> {
    let wakeup = Wakeup {
        ts: 2_050,
        waker_tid: 20,
        wakee_tid: 10,
        ..Wakeup::default()
    };
    let segment = lives()
        .with(payloads, PayloadColumns::push)
        .with(switches(), SwitchColumns::push)
        .with([wakeup], WakeupColumns::push);
    capture(vec![segment])
}

/// The same requests through TLS: their plaintext, and what crosses the sockets meanwhile.
fn through_tls() -> Vec<Payload> {
    let plain = payloads().into_iter().map(|row| Payload {
        tls: Tls::Whole,
        ..row
    });
    let mut rows: Vec<Payload> = plain.collect();
    // A handshake first, so that offsets differ, and a record around each message.
    let mut offsets = [[100, 100], [100, 100]];
    for row in payloads() {
        let offset = &mut offsets[row.file as usize - 1][row.direction as usize];
        let data: Vec<u8> = row.data.iter().map(|byte| byte ^ 0xa5).collect();
        rows.push(Payload {
            ts: row.ts + 1,
            dur: row.dur - 2,
            size: data.len() as u64 + 5,
            offset: *offset,
            data: [&b"\x17\x03\x03\0\0"[..], &data].concat(),
            ..row
        });
        *offset += data.len() as u64 + 5;
    }
    rows
}

#[test]
fn requests_through_tls_are_read_from_the_plaintext() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &known(payloads()));
    let plain = json(&["rpcs", path.to_str().unwrap(), "--sort", "start"]);
    let path = file(dir.path(), &known(through_tls()));
    let path = path.to_str().unwrap();
    let mut tls = json(&["rpcs", path, "--sort", "start"]);
    for list in ["rows", "endpoints"] {
        for row in tls["rpcs"][list].as_array_mut().unwrap() {
            assert_eq!(row["tls"].take(), true);
            row["tls"] = false.into();
        }
    }
    assert_eq!(tls["rpcs"], plain["rpcs"]);
    // Flows count what crossed the sockets: two requests and a response, each with a record's head.
    let flow = &json(&["flows", path])["flows"]["rows"][0];
    assert_eq!(
        (&flow["protocol"], &flow["tls"]),
        (&"http".into(), &true.into())
    );
    let sent = 100 + 2 * (GET.len() as u64 + 5);
    let received = 100 + OK.len() as u64 + 5;
    assert_eq!(
        (&flow["request_bytes"], &flow["response_bytes"]),
        (&sent.into(), &received.into())
    );
    let lines = text(&["rpc", path, "r1"]);
    assert!(
        lines.contains("http+tls GET /a") && lines.contains("GET /a?b=1 HTTP/1.1"),
        "{lines}"
    );
    let events = ["events", path, "--where", "payload.tls != no"];
    let lines = text(&events);
    assert_eq!(lines.matches("of plaintext").count(), 6, "{lines}");
}

#[test]
fn both_ends_are_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &known(payloads()));
    let path = path.to_str().unwrap();
    let answer = json(&["rpcs", path, "--sort", "start"]);
    let rpcs = &answer["rpcs"];
    assert_eq!(rpcs["total"], 2);
    let row = &rpcs["rows"][0];
    assert_eq!(
        (&row["id"], &row["endpoint"], &row["outcome"]),
        (&"r1".into(), &"GET /a".into(), &"ok".into())
    );
    assert_eq!(
        (&row["start_ns"], &row["latency_ns"]),
        (&1_000.into(), &3_000.into())
    );
    assert_eq!(
        (&row["client"]["comm"], &row["server"]["comm"]),
        (&"client".into(), &"server".into())
    );
    assert_eq!(row["response_bytes"], OK.len());
    // The second one waited until the connection was closed.
    let row = &rpcs["rows"][1];
    assert_eq!(
        (&row["outcome"], &row["latency_ns"]),
        (&"no_answer".into(), &3_000.into())
    );
    assert_eq!(rpcs["endpoints"][0]["count"], 2);
    assert_eq!(rpcs["endpoints"][0]["p50_ns"], 3_000);
    assert!(text(&["rpcs", path, "--errors"]).contains("no answer"));
    assert_eq!(
        json(&["rpcs", path, "--endpoint", "POST *"])["rpcs"]["total"],
        0
    );
    assert_eq!(json(&["rpcs", path, "--pid", "99"])["rpcs"]["total"], 0);
}

#[test]
fn a_request_is_taken_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &known(payloads()));
    let answer = json(&["rpc", path.to_str().unwrap(), "r1"]);
    let rpc = &answer["rpc"];
    assert_eq!(rpc["request_line"], "GET /a?b=1 HTTP/1.1");
    let stages = rpc["stages"].as_array().unwrap();
    let shown: Vec<(&str, i64)> = stages
        .iter()
        .map(|stage| {
            (
                stage["stage"].as_str().unwrap(),
                stage["duration_ns"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("send", 100),
            ("queue", 900),
            ("serve", 1_000),
            ("respond", 100),
            ("return", 900)
        ]
    );
    let parts = |stage: usize| {
        let parts = stages[stage]["parts"].as_array().unwrap().iter();
        parts
            .map(|part| {
                (
                    part["state"].as_str().unwrap(),
                    part["duration_ns"].as_i64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(parts(1), [("runnable", 800), ("running", 100)]);
    assert_eq!(parts(2), [("running", 700), ("runnable", 300)]);
    assert_eq!(rpc["server_woken_by"]["comm"], "client");
    assert!(text(&["rpc", path.to_str().unwrap(), "slowest"]).contains("server works on it"));
}

#[test]
fn one_end_alone_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let only = |file: u32| {
        payloads()
            .into_iter()
            .filter(move |row| row.file == file)
            .collect()
    };
    let path = file(dir.path(), &known(only(2)));
    let row = json(&["rpcs", path.to_str().unwrap(), "--sort", "start"])["rpcs"]["rows"][0].clone();
    assert_eq!(
        (&row["client"]["pid"], &row["client"]["address"]),
        (&serde_json::Value::Null, &"127.0.0.1:40000".into())
    );
    assert_eq!(
        (&row["start_ns"], &row["latency_ns"]),
        (&2_000.into(), &1_100.into())
    );
    let path = file(dir.path(), &known(only(1)));
    let rpc = json(&["rpc", path.to_str().unwrap(), "1"])["rpc"].clone();
    let stages: Vec<&str> = rpc["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["send", "remote"]);
}

#[test]
fn flows_join_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &known(payloads()));
    let path = path.to_str().unwrap();
    let answer = json(&["flows", path]);
    let flows = &answer["flows"];
    assert_eq!(flows["total"], 1);
    let row = &flows["rows"][0];
    assert_eq!(
        (&row["protocol"], &row["address"]),
        (&"http".into(), &"127.0.0.1:80".into())
    );
    assert_eq!(
        (&row["client"]["pid"], &row["server"]["pid"]),
        (&20.into(), &10.into())
    );
    assert_eq!(
        (&row["connections"], &row["request_bytes"]),
        (&1.into(), &(2 * GET.len()).into())
    );
    assert_eq!(
        (&row["requests"]["count"], &row["requests"]["no_answer"]),
        (&2.into(), &1.into())
    );
    let dot = text(&["flows", path, "--format", "dot"]);
    assert!(dot.contains("\"client/20\" -> \"server/10\""), "{dot}");
    assert!(text(&["flows", path, "--format", "svg"]).ends_with("</svg>\n"));
}

#[test]
fn names_that_do_not_exist_are_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &known(payloads()));
    let path = path.to_str().unwrap();
    let check = |args: &[&str], code: i32, expect: &str| {
        let stderr = String::from_utf8(common::run(args, code).stderr).unwrap();
        assert!(stderr.contains(expect), "{stderr}");
    };
    check(
        &["rpc", path, "r9"],
        1,
        "has no request r9: they go from r1 to r2",
    );
    check(&["rpc", path, "nine"], 2, "names no request");
    check(
        &["rpcs", path, "--protocol", "smtp"],
        2,
        "choose one of http, redis",
    );
}

#[test]
fn nonsense_in_payloads_is_no_panic() {
    const PIECES: [&str; 8] = [
        GET,
        OK,
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        "$9\r\n",
        "+OK\r\n",
        "\u{1b}[m",
        "PING\r\n",
        "",
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % bound
    };
    for seed in 0..20 {
        let payload = |_| {
            let extreme = [0, i64::MAX, i64::MIN, -1][below(4) as usize];
            let ts = if below(9) == 0 {
                extreme
            } else {
                1_000 + below(10_000) as i64
            };
            let direction = if below(2) == 0 {
                Direction::In
            } else {
                Direction::Out
            };
            let data = PIECES[below(8) as usize];
            Payload {
                // The writer adds both up; rows that overflow there cannot be written.
                dur: if ts > 0 && ts < i64::MAX / 2 {
                    below(3_000) as i64 - 9
                } else {
                    0
                },
                size: if below(5) == 0 {
                    u64::MAX >> below(64)
                } else {
                    data.len() as u64
                },
                offset: if below(5) == 0 {
                    u64::MAX >> below(64)
                } else {
                    below(99)
                },
                ..moved(below(4) as u32, direction, (ts, ts), 0, data)
            }
        };
        let rows: Vec<Payload> = (0..40).map(payload).collect();
        let path = file(dir.path(), &known(rows));
        let path = path.to_str().unwrap();
        for args in [
            &["rpcs"][..],
            &["rpc", "r1"],
            &["rpc", "r2"],
            &["flows"],
            &["flows", "--format", "svg"],
        ] {
            let mut all = vec![args[0], path];
            all.extend(&args[1..]);
            let output = replay(&all).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(0..=3)),
                "seed {seed} {args:?}\n{stderr}"
            );
            assert!(
                !stderr.contains("panicked"),
                "seed {seed} {args:?}\n{stderr}"
            );
        }
    }
}
