//! A capture of a later minor version: what this version does not know is skipped, what it misses
//! reads as its default.

#![allow(clippy::unwrap_used)]

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array},
    datatypes::{Field, Schema},
};
use kindling_format::{
    Capture, CaptureWriter, EncodedMember, FORMAT, FormatError, Header, Summary, inspect, salvage,
    schema::{Extent, File, FileKind, Switch},
};
use parquet::arrow::ArrowWriter;

fn member(table: &'static str, columns: Vec<(&str, ArrayRef)>) -> EncodedMember {
    let fields = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), array.null_count() > 0));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let rows = columns[0].1.len() as u64;
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    EncodedMember {
        table: Cow::Borrowed(table),
        extent: Extent::of_rows(rows),
        bytes: writer.into_inner().unwrap(),
    }
}

fn later() -> Vec<u8> {
    let mut header = Header::default();
    header.format.minor += 7;
    let mut writer = CaptureWriter::new(Vec::new(), &header).unwrap();
    let ts: ArrayRef = Arc::new(Int64Array::from(vec![5, 9]));
    let words: ArrayRef = Arc::new(StringArray::from(vec!["tcp", "quantum"]));
    let ids: ArrayRef = Arc::new(UInt32Array::from(vec![Some(1), None]));
    let tides: ArrayRef = Arc::new(StringArray::from(vec!["ebb", "flow"]));
    let files = vec![
        ("ts", ts.clone()),
        ("id", ids),
        ("kind", words),
        ("tide", tides.clone()),
    ];
    writer.append(0, member("files", files)).unwrap();
    writer
        .append(
            0,
            member("tides", vec![("ts", ts.clone()), ("tide", tides.clone())]),
        )
        .unwrap();
    writer
        .append(1, member("switches", vec![("ts", tides)]))
        .unwrap();
    writer.append_other("000001/notes.txt", b"hello").unwrap();
    writer.finish(&Summary::default()).unwrap()
}

#[test]
fn what_is_unknown_is_skipped() {
    let capture = Capture::from_bytes(later().into()).unwrap();
    let files: Vec<File> = capture.read::<File>(0).unwrap().iter().collect();
    assert_eq!(
        (files[0].ts, files[0].id, files[0].kind),
        (5, 1, FileKind::Tcp)
    );
    assert_eq!(
        (files[1].ts, files[1].id, files[1].kind),
        (9, 0, FileKind::Other)
    );
    assert_eq!((files[0].fd, files[0].cookie), (0, None));
    let (_, tides) = capture
        .members(0)
        .find(|(table, _)| *table == "tides")
        .unwrap();
    let bytes = capture.member_bytes(&tides.entry).unwrap();
    assert_eq!(
        inspect("tides", &tides.entry, bytes).unwrap().extent.rows,
        2
    );
}

#[test]
fn a_column_of_another_type_is_damage() {
    let capture = Capture::from_bytes(later().into()).unwrap();
    let result = capture.read::<Switch>(1);
    let text = result.as_ref().map(|_| ()).unwrap_err().to_string();
    assert!(matches!(result, Err(FormatError::Damaged { .. })));
    assert!(
        text.contains("column ts has type Utf8, expected Int64"),
        "{text}"
    );
}

#[test]
fn unknown_members_survive_a_salvage() {
    let (bytes, report) = salvage(&later().into(), Vec::new()).unwrap();
    let capture = Capture::from_bytes(bytes.into()).unwrap();
    let names: Vec<&str> = capture
        .entries()
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    assert!(names.contains(&"000001/notes.txt") && names.contains(&"000000/tides.parquet"));
    assert_eq!(report.lost.len(), 1);
}

#[test]
fn a_newer_major_is_told_apart() {
    let mut header = Header::default();
    header.format.major += 1;
    let writer = CaptureWriter::new(Vec::new(), &header).unwrap();
    let bytes = writer.finish(&Summary::default()).unwrap();
    let opened = Capture::from_bytes(bytes.clone().into());
    assert!(matches!(
        opened,
        Err(FormatError::Newer {
            supported: FORMAT,
            ..
        })
    ));
    assert!(matches!(
        salvage(&bytes.into(), Vec::new()),
        Err(FormatError::Newer { .. })
    ));
}
