//! What stores collect and is packed here comes back from the Parquet library's own reader and views,
//! and from what unpacks it here.

use std::fmt::Debug;

use arrow::{
    array::{Array, ArrayRef},
    compute::cast,
    datatypes::{Field, Schema},
};
use parquet::{
    arrow::{ArrowSchemaConverter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
};

use super::*;
use crate::{
    column::{Order, Store, Value, View},
    schema::FileKind,
    unpack,
};

const ENCODINGS: [TableEncoding; 4] = [
    TableEncoding::Dict,
    TableEncoding::Delta,
    TableEncoding::Split,
    TableEncoding::Plain,
];

/// A Parquet file of one column; `None` if it is not packed here.
fn pack<T: Value>(
    store: &T::Store,
    order: &Order,
    packer: &mut Packer,
    encoding: TableEncoding,
) -> Option<Bytes> {
    let field = Field::new("x", T::data_type(), T::NULLABLE);
    let schema = ArrowSchemaConverter::new().convert(&Schema::new(vec![field]));
    let schema = schema.unwrap();
    let level = ZstdLevel::try_new(1).unwrap();
    let mut scratch = Scratch::default();
    let column = store.column(order, &mut scratch);
    let chunk = packer.pack(&schema.columns()[0], &column, encoding, level);
    let chunk = chunk.unwrap()?;
    let properties = Arc::new(WriterProperties::default());
    let root = schema.root_schema_ptr();
    let mut file = SerializedFileWriter::new(Vec::new(), root, properties).unwrap();
    let mut group = file.next_row_group().unwrap();
    group.append_column(&chunk.bytes, chunk.close).unwrap();
    group.close().unwrap();
    Some(file.into_inner().unwrap().into())
}

/// The column of such a file, as the type that a view expects.
fn unpack<T: Value>(bytes: Bytes) -> Option<ArrayRef> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let mut reader = reader.with_batch_size(1 << 20).build().unwrap();
    let batch = reader.next()?.unwrap();
    assert!(reader.next().is_none());
    let here = unpack::columns(bytes, |_| true).unwrap();
    assert_eq!(here.num_rows(), batch.num_rows());
    match here.column_by_name("x") {
        Some(column) => assert_eq!(column, batch.column(0)),
        None => assert_eq!(batch.column(0).null_count(), batch.num_rows()),
    }
    let wanted = match T::data_type() {
        arrow::datatypes::DataType::Dictionary(_, value) => *value,
        other => other,
    };
    Some(cast(batch.column(0), &wanted).unwrap())
}

/// In the order in which they were collected, and in another one.
fn assert_comes_back<T: Value + Clone + PartialEq + Debug>(values: &[T]) {
    let (mut store, mut packer) = (T::Store::default(), Packer::new());
    values.iter().for_each(|value| store.push(value.clone()));
    let backwards: Vec<u32> = (0..values.len() as u32).rev().collect();
    for encoding in ENCODINGS {
        for order in [Order::AsIs, Order::By(backwards.clone())] {
            let bytes = pack::<T>(&store, &order, &mut packer, encoding);
            let array = unpack::<T>(bytes.expect("it is packed here"));
            let rows = array.as_ref().map_or(0, |array| array.len());
            assert_eq!(rows, values.len(), "{encoding:?}");
            let Some(array) = array else { continue };
            let view = <T::View as View<T>>::open(&array).unwrap();
            for row in 0..rows {
                let from = match order {
                    Order::AsIs => row,
                    Order::By(_) => rows - 1 - row,
                };
                assert_eq!(view.get(row), values[from], "{encoding:?}, row {row}");
            }
        }
    }
    store.clear();
    let empty = pack::<T>(&store, &Order::AsIs, &mut packer, TableEncoding::Plain);
    assert!(unpack::<T>(empty.unwrap()).is_none());
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

fn collected<T>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.collect()
}

#[test]
fn numbers_come_back() {
    for count in [0, 1, 7, 8, 9, 31, 33, 128, 129, 1000, 70_000] {
        assert_comes_back(&collected(noise(count, 64)));
        let rising = noise(count, 20).scan(0u64, |sum, step| {
            *sum = sum.wrapping_add(step);
            Some(*sum)
        });
        assert_comes_back(&collected(rising));
        for bits in [1, 9, 40, 59] {
            // In steps: the differences have zeros below.
            assert_comes_back(&collected(noise(count, bits).map(|value| value << 5)));
            let of_32 = noise(count, bits.min(25));
            assert_comes_back(&collected(of_32.map(|value| (value as u32) << 5)));
        }
        assert_comes_back(&collected(noise(count, 64).map(|value| value as i64)));
        assert_comes_back(&collected(noise(count, 32).map(|value| value as u32)));
        assert_comes_back(&collected(noise(count, 32).map(|value| value as i32)));
        assert_comes_back(&collected(noise(count, 16).map(|value| value as u16)));
        assert_comes_back(&collected(noise(count, 8).map(|value| value as u8)));
    }
    assert_comes_back(&[i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN, 1]);
    assert_comes_back(&[i32::MIN, i32::MAX, 0, -1, i32::MAX, i32::MIN, 1]);
}

#[test]
fn dictionaries_of_every_width_and_runs_of_every_length_come_back() {
    for bits in [1, 3, 8, 9, 15, 16, 17] {
        assert_comes_back(&collected(noise(140_000, bits)));
    }
    for run in [1, 7, 8, 9, 255, 256, 257, 263, 264, 265, 5000] {
        // Runs among others, at every position within eight.
        let mut values = Vec::new();
        for before in 0..20u16 {
            values.extend((0..before).map(|value| value + 1));
            values.extend(std::iter::repeat_n(0, run));
        }
        assert_comes_back(&values);
    }
}

#[test]
fn numbers_are_unpacked_here_too() {
    for encoding in ENCODINGS {
        let mut numbers = <Option<u64> as Value>::Store::default();
        noise(70_000, 14).for_each(|value| numbers.push((value % 3 > 0).then_some(value)));
        let bytes = pack::<Option<u64>>(&numbers, &Order::AsIs, &mut Packer::new(), encoding);
        assert!(unpack::is_all_read_here(bytes.unwrap()), "{encoding:?}");
    }
}

#[test]
fn nulls_come_back() {
    for count in [1, 7, 8, 9, 64, 1000] {
        for keep in [0, 1, 3, 7, 8] {
            let some = |value: u64| (value % 8 < keep).then_some(value);
            assert_comes_back(&collected(noise(count, 64).map(some)));
            let words = noise(count, 6).map(|value| some(value).map(|value| format!("w{value}")));
            assert_comes_back(&collected(words));
            let bits = noise(count, 6).map(|value| some(value).map(|value| value == 1));
            assert_comes_back(&collected(bits));
        }
    }
}

#[test]
fn the_first_value_may_come_late_and_the_first_null_too() {
    for (first, then) in [(None, Some(7u32)), (Some(7), None)] {
        for count in [1, 8, 500] {
            let mut values = vec![first; count];
            assert_comes_back(&values);
            values.push(then);
            assert_comes_back(&values);
            values.extend([first, then, then]);
            assert_comes_back(&values);
        }
    }
}

#[test]
fn strings_bytes_words_and_bits_come_back() {
    let strings = noise(3000, 7).map(|value| "x".repeat(value as usize));
    assert_comes_back(&collected(strings));
    let bytes = noise(3000, 20).map(|value| value.to_be_bytes().to_vec());
    assert_comes_back(&collected(bytes));
    let kinds = [FileKind::Regular, FileKind::Other, FileKind::Directory];
    assert_comes_back(&collected(
        noise(1000, 2).map(|value| kinds[value as usize % 3]),
    ));
    for count in [1, 8, 13, 1000] {
        assert_comes_back(&collected(noise(count, 1).map(|value| value == 1)));
    }
}

#[test]
fn what_is_not_packed_here_is_left_to_the_library() {
    let mut lists = <Vec<u32> as Value>::Store::default();
    lists.push(vec![1, 2]);
    let mut packer = Packer::new();
    let order = Order::AsIs;
    assert!(pack::<Vec<u32>>(&lists, &order, &mut packer, TableEncoding::Plain).is_none());
}

#[test]
fn a_column_of_strings_that_is_too_long_is_an_array_with_its_nulls() {
    let mut strings = <Option<String> as Value>::Store::default();
    for row in 0..1040 {
        strings.push((row % 8 != 0).then(|| "x".repeat(MOST_BYTES / 900)));
    }
    let mut packer = Packer::new();
    let order = Order::AsIs;
    let plain = TableEncoding::Plain;
    assert!(pack::<Option<String>>(&strings, &order, &mut packer, plain).is_none());
    let field = Field::new("x", <Option<String>>::data_type(), true);
    let schema = ArrowSchemaConverter::new().convert(&Schema::new(vec![field]));
    let mut scratch = Scratch::default();
    let column = strings.column(&order, &mut scratch);
    let array = column.to_array(&schema.unwrap().columns()[0]).unwrap();
    assert_eq!((array.len(), array.null_count()), (1040, 130));
    type StringView = <Option<String> as Value>::View;
    let view = <StringView as View<Option<String>>>::open(&array).unwrap();
    let (first, last): (Option<String>, Option<String>) = (view.get(0), view.get(1039));
    assert_eq!(first, None);
    assert_eq!(last.unwrap().len(), MOST_BYTES / 900);
}
