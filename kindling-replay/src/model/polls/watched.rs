//! What epolls watch, by the program's marks.

use std::collections::{BTreeMap, BTreeSet};

use kindling_format::schema::{FileKind, Watch};

use super::{
    Ready,
    told::{Add, Poll},
};
use crate::model::{catalog::Catalog, descriptors::Descriptors, ready::Events};

/// The descriptor that a mark is, if the program uses its lower half for that.
pub(super) fn as_descriptor(mark: u64) -> Option<i32> {
    i32::try_from(mark as u32).ok()
}

/// What was found watched, as if it had been added then; `None` if it is not known which epoll it was.
pub(super) fn was_added(row: &Watch, descriptors: &Descriptors<'_>) -> Option<Add> {
    Some(Add {
        ts: row.ts,
        pid: row.pid,
        epoll_fd: row.epoll_fd,
        epoll: descriptors.file(row.pid, row.epoll_fd, row.ts)?,
        fd: row.fd,
        events: Events(row.events),
        mark: row.data,
    })
}

/// A descriptor that an epoll watches.
#[derive(Debug, Clone, Copy)]
struct Watching {
    from: i64,
    until: i64,
    fd: i32,
    file: Option<u32>,
}

/// What epolls watch.
pub(super) struct Watched<'a> {
    descriptors: &'a Descriptors<'a>,
    catalog: &'a Catalog,
    by_mark: BTreeMap<(u32, u64), Vec<Watching>>,
    /// Epolls with a mark that is no descriptor.
    with_other_marks: BTreeSet<u32>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(
        mut adds: Vec<Add>,
        found: &[Watch],
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
        // What is added again was not watched any more, or not with that mark.
        let mut added: BTreeMap<(u32, u32, i32), Vec<i64>> = BTreeMap::new();
        for add in &adds {
            let key = (add.epoll, add.pid, add.fd);
            added.entry(key).or_default().push(add.ts);
        }
        let again = |add: &Add| {
            let times = added.get(&(add.epoll, add.pid, add.fd))?;
            times
                .get(times.partition_point(|ts| *ts <= add.ts))
                .copied()
        };
        for add in &adds {
            watched.add(add, add.ts, again(add));
        }
        for add in found.iter().filter_map(|row| was_added(row, descriptors)) {
            // It was there before it was found.
            watched.add(&add, i64::MIN, again(&add));
        }
        watched
    }

    fn add(&mut self, add: &Add, from: i64, again: Option<i64>) {
        let file = self.descriptors.file(add.pid, add.fd, add.ts);
        let known = file.and_then(|id| self.catalog.files.get(&id));
        let opened = known.and_then(|file| file.open_ts);
        let closed = known.and_then(|file| file.close_ts);
        let watching = Watching {
            from: opened.map_or(from, |opened| opened.max(from)),
            until: again.into_iter().chain(closed).min().unwrap_or(i64::MAX),
            fd: add.fd,
            file,
        };
        let with_mark = self.by_mark.entry((add.epoll, add.mark)).or_default();
        with_mark.push(watching);
        if as_descriptor(add.mark) != Some(add.fd) {
            self.with_other_marks.insert(add.epoll);
        }
    }

    /// The descriptor that a poll has found by its mark.
    pub(super) fn ready(&self, poll: &Poll, mark: u64, events: Events) -> Ready {
        let unknown = Ready::unknown(events);
        let Some(epoll) = poll.file else {
            return unknown;
        };
        let watches = self.by_mark.get(&(epoll, mark));
        let then = watches
            .into_iter()
            .flatten()
            .filter(|watch| watch.from <= poll.end && poll.ts < watch.until);
        let then: BTreeSet<(i32, Option<u32>)> = then.map(|watch| (watch.fd, watch.file)).collect();
        let mut then = then.into_iter();
        match (then.next(), then.next()) {
            (Some((fd, file)), None) => Ready {
                fd: Some(fd),
                file,
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
