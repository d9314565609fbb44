//! What poll-like calls watch and find ready, as a programmer would write it.

use crate::model::ready::{self, Events};

/// The most entries of an array that are shown.
const SHOWN: usize = 16;

/// Bits of events, as `poll` and `epoll` name them behind `POLL` and `EPOLL`.
#[rustfmt::skip]
const EVENTS: [(u32, &str); 13] = [
    (0x1, "IN"), (0x2, "PRI"), (0x4, "OUT"), (0x8, "ERR"), (0x10, "HUP"), (0x20, "NVAL"), (0x40, "RDNORM"),
    (0x80, "RDBAND"), (0x100, "WRNORM"), (0x200, "WRBAND"), (0x400, "MSG"), (0x1000, "REMOVE"), (0x2000, "RDHUP"),
];
const EPOLL_FLAGS: [(u32, &str); 4] = [
    (1 << 28, "EXCLUSIVE"),
    (1 << 29, "WAKEUP"),
    (1 << 30, "ONESHOT"),
    (1 << 31, "ET"),
];

/// An array of `struct pollfd`, as the call left it: `[{fd=3, events=POLLIN, revents=POLLIN}]`.
pub(super) fn poll_fds(data: &[u8], truncated: bool) -> String {
    let entries = ready::poll_fds(data).map(|entry| {
        let [wanted, found] = [entry.wanted, entry.found].map(|events| bits(events, "POLL"));
        match entry.found {
            Events(0) => format!("{{fd={}, events={wanted}}}", entry.fd),
            _ => format!("{{fd={}, events={wanted}, revents={found}}}", entry.fd),
        }
    });
    list(entries, truncated, ", ")
}

/// A `fd_set`: `[3 5]`.
pub(super) fn fd_set(data: &[u8], truncated: bool) -> String {
    list(ready::fd_set(data).map(|fd| fd.to_string()), truncated, " ")
}

/// An array of `struct epoll_event`: `[{events=EPOLLIN, data=0x7}]`.
pub(super) fn epoll_events(data: &[u8], arch: &str, truncated: bool) -> String {
    let events = ready::epoll_events(data, arch);
    list(events.iter().map(epoll), truncated, ", ")
}

/// One `struct epoll_event`: `{events=EPOLLIN|EPOLLET, data=0x7}`.
pub(super) fn epoll_event(data: &[u8], arch: &str) -> String {
    let event = ready::epoll_events(data, arch);
    event.first().map_or_else(|| "{}".into(), epoll)
}

fn epoll(event: &ready::EpollEvent) -> String {
    let events = bits(event.events, "EPOLL");
    format!("{{events={events}, data={:#x}}}", event.data)
}

/// What is there, as far as it is shown.
pub(super) fn list(
    entries: impl Iterator<Item = String>,
    truncated: bool,
    between: &str,
) -> String {
    let mut entries = entries.peekable();
    let mut words: Vec<String> = entries.by_ref().take(SHOWN).collect();
    if truncated || entries.peek().is_some() {
        words.push("...".into());
    }
    format!("[{}]", words.join(between))
}

fn bits(events: Events, prefix: &str) -> String {
    let mut left = events.0;
    let mut words = Vec::new();
    let flags: &[(u32, &str)] = match prefix {
        "EPOLL" => &EPOLL_FLAGS,
        _ => &[],
    };
    for (bit, name) in EVENTS.iter().chain(flags) {
        if left & bit != 0 {
            words.push(format!("{prefix}{name}"));
            left &= !bit;
        }
    }
    if left != 0 || words.is_empty() {
        words.push(match left {
            0 => "0".into(),
            left => format!("{left:#x}"),
        });
    }
    words.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_read_as_they_are_written() {
        let fds = [3, 0, 0, 0, 1, 0, 1, 0, 4, 0, 0, 0, 5, 0, 0, 0];
        assert_eq!(
            poll_fds(&fds, false),
            "[{fd=3, events=POLLIN, revents=POLLIN}, {fd=4, events=POLLIN|POLLOUT}]"
        );
        assert_eq!(
            poll_fds(&fds[..8], true),
            "[{fd=3, events=POLLIN, revents=POLLIN}, ...]"
        );
        assert_eq!(fd_set(&[0b101000], false), "[3 5]");
        assert_eq!(fd_set(&[0xff; 4], false).matches(' ').count(), SHOWN);
        assert_eq!(fd_set(&[], false), "[]");
        let event = [1, 0, 0, 0x80, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            epoll_event(&event, "x86_64"),
            "{events=EPOLLIN|EPOLLET, data=0x7}"
        );
        assert_eq!(
            epoll_events(&event, "x86_64", false),
            "[{events=EPOLLIN|EPOLLET, data=0x7}]"
        );
        assert_eq!(epoll_event(&event[..11], "x86_64"), "{}");
        assert_eq!(
            poll_fds(&[0, 0, 0, 0, 0, 0x90, 0, 0], false),
            "[{fd=0, events=POLLREMOVE|0x8000}]"
        );
    }
}
