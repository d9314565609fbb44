//! A program that contends for locks of each kind, a known number of times, and measures its own waits.

use serde_json::Value;

use crate::support::{Program, analyzed, needs, number};

const ASKED_MS: &str = "20";
const ROUNDS: &str = "5";

fn rows<'a>(value: &'a Value, list: &str) -> &'a [Value] {
    value[list]["rows"].as_array().unwrap()
}

/// The lock of a process at an address. A condition variable is at the first of its two words.
fn lock_at(report: &Value, pid: i64, address: i64) -> &Value {
    let address = Value::from(format!("{address:#x}"));
    let here = |place: &Value| place["address"] == address && number(&place["pid"]) == pid;
    let has = |row: &&Value| row["places"].as_array().unwrap().iter().any(here);
    let all = report["rows"].as_array().unwrap();
    all.iter()
        .find(has)
        .unwrap_or_else(|| panic!("no lock at {address} of {pid} in {report:#}"))
}

/// What the thread measured covers the call, and the way in and out of it; a scheduler that is late may
/// double it, not more.
fn agrees(found_ns: i64, measured_ns: i64, what: &Value) {
    assert!(
        found_ns <= measured_ns && found_ns * 2 >= measured_ns,
        "{found_ns} ns found, {measured_ns} ns measured: {what:#}"
    );
}

#[test]
fn waits_are_counted_timed_and_told_apart() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("locks").record(&[], &[ASKED_MS, ROUNDS]);
    recording.assert_complete();
    let Some(report) = analyzed(&recording, "locks", &[]) else {
        return;
    };
    let pid = number(&recording.truth["pid"]);
    let asked_ns = number(&recording.truth["asked_ns"]);
    let rounds = number(&recording.truth["rounds"]);
    for truth in recording.truth["locks"].as_array().unwrap() {
        let lock = lock_at(&report, pid, number(&truth["address"]));
        match truth["kind"].as_str().unwrap() {
            // Both are waited for in the same way.
            "semaphore" => assert!(lock["kind"].as_str().unwrap().ends_with("semaphore")),
            kind => assert_eq!(lock["kind"], kind, "{lock:#}"),
        }
        let waiters = truth["waiters"].as_array().unwrap();
        assert_eq!(rows(lock, "waiters").len(), waiters.len(), "{lock:#}");
        for waiter in waiters {
            let found = rows(lock, "waiters").iter();
            let found = found.clone().find(|row| row["tid"] == waiter["tid"]);
            let found = found.unwrap_or_else(|| panic!("{waiter} is not in {lock:#}"));
            assert_eq!(found["count"], waiter["waits"], "{lock:#}");
            agrees(number(&found["ns"]), number(&waiter["wait_ns"]), found);
        }
        // Each thread waited for the holder for as long as that slept.
        let of_lock = |edge: &&Value| edge["lock"] == lock["id"];
        let for_holder = rows(&report, "edges").iter().filter(of_lock);
        let for_holder = for_holder.filter(|edge| edge["holder"]["tid"] == truth["holder"]);
        let mut seen = 0;
        for edge in for_holder {
            assert_eq!(edge["confidence"], "high", "{edge:#}");
            assert!(number(&edge["wait_ns"]) >= asked_ns * rounds, "{edge:#}");
            seen += 1;
        }
        assert_eq!(seen, waiters.len(), "{truth:#}\n{report:#}");
    }
}

#[test]
fn the_time_of_each_wait_is_charged_to_somebody() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("locks").record(&[], &[ASKED_MS, "2"]);
    let Some(report) = analyzed(&recording, "locks", &[]) else {
        return;
    };
    for lock in report["rows"].as_array().unwrap() {
        let edges = rows(&report, "edges").iter();
        let edges = edges.filter(|edge| edge["lock"] == lock["id"]);
        let charged_ns: i64 = edges.map(|edge| number(&edge["wait_ns"])).sum();
        assert_eq!(
            charged_ns + number(&lock["wake_ns"]),
            number(&lock["wait_ns"]),
            "{lock:#}"
        );
    }
}

#[test]
fn a_lock_between_processes_is_one_lock() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("locks").record(&[], &[ASKED_MS, "1"]);
    recording.assert_complete();
    let Some(report) = analyzed(&recording, "locks", &[]) else {
        return;
    };
    let truth = &recording.truth["shared"];
    let lock = lock_at(&report, number(&truth["waiter"]), number(&truth["address"]));
    assert_eq!(lock["kind"], "mutex");
    assert_eq!(lock["shared"], true);
    let places = lock["places"].as_array().unwrap();
    let holders = places
        .iter()
        .filter(|place| place["pid"] == truth["holder"]);
    assert_eq!((places.len(), holders.count()), (2, 1), "{lock:#}");
    agrees(number(&lock["wait_ns"]), number(&truth["wait_ns"]), lock);
}

/// A condition variable of Rust is a counter: values are waited for that mean something in locks of glibc.
#[test]
fn what_rust_waits_on_is_one_lock_each_by_its_own_name() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile_rust("rust_locks").record(&[], &[ASKED_MS, ROUNDS]);
    recording.assert_complete();
    let Some(report) = analyzed(&recording, "locks", &[]) else {
        return;
    };
    let truth = &recording.truth;
    let places: Vec<(&Value, std::ops::Range<i64>)> = truth["locks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lock| (&lock["kind"], number(&lock["start"])..number(&lock["end"])))
        .collect();
    let took: Vec<i64> = truth["took_ns"]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect();
    let mut found = Vec::new();
    for lock in report["rows"].as_array().unwrap() {
        let waiters = rows(lock, "waiters").iter();
        let Some(waiter) = waiters.clone().find(|row| row["tid"] == truth["waiter"]) else {
            continue;
        };
        let address = lock["places"][0]["address"].as_str().unwrap();
        let address = i64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap();
        let here = places
            .iter()
            .position(|(_, place)| place.contains(&address));
        // What a thread is parked on is its own.
        let (kind, took) = here.map_or(("park", took[3]), |at| {
            (places[at].0.as_str().unwrap(), took[at])
        });
        assert_eq!(lock["kind"], kind, "{lock:#}");
        assert_eq!(waiter["count"].to_string(), ROUNDS, "{lock:#}");
        agrees(number(&waiter["ns"]), took, lock);
        found.push(kind);
    }
    found.sort();
    assert_eq!(found, ["condvar", "mutex", "park", "rwlock"], "{report:#}");
}

#[test]
fn a_wait_for_several_futexes_counts_for_the_one_that_ended_it() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("futexes").record(&[], &[ASKED_MS, ROUNDS]);
    recording.assert_complete();
    let truth = &recording.truth;
    if let Some(call) = truth["missing"].as_str() {
        eprintln!("SKIPPED: waits for several futexes: this kernel has no {call}");
        return;
    }
    let Some(report) = analyzed(&recording, "locks", &[]) else {
        return;
    };
    let pid = number(&truth["pid"]);
    let took = |at: usize| number(&truth["took_ns"][at]);
    let rounds: i64 = ROUNDS.parse().unwrap();
    let high = |lock: &Value| {
        let edges = rows(&report, "edges").iter();
        let of_lock =
            edges.filter(|edge| edge["lock"] == lock["id"] && edge["confidence"] == "high");
        of_lock.map(|edge| number(&edge["waits"])).sum::<i64>()
    };
    for (at, word) in truth["words"].as_array().unwrap().iter().enumerate() {
        let lock = lock_at(&report, pid, number(word));
        assert_eq!(lock["kind"], "futex");
        // The wait that nobody ended counts for the first.
        let timed_out = i64::from(at == 0);
        assert_eq!(number(&lock["timed_out"]), timed_out, "{lock:#}");
        assert_eq!(number(&lock["waits"]), rounds + timed_out, "{lock:#}");
        assert_eq!(high(lock), rounds, "{lock:#}");
        agrees(
            number(&lock["wait_ns"]),
            took(at) + timed_out * took(3),
            lock,
        );
    }
    // Moved to another futex, and woken there.
    let moved = lock_at(&report, pid, number(&truth["from"]));
    assert_eq!(moved["waits"], 1);
    agrees(number(&moved["wait_ns"]), took(4), moved);
}
