//! Flips and cuts at every structure of a capture: the right data or a precise error, never a panic;
//! and what `salvage` makes of them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kindling_format::{
    Capture, CaptureWriter, Completion, EncodedMember, FormatError, Header, Salvage, Summary,
    inspect, salvage,
};

/// A small capture, and where its parts are.
struct Whole {
    bytes: Vec<u8>,
    capture: Capture,
    directory_off: usize,
}

fn whole() -> Whole {
    let bytes = common::capture(2);
    let capture = Capture::from_bytes(bytes.clone().into()).unwrap();
    let directory_off = capture.entries().last().unwrap().end_off() as usize;
    Whole {
        bytes,
        capture,
        directory_off,
    }
}

impl Whole {
    /// Every byte of headers, JSON, index and directory; of table members one in `step`.
    fn places(&self, step: usize) -> Vec<usize> {
        let mut places = Vec::new();
        for entry in self.capture.entries() {
            places.extend(entry.header_off as usize..entry.data_off as usize);
            let step = if entry.name.contains('/') { step } else { 1 };
            places.extend((entry.data_off as usize..entry.end_off() as usize).step_by(step));
        }
        places.extend(self.directory_off..self.bytes.len());
        places
    }

    /// The member that the byte is of, or the directory's entry that it is in.
    fn member_at(&self, at: usize) -> Option<String> {
        let mut described_at = self.directory_off;
        let entry = self.capture.entries().iter().find(|entry| {
            let description = described_at..described_at + 46 + entry.name.len();
            described_at = description.end;
            let is_within = (entry.header_off as usize..entry.end_off() as usize).contains(&at);
            is_within || description.contains(&at)
        });
        entry.map(|entry| entry.name.clone())
    }

    /// Each member that can be read and has its right bytes; the others, with the error.
    fn read(&self, capture: &Capture) -> (BTreeSet<String>, BTreeMap<String, FormatError>) {
        let (mut right, mut failed) = (BTreeSet::new(), BTreeMap::new());
        for entry in capture.entries() {
            let name = entry.name.clone();
            match entry.verify(capture.bytes()) {
                Ok(()) => {
                    let original = self.capture.entries().iter().find(|e| e.name == name);
                    let original = original.unwrap().slice(&self.bytes).unwrap();
                    assert_eq!(entry.slice(capture.bytes()).unwrap(), original, "{name}");
                    right.insert(name);
                }
                Err(error) => drop(failed.insert(name, error)),
            }
        }
        (right, failed)
    }

    fn names(&self) -> BTreeSet<String> {
        self.capture
            .entries()
            .iter()
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// Salvages `bytes`; what is kept must be the original, and nothing may go unmentioned.
    fn salvage(&self, bytes: &Bytes, case: &str) -> Salvage {
        let (saved, report) = salvage(bytes, Vec::new()).unwrap_or_else(|e| panic!("{case}: {e}"));
        let saved = Capture::from_bytes(saved.into()).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert!(
            matches!(saved.completion(), Completion::Finished(_)),
            "{case}"
        );
        let tables = |capture: &Capture| -> BTreeMap<String, Vec<u8>> {
            let tables = capture
                .entries()
                .iter()
                .filter(|entry| entry.name.contains('/'));
            tables
                .map(|e| (e.name.clone(), e.slice(capture.bytes()).unwrap().to_vec()))
                .collect()
        };
        let (before, after) = (tables(&self.capture), tables(&saved));
        assert_eq!(after.len() as u64, report.members, "{case}");
        for (name, bytes) in &after {
            assert_eq!(bytes, &before[name], "{case}: {name}");
        }
        if after.len() < before.len() {
            assert!(
                !report.lost.is_empty() || bytes.len() < self.directory_off,
                "{case}: {} members are gone without a word",
                before.len() - after.len()
            );
        }
        report
    }
}

#[test]
fn a_flipped_bit_gives_the_right_data_or_names_the_member() {
    let whole = whole();
    let mut answers = BTreeMap::new();
    let places = whole.places(11);
    for (number, &at) in places.iter().enumerate() {
        let mut bytes = whole.bytes.clone();
        bytes[at] ^= 1 << (number % 8);
        let bytes = Bytes::from(bytes);
        let hit = whole.member_at(at);
        let answer = match Capture::from_bytes(bytes.clone()) {
            Ok(capture) => {
                let (right, failed) = whole.read(&capture);
                let missing: Vec<String> = whole.names().difference(&right).cloned().collect();
                assert!(missing.len() <= 1, "flip at {at}: {missing:?}");
                for name in &missing {
                    assert_eq!(Some(name), hit.as_ref(), "flip at {at}");
                    assert!(failed[name].is_damage());
                }
                if missing.is_empty() {
                    "right data"
                } else {
                    "damaged member"
                }
            }
            Err(FormatError::Damaged { .. }) => "damaged",
            Err(FormatError::NotACapture { .. }) if at < 4 => "not a capture",
            Err(FormatError::Io(error)) => panic!("flip at {at}: {error}"),
            Err(error) => panic!("flip at {at}: {error}"),
        };
        *answers.entry(answer).or_insert(0) += 1;
        if number % 16 == 0 {
            let report = whole.salvage(&bytes, &format!("flip at {at}"));
            assert!(report.lost.len() <= 1, "flip at {at}: {:?}", report.lost);
        }
    }
    println!(
        "{} flips in {} bytes: {answers:?}",
        places.len(),
        whole.bytes.len()
    );
}

#[test]
fn a_cut_keeps_every_whole_member_before_it() {
    let whole = whole();
    let first_header = whole.capture.entries()[0].data_off as usize;
    let first_end = whole.capture.entries()[0].end_off() as usize;
    let places = whole.places(17);
    for (number, &at) in places.iter().filter(|&&at| at > 0).enumerate() {
        let bytes = Bytes::from(whole.bytes[..at].to_vec());
        let opened = Capture::from_bytes(bytes.clone());
        if at < first_end {
            assert!(matches!(
                opened,
                Err(FormatError::Damaged { .. } | FormatError::NotACapture { .. })
            ));
            assert!(at < first_header || salvage(&bytes, Vec::new()).is_ok());
            continue;
        }
        let capture = opened.unwrap_or_else(|e| panic!("cut at {at}: {e}"));
        assert!(matches!(
            capture.completion(),
            Completion::Unfinished { .. }
        ));
        let (right, failed) = whole.read(&capture);
        let before = whole
            .capture
            .entries()
            .iter()
            .filter(|e| e.end_off() as usize <= at);
        assert_eq!(
            right,
            before.map(|e| e.name.clone()).collect(),
            "cut at {at}"
        );
        assert!(failed.is_empty());
        if number % 32 == 0 {
            whole.salvage(&bytes, &format!("cut at {at}"));
        }
    }
    println!("{} cuts in {} bytes", places.len(), whole.bytes.len());
}

#[test]
fn a_hole_in_the_middle_costs_the_members_that_it_touches() {
    let whole = whole();
    let mut cases = 0;
    for len in [1, 40, 700, 5_000] {
        for start in (1_000..whole.directory_off - len).step_by(1_501) {
            for zeros in [0, len] {
                let hole = [
                    &whole.bytes[..start],
                    &vec![0; zeros],
                    &whole.bytes[start + len..],
                ];
                let bytes = Bytes::from(hole.concat());
                assert!(Capture::from_bytes(bytes.clone()).is_err() || zeros == len);
                let report = whole.salvage(&bytes, &format!("{len} bytes at {start}"));
                let touched = whole.capture.entries().iter().filter(|entry| {
                    (entry.header_off as usize) < start + len && entry.end_off() as usize > start
                });
                let touched: Vec<&str> = touched.map(|e| e.name.as_str()).collect();
                let tables = touched.iter().filter(|name| name.contains('/')).count() as u64;
                let all = whole
                    .capture
                    .entries()
                    .iter()
                    .filter(|e| e.name.contains('/'));
                assert!(report.members >= all.count() as u64 - tables, "{touched:?}");
                assert!(
                    report.lost.len() <= touched.len(),
                    "{touched:?} {:?}",
                    report.lost
                );
                cases += 1;
            }
        }
    }
    println!("{cases} holes in {} bytes", whole.bytes.len());
}

#[test]
fn what_is_lost_is_named_with_its_rows_and_span() {
    let whole = whole();
    let name = "000001/syscalls.parquet";
    let entry = whole
        .capture
        .entries()
        .iter()
        .find(|e| e.name == name)
        .unwrap();
    let mut bytes = whole.bytes.clone();
    bytes[entry.data_off as usize + 9] ^= 4;
    let (saved, report) = salvage(&bytes.clone().into(), Vec::new()).unwrap();
    let [lost] = &report.lost[..] else {
        panic!("{report:?}")
    };
    assert_eq!(
        (lost.name.as_deref(), lost.at),
        (Some(name), entry.header_off)
    );
    assert_eq!(
        (lost.rows, lost.size_bytes),
        (Some(60), entry.end_off() - entry.header_off)
    );
    assert_eq!(lost.span.map(|(start, _)| start), Some(101_000));
    let summary = Capture::from_bytes(saved.into())
        .unwrap()
        .summary()
        .cloned()
        .unwrap();
    assert_eq!(
        (summary.rows["syscalls"], summary.lost["syscalls"]),
        (60, 60)
    );

    // A damaged local header: the directory still knows where the member is.
    let mut bytes = whole.bytes.clone();
    bytes[entry.header_off as usize + 20] ^= 4;
    let (_, report) = salvage(&bytes.into(), Vec::new()).unwrap();
    assert_eq!((report.lost, report.rows["syscalls"]), (Vec::new(), 120));
}

/// Damage behind a right checksum, as a hostile or broken writer makes it.
#[test]
fn a_member_that_lies_is_refused_without_a_panic() {
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below
    };
    let (mut tried, mut refused) = (0, 0);
    for member in common::members(1_000) {
        for _ in 0..250 {
            let mut bytes = member.bytes.clone();
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                // The footer is where lies are worth the most.
                let at = if next(2) == 0 {
                    at
                } else {
                    bytes.len() - 1 - next(bytes.len() / 2)
                };
                bytes[at] = if next(2) == 0 {
                    next(256) as u8
                } else {
                    bytes[at] ^ (1 << next(8))
                };
            }
            let mut writer = CaptureWriter::new(Vec::new(), &Header::default()).unwrap();
            let table = member.table.to_string();
            let extent = member.extent.clone();
            let lying = EncodedMember {
                table: table.clone().into(),
                extent,
                bytes,
            };
            writer.append(0, lying).unwrap();
            let file = writer.finish(&Summary::default()).unwrap();
            let capture = Capture::from_bytes(file.into()).unwrap();
            let (_, member) = capture.members(0).next().unwrap();
            let bytes = capture.member_bytes(&member.entry).unwrap();
            tried += 1;
            refused += i32::from(inspect(&table, &member.entry, bytes).is_err());
        }
    }
    println!("{tried} members with lies in them, {refused} refused");
}
