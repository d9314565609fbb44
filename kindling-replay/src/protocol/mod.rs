//! Wire protocols: bytes of one connection in, requests and responses out.
//!
//! ```text
//! payload rows -> Chunk -> Cutter (one per side) -> Event -> Conversation -> Exchange
//!                            |
//!                          Parser (http, redis)
//! ```
//!
//! A [`Parser`] knows how messages of one protocol are framed and nothing else; the [`Cutter`]
//! gives it contiguous bytes and deals with those that were not recorded; the [`Conversation`]
//! pairs responses with requests in order. Adding a protocol means one module and one line in
//! [`PROTOCOLS`]. Nothing here opens a file, knows a descriptor or panics on any bytes.

mod conversation;
mod cutter;
mod exchange;
mod http;
mod redis;
mod text;

#[cfg(test)]
mod fuzz;

pub use conversation::Conversation;
pub use cutter::{Chunk, Cutter, Event, Mark, Transfer};
pub use exchange::{Doubts, Exchange, Outcome, Span};
pub use text::first_line;

/// The protocols that are tried, in this order.
pub static PROTOCOLS: &[&dyn Protocol] = &[&http::Http, &redis::Redis];

/// The protocol with this name.
pub fn named(name: &str) -> Option<&'static dyn Protocol> {
    PROTOCOLS
        .iter()
        .copied()
        .find(|protocol| protocol.name() == name)
}

/// Which half of a conversation bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

/// A wire protocol.
pub trait Protocol: Sync {
    /// Its name in reports: `http`, `redis`.
    fn name(&self) -> &'static str;
    /// Whether `bytes`, the first that a syscall moved, begin a message of this protocol on `side`.
    fn begins(&self, side: Side, bytes: &[u8]) -> bool;
    /// As [`Protocol::begins`] for requests that are cut or easily mistaken, and so are looked for
    /// at the very beginning of a connection only.
    fn begins_weakly(&self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }
    /// The beginning of a message on one line, printable.
    fn shown(&self, bytes: &[u8], max_chars: usize) -> String {
        first_line(bytes, max_chars)
    }
    /// A parser for one side of one connection.
    fn parser(&self, side: Side) -> Box<dyn Parser>;
}

/// Cuts one side of a connection into messages, a step at a time.
pub trait Parser: Send {
    /// Looks at `bytes`, all that follow what was consumed so far, and says what they are.
    fn step(&mut self, bytes: &[u8], context: &Context<'_>) -> Step;
    /// Forgets the message in progress, because bytes of it are missing. If its head was not
    /// complete, says what can be told from `bytes`, the part of it that is there.
    fn give_up(&mut self, bytes: &[u8]) -> Option<Message>;
    /// Whether the message in progress ends where the connection does.
    fn ends_at_close(&self) -> bool {
        false
    }
}

/// What a parser found.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// More bytes are needed.
    Wait,
    /// That many bytes were understood; go on behind them. Never 0.
    Take(usize),
    /// The head of a message was understood and ends behind that many bytes.
    Head(usize, Message),
    /// That many bytes from here on are content that nobody needs to see.
    Skip(u64),
    /// The message ends here.
    End,
    /// This is not the protocol.
    Invalid,
}

/// What a parser of responses has to know of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The request that the next response answers, if it was seen.
    pub request: Option<&'a Request>,
    /// Whether the server also sends what nobody asked for.
    pub pushes: bool,
}

/// The head of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// The answer to the oldest open request.
    Response(Response),
    /// Something a server sends beside answers: an interim response, a published message.
    Aside,
}

/// What a request asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The operation, with few distinct values: `GET /items`, `HGETALL`, `CONFIG GET`.
    pub endpoint: String,
    /// No response will follow.
    pub one_way: bool,
    /// What it changes in the connection.
    pub effect: Effect,
}

/// What a response says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Response {
    /// The protocol's status code, if it has one.
    pub status: Option<u16>,
    /// Why the request failed; `None` if it did not.
    pub error: Option<String>,
    /// What it changes in the connection.
    pub effect: Effect,
}

/// What a message changes in its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// From here on the server sends messages that answer nothing.
    Pushes,
    /// Behind the answer, both sides speak another protocol.
    Opaque,
}
