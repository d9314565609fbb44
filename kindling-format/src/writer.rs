//! Writing a capture: members one after another, then the summary, the index and the directory.

use std::{collections::BTreeMap, io::Write};

use crate::{
    EncodedMember, FormatError, Header, Summary,
    container::{self, Entry},
    header::{HEADER_MEMBER, INDEX_MEMBER, SUMMARY_MEMBER},
    schema::{Index, Table},
};

/// Writes a capture to anything that takes bytes, a pipe included: nothing is ever gone back to.
#[derive(Debug)]
pub struct CaptureWriter<W: Write> {
    out: W,
    entries: Vec<Entry>,
    index: Vec<Index>,
    rows: BTreeMap<String, u64>,
    written_bytes: u64,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture.
    ///
    /// # Errors
    /// [`FormatError::Io`] if the header cannot be written.
    pub fn new(out: W, header: &Header) -> Result<Self, FormatError> {
        let mut writer = Self {
            out,
            entries: Vec::new(),
            index: Vec::new(),
            rows: BTreeMap::new(),
            written_bytes: 0,
        };
        writer.member(HEADER_MEMBER, &json(HEADER_MEMBER, header)?)?;
        Ok(writer)
    }

    /// Writes a member of a segment. A member without rows is left out.
    ///
    /// # Errors
    /// [`FormatError::Io`] if it cannot be written; the capture then ends with a part of a member,
    /// which readers skip.
    pub fn append(&mut self, segment: u32, member: EncodedMember) -> Result<(), FormatError> {
        if member.extent.rows == 0 {
            return Ok(());
        }
        let offset = self.written_bytes;
        self.member(
            &format!("{segment:06}/{}.parquet", member.table),
            &member.bytes,
        )?;
        *self.rows.entry(member.table.to_owned()).or_insert(0) += u64::from(member.extent.rows);
        self.index.push(Index {
            segment,
            table: member.table.to_owned(),
            rows: member.extent.rows.into(),
            offset,
            size_bytes: member.bytes.len() as u64,
            min_ts: member.extent.span.map(|(min, _)| min),
            max_ts: member.extent.span.map(|(_, max)| max),
            pids: member.extent.pids.into_iter().collect(),
        });
        Ok(())
    }

    /// Hands everything that was written so far to the operating system.
    ///
    /// # Errors
    /// [`FormatError::Io`] if that fails.
    pub fn flush(&mut self) -> Result<(), FormatError> {
        Ok(self.out.flush()?)
    }

    /// How many bytes were written so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// What the bytes are written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Ends the capture: writes the summary, with the rows per table filled in, the index and the
    /// directory.
    ///
    /// # Errors
    /// [`FormatError::Io`] if they cannot be written: the capture is then unfinished, not lost.
    pub fn finish(mut self, summary: &Summary) -> Result<W, FormatError> {
        let summary = Summary {
            rows: std::mem::take(&mut self.rows),
            ..summary.clone()
        };
        self.member(SUMMARY_MEMBER, &json(SUMMARY_MEMBER, &summary)?)?;
        let mut index = Index::columns();
        std::mem::take(&mut self.index)
            .into_iter()
            .for_each(|row| index.push(row));
        self.member(INDEX_MEMBER, &Index::encode(index)?.bytes)?;
        let directory = container::directory(&self.entries, self.written_bytes);
        self.out.write_all(&directory)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn member(&mut self, name: &str, data: &[u8]) -> Result<(), FormatError> {
        let header = container::local_header(name, data)?;
        self.out.write_all(&header)?;
        self.out.write_all(data)?;
        let data_off = self.written_bytes + header.len() as u64;
        self.entries.push(Entry {
            name: name.to_owned(),
            header_off: self.written_bytes,
            data_off,
            size_bytes: data.len() as u64,
            crc32: crc32fast::hash(data),
        });
        self.written_bytes = data_off + data.len() as u64;
        Ok(())
    }
}

fn json(member: &str, value: &impl serde::Serialize) -> Result<Vec<u8>, FormatError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| FormatError::Encode {
        member: member.into(),
        what: error.to_string(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}
