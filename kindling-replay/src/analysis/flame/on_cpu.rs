//! Time on a CPU, by stack samples.

use std::collections::HashMap;

use kindling_format::schema::Sample;
use rayon::prelude::*;

use super::names::{Key, Weight, Weights, add};
use crate::{
    context::Context,
    filter::EventKind,
    model::{
        catalog::Catalog,
        select::{Details, EventSelection},
        stack::{Span, Stacks},
    },
    scan,
};

/// The stacks of samples, with the time that these stand for.
pub(super) fn weights<'a>(
    context: &Context,
    catalog: &'a Catalog,
    stacks: &'a Stacks,
) -> Weights<'a> {
    let selected = EventSelection::new(context, catalog, &[EventKind::Sample]);
    let numbered = catalog.comms();
    let mut counted: Counts<Place> = Counts::default();
    scan::segments(
        context,
        "counting samples",
        |segment| {
            let mut called = Called::new(catalog, &numbered);
            let mut counted: Counts<(Option<u32>, Who)> = Counts::default();
            let rows = selected.rows::<Sample>(segment, EventKind::Sample);
            for row in rows.iter() {
                if selected.admits(row.tid, row.ts, Details::Sample(&row)) {
                    let place = (row.stack, called.at(row.tid, row.ts));
                    add(counted.entry(place).or_default(), (row.period_ns, 1));
                }
            }
            let place = |(stack, who): (Option<u32>, Who)| (stack.map(|id| stacks.span(id)), who);
            let counted = counted.into_iter().map(|(at, weight)| (place(at), weight));
            counted.collect::<Vec<(Place, Weight)>>()
        },
        |some| {
            let sum = |(place, weight)| add(counted.entry(place).or_default(), weight);
            some.into_iter().for_each(sum);
        },
    );
    let key = |(stack, who): Place| Key {
        comm: match who {
            Who::Named(number) => numbered
                .get(number as usize)
                .copied()
                .unwrap_or_default()
                .into(),
            Who::Unnamed(tid) => format!("tid {tid}").into(),
        },
        stack: stack.map(|span| stacks.frames_at(span)),
        leaf: stack.is_none().then(|| "[no stack]".to_owned()),
    };
    context.pool.install(|| {
        let counted = counted.into_par_iter();
        counted
            .map(|(place, weight)| (key(place), weight))
            .collect()
    })
}

/// Where a sample was taken: where the stack's frames are, which is compared sooner than the frames, and what the
/// thread was called by.
type Place = (Option<Span>, Who);

/// What was counted; each sample is looked up in it.
type Counts<K> = HashMap<K, Weight, ahash::RandomState>;

/// What a thread was called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    /// The number of its name.
    Named(u32),
    /// Its tid, where the capture does not have its name.
    Unnamed(u32),
}

/// What threads were called by, asked in the order of threads and time.
struct Called<'a> {
    catalog: &'a Catalog,
    /// All names, in order.
    numbered: &'a [&'a str],
    /// Of which thread the last answer was, and from when until when it holds.
    last: (u32, i64, i64),
    who: Who,
}

impl<'a> Called<'a> {
    fn new(catalog: &'a Catalog, numbered: &'a [&'a str]) -> Self {
        Self {
            catalog,
            numbered,
            last: (0, 0, 0),
            who: Who::Unnamed(0),
        }
    }

    fn at(&mut self, tid: u32, ts: i64) -> Who {
        let (of, from, until) = self.last;
        if of != tid || ts < from || ts >= until {
            let (name, until) = self.catalog.comm_until(tid, ts);
            self.last = (tid, ts, until);
            self.who = match self.numbered.binary_search(&name) {
                Ok(number) if !name.is_empty() => Who::Named(number as u32),
                _ => Who::Unnamed(tid),
            };
        }
        self.who
    }
}
