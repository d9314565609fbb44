//! A recording that may cost only so much says what it left out.

use kindling_format::schema::{Loss, Process, Syscall};

use crate::support::{Ongoing, Program, needs};

#[test]
fn what_is_over_the_rate_is_left_out_and_counted() {
    needs!("syscalls", "processes");
    let storm = Program::compile("storm");
    let quiet = storm.record(&[], &["0"]);
    let beside = quiet.rows::<Syscall>().len() as u64;
    let calls = 3_000_000;
    let recording = storm.record(&["--max-rate", "100000"], &[&calls.to_string()]);
    let recorded = recording.rows::<Syscall>().len() as u64;
    assert_eq!(recorded + recording.lost("syscalls"), beside + calls);
    let losses = recording.rows::<Loss>();
    let shed = losses.iter().filter(|row| row.cause == "max-rate");
    assert!(
        shed.clone().any(|row| row.source == "syscalls"),
        "{losses:?}"
    );
    // Who lived is never left out.
    assert!(
        losses
            .iter()
            .all(|row| row.source != "processes" && row.source != "threads")
    );
    let processes = recording.rows::<Process>();
    assert!(
        processes
            .iter()
            .any(|row| row.comm == "storm" && row.exit_status == Some(0))
    );
}

#[test]
fn what_costs_too_much_cpu_is_left_out() {
    needs!("syscalls", "processes");
    let storm = Program::compile("storm");
    let recording = storm.record(&["--max-cpu", "0.1%"], &["3000000"]);
    let losses = recording.rows::<Loss>();
    assert!(
        losses.iter().any(|row| row.cause == "max-cpu"),
        "{losses:?}"
    );
}

#[test]
fn a_recording_ends_at_its_size() {
    needs!("syscalls", "processes");
    let script = "while :; do :; cat /dev/null; done";
    let options = [
        "--max-size",
        "64K",
        "--flush",
        "100ms",
        "--",
        "sh",
        "-c",
        script,
    ];
    let recording = Ongoing::start(&options).finish();
    assert_eq!(recording.capture.summary().unwrap().reason, "max-size");
    let size = std::fs::metadata(&recording.path).unwrap().len();
    assert!(size >= 64 << 10, "{size}");
}
