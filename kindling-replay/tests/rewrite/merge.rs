//! Pieces of one recording, put together again.

use std::path::Path;

use kindling_format::{Capture, schema::*};

use crate::{
    ANSWERS, ANSWERS_OF_REQUESTS, answer, assert_sound,
    common::{self, json, run},
    cut, pid, sample, str,
};

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
