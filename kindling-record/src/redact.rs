//! What is made unreadable before it is written.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use kindling_format::schema::Direction;

/// The arguments of a command line, without what they say.
pub(crate) fn hide_args(argv: &mut [String]) {
    for arg in argv.iter_mut().skip(1) {
        "[redacted]".clone_into(arg);
    }
}

/// Names in place of paths: the same for the same path, by a key that is never written.
#[derive(Debug, Clone, Default)]
pub(crate) struct PathMask {
    key: RandomState,
}

impl PathMask {
    pub(crate) fn hide(&self, path: &[u8]) -> String {
        format!("/redacted/{:016x}", self.key.hash_one(path))
    }

    /// A path in the argument of a call.
    pub(crate) fn hide_argument(&self, path: &mut Vec<u8>) {
        if !path.is_empty() {
            *path = self.hide(path).into_bytes();
        }
    }

    /// A socket address: only those of Unix sockets are paths.
    pub(crate) fn hide_address(&self, address: &mut Vec<u8>) {
        /// `<linux/socket.h>`
        const AF_UNIX: u16 = 1;
        if let Some((family, path)) = address.split_first_chunk()
            && u16::from_ne_bytes(*family) == AF_UNIX
        {
            let name = path.split(|&byte| byte == 0).next().unwrap_or_default();
            let hidden = self.hide(if name.is_empty() { path } else { name });
            *address = [&family[..], hidden.as_bytes()].concat();
        }
    }
}

/// Header fields whose values stay: they say where a message ends, how it is packed and where it
/// goes.
const KEPT: [&str; 11] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "keep-alive",
    "server",
    "transfer-encoding",
    "upgrade",
];
const METHODS: [&str; 9] = [
    "GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "PATCH ", "OPTIONS ", "CONNECT ", "TRACE ",
];

/// Where the bytes of a stream stand that come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a line of a head.
    Line,
    /// In the middle of one, whose value stays or not.
    Within { kept: bool },
}

/// What the bytes of a stream have in common: the file, the direction, and whether they are plaintext
/// of TLS.
type StreamKey = (u32, Direction, bool);

/// Follows the heads of HTTP/1 messages, which may come in pieces.
#[derive(Debug, Default)]
pub(crate) struct HeaderMask {
    heads: HashMap<StreamKey, Place>,
}

impl HeaderMask {
    /// Hides the values in what moved through a stream. `is_cut` says that more was moved.
    pub(crate) fn hide(&mut self, stream: StreamKey, data: &mut [u8], is_cut: bool) {
        let mut place = self.heads.remove(&stream);
        for line in data.split_inclusive_mut(|&byte| byte == b'\n') {
            place = match place {
                None if is_start(line) => {
                    hide_query(line);
                    Some(after(line, false))
                }
                None => None,
                Some(Place::Line) if matches!(&*line, b"\r\n" | b"\n") => None,
                Some(Place::Line) => {
                    let kept = is_kept(line);
                    hide_value(line, kept);
                    Some(after(line, kept))
                }
                Some(Place::Within { kept }) => {
                    if !kept {
                        blank(line);
                    }
                    Some(after(line, kept))
                }
            };
        }
        // Nobody knows where in a head the bytes that were not kept end.
        let place = place.map(|place| match is_cut {
            true => Place::Within { kept: false },
            false => place,
        });
        self.heads.extend(place.map(|place| (stream, place)));
    }
}

fn after(line: &[u8], kept: bool) -> Place {
    match line.last() {
        Some(b'\n') => Place::Line,
        _ => Place::Within { kept },
    }
}

/// Whether an HTTP/1 message begins so.
pub(crate) fn is_start(line: &[u8]) -> bool {
    line.starts_with(b"HTTP/1.")
        || METHODS
            .iter()
            .any(|method| line.starts_with(method.as_bytes()))
}

fn is_kept(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    name.len() < line.len()
        && KEPT
            .iter()
            .any(|kept| name.eq_ignore_ascii_case(kept.as_bytes()))
}

/// A line without colon is hidden as a whole: it may be the beginning of any field.
fn hide_value(line: &mut [u8], kept: bool) {
    if kept {
        return;
    }
    let value = line
        .iter()
        .position(|&byte| byte == b':')
        .map_or(0, |colon| colon + 1);
    blank(line.get_mut(value..).unwrap_or_default());
}

fn hide_query(line: &mut [u8]) {
    let Some(query) = line.iter().position(|&byte| byte == b'?') else {
        return;
    };
    let rest = line.get_mut(query + 1..).unwrap_or_default();
    let end = rest
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(rest.len());
    blank(rest.get_mut(..end).unwrap_or_default());
}

/// Every byte but the line's end and blanks between words.
fn blank(bytes: &mut [u8]) {
    for byte in bytes
        .iter_mut()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b' '))
    {
        *byte = b'x';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expect: &[&str]) {
        let mut mask = HeaderMask::default();
        let hide = |piece: &&str| {
            let mut data = piece.as_bytes().to_vec();
            mask.hide((1, Direction::In, false), &mut data, false);
            String::from_utf8(data).unwrap()
        };
        assert_eq!(pieces.iter().map(hide).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn values_of_headers_are_hidden_but_those_that_frame() {
        check(
            &["GET /a?token=1 HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\n\r\nbody: here\r\n"],
            &["GET /a?xxxxxxx HTTP/1.1\r\nHost: h\r\nCookie: xxx\r\n\r\nbody: here\r\n"],
        );
        check(
            &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: s\r\n\r\nokGET"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: x\r\n\r\nokGET"],
        );
        check(&["*1\r\n$4\r\nPING\r\n"], &["*1\r\n$4\r\nPING\r\n"]);
    }

    #[test]
    fn a_head_in_pieces_is_hidden_as_well() {
        check(
            &[
                "GET / HTTP/1.1\r\nAuthor",
                "ization: Basic abc\r\nContent-Le",
                "ngth: 5\r\n\r\nhello",
            ],
            &[
                "GET / HTTP/1.1\r\nxxxxxx",
                "xxxxxxxx xxxxx xxx\r\nxxxxxxxxxx",
                "xxxxx x\r\n\r\nhello",
            ],
        );
        check(
            &[
                "GET / HTTP/1.1\r\nContent-Length: 1",
                "2\r\nA: b\r\n\r\n",
                "A: b\r\n",
            ],
            &[
                "GET / HTTP/1.1\r\nContent-Length: 1",
                "2\r\nA: x\r\n\r\n",
                "A: b\r\n",
            ],
        );
    }

    #[test]
    fn behind_bytes_that_were_not_kept_the_head_goes_on() {
        let mut mask = HeaderMask::default();
        let mut first = b"GET / HTTP/1.1\r\n".to_vec();
        mask.hide((1, Direction::In, false), &mut first, true);
        let mut second = b"secret\r\nHost: h\r\nX: y\r\n\r\n".to_vec();
        mask.hide((1, Direction::In, false), &mut second, false);
        assert_eq!(second, b"xxxxxx\r\nHost: h\r\nX: x\r\n\r\n");
        // The other direction is another stream, and so is what goes through TLS.
        for stream in [(1, Direction::Out, false), (1, Direction::In, true)] {
            let mut other = b"secret\r\n".to_vec();
            mask.hide(stream, &mut other, false);
            assert_eq!(other, b"secret\r\n");
        }
    }

    #[test]
    fn equal_paths_stay_equal() {
        let mask = PathMask::default();
        assert_eq!(mask.hide(b"/a"), mask.hide(b"/a"));
        assert_ne!(mask.hide(b"/a"), mask.hide(b"/b"));
        let mut unix = [&1u16.to_ne_bytes()[..], b"/run/x\0\0"].concat();
        mask.hide_address(&mut unix);
        assert_eq!(unix.get(2..), Some(mask.hide(b"/run/x").as_bytes()));
        let mut inet = [&2u16.to_ne_bytes()[..], b"\x1f\x90"].concat();
        mask.hide_address(&mut inet);
        assert_eq!(inet.len(), 4);
    }
}
