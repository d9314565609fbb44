//! Stacks of programs without frame pointers: of threads that compute, and of threads that wait.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::{
    schema::{Frame, Mode, Sample, Stack, Switch, Symbol, Syscall, Thread},
    syscalls,
};

use crate::support::{Program, Recording, id, needs, number};

/// A frame: its module, and the function if that is known.
type Place = (String, Option<String>);

/// The user-space and kernel frames of each stack, innermost first.
fn places(recording: &Recording) -> BTreeMap<u32, Vec<Place>> {
    let symbols = recording.rows::<Symbol>().into_iter();
    let names: BTreeMap<u32, String> = symbols.map(|row| (row.id, row.name)).collect();
    let frames = recording.rows::<Frame>().into_iter();
    let frames: BTreeMap<u32, Place> = frames
        .map(|row| {
            let name = row.symbol.and_then(|id| names.get(&id)).cloned();
            (row.id, (row.module, name))
        })
        .collect();
    let stacks = recording.rows::<Stack>().into_iter();
    stacks
        .map(|row| {
            let places = row.frames.iter().filter_map(|id| frames.get(id)).cloned();
            (row.id, places.collect())
        })
        .collect()
}

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

    let stacks = places(&recording);
    let in_function = taken.iter().filter(|sample| {
        let stack = sample.stack.and_then(|id| stacks.get(&id));
        let stack = stack.map_or(&[][..], Vec::as_slice);
        let is_compute = |(_, name): &Place| name.as_deref() == Some("compute");
        // Its caller is the thread library: the walk went on behind the program's own code.
        let place = stack.iter().position(is_compute);
        place.is_some_and(|at| {
            let callers = stack.get(at + 1..).unwrap_or_default();
            callers.iter().any(|(module, _)| module.contains("libc"))
        })
    });
    let share = in_function.count() as f64 / taken.len() as f64;
    assert!(share >= 0.9, "{share} of {} samples", taken.len());
}

/// CPU time is in the samples wherever it was spent: without those that hit the kernel, a flame graph of a
/// server would show a tenth of its work.
#[test]
fn samples_come_to_the_time_in_user_space_and_in_the_kernel() {
    needs!("samples", "mappings", "processes");
    let recording = Program::compile("modes").record(&["--sample-hz", "997"], &["1000"]);
    recording.assert_complete();
    let samples = recording.rows::<Sample>();
    let stacks = places(&recording);
    for work in ["compute", "fetch"] {
        let truth = &recording.truth[work];
        let tid = id(&truth["tid"]);
        let [cpu_ns, kernel_ns] = ["cpu_ns", "kernel_ns"].map(|key| number(&truth[key]) as f64);
        let taken: Vec<&Sample> = samples.iter().filter(|row| row.tid == tid).collect();
        let sum_ns = taken.iter().map(|row| row.period_ns).sum::<i64>() as f64;
        let in_kernel = taken.iter().filter(|row| row.mode == Mode::Kernel).count();
        let share = in_kernel as f64 / taken.len().max(1) as f64;
        println!(
            "{work}: {} samples of {:.3} s of {:.3}, {share:.3} of them in the kernel of {:.3}",
            taken.len(),
            sum_ns / 1e9,
            cpu_ns / 1e9,
            kernel_ns / cpu_ns
        );
        assert!((sum_ns / cpu_ns - 1.0).abs() < 0.1);
        assert!((share - kernel_ns / cpu_ns).abs() < 0.1);
        // From the kernel the walk goes on to who called it.
        let found = taken.iter().filter(|row| {
            let stack = row.stack.and_then(|id| stacks.get(&id)).into_iter();
            let mut names = stack.flatten().filter_map(|(_, name)| name.as_deref());
            names.any(|name| name == work)
        });
        let found = found.count() as f64 / taken.len().max(1) as f64;
        assert!(found >= 0.9, "{found} of {} in {work}", taken.len());
    }
}

const RED: [&str; 4] = ["rest", "red_inner", "red_outer", "main"];
const BLUE: [&str; 4] = ["rest", "blue_inner", "blue_outer", "main"];

/// The functions of a stack of `chains` from the end of the chain on.
fn chain(stacks: &BTreeMap<u32, Vec<Place>>, stack: Option<u32>) -> Vec<&str> {
    let stack = stack.and_then(|id| stacks.get(&id));
    let names = stack.into_iter().flatten();
    let names = names.filter_map(|(_, name)| name.as_deref());
    names.skip_while(|name| *name != "rest").take(4).collect()
}

/// Wherever it is met, at the first instruction of a function or at its last.
#[test]
fn a_computing_thread_is_found_in_the_chain_of_its_calls() {
    needs!("samples", "mappings", "processes");
    let options = ["--sample-hz", "4999", "--flush", "200ms"];
    let recording = Program::compile("chains").record(&options, &["compute", "400"]);
    let process = recording.rows::<Thread>();
    let process = process.iter().find(|row| row.comm == "chains");
    let tid = process.expect("the program has its name").tid;
    let mut samples = recording.rows::<Sample>();
    samples.retain(|row| row.tid == tid);
    samples.sort_by_key(|row| row.ts);
    let stacks = places(&recording);
    let computes = |row: &&Sample| {
        let stack = row.stack.and_then(|id| stacks.get(&id)).into_iter();
        let mut names = stack.flatten().filter_map(|(_, name)| name.as_deref());
        names.any(|name| ["step", "steps", "compute"].contains(&name))
    };
    let taken: Vec<&Sample> = samples.iter().filter(computes).collect();
    assert!(taken.len() >= 1_000, "only {} samples", taken.len());
    let whole = taken.iter().filter(|row| {
        let chain = chain(&stacks, row.stack);
        chain == RED || chain == BLUE
    });
    let share = whole.count() as f64 / taken.len() as f64;
    // In the end the kernel side walks them itself, and knows one that it has sent.
    let last = &taken[taken.len() / 2..];
    let different: BTreeSet<Option<u32>> = last.iter().map(|row| row.stack).collect();
    println!(
        "{share} of {} samples; {} stacks of the last {}",
        taken.len(),
        different.len(),
        last.len()
    );
    assert!(share >= 0.99);
    assert!(different.len() * 2 < last.len());
}

#[test]
fn a_waiting_thread_is_found_in_the_chain_of_its_calls() {
    needs!("switches", "mappings", "processes", "syscalls");
    let recording = Program::compile("chains").record(&["--flush", "200ms"], &["sleep", "400"]);
    let sleeps = number(&recording.truth["rests"]) as usize;
    let arch = &recording.capture.header().host.arch;
    let sleep = syscalls::named(arch, "clock_nanosleep").unwrap().nr;
    let mut switches = recording.rows::<Switch>();
    switches.retain(|row| row.prev_syscall == Some(sleep) && !row.preempted);
    switches.sort_by_key(|row| row.ts);
    assert_eq!(switches.len(), sleeps);

    let stacks = places(&recording);
    for (n, row) in switches.iter().enumerate() {
        let expected = if n % 2 == 0 { RED } else { BLUE };
        assert_eq!(chain(&stacks, row.stack), expected, "sleep {n}");
    }
    // In the end the kernel side walks them itself, and knows one that it has sent.
    let last = &switches[sleeps * 3 / 4..];
    let different: BTreeSet<Option<u32>> = last.iter().map(|row| row.stack).collect();
    println!(
        "{} stacks of the last {} sleeps",
        different.len(),
        last.len()
    );
    assert!(different.len() * 4 < last.len());
}

/// The kernel side recognises where in the kernel a thread waits by what it has seen before, in the same call
/// too: it must not take one place for another.
#[test]
fn a_waiting_thread_is_found_at_its_own_place_in_the_kernel() {
    needs!("switches", "processes", "syscalls");
    let recording = Program::compile("kinds").record(&["--flush", "200ms"], &["8000"]);
    recording.assert_complete();
    let tid = id(&recording.truth["tid"]);
    let order = recording.truth["order"].as_str().unwrap().as_bytes();
    let arch = &recording.capture.header().host.arch;
    let read = syscalls::named(arch, "read").unwrap().nr;
    let mut reads = recording.rows::<Syscall>();
    // The dynamic linker reads too, and before.
    reads.retain(|row| row.tid == tid && row.nr == read && row.dur.is_some());
    reads.sort_by_key(|row| row.ts);
    assert!(reads.len() >= order.len());
    let reads = &reads[reads.len() - order.len()..];
    let mut waits = recording.rows::<Switch>();
    // Until the rules of its code are learned, not every stack is taken.
    waits
        .retain(|row| row.prev_tid == tid && row.prev_syscall == Some(read) && row.stack.is_some());

    let stacks = places(&recording);
    let mut found = BTreeMap::<&str, usize>::new();
    for wait in &waits {
        let at = reads.partition_point(|row| row.ts <= wait.ts);
        let Some(letter) = at.checked_sub(1).map(|at| order[at]) else {
            continue;
        };
        let function = match letter {
            b'p' => "pipe_read",
            b'e' => "eventfd_read",
            b'u' => "unix_stream_",
            _ => "timerfd_read",
        };
        let stack = wait.stack.and_then(|id| stacks.get(&id)).into_iter();
        let names: Vec<&str> = stack
            .flatten()
            .filter_map(|(_, name)| name.as_deref())
            .collect();
        assert!(
            names.iter().any(|name| name.contains(function)),
            "read {at} is of kind {}: {names:?}",
            char::from(letter)
        );
        *found.entry(function).or_default() += 1;
    }
    println!("{found:?}");
    assert_eq!(found.len(), 4);
    assert!(found.values().all(|&count| count >= 400), "{found:?}");
}
