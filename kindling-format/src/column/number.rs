//! Columns of numbers.

use arrow::{
    array::{Array, ArrayRef, PrimitiveArray},
    datatypes::{
        ArrowPrimitiveType, DataType, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};

use super::{Order, Store, Value, View};
use crate::pack::{Column, Scratch, Word};

/// A number of a column, and the width that Parquet has for it.
pub trait Number: Copy + Default {
    #[doc(hidden)]
    type Word: Word;
    #[doc(hidden)]
    fn word(self) -> Self::Word;
    /// The number whose word these bits are; what is beyond its own width is dropped.
    #[doc(hidden)]
    fn of_bits(bits: u64) -> Self;
}

/// Numbers: `u8` to `u64`, `i32` and `i64`.
#[derive(Debug, Default)]
pub struct NumberStore<T> {
    pub(crate) values: Vec<T>,
}

impl<T: Number> Store<T> for NumberStore<T> {
    #[inline]
    fn push(&mut self, value: T) {
        self.values.push(value);
    }

    fn column<'a>(&'a self, order: &Order, scratch: &'a mut Scratch) -> Column<'a> {
        let words = T::Word::scratch(scratch).0;
        order.gather(&self.values, words, T::word);
        Column::whole(T::Word::values(words))
    }

    fn clear(&mut self) {
        self.values.clear();
    }
}

/// Numbers that can be null.
///
/// Columns that have a value in each row, or in none, are told apart from the mixed ones: a row costs
/// no more memory than it has to, which the workload beside the recorder feels in its caches.
#[derive(Debug, Default)]
pub struct OptionalNumberStore<T> {
    rows: usize,
    /// A number for each row; empty if all rows are null.
    values: Vec<T>,
    /// Whether each row has a value; empty if all have, or none has.
    valid: Vec<bool>,
}

impl<T: Number> OptionalNumberStore<T> {
    /// The first null of a column that had a value in each row, or its first value after nulls alone.
    #[cold]
    fn mix(&mut self) {
        self.valid.resize(self.rows, !self.values.is_empty());
        self.values.resize(self.rows, T::default());
    }
}

impl<T: Number> Store<Option<T>> for OptionalNumberStore<T> {
    #[inline]
    fn push(&mut self, value: Option<T>) {
        let is_uniform = match value {
            Some(_) => self.values.len() == self.rows,
            None => self.values.is_empty(),
        };
        if self.valid.is_empty() && !is_uniform {
            self.mix();
        }
        if !self.valid.is_empty() {
            self.valid.push(value.is_some());
            self.values.push(value.unwrap_or_default());
        } else if let Some(value) = value {
            self.values.push(value);
        }
        self.rows += 1;
    }

    fn column<'a>(&'a self, order: &Order, scratch: &'a mut Scratch) -> Column<'a> {
        let (words, bits) = T::Word::scratch(scratch);
        if self.values.is_empty() {
            words.clear();
            return Column::new(self.rows, &[], T::Word::values(words));
        }
        if self.valid.is_empty() {
            order.gather(&self.values, words, T::word);
            return Column::whole(T::Word::values(words));
        }
        words.clear();
        words.resize(self.rows, T::default().word());
        bits.clear();
        // Each row is put where the next valid one belongs, which needs no branch to be guessed.
        let mut len = 0;
        order.some(self.rows, |rows| {
            let mut valid_rows = 0u64;
            for (place, &row) in rows.iter().enumerate() {
                let row = row as usize;
                let valid = self.valid[row];
                valid_rows |= u64::from(valid) << place;
                words[len] = self.values[row].word();
                len += usize::from(valid);
            }
            bits.extend_from_slice(&valid_rows.to_le_bytes()[..rows.len().div_ceil(8)]);
        });
        words.truncate(len);
        Column::new(self.rows, bits, T::Word::values(words))
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.values.clear();
        self.valid.clear();
    }
}

/// A view of a number column, null or not.
#[derive(Debug)]
pub struct NumberView<A: ArrowPrimitiveType>(Option<PrimitiveArray<A>>);

macro_rules! number {
    ($($rust:ty => $word:ty, $arrow:ty;)*) => {$(
        impl Number for $rust {
            type Word = $word;
            #[inline]
            fn word(self) -> $word {
                self as $word
            }
            #[inline]
            fn of_bits(bits: u64) -> Self {
                bits as $rust
            }
        }

        impl Value for $rust {
            type Store = NumberStore<$rust>;
            type View = NumberView<$arrow>;
            const NULLABLE: bool = false;
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
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
    u8 => u32, UInt8Type;
    u16 => u32, UInt16Type;
    u32 => u32, UInt32Type;
    u64 => u64, UInt64Type;
    i32 => u32, Int32Type;
    i64 => u64, Int64Type;
}
