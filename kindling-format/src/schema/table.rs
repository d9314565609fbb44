//! The macro that declares a table: its row, the columns that collect it and the views that read it.
//!
//! `sort(a, b; c)` orders its rows by `a`, `b` and `c`, of which `a` and `b` take few values (see
//! [`Order::of`](crate::column::Order::of)).

macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        $row:ident, $columns:ident, $views:ident = $name:literal,
        sort($($group:ident),+; $($key:ident),*), span |$s:ident| $span:expr, pid |$p:ident| $pid:expr,
        { $($(#[doc = $cdoc:literal])* $col:ident: $ty:ty, $encoding:ident;)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
        pub struct $row { $($(#[doc = $cdoc])* pub $col: $ty,)* }

        #[doc = concat!("Collects rows of `", $name, "`.")]
        #[derive(Default)]
        pub struct $columns {
            extent: Extent,
            $($col: <$ty as Value>::Store,)*
        }

        impl $columns {
            /// Appends one row.
            #[inline]
            pub fn push(&mut self, row: $row) {
                self.extent.add(row.span(), row.pid());
                $(self.$col.push(row.$col);)*
            }

            /// What the rows cover so far.
            pub fn extent(&self) -> &Extent {
                &self.extent
            }

            /// The number of rows.
            pub fn len(&self) -> usize {
                self.extent.rows as usize
            }

            /// Whether there are no rows.
            pub fn is_empty(&self) -> bool {
                self.extent.rows == 0
            }
        }

        impl std::fmt::Debug for $columns {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($columns)).field("extent", &self.extent).finish()
            }
        }

        #[doc(hidden)]
        pub struct $views { $($col: <$ty as Value>::View,)* }

        // A column of `wakeups` is called `new`.
        #[allow(clippy::new_ret_no_self)]
        impl Rows<$row> {
            $(
                $(#[doc = $cdoc])*
                ///
                /// Of the row at `index`; the default beyond the end.
                #[inline]
                pub fn $col(&self, index: usize) -> $ty {
                    self.views.$col.get(index)
                }
            )*
        }

        impl Table for $row {
            const NAME: &'static str = $name;
            const SORT: &'static [&'static str] = &[$(stringify!($group),)+ $(stringify!($key)),*];
            const MEANING: &'static [&'static str] = &[$($doc),*];
            type Columns = $columns;
            type Views = $views;

            fn specs() -> Vec<ColumnSpec> {
                vec![$(ColumnSpec {
                    name: stringify!($col),
                    data_type: <$ty as Value>::data_type(),
                    nullable: <$ty as Value>::NULLABLE,
                    encoding: Encoding::$encoding,
                    meaning: sentence(&[$($cdoc),*]),
                },)*]
            }

            #[inline]
            fn push(columns: &mut $columns, row: $row) {
                columns.push(row);
            }

            #[inline]
            fn span(&self) -> Option<(i64, i64)> {
                let $s = self;
                $span
            }

            #[inline]
            fn pid(&self) -> Option<u32> {
                let $p = self;
                $pid
            }

            fn collected(columns: &$columns) -> usize {
                columns.len()
            }

            fn encode_with(
                columns: &mut $columns,
                effort: Effort,
            ) -> Result<EncodedMember, FormatError> {
                let group = |row: u32| ($(columns.$group.values[row as usize],)+);
                let key = |row: u32| (group(row), $(columns.$key.values[row as usize],)*);
                let order = Order::of(columns.extent.rows, group, key);
                let mut member = MemberWriter::new::<$row>(effort)?;
                $(member.column::<$ty>(&columns.$col, &order)?;)*
                let member = member.finish(std::mem::take(&mut columns.extent))?;
                $(columns.$col.clear();)*
                Ok(member)
            }

            fn extent(rows: &Rows<$row>) -> Extent {
                let mut extent = Extent::default();
                for row in rows.iter() {
                    extent.add(row.span(), row.pid());
                }
                extent
            }

            fn first_unsorted(rows: &Rows<$row>) -> Option<usize> {
                let mut keys = rows.iter().map(|row| ($(row.$group,)+ $(row.$key,)*));
                let mut last = keys.next()?;
                let early = keys.position(|key| std::mem::replace(&mut last, key) > last);
                early.map(|position| position + 1)
            }

            fn absent() -> $views {
                $views { $($col: <<$ty as Value>::View as View<$ty>>::absent(),)* }
            }

            fn open(batch: &arrow::array::RecordBatch) -> Result<Rows<$row>, String> {
                Ok(Rows {
                    len: batch.num_rows(),
                    views: $views { $($col: crate::column::view::<$ty>(batch, stringify!($col))?,)* },
                })
            }

            #[inline]
            fn row(views: &$views, index: usize) -> $row {
                $row { $($col: views.$col.get(index),)* }
            }
        }
    };
}
