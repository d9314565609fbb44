//! What is fuzzed: any bytes may be in a capture, and none of them may cause a panic.
//!
//! ```text
//! cargo +nightly fuzz run member -- -rss_limit_mb=6000
//! ```
//!
//! A test of `kindling-format` runs the same functions over the corpus.

use bytes::Bytes;
use kindling_format::{
    Capture, CaptureWriter, EncodedMember, Header, Summary, container, inspect,
    schema::{Extent, tables},
};

/// A whole file: opened, every member looked at, and salvaged.
pub fn container(data: &[u8]) {
    let file = Bytes::copy_from_slice(data);
    if let Ok(capture) = Capture::from_bytes(file.clone()) {
        for segment in capture.segments() {
            for (table, member) in capture.members(segment) {
                if let (Ok(()), Ok(bytes)) = (
                    member.entry.verify(&file),
                    capture.member_bytes(&member.entry),
                ) {
                    let _ = inspect(table, &member.entry, bytes);
                }
            }
        }
    }
    if let Ok((saved, _)) = kindling_format::salvage(&file, Vec::new()) {
        assert!(
            Capture::from_bytes(saved.into()).is_ok(),
            "a salvaged capture does not open"
        );
    }
}

/// The bytes of `kindling.json`, in a container that is sound.
pub fn header(data: &[u8]) {
    let crc32 = crc_of(data);
    let name = "kindling.json";
    if let Ok(mut file) = container::local_header(name, data.len() as u64, crc32, crc32) {
        file.extend_from_slice(data);
        let _ = Capture::from_bytes(file.into());
    }
}

/// A table member behind a right checksum: the first byte chooses the table.
pub fn member(data: &[u8]) {
    let Some((&choice, parquet)) = data.split_first() else {
        return;
    };
    let tables = tables();
    let name = tables
        .get(usize::from(choice) % tables.len())
        .map_or("unknown", |table| table.name);
    let Ok(mut writer) = CaptureWriter::new(Vec::new(), &Header::default()) else {
        return;
    };
    let member = EncodedMember {
        table: name.into(),
        extent: Extent::of_rows(1),
        bytes: parquet.to_vec(),
    };
    if writer.append(0, member).is_err() {
        return;
    }
    let Ok(file) = writer.finish(&Summary::default()) else {
        return;
    };
    let Ok(capture) = Capture::from_bytes(file.into()) else {
        return;
    };
    for (table, member) in capture.members(0) {
        if let Ok(bytes) = capture.member_bytes(&member.entry) {
            let _ = inspect(table, &member.entry, bytes);
        }
    }
}

/// The CRC-32 of ZIP, bit by bit: this crate takes no dependency for it.
fn crc_of(data: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    };
    !data.iter().fold(u32::MAX, step)
}
