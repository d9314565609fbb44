use super::*;
use crate::protocol::{Outcome, Span, Transfer};

/// An exchange whose request lies at `request` and whose response at `response`, each 5 bytes long.
fn exchange(endpoint: &str, ts: i64, request: u64, response: u64) -> Exchange {
    let transfer = |ts| Transfer {
        ts,
        dur: 1,
        pid: 1,
        tid: 1,
    };
    let span = |at: u64, ts| Span {
        start: at,
        end: at + 5,
        first: transfer(ts),
        last: transfer(ts),
    };
    Exchange {
        endpoint: endpoint.into(),
        outcome: Outcome::Ok,
        error: None,
        status: None,
        request: span(request, ts),
        response: Some(span(response, ts + 10)),
        inferred: false,
    }
}

fn check(
    from_start: bool,
    client: &[(&str, i64, u64, u64)],
    server: &[(&str, i64, u64, u64)],
    expect: &[(bool, bool, &str)],
) {
    let end = |file, role, list: &[(&str, i64, u64, u64)]| {
        let exchange = |&(e, t, a, b): &(&str, i64, u64, u64)| exchange(e, t, a, b);
        let speaks = Speaks {
            protocol: "http",
            role,
            from_start,
            tls: false,
        };
        End {
            file,
            speaks,
            exchanges: list.iter().map(exchange).collect(),
        }
    };
    // All at once, and one by one, first of the one end and then of the other.
    for steps in [1, 2] {
        let mut calls = Vec::new();
        let mut sink = |call| calls.push(call);
        let (mut server, mut client) = (end(2, Role::Server, server), end(1, Role::Client, client));
        let later = (steps > 1).then(|| {
            let later = |end: &mut End| end.exchanges.split_off(end.exchanges.len().min(1));
            (later(&mut server), later(&mut client))
        });
        let Link::Pair(mut pair) = Link::of(server, client, &mut sink) else {
            panic!("they fit");
        };
        if let Some((server, client)) = later {
            pair.add(Role::Client, client, &mut sink);
            pair.add(Role::Server, server, &mut sink);
        }
        pair.finish(&mut sink);
        calls.sort_by_key(Call::key);
        let found: Vec<_> = calls
            .iter()
            .map(|c| (c.client.is_some(), c.server.is_some(), c.endpoint()))
            .collect();
        assert_eq!(found, expect, "in {steps} steps");
    }
}

#[test]
fn ends_that_do_not_fit_speak_for_themselves() {
    let end = |file, protocol| End {
        file,
        speaks: Speaks {
            protocol,
            role: Role::Client,
            from_start: true,
            tls: false,
        },
        exchanges: vec![exchange("a", 0, 0, 0)],
    };
    let mut calls = 0;
    let mut sink = |_| calls += 1;
    let link = Link::of(end(1, "http"), end(2, "redis"), &mut sink);
    let link = link.add(end(1, "http"), &mut sink);
    assert!(matches!(link, Link::Apart));
    assert_eq!(calls, 3);
}

#[test]
fn both_ends_of_a_request_are_one_call() {
    check(
        true,
        &[("a", 0, 0, 0), ("b", 20, 5, 5)],
        &[("a", 3, 0, 0), ("b", 22, 5, 5)],
        &[(true, true, "a"), (true, true, "b")],
    );
    // One end missed a request in the middle.
    check(
        true,
        &[("a", 0, 0, 0), ("a", 40, 10, 10)],
        &[("a", 3, 0, 0), ("a", 22, 5, 5), ("a", 42, 10, 10)],
        &[(true, true, "a"), (false, true, "a"), (true, true, "a")],
    );
}

#[test]
fn ends_that_began_to_count_at_different_bytes_are_aligned() {
    check(
        false,
        &[("a", 20, 0, 0), ("b", 40, 5, 5)],
        &[("c", 1, 100, 70), ("a", 21, 105, 75), ("b", 41, 110, 80)],
        &[(false, true, "c"), (true, true, "a"), (true, true, "b")],
    );
}

#[test]
fn a_request_that_one_end_could_not_see_is_known_by_its_response() {
    check(
        true,
        &[("a", 0, 0, 0), ("?", 0, 3, 5)],
        &[("a", 3, 0, 0), ("b", 3, 5, 5)],
        &[(true, true, "a"), (true, true, "b")],
    );
}
