//! The requests found in the demo's sample are exactly those that its senders and servers counted.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

fn samples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples")
}

/// The sum of the numbers of an object.
fn sum(counts: &Value) -> u64 {
    let counts = counts.as_object().unwrap().values();
    counts.map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn as_many_requests_as_were_sent_and_served() {
    let counts = std::fs::read_to_string(samples().join("demo.counts.json")).unwrap();
    let counts: Value = serde_json::from_str(&counts).unwrap();
    let sample = samples().join("demo.kndl");
    let args = ["rpcs", sample.to_str().unwrap(), "--format", "json"];
    let output = common::replay(&args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();

    let mut found = BTreeMap::<&str, u64>::new();
    for row in report["rpcs"]["endpoints"].as_array().unwrap() {
        let protocol = row["protocol"].as_str().unwrap();
        *found.entry(protocol).or_default() += row["count"].as_u64().unwrap();
    }
    let mut total = 0;
    for (protocol, counted) in counts.as_object().unwrap() {
        let sent = sum(&counted["sent"]);
        assert_eq!(sent, sum(&counted["served"]), "{protocol}");
        assert_eq!(found.get(protocol.as_str()), Some(&sent), "{protocol}");
        total += sent;
    }
    assert_eq!(report["rpcs"]["total"].as_u64(), Some(total));
}
