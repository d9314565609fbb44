//! Plaintext of TLS in Go programs, whose goroutines move between threads and whose stacks move in memory.

use std::collections::BTreeMap;

use kindling_format::schema::{Direction, File, Tls};

use crate::{
    plaintext::{plaintexts, rpcs, streams},
    support::{Program, id, needs, number},
};

/// What client `k` of the program sends.
fn letters(k: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| b'a' + ((k + at) % 26) as u8).collect()
}

/// Records the program, built with these options: both ends of each connection have each byte once, in order, and each
/// call that moved some is one row.
fn check_echo(options: &[&str]) {
    let Some(program) = Program::compile_go("tls", options) else {
        return;
    };
    let recording = &program.record(&["--payload-bytes", "8191"], &["echo"]);
    recording.assert_complete();
    let truth = &recording.truth;
    let pid = id(&truth["pid"]);
    let server_port = number(&truth["port"]);
    let rows = plaintexts(recording);
    assert!(
        rows.iter()
            .all(|row| row.tls == Tls::Whole && row.pid == pid)
    );
    let streams = streams(recording);
    let files: Vec<File> = recording.rows();
    let ends: BTreeMap<(i64, i64), u32> = files
        .iter()
        .filter_map(|file| {
            let ports = (file.local_port?.into(), file.remote_port?.into());
            Some((ports, file.id))
        })
        .collect();
    for (k, client) in truth["clients"].as_array().unwrap().iter().enumerate() {
        let port = number(&client["port"]);
        let expected = letters(k, number(&client["bytes"]) as usize);
        for (end, ports) in [
            ("client", (port, server_port)),
            ("server", (server_port, port)),
        ] {
            let file = ends[&ports];
            for direction in [Direction::In, Direction::Out] {
                let stream = &streams[&(pid, file, direction)];
                assert!(
                    *stream == expected,
                    "{end} {k}, {direction:?}: {} bytes",
                    stream.len()
                );
            }
            if end == "client" {
                let count = |direction| {
                    let rows = rows.iter();
                    rows.filter(|row| row.file == file && row.direction == direction)
                        .count() as i64
                };
                assert_eq!(count(Direction::Out), number(&client["writes"]));
                assert_eq!(count(Direction::In), number(&client["reads"]));
            }
        }
    }
}

#[test]
fn plaintext_of_go_is_what_was_sent_while_its_stacks_move() {
    needs!("tls", "syscalls");
    check_echo(&[]);
}

#[test]
fn plaintext_of_a_stripped_go_program_for_any_address_is_what_was_sent() {
    needs!("tls", "syscalls");
    check_echo(&["-buildmode=pie", "-ldflags", "-s -w"]);
}

#[test]
fn requests_over_tls_of_go_are_found() {
    needs!("tls", "syscalls");
    let Some(program) = Program::compile_go("tls", &["-ldflags", "-s -w"]) else {
        return;
    };
    let recording = program.record(&[], &["http"]);
    let Some(rpcs) = rpcs(&recording) else {
        eprintln!("SKIPPED: requests over TLS of Go: no kindling-replay beside the recorder");
        return;
    };
    let rows = rpcs["rows"].as_array().unwrap();
    assert_eq!(
        rows.len() as i64,
        number(&recording.truth["http1"]),
        "{rpcs}"
    );
    for row in rows {
        assert_eq!(
            (&row["endpoint"], &row["tls"], &row["status"]),
            (&"GET /one".into(), &true.into(), &200.into())
        );
    }
    // What is not understood is there to be read: HTTP/2 begins so.
    let is_beginning = |data: &[u8]| data.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let rows = plaintexts(&recording);
    assert_eq!(rows.iter().filter(|row| is_beginning(&row.data)).count(), 2);
}
