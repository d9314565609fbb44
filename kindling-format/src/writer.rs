//! Writing a capture: members one after another, then the summary, the index and the directory.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use crate::{
    EncodedMember, FormatError, Header, Summary,
    container::{self, Entry},
    header::{HEADER_MEMBER, INDEX_MEMBER, SUMMARY_MEMBER},
    schema::{Index, Table},
};

/// Writes a capture to anything that takes bytes, a pipe included: nothing is ever gone back to.
///
/// Whatever happens to the process, the members that were handed over whole are readable. After a
/// failed write the writer refuses more, because nobody knows how much of it arrived;
/// [`CaptureWriter::discard_partial`] goes on from there where the output can be cut.
#[derive(Debug)]
pub struct CaptureWriter<W: Write> {
    out: W,
    /// The CRC-32 of the first member, which every local header repeats.
    capture: u32,
    entries: Vec<Entry>,
    names: BTreeSet<String>,
    index: Vec<Index>,
    rows: BTreeMap<String, u64>,
    written_bytes: u64,
    broken: bool,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture.
    ///
    /// # Errors
    /// [`FormatError::Io`] if the header cannot be written.
    pub fn new(out: W, header: &Header) -> Result<Self, FormatError> {
        let first = json(HEADER_MEMBER, header)?;
        let mut writer = Self {
            out,
            capture: crc32fast::hash(&first),
            entries: Vec::new(),
            names: BTreeSet::new(),
            index: Vec::new(),
            rows: BTreeMap::new(),
            written_bytes: 0,
            broken: false,
        };
        writer.member(HEADER_MEMBER, &first)?;
        Ok(writer)
    }

    /// Writes a member of a segment. A member without rows is left out.
    ///
    /// # Errors
    /// [`FormatError::Encode`] if the segment has that table already. [`FormatError::Io`] if it
    /// cannot be written; the capture then ends with a part of a member, which readers skip.
    pub fn append(
        &mut self,
        segment: u32,
        member: impl Borrow<EncodedMember>,
    ) -> Result<(), FormatError> {
        let member = member.borrow();
        if member.extent.rows == 0 {
            return Ok(());
        }
        let offset = self.written_bytes;
        self.member(&member_name(segment, &member.table), &member.bytes)?;
        let rows = u64::from(member.extent.rows);
        *self.rows.entry(member.table.to_string()).or_insert(0) += rows;
        self.index.push(Index {
            segment,
            table: member.table.to_string(),
            rows,
            offset,
            size_bytes: member.bytes.len() as u64,
            min_ts: member.extent.span.map(|(min, _)| min),
            max_ts: member.extent.span.map(|(_, max)| max),
            pids: member.extent.pids.iter().copied().collect(),
        });
        Ok(())
    }

    /// Writes a member that is no table's, for example one that a newer version knows.
    ///
    /// # Errors
    /// As [`CaptureWriter::append`].
    pub fn append_other(&mut self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        self.member(name, bytes)
    }

    /// Hands everything that was written so far to the operating system.
    ///
    /// # Errors
    /// [`FormatError::Io`] if that fails.
    pub fn flush(&mut self) -> Result<(), FormatError> {
        let flushed = self.out.flush();
        self.broken |= flushed.is_err();
        Ok(flushed?)
    }

    /// How many bytes the whole members have that were written so far.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// At most how many bytes `members` and then [`CaptureWriter::finish`] will write: who keeps so many
    /// free can end the capture even when the disk is full.
    pub fn end_bytes(&self, members: &[EncodedMember]) -> u64 {
        const SUMMARY: u64 = 16 << 10;
        // A local header, with the member's name.
        const HEADER: u64 = 128;
        // A row of the index and an entry of the directory.
        const MEMBER: u64 = 160;
        let data_bytes: usize = members.iter().map(|member| member.bytes.len()).sum();
        let (new, old) = (members.len() as u64, self.entries.len() as u64);
        data_bytes as u64 + HEADER * new + MEMBER * (new + old) + SUMMARY
    }

    /// What the bytes are written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// Goes on after a failed write: `cut` must cut the output to the given length, which is that
    /// of the whole members.
    ///
    /// A full disk then often has room for the summary, the index and the directory, so that the
    /// capture is finished and says why it ended.
    ///
    /// # Errors
    /// [`FormatError::Io`] if `cut` fails: the capture stays unfinished.
    pub fn discard_partial(
        &mut self,
        cut: impl FnOnce(&mut W, u64) -> io::Result<()>,
    ) -> Result<(), FormatError> {
        cut(&mut self.out, self.written_bytes)?;
        self.broken = false;
        Ok(())
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
        for row in std::mem::take(&mut self.index) {
            index.push(row);
        }
        self.member(INDEX_MEMBER, &Index::encode(index)?.bytes)?;
        let directory = container::directory(&self.entries, self.written_bytes);
        self.out.write_all(&directory)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn member(&mut self, name: &str, data: &[u8]) -> Result<(), FormatError> {
        let refused = |what: &str| FormatError::Encode {
            member: name.to_owned(),
            what: what.to_owned(),
        };
        if self.broken {
            return Err(refused("an earlier write failed"));
        }
        if self.names.contains(name) {
            return Err(refused("the capture has a member of that name"));
        }
        let size_bytes = data.len() as u64;
        let crc32 = crc32fast::hash(data);
        let header = container::local_header(name, size_bytes, crc32, self.capture)?;
        let written = self
            .out
            .write_all(&header)
            .and_then(|()| self.out.write_all(data));
        self.broken = written.is_err();
        written?;
        let entry = Entry {
            name: name.to_owned(),
            header_off: self.written_bytes,
            data_off: self.written_bytes + header.len() as u64,
            size_bytes,
            crc32,
            capture: Some(self.capture),
        };
        self.written_bytes = entry.end_off();
        self.names.insert(name.to_owned());
        self.entries.push(entry);
        Ok(())
    }
}

/// The name of the member that holds a table's rows of a segment.
pub(crate) fn member_name(segment: u32, table: &str) -> String {
    format!("{segment:06}/{table}.parquet")
}

fn json(member: &str, value: &impl serde::Serialize) -> Result<Vec<u8>, FormatError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| FormatError::Encode {
        member: member.into(),
        what: error.to_string(),
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Capture, Completion, schema::Clock};

    /// A disk with so many bytes left.
    struct Disk {
        bytes: Vec<u8>,
        size: usize,
    }

    impl Write for Disk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let room = data.len().min(self.size - self.bytes.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&data[..room]);
            Ok(room)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn clock(ts: i64) -> EncodedMember {
        let mut rows = Clock::columns();
        rows.push(Clock {
            ts,
            ..Clock::default()
        });
        Clock::encode(rows).unwrap()
    }

    #[test]
    fn a_full_disk_keeps_the_members_before_it_at_every_size() {
        let mut whole = CaptureWriter::new(Vec::new(), &Header::default()).unwrap();
        for n in 0..3 {
            let member = clock(n.into());
            let announced = whole.written_bytes() + whole.end_bytes(std::slice::from_ref(&member));
            whole.append(n, member).unwrap();
            assert!(whole.written_bytes() + whole.end_bytes(&[]) <= announced);
        }
        let whole_size = whole.written_bytes() as usize;
        let first_size = whole.entries[0].end_off() as usize;
        let whole_end = whole.end_bytes(&[]);
        let unfinished = whole.written_bytes();
        let finished = whole.finish(&Summary::default()).unwrap().len() as u64;
        assert!(
            finished - unfinished <= whole_end,
            "the end is longer than announced"
        );
        for size in first_size..whole_size {
            let bytes = Vec::new();
            let mut writer = CaptureWriter::new(Disk { bytes, size }, &Header::default()).unwrap();
            let failed = (0..3).find(|&n| writer.append(n, clock(n.into())).is_err());
            let kept = failed.expect("the disk is too small") as usize;
            assert!(
                writer.append(9, clock(9)).is_err(),
                "a broken writer goes on"
            );
            let capture = Capture::from_bytes(writer.out.bytes.clone().into()).unwrap();
            assert_eq!(capture.segments().count(), kept);
            assert!(matches!(
                capture.completion(),
                Completion::Unfinished { .. }
            ));

            // With a little more room the capture can be finished.
            writer
                .discard_partial(|disk, len| {
                    disk.bytes.truncate(len as usize);
                    disk.size += 1 << 14;
                    Ok(())
                })
                .unwrap();
            let disk = writer.finish(&Summary::default()).unwrap();
            let capture = Capture::from_bytes(disk.bytes.into()).unwrap();
            assert_eq!(capture.segments().count(), kept);
            assert!(matches!(capture.completion(), Completion::Finished(_)));
        }
    }

    #[test]
    fn a_table_is_written_once_per_segment() {
        let mut writer = CaptureWriter::new(Vec::new(), &Header::default()).unwrap();
        writer.append(0, clock(1)).unwrap();
        let second = writer.append(0, clock(2));
        assert!(matches!(second, Err(FormatError::Encode { .. })));
        writer.append(1, clock(2)).unwrap();
        let bytes = writer.finish(&Summary::default()).unwrap();
        assert_eq!(
            Capture::from_bytes(bytes.into())
                .unwrap()
                .segments()
                .count(),
            2
        );
    }
}
