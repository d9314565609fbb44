//! Who sent bytes into connections whose other end was recorded, and when: what a receiver waited for,
//! also where the wakeup came from an interrupt and names no sender.
//!
//! Memory follows the calls that sent in the window: ask for a short one.

use std::collections::BTreeMap;

use kindling_format::schema::Syscall;

use crate::{
    context::Context,
    model::{catalog::Catalog, connection::Connections},
    scan,
};

/// The calls that send through their first argument.
const SENDING: [&str; 8] = [
    "write", "writev", "pwritev2", "sendto", "sendmsg", "sendmmsg", "sendfile", "vmsplice",
];

/// Calls that sent, by the file of the end that received.
#[derive(Debug, Default)]
pub struct Sends {
    by_receiver: BTreeMap<u32, Vec<(i64, u32)>>,
}

impl Sends {
    /// Reads the calls of the selected window.
    pub fn load(context: &Context, catalog: &Catalog) -> Self {
        let connections = Connections::new(&catalog.files);
        let window = context.selection.window;
        let sends = |nr| {
            let spec = catalog.syscall(nr);
            spec.is_some_and(|spec| SENDING.contains(&spec.name))
        };
        let mut all = Vec::new();
        scan::segments(
            context,
            "reading what was sent",
            |segment| {
                let mut found = Vec::new();
                if !segment.may_speak_of("syscalls", window, None) {
                    return found;
                }
                let columns = ["ts", "tid", "nr", "ret", "file"];
                for row in segment.columns::<Syscall>(Some(&columns)).iter() {
                    let moved = row.ret.is_some_and(|ret| ret > 0) && window.contains(row.ts);
                    let receiver = row
                        .file
                        .filter(|_| moved)
                        .and_then(|id| connections.peer(id));
                    if let Some(receiver) = receiver.filter(|_| sends(row.nr)) {
                        found.push((receiver, row.ts, row.tid));
                    }
                }
                found
            },
            |some| all.extend(some),
        );
        Self::from_calls(all)
    }

    /// The calls by receiving file, moment and sending thread, in any order.
    pub fn from_calls(calls: impl IntoIterator<Item = (u32, i64, u32)>) -> Self {
        let mut by_receiver: BTreeMap<u32, Vec<(i64, u32)>> = BTreeMap::new();
        for (receiver, ts, tid) in calls {
            by_receiver.entry(receiver).or_default().push((ts, tid));
        }
        by_receiver
            .values_mut()
            .for_each(|list| list.sort_unstable());
        Self { by_receiver }
    }

    /// The last call between two moments that sent to a file, with its thread.
    pub fn last(&self, receiver: u32, after: i64, before: i64) -> Option<(i64, u32)> {
        let list = self.by_receiver.get(&receiver)?;
        let end = list.partition_point(|(ts, _)| *ts < before);
        let last = list.get(end.checked_sub(1)?)?;
        (last.0 > after).then_some(*last)
    }
}
