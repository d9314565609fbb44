//! Other programs read a capture without us.

use std::{path::PathBuf, process::Command};

use kindling_format::schema::Syscall;

use crate::support::{Program, needs, transcript};

/// The Python with pyarrow and DuckDB that `scripts/setup.sh` makes in the build's directory.
fn python() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_BIN_EXE_kindling-record"))
        .ancestors()
        .nth(2)?
        .to_owned();
    let python = target.join("venv/bin/python");
    python.exists().then_some(python)
}

#[test]
fn unzip_finds_it_sound() {
    needs!("syscalls");
    let recording = Program::compile("syscalls").record(&[], &["1", "1", "10"]);
    let Ok(output) = Command::new("unzip")
        .arg("-t")
        .arg(&recording.path)
        .output()
    else {
        eprintln!("SKIPPED: unzip -t: no unzip");
        return;
    };
    assert!(output.status.success(), "{}", transcript(&output));
}

#[test]
fn duckdb_and_pyarrow_count_the_same_rows() {
    needs!("syscalls");
    let Some(python) = python() else {
        eprintln!("SKIPPED: pyarrow and DuckDB: scripts/setup.sh could not install them");
        return;
    };
    let recording = Program::compile("syscalls").record(&[], &["2", "1", "100"]);
    let script = r#"
import sys, zipfile, io, tempfile, os
import duckdb, pyarrow.parquet as pq
with tempfile.TemporaryDirectory() as dir, zipfile.ZipFile(sys.argv[1]) as capture:
    members = [name for name in capture.namelist() if name.endswith(".parquet")]
    for name in members:
        pq.read_table(io.BytesIO(capture.read(name)))
    capture.extractall(dir, [name for name in members if name.endswith("/syscalls.parquet")])
    print(duckdb.sql(f"select count(*) from '{dir}/*/syscalls.parquet'").fetchone()[0])
"#;
    let output = Command::new(python)
        .args(["-c", script])
        .arg(&recording.path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let rows: usize = String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(rows, recording.rows::<Syscall>().len());
}
