//! Where a request is, by its id or by being the slowest.

use std::cmp::Reverse;

use crate::{
    analysis::{
        rpc::Wanted,
        rpc_call::{self, CallOrder},
    },
    context::Context,
    model::{catalog::Catalog, connection::Connections},
    selection::Window,
};

/// Which request is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That of an id.
    Id(usize),
    /// The slowest of those that the selection admits.
    Slowest,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub id: usize,
    /// From its start to its end, or to when nobody waited for it any more.
    pub window: Window,
}

/// Finds a request, if it exists, and counts them all.
pub fn locate(context: &Context, catalog: &Catalog, which: Which) -> (Option<Place>, usize) {
    let wanted = Wanted::new(context, catalog);
    let connections = Connections::new(&catalog.files);
    let (mut order, mut ends, mut slowest) = (CallOrder::default(), Vec::new(), None);
    rpc_call::each(context, catalog, &connections, |call| {
        let known_by = order.add(&call);
        ends.push(wanted.described.window(&call).to);
        if which == Which::Slowest && wanted.admits(&call) {
            let slow = (Reverse(wanted.described.latency(&call)), known_by);
            slowest = slowest
                .take()
                .map_or(Some(slow), |other| Some(slow.min(other)));
        }
    });
    order.sort();
    let id = match which {
        Which::Id(id) => Some(id),
        Which::Slowest => slowest.and_then(|(_, known_by)| order.id(&known_by)),
    };
    let place = |id: usize| {
        let (key, arrival) = order.get(id)?;
        let window = Window {
            from: key.start,
            to: *ends.get(*arrival as usize)?,
        };
        Some(Place { id, window })
    };
    (id.and_then(place), order.total())
}
