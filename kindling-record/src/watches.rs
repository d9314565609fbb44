//! What epolls watch, from `/proc/PID/fdinfo`: registered before anybody looked.

use std::{fs, path::Path};

use kindling_format::schema::Watch;

/// What the epolls of a process watch.
pub(crate) fn of_process(pid: u32, ts: i64) -> impl Iterator<Item = Watch> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let descriptors = descriptors.into_iter().flatten().flatten();
    let epolls = descriptors.filter(|entry| {
        let target = fs::read_link(entry.path());
        target.is_ok_and(|target| target == Path::new("anon_inode:[eventpoll]"))
    });
    let numbers = epolls.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.flat_map(move |fd| of_epoll(pid, fd, ts))
}

/// What one of them watches; nothing, if the descriptor is no epoll any more.
pub(crate) fn of_epoll(pid: u32, epoll_fd: i32, ts: i64) -> Vec<Watch> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll_fd}"));
    let text = text.unwrap_or_default();
    let watch = |line: &str| {
        let (fd, events, data) = watched(line)?;
        Some(Watch {
            ts,
            pid,
            epoll_fd,
            fd,
            events,
            data,
        })
    };
    text.lines().filter_map(watch).collect()
}

/// The descriptor, the events and the mark of a line such as
/// `tfd:        5 events:       19 data:     7ffd10  pos:0 ino:4e9 sdev:f` (`ep_show_fdinfo` in `fs/eventpoll.c`).
fn watched(line: &str) -> Option<(i32, u32, u64)> {
    let mut words = line.split_whitespace();
    let mut after = |key: &str| words.next().filter(|word| *word == key).and(words.next());
    let fd = after("tfd:")?.parse().ok()?;
    let events = u32::from_str_radix(after("events:")?, 16).ok()?;
    let data = u64::from_str_radix(after("data:")?, 16).ok()?;
    Some((fd, events, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_epolls_are_read() {
        let line = "tfd:        5 events: 80000019 data: ffff00007ffd1010  pos:0 ino:4e9 sdev:f";
        assert_eq!(watched(line), Some((5, 0x8000_0019, 0xffff_0000_7ffd_1010)));
        for line in [
            "",
            "pos:\t0",
            "tfd: 5 events: 19",
            "tfd: x events: 1 data: 1",
            "flags:\t02000002",
        ] {
            assert_eq!(watched(line), None, "{line}");
        }
    }
}
