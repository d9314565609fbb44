//! Requests and responses of one connection, paired in order.
//!
//! Both protocols here answer in the order they were asked, so the oldest open request owns the next
//! response. Where bytes are missing that order is not enough. Then one assumption is made, and every
//! pair that rests on it is marked as inferred: a client that sends again has read all earlier answers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    Chunk, Context, Cutter, Doubts, Effect, Event, Exchange, Mark, Message, Outcome, Protocol,
    Request, Response, Side, Span, exchange::Exchanges,
};

/// The endpoint of a request that was not recorded.
const UNSEEN: &str = "?";

/// One connection that speaks a known protocol, as one of its ends sees it.
#[derive(Debug)]
pub struct Conversation {
    requests: Cutter,
    responses: Cutter,
    exchanges: Exchanges,
    endpoints: BTreeMap<String, Arc<str>>,
    open: VecDeque<Open>,
    /// The exchange whose request is being sent.
    sending: Option<usize>,
    /// The exchange whose response is being sent.
    answering: Option<usize>,
    /// Where a gap in the responses stands; `None` if there is none.
    gap: Option<Gap>,
    /// The pairing rests on the assumption until no request is open.
    inferring: bool,
    pushes: bool,
    opaque: Opaque,
    doubts: Doubts,
}

#[derive(Debug)]
enum Open {
    Request(usize, Request),
    /// Any number of requests that were not recorded; `None`: from before the first byte.
    Unseen(Option<Mark>),
}

#[derive(Debug, PartialEq)]
enum Gap {
    /// No request began since: what comes may still belong to what was lost.
    Before,
    /// A request began since: its answer can be recognized.
    Behind,
}

#[derive(Debug, PartialEq)]
enum Opaque {
    No,
    /// When the response in progress ends.
    Next,
    Yes,
}

impl Conversation {
    /// A conversation whose requests begin at offset `requests` and whose responses, of whatever was
    /// asked before, at offset `responses`, or where the first one is. `from_start`: nothing was asked
    /// before.
    pub fn new(
        protocol: &'static dyn Protocol,
        requests: u64,
        responses: Option<u64>,
        from_start: bool,
    ) -> Self {
        let before = (!from_start).then_some(Open::Unseen(None));
        Self {
            requests: Cutter::new(protocol, Side::Request, Some(requests)),
            responses: Cutter::new(protocol, Side::Response, responses),
            exchanges: Exchanges::default(),
            endpoints: BTreeMap::new(),
            open: before.into_iter().collect(),
            sending: None,
            answering: None,
            gap: None,
            inferring: false,
            pushes: false,
            opaque: Opaque::No,
            doubts: Doubts::default(),
        }
    }

    /// Adds what a syscall moved. The chunks of one side come in the order of their offsets, those of
    /// both sides in the order of time.
    pub fn push(&mut self, side: Side, chunk: Chunk) {
        match side {
            _ if self.opaque == Opaque::Yes => {}
            Side::Request => {
                self.requests.push(chunk);
                while let Some(event) = self.requests.next(&Context::default(), true) {
                    self.on_request(event);
                }
            }
            Side::Response => self.push_response(chunk),
        }
    }

    /// Takes the exchanges from which on nothing can change any more, in their order.
    pub fn take_done(&mut self) -> Vec<Exchange> {
        let open = self.open.iter().find_map(|open| match open {
            Open::Request(index, _) => Some(*index),
            Open::Unseen(_) => None,
        });
        let pending = [self.sending, self.answering, open];
        self.exchanges.take(pending.into_iter().flatten().min())
    }

    /// Ends the conversation when its connection was closed, or with the recording; gives the exchanges that were
    /// not taken before.
    pub fn finish(mut self, closed: bool) -> (Vec<Exchange>, Doubts) {
        if let Some(event) = self.requests.close() {
            self.on_request(event);
            self.end_request(self.requests.end_of_stream());
        }
        if let (true, Some(event)) = (closed, self.responses.close()) {
            self.on_response(event);
        }
        let what = if closed {
            "connection closed"
        } else {
            "recording ended"
        };
        if let (Some(index), None) = (self.answering, &self.gap) {
            self.settle(
                index,
                Outcome::NoAnswer,
                &format!("{what} within the response"),
            );
        }
        for open in std::mem::take(&mut self.open) {
            match open {
                Open::Request(index, _) if self.gap == Some(Gap::Before) => self.unknown(index),
                Open::Request(index, _) => {
                    self.settle(
                        index,
                        Outcome::NoAnswer,
                        &format!("{what} without a response"),
                    );
                }
                Open::Unseen(_) => {}
            }
        }
        (self.exchanges.take(None), self.doubts)
    }

    fn push_response(&mut self, chunk: Chunk) {
        let end = Mark {
            offset: chunk.offset.saturating_add(chunk.size),
            transfer: chunk.transfer,
        };
        self.responses.push(chunk);
        loop {
            let request = self.open.iter().find_map(|open| match open {
                Open::Request(_, request) => Some(request),
                Open::Unseen(_) => None,
            });
            let context = Context {
                request,
                pushes: self.pushes,
            };
            let resync = self.gap != Some(Gap::Before);
            let Some(event) = self.responses.next(&context, resync) else {
                break;
            };
            self.on_response(event);
        }
        // A response whose end cannot be recognized lasts until the client sends again.
        if let (Some(index), Some(Gap::Before)) = (self.answering, &self.gap) {
            self.extend_response(index, end);
        }
    }

    fn on_request(&mut self, event: Event) {
        match event {
            Event::Head(mark, Message::Request(request)) => self.begin_request(mark, request),
            Event::Head(..) => {}
            Event::End(mark) => self.end_request(mark),
            Event::Broken(mark) => {
                self.end_request(mark);
                self.lose_requests(mark);
            }
            Event::Lost(mark) => self.lose_requests(mark),
        }
    }

    fn begin_request(&mut self, mark: Mark, request: Request) {
        if self.gap == Some(Gap::Before) {
            self.close_gap();
        }
        let endpoint = self.endpoint(&request.endpoint);
        let outcome = if request.one_way {
            Outcome::OneWay
        } else {
            Outcome::NoAnswer
        };
        let index = self.exchanges.push(Exchange {
            endpoint,
            outcome,
            error: None,
            status: None,
            request: Span::at(mark),
            response: None,
            inferred: false,
        });
        self.sending = Some(index);
        self.pushes |= request.effect == Effect::Pushes;
        if outcome != Outcome::OneWay {
            self.open.push_back(Open::Request(index, request));
        }
    }

    fn end_request(&mut self, mark: Mark) {
        if let Some(exchange) = self
            .sending
            .take()
            .and_then(|index| self.exchanges.get_mut(index))
        {
            exchange.request.extend(mark);
        }
    }

    fn lose_requests(&mut self, mark: Mark) {
        self.doubts.lost_requests += 1;
        self.sending = None;
        if !matches!(self.open.back(), Some(Open::Unseen(_))) {
            self.open.push_back(Open::Unseen(Some(mark)));
        }
    }

    fn on_response(&mut self, event: Event) {
        match event {
            Event::Head(mark, Message::Response(response)) => {
                self.gap = None;
                self.begin_response(mark, response);
            }
            Event::Head(..) => self.gap = None,
            Event::End(mark) => {
                if let Some(index) = self.answering.take() {
                    self.extend_response(index, mark);
                }
                if self.opaque == Opaque::Next {
                    self.opaque = Opaque::Yes;
                }
            }
            Event::Broken(mark) => {
                self.break_response(mark);
                self.lose_responses();
            }
            Event::Lost(_) => {
                self.answering = None;
                self.lose_responses();
            }
        }
    }

    fn begin_response(&mut self, mark: Mark, response: Response) {
        let Some((index, request)) = self.answered(mark) else {
            self.doubts.unmatched_responses += 1;
            return;
        };
        if response.effect == Effect::Opaque || request.effect == Effect::Opaque {
            self.opaque = Opaque::Next;
        }
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.response = Some(Span::at(mark));
            exchange.status = response.status;
            exchange.outcome = if response.error.is_some() {
                Outcome::Error
            } else {
                Outcome::Ok
            };
            exchange.error = response.error.map(String::into_boxed_str);
            exchange.inferred |= self.inferring;
        }
        self.answering = Some(index);
        self.inferring &= !self.open.is_empty();
    }

    /// The request that the next response answers.
    fn answered(&mut self, response: Mark) -> Option<(usize, Request)> {
        let unseen = match self.open.pop_front()? {
            Open::Request(index, request) => return Some((index, request)),
            Open::Unseen(mark) => mark,
        };
        self.inferring = true;
        if let Some(Open::Request(index, request)) = self.open.pop_front() {
            return Some((index, request));
        }
        self.open.push_front(Open::Unseen(unseen));
        // A response alone shows that there was a request, and when it was sent at the latest.
        let mark = unseen.filter(|mark| mark.transfer.ts <= response.transfer.end())?;
        let endpoint = self.endpoint(UNSEEN);
        let index = self.exchanges.push(Exchange {
            endpoint,
            outcome: Outcome::Ok,
            error: None,
            status: None,
            request: Span::at(mark),
            response: None,
            inferred: true,
        });
        Some((index, Request::default()))
    }

    /// The end of a response is lost. With no other request open, it lasts until the client sends
    /// again; else where it ends and the next begins cannot be told.
    fn break_response(&mut self, mark: Mark) {
        let Some(index) = self.answering else { return };
        self.extend_response(index, mark);
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.inferred |= !self.open.is_empty();
        }
        if self
            .open
            .iter()
            .any(|open| matches!(open, Open::Request(..)))
        {
            self.answering = None;
            self.settle(
                index,
                Outcome::Unknown,
                "the response was not wholly recorded",
            );
        }
    }

    fn lose_responses(&mut self) {
        self.doubts.lost_responses += 1;
        self.gap = Some(Gap::Before);
    }

    /// The client sends again: what was open before the gap was answered in it.
    fn close_gap(&mut self) {
        self.gap = Some(Gap::Behind);
        self.answering = None;
        for open in std::mem::take(&mut self.open) {
            self.inferring = true;
            if let Open::Request(index, _) = open {
                self.unknown(index);
            }
        }
    }

    fn extend_response(&mut self, index: usize, mark: Mark) {
        if let Some(response) = self
            .exchanges
            .get_mut(index)
            .and_then(|e| e.response.as_mut())
        {
            response.extend(mark);
        }
    }

    fn unknown(&mut self, index: usize) {
        self.settle(index, Outcome::Unknown, "the response was not recorded");
    }

    fn settle(&mut self, index: usize, outcome: Outcome, why: &str) {
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.outcome = outcome;
            exchange.error = Some(why.into());
        }
    }

    fn endpoint(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.endpoints.get(name) {
            return known.clone();
        }
        let shared: Arc<str> = name.into();
        self.endpoints.insert(name.to_owned(), shared.clone());
        shared
    }
}

#[cfg(test)]
mod tests;
