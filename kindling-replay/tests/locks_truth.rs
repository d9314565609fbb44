//! The waits found in the sample of locks are those that its program made and measured.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use serde_json::Value;

#[test]
fn as_many_waits_as_were_made_and_as_long() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    let truth = std::fs::read_to_string(samples.join("locks.truth.json")).unwrap();
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let report = common::json(&["locks", samples.join("locks.kndl").to_str().unwrap()]);
    let locks = report["locks"]["rows"].as_array().unwrap();
    for made in truth["locks"].as_array().unwrap() {
        let address = format!("{:#x}", made["address"].as_i64().unwrap());
        let at = |row: &&Value| row["places"][0]["address"] == *address;
        let lock = locks.iter().find(at).unwrap();
        let kind = made["kind"].as_str().unwrap();
        assert!(lock["kind"].as_str().unwrap().ends_with(kind), "{lock:#}");
        for waiter in made["waiters"].as_array().unwrap() {
            let rows = lock["waiters"]["rows"].as_array().unwrap();
            let found = rows.iter().find(|row| row["tid"] == waiter["tid"]).unwrap();
            assert_eq!(found["count"], waiter["waits"]);
            let ratio = found["ns"].as_f64().unwrap() / waiter["wait_ns"].as_f64().unwrap();
            assert!((0.9..=1.0).contains(&ratio), "{found} {waiter}");
        }
    }
}
