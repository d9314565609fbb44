//! The times of CPUs, of who had them and of who waited for them add up, and agree with the threads' own.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

const SAMPLES: [&str; 4] = ["demo.kndl", "waits.kndl", "locks.kndl", "killed.kndl"];

/// The report of a command; captures without an end make it exit with 3.
fn report(command: &str, sample: &str, options: &[&str]) -> Value {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../samples")
        .join(sample);
    let mut args = vec![command, sample.to_str().unwrap(), "--format", "json"];
    args.extend(options);
    let output = common::replay(&args).output().unwrap();
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{args:?}: {output:?}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report[command].clone()
}

fn ns(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn sum(list: &Value, key: &str) -> i64 {
    let rows = list["rows"].as_array().unwrap();
    rows.iter().map(|row| ns(&row[key])).sum()
}

#[test]
fn the_parts_of_each_cpu_are_the_window() {
    for sample in SAMPLES {
        for options in [&[][..], &["--from", "30ms", "--to", "90ms"]] {
            let cpus = report("cpus", sample, options);
            for row in cpus["rows"].as_array().unwrap() {
                let parts = ["busy_ns", "idle_ns", "unknown_ns"].map(|key| ns(&row[key]));
                assert_eq!(
                    parts.iter().sum::<i64>(),
                    ns(&cpus["window_ns"]),
                    "{sample} {row}"
                );
            }
        }
    }
}

#[test]
fn threads_have_the_cpus_as_long_as_they_run() {
    for sample in SAMPLES {
        let threads = report("threads", sample, &[]);
        let mut had: BTreeMap<i64, i64> = BTreeMap::new();
        for cpu in report("cpus", sample, &[])["rows"].as_array().unwrap() {
            for thread in cpu["threads"]["rows"].as_array().unwrap() {
                *had.entry(ns(&thread["tid"])).or_default() += ns(&thread["ns"]);
            }
        }
        let ran = threads["rows"].as_array().unwrap();
        for thread in ran.iter().filter(|row| ns(&row["unknown_ns"]) == 0) {
            // Only the threads that had a CPU longest are listed, so some time may be missing.
            let had = had.get(&ns(&thread["tid"])).copied().unwrap_or(0);
            // At its end a thread has a CPU a little longer than it lives.
            let most = ns(&thread["running_ns"]) + 1_000_000;
            assert!(had <= most, "{sample}: {had} {thread}");
        }
    }
}

#[test]
fn all_time_of_waiting_is_charged() {
    for sample in SAMPLES {
        let samples: [&[&str]; 3] = [
            &[],
            &["--from", "30ms", "--to", "90ms"],
            &["--comm", "*e*", "--from", "10ms"],
        ];
        for options in samples {
            let neighbours = report("neighbours", sample, options);
            let whole = ns(&neighbours["runnable_ns"]);
            let holders = ["own_ns", "others_ns"].map(|key| ns(&neighbours[key]));
            let holders: i64 = holders.iter().sum();
            let rest = ["idle_ns", "unknown_ns"].map(|key| ns(&neighbours[key]));
            assert_eq!(holders + rest.iter().sum::<i64>(), whole, "{sample}");
            for by in ["threads", "processes", "containers"] {
                assert_eq!(sum(&neighbours[by], "ns"), holders, "{sample} {by}");
            }
            assert_eq!(sum(&neighbours["waiters"], "runnable_ns"), whole);
            let threads = report("threads", sample, options);
            assert_eq!(sum(&threads, "runnable_ns"), whole, "{sample} {options:?}");
        }
    }
}
