//! Columns of words: closed sets.

use std::marker::PhantomData;

use arrow::{
    array::{ArrayRef, StringArray},
    datatypes::DataType,
};

use super::{Order, Store, View};
use crate::pack::{Column, Scratch, Values};

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

    fn column<'a>(&'a self, order: &Order, scratch: &'a mut Scratch) -> Column<'a> {
        let keys = &mut scratch.words32;
        // Codes are positions in WORDS by construction.
        order.gather(&self.values, keys, |code| code as u32);
        let words = T::WORDS.iter().map(|(word, _)| word.as_bytes());
        Column::whole(Values::Keys(keys, words.collect()))
    }

    fn clear(&mut self) {
        self.values.clear();
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
