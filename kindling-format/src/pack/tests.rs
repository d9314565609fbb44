//! What is packed here comes back from the Parquet library's own reader.

use arrow::{
    array::{
        BinaryArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, StringArray,
        UInt16Array, UInt32Array, UInt64Array,
    },
    compute::cast,
    datatypes::{Field, Int8Type, Schema},
};
use parquet::{
    arrow::{ArrowSchemaConverter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
};

use super::*;

const ENCODINGS: [TableEncoding; 4] = [
    TableEncoding::Dict,
    TableEncoding::Delta,
    TableEncoding::Split,
    TableEncoding::Plain,
];

fn pack(array: &ArrayRef, encoding: TableEncoding) -> Option<Bytes> {
    let field = Field::new("x", array.data_type().clone(), array.nulls().is_some());
    let schema = Schema::new(vec![field]);
    let descr = ArrowSchemaConverter::new().convert(&schema).unwrap();
    let level = ZstdLevel::try_new(1).unwrap();
    let packed = column(&descr.columns()[0], array, encoding, level).unwrap()?;
    let properties = Arc::new(WriterProperties::default());
    let root = descr.root_schema_ptr();
    let mut file = SerializedFileWriter::new(Vec::new(), root, properties).unwrap();
    let mut group = file.next_row_group().unwrap();
    group.append_column(&packed.bytes, packed.close).unwrap();
    group.close().unwrap();
    Some(file.into_inner().unwrap().into())
}

fn assert_comes_back(array: ArrayRef) {
    for encoding in ENCODINGS {
        let bytes = pack(&array, encoding).expect("it is packed here");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let reader = reader.with_batch_size(array.len().max(1)).build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let came: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(came, array.len(), "{encoding:?}");
        if let Some(batch) = batches.first() {
            let back = cast(batch.column(0), array.data_type()).unwrap();
            assert_eq!(&back, &array, "{encoding:?}");
        }
    }
}

/// Numbers that are neither the same in each run nor random.
fn noise(count: usize, bits: u32) -> impl Iterator<Item = u64> {
    let mut state = 88_172_645_463_325_252u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> (64 - bits)
    })
}

#[test]
fn numbers_come_back() {
    for count in [0, 1, 7, 8, 9, 31, 33, 128, 129, 1000, 70_000] {
        assert_comes_back(Arc::new(UInt64Array::from_iter_values(noise(count, 64))));
        let rising = noise(count, 20).scan(0u64, |sum, step| {
            *sum = sum.wrapping_add(step);
            Some(*sum)
        });
        assert_comes_back(Arc::new(UInt64Array::from_iter_values(rising)));
        let signed = noise(count, 64).map(|value| value as i64);
        assert_comes_back(Arc::new(Int64Array::from_iter_values(signed)));
        let short = noise(count, 32).map(|value| value as u32);
        assert_comes_back(Arc::new(UInt32Array::from_iter_values(short)));
        let negative = noise(count, 32).map(|value| value as i32);
        assert_comes_back(Arc::new(Int32Array::from_iter_values(negative)));
    }
    let extremes = [i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN, 1];
    assert_comes_back(Arc::new(Int64Array::from_iter_values(extremes)));
    let extremes = [i32::MIN, i32::MAX, 0, -1, i32::MAX, i32::MIN, 1];
    assert_comes_back(Arc::new(Int32Array::from_iter_values(extremes)));
}

#[test]
fn dictionaries_of_every_width_and_runs_of_every_length_come_back() {
    for bits in [1, 3, 8, 9, 15, 16, 17] {
        assert_comes_back(Arc::new(UInt64Array::from_iter_values(noise(
            140_000, bits,
        ))));
    }
    for run in [1, 7, 8, 9, 255, 256, 257, 263, 264, 265, 5000] {
        // Runs among others, at every position within eight.
        let mut values = Vec::new();
        for before in 0..20u16 {
            values.extend((0..before).map(|value| value + 1));
            values.extend(std::iter::repeat_n(0, run));
        }
        assert_comes_back(Arc::new(UInt16Array::from(values)));
    }
}

#[test]
fn nulls_come_back() {
    for count in [1, 7, 8, 9, 64, 1000] {
        for keep in [0, 1, 3, 7] {
            let some = |value: u64| (value % 8 < keep).then_some(value);
            assert_comes_back(Arc::new(UInt64Array::from_iter(noise(count, 64).map(some))));
            let words = noise(count, 6).map(|value| some(value).map(|value| format!("w{value}")));
            assert_comes_back(Arc::new(StringArray::from_iter(words)));
        }
    }
    // A slice whose bits begin within a byte.
    let array = UInt64Array::from_iter(noise(100, 64).map(|v| (v % 2 == 0).then_some(v)));
    assert_comes_back(Arc::new(array.slice(5, 61)));
}

#[test]
fn strings_bytes_words_and_bits_come_back() {
    let strings = noise(3000, 7).map(|value| "x".repeat(value as usize));
    assert_comes_back(Arc::new(StringArray::from_iter_values(strings)));
    let bytes = noise(3000, 20).map(|value| value.to_be_bytes());
    assert_comes_back(Arc::new(BinaryArray::from_iter_values(bytes)));
    let words = noise(1000, 2).map(|value| ["in", "out", "", "both"][value as usize]);
    assert_comes_back(Arc::new(words.collect::<DictionaryArray<Int8Type>>()));
    for count in [1, 8, 13, 1000] {
        let bits: Vec<bool> = noise(count, 1).map(|value| value == 1).collect();
        assert_comes_back(Arc::new(BooleanArray::from(bits.clone())));
        assert_comes_back(Arc::new(BooleanArray::from(bits).slice(1, count - 1)));
    }
}

#[test]
fn what_is_not_packed_here_is_left_to_the_library() {
    let some_bits: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None]));
    assert!(pack(&some_bits, TableEncoding::Plain).is_none());
    assert!(Values::of(&some_bits).is_none());
}
