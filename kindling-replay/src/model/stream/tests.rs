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
    let (stream, exchanges) = reader.finish(ALL);
    let speaks = stream.speaks.unwrap();
    assert_eq!((speaks.protocol, speaks.role), ("http", Role::Server));
    let shown: Vec<_> = exchanges.iter().map(|e| (&*e.endpoint, e.status)).collect();
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
    let (stream, exchanges) = reader.finish(ALL);
    let speaks = stream.speaks.unwrap();
    assert_eq!((speaks.protocol, speaks.role), ("redis", Role::Server));
    assert_eq!(exchanges.len(), 1);
    assert!(speaks.from_start);
}

#[test]
fn what_is_done_with_is_given_out_and_nothing_kept() {
    let mut reader = reader();
    for at in 0..3u32 {
        let (ts, offset) = (i64::from(at) * 20, u64::from(at) * 6);
        reader.hold(row(Direction::In, ts, offset, "PING\r\n"));
        reader.hold(row(Direction::Out, ts + 10, offset / 6 * 7, "+PONG\r\n"));
    }
    // The third is asked, and not answered yet.
    reader.release(45, ALL);
    let starts = |exchanges: &[Exchange]| -> Vec<u64> {
        exchanges
            .iter()
            .map(|exchange| exchange.request.start)
            .collect()
    };
    let (file, _, done) = reader.take_done().unwrap();
    assert_eq!((file, starts(&done)), (1, vec![0, 6]));
    assert!(reader.take_done().is_none());
    assert_eq!(starts(&reader.finish(ALL).1), [12]);
}

/// The plaintext of a session that was joined at `ts` 10, in one request and its answer.
fn plaintext(tls: Tls) -> (Stream, Vec<Exchange>) {
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
        let (stream, exchanges) = plaintext(tls);
        let speaks = stream.speaks.unwrap();
        assert_eq!((speaks.protocol, speaks.role), ("http", Role::Client));
        assert_eq!((stream.tls, speaks.from_start), (true, from_start));
        let exchange = &exchanges[0];
        assert_eq!(
            (exchange.status, exchange.inferred),
            (Some(204), !from_start)
        );
    }
}
