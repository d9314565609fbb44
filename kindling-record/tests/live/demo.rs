//! The demo workload, recorded here and now: real servers, and as many requests as were sent.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::support::{analyzer, needs, recorder, transcript};

#[test]
fn the_requests_of_the_demo_are_all_found() {
    needs!("processes", "syscalls", "switches", "wakeups");
    let Some(mut analyzer) = analyzer() else {
        eprintln!("SKIPPED: the demo workload: kindling-replay was not built");
        return;
    };
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/demo");
    let dir = tempfile::tempdir().unwrap();
    let install = Command::new(demo.join("install.sh"))
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(install.status.success(), "{}", transcript(&install));
    for program in ["nginx", "redis-server", "redis-benchmark", "ab"] {
        let script = format!("PATH=$PATH:/usr/sbin; command -v {program}");
        let found = Command::new("sh").args(["-c", &script]).output().unwrap();
        if !found.status.success() {
            eprintln!("SKIPPED: the demo workload: no {program}");
            return;
        }
    }

    let path = dir.path().join("demo.kndl");
    let output = recorder()
        .env("KINDLING_DEMO_HTTP_PORT", "18081")
        .env("KINDLING_DEMO_REDIS_PORT", "16380")
        .arg("-o")
        .arg(&path)
        .arg("--")
        .arg(dir.path().join("run.sh"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let counts = std::fs::read_to_string(dir.path().join("counts.json"))
        .unwrap_or_else(|error| panic!("{error}\n{}", transcript(&output)));
    let counts: Value = serde_json::from_str(&counts).unwrap();
    let sent: u64 = ["http", "redis"]
        .iter()
        .flat_map(|protocol| counts[protocol]["sent"].as_object().unwrap().values())
        .map(|count| count.as_u64().unwrap())
        .sum();

    let output = analyzer
        .arg("rpcs")
        .arg(&path)
        .args(["--format", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rpcs"]["total"].as_u64(), Some(sent), "{counts}");
}
