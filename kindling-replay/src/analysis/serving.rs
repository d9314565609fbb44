//! Which request a thread was serving at a moment.

use std::collections::BTreeMap;

use crate::{
    analysis::{
        rpc_call::{self, Call, CallOrder, Calls},
        rpc_row,
    },
    context::Context,
    model::{
        catalog::Catalog,
        connection::{Connections, Role},
    },
};

/// A thread had a request in hand, from when to when.
type Span = (u32, i64, i64);

/// Which requests each thread had in hand, and when.
#[derive(Debug)]
pub struct Serving(BTreeMap<u32, Vec<Hand>>);

#[derive(Debug)]
struct Hand {
    start: i64,
    end: i64,
    /// The latest end of this one and all before it.
    end_so_far: i64,
    request: usize,
}

impl Serving {
    /// From all requests of a capture, of which no more is kept.
    pub fn load(context: &Context, catalog: &Catalog) -> Self {
        let mut order = CallOrder::default();
        let mut spans = Vec::new();
        let connections = Connections::new(&catalog.files);
        rpc_call::each(context, catalog, &connections, |call| {
            let known_by = order.add(&call);
            spans.extend(served(&call).into_iter().map(|span| (known_by, span)));
        });
        order.sort();
        let with_id = |(known_by, span)| Some((order.id(&known_by)?, span));
        Self::of(spans.into_iter().filter_map(with_id))
    }

    /// From these requests.
    pub fn new(calls: &Calls) -> Self {
        let calls = calls.calls.iter();
        Self::of(calls.flat_map(|(id, call)| served(call).into_iter().map(|span| (*id, span))))
    }

    fn of(spans: impl Iterator<Item = (usize, Span)>) -> Self {
        let mut hands: BTreeMap<u32, Vec<Hand>> = BTreeMap::new();
        for (request, (tid, start, end)) in spans {
            hands.entry(tid).or_default().push(Hand {
                start,
                end,
                end_so_far: end,
                request,
            });
        }
        for hands in hands.values_mut() {
            hands.sort_by_key(|hand| (hand.start, hand.request));
            let mut latest = i64::MIN;
            for hand in hands {
                latest = latest.max(hand.end);
                hand.end_so_far = latest;
            }
        }
        Self(hands)
    }

    /// The name of the request that began last among those that the thread had in hand, and how many
    /// these are.
    pub fn at(&self, tid: u32, ts: i64) -> (Option<String>, u64) {
        let hands = self.0.get(&tid).map_or(&[][..], Vec::as_slice);
        let begun = hands.partition_point(|hand| hand.start <= ts);
        let begun = hands.iter().take(begun).rev();
        let open = begun
            .take_while(|hand| hand.end_so_far >= ts)
            .filter(|hand| hand.end >= ts);
        let requests: Vec<usize> = open.map(|hand| hand.request).collect();
        let last = requests.first().map(|&request| rpc_row::id(request));
        (last, requests.len() as u64)
    }
}

/// The threads that read a request and wrote its answer, with the server's time: from the read that got
/// the request to the end of the write that answered it.
fn served(call: &Call) -> Vec<Span> {
    let Some(exchange) = call.exchange(Role::Server) else {
        return Vec::new();
    };
    let read = exchange.request.last;
    let Some(response) = exchange.response else {
        return vec![(read.tid, read.ts, i64::MAX)];
    };
    let end = response.last.end();
    let mut threads = vec![read.tid, response.first.tid];
    threads.dedup();
    threads.into_iter().map(|tid| (tid, read.ts, end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_that_began_last_is_the_one() {
        let hand = |start, end, request| Hand {
            start,
            end,
            end_so_far: end,
            request,
        };
        let mut hands = vec![hand(10, 100, 0), hand(20, 30, 1), hand(50, 60, 2)];
        hands[1].end_so_far = 100;
        hands[2].end_so_far = 100;
        let serving = Serving(BTreeMap::from([(7, hands)]));
        let of = |ts| serving.at(7, ts);
        assert_eq!(of(5), (None, 0));
        assert_eq!(of(25), (Some("r2".into()), 2));
        assert_eq!(of(40), (Some("r1".into()), 1));
        assert_eq!(of(60), (Some("r3".into()), 2));
        assert_eq!(of(101), (None, 0));
        assert_eq!(serving.at(8, 25), (None, 0));
    }
}
