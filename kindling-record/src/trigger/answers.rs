//! Requests in flight: of each connection the oldest that has no answer yet.
//!
//! With pipelining it is the first one that is timed, and any answer counts as its own. The time runs
//! from the request's first bytes to the answer's, as this end of the connection saw them.

use std::collections::HashMap;

use kindling_format::schema::{Direction, File, FileKind};

use super::sniff::{self, Answer, Head, Protocol};

/// Queries that wait on one socket; a resolver has a few.
const MOST_QUERIES: usize = 64;
/// Beyond so many connections those without a request in flight are forgotten.
const MANY: usize = 4096;
/// Queries go to this port, RFC 1035, section 4.2.1.
const DNS_PORT: u16 = 53;
/// Where the ports begin that the kernel gives to clients, unless it is told otherwise
/// (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: u16 = 32_768;

/// Bytes that crossed a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    pub(super) file: u32,
    /// Whether they are plaintext of TLS, beside which the encrypted bytes cross the same file.
    pub(super) is_plaintext: bool,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) direction: Direction,
    /// When the call began, and when it returned.
    pub(super) from_ns: i64,
    pub(super) until_ns: i64,
    pub(super) data: &'a [u8],
}

impl Bytes<'_> {
    /// When they were there: what is received when the call returned, what is sent when it began.
    fn at_ns(&self) -> i64 {
        match self.direction {
            Direction::In => self.until_ns,
            Direction::Out => self.from_ns,
        }
    }
}

/// A request that has no answer yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) at_ns: i64,
    pub(super) protocol: Protocol,
    pub(super) pid: u32,
    pub(super) tid: u32,
    direction: Direction,
    head: Head,
    is_told: bool,
}

impl Request {
    fn of(bytes: &Bytes<'_>, protocol: Protocol) -> Self {
        Self {
            at_ns: bytes.at_ns(),
            protocol,
            pid: bytes.pid,
            tid: bytes.tid,
            direction: bytes.direction,
            head: Head::of(bytes.data),
            is_told: false,
        }
    }

    /// Which request it is, in a few words.
    pub(super) fn describe(&self) -> String {
        self.head.describe(self.protocol)
    }
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) request: Request,
    pub(super) answer: Answer,
    pub(super) at_ns: i64,
}

impl Answered {
    pub(super) fn latency_ns(&self) -> i64 {
        self.at_ns - self.request.at_ns
    }
}

/// What goes over an open file.
#[derive(Debug)]
enum Talk {
    /// Nothing that is looked at.
    Other,
    Stream(Stream),
    Datagrams(Vec<(u16, Request)>),
}

#[derive(Debug, Default)]
struct Stream {
    /// Which way requests go, if that is known.
    asks: Option<Direction>,
    request: Option<Request>,
    answered_ns: Option<i64>,
}

/// The talks of all connections.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// By file, and whether it is the plaintext there.
    talks: HashMap<(u32, bool), Talk>,
}

impl Answers {
    /// Takes in bytes of the file that `describe` tells of; the request that they answer.
    pub(super) fn take<'f>(
        &mut self,
        bytes: &Bytes<'_>,
        describe: impl FnOnce() -> Option<&'f File>,
    ) -> Option<Answered> {
        let key = (bytes.file, bytes.is_plaintext);
        let talk = match self.talks.get_mut(&key) {
            Some(talk) => talk,
            // A file that is not known yet is looked at the next time.
            None => self.talks.entry(key).or_insert(talk_of(describe()?)),
        };
        match talk {
            Talk::Other => None,
            Talk::Stream(stream) => stream.take(bytes),
            Talk::Datagrams(queries) => take_datagram(queries, bytes),
        }
    }

    /// The file is closed: nobody waits for an answer there any more.
    pub(super) fn close(&mut self, file: u32) {
        for is_plaintext in [false, true] {
            self.talks.remove(&(file, is_plaintext));
        }
    }

    /// The oldest request from before `before_ns` that `is_meant` and was not told yet, and how many
    /// others there are. They are told with that.
    pub(super) fn overdue(
        &mut self,
        before_ns: i64,
        is_meant: impl Fn(&Request) -> bool,
    ) -> (Option<Request>, u64) {
        let mut oldest: Option<Request> = None;
        let mut count: u64 = 0;
        let requests = self.talks.values_mut().flat_map(Talk::requests);
        requests
            .filter(|request| !request.is_told && request.at_ns < before_ns && is_meant(request))
            .for_each(|request| {
                request.is_told = true;
                count += 1;
                let is_older =
                    |other: Request| (request.at_ns, request.tid) < (other.at_ns, other.tid);
                if oldest.is_none_or(is_older) {
                    oldest = Some(*request);
                }
            });
        if self.talks.len() > MANY {
            self.talks
                .retain(|_, talk| talk.requests().next().is_some());
        }
        (oldest, count.saturating_sub(1))
    }
}

impl Talk {
    fn requests(&mut self) -> Box<dyn Iterator<Item = &mut Request> + '_> {
        match self {
            Talk::Other => Box::new(std::iter::empty()),
            Talk::Stream(stream) => Box::new(stream.request.iter_mut()),
            Talk::Datagrams(queries) => Box::new(queries.iter_mut().map(|(_, request)| request)),
        }
    }
}

fn talk_of(file: &File) -> Talk {
    match file.kind {
        FileKind::Tcp | FileKind::Unix | FileKind::Tls => Talk::Stream(Stream {
            asks: asks(file),
            ..Stream::default()
        }),
        FileKind::Udp if is_dns(file) => Talk::Datagrams(Vec::new()),
        _ => Talk::Other,
    }
}

/// Which way requests go, if the ports tell: a client's is an ephemeral one.
fn asks(file: &File) -> Option<Direction> {
    let (local, remote) = (file.local_port?, file.remote_port?);
    match (local < EPHEMERAL, remote < EPHEMERAL) {
        (true, false) => Some(Direction::In),
        (false, true) => Some(Direction::Out),
        _ => None,
    }
}

/// A socket that is not connected has no remote port: its messages tell whether they are DNS.
fn is_dns(file: &File) -> bool {
    let ports = [file.local_port, file.remote_port];
    ports.contains(&Some(DNS_PORT)) || file.remote_port.is_none()
}

impl Stream {
    fn take(&mut self, bytes: &Bytes<'_>) -> Option<Answered> {
        if let Some(request) = &mut self.request {
            if request.direction == bytes.direction {
                request.head.extend(bytes.data);
                return None;
            }
            let request = *request;
            let answer = sniff::stream_answer(request.protocol, bytes.data)?;
            self.request = None;
            self.answered_ns = Some(bytes.at_ns());
            return Some(Answered {
                request,
                answer,
                at_ns: bytes.at_ns(),
            });
        }
        let protocol = sniff::stream_request(bytes.data)?;
        let goes_other_way = self.asks.is_some_and(|asks| asks != bytes.direction);
        // Rings of several CPUs are drained in turn: its answer may have been here before it.
        let is_late = self
            .answered_ns
            .is_some_and(|answered| bytes.at_ns() <= answered);
        if (protocol == Protocol::Redis && goes_other_way) || is_late {
            return None;
        }
        self.asks = Some(bytes.direction);
        self.request = Some(Request::of(bytes, protocol));
        None
    }
}

fn take_datagram(queries: &mut Vec<(u16, Request)>, bytes: &Bytes<'_>) -> Option<Answered> {
    let header = sniff::dns_header(bytes.data)?;
    let is_it =
        |(id, request): &(u16, Request)| *id == header.id && request.direction != bytes.direction;
    if !header.is_response {
        if queries.len() == MOST_QUERIES {
            queries.remove(0);
        }
        queries.push((header.id, Request::of(bytes, Protocol::Dns)));
        return None;
    }
    let at = queries.iter().position(is_it)?;
    let (_, request) = queries.remove(at);
    Some(Answered {
        request,
        answer: sniff::dns_answer(header),
        at_ns: bytes.at_ns(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection of a client, or of a server, and what crosses it.
    struct Connection {
        answers: Answers,
        file: File,
    }

    impl Connection {
        fn new(kind: FileKind, local_port: u16, remote_port: Option<u16>) -> Self {
            let file = File {
                kind,
                local_port: Some(local_port),
                remote_port,
                ..File::default()
            };
            Self {
                answers: Answers::default(),
                file,
            }
        }

        /// Bytes at this time; the latency and the error of what they answer.
        fn cross(
            &mut self,
            at_ns: i64,
            direction: Direction,
            data: &[u8],
        ) -> Option<(i64, String)> {
            let bytes = Bytes {
                file: 1,
                is_plaintext: false,
                pid: 7,
                tid: 8,
                direction,
                from_ns: at_ns,
                until_ns: at_ns,
                data,
            };
            let answered = self.answers.take(&bytes, || Some(&self.file))?;
            let text = answered.answer.text.clone();
            Some((answered.latency_ns(), text))
        }
    }

    use Direction::{In, Out};

    #[test]
    fn the_oldest_request_is_timed_until_its_answer() {
        let mut client = Connection::new(FileKind::Tcp, 40_000, Some(80));
        assert_eq!(client.cross(10, Out, b"POST /a HTTP/1.1\r\n"), None);
        assert_eq!(client.cross(20, Out, b"the body"), None);

        assert_eq!(client.cross(30, In, b"HTTP/1.1 100 Continue\r\n"), None);
        let answer = client.cross(50, In, b"HTTP/1.1 500 Oops\r\n");
        assert_eq!(answer, Some((40, "status 500".into())));
        assert_eq!(client.cross(60, In, b"the rest"), None);
        assert_eq!(client.cross(70, Out, b"GET /b HTTP/1.1\r\n"), None);
        assert_eq!(
            client.cross(80, In, b"HTTP/1.1 200 OK\r\n"),
            Some((10, "status 200".into()))
        );
    }

    #[test]
    fn an_answer_that_is_drained_first_leaves_no_request_behind() {
        let mut client = Connection::new(FileKind::Tcp, 40_000, Some(80));
        client.cross(10, Out, b"GET / HTTP/1.1\r\n");
        client.cross(20, In, b"HTTP/1.1 200 OK\r\n");
        assert_eq!(client.cross(15, Out, b"GET /late HTTP/1.1\r\n"), None);
        assert_eq!(client.answers.overdue(1000, |_| true).1, 0);
        assert!(client.answers.overdue(1000, |_| true).0.is_none());
    }

    #[test]
    fn arrays_of_a_redis_server_are_no_requests() {
        let mut client = Connection::new(FileKind::Tcp, 40_000, Some(6379));
        assert_eq!(
            client.cross(10, In, b"*2\r\n$3\r\nfoo\r\n$3\r\nbar\r\n"),
            None
        );
        assert_eq!(client.cross(20, Out, b"*1\r\n$4\r\nPING\r\n"), None);
        assert_eq!(client.cross(25, In, b"+PONG\r\n"), Some((5, String::new())));
        let mut server = Connection::new(FileKind::Tcp, 6379, Some(40_000));
        server.cross(10, In, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
        assert_eq!(
            server.cross(12, Out, b"-ERR no\r\n"),
            Some((2, "ERR no".into()))
        );
    }

    #[test]
    fn queries_are_told_by_their_ids() {
        let message = |id: u8, flags: [u8; 2]| {
            let mut message = vec![0, id, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 0];
            message.extend_from_slice(b"\x01a\x00");
            message
        };
        for remote in [Some(53), None] {
            let mut client = Connection::new(FileKind::Udp, 40_000, remote);
            client.cross(10, Out, &message(1, [1, 0]));
            client.cross(11, Out, &message(2, [1, 0]));
            assert_eq!(
                client.cross(20, In, &message(2, [0x81, 0x82])),
                Some((9, "servfail".into()))
            );
            let (oldest, others) = client.answers.overdue(100, |_| true);
            assert_eq!((oldest.map(|request| request.at_ns), others), (Some(10), 0));
            assert!(
                client.answers.overdue(100, |_| true).0.is_none(),
                "it is told once"
            );
            assert_eq!(
                client.cross(30, In, &message(1, [0x81, 0])),
                Some((20, String::new()))
            );
        }
        let mut other = Connection::new(FileKind::Udp, 40_000, Some(443));
        other.cross(10, Out, &message(1, [1, 0]));
        assert!(other.answers.overdue(100, |_| true).0.is_none());
    }

    #[test]
    fn a_closed_connection_waits_for_nothing() {
        let mut client = Connection::new(FileKind::Unix, 0, None);
        client.cross(10, Out, b"GET / HTTP/1.1\r\n");
        client.answers.close(1);
        assert!(client.answers.overdue(100, |_| true).0.is_none());
    }
}
