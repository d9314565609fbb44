//! Which descriptors ended the polls that threads were blocked in.
//!
//! What `poll`, `select` and `epoll_wait` left in memory was recorded where their thread had blocked (table
//! `arguments`). The first two name descriptors; epoll gives back the program's own mark, which is tied to a
//! descriptor by the `epoll_ctl` that added it, or by what the recorder found watched (table `watches`).
//! Where neither was recorded, the mark is taken for the descriptor if it can be one: most programs have it
//! so. Memory follows these calls.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    context::Context,
    model::{
        catalog::Catalog,
        descriptors::{Descriptor, Descriptors},
        ready::Events,
        slice::{Reason, Slice, State},
    },
};

use told::{Found, Poll, Told, Wanted};
use watched::Watched;

pub use standing::{Standing, standing_at};

mod standing;
mod told;
mod watched;

/// A descriptor that a poll found ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The descriptor; `None` if the capture does not tell which.
    pub fd: Option<i32>,
    /// The open file behind it, if that is known.
    pub file: Option<u32>,
    /// What it was found ready for.
    pub events: Events,
    /// Whether the program's own words say so; else its mark was taken for the descriptor.
    pub certain: bool,
}

impl Ready {
    fn unknown(events: Events) -> Self {
        Self {
            fd: None,
            file: None,
            events,
            certain: true,
        }
    }
}

/// How a poll was ended by descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollEnd {
    /// When the call returned.
    pub end: i64,
    /// The first that it found.
    pub first: Ready,
    /// How many others it found.
    pub others: u64,
}

/// The polls that descriptors ended, by thread and when they were entered.
#[derive(Debug, Default)]
pub struct Polls {
    ended: BTreeMap<(u32, i64), PollEnd>,
}

impl Polls {
    /// Reads the whole capture: what a poll found may have been registered long before.
    pub fn load(context: &Context, catalog: &Catalog) -> Self {
        let told = Told::load(context, catalog, &Wanted::Everything);
        let descriptors = Descriptors::load(context, catalog, asked(&told));
        Self::resolve(told, &descriptors, catalog)
    }

    fn resolve(told: Told, descriptors: &Descriptors<'_>, catalog: &Catalog) -> Self {
        let watched = Watched::new(told.adds, &told.watches, descriptors, catalog);
        let end = |poll: Poll| {
            let first = match poll.found {
                Some(Found::Fd(fd, events)) => Ready {
                    fd: Some(fd),
                    file: descriptors.file(poll.pid, fd, poll.end),
                    events,
                    certain: true,
                },
                Some(Found::Mark(mark, events)) => watched.ready(&poll, mark, events),
                None => Ready::unknown(Events::default()),
            };
            let end = PollEnd {
                end: poll.end,
                first,
                others: poll.count.saturating_sub(1),
            };
            ((poll.tid, poll.ts), end)
        };
        Self {
            ended: told.polls.into_iter().map(end).collect(),
        }
    }

    /// What ended the poll that a slice of a thread is a wait in; `None` if nothing did, or if that is not
    /// recorded.
    pub fn of(&self, tid: u32, slice: &Slice) -> Option<&PollEnd> {
        if slice.state != State::Blocked(Reason::Poll) {
            return None;
        }
        let before = self.ended.range((tid, i64::MIN)..=(tid, slice.end));
        let (_, end) = before.last()?;
        (slice.end <= end.end).then_some(end)
    }
}

/// The descriptors whose files are to be known.
fn asked(told: &Told) -> BTreeSet<Descriptor> {
    let found = told.polls.iter().filter_map(|poll| {
        let fd = match poll.found? {
            Found::Fd(fd, _) => fd,
            Found::Mark(mark, _) => watched::as_descriptor(mark)?,
        };
        Some((poll.pid, fd))
    });
    let added = told.adds.iter().map(|add| (add.pid, add.fd));
    let watches = told.watches.iter();
    let watched = watches.flat_map(|row| [(row.pid, row.epoll_fd), (row.pid, row.fd)]);
    found.chain(added).chain(watched).collect()
}

#[cfg(test)]
mod tests;
