//! Which syscalls threads were in at given moments: what a waker was doing when it woke somebody.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::Syscall;

use crate::{context::Context, model::wait_reason::Call, scan};

/// Moments of threads that are asked for, by tid.
pub type Moments = BTreeMap<u32, BTreeSet<i64>>;

/// The syscalls that threads were in at these moments; one that was in none, or whose call was not
/// recorded, is not there. Memory follows the moments that are asked for.
pub fn calls_at(context: &Context, moments: &Moments) -> BTreeMap<(u32, i64), Call> {
    let mut found = BTreeMap::new();
    let all = moments.values().flatten();
    let (Some(&first), Some(&last)) = (all.clone().min(), all.max()) else {
        return found;
    };
    let window = crate::selection::Window {
        from: first,
        to: last,
    };
    scan::segments(
        context,
        "reading syscalls of wakers",
        |segment| {
            let mut found = Vec::new();
            for row in segment.rows_within::<Syscall>(window).iter() {
                let Some(moments) = moments.get(&row.tid) else {
                    continue;
                };
                let call = Call::new(&row);
                if call.ts <= call.end {
                    let within = moments.range(call.ts..=call.end);
                    found.extend(within.map(|ts| ((row.tid, *ts), call)));
                }
            }
            found
        },
        |some| found.extend(some),
    );
    found
}
