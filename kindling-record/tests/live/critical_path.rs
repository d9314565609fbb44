//! The critical path of a process that waits for others is what these did, phase by phase.

use serde_json::Value;

use crate::support::{Program, Recording, needs, number, record_until_known};

/// The pieces that lie in a phase, cut to it: state and length of each.
fn within<'a>(
    path: &'a Value,
    recording: &Recording,
    phase: &'a Value,
) -> impl Iterator<Item = (&'a Value, i64)> {
    let start_ns = recording.capture.header().start.monotonic_ns;
    let (began_ns, ended_ns) = (number(&phase["began_ns"]), number(&phase["ended_ns"]));
    let rows = path["rows"].as_array().unwrap().iter();
    rows.filter_map(move |piece| {
        let from_ns = start_ns + number(&piece["start_ns"]);
        let to_ns = from_ns + number(&piece["length_ns"]);
        let ns = to_ns.min(ended_ns) - from_ns.max(began_ns);
        (ns > 0).then_some((piece, ns))
    })
}

/// Every moment of a phase is on the path, as the phase of the thread that it was of: from when the one who
/// asked is on its way into its wait no more.
fn assert_phase(path: &Value, recording: &Recording, phase: &Value, asker: &Value) {
    let mut left_ns = number(&phase["ended_ns"]) - number(&phase["began_ns"]);
    let mut enough_ns = number(&recording.truth["phase_ns"]) * 99 / 100;
    let mut of_state_ns = 0;
    let mut has_begun = false;
    for (piece, ns) in within(path, recording, phase) {
        has_begun |= piece["tid"] == phase["tid"];
        let thread = if has_begun { &phase["tid"] } else { asker };
        assert_eq!(piece["tid"], *thread, "{phase} {piece:#}");
        let is_phase = has_begun && piece["state"] == phase["state"];
        // On its way into a wait a thread runs, and out of it it may have to wait for a CPU.
        let is_on_the_way = piece["state"] == "running" || piece["state"] == "runnable";
        assert!(is_phase || is_on_the_way, "{phase} {piece:#}");
        left_ns -= ns;
        of_state_ns += if is_phase { ns } else { 0 };
        enough_ns -= if has_begun { 0 } else { ns };
    }
    assert_eq!(left_ns, 0, "{phase}");
    assert!(of_state_ns >= enough_ns, "{of_state_ns} ns of {phase}");
}

/// Records who asks in this way, and compares; `syscall` is how the answer is given.
fn check(way: &str, syscall: &str) {
    let program = Program::compile("relay");
    let recording = record_until_known(&program, &[way, "100"], |truth| {
        let phases = truth["phases"].as_array().unwrap().iter();
        let tids = phases.map(|phase| &phase["tid"]);
        tids.chain([&truth["pid"]]).collect()
    });
    let Some(recording) = recording else { return };
    let truth = &recording.truth;
    let pid = truth["pid"].to_string();
    let path = recording.in_window("critical-path", &["--tid", &pid]);
    let path = path.unwrap();
    let window_ns = number(&truth["to_ns"]) - number(&truth["from_ns"]);
    assert_eq!(number(&path["length_ns"]), window_ns);
    let phases = truth["phases"].as_array().unwrap();
    let [worker, sleeper, helper] = [0, 1, 2].map(|at| &phases[at]["tid"]);
    for (phase, asker) in phases.iter().zip([&truth["pid"], sleeper, worker]) {
        assert_phase(&path, &recording, phase, asker);
    }
    // Each answer leads back to who asked.
    for (asker, answerer) in [(worker, helper), (&truth["pid"], worker)] {
        let rows = path["rows"].as_array().unwrap().iter();
        let woken = rows.filter(|at| at["tid"] == *asker && at["woken_by"]["tid"] == *answerer);
        let by: Vec<&Value> = woken.map(|at| &at["woken_by"]["syscall"]).collect();
        assert_eq!(by, [syscall], "{asker} {answerer} {path:#}");
    }
}

#[test]
fn by_a_pipe() {
    needs!("syscalls", "switches", "wakeups", "processes");
    check("pipe", "write");
}

#[test]
fn by_a_futex() {
    needs!("syscalls", "switches", "wakeups", "processes");
    check("futex", "futex");
}

#[test]
fn by_the_end_of_a_child() {
    needs!("syscalls", "switches", "wakeups", "processes");
    check("child", "exit_group");
}

#[test]
fn by_a_loopback_connection() {
    needs!("syscalls", "switches", "wakeups", "processes");
    check("tcp", "write");
}
