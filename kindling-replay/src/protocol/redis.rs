//! Redis: RESP2 and RESP3, pipelining, inline commands, published messages and MONITOR.

use super::{Context, Effect, Message, Parser, Protocol, Request, Response, Side, Step, text};

/// A line (a header, a simple string, an inline command) longer than this is not one.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// A command's name, or that of its subcommand, is not longer than this.
const MAX_NAME_BYTES: u64 = 64;
/// Replies nested deeper than this are not followed.
const MAX_DEPTH: usize = 32;

/// Commands whose first argument says what they do.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY",
    "MODULE", "OBJECT", "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
];

/// Commands that people and health checks type without RESP.
const INLINE: &[&str] = &[
    "PING", "INFO", "GET", "SET", "AUTH", "QUIT", "ECHO", "SELECT",
];

/// The kinds of what a server sends to subscribers, and of its answers to (un)subscribing, of which
/// there is one per channel: the first answers the command.
const PUSHED: &[&[u8]] = &[b"message", b"pmessage", b"smessage"];

/// The Redis serialization protocol.
#[derive(Debug)]
pub(super) struct Redis;

impl Protocol for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn begins(&self, side: Side, bytes: &[u8]) -> bool {
        match (side, bytes.first()) {
            (Side::Request, Some(b'*')) => {
                let Some((count, taken)) = header(bytes) else {
                    return false;
                };
                let Some(argument) = bytes.get(taken..) else {
                    return false;
                };
                let length = header(argument).filter(|_| argument.starts_with(b"$"));
                count >= 1 && length.is_some_and(|(length, _)| (1..=64).contains(&length))
            }
            (Side::Request, _) => false,
            (Side::Response, Some(b'+' | b'-')) => text::line(bytes).is_some(),
            (Side::Response, Some(b'_' | b'#' | b',' | b'(')) => text::line(bytes).is_some(),
            (
                Side::Response,
                Some(b':' | b'$' | b'*' | b'%' | b'~' | b'>' | b'=' | b'!' | b'|'),
            ) => header(bytes).is_some(),
            (Side::Response, _) => false,
        }
    }

    fn begins_weakly(&self, bytes: &[u8]) -> bool {
        if bytes.starts_with(b"*") {
            return match parsed_header(bytes) {
                Header::Of(count, taken) => count >= 1 && bytes.len() == taken,
                Header::Cut => bytes
                    .iter()
                    .skip(1)
                    .all(|byte| byte.is_ascii_digit() || *byte == b'\r'),
                Header::Wrong => false,
            };
        }
        text::line(bytes).is_some_and(|(line, _)| {
            let name = line.split(|&byte| byte == b' ').next().unwrap_or_default();
            INLINE
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        })
    }

    /// The words of a message without their lengths: `SET key value`.
    fn shown(&self, bytes: &[u8], max_chars: usize) -> String {
        let lines = bytes
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let is_length = |line: &&[u8]| {
            let digits = line.get(1..).unwrap_or_default();
            matches!(line.first(), Some(b'*' | b'$' | b'%' | b'~' | b'>'))
                && digits
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || *byte == b'-')
        };
        let words: Vec<&[u8]> = lines
            .filter(|line| !line.is_empty() && !is_length(line))
            .collect();
        match words.is_empty() {
            true => text::first_line(bytes, max_chars),
            false => text::first_line(&words.join(&b' '), max_chars),
        }
    }

    fn parser(&self, side: Side) -> Box<dyn Parser> {
        match side {
            Side::Request => Box::new(Commands::default()),
            Side::Response => Box::new(Replies::default()),
        }
    }
}

/// Requests: arrays of bulk strings, or a line of words.
#[derive(Default)]
struct Commands {
    /// The name, and the subcommand where it matters.
    words: Vec<String>,
    /// Arguments to come, the name included; `None` between commands.
    open: Option<u64>,
    /// The head was handed out.
    named: bool,
    replies: ReplyMode,
}

/// What `CLIENT REPLY` asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum ReplyMode {
    #[default]
    On,
    Off,
    /// Not for `CLIENT REPLY SKIP` itself nor for the command behind it.
    Skip,
}

impl Parser for Commands {
    fn step(&mut self, bytes: &[u8], _: &Context<'_>) -> Step {
        match self.open {
            None if bytes.is_empty() => Step::Wait,
            None if bytes.starts_with(b"*") => match parsed_header(bytes) {
                Header::Of(count @ 1.., taken) => {
                    self.open = Some(count.unsigned_abs());
                    Step::Take(taken)
                }
                Header::Of(_, taken) => Step::Take(taken),
                Header::Cut => Step::Wait,
                Header::Wrong => Step::Invalid,
            },
            None => self.inline(bytes),
            Some(left) if !self.named && (left == 0 || self.is_named()) => self.head(0),
            Some(0) => {
                self.reset();
                Step::End
            }
            Some(_) => self.argument(bytes),
        }
    }

    fn give_up(&mut self, _: &[u8]) -> Option<Message> {
        let known = (!self.words.is_empty()).then(|| self.request());
        self.reset();
        known.map(Message::Request)
    }
}

impl Commands {
    fn argument(&mut self, bytes: &[u8]) -> Step {
        let (length, taken) = match parsed_header(bytes) {
            Header::Of(length @ 0.., taken) if bytes.starts_with(b"$") => {
                (length.unsigned_abs(), taken)
            }
            Header::Cut if bytes.is_empty() || bytes.starts_with(b"$") => return Step::Wait,
            _ => return Step::Invalid,
        };
        let left = self.open.unwrap_or(1);
        let size = length.saturating_add(taken as u64 + 2);
        if self.named || length > MAX_NAME_BYTES {
            if self.words.is_empty() {
                return Step::Invalid;
            }
            if !self.named {
                return self.head(0);
            }
            self.open = Some(left - 1);
            // Header, argument and CRLF in one go: the CRLF may not be recorded.
            return Step::Skip(size);
        }
        let end = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(word) = bytes
            .get(taken..end.saturating_sub(2))
            .filter(|_| bytes.len() >= end)
        else {
            return Step::Wait;
        };
        if self.words.is_empty() && !is_name(word) {
            return Step::Invalid;
        }
        self.words.push(text::field(&word.to_ascii_uppercase()));
        self.open = Some(left - 1);
        Step::Take(end)
    }

    fn inline(&mut self, bytes: &[u8]) -> Step {
        let Some((line, taken)) = text::line(bytes) else {
            return if bytes.len() > MAX_LINE_BYTES {
                Step::Invalid
            } else {
                Step::Wait
            };
        };
        let mut words = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty());
        let Some(name) = words.next() else {
            return Step::Take(taken);
        };
        if !is_name(name) {
            return Step::Invalid;
        }
        self.words = vec![text::field(&name.to_ascii_uppercase())];
        for word in words {
            if self.is_named() {
                break;
            }
            self.words.push(text::field(&word.to_ascii_uppercase()));
        }
        self.open = Some(0);
        self.head(taken)
    }

    /// Whether enough words are known to say what the command is.
    fn is_named(&self) -> bool {
        match self.words.as_slice() {
            [] => false,
            [name] => !CONTAINERS.contains(&name.as_str()),
            [client, reply] => client != "CLIENT" || reply != "REPLY",
            _ => true,
        }
    }

    fn head(&mut self, taken: usize) -> Step {
        self.named = true;
        let request = self.request();
        Step::Head(taken, Message::Request(request))
    }

    fn request(&mut self) -> Request {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let before = self.replies;
        if before == ReplyMode::Skip {
            self.replies = ReplyMode::On;
        }
        match words.as_slice() {
            ["CLIENT", "REPLY", "OFF"] => self.replies = ReplyMode::Off,
            ["CLIENT", "REPLY", "ON"] => self.replies = ReplyMode::On,
            ["CLIENT", "REPLY", "SKIP"] if before != ReplyMode::Off => {
                self.replies = ReplyMode::Skip
            }
            _ => {}
        }
        let effect = match words.first() {
            Some(&("SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "MONITOR")) => Effect::Pushes,
            Some(&("PSYNC" | "SYNC")) => Effect::Opaque,
            _ => Effect::None,
        };
        let shown = if words.first().is_some_and(|name| CONTAINERS.contains(name)) {
            2
        } else {
            1
        };
        Request {
            endpoint: words
                .iter()
                .take(shown)
                .copied()
                .collect::<Vec<_>>()
                .join(" "),
            one_way: self.replies != ReplyMode::On || before == ReplyMode::Skip,
            effect,
        }
    }

    fn reset(&mut self) {
        self.words.clear();
        self.open = None;
        self.named = false;
    }
}

/// Replies: one value each, of any depth.
#[derive(Default)]
struct Replies {
    /// Values to come, by depth of nesting; empty between replies.
    open: Vec<u64>,
    in_reply: bool,
    /// What stands before a reply as its attributes is not the reply.
    in_attributes: bool,
}

impl Parser for Replies {
    fn step(&mut self, bytes: &[u8], context: &Context<'_>) -> Step {
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        if self.open.is_empty() && self.in_attributes {
            self.in_attributes = false;
        } else if self.open.is_empty() && self.in_reply {
            self.in_reply = false;
            return Step::End;
        }
        if bytes.is_empty() {
            return Step::Wait;
        }
        if !self.in_reply && !self.in_attributes {
            return self.begin(bytes, context);
        }
        match value(bytes) {
            Value::Scalar(size) | Value::Bulk(size) => {
                self.count();
                Step::Skip(size)
            }
            Value::Nested(count, taken) => {
                if self.open.len() >= MAX_DEPTH {
                    return Step::Invalid;
                }
                self.count();
                self.open.push(count);
                Step::Take(taken)
            }
            Value::Cut => Step::Wait,
            Value::Wrong => Step::Invalid,
        }
    }

    fn give_up(&mut self, bytes: &[u8]) -> Option<Message> {
        *self = Self::default();
        let line = text::line(bytes).map_or(bytes, |(line, _)| line);
        let error = line.strip_prefix(b"-").map(text::field);
        let reply = Message::Response(Response {
            error,
            ..Response::default()
        });
        matches!(
            bytes.first(),
            Some(b'+' | b'-' | b'$' | b'*' | b'=' | b'%' | b'~')
        )
        .then_some(reply)
    }
}

impl Replies {
    /// The first value of a reply: what it is decides what the reply is.
    fn begin(&mut self, bytes: &[u8], context: &Context<'_>) -> Step {
        if bytes.starts_with(b"|") {
            return match value(bytes) {
                Value::Nested(count, taken) => {
                    self.in_attributes = true;
                    self.open.push(count);
                    Step::Take(taken)
                }
                Value::Cut => Step::Wait,
                _ => Step::Invalid,
            };
        }
        let Some(message) = reply(bytes, context) else {
            return Step::Wait;
        };
        match value(bytes) {
            Value::Cut => return Step::Wait,
            Value::Wrong => return Step::Invalid,
            // The value itself is read again, now as a part of the reply.
            Value::Scalar(_) | Value::Bulk(_) | Value::Nested(..) => self.open.push(1),
        }
        self.in_reply = true;
        Step::Head(0, message)
    }

    /// One value of the innermost aggregate is there.
    fn count(&mut self) {
        if let Some(left) = self.open.last_mut() {
            *left = left.saturating_sub(1);
        }
    }
}

/// What the reply that begins `bytes` says; `None` if more bytes are needed.
fn reply(bytes: &[u8], context: &Context<'_>) -> Option<Message> {
    let answer = |error| {
        Message::Response(Response {
            error,
            ..Response::default()
        })
    };
    Some(match bytes.first()? {
        b'>' => Message::Aside,
        b'-' => answer(Some(text::field(text::line(bytes)?.0.get(1..)?))),
        b'!' => {
            let (length, taken) = header(bytes)?;
            let end = taken.saturating_add(usize::try_from(length).ok()?);
            answer(Some(text::field(bytes.get(taken..end)?)))
        }
        b'*' if context.pushes => match (published(bytes)?, context.request) {
            (true, _) | (false, None) => Message::Aside,
            (false, Some(_)) => answer(None),
        },
        b'+' if context.pushes && bytes.get(1)?.is_ascii_digit() => Message::Aside,
        _ => answer(None),
    })
}

/// Whether an array is a published message: its first element says so.
fn published(bytes: &[u8]) -> Option<bool> {
    let (_, taken) = header(bytes)?;
    let element = bytes.get(taken..)?;
    let (length, taken) = match parsed_header(element) {
        Header::Cut => return None,
        Header::Wrong => return Some(false),
        Header::Of(length, taken) => (usize::try_from(length).ok()?, taken),
    };
    if length > 16 {
        return Some(false);
    }
    let kind = element.get(taken..taken + length)?;
    Some(PUSHED.contains(&kind))
}

/// The value at the start of some bytes, not its parts.
enum Value {
    /// Ends behind that many bytes, which are there.
    Scalar(u64),
    /// Ends behind that many bytes, which need not be there.
    Bulk(u64),
    /// That many values follow behind a header of so many bytes.
    Nested(u64, usize),
    Cut,
    Wrong,
}

fn value(bytes: &[u8]) -> Value {
    let nested = |count: i64, taken| Value::Nested(count.max(0).unsigned_abs(), taken);
    match (bytes.first(), parsed_header(bytes)) {
        (None, _) => Value::Cut,
        (Some(b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'('), _) => match text::line(bytes) {
            Some((_, taken)) => Value::Scalar(taken as u64),
            None if bytes.len() > MAX_LINE_BYTES => Value::Wrong,
            None => Value::Cut,
        },
        (Some(b'$' | b'=' | b'!' | b'*' | b'%' | b'~' | b'>' | b'|'), Header::Cut) => Value::Cut,
        (Some(b'$' | b'=' | b'!'), Header::Of(-1, taken)) => Value::Scalar(taken as u64),
        (Some(b'$' | b'=' | b'!'), Header::Of(length @ 0.., taken)) => {
            Value::Bulk(length.unsigned_abs().saturating_add(taken as u64 + 2))
        }
        (Some(b'*' | b'~' | b'>'), Header::Of(count, taken)) => nested(count, taken),
        (Some(b'%' | b'|'), Header::Of(count, taken)) => nested(count.saturating_mul(2), taken),
        _ => Value::Wrong,
    }
}

/// A type byte, a number and CRLF.
enum Header {
    /// The number and the bytes that it all takes.
    Of(i64, usize),
    Cut,
    Wrong,
}

fn parsed_header(bytes: &[u8]) -> Header {
    // A sign and 19 digits at most.
    let Some((line, taken)) = text::line(bytes.get(..32).unwrap_or(bytes)) else {
        return if bytes.len() < 32 {
            Header::Cut
        } else {
            Header::Wrong
        };
    };
    let number = line
        .get(1..)
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.map_or(Header::Wrong, |number| Header::Of(number, taken))
}

fn header(bytes: &[u8]) -> Option<(i64, usize)> {
    match parsed_header(bytes) {
        Header::Of(number, taken) => Some((number, taken)),
        Header::Cut | Header::Wrong => None,
    }
}

fn is_name(word: &[u8]) -> bool {
    let first = word.first().is_some_and(u8::is_ascii_alphabetic);
    first
        && word
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-|".contains(byte))
}

#[cfg(test)]
mod tests;
