//! What the recorder says of its own cost, against what the kernel says.

use std::{fs, thread::sleep, time::Duration};

use kindling_format::schema::Overhead;
use serde_json::Value;

use crate::support::{Ongoing, Program, analyzer, needs};

/// The kernel's own statistics of BPF programs, switched on until this is dropped.
struct KernelStatistics {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl KernelStatistics {
    fn switch_on() -> std::io::Result<Self> {
        let before = fs::read_to_string(SWITCH)?;
        fs::write(SWITCH, "1")?;
        Ok(Self { before })
    }

    /// Runs of all programs that a process has open, and their time in nanoseconds.
    fn of_process(&self, pid: u32) -> (u64, u64) {
        let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
        let texts = files.filter_map(|file| fs::read_to_string(file.unwrap().path()).ok());
        texts.fold((0, 0), |(runs, ns), text| {
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.map_or(0, |value| value.trim().parse().unwrap())
            };
            (runs + field("run_cnt:"), ns + field("run_time_ns:"))
        })
    }
}

impl Drop for KernelStatistics {
    fn drop(&mut self) {
        fs::write(SWITCH, &self.before).unwrap();
    }
}

#[test]
fn samples_of_bpf_run_time_agree_with_the_kernel() {
    needs!("syscalls", "processes");
    let kernel = match KernelStatistics::switch_on() {
        Ok(kernel) => kernel,
        Err(error) => {
            eprintln!("SKIPPED: live tests: {SWITCH}: {error}");
            return;
        }
    };
    let storm = Program::compile("storm");
    let path = storm.path().display().to_string();
    let recorder = Ongoing::start(&["--duration", "4s", "--", &path, "1000000000"]);
    sleep(Duration::from_secs(1));
    let (runs_before, ns_before) = kernel.of_process(recorder.pid());
    sleep(Duration::from_secs(2));
    let (runs, ns) = kernel.of_process(recorder.pid());
    let (runs, ns) = (runs - runs_before, ns - ns_before);
    assert!(runs > 0, "the kernel counts no runs");
    let recording = recorder.finish();
    let rows = recording.rows::<Overhead>();
    let sampled: Vec<&Overhead> = rows.iter().filter(|row| row.bpf_runs.is_some()).collect();
    // One for each second at least; the last row may be shorter than that.
    assert!(sampled.len() >= 3, "{rows:?}");
    assert!(
        sampled
            .iter()
            .all(|row| row.bpf_ns.is_some() && row.bpf_sampled_ns.is_some())
    );
    let sampled_runs: u64 = sampled.iter().filter_map(|row| row.bpf_runs).sum();
    let sampled_bpf_ns: i64 = sampled.iter().filter_map(|row| row.bpf_ns).sum();
    let sampled_ns: i64 = sampled.iter().filter_map(|row| row.bpf_sampled_ns).sum();
    // The machine does other things too, and ours have one reading of the clock more in each run:
    // what is wrong by a unit or by a scale is wrong by more than this.
    let agrees = |ours: f64, theirs: f64| (theirs / 3.0..theirs * 3.0).contains(&ours);
    let a_second = (
        sampled_runs as f64 * 1e9 / sampled_ns as f64,
        runs as f64 / 2.0,
    );
    assert!(agrees(a_second.0, a_second.1), "runs: {a_second:?}");
    let each_ns = (
        sampled_bpf_ns as f64 / sampled_runs as f64,
        ns as f64 / runs as f64,
    );
    assert!(agrees(each_ns.0, each_ns.1), "nanoseconds: {each_ns:?}");
    eprintln!("runs a second, ours and the kernel's: {a_second:.0?}; ns each: {each_ns:.0?}");
    let Some(mut info) = analyzer() else { return };
    let output = info.args(["info", "--format", "json"]).arg(&recording.path);
    let report: Value = serde_json::from_slice(&output.output().unwrap().stdout).unwrap();
    let recorder = &report["info"]["recorder"];
    assert_eq!(recorder["bpf_runs"], sampled_runs);
    assert_eq!(recorder["bpf_sampled_ns"], sampled_ns);
}
