//! Runs of BPF programs that the kernel skipped: a program that is entered again on its CPU, by an
//! interrupt, does not run a second time, and what it would have recorded is missing.
//!
//! `/proc/PID/fdinfo` of a program says how many (`bpf_prog_show_fdinfo`, Linux 5.12). The files are opened
//! before rights are given up. A run is skipped before it is known whose event it was, so on a host with other
//! work these are the most that the target can have lost.

use std::{
    fs::File,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileExt,
    },
};

use libbpf_rs::Object;

use crate::sources::table_of;

/// More than `fdinfo` of a program has.
const INFO_BYTES: usize = 1024;
const KEY: &str = "recursion_misses:";

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    programs: Vec<Program>,
}

#[derive(Debug)]
struct Program {
    info: File,
    /// The table that it fills.
    table: &'static str,
    last: u64,
}

impl Skipped {
    /// Those of the object's loaded programs, from now on.
    pub(super) fn of(object: &Object) -> Self {
        let program = |program: libbpf_rs::Program<'_>| {
            let table = table_of(program.name().to_str()?)?;
            let path = format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd());
            let info = File::open(path).ok()?;
            let last = read(&info)?;
            Some(Program { info, table, last })
        };
        Self {
            programs: object.progs().filter_map(program).collect(),
        }
    }

    /// How many more there are than at the last call, by table.
    pub(super) fn newly(&mut self) -> Vec<(&'static str, u64)> {
        let grown = self.programs.iter_mut().filter_map(|program| {
            let now = read(&program.info)?;
            let before = std::mem::replace(&mut program.last, now);
            (now > before).then(|| (program.table, now - before))
        });
        grown.collect()
    }
}

fn read(info: &File) -> Option<u64> {
    let mut bytes = [0; INFO_BYTES];
    let len = info.read_at(&mut bytes, 0).ok()?;
    count(std::str::from_utf8(bytes.get(..len)?).ok()?)
}

fn count(info: &str) -> Option<u64> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(KEY)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_read() {
        let info =
            "pos:\t0\nprog_type:\t26\nrun_cnt:\t9\nrecursion_misses:\t17\nverified_insns:\t5\n";
        assert_eq!(count(info), Some(17));
        assert_eq!(count("pos:\t0\nflags:\t02000002\n"), None);
        assert_eq!(count("recursion_misses:\tmany\n"), None);
    }

    #[test]
    fn what_was_skipped_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("info");
        let set = |count: u64| std::fs::write(&path, format!("{KEY}\t{count}\n")).unwrap();
        set(3);
        let info = File::open(&path).unwrap();
        let program = Program {
            info,
            table: "switches",
            last: 3,
        };
        let mut skipped = Skipped {
            programs: vec![program],
        };
        assert!(skipped.newly().is_empty());
        set(8);
        assert_eq!(skipped.newly(), [("switches", 5)]);
        assert!(skipped.newly().is_empty());
    }
}
