//! Typed columns: how Rust values become a column of a member and back.
//!
//! A [`Value`] names two halves: a [`Store`] that collects values while recording (a plain vector, so
//! that appending a row touches only the bytes of that row) and a [`View`] that reads them from a
//! decoded Arrow array. A column that the file does not have reads as the type's default, which is
//! how a newer reader opens an older capture.

mod number;
mod order;
mod owned;
mod words;

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::DataType,
};

use crate::{
    pack::{Column, Scratch},
    schema::Table,
};
pub(crate) use number::Number;
pub use order::Order;
pub use words::EnumColumn;
pub(crate) use words::{EnumStore, EnumView, enum_type, words};

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
    /// The values, taken in the given order, ready to be packed.
    #[doc(hidden)]
    fn column<'a>(&'a self, order: &Order, scratch: &'a mut Scratch) -> Column<'a>;
    /// Drops the values, and keeps their memory for others.
    fn clear(&mut self);
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

/// The view of one column of a batch; a view of nothing if the batch does not have it.
pub(crate) fn view<V: Value>(batch: &RecordBatch, name: &str) -> Result<V::View, String> {
    let Some(array) = batch.column_by_name(name) else {
        return Ok(V::View::absent());
    };
    V::View::open(array).ok_or_else(|| {
        format!(
            "column {name} has type {}, expected {}",
            array.data_type(),
            V::data_type()
        )
    })
}

/// The decoded rows of one member.
pub struct Rows<T: Table> {
    pub(crate) views: T::Views,
    pub(crate) len: usize,
}

impl<T: Table> Rows<T> {
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

impl<T: Table> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("table", &T::NAME)
            .field("len", &self.len)
            .finish()
    }
}
