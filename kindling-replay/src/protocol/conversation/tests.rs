//! Conversations as scripts.

use super::*;
use crate::protocol::{Transfer, http::Http, redis::Redis};

/// A connection as a script: `>` is a request chunk, `<` a response chunk; `|` ends what was
/// recorded of a chunk, and what follows it was moved but not recorded; a chunk that is all behind
/// `|` left no row. Each chunk takes 5 ns, 10 ns apart.
fn run(protocol: &'static dyn Protocol, script: &[&str]) -> (Conversation, [u64; 2]) {
    let mut conversation = Conversation::new(protocol, 0, Some(0), true);
    let mut offsets = [0, 0];
    for (at, line) in script.iter().enumerate() {
        let (side, text) = match line.split_at(1) {
            (">", text) => (Side::Request, text),
            (_, text) => (Side::Response, text),
        };
        let recorded = text.split_once('|').map_or(text, |(recorded, _)| recorded);
        let size = text.replace('|', "").len() as u64;
        let offset = &mut offsets[usize::from(side == Side::Response)];
        let transfer = Transfer {
            ts: at as i64 * 10,
            dur: 5,
            pid: 1,
            tid: 1,
        };
        let data = recorded.as_bytes().to_vec();
        if !recorded.is_empty() {
            conversation.push(
                side,
                Chunk {
                    offset: *offset,
                    size,
                    data,
                    transfer,
                },
            );
        }
        *offset += size;
    }
    (conversation, offsets)
}

fn shown((exchanges, _): (Vec<Exchange>, Doubts)) -> Vec<String> {
    let show = |e: &Exchange| {
        let response = e
            .response
            .map_or("-".into(), |r| format!("{}+{}", r.first.ts, r.last.end()));
        let inferred = if e.inferred { " ~" } else { "" };
        format!(
            "{} {:?} {}..{response}{inferred}",
            e.endpoint, e.outcome, e.request.first.ts
        )
    };
    exchanges.iter().map(show).collect()
}

fn check(protocol: &'static dyn Protocol, script: &[&str], expect: &[&str]) {
    assert_eq!(
        shown(run(protocol, script).0.finish(true)),
        expect,
        "{script:?}"
    );
}

const GET: &str = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
const SET: &str = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\n123456789\r\n";

#[test]
fn http_is_paired() {
    let get = ">GET /a HTTP/1.1\r\n\r\n";
    let ok = "<HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    check(
        &Http,
        &[get, ok, get, ok],
        &["GET /a Ok 0..10+15", "GET /a Ok 20..30+35"],
    );
    check(
        &Http,
        &[get, get, ok, ok],
        &["GET /a Ok 0..20+25", "GET /a Ok 10..30+35"],
    );
    check(
        &Http,
        &[get, "<HTTP/1.1 200 OK\r\n\r\nabc", "<def"],
        &["GET /a Ok 0..10+25"],
    );
    check(&Http, &[get], &["GET /a NoAnswer 0..-"]);
    check(
        &Http,
        &[get, ok, ">GET /slow HT"],
        &["GET /a Ok 0..10+15", "GET /slow NoAnswer 20..-"],
    );
    check(
        &Http,
        &[get, "<HTTP/1.1 200 O"],
        &["GET /a NoAnswer 0..10+15"],
    );
    check(
        &Http,
        &[get, "<HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"],
        &["GET /a NoAnswer 0..10+15"],
    );
    check(
        &Http,
        &[get, "<HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"],
        &["GET /a Error 0..10+15"],
    );
    // Content that was not recorded has a length; so has a row that was lost within it.
    check(
        &Http,
        &[
            get,
            "<HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nh|el",
            "<|lo",
            "<!",
            get,
            ok,
        ],
        &["GET /a Ok 0..10+35", "GET /a Ok 40..50+55"],
    );
    // The server answers before the content came.
    check(
        &Http,
        &[
            ">PUT /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n",
            "<HTTP/1.1 100 Continue\r\n\r\n",
            ">ab",
            "<HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
            ">cd",
            get,
            ok,
        ],
        &["PUT /a Error 0..30+35", "GET /a Ok 50..60+65"],
    );
    // Another protocol follows an upgrade.
    check(
        &Http,
        &[
            get,
            "<HTTP/1.1 101 Switching\r\n\r\n",
            ">GET /b HTTP/1.1\r\n\r\n",
            ok,
        ],
        &["GET /a Ok 0..10+15"],
    );
}

#[test]
fn a_head_that_was_not_recorded_wholly_is_a_request() {
    let cut = ">GET /a HTTP/1.1\r\nHos|t: x\r\n\r\n";
    let ok = "<HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let cut_ok = "<HTTP/1.1 200 OK\r\nCon|tent-Length: 2\r\n\r\nhi";
    check(
        &Http,
        &[cut, ok, cut, ok],
        &["GET /a Ok 0..10+15", "GET /a Ok 20..30+35 ~"],
    );
    check(
        &Http,
        &[cut, cut_ok, "<hi", cut, ok],
        &["GET /a Ok 0..10+25 ~", "GET /a Ok 30..40+45 ~"],
    );
}

#[test]
fn redis_is_paired() {
    let both = format!(">{GET}{SET}");
    check(
        &Redis,
        &[&both, "<$1\r\nv\r\n+OK\r\n"],
        &["GET Ok 0..10+15", "SET Ok 0..10+15"],
    );
    check(
        &Redis,
        &[&both, "<$1\r\nv", "<\r\n+OK\r\n"],
        &["GET Ok 0..10+25", "SET Ok 0..20+25"],
    );
    check(
        &Redis,
        &[&both, "<-ERR x\r\n"],
        &["GET Error 0..10+15", "SET NoAnswer 0..-"],
    );
    check(
        &Redis,
        &[
            ">MONITOR\r\n",
            "<+OK\r\n+1.5 [0 x] \"GET\"\r\n",
            ">PING\r\n",
            "<+PONG\r\n",
        ],
        &["MONITOR Ok 0..10+15", "PING Ok 20..30+35"],
    );
    check(
        &Redis,
        &[
            ">PSYNC a b\r\n",
            "<+FULLRESYNC\r\n",
            "<*1\r\n$4\r\nPING\r\n",
            ">x",
        ],
        &["PSYNC Ok 0..10+15"],
    );
}

#[test]
fn requests_that_were_not_recorded_show_by_their_responses() {
    let half = format!(">{GET}*2\r\n|$3\r\nGET\r\n$1\r\nk\r\n{GET}");
    let set = format!(">{SET}");
    check(
        &Redis,
        &[
            &half,
            "<:1\r\n:2\r\n:3\r\n",
            &set,
            "<+OK\r\n",
            &set,
            "<+OK\r\n",
        ],
        &[
            "GET Ok 0..10+15",
            "? Ok 0..10+15 ~",
            "? Ok 0..10+15 ~",
            "SET Ok 20..30+35 ~",
            "SET Ok 40..50+55",
        ],
    );
}

#[test]
fn responses_that_were_not_recorded_are_unknown() {
    let three = format!(">{GET}{GET}{GET}");
    let set = format!(">{SET}");
    check(
        &Redis,
        &[
            &three,
            "<:1\r\n*2\r\n|:1\r\n:1\r\n:1\r\n",
            "<:4\r\n",
            &set,
            "<+OK\r\n",
            &set,
            "<+OK\r\n",
        ],
        &[
            "GET Ok 0..10+15",
            "GET Unknown 0..10+15 ~",
            "GET Unknown 0..-",
            "SET Ok 30..40+45 ~",
            "SET Ok 50..60+65",
        ],
    );
    // One alone is answered for sure, however much of the answer is missing.
    check(
        &Redis,
        &[
            &format!(">{GET}"),
            "<*2\r\n|:1\r\n:1\r\n",
            "<:4\r\n",
            &set,
            "<+OK\r\n",
        ],
        &["GET Ok 0..10+25", "SET Ok 30..40+45"],
    );
    // A row was lost: which of both requests the second row answers, nobody can say.
    check(
        &Redis,
        &[&set, "<|+OK\r\n", &set, "<+OK\r\n", &set, "<+OK\r\n"],
        &[
            "SET Unknown 0..-",
            "SET Unknown 20..-",
            "SET Ok 40..50+55 ~",
        ],
    );
}

#[test]
fn a_connection_older_than_the_recording_may_owe_answers() {
    let mut conversation = Conversation::new(&Redis, 0, Some(0), false);
    let chunk = |data: &str, offset, ts| Chunk {
        offset,
        size: data.len() as u64,
        data: data.into(),
        transfer: Transfer {
            ts,
            ..Transfer::default()
        },
    };
    conversation.push(Side::Response, chunk(":1\r\n", 0, 0));
    conversation.push(Side::Request, chunk(GET, 0, 10));
    conversation.push(Side::Response, chunk(":2\r\n", 4, 20));
    let (exchanges, doubts) = conversation.finish(false);
    assert_eq!(doubts.unmatched_responses, 1);
    assert_eq!(shown((exchanges, doubts)), ["GET Ok 10..20+20 ~"]);
}
