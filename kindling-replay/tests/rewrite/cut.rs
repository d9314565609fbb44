//! Pieces of one capture.

use crate::{
    ANSWERS, ANSWERS_OF_REQUESTS, answer, assert_sound, common::json, cut, pid, sample, str,
};

#[test]
fn a_piece_answers_as_the_whole_does_for_that_selection() {
    let dir = tempfile::tempdir().unwrap();
    let piece = dir.path().join("piece.kndl");
    let demo = sample("demo.kndl");
    let client = pid(&demo, "client");
    let mut selections: Vec<Vec<&str>> = vec![vec!["--pid", &client]];
    let windows = [
        ("0", "100ms"),
        ("246ms", "280ms"),
        ("400.123456ms", "450ms"),
        ("496ms", "60s"),
    ];
    for (from, to) in windows {
        selections.push(vec!["--from", from, "--to", to]);
        selections.push(vec!["--from", from, "--to", to, "--pid", &client]);
    }
    for selection in &selections {
        cut(&demo, selection, &piece);
        assert_sound(&piece);
        // A piece of one side and of time counts what that side saw then, the whole what either did.
        let is_within_requests = selection.contains(&"400.123456ms") || selection.len() > 4;
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
