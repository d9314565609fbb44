//! Bytes of one side of a connection, with holes, into messages.
//!
//! Every hole has a known length: a payload row says how many bytes its syscall moved and where in
//! the stream they lie, even when it holds only the first of them, and a row that was lost shows as
//! a jump of the next one's offset. So a hole within content of announced length costs nothing. A hole
//! anywhere else loses the sync: the cutter says so and goes on where a later syscall begins a message.

use std::collections::VecDeque;

use super::{Context, Message, Parser, Protocol, Side, Step};

/// A message whose head is longer than this is not one.
const MAX_PENDING_BYTES: usize = 256 * 1024;

/// The syscall that moved some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfer {
    /// When it was entered: bytes that it sent left no earlier.
    pub ts: i64,
    /// How long it took, in nanoseconds: bytes that it received were there at [`Transfer::end`].
    pub dur: i64,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
}

impl Transfer {
    /// When the syscall returned.
    pub fn end(&self) -> i64 {
        self.ts.saturating_add(self.dur)
    }
}

/// What one syscall moved in one direction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chunk {
    /// Where in the stream the first byte lies.
    pub offset: u64,
    /// How many bytes were moved.
    pub size: u64,
    /// The first of them.
    pub data: Vec<u8>,
    /// The syscall.
    pub transfer: Transfer,
}

/// A place in a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// How many bytes lie before it.
    pub offset: u64,
    /// The syscall that moved the byte behind it (where a message begins) or before it (where it ends).
    pub transfer: Transfer,
}

/// What happens along one side of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A message began at the mark, and its head is known.
    Head(Mark, Message),
    /// The message ended.
    End(Mark),
    /// The end of the message, and any number of messages behind it, were not recorded.
    Broken(Mark),
    /// Any number of messages were not recorded.
    Lost(Mark),
}

/// Cuts one side of a connection into messages.
pub struct Cutter {
    protocol: &'static dyn Protocol,
    side: Side,
    parser: Box<dyn Parser>,
    pieces: VecDeque<Piece>,
    ready: VecDeque<Event>,
    buffer: Vec<u8>,
    /// How many bytes of `buffer` are consumed.
    consumed: usize,
    /// Offset of the next byte to consume.
    position: u64,
    /// Offset behind the last byte that was pushed; `None` if any may be the first.
    pushed: Option<u64>,
    skip: u64,
    /// Where the message in progress began.
    start: Option<Mark>,
    in_message: bool,
    lost: bool,
    transfer: Transfer,
}

enum Piece {
    /// Recorded bytes; whether they are the first of their syscall.
    Bytes(Vec<u8>, bool, Transfer),
    /// Bytes that were not recorded.
    Hole(u64, Transfer),
}

impl Cutter {
    /// A cutter for one side of a connection, from the byte at `offset` on; from the first that is
    /// pushed if that is not known.
    pub fn new(protocol: &'static dyn Protocol, side: Side, offset: Option<u64>) -> Self {
        Self {
            protocol,
            side,
            parser: protocol.parser(side),
            pieces: VecDeque::new(),
            ready: VecDeque::new(),
            buffer: Vec::new(),
            consumed: 0,
            position: offset.unwrap_or(0),
            pushed: offset,
            skip: 0,
            start: None,
            in_message: false,
            lost: false,
            transfer: Transfer::default(),
        }
    }

    /// Whether the cutter waits for a place to go on after a loss.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Adds what a syscall moved. Bytes that lie before the end of earlier ones are ignored.
    pub fn push(&mut self, chunk: Chunk) {
        let Chunk {
            offset,
            size,
            mut data,
            transfer,
        } = chunk;
        data.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let pushed = self.pushed.unwrap_or(offset);
        if self.pushed.is_none() {
            self.position = offset;
        }
        let end = offset.saturating_add(size);
        if end <= pushed {
            return;
        }
        if offset > pushed {
            self.pieces
                .push_back(Piece::Hole(offset - pushed, transfer));
        }
        let overlap = usize::try_from(pushed.saturating_sub(offset)).unwrap_or(usize::MAX);
        data.drain(..overlap.min(data.len()));
        let recorded = data.len() as u64;
        let moved = end - offset.max(pushed);
        if recorded > 0 {
            self.pieces
                .push_back(Piece::Bytes(data, overlap == 0, transfer));
        }
        if moved > recorded {
            self.pieces
                .push_back(Piece::Hole(moved - recorded, transfer));
        }
        self.pushed = Some(end);
    }

    /// The next event, or `None` until more is pushed. While the cutter is lost, `resync` says whether
    /// a message may begin here.
    pub fn next(&mut self, context: &Context<'_>, resync: bool) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if !self.lost && self.advance(context) {
                continue;
            }
            match self.pieces.pop_front()? {
                Piece::Bytes(data, first, transfer) => self.bytes(&data, first, transfer, resync),
                Piece::Hole(size, transfer) => self.hole(size, transfer),
            }
        }
    }

    /// Ends the stream: a message that lasts until the connection closes is complete, and of one whose
    /// head is not, the part that came may still say what it was to be.
    pub fn close(&mut self) -> Option<Event> {
        if self.in_message {
            return self.parser.ends_at_close().then(|| self.end());
        }
        let rest = self.buffer.get(self.consumed..).unwrap_or_default();
        let partial = self.parser.give_up(rest)?;
        Some(Event::Head(self.start?, partial))
    }

    /// Where the stream ends so far.
    pub fn end_of_stream(&self) -> Mark {
        Mark {
            offset: self.pushed.unwrap_or(self.position),
            transfer: self.transfer,
        }
    }

    /// Takes one step with the bytes at hand; whether there was one.
    fn advance(&mut self, context: &Context<'_>) -> bool {
        let at_hand = self.buffer.len() - self.consumed;
        let skipped = self.skip.min(at_hand as u64);
        if skipped > 0 {
            self.skip -= skipped;
            self.consume(usize::try_from(skipped).unwrap_or(at_hand));
        }
        if self.skip > 0 {
            return false;
        }
        let bytes = self.buffer.get(self.consumed..).unwrap_or_default();
        match self.parser.step(bytes, context) {
            Step::Wait if bytes.len() <= MAX_PENDING_BYTES => return false,
            Step::Take(size) if size > 0 && size <= bytes.len() => self.consume(size),
            Step::Head(size, message) if size <= bytes.len() => {
                self.consume(size);
                self.in_message = true;
                let start = self.start.unwrap_or(self.here());
                self.ready.push_back(Event::Head(start, message));
            }
            Step::Skip(size) => self.skip = size,
            Step::End => {
                let event = self.end();
                self.ready.push_back(event);
            }
            Step::Wait | Step::Take(_) | Step::Head(..) | Step::Invalid => self.lose(),
        }
        true
    }

    fn bytes(&mut self, data: &[u8], first: bool, transfer: Transfer, resync: bool) {
        self.transfer = transfer;
        if self.lost {
            if !(resync && first && self.protocol.begins(self.side, data)) {
                self.position += data.len() as u64;
                return;
            }
            self.lost = false;
        }
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        if self.start.is_none() {
            self.start = Some(self.here());
        }
        self.buffer.extend_from_slice(data);
    }

    fn hole(&mut self, size: u64, transfer: Transfer) {
        self.transfer = transfer;
        let skipped = self.skip.min(size);
        self.skip -= skipped;
        if skipped < size && !self.lost {
            self.lose();
        }
        self.position = self.position.saturating_add(size);
    }

    fn consume(&mut self, size: usize) {
        self.consumed += size;
        self.position = self.position.saturating_add(size as u64);
    }

    fn here(&self) -> Mark {
        Mark {
            offset: self.position,
            transfer: self.transfer,
        }
    }

    fn end(&mut self) -> Event {
        self.in_message = false;
        // What is left in the buffer came with the last piece: were the message's end older, it would
        // have been found before that piece was asked for.
        self.start = (self.consumed < self.buffer.len()).then_some(self.here());
        Event::End(self.here())
    }

    fn lose(&mut self) {
        let rest = self.buffer.split_off(self.consumed);
        let partial = self.parser.give_up(&rest).filter(|_| !self.in_message);
        let start = self.start.take().unwrap_or(self.here());
        self.position = self.position.saturating_add(rest.len() as u64);
        let here = self.here();
        let known = self.in_message || partial.is_some();
        self.ready
            .extend(partial.map(|message| Event::Head(start, message)));
        self.ready.push_back(if known {
            Event::Broken(here)
        } else {
            Event::Lost(start)
        });
        self.buffer.clear();
        self.consumed = 0;
        self.skip = 0;
        self.in_message = false;
        self.lost = true;
    }
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter")
            .field("protocol", &self.protocol.name())
            .field("side", &self.side)
            .field("position", &self.position)
            .field("lost", &self.lost)
            .finish()
    }
}
