//! Ring bytes to numbers, with every length checked and no cast of foreign memory.
//!
//! Offsets and widths come from the record types that the skeleton generated from `kindling.h`.

use std::mem::size_of;

use kindling_format::syscalls::COMPAT;

pub(crate) use crate::skeleton::types as layout;

/// As in `kindling.h`; also how many numbers each of both tables has room for.
pub(crate) const KD_COMPAT: u16 = 512;

/// A number that a record can hold.
pub(crate) trait Scalar: Sized {
    /// Reads it from the start of `bytes`; zero beyond the end.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! scalar {
    ($($number:ty),*) => {$(
        impl Scalar for $number {
            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                match bytes.first_chunk() {
                    Some(bytes) => <$number>::from_ne_bytes(*bytes),
                    None => 0,
                }
            }
        }
    )*};
}
scalar!(u8, u16, u32, u64, i32, i64);

/// A record's fixed part with the bytes that follow it.
pub(crate) struct Record<'a, T> {
    fixed: &'a [u8],
    /// What follows the fixed part.
    pub(crate) rest: &'a [u8],
    layout: std::marker::PhantomData<T>,
}

impl<'a, T> Record<'a, T> {
    /// `None` if `bytes` are fewer than the fixed part has.
    #[inline(always)]
    pub(crate) fn split(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(size_of::<T>())?;
        Some(Self {
            fixed,
            rest,
            layout: std::marker::PhantomData,
        })
    }

    /// The number at `offset`; `field` says which type it has there.
    #[inline(always)]
    pub(crate) fn at<F: Scalar>(&self, offset: usize, _field: fn(&T) -> &F) -> F {
        self.fixed
            .get(offset..)
            .map_or_else(|| F::read(&[]), F::read)
    }

    /// `length` bytes at `offset` of the fixed part; none beyond its end.
    pub(crate) fn bytes(&self, offset: usize, length: usize) -> &'a [u8] {
        self.fixed.get(offset..offset + length).unwrap_or_default()
    }
}

/// A field of a [`Record`], by its name in `kindling.h`.
macro_rules! get {
    ($record:expr, $layout:ident, $($field:tt)+) => {
        $record.at(
            std::mem::offset_of!($crate::raw::layout::$layout, $($field)+),
            |layout: &$crate::raw::layout::$layout| &layout.$($field)+,
        )
    };
}
pub(crate) use get;

/// The kinds of records; `enum kd_kind` in `kindling.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Syscall = 1,
    Switch = 2,
    Wakeup = 3,
    Sample = 4,
    Stack = 5,
    Task = 6,
    File = 7,
    Arg = 8,
    Payload = 9,
    Tcp = 10,
    IoUring = 11,
    Cgroup = 12,
    Migration = 13,
    Block = 14,
    Fault = 15,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub(crate) const ALL: [Kind; 15] = [
        Kind::Syscall,
        Kind::Switch,
        Kind::Wakeup,
        Kind::Sample,
        Kind::Stack,
        Kind::Task,
        Kind::File,
        Kind::Arg,
        Kind::Payload,
        Kind::Tcp,
        Kind::IoUring,
        Kind::Cgroup,
        Kind::Migration,
        Kind::Block,
        Kind::Fault,
    ];

    pub(crate) fn of(number: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The table that a lost record of this kind is missing from.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Kind::Syscall => "syscalls",
            Kind::Switch => "switches",
            Kind::Wakeup => "wakeups",
            Kind::Sample => "samples",
            Kind::Stack => "stacks",
            Kind::Task => "threads",
            Kind::File => "files",
            Kind::Arg => "arguments",
            Kind::Payload => "payloads",
            Kind::Tcp => "tcp",
            Kind::IoUring => "io_uring",
            Kind::Cgroup => "processes",
            Kind::Migration => "migrations",
            Kind::Block => "block",
            Kind::Fault => "faults",
        }
    }
}

/// The kind of the record in `bytes`.
#[inline(always)]
pub(crate) fn kind(bytes: &[u8]) -> Option<Kind> {
    let head = Record::<layout::kd_head>::split(bytes)?;
    Kind::of(get!(head, kd_head, kind))
}

/// A syscall's number as the capture has it: the kernel side marks those of 32-bit programs by
/// `KD_COMPAT`.
pub(crate) fn syscall_number(nr: u16) -> u16 {
    match nr & KD_COMPAT {
        0 => nr,
        _ => nr & !KD_COMPAT | COMPAT,
    }
}

/// Numbers that follow a fixed part.
pub(crate) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(size_of::<u64>()).map(u64::read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_have_the_sizes_that_the_kernel_side_reserves() {
        assert_eq!(size_of::<layout::kd_head>(), 16);
        assert_eq!(size_of::<layout::kd_syscall>(), 48);
        assert_eq!(size_of::<layout::kd_calls>(), 24);
        assert_eq!(size_of::<layout::kd_call>(), 32);
        assert_eq!(size_of::<layout::kd_switch>(), 40);
        assert_eq!(size_of::<layout::kd_wakeup>(), 24);
        assert_eq!(size_of::<layout::kd_sample>(), 32);
        assert_eq!(size_of::<layout::kd_payload>(), 56);
        assert_eq!(size_of::<layout::kd_tcp>(), 120);
        assert_eq!(size_of::<layout::kd_uring>(), 56);
    }

    #[test]
    fn numbers_of_32_bit_programs_are_marked() {
        assert_eq!(syscall_number(4), 4);
        assert_eq!(syscall_number(KD_COMPAT | 4), COMPAT | 4);
    }

    #[test]
    fn a_short_record_is_none() {
        assert!(kind(&[0; 15]).is_none());
        assert!(Record::<layout::kd_syscall>::split(&[0; 47]).is_none());
    }

    #[test]
    fn fields_are_read_where_the_layout_has_them() {
        let mut bytes = vec![0; size_of::<layout::kd_syscall>() + 8];
        bytes[14] = Kind::Syscall as u8;
        bytes[8..12].copy_from_slice(&77u32.to_ne_bytes());
        bytes[48..].copy_from_slice(&5u64.to_ne_bytes());
        assert_eq!(kind(&bytes), Some(Kind::Syscall));
        let record = Record::<layout::kd_syscall>::split(&bytes).unwrap();
        assert_eq!(get!(record, kd_syscall, head.tid), 77);
        assert_eq!(numbers(record.rest).collect::<Vec<_>>(), [5]);
    }
}
