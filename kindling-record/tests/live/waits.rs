//! A thread that blocks is off the CPU, in the syscall and for the reason that it says.

use std::collections::BTreeMap;

use kindling_format::schema::{Switch, Syscall, Wakeup};
use serde_json::Value;

use crate::support::{Program, Recording, analyzed, id, needs, number, record_until_known};

const ASKED: &str = "200";

fn waits(recording: &Recording) -> &[Value] {
    recording.truth["waits"].as_array().unwrap()
}

/// One run of which it is known what each waiting thread did.
fn recorded() -> Option<Recording> {
    record_until_known(&Program::compile("waits"), &[ASKED], |truth| {
        let waits = truth["waits"].as_array().unwrap().iter();
        waits.map(|wait| &wait["tid"]).collect()
    })
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
    let Some(recording) = recorded() else { return };
    let report = analyzed(&recording, "threads", &[]).unwrap();
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

/// The story of a thread.
fn story(recording: &Recording, tid: &Value) -> Option<Value> {
    let tid = tid.to_string();
    analyzed(recording, "thread", &[&tid])
}

#[test]
fn the_analyzer_says_whether_the_time_was_over() {
    needs!("syscalls", "switches", "wakeups");
    let Some(recording) = recorded() else { return };
    for wait in waits(&recording) {
        let story = story(&recording, &wait["tid"]).unwrap();
        let rows = story["waits"]["rows"].as_array().unwrap();
        let is_it = |row: &&Value| {
            row["reason"] == wait["reason"] && number(&row["max_ns"]) >= enough_ns(&recording)
        };
        // A mutex's waiter also waits for its helper to end.
        let ends: Vec<&Value> = rows.iter().filter(is_it).map(|row| &row["ended"]).collect();
        assert!(ends.contains(&&wait["ended"]), "{wait}, but {story:#}");
        let idle_ns = number(&story["thread"]["poll_idle_ns"]);
        let is_idle = wait["reason"] == "poll" && wait["ended"] == "timed_out";
        assert_eq!(idle_ns >= enough_ns(&recording), is_idle, "{story:#}");
    }
}

/// After a stop the kernel goes on with a call under another name.
#[test]
fn a_wait_that_a_stop_broke_off_goes_on_for_the_same_reason() {
    needs!("syscalls", "switches", "wakeups", "mappings");
    let recording = Program::compile("restarts").record(&[], &["500"]);
    recording.assert_complete();
    let Some(report) = analyzed(&recording, "threads", &[]) else {
        return;
    };
    let asked_ns = number(&recording.truth["ns"]);
    for reason in ["timer", "poll", "lock"] {
        let tid = &recording.truth[reason];
        let row = report["rows"].as_array().unwrap().iter();
        let row = row.clone().find(|row| row["tid"] == *tid);
        let blocked = &row.expect("the process has a row")["blocked_by_ns"];
        let [waited_ns, stopped_ns] =
            [reason, "stopped"].map(|reason| blocked[reason].as_i64().unwrap_or_default());
        // A fifth before the stop, a fifth stopped, three fifths after.
        assert!(waited_ns > asked_ns / 2, "{reason}: {blocked}");
        assert!(stopped_ns > asked_ns / 10, "{reason}: {blocked}");
        let Some(story) = story(&recording, tid) else {
            return;
        };
        let rows = story["waits"]["rows"].as_array().unwrap().iter();
        let mut last = rows.filter(|row| row["reason"] == reason);
        assert!(
            last.any(|row| row["ended"] == "timed_out" && number(&row["max_ns"]) > asked_ns / 2),
            "{reason}: {story:#}"
        );
    }
}

#[test]
fn futexes_of_calls_of_their_own_are_locks_too() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("waits").record(&[], &[ASKED]);
    recording.assert_complete();
    let Some(wait) = waits(&recording)
        .iter()
        .find(|wait| wait["name"] == "wait-futex2")
    else {
        eprintln!("SKIPPED: futex_wait: this kernel does not have it");
        return;
    };
    let Some(report) = analyzed(&recording, "locks", &[]) else {
        return;
    };
    let address = Value::from(format!("{:#x}", number(&wait["word"])));
    let locks = report["rows"].as_array().unwrap();
    let lock = locks
        .iter()
        .find(|row| row["places"][0]["address"] == address);
    let lock = lock.unwrap_or_else(|| panic!("no lock at {address} in {report:#}"));
    assert_eq!(lock["waiters"]["rows"][0]["tid"], wait["tid"], "{lock:#}");
    let edges = report["edges"]["rows"].as_array().unwrap();
    let edge = edges
        .iter()
        .find(|edge| edge["lock"] == lock["id"])
        .unwrap();
    assert_eq!(edge["holder"]["tid"], wait["helper"], "{edge:#}");
    assert_eq!(edge["confidence"], "high", "{edge:#}");
}

#[test]
fn the_lock_of_an_address_space_is_a_lock() {
    needs!("syscalls", "switches", "wakeups");
    let program = Program::compile("memory");
    let known = record_until_known(&program, &["500"], |truth| vec![&truth["tid"]]);
    let Some(recording) = known else { return };
    let story = story(&recording, &recording.truth["tid"]).unwrap();
    let blocked_ns = number(&recording.truth["blocked_ns"]);
    let rows = story["waits"]["rows"].as_array().unwrap();
    let in_call = rows.iter().filter(|row| row["syscall"] == "mprotect");
    let (locks, others): (Vec<&Value>, Vec<&Value>) =
        in_call.partition(|row| row["reason"] == "lock");
    assert!(others.is_empty(), "{others:#?}");
    let found_ns: i64 = locks.iter().map(|row| number(&row["total_ns"])).sum();
    assert!(
        // What the hypervisor took counts as blocked there.
        found_ns <= blocked_ns && found_ns * 2 >= blocked_ns,
        "{found_ns} ns found, {blocked_ns} ns measured: {story:#}"
    );
}
