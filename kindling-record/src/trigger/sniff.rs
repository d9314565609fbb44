//! What the first bytes of a payload are: a request, an answer, or neither. It tells enough for a
//! trigger; messages are cut and understood offline.

use crate::redact::is_start;

/// Response codes of RFC 1035, section 4.1.1.
pub(super) const RCODES: [(&str, u16); 5] = [
    ("formerr", 1),
    ("servfail", 2),
    ("nxdomain", 3),
    ("notimp", 4),
    ("refused", 5),
];

/// How many bytes are looked at: the longest that is needed is a DNS header, and a status line's code.
pub(crate) const SNIFFED_BYTES: u32 = 16;
/// How many are kept of a request, to say which it was.
const HEAD: usize = 96;

/// A protocol whose answers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Redis,
    Dns,
}

impl Protocol {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Protocol::Http),
            "redis" => Some(Protocol::Redis),
            "dns" => Some(Protocol::Dns),
            _ => None,
        }
    }
}

/// The first bytes of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    bytes: [u8; HEAD],
    len: usize,
}

impl Head {
    pub(super) fn of(data: &[u8]) -> Self {
        let mut head = Self {
            bytes: [0; HEAD],
            len: 0,
        };
        head.extend(data);
        head
    }

    /// Adds what came next: a program may write a request in pieces.
    pub(super) fn extend(&mut self, data: &[u8]) {
        let free = self.bytes.get_mut(self.len..).unwrap_or_default();
        let kept = data.iter().zip(free);
        self.len += kept.map(|(byte, place)| *place = *byte).count();
    }

    /// Which request it is, in a few words: `GET /index.html`, `HGETALL`, `example.org`.
    pub(super) fn describe(&self, protocol: Protocol) -> String {
        let data = self.bytes.get(..self.len).unwrap_or_default();
        match protocol {
            Protocol::Http => {
                let line = data.split(|byte| matches!(byte, b'\r' | b'\n')).next();
                let mut words = line.unwrap_or_default().split(|&byte| byte == b' ');
                let (method, target) = (words.next(), words.next());
                let words = [method.unwrap_or_default(), target.unwrap_or_default()];
                printable(&words.join(&b' '))
            }
            Protocol::Redis => printable(redis_command(data).unwrap_or_default()),
            Protocol::Dns => dns_name(data).unwrap_or_default(),
        }
    }
}

/// A result as the protocol tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status of HTTP, or the response code of DNS.
    pub(super) code: Option<u16>,
    pub(super) is_error: bool,
    /// The error, in words; empty if there is none.
    pub(super) text: String,
}

/// The request that a stream's payload begins with. Redis' requests and answers can look alike: the
/// caller knows who asks.
pub(super) fn stream_request(data: &[u8]) -> Option<Protocol> {
    if is_start(data) && !data.starts_with(b"HTTP/") {
        return Some(Protocol::Http);
    }
    let command = redis_command(data)?;
    (!is_meant_to_wait(command)).then_some(Protocol::Redis)
}

/// The answer to a request of `protocol` that a payload begins with; `None` if it is not the answer
/// yet: `100 Continue`, or something that a Redis server pushes.
pub(super) fn stream_answer(protocol: Protocol, data: &[u8]) -> Option<Answer> {
    match protocol {
        Protocol::Redis => match data.first() {
            Some(b'>') => None,
            Some(b'-' | b'!') => {
                let line = data.split(|byte| matches!(byte, b'\r' | b'\n')).next();
                let text = printable(line.and_then(|line| line.get(1..)).unwrap_or_default());
                Some(Answer {
                    code: None,
                    is_error: true,
                    text,
                })
            }
            _ => Some(Answer {
                code: None,
                is_error: false,
                text: String::new(),
            }),
        },
        _ => {
            let code = http_code(data);
            if code.is_some_and(|code| (100..200).contains(&code) && code != 101) {
                return None;
            }
            Some(Answer {
                code,
                is_error: code.is_some_and(|code| code >= 400),
                text: code.map_or(String::new(), |code| format!("status {code}")),
            })
        }
    }
}

/// `HTTP/1.1 200`, RFC 9112, section 4.
fn http_code(data: &[u8]) -> Option<u16> {
    let rest = data.strip_prefix(b"HTTP/1.")?;
    let code = std::str::from_utf8(rest.get(2..5)?).ok()?;
    code.parse().ok()
}

/// The name of a command in an array of bulk strings: `*2\r\n$3\r\nGET\r\n$1\r\na\r\n`.
fn redis_command(data: &[u8]) -> Option<&[u8]> {
    let (_, rest) = number_line(data.strip_prefix(b"*")?)?;
    let (len, rest) = number_line(rest.strip_prefix(b"$")?)?;
    let name = rest.get(..len.min(rest.len()))?;
    let is_word = !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'.' | b'_' | b'|' | b'-'));
    is_word.then_some(name)
}

fn number_line(data: &[u8]) -> Option<(usize, &[u8])> {
    let end = data.iter().take(8).position(|&byte| byte == b'\r')?;
    let number = std::str::from_utf8(data.get(..end)?).ok()?.parse().ok()?;
    Some((number, data.get(end..)?.strip_prefix(b"\r\n")?))
}

/// Commands whose answer comes when something happens; and what is pushed to subscribers in arrays
/// that look like commands.
fn is_meant_to_wait(command: &[u8]) -> bool {
    const WAITING: [&str; 22] = [
        "BLMOVE",
        "BLMPOP",
        "BLPOP",
        "BRPOP",
        "BRPOPLPUSH",
        "BZMPOP",
        "BZPOPMAX",
        "BZPOPMIN",
        "MESSAGE",
        "MONITOR",
        "PMESSAGE",
        "PSUBSCRIBE",
        "PSYNC",
        "REPLCONF",
        "SMESSAGE",
        "SSUBSCRIBE",
        "SUBSCRIBE",
        "SYNC",
        "WAIT",
        "WAITAOF",
        "XREAD",
        "XREADGROUP",
    ];
    let is_it = |name: &&str| command.eq_ignore_ascii_case(name.as_bytes());
    WAITING.iter().any(is_it)
}

/// The header of a DNS message, RFC 1035, section 4.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DnsHeader {
    pub(super) id: u16,
    pub(super) is_response: bool,
    pub(super) rcode: u16,
}

/// The header of what looks like a query or a response: of the standard kind, about one name.
pub(super) fn dns_header(data: &[u8]) -> Option<DnsHeader> {
    let header = data.first_chunk::<12>()?;
    let [
        id0,
        id1,
        flags0,
        flags1,
        questions0,
        questions1,
        answers0,
        answers1,
        ..,
    ] = *header;
    let number = |high, low| u16::from_be_bytes([high, low]);
    let (opcode, is_response) = (flags0 >> 3 & 0xf, flags0 & 0x80 != 0);
    let is_query = !is_response && number(answers0, answers1) == 0 && flags1 & 0xf == 0;
    let is_sound = opcode == 0 && number(questions0, questions1) == 1 && (is_response || is_query);
    is_sound.then_some(DnsHeader {
        id: number(id0, id1),
        is_response,
        rcode: u16::from(flags1 & 0xf),
    })
}

/// What a response says.
pub(super) fn dns_answer(header: DnsHeader) -> Answer {
    let name = RCODES.iter().find(|(_, code)| *code == header.rcode);
    Answer {
        code: Some(header.rcode),
        is_error: header.rcode != 0,
        text: match (name, header.rcode) {
            (Some((name, _)), _) => (*name).to_owned(),
            (None, 0) => String::new(),
            (None, code) => format!("response code {code}"),
        },
    }
}

/// The name that is asked for, as far as it is there.
fn dns_name(data: &[u8]) -> Option<String> {
    let mut rest = data.get(12..)?;
    let mut name = String::new();
    while let Some((&len, after)) = rest.split_first() {
        if len == 0 || len > 63 {
            break;
        }
        if !name.is_empty() {
            name.push('.');
        }
        let len = usize::from(len).min(after.len());
        name += &printable(after.get(..len)?);
        rest = after.get(len..)?;
    }
    (!name.is_empty()).then_some(name)
}

/// Bytes of a program, for people: what is not printable ASCII is a dot.
fn printable(bytes: &[u8]) -> String {
    let show = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    bytes.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_their_first_bytes() {
        let describe = |data: &[u8]| {
            let protocol = stream_request(data)?;
            Some((protocol, Head::of(data).describe(protocol)))
        };
        let mut pieces = Head::of(b"GET ");
        pieces.extend(b"/a HT");
        pieces.extend(&[b'x'; 2 * HEAD]);
        assert_eq!(pieces.describe(Protocol::Http), "GET /a");
        let some = |protocol, text: &str| Some((protocol, text.to_owned()));
        assert_eq!(
            describe(b"GET /a?b HTTP/1.1\r\nHost: x\r\n"),
            some(Protocol::Http, "GET /a?b")
        );
        assert_eq!(
            describe(b"*2\r\n$4\r\nhget\r\n$1\r\na\r\n"),
            some(Protocol::Redis, "hget")
        );
        assert_eq!(
            describe(b"*1\r\n$10\r\nFT.SEARC"),
            some(Protocol::Redis, "FT.SEARC")
        );
        for other in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"PRI * HTTP/2.0\r\n",
            b"*3\r\n$9\r\nSUBSCRIBE\r\n",
            b"*3\r\n$7\r\nmessage\r\n",
            b"*2\r\n:1\r\n:2\r\n",
            b"*2\r\n$2\r\n42\r\n",
            b"*-1\r\n",
            b"\x16\x03\x01",
        ] {
            assert_eq!(describe(other), None, "{}", printable(other));
        }
    }

    #[test]
    fn answers_have_a_status() {
        let http =
            |data| stream_answer(Protocol::Http, data).map(|answer| (answer.code, answer.is_error));
        assert_eq!(
            http(b"HTTP/1.1 503 Service Unavailable\r\n"),
            Some((Some(503), true))
        );
        assert_eq!(
            http(b"HTTP/1.0 204 No Content\r\n"),
            Some((Some(204), false))
        );
        assert_eq!(http(b"HTTP/1.1 100 Continue\r\n"), None);
        assert_eq!(
            http(b"HTTP/1.1 101 Switching Protocols\r\n"),
            Some((Some(101), false))
        );
        assert_eq!(http(b"garbage"), Some((None, false)));
        let redis = |data| {
            stream_answer(Protocol::Redis, data).map(|answer| (answer.is_error, answer.text))
        };
        assert_eq!(
            redis(b"-ERR no such key\r\n"),
            Some((true, "ERR no such key".into()))
        );
        assert_eq!(redis(b"+OK\r\n"), Some((false, String::new())));
        assert_eq!(redis(b">2\r\n"), None);
    }

    #[test]
    fn dns_messages_are_told_by_their_header() {
        let mut query =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00".to_vec();
        let header = dns_header(&query).unwrap();
        assert_eq!((header.id, header.is_response), (0x1234, false));
        assert_eq!(Head::of(&query).describe(Protocol::Dns), "example.org");
        query[2..4].copy_from_slice(&[0x81, 0x83]);
        let header = dns_header(&query).unwrap();
        let answer = dns_answer(header);
        assert!(header.is_response && answer.is_error);
        assert_eq!((answer.code, answer.text.as_str()), (Some(3), "nxdomain"));
        assert_eq!(dns_header(&query[..11]), None);
        query[4..6].copy_from_slice(&[0, 9]);
        assert_eq!(dns_header(&query), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut seed = 1u64;
        let starts: [&[u8]; 5] = [
            b"",
            b"*2\r\n$3\r\n",
            b"HTTP/1.1 ",
            b"GET ",
            b"\0\0\x01\0\0\x01\0\0\0\0\0\0",
        ];
        for round in 0..20_000 {
            let mut data = starts[round % starts.len()].to_vec();
            for _ in 0..round % 40 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                data.push(seed as u8);
            }
            for protocol in [Protocol::Http, Protocol::Redis, Protocol::Dns] {
                Head::of(&data).describe(protocol);
                stream_answer(protocol, &data);
            }
            stream_request(&data);
            dns_header(&data);
        }
    }
}
