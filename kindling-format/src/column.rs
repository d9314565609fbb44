//! Typed columns: how a Rust value becomes an Arrow array and back.
//!
//! A [`Value`] names two halves: a [`Store`] that collects values while recording (a plain vector, so
//! that appending a row touches only the bytes of that row) and a [`View`] that reads them from a
//! decoded Arrow array. A column that the file does not have reads as the type's default, which is
//! how a newer reader opens an older capture.

use std::{collections::HashMap, hash::Hash, marker::PhantomData, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, ListArray, PrimitiveArray,
        StringArray,
    },
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    datatypes::{
        ArrowPrimitiveType, DataType, Field, Int8Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};

/// A type that a table's column can have.
pub trait Value: Sized {
    /// Collects values of this type.
    type Store: Store<Self>;
    /// Reads values of this type.
    type View: View<Self>;
    /// Whether the column may hold nulls.
    const NULLABLE: bool;
    /// The Arrow type of the column.
    fn data_type() -> DataType;
}

/// The write half of a column.
pub trait Store<T>: Default {
    /// Appends one value.
    fn push(&mut self, value: T);
    /// Turns the values, taken in the given order, into an array.
    fn finish(self, order: &Order) -> ArrayRef;
}

/// The read half of a column.
pub trait View<T>: Sized {
    /// A view of `array`, or `None` if its type is not the column's.
    fn open(array: &ArrayRef) -> Option<Self>;
    /// A view for a column that the file does not have.
    fn absent() -> Self;
    /// The value in `row`; the type's default where the column is absent or the row beyond its end.
    fn get(&self, row: usize) -> T;
}

/// The order in which collected rows are written.
#[derive(Debug)]
pub enum Order {
    /// As they were appended.
    AsIs,
    /// By these row numbers.
    By(Vec<u32>),
}

impl Order {
    /// The order of `rows` rows by rising `key`, of which `group` is the first part; rows of equal
    /// keys stay in the order in which they came.
    ///
    /// The rows of one group (a thread, a CPU) mostly come in the order of time, so putting the
    /// groups one after another mostly sorts them: that takes a tenth of a comparison sort.
    pub(crate) fn of<G: Hash + Ord + Copy, K: Ord>(
        rows: u32,
        group: impl Fn(u32) -> G,
        key: impl Fn(u32) -> K + Copy,
    ) -> Self {
        if (0..rows).is_sorted_by_key(key) {
            return Order::AsIs;
        }
        let mut order = group_rows(rows, group);
        if !order.is_sorted_by_key(|&row| key(row)) {
            // Stable, and quick where most is in order.
            order.sort_by_key(|&row| key(row));
        }
        Order::By(order)
    }

    fn apply<T: Copy>(&self, values: Vec<T>) -> Vec<T> {
        match self {
            Order::AsIs => values,
            Order::By(rows) => rows.iter().map(|&row| values[row as usize]).collect(),
        }
    }

    fn apply_take<T: Default>(&self, mut values: Vec<T>) -> Vec<T> {
        match self {
            Order::AsIs => values,
            Order::By(rows) => rows
                .iter()
                .map(|&row| std::mem::take(&mut values[row as usize]))
                .collect(),
        }
    }
}

/// The rows group by group, in rising order of the groups.
fn group_rows<G: Hash + Ord + Copy>(rows: u32, group: impl Fn(u32) -> G) -> Vec<u32> {
    let mut numbers = HashMap::new();
    let mut sizes: Vec<(G, u32)> = Vec::new();
    let mut last = None;
    let of_row: Vec<u32> = (0..rows)
        .map(|row| {
            let group = group(row);
            let number = match last {
                Some((last_group, number)) if last_group == group => number,
                _ => *numbers.entry(group).or_insert_with(|| {
                    sizes.push((group, 0));
                    sizes.len() - 1
                }),
            };
            last = Some((group, number));
            sizes[number].1 += 1;
            number as u32
        })
        .collect();
    let mut by_group: Vec<usize> = (0..sizes.len()).collect();
    by_group.sort_unstable_by_key(|&number| sizes[number].0);
    let mut next = vec![0; sizes.len()];
    let mut start = 0;
    for number in by_group {
        next[number] = start;
        start += sizes[number].1;
    }
    let mut order = vec![0; rows as usize];
    for (row, number) in of_row.into_iter().enumerate() {
        let place = &mut next[number as usize];
        order[*place as usize] = row as u32;
        *place += 1;
    }
    order
}

/// Numbers: `u8` to `u64`, `i32` and `i64`.
#[derive(Debug)]
pub struct NumberStore<T> {
    pub(crate) values: Vec<T>,
}

impl<T> Default for NumberStore<T> {
    fn default() -> Self {
        Self { values: Vec::new() }
    }
}

/// Numbers that can be null. Kept apart from the validity so that a row costs its own width.
#[derive(Debug)]
pub struct OptionalNumberStore<T> {
    values: Vec<T>,
    valid: Vec<bool>,
}

impl<T> Default for OptionalNumberStore<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            valid: Vec::new(),
        }
    }
}

/// A view of a number column, null or not.
#[derive(Debug)]
pub struct NumberView<A: ArrowPrimitiveType>(Option<PrimitiveArray<A>>);

macro_rules! number {
    ($($rust:ty => $arrow:ty),* $(,)?) => {$(
        impl Value for $rust {
            type Store = NumberStore<$rust>;
            type View = NumberView<$arrow>;
            const NULLABLE: bool = false;
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }
        }

        impl Store<$rust> for NumberStore<$rust> {
            #[inline]
            fn push(&mut self, value: $rust) {
                self.values.push(value);
            }
            fn finish(self, order: &Order) -> ArrayRef {
                Arc::new(PrimitiveArray::<$arrow>::from_iter_values(order.apply(self.values)))
            }
        }

        impl View<$rust> for NumberView<$arrow> {
            fn open(array: &ArrayRef) -> Option<Self> {
                let array = array.as_any().downcast_ref::<PrimitiveArray<$arrow>>()?;
                if array.null_count() == 0 {
                    return Some(Self(Some(array.clone())));
                }
                // Another writer's nulls read as the default, whatever lies under them.
                Some(Self(Some(array.iter().map(|value| Some(value.unwrap_or_default())).collect())))
            }
            fn absent() -> Self {
                Self(None)
            }
            #[inline]
            fn get(&self, row: usize) -> $rust {
                self.0.as_ref().and_then(|a| a.values().get(row).copied()).unwrap_or_default()
            }
        }

        impl Value for Option<$rust> {
            type Store = OptionalNumberStore<$rust>;
            type View = NumberView<$arrow>;
            const NULLABLE: bool = true;
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }
        }

        impl Store<Option<$rust>> for OptionalNumberStore<$rust> {
            #[inline]
            fn push(&mut self, value: Option<$rust>) {
                self.values.push(value.unwrap_or_default());
                self.valid.push(value.is_some());
            }
            fn finish(self, order: &Order) -> ArrayRef {
                let valid = BooleanBuffer::from(order.apply(self.valid));
                let values = order.apply(self.values).into();
                Arc::new(PrimitiveArray::<$arrow>::new(values, Some(NullBuffer::new(valid))))
            }
        }

        impl View<Option<$rust>> for NumberView<$arrow> {
            fn open(array: &ArrayRef) -> Option<Self> {
                array.as_any().downcast_ref::<PrimitiveArray<$arrow>>().cloned().map(|a| Self(Some(a)))
            }
            fn absent() -> Self {
                Self(None)
            }
            #[inline]
            fn get(&self, row: usize) -> Option<$rust> {
                let array = self.0.as_ref()?;
                let value = array.values().get(row).copied()?;
                array.is_valid(row).then_some(value)
            }
        }
    )*};
}

number! {
    u8 => UInt8Type,
    u16 => UInt16Type,
    u32 => UInt32Type,
    u64 => UInt64Type,
    i32 => Int32Type,
    i64 => Int64Type,
}

/// Values that an Arrow array is built from one by one: strings, bytes, lists and booleans.
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
    ($($rust:ty, $nullable:literal, $array:ty, $data_type:expr, $finish:expr, $get:expr;)*) => {$(
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
            fn finish(self, order: &Order) -> ArrayRef {
                let build: fn(Vec<$rust>) -> $array = $finish;
                Arc::new(build(order.apply_take(self.0)))
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
        BooleanArray::from,
        |array, row| array.value(row);
    Option<bool>, true, BooleanArray, DataType::Boolean,
        BooleanArray::from,
        |array, row| array.is_valid(row).then(|| array.value(row));
    String, false, StringArray, DataType::Utf8,
        StringArray::from_iter_values,
        |array, row| array.value(row).to_owned();
    Option<String>, true, StringArray, DataType::Utf8,
        StringArray::from_iter,
        |array, row| array.is_valid(row).then(|| array.value(row).to_owned());
    Vec<u8>, false, BinaryArray, DataType::Binary,
        BinaryArray::from_iter_values,
        |array, row| array.value(row).to_vec();
    Vec<u32>, false, ListArray, list_of(DataType::UInt32),
        |lists| list_array(&lists, PrimitiveArray::<UInt32Type>::from_iter_values(lists.iter().flatten().copied())),
        |array, row| match array.value(row).as_any().downcast_ref::<PrimitiveArray<UInt32Type>>() {
            Some(items) => items.values().to_vec(),
            None => Vec::new(),
        };
    Vec<String>, false, ListArray, list_of(DataType::Utf8),
        |lists| list_array(&lists, StringArray::from_iter_values(lists.iter().flatten())),
        |array, row| match array.value(row).as_any().downcast_ref::<StringArray>() {
            Some(items) => items.iter().map(|item| item.unwrap_or_default().to_owned()).collect(),
            None => Vec::new(),
        };
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(list_item(item)))
}

/// `element` is the name that the Parquet specification gives a list's item.
fn list_item(item: DataType) -> Field {
    Field::new("element", item, false)
}

fn list_array<T>(lists: &[Vec<T>], items: impl Array + 'static) -> ListArray {
    let field = Arc::new(list_item(items.data_type().clone()));
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
    ListArray::new(field, offsets, Arc::new(items), None)
}

/// A closed set of words, written as strings so that the file explains itself.
///
/// A word that this version does not know, from a newer minor version, reads as the default.
pub trait EnumColumn: Copy + Default + 'static {
    /// Each value with its word in the file.
    const WORDS: &'static [(&'static str, Self)];
    /// The value's position in [`EnumColumn::WORDS`].
    fn code(self) -> i8;
    /// The value's word.
    fn word(self) -> &'static str;
}

/// Declares an enum whose values are words in the file.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $crate::column::EnumColumn for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $name::$variant),)*];
            fn code(self) -> i8 {
                self as i8
            }
            fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad($crate::column::EnumColumn::word(*self))
            }
        }

        impl $crate::column::Value for $name {
            type Store = $crate::column::EnumStore<$name>;
            type View = $crate::column::EnumView<$name>;
            const NULLABLE: bool = false;
            fn data_type() -> arrow::datatypes::DataType {
                $crate::column::enum_type()
            }
        }
    };
}
pub(crate) use words;

pub(crate) fn enum_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))
}

/// The write half of an enum column.
#[derive(Debug)]
pub struct EnumStore<T> {
    pub(crate) values: Vec<i8>,
    words: PhantomData<T>,
}

impl<T> Default for EnumStore<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            words: PhantomData,
        }
    }
}

impl<T: EnumColumn> Store<T> for EnumStore<T> {
    fn push(&mut self, value: T) {
        self.values.push(value.code());
    }
    fn finish(self, order: &Order) -> ArrayRef {
        let keys = PrimitiveArray::<Int8Type>::from_iter_values(order.apply(self.values));
        let words = StringArray::from_iter_values(T::WORDS.iter().map(|(word, _)| word));
        // Codes are positions in WORDS by construction, so every key is in range.
        Arc::new(DictionaryArray::new(keys, Arc::new(words)))
    }
}

/// The read half of an enum column.
#[derive(Debug)]
pub struct EnumView<T>(Vec<T>);

impl<T: EnumColumn> View<T> for EnumView<T> {
    fn open(array: &ArrayRef) -> Option<Self> {
        let of = |word: &str| {
            let known = T::WORDS.iter().find(|(known, _)| *known == word);
            known.map_or(T::default(), |(_, value)| *value)
        };
        let words = array.as_any().downcast_ref::<StringArray>()?;
        // Words come in runs: most rows are compared with the row before only.
        let mut last = (None, T::default());
        let values = words.iter().map(|word| {
            if word != last.0 {
                last = (word, word.map_or(T::default(), of));
            }
            last.1
        });
        Some(Self(values.collect()))
    }
    fn absent() -> Self {
        Self(Vec::new())
    }
    fn get(&self, row: usize) -> T {
        self.0.get(row).copied().unwrap_or_default()
    }
}

/// The decoded rows of one member.
pub struct Rows<T: crate::schema::Table> {
    pub(crate) views: T::Views,
    pub(crate) len: usize,
}

impl<T: crate::schema::Table> Rows<T> {
    /// No rows: what a segment without this table reads as.
    pub fn empty() -> Self {
        Self {
            views: T::absent(),
            len: 0,
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row at `index`; a row of defaults beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> T {
        T::row(&self.views, index)
    }

    /// All rows in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        (0..self.len).map(|index| self.get(index))
    }
}

impl<T: crate::schema::Table> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("table", &T::NAME)
            .field("len", &self.len)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_group_then_key_and_stay_stable() {
        let check = |rows: &[(u32, i64)]| {
            let key = |row: u32| rows[row as usize];
            let mut expected: Vec<u32> = (0..rows.len() as u32).collect();
            expected.sort_by_key(|&row| key(row));
            let order = match Order::of(rows.len() as u32, |row| key(row).0, key) {
                Order::AsIs => (0..rows.len() as u32).collect(),
                Order::By(order) => order,
            };
            assert_eq!(order, expected, "{rows:?}");
        };
        check(&[]);
        check(&[(1, 1), (1, 2), (2, 0)]);
        check(&[(7, 1), (3, 2), (7, 3), (3, 4), (5, 9)]);
        check(&[(7, 5), (3, 2), (7, 3), (3, 1), (7, 5), (3, 1)]);
    }
}
