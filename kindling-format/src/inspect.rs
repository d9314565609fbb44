//! A member of any table, decoded to see whether it can be, and what its rows cover.

use bytes::Bytes;

use crate::{
    FormatError,
    container::Entry,
    for_each_table,
    schema::{self, Extent, Table},
    segment,
};

/// Decodes a whole member of table `table`, and returns what its rows cover.
///
/// Of a table that this version does not know, the rows are counted and the columns decoded.
///
/// # Errors
/// [`FormatError::Damaged`] or [`FormatError::TooLarge`] if it cannot be decoded. The checksum is
/// not looked at.
pub fn inspect(table: &str, entry: &Entry, bytes: Bytes) -> Result<Extent, FormatError> {
    macro_rules! dispatch {
        ($($row:ident),*) => {
            match table {
                $(schema::$row::NAME => extent::<schema::$row>(entry, bytes),)*
                _ => unknown(entry, bytes),
            }
        };
    }
    for_each_table!(dispatch)
}

fn extent<T: Table>(entry: &Entry, bytes: Bytes) -> Result<Extent, FormatError> {
    Ok(T::extent(&segment::decode::<T>(entry, bytes, None)?))
}

fn unknown(entry: &Entry, bytes: Bytes) -> Result<Extent, FormatError> {
    let rows = segment::decode_any(entry, bytes)?;
    let rows = rows.iter().map(|batch| batch.num_rows() as u64).sum();
    Ok(Extent::of_rows(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Clock, Index};

    #[test]
    fn known_and_unknown_tables_tell_what_they_cover() {
        let mut clock = Clock::columns();
        for ts in [5, 9] {
            clock.push(Clock {
                ts,
                ..Clock::default()
            });
        }
        let member = Clock::encode(clock).unwrap();
        let entry = Entry {
            name: "000000/clock.parquet".into(),
            header_off: 0,
            data_off: 0,
            size_bytes: member.bytes.len() as u64,
            crc32: 0,
            capture: None,
        };
        let bytes = Bytes::from(member.bytes);
        let known = inspect(Clock::NAME, &entry, bytes.clone()).unwrap();
        assert_eq!((known.rows, known.span), (2, Some((5, 9))));
        let unknown = inspect("tea", &entry, bytes).unwrap();
        assert_eq!((unknown.rows, unknown.span), (2, None));
        assert!(inspect(Index::NAME, &entry, Bytes::from_static(b"PAR1PAR1PAR1")).is_err());
    }
}
