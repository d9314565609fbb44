//! A thread that blocks is off the CPU, in the syscall and for the reason that it says.

use std::collections::BTreeMap;

use kindling_format::schema::{Switch, Syscall, Wakeup};
use serde_json::Value;

use crate::support::{Program, Recording, analyzed, id, needs, number};

const ASKED: &str = "200";

fn waits(recording: &Recording) -> &[Value] {
    recording.truth["waits"].as_array().unwrap()
}

/// Half of what was asked for: a helper begins its sleep a little before the wait that it ends.
fn enough_ns(recording: &Recording) -> i64 {
    number(&recording.truth["asked_ns"]) / 2
}

#[test]
fn the_waiting_syscall_lies_within_the_measured_time() {
    needs!("syscalls");
    let recording = Program::compile("waits").record(&[], &[ASKED]);
    recording.assert_complete();
    let rows = recording.rows::<Syscall>();
    for wait in waits(&recording) {
        let (began_ns, ended_ns) = (number(&wait["began_ns"]), number(&wait["ended_ns"]));
        let within = |row: &&Syscall| {
            let end_ns = row.ts + row.dur.unwrap_or_default();
            (row.tid, i64::from(row.nr)) == (id(&wait["tid"]), number(&wait["nr"]))
                && (began_ns..=ended_ns).contains(&row.ts)
                && (began_ns..=ended_ns).contains(&end_ns)
        };
        let longest_ns = rows.iter().filter(within).filter_map(|row| row.dur).max();
        assert!(
            longest_ns >= Some(enough_ns(&recording)),
            "{longest_ns:?} ns in {wait}"
        );
    }
}

#[test]
fn the_thread_is_off_the_cpu_in_that_syscall_and_then_woken() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("waits").record(&[], &[ASKED]);
    recording.assert_complete();
    let mut switches = recording.rows::<Switch>();
    switches.sort_by_key(|row| row.ts);
    let wakeups = recording.rows::<Wakeup>();
    for wait in waits(&recording) {
        let tid = id(&wait["tid"]);
        let leaves = switches.iter().filter(|row| {
            row.prev_tid == tid && row.prev_syscall.map(i64::from) == Some(number(&wait["nr"]))
        });
        let longest = leaves
            .filter_map(|row| {
                let back = switches
                    .iter()
                    .find(|next| next.next_tid == tid && next.ts > row.ts)?;
                Some((back.ts - row.ts, row, back))
            })
            .max_by_key(|(off_ns, ..)| *off_ns);
        let (off_ns, left, back) = longest.unwrap_or_else(|| panic!("{wait} never left its CPU"));
        assert!(
            off_ns >= enough_ns(&recording),
            "{off_ns} ns off CPU in {wait}"
        );
        assert!(left.prev_state != 0 && !left.preempted, "{left:?}");
        let woken = |row: &Wakeup| row.wakee_tid == tid && (left.ts..=back.ts).contains(&row.ts);
        assert!(wakeups.iter().any(woken), "nobody woke {wait}");
    }
}

#[test]
fn the_analyzer_gives_the_same_reasons() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("waits").record(&[], &[ASKED]);
    let Some(report) = analyzed(&recording, "threads", &[]) else {
        return;
    };
    let rows = report["rows"].as_array().unwrap();
    let by_tid: BTreeMap<i64, &Value> = rows.iter().map(|row| (number(&row["tid"]), row)).collect();
    for wait in waits(&recording) {
        let blocked_by_ns = &by_tid[&number(&wait["tid"])]["blocked_by_ns"];
        let reason = wait["reason"].as_str().unwrap();
        let found_ns = blocked_by_ns[reason].as_i64().unwrap_or_default();
        assert!(
            found_ns >= enough_ns(&recording),
            "{wait}, but {blocked_by_ns}"
        );
    }
}
