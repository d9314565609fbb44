//! What the capture says of itself: losses, the recorder's cost, the index.

use super::*;

table! {
    /// Events that did not arrive.
    Loss, LossColumns, LossViews = "losses",
    sort(ts;), span |r| Some((r.ts, r.end_ts)), pid |_r| None,
    {
        /// They were lost after this moment,
        ts: i64, Delta;
        /// and not later than this.
        end_ts: i64, Delta;
        /// On which CPU; null if the loss has none.
        cpu: Option<u16>, Dict;
        /// The table whose rows are missing.
        source: String, Dict;
        /// Why: `ring full`; `program entered again`, when an interrupt came while the recorder's program
        /// for such events was running, and then there are at most so many; …; `max-cpu` or `max-rate` if the recorder left them out because
        /// recording took more than it was allowed to.
        cause: String, Dict;
        /// How many.
        count: u64, Dict;
    }
}

table! {
    /// What the recorder itself cost between two moments.
    Overhead, OverheadColumns, OverheadViews = "overhead",
    sort(ts;), span |r| Some((r.ts, r.ts.saturating_add(r.dur))), pid |_r| None,
    {
        /// The start of the interval.
        ts: i64, Delta;
        /// Its length.
        dur: i64, Split;
        /// CPU time of the recorder's process, user space and kernel.
        cpu_ns: i64, Dict;
        /// Time in the recorder's BPF programs on all CPUs, in a sample of the interval: of the runs
        /// that began while a sample was taken, from start to end, in whatever thread, and with about one
        /// reading of the clock in each. Without the kernel's way into the program, and without the iterator,
        /// which runs in the recorder's own CPU time. Null if no sample ended within the interval.
        bpf_ns: Option<i64>, Dict;
        /// How many runs those were; null likewise.
        bpf_runs: Option<u64>, Dict;
        /// Records taken from the rings.
        records: u64, Dict;
        /// The most bytes that waited in a ring.
        ring_bytes: u64, Dict;
        /// Resident memory of the recorder at the end.
        rss_bytes: u64, Dict;
        /// Bytes written to the capture.
        written_bytes: u64, Dict;
        /// How long the samples lasted that `bpf_ns` and `bpf_runs` are of: `bpf_ns / bpf_sampled_ns` is
        /// the part of one CPU that BPF programs took. Null likewise.
        bpf_sampled_ns: Option<i64>, Dict;
    }
}

table! {
    /// The index: one row per member of a table, in `index.parquet` behind the last segment.
    Index, IndexColumns, IndexViews = "index",
    sort(offset;), span |_r| None, pid |_r| None,
    {
        /// The segment.
        segment: u32, Dict;
        /// The table.
        table: String, Dict;
        /// Rows of the member.
        rows: u64, Dict;
        /// Where the member's local header begins in the file.
        offset: u64, Delta;
        /// The size of the member without its header.
        size_bytes: u64, Dict;
        /// The earliest moment that its rows speak of; null for tables without time.
        min_ts: Option<i64>, Delta;
        /// The latest moment.
        max_ts: Option<i64>, Delta;
        /// The processes that its rows name, rising; empty for tables that name none.
        pids: Vec<u32>, Dict;
    }
}
