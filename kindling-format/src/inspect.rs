//! A member of any table, decoded to see whether it can be, and what its rows cover.

use bytes::Bytes;

use crate::{
    FormatError,
    container::Entry,
    for_each_table,
    schema::{self, Extent, Table},
    segment,
};

/// What a look at every row of a member found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// What its rows cover.
    pub extent: Extent,
    /// The first row that is out of order.
    pub unsorted_row: Option<usize>,
}

/// Decodes a whole member of table `table` and looks at every row.
///
/// Of a table that this version does not know, the rows are counted and the columns decoded.
///
/// # Errors
/// [`FormatError::Damaged`] or [`FormatError::TooLarge`] if it cannot be decoded. The checksum is
/// not looked at.
pub fn inspect(table: &str, entry: &Entry, bytes: Bytes) -> Result<Inspection, FormatError> {
    macro_rules! dispatch {
        ($($row:ident),*) => {
            match table {
                $(schema::$row::NAME => known::<schema::$row>(entry, bytes),)*
                _ => unknown(entry, bytes),
            }
        };
    }
    for_each_table!(dispatch)
}

fn known<T: Table>(entry: &Entry, bytes: Bytes) -> Result<Inspection, FormatError> {
    let rows = segment::decode::<T>(entry, bytes, None)?;
    Ok(Inspection {
        extent: T::extent(&rows),
        unsorted_row: T::first_unsorted(&rows),
    })
}

fn unknown(entry: &Entry, bytes: Bytes) -> Result<Inspection, FormatError> {
    let rows = segment::decode_any(entry, bytes)?;
    let rows = rows.iter().map(|batch| batch.num_rows() as u64).sum();
    Ok(Inspection {
        extent: Extent::of_rows(rows),
        unsorted_row: None,
    })
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
        assert_eq!(known.unsorted_row, None);
        let known = known.extent;
        assert_eq!((known.rows, known.span), (2, Some((5, 9))));
        let unknown = inspect("tea", &entry, bytes).unwrap().extent;
        assert_eq!((unknown.rows, unknown.span), (2, None));
        assert!(inspect(Index::NAME, &entry, Bytes::from_static(b"PAR1PAR1PAR1")).is_err());
    }
}
