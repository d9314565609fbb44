//! What is read here is what the Parquet library reads; and nonsense is an error.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt8Array, UInt32Array, UInt64Array};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion},
};

use super::{column::joined, input::Input, *};

const ROWS: usize = 5000;

/// Numbers that are neither the same in each run nor random.
fn noise() -> impl Iterator<Item = u64> {
    let mut state = 88_172_645_463_325_252u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn batch() -> RecordBatch {
    let some = |value: u64| (!value.is_multiple_of(3)).then_some(value);
    let columns: [(&str, ArrayRef); 6] = [
        (
            "few",
            Arc::new(
                noise()
                    .take(ROWS)
                    .map(|n| Some(n as u8 % 9))
                    .collect::<UInt8Array>(),
            ),
        ),
        (
            "many",
            Arc::new(
                noise()
                    .take(ROWS)
                    .map(|n| Some(n as u32))
                    .collect::<UInt32Array>(),
            ),
        ),
        (
            "nulls",
            Arc::new(noise().take(ROWS).map(some).collect::<UInt64Array>()),
        ),
        (
            "some",
            Arc::new(
                noise()
                    .take(ROWS)
                    .map(|n| some(n % 300))
                    .collect::<UInt64Array>(),
            ),
        ),
        ("none", Arc::new(UInt32Array::new_null(ROWS))),
        (
            "below",
            Arc::new(
                noise()
                    .take(ROWS)
                    .map(|n| Some(n as i64 >> 3))
                    .collect::<Int64Array>(),
            ),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn assert_as_the_library(properties: WriterPropertiesBuilder) {
    let properties = properties.set_compression(Compression::ZSTD(ZstdLevel::default()));
    let batch = batch();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    let bytes = Bytes::from(writer.into_inner().unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let expected = concat_batches(&batch.schema(), &batches).unwrap();
    let found = columns(bytes, |_| true).unwrap();
    assert_eq!(found.num_rows(), ROWS);
    for field in batch.schema().fields() {
        let expected = expected.column_by_name(field.name()).unwrap();
        match found.column_by_name(field.name()) {
            Some(column) => assert_eq!(column, expected, "{}", field.name()),
            None => assert_eq!(expected.null_count(), ROWS, "{}", field.name()),
        }
    }
}

#[test]
fn files_of_other_writers_are_read_as_the_library_reads_them() {
    let builder = WriterProperties::builder;
    assert_as_the_library(builder());
    assert_as_the_library(builder().set_writer_version(WriterVersion::PARQUET_2_0));
    assert_as_the_library(builder().set_max_row_group_row_count(Some(1000)));
    assert_as_the_library(
        builder()
            .set_data_page_row_count_limit(700)
            .set_write_batch_size(100),
    );
    let encodings = [
        Encoding::PLAIN,
        Encoding::DELTA_BINARY_PACKED,
        Encoding::BYTE_STREAM_SPLIT,
    ];
    for encoding in encodings {
        let plain = builder().set_dictionary_enabled(false);
        assert_as_the_library(plain.set_encoding(encoding));
    }
}

#[test]
fn nonsense_is_an_error_or_numbers() {
    let mut noise = noise();
    let mut errors = 0;
    for len in (0..400).flat_map(|len| [len; 50]) {
        let bytes: Vec<u8> = noise
            .by_ref()
            .take(len)
            .map(|n| (n >> (n & 31)) as u8)
            .collect();
        let count = len * 2;
        let delta = |bytes: &[u8]| delta::unpack(&mut Input(bytes), count, |bits| bits);
        // A right beginning leads further in.
        let begun = [
            &[0x80, 1, 4][..],
            &[(count & 0x7f) as u8 | 0x80, (count >> 7) as u8],
            &bytes,
        ];
        let outcomes = [
            delta(&bytes).is_err(),
            delta(&begun.concat()).is_err(),
            runs::of_dictionary(&mut Input(&bytes), &[1u8; 100], count).is_err(),
            runs::of_dictionary(&mut Input(&[&[8][..], &bytes].concat()), &[1u8; 100], count)
                .is_err(),
            runs::of_dictionary(
                &mut Input(&[&[16][..], &bytes].concat()),
                &[1u8; 100],
                count,
            )
            .is_err(),
            levels::take(&mut Input(&bytes), count).is_err(),
            levels::take(
                &mut Input(&[&(len as u32).to_le_bytes()[..], &bytes].concat()),
                count,
            )
            .is_err(),
            joined::<u64>(&bytes, count).is_err(),
        ];
        errors += outcomes.into_iter().filter(|&is_error| is_error).count();
    }
    assert!(errors > 10_000, "{errors}");
}
