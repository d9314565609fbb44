//! The switches in the capture are those that the kernel counts itself.

use std::collections::BTreeMap;

use kindling_format::schema::{Switch, Thread, Wakeup};
use serde_json::Value;

use crate::support::{Program, Recording, id, needs, number};

/// Switches away from a thread up to a moment: (voluntary, involuntary).
fn left(switches: &[Switch], tid: u32, until_ns: i64) -> (i64, i64) {
    let of_thread = switches
        .iter()
        .filter(|row| row.prev_tid == tid && row.ts <= until_ns);
    let (stayed_runnable, blocked): (Vec<_>, Vec<_>) =
        of_thread.partition(|row| row.preempted || row.prev_state == 0);
    (blocked.len() as i64, stayed_runnable.len() as i64)
}

/// The time that a thread held a CPU up to a moment; `None` if it left one that it never came to.
///
/// Some kernels do not report that a thread of the machine's init leaves a CPU, not to ftrace
/// either, so once in many thousand switches nothing says that the next thread came.
fn running_ns(switches: &[Switch], tid: u32, until_ns: i64) -> Option<i64> {
    let mut since = None;
    let mut total_ns = 0;
    for row in switches.iter().filter(|row| row.ts <= until_ns) {
        if row.prev_tid == tid {
            let start: i64 = since.take()?;
            total_ns += row.ts - start;
        }
        if row.next_tid == tid {
            since = Some(row.ts);
        }
    }
    // At that moment it read its own account, so it held a CPU.
    Some(total_ns + until_ns - since?)
}

/// Every switch away from one of our threads has the switch that brought it there. The one way to miss
/// it is a kernel that does not report that a thread of the machine's init leaves a CPU: then the CPU
/// was last given to such a thread, or by one of ours to some thread that made room for it: switches
/// between others are not recorded.
fn assert_switches_pair(recording: &Recording, switches: &[Switch]) {
    let ours: Vec<u32> = threads(recording)
        .iter()
        .map(|row| id(&row["tid"]))
        .collect();
    let mut holder = BTreeMap::new();
    let mut cpu_of = BTreeMap::new();
    for row in switches {
        let before = holder.insert(row.cpu, row.next_tid);
        if ours.contains(&row.prev_tid) {
            match cpu_of.remove(&row.prev_tid) {
                Some(cpu) => assert_eq!(cpu, row.cpu, "{row:?}"),
                None => {
                    let is_others = |tid: u32| !ours.contains(&tid);
                    assert!(
                        before.is_some_and(is_others),
                        "{row:?} came after {before:?}"
                    );
                }
            }
        }
        if ours.contains(&row.next_tid) {
            assert_eq!(cpu_of.insert(row.next_tid, row.cpu), None, "{row:?}");
        }
    }
}

/// The time from wakeups of a thread to the switches that brought it to a CPU.
fn woken_ns(switches: &[Switch], wakeups: &[Wakeup], tid: u32) -> i64 {
    let mut wakeups = wakeups.iter().filter(|row| row.wakee_tid == tid).peekable();
    let mut total_ns = 0;
    for came in switches.iter().filter(|row| row.next_tid == tid) {
        let mut last = None;
        while let Some(wakeup) = wakeups.next_if(|wakeup| wakeup.ts <= came.ts) {
            last = Some(wakeup.ts);
        }
        total_ns += last.map_or(0, |woken| came.ts - woken);
    }
    total_ns
}

fn in_order(recording: &Recording) -> Vec<Switch> {
    let mut switches = recording.rows::<Switch>();
    switches.sort_by_key(|row| row.ts);
    switches
}

fn threads(recording: &Recording) -> &[Value] {
    recording.truth["threads"].as_array().unwrap()
}

#[test]
fn each_thread_was_switched_out_as_often_as_the_kernel_says() {
    needs!("switches", "processes");
    let recording = Program::compile("switches").record(&[], &["500"]);
    recording.assert_complete();
    let switches = in_order(&recording);
    for thread in threads(&recording) {
        let kernel = (number(&thread["voluntary"]), number(&thread["involuntary"]));
        let found = left(&switches, id(&thread["tid"]), number(&thread["at_ns"]));
        assert_eq!(found, kernel, "{thread}");
    }
}

#[test]
fn each_thread_held_a_cpu_as_long_as_the_kernel_says() {
    needs!("switches", "processes");
    let recording = Program::compile("switches").record(&[], &["500"]);
    recording.assert_complete();
    let switches = in_order(&recording);
    let mut wakeups = recording.rows::<Wakeup>();
    wakeups.sort_by_key(|row| row.ts);
    assert_switches_pair(&recording, &switches);
    for thread in threads(&recording) {
        let kernel_ns = number(&thread["cpu_ns"]);
        let until_ns = number(&thread["at_ns"]);
        let Some(found_ns) = running_ns(&switches, id(&thread["tid"]), until_ns) else {
            eprintln!("SKIPPED: CPU time of {thread}: this kernel did not report all its switches");
            continue;
        };
        // The kernel's clock stands still between a wakeup and the switch that follows it, so it may
        // count the thread as running since then.
        let woken_ns = woken_ns(&switches, &wakeups, id(&thread["tid"]));
        let tolerance_ns = kernel_ns / 20 + 2_000_000;
        let plausible_ns = found_ns - tolerance_ns..=found_ns + woken_ns + tolerance_ns;
        assert!(
            plausible_ns.contains(&kernel_ns),
            "{found_ns} ns on CPU and {woken_ns} ns between wakeups and switches, but {thread}"
        );
    }
}

#[test]
fn the_account_at_exit_agrees_with_the_switches() {
    needs!("switches", "processes");
    let recording = Program::compile("switches").record(&[], &["100"]);
    recording.assert_complete();
    let switches = in_order(&recording);
    let latest: BTreeMap<u32, Thread> = recording
        .rows::<Thread>()
        .into_iter()
        .map(|row| (row.tid, row))
        .collect();
    for thread in threads(&recording) {
        let row = &latest[&id(&thread["tid"])];
        let exit_ts = row.exit_ts.expect("the thread's end was recorded");
        let (voluntary, involuntary) = left(&switches, row.tid, exit_ts);
        let account = (
            row.voluntary_switches.unwrap(),
            row.involuntary_switches.unwrap(),
        );
        assert_eq!((voluntary as u64, involuntary as u64), account, "{row:?}");
    }
}

#[test]
fn a_thread_leaves_the_cpu_that_it_came_to() {
    needs!("switches");
    let recording = Program::compile("switches").record(&[], &["200"]);
    recording.assert_complete();
    let switches = in_order(&recording);
    assert!(switches.len() > 200);
    assert_switches_pair(&recording, &switches);
}
