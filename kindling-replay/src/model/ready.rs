//! What the arguments of poll-like calls say: which descriptors are watched, and which were found ready.
//!
//! The bytes are the kernel's layouts (`<linux/poll.h>`, `<linux/eventpoll.h>`, `fd_set`) of little-endian
//! machines. What is cut off in the middle of an entry counts as not there.

/// Bits of events: those of `poll` and of `epoll` have the same numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Events(pub u32);

impl Events {
    /// There is something to read.
    pub const IN: Events = Events(0x1);
    /// There is something out of band.
    pub const PRI: Events = Events(0x2);
    /// There is room to write.
    pub const OUT: Events = Events(0x4);

    /// What they say of a descriptor that is ready, by the names of their bits in lower case; what means the
    /// same as another (`POLLRDNORM`) only if it is alone.
    pub fn words(self) -> Vec<&'static str> {
        const MAIN: [(u32, &str); 7] = [
            (0x1, "in"),
            (0x2, "pri"),
            (0x4, "out"),
            (0x8, "err"),
            (0x10, "hup"),
            (0x20, "nval"),
            (0x2000, "rdhup"),
        ];
        const OTHER: [(u32, &str); 5] = [
            (0x40, "rdnorm"),
            (0x80, "rdband"),
            (0x100, "wrnorm"),
            (0x200, "wrband"),
            (0x400, "msg"),
        ];
        let named = |names: &[(u32, &'static str)]| {
            let set = names.iter().filter(|(bit, _)| self.0 & bit != 0);
            set.map(|(_, word)| *word).collect::<Vec<_>>()
        };
        let words = named(&MAIN);
        if words.is_empty() {
            return named(&OTHER);
        }
        words
    }
}

/// A `struct pollfd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollFd {
    /// The descriptor; a negative one is not looked at.
    pub fd: i32,
    /// What is waited for.
    pub wanted: Events,
    /// What was found.
    pub found: Events,
}

/// An array of `struct pollfd`.
pub fn poll_fds(data: &[u8]) -> impl Iterator<Item = PollFd> {
    let (entries, _) = data.as_chunks::<8>();
    entries.iter().map(|&[a, b, c, d, e, f, g, h]| PollFd {
        fd: i32::from_le_bytes([a, b, c, d]),
        wanted: Events(u16::from_le_bytes([e, f]).into()),
        found: Events(u16::from_le_bytes([g, h]).into()),
    })
}

/// The descriptors whose bits are set in a `fd_set`.
pub fn fd_set(data: &[u8]) -> impl Iterator<Item = i32> {
    data.iter().zip(0i32..).flat_map(|(byte, at)| {
        let set = (0..8).filter(move |bit| byte & (1 << bit) != 0);
        set.map(move |bit| at.saturating_mul(8).saturating_add(bit))
    })
}

/// A `struct epoll_event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollEvent {
    /// What is waited for, or was found.
    pub events: Events,
    /// The program's own mark, by which it knows the descriptor.
    pub data: u64,
}

/// An array of `struct epoll_event`, which x86-64 packs and others do not.
pub fn epoll_events(data: &[u8], arch: &str) -> Vec<EpollEvent> {
    let (size, mark) = match arch {
        "x86_64" => (12, 4),
        _ => (16, 8),
    };
    let event = |entry: &[u8]| {
        Some(EpollEvent {
            events: Events(u32::from_le_bytes(*entry.first_chunk()?)),
            data: u64::from_le_bytes(*entry.get(mark..)?.first_chunk()?),
        })
    };
    data.chunks_exact(size).filter_map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_as_the_kernel_lays_them_out() {
        let data = [
            7, 0, 0, 0, 1, 0, 0x11, 0, 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0,
        ];
        let fds: Vec<PollFd> = poll_fds(&data).collect();
        let expect = [(7, 1, 0x11), (-1, 4, 0)].map(|(fd, wanted, found)| PollFd {
            fd,
            wanted: Events(wanted),
            found: Events(found),
        });
        assert_eq!(fds, expect);
        let set: Vec<i32> = fd_set(&[0b1000_0001, 0, 0b10]).collect();
        assert_eq!(set, [0, 7, 17]);
        let event = EpollEvent {
            events: Events::IN,
            data: 9 << 32 | 5,
        };
        let packed = [1, 0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0];
        assert_eq!(epoll_events(&packed, "x86_64"), [event]);
        let padded = [1, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa, 5, 0, 0, 0, 9, 0, 0, 0];
        assert_eq!(epoll_events(&padded, "aarch64"), [event]);
    }

    #[test]
    fn what_is_cut_off_is_not_there() {
        let data = [0xff; 40];
        for len in 0..=data.len() {
            let data = &data[..len];
            assert_eq!(poll_fds(data).count(), len / 8);
            assert_eq!(epoll_events(data, "x86_64").len(), len / 12);
            assert_eq!(epoll_events(data, "aarch64").len(), len / 16);
            assert_eq!(fd_set(data).count(), len * 8);
        }
    }

    #[test]
    fn events_have_the_names_of_their_bits() {
        assert_eq!(Events(0x2011).words(), ["in", "hup", "rdhup"]);
        assert_eq!(Events(0x41).words(), ["in"]);
        assert_eq!(Events(0x40).words(), ["rdnorm"]);
        assert!(Events(0).words().is_empty());
    }
}
