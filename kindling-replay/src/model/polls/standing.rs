//! What epolls watched at a moment: where a piece of a capture begins, its reader knows no more.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::Watch;

use super::{
    told::{Add, Told, Wanted},
    watched,
};
use crate::{
    context::Context,
    model::{catalog::Catalog, descriptors::Descriptors},
};

/// A descriptor that an epoll watched at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// As the recorder would have found it then.
    pub row: Watch,
    /// The epoll.
    pub epoll: u32,
    /// The open file behind the descriptor; `None` if it is not known.
    pub file: Option<u32>,
}

/// What epolls of these processes watched at a moment, as far as it is known, by process and descriptors.
pub fn standing_at(
    context: &Context,
    catalog: &Catalog,
    pids: &BTreeSet<u32>,
    ts: i64,
) -> Vec<Standing> {
    let told = Told::load(context, catalog, &Wanted::Watching { pids, before: ts });
    let added = told.adds.iter().map(|add| (add.pid, add.epoll_fd, add.fd));
    let found = told.watches.iter();
    let found = found.map(|row| (row.pid, row.epoll_fd, row.fd));
    let named = added.chain(found);
    let asked = named.flat_map(|(pid, epoll, fd)| [(pid, epoll), (pid, fd)]);
    let descriptors = Descriptors::load(context, catalog, asked.collect());
    of(told, &descriptors, ts)
}

/// What was watched at a moment by what was read of the time before it.
pub(super) fn of(told: Told, descriptors: &Descriptors<'_>, ts: i64) -> Vec<Standing> {
    let found = told.watches.iter();
    let found = found.filter_map(|row| watched::was_added(row, descriptors));
    let mut adds: Vec<Add> = found.chain(told.adds).collect();
    adds.sort_by_key(|add| add.ts);
    let mut standing = BTreeMap::new();
    for add in adds {
        let file = |fd, ts| descriptors.file(add.pid, fd, ts);
        let watched = file(add.fd, add.ts);
        let is_still = watched == file(add.fd, ts) && Some(add.epoll) == file(add.epoll_fd, ts);
        let key = (add.pid, add.epoll_fd, add.fd);
        if is_still {
            let row = Watch {
                ts,
                pid: add.pid,
                epoll_fd: add.epoll_fd,
                fd: add.fd,
                events: add.events.0,
                data: add.mark,
            };
            let of_epoll = Standing {
                row,
                epoll: add.epoll,
                file: watched,
            };
            standing.insert(key, of_epoll);
        }
    }
    standing.into_values().collect()
}
