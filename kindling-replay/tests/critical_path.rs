//! Critical paths in the samples add up.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use serde_json::Value;

fn path_of(sample: &str, args: &[&str]) -> Value {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../samples")
        .join(sample);
    let mut all = vec!["critical-path", sample.to_str().unwrap()];
    all.extend(args);
    common::json(&all)["critical_path"].clone()
}

fn ns(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

#[test]
fn pieces_follow_each_other_without_a_gap() {
    let questions: [(&str, &[&str]); 7] = [
        ("demo.kndl", &["slowest"]),
        ("demo.kndl", &["r1"]),
        ("demo.kndl", &["r400"]),
        ("demo.kndl", &["--from", "100ms", "--to", "400ms"]),
        ("demo.kndl", &["--comm", "redis-server"]),
        ("locks.kndl", &[]),
        ("waits.kndl", &[]),
    ];
    for (sample, args) in questions {
        let path = path_of(sample, args);
        let mut at = ns(&path["from_ns"]);
        for piece in path["rows"].as_array().unwrap() {
            assert_eq!(ns(&piece["start_ns"]), at, "{sample} {args:?}");
            at += ns(&piece["length_ns"]);
        }
        assert_eq!(at, ns(&path["to_ns"]), "{sample} {args:?}");
        let parts = path["parts"]["rows"].as_array().unwrap();
        let sum: i64 = parts.iter().map(|part| ns(&part["ns"])).sum();
        assert_eq!(sum, ns(&path["length_ns"]), "{sample} {args:?}");
        let states = path["by_state_ns"].as_object().unwrap();
        let sum: i64 = states.values().map(ns).sum();
        assert_eq!(sum, ns(&path["length_ns"]), "{sample} {args:?}");
    }
}

/// Of a request that waits behind another one's script, the path is the server's.
#[test]
fn the_path_of_a_request_leads_to_the_server() {
    let path = path_of("demo.kndl", &["slowest"]);
    let first = &path["parts"]["rows"][0];
    assert_eq!(
        (first["comm"].as_str(), first["state"].as_str()),
        (Some("redis-server"), Some("running"))
    );
    let woken = path["rows"].as_array().unwrap().iter();
    let mut woken = woken.filter(|piece| piece["thread"] == path["thread"] || piece["depth"] == 0);
    let by_write = woken.any(|piece| piece["woken_by"]["syscall"] == "write");
    assert!(by_write, "{path:#}");
}

#[test]
fn compared_groups_add_up_to_their_means() {
    let report = path_of("demo.kndl", &["--rpcs"]);
    let parts = report["rows"].as_array().unwrap();
    for (group, key) in [("usual", "usual_ns"), ("slow", "slow_ns")] {
        let sum: i64 = parts.iter().map(|part| ns(&part[key])).sum();
        let mean = ns(&report[group]["mean_ns"]);
        // Each part is rounded down.
        assert!((0..=parts.len() as i64).contains(&(mean - sum)), "{group}");
    }
    let falling = |pair: &[Value]| ns(&pair[0]["difference_ns"]) >= ns(&pair[1]["difference_ns"]);
    assert!(parts.windows(2).all(falling));
}
