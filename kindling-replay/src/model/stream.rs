//! What went through each open file: its bytes in order, cut into requests and responses where they
//! speak a known protocol.
//!
//! Payload rows come segment by segment, and within a segment by file. A row can come a segment late,
//! because the rings of two CPUs are not drained at the same moment; so rows are held for one segment
//! and then released in the order of time. Memory follows the rows that are held, and what is found.
//!
//! What goes through TLS is recorded twice: as plaintext, and encrypted on its way through the socket. Both
//! are followed apart; messages are those of the plaintext, and the traffic is what crossed the socket.

use std::{collections::BTreeMap, mem};

use kindling_format::schema::{Direction, File, FileKind, Payload, Tls};
use rayon::prelude::*;

use crate::{
    context::Context,
    model::{
        catalog::Catalog,
        connection::{Connections, Role},
    },
    protocol::{Chunk, Conversation, Doubts, Exchange, PROTOCOLS, Side, Transfer},
    scan,
    selection::Window,
};

/// What went through one open file.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The file.
    pub file: u32,
    /// The protocol that it speaks, with the side that this file is; `None` if it speaks no known one.
    pub protocol: Option<(&'static str, Role)>,
    /// The requests, in the order that they were sent.
    pub exchanges: Vec<Exchange>,
    /// How much of them is uncertain.
    pub doubts: Doubts,
    /// Whether the offsets count from the connection's first byte.
    pub from_start: bool,
    /// Whether its messages were read from the plaintext of a TLS session.
    pub tls: bool,
    /// What threads received from the file and sent to it, by tid.
    pub traffic: BTreeMap<u32, Traffic>,
}

/// How much one thread moved through a file, and when, within the selected window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The thread's process.
    pub pid: u32,
    /// Bytes received, with those of rows that were lost before one of its own.
    pub in_bytes: u64,
    /// Bytes sent, likewise.
    pub out_bytes: u64,
    /// The first moment that bytes moved.
    pub first: i64,
    /// The last one.
    pub last: i64,
}

/// Reads what went through all files, by file.
pub fn load(context: &Context, catalog: &Catalog, connections: &Connections) -> Vec<Stream> {
    let window = context.selection.window;
    let is_piece = !context.capture.header().recording.is_empty();
    let mut readers: BTreeMap<(u32, bool), Reader> = BTreeMap::new();
    // A row is late by at most one segment: release what is older than the segment before.
    let (mut before, mut latest) = (i64::MIN, i64::MIN);
    scan::segments(
        context,
        "reading payloads",
        |segment| segment.rows::<Payload>().iter().collect::<Vec<_>>(),
        |rows| {
            before = latest;
            latest = rows.iter().map(moment).fold(latest, i64::max);
            for row in rows {
                let is_plaintext = row.tls != Tls::No;
                let new = || {
                    let file = catalog.files.get(&row.file);
                    match is_plaintext {
                        true => Reader::of_plaintext(file, row.file, connections),
                        false => Reader::new(file, row.file, connections, is_piece),
                    }
                };
                let key = (row.file, is_plaintext);
                readers.entry(key).or_insert_with(new).hold(row);
            }
            let released = readers.par_iter_mut();
            context
                .pool
                .install(|| released.for_each(|(_, reader)| reader.release(before, window)));
        },
    );
    let readers: Vec<Reader> = readers.into_values().collect();
    let streams: Vec<Stream> = context.pool.install(|| {
        readers
            .into_par_iter()
            .map(|reader| reader.finish(window))
            .collect()
    });
    let mut by_file: BTreeMap<u32, Stream> = BTreeMap::new();
    for stream in streams {
        let stream = match by_file.remove(&stream.file) {
            // The plaintext comes second.
            Some(encrypted) => Stream {
                traffic: encrypted.traffic,
                ..stream
            },
            None => stream,
        };
        by_file.insert(stream.file, stream);
    }
    by_file.into_values().collect()
}

/// When the bytes of a row crossed the boundary between the process and the kernel: what was sent left
/// when the syscall was entered, what was received was there when it returned.
fn moment(row: &Payload) -> i64 {
    match row.direction {
        Direction::In => row.ts.saturating_add(row.dur),
        Direction::Out => row.ts,
    }
}

/// Puts the bytes of one file in order and finds out what they are.
struct Reader {
    file: u32,
    /// Whether it can carry requests and responses at all.
    conversational: bool,
    is_plaintext: bool,
    role: Option<Role>,
    opened: bool,
    closed: bool,
    held: Vec<Payload>,
    /// Offsets behind the last bytes that were received and sent; `None` where the capture is a
    /// piece of a recording, and nothing was seen yet.
    seen: [Option<u64>; 2],
    traffic: BTreeMap<u32, Traffic>,
    state: Option<(&'static str, Role, bool, Conversation)>,
}

impl Reader {
    fn new(file: Option<&File>, id: u32, connections: &Connections, is_piece: bool) -> Self {
        let kind = file.map(|file| file.kind);
        Self {
            file: id,
            conversational: !matches!(
                kind,
                Some(
                    FileKind::Pipe
                        | FileKind::Tty
                        | FileKind::Regular
                        | FileKind::Udp
                        | FileKind::Netlink
                )
            ),
            is_plaintext: false,
            role: connections.role(id),
            opened: file.is_some_and(|file| file.open_ts.is_some()),
            closed: file.is_some_and(|file| file.close_ts.is_some()),
            held: Vec::new(),
            seen: if is_piece {
                [None, None]
            } else {
                [Some(0), Some(0)]
            },
            traffic: BTreeMap::new(),
            state: None,
        }
    }

    /// Of the plaintext of a TLS session: its rows say whether they count from the first byte.
    fn of_plaintext(file: Option<&File>, id: u32, connections: &Connections) -> Self {
        Self {
            is_plaintext: true,
            opened: false,
            ..Self::new(file, id, connections, true)
        }
    }

    fn hold(&mut self, row: Payload) {
        self.opened |= row.tls == Tls::Whole;
        self.held.push(row);
    }

    /// Takes the held rows up to a moment: those of one direction by offset, both by time.
    fn release(&mut self, until: i64, window: Window) {
        if !self.held.iter().any(|row| moment(row) <= until) {
            return;
        }
        let held = mem::take(&mut self.held);
        let (mut rows, later): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|row| moment(row) <= until);
        self.held = later;
        rows.sort_by_key(|row| (row.offset, moment(row)));
        let (ins, outs): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|row| row.direction == Direction::In);
        let (mut ins, mut outs) = (ins.into_iter().peekable(), outs.into_iter().peekable());
        loop {
            let row = match (ins.peek(), outs.peek()) {
                (Some(a), Some(b)) if moment(a) <= moment(b) => ins.next(),
                (_, Some(_)) => outs.next(),
                (Some(_), None) => ins.next(),
                (None, None) => return,
            };
            row.into_iter().for_each(|row| self.push(row, window));
        }
    }

    fn push(&mut self, row: Payload, window: Window) {
        let direction = row.direction;
        if self.conversational && self.state.is_none() {
            self.detect(&row);
        }
        self.count(&row, window);
        if let Some((_, role, _, conversation)) = &mut self.state {
            let side = match (*role, direction) {
                (Role::Server, Direction::In) | (Role::Client, Direction::Out) => Side::Request,
                _ => Side::Response,
            };
            let transfer = Transfer {
                ts: row.ts,
                dur: row.dur,
                pid: row.pid,
                tid: row.tid,
            };
            let Payload {
                offset, size, data, ..
            } = row;
            conversation.push(
                side,
                Chunk {
                    offset,
                    size,
                    data,
                    transfer,
                },
            );
        }
    }

    /// A protocol is known by a request: who sends it is the client.
    fn detect(&mut self, row: &Payload) {
        let role = match row.direction {
            Direction::In => Role::Server,
            Direction::Out => Role::Client,
        };
        if self.role.is_some_and(|known| known != role) {
            return;
        }
        let is_first = self
            .seen
            .iter()
            .all(|seen| seen.is_none_or(|seen| seen == 0));
        let from_start = self.opened && is_first && row.offset == 0;
        let begins = |protocol: &&&dyn crate::protocol::Protocol| {
            protocol.begins(Side::Request, &row.data)
                || from_start && protocol.begins_weakly(&row.data)
        };
        if let Some(&protocol) = PROTOCOLS.iter().find(begins) {
            let [received, sent] = self.seen;
            let responses = match row.direction {
                _ if from_start => Some(0),
                Direction::In => sent,
                Direction::Out => received,
            };
            let conversation = Conversation::new(protocol, row.offset, responses, from_start);
            self.state = Some((protocol.name(), role, from_start, conversation));
        }
    }

    fn count(&mut self, row: &Payload, window: Window) {
        let [received, sent] = &mut self.seen;
        let seen = match row.direction {
            Direction::In => received,
            Direction::Out => sent,
        };
        let end = row.offset.saturating_add(row.size);
        let before = seen.unwrap_or(row.offset);
        let news = end.saturating_sub(before);
        *seen = Some(end.max(before));
        let moment = moment(row);
        if !window.contains(moment) {
            return;
        }
        let traffic = self.traffic.entry(row.tid).or_insert(Traffic {
            pid: row.pid,
            first: moment,
            ..Traffic::default()
        });
        match row.direction {
            Direction::In => traffic.in_bytes = traffic.in_bytes.saturating_add(news),
            Direction::Out => traffic.out_bytes = traffic.out_bytes.saturating_add(news),
        }
        traffic.last = traffic.last.max(row.ts.saturating_add(row.dur));
    }

    fn finish(mut self, window: Window) -> Stream {
        self.release(i64::MAX, window);
        let (protocol, from_start, (exchanges, doubts)) = match self.state {
            Some((name, role, from_start, conversation)) => (
                Some((name, role)),
                from_start,
                conversation.finish(self.closed),
            ),
            None => (None, self.opened, Default::default()),
        };
        Stream {
            file: self.file,
            protocol,
            exchanges,
            doubts,
            from_start,
            tls: self.is_plaintext,
            traffic: self.traffic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Window = Window {
        from: i64::MIN,
        to: i64::MAX,
    };

    fn row(direction: Direction, ts: i64, offset: u64, data: &str) -> Payload {
        Payload {
            ts,
            dur: 2,
            file: 1,
            direction,
            size: data.len() as u64,
            offset,
            data: data.into(),
            ..Payload::default()
        }
    }

    fn reader() -> Reader {
        let file = File {
            id: 1,
            kind: FileKind::Tcp,
            open_ts: Some(0),
            ..File::default()
        };
        Reader::new(Some(&file), 1, &Connections::default(), false)
    }

    #[test]
    fn rows_that_come_late_find_their_place() {
        let mut reader = reader();
        let (get, ok) = ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
        // The segment that ends here has the answer, the next one the question.
        reader.hold(row(Direction::Out, 20, 0, ok));
        reader.release(i64::MIN, ALL);
        reader.hold(row(Direction::In, 10, 4, &get[4..]));
        reader.hold(row(Direction::In, 5, 0, &get[..4]));
        reader.release(20, ALL);
        let stream = reader.finish(ALL);
        assert_eq!(stream.protocol, Some(("http", Role::Server)));
        let shown: Vec<_> = stream
            .exchanges
            .iter()
            .map(|e| (&*e.endpoint, e.status))
            .collect();
        assert_eq!(shown, [("GET /", Some(204))]);
        let traffic = Traffic {
            pid: 0,
            in_bytes: 18,
            out_bytes: 27,
            first: 7,
            last: 22,
        };
        assert_eq!(stream.traffic, BTreeMap::from([(0, traffic)]));
    }

    #[test]
    fn the_direction_of_the_first_request_tells_the_server() {
        let mut reader = reader();
        reader.hold(row(Direction::Out, 20, 0, "+PONG\r\n"));
        reader.hold(row(Direction::In, 10, 0, "PING\r\n"));
        let stream = reader.finish(ALL);
        assert_eq!(stream.protocol, Some(("redis", Role::Server)));
        assert_eq!(stream.exchanges.len(), 1);
        assert!(stream.from_start);
    }

    /// The plaintext of a session that was joined at `ts` 10, in one request and its answer.
    fn plaintext(tls: Tls) -> Stream {
        let file = File {
            id: 1,
            kind: FileKind::Tcp,
            open_ts: Some(0),
            ..File::default()
        };
        let mut reader = Reader::of_plaintext(Some(&file), 1, &Connections::default());
        let (get, ok) = ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
        for (direction, ts, data) in [(Direction::Out, 10, get), (Direction::In, 20, ok)] {
            reader.hold(Payload {
                tls,
                ..row(direction, ts, 0, data)
            });
        }
        reader.finish(ALL)
    }

    #[test]
    fn plaintext_begins_where_its_session_did() {
        for (tls, from_start) in [(Tls::Whole, true), (Tls::Rest, false)] {
            let stream = plaintext(tls);
            assert_eq!(stream.protocol, Some(("http", Role::Client)));
            assert_eq!((stream.tls, stream.from_start), (true, from_start));
            let exchange = &stream.exchanges[0];
            assert_eq!(
                (exchange.status, exchange.inferred),
                (Some(204), !from_start)
            );
        }
    }
}
