//! What TCP itself had to say of each flow.

use std::collections::BTreeMap;

use kindling_format::schema::{Direction, Tcp, TcpKind};
use serde::Serialize;

use crate::{context::Context, model::catalog::Catalog, scan};

/// What happened to the TCP connections of a flow in the window, at the ends that were recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FlowTcp {
    /// Segments that were sent again.
    pub retransmits: u64,
    /// Connections that were reset. A reset that is seen at both ends counts once.
    pub resets: u64,
    /// The longest smoothed round-trip time, in microseconds; `None` if it was never measured.
    pub srtt_max_us: Option<u32>,
}

impl FlowTcp {
    fn add(&mut self, row: &Tcp, has_peer: bool) {
        self.retransmits += u64::from(row.kind == TcpKind::Retransmit);
        let is_told_elsewhere = row.direction == Direction::In && has_peer;
        self.resets += u64::from(row.kind == TcpKind::Reset && !is_told_elsewhere);
        self.srtt_max_us = self.srtt_max_us.max(row.srtt_us);
    }
}

/// By the number of the flow, from the numbers of the flows that files belong to. `has_peer` says
/// whether the other end of a file's connection was recorded.
pub fn collect(
    context: &Context,
    catalog: &Catalog,
    flow_of: &BTreeMap<u32, usize>,
    has_peer: impl Fn(u32) -> bool + Sync,
) -> BTreeMap<usize, FlowTcp> {
    let window = context.selection.window;
    let file_of = catalog.files_by_cookie();
    let mut flows: BTreeMap<usize, FlowTcp> = BTreeMap::new();
    scan::segments(
        context,
        "reading what happened to sockets",
        |segment| {
            segment
                .rows_within::<Tcp>(window)
                .iter()
                .collect::<Vec<_>>()
        },
        |rows| {
            for row in rows.iter().filter(|row| window.contains(row.ts)) {
                let file = row.file.or_else(|| file_of.get(&row.cookie).copied());
                let Some(file) = file else { continue };
                if let Some(&flow) = flow_of.get(&file) {
                    flows.entry(flow).or_default().add(row, has_peer(file));
                }
            }
        },
    );
    flows
}
