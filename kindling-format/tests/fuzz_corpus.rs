//! The corpus of the fuzz targets, and some damage to each file of it, without a fuzzer.
//! `UPDATE_FUZZ_CORPUS=1` writes the seeds anew.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod common;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::PathBuf};

use kindling_format::{Capture, schema::tables};

/// Damaged copies of each file.
const COPIES: usize = 30;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target)
}

fn write_seeds() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(corpus(target).join(name), bytes).unwrap();
    };
    for (number, member) in common::members(1_000).iter().enumerate() {
        write(
            "member",
            tables()[number].name,
            &[&[number as u8], &member.bytes[..]].concat(),
        );
    }
    let whole = common::capture(1);
    let capture = Capture::from_bytes(whole.clone().into()).unwrap();
    let third = capture.entries()[3].end_off() as usize;
    write("container", "finished", &whole);
    write("container", "unfinished", &whole[..third + 100]);
    write("container", "no-directory", &whole[..third]);
    let header = capture.entries()[0].slice(&whole).unwrap();
    write("header", "ours", header);
    write("header", "newer", br#"{"format":{"major":2,"minor":0}}"#);
    write(
        "header",
        "least",
        br#"{"format":{"major":1,"minor":9},"tide":[1]}"#,
    );
}

fn replay(target: &str, run: fn(&[u8])) {
    if std::env::var_os("UPDATE_FUZZ_CORPUS").is_some() {
        write_seeds();
    }
    let mut files: Vec<PathBuf> = fs::read_dir(corpus(target))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut random = 1u64;
    let mut next = move |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below.max(1)
    };
    for file in &files {
        let bytes = fs::read(file).unwrap();
        run(&bytes);
        for _ in 0..COPIES {
            let mut copy = bytes.clone();
            for _ in 0..=next(4) {
                let at = next(copy.len());
                copy[at] = next(256) as u8;
            }
            copy.truncate(if next(4) == 0 {
                next(copy.len())
            } else {
                copy.len()
            });
            run(&copy);
        }
    }
    println!(
        "{target}: {} files, {} cases",
        files.len(),
        files.len() * (COPIES + 1)
    );
    assert!(!files.is_empty());
}

#[test]
fn container() {
    replay("container", targets::container);
}

#[test]
fn header() {
    replay("header", targets::header);
}

#[test]
fn member() {
    replay("member", targets::member);
}
