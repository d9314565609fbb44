//! Stack samples say what a computing thread ran, in a program without frame pointers.

use std::collections::BTreeMap;

use kindling_format::schema::{Frame, Sample, Stack, Symbol, Thread};

use crate::support::{Program, needs};

#[test]
fn a_computing_thread_is_found_in_its_function() {
    needs!("samples", "mappings", "processes");
    let recording = Program::compile("waits").record(&["--sample-hz", "499"], &["300"]);
    let threads = recording.rows::<Thread>();
    let compute = threads.iter().find(|row| row.comm == "compute");
    let tid = compute.expect("the thread has its name").tid;
    let samples = recording.rows::<Sample>();
    let taken: Vec<&Sample> = samples.iter().filter(|row| row.tid == tid).collect();
    // It computes for 300 ms, less what other threads take of two CPUs or one.
    assert!(taken.len() >= 15, "only {} samples", taken.len());

    let stacks = recording.rows::<Stack>();
    let stacks: BTreeMap<u32, Vec<u32>> =
        stacks.into_iter().map(|row| (row.id, row.frames)).collect();
    let frames = recording.rows::<Frame>();
    let frames: BTreeMap<u32, Frame> = frames.into_iter().map(|row| (row.id, row)).collect();
    let symbols = recording.rows::<Symbol>();
    let names: BTreeMap<u32, String> = symbols.into_iter().map(|row| (row.id, row.name)).collect();
    let in_function = taken.iter().filter(|sample| {
        let Some(stack) = sample.stack.and_then(|id| stacks.get(&id)) else {
            return false;
        };
        let stack: Vec<&Frame> = stack.iter().filter_map(|id| frames.get(id)).collect();
        let is_compute = |frame: &&Frame| {
            frame
                .symbol
                .and_then(|id| names.get(&id))
                .is_some_and(|name| name == "compute")
        };
        // Its caller is the thread library: the walk went on behind the program's own code.
        let place = stack.iter().position(is_compute);
        place.is_some_and(|at| {
            stack[at + 1..]
                .iter()
                .any(|frame| frame.module.contains("libc"))
        })
    });
    let share = in_function.count() as f64 / taken.len() as f64;
    assert!(share >= 0.9, "{share} of {} samples", taken.len());
}
