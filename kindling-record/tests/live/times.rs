//! The times of events: whole steps of what `--resolution` asks for, in which their order is kept.

use std::collections::BTreeMap;

use kindling_format::schema::{Payload, Switch, Syscall, Table, Wakeup};

use crate::support::{Program, Recording, needs};

/// Each time of a table's rows, and where it ends.
fn times<T: Table>(recording: &Recording) -> Vec<i64> {
    let spans = recording.rows::<T>().into_iter();
    let spans = spans.filter_map(|row| row.span());
    spans.flat_map(|(from, to)| [from, to]).collect()
}

/// The times of what a kernel and a program did together.
fn event_times(recording: &Recording) -> Vec<i64> {
    // A call that was made before the recording has its beginning.
    let start = recording.capture.header().start.monotonic_ns;
    let calls = times::<Syscall>(recording)
        .into_iter()
        .filter(|ts| *ts != start);
    calls
        .chain(times::<Switch>(recording))
        .chain(times::<Wakeup>(recording))
        .chain(times::<Payload>(recording))
        .collect()
}

/// Asserts that no two switches of a CPU, and no two calls of a thread, are in the same step or out of
/// order: the next begins no earlier than the last ended.
fn assert_order(recording: &Recording) {
    let mut cpus: BTreeMap<u16, Vec<i64>> = BTreeMap::new();
    for row in recording.rows::<Switch>() {
        cpus.entry(row.cpu).or_default().push(row.ts);
    }
    for mut times in cpus.into_values() {
        times.sort_unstable();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    }
    let mut threads: BTreeMap<u32, Vec<(i64, i64)>> = BTreeMap::new();
    for row in recording.rows::<Syscall>() {
        let end = row.ts + row.dur.unwrap_or_default();
        threads.entry(row.tid).or_default().push((row.ts, end));
    }
    for mut calls in threads.into_values() {
        calls.sort_unstable();
        assert!(
            calls
                .windows(2)
                .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].0)
        );
    }
}

#[test]
fn times_are_whole_steps_and_keep_their_order() {
    needs!("syscalls", "switches", "wakeups");
    let program = Program::compile("switches");
    for (options, step) in [(&[][..], 32), (&["--resolution", "256ns"], 256)] {
        let recording = program.record(options, &["300"]);
        recording.assert_complete();
        let header = recording.capture.header();
        assert_eq!(header.options.resolution_ns, step);
        let times = event_times(&recording);
        assert!(times.len() > 5000, "{}", times.len());
        assert!(times.iter().all(|ts| ts % i64::from(step) == 0));
        if step == 32 {
            assert_order(&recording);
        }
    }
}

#[test]
fn times_can_be_as_the_clock_gave_them() {
    needs!("syscalls", "switches", "wakeups");
    let recording = Program::compile("switches").record(&["--resolution", "1ns"], &["300"]);
    assert_eq!(recording.capture.header().options.resolution_ns, 1);
    let times = event_times(&recording);
    // Of even ones there would be 1 in 32.
    let whole = times.iter().filter(|ts| *ts % 32 == 0).count();
    assert!(whole * 8 < times.len(), "{whole} of {}", times.len());
    assert_order(&recording);
}
