//! Columns of strings, bytes, truth values and lists.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BinaryArray, BooleanArray, ListArray, PrimitiveArray, StringArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, UInt32Type},
};

use super::{Order, Store, Value, View};
use crate::pack::{Bits, Column, Scratch, Values};

/// Values that are kept one by one.
#[derive(Debug)]
pub struct OwnedStore<T>(Vec<T>);

impl<T> Default for OwnedStore<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A view of an array that is read value by value.
#[derive(Debug)]
pub struct ArrayView<A>(Option<A>);

macro_rules! owned {
    ($($rust:ty, $nullable:literal, $array:ty, $data_type:expr, $column:expr, $get:expr;)*) => {$(
        impl Value for $rust {
            type Store = OwnedStore<$rust>;
            type View = ArrayView<$array>;
            const NULLABLE: bool = $nullable;
            fn data_type() -> DataType {
                $data_type
            }
        }

        impl Store<$rust> for OwnedStore<$rust> {
            fn push(&mut self, value: $rust) {
                self.0.push(value);
            }
            fn column<'a>(&'a self, order: &Order, scratch: &'a mut Scratch) -> Column<'a> {
                let column: for<'b> fn(&'b [$rust], &Order, &'b mut Scratch) -> Column<'b> = $column;
                column(&self.0, order, scratch)
            }
            fn clear(&mut self) {
                self.0.clear();
            }
        }

        impl View<$rust> for ArrayView<$array> {
            fn open(array: &ArrayRef) -> Option<Self> {
                array.as_any().downcast_ref::<$array>().cloned().map(|a| Self(Some(a)))
            }
            fn absent() -> Self {
                Self(None)
            }
            fn get(&self, row: usize) -> $rust {
                let get: fn(&$array, usize) -> $rust = $get;
                match &self.0 {
                    Some(array) if row < array.len() => get(array, row),
                    _ => Default::default(),
                }
            }
        }
    )*};
}

owned! {
    bool, false, BooleanArray, DataType::Boolean,
        |values, order, scratch| bits(values, order, scratch, |&value| Some(value)),
        |array, row| array.value(row);
    Option<bool>, true, BooleanArray, DataType::Boolean,
        |values, order, scratch| bits(values, order, scratch, |&value| value),
        |array, row| array.is_valid(row).then(|| array.value(row));
    String, false, StringArray, DataType::Utf8,
        |values, order, scratch| strings(values, order, scratch, |value| Some(value.as_bytes())),
        |array, row| array.value(row).to_owned();
    Option<String>, true, StringArray, DataType::Utf8,
        |values, order, scratch| strings(values, order, scratch, |value| value.as_deref().map(str::as_bytes)),
        |array, row| array.is_valid(row).then(|| array.value(row).to_owned());
    Vec<u32>, false, ListArray, list_of(DataType::UInt32),
        |values, order, _| lists(values, order, |items| {
            PrimitiveArray::<UInt32Type>::from_iter_values(items.copied())
        }),
        |array, row| match array.value(row).as_any().downcast_ref::<PrimitiveArray<UInt32Type>>() {
            Some(items) => items.values().to_vec(),
            None => Vec::new(),
        };
    Vec<String>, false, ListArray, list_of(DataType::Utf8),
        |values, order, _| lists(values, order, |items| StringArray::from_iter_values(items)),
        |array, row| match array.value(row).as_any().downcast_ref::<StringArray>() {
            Some(items) => items.iter().map(|item| item.unwrap_or_default().to_owned()).collect(),
            None => Vec::new(),
        };
}

/// Bytes of all rows one after another: payloads are many, and short.
#[derive(Debug, Default)]
pub struct BytesStore {
    bytes: Vec<u8>,
    /// Where each row's end.
    ends: Vec<usize>,
}

/// Memory that is kept for rows to come.
const KEPT_BYTES: usize = 4 << 20;

impl Value for Vec<u8> {
    type Store = BytesStore;
    type View = ArrayView<BinaryArray>;
    const NULLABLE: bool = false;
    fn data_type() -> DataType {
        DataType::Binary
    }
}

impl Store<Vec<u8>> for BytesStore {
    #[inline]
    fn push(&mut self, value: Vec<u8>) {
        self.bytes.extend_from_slice(&value);
        self.ends.push(self.bytes.len());
    }

    fn column<'a>(&'a self, order: &Order, _: &'a mut Scratch) -> Column<'a> {
        let mut values = Vec::with_capacity(self.ends.len());
        order.each(self.ends.len(), |row| {
            let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
            values.push(&self.bytes[start..self.ends[row]]);
        });
        Column::whole(Values::Bytes(values))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.clear();
    }
}

impl View<Vec<u8>> for ArrayView<BinaryArray> {
    fn open(array: &ArrayRef) -> Option<Self> {
        let array = array.as_any().downcast_ref::<BinaryArray>()?;
        Some(Self(Some(array.clone())))
    }
    fn absent() -> Self {
        Self(None)
    }
    fn get(&self, row: usize) -> Vec<u8> {
        match &self.0 {
            Some(array) if row < array.len() => array.value(row).to_vec(),
            _ => Vec::new(),
        }
    }
}

fn bits<'a, T>(
    rows: &[T],
    order: &Order,
    scratch: &'a mut Scratch,
    value: impl Fn(&T) -> Option<bool>,
) -> Column<'a> {
    let (mut valid, mut bits) = (Bits::new(&mut scratch.valid), Bits::new(&mut scratch.bits));
    order.each(rows.len(), |row| {
        let value = value(&rows[row]);
        valid.push(value.is_some());
        value.into_iter().for_each(|value| bits.push(value));
    });
    let values = Values::Bits(bits.len(), bits.finish());
    Column::new(rows.len(), valid.finish(), values)
}

fn strings<'a, T>(
    rows: &'a [T],
    order: &Order,
    scratch: &'a mut Scratch,
    value: impl Fn(&'a T) -> Option<&'a [u8]>,
) -> Column<'a> {
    let mut valid = Bits::new(&mut scratch.valid);
    let mut values = Vec::with_capacity(rows.len());
    order.each(rows.len(), |row| {
        let value = value(&rows[row]);
        valid.push(value.is_some());
        values.extend(value);
    });
    Column::new(rows.len(), valid.finish(), Values::Bytes(values))
}

fn lists<'a, T, A: Array + 'static>(
    rows: &[Vec<T>],
    order: &Order,
    items: impl FnOnce(std::iter::Flatten<std::vec::IntoIter<&Vec<T>>>) -> A,
) -> Column<'a> {
    let mut lists = Vec::with_capacity(rows.len());
    order.each(rows.len(), |row| lists.push(&rows[row]));
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
    let items = items(lists.into_iter().flatten());
    let field = Arc::new(list_item(items.data_type().clone()));
    let lists = ListArray::new(field, offsets, Arc::new(items), None);
    Column::whole(Values::Lists(Arc::new(lists)))
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(list_item(item)))
}

/// `element` is the name that the Parquet specification gives a list's item.
fn list_item(item: DataType) -> Field {
    Field::new("element", item, false)
}
