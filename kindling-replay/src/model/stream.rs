//! What went through each open file: its bytes in order, cut into requests and responses where they
//! speak a known protocol.
//!
//! Payload rows come segment by segment, and within a segment by file. A row can come a segment late,
//! because the rings of two CPUs are not drained at the same moment; so rows are held for one segment
//! and then released in the order of time. Memory follows the rows that are held, and the requests that are
//! still to be answered.
//!
//! What goes through TLS is recorded twice: as plaintext, and encrypted on its way through the socket. Both
//! are followed apart; messages are those of the plaintext, and the traffic is what crossed the socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

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

/// What went through one open file, but for its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// The file.
    pub file: u32,
    /// What it speaks; `None` if that is no known protocol.
    pub speaks: Option<Speaks>,
    /// How much of its messages is uncertain.
    pub doubts: Doubts,
    /// Whether its messages were read from the plaintext of a TLS session.
    pub tls: bool,
    /// What threads received from the file and sent to it, by tid.
    pub traffic: BTreeMap<u32, Traffic>,
}

/// What an open file speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaks {
    /// The protocol.
    pub protocol: &'static str,
    /// The side that this file is.
    pub role: Role,
    /// Whether the offsets count from the connection's first byte.
    pub from_start: bool,
    /// Whether its messages were read from the plaintext of a TLS session.
    pub tls: bool,
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

/// Reads what went through all files. Gives the requests of each to `found` as soon as they are done with, in
/// the order in which they were sent; nothing is kept of them here. Tells the rest by file.
pub fn read(
    context: &Context,
    catalog: &Catalog,
    connections: &Connections,
    mut found: impl FnMut(u32, Speaks, Vec<Exchange>) + Send,
) -> Vec<Stream> {
    let window = context.selection.window;
    let is_piece = !context.capture.header().recording.is_empty();
    let decrypted = decrypted(context);
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
                        false => Reader {
                            is_encrypted: decrypted.contains(&row.file),
                            ..Reader::new(file, row.file, connections, is_piece)
                        },
                    }
                };
                let key = (row.file, is_plaintext);
                readers.entry(key).or_insert_with(new).hold(row);
            }
            let released = readers.par_iter_mut().filter_map(|(_, reader)| {
                reader.release(before, window);
                reader.take_done()
            });
            let done: Vec<Done> = context.pool.install(|| released.collect());
            for (file, speaks, exchanges) in done {
                found(file, speaks, exchanges);
            }
        },
    );
    let readers: Vec<Reader> = readers.into_values().collect();
    let finished: Vec<(Stream, Vec<Exchange>)> = context.pool.install(|| {
        readers
            .into_par_iter()
            .map(|reader| reader.finish(window))
            .collect()
    });
    let mut by_file: BTreeMap<u32, Stream> = BTreeMap::new();
    for (stream, exchanges) in finished {
        if let Some(speaks) = stream.speaks {
            found(stream.file, speaks, exchanges);
        }
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

/// Requests of a file that are done with.
type Done = (u32, Speaks, Vec<Exchange>);

/// The files of which there is plaintext: what crossed their sockets is not looked into.
fn decrypted(context: &Context) -> BTreeSet<u32> {
    let mut files = BTreeSet::new();
    scan::segments(
        context,
        "looking for plaintext",
        |segment| {
            let rows = segment.columns::<Payload>(Some(&["file", "tls"]));
            let plain = rows.iter().filter(|row| row.tls != Tls::No);
            plain.map(|row| row.file).collect::<BTreeSet<u32>>()
        },
        |some| files.extend(some),
    );
    files
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
    /// Whether its plaintext is followed by another reader.
    is_encrypted: bool,
    role: Option<Role>,
    opened: bool,
    closed: bool,
    held: Vec<Payload>,
    /// Offsets behind the last bytes that were received and sent; `None` where the capture is a
    /// piece of a recording, and nothing was seen yet.
    seen: [Option<u64>; 2],
    traffic: BTreeMap<u32, Traffic>,
    state: Option<(Speaks, Conversation)>,
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
            is_encrypted: false,
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
        if self.conversational && !self.is_encrypted && self.state.is_none() {
            self.detect(&row);
        }
        self.count(&row, window);
        if let Some((speaks, conversation)) = &mut self.state {
            let side = match (speaks.role, direction) {
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
            let speaks = Speaks {
                protocol: protocol.name(),
                role,
                from_start,
                tls: self.is_plaintext,
            };
            self.state = Some((speaks, conversation));
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

    /// Takes the requests with which it is done; `None` if there are none.
    fn take_done(&mut self) -> Option<Done> {
        let (speaks, conversation) = self.state.as_mut()?;
        let exchanges = conversation.take_done();
        (!exchanges.is_empty()).then_some((self.file, *speaks, exchanges))
    }

    /// Ends with the recording; gives the requests that were not taken before.
    fn finish(mut self, window: Window) -> (Stream, Vec<Exchange>) {
        self.release(i64::MAX, window);
        let (speaks, (exchanges, doubts)) = match self.state {
            Some((speaks, conversation)) => (Some(speaks), conversation.finish(self.closed)),
            None => Default::default(),
        };
        let stream = Stream {
            file: self.file,
            speaks,
            doubts,
            tls: self.is_plaintext,
            traffic: self.traffic,
        };
        (stream, exchanges)
    }
}

#[cfg(test)]
mod tests;
