//! Who had a CPU, for how long, and who waited for it meanwhile, against the kernel's own accounts.

use serde_json::Value;

use crate::support::{Program, Recording, needs, number, record_until_known};

const COMPETITORS: [&str; 3] = ["victim", "own", "other"];

fn recorded(sleep_us: &str) -> Option<Recording> {
    let program = Program::compile("neighbours");
    record_until_known(&program, &["600", sleep_us], |truth| {
        COMPETITORS.map(|name| &truth[name]["tid"]).into()
    })
}

fn of_victim(recording: &Recording, command: &str) -> Option<Value> {
    let tid = recording.truth["victim"]["tid"].to_string();
    recording.in_window(command, &["--tid", &tid])
}

fn row<'a>(list: &'a Value, tid: &Value) -> &'a Value {
    let rows = list["rows"].as_array().unwrap();
    let found = rows.iter().find(|row| row["tid"] == *tid);
    found.unwrap_or_else(|| panic!("no {tid} in {list:#}"))
}

/// Within 1 %, and 20 us for each switch: at one that a wakeup causes, the kernel's clocks stand still from the
/// wakeup on, so that who came counts as having run since then. CPU clocks also stand still while the
/// hypervisor runs somebody else.
fn agrees(found_ns: i64, kernel_ns: i64, truth: &Value, what: &Value) {
    let switches = number(&truth["voluntary"]) + number(&truth["involuntary"]);
    let tolerance_ns = kernel_ns / 100 + switches * 20_000 + number(&truth["steal_ns"]);
    assert!(
        (found_ns - kernel_ns).abs() <= tolerance_ns,
        "{found_ns} ns found, {kernel_ns} ns by the kernel, {tolerance_ns} ns allowed: {truth}\n{what:#}"
    );
}

#[test]
fn times_and_switches_of_a_thread_are_the_kernels() {
    needs!("switches", "wakeups", "processes");
    for sleep_us in ["0", "500"] {
        let Some(recording) = recorded(sleep_us) else {
            return;
        };
        let truth = &recording.truth;
        let threads = recording.in_window("threads", &[]).unwrap();
        for name in COMPETITORS {
            let thread = row(&threads, &truth[name]["tid"]);
            let cpu_ns = number(&truth[name]["cpu_ns"]);
            agrees(number(&thread["running_ns"]), cpu_ns, truth, thread);
        }
        let victim = row(&threads, &truth["victim"]["tid"]);
        let delay_ns = number(&truth["run_delay_ns"]);
        agrees(number(&victim["runnable_ns"]), delay_ns, truth, victim);
        let (voluntary, involuntary) = (number(&truth["voluntary"]), number(&truth["involuntary"]));
        assert_eq!(victim["switches"], voluntary + involuntary, "{truth}");

        // Each time it left the CPU it waited for it again, and knew why.
        let neighbours = of_victim(&recording, "neighbours").unwrap();
        let waiter = row(&neighbours["waiters"], &truth["victim"]["tid"]);
        assert_eq!(waiter["preempted"], involuntary, "{truth}");
        assert_eq!(waiter["waits"], voluntary + involuntary, "{truth}");
    }
}

#[test]
fn a_thread_that_never_sleeps_waits_for_those_who_run() {
    needs!("switches", "wakeups", "processes");
    let Some(recording) = recorded("0") else {
        return;
    };
    let truth = &recording.truth;
    let report = of_victim(&recording, "neighbours").unwrap();
    let whole_ns = number(&report["runnable_ns"]);
    agrees(whole_ns, number(&truth["run_delay_ns"]), truth, &report);
    for (name, sum) in [("own", &report["own_ns"]), ("other", &Value::Null)] {
        let cpu_ns = number(&truth[name]["cpu_ns"]);
        let thread = row(&report["threads"], &truth[name]["tid"]);
        agrees(number(&thread["ns"]), cpu_ns, truth, thread);
        assert!(sum.is_null() || thread["ns"] == *sum, "{report:#}");
    }
    let parts = ["own_ns", "others_ns", "idle_ns", "unknown_ns"].map(|key| number(&report[key]));
    assert_eq!(parts.iter().sum::<i64>(), whole_ns);
    assert_eq!(report["idle_ns"], 0, "{report:#}");
}

#[test]
fn a_thread_that_sleeps_waits_for_less_than_they_run() {
    needs!("switches", "wakeups", "processes");
    let Some(recording) = recorded("500") else {
        return;
    };
    let truth = &recording.truth;
    let report = of_victim(&recording, "neighbours").unwrap();
    let whole_ns = number(&report["runnable_ns"]);
    agrees(whole_ns, number(&truth["run_delay_ns"]), truth, &report);
    let window_ns = number(&truth["to_ns"]) - number(&truth["from_ns"]);
    let had_ns = number(&truth["victim"]["cpu_ns"]) + number(&truth["run_delay_ns"]);
    let slept_ns = window_ns - had_ns;
    assert!(slept_ns > 0, "{truth}");
    for name in ["own", "other"] {
        let thread = row(&report["threads"], &truth[name]["tid"]);
        let cpu_ns = number(&truth[name]["cpu_ns"]);
        // What they ran while it slept is not charged, all else is.
        let in_sleeps_ns = cpu_ns - number(&thread["ns"]);
        assert!(in_sleeps_ns >= 0, "{truth}\n{thread:#}");
        agrees(in_sleeps_ns.max(slept_ns), slept_ns, truth, thread);
    }
}

#[test]
fn a_cpu_was_busy_with_those_who_had_it() {
    needs!("switches", "wakeups", "processes");
    let Some(recording) = recorded("0") else {
        return;
    };
    let truth = &recording.truth;
    let report = recording.in_window("cpus", &[]).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let cpu = rows.iter().find(|row| row["cpu"] == truth["cpu"]).unwrap();
    let mut had_ns = 0;
    for name in COMPETITORS {
        let thread = row(&cpu["threads"], &truth[name]["tid"]);
        let cpu_ns = number(&truth[name]["cpu_ns"]);
        agrees(number(&thread["ns"]), cpu_ns, truth, thread);
        had_ns += number(&thread["ns"]);
    }
    assert!(number(&cpu["busy_ns"]) >= had_ns, "{cpu:#}");
    assert_eq!(cpu["idle_ns"], 0, "somebody could always run: {cpu:#}");
    let window_ns = number(&truth["to_ns"]) - number(&truth["from_ns"]);
    let parts = ["busy_ns", "idle_ns", "unknown_ns"].map(|key| number(&cpu[key]));
    assert_eq!(parts.iter().sum::<i64>(), window_ns, "{cpu:#}");
}
