//! The Kindling capture file: what it holds and how it is written and read.
//!
//! A capture (`.kndl`) is a ZIP archive with stored members, and each table member is one complete
//! Parquet file, so that any Parquet reader opens it without this crate:
//!
//! ```text
//! ┌──────────────────────────┐
//! │ kindling.json            │  Header: format version, host, clocks, recorder options
//! ├──────────────────────────┤
//! │ 000000/syscalls.parquet  │  segment 0: one member per table that has rows
//! │ 000000/switches.parquet  │
//! ├──────────────────────────┤
//! │ 000001/syscalls.parquet  │  segment 1 …
//! │ …                        │
//! ├──────────────────────────┤
//! │ summary.json             │  Summary: why and when it ended, totals, losses
//! │ index.parquet            │  one row per member above
//! │ ZIP central directory    │
//! └──────────────────────────┘
//! ```
//!
//! The normative description is `docs/FORMAT.md`. This crate knows bytes, tables and versions; it
//! knows nothing of Linux, eBPF or any analysis, and it opens a file in one place only ([`mmap`]).
//!
//! ```
//! use kindling_format::{Capture, CaptureWriter, Header, Summary, schema::{Clock, Table}};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut writer = CaptureWriter::new(Vec::new(), &Header::default())?;
//! let mut rows = Clock::columns();
//! rows.push(Clock { ts: 10, boottime_ns: 12, realtime_ns: 1_700_000_000_000_000_000 });
//! writer.append(0, Clock::encode(rows)?)?;
//! let bytes = writer.finish(&Summary::default())?;
//!
//! let capture = Capture::from_bytes(bytes.into())?;
//! assert_eq!(capture.read::<Clock>(0)?.iter().next().map(|row| row.ts), Some(10));
//! # Ok(()) }
//! ```

pub mod column;
pub mod container;
mod error;
pub mod header;
mod inspect;
pub mod mmap;
mod pack;
mod quiet;
mod reader;
mod salvage;
pub mod schema;
pub mod segment;
pub mod syscalls;
mod unpack;
mod writer;

pub use column::{EnumColumn, Rows};
pub use error::FormatError;
pub use header::{FORMAT, FormatVersion, Header, Summary};
pub use inspect::{Inspection, inspect};
pub use reader::{Capture, Completion, Member};
pub use salvage::{Lost, Salvage, salvage};
pub use segment::{Effort, EncodedMember};
pub use writer::CaptureWriter;
