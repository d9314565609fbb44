//! Bytes per row and column, and CPU time to encode and decode a row, beside plain Arrow IPC with
//! zstd and Parquet with its writer's defaults on the same rows.
//!
//! ```text
//! cargo bench -p kindling-format                                    # made-up rows
//! KINDLING_CAPTURE=web.kndl cargo bench -p kindling-format          # the rows of a capture
//! ```

#![allow(clippy::unwrap_used, unreachable_pub)]

mod rows;

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use arrow::{
    array::RecordBatch,
    compute::{sort_to_indices, take_record_batch},
};
use arrow_ipc::{reader::StreamReader, writer::StreamWriter};
use bytes::Bytes;
use kindling_format::{
    Capture, CaptureWriter, EncodedMember, Header, Summary, for_each_table,
    schema::{self, Table},
    segment::column_sizes,
};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

/// How often a measurement is repeated; the fastest counts.
const ROUNDS: usize = 5;

/// Segments of rows in the order in which a recorder sees them.
type Segments<T> = Vec<Vec<T>>;

fn main() {
    // `cargo test --benches` passes this to a bench that has no harness.
    if std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        return;
    }
    let capture = std::env::var_os("KINDLING_CAPTURE");
    let capture = capture.map(|path| Capture::open(path.as_ref()).unwrap());
    match &capture {
        Some(capture) => println!("rows of a capture of {} bytes\n", capture.size_bytes()),
        None => println!("made-up rows; KINDLING_CAPTURE=FILE takes those of a capture\n"),
    }
    macro_rules! each {
        ($($row:ident),*) => {
            match &capture {
                Some(capture) => {$(report::<schema::$row>(rows::of_capture(capture));)*}
                None => {
                    report::<schema::Syscall>(rows::syscalls());
                    report::<schema::Switch>(rows::switches());
                }
            }
        };
    }
    for_each_table!(each);
}

fn report<T: Table + Clone>(segments: Segments<T>) {
    let count: usize = segments.iter().map(Vec::len).sum();
    if count == 0 {
        return;
    }
    let members: Vec<_> = segments.iter().map(|rows| encode(rows)).collect();
    println!("{}: {count} rows in {} segments", T::NAME, segments.len());
    println!(
        "  {:28} {:>8} {:>10} {:>10}",
        "", "B/row", "encode ns", "decode ns"
    );
    let line = |name: &str, bytes: usize, encode_ns: f64, decode_ns: f64| {
        let [bytes, encode_ns, decode_ns] =
            [bytes as f64, encode_ns, decode_ns].map(|value| value / count as f64);
        println!("  {name:28} {bytes:8.2} {encode_ns:10.1} {decode_ns:10.1}");
    };
    let columns = columns_of::<T>(&members);
    let in_time: Vec<RecordBatch> = members.iter().map(batch).collect();
    measure_ours(&segments, members, &line);
    compare("Arrow IPC, zstd", &in_time, &line, ipc, |bytes| {
        let bytes = zstd::bulk::decompress(bytes, 1 << 30).unwrap();
        let reader = StreamReader::try_new(&bytes[..], None).unwrap();
        reader.for_each(|batch| drop(batch.unwrap()));
    });
    compare(
        "Parquet defaults, zstd 1",
        &in_time,
        &line,
        parquet_defaults,
        |bytes| {
            let bytes = Bytes::copy_from_slice(bytes);
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
            let reader = reader.with_batch_size(1 << 17).build().unwrap();
            reader.for_each(|batch| drop(batch.unwrap()));
        },
    );
    for (name, size) in columns {
        println!("    {name:26} {:8.3}", size as f64 / count as f64);
    }
    println!();
}

fn measure_ours<T: Table + Clone>(
    segments: &Segments<T>,
    members: Vec<EncodedMember>,
    line: &impl Fn(&str, usize, f64, f64),
) {
    let bytes = members.iter().map(|member| member.bytes.len()).sum();
    let encode_ns = fastest(|| {
        segments
            .iter()
            .for_each(|rows| drop(black_box(encode(rows))))
    });
    let push_ns = fastest(|| {
        segments
            .iter()
            .for_each(|rows| drop(black_box(collect(rows))))
    });
    let mut writer = CaptureWriter::new(Vec::new(), &Header::default()).unwrap();
    for (segment, member) in members.into_iter().enumerate() {
        writer.append(segment as u32, member).unwrap();
    }
    let file = writer.finish(&Summary::default()).unwrap();
    let capture = Capture::from_bytes(file.into()).unwrap();
    let decode_ns = fastest(|| {
        for segment in capture.segments() {
            black_box(capture.read::<T>(segment).unwrap());
        }
    });
    let rows_ns = fastest(|| {
        for segment in capture.segments() {
            capture
                .read::<T>(segment)
                .unwrap()
                .iter()
                .for_each(|row| drop(black_box(row)));
        }
    });
    line("this format", bytes, encode_ns - push_ns, decode_ns);
    line("  with each row as a struct", bytes, encode_ns, rows_ns);
}

/// Bytes by column, the largest first.
fn columns_of<T: Table>(members: &[EncodedMember]) -> Vec<(String, u64)> {
    let mut columns = BTreeMap::new();
    for member in members {
        let mut rest = member.bytes.len() as u64;
        for (name, size) in column_sizes(T::NAME, member.bytes.clone().into()).unwrap() {
            rest -= size;
            *columns.entry(name).or_insert(0) += size;
        }
        *columns.entry("(footers)".into()).or_insert(0) += rest;
    }
    let mut columns: Vec<(String, u64)> = columns.into_iter().collect();
    columns.sort_by_key(|&(_, size)| std::cmp::Reverse(size));
    columns
}

fn collect<T: Table + Clone>(rows: &[T]) -> T::Columns {
    let mut columns = T::columns();
    for row in rows {
        T::push(&mut columns, row.clone());
    }
    columns
}

fn encode<T: Table + Clone>(rows: &[T]) -> EncodedMember {
    T::encode(collect(rows)).unwrap()
}

/// The rows of a member as Arrow has them, in the order in which they came, if they have a time.
fn batch(member: &EncodedMember) -> RecordBatch {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(Bytes::from(member.bytes.clone())).unwrap();
    let mut batches = reader.with_batch_size(1 << 20).build().unwrap();
    let batch = batches.next().unwrap().unwrap();
    match batch.column_by_name("ts") {
        Some(ts) => take_record_batch(&batch, &sort_to_indices(ts, None, None).unwrap()).unwrap(),
        None => batch,
    }
}

fn compare(
    name: &str,
    batches: &[RecordBatch],
    line: &impl Fn(&str, usize, f64, f64),
    encode: fn(&RecordBatch) -> Vec<u8>,
    decode: fn(&[u8]),
) {
    let encoded: Vec<Vec<u8>> = batches.iter().map(encode).collect();
    let encode_ns = fastest(|| {
        batches
            .iter()
            .for_each(|batch| drop(black_box(encode(batch))))
    });
    let decode_ns = fastest(|| encoded.iter().for_each(|bytes| decode(bytes)));
    line(
        name,
        encoded.iter().map(Vec::len).sum(),
        encode_ns,
        decode_ns,
    );
}

fn ipc(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    zstd::bulk::compress(&writer.into_inner().unwrap(), 1).unwrap()
}

fn parquet_defaults(batch: &RecordBatch) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
        .build();
    let schema = Arc::clone(batch.schema_ref());
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// Nanoseconds of CPU time of the fastest of some runs.
fn fastest(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = cpu_ns();
        work();
        best = best.min(cpu_ns() - start);
    }
    best
}

fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
