//! What epolls watch, by the program's marks.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::FileKind;

use super::{
    Ready,
    told::{Add, Poll},
};
use crate::model::{catalog::Catalog, descriptors::Descriptors, ready::Events};

/// The descriptor that a mark is, if the program uses its lower half for that.
pub(super) fn as_descriptor(mark: u64) -> Option<i32> {
    i32::try_from(mark as u32).ok()
}

/// A descriptor that an epoll watches.
#[derive(Debug, Clone, Copy)]
struct Watch {
    from: i64,
    until: i64,
    fd: i32,
    file: Option<u32>,
}

/// What epolls watch.
pub(super) struct Watched<'a> {
    descriptors: &'a Descriptors<'a>,
    catalog: &'a Catalog,
    by_mark: BTreeMap<(u32, u64), Vec<Watch>>,
    /// Epolls with a mark that is no descriptor.
    with_other_marks: BTreeSet<u32>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(
        mut adds: Vec<Add>,
        descriptors: &'a Descriptors<'a>,
        catalog: &'a Catalog,
    ) -> Self {
        adds.sort_by_key(|add| add.ts);
        let mut watched = Self {
            descriptors,
            catalog,
            by_mark: BTreeMap::new(),
            with_other_marks: BTreeSet::new(),
        };
        // What is added again was not watched any more.
        let mut next: BTreeMap<(u32, u32, i32), i64> = BTreeMap::new();
        for add in adds.into_iter().rev() {
            let again = next.insert((add.epoll, add.pid, add.fd), add.ts);
            let file = descriptors.file(add.pid, add.fd, add.ts);
            let closed = file.and_then(|id| catalog.files.get(&id)?.close_ts);
            let watch = Watch {
                from: add.ts,
                until: again.into_iter().chain(closed).min().unwrap_or(i64::MAX),
                fd: add.fd,
                file,
            };
            watched
                .by_mark
                .entry((add.epoll, add.mark))
                .or_default()
                .push(watch);
            if as_descriptor(add.mark) != Some(add.fd) {
                watched.with_other_marks.insert(add.epoll);
            }
        }
        watched
    }

    /// The descriptor that a poll has found by its mark.
    pub(super) fn ready(&self, poll: &Poll, mark: u64, events: Events) -> Ready {
        let unknown = Ready::unknown(events);
        let Some(epoll) = poll.file else {
            return unknown;
        };
        let watches = self.by_mark.get(&(epoll, mark));
        let mut then = watches
            .into_iter()
            .flatten()
            .filter(|watch| watch.from <= poll.end && poll.ts < watch.until);
        match (then.next(), then.next()) {
            (Some(watch), None) => Ready {
                fd: Some(watch.fd),
                file: watch.file,
                ..unknown
            },
            // Several have this mark.
            (Some(_), Some(_)) => unknown,
            (None, _) if self.with_other_marks.contains(&epoll) => unknown,
            (None, _) => self.guess(poll, mark, events).unwrap_or(unknown),
        }
    }

    /// The mark as a descriptor, if it is one that can be watched.
    fn guess(&self, poll: &Poll, mark: u64, events: Events) -> Option<Ready> {
        let fd = as_descriptor(mark)?;
        let file = self.descriptors.file(poll.pid, fd, poll.end)?;
        let kind = self.catalog.files.get(&file)?.kind;
        // What a file system has is always ready, and refused.
        let of_file_system = matches!(kind, FileKind::Regular | FileKind::Directory);
        (!of_file_system).then_some(Ready {
            fd: Some(fd),
            file: Some(file),
            events,
            certain: false,
        })
    }
}
