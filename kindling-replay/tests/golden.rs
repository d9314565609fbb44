//! Every command over every capture of `samples/`, compared with `tests/golden/`.
//!
//! To accept new answers: `INSTA_UPDATE=always cargo nextest run --release -E 'binary(golden)'`,
//! then look at the difference.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

/// A command with its options, and a name for its snapshot.
const ANSWERS: [(&str, &[&str]); 54] = [
    ("info.txt", &["info"]),
    ("info.json", &["info", "--format", "json"]),
    ("events.txt", &["events", "--top", "200"]),
    (
        "events-all.txt",
        &[
            "events",
            "--top",
            "200",
            "--tables",
            "syscalls,switches,wakeups,processes,threads",
        ],
    ),
    (
        "events.json",
        &["events", "--top", "50", "--format", "json"],
    ),
    (
        "events-where.txt",
        &[
            "events",
            "--where",
            "dur > 2ms and not syscall.name in (futex, epoll_wait, wait4)",
        ],
    ),
    (
        "events-payloads.txt",
        &["events", "--top", "40", "--where", "payload.size < 200"],
    ),
    ("threads.txt", &["threads"]),
    (
        "threads-where.txt",
        &["threads", "--where", "errno == EAGAIN"],
    ),
    ("threads.json", &["threads", "--format", "json"]),
    ("threads.svg", &["threads", "--format", "svg", "--top", "8"]),
    ("thread-busiest.txt", &["thread", "busiest"]),
    (
        "thread-busiest.json",
        &["thread", "busiest", "--top", "10", "--format", "json"],
    ),
    ("syscalls.txt", &["syscalls"]),
    (
        "syscalls-histogram.txt",
        &["syscalls", "--histogram", "--top", "4"],
    ),
    ("files.txt", &["files"]),
    ("files.json", &["files", "--top", "20", "--format", "json"]),
    ("files-by-kind.txt", &["files", "--by", "kind"]),
    (
        "files-errors.txt",
        &["files", "--sort", "errors", "--where", "errno"],
    ),
    ("logs.txt", &["logs"]),
    ("logs.json", &["logs", "--format", "json"]),
    ("processes.txt", &["processes"]),
    ("processes.json", &["processes", "--format", "json"]),
    ("syscalls.json", &["syscalls", "--format", "json"]),
    ("locks.txt", &["locks"]),
    ("locks.json", &["locks", "--format", "json"]),
    ("locks.dot", &["locks", "--format", "dot"]),
    ("locks.svg", &["locks", "--format", "svg"]),
    ("critical-path.txt", &["critical-path", "slowest"]),
    (
        "critical-path.json",
        &["critical-path", "--top", "60", "--format", "json"],
    ),
    (
        "critical-path.svg",
        &["critical-path", "--top", "300", "--format", "svg"],
    ),
    ("critical-path-rpcs.txt", &["critical-path", "--rpcs"]),
    (
        "critical-path-rpcs.json",
        &["critical-path", "--rpcs", "--format", "json"],
    ),
    ("cpus.txt", &["cpus"]),
    ("cpus.json", &["cpus", "--format", "json"]),
    ("cpus.svg", &["cpus", "--format", "svg"]),
    ("neighbours.txt", &["neighbours"]),
    (
        "neighbours.json",
        &["neighbours", "--format", "json", "--top", "20"],
    ),
    ("flame-on-cpu.folded", &["flame", "--format", "folded"]),
    ("flame-on-cpu.txt", &["flame", "--format", "text"]),
    (
        "flame-on-cpu.json",
        &["flame", "--format", "json", "--top", "20"],
    ),
    ("flame-on-cpu.svg", &["flame", "--format", "svg"]),
    (
        "flame-off-cpu.folded",
        &["flame", "--kind", "off-cpu", "--format", "folded"],
    ),
    (
        "flame-wakers.folded",
        &["flame", "--kind", "wakers", "--format", "folded"],
    ),
    ("flows.txt", &["flows"]),
    ("flows.json", &["flows", "--format", "json"]),
    ("flows.dot", &["flows", "--format", "dot"]),
    ("flows.svg", &["flows", "--format", "svg"]),
    ("rpcs.txt", &["rpcs", "--top", "30"]),
    ("rpcs.json", &["rpcs", "--top", "30", "--format", "json"]),
    ("check.txt", &["check"]),
    ("check.json", &["check", "--format", "json"]),
    ("rpc-slowest.txt", &["rpc", "slowest"]),
    ("rpc-slowest.json", &["rpc", "slowest", "--format", "json"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// What captures of older format versions are asked.
const ASKED_OF_OLD: [&str; 8] = [
    "info.txt",
    "events.txt",
    "threads.txt",
    "locks.txt",
    "flame-on-cpu.folded",
    "flame-off-cpu.folded",
    "rpcs.txt",
    "check.txt",
];

/// The captures of `samples/`, by name.
fn samples() -> Vec<PathBuf> {
    captures_of(&root().join("samples"))
}

fn captures_of(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut samples: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "kndl"))
        .collect();
    samples.sort();
    samples
}

/// What the program answers; captures without an end may make it exit with 3, and one that has nothing
/// of what is asked for with 1.
fn answer(args: &[&str], sample: &Path, jobs: &str) -> String {
    let mut all = vec![args[0], sample.to_str().unwrap(), "--jobs", jobs];
    all.extend(&args[1..]);
    let output = common::replay(&all).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(1) && stderr.contains(" has no ") {
        return stderr.into_owned();
    }
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{all:?}: {}\n{stderr}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_sample_that_is_described_is_there() {
    let readme = std::fs::read_to_string(root().join("samples/README.md")).unwrap_or_default();
    let there: Vec<String> = samples()
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into())
        .collect();
    for word in readme.split(|c: char| c.is_whitespace() || "`|()[],:".contains(c)) {
        if word.ends_with(".kndl") && !word.contains('/') && !word.contains('*') {
            assert!(
                there.contains(&word.to_owned()),
                "samples/README.md describes {word}"
            );
        }
    }
    for name in &there {
        assert!(
            readme.contains(name.as_str()),
            "samples/README.md does not say how {name} was made"
        );
    }
    if there.is_empty() {
        eprintln!("samples/ has no captures: there is nothing to compare");
    }
}

/// Compares the answers that `is_asked` chooses with those that are in a folder.
fn assert_golden(folder: &Path, samples: &[PathBuf], is_asked: impl Fn(&str) -> bool) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for sample in samples {
            let name = sample.file_stem().unwrap().to_string_lossy().into_owned();
            for (file, args) in ANSWERS.iter().filter(|(file, _)| is_asked(file)) {
                insta::assert_snapshot!(format!("{name}.{file}"), answer(args, sample, "2"));
            }
        }
    });
}

#[test]
fn answers_are_as_they_were() {
    assert_golden(&root().join("tests/golden"), &samples(), |_| true);
}

#[test]
fn captures_of_older_versions_are_read_for_good() {
    let old = captures_of(&root().join("samples/1.0"));
    assert_eq!(old.len(), 4);
    assert_golden(&root().join("tests/golden/1.0"), &old, |file| {
        ASKED_OF_OLD.contains(&file)
    });
}

#[test]
fn answers_do_not_depend_on_the_number_of_threads() {
    for sample in samples() {
        for (_, args) in ANSWERS {
            assert_eq!(
                answer(args, &sample, "1"),
                answer(args, &sample, "8"),
                "{args:?} {sample:?}"
            );
        }
    }
}
