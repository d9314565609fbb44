//! HTTP/1.0 and HTTP/1.1 (RFC 9112): pipelining, keep-alive, chunked bodies, interim responses,
//! responses without a body, upgrades and tunnels.

use super::{Context, Effect, Message, Parser, Protocol, Request, Response, Side, Step, text};

/// Header fields beyond this number make a message invalid.
const MAX_HEADERS: usize = 128;

/// HTTP/1.
#[derive(Debug)]
pub(super) struct Http;

impl Protocol for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn begins(&self, side: Side, bytes: &[u8]) -> bool {
        match side {
            Side::Request => match text::line(bytes) {
                Some((line, _)) => request_line(line).is_some_and(|(_, _, whole)| whole),
                // The line may be cut by the recorder; then only the common methods count.
                None => COMMON_METHODS
                    .iter()
                    .any(|method| bytes.starts_with(method)),
            },
            Side::Response => {
                bytes.starts_with(b"HTTP/1.") && bytes.get(8).is_none_or(|&byte| byte == b' ')
            }
        }
    }

    fn begins_weakly(&self, bytes: &[u8]) -> bool {
        let prefix = |method: &&[u8]| !bytes.is_empty() && method.starts_with(bytes);
        COMMON_METHODS.iter().any(prefix)
    }

    fn parser(&self, side: Side) -> Box<dyn Parser> {
        Box::new(HttpParser {
            side,
            state: State::Head,
        })
    }
}

const COMMON_METHODS: &[&[u8]] = &[
    b"GET /",
    b"POST /",
    b"PUT /",
    b"HEAD /",
    b"DELETE /",
    b"PATCH /",
    b"OPTIONS ",
];

struct HttpParser {
    side: Side,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Head,
    /// Content of this length follows, then the end.
    Content(u64),
    /// Content lasts until the connection closes.
    UntilClose,
    ChunkSize,
    Trailer,
    End,
}

impl Parser for HttpParser {
    fn step(&mut self, bytes: &[u8], context: &Context<'_>) -> Step {
        match self.state {
            State::Head => self.head(bytes, context),
            State::Content(size) => {
                self.state = State::End;
                Step::Skip(size)
            }
            State::UntilClose => match bytes.len() {
                0 => Step::Wait,
                size => Step::Take(size),
            },
            State::ChunkSize => self.chunk_size(bytes),
            State::Trailer => self.trailer(bytes),
            State::End => {
                self.state = State::Head;
                Step::End
            }
        }
    }

    fn give_up(&mut self, bytes: &[u8]) -> Option<Message> {
        self.state = State::Head;
        match self.side {
            Side::Request => {
                let line = text::line(bytes).map_or(bytes, |(line, _)| line);
                let (method, target, _) = request_line(line)?;
                Some(Message::Request(request(method, target)))
            }
            Side::Response => {
                let status = std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()?;
                let reason = text::line(bytes).and_then(|(line, _)| line.get(13..));
                Http.begins(Side::Response, bytes)
                    .then(|| response(status, reason.unwrap_or_default()))
            }
        }
    }

    fn ends_at_close(&self) -> bool {
        self.state == State::UntilClose
    }
}

impl HttpParser {
    fn head(&mut self, bytes: &[u8], context: &Context<'_>) -> Step {
        // Servers ignore empty lines before a request, and some clients send them behind a body.
        let blank = bytes
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        if blank > 0 && self.side == Side::Request {
            return Step::Take(blank);
        }
        if bytes.is_empty() {
            return Step::Wait;
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        match self.side {
            Side::Request => {
                let mut head = httparse::Request::new(&mut headers);
                match head.parse(bytes) {
                    Ok(httparse::Status::Complete(size)) => self.request_head(size, &head),
                    Ok(httparse::Status::Partial) => Step::Wait,
                    Err(_) => Step::Invalid,
                }
            }
            Side::Response => {
                let mut head = httparse::Response::new(&mut headers);
                match head.parse(bytes) {
                    Ok(httparse::Status::Complete(size)) => {
                        self.response_head(size, &head, context)
                    }
                    Ok(httparse::Status::Partial) => Step::Wait,
                    Err(_) => Step::Invalid,
                }
            }
        }
    }

    fn request_head(&mut self, size: usize, head: &httparse::Request<'_, '_>) -> Step {
        let Some(framing) = framing(head.headers, State::End) else {
            return Step::Invalid;
        };
        self.state = framing;
        let method = head.method.unwrap_or_default().as_bytes();
        let target = head.path.unwrap_or_default().as_bytes();
        Step::Head(size, Message::Request(request(method, target)))
    }

    fn response_head(
        &mut self,
        size: usize,
        head: &httparse::Response<'_, '_>,
        context: &Context<'_>,
    ) -> Step {
        let status = head.code.unwrap_or_default();
        if matches!(status, 100..=199) && status != 101 {
            self.state = State::End;
            return Step::Head(size, Message::Aside);
        }
        let endpoint = context
            .request
            .map_or("", |request| request.endpoint.as_str());
        let mut message = response(status, head.reason.unwrap_or_default().as_bytes());
        let tunnel = endpoint.starts_with("CONNECT ") && matches!(status, 200..=299);
        if let (true, Message::Response(response)) = (status == 101 || tunnel, &mut message) {
            response.effect = Effect::Opaque;
        }
        let bodiless = endpoint.starts_with("HEAD ") || matches!(status, 101 | 204 | 304) || tunnel;
        self.state = match framing(head.headers, State::UntilClose) {
            _ if bodiless => State::End,
            Some(framing) => framing,
            None => return Step::Invalid,
        };
        Step::Head(size, message)
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> Step {
        let Some((line, taken)) = text::line(bytes) else {
            return if bytes.len() > 1024 {
                Step::Invalid
            } else {
                Step::Wait
            };
        };
        // What follows a semicolon are extensions.
        let digits = line
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let size = std::str::from_utf8(digits)
            .ok()
            .and_then(|d| u64::from_str_radix(d, 16).ok());
        match size {
            Some(0) => {
                self.state = State::Trailer;
                Step::Take(taken)
            }
            // The line, the content and its CRLF, in one go: the CRLF may not be recorded.
            Some(size) => Step::Skip(size.saturating_add(taken as u64 + 2)),
            None => Step::Invalid,
        }
    }

    fn trailer(&mut self, bytes: &[u8]) -> Step {
        match text::line(bytes) {
            Some((line, taken)) => {
                if line.is_empty() {
                    self.state = State::End;
                }
                Step::Take(taken)
            }
            None => Step::Wait,
        }
    }
}

/// How the content behind a head is framed; `None` if its length makes no sense.
fn framing(headers: &[httparse::Header<'_>], without: State) -> Option<State> {
    let find = |name: &str| {
        headers
            .iter()
            .rfind(|header| header.name.eq_ignore_ascii_case(name))
    };
    if let Some(coding) = find("transfer-encoding") {
        let last = coding
            .value
            .rsplit(|&byte| byte == b',')
            .next()
            .unwrap_or_default();
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Some(if chunked { State::ChunkSize } else { without });
    }
    match find("content-length") {
        Some(length) => {
            let length = std::str::from_utf8(length.value)
                .ok()?
                .trim()
                .parse()
                .ok()?;
            Some(State::Content(length))
        }
        None => Some(without),
    }
}

/// Method, target and whether the line is a whole request line.
fn request_line(line: &[u8]) -> Option<(&[u8], &[u8], bool)> {
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let whole = words
        .next()
        .is_some_and(|version| version.starts_with(b"HTTP/1."));
    let is_method = (3..=20).contains(&method.len())
        && method
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    (is_method && !target.is_empty()).then_some((method, target, whole))
}

fn request(method: &[u8], target: &[u8]) -> Request {
    let path = target
        .split(|&byte| byte == b'?' || byte == b'#')
        .next()
        .unwrap_or_default();
    // A proxy is asked with the whole URL; the endpoint is the path, as at the origin.
    let path = match path
        .strip_prefix(b"http://")
        .or(path.strip_prefix(b"https://"))
    {
        Some(rest) => match rest.iter().position(|&byte| byte == b'/') {
            Some(slash) => rest.get(slash..).unwrap_or(b"/"),
            None => b"/",
        },
        None => path,
    };
    let endpoint = format!("{} {}", text::field(method), text::field(path));
    Request {
        endpoint,
        ..Request::default()
    }
}

fn response(status: u16, reason: &[u8]) -> Message {
    let error = (status >= 400).then(|| {
        let reason = text::field(reason);
        format!("{status} {reason}").trim_end().to_owned()
    });
    Message::Response(Response {
        status: Some(status),
        error,
        effect: Effect::None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::{cut, cut_with};
    use super::*;

    #[test]
    fn requests_are_framed() {
        let check =
            |bytes: &str, expect: &[&str]| assert_eq!(cut(&Http, Side::Request, bytes), expect);
        check(
            "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
            &["0 GET /a", "end 32"],
        );
        check(
            "GET /a HTTP/1.1\r\n\r\nHEAD /b HTTP/1.1\r\n\r\n",
            &["0 GET /a", "end 19", "19 HEAD /b", "end 39"],
        );
        check(
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\r\nGET /b HTTP/1.0\r\n\r\n",
            &["0 POST /", "end 41", "41 GET /b", "end 62"],
        );
        check(
            "PUT http://h:1/x#y HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n4;a=b\r\nabcd\r\n0\r\nT: u\r\n\r\n",
            &["0 PUT /x", "end 89"],
        );
        check(
            "GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
            &["0 GET /", "broken 40"],
        );
        check("\x16\x03\x01 hello\n", &["lost 0"]);
        check("GET / HT", &[]);
    }

    #[test]
    fn responses_are_framed_by_their_request() {
        let check = |request: &str, bytes: &str, expect: &[&str]| {
            let request = Request {
                endpoint: request.into(),
                ..Request::default()
            };
            let context = Context {
                request: Some(&request),
                pushes: false,
            };
            assert_eq!(
                cut_with(&Http, Side::Response, bytes, &context),
                expect,
                "{bytes}"
            );
        };
        let sized = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        check("GET /", &format!("{sized}abc"), &["0 200", "end 41"]);
        check("GET /", &format!("{sized}ab"), &["0 200"]);
        check("HEAD /", sized, &["0 200", "end 38"]);
        check(
            "GET /",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
            &["0 304", "end 48"],
        );
        check(
            "GET /",
            "HTTP/1.1 204 No Content\r\n\r\n",
            &["0 204", "end 27"],
        );
        check(
            "GET /",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            &["0 404 ! 404 Not Found", "end 45"],
        );
        check(
            "PUT /",
            &format!("HTTP/1.1 100 Continue\r\n\r\n{sized}abc"),
            &["0 aside", "end 25", "25 200", "end 66"],
        );
        check(
            "GET /",
            "HTTP/1.0 200 OK\r\n\r\nabc",
            &["0 200", "close 22"],
        );
        check(
            "CONNECT h:1",
            "HTTP/1.1 200 OK\r\n\r\n",
            &["0 200 opaque", "end 19"],
        );
        check(
            "GET /",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            &["0 101 opaque", "end 36"],
        );
        check(
            "GET /",
            "HTTP/1.1 503\r\n\r\n",
            &["0 503 ! 503", "close 16"],
        );
    }

    #[test]
    fn a_request_is_recognized() {
        let check = |bytes: &str, expect| {
            assert_eq!(
                Http.begins(Side::Request, bytes.as_bytes()),
                expect,
                "{bytes}"
            )
        };
        check("GET / HTTP/1.1\r\n", true);
        check("PROPFIND /x HTTP/1.0\r\n", true);
        check("GET /long-and-cut", true);
        check("GET key\r\n", false);
        check("GET / HTTP/2\r\n", false);
        check("*1\r\n$4\r\nPING\r\n", false);
        check("", false);
    }
}
