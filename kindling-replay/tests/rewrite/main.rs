//! `cut` and `merge`: answers from the pieces are answers from the whole.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use common::{json, run, text};

#[path = "../common/mod.rs"]
mod common;
mod cut;
mod hosts;
mod later;
mod merge;

/// Answers that are the same from a piece as from the whole with the same selection.
const ANSWERS: [&[&str]; 5] = [
    &["threads"],
    &["syscalls"],
    &["flame", "--format", "folded"],
    &["flame", "--kind", "off-cpu", "--format", "folded"],
    &["flame", "--kind", "wakers", "--format", "folded"],
];

/// Answers that are, if the piece begins within no request: one that only its server received within
/// the piece counts there, and not in the whole.
const ANSWERS_OF_REQUESTS: [&[&str]; 2] = [&["flows"], &["rpcs", "--top", "0"]];

fn sample(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("samples").join(name)
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn answer(command: &[&str], capture: &Path, selection: &[&str]) -> String {
    let (name, options) = command.split_first().unwrap();
    let mut args = vec![*name, str(capture)];
    args.extend(options);
    args.extend(selection);
    let text = text(&args);
    // How sure an answer is depends on what was seen before; the answer does not.
    let rows = text
        .lines()
        .take_while(|line| *name != "rpcs" || !line.is_empty());
    // Moments count from the beginning of the capture.
    let rows = rows.map(|line| line.split_once(" +").map_or(line, |(row, _)| row));
    rows.map(|line| line.trim_end().replace("  ", " ") + "\n")
        .collect()
}

fn cut(capture: &Path, selection: &[&str], to: &Path) {
    let mut args = vec!["cut", str(capture)];
    args.extend(selection);
    args.extend(["-o", str(to)]);
    run(&args, 0);
}

/// The pid of the process with this name.
fn pid(capture: &Path, comm: &str) -> String {
    let report = json(&["threads", str(capture), "--comm", comm]);
    report["threads"]["rows"][0]["pid"].to_string()
}

/// `check` finds nothing wrong, and nothing named that is not there.
fn assert_sound(capture: &Path) {
    let report = json(&["check", str(capture)]);
    assert_eq!(report["check"]["state"], "fine", "{report}");
    assert_eq!(
        report["check"]["dangling"],
        serde_json::json!({}),
        "{report}"
    );
}
