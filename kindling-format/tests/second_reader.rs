//! A capture is read by programs that know nothing of this crate: unzip, pyarrow and DuckDB.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kindling_format::Capture;

fn rows_by_table(capture: &[u8]) -> BTreeMap<String, u64> {
    Capture::from_bytes(capture.to_vec().into())
        .unwrap()
        .summary()
        .unwrap()
        .rows
        .clone()
}

/// A Python that has `module`: the one that `scripts/setup.sh` made, or the system's.
fn python_with(module: &str) -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into());
    let venv = repository().join(target).join("venv/bin/python");
    let has = |python: &PathBuf| {
        let import = Command::new(python)
            .args(["-c", &format!("import {module}")])
            .output();
        import.is_ok_and(|output| output.status.success())
    };
    let found = [venv, "python3".into()].into_iter().find(has);
    if found.is_none() {
        eprintln!("skipped: no Python with {module}; scripts/setup.sh installs one");
    }
    found
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{stderr}",
        output.status
    );
    stdout
}

#[test]
fn the_script_of_the_documents_counts_the_same_rows() {
    let Some(python) = python_with("pyarrow") else {
        return;
    };
    let bytes = common::capture(3);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.kndl");
    fs::write(&path, &bytes).unwrap();
    let script = repository().join("docs/read_capture.py");
    let printed = run(Command::new(python).arg(script).arg(&path));
    let counted: BTreeMap<String, u64> = printed
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            let table = words.next().unwrap().to_owned();
            (table, words.nth(1).unwrap().parse().unwrap())
        })
        .collect();
    assert_eq!(counted, rows_by_table(&bytes));
}

#[test]
fn unzip_and_duckdb_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.kndl");
    let bytes = common::capture(2);
    fs::write(&path, &bytes).unwrap();
    if Command::new("unzip").arg("-v").output().is_err() {
        eprintln!("skipped: no unzip");
        return;
    }
    run(Command::new("unzip").arg("-tq").arg(&path));
    run(Command::new("unzip")
        .arg("-q")
        .arg(&path)
        .current_dir(dir.path()));
    let Some(python) = python_with("duckdb") else {
        return;
    };
    let tables = rows_by_table(&bytes);
    let script = "import duckdb, sys
for table in sys.argv[2:]:
    members = f'{sys.argv[1]}/*/{table}.parquet'
    print(duckdb.sql(f\"select count(*) from '{members}'\").fetchall()[0][0])";
    let counted = run(Command::new(&python)
        .args(["-c", script])
        .arg(dir.path())
        .args(tables.keys()));
    let expected: Vec<String> = tables.values().map(u64::to_string).collect();
    assert_eq!(counted.lines().collect::<Vec<_>>(), expected);
}
