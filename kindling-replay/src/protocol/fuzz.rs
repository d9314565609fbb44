//! Helpers for the tests of parsers, and random bytes for all of them.

use super::*;

/// The events of whole, gapless bytes that came one at a time and at once, which must agree.
pub(super) fn cut_with(
    protocol: &'static dyn Protocol,
    side: Side,
    bytes: &str,
    context: &Context<'_>,
) -> Vec<String> {
    let run = |step: usize| {
        let mut cutter = Cutter::new(protocol, side, Some(0));
        let mut events = Vec::new();
        for (at, piece) in bytes.as_bytes().chunks(step).enumerate() {
            cutter.push(chunk((at * step) as u64, piece.len() as u64, piece));
            // Not a place to go on: bytes that come one at a time all begin a syscall.
            events.extend(std::iter::from_fn(|| cutter.next(context, false)));
        }
        if let Some(event @ Event::End(_)) = cutter.close() {
            events.push(event);
            let shown = events.iter().map(show).collect::<Vec<_>>();
            let (last, rest) = shown.split_last().unwrap();
            return [rest, &[last.replace("end", "close")]].concat();
        }
        events.iter().map(show).collect()
    };
    let at_once = run(bytes.len().max(1));
    let lost = at_once
        .iter()
        .any(|event| event.starts_with("lost") || event.starts_with("broken"));
    // Where exactly a loss is noticed depends on how much is at hand.
    assert!(
        lost || run(1) == at_once,
        "{bytes:?}: {:?} and {at_once:?}",
        run(1)
    );
    at_once
}

/// As [`cut_with`], without context.
pub(super) fn cut(protocol: &'static dyn Protocol, side: Side, bytes: &str) -> Vec<String> {
    cut_with(protocol, side, bytes, &Context::default())
}

fn chunk(offset: u64, size: u64, data: &[u8]) -> Chunk {
    Chunk {
        offset,
        size,
        data: data.to_vec(),
        transfer: Transfer::default(),
    }
}

fn show(event: &Event) -> String {
    match event {
        Event::Head(mark, Message::Request(request)) => {
            let one_way = if request.one_way { " one-way" } else { "" };
            format!(
                "{} {}{one_way}{}",
                mark.offset,
                request.endpoint,
                effect(request.effect)
            )
        }
        Event::Head(mark, Message::Response(response)) => {
            let status = response
                .status
                .map_or("ok".to_owned(), |status| status.to_string());
            let error = response
                .error
                .as_ref()
                .map_or(String::new(), |error| format!(" ! {error}"));
            format!("{} {status}{error}{}", mark.offset, effect(response.effect))
        }
        Event::Head(mark, Message::Aside) => format!("{} aside", mark.offset),
        Event::End(mark) => format!("end {}", mark.offset),
        Event::Broken(mark) => format!("broken {}", mark.offset),
        Event::Lost(mark) => format!("lost {}", mark.offset),
    }
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::None => "",
        Effect::Pushes => " pushes",
        Effect::Opaque => " opaque",
    }
}

/// xorshift64*: enough randomness for tests, the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// Pieces of both protocols, so that random messages get past the first byte.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.1\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Go\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\r\n",
    "ffffffffffffffff\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "*1\r\n",
    "*2\r\n$3\r\nGET\r\n",
    "$1\r\nk\r\n",
    "$9223372036854775807\r\n",
    "*9223372036854775807\r\n",
    "%4611686018427387904\r\n",
    "+OK\r\n",
    "-ERR\r\n",
    "|1\r\n",
    ">2\r\n",
    "*-1\r\n",
    "$-1\r\n",
    "!3\r\nabc\r\n",
    "SUBSCRIBE a\r\n",
    "MONITOR\r\n",
    "CLIENT REPLY SKIP\r\n",
    "\x00",
    "~1\r\n",
    "_\r\n",
];

fn message(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(12) {
        bytes.extend_from_slice(PIECES[random.below(PIECES.len())].as_bytes());
    }
    if random.below(3) == 0 {
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len() + 1);
            bytes.insert(at, random.below(256) as u8);
        }
    }
    bytes
}

#[test]
fn no_bytes_panic_and_every_byte_is_accounted_for() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..40_000 {
        let protocol = PROTOCOLS[round % PROTOCOLS.len()];
        let mut conversation = Conversation::new(protocol, 0, Some(0), round % 3 != 0);
        let mut offsets = [0_u64; 2];
        for at in 0..random.below(12) {
            let side = if random.below(2) == 0 {
                Side::Request
            } else {
                Side::Response
            };
            let data = message(&mut random);
            for side in [Side::Request, Side::Response] {
                let _ = (protocol.begins(side, &data), protocol.begins_weakly(&data));
            }
            let size = match random.below(5) {
                0 => random.below(100) as u64,
                1 => u64::MAX,
                _ => data.len() as u64,
            };
            let offset = &mut offsets[usize::from(side == Side::Response)];
            let jump = if random.below(8) == 0 {
                random.below(9) as u64
            } else {
                0
            };
            let transfer = Transfer {
                ts: at as i64,
                ..Transfer::default()
            };
            let start = offset.wrapping_add(jump);
            conversation.push(
                side,
                Chunk {
                    offset: start,
                    size,
                    data,
                    transfer,
                },
            );
            *offset = start.wrapping_add(size);
        }
        let (exchanges, _) = conversation.finish(round % 2 == 0);
        for exchange in exchanges {
            assert!(exchange.request.start <= exchange.request.end);
            assert!(
                exchange
                    .response
                    .is_none_or(|response| response.start <= response.end)
            );
        }
    }
}
