//! What recordings have of the plaintext of TLS, for the tests of all libraries.

use std::collections::BTreeMap;

use kindling_format::schema::{Direction, File, Payload, Tls};
use serde_json::Value;

use crate::support::{Recording, analyzer};

/// The plaintext of a recording.
pub(crate) fn plaintexts(recording: &Recording) -> Vec<Payload> {
    let rows = recording.rows::<Payload>().into_iter();
    rows.filter(|row| row.tls != Tls::No).collect()
}

/// The plaintext that a process moved through a file in a direction: its rows must follow each other.
pub(crate) fn streams(recording: &Recording) -> BTreeMap<(u32, u32, Direction), Vec<u8>> {
    let mut rows = plaintexts(recording);
    rows.sort_by_key(|row| (row.file, row.direction, row.offset));
    let mut streams: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for row in rows {
        let stream = streams
            .entry((row.pid, row.file, row.direction))
            .or_default();
        assert_eq!(
            row.offset,
            stream.len() as u64,
            "bytes are missing or doubled"
        );
        assert_eq!(row.size, row.data.len() as u64);
        stream.extend(row.data);
    }
    streams
}

pub(crate) fn file(recording: &Recording, id: u32) -> File {
    let files = recording.rows::<File>();
    files.into_iter().rfind(|file| file.id == id).unwrap()
}

/// What `kindling-replay rpcs` says.
pub(crate) fn rpcs(recording: &Recording) -> Option<Value> {
    let output = analyzer()?
        .args(["rpcs", "--format", "json"])
        .arg(&recording.path)
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(answer["rpcs"].clone())
}
